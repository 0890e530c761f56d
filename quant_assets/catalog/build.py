"""The catalog table, from the configured list and what the last catalog knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.exchanges import Exchange

CATALOG_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "name": pl.String(),
        "exchange": pl.String(),
        "listing_exchange": pl.String(),
        "asset_type": pl.String(),
        "sector": pl.String(),
        "industry": pl.String(),
        "currency": pl.String(),
        "universes": pl.List(pl.String()),
        "first_seen": pl.Date(),
        "last_seen": pl.Date(),
        "listed_on": pl.Date(),
        "delisted_on": pl.Date(),
        "is_active": pl.Boolean(),
    }
)

UNIVERSE = "configured"


def build_catalog(
    configured: Mapping[str, Sequence[ConfiguredSymbol]],
    exchanges: Sequence[Exchange],
    previous: pl.DataFrame | None,
    today: date,
) -> pl.DataFrame:
    """The catalog as of `today` (CATALOG_SCHEMA, by exchange and symbol).

    A symbol that left the list stays, inactive, with the day it was last seen; `first_seen` never moves. Rows of
    exchanges that are not in use now stay as they are.
    """
    earlier = {} if previous is None else {row["symbol"]: row for row in previous.iter_rows(named=True)}
    rows: dict[str, dict[str, object]] = {}
    for exchange in exchanges:
        for entry in configured.get(exchange.code, ()):
            before = earlier.get(entry.symbol, {})
            rows[entry.symbol] = {
                "symbol": entry.symbol,
                "name": entry.name or before.get("name") or entry.symbol,
                "exchange": exchange.code,
                "listing_exchange": exchange.code,
                "asset_type": entry.asset_type,
                "sector": entry.sector,
                "industry": entry.industry,
                "currency": entry.currency or _only(exchange.currencies),
                "universes": [UNIVERSE],
                "first_seen": before.get("first_seen") or today,
                "last_seen": today,
                "listed_on": entry.listed_on,
                "delisted_on": entry.delisted_on,
                "is_active": entry.delisted_on is None or entry.delisted_on >= today,
            }
    in_use = {exchange.code for exchange in exchanges}
    for symbol, before in earlier.items():
        if symbol not in rows:
            gone = before["exchange"] in in_use
            rows[symbol] = {**before, "is_active": False, "universes": []} if gone else before
    return pl.DataFrame(list(rows.values()), schema=CATALOG_SCHEMA, orient="row").sort("exchange", "symbol")


def followed(catalog: pl.DataFrame, exchange: str) -> pl.DataFrame:
    """An exchange's symbols with the dates between which a bar is expected: symbol, listed_on, delisted_on; and what
    the list states of them: stated_delisting, currency.

    A symbol that left the list is expected through the day it was last seen there.
    """
    return (
        catalog.filter(pl.col("exchange") == exchange)
        .select(
            "symbol",
            "listed_on",
            pl.when(pl.col("is_active") | pl.col("delisted_on").is_not_null())
            .then(pl.col("delisted_on"))
            .otherwise(pl.col("last_seen"))
            .alias("delisted_on"),
            pl.col("delisted_on").alias("stated_delisting"),
            "currency",
        )
        .sort("symbol")
    )


def _only(currencies: Sequence[str]) -> str | None:
    """The currency of an exchange that has one; where there are several, a symbol's own is not known."""
    return currencies[0] if len(currencies) == 1 else None
