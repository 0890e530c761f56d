"""Lies that no evidence in reach tells from the truth: they may be stored while they are told, and must heal after.

The list is complete: every other case must never store a wrong value as good. A second source would reveal them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

How = Literal["first", "established"]
HOWS: tuple[How, How] = ("first", "established")
"""Where a lie meets the store: on a symbol's first backfill, or on a store filled honestly day by day before."""


@dataclass(frozen=True)
class Undetectable:
    """Cases by kind and variant (shell patterns) and by how they meet the store ("*": both), with the reason.

    `evenings`: the least number of evenings on which it is told.
    """

    kind: str
    variant: str
    how: str
    reason: str
    evenings: int = 1


_CORRECTION = "plausible, and the same on three days, as a correction is"

UNDETECTABLE = (
    Undetectable("rescaled_bars", "whole x1.1*", "first", "consistent in itself, and nothing stored to compare with"),
    Undetectable("rescaled_bars", "newest x1.03*", "*", "an ordinary day's move, of a bar that nobody has seen yet"),
    Undetectable("wrong_unit", "whole*", "first", "in hundreds throughout, the source's own quotes included"),
    Undetectable("half_applied", "*1.05 *", "first", "a step of 5 % is an ordinary day, and nothing is stored yet"),
    Undetectable("other_history", "*", "first", "another company's whole history is consistent in itself"),
    Undetectable("unscaled_history", "*", "first", "a rescaled history without its split is continuous"),
    Undetectable("hidden_split", "*", "*", "a split that nobody tells looks like a fall of the price"),
    Undetectable("corrected_bar", "*", "*", "sources do correct a volume, or a price by a few per cent"),
    Undetectable("dividend_factor", "x1.37 adjusted *", "first", "a plausible amount, and Adj Close agrees with it"),
    Undetectable("dividend_factor", "x1.37 adjusted at 0 *", "established", "a plausible amount of a new dividend"),
    Undetectable("dividend_factor", "x1.37 adjusted at -4 *", "established", _CORRECTION, evenings=3),
    Undetectable("gains_counted_twice", "adjusted *", "first", "a gain beside a dividend, and Adj Close agrees"),
    Undetectable("gains_counted_twice", "adjusted at 0 *", "established", "a new gain, and Adj Close agrees"),
    Undetectable("gains_counted_twice", "adjusted at -4 *", "established", _CORRECTION, evenings=3),
    Undetectable("events_left_out", "dividends forgotten at -4 *", "established", _CORRECTION, evenings=3),
    Undetectable("hidden_dividend", "at -4 *", "established", _CORRECTION, evenings=3),
    Undetectable("phantom_dividend", "alone adjusted *", "*", "a plausible dividend, and Adj Close agrees with it"),
    Undetectable("events_left_out", "dividends forgotten *", "first", "neither the list nor Adj Close knows of it"),
    Undetectable(
        "events_left_out", "dividends forgotten at 0 *", "established", "a dividend that nobody has announced"
    ),
    Undetectable("events_left_out", "splits *", "first", "a rescaled history without its split is continuous"),
    Undetectable("events_left_out", "all *", "first", "a rescaled history without its split is continuous"),
    Undetectable("hidden_dividend", "*", "first", "neither the list nor Adj Close knows of it"),
    Undetectable("hidden_dividend", "at 0 *", "established", "a dividend that nobody has announced"),
)  # fmt: skip


def why_undetectable(kind: str, variant: str, how: How, evenings: int) -> str:
    """The reason why a case may be stored while it is told; empty for those that must not be."""
    for one in UNDETECTABLE:
        about = one.kind == kind and one.how in ("*", how) and one.evenings <= evenings
        if about and fnmatchcase(f"{variant} ", _spaced(one.variant)):
            return one.reason
    return ""


def _spaced(pattern: str) -> str:
    return pattern if pattern.endswith("*") else f"{pattern} "
