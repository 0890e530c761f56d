"""The bounds of what a price, and a symbol's other dividends, say of an amount."""

from __future__ import annotations

from math import exp, log
from statistics import median

import pytest

from quant_assets.market.verdicts.amounts import (
    by_the_others,
    by_the_price,
    gain_inside,
    hundredth_of,
    not_shown,
    shown,
    unlike_the_others,
)

HALF = log(0.5)


@pytest.mark.parametrize(
    ("share", "fall", "usual", "not_seen"),
    [
        # Off by half of what was expected (a fall of 0.693), or by five usual moves.
        (0.5, HALF + 0.346, 0.001, False), (0.5, HALF + 0.347, 0.001, True),
        (0.5, HALF - 0.346, 0.001, False), (0.5, HALF - 0.347, 0.001, True),
        (0.5, HALF + 0.499, 0.1, False), (0.5, HALF + 0.501, 0.1, True),
        (0.0, 0.05, 0.01, False), (0.0, -0.0501, 0.01, True),
        # A dividend of all of the price, or more, shows in no price.
        (0.999, log(0.001), 0.001, False), (1.0, -9.0, 0.2, True), (1.5, -9.0, 0.2, True),
    ],
)  # fmt: skip
def test_a_price_that_did_not_fall_by_a_dividend(
    share: float, fall: float, usual: float, not_seen: bool
) -> None:
    assert not_shown(share, fall, usual) is not_seen


@pytest.mark.parametrize(
    ("share", "fall", "usual", "seen"),
    [
        (0.5, HALF, 0.1386, True), (0.5, HALF, 0.1387, False),
        (0.5, HALF + 0.199, 0.1, True), (0.5, HALF + 0.201, 0.1, False),
        (0.5, HALF - 0.199, 0.1, True), (0.5, HALF - 0.201, 0.1, False), (0.1, 0.0, 0.01, False),
    ],
)  # fmt: skip
def test_a_price_that_fell_by_a_dividend(share: float, fall: float, usual: float, seen: bool) -> None:
    assert shown(share, fall, usual) is seen


@pytest.mark.parametrize(
    ("total", "dividend", "off", "inside"),
    [
        # The price fell by the dividend and `off` more; the total is 0.118 further down.
        (20.0, 10.0, 0.0, True), (20.0, 10.0, -0.039, True), (20.0, 10.0, -0.040, False),
        (20.0, 10.0, 0.117, True), (20.0, 10.0, 0.119, False),
        # A gain of no more than three usual moves (0.03) may be hidden in them.
        (12.7, 10.0, 0.0, True), (12.6, 10.0, 0.0, False), (99.9, 10.0, 0.0, True), (100.0, 10.0, 0.0, False),
    ],
)  # fmt: skip
def test_a_gain_is_inside_the_dividend_that_the_price_fell_by(
    total: float, dividend: float, off: float, inside: bool
) -> None:
    fall = log(1 - dividend / 100.0) + off
    assert gain_inside(total, dividend, 100.0, fall, 0.01) is inside


@pytest.mark.parametrize(
    ("amount", "others", "unlike"),
    [
        # As round as the others: within 0.4 of a hundredth; finer ones: within 0.9. A hundredfold is always one.
        (0.01 * exp(0.39), [1.00000001, 1.0], True), (0.01 * exp(0.41), [1.00000001, 1.0], False),
        (round(0.01 * exp(-0.39), 5), [1.00001, 1.0], True), (round(0.01 * exp(-0.41), 5), [1.00001, 1.0], False),
        (round(0.01 * exp(0.89), 5), [1.0001, 1.0], True), (round(0.01 * exp(0.91), 5), [1.0001, 1.0], False),
        (round(100 * exp(0.39), 2), [1.01, 1.0], True), (round(100 * exp(0.41), 2), [1.01, 1.0], False),
        (round(100 * exp(-0.39), 2), [0.2, 1.01, 9.0], True), (1.0, [1.01, 1.0], False),
        # Who pays up to five times as much at one time as at another pays steadily; others pay a hundredth.
        (0.02, [1.0, 2.5, 5.0], True), (0.02, [1.0, 2.5, 5.1], False),
        # Even so it looks like one where it is the hundredth of a payment, to a tenth.
        (0.02, [1.0, 2.0, 5.1], True), (0.0182, [1.0, 2.0, 5.1], True), (0.018, [1.0, 2.0, 5.1], False),
        (0.022, [1.0, 2.0, 5.1], True), (0.0222, [1.0, 2.0, 5.1], False),
        # One small payment that is no hundredth of another is a habit; one of ten times the amount is not small.
        (0.02, [2.3, 2.4, 0.031], False), (0.02, [2.3, 2.4, 0.023], True), (0.02, [2.3, 2.4, 0.2], False),
        (0.02, [2.3, 2.4, 0.7], True), (0.02, [2.3, 2.4, 0.201, 0.99], False),
        (0.0095, [0.1, 0.4, 0.5], True), (0.0201, [0.19, 3.9, 19.0], True), (0.02, [0.2, 4.0, 20.0], True),
    ],
)  # fmt: skip
def test_an_amount_in_another_unit_than_the_others(amount: float, others: list[float], unlike: bool) -> None:
    assert unlike_the_others(amount, median(others), others) is unlike


