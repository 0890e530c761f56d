"""Weekdays as cron spells them, and trading weeks that begin on any of them."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market.weeks import (
    cron_of_weekdays,
    first_trading_weekday,
    week_days,
    week_of,
    weekday,
    weekdays_of_cron,
)

DAY = timedelta(days=1)
days = st.dates(date(1953, 1, 1), date(2049, 12, 31))


@given(st.sets(st.integers(0, 6), min_size=1))
def test_weekdays_of_cron_reads_what_cron_of_weekdays_writes(chosen: set[int]):
    assert weekdays_of_cron(cron_of_weekdays(chosen)) == chosen


@pytest.mark.parametrize("part", ["", "mon", "8", "3-1", "1,,2", "1-2-3", "-1"])
def test_weekdays_of_cron_refuses_anything_else(part: str):
    with pytest.raises(ValueError, match="0 is Sunday"):
        weekdays_of_cron(part)


@pytest.mark.parametrize(
    ("weekdays", "first"),
    [
        ("1-5", 1),
        ("0-4", 0),  # Tel Aviv until 2025, Riyadh
        ("0-5", 0),  # Tel Aviv's days of both before and after 2026
        ("6,0-3", 6),  # Riyadh until 2013
        ("1-6", 1),
        ("0-6", 1),
        ("2-4", 2),
        ("1,3,5", 1),
        ("5", 5),
    ],
)
def test_first_trading_weekday_is_the_one_after_the_longest_rest(weekdays: str, first: int):
    assert first_trading_weekday(weekdays_of_cron(weekdays)) == first


def test_weeks_that_begin_on_sunday_are_named_by_the_monday_in_them():
    assert [weekday(date(2024, 3, day)) for day in (10, 11, 16)] == [0, 1, 6]
    assert week_days(date(2024, 3, 11), 0) == (date(2024, 3, 10), date(2024, 3, 16))
    assert week_days(date(2024, 3, 11)) == (date(2024, 3, 11), date(2024, 3, 17))
    assert [week_of(date(2024, 3, day), 0) for day in (9, 10, 16, 17)] == [
        date(2024, 3, 4),
        date(2024, 3, 11),
        date(2024, 3, 11),
        date(2024, 3, 18),
    ]
    assert [week_of(date(2024, 3, day)) for day in (10, 11, 17)] == [
        date(2024, 3, 4),
        date(2024, 3, 11),
        date(2024, 3, 11),
    ]


@given(days, st.integers(0, 6))
def test_week_of_and_week_days_agree(day: date, first_weekday: int):
    week = week_of(day, first_weekday)
    first, last = week_days(week, first_weekday)
    assert weekday(first) == first_weekday
    assert first <= day <= last == first + 6 * DAY
    assert first <= week <= last
    assert week.weekday() == 0
    assert {week_of(first + n * DAY, first_weekday) for n in range(7)} == {week}
    assert week_of(last + DAY, first_weekday) == week + 7 * DAY


def test_week_days_wants_a_monday():
    with pytest.raises(ValueError, match="2024-03-12 is a Tuesday; a week is named by its Monday"):
        week_days(date(2024, 3, 12), 0)
