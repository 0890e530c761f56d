"""What a run reads of the store to judge and compare its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.cells import CellNews, CellWriter
from quant_assets.ingest.plan import FillRequest, Mode, make_plan
from quant_assets.ingest.stored import StoredRows
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import Blob
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY, HISTORY, object_key
from quant_assets.tables.lineage import RULES
from quant_assets.tables.manifest import Expected, Manifest
from quant_assets.tables.parquet import encode
from quant_assets_tests.filled import bars
from quant_assets_tests.ingest.harness import SYMBOLS, Harness
from quant_assets_tests.support import NOW, days_between, listings


class Counting(LocalObjectStore):
    """A store that counts the reads of each object."""

    reads: Counter[str] = Counter()

    def get(self, key: str) -> Blob:
        self.reads[key] += 1
        return super().get(key)


def test_dividends_of_the_year_before_are_read_once_for_all_symbols(harness: Harness) -> None:
    harness.fill(days_between(date(2012, 10, 15), date(2013, 2, 15)))
    request = FillRequest([date(2013, 2, 19)], listings(*SYMBOLS))
    store = Counting(harness.home / "store")
    plan = make_plan(exchange("US"), store, request, NOW)
    store.reads.clear()
    stored = StoredRows(store, "US", plan)
    paid = {name: stored.dividends(name, date(2013, 1, 31)) for name in SYMBOLS}
    assert {name: rows.select("date", "dividend").rows() for name, rows in paid.items()} == {
        "AAPL": [(date(2012, 11, 7), 2.65)],
        "IBM": [(date(2012, 11, 7), 0.85)],
        "MSFT": [(date(2012, 11, 13), 0.23)],
    }
    # Through the day that is named.
    assert stored.dividends("IBM", date(2013, 2, 6))["date"].to_list() == [
        date(2012, 11, 7),
        date(2013, 2, 6),
    ]
    # And from 420 days before it on.
    last = [stored.dividends("IBM", date(2014, 1, day))["date"].to_list() for day in (1, 2)]
    assert last == [[date(2012, 11, 7), date(2013, 2, 6)], [date(2013, 2, 6)]]
    assert stored.dividends("GOOG", date(2013, 2, 6)).is_empty()
    cells = {key: count for key, count in store.reads.items() if key.startswith(f"{DAILY}/")}
    assert object_key(DAILY, "US", "2012-11-07") in cells
    assert set(cells.values()) == {1}


def test_dividends_of_a_damaged_year_are_left_out_and_named(harness: Harness) -> None:
    harness.fill(days_between(date(2012, 10, 15), date(2013, 2, 15)))
    key = object_key(DAILY, "US", "2012-12-03")
    harness.store.put(key, b"no table")
    plan = make_plan(exchange("US"), harness.store, FillRequest([date(2013, 2, 19)], listings(*SYMBOLS)), NOW)
    stored = StoredRows(harness.store, "US", plan)
    assert stored.dividends("IBM", date(2013, 2, 6))["date"].to_list() == [date(2013, 2, 6)]
    (note,) = stored.notes
    assert key in note


@pytest.mark.parametrize("symbols", [3, 201])
def test_of_few_days_a_damaged_cell_is_named_and_the_others_are_read(harness: Harness, symbols: int) -> None:
    """Of few symbols they are read from the history at first; of many, cell by cell."""
    days = days_between(date(2013, 2, 4), date(2013, 2, 8))
    harness.fill(days)
    key = object_key(DAILY, "US", "2013-02-06")
    harness.store.put(key, b"no table")
    plan = make_plan(exchange("US"), harness.store, FillRequest(days, listings(*SYMBOLS)), NOW)
    stored = StoredRows(harness.store, "US", plan)
    names = [*SYMBOLS, *(f"X{n}" for n in range(symbols - 3))]
    rows = stored.rows(days, names)
    assert rows["date"].unique().sort().to_list() == [day for day in days if day != date(2013, 2, 6)]
    assert set(rows["symbol"]) == set(SYMBOLS)
    (note,) = stored.notes
    assert key in note


def test_of_few_symbols_more_than_two_days_are_read_from_parts_of_the_history(tmp_path: Path) -> None:
    store = Counting(tmp_path)
    days = days_between(date(2013, 2, 4), date(2013, 2, 8))
    writer = CellWriter(store, "US", "made up", 0.0, Expected(store, "US"))
    for day in days:
        paid = bars(day, ["A", "B"], NOW).with_columns(dividend=pl.lit(0.5 if day == days[2] else 0.0))
        written = writer.write(day, ["A", "B"], CellNews(fresh=paid), None, NOW)
        Manifest(store, DAILY).record("US", [written.entry])
    cells = {p: e.content_sha256 for p, e in Manifest(store, DAILY).year("US", 2013).items()}
    facts = {"partition": "2013", "rule": RULES[HISTORY], "cells": cells}
    store.put(object_key(HISTORY, "US", "2013"), encode(read_daily(store, "US"), facts))
    plan = make_plan(exchange("US"), store, FillRequest(days, listings("A", "B"), mode=Mode.FORCE), NOW)
    stored = StoredRows(store, "US", plan)

    def read(of: Sequence[date]) -> list[str]:
        store.reads.clear()
        assert stored.rows(of, ["A"])["date"].to_list() == list(of)
        return sorted(key for key in store.reads if not key.startswith("manifest/"))

    assert read(days[:2]) == [object_key(DAILY, "US", str(day)) for day in days[:2]]
    # In parts: no object is read whole.
    assert read(days[:3]) == []
    store.reads.clear()
    assert stored.dividends("A", days[-1])["date"].to_list() == [days[2]]
    assert not [key for key in store.reads if key.startswith((f"{DAILY}/", f"{HISTORY}/"))]


def test_the_rows_of_a_plan_are_read_once_and_bear_witness_by_symbol(tmp_path: Path) -> None:
    """Across a change of the year, the last thirty sessions of it."""
    store = Counting(tmp_path)
    days = days_between(date(2012, 12, 10), date(2013, 1, 31))
    days = [day for day in days if exchange("US").calendar().is_session(day)]
    writer = CellWriter(store, "US", "made up", 0.0, Expected(store, "US"))
    for day in days:
        rows = bars(day, ["A", "B"], NOW).with_columns(
            dividend=pl.when(pl.col("symbol") == "A").then(0.5 if day.day == 15 else 0.0).otherwise(0.0)
        )
        writer.write(day, ["A", "B"], CellNews(fresh=rows), None, NOW)
    plan = make_plan(exchange("US"), store, FillRequest(days, listings("A", "B"), mode=Mode.FORCE), NOW)
    store.reads.clear()
    stored = StoredRows(store, "US", plan)
    assert stored.days == days
    witnesses = stored.witnesses(["A"])
    assert {name: rows["date"].to_list() for name, rows in witnesses.items()} == {"A": days[-30:]}
    assert stored.dividends("A", days[-1]).select("date", "dividend").rows() == [(date(2013, 1, 15), 0.5)]
    assert stored.dividends("A", date(2013, 1, 14)).is_empty()
    assert stored.rows([], ["A"]).is_empty()
    assert stored.rows(days[-2:], []).is_empty()
    some = stored.rows(days[-2:], ["B", "A"])
    assert sorted(some.select("symbol", "date").rows()) == [(s, d) for s in "AB" for d in days[-2:]]
    before = store.reads.total()
    assert stored.rows(days[-2:], ["A"])["symbol"].to_list() == ["A", "A"]
    assert store.reads.total() == before
    assert stored.notes == []
