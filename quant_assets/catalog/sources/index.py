"""Constituents of an index, as the package pytickersymbols ships them: no network, no account."""

from __future__ import annotations

import difflib
import importlib
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from quant_assets.catalog.configured import ConfiguredSymbol, is_isin, short
from quant_assets.catalog.sources.failed import SourceFailed
from quant_assets.catalog.sources.tables import LONGEST_TEXT, plain
from quant_assets.catalog.universe import IndexSource, Universe
from quant_assets.exchanges import Exchange

_log = logging.getLogger(__name__)

SECTORS = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
)
"""The sectors of the Global Industry Classification Standard, which the package has among other words."""
_CLASSIFIED = "S&P"
"""Those who make these indices make that standard; words of other indices may be meant by another."""


def read_index(universe: Universe, source: IndexSource, exchange: Exchange) -> list[ConfiguredSymbol]:
    """The constituents that are listed on the exchange, in the package's order; those of others are left out, and
    named in a warning. Raises SourceFailed: no such index, no constituent on the exchange.
    """
    package: Any = importlib.import_module("pytickersymbols").PyTickerSymbols()
    names: list[str] = list(package.get_all_indices())
    name = next((one for one in names if _folded(one) == _folded(source.index)), None)
    if name is None:
        near = difflib.get_close_matches(source.index.upper(), names, n=1, cutoff=0.5)
        raise SourceFailed(
            universe,
            f"the package pytickersymbols has no index {short(source.index)}",
            f"did you mean {near[0]}?" if near else f"write one of {', '.join(names)}",
        )
    companies: list[dict[str, Any]] = list(package.get_stocks_by_index(name))
    isins = Counter(isin for company in companies for isin in company.get("isins") or ())
    entries: dict[str, ConfiguredSymbol] = {}
    elsewhere: list[str] = []
    for company in companies:
        symbol = symbol_on(exchange, company)
        if symbol is None:
            elsewhere.append(str(company.get("symbol") or company.get("name")))
            continue
        known = [isin for isin in company.get("isins") or () if is_isin(isin)]
        words = company.get("industries") or () if name.startswith(_CLASSIFIED) else ()
        sectors = {word for word in words if word in SECTORS}
        try:
            entry = ConfiguredSymbol(
                symbol=symbol,
                name=plain(str(company.get("name") or ""))[:LONGEST_TEXT],
                sector=sectors.pop() if len(sectors) == 1 else None,
                # Where a company has two, or two of its symbols have one, whose it is is not said.
                isin=known[0] if len(known) == 1 and isins[known[0]] == 1 else None,
            )
        except ValidationError as error:
            raise SourceFailed(
                universe,
                f"{name} has {short(symbol)}, which is no symbol",
                "install another version of pytickersymbols",
            ) from error
        entries.setdefault(entry.symbol, entry)
    if not entries:
        raise SourceFailed(
            universe,
            f"none of the {len(companies)} constituents of {name} is listed on {exchange.code}",
            "name the exchange of the index, or another source: the package does not know every symbol",
        )
    if elsewhere:
        _log.warning(
            "%s: %d of the %d constituents of %s left out, not known to be listed on %s: %s",
            universe.name,
            len(elsewhere),
            len(companies),
            name,
            exchange.code,
            ", ".join(elsewhere[:20]) + (" …" if len(elsewhere) > 20 else ""),
        )
    return list(entries.values())


def symbol_on(exchange: Exchange, company: Mapping[str, Any]) -> str | None:
    """A company's symbol on the exchange in Yahoo's spelling; None when it is of another, or cannot be told.

    The index's own symbol for it counts (BRK.B, ADS.DE; AIR.PA.DE where an index has a company of Paris traded in
    Frankfurt). The list of Yahoo symbols beside it has other share classes, former symbols and over-the-counter
    receipts too: it is asked only where the index's own symbol says no exchange, or is missing.
    """
    own = str(company.get("symbol") or "").strip().upper()
    listed = [str(one.get("yahoo") or "").upper() for one in company.get("symbols") or ()]
    here = list(dict.fromkeys(symbol for symbol in listed if exchange.owns(symbol)))
    if exchange.owns(own):
        return _spelled(own, exchange)
    if exchange.suffix and own and "." not in own and _spelled(own + exchange.suffix, exchange) in here:
        return _spelled(own + exchange.suffix, exchange)
    if exchange.suffix and "." not in own and len(here) == 1:
        return here[0]
    return None


def _spelled(symbol: str, exchange: Exchange) -> str:
    bare = symbol.removesuffix(exchange.suffix)
    if exchange.suffix:
        for other in exchange.other_suffixes:
            if bare.endswith(other):
                bare = bare.removesuffix(other)
                break
    return exchange.yahoo_spelling(bare + exchange.suffix)


def _folded(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())
