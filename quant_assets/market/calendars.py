"""Trading days of an exchange: which days are sessions, and the moment each of them closes.

The days come from pandas-market-calendars, corrected by the exchange's own rules: a day the rules call closed
or open is so, whatever the library says, because libraries learn of funerals, storms and outages late. The
library is imported on the first question (it costs about two seconds), and asked only for the years that
questions touch. Nothing here reads a clock: "is it over?" takes the moment as an argument.

A calendar knows the days from its `first_day` on. Before it no session is known, so that whoever looks back over the
edge finds nothing there; whether a day is before it is for `TradingCalendar.knows` to say. Where holidays are
announced year by year, it knows them until its `known_until`: after it every day of the trading week is a session, so
that no day's bars are passed over, and a holiday shows as a day without any.
"""

from __future__ import annotations

import difflib
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from quant_assets.errors import QuantAssetsError
from quant_assets.market.weeks import MONDAY, week_days

if TYPE_CHECKING:  # polars takes most of a second; only schedule() needs it
    import polars as pl

FIRST_DAY = date(1953, 1, 1)
"""No calendar begins earlier: until May 1952 New York traded on Saturdays as well, which the library has and
a trading week of five days lacks."""
LAST_DAY = date(2049, 12, 31)
"""Days after this one are not answered: tables of lunar holidays end here."""

_DAY = timedelta(days=1)


class CalendarError(QuantAssetsError, ValueError):
    """A question that a trading calendar cannot answer; the base of all errors of this module."""


class NotASession(CalendarError):
    """The day is not a trading day of the exchange."""


class OutsideCalendar(CalendarError):
    """The day lies outside the years that the calendar knows."""


class UnknownCalendar(CalendarError):
    """No calendar has this name."""


@dataclass(frozen=True)
class CalendarRules:
    """Plain, hashable facts about an exchange's trading days.

    `calendar` is a name for pandas-market-calendars, `zone` an IANA time zone, `close` the usual local
    closing time today (of the continuous trading). `closed` and `open` win over the library: days on which
    nothing traded although the library says so, and (day, local close) of days that traded although the
    library says not, or that closed at another time. `known_from` replaces the library's first day; `known_until` is
    the last one whose holidays are known, where the library's end sooner. Raises ValueError when a day is both closed
    and open, or nothing is known.
    """

    calendar: str
    zone: str
    close: time
    closed: tuple[date, ...] = ()
    open: tuple[tuple[date, time], ...] = ()
    known_from: date | None = None
    known_until: date | None = None

    def __post_init__(self) -> None:
        days = [day for day, _ in self.open]
        if both := set(self.closed).intersection(days):
            raise ValueError(f"{self.calendar}: {min(both)} is listed both as closed and as open")
        if len(set(days)) < len(days):
            raise ValueError(f"{self.calendar}: a day is listed twice as open")
        if self.known_from and self.known_until and self.known_until < self.known_from:
            raise ValueError(f"{self.calendar}: known_until {self.known_until} is before known_from")


class _Session(NamedTuple):
    day: date
    closes_at: datetime  # UTC
    close: time  # local
    early: bool


class _Span:
    """Immutable answers for the days from `first` to `last`; readers keep one while the next is built."""

    def __init__(self, first: date, last: date, rows: list[_Session]) -> None:
        self.first, self.last, self.rows = first, last, rows
        self.days = [row.day for row in rows]
        self.closes = [row.closes_at for row in rows]
        self.index = {day: place for place, day in enumerate(self.days)}

    def between(self, start: date, end: date) -> slice:
        return slice(bisect_left(self.days, start), bisect_right(self.days, end))


