"""What is missing of an exchange: its calendar and listings against what its cells say of themselves."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime

import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState
from quant_assets.market.gaps import GAPS_SCHEMA, MISSING_SCHEMA, find_gaps
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.holes import holes_of
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import read_table
from quant_assets.tables.requested import read_requested


def exchange_gaps(
    store: ObjectStore, exchange: Exchange, now: datetime, *, symbols: Collection[str] = ()
) -> pl.DataFrame:
    """What is missing of an exchange from the first day asked for through the last session over: GAPS_SCHEMA.

    Args:
        symbols: only these; empty: all, and gaps of the whole market.

    Raises ObjectNotFound without a catalog, ObjectDamaged, StoreUnavailable.
    """
    entries = {date.fromisoformat(e.partition): e for e in Manifest(store, DAILY).all(exchange.code)}
    last = exchange.calendar().last_session_over(now, exchange.delay)
    requested = read_requested(store, exchange.code)
    first = min([day for day in (*entries, requested.first) if day is not None], default=None)
    if first is None or last is None or first > last:
        return pl.DataFrame(schema=GAPS_SCHEMA)
    catalog = read_table(store, object_key(CATALOG))
    listings = with_learned(store, exchange.code, followed(catalog, exchange.code))
    sessions = exchange.calendar().sessions(first, last)
    # Asked for, and nothing is on record of what came: the run was ended, or the source could not be reached.
    unanswered = [day for day in sessions if day in requested and day not in entries]
    gaps = find_gaps(
        sessions,
        [*unanswered, *(day for day, entry in entries.items() if entry.state is not CellState.CLOSED)],
        [*unanswered, *(day for day, entry in entries.items() if entry.expected and not entry.received)],
        holes_of(entries.values(), symbols).select(list(MISSING_SCHEMA)),
        listings,
    )
    return gaps.filter(pl.col("symbol").is_in(sorted(symbols))) if symbols else gaps
