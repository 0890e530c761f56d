"""Single prices of a bar that are far from the bar's other three."""

from __future__ import annotations

from math import log

import numpy as np

from quant_assets.market.verdicts.answer import Held, Kind, Series

_FAR = log(4.0)
"""Difference of logarithms beyond which one of four prices is none of the day's."""
_SURELY_NEAR = 3.9
"""No price of a bar is far from the others where the highest is less than so many times the lowest."""
_FEW_TICKS = 0.002
"""Prices up to here move by whole ticks of 0.0001, so that several times the price is a day like others."""


def out_of_line(series: Series) -> list[Held]:
    """The bars with an open, high, low or close of more than four times the others, or less than a fourth."""
    names = ("open", "high", "low", "close")
    opens, highs, lows, closes = series.opens, series.highs, series.lows, series.closes
    least = np.minimum(np.minimum(opens, highs), np.minimum(lows, closes))
    most = np.maximum(np.maximum(opens, highs), np.maximum(lows, closes))
    if ((least > 0) & (most < _SURELY_NEAR * least)).all():
        return []
    prices = np.vstack([opens, highs, lows, closes])
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(prices)
        middle = np.median(logs, axis=0)
        far = np.abs(logs - middle) > _FAR
    far &= np.isfinite(logs) & (most > _FEW_TICKS)
    held: list[Held] = []
    for at in np.flatnonzero(far.any(axis=0)):
        which = ", ".join(f"{names[j]} {prices[j, at]:g}" for j in np.flatnonzero(far[:, at]))
        others = f"{np.exp(middle[at]):g}"
        held.append(
            Held(
                Kind.FIELD_OUT_OF_LINE,
                series.dates([int(at)]),
                f"{which} in a bar around {others}",
                "the bar's other prices",
            )
        )
    return held