class TradingCalendar:
    """The sessions of one exchange. Get one from `trading_calendar`, which keeps one per set of rules.

    A day is a `datetime.date` (a datetime raises TypeError: it has no day without a zone). Before `first_day` no
    session is known: a day there is no session, and a range loses its part there. After `LAST_DAY` every method
    raises `OutsideCalendar`. Sessions before 1990 are what the library's holiday rules say, checked for New York and
    London; sessions more than about a year ahead are what they say, not what the exchange has announced, and after
    `known_until` no holiday is known. Safe to share between threads.
    """

    def __init__(self, rules: CalendarRules) -> None:
        self.rules = rules
        self._zone = ZoneInfo(rules.zone)
        self._lock = Lock()
        self._source: _Source | None = None
        self._span: _Span | None = None

    def __repr__(self) -> str:
        return f"TradingCalendar({self.rules.calendar})"

    @property
    def first_day(self) -> date:
        """The first day whose holidays the library's calendar knows. Imports the library."""
        return self._library().first

    @property
    def known_until(self) -> date:
        """The last day whose holidays the calendar knows: that of the last announced year, or `LAST_DAY`."""
        return self._library().known_until

    def knows(self, day: date) -> bool:
        """Whether the calendar reaches back to that day: before it, no session is known."""
        return _day(day) >= self.first_day

    def sessions(self, start: date, end: date) -> list[date]:
        """The sessions from `start` to `end`, both included, in order; none when `start` is after `end`."""
        if start > end:
            return []
        span = self._cover(start, end)
        return span.days[span.between(start, end)]

    def is_session(self, day: date) -> bool:
        """Whether the exchange trades on that day, full or half."""
        return day in self._cover(day, day).index

    def closes_at(self, session: date) -> datetime:
        """The moment in UTC at which that session's continuous trading ends. Raises `NotASession`."""
        return self._row(session).closes_at

    def early_closes(self, start: date, end: date) -> dict[date, time]:
        """Sessions that close before the usual time of their day, with the local closing time."""
        if start > end:
            return {}
        span = self._cover(start, end)
        return {row.day: row.close for row in span.rows[span.between(start, end)] if row.early}

    def is_over(self, session: date, at: datetime, delay: timedelta = timedelta(0)) -> bool:
        """Whether, at the aware moment `at`, the session closed at least `delay` ago.

        Raises `NotASession`, and ValueError for a naive `at`.
        """
        return self._row(session).closes_at + delay <= _aware(at)

    def last_session_over(self, at: datetime, delay: timedelta = timedelta(0)) -> date | None:
        """The latest session that is over at the aware moment `at` (see `is_over`).

        None when no session that the calendar knows was over then. Raises ValueError for a naive `at`.
        """
        moment = _aware(at) - delay
        day = moment.astimezone(self._zone).date()
        return self._search_back(day, lambda span: bisect_right(span.closes, moment))

    def sessions_over_between(
        self, after: datetime, until: datetime, delay: timedelta = timedelta(0)
    ) -> list[date]:
        """The sessions, in order, that came to be over (see `is_over`) later than `after` and not later than `until`.

        Both are aware moments: ValueError for a naive one.
        """
        first, last = _aware(after) - delay, _aware(until) - delay
        if first >= last:
            return []
        span = self._cover(first.astimezone(self._zone).date(), last.astimezone(self._zone).date())
        return span.days[bisect_right(span.closes, first) : bisect_right(span.closes, last)]

    def week_sessions(self, week: date, first_weekday: int = MONDAY) -> list[date]:
        """The sessions of the trading week that a Monday names (`market.weeks`), in order.

        `first_weekday` is the one that the week begins on. Raises ValueError when `week` is no Monday.
        """
        return self.sessions(*week_days(week, first_weekday))

    def previous_session(self, day: date) -> date:
        """The last session before that day, which need not be a session itself."""
        found = self._search_back(day, lambda span: bisect_left(span.days, day))
        if found is None:
            raise OutsideCalendar(
                f"{self.rules.calendar}: no session is known before {day}; this calendar begins on {self.first_day}"
            )
        return found

    def next_session(self, day: date) -> date:
        """The first session after that day, which need not be a session itself."""
        span = self._cover(day, day)
        while (place := bisect_right(span.days, day)) == len(span.days):
            if span.last >= LAST_DAY:
                raise OutsideCalendar(f"{self.rules.calendar}: no session is known after {day}")
            span = self._cover(day, span.last + _DAY)
        return span.days[place]

    def schedule(self, start: date, end: date) -> pl.DataFrame:
        """The sessions as a frame: session (Date), closes_at (Datetime, µs, UTC), early_close (Boolean)."""
        import polars as pl

        span = None if start > end else self._cover(start, end)
        rows = [] if span is None else span.rows[span.between(start, end)]
        columns = {
            "session": [row.day for row in rows],
            "closes_at": [row.closes_at for row in rows],
            "early_close": [row.early for row in rows],
        }
        schema = {"session": pl.Date, "closes_at": pl.Datetime("us", "UTC"), "early_close": pl.Boolean}
        return pl.DataFrame(columns, schema=schema)

    def _row(self, session: date) -> _Session:
        span = self._cover(session, session)
        place = span.index.get(session)
        if place is not None:
            return span.rows[place]
        nearest: list[str] = []
        for step in (self.previous_session, self.next_session):
            try:
                nearest.append(str(step(session)))
            except OutsideCalendar:
                nearest.append("none known")
        raise NotASession(
            f"{self.rules.calendar}: {session} is not a session; "
            f"the one before is {nearest[0]}, the one after {nearest[1]}"
        )

    def _search_back(self, day: date, count: Callable[[_Span], int]) -> date | None:
        """The last of the `count(span)` first sessions, going further back while there are none."""
        span = self._cover(day, day)
        while (place := count(span)) == 0:
            if span.first <= self._library().first:
                return None
            span = self._cover(span.first - _DAY, day)
        return span.days[place - 1]

    def _cover(self, start: date, end: date) -> _Span:
        """A span that has all sessions from `start` to `end`."""
        span = self._span
        if span is not None and span.first <= start and end <= span.last:
            return span
        source = self._library()
        if end > LAST_DAY:
            raise OutsideCalendar(
                f"{self.rules.calendar}: {end} is outside this calendar, "
                f"which knows the days from {source.first} to {LAST_DAY}"
            )
        start, end = max(start, source.first), max(end, source.first)
        if span is not None and span.first <= start and end <= span.last:
            return span
        return self._extend(source, start, end)

    def _extend(self, source: _Source, start: date, end: date) -> _Span:
        """Builds what is missing, with whole years to spare so that a loop over days builds seldom."""
        with self._lock:
            old = self._span
            first = max(source.first, date(start.year - 1, 1, 1))
            last = min(LAST_DAY, date(end.year + 2, 12, 31))
            if old is None:
                rows = source.build(first, last)
            else:
                # A step of at least four years: each extension copies what there is.
                first = old.first if start >= old.first else min(first, _year(old.first, -4, source.first))
                last = old.last if end <= old.last else max(last, _year(old.last, 4, LAST_DAY))
                rows = old.rows
                if first < old.first:
                    rows = source.build(first, old.first - _DAY) + rows
                if last > old.last:
                    rows = rows + source.build(old.last + _DAY, last)
            self._span = span = _Span(first, last, rows)
        return span

    def _library(self) -> _Source:
        with self._lock:
            if self._source is None:
                self._source = _Source(self.rules)
            return self._source


