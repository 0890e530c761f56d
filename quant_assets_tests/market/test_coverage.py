"""A cell's facts: its state, who was expected, and the words for what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market.coverage import (
    FINAL,
    NO_BAR,
    NOT_ASKED,
    REFUSED,
    REJECTED,
    SETTLED,
    SHORT_GAP,
    SUSPENDED,
    CellState,
    Missing,
    absent_days,
    cell_state,
    coverage_by_month,
    listed,
    symbols_sha256,
)
from quant_assets.market.weeks import weekday

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
        (1, 0, 0, CellState.FAILED),
    ],
)
def test_the_state_of_a_cell_follows_from_who_came(
    expected: int, received: int, rows: int, state: CellState
) -> None:
    assert cell_state(expected, received, rows) is state


@pytest.mark.parametrize(
    ("received", "excused", "state"),
    [
        (18, 0, CellState.FAILED),
        (19, 0, CellState.PARTIAL),
        (20, 0, CellState.COMPLETE),
        # Who is suspended or was never asked for does not count: 18 of 18, 17 of 18.
        (18, 2, CellState.PARTIAL),
        (17, 2, CellState.FAILED),
        (17, 3, CellState.PARTIAL),
        (0, 20, CellState.PARTIAL),
    ],
)
def test_a_cell_below_the_least_coverage_has_failed(received: int, excused: int, state: CellState) -> None:
    assert cell_state(20, received, received, excused=excused, min_coverage=0.95) is state


@pytest.mark.parametrize("percent", range(1, 100))
def test_a_cell_with_just_the_least_coverage_has_not_failed(percent: int) -> None:
    # 0.55 * 100 is more than 55 as floats go.
    share = percent / 100
    assert cell_state(100, percent, percent, min_coverage=share) is CellState.PARTIAL
    assert cell_state(100, percent - 1, percent, min_coverage=share) is CellState.FAILED


def test_a_cell_without_rows_has_failed_however_little_is_asked_of_it() -> None:
    assert cell_state(5, 0, 0, min_coverage=0.0) is CellState.FAILED
    assert cell_state(5, 0, 0, excused=4) is CellState.FAILED


# --- a missing symbol


@given(
    st.builds(
        Missing,
        st.text(),
        st.text(),
        st.text(),
        st.dates(),
        st.none() | st.dates(),
        st.integers(1, 99),
        st.integers(0, 99),
    ),
)
def test_a_missing_symbol_survives_json(missing: Missing) -> None:
    assert Missing.from_json(json.loads(json.dumps(missing.to_json()))) == missing


def test_json_from_before_answers_were_counted_is_one_answer_of_that_day() -> None:
    value = {"symbol": "A", "outcome": NO_BAR, "reason": "none", "asked_on": "2024-03-11"}
    read = Missing.from_json(value)
    assert read == Missing("A", NO_BAR, "none", MONDAY)
    assert (read.since, read.answers, read.gap) == (None, 1, 0)


@pytest.mark.parametrize(
    "damage",
    [{"asked_on": "yesterday"}, {"asked_on": None}, {"since": "once"}, {"answers": "many"}],
)
def test_json_that_is_no_missing_symbol_is_refused(damage: dict[str, Any]) -> None:
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


@pytest.mark.parametrize("outcome", sorted(FINAL))
def test_what_is_settled_for_good_is_never_worth_asking(outcome: str) -> None:
    missing = Missing("A", outcome, "", MONDAY)
    assert not missing.worth_asking(MONDAY)
    assert not missing.worth_asking(MONDAY + timedelta(days=400))


def hole(outcome: str = NO_BAR, days: int = 0, **more: Any) -> Missing:
    return Missing("A", outcome, f"said on {days}", MONDAY + timedelta(days=days), **more)


def test_the_same_statement_again_is_counted_from_the_first_one_on() -> None:
    second = hole(days=3, gap=2).after(hole())
    assert second == hole(days=3, gap=2, since=MONDAY, answers=2)
    third = hole(days=5, answers=2, gap=2).after(second)
    assert third == hole(days=5, gap=2, since=MONDAY, answers=4)


def test_a_statement_after_a_suspension_is_counted_on_from_it() -> None:
    earlier = hole(SUSPENDED, since=MONDAY - timedelta(days=9), answers=3)
    assert hole(days=1).after(earlier) == hole(days=1, since=MONDAY - timedelta(days=9), answers=4)


@pytest.mark.parametrize("earlier", [None, hole("failed"), hole(NOT_ASKED), hole(REFUSED), hole(REJECTED)])
def test_after_another_outcome_the_count_begins_anew(earlier: Missing | None) -> None:
    assert hole(days=1).after(earlier) == hole(days=1)


@pytest.mark.parametrize(
    ("told", "received", "suspended"),
    [
        (hole(days=1, since=MONDAY, answers=2, gap=1), 90, True),
        (hole(days=1, since=MONDAY, answers=2, gap=1), 50, True),
        # Most of the market has no bar: it is the session that is missing.
        (hole(days=1, since=MONDAY, answers=2, gap=1), 49, False),
        # No bar on one of the sides.
        (hole(days=1, since=MONDAY, answers=2, gap=0), 90, False),
        # Told once, or twice on one day.
        (hole(days=1, since=MONDAY, answers=1, gap=1), 90, False),
        (hole(answers=2, gap=SHORT_GAP), 90, False),
        (hole(since=MONDAY, answers=2, gap=SHORT_GAP), 90, False),
        # Of a long gap the second answer of one day is enough, the first is not.
        (hole(answers=2, gap=SHORT_GAP + 1), 90, True),
        (hole(answers=1, gap=SHORT_GAP + 1), 90, False),
        (hole("failed", days=1, since=MONDAY, answers=2, gap=9), 90, False),
        (hole(REFUSED, days=1, since=MONDAY, answers=2, gap=9), 90, False),
    ],
)
def test_a_hole_is_a_suspension_by_its_neighbours_and_repeated_statements(
    told: Missing, received: int, suspended: bool
) -> None:
    judged = told.judged(received, 100)
    assert judged == (replace(told, outcome=SUSPENDED) if suspended else told)


@pytest.mark.parametrize(
    ("told", "received", "expected", "excused"),
    [
        # A gap of exactly five may still be a hole of the source's.
        (hole(gap=5), 9, 10, False),
        (hole(gap=6), 9, 10, True),
        # Half of the market traded; of eleven, five is less than half.
        (hole(gap=6), 5, 10, True),
        (hole(gap=6), 4, 10, False),
        (hole(gap=6), 5, 11, False),
        (hole(REFUSED, gap=6), 9, 10, False),
        (hole("failed", gap=6), 9, 10, False),
        (hole(SUSPENDED, gap=1), 0, 10, True),
        (hole(NOT_ASKED), 0, 10, True),
        (hole(REJECTED), 9, 10, False),
    ],
)
def test_a_hole_is_excused_when_it_looks_like_a_suspension_or_nobody_has_asked(
    told: Missing, received: int, expected: int, excused: bool
) -> None:
    assert told.excused(received, expected) is excused


@pytest.mark.parametrize(("received", "expected", "suspended"), [(1, 2, True), (1, 3, False), (2, 3, True)])
def test_a_hole_is_judged_by_half_of_the_market(received: int, expected: int, suspended: bool) -> None:
    told = hole(days=1, since=MONDAY, answers=2, gap=1)
    assert (told.judged(received, expected).outcome == SUSPENDED) is suspended


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
    # Tel Aviv's Sunday is a hole, its Friday is none.
    assert absent_days([], bounds=[date(2024, 3, 17), date(2024, 3, 18)]) == [date(2024, 3, 18)]
    assert absent_days(["2024-03-18"], bounds=[date(2024, 3, 15), date(2024, 3, 18)]) == [date(2024, 3, 15)]
    assert absent_days(["2024-03-14", "2024-03-19"], {0, 1, 2, 3, 4}) == [
        date(2024, 3, 17),
        date(2024, 3, 18),
    ]


@given(st.lists(st.dates(date(1999, 12, 1), date(2000, 3, 20))), st.sets(st.integers(0, 6)))
def test_absent_days_are_those_of_the_weekdays_between_the_first_and_the_last_one_there(
    there: list[date], weekdays: set[int]
) -> None:
    absent: list[date] = []
    day = min(there, default=MONDAY)
    while day < max(there, default=MONDAY):
        if day not in there and weekday(day) in weekdays:
            absent.append(day)
        day += timedelta(days=1)
    assert absent_days(map(str, there), weekdays) == absent
