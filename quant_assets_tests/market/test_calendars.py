"""Trading calendars against hand-written answers: what the exchanges announced, as far as we surely know it.

Every exchange with a file in `answers/` is asked the same questions by one suite; those without were compared
with a second source (test_compared_calendars.py). The answers were written from knowledge of the announcements,
neither generated nor copied from a document: a fact that was not sure was left out, and whoever checks one
against its source may say so beside it.
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from time import process_time
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.exchanges import exchange, known
from quant_assets.market.calendars import (
    FIRST_DAY,
    LAST_DAY,
    CalendarError,
    CalendarRules,
    NotASession,
    OutsideCalendar,
    TradingCalendar,
    UnknownCalendar,
    trading_calendar,
)

ANSWERS = {
    file.stem: yaml.load(file.read_text("utf-8"), yaml.BaseLoader)
    for file in sorted((Path(__file__).parent / "answers").glob("*.yaml"))
}
KINDS = {"years", "early", "closed", "sessions", "closes_at"}
CODES = sorted(ANSWERS)
DAY = timedelta(days=1)


def cases(kind: str) -> list[tuple[str, str]]:
    return [(code, key) for code in CODES for key in ANSWERS[code].get(kind, ())]


def calendar(code: str) -> TradingCalendar:
    return exchange(code).calendar()


def weekdays_of(year: int) -> list[date]:
    days = [date(year, 1, 1) + n * DAY for n in range(366)]
    return [day for day in days if day.year == year and day.weekday() < 5]


# The shared suite ---------------------------------------------------------------------------------


def test_every_exchange_with_answers_has_them_of_every_kind():
    assert set(ANSWERS) <= set(known())
    for code, answers in ANSWERS.items():
        assert set(answers) >= KINDS, code
        assert all(answers[kind] for kind in KINDS), code


@pytest.mark.parametrize(("code", "year"), cases("years"))
def test_the_days_without_trading_of_a_year(code: str, year: str):
    published = {date.fromisoformat(f"{year}-{day}") for day in ANSWERS[code]["years"][year]}
    expected = [day for day in weekdays_of(int(year)) if day not in published]
    assert published <= set(weekdays_of(int(year))), "an answer is on a weekend"
    assert calendar(code).sessions(date(int(year), 1, 1), date(int(year), 12, 31)) == expected


@pytest.mark.parametrize(("code", "year"), cases("early"))
def test_the_early_closes_of_a_year(code: str, year: str):
    published = {
        date.fromisoformat(f"{year}-{day}"): time.fromisoformat(at)
        for day, at in ANSWERS[code]["early"][year].items()
    }
    assert calendar(code).early_closes(date(int(year), 1, 1), date(int(year), 12, 31)) == published


@pytest.mark.parametrize("code", CODES)
def test_days_known_to_be_closed_or_open(code: str):
    asked = calendar(code).is_session
    wrong_open = [day for day in ANSWERS[code]["closed"] if asked(date.fromisoformat(day))]
    wrong_closed = [day for day in ANSWERS[code]["sessions"] if not asked(date.fromisoformat(day))]
    assert (wrong_open, wrong_closed) == ([], [])


@pytest.mark.parametrize("code", CODES)
def test_the_moments_of_closing(code: str):
    published = {
        date.fromisoformat(day): datetime.fromisoformat(at) for day, at in ANSWERS[code]["closes_at"].items()
    }
    answered = {day: calendar(code).closes_at(day) for day in published}
    assert answered == published
    assert all(moment.tzinfo is UTC for moment in answered.values())


@pytest.mark.parametrize(("code", "year"), cases("counts"))
def test_the_number_of_sessions_of_a_year(code: str, year: str):
    found = calendar(code).sessions(date(int(year), 1, 1), date(int(year), 12, 31))
    assert len(found) == int(ANSWERS[code]["counts"][year])


# What holds for every calendar --------------------------------------------------------------------

codes = st.sampled_from(CODES)
days = st.dates(date(1999, 1, 1), date(2028, 12, 31))
spans = st.tuples(days, st.integers(0, 800)).map(lambda span: (span[0], span[0] + span[1] * DAY))
offsets = st.integers(-3 * 24 * 60, 3 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))
delays = st.integers(0, 600).map(lambda minutes: timedelta(minutes=minutes))


@given(codes, spans)
def test_sessions_are_sorted_unique_and_in_the_trading_week(code: str, span: tuple[date, date]):
    one = exchange(code)
    found = one.calendar().sessions(*span)
    assert all(before < after for before, after in pairwise(found))
    assert all(span[0] <= day <= span[1] for day in found)
    assert {day.isoweekday() % 7 for day in found} <= one.session_weekdays()
    assert found == [
        day
        for n in range((span[1] - span[0]).days + 1)
        if one.calendar().is_session(day := span[0] + n * DAY)
    ]


@given(codes, days)
def test_previous_and_next_are_inverse(code: str, day: date):
    asked = calendar(code)
    after, before = asked.next_session(day), asked.previous_session(day)
    assert before < day < after
    assert asked.sessions(before, after) == [before, *([day] if asked.is_session(day) else []), after]
    assert asked.previous_session(asked.next_session(after)) == after
    assert asked.next_session(asked.previous_session(before)) == before


@given(codes, days)
def test_a_session_closes_on_its_own_day_and_after_the_one_before(code: str, day: date):
    asked = calendar(code)
    session = asked.next_session(day)
    closes = asked.closes_at(session)
    local = closes.astimezone(ZoneInfo(asked.rules.zone))
    assert local.date() == session
    assert closes > asked.closes_at(asked.previous_session(session))
    assert (session in asked.early_closes(session, session)) == (
        asked.schedule(session, session)["early_close"].item()
    )


@given(codes, days, offsets, offsets, delays)
def test_a_session_that_is_over_stays_over(
    code: str, day: date, one: timedelta, other: timedelta, delay: timedelta
):
    asked = calendar(code)
    session = asked.next_session(day)
    earlier, later = (asked.closes_at(session) + offset for offset in sorted((one, other)))
    assert asked.is_over(session, earlier, delay) <= asked.is_over(session, later, delay)
    assert asked.is_over(session, earlier, delay) == (earlier - asked.closes_at(session) >= delay)


@given(codes, days, offsets, delays)
def test_the_last_session_over_is_over_and_the_next_is_not(
    code: str, day: date, offset: timedelta, delay: timedelta
):
    asked = calendar(code)
    at = asked.closes_at(asked.next_session(day)) + offset
    last = asked.last_session_over(at.astimezone(ZoneInfo("Pacific/Auckland")), delay)
    assert last is not None
    assert asked.is_over(last, at, delay)
    assert not asked.is_over(asked.next_session(last), at, delay)


@given(codes, days)
def test_weeks_part_the_sessions(code: str, day: date):
    asked = calendar(code)
    monday = day - day.weekday() * DAY
    week, following = asked.week_sessions(monday), asked.week_sessions(monday + 7 * DAY)
    assert week + following == asked.sessions(monday, monday + 13 * DAY)
    assert all(monday <= session <= monday + 6 * DAY for session in week)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.dates(date(1998, 1, 1), date(2035, 12, 31)), min_size=1, max_size=6))
def test_the_order_of_the_questions_changes_no_answer(asked: list[date]):
    # Trades on New Year's Day, where parts meet.
    rules = CalendarRules("XBOM", "Asia/Kolkata", time(15, 30))
    fresh, whole = TradingCalendar(rules), trading_calendar(rules)
    whole.sessions(date(1997, 1, 1), date(2036, 1, 1))
    first, last = min(asked), max(asked)
    assert [fresh.previous_session(day) for day in asked] == [whole.previous_session(day) for day in asked]
    assert fresh.schedule(first, last).equals(whole.schedule(first, last))


# Single promises ----------------------------------------------------------------------------------


def test_the_answer_for_a_day_that_is_no_session_helps():
    with pytest.raises(NotASession, match=r"XASX: 2024-01-26 .* 2024-01-25, .* 2024-01-29") as caught:
        calendar("ASX").closes_at(date(2024, 1, 26))
    assert isinstance(caught.value, ValueError)
    with pytest.raises(NotASession):
        calendar("ASX").is_over(date(2024, 1, 27), datetime(2030, 1, 1, tzinfo=UTC))


def test_a_moment_needs_a_time_zone():
    naive = datetime(2024, 3, 15, 17, 0)  # noqa: DTZ001 - what is refused
    with pytest.raises(ValueError, match="no time zone"):
        calendar("ASX").is_over(date(2024, 3, 15), naive)
    with pytest.raises(ValueError, match="no time zone"):
        calendar("ASX").last_session_over(naive)


def test_a_day_is_not_a_moment():
    with pytest.raises(TypeError):
        calendar("US").is_session(datetime(2024, 3, 15, tzinfo=UTC))


def test_a_week_is_named_by_its_monday():
    assert calendar("US").week_sessions(date(2001, 9, 10)) == [date(2001, 9, 10)]
    with pytest.raises(ValueError, match="Tuesday"):
        calendar("US").week_sessions(date(2001, 9, 11))


def test_a_span_that_ends_before_it_starts_is_empty():
    asked, start, end = calendar("US"), date(2024, 3, 15), date(2024, 3, 14)
    assert asked.sessions(start, end) == []
    assert asked.early_closes(start, end) == {}
    assert asked.schedule(start, end).is_empty()


def test_the_schedule_is_a_typed_frame():
    frame = calendar("US").schedule(date(2024, 11, 28), date(2024, 12, 1))
    assert frame.schema == {
        "session": pl.Date,
        "closes_at": pl.Datetime("us", "UTC"),
        "early_close": pl.Boolean,
    }
    assert frame.rows() == [(date(2024, 11, 29), datetime(2024, 11, 29, 18, tzinfo=UTC), True)]
    assert calendar("US").schedule(date(2024, 12, 1), date(2024, 11, 28)).schema == frame.schema


def test_days_after_the_last_are_refused():
    asked, day = calendar("US"), LAST_DAY + DAY
    with pytest.raises(OutsideCalendar, match=rf"NYSE: {day} .* {FIRST_DAY} to 2049-12-31"):
        asked.is_session(day)
    with pytest.raises(OutsideCalendar):
        asked.sessions(date(2024, 1, 1), day)


@pytest.mark.parametrize("loaded", [False, True])
def test_before_the_first_day_no_session_is_known(loaded: bool):
    asked = TradingCalendar(exchange("LSE").rules)
    if loaded:
        asked.sessions(date(1970, 1, 1), date(1980, 1, 1))
    day = date(1969, 12, 1)
    assert not asked.is_session(day)
    assert asked.sessions(day, date(1970, 1, 5)) == [date(1970, 1, 2), date(1970, 1, 5)]
    assert asked.sessions(day, day + 5 * DAY) == []
    assert asked.early_closes(day, date(1970, 1, 5)) == {}
    assert asked.next_session(day) == date(1970, 1, 2)
    assert asked.last_session_over(datetime(1969, 12, 1, tzinfo=UTC)) is None
    assert asked.sessions_over_between(
        datetime(1969, 12, 1, tzinfo=UTC), datetime(1970, 1, 3, tzinfo=UTC)
    ) == [date(1970, 1, 2)]
    assert (asked.knows(day), asked.knows(date(1970, 1, 1))) == (False, True)
    with pytest.raises(OutsideCalendar, match=r"before 1969-12-01; this calendar begins on 1970-01-01"):
        asked.previous_session(day)


def test_where_calendars_begin():
    """With the holidays that the library knows: years before would be all weekdays."""
    begin = {code: calendar(code).first_day for code in CODES}
    assert begin == {**dict.fromkeys(begin, date(1970, 1, 1)), "US": FIRST_DAY}
    listed_only = trading_calendar(CalendarRules("XBOM", "Asia/Kolkata", time(15, 30)))
    assert listed_only.first_day == date(1997, 1, 1)
    assert not listed_only.is_session(date(1997, 1, 23))  # the first holiday on its list
    always_open = trading_calendar(CalendarRules("24/7", "UTC", time(0)))
    assert always_open.first_day == FIRST_DAY


def test_a_calendar_is_built_no_further_back_than_it_is_asked():
    asked = TradingCalendar(exchange("US").rules)
    asked.sessions(date(2000, 1, 3), date(2020, 1, 1))
    span = asked._span
    assert span is not None
    assert (span.first, span.last) == (date(1999, 1, 1), date(2022, 12, 31))


def test_a_calendar_grows_by_whole_years_four_at_least_and_loses_no_session():
    asked = TradingCalendar(exchange("LSE").rules)
    for day, first, last in (
        (date(2010, 6, 1), 2009, 2012),
        (date(2012, 12, 31), 2009, 2012),
        (date(2008, 12, 31), 2005, 2012),
        (date(2013, 1, 2), 2005, 2016),
        (date(2016, 12, 31), 2005, 2016),
        (date(2019, 3, 14), 2005, 2021),
    ):
        asked.is_session(day)
        span = asked._span
        assert span is not None
        assert (span.first, span.last) == (date(first, 1, 1), date(last, 12, 31))
    assert span.days == calendar("LSE").sessions(date(2005, 1, 1), date(2021, 12, 31))


def test_a_session_is_over_at_the_very_moment_that_it_closes():
    asked, thursday, friday = calendar("US"), date(2024, 3, 14), date(2024, 3, 15)
    close, instant, hour = (
        datetime(2024, 3, 14, 20, tzinfo=UTC),
        timedelta(microseconds=1),
        timedelta(hours=1),
    )
    for delay in (timedelta(0), hour):
        at = close + delay
        assert [asked.is_over(thursday, at - instant, delay), asked.is_over(thursday, at, delay)] == [
            False,
            True,
        ]
        assert asked.last_session_over(at - instant, delay) == date(2024, 3, 13)
        assert asked.last_session_over(at, delay) == thursday
        assert asked.sessions_over_between(at - instant, at, delay) == [thursday]
        assert asked.sessions_over_between(at, at + 24 * hour, delay) == [friday]
        assert asked.sessions_over_between(at, at + 24 * hour - instant, delay) == []
        assert asked.sessions_over_between(at + hour, at, delay) == []


def test_holidays_are_computed_no_further_than_days_are_answered():
    """The library's own way is to compute them until 2200, which takes Seoul's a second more."""
    asked = TradingCalendar(exchange("LSE").rules)
    assert asked.is_session(date(2049, 12, 29))
    source = asked._source
    assert source is not None
    assert date(2049, 12, 27) < max(source._calendar.holidays().holidays).astype(date) < date(2052, 1, 1)


def test_the_edges_of_the_calendar():
    asked = TradingCalendar(exchange("US").rules)
    assert asked.next_session(FIRST_DAY) == date(1953, 1, 2)
    assert asked.previous_session(LAST_DAY) == date(2049, 12, 30)  # the 31st is a Friday, a session itself
    assert asked.last_session_over(datetime(1953, 1, 2, 20, 29, tzinfo=UTC)) is None
    assert asked.last_session_over(datetime(1953, 1, 2, 20, 30, tzinfo=UTC)) == date(1953, 1, 2)
    with pytest.raises(OutsideCalendar, match="before 1953-01-02"):
        asked.previous_session(date(1953, 1, 2))
    with pytest.raises(OutsideCalendar, match="after 2049-12-31"):
        asked.next_session(LAST_DAY)
    with pytest.raises(NotASession, match="the one before is none known, the one after 1953-01-02"):
        asked.closes_at(FIRST_DAY)


def test_a_calendar_that_knows_few_years_knows_no_session_before_them():
    """The library would answer 2015 with a Riyadh that has no holidays."""
    riyadh = trading_calendar(CalendarRules("XSAU", "Asia/Riyadh", time(15)))
    assert riyadh.is_session(date(2024, 3, 3))  # a Sunday
    assert not riyadh.is_session(date(2024, 3, 1))  # a Friday
    assert riyadh.first_day == date(2021, 1, 1)
    assert riyadh.sessions(date(2015, 1, 1), date(2021, 1, 4)) == [date(2021, 1, 3), date(2021, 1, 4)]
    assert riyadh.known_until == date(2029, 12, 31)
    assert riyadh.is_session(date(2030, 1, 6))  # a Sunday like any, until the holidays of 2030 are known


def test_overrides_win_over_the_library():
    rules = CalendarRules(
        calendar="NYSE",
        zone="America/New_York",
        close=time(16),
        closed=(date(2024, 3, 14),),
        open=((date(2024, 3, 16), time(12)), (date(2024, 3, 15), time(13)), (date(2024, 7, 3), time(16))),
    )
    asked = TradingCalendar(rules)
    friday, saturday = date(2024, 3, 15), date(2024, 3, 16)
    assert asked.week_sessions(date(2024, 3, 11))[2:] == [date(2024, 3, 13), friday, saturday]
    assert asked.early_closes(date(2024, 3, 1), date(2024, 7, 31)) == {friday: time(13), saturday: time(12)}
    assert asked.closes_at(saturday) == datetime(2024, 3, 16, 16, tzinfo=UTC)
    assert asked.closes_at(date(2024, 7, 3)) == datetime(2024, 7, 3, 20, tzinfo=UTC)
    assert asked.next_session(date(2024, 3, 13)) == friday


def test_a_new_usual_close_is_news_about_the_hours_of_today_only():
    later = TradingCalendar(CalendarRules("JPX", "Asia/Tokyo", time(16)))
    assert later.closes_at(date(2025, 6, 2)) == datetime(2025, 6, 2, 7, tzinfo=UTC)
    assert later.closes_at(date(2024, 11, 1)) == datetime(2024, 11, 1, 6, tzinfo=UTC)
    assert later.early_closes(date(2024, 1, 1), date(2025, 12, 31)) == {}


def test_an_override_is_early_by_the_hours_of_its_own_day():
    day = date(2023, 6, 1)
    kept = TradingCalendar(CalendarRules("JPX", "Asia/Tokyo", time(15, 30), open=((day, time(15)),)))
    assert kept.early_closes(day, day) == {}


@pytest.mark.parametrize("opened", [((date(2024, 3, 14), time(12)),), ((date(2024, 3, 15), time(12)),) * 2])
def test_rules_that_contradict_themselves_are_refused(opened: tuple[tuple[date, time], ...]):
    with pytest.raises(ValueError, match=r"NYSE: .* listed"):
        CalendarRules("NYSE", "America/New_York", time(16), closed=(date(2024, 3, 14),), open=opened)


def test_an_unknown_calendar_names_near_ones():
    with pytest.raises(UnknownCalendar, match=r"'NYSEE'.*NYSE"):
        trading_calendar(CalendarRules("NYSEE", "America/New_York", time(16))).is_session(date(2024, 1, 2))


def test_a_zone_that_is_not_the_calendars_is_refused():
    moved = trading_calendar(CalendarRules("XPAR", "Europe/London", time(17, 30)))
    with pytest.raises(CalendarError, match=r"Europe/Paris.*Europe/London"):
        moved.is_session(date(2024, 1, 2))


def test_one_calendar_per_rules():
    one = exchange("US").rules
    again = CalendarRules(one.calendar, one.zone, one.close, one.closed, one.open)
    assert trading_calendar(one) is trading_calendar(again)


def test_threads_may_share_a_calendar():
    shared = TradingCalendar(exchange("LSE").rules)
    years = [*range(1995, 2027)] * 2

    def ask(year: int) -> list[date]:
        return shared.sessions(date(year, 1, 1), date(year, 12, 31))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, years))
    alone = calendar("LSE")
    assert answers == [alone.sessions(date(year, 1, 1), date(year, 12, 31)) for year in years]


def test_questions_in_a_loop_are_cheap():
    asked = calendar("US")
    wanted = [date(2000, 1, 1) + (n % 9000) * DAY for n in range(100_000)]
    asked.is_session(wanted[-1])
    start = process_time()
    found = sum(map(asked.is_session, wanted))
    assert process_time() - start < 1.0
    assert 0.6 < found / len(wanted) < 0.8


def test_importing_loads_no_calendar_library():
    script = "import sys, quant_assets.market.calendars; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "quant_assets.market.calendars" in loaded.split()
    heavy = r"\b(pandas_market_calendars|exchange_calendars|pandas|polars|dagster)\b"
    assert not re.findall(heavy, loaded)


def test_a_delay_is_hours_that_pass_not_hours_on_the_wall() -> None:
    # New York's clocks went forward in the night to Sunday 2013-03-10.
    at = datetime(2013, 3, 10, 16, 0, tzinfo=ZoneInfo("America/New_York"))
    friday, delay = date(2013, 3, 8), timedelta(hours=47)
    calendar = exchange("US").calendar()
    assert calendar.closes_at(friday) + delay == at
    assert calendar.last_session_over(at, delay) == friday
    assert calendar.last_session_over(at - timedelta(minutes=1), delay) == date(2013, 3, 7)
    assert calendar.sessions_over_between(at - timedelta(minutes=1), at, delay) == [friday]
    assert calendar.sessions_over_between(at, at + timedelta(minutes=1), delay) == []
    assert calendar.sessions_over_between(at, at, delay) == []
