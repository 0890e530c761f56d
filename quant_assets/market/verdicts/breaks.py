"""Stretches of a served series that are on another scale than the rest of it.

On today's share basis a series is continuous but for the market's own moves. A break near the ratio of a listed split
shows bars before its ex-date that have not been rescaled, or have been once too often; a break near a hundred shows
another unit of the currency. The bars from the ex-date on are on today's basis, whatever else is wrong.

What was recorded of real answers: a block from the start of the range to some day before the ex-date, or single days
up to five sessions before it, or many of both in turns; the bar of the ex-date itself, on which nothing was traded.
The factor is the listed ratio, and the volume goes with it in most.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from datetime import date
from functools import lru_cache
from math import log

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.market.bars import DayTable
from quant_assets.market.corporate_actions import split_factor_after
from quant_assets.market.moves import looks_like_a_unit
from quant_assets.market.verdicts.answer import FEW_SESSIONS, Answer, Held, Kind, Series
from quant_assets.market.verdicts.real_moves import IN_RANGE_DAYS, WINDOW, in_range, is_loud
from quant_assets.market.verdicts.steps import Steps, expected_falls, steps_by, steps_by_ratio

_HUNDRED_NEAR = 0.2
_NEARBY = 60
"""Sessions before an ex-date in which a break near its ratio is its doing, whatever the volumes show."""
_A_YEAR = 250
"""Sessions before an ex-date in which it is where the volumes show it, too. A crash doubles volumes as well."""
_FEW = 5
"""Sessions from an ex-date on in which a bar may still have a price from before it."""
_AS_STORED = 0.02
"""Difference of logarithms up to which a price counted back is the one that is stored."""
_ENOUGH = 3
"""How many bars have to say the same before they say anything."""
_OUTWEIGHS = 3
"""How many times the bars of a stretch those around it must be before they say that the stretch is wrong."""
_OUTSIDE = 1.5
"""By what factor a price lies outside the range of 52 weeks that is surely on another scale."""
_BROKEN = log(2.0)
"""How large a move is where prices go to a scale that the range of 52 weeks excludes."""
_SHORT = 60
"""Bars from a hundredfold break to the end of the answer by which they are what is right, if nothing else tells."""


def off_scale(answer: Answer, series: Series, splits: pl.DataFrame) -> list[Held]:
    """The bars that are off by a listed ratio or by a hundred, as far as the series shows it.

    `splits` (date, ratio) are those that the answer rests on.
    """
    if series.days.size < 2:
        return []
    held: list[Held] = []
    shares = np.zeros(series.days.size) if splits.is_empty() else expected_falls(answer, series)
    for day, ratio in zip(splits["date"].to_list(), splits["ratio"].to_list(), strict=True):
        ex = int(np.searchsorted(series.days, np.datetime64(day, "D")))
        found = steps_by_ratio(series, ratio, ex, shares)
        if found is None:
            continue
        right = _level_as_stored(answer, series, found, splits)
        off = _off_before(
            found, series, ex, _level_in_range(answer, series, found) if right is None else right
        )
        off &= ~_moved_by_the_market(answer, series, found, ex, ratio)
        if off.any():
            held.append(
                Held(
                    Kind.RESCALED_IN_PART,
                    series.dates(np.flatnonzero(off).tolist()),
                    f"bars off by the ratio {ratio:g} of the split of {day}: rescaled in part",
                    _witnesses(found, series, ex),
                )
            )
    held += _hundredfold(answer, series)
    return held + _out_of_range(answer, series, {day for one in held for day in one.days})


def _off_before(found: Steps, series: Series, ex: int, known: int | None) -> npt.NDArray[np.bool_]:
    """The bars that are on another level than those from position `ex` on, where that is an error.

    `known` is the level that is right by stored rows or the range of 52 weeks; None where they do not tell.
    """
    levels = found.levels
    count = levels.size
    off = np.zeros(count, dtype=bool)
    right, in_doubt = _first_right(found, series, ex)
    steps = np.flatnonzero(found.steps)
    steps = steps[steps <= right]
    if not steps.size:
        return off
    reference = levels[min(right, count - 1)]
    if known is not None and known != reference and in_doubt:
        # History has been rescaled; what is not are the bars from the ex-date on.
        reference, right, steps = known, count, np.flatnonzero(found.steps)
    off[:right] = levels[:right] != reference
    if not off.any():
        return off
    edges = [0, *steps.tolist(), min(right, count)]
    segments = [(a, b) for a, b in itertools.pairwise(edges) if a < b and off[a]]
    for first, beyond in segments:
        # A stretch that is left and come back to is none of the market's; one that the answer begins with may be.
        paired = first > 0 and levels[first - 1] == reference
        near = ex - beyond <= _NEARBY or (ex - beyond <= _A_YEAR and _volume_agrees(found, series, beyond))
        if not (paired or near):
            off[first:beyond] = False
    if in_doubt and known is None and off.any():
        # It may as well be the bars since the ex-date that are off.
        off[ex:] = True
    return off


def _moved_by_the_market(
    answer: Answer, series: Series, found: Steps, ex: int, ratio: float
) -> npt.NDArray[np.bool_]:
    """The bars that the answer begins with and that leave their level by what the witnesses call a real move.

    A company consolidates its shares because their price has fallen, by as much at times. Prices that have not been
    rescaled step the other way, and are believed to have moved only where both the day itself and the range of 52
    weeks say so. Near the ex-date neither is believed.
    """
    real = np.zeros(series.days.size, dtype=bool)
    steps = np.flatnonzero(found.steps).tolist()
    if not steps or ex - steps[0] <= _FEW:
        return real
    at = steps[0]
    unscaled = found.steps[at] == -np.sign(log(ratio))
    loud, known = is_loud(series, at), in_range(answer, series, at)
    real[:at] = (loud and known) if unscaled else (loud or known)
    return real


def _first_right(found: Steps, series: Series, ex: int) -> tuple[int, bool]:
    """From which position on the bars are on today's basis, and whether that is in doubt.

    It is that of the ex-date, but a bar without a trade has its price from before; so has a short stretch from there
    on that is left again for the level before it.
    """
    levels, count = found.levels, found.steps.size
    right, traded = ex, series.volumes > 0
    for at in np.flatnonzero(found.steps).tolist():
        if ex < at <= ex + _FEW:
            back = ex > 0 and levels[at] == levels[ex - 1] != levels[ex]
            if back or not traded[ex:at].any():
                right = at
    # A step just there: it takes some sessions, and a trade, to show that the bars from it on are there to stay.
    doubtful = 0 < ex < count and levels[right] != levels[ex - 1]
    return right, bool(doubtful and (count - ex < _ENOUGH or not traded[right:].any()))


def _level_as_stored(answer: Answer, series: Series, found: Steps, splits: pl.DataFrame) -> int | None:
    """The one level on which bars, counted back to what was traded, are as stored; or of two the one of which none is
    stored, where those of the other are off by the factor."""
    known = answer.stored.filter(pl.col("close") > 0).select("date", "close")
    if known.is_empty():
        return None
    factors = split_factor_after(pl.Series("date", series.days), splits)
    counted = pl.DataFrame({"date": series.days, "counted": series.closes * factors, "level": found.levels})
    both = counted.with_columns(pl.col("date").cast(pl.Date)).join(known, on="date")
    off = (pl.col("counted") / pl.col("close")).log().abs()
    right = both.filter(off < _AS_STORED)["level"]
    wrong = both.filter((off - log(found.factor)).abs() < _AS_STORED)["level"]
    if max(right.len(), wrong.len()) < _ENOUGH:
        return None
    possible = {int(level) for level in (right if right.len() else found.levels)} - set(wrong)
    return possible.pop() if len(possible) == 1 else None


def _level_in_range(answer: Answer, series: Series, found: Steps) -> int | None:
    """The one level whose bars of the last year are in the source's own range of 52 weeks."""
    if not (answer.low_52_weeks and answer.high_52_weeks):
        return None
    of_late = series.days > series.days[-1] - np.timedelta64(IN_RANGE_DAYS, "D")
    levels = found.levels
    inside = (series.closes >= answer.low_52_weeks * 0.98) & (series.closes <= answer.high_52_weeks * 1.02)
    fitting = [level for level in np.unique(levels[of_late]) if inside[of_late & (levels == level)].all()]
    return int(fitting[0]) if len(fitting) == 1 else None


