"""Listing events: an append-only ledger of what was learned about when symbols started and stopped trading."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

import polars as pl

from quant_assets.resources.object_store import Blob, ObjectNotFound, ObjectStore, put_reconciled
from quant_assets.tables.layout import events_key
from quant_assets.tables.parquet import decode, encode

LISTING_EVENTS_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "event": pl.String(),
        "date": pl.Date(),
        "evidence": pl.String(),
        "known_at": pl.Datetime("us", "UTC"),
    }
)

FIRST_TRADE = "first_trade"


def read_events(store: ObjectStore, exchange: str) -> pl.DataFrame:
    """All listing events of an exchange (LISTING_EVENTS_SCHEMA), oldest first. Raises ObjectDamaged."""
    key = events_key(exchange)
    try:
        return decode(store.get(key).data, store.uri(key))
    except ObjectNotFound:
        return pl.DataFrame(schema=LISTING_EVENTS_SCHEMA)


def with_learned(store: ObjectStore, exchange: str, catalog: pl.DataFrame) -> pl.DataFrame:
    """`catalog` (symbol, listed_on, delisted_on, …) with an unknown `listed_on` filled from the ledger.

    A configured date wins; of several learned dates the latest learned one counts. A symbol that has left the list
    without ever having had a bar (its `delisted_on` is not stated, and nothing tells when it was listed) is left out:
    no cell expects it.
    """
    learned = (
        read_events(store, exchange)
        .filter(pl.col("event") == FIRST_TRADE)
        .group_by("symbol")
        .agg(pl.col("date").sort_by("known_at").last().alias("_learned"))
    )
    listings = (
        catalog.join(learned, on="symbol", how="left", maintain_order="left")
        .with_columns(pl.coalesce("listed_on", "_learned").alias("listed_on"))
        .drop("_learned")
    )
    if "stated_delisting" not in listings.columns:
        return listings
    left = pl.col("delisted_on").is_not_null() & pl.col("stated_delisting").is_null()
    return listings.filter(~(left & pl.col("listed_on").is_null()))


def learn_first_trades(
    store: ObjectStore,
    exchange: str,
    catalog: pl.DataFrame,
    first_trade: Mapping[str, date],
    now: datetime,
) -> None:
    """Appends the first trade dates that neither the catalog nor the ledger knows; puts nothing without news."""

    def decide(present: Blob | None) -> bytes | None:
        key = events_key(exchange)
        ledger = (
            decode(present.data, store.uri(key)) if present else pl.DataFrame(schema=LISTING_EVENTS_SCHEMA)
        )
        known = set(ledger.filter(pl.col("event") == FIRST_TRADE).select("symbol", "date").iter_rows())
        configured = set(catalog.filter(pl.col("listed_on").is_not_null())["symbol"])
        news = [
            (symbol, FIRST_TRADE, day, "first trade date stated by the price source", now)
            for symbol, day in sorted(first_trade.items())
            if symbol not in configured and (symbol, day) not in known
        ]
        if not news:
            return None
        return encode(pl.concat([ledger, pl.DataFrame(news, schema=LISTING_EVENTS_SCHEMA, orient="row")]), {})

    put_reconciled(store, events_key(exchange), decide)
