"""Where and when the lies are told: two exchanges, their sessions, and the positions that cases count from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache

import numpy as np

from quant_assets.exchanges import Exchange, exchange
from quant_assets.replay.generator import trading_sessions
from quant_assets.replay.venues import Venue, session_open, venue

FIRST, LAST = date(2023, 3, 1), date(2024, 3, 28)
TELLING = date(2024, 3, 11)
"""The first evening on which anybody lies: a Monday, in New York the first session of daylight saving."""

EVENINGS = (5, 2, 1)
"""For how many evenings a lie is told, in the order in which the groups of cases begin."""
STARTS = {5: 0, 2: 5, 1: 7}
"""The evening on which each group begins: one group lies at a time, so that most symbols are honest."""
RIGHT_AGAIN = 3
"""Sessions after which the store must be right once the source is."""
HISTORY, SHORT_HISTORY = 250, 140
"""Sessions that are stored before the first lie."""


@dataclass(frozen=True, eq=False)
class Market:
    """An exchange with its sessions; what is stored begins at position `begin`, the lies on the evening `telling`."""

    code: str
    venue: Venue
    exchange: Exchange
    days: np.ndarray
    begin: int
    telling: int

    def day(self, at: int) -> date:
        """The session at a position."""
        return self.days[at].item()

    def evening(self, at: int) -> datetime:
        """When the session's bar is final, UTC."""
        closes = self.exchange.calendar().closes_at(self.day(at))
        return closes + self.exchange.delay + timedelta(minutes=5)

    def opens(self, at: int) -> datetime:
        """When the session opens, UTC: what is told changes here."""
        return session_open(self.venue, self.day(at))


@cache
def market(code: str, history: int = HISTORY) -> Market:
    """The market of a code ("US" or "LSE"), with so many sessions before the first lie."""
    where = venue(code)
    days = trading_sessions(where, str(FIRST), str(LAST))
    telling = int(np.searchsorted(days, np.datetime64(TELLING, "D")))
    return Market(code, where, exchange(code), days, telling - history, telling)


@dataclass(frozen=True, eq=False)
class Slot:
    """Where a case is played: positions are counted from its first evening of lies, which is 0."""

    market: Market
    evenings: int

    @property
    def first(self) -> int:
        """The position of the first evening of lies among the market's sessions."""
        return self.market.telling + STARTS[self.evenings]

    def day(self, at: int) -> str:
        """The session at a position, ISO text."""
        return self.market.day(self.first + at).isoformat()

    def after_closed_day(self, *, holiday: bool = False) -> tuple[int, str]:
        """The latest position whose session follows a closed day, and that day: a weekday for a `holiday`."""
        for at in range(0, -self.first, -1):
            day, before = (self.market.day(self.first + k) for k in (at, at - 1))
            closed = [before + timedelta(days=n) for n in range(1, (day - before).days)]
            fitting = [one for one in closed if not holiday or one.weekday() < 5]
            if fitting:
                return at, fitting[-1].isoformat()
        raise ValueError("no closed day")
