"""Which session a stamp of Yahoo's belongs to: slips of a zone or of daylight saving put a bar on the day before.

Yahoo stamps a daily bar with its session's opening, some with the local midnight. A stamp that has slipped is an
hour or a few early, or is another zone's midnight: New York's Tuesday as Monday 23:00, or as Tuesday 00:00 UTC,
which is Monday evening there. yfinance 1.7.0 repairs 22:00 and 23:00 sharp (its `fix_Yahoo_dst_issue`). Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

AFTER_CLOSE = timedelta(hours=2)
"""From so long after the close on, a stamp is the next session's: the last trade of a day is minutes after it."""

_DAY = timedelta(days=1)
_BEFORE_ANY_OPENING = time(6)
_DAY_SECONDS = 86_400
_FIRST, _BEYOND = -7305, 29_220
"""Days since 1970 of the first days of 1950 and of 2050."""


@dataclass(frozen=True, slots=True)
class Stamping:
    """What is known of an exchange's days when its stamps are read.

    `zone` is its IANA zone; `close` its latest usual local close, None when nobody knows: then no stamp has slipped.
    `sessions` are its sessions in order, from the first day that the answer is to cover through today; with none, no
    day is known to be closed. `live_at` is the epoch second of the last trade: a row with that stamp is live.
    """

    zone: str
    close: time | None = None
    sessions: Sequence[date] = ()
    live_at: int | None = None

    def day(self, stamp: int, placed: Mapping[int, date]) -> date:
        """The session of an event's stamp: that of the bar which carries it (`placed`), or else by its hour.

        Raises TypeError, ValueError, OverflowError or OSError when the stamp is no moment.
        """
        if stamp in placed:
            return placed[stamp]
        local = datetime.fromtimestamp(stamp, tz=UTC).astimezone(ZoneInfo(self.zone))
        today, latest = local.date(), self._latest()
        if latest is None or local.time() < latest:
            return today
        return today + _DAY if self._may_trade(today + _DAY) or not self._may_trade(today) else today

    def usual_days(self, stamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
        """The sessions of stamps (days since 1970), where each is at a usual hour of a day of its own and they are in
        order: what `put` says of them, in a step. None where `put` has to look."""
        found = _local(stamps, self.zone)
        if found is None:
            return None
        days, seconds = found
        if not (days[1:] > days[:-1]).all():
            return None
        if self.close is None:
            return days
        latest = self._latest()
        odd = seconds < _seconds(_BEFORE_ANY_OPENING)
        if latest:
            odd |= seconds >= _seconds(latest)
        if self.live_at is not None:
            odd &= stamps != self.live_at
        return None if odd.any() else days

    def put(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, date], list[date]]:
        """Bars on their sessions.

        A bar stamped on the evening goes to the day after, unless that day is closed or has a bar of its own, and
        the evening's has not. A bar stamped in the early morning stays, unless its own day is so and the day after
        is not. Bars in a row have slipped together or not at all.

        Args:
            rows: `timestamp` (Int64, epoch seconds), `adj_close` and the bar's values; two rows of one day with
                equal values are one bar.

        Returns:
            The rows with `date`; the sessions of all stamps at such hours; and the sessions of the bars that were
            moved to the day after, in order.
        """
        local = pl.from_epoch("timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone(self.zone)
        dated = rows.with_columns(local.dt.date().alias("date"))
        if self.close is None:
            return dated, {}, []
        at, latest = dated.select(local.dt.time().alias("time"))["time"], self._latest()
        settled: pl.Series = rows["timestamp"].ne_missing(self.live_at)
        late = settled & (at >= latest if latest else False)
        early = settled & (at < _BEFORE_ANY_OPENING)
        if not (late | early).any():
            return dated, {}, []
        days: list[date] = dated["date"].to_list()
        values = rows.drop("timestamp", "adj_close").rows()
        usual = {day: value for day, value, odd in zip(days, values, late | early, strict=True) if not odd}
        moved: set[int] = set()
        for odd, slipped in ((late, True), (early, False)):
            for stretch in _stretches(odd.arg_true().to_list(), days, usual):
                stay = sum(self._against(days[i], values[i], usual) for i in stretch)
                move = sum(self._against(days[i] + _DAY, values[i], usual) for i in stretch)
                if move < stay or (slipped and move == 0):
                    moved.update(stretch)
        for i in moved:
            days[i] += _DAY
        unusual: list[int] = (late | early).arg_true().to_list()
        placed: dict[int, date] = {rows["timestamp"][i]: days[i] for i in unusual}
        return (
            dated.with_columns(date=pl.Series(days, dtype=pl.Date)),
            placed,
            sorted({days[i] for i in moved}),
        )

    def _latest(self) -> time | None:
        """The local time from which on a stamp is the next session's; None when that is past midnight."""
        if self.close is None:
            return None
        at = datetime.combine(date.min, self.close) + AFTER_CLOSE
        return at.time() if at.date() == date.min else None

    def _may_trade(self, day: date) -> bool:
        """Whether a bar may be of this day, as far as is known."""
        if not self.sessions or day < self.sessions[0]:
            return True
        place = bisect_left(self.sessions, day)
        return place < len(self.sessions) and self.sessions[place] == day

    def _against(
        self, day: date, value: tuple[object, ...], usual: Mapping[date, tuple[object, ...]]
    ) -> bool:
        """Whether a bar cannot be of this day: it is closed, or has another bar."""
        return not self._may_trade(day) or usual.get(day, value) != value


def _local(
    stamps: npt.NDArray[np.int64], zone: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """The local days (since 1970) and seconds of the day of stamps; None where one is on a day on which clocks are
    changed, or of another century."""
    offsets = _offsets(zone)
    at = stamps // _DAY_SECONDS - _FIRST
    if not stamps.size or at.min() < 0 or at.max() >= offsets.size - 1:
        return None
    if (offsets[at] != offsets[at + 1]).any():
        return None
    local = stamps + offsets[at]
    return local // _DAY_SECONDS, local % _DAY_SECONDS


@cache
def _offsets(zone: str) -> npt.NDArray[np.int64]:
    """A zone's seconds ahead of UTC at each midnight UTC of 1950 to 2049."""
    midnights = pl.Series("at", np.arange(_FIRST, _BEYOND + 1) * _DAY_SECONDS, dtype=pl.Int64)
    moments = pl.from_epoch(midnights).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    local = moments.dt.replace_time_zone(None).dt.epoch("s")
    return (local - midnights).to_numpy()


def _seconds(at: time) -> int:
    return at.hour * 3600 + at.minute * 60 + at.second


def _stretches(odd: list[int], days: list[date], usual: Collection[date]) -> list[list[int]]:
    """Rows that have slipped together or not at all: in order, cut where a bar of a usual hour lies between."""
    between = sorted(usual)
    stretches: list[list[int]] = []
    for i in sorted(odd, key=days.__getitem__):
        after = bisect_left(between, days[stretches[-1][-1]] + _DAY) if stretches else -1
        if after != bisect_left(between, days[i] + _DAY):
            stretches.append([])
        stretches[-1].append(i)
    return stretches
