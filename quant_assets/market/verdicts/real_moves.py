"""Large moves that are the market's doing: what the day itself and the source's own range of 52 weeks say of them."""

from __future__ import annotations

from datetime import date
from math import log

import numpy as np

from quant_assets.market.moves import BELIEVABLE, looks_like_a_unit
from quant_assets.market.verdicts.answer import Answer, Series

WINDOW = 20
"""Bars on a side of a day that its own is compared with."""
_FEW = 3
"""How many bars with a trade there have to be on a side."""
_LOUD_VOLUME, _LOUD_SPAN = 4.0, 3.0
"""How many times the usual volume, and the usual distance from low to high, a day of a large move has."""
IN_RANGE_DAYS = 340
"""Calendar days up to the last bar whose prices surely make up the range of 52 weeks."""
_LITTLE = 0.02
"""Share by which a price may lie outside that range and be in it."""


def vouched_for(answer: Answer, series: Series) -> frozenset[date]:
    """The days on which the price moved further than is believed of itself, and two witnesses say that it did.

    Its volume and its span are those of such a day (no change of scale gives it both), and the range of 52 weeks has
    the prices on both sides. What looks like another unit of the currency is vouched for by nothing.
    """
    large = np.flatnonzero(np.abs(series.moves) > log(BELIEVABLE)).tolist()
    return series.dates(
        at
        for at in large
        if not looks_like_a_unit(float(np.exp(series.moves[at])))
        and is_loud(series, at, since=False)
        and in_range(answer, series, at, at - 1)
    )


def is_loud(series: Series, at: int, *, since: bool = True) -> bool:
    """Whether a day has the volume and the span of a large move, beside the days before it and, where they are to be
    looked at, those after it (`since`)."""
    before, after = slice(max(0, at - WINDOW), at), slice(at + 1, at + 1 + WINDOW)
    volumes = [series.volumes[part] for part in ((before, after) if since else (before,))]
    traded = [part[part > 0] for part in volumes]
    if min(part.size for part in traded) < _FEW:
        return False
    usual = max(float(np.median(part)) for part in traded)
    with np.errstate(divide="ignore", invalid="ignore"):
        spans = np.log(series.highs / series.lows)
    return bool(
        series.volumes[at] >= _LOUD_VOLUME * usual and spans[at] >= _LOUD_SPAN * np.median(spans[before])
    )


def in_range(answer: Answer, series: Series, at: int, first: int = 0) -> bool:
    """Whether the source's range of 52 weeks has the prices of all bars from `first` on that make it up, some of them
    before position `at`."""
    if not (answer.low_52_weeks and answer.high_52_weeks):
        return False
    of_late = series.days > series.days[-1] - np.timedelta64(IN_RANGE_DAYS, "D")
    of_late[:first] = False
    low, high = answer.low_52_weeks * (1 - _LITTLE), answer.high_52_weeks * (1 + _LITTLE)
    inside = (series.lows >= low) & (series.highs <= high)
    return bool(of_late[:at].any() and inside[of_late].all())
