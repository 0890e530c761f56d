"""Constituents that Yahoo's screener finds."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from quant_assets.catalog.configured import ConfiguredSymbol, short
from quant_assets.catalog.sources.failed import SourceFailed
from quant_assets.catalog.sources.tables import LONGEST_TEXT, plain
from quant_assets.catalog.universe import ScreenerSource, Universe
from quant_assets.exchanges import Exchange
from quant_assets.resources.documents import Documents
from quant_assets.resources.yahoo_screener import ScreenFailed


def read_screener(
    universe: Universe, source: ScreenerSource, exchange: Exchange, documents: Documents
) -> list[ConfiguredSymbol]:
    """The listings of the exchange that match, by symbol. Raises SourceFailed, Interrupted."""
    query: dict[str, Any] = {"is-in": ["exchange", *exchange.yahoo_codes]}
    if source.region is not None:
        query["eq"] = ["region", source.region.lower()]
    if source.query is not None:
        query["and"] = [source.query]
    try:
        found = documents.screened(query, source.asset_type, source.most)
    except ScreenFailed as error:
        raise SourceFailed(universe, error.seen, error.remedy) from error
    if not found:
        raise SourceFailed(
            universe,
            f"it finds no listing on {exchange.code}",
            "correct `query` and `region`, or try again later",
        )
    strange = [one.symbol for one in found if not exchange.owns(one.symbol)]
    if strange:
        raise SourceFailed(
            universe,
            f"it answers with symbols that are none of {exchange.code}: {', '.join(map(short, strange[:5]))}"
            + (f" and {len(strange) - 5} more" if len(strange) > 5 else ""),
            "try again later, or narrow the query",
        )
    try:
        return [
            ConfiguredSymbol(
                symbol=one.symbol,
                name=plain(one.name)[:LONGEST_TEXT],
                asset_type=source.asset_type,
                currency=one.currency if one.currency in exchange.currencies else None,
            )
            for one in found
        ]
    except ValidationError as error:
        first = error.errors()[0]
        told = str(first["msg"]).removeprefix("Value error, ")
        raise SourceFailed(
            universe,
            f"it answers with {short(first['input'])}: {told}",
            "try again later, or narrow the query",
        ) from error
