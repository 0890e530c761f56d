"""The bars of neighbouring symbols as arrays, and what splits and dividends make of a share between two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_assets.market.bars import day_numbers

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_ALIKE = 8
"""Neighbouring symbols with as many bars each from which on they are added up side by side."""


@dataclass(frozen=True, slots=True)
class SymbolBars:
    """The rows that have a close, and which of the part's symbols they are of."""

    close: Floats
    before: Floats
    """The close of the bar before, NaN where there is none."""
    dates: npt.NDArray[np.int32]
    symbol: Ints
    rows: Ints | None
    """Which of the part's rows each bar is; None: they all are bars."""
    counts: Ints
    """Per symbol the number of its bars."""
    there: Ints
    """The symbols that have a bar; of them, the positions of the first and the last one:"""
    firsts: Ints
    lasts: Ints

    def per_symbol(self, bars: Ints) -> Ints:
        """How many of some bars each symbol has."""
        import numpy as np

        return np.bincount(self.symbol[bars], minlength=len(self.counts))

    def folded(self, values: Floats, start: Floats) -> Floats:
        """Per symbol what its bars' `values` add up to, one after the other, after `start`. Changes `values`."""
        import numpy as np

        values[self.firsts] += start[self.there]
        # All of these add from the first to the last, which numpy's sums of a row do not.
        counts = self.counts[self.there]
        alike = [0, *(np.flatnonzero(np.diff(counts)) + 1).tolist(), len(counts)]
        if len(alike) * _ALIKE > len(counts):
            return np.where(self.counts > 0, np.bincount(self.symbol, values, minlength=len(start)), start)
        result = start.copy()
        for first, end in pairwise(alike):
            table = values[self.firsts[first] : self.lasts[end - 1] + 1].reshape(end - first, -1)
            result[self.there[first:end]] = (
                np.add.reduce(np.ascontiguousarray(table.T), axis=0)
                if end - first >= _ALIKE
                else np.add.accumulate(table, axis=1)[:, -1]
            )
        return result

    def next_bar(self, rows: Ints) -> Ints:
        """The first bar that is not before each of some rows, or the number of bars."""
        import numpy as np

        return rows if self.rows is None else np.searchsorted(self.rows, rows)


def bars_of(rows: pl.DataFrame, lengths: Ints, closes_before: Floats) -> tuple[SymbolBars, Floats]:
    """The bars of a part, and their volumes: NaN where nobody knows one."""
    import numpy as np

    symbol = np.repeat(np.arange(len(lengths)), lengths)
    counts = lengths
    places: Ints | None = None
    if rows["close"].null_count():
        places = np.flatnonzero(rows["close"].is_not_null().to_numpy())
        symbol = symbol[places]
        counts = np.bincount(symbol, minlength=len(lengths))
        rows = rows[places]
    close = rows["close"].to_numpy()
    there = np.flatnonzero(counts)
    lasts = np.cumsum(counts)[there] - 1
    firsts = lasts - counts[there] + 1
    before = np.empty_like(close)
    before[1:] = close[:-1]
    before[firsts] = closes_before[there]
    bars = SymbolBars(close, before, day_numbers(rows["date"]), symbol, places, counts, there, firsts, lasts)
    return bars, rows["volume"].to_numpy()


class Actions:
    """What splits and dividends make of a share between one bar and the next.

    Of the bars that they come before (`bars`): `shares`, `cash` and `log_factor` as in `SUMS_SCHEMA`, for one share
    held at the bar before. Of every symbol: how many `splits` and `dividends` it has, and in `left` what a share held
    at its last bar has become.
    """

    def __init__(
        self, actions: Sequence[npt.NDArray[Any]], lengths: Ints, bars: SymbolBars, own: Mapping[str, Any]
    ) -> None:
        import numpy as np

        acting, ratios, paid = actions
        symbol = np.searchsorted(np.cumsum(lengths), acting, side="right")
        of = len(lengths)
        self.splits = np.bincount(symbol[ratios != 1.0], minlength=of)
        self.dividends = np.bincount(symbol[paid != 0.0], minlength=of)

        # A span of time ends with a bar, which numbers it, or is a symbol's last: numbered after the bars.
        open_span = len(bars.close) + np.arange(of)
        first_span = open_span.copy()
        first_span[bars.there] = bars.firsts
        before = [own[name] for name in ("shares", "cash", "log_factor")]
        waiting = np.flatnonzero((before[0] != 1.0) | (before[1] != 0.0) | (before[2] != 0.0))
        span = bars.next_bar(acting)
        last_bar = np.cumsum(bars.counts) - 1
        span = np.where((span <= last_bar[symbol]) & (bars.counts[symbol] > 0), span, open_span[symbol])
        spans = np.union1d(span, first_span[waiting])
        shares, cash, log_factor = np.ones(len(spans)), np.zeros(len(spans)), np.zeros(len(spans))
        at = np.searchsorted(spans, first_span[waiting])
        shares[at], cash[at], log_factor[at] = (values[waiting] for values in before)

        closes = own["close"].copy()
        closes[bars.there] = bars.close[bars.lasts]
        held_at = np.concatenate([bars.before, closes])[spans]
        at = np.searchsorted(spans, span)
        # Actions of one span one after the other: all first ones, all second ones.
        nth = _nth(at)
        for number in range(int(nth.max(initial=-1)) + 1):
            these = np.flatnonzero(nth == number)
            here = at[these]
            shares[here] *= ratios[these]
            amount = paid[these] * shares[here]
            cash[here] += amount
            with np.errstate(divide="ignore", invalid="ignore"):
                factor = np.log(1.0 - amount / held_at[here])
            # A dividend before the first bar belongs to no holder we know.
            log_factor[here] += np.where((amount != 0.0) & ~np.isnan(held_at[here]), factor, 0.0)

        inner = spans < len(bars.close)
        self.bars: Ints = spans[inner]
        self.shares, self.cash, self.log_factor = shares[inner], cash[inner], log_factor[inner]
        tail = spans[~inner] - len(bars.close)
        self.left: dict[str, Floats] = {}
        for name, start, found in (
            ("shares", 1.0, shares),
            ("cash", 0.0, cash),
            ("log_factor", 0.0, log_factor),
        ):
            self.left[name] = own[name].copy()
            self.left[name][bars.there] = start
            self.left[name][tail] = found[~inner]


def _nth(keys: Ints) -> Ints:
    """How many equal ones come before each key."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.ones(len(keys), dtype=np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(new)
    nth = np.empty_like(keys)
    nth[order] = np.arange(len(keys)) - starts[np.cumsum(new) - 1]
    return nth
