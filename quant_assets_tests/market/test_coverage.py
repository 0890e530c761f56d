"""A cell's facts: its state, who was expected, and the words for what is missing."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import groupby

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market.coverage import (
    NO_BAR,
    SETTLED,
    CellState,
    Missing,
    absent_days,
    cell_state,
    coverage_by_month,
    describe_gap,
    listed,
    short_gaps,
    symbols_sha256,
)

MONDAY = date(2024, 3, 11)
DAYS = [MONDAY + timedelta(days=n) for n in range(12)]
LISTINGS = {"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date}


# --- the state of a cell


@pytest.mark.parametrize(
    ("expected", "received", "rows", "state"),
    [
        (3, 3, 3, CellState.COMPLETE),
        (3, 2, 2, CellState.PARTIAL),
        (3, 0, 0, CellState.FAILED),
        (3, 0, 1, CellState.PARTIAL),
        (0, 0, 0, CellState.COMPLETE),
        (2, 3, 3, CellState.COMPLETE),
    ],
)
def test_the_state_of_a_cell_follows_from_who_came(
    expected: int, received: int, rows: int, state: CellState
) -> None:
    assert cell_state(expected, received, rows) is state


# --- a missing symbol


@given(
    st.builds(Missing, st.text(), st.text(), st.text(), st.dates()),
)
def test_a_missing_symbol_survives_json(missing: Missing) -> None:
    assert Missing.from_json(missing.to_json()) == missing


@pytest.mark.parametrize("damage", [{"asked_on": "yesterday"}, {"asked_on": None}])
def test_json_that_is_no_missing_symbol_is_refused(damage: dict[str, str]) -> None:
    value = Missing("A", NO_BAR, "", MONDAY).to_json()
    with pytest.raises((ValueError, TypeError)):
        Missing.from_json(value | damage)
    with pytest.raises(KeyError):
        Missing.from_json({"symbol": "A"})


@pytest.mark.parametrize("outcome", ["failed", "rate_limited", "not_asked", *sorted(SETTLED)])
def test_a_failure_is_asked_again_at_once_and_an_answer_on_another_day(outcome: str) -> None:
    missing = Missing("A", outcome, "", MONDAY)
    assert missing.worth_asking(MONDAY) is (outcome not in SETTLED)
    assert missing.worth_asking(MONDAY + timedelta(days=1))


# --- who is expected


def test_the_hash_of_symbols_is_that_of_the_set() -> None:
    assert symbols_sha256(["B", "A"]) == symbols_sha256(iter(["A", "B"]))
    assert len({symbols_sha256(s) for s in ([], ["A"], ["B"], ["A", "B"], ["AB"])}) == 5


def test_a_symbol_is_expected_from_its_first_to_its_last_trading_day() -> None:
    listings = pl.DataFrame(
        [
            ("D", None, None),
            ("C", MONDAY, None),
            ("B", None, MONDAY),
            ("A", MONDAY, MONDAY),
        ],
        schema=LISTINGS,
        orient="row",
    )
    assert listed(listings, MONDAY) == ["A", "B", "C", "D"]
    assert listed(listings, MONDAY - timedelta(days=1)) == ["B", "D"]
    assert listed(listings, MONDAY + timedelta(days=1)) == ["C", "D"]


# --- gaps

subsets = st.sets(st.sampled_from(DAYS))


@given(subsets, st.sampled_from(DAYS), st.integers(0, 5))
def test_short_gaps_are_the_runs_without_a_bar_up_to_the_longest(
    present: set[date], first: date, longest: int
) -> None:
    due = [day for day in DAYS if day >= first]
    runs = [list(run) for there, run in groupby(due, key=lambda day: day in present) if not there]
    expected = [day for run in runs if len(run) <= longest for day in run]
    assert short_gaps(DAYS, present, first=first, longest=longest) == expected


def test_a_gap_is_described_by_the_bars_around_it() -> None:
    there = {DAYS[1], DAYS[3], DAYS[7]}
    words = {n: describe_gap(DAYS, there, DAYS[n]) for n in (0, 2, 5, 9)}
    assert words == {
        0: "no bar before 2024-03-12",
        2: "no bar between 2024-03-12 and 2024-03-14",
        5: "no bar for 3 sessions between 2024-03-14 and 2024-03-18",
        9: "no bar after 2024-03-18",
    }
    assert describe_gap(DAYS, set(), DAYS[0]) == "answered without any bar"


@given(subsets.filter(lambda days: len(days) < len(DAYS)), st.data())
def test_every_gap_names_the_nearest_bars_and_no_others(present: set[date], data: st.DataObject) -> None:
    session = data.draw(st.sampled_from([day for day in DAYS if day not in present]))
    words = describe_gap(DAYS, present, session)
    before = sorted(day for day in present if day < session)
    after = sorted(day for day in present if day > session)
    assert {day for day in DAYS if str(day) in words} == {*before[-1:], *after[:1]}


# --- coverage by month


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 80), st.none() | st.integers(0, 80), st.sets(st.integers(0, 79))
        ),
        min_size=1,
        max_size=3,
    )
)
def test_coverage_of_a_month_is_the_share_of_its_due_sessions_with_a_bar(
    drawn: list[tuple[int | None, int | None, set[int]]],
) -> None:
    sessions = [MONDAY + timedelta(days=n) for n in range(80)]

    def at(number: int | None) -> date | None:
        return None if number is None else MONDAY + timedelta(days=number)

    symbols = {f"S{n}": part for n, part in enumerate(drawn)}
    listings = pl.DataFrame(
        [(name, at(first), at(last)) for name, (first, last, _) in symbols.items()],
        schema=LISTINGS,
        orient="row",
    )
    daily = pl.DataFrame(
        [(name, sessions[n], 1.0) for name, (_, _, there) in symbols.items() for n in there],
        schema={"symbol": pl.String, "date": pl.Date, "close": pl.Float64},
        orient="row",
    )
    told = {(r[0], r[1]): r[2] for r in coverage_by_month(daily, sessions, listings).iter_rows()}
    expected: dict[tuple[str, date], float | None] = {}
    for name, (first, last, there) in symbols.items():
        for month in {day.replace(day=1) for day in sessions}:
            due = [
                n
                for n, day in enumerate(sessions)
                if day.replace(day=1) == month
                and (first is None or n >= first)
                and (last is None or n <= last)
            ]
            expected[name, month] = sum(n in there for n in due) / len(due) if due else None
    assert told == pytest.approx(expected)


def test_a_row_without_a_close_is_no_coverage() -> None:
    daily = pl.DataFrame(
        [("A", DAYS[0], 1.0), ("A", DAYS[1], None)],
        schema={"symbol": pl.String, "date": pl.Date, "close": pl.Float64},
        orient="row",
    )
    listings = pl.DataFrame([("A", None, None)], schema=LISTINGS, orient="row")
    assert coverage_by_month(daily, DAYS[:2], listings).rows() == [("A", date(2024, 3, 1), 0.5)]


def test_without_sessions_there_is_no_month_to_cover() -> None:
    daily = pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date, "close": pl.Float64})
    listings = pl.DataFrame([("A", None, None)], schema=LISTINGS, orient="row")
    assert coverage_by_month(daily, [], listings).is_empty()


def test_weekdays_between_cells_that_were_never_asked_for_are_absent() -> None:
    assert absent_days([]) == []
    assert absent_days(["2024-03-15"]) == []
    # A Friday and the Wednesday after it: the weekend is no gap.
    assert absent_days(["2024-03-20", "2024-03-15"]) == [date(2024, 3, 18), date(2024, 3, 19)]
