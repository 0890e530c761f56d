"""Where a universe's constituents come from: each kind of source in a module of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.sources.failed import SourceFailed
from quant_assets.catalog.universe import (
    CsvSource,
    ExcelSource,
    HtmlTableSource,
    IndexSource,
    MinusSource,
    ScreenerSource,
    StaticSource,
    UnionSource,
    Universe,
)
from quant_assets.exchanges import Exchange
from quant_assets.resources.documents import Documents

__all__ = ["SourceFailed", "constituents"]


def constituents(
    universe: Universe,
    exchange: Exchange,
    documents: Documents,
    others: Mapping[str, Sequence[ConfiguredSymbol]],
) -> list[ConfiguredSymbol]:
    """The universe's constituents as its source has them now: each symbol once, all of them the exchange's own.

    In the source's order; a union is in that of its members, of which the first to have a symbol says what is known
    of it. `others` has the constituents of the universes that this one is made of. Only `documents` is asked, and
    only by the sources that are outside. Raises SourceFailed, naming the universe, its source, what was seen and
    the remedy; Interrupted.
    """
    source = universe.source
    match source:
        case StaticSource(symbols=symbols):
            return list(symbols)
        case UnionSource(of=of):
            return _union([others[name] for name in _known(universe, others) if name in of])
        case MinusSource(of=of, without=without):
            _known(universe, others)
            gone = {entry.symbol for name in without for entry in others[name]}
            left = [entry for entry in others[of] if entry.symbol not in gone]
            if not left:
                raise SourceFailed(
                    universe, f"nothing of {of} is left without {', '.join(without)}", "correct the lists"
                )
            return left
        case CsvSource():
            from quant_assets.catalog.sources.csv_table import read_csv

            return read_csv(universe, source, exchange, documents)
        case ExcelSource():
            from quant_assets.catalog.sources.excel_table import read_excel

            return read_excel(universe, source, exchange, documents)
        case HtmlTableSource():
            from quant_assets.catalog.sources.html_page import read_page

            return read_page(universe, source, exchange, documents)
        case IndexSource():
            from quant_assets.catalog.sources.index import read_index

            return read_index(universe, source, exchange)
        case ScreenerSource():
            from quant_assets.catalog.sources.screen import read_screener

            return read_screener(universe, source, exchange, documents)


def _known(universe: Universe, others: Mapping[str, Sequence[ConfiguredSymbol]]) -> tuple[str, ...]:
    if missing := [name for name in universe.members if name not in others]:
        raise SourceFailed(
            universe,
            f"the constituents of {', '.join(missing)} are not known",
            "refresh what it is made of first",
        )
    return universe.members


def _union(lists: Sequence[Sequence[ConfiguredSymbol]]) -> list[ConfiguredSymbol]:
    found: dict[str, ConfiguredSymbol] = {}
    for entries in lists:
        for entry in entries:
            found.setdefault(entry.symbol, entry)
    return list(found.values())
