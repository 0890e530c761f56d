"""What partitions rest on, by value: their first and last day, the hash that they record, what is looked at."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.exchanges import exchange
from quant_assets.market.coverage import CellState, Missing
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import DAILY, EXCHANGES, HISTORY, PROFILES, WEEKLY, object_key
from quant_assets.tables.lineage import (
    all_complete,
    bars_missing,
    entries_of,
    inputs_between,
    inventory_inputs,
    inventory_stale,
    made_partitions,
    profile_inputs,
    week_inputs,
    whole_partitions,
    with_rows,
    year_inputs,
)
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets.tables.weeks_of_history import expectations
from quant_assets_tests.filled import bars

US = exchange("US")
NOW = datetime(2014, 1, 20, 12, tzinfo=UTC)


def entry(day: str, state: CellState = CellState.COMPLETE, *missing: str) -> Entry:
    holes = tuple(Missing(symbol, "no_bar", "no bar", NOW.date()) for symbol in missing)
    return Entry(day, state, version="1", content_sha256=f"of {day}", expected=3, received=3, missing=holes)


def cells(*entries: Entry) -> dict[str, Entry]:
    return {one.partition: one for one in entries}


def sha256(*lines: str) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@pytest.mark.parametrize(
    ("table", "first", "last", "whole"),
    [
        (HISTORY, date(2013, 5, 6), date(2013, 5, 6), (date(2013, 1, 1), date(2013, 12, 31))),
        (HISTORY, date(2012, 12, 31), date(2014, 1, 1), (date(2012, 1, 1), date(2014, 12, 31))),
        (WEEKLY, date(2014, 1, 1), date(2014, 1, 1), (date(2013, 12, 30), date(2014, 1, 5))),
        (WEEKLY, date(2013, 12, 29), date(2014, 1, 6), (date(2013, 12, 23), date(2014, 1, 12))),
    ],
)
def test_partitions_begin_and_end_with_their_year_or_week(
    table: str, first: date, last: date, whole: tuple[date, date]
) -> None:
    assert whole_partitions(table, first, last, US.first_weekday) == whole


def test_a_year_has_its_first_and_its_last_day_and_all_sessions_between() -> None:
    days = ["2012-12-31", "2013-01-01", "2013-01-02", "2013-12-31", "2014-01-01"]
    found = year_inputs(US, 2013, cells(*map(entry, days)), NOW)
    assert list(found.cells) == found.days == days[1:4]
    assert (found.partition, found.sessions[0], found.sessions[-1]) == (
        "2013",
        date(2013, 1, 2),
        date(2013, 12, 31),
    )
    assert len(found.sessions) == 252
    goes_on = year_inputs(US, 2013, cells(*map(entry, days[:3])), datetime(2013, 1, 4, 23, tzinfo=UTC))
    assert goes_on.sessions == [date(2013, 1, 2)]
    over = year_inputs(US, 2013, cells(*map(entry, days[:3])), datetime(2014, 1, 3, 12, tzinfo=UTC))
    assert over.sessions[-1] == date(2013, 12, 31)
    nothing = year_inputs(US, 2015, cells(*map(entry, days)), NOW)
    assert (nothing.cells, nothing.sessions, nothing.days, nothing.state) == ({}, [], [], CellState.COMPLETE)


@pytest.mark.parametrize(
    ("table", "first", "last", "partitions"),
    [
        (HISTORY, date(2012, 5, 1), date(2014, 1, 1), ["2012", "2013", "2014"]),
        (WEEKLY, date(2013, 12, 31), date(2014, 1, 14), ["2013-12-30", "2014-01-06", "2014-01-13"]),
        (WEEKLY, date(2014, 1, 5), date(2014, 1, 5), ["2013-12-30"]),
    ],
)
def test_partitions_follow_one_another(table: str, first: date, last: date, partitions: list[str]) -> None:
    assert [one.partition for one in inputs_between(table, US, {}, (first, last), NOW)] == partitions


def test_the_hash_of_the_cells_is_what_earlier_releases_recorded() -> None:
    some = cells(entry("2014-01-07", CellState.PARTIAL, "C", "B"), entry("2014-01-06"), entry("2014-01-13"))
    lines = [
        "2014-01-06:complete:of 2014-01-06",
        "2014-01-07:partial:of 2014-01-07",
        "2014-01-13:complete:of 2014-01-13",
    ]
    assert profile_inputs(US, some).sha256 == sha256("symbol_profiles 4", *lines)
    assert year_inputs(US, 2014, some, NOW).sha256 == sha256("price_history 2", *lines)
    week = week_inputs(US, date(2014, 1, 6), some)
    assert week.sha256 == sha256("weekly_prices 2", lines[0] + ":", lines[1] + ":B,C")
    assert week.sessions == [date(2014, 1, day) for day in range(6, 11)]
    assert (week.days, week.state) == (["2014-01-06", "2014-01-07"], CellState.PARTIAL)


def test_cells_are_complete_where_every_session_has_one_that_is() -> None:
    one, two = date(2014, 1, 6), date(2014, 1, 7)
    some = cells(
        entry(str(one)), entry(str(two), CellState.PARTIAL), replace(entry("2014-01-08"), version="")
    )
    assert all_complete(some, [])
    assert all_complete(some, [one])
    assert not all_complete(some, [one, two])
    assert not all_complete(some, [one, date(2014, 1, 9)])
    assert with_rows(some) == [str(one), str(two)]
    suspended = Missing("S", "suspended", "no bar", NOW.date())
    lacking = entry(str(one), CellState.PARTIAL, "B", "A")
    assert bars_missing(replace(lacking, missing=(*lacking.missing, suspended))) == ["B", "A"]


def test_what_weekly_bars_have_to_know_is_who_was_asked_for_and_who_lacks_a_bar() -> None:
    some = cells(
        entry("2014-01-06"),
        entry("2014-01-07", CellState.CLOSED),
        entry("2014-01-08", CellState.FAILED, "B", "A"),
    )
    calendar, missing = expectations([week_inputs(US, date(2014, 1, 6), some)])
    asked = {6: True, 7: False, 8: True, 9: False, 10: False}
    assert calendar.rows() == [(date(2014, 1, day), value) for day, value in asked.items()]
    assert missing.rows() == [("B", date(2014, 1, 8)), ("A", date(2014, 1, 8))]


# --- in a store


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def put(store: LocalObjectStore, table: str, partition: str, code: str = "US") -> Entry:
    rows = bars(date(2014, 1, 6), ["A"])
    made = Entry(partition, CellState.COMPLETE, 1, inputs_sha256=f"from {partition}")
    key = object_key(table, code, None if table == PROFILES else partition)
    info = store.put(key, encode(rows, made.facts()))
    return Entry.from_facts(made.facts() | {"size": info.size, "version": info.version}, None)


def test_what_has_been_made_is_told_of_the_partitions_of_a_time(store: LocalObjectStore) -> None:
    for partition in ("2012", "2013", "2014"):
        put(store, HISTORY, partition)
    weeks = ["2013-12-16", "2013-12-23", "2013-12-30", "2014-01-06"]
    for partition in weeks:
        put(store, WEEKLY, partition)

    def made(table: str, first: date, last: date) -> list[str]:
        return list(made_partitions(store, table, "US", (first, last), US.first_weekday))

    assert made(HISTORY, date(2012, 12, 31), date(2013, 1, 1)) == ["2012", "2013"]
    assert made(HISTORY, date(2013, 1, 1), date(2013, 12, 31)) == ["2013"]
    assert made(WEEKLY, date(2014, 1, 1), date(2014, 1, 1)) == ["2013-12-30"]
    assert made(WEEKLY, date(2013, 12, 29), date(2014, 1, 6)) == weeks[1:]
    assert list(store.list("manifest/")) == []


def test_the_table_of_exchanges_is_stale_until_it_is_made_of_the_profiles_that_there_are(
    store: LocalObjectStore,
) -> None:
    assert inventory_inputs(store, ["US", "ASX"]) == ""
    assert inventory_stale(store, ["US"]) is None
    rows = bars(date(2014, 1, 6), ["A"])
    contents = {}
    for code in ("US", "ASX"):
        put(store, PROFILES, code, code)
        found = made_partitions(store, PROFILES, code, (NOW.date(), NOW.date()), 0)
        assert list(found) == [code]
        contents[code] = found[code].content_sha256
    asx, us = (f"{code}:{contents[code]}:from {code}" for code in ("ASX", "US"))
    both = sha256("exchange_profiles 1", asx, us)
    assert inventory_inputs(store, ["US", "ASX", "LSE"]) == both
    assert inventory_inputs(store, ["US"]) == sha256("exchange_profiles 1", us)
    key = object_key(EXCHANGES)
    assert inventory_stale(store, ["US", "ASX"]) == both
    store.put(key, b"damaged")
    assert inventory_stale(store, ["US", "ASX"]) == both
    store.put(key, encode(rows, {"inputs_sha256": both}))
    assert inventory_stale(store, ["US", "ASX"]) is None
    assert inventory_stale(store, ["US"]) == sha256("exchange_profiles 1", us)
    store.put(object_key(PROFILES, "US"), b"damaged")
    assert inventory_stale(store, ["US"]) is None


def test_the_entries_of_partitions_are_those_of_their_days_and_of_objects_that_nobody_recorded(
    store: LocalObjectStore,
) -> None:
    days = [date(2014, 1, 6) + timedelta(days=n) for n in range(4)]
    for day in days:
        put(store, DAILY, str(day))
    asked = [("US", days[2]), ("US", days[1])]
    assert list(entries_of(store, DAILY, asked)["US"]) == [str(days[1]), str(days[2])]
    assert list(entries_of(store, DAILY, asked, reach=1)["US"]) == [str(day) for day in days[1:]]
    store.put(object_key(DAILY, "US", str(days[2])), b"damaged")
    damaged: dict[str, dict[str, str]] = {}
    found = entries_of(store, DAILY, [*asked, ("ASX", days[0])], damaged=damaged)
    assert {code: list(entries) for code, entries in found.items()} == {"US": [str(days[1])], "ASX": []}
    assert {code: list(told) for code, told in damaged.items()} == {"US": [str(days[2])], "ASX": []}
    assert Manifest(store, DAILY).year("US", 2014).keys() >= {str(days[1])}
