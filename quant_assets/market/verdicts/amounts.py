"""Which amount of a dividend can be right: by the price's fall, the symbol's other dividends, and plain yield.

All amounts and prices are on one share basis and in one unit; a fall is the logarithm of an open beside the close
before, `usual` the size of the symbol's usual moves.
"""

from __future__ import annotations

from collections.abc import Collection
from math import log
from statistics import median

from quant_assets.market.moves import looks_like_a_unit

ORDINARY = 0.1
"""Yield from which the price has to show that the dividend was paid."""
NOTHING = 4e-4
"""Yield below which a dividend of a listing in hundredths looks like one in the whole unit: a hundredth of a large
one. The few symbols that really pay so little paid more at another time."""
_UNIT_NEAR = 0.4
"""Dividends grow and shrink: how near to a hundredfold one looks like another unit, as a difference of logarithms."""
_FINER_NEAR = 0.9
"""The same for an amount with more decimals than the symbol's others have: a hundredth of one has two more."""
_THE_VERY = 0.1
"""The same, to look like the hundredth of one payment."""
_TO_A_PERMILLE = 1e-3
_MOST_DECIMALS = 8
_STEADY = 5.0
"""A symbol whose largest dividend is no more than so many times its smallest pays steadily."""
_ALIKE = log(2.0)
"""How near an amount is to the symbol's others, as a difference of logarithms, if it is one of them."""
_FAR = 4.0
"""Two readings are so many times apart, if others can tell which one is like them."""
_WITNESSED = 2
"""Dividends that make out how much a symbol pays."""


def not_shown(share: float, fall: float, usual: float) -> bool:
    """Whether a price did not fall by a share of it so large that it had to: off by five usual moves, and by half."""
    if share >= 1.0:
        return True
    expected = log(1.0 - share)
    return abs(fall - expected) > max(5 * usual, 0.5 * abs(expected))


def shown(share: float, fall: float, usual: float) -> bool:
    """Whether a price fell by a share of it that its usual moves do not reach: five of them at least, and off by two
    at most."""
    expected = log(1.0 - share)
    return abs(expected) >= 5 * usual and abs(fall - expected) <= 2 * usual


def gain_inside(total: float, dividend: float, before: float, fall: float, usual: float) -> bool:
    """Whether the price fell by the dividend, and not by the `total` of it and a capital gain: the gain is inside it.

    The total is off by more than three usual moves then, and the dividend by less than half of that.
    """
    if total >= before:
        return False
    off = abs(fall - log(1.0 - total / before))
    return off > 3 * usual and abs(fall - log(1.0 - dividend / before)) < off / 2


def hundredth_of(amount: float, stored: float, before: float) -> bool:
    """Whether an amount looks like what is `stored` of its own day in another unit: a hundredth of it to a permille,
    and next to nothing on the price `before`, where what is stored is a plain yield."""
    if not 0 < amount < NOTHING * before <= stored < ORDINARY * before:
        return False
    return abs(100 * amount / stored - 1) < _TO_A_PERMILLE


def unlike_the_others(amount: float, usual: float, others: Collection[float]) -> bool:
    """Whether an amount looks like one of the symbol's `others` (their median is `usual`) in another unit.

    A symbol that pays by its profits, or next to nothing every other time, does pay a hundredth of its median: there
    only the hundredth of the very amount of a payment looks like another unit.
    """
    # Nearly all are in the same unit; to count decimals takes longer.
    if not looks_like_a_unit(amount / usual, max(_FINER_NEAR, _UNIT_NEAR)):
        return False
    near = _FINER_NEAR if _is_finer(amount, others) else _UNIT_NEAR
    if not looks_like_a_unit(amount / usual, near):
        return False
    if amount > usual:
        return True
    larger = [other for other in others if other > 10 * amount]
    small = [other for other in others if other <= 10 * amount and not _hundredth_of_one(other, larger)]
    if not small and max(larger) <= _STEADY * min(larger):
        return True
    return _hundredth_of_one(amount, larger)


def _is_finer(amount: float, others: Collection[float]) -> bool:
    return _decimals(amount) > max(map(_decimals, others), default=_MOST_DECIMALS)


def _decimals(amount: float) -> int:
    """The decimals of an amount; one that a later split has divided has many."""
    return len(f"{amount:.{_MOST_DECIMALS}f}".rstrip("0").partition(".")[2])


def _hundredth_of_one(amount: float, others: Collection[float]) -> bool:
    return any(abs(log(100 * amount / other)) < _THE_VERY for other in others)


def by_the_price(
    large: float, small: float, before: float, fall: float, usual: float, traded: bool
) -> float | None:
    """The one of two readings that the price fell by; None where it cannot tell. `traded`: whether it moved, or there
    was any volume."""
    share = large / before
    if share < ORDINARY or not (traded or share >= 1.0):
        return None
    if not_shown(share, fall, usual):
        return small
    return large if abs(fall - log(1.0 - small / before)) > 5 * usual else None


def by_the_others(large: float, small: float, before: float, others: Collection[float]) -> float | None:
    """The one of two readings that is like the symbol's other dividends; None where they cannot tell."""
    if len(others) < _WITNESSED or large < _FAR * small or max(others) > _STEADY * min(others):
        return None
    like = [one for one in (large, small) if abs(log(one / median(others))) <= _ALIKE]
    if len(like) != 1 or not NOTHING <= like[0] / before < 1.0:
        return None
    return like[0]
