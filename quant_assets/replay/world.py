"""A history at a moment: which symbols exist, and what Yahoo would show of them, by the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from quant_assets.replay.convention import YahooSeries, to_yahoo
from quant_assets.replay.errors import ReplayError
from quant_assets.replay.history import History, SymbolInfo
from quant_assets.replay.venues import AsOf, Venue, as_of

Moment = datetime | date | str


def parse_moment(value: Moment) -> datetime:
    """A moment in UTC: an aware datetime or ISO text with an offset; a bare date is the end of that day UTC.

    Raises ReplayError for anything else.
    """
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            raise ReplayError(f"{value!r} is no moment: write 2013-03-01 or 2013-03-01T23:00:00Z") from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ReplayError(f"{value.isoformat()} has no time zone: add Z or an offset")
        return value.astimezone(UTC)
    return datetime.combine(value, time(23, 59, 59), UTC)


class World:
    """`history` as seen at the clock; `now=None` lets the clock run with real time."""

    def __init__(self, history: History, now: datetime | None = None) -> None:
        self.history = history
        self._fixed = now
        self._series: dict[str, tuple[date, date, YahooSeries]] = {}
        self._as_of: dict[Venue, AsOf] = {}

    @property
    def now(self) -> datetime:
        """The moment it is here, UTC."""
        return self._fixed or datetime.now(UTC)

    @property
    def frozen(self) -> bool:
        """Whether the clock stands still."""
        return self._fixed is not None

    def set_now(self, now: datetime | None) -> None:
        """Move the clock, forward or back; None lets it run with real time."""
        self._fixed = now
        self._as_of.clear()

    def as_of(self, where: Venue) -> AsOf:
        """What `where` knows now."""
        if self._fixed is None:
            return as_of(where, self.now)
        known = self._as_of.get(where)
        if known is None:
            known = self._as_of[where] = as_of(where, self._fixed)
        return known

    def listing(self, symbol: str) -> SymbolInfo | None:
        """The symbol's description; None when there is no such symbol, or not yet."""
        info = self.history.infos.get(symbol)
        if info is None or info.listed_on > self.as_of(info.venue).actions_through:
            return None
        return info

    def is_delisted(self, info: SymbolInfo) -> bool:
        """Whether the last trading day is over."""
        return info.delisted_on is not None and info.delisted_on <= self.as_of(info.venue).bars_through

    def series(self, symbol: str) -> YahooSeries:
        """What Yahoo shows of a known symbol now; cached until the clock passes an open or a close."""
        info = self.history.infos[symbol]
        state = self.as_of(info.venue)
        cached = self._series.get(symbol)
        if cached and cached[0] == state.actions_through and cached[1] == state.bars_through:
            return cached[2]
        series = to_yahoo(self.history.truth(symbol), state.actions_through, state.bars_through)
        self._series[symbol] = (state.actions_through, state.bars_through, series)
        return series

    def catalog(self) -> list[dict[str, Any]]:
        """The listings known by the clock, in the form of `History.universe`; delisted ones stay, and
        `delisted_on` is None until that day's session is over."""
        rows = []
        for row in self.history.universe():
            info = self.listing(row["symbol"])
            if info is not None:
                rows.append(row if self.is_delisted(info) else {**row, "delisted_on": None})
        return rows
