"""The catalog table, from the configured list and what the last catalog knew."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
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
    members: Mapping[str, Mapping[str, Sequence[ConfiguredSymbol]]] | None = None,
    unknown: Collection[str] = (),
) -> pl.DataFrame:
    """The catalog as of `today` (CATALOG_SCHEMA, by exchange and symbol).

    A symbol that left all lists stays, inactive, with the day it was last seen; `first_seen` never moves. Rows of
    exchanges that are not in use now stay as they are.

    Args:
        configured: the symbols of the list UNIVERSE, by exchange code.
        members: by exchange code, the constituents of universes by name. Of a symbol that is in several the first
            one that says something of it counts.
        unknown: universes of which nobody can say who is in them now; who was in them stays as it was.
    """
    earlier = {} if previous is None else {row["symbol"]: row for row in previous.iter_rows(named=True)}
    rows: dict[str, dict[str, object]] = {}
    for exchange in exchanges:
        lists = {UNIVERSE: configured.get(exchange.code, ()), **(members or {}).get(exchange.code, {})}
        for entry, names in _merged(lists):
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
                "universes": names,
                "first_seen": before.get("first_seen") or today,
                "last_seen": today,
                "listed_on": entry.listed_on,
                "delisted_on": entry.delisted_on,
                "is_active": entry.delisted_on is None or entry.delisted_on >= today,
            }
    in_use = {exchange.code for exchange in exchanges}
    for symbol, before in earlier.items():
        if symbol not in rows:
            gone = before["exchange"] in in_use and not set(before["universes"]) & set(unknown)
            rows[symbol] = {**before, "is_active": False, "universes": []} if gone else before
    return pl.DataFrame(list(rows.values()), schema=CATALOG_SCHEMA, orient="row").sort("exchange", "symbol")


def _merged(
    lists: Mapping[str, Sequence[ConfiguredSymbol]],
) -> Iterable[tuple[ConfiguredSymbol, list[str]]]:
    """Each symbol once, with all that the lists say of it, and the names of those that it is in."""
    found: dict[str, tuple[ConfiguredSymbol, list[str]]] = {}
    for name, entries in lists.items():
        for entry in entries:
            first, names = found.get(entry.symbol, (entry, []))
            found[entry.symbol] = (
                first if first is entry else _completed(first, entry),
                sorted([*names, name]),
            )
    return found.values()


def _completed(first: ConfiguredSymbol, other: ConfiguredSymbol) -> ConfiguredSymbol:
    """What two lists say of a symbol; where both say something, the first."""
    fields = ConfiguredSymbol.model_fields
    lacking = [name for name in fields if getattr(first, name) in (None, "")]
    more = {name: getattr(other, name) for name in lacking if getattr(other, name) not in (None, "")}
    if first.asset_type == fields["asset_type"].default:
        # It need not have been said.
        more["asset_type"] = other.asset_type
    return first.model_copy(update=more)


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
