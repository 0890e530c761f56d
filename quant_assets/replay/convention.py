"""From the as-traded truth to the numbers Yahoo shows at a given moment.

An implementation of its own, on purpose: the product undoes this, and must not share code with it.

    S(t)  = product of split ratios with ex-date in (t, today]
    price = as-traded / S(t), widened from float32      volume = as-traded x S(t)
    dividend = declared / S(ex-date)
    Adj Close = as-traded close / S(t) x product over ex-dates in (t, today] of (1 - D / C_prev)

with D and the last close before the ex-date, C_prev, both split-adjusted. Nothing after `today` shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fractions import Fraction

import numpy as np

from quant_assets.replay.history import Events, Paid, SymbolTruth


@dataclass(frozen=True, eq=False)
class YahooSeries:
    """A symbol as Yahoo shows it at one moment; all arrays sorted by date.

    `dates` datetime64[D]; `prices` 4 x n (open, high, low, close: float64 holding float32 values);
    `adjclose` float64; `volume` int64; `dividends`, `gains` and `splits` are (dates, values): amounts per
    share on today's share basis, and ratios.
    """

    dates: np.ndarray
    timestamps: np.ndarray
    prices: np.ndarray
    adjclose: np.ndarray
    volume: np.ndarray
    dividends: Events
    gains: Events
    splits: Events


def suffix_products(factors: np.ndarray) -> np.ndarray:
    """`out[k]` = product of factors[k:], with out[n] = 1.0."""
    out = np.ones(len(factors) + 1)
    out[:-1] = np.cumprod(factors[::-1])[::-1]
    return out


def later_product(at: np.ndarray, dates: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """For every date of `at`, the product of the factors whose date is later."""
    return suffix_products(factors)[np.searchsorted(dates, at, side="right")]


def to_yahoo(truth: SymbolTruth, today: date, bars_through: date | None = None) -> YahooSeries:
    """`truth` as Yahoo shows it on `today`.

    Actions count up to `today` inclusive; bars show up to `bars_through` (default `today`): during a
    session its actions are in force while its bar is not there yet.
    """
    now = np.datetime64(today, "D")
    n = int(np.searchsorted(truth.dates, np.datetime64(bars_through or today, "D"), side="right"))
    dates, raw = truth.dates[:n], truth.prices[:, :n]
    split_dates, ratios = _through(truth.splits, now)
    followed = truth.paid if truth.adjusted_for is None else truth.adjusted_for
    paid_dates, paid = _through(_a_day(followed), now)

    scale = later_product(dates, split_dates, ratios)
    adjusted = raw / scale
    amounts = paid / later_product(paid_dates, split_dates, ratios)
    close = adjusted[3]
    before = np.searchsorted(dates, paid_dates, side="left") - 1
    steps = np.ones(len(amounts))
    known = before >= 0  # a dividend before the first bar has nothing to adjust
    steps[known] = 1.0 - amounts[known] / close[before[known]]

    def told(events: Events) -> Events:
        known_dates, declared = _through(events, now)
        return known_dates, declared / later_product(known_dates, split_dates, ratios)

    return YahooSeries(
        dates=dates,
        timestamps=truth.timestamps[:n],
        prices=adjusted.astype(np.float32).astype(np.float64),
        adjclose=close * later_product(dates, paid_dates, steps),
        volume=np.rint(truth.volume[:n] * scale).astype(np.int64),
        dividends=told(truth.paid.dividends),
        gains=told(truth.paid.gains),
        splits=(split_dates, ratios),
    )


def _through(events: Events, last: np.datetime64) -> Events:
    n = int(np.searchsorted(events[0], last, side="right"))
    return events[0][:n], events[1][:n]


def _a_day(paid: Paid) -> Events:
    """One payment a day: all that is paid on one day leaves the price as a sum."""
    dates = np.concatenate([paid.dividends[0], paid.gains[0]])
    amounts = np.concatenate([paid.dividends[1], paid.gains[1]])
    days, which = np.unique(dates, return_inverse=True)
    return days, np.bincount(which, weights=amounts, minlength=len(days))


def split_fraction(ratio: float) -> tuple[int, int]:
    """A split ratio as (numerator, denominator): 2.0 → (2, 1), 0.1 → (1, 10), 1.998 → (999, 500)."""
    fraction = Fraction(ratio).limit_denominator(10_000)
    return fraction.numerator, fraction.denominator
