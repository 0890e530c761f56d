"""A history at a moment: which symbols exist, and what Yahoo would show of them, by the clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

from quant_assets.replay.convention import YahooSeries, to_yahoo
from quant_assets.replay.errors import ReplayError
from quant_assets.replay.history import History, SymbolInfo, SymbolTruth, universe_row
from quant_assets.replay.spells import Spell, Spells
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
    """`history` as seen at the clock; `now=None` lets the clock run with real time. `spells`: the symbols that its
    listings have, by day."""

    def __init__(self, history: History, now: datetime | None = None, spells: Iterable[Spell] = ()) -> None:
        self.history = history
        self._spells = Spells(history, spells)
        self._truths: dict[SymbolInfo, SymbolTruth] = {}
        self._fixed = now
        self._series: dict[SymbolInfo, tuple[date, date, YahooSeries]] = {}
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

    @property
    def symbols(self) -> Sequence[str]:
        """Every symbol that stands for something at some time, sorted."""
        return self._spells.symbols

    def listing(self, symbol: str) -> SymbolInfo | None:
        """The symbol's description; None when there is no such symbol, not yet, or no more."""
        for spell in self._spells.of(symbol):
            info = self.history.infos[spell.of]
            today = self.as_of(info.venue).actions_through
            if info.listed_on <= today and spell.holds(today):
                return info if spell == Spell(symbol, symbol) else self._described(spell)
        return None

    def truth(self, info: SymbolInfo) -> SymbolTruth:
        """The bars and actions of a listing that `listing` has described."""
        return self._truths.get(info) or self.history.truth(info.symbol)

    def _described(self, spell: Spell) -> SymbolInfo:
        """A listing under the symbol and the name that it has at the time."""
        truth = self.history.truth(spell.of)
        named = {"symbol": spell.symbol, "name": spell.name or truth.info.name, "listing": spell.of}
        info = replace(truth.info, **named)
        if info not in self._truths:
            self._truths[info] = replace(truth, info=info)
        return info

    def is_delisted(self, info: SymbolInfo) -> bool:
        """Whether the last trading day is over."""
        return info.delisted_on is not None and info.delisted_on <= self.as_of(info.venue).bars_through

    def series(self, info: SymbolInfo) -> YahooSeries:
        """What Yahoo shows of a known listing now; cached until the clock passes an open or a close."""
        state = self.as_of(info.venue)
        cached = self._series.get(info)
        if cached and cached[0] == state.actions_through and cached[1] == state.bars_through:
            return cached[2]
        series = to_yahoo(self.truth(info), state.actions_through, state.bars_through)
        self._series[info] = (state.actions_through, state.bars_through, series)
        return series

    def catalog(self) -> list[dict[str, Any]]:
        """The listings known by the clock, in the form of `universe_row`; delisted ones stay while their symbol is
        known, and `delisted_on` is None until that day's session is over."""
        rows = []
        for symbol in self.symbols:
            info = self.listing(symbol)
            if info is not None:
                row = universe_row(info)
                rows.append(row if self.is_delisted(info) else {**row, "delisted_on": None})
        return rows
