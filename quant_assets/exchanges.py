"""The exchanges we know: what Yahoo calls them, when they trade, and when a day's bar is final.

The facts are in `exchanges.yaml` beside this module; a user's file in the same form adds to them or changes
them (`exchanges_file` reads both). Files are read on the first question, calendars are built on the first question
about a day.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from functools import cache
from pathlib import Path

from quant_assets.errors import QuantAssetsError
from quant_assets.exchanges_file import ConfiguredExchange, ExchangeConfigError, read_exchanges
from quant_assets.market.calendars import CalendarRules, TradingCalendar, trading_calendar
from quant_assets.market.weeks import (
    cron_of_weekdays,
    first_trading_weekday,
    week_days,
    week_of,
    weekday,
    weekdays_of_cron,
)

__all__ = [
    "SHIPPED_SINCE",
    "Exchange",
    "ExchangeConfigError",
    "UnknownExchange",
    "calendars_begin_after",
    "enabled",
    "exchange",
    "grid_weekdays",
    "known",
    "load",
]

SHIPPED_SINCE = date(1970, 1, 1)
"""The calendars of the exchanges that we ship reach back to this day, New York's further, unless `known_from` says
where they begin (Shanghai, Shenzhen, India, Singapore, Riyadh)."""


class UnknownExchange(QuantAssetsError, ValueError):
    """No exchange has this code: the message names the known ones and the nearest."""


@dataclass(frozen=True)
class Exchange:
    """One exchange.

    `delay` is what has to pass after the close before the day's bar counts as final; `weekdays` are the days of the
    trading week as cron spells them; `first_weekday` is the one that the week begins on (0 is Sunday).
    """

    code: str
    name: str
    suffix: str
    yahoo_codes: tuple[str, ...]
    currencies: tuple[str, ...]
    delay: timedelta
    weekdays: str
    first_weekday: int
    rules: CalendarRules
    other_suffixes: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def zone(self) -> str:
        """The exchange's IANA time zone."""
        return self.rules.zone

    @property
    def close(self) -> time:
        """The usual local close today; a given session's is `calendar().closes_at(session)`."""
        return self.rules.close

    @property
    def latest_close(self) -> time:
        """The latest local close of any of its days: the usual one, or that of an extra open day."""
        return max([self.rules.close, *(close for _, close in self.rules.open)])

    def calendar(self) -> TradingCalendar:
        """The exchange's trading days; one per process."""
        return trading_calendar(self.rules)

    def session_weekdays(self) -> frozenset[int]:
        """Every weekday on which this exchange can have a session (0 is Sunday): its trading week, and the
        weekdays of its extra open days."""
        return weekdays_of_cron(self.weekdays) | {weekday(day) for day, _ in self.rules.open}

    def week_of(self, day: date) -> date:
        """The Monday that names the trading week of a day (see `market.weeks`)."""
        return week_of(day, self.first_weekday)

    def week_days(self, week: date) -> tuple[date, date]:
        """The first and the last day of the trading week that a Monday names. ValueError for another day."""
        return week_days(week, self.first_weekday)

    def week_sessions(self, week: date) -> list[date]:
        """The sessions of the trading week that a Monday names, in order. ValueError for another day."""
        return self.calendar().week_sessions(week, self.first_weekday)

    def cron(self, after: timedelta | None = None) -> str:
        """The cron line, in the exchange's time zone, of the moment so long after a usual session's close; by default
        when its bar is final."""
        delay = self.delay if after is None else after
        minutes = self.close.hour * 60 + self.close.minute + int(delay.total_seconds()) // 60
        later, minutes = divmod(minutes, 24 * 60)
        days = cron_of_weekdays({(day + later) % 7 for day in self.session_weekdays()})
        return f"{minutes % 60} {minutes // 60} * * {days}"

    def owns(self, symbol: str) -> bool:
        """Whether a symbol in Yahoo's spelling is of this exchange, judged by its suffix.

        The exchange with no suffix owns what has no suffix of another: "BRK-B" and "BRK.B", not "BHP.AX", and
        no index ("^GSPC"), currency ("EURUSD=X") or future ("ES=F").
        """
        symbol = symbol.upper()
        if not symbol or symbol[0] in "^." or "=" in symbol:
            return False
        if self.suffix:
            return symbol.endswith(self.suffix) and symbol != self.suffix
        return not symbol.endswith(tuple(self.other_suffixes))

    def may_have_index(self, symbol: str) -> bool:
        """Whether a symbol can be that of an index with this exchange's sessions.

        "^GSPC" tells no exchange, so it may be of any; "^TA125.TA" is of the suffix's alone. What the exchange owns
        ("000001.SS", "FTSEMIB.MI") may be an index as well.
        """
        symbol = symbol.upper()
        if not symbol.startswith("^") or "=" in symbol or symbol[1:] in ("", self.suffix):
            return self.owns(symbol)
        return not symbol.endswith(tuple(self.other_suffixes))

    def yahoo_spelling(self, symbol: str) -> str:
        """How Yahoo spells a symbol that the exchange owns: dots stand before a suffix only.

        "BRK.B" is "BRK-B", "BT.A.L" is "BT-A.L", and "JPM.PR.C", a preferred share, "JPM-PC".
        """
        root = symbol.removesuffix(self.suffix)
        if not self.owns(symbol) or "." not in root:
            return symbol
        root = re.sub(r"\.PR\.?(?=[A-Z]?$)", "-P", root)
        return root.strip(".").replace(".", "-") + self.suffix


