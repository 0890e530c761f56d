"""What the store holds, summed up for people: cells by state, freshness, and who is missing most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState, absent_days
from quant_assets.market.gaps import GAPS_SCHEMA, MISSING_SCHEMA, find_gaps
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import CATALOG, DAILY, WEEKLY, object_key
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import read_table


def manifest_summary(store: ObjectStore, exchanges: Sequence[Exchange]) -> dict[str, dict[str, Any]]:
    """Per exchange: cells by state, rows, bytes, sessions without a cell, last complete session, weeks."""
    summary: dict[str, dict[str, Any]] = {}
    for exchange in exchanges:
        code = exchange.code
        entries = list(Manifest(store, DAILY).all(code))
        states = Counter(entry.state for entry in entries)
        complete = [entry.partition for entry in entries if entry.state is CellState.COMPLETE]
        summary[code] = {
            "cells": {state.value: states[state] for state in CellState},
            "rows": sum(entry.rows for entry in entries),
            "bytes": sum(entry.size for entry in entries),
            "absent": [day.isoformat() for day in _absent_sessions(exchange, entries)],
            "last_complete": max(complete, default=None),
            "weeks": sum(1 for _ in Manifest(store, WEEKLY).all(code)),
        }
    return summary


def _absent_sessions(exchange: Exchange, entries: Sequence[Entry]) -> list[date]:
    absent = absent_days(entry.partition for entry in entries)
    sessions = set(exchange.calendar().sessions(absent[0], absent[-1])) if absent else set[date]()
    return [day for day in absent if day in sessions]


def worst_holes(entries: Iterable[Entry]) -> list[tuple[str, str, str, int]]:
    """(symbol, outcome, reason, cells) of what is missing, the most cells first."""
    holes: Counter[tuple[str, str, str]] = Counter(
        (missing.symbol, missing.outcome, missing.reason) for entry in entries for missing in entry.missing
    )
    return [(*hole, cells) for hole, cells in holes.most_common()]


def first_day(store: ObjectStore, exchange: str) -> date | None:
    """The first day of an exchange that has a cell."""
    days = (date.fromisoformat(entry.partition) for entry in Manifest(store, DAILY).all(exchange))
    return min(days, default=None)


def exchange_gaps(
    store: ObjectStore, exchange: Exchange, now: datetime, *, symbols: Collection[str] = ()
) -> pl.DataFrame:
    """What is missing of an exchange from its first cell through the last session over: `market.gaps.GAPS_SCHEMA`.

    Args:
        symbols: only these; empty: all, and gaps of the whole market.

    Raises ObjectNotFound without a catalog, ObjectDamaged, StoreUnavailable.
    """
    entries = {date.fromisoformat(e.partition): e for e in Manifest(store, DAILY).all(exchange.code)}
    last = exchange.calendar().last_session_over(now, exchange.delay)
    if not entries or last is None:
        return pl.DataFrame(schema=GAPS_SCHEMA)
    catalog = read_table(store, object_key(CATALOG))
    listings = with_learned(store, exchange.code, followed(catalog, exchange.code))
    sessions = exchange.calendar().sessions(min(entries), last)
    gaps = find_gaps(
        sessions,
        [day for day, entry in entries.items() if entry.state is not CellState.CLOSED],
        [day for day, entry in entries.items() if entry.expected and not entry.received],
        missing_rows(entries),
        listings,
    )
    return gaps.filter(pl.col("symbol").is_in(sorted(symbols))) if symbols else gaps


def missing_rows(entries: Mapping[date, Entry]) -> pl.DataFrame:
    """What cells name as missing, as rows of `market.gaps.MISSING_SCHEMA`."""
    rows = [
        (day, m.symbol, m.outcome, m.reason, m.asked_on, m.answers)
        for day, entry in entries.items()
        for m in entry.missing
    ]
    return pl.DataFrame(rows, schema=MISSING_SCHEMA, orient="row")