class _Source:
    """The library's calendar under the rules' overrides: the only place that touches pandas."""

    def __init__(self, rules: CalendarRules) -> None:
        self._rules = rules
        self._zone = ZoneInfo(rules.zone)
        self._closed = set(rules.closed)
        self._open = dict(rules.open)
        markets: Any = import_module("pandas_market_calendars")
        try:
            with warnings.catch_warnings():
                # Of lunch breaks that are no more (Seoul): only closes are asked for.
                warnings.filterwarnings("ignore", message=".*are discontinued", category=UserWarning)
                self._calendar: Any = markets.get_calendar(rules.calendar)
        except RuntimeError as error:
            raise UnknownCalendar(_unknown(rules.calendar, calendar_names())) from error
        _only_until_the_last_day(self._calendar)
        # A calendar mirrored from exchange-calendars may know few years and answers outside them with
        # sessions that have no holidays; its bounds hang on the calendar that it mirrors.
        mirrored = getattr(self._calendar, "_ec", None)
        first = mirrored.bound_min() if mirrored is not None else None
        last = mirrored.bound_max() if mirrored is not None else None
        begins = max(_holidays_since(self._calendar), first.date() if first else FIRST_DAY)
        ends = min(_holidays_until(self._calendar), last.date() if last else LAST_DAY)
        self.first: date = max(FIRST_DAY, rules.known_from or begins)
        self.known_until: date = min(LAST_DAY, max(ends, rules.known_until or ends))

    def build(self, start: date, end: date) -> list[_Session]:
        rules, zone = self._rules, self._zone
        frame: Any = self._calendar.schedule(start, end, market_times=["market_close"])
        closes: Any = frame["market_close"]
        usual: Any = self._calendar.days_at_time(frame.index, "market_close")
        today: time = self._calendar.close_time.replace(tzinfo=None)
        days: dict[date, tuple[time, time]] = {}  # (close, usual close) as the clock on the wall shows them
        for stamp, close, there, regular in zip(
            frame.index.date,
            _wall(closes, rules.zone),
            _wall(closes, str(self._calendar.tz)),
            _wall(usual, str(self._calendar.tz)),
            strict=True,
        ):
            if close != there:
                raise CalendarError(
                    f"{rules.calendar}: its time zone is {self._calendar.tz}, which on {stamp} "
                    f"disagrees with the configured {rules.zone}"
                )
            wall = close.time()
            full = regular.time()
            if full == today:  # the configured close is news about the hours of today, not of past ones
                wall, full = (rules.close if wall == full else wall), rules.close
            days[stamp] = (wall, full)
        for day, close in self._open.items():
            if start <= day <= end:
                days[day] = (close, days[day][1] if day in days else rules.close)
        return [
            _Session(day, datetime.combine(day, close, zone).astimezone(UTC), close, close < full)
            for day, (close, full) in sorted(days.items())
            if day not in self._closed
        ]


