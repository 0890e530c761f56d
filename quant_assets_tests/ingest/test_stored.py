"""What a run reads of the store to judge and compare its answers."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.plan import FillRequest, make_plan
from quant_assets.ingest.stored import StoredRows
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import Blob
from quant_assets.tables.layout import DAILY, object_key
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
