"""The snapshots of valuations: an object for each exchange and session, as it was known then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from quant_assets.market.valuations import VALUATION_SCHEMA
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore
from quant_assets.tables.daily import read_all
from quant_assets.tables.layout import VALUATIONS, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import read_table


def stored_snapshot(store: ObjectStore, exchange: str, session: date) -> pl.DataFrame:
    """The snapshot of a session (VALUATION_SCHEMA); empty where there is none.

    Raises ObjectDamaged, StoreUnavailable.
    """
    try:
        return read_table(store, object_key(VALUATIONS, exchange, session.isoformat()))
    except ObjectNotFound:
        return pl.DataFrame(schema=VALUATION_SCHEMA)


def merged(stored: pl.DataFrame, fresh: pl.DataFrame) -> pl.DataFrame:
    """Two snapshots of one session: of each symbol the row that was fetched later, of one moment the fresh one."""
    rows = pl.concat([stored.select(VALUATION_SCHEMA.names()), fresh])
    return rows.sort("symbol", "fetched_at", maintain_order=True).unique(
        "symbol", keep="last", maintain_order=True
    )


def read_valuations(
    store: ObjectStore, exchange: str, symbols: Sequence[str], first: date | None, last: date | None
) -> pl.DataFrame:
    """The rows of some symbols of an exchange (VALUATION_SCHEMA) of the sessions first..last, unsorted.

    Raises ObjectDamaged, ObjectNotFound (naming the object), StoreUnavailable.
    """
    begin, end = (first or date.min).isoformat(), (last or date.max).isoformat()
    entries = Manifest(store, VALUATIONS).all(exchange)
    days = [entry.partition for entry in entries if entry.version and begin <= entry.partition <= end]
    frames = [pl.DataFrame(schema=VALUATION_SCHEMA)]
    for frame in read_all(store, [object_key(VALUATIONS, exchange, day) for day in days]):
        frames.append(frame.filter(pl.col("symbol").is_in(symbols)).select(VALUATION_SCHEMA.names()))
    return pl.concat(frames)
