"""Which days are one range, by the days of a week; and what is put of those that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest

from quant_assets.market.coverage import CellState
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.layout import DAILY, object_key, requested_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets.tables.requested import Requested, first_requested, read_requested, record_requested
from quant_assets_tests.filled import bars, cell

MONDAY = date(2024, 3, 11)


def day(number: int) -> date:
    """0 is a Monday, 7 the next one."""
    return MONDAY + timedelta(days=number)


def ranges(*spans: tuple[int, int]) -> tuple[tuple[date, date], ...]:
    return tuple((day(first), day(last)) for first, last in spans)


@pytest.mark.parametrize("first", range(7))
def test_two_days_are_one_range_where_no_weekday_lies_between_them(first: int) -> None:
    # From Monday to Sunday: the last day that goes on with it.
    until = [1, 2, 3, 4, 7, 7, 7][first]
    for second in range(first + 1, first + 9):
        met = second <= until
        found = Requested().with_days([day(second), day(first)]).ranges
        assert found == (ranges((first, second)) if met else ranges((first, first), (second, second)))


@pytest.mark.parametrize(
    ("before", "added", "after"),
    [
        ([(0, 1), (14, 15), (28, 29)], [2], [(0, 2), (14, 15), (28, 29)]),
        ([(0, 1), (14, 15), (28, 29)], [13, 16], [(0, 1), (13, 16), (28, 29)]),
        ([(0, 1), (14, 15), (28, 29)], [30, 31], [(0, 1), (14, 15), (28, 31)]),
        ([(0, 4), (8, 11)], [7], [(0, 11)]),
        ([(0, 4), (8, 11)], [2, 9], [(0, 4), (8, 11)]),
        ([(0, 10)], [2, 20], [(0, 10), (20, 20)]),
        ([], [], []),
    ],
)
def test_ranges_grow_and_come_together(
    before: Sequence[tuple[int, int]], added: list[int], after: Sequence[tuple[int, int]]
) -> None:
    assert Requested(ranges(*before)).with_days(map(day, added)).ranges == ranges(*after)


def test_a_day_is_in_it_where_a_range_has_it() -> None:
    requested = Requested(ranges((0, 1), (14, 16), (28, 28)))
    assert [n for n in range(-2, 31) if day(n) in requested] == [0, 1, 14, 15, 16, 28]
    assert (requested.first, requested.last) == (day(0), day(28))
    one = Requested(ranges((2, 3)))
    assert [n for n in range(6) if day(n) in one] == [2, 3]
    assert (one.first, one.last) == (day(2), day(3))


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


@pytest.mark.parametrize(
    ("days", "next_day", "put"),
    [
        ([18], True, True),
        ([18], False, False),
        ([15, 18], False, False),  # one of them is known
        ([8], False, True),  # between those that are known
        ([15], True, False),
        ([], True, False),
        ([18, 19], False, True),
        ([-60], False, True),
    ],
)
def test_what_is_known_or_one_day_later_need_not_be_put(
    store: LocalObjectStore, days: list[int], next_day: bool, put: bool
) -> None:
    record_requested(store, "US", [day(0), day(15)])
    before = store.head(requested_key("US"))
    record_requested(store, "US", map(day, days), next_day=next_day)
    assert (store.head(requested_key("US")) != before) is put
    known = {0, 15, *days} if put else {0, 15}
    assert {n for n in range(-70, 40) if day(n) in read_requested(store, "US")} == known


def test_the_record_is_json_that_says_its_format(store: LocalObjectStore) -> None:
    record_requested(store, "US", [day(4), day(7), day(9)])
    assert orjson.loads(store.get(requested_key("US")).data) == {
        "format": 2,
        "ranges": [["2024-03-15", "2024-03-18"], ["2024-03-20", "2024-03-20"]],
    }


@pytest.mark.parametrize(
    "data",
    [b"[1]", b'{"ranges": 7}', b'{"ranges": [[1, 2]]}', b'{"ranges": [["2024-01-32", "x"]]}'],
)
def test_a_record_that_is_none_is_damage(store: LocalObjectStore, data: bytes) -> None:
    store.put(requested_key("US"), data)
    with pytest.raises(
        ObjectDamaged, match=r"US\.json: unreadable .*; remove it, the next backfill makes it anew$"
    ):
        read_requested(store, "US")


def test_the_first_day_is_found_by_objects_whose_shard_is_lost_and_in_the_year_of_the_record(
    store: LocalObjectStore,
) -> None:
    manifest = Manifest(store, DAILY)
    manifest.record("US", [Entry("2023-05-02", CellState.CLOSED)])
    rows = bars(date(2022, 6, 1), ["A"])
    store.put(object_key(DAILY, "US", "2022-06-01"), encode(rows, cell(date(2022, 6, 1), rows).facts()))
    assert first_requested(store, "US") == date(2022, 6, 1)
    store.delete(object_key(DAILY, "US", "2022-06-01"))
    assert first_requested(store, "US") == date(2023, 5, 2)
    record_requested(store, "US", [date(2023, 5, 9)])
    assert first_requested(store, "US") == date(2023, 5, 2)
    record_requested(store, "US", [date(2023, 4, 28)])
    assert first_requested(store, "US") == date(2023, 4, 28)
