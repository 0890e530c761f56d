"""Which partitions of a derived table are stale: found from what the manifests record, with the reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from quant_assets.exchanges import exchange
from quant_assets.market.bars import content_sha256
from quant_assets.market.coverage import CellState, Missing
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import DAILY, HISTORY, PROFILES, WEEKLY, object_key
from quant_assets.tables.lineage import (
    RULES,
    Inputs,
    Reason,
    Stale,
    entries_of,
    inputs_between,
    profile_inputs,
    stale_partitions,
    year_inputs,
)
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets_tests.filled import bars, cell
from quant_assets_tests.support import days_between

US = exchange("US")
NOW = datetime(2014, 1, 20, 12, tzinfo=UTC)
SPAN = date(2013, 12, 23), date(2014, 1, 10)
CLOSED = {date(2013, 12, 25), date(2014, 1, 1)}


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path)
    for day in days_between(*SPAN):
        if day in CLOSED:
            Manifest(store, DAILY).record("US", [Entry(day.isoformat(), CellState.CLOSED)])
        else:
            put(store, day, ["A", "B"])
    return store


def put(store: LocalObjectStore, day: date, symbols: list[str]) -> None:
    rows = bars(day, symbols)
    entry = cell(day, rows)
    info = store.put(object_key(DAILY, "US", day.isoformat()), encode(rows, entry.facts()))
    Manifest(store, DAILY).record("US", [replace(entry, size=info.size, version=info.version)])


def make(store: LocalObjectStore, table: str) -> None:
    """Makes every partition of a derived table, with rows that do not matter."""
    cells = {e.partition: e for e in Manifest(store, DAILY).all("US")}
    wanted: list[Inputs] = (
        [profile_inputs(US, cells)]
        if table == PROFILES
        else list(inputs_between(table, US, cells, SPAN, NOW))
    )
    rows = bars(SPAN[0], ["A"])
    for one in wanted:
        key = object_key(table, "US", None if table == PROFILES else one.partition)
        entry = Entry(
            one.partition, one.state, 1, content_sha256=content_sha256(rows), inputs_sha256=one.sha256
        )
        info = store.put(key, encode(rows, entry.facts()))
        if table != PROFILES:
            Manifest(store, table).record("US", [replace(entry, size=info.size, version=info.version)])


def stale(store: LocalObjectStore, table: str, span: tuple[date, date] | None = SPAN) -> list[Stale]:
    return stale_partitions(store, table, US, span, NOW)


ALL = {
    HISTORY: ["2013", "2014"],
    WEEKLY: ["2013-12-23", "2013-12-30", "2014-01-06"],
    PROFILES: ["US"],
}


@pytest.mark.parametrize("table", [HISTORY, WEEKLY, PROFILES])
def test_what_was_never_made_is_missing_and_what_was_made_of_these_cells_is_not_stale(
    store: LocalObjectStore, table: str
) -> None:
    assert stale(store, table) == [Stale(partition, Reason.MISSING) for partition in ALL[table]]
    assert stale(store, table, None) == stale(store, table)
    make(store, table)
    assert stale(store, table) == stale(store, table, None) == []
    # Asked about one day, neither.
    assert [one for day in SPAN for one in stale(store, table, (day, day))] == []


@pytest.mark.parametrize(
    ("table", "span", "partitions"),
    [
        (HISTORY, (date(2013, 1, 1), date(2013, 12, 31)), ["2013"]),
        (HISTORY, (date(2013, 12, 31), date(2014, 1, 1)), ["2013", "2014"]),
        (WEEKLY, (date(2013, 12, 23), date(2013, 12, 29)), ["2013-12-23"]),
        (WEEKLY, (date(2013, 12, 29), date(2013, 12, 30)), ["2013-12-23", "2013-12-30"]),
    ],
)
def test_the_partitions_of_a_time_are_those_that_have_a_day_of_it(
    store: LocalObjectStore, table: str, span: tuple[date, date], partitions: list[str]
) -> None:
    cells = {e.partition: e for e in Manifest(store, DAILY).all("US")}
    assert [one.partition for one in inputs_between(table, US, cells, span, NOW)] == partitions


@pytest.mark.parametrize(
    ("now", "state"),
    [
        # On the last evening nobody may have asked for it yet; a session later it is missing.
        (datetime(2013, 12, 31, 23, tzinfo=UTC), CellState.COMPLETE),
        (datetime(2014, 1, 2, 23, tzinfo=UTC), CellState.PARTIAL),
    ],
)  # fmt: skip
def test_a_year_lacks_its_last_session_once_the_next_one_is_over(
    store: LocalObjectStore, now: datetime, state: CellState
) -> None:
    cells = {e.partition: e for e in Manifest(store, DAILY).all("US") if e.partition < "2013-12-31"}
    assert year_inputs(US, 2013, cells, now).state is state


@pytest.mark.parametrize(
    ("table", "day", "partition"),
    [
        (HISTORY, date(2014, 1, 2), "2014"),
        (HISTORY, date(2013, 12, 31), "2013"),
        # The week over New Year rests on cells of both years.
        (WEEKLY, date(2014, 1, 2), "2013-12-30"),
        (WEEKLY, date(2013, 12, 31), "2013-12-30"),
        (WEEKLY, date(2014, 1, 10), "2014-01-06"),
        (PROFILES, date(2013, 12, 31), "US"),
    ],
)
def test_one_changed_cell_makes_stale_what_rests_on_it_and_nothing_else(
    store: LocalObjectStore, table: str, day: date, partition: str
) -> None:
    make(store, table)
    put(store, day, ["A", "B", "C"])
    assert stale(store, table) == [Stale(partition, Reason.CELLS)]
    # Asked about that day alone, the answer is the same.
    assert stale(store, table, (day, day)) == [Stale(partition, Reason.CELLS)]


@pytest.mark.parametrize("table", [HISTORY, WEEKLY])
def test_a_removed_object_and_another_state_are_noticed(store: LocalObjectStore, table: str) -> None:
    make(store, table)
    first, second = ALL[table][:2]
    store.delete(object_key(table, "US", first))
    made = Manifest(store, table).year("US", int(second[:4]))[second]
    Manifest(store, table).record("US", [replace(made, state=CellState.PARTIAL, recorded_at="2014-01-20")])
    assert stale(store, table) == [Stale(first, Reason.MISSING), Stale(second, Reason.STATE)]


def test_a_time_without_rows_is_not_stale(store: LocalObjectStore) -> None:
    span = date(2014, 1, 13), date(2014, 1, 17)
    failed = [Entry(day.isoformat(), CellState.FAILED, reason="nothing came") for day in days_between(*span)]
    Manifest(store, DAILY).record("US", failed)
    assert stale(store, WEEKLY, span) == []
    assert stale_partitions(store, PROFILES, exchange("ASX"), None, NOW) == []
    assert stale_partitions(store, HISTORY, exchange("ASX"), None, NOW) == []


def test_a_failed_cell_with_rows_counts_and_who_lacks_a_bar_is_news_for_the_week_alone(
    store: LocalObjectStore,
) -> None:
    day = date(2014, 1, 7)

    def state(state: CellState, *missing: Missing) -> None:
        entry = Manifest(store, DAILY).year("US", 2014)[str(day)]
        later = entry.recorded_at + "!"
        changed = replace(entry, state=state, expected=3, missing=missing, recorded_at=later)
        Manifest(store, DAILY).record("US", [changed])

    state(CellState.FAILED, Missing("C", "no_bar", "no bar", NOW.date()))
    cells = {e.partition: e for e in Manifest(store, DAILY).all("US")}
    assert str(day) in year_inputs(US, 2014, cells, NOW).days
    assert str(day) in profile_inputs(US, cells).days
    for table in (HISTORY, WEEKLY, PROFILES):
        make(store, table)
    # Another answer of the same kind is no news; that it was a suspension is, for what the week says of C.
    state(CellState.FAILED, Missing("C", "no_bar", "no bar again", NOW.date(), answers=2))
    assert stale(store, WEEKLY) == []
    state(CellState.FAILED, Missing("C", "suspended", "no bar", NOW.date()))
    assert stale(store, WEEKLY) == [Stale("2014-01-06", Reason.CELLS)]
    assert stale(store, HISTORY) == stale(store, PROFILES) == []


@pytest.mark.parametrize("table", [HISTORY, WEEKLY, PROFILES])
def test_another_rule_makes_every_partition_stale(
    store: LocalObjectStore, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store, table)
    monkeypatch.setitem(RULES, table, "another rule")
    assert stale(store, table) == [Stale(partition, Reason.CELLS) for partition in ALL[table]]


def test_a_years_state_is_that_of_its_sessions_from_the_first_cell_on(store: LocalObjectStore) -> None:
    cells = {e.partition: e for e in Manifest(store, DAILY).all("US")}
    # Through the last cell of a year that goes on, and through the end of one that is over.
    assert year_inputs(US, 2014, cells, NOW).state is CellState.COMPLETE
    assert year_inputs(US, 2013, cells, NOW).state is CellState.COMPLETE
    short = {day: entry for day, entry in cells.items() if day != "2013-12-31"}
    assert year_inputs(US, 2013, short, NOW).state is CellState.PARTIAL
    assert year_inputs(US, 2013, short, datetime(2013, 12, 31, 12, tzinfo=UTC)).state is CellState.COMPLETE
    hole = {day: entry for day, entry in cells.items() if day != "2014-01-03"}
    assert year_inputs(US, 2014, hole, NOW).state is CellState.PARTIAL


def test_the_entries_of_some_partitions_are_those_from_the_first_to_past_the_last(
    store: LocalObjectStore,
) -> None:
    days = [date(2014, 1, 7), date(2014, 1, 3)]
    found = entries_of(store, DAILY, [("US", day) for day in days], reach=1)
    assert {code: list(entries) for code, entries in found.items()} == {
        "US": ["2014-01-03", "2014-01-06", "2014-01-07", "2014-01-08"]
    }
    assert entries_of(store, DAILY, []) == {}
