"""Where a served series leaves its level by a given factor, and comes back to it."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.market.verdicts.answer import Answer, Floats, Series

_SURE = 6.0
"""Usual moves that a ratio must be larger than, or the market's own moves cannot be told from it."""
_NEAR, _NEAREST, _FURTHEST = 3.0, 0.02, 0.2
"""How far, in usual moves, a step may be from a ratio; at least, and at most, as a difference of logarithms."""
_LARGE = log(3.0)
"""Ratios from here on are no day's move of the market, but for the rarest; the price moves on the ex-date as well."""
_SHARE, _SHARE_OF_LARGE, _MOST = 0.12, 0.2, 0.35
"""The same as shares of the ratio's own logarithm: what a step may be off, and may at most."""
_ROUNDING = 1e-9
_SPECIAL = 0.1
"""Share of the price before from which a dividend can hide a step by a ratio, or look like one."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Where a series leaves its level by a factor, and comes back: +1 up, -1 down, 0 elsewhere."""

    factor: float
    steps: npt.NDArray[np.int64]

    @property
    def levels(self) -> npt.NDArray[np.int64]:
        """Per bar how often the series has been left by the factor so far, up less down."""
        return np.cumsum(self.steps)


def expected_falls(answer: Answer, series: Series) -> Floats:
    """Per bar the listed dividends of its day as a share of the close before; 0 where none is listed."""
    shares = np.zeros(series.days.size)
    if answer.dividends.is_empty():
        return shares
    currencies = answer.dividends["currency"]
    own = answer.dividends
    if currencies.null_count() < currencies.len():
        own = own.filter(pl.col("currency").is_null() | (pl.col("currency") == answer.currency))
    days, amounts = own["date"].to_numpy(), own["amount"].to_numpy()
    at = np.clip(np.searchsorted(series.days, days), 0, series.days.size - 1)
    known = (series.days[at] == days) & (at > 0) & (amounts > 0)
    np.add.at(shares, at[known], amounts[known] / series.closes[at[known] - 1])
    return shares


def steps_by_ratio(series: Series, ratio: float, ex: int, shares: Floats) -> Steps | None:
    """The steps of a series by the ratio of a split with its ex-date at position `ex`; None without any.

    `shares` are those of `expected_falls`. A return of capital is consolidated for so that the price stays about what
    it was: its fall is no step, and a step may be hidden by it.
    """
    found = steps_by(series, abs(log(ratio)) if ratio > 0 else 0.0, shares)
    hidden = _hidden_at(series, ratio, ex, shares)
    if not hidden:
        return found
    steps = np.zeros(series.days.size, dtype=np.int64) if found is None else found.steps.copy()
    steps[ex] = hidden
    return Steps(max(ratio, 1.0 / ratio), steps)


def steps_by(series: Series, size: float, shares: Floats, *, near: float | None = None) -> Steps | None:
    """The steps of a series by a factor, given as its logarithm; None without any.

    Args:
        shares: those of `expected_falls`: a fall that a dividend explains is no step.
        near: how far a step may be off, as a difference of logarithms.
    """
    if size <= _SURE * series.usual:
        return None
    if near is None:
        share = _SHARE_OF_LARGE if size >= _LARGE else _SHARE
        near = min(
            max(_NEAR * series.usual, _NEAREST, share * size), max(_FURTHEST, share * size), _MOST * size
        )
    # Without the dividends moves are smaller, if anything.
    if np.abs(series.moves).max(initial=0.0) < size - max(near, _MOST * size) - _ROUNDING:
        return None
    moves, gaps = _without_dividends(series.moves, shares), _without_dividends(series.gaps, shares)
    off, gap_off = np.abs(np.abs(moves) - size), np.abs(np.abs(gaps) - size)
    at = (off <= near) & (gap_off <= 1.5 * near)
    # A price falls or rises on such a day as well, and then the open tells.
    at |= (gap_off <= near) & (off <= _MOST * size)
    at &= np.sign(moves) == np.sign(gaps)
    at[0] = False
    if not at.any():
        return None
    return Steps(float(np.exp(size)), np.where(at, np.sign(moves), 0).astype(np.int64))


def _without_dividends(moves: Floats, shares: Floats) -> Floats:
    """Moves without the falls that listed dividends explain; a dividend that makes a move larger explains nothing."""
    paid = (shares > 0) & (shares < 1)
    if not paid.any():
        return moves
    rest = moves - np.log1p(-np.where(paid, shares, 0.0))
    return np.where(paid & (np.abs(rest) < np.abs(moves)), rest, moves)


def _hidden_at(series: Series, ratio: float, ex: int, shares: Floats) -> int:
    """Whether prices before an ex-date have not been rescaled, and a large dividend of that day makes up for it: the
    step that is missing, +1 or -1, else 0."""
    if not (0 < ex < series.days.size and ratio > 0 and shares[ex] > _SPECIAL):
        return 0
    left = 1.0 / ratio - shares[ex]
    if left <= 0:
        return 0
    # Prices that have been rescaled fall by the dividend alone: as far from this as the ratio is, and never near.
    near = min(max(_NEAR * series.usual, _FURTHEST), _MOST * abs(log(ratio)))
    return int(np.sign(-log(ratio))) if abs(float(series.gaps[ex]) - log(left)) <= near else 0
