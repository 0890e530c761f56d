"""Stretches of a served series that are on another scale than the rest of it.

On today's share basis a series is continuous but for the market's own moves. A break near the ratio of a listed split
shows bars before its ex-date that have not been rescaled, or have been once too often; a break near a hundred shows
another unit of the currency. The bars from the ex-date on are on today's basis, whatever else is wrong.

What was recorded of real answers: a block from the start of the range to some day before the ex-date, or single days
up to five sessions before it; the factor is the listed ratio, and the volume goes with it in most.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import date
from math import log

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.market.moves import looks_like_a_unit
from quant_assets.market.verdicts.answer import FEW_SESSIONS, Answer, Held, Kind, Series

_SURE = 6.0
"""Usual moves that a ratio must be larger than, or the market's own moves cannot be told from it."""
_NEAR, _NEAREST, _FURTHEST = 3.0, 0.02, 0.2
"""How far, in usual moves, a break may be from a ratio; at least, and at most, as a difference of logarithms."""
_HUNDRED_NEAR = 0.2
_WINDOW = 20
"""Bars on both sides of a break whose volumes are compared."""
_NEARBY = 60
"""Sessions before an ex-date in which a break near its ratio is its doing, whatever the volumes show."""
_A_YEAR = 250
"""Sessions before an ex-date in which it is where the volumes show it, too. A crash doubles volumes as well."""
_SHORT = 60
"""Bars from a hundredfold break to the end of the answer by which they are what is right, if nothing else tells."""


@dataclass(frozen=True, slots=True)
class _Breaks:
    """Where a series leaves its level by a factor, and comes back: +1 up, -1 down, 0 elsewhere."""

    factor: float
    steps: npt.NDArray[np.int64]

    @property
    def levels(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.steps)


def off_scale(answer: Answer, series: Series, splits: pl.DataFrame) -> list[Held]:
    """The bars that are off by a listed ratio or by a hundred, as far as the series shows it.

    `splits` (date, ratio) are those that the answer rests on.
    """
    if series.days.size < 2:
        return []
    held: list[Held] = []
    for day, ratio in splits.select("date", "ratio").iter_rows():
        found = _breaks(series, abs(log(ratio)) if ratio > 0 else 0.0)
        if found is None:
            continue
        ex = int(np.searchsorted(series.days, np.datetime64(day, "D")))
        off = _off_before(found, series, ex)
        if off.any():
            held.append(
                Held(
                    Kind.RESCALED_IN_PART,
                    series.dates(np.flatnonzero(off).tolist()),
                    f"bars off by the ratio {ratio:g} of the split of {day}: rescaled in part",
                    _witnesses(found, series, ex),
                )
            )
    return held + _hundredfold(answer, series)


def _breaks(series: Series, size: float, *, near: float | None = None) -> _Breaks | None:
    if size <= _SURE * series.usual:
        return None
    if near is None:
        near = min(max(_NEAR * series.usual, _NEAREST), _FURTHEST, 0.35 * size)
    gaps = series.gaps
    at = (np.abs(np.abs(series.moves) - size) <= near) & (np.abs(np.abs(gaps) - size) <= 1.5 * near)
    at &= np.sign(series.moves) == np.sign(gaps)
    at[0] = False
    if not at.any():
        return None
    return _Breaks(float(np.exp(size)), np.where(at, np.sign(series.moves), 0).astype(np.int64))


def _off_before(found: _Breaks, series: Series, ex: int) -> npt.NDArray[np.bool_]:
    """The bars before position `ex` that are on another level than those from it on, where that is an error."""
    levels = found.levels
    count = levels.size
    steps = np.flatnonzero(found.steps)
    steps = steps[steps <= ex]
    off = np.zeros(count, dtype=bool)
    if not steps.size:
        return off
    reference = levels[min(ex, count - 1)] if ex < count else levels[-1]
    off[:ex] = levels[:ex] != reference
    if not off.any():
        return off
    edges = [0, *steps.tolist(), min(ex, count)]
    segments = [(a, b) for a, b in itertools.pairwise(edges) if a < b and off[a]]
    for first, beyond in segments:
        # A stretch that is left and come back to is none of the market's; one that the answer begins with may be.
        paired = first > 0 and levels[first - 1] == reference
        near = ex - beyond <= _NEARBY or (ex - beyond <= _A_YEAR and _volume_agrees(found, series, beyond))
        if not (paired or near):
            off[first:beyond] = False
    return off


def _volume_agrees(found: _Breaks, series: Series, at: int) -> bool:
    """Whether the volume changes at a break by the factor that the price changes by, the other way."""
    change = _volume_change(series, at)
    if change is None:
        return False
    expected = -found.steps[at] * log(found.factor)
    return abs(change - expected) < 0.4 * log(found.factor) if log(found.factor) > 0.3 else False