def known(extra: Path | None = None) -> dict[str, Exchange]:
    """All exchanges by code: the shipped ones, under those of the user's file if one is given.

    A file is read once per process. Raises `ExchangeConfigError`.
    """
    return dict(_known(extra))


def exchange(code: str, extra: Path | None = None) -> Exchange:
    """The exchange of that code. Raises `UnknownExchange`."""
    exchanges = _known(extra)
    if found := exchanges.get(code):
        return found
    near = difflib.get_close_matches(code.upper(), exchanges, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UnknownExchange(f"unknown exchange {code!r}; known are {', '.join(sorted(exchanges))}{hint}")


def enabled(codes: Sequence[str], extra: Path | None = None) -> list[Exchange]:
    """The exchanges of these codes, in the given order, each once. Raises `UnknownExchange`."""
    return [exchange(code, extra) for code in dict.fromkeys(codes)]


def grid_weekdays(exchanges: Iterable[Exchange]) -> str:
    """Cron's day-of-week part that has every weekday on which one of these exchanges can have a session.

    Raises ValueError when there are none.
    """
    days = frozenset[int]().union(*(one.session_weekdays() for one in exchanges))
    if not days:
        raise ValueError("no exchange is enabled, so no weekday has a session")
    return cron_of_weekdays(days)


def calendars_begin_after(exchanges: Iterable[Exchange], start: date) -> tuple[Exchange, date] | None:
    """Where the calendars of `exchanges` begin, if that is after `start` for all of them: the first to begin.

    None when one of them reaches back to `start`. Those that we ship say where they begin (`SHIPPED_SINCE`) and
    are asked no further, so that the calendar library (two seconds) is imported only for earlier days, or for
    calendars of the user's alone.
    """
    whole = {one.rules.calendar for one in _known(None).values() if one.rules.known_from is None}
    for one in exchanges:
        begins = one.rules.known_from or (SHIPPED_SINCE if one.rules.calendar in whole else None)
        if begins is not None and begins <= start:
            return None
    first = min(((one.calendar().first_day, one.code, one) for one in exchanges), default=None)
    return None if first is None or first[0] <= start else (first[2], first[0])


def load(path: Path) -> dict[str, Exchange]:
    """The shipped exchanges, changed and extended by the user's file at `path`. Reads the file anew.

    An entry for a code that we ship replaces the keys it names; its closed and open days are added to ours
    and win over them. Raises `ExchangeConfigError`.
    """
    return _exchanges(path)


@cache
def _known(extra: Path | None) -> Mapping[str, Exchange]:
    return _exchanges(extra)


def _exchanges(user_file: Path | None) -> dict[str, Exchange]:
    configured, suffixes = read_exchanges(user_file)
    suffixes |= {one.suffix for one in configured.values()}
    return {code: _exchange(code, one, suffixes - {one.suffix, ""}) for code, one in configured.items()}


def _exchange(code: str, configured: ConfiguredExchange, other_suffixes: frozenset[str]) -> Exchange:
    first = configured.first_weekday
    return Exchange(
        code=code,
        name=configured.name,
        suffix=configured.suffix,
        yahoo_codes=configured.yahoo_codes,
        currencies=configured.currencies,
        delay=configured.delay,
        weekdays=configured.weekdays,
        first_weekday=first_trading_weekday(weekdays_of_cron(configured.weekdays))
        if first is None
        else first,
        rules=CalendarRules(
            calendar=configured.calendar,
            zone=configured.zone,
            close=configured.close,
            closed=configured.closed,
            open=tuple(sorted(configured.open.items())),
            known_from=configured.known_from,
            known_until=configured.known_until,
        ),
        other_suffixes=other_suffixes,
    )