@pytest.mark.parametrize(
    ("large", "fall", "traded", "told"),
    [
        # A price of 100 and a hundredth of the large one, by moves of 0.01.
        (20.0, log(0.8), True, 20.0), (20.0, log(0.998), True, 0.2), (20.0, log(0.8), False, None),
        # From a tenth of the price on it has to show; one as large as the price is wrong, whatever was traded.
        (10.0, log(0.9), True, 10.0), (9.99, log(0.9), True, None), (9.99, 0.0, True, None),
        (100.0, -1.0, False, 1.0), (99.9, log(0.001), False, None), (130.0, 0.0, True, 1.3),
        # It did not fall by the large one where it is off by more than half of that.
        (10.0, -0.053, True, 10.0), (10.0, -0.0525, True, 0.1), (10.0, 0.07, True, 0.1),
    ],
)  # fmt: skip
def test_the_one_of_two_readings_that_the_price_fell_by(
    large: float, fall: float, traded: bool, told: float | None
) -> None:
    assert by_the_price(large, large / 100, 100.0, fall, 0.01, traded) == told


def test_a_price_that_could_have_fallen_by_either_reading_tells_neither() -> None:
    fall = log(1 - 0.001)
    assert by_the_price(10.0, 0.1, 100.0, fall - 0.099, 0.02, traded=True) is None
    assert by_the_price(10.0, 0.1, 100.0, fall - 0.101, 0.02, traded=True) == 10.0


@pytest.mark.parametrize(
    ("large", "small", "before", "others", "told"),
    [
        (80.0, 0.8, 1000.0, [0.7, 0.9], 0.8), (80.0, 0.8, 1000.0, [70.0, 90.0], 80.0),
        # Two of them at least, the largest up to five times the smallest, the readings four times apart.
        (80.0, 0.8, 1000.0, [0.8], None), (80.0, 0.8, 1000.0, [0.3, 1.5, 0.8], 0.8),
        (80.0, 0.8, 1000.0, [0.3, 1.51, 0.8], None), (4.0, 1.0, 1000.0, [1.0, 1.0], 1.0),
        (3.99, 1.0, 1000.0, [1.0, 1.0], None), (8.0, 2.0, 1000.0, [2.0, 2.0], 2.0),
        (7.9, 2.0, 1000.0, [2.0, 2.0], None),
        # Within a factor of two of their median, and one of the two alone.
        (80.0, 0.8, 1000.0, [0.41, 0.41], 0.8), (80.0, 0.8, 1000.0, [0.39, 0.39], None),
        (80.0, 0.8, 1000.0, [1.6, 1.6], 0.8), (80.0, 0.8, 1000.0, [1.61, 1.61], None),
        (80.0, 0.8, 1000.0, [8.0, 8.0], None), (4.0, 1.0, 1000.0, [2.0, 2.0], None),
        # What is like them has a yield: of 0.0004 at least, and less than all of the price.
        (80.0, 0.8, 2000.0, [0.8, 0.8], 0.8), (80.0, 0.8, 2001.0, [0.8, 0.8], None),
        (80.0, 0.8, 80.1, [80.0, 80.0], 80.0), (80.0, 0.8, 80.0, [80.0, 80.0], None),
    ],
)  # fmt: skip
def test_the_one_of_two_readings_that_is_like_the_others(
    large: float, small: float, before: float, others: list[float], told: float | None
) -> None:
    assert by_the_others(large, small, before, others) == told


@pytest.mark.parametrize(
    ("amount", "stored", "before", "looks_so"),
    [
        (0.00274, 0.274, 20.0, True), (0.002742, 0.274, 20.0, True), (0.002743, 0.274, 20.0, False),
        # What is stored is no plain yield itself, or the amount is one: then nobody can tell.
        (0.00274, 0.274, 6.0, False), (0.00274, 0.274, 7.0, True), (0.00274, 0.274, 2.7, False),
        (0.00003, 0.003, 20.0, False), (0.0, 0.0, 20.0, False), (0.00274, 0.0, 20.0, False),
        # The other way round the claim is a plain yield.
        (0.274, 0.00274, 20.0, False),
    ],
)  # fmt: skip
def test_a_hundredth_of_what_is_stored_of_the_day(
    amount: float, stored: float, before: float, looks_so: bool
) -> None:
    assert hundredth_of(amount, stored, before) is looks_so
