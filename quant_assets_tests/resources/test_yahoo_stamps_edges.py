"""Which session a stamp belongs to: the moments on either side of every bound."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from quant_assets.resources.yahoo_stamps import Stamping, _stretches

NEW_YORK = "America/New_York"
DAY = timedelta(days=1)
# Monday to Friday, without the Wednesday.
MONDAY, TUESDAY, THURSDAY, FRIDAY = (date(2024, 6, n) for n in (3, 4, 6, 7))
WEDNESDAY, SATURDAY = date(2024, 6, 5), date(2024, 6, 8)
SESSIONS = [MONDAY, TUESDAY, THURSDAY, FRIDAY]


def at(day: date, hour: int, minute: int = 0, second: int = 0, zone: str = NEW_YORK) -> int:
    return int(datetime.combine(day, time(hour, minute, second), ZoneInfo(zone)).timestamp())


def usual(stamping: Stamping, *stamps: int) -> list[date] | None:
    found = stamping.usual_days(np.array(stamps, dtype=np.int64))
    return None if found is None else [date(1970, 1, 1) + DAY * int(day) for day in found]


def put(stamping: Stamping, *stamps: int) -> list[date]:
    """The sessions that bars, each with a value of its own, are put on."""
    rows = pl.DataFrame(
        {"timestamp": stamps, "close": [float(i) for i in range(len(stamps))], "adj_close": 1.0},
        schema_overrides={"timestamp": pl.Int64},
    )
    return stamping.put(rows)[0]["date"].to_list()


# Days of the years 1950 to 2049 are found in a step.


@pytest.mark.parametrize(
    ("moment", "found"),
    [
        ("1949-12-31T23:59:59Z", False),
        ("1950-01-01T00:00:00Z", True),
        ("1950-01-02T00:00:00Z", True),
        ("1970-01-01T00:00:00Z", True),
        ("1970-01-01T23:59:59Z", True),
        ("2000-02-29T12:00:00Z", True),
        ("2049-12-30T00:00:00Z", True),
        ("2049-12-31T23:59:59Z", True),
        ("2050-01-01T00:00:00Z", False),
        ("2100-01-01T00:00:00Z", False),
    ],
)
def test_usual_days_are_those_of_a_century(moment: str, found: bool) -> None:
    stamp = int(datetime.fromisoformat(moment).timestamp())
    assert usual(Stamping("UTC"), stamp) == ([date.fromisoformat(moment[:10])] if found else None)
    beside = int(datetime(2000, 1, 3, tzinfo=UTC).timestamp())
    assert (usual(Stamping("UTC"), *sorted((stamp, beside))) is not None) is found


def test_no_stamps_have_no_usual_days() -> None:
    assert usual(Stamping("UTC")) is None


@pytest.mark.parametrize(
    ("day", "found"),
    [(date(2013, 3, 8), True), (date(2013, 3, 9), True), (date(2013, 3, 10), False), (date(2013, 3, 11), True),
     (date(2013, 11, 2), True), (date(2013, 11, 3), False), (date(2013, 11, 4), True)],
)  # fmt: skip
def test_only_the_day_on_which_clocks_are_changed_is_left_to_put(day: date, found: bool) -> None:
    assert usual(Stamping(NEW_YORK, time(16)), at(day, 12)) == ([day] if found else None)


@pytest.mark.parametrize("zone", ["Australia/Sydney", "Asia/Kolkata", NEW_YORK, "UTC"])
def test_usual_days_are_local(zone: str) -> None:
    for hour in (0, 12, 23):
        assert usual(Stamping(zone), at(MONDAY, hour, zone=zone)) == [MONDAY]


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ([MONDAY, TUESDAY, THURSDAY], True),
        ([MONDAY, FRIDAY], True),
        ([MONDAY, MONDAY], False),
        ([TUESDAY, MONDAY], False),
        ([MONDAY, TUESDAY, TUESDAY], False),
        ([MONDAY, MONDAY, TUESDAY], False),
        ([MONDAY, TUESDAY, MONDAY], False),
        ([MONDAY, THURSDAY, TUESDAY, FRIDAY], False),
    ],
)
def test_usual_days_are_in_order_each_once(days: list[date], found: bool) -> None:
    stamps = [at(day, 9 + place) for place, day in enumerate(days)]
    for close in (None, time(16)):
        assert usual(Stamping(NEW_YORK, close), *stamps) == (days if found else None)


@pytest.mark.parametrize(
    ("hour", "minute", "second", "plain"),
    [(0, 0, 0, False), (5, 59, 59, False), (6, 0, 0, True), (9, 30, 0, True), (17, 31, 19, True),
     (17, 31, 20, False), (17, 31, 21, False), (17, 32, 0, False), (23, 59, 59, False)],
)  # fmt: skip
def test_an_hour_is_usual_from_six_to_two_hours_after_the_close(
    hour: int, minute: int, second: int, plain: bool
) -> None:
    stamping = Stamping(NEW_YORK, time(15, 31, 20), SESSIONS)
    stamp = at(MONDAY, hour, minute, second)
    assert usual(stamping, stamp) == ([MONDAY] if plain else None)
    late = not plain and hour >= 6
    assert put(stamping, stamp) == [TUESDAY if late else MONDAY]
    assert stamping.day(stamp, {}) == (TUESDAY if late else MONDAY)
    # The row of the last trade is of its day at any hour, and no other row is.
    assert usual(Stamping(NEW_YORK, time(15, 31, 20), SESSIONS, stamp), stamp) == [MONDAY]
    assert put(Stamping(NEW_YORK, time(15, 31, 20), SESSIONS, stamp), stamp) == [MONDAY]
    assert usual(Stamping(NEW_YORK, time(15, 31, 20), SESSIONS, stamp + 1), stamp) == (
        [MONDAY] if plain else None
    )
    # Nothing is unusual where no close is known.
    assert usual(Stamping(NEW_YORK), stamp) == put(Stamping(NEW_YORK), stamp) == [MONDAY]
    assert Stamping(NEW_YORK).day(stamp, {}) == MONDAY


@pytest.mark.parametrize(
    ("close", "hour", "of_the_day_after"),
    [(time(21, 59), 23, False), (time(21, 59, 59), 23, False), (time(22), 23, False), (time(23, 30), 23, False),
     (time(21), 23, True), (time(20, 59), 22, False)],
)  # fmt: skip
def test_where_the_close_is_too_late_no_evening_is_of_the_day_after(
    close: time, hour: int, of_the_day_after: bool
) -> None:
    stamp = at(MONDAY, hour)
    found = TUESDAY if of_the_day_after else MONDAY
    assert Stamping(NEW_YORK, close, SESSIONS).day(stamp, {}) == found
    assert put(Stamping(NEW_YORK, close, SESSIONS), stamp) == [found]


# Bars at unusual hours.


@pytest.mark.parametrize(
    ("day", "hour", "found"),
    [
        (MONDAY, 20, TUESDAY),
        # The day after is closed.
        (TUESDAY, 20, TUESDAY),
        (FRIDAY, 20, FRIDAY),
        # Its own is, and the day after is not.
        (WEDNESDAY, 20, THURSDAY),
        (WEDNESDAY, 0, THURSDAY),
        (WEDNESDAY, 5, THURSDAY),
        (WEDNESDAY, 6, WEDNESDAY),
        (WEDNESDAY, 17, WEDNESDAY),
        # Both are.
        (SATURDAY, 0, SATURDAY),
        (SATURDAY, 20, SATURDAY),
        # Neither is, in the early morning.
        (MONDAY, 0, MONDAY),
        # Of days before the first session nothing is known.
        (MONDAY - DAY, 20, MONDAY),
        (MONDAY - DAY, 0, MONDAY - DAY),
        (MONDAY - 2 * DAY, 20, MONDAY - DAY),
        # The eve of 1970, a second before its end in UTC: no stamp stands for none.
        (date(1969, 12, 31), 18, date(1970, 1, 1)),
    ],
)
def test_a_bar_goes_to_the_day_after_where_that_can_be_its_day(day: date, hour: int, found: date) -> None:
    stamping = Stamping(NEW_YORK, time(16), SESSIONS)
    second = (59, 59) if day.year == 1969 else (0, 0)
    assert put(stamping, at(day, hour, *second)) == [found]


def test_a_day_between_the_first_two_sessions_is_closed() -> None:
    stamping = Stamping(NEW_YORK, time(16), [MONDAY, THURSDAY])
    assert put(stamping, at(MONDAY, 20)) == [MONDAY]
    assert stamping.day(at(MONDAY, 20), {}) == MONDAY


def test_a_bar_does_not_go_where_another_one_is() -> None:
    stamping = Stamping(NEW_YORK, time(16), SESSIONS)
    taken = at(TUESDAY, 9, 30)
    assert put(stamping, at(MONDAY, 20), taken) == [MONDAY, TUESDAY]
    assert put(stamping, at(MONDAY, 9, 30), at(MONDAY, 20), at(THURSDAY, 9, 30)) == [
        MONDAY,
        TUESDAY,
        THURSDAY,
    ]
    # Both days have one: it stays, whichever hour it has.
    for hour in (0, 20):
        assert put(stamping, at(MONDAY, 9, 30), at(MONDAY, hour), taken) == [MONDAY, MONDAY, TUESDAY]
    # In the early morning it goes where its own day has one and the day after has none.
    assert put(stamping, at(MONDAY, 0), at(MONDAY, 9, 30)) == [TUESDAY, MONDAY]


def test_bars_of_a_stretch_go_together_where_that_is_better_for_more_of_them() -> None:
    stamping = Stamping(NEW_YORK, time(16), SESSIONS)
    # Wednesday's goes from a closed day to an open one, Tuesday's the other way: as many for as against.
    assert put(stamping, at(TUESDAY, 20), at(WEDNESDAY, 20)) == [TUESDAY, WEDNESDAY]
    assert put(stamping, at(MONDAY, 20), at(WEDNESDAY, 20)) == [TUESDAY, THURSDAY]
    # A bar between them, and each is on its own.
    assert put(stamping, at(TUESDAY, 20), at(WEDNESDAY, 9), at(WEDNESDAY, 20)) == [
        TUESDAY,
        WEDNESDAY,
        THURSDAY,
    ]


def test_what_was_put_is_told_stamp_by_stamp() -> None:
    stamping = Stamping(NEW_YORK, time(16), SESSIONS)
    stamps = [at(MONDAY, 9), at(MONDAY, 20), at(THURSDAY, 0), at(FRIDAY, 9)]
    rows = pl.DataFrame({"timestamp": stamps, "close": [1.0, 2.0, 3.0, 4.0], "adj_close": 1.0})
    dated, placed, moved = stamping.put(rows)
    assert dated.drop("date").equals(rows)
    assert dated["date"].to_list() == [MONDAY, TUESDAY, THURSDAY, FRIDAY]
    assert placed == {stamps[1]: TUESDAY, stamps[2]: THURSDAY}
    assert moved == [TUESDAY]


@pytest.mark.parametrize(
    ("odd", "days", "stretches"),
    [
        ([], [], []),
        ([0], [1], [[0]]),
        ([0, 1, 2], [1, 2, 4], [[0, 1, 2]]),
        # In the order of the days.
        ([0, 1, 2], [4, 1, 2], [[1, 2, 0]]),
        # A usual bar on the day after the first is between them; one on the day itself is not.
        ([0, 1], [7, 9], [[0, 1]]),
        ([0, 1], [6, 8], [[0], [1]]),
        ([0, 1, 2, 3], [1, 2, 8, 9], [[0, 1], [2, 3]]),
        ([0, 1, 2, 3, 4], [1, 8, 9, 12, 13], [[0], [1, 2], [3, 4]]),
        ([1, 3], [5, 1, 5, 8], [[1], [3]]),
    ],
)
def test_a_stretch_ends_where_a_usual_bar_lies_between(
    odd: list[int], days: list[int], stretches: list[list[int]]
) -> None:
    usual = {date(2024, 1, 7), date(2024, 1, 11)}
    assert _stretches(odd, [date(2024, 1, day) for day in days], usual) == stretches


# Events.


@pytest.mark.parametrize(
    ("day", "hour", "minute", "found"),
    [
        (MONDAY, 17, 59, MONDAY),
        (MONDAY, 18, 0, TUESDAY),
        (MONDAY, 0, 0, MONDAY),
        (TUESDAY, 20, 0, TUESDAY),
        (WEDNESDAY, 9, 30, WEDNESDAY),
        (WEDNESDAY, 20, 0, THURSDAY),
        (FRIDAY, 20, 0, FRIDAY),
        (SATURDAY, 20, 0, SATURDAY + DAY),
        (MONDAY - DAY, 20, 0, MONDAY),
        (MONDAY - 2 * DAY, 20, 0, MONDAY - DAY),
    ],
)
def test_an_event_of_the_evening_is_of_the_day_after_if_that_may_trade_or_its_own_may_not(
    day: date, hour: int, minute: int, found: date
) -> None:
    stamping, stamp = Stamping(NEW_YORK, time(16), SESSIONS), at(day, hour, minute)
    assert stamping.day(stamp, {}) == found
    assert stamping.day(stamp, {stamp: FRIDAY, stamp + 1: MONDAY}) == FRIDAY
    # With no session known every day may trade.
    assert Stamping(NEW_YORK, time(16)).day(stamp, {}) == day + (DAY if hour >= 18 else timedelta(0))
