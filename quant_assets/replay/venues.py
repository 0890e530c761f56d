"""Exchanges as Yahoo names them, with their regular session hours.

Deliberately a table of its own: the replay server must not share the product's idea of an
exchange, or an error there would be invisible here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from quant_assets.replay.errors import HistoryError


@dataclass(frozen=True)
class Venue:
    """One exchange: `open`/`close` are local times of the regular session in `zone`.

    `closed` and `opened` (day, local close) are days on which the calendar is wrong.
    """

    code: str
    suffix: str
    yahoo_code: str
    full_name: str
    zone: str
    open: time
    close: time
    currency: str
    calendar: str  # a name of exchange_calendars
    region: str = "us"
    closed: frozenset[date] = frozenset()
    opened: tuple[tuple[date, time], ...] = ()


_NY = {
    "suffix": "",
    "zone": "America/New_York",
    "open": time(9, 30),
    "close": time(16),
    "currency": "USD",
    "calendar": "XNYS",
}

VENUES: tuple[Venue, ...] = (
    Venue("NASDAQ", yahoo_code="NMS", full_name="NasdaqGS", **_NY),
    Venue("NYSE", yahoo_code="NYQ", full_name="NYSE", **_NY),
    Venue("NASDAQ-GM", yahoo_code="NGM", full_name="NasdaqGM", **_NY),
    Venue("NASDAQ-CM", yahoo_code="NCM", full_name="NasdaqCM", **_NY),
    Venue("AMEX", yahoo_code="ASE", full_name="NYSE American", **_NY),
    Venue("ARCA", yahoo_code="PCX", full_name="NYSEArca", **_NY),
    Venue("ASX", ".AX", "ASX", "ASX", "Australia/Sydney", time(10), time(16), "AUD", "XASX", region="au"),
    Venue("LSE", ".L", "LSE", "LSE", "Europe/London", time(8), time(16, 30), "GBp", "XLON", region="gb"),
    Venue("HKEX", ".HK", "HKG", "HKSE", "Asia/Hong_Kong", time(9, 30), time(16), "HKD", "XHKG", region="hk"),
    Venue(
        "TSX", ".TO", "TOR", "Toronto", "America/Toronto", time(9, 30), time(16), "CAD", "XTSE", region="ca"
    ),
    Venue("JPX", ".T", "JPX", "Tokyo", "Asia/Tokyo", time(9), time(15, 30), "JPY", "XTKS", region="jp"),
    Venue("XETRA", ".DE", "GER", "XETRA", "Europe/Berlin", time(9), time(17, 30), "EUR", "XETR", region="de"),
    Venue("PARIS", ".PA", "PAR", "Paris", "Europe/Paris", time(9), time(17, 30), "EUR", "XPAR", region="fr"),
)

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


@cache
def session_close(where: Venue, day: date) -> datetime:
    """When `day`'s session closes, UTC: half days end early; the regular close when there is no session."""
    close = dict(where.opened).get(day)
    if close is not None:
        return datetime.combine(day, close, ZoneInfo(where.zone)).astimezone(UTC)
    if day not in where.closed:
        import exchange_calendars

        # Wide enough to hold a session on both sides of any holiday.
        first, last = day - timedelta(days=20), day + timedelta(days=20)
        calendar = exchange_calendars.get_calendar(
            where.calendar, start=first.isoformat(), end=last.isoformat()
        )
        if calendar.is_session(day.isoformat()):
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
