"""Lists of many symbols: the next read most often asks for the same, and what was made of a list is kept for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")

_MANY = 64
"""Symbols from which on it is quicker to recognize a list than to go through it."""
_KEPT = 4
"""The lists that were asked for last, of each function."""


def kept_of_many(function: Callable[[tuple[str, ...]], T]) -> Callable[[tuple[str, ...]], T]:
    """`function` of names, not done again for a list of many that it was given lately; what it raises is not kept."""
    kept = lru_cache(maxsize=_KEPT)(function)
    return lambda names: kept(names) if len(names) >= _MANY else function(names)
