"""The catalog table, from the configured list and what the last catalog knew."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta

import polars as pl

from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.exchanges import Exchange
from quant_assets.tables.listing_events import Standing, State

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
        "state": pl.String(),
        "stated_delisting": pl.Date(),
        "watched_until": pl.Date(),
        "left_universes": pl.List(pl.String()),
        "company_id": pl.String(),
        "company_since": pl.Date(),
    }
)

UNIVERSE = "configured"

WATCHED = timedelta(days=14)
"""So long a symbol that has left its universes is asked for: its last bars count, and whether it goes on trading
tells if it was delisted. Not one that somebody took off a list of his own."""


def build_catalog(
    configured: Mapping[str, Sequence[ConfiguredSymbol]],
    exchanges: Sequence[Exchange],
    previous: pl.DataFrame | None,
    today: date,
    members: Mapping[str, Mapping[str, Sequence[ConfiguredSymbol]]] | None = None,
    unknown: Collection[str] = (),
    sourced: Collection[str] = (),
) -> pl.DataFrame:
    """The catalog as of `today` (CATALOG_SCHEMA, by exchange and symbol), with what the lists say of each symbol.

    A symbol that left all lists stays, inactive, with the day it was last seen; `first_seen` never moves. Rows of
    exchanges that are not in use now stay as they are. What was learned of listings is added by `with_states`.

    Args:
        configured: the symbols of the list UNIVERSE, by exchange code.
        members: by exchange code, the constituents of universes by name. Of a symbol that is in several the first
            one that says something of it counts.
        unknown: universes of which nobody can say who is in them now; who was in them stays as it was.
        sourced: universes of which a source says who is in them: what leaves them is watched (`WATCHED`).
    """
    earlier = (
        {} if previous is None else {row["symbol"]: row for row in _stated(previous).iter_rows(named=True)}
    )
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
                "state": _state(entry.delisted_on, today),
                "stated_delisting": entry.delisted_on,
                "watched_until": None,
                "left_universes": [],
            }
    in_use = {exchange.code for exchange in exchanges}
    for symbol, before in earlier.items():
        if symbol not in rows:
            before["state"] = before["state"] or _state(before["stated_delisting"], today)
            before["left_universes"] = before["left_universes"] or []
            names = set(before["universes"])
            if before["exchange"] not in in_use or names & set(unknown):
                rows[symbol] = before
                continue
            rows[symbol] = {**before, "is_active": False, "universes": []}
            if left := names & set(sourced):
                rows[symbol] |= {
                    "watched_until": before["last_seen"] + WATCHED,
                    "left_universes": sorted(left),
                }
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


def with_states(catalog: pl.DataFrame, standing: Mapping[str, Standing], exchange: str) -> pl.DataFrame:
    """`catalog` with the states that the ledger of an exchange leaves its symbols in (others are active), and the
    last trading day of those that are delisted. What is stated counts before that."""
    known = {
        symbol: (one.state.value, one.since if one.state is State.DELISTED else None)
        for symbol, one in standing.items()
    }
    learned = pl.DataFrame(
        [(symbol, *told) for symbol, told in known.items()],
        schema={"symbol": pl.String, "_state": pl.String, "_last": pl.Date},
        orient="row",
    )
    ours = (pl.col("exchange") == exchange) & pl.col("stated_delisting").is_null()
    gone = pl.col("_last").is_not_null()
    return (
        catalog.join(learned, on="symbol", how="left", maintain_order="left")
        .with_columns(
            state=pl.when(ours).then(pl.coalesce("_state", pl.lit(State.ACTIVE.value))).otherwise("state"),
            delisted_on=pl.when(ours).then("_last").otherwise("delisted_on"),
            is_active=pl.when(ours & gone).then(statement=False).otherwise("is_active"),
        )
        .select(CATALOG_SCHEMA.names())
    )


def followed(catalog: pl.DataFrame, exchange: str) -> pl.DataFrame:
    """An exchange's symbols with the dates between which a bar is expected by the lists: symbol, listed_on,
    delisted_on; and what is stated of them: stated_delisting, currency. `with_learned` adds what was learned.

    A symbol that left the list is expected through the day it was last seen there, or through the day until which it
    is watched.
    """
    return (
        _stated(catalog)
        .filter(pl.col("exchange") == exchange)
        .select(
            "symbol",
            "listed_on",
            pl.when(_LEFT)
            .then(pl.coalesce("watched_until", "last_seen"))
            .otherwise("stated_delisting")
            .alias("delisted_on"),
            "stated_delisting",
            "currency",
        )
        .sort("symbol")
    )


_LEFT = (
    ~pl.col("is_active")
    & pl.col("stated_delisting").is_null()
    & (pl.col("universes").list.len() == 0).fill_null(value=True)
)
"""Of `_stated`: whether a symbol has left all lists."""


def left_lists(catalog: pl.DataFrame) -> dict[str, date]:
    """The symbols that have left all lists, and the last day on which they stood in one."""
    return dict(_stated(catalog).filter(_LEFT).select("symbol", "last_seen").iter_rows())


def expected_through(catalog: pl.DataFrame) -> dict[str, date]:
    """Of the symbols that have left all lists the last day on which a bar is expected."""
    left = _stated(catalog).filter(_LEFT)
    return dict(left.select("symbol", pl.coalesce("watched_until", "last_seen")).iter_rows())


def _stated(catalog: pl.DataFrame) -> pl.DataFrame:
    """A catalog with what is stated in `delisted_on` and `stated_delisting`; those of earlier releases knew no other
    date."""
    have = catalog.columns
    lacking = [pl.lit(None, kind).alias(name) for name, kind in CATALOG_SCHEMA.items() if name not in have]
    if "stated_delisting" not in catalog.columns:
        return catalog.with_columns(lacking).with_columns(stated_delisting="delisted_on")
    return catalog.with_columns(lacking).with_columns(delisted_on="stated_delisting")


def _state(stated: date | None, today: date) -> str:
    return (State.ACTIVE if stated is None or stated >= today else State.DELISTED).value


def _only(currencies: Sequence[str]) -> str | None:
    """The currency of an exchange that has one; where there are several, a symbol's own is not known."""
    return currencies[0] if len(currencies) == 1 else None
