"""Stamps that have slipped to the day before their session."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quant_assets import exchanges
from quant_assets.resources.yahoo_stamps import AFTER_CLOSE, Stamping

NEW_YORK = "America/New_York"
DAY = timedelta(days=1)


def at(day: date, hour: int, minute: int = 0, zone: str = NEW_YORK) -> int:
    return int(datetime.combine(day, time(hour, minute), ZoneInfo(zone)).timestamp())


def table(stamps: Sequence[int], closes: Sequence[float] | None = None) -> pl.DataFrame:
    """Bars, of which each has another close unless it is given."""
    return pl.DataFrame(
        {
            "timestamp": stamps,
            "close": range(len(stamps)) if closes is None else closes,
            "adj_close": [float(i) for i in range(len(stamps))],
        },
        schema_overrides={"timestamp": pl.Int64, "close": pl.Float64},
    )


# A fortnight of March 2024 in New York, whose clocks go forward on Sunday the tenth.
DAYS = [date(2024, 3, n) for n in (4, 5, 6, 7, 8, 11, 12, 13, 14, 15)]


def new_york(**more: object) -> Stamping:
    return Stamping(NEW_YORK, time(16), DAYS, **more)  # type: ignore[arg-type]


def usual(day: date) -> int:
    return at(day, 9, 30)


@pytest.mark.parametrize("hour", [18, 20, 22, 23])
@pytest.mark.parametrize("slipped", [[4], [5], [1, 2, 3, 4], [5, 6, 7, 8, 9], [6, 7, 8, 9], list(range(10))])
def test_bars_of_the_evening_before_are_put_on_their_sessions(hour: int, slipped: list[int]) -> None:
    stamps = [at(day - DAY, hour) if i in slipped else usual(day) for i, day in enumerate(DAYS)]
    rows, _, moved = new_york().put(table(stamps))
    assert rows["date"].to_list() == DAYS
    assert moved == [DAYS[i] for i in slipped]


@pytest.mark.parametrize("slipped", [[4], [5], [1, 2, 3, 4], [5, 6, 7, 8, 9], [6, 7, 8, 9], list(range(10))])
def test_bars_of_the_midnight_before_are_put_on_their_sessions(slipped: list[int]) -> None:
    stamps = [at(day - DAY, 0) if i in slipped else usual(day) for i, day in enumerate(DAYS)]
    rows, _, moved = new_york().put(table(stamps))
    assert rows["date"].to_list() == DAYS
    assert moved == [DAYS[i] for i in slipped]


def test_bars_of_their_own_midnight_stay() -> None:
    rows, _, moved = new_york().put(table([at(day, 0) for day in DAYS]))
    assert (rows["date"].to_list(), moved) == (DAYS, [])


def test_a_bar_of_its_own_midnight_stays_where_the_day_after_has_none() -> None:
    rows, _, moved = new_york().put(table([usual(DAYS[0]), at(DAYS[1], 0), usual(DAYS[3])]))
    assert (rows["date"].to_list(), moved) == ([DAYS[0], DAYS[1], DAYS[3]], [])
    # One of the evening moves there.
    rows, _, moved = new_york().put(table([usual(DAYS[0]), at(DAYS[1], 20), usual(DAYS[3])]))
    assert (rows["date"].to_list(), moved) == ([DAYS[0], DAYS[2], DAYS[3]], [DAYS[2]])


@pytest.mark.parametrize(("hour", "minute"), [(16, 0), (16, 1), (17, 59)])
def test_a_row_of_the_minutes_after_the_close_is_of_that_day(hour: int, minute: int) -> None:
    stamps = [*map(usual, DAYS[:-1]), at(DAYS[-1], hour, minute)]
    rows, _, moved = new_york().put(table(stamps))
    assert (rows["date"].to_list(), moved) == (DAYS, [])


def test_a_live_row_is_of_the_day_of_the_last_trade_however_late() -> None:
    """Funds are priced in the evening: their live row is stamped then."""
    stamps = [*map(usual, DAYS[:8]), at(DAYS[8], 20, 1)]
    rows, _, moved = new_york(live_at=stamps[-1]).put(table(stamps))
    assert (rows["date"].to_list(), moved) == (DAYS[:9], [])
    assert new_york().put(table(stamps))[2] == [DAYS[9]]


def test_a_history_that_is_always_stamped_in_the_evening_stays() -> None:
    """Moved it would lie on Saturdays."""
    rows, _, moved = new_york().put(table([at(day, 19) for day in DAYS]))
    assert (rows["date"].to_list(), moved) == (DAYS, [])


def test_an_evening_row_between_two_full_days_is_not_moved_from_one_to_the_other() -> None:
    stamps = [usual(DAYS[0]), at(DAYS[0], 20), usual(DAYS[1])]
    rows, _, moved = new_york().put(table(stamps))
    assert (rows["date"].to_list(), moved) == ([DAYS[0], DAYS[0], DAYS[1]], [])


def test_the_same_bar_at_both_hours_is_one_bar_of_its_session() -> None:
    stamps = [usual(DAYS[0]), at(DAYS[0], 23), usual(DAYS[1])]
    rows, _, _ = new_york().put(table(stamps, [1.0, 2.0, 2.0]))
    assert rows["date"].to_list() == [DAYS[0], DAYS[1], DAYS[1]]


@pytest.mark.parametrize("close", [None, time(22), time(23, 30)])
def test_without_a_close_or_after_a_late_one_no_evening_is_another_day(close: time | None) -> None:
    rows, _, moved = Stamping(NEW_YORK, close, DAYS).put(table([at(DAYS[0], 23, 45)]))
    assert (rows["date"].to_list(), moved) == ([DAYS[0]], [])
    assert Stamping(NEW_YORK, close, DAYS).day(at(DAYS[0], 23, 45), {}) == DAYS[0]


def test_an_event_goes_with_the_bar_of_its_stamp_or_by_its_hour() -> None:
    stamping = new_york()
    evening, midnight = at(DAYS[0], 23), at(DAYS[1], 0)
    _, placed, _ = stamping.put(table([usual(DAYS[0]), evening, usual(DAYS[1] + DAY), midnight]))
    assert [stamping.day(stamp, placed) for stamp in (evening, midnight)] == [DAYS[1]] * 2
    assert stamping.day(at(DAYS[2], 21), placed) == DAYS[3]
    assert stamping.day(usual(DAYS[2]), placed) == DAYS[2]
    # A Friday evening is no Saturday; and what is dated on a closed day at a usual hour is nobody's slip.
    assert stamping.day(at(DAYS[4], 21), placed) == DAYS[4]
    assert stamping.day(usual(DAYS[4] + DAY), placed) == DAYS[4] + DAY
    # A fund's evening bars have stayed, and so does what is stamped with them.
    _, placed, _ = stamping.put(table([at(day, 19) for day in DAYS]))
    assert stamping.day(at(DAYS[0], 19), placed) == DAYS[0]


CODES = sorted(exchanges.known())


def weekdays(start: date, length: int, closed: Collection[int] = ()) -> list[date]:
    days = (start + timedelta(days=n) for n in range(length) if n not in closed)
    return [day for day in days if day.weekday() < 5]


@settings(max_examples=150, deadline=None)
@given(
    code=st.sampled_from(CODES),
    start=st.dates(date(2001, 1, 1), date(2025, 6, 1)),
    closed=st.sets(st.integers(0, 99), max_size=20),
    first=st.integers(0, 59),
    length=st.integers(0, 60),
    share=st.floats(0, 1, exclude_max=True),
)
@example(code="US", start=date(2024, 3, 1), closed={3}, first=0, length=60, share=0.0)
@example(code="ASX", start=date(2024, 9, 20), closed=set(), first=0, length=60, share=0.999)
@example(code="XETR", start=date(2024, 10, 20), closed={1, 8, 9}, first=3, length=4, share=0.8)
def test_sessions_come_back_in_every_zone_whatever_the_slip(
    code: str, start: date, closed: set[int], first: int, length: int, share: float
) -> None:
    """However early a stamp is, up to two hours after the close of the evening before; the clocks change within."""
    exchange = exchanges.exchange(code)
    zone = ZoneInfo(exchange.zone)
    sessions = weekdays(start, 100, closed)
    slipped = range(first, min(first + length, len(sessions)))
    stamps: list[int] = []
    for i, day in enumerate(sessions):
        opening = datetime.combine(day, time(9), zone).astimezone(UTC)
        midnight = datetime.combine(day, time(0), zone).astimezone(UTC)
        # In local time: an hour that the clocks leave out would be another.
        earliest = datetime.combine(day - DAY, exchange.latest_close, zone) + AFTER_CLOSE
        span = (midnight - earliest.astimezone(UTC)).total_seconds()
        stamps.append(
            int(midnight.timestamp() - 1 - share * (span - 1)) if i in slipped else int(opening.timestamp())
        )
    stamping = Stamping(exchange.zone, exchange.latest_close, sessions)
    rows, placed, moved = stamping.put(table(stamps))
    assert rows["date"].to_list() == sessions
    assert moved == [sessions[i] for i in slipped]
    assert [stamping.day(stamp, placed) for stamp in stamps] == sessions
    # With the calendar unknown as well, as long as a day has one bar.
    assert Stamping(exchange.zone, exchange.latest_close).put(table(stamps))[0]["date"].to_list() == sessions


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("hours", [-2, -1, 0, 1, 2])
def test_midnights_with_the_wrong_daylight_saving_and_midnights_of_utc_are_their_sessions(
    code: str, hours: int
) -> None:
    exchange = exchanges.exchange(code)
    sessions = weekdays(date(2023, 1, 1), 365, [90, 91, 200])
    stamping = Stamping(exchange.zone, exchange.latest_close, sessions)
    own = [at(day, 0, zone=exchange.zone) + hours * 3600 for day in sessions]
    # Two hours more would be an hour after New York's close.
    utc = [at(day, 0, zone="UTC") + max(hours, -1) * 3600 for day in sessions]
    for stamps in (own, utc):
        assert stamping.put(table(stamps))[0]["date"].to_list() == sessions


# What is at usual hours is put on its sessions without a look at each.


@given(
    st.sampled_from(["America/New_York", "Australia/Sydney", "Europe/London", "Asia/Kolkata", "UTC"]),
    st.lists(st.integers(-(10**9), 25 * 10**8), unique=True, max_size=4),
    st.lists(st.integers(0, 500), unique=True, max_size=6),
    st.sampled_from([0, 6 * 3600, 14 * 3600 + 1800, 21 * 3600, 23 * 3600]),
    st.sampled_from([None, time(16), time(23, 30)]),
)
def test_usual_days_are_those_that_put_finds(
    zone: str, far: list[int], near: list[int], hour: int, close: time | None
) -> None:
    stamps = sorted({*far, *(1_300_060_800 + day * 86_400 + hour for day in near)})
    stamping = Stamping(zone, close, live_at=stamps[-1] if stamps else None)
    days = stamping.usual_days(np.array(stamps, dtype=np.int64))
    if days is None:
        return
    rows = pl.DataFrame({"timestamp": stamps, "adj_close": 1.0, "close": [float(s) for s in stamps]})
    dated, placed, shifted = stamping.put(rows)
    assert (placed, shifted) == ({}, [])
    assert dated["date"].to_physical().to_list() == days.tolist()


def test_usual_days_are_found_in_winter_and_summer_and_left_to_put_where_clocks_change() -> None:
    stamping = Stamping("America/New_York", time(16))
    opens = [datetime(2013, 3, day, hour, 30, tzinfo=UTC) for day, hour in ((8, 14), (11, 13), (12, 13))]
    found = stamping.usual_days(np.array([int(at.timestamp()) for at in opens]))
    assert found is not None
    assert found.tolist() == [(at.date() - date(1970, 1, 1)).days for at in opens]
    assert stamping.usual_days(np.array([int(datetime(2013, 3, 10, 13, tzinfo=UTC).timestamp())])) is None
