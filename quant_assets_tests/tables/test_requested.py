"""The record of which days have been asked for: it only grows, and tells where an exchange begins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market.coverage import CellState
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import NewerFormat, ObjectDamaged
from quant_assets.tables.layout import DAILY, requested_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.requested import Requested, first_requested, read_requested, record_requested

FRIDAY, MONDAY = date(2024, 3, 15), date(2024, 3, 18)


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def test_a_range_goes_on_over_a_weekend_and_not_over_a_weekday() -> None:
    one = Requested().with_days([FRIDAY, MONDAY])
    assert one.ranges == ((FRIDAY, MONDAY),)
    assert (one.first, one.last) == (FRIDAY, MONDAY)
    saturday, sunday, tuesday = (FRIDAY + timedelta(days=n) for n in (1, 2, 4))
    assert Requested().with_days([FRIDAY, sunday]).ranges == ((FRIDAY, sunday),)
    assert Requested().with_days([saturday, MONDAY]).ranges == ((saturday, MONDAY),)
    assert Requested().with_days([FRIDAY, tuesday]).ranges == ((FRIDAY, FRIDAY), (tuesday, tuesday))
    assert Requested().with_days([FRIDAY, tuesday]).with_days([MONDAY]).ranges == ((FRIDAY, tuesday),)
    # A day that is in a range already leaves it as it is.
    three = one.with_days([tuesday])
    assert [three.with_days([day]) for day in (FRIDAY, MONDAY, tuesday)] == [three] * 3
    assert (Requested().first, Requested().last, FRIDAY in Requested()) == (None, None, False)


_DAYS = st.lists(
    st.dates(date(2024, 1, 1), date(2024, 3, 1)).filter(lambda day: day.weekday() < 5), max_size=20
)


@given(_DAYS, _DAYS)
def test_the_weekdays_in_it_are_those_asked_for_in_whatever_order(one: list[date], other: list[date]) -> None:
    requested = Requested().with_days(one).with_days(other)
    assert requested == Requested().with_days([*other, *one])
    weekdays = [date(2023, 12, 25) + timedelta(days=n) for n in range(80)]
    assert {day for day in weekdays if day in requested and day.weekday() < 5} == {*one, *other}
    for (_, last), (first, _) in zip(requested.ranges, requested.ranges[1:], strict=False):
        assert last < first


def test_it_only_grows_and_what_is_known_is_not_put_again(store: LocalObjectStore) -> None:
    assert read_requested(store, "US") == Requested()
    record_requested(store, "US", [FRIDAY, MONDAY])
    before = store.head(requested_key("US"))
    record_requested(store, "US", [MONDAY])
    assert store.head(requested_key("US")) == before
    record_requested(store, "US", [date(2024, 1, 2)])
    assert read_requested(store, "US").ranges == ((date(2024, 1, 2),) * 2, (FRIDAY, MONDAY))
    assert read_requested(store, "ASX") == Requested()


def test_nothing_is_lost_of_many_writers(store: LocalObjectStore) -> None:
    days = [date(2024, 1, 2) + timedelta(days=3 * n) for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda day: record_requested(store, "US", [day]), days))
    assert all(day in read_requested(store, "US") for day in days)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"ranges": [["2024-01-02"]]}',
        b'{"format": 1}',
        b'{"format": 1, "ranges": [["2024-01-09", "2024-01-02"]]}',
        b'{"format": 1, "ranges": [["2024-02-01", "2024-02-02"], ["2024-01-01", "2024-01-03"]]}',
    ],
)
def test_a_damaged_record_is_named(store: LocalObjectStore, data: bytes) -> None:
    store.put(requested_key("US"), data)
    for use in (read_requested, first_requested, lambda store, code: record_requested(store, code, [FRIDAY])):
        with pytest.raises(ObjectDamaged, match=r"requested/exchange=US\.json: unreadable"):
            use(store, "US")


def test_a_record_of_a_newer_format_is_left_alone(store: LocalObjectStore) -> None:
    store.put(requested_key("US"), b'{"format": 3, "spans": []}')
    with pytest.raises(
        NewerFormat, match=r"exchange=US\.json: written in format 3, .*: upgrade quant-assets"
    ):
        record_requested(store, "US", [FRIDAY])
    assert store.get(requested_key("US")).data == b'{"format": 3, "spans": []}'


def test_the_first_day_is_that_of_the_record_or_of_a_cell_before_it(store: LocalObjectStore) -> None:
    assert first_requested(store, "US") is None
    # A store of a release that kept no record begins with its first cell.
    Manifest(store, DAILY).record("US", [Entry(str(day), CellState.CLOSED) for day in (MONDAY, FRIDAY)])
    assert first_requested(store, "US") == FRIDAY
    record_requested(store, "US", [MONDAY])
    assert first_requested(store, "US") == FRIDAY
    record_requested(store, "US", [date(2023, 6, 1)])
    assert first_requested(store, "US") == date(2023, 6, 1)
    record_requested(store, "ASX", [FRIDAY])
    assert first_requested(store, "ASX") == FRIDAY


def test_one_day_after_the_last_may_be_left_to_its_cell(store: LocalObjectStore) -> None:
    record_requested(store, "US", [FRIDAY], next_day=False)
    record_requested(store, "US", [MONDAY], next_day=False)
    assert read_requested(store, "US").ranges == ((FRIDAY, FRIDAY),)
    # More than one, or one before: whatever becomes of the run, they were asked for.
    record_requested(store, "US", [MONDAY, date(2024, 3, 19)], next_day=False)
    record_requested(store, "US", [date(2024, 3, 6)], next_day=False)
    assert read_requested(store, "US").ranges == (
        (date(2024, 3, 6), date(2024, 3, 6)),
        (FRIDAY, date(2024, 3, 19)),
    )