def _volume_agrees(found: Steps, series: Series, at: int) -> bool:
    """Whether the volume changes at a break by the factor that the price changes by, the other way."""
    change = _volume_change(series, at)
    if change is None:
        return False
    expected = -found.steps[at] * log(found.factor)
    return abs(change - expected) < 0.4 * log(found.factor) if log(found.factor) > 0.3 else False


def _volume_change(series: Series, at: int) -> float | None:
    before = series.volumes[max(0, at - WINDOW) : at]
    after = series.volumes[at : at + WINDOW]
    before, after = before[before > 0], after[after > 0]
    if before.size < 5 or after.size < 5:
        return None
    return float(np.log(np.median(after)) - np.log(np.median(before)))


def _witnesses(found: Steps, series: Series, ex: int) -> str:
    at = [int(i) for i in np.flatnonzero(found.steps) if i <= ex]
    days = ", ".join(str(series.days[i]) for i in at[:4])
    agree = sum(_volume_agrees(found, series, i) for i in at)
    return f"the series breaks by that ratio on {days}; the volume goes with it at {agree} of {len(at)}"


def _hundredfold(answer: Answer, series: Series) -> list[Held]:
    found = steps_by(series, log(100.0), np.zeros(series.days.size), near=_HUNDRED_NEAR + 3 * series.usual)
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


