"""Moves of a price from one bar to the next: how large each judgement takes one to be, and what explains it.

A move is a factor: 1.6 stands for a rise to 1.6 times the price before and for a fall to 1/1.6 of it. Sizes are
compared as logarithms, so that both count alike.

| constant | who asks | what a larger move means |
|---|---|---|
| `USUAL` 1.35 | restatements | something happened: a split, if its ratio brings the move back below |
| `LARGE` 1.6 | the check `jumps_explained`, profiles | without an explanation it is pointed out, and stays |
| `BELIEVABLE` 4.5 | validation of answers | it is not stored until a split, a dividend or a person explains it |
"""

from __future__ import annotations

import math

import polars as pl

USUAL = 1.35
"""A close moves by less than this factor from one session to the next, unless something happened."""

LARGE = 1.6
"""A rise of 60 %, a fall of 37.5 %: beyond it, a move that no split or dividend explains is pointed out."""

BELIEVABLE = 4.5
"""Above 4, so that a 4:1 split which the source learns of late is stored on its day; below 5, so that what looks like
a larger one, or like another unit of the currency, waits for the source or for a person."""

UNITS = (100.0, 0.01)
"""The factors between a currency and its hundredth, as pounds and pence."""
_NEAR_UNIT = 0.2
"""Difference of logarithms up to which a move looks like such a factor: the market moves that day as well."""

_SPLITS = {
    **{float(n): f"{n}:1" for n in (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 50, 100)},
    **{2.5: "5:2", 5 / 3: "5:3"},
}
_NEAR_SPLIT = 0.05
"""Relative distance from a simple ratio up to which a move looks like a split."""


def is_within(move: float, factor: float) -> bool:
    """Whether a move is at most a factor, up or down; one to nothing, or below, is not."""
    return move > 0 and abs(math.log(move)) <= math.log(factor)


def exceeds(size: pl.Expr, factor: float) -> pl.Expr:
    """Whether moves, given as the absolute logarithm of each, are larger than a factor."""
    return size > math.log(factor)


def size_explained(before: pl.Expr) -> pl.Expr:
    """The absolute logarithm of what the best explanation leaves of the move of `close` since the close `before`.

    For rows with `close`, `split_ratio` and `dividend`: by itself, by the split, or by dividend and split.
    """
    ways = (
        pl.col("close"),
        pl.col("close") * pl.col("split_ratio"),
        (pl.col("close") + pl.col("dividend")) * pl.col("split_ratio"),
    )
    return pl.min_horizontal((way / before).log().abs() for way in ways)


def is_explained(close: float, before: float, ratio: float, dividend: float, factor: float) -> bool:
    """Whether a close (positive) is within a factor of the one before it, by one of the explanations above.

    `ratio` is the product of the split ratios since then.
    """
    return any(is_within(way / before, factor) for way in (close, close * ratio, (close + dividend) * ratio))


def looks_like_a_unit(move: float, near: float = _NEAR_UNIT) -> bool:
    """Whether a move looks like a change between a currency and its hundredth: to `near`, as logarithms."""
    return any(abs(math.log(move / unit)) < near for unit in UNITS)


def like_a_split(move: float) -> str | None:
    """The simple ratio of the split that a move looks like ("4:1", "1:10"); None when like none."""
    factor, reverse = (1 / move, False) if move < 1 else (move, True)
    near = min(_SPLITS, key=lambda ratio: abs(math.log(factor / ratio)))
    if abs(factor / near - 1) > _NEAR_SPLIT:
        return None
    return ":".join(reversed(_SPLITS[near].split(":"))) if reverse else _SPLITS[near]