def _only_until_the_last_day(calendar: Any) -> None:
    """Has the library compute holidays until `LAST_DAY` and not until 2200: a second less for Seoul's.

    They are put where the library keeps them once computed; a version that keeps them elsewhere computes its own.
    """
    if (rules := calendar.regular_holidays) is not None and rules.rules:
        offsets: Any = import_module("pandas.tseries.offsets")
        holidays = [
            *calendar.adhoc_holidays,
            *rules.holidays(rules.start_date, LAST_DAY + timedelta(days=366)),
        ]
        calendar._holidays = offsets.CustomBusinessDay(holidays=holidays, weekmask=calendar.weekmask)


def _holidays_since(calendar: Any) -> date:
    """The first day from which on the library's calendar has holidays; before, every weekday would be a session.

    Pandas' holiday rules are applied from 1970 on, unless a calendar sets another day (New York: 1885). A calendar
    without rules knows the holidays that it lists, so it begins with the year of the first of them.
    """
    if (rules := calendar.regular_holidays) is not None and rules.rules:
        return rules.start_date.date()
    listed = calendar.holidays().holidays
    return date(min(listed).astype("datetime64[Y]").astype(int) + 1970, 1, 1) if len(listed) else FIRST_DAY


def _holidays_until(calendar: Any) -> date:
    """The last day up to which the library's calendar has holidays: the year of the last on a list, or no end."""
    if (rules := calendar.regular_holidays) is not None and rules.rules:
        return LAST_DAY
    listed = calendar.holidays().holidays
    return date(max(listed).astype("datetime64[Y]").astype(int) + 1970, 12, 31) if len(listed) else LAST_DAY


@cache
def trading_calendar(rules: CalendarRules) -> TradingCalendar:
    """The calendar for these rules, one per process. An unknown name shows at the first question."""
    return TradingCalendar(rules)


def calendar_names() -> list[str]:
    """The names that `CalendarRules.calendar` may have. Imports the library."""
    markets: Any = import_module("pandas_market_calendars")
    return sorted(markets.get_calendar_names())


@cache
def usual_open(calendar: str) -> time:
    """The usual local time at which sessions open today, by a calendar's name. Raises `UnknownCalendar`."""
    markets: Any = import_module("pandas_market_calendars")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*are discontinued", category=UserWarning)
            opened: time = markets.get_calendar(calendar).open_time
    except RuntimeError as error:
        raise UnknownCalendar(_unknown(calendar, calendar_names())) from error
    return opened.replace(tzinfo=None)


def _unknown(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.upper(), list(names), n=3, cutoff=0.4)
    hint = f"; near names are {', '.join(close)}" if close else ""
    return f"pandas-market-calendars has no calendar {name!r}{hint}"


def _wall(moments: Any, zone: str) -> list[datetime]:
    local: Any = moments.dt.tz_convert(zone).dt.tz_localize(None)
    return local.to_numpy().astype("datetime64[us]").tolist()


def _year(day: date, years: int, limit: date) -> date:
    """The edge of the whole year `years` away from that day's, not beyond `limit`."""
    if years < 0:
        return max(limit, date(day.year + years, 1, 1))
    return min(limit, date(day.year + years, 12, 31))


def _day(day: date) -> date:
    if isinstance(day, datetime):
        raise TypeError(f"{day} is a moment; a day is a datetime.date")
    return day


def _aware(at: datetime) -> datetime:
    if at.utcoffset() is None:
        raise ValueError(f"{at} has no time zone; a moment needs one")
    # In UTC, because Python counts a difference within one zone on the clock on the wall.
    return at.astimezone(UTC)
