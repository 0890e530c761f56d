"""Snapshots of one session are merged symbol by symbol; those of several are read together."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from quant_assets.market.coverage import CellState
from quant_assets.market.valuations import VALUATION_SCHEMA
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import VALUATIONS, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets.tables.valuations import merged, read_valuations, stored_snapshot

DAYS = [date(2024, 3, 14), date(2024, 3, 15), date(2024, 3, 18)]


def snapshot(day: date, hour: int, **caps: float | None) -> pl.DataFrame:
    fetched = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    rows = [
        {"symbol": symbol, "date": day, "market_cap": cap, "fetched_at": fetched}
        for symbol, cap in caps.items()
    ]
    return pl.DataFrame(rows, schema=VALUATION_SCHEMA)


def said(frame: pl.DataFrame) -> list[tuple[str, float | None, int]]:
    return frame.select("symbol", "market_cap", pl.col("fetched_at").dt.hour()).rows()


def test_of_each_symbol_the_row_that_was_fetched_later_stays() -> None:
    early, late = snapshot(DAYS[0], 20, A=1.0, B=2.0), snapshot(DAYS[0], 22, B=3.0, C=None)
    assert said(merged(early, late)) == [("A", 1.0, 20), ("B", 3.0, 22), ("C", None, 22)]
    # Whichever is stored first: one that was fetched earlier and comes late takes nothing back.
    assert merged(late, early).equals(merged(early, late))
    assert said(merged(early, snapshot(DAYS[0], 20, A=5.0))) == [("A", 5.0, 20), ("B", 2.0, 20)]
    assert merged(pl.DataFrame(schema=VALUATION_SCHEMA), late).equals(late)


def test_the_sessions_between_two_days_are_read_and_of_them_the_symbols_asked_for(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    for number, day in enumerate(DAYS):
        frame = snapshot(day, 22, A=number + 1.0, B=9.0)
        entry = Entry(str(day), CellState.COMPLETE, rows=frame.height)
        info = store.put(object_key(VALUATIONS, "US", str(day)), encode(frame, entry.facts()))
        Manifest(store, VALUATIONS).record("US", [Entry(str(day), entry.state, version=info.version)])

    def caps(first: date | None, last: date | None, *symbols: str) -> list[float]:
        return read_valuations(store, "US", symbols, first, last)["market_cap"].to_list()

    assert caps(None, None, "A") == [1.0, 2.0, 3.0]
    assert caps(DAYS[1], None, "A") == [2.0, 3.0]
    assert caps(None, DAYS[1], "A") == [1.0, 2.0]
    assert caps(DAYS[1], DAYS[1], "A", "B", "C") == [2.0, 9.0]
    assert read_valuations(store, "ASX", ["A"], None, None).schema == VALUATION_SCHEMA
    assert stored_snapshot(store, "US", DAYS[0]).height == 2
    assert stored_snapshot(store, "US", date(2024, 3, 19)).schema == VALUATION_SCHEMA
