"""The exchanges that the replay server knows, by code and by suffix, and when their sessions open and close."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from quant_assets.replay.errors import HistoryError
from quant_assets.replay.venue_table import VENUES, Venue

__all__ = [
    "VENUES",
    "AsOf",
    "Venue",
    "as_of",
    "calendar_between",
    "register",
    "session_close",
    "session_open",
    "venue",
    "venue_of_symbol",
]

_BY_CODE = {v.code: v for v in VENUES} | {v.yahoo_code: v for v in VENUES}
# "US" has no exchange of its own; new symbols without a better word are Nasdaq's.
_BY_CODE["US"] = _BY_CODE["NASDAQ"]
_BY_SUFFIX = {v.suffix: v for v in reversed(VENUES)}


def register(venues: Iterable[Venue]) -> None:
    """Makes further exchanges known to this process, in place of those registered under the same code or suffix."""
    for new in venues:
        _BY_CODE[new.code] = _BY_SUFFIX[new.suffix] = new


def venue(code: str) -> Venue:
    """The exchange with our code (ASX, NYSE, NASDAQ, US, …) or Yahoo's (NMS, LSE, …); or HistoryError."""
    found = _BY_CODE.get(code.upper())
    if found is None:
        raise HistoryError(f"unknown exchange {code!r}: use one of {', '.join(sorted(_BY_CODE))}")
    return found


def venue_of_symbol(symbol: str) -> Venue:
    """The exchange that a symbol's Yahoo suffix tells (none = Nasdaq); HistoryError for an unknown suffix."""
    dot = symbol.rfind(".")
    suffix = symbol[dot:].upper() if dot >= 0 else ""
    found = _BY_SUFFIX.get(suffix)
    if found is None:
        known = ", ".join(v for v in sorted(_BY_SUFFIX) if v)
        raise HistoryError(
            f"symbol {symbol!r} has the unknown suffix {suffix!r}: known are none (US), {known}"
        )
    return found


def session_open(where: Venue, day: date) -> datetime:
    """When `day`'s regular session opens, UTC."""
    return datetime.combine(day, where.open, ZoneInfo(where.zone)).astimezone(UTC)


def calendar_between(where: Venue, first: date, last: date) -> Any:
    """The calendar of `where` for the days from `first` to `last`, or more. ValueError when it does not know them."""
    import exchange_calendars

    refused: ValueError | None = None
    # A calendar refuses a window without sessions, so it gets a wider one, but at the edges of what it knows.
    for before, after in ((20, 20), (20, 0), (0, 20), (0, 0)):
        start, end = first - timedelta(days=before), max(first, last) + timedelta(days=after)
        try:
            return exchange_calendars.get_calendar(where.calendar, start=str(start), end=str(end))
        except ValueError as error:
            refused = refused or error
    assert refused is not None
    raise refused


@cache
def session_close(where: Venue, day: date) -> datetime:
    """When `day`'s session closes, UTC: half days end early; the regular close when there is no session."""
    close = dict(where.opened).get(day)
    if close is not None:
        return datetime.combine(day, close, ZoneInfo(where.zone)).astimezone(UTC)
    if day not in where.closed:
        try:
            calendar = calendar_between(where, day, day)
        except ValueError:  # a day that the calendar does not know
            calendar = None
        if calendar is not None and calendar.is_session(day.isoformat()):
            return calendar.session_close(day.isoformat()).to_pydatetime()
    return datetime.combine(day, where.close, ZoneInfo(where.zone)).astimezone(UTC)


@dataclass(frozen=True)
class AsOf:
    """What an exchange knows at a moment: bars of sessions closed by then, actions with an opened ex-date."""

    now: datetime
    local_date: date
    actions_through: date  # the last ex-date in force
    bars_through: date  # the last date whose session is over


def as_of(where: Venue, now: datetime) -> AsOf:
    """The state of `where` at `now` (aware, any zone)."""
    local = now.astimezone(ZoneInfo(where.zone))
    day, before = local.date(), local.date() - timedelta(days=1)
    opened = session_open(where, day)
    if now <= opened:
        return AsOf(now, day, before, before)
    if local.time() >= where.close:
        return AsOf(now, day, day, day)
    # Only inside the trading hours does a half day matter, so only then is a calendar looked up.
    return AsOf(now, day, day, day if session_close(where, day) <= now else before)
