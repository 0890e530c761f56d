"""When an exchange's prices are due, and how late they are: plain functions, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from quant_assets.exchanges import Exchange
from quant_assets.market.calendars import TradingCalendar
from quant_assets.market.coverage import CellState

DUE = timedelta(minutes=60)
"""After its close a session's prices are due, in every exchange's own time, holidays and early closes included."""
_AFTER_FINAL = timedelta(minutes=30)
"""But not before an exchange's bars have been final for so long."""
_USABLE = frozenset({CellState.COMPLETE, CellState.PARTIAL})


@dataclass(frozen=True, slots=True)
class Freshness:
    """How an exchange stands: `due` is the last session whose prices are due, `last` the last one that has usable
    ones (None: none of those looked at)."""

    due: date
    last: date | None
    late: tuple[date, ...] = ()
    """The sessions that are due and come after `last`, in order; without any, those since the first cell looked
    at, so that there may be more."""
    late_since: datetime | None = None
    """When the first of them was due, in the exchange's zone."""

    def seconds(self, now: datetime) -> float:
        """How long the first late session has been due; 0 when nothing is late."""
        return 0.0 if self.late_since is None else max(0.0, (now - self.late_since).total_seconds())


def due_after(exchange: Exchange) -> timedelta:
    """How long after its close a session's prices are due."""
    return max(DUE, exchange.delay + _AFTER_FINAL)


def freshness(exchange: Exchange, states: Mapping[date, CellState], now: datetime) -> Freshness | None:
    """How fresh an exchange's prices are at `now`; None without any cell: nobody follows it, and nothing is due.

    `states`: of the cells of its last weeks.
    """
    calendar = exchange.calendar()
    due = calendar.last_session_over(now, due_after(exchange))
    if due is None or not states:
        return None
    last = max(
        (day for day, state in states.items() if day <= due and _counts(state, day, calendar)), default=None
    )
    late = calendar.sessions(last + timedelta(days=1) if last else min(*states, due), due)
    if not late:
        return Freshness(due, last)
    since = (calendar.closes_at(late[0]) + due_after(exchange)).astimezone(ZoneInfo(exchange.zone))
    return Freshness(due, last, tuple(late), since)


def _counts(state: CellState, day: date, calendar: TradingCalendar) -> bool:
    """Whether a cell ends what is late. A holiday within an outage does not; a session that was called off does."""
    return state in _USABLE or (state is CellState.CLOSED and calendar.is_session(day))