def _volume_change(series: Series, at: int) -> float | None:
    before = series.volumes[max(0, at - _WINDOW) : at]
    after = series.volumes[at : at + _WINDOW]
    before, after = before[before > 0], after[after > 0]
    if before.size < 5 or after.size < 5:
        return None
    return float(np.log(np.median(after)) - np.log(np.median(before)))


def _witnesses(found: _Breaks, series: Series, ex: int) -> str:
    at = [int(i) for i in np.flatnonzero(found.steps) if i <= ex]
    days = ", ".join(str(series.days[i]) for i in at[:4])
    agree = sum(_volume_agrees(found, series, i) for i in at)
    return f"the series breaks by that ratio on {days}; the volume goes with it at {agree} of {len(at)}"


def _hundredfold(answer: Answer, series: Series) -> list[Held]:
    found = _breaks(series, log(100.0), near=_HUNDRED_NEAR + 3 * series.usual)
    if found is None:
        if answer.price and looks_like_a_unit(series.closes[-1] / answer.price):
            reason = f"prices near {series.closes[-1]:g} beside the source's own quote of {answer.price:g}"
            return [Held(Kind.HUNDREDFOLD, _all(series), reason)]
        return []
    levels = found.levels
    days = ", ".join(str(series.days[i]) for i in np.flatnonzero(found.steps)[:4])
    reason = f"a break by a hundred on {days}: two units of the currency in one answer"
    reference, witness = _right_level(answer, series, levels)
    if reference is None:
        return [Held(Kind.HUNDREDFOLD, _all(series), reason, "nothing tells which side is right")]
    off = np.flatnonzero(levels != reference).tolist()
    return [Held(Kind.HUNDREDFOLD, series.dates(off), reason, witness)]


def _all(series: Series) -> frozenset[date]:
    return series.dates(range(series.days.size))


def _right_level(answer: Answer, series: Series, levels: npt.NDArray[np.int64]) -> tuple[int | None, str]:
    """The level that is right, and the witness that says so."""
    stored = answer.stored.filter(pl.col("close").is_not_null())
    if not stored.is_empty():
        known = dict(zip(stored["date"].to_list(), stored["close"].to_list(), strict=True))
        votes: dict[int, int] = {}
        for i, day in enumerate(series.days.tolist()):
            if day in known and abs(log(series.closes[i] / known[day])) < _HUNDRED_NEAR:
                votes[int(levels[i])] = votes.get(int(levels[i]), 0) + 1
        if votes and (len(votes) == 1 or max(votes.values()) > 2 * sorted(votes.values())[-2]):
            return max(votes, key=lambda level: votes[level]), "stored rows"
    year = series.days > series.days[-1] - np.timedelta64(365, "D")
    if answer.low_52_weeks and answer.high_52_weeks:
        low, high = answer.low_52_weeks * 0.5, answer.high_52_weeks * 2.0
        fits = {
            int(level): bool(
                ((series.closes >= low) & (series.closes <= high))[year & (levels == level)].all()
            )
            for level in np.unique(levels[year])
        }
        right = [level for level, fit in fits.items() if fit]
        if len(right) == 1 and len(fits) > 1:
            return right[0], "the source's own range of 52 weeks"
    if levels[0] == levels[-1]:
        return int(levels[0]), "the bars on both sides of the stretch"
    if levels.size - int(np.flatnonzero(np.diff(levels, prepend=levels[:1]))[-1]) >= _SHORT:
        return int(levels[-1]), "the bars since the break"
    if answer.price:
        near = {int(levels[i]) for i in range(levels.size) if abs(log(series.closes[i] / answer.price)) < 1.0}
        if len(near) == 1 and not _sums_up(answer, series):
            return near.pop(), "the source's own quote"
    return None, ""


def _sums_up(answer: Answer, series: Series) -> bool:
    """Whether the source's quote is but the answer's last close said again."""
    return bool(answer.price) and abs(answer.price - series.closes[-1]) <= 1e-6 * series.closes[-1]


def beside_closed_days(answer: Answer, series: Series) -> list[Held]:
    """Bars on a closed day shortly before a session without one: those between may be the bars of the days after."""
    stray = [day for day in series.days.tolist() if day not in answer.sessions] if answer.sessions else []
    if not stray:
        return []
    have = set(series.days.tolist())
    lacking = sorted(day for day in answer.sessions if day not in have)
    held: set[date] = set()
    for day in stray:
        end = next((session for session in lacking if day < session <= day + FEW_SESSIONS), None)
        if end is not None:
            held |= {other for other in have if day <= other <= end}
    if not held:
        return []
    reason = f"bars on days without a session from {min(held)} on, beside sessions that have none"
    return [Held(Kind.STAMPED_ON_A_CLOSED_DAY, frozenset(held), reason)]
