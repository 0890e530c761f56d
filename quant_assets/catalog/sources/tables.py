"""From the rows of a table to constituents: finding the columns, and spelling symbols as Yahoo does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from quant_assets.catalog.configured import ConfiguredSymbol, misplacement, short
from quant_assets.catalog.sources.failed import SourceFailed
from quant_assets.catalog.universe import TableSource, Universe
from quant_assets.exchanges import Exchange

LONGEST_TEXT = 200
"""Characters of a name, a sector or an industry."""
MOST_CELLS = 2_000_000
"""Cells of a document's tables: no list of constituents has as many."""
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Table:
    """A table as it stands in a document. `where` is the document; a row has its number there, as a person counts."""

    where: str
    headers: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]


def plain(text: str) -> str:
    """A cell's text: without what is not printed, and without more than one space between words."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text.replace("\xad", "")).split())


def column(table: Table, header: str) -> int | None:
    """The number of the column with that header, in capitals or not; None when there is none, or more than one."""
    headers = [plain(one) for one in table.headers]
    wanted = plain(header)
    found = [number for number, one in enumerate(headers) if one == wanted] or [
        number for number, one in enumerate(headers) if one.casefold() == wanted.casefold()
    ]
    return found[0] if len(found) == 1 else None


def listed(
    table: Table, universe: Universe, source: TableSource, exchange: Exchange
) -> list[ConfiguredSymbol]:
    """The constituents that a table names, a row each; rows with nothing in them are passed over.

    Raises SourceFailed: a column that is not there or there twice, no row, a row without a symbol or with one that
    is none or another exchange's, symbols that stand there twice.
    """
    columns = {name: _found(table, universe, name, header) for name, header in source.columns.items()}
    entries: list[ConfiguredSymbol] = []
    rows: dict[str, int] = {}
    twice: list[str] = []
    for number, cells in table.rows:
        texts = {name: plain(cells[at]) if at < len(cells) else "" for name, at in columns.items()}
        if not any(plain(cell) for cell in cells):
            continue
        entry = _entry(table, universe, source, exchange, number, texts)
        if entry.symbol in rows:
            twice.append(f"{entry.symbol} (rows {rows[entry.symbol]} and {number})")
        rows.setdefault(entry.symbol, number)
        entries.append(entry)
    if twice:
        raise SourceFailed(
            universe,
            f"{table.where}: there twice: {_some(twice)}",
            "remove one of each, or correct `replace`",
        )
    if not entries:
        raise SourceFailed(universe, f"{table.where}: no row under the headers", "correct the source")
    return entries


def spelled(text: str, source: TableSource, exchange: Exchange) -> str:
    """A symbol as Yahoo spells it: 700 as 0700.HK, BRK.B as BRK-B, as the source says."""
    symbol = text.upper()
    suffix = source.suffix
    # In a replacement's way the suffix's own dot would be.
    bare = symbol.removesuffix(suffix.upper()) if suffix else symbol
    if not suffix and exchange.suffix and symbol.endswith(exchange.suffix):
        bare, suffix = symbol.removesuffix(exchange.suffix), exchange.suffix
    for old, new in source.replace.items():
        bare = bare.replace(old.upper(), new.upper())
    return bare.rjust(source.pad, "0") + suffix


def _found(table: Table, universe: Universe, name: str, header: str) -> int:
    at = column(table, header)
    if at is not None:
        return at
    headers = [plain(one) for one in table.headers]
    same = sum(one.casefold() == plain(header).casefold() for one in headers)
    seen = f"{same} columns are called" if same else "there is no column"
    shown = _some([short(one) for one in headers], 20) if headers else "none"
    raise SourceFailed(
        universe,
        f"{table.where}: {seen} {short(header)}; its headers are {shown}",
        f"correct columns: {{{name}: …}} in the source",
    )


def _entry(
    table: Table,
    universe: Universe,
    source: TableSource,
    exchange: Exchange,
    number: int,
    texts: dict[str, str],
) -> ConfiguredSymbol:
    def failed(seen: str, remedy: str) -> SourceFailed:
        return SourceFailed(universe, f"{table.where}: row {number}: {seen}", remedy)

    if not texts["symbol"]:
        shown = _some([short(text) for name, text in texts.items() if name != "symbol" and text])
        raise failed(f"no symbol{f' beside {shown}' if shown else ''}", "correct the row, or `columns`")
    for name, text in texts.items():
        if len(text) > LONGEST_TEXT:
            raise failed(f"the {name} has {len(text)} characters", f"write no more than {LONGEST_TEXT}")
    symbol = spelled(texts["symbol"], source, exchange)
    try:
        entry = ConfiguredSymbol.model_validate({**texts, "symbol": symbol})
    except ValidationError as error:
        first = error.errors()[0]
        told = str(first["msg"]).removeprefix("Value error, ")
        if first["loc"]:
            field = str(first["loc"][0])
            told = f"{field} {short(symbol if field == 'symbol' else texts.get(field))}: {told}"
        raise failed(told, "correct the row, or the source") from error
    if problem := misplacement(entry, exchange):
        if exchange.suffix and not source.suffix and "." not in entry.symbol:
            raise failed(
                f"{entry.symbol} has no suffix, {exchange.code}'s symbols end in {exchange.suffix}",
                f"write suffix: {exchange.suffix} in the source",
            )
        seen, _, remedy = problem.partition("; ")
        raise failed(seen, f"{remedy}, or correct the source")
    return entry


def _some(texts: Sequence[str], most: int = _MOST_SHOWN) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