def _out_of_range(answer: Answer, series: Series, held: Collection[date]) -> list[Held]:
    """The bars of late that the source's own range of 52 weeks excludes, from one break to another.

    No split is listed that would say by what they are off. A range that is behind the prices excludes the last bar as
    well, and one of other days than the bars has no break where it ends.
    """
    if not (answer.low_52_weeks and answer.high_52_weeks) or series.days.size < 2:
        return []
    low, high = answer.low_52_weeks / _OUTSIDE, answer.high_52_weeks * _OUTSIDE
    far = (series.closes < low) | (series.closes > high)
    of_late = series.days > series.days[-1] - np.timedelta64(IN_RANGE_DAYS, "D")
    if far[-1] or not (far & of_late).any():
        return []
    breaks = np.flatnonzero((np.abs(series.moves) > _BROKEN) & (np.abs(series.gaps) > _BROKEN)).tolist()
    off: list[int] = []
    for first, beyond in itertools.pairwise([0, *breaks, series.days.size]):
        recent = of_late[first:beyond]
        if recent.any() and far[first:beyond][recent].all():
            off += range(first, beyond)
    days = series.dates(off) - set(held)
    if not days:
        return []
    reason = (
        f"prices beside the source's own range of 52 weeks, {answer.low_52_weeks:g} to {answer.high_52_weeks:g}: "
        "on another scale than today's"
    )
    when = ", ".join(str(series.days[at]) for at in breaks[:4])
    return [Held(Kind.RESCALED_IN_PART, days, reason, f"the range of 52 weeks; the series breaks on {when}")]


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
    outside = int((levels == levels[0]).sum())
    if levels[0] == levels[-1] and outside >= _OUTWEIGHS * (levels.size - outside):
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


@lru_cache(maxsize=8)
def _open(sessions: frozenset[date]) -> DayTable:
    """The same set for every answer of a run."""
    return DayTable(np.array(list(sessions), dtype="datetime64[D]").astype(np.int32))


def beside_closed_days(answer: Answer, series: Series) -> list[Held]:
    """Bars on a closed day shortly before a session without one: those between may be the bars of the days after."""
    if not answer.sessions:
        return []
    there = _open(answer.sessions).holds(series.days.astype(np.int32))
    if there.all():
        return []
    stray: list[date] = series.days[~there].tolist()
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
