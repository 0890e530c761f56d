"""Where the judgements about served numbers change over: tables of values just below, at and above each bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.market.precision import (
    former_tick,
    formerly_rounded,
    other_dividend,
    other_price,
    other_volume,
    price_times,
    recovered,
    recovered_dividends,
    recovered_volume,
    shortest_float32,
)


def said(judged: pl.Expr, **values: Any) -> object:
    return pl.DataFrame({name: [value] for name, value in values.items()}).select(judged).item()


def float32(values: Any) -> np.ndarray:
    return np.array(values).astype(np.float32).astype(np.float64)


# --- the shortest decimals


@pytest.mark.parametrize(
    ("traded", "known"), [(1.23456e-15, True), (1.23456e-16, True), (1.23456e-17, True), (1.23456e-18, False)]
)
def test_a_price_is_recovered_up_to_its_22nd_decimal(traded: float, known: bool) -> None:
    served = float32(traded)
    found = recovered(np.full((4, 1), served), np.array([1.0]))
    assert set(found.ravel().tolist()) == {traded if known else float(served)}


# --- whether the source has rounded


@pytest.mark.parametrize(
    ("closes", "opened"),
    [
        # Odds count 5 at most each, 4.2 from 0.125 on, 3.5 from 0.25 on, and 14 are asked for.
        ([0.001, 0.002], 3.699999),
        ([0.001, 0.002, 0.003], 3.7),
        ([0.001, 0.002, 0.2], 3.7),
        ([0.001, 0.002, 0.3], 3.699999),
        # What is no price, or the same again, is no evidence.
        ([0.001, 0.002, 0.0], 3.699999),
        ([0.001, 0.002, -0.003], 3.699999),
        ([0.001, 0.002, np.nan], 3.699999),
        ([0.001, 0.002, 0.002, 0.002], 3.699999),
        # Of 20 closes 17 are four fifths more than chance puts there, 16 are not.
        ([*(0.3 + n / 1_000 for n in range(17)), *(0.4 + n / 3_000 for n in (1, 2, 4))], 3.7),
        ([*(0.3 + n / 1_000 for n in range(16)), *(0.4 + n / 3_000 for n in (1, 2, 4, 5))], 3.699999),
    ],
)
def test_how_many_closes_show_that_the_source_rounds(closes: list[float], opened: float) -> None:
    served = float32([[1.233333, *[1.5] * (len(closes) - 1)], closes])
    assert recovered(served, np.full(len(closes), 3.0))[0][0] == opened


def test_a_price_off_the_grid_of_a_source_that_rounds_was_not_rounded() -> None:
    served = float32([[1 / 3, 1.233333, 0.12345678], [0.001, 0.002, 0.003]])
    assert recovered(served, np.full(3, 3.0))[0].tolist() == [1.0, 3.7, 0.37037035]


CHANGED = [1049.42, 1055.44, 1061.46]
"""Cents of which 112 shares, rounded to six decimals, are no cents unless that is known."""


@pytest.mark.parametrize(("changed", "back"), [(2, False), (3, True)])
def test_three_prices_that_are_shorter_if_rounded_are_asked_for(changed: int, back: bool) -> None:
    prices = np.array([*CHANGED[:changed], 1008.0, 1120.0])
    served = float32(np.round(prices / 112.0, 6)).reshape(1, -1)
    (found,) = recovered(served, np.full(prices.size, 112.0))
    assert np.array_equal(found, prices) is back


@pytest.mark.parametrize(("cents", "others", "back"), [(9, 1, True), (8, 2, False)])
def test_nine_of_ten_prices_that_differ_if_rounded_have_to_be_shorter(
    cents: int, others: int, back: bool
) -> None:
    prices = [1000.01, 1000.03, 1000.04, 1000.21, 1000.22, 1000.24, 1000.25, 1000.27, 1000.35][:cents]
    all_of_them = np.array([*prices, *[1000.0624, 1000.1876][:others]])
    served = float32(np.round(all_of_them / 112.0, 6)).reshape(1, -1)
    (found,) = recovered(served, np.full(cents + others, 112.0))
    assert np.array_equal(found[:cents], prices) is back


@pytest.mark.parametrize("scale", [5.0, 10.0, 112.0])
def test_dear_prices_of_two_and_three_decimals_come_back_of_a_source_that_rounds(scale: float) -> None:
    # From 16 on chance alone puts every float32 on the grid.
    for least, decimals in ((8.1, 2), (16.5, 2), (8.03, 3)):
        prices = np.round(np.linspace(least * scale, 1.4 * least * scale, 60), decimals)
        served = float32(np.round(prices / scale, 6)).reshape(1, -1)
        np.testing.assert_array_equal(recovered(served, np.full(60, scale))[0], prices)


@pytest.mark.parametrize("price", [1_000_000_064.0, 123_456_792.0, 0.0, -0.1])
def test_a_float32_of_more_digits_than_it_is_precise_for_is_kept(price: float) -> None:
    assert shortest_float32(float32([price])).tolist() == [price]


@pytest.mark.parametrize(
    ("served", "scale", "declared"),
    [
        # Rescaled and within 1e-12 of six decimals: these were served, whatever the last bits say.
        (0.2857140000005, 2.0, 0.571428),
        (0.2857140000005, 3.0, 0.857142),
        (0.2857140000005, 1.0, 0.2857140000005),
        (0.033333, 3.0, 0.1),
        (0.033332, 3.0, 0.099996),
        (-0.033333, 3.0, -0.1),
    ],
)
def test_six_decimals_of_a_rescaled_dividend_were_rounded(
    served: float, scale: float, declared: float
) -> None:
    assert recovered_dividends(np.array([served]), np.array([scale])).tolist() == [declared]


# --- volumes


@pytest.mark.parametrize(
    ("served", "scale", "spread", "traded"),
    [
        # Fewer than ten of today's shares, each for more than two.
        (9, 0.49, 0.1, None), (10, 0.49, 0.1, 20), (9, 0.5, 0.1, 18), (0, 0.49, 0.1, None), (0, 0.5, 0.1, 0),
        # A zero beside a price that did not move hides less than a lot of 100.
        (0, 0.0051, 0.0, 0), (0, 0.005, 0.0, None), (1, 0.1, 0.0, None), (0, 0.1, None, None),
        # Nothing served is nothing traded, and halves are rounded up.
        (None, 0.5, 0.1, 0), (None, 1.0, 0.1, 0), (1, 2.0, 0.1, 1), (3, 2.0, 0.1, 2), (5, 2.0, 0.1, 3),
    ],
)  # fmt: skip
def test_from_which_served_volume_on_shares_are_known(
    served: int | None, scale: float, spread: float | None, traded: int | None
) -> None:
    bar = pl.DataFrame(
        {"volume": [served], "high": [None if spread is None else 10.0 + spread], "low": [10.0]},
        schema={"volume": pl.Int64, "high": pl.Float64, "low": pl.Float64},
    )
    assert recovered_volume(bar, np.array([scale])).to_list() == [traded]


@pytest.mark.parametrize(
    ("scale", "scale_old", "same", "other"),
    # Half a share at either look, and half of what each stands for: 5.5 at a tenth.
    [
        (0.1, 0.1, 11, 12),
        (0.1, 1.0, 5, 6),
        (1.0, 0.1, 5, 6),
        (1.0, 1.0, 0, 1),
        (2.0, 3.0, 0, 1),
        (0.5, 1.0, 1, 2),
    ],
)
def test_up_to_which_distance_two_volumes_are_the_same(
    scale: float, scale_old: float, same: int, other: int
) -> None:
    for off, differs in ((same, False), (other, True), (-same, False), (-other, True)):
        values = {"volume": 500, "volume_new": 500 + off, "scale": scale, "scale_old": scale_old}
        assert said(other_volume(), **values) is differs


# --- the same price


@pytest.mark.parametrize(
    ("old", "new", "scales", "differs"),
    [
        # Never rescaled: two halves of a float32 step (6e-8), else three.
        (100.0000119, 100.0, (1.0, 1.0, 1.0), False), (100.0000121, 100.0, (1.0, 1.0, 1.0), True),
        (99.9999881, 100.0, (1.0, 1.0, 1.0), False), (99.9999879, 100.0, (1.0, 1.0, 1.0), True),
        (100.000017, 100.0, (1.0, 0.5, 1.0), False), (100.000019, 100.0, (1.0, 0.5, 1.0), True),
        (100.000017, 100.0, (1.0, 1.0, 2.0), False), (100.000019, 100.0, (1.0, 1.0, 2.0), True),
        # What was not rescaled at this look was not rounded, though it lies on the grid.
        (0.5000003, 0.5, (1.0, 0.5, 1.0), True),
        # On the grid half a millionth counts, times S, whatever the size.
        (0.0400008, 0.04, (2.0, 1.0, 2.0), False), (0.0400012, 0.04, (2.0, 1.0, 2.0), True),
        (0.0399992, 0.04, (2.0, 1.0, 2.0), False), (0.0399988, 0.04, (2.0, 1.0, 2.0), True),
        # Off it, where that is less than 2e-5 of the price.
        (0.0600016, 0.0600008, (2.0, 1.0, 2.0), False), (0.0400016, 0.0400008, (2.0, 1.0, 2.0), True),
        (0.0510012, 0.0510004, (2.0, 1.0, 2.0), False), (0.0490012, 0.0490004, (2.0, 1.0, 2.0), True),
    ],
)  # fmt: skip
def test_up_to_which_distance_two_prices_are_the_same(
    old: float, new: float, scales: tuple[float, float, float], differs: bool
) -> None:
    scale, least, most = scales
    values = {"close": old, "close_new": new, "scale": scale, "scale_old": least, "scale_most": most}
    assert said(other_price("close"), **values) is differs


@pytest.mark.parametrize(
    ("new", "scale", "same", "other"),
    # A millionth, times an S above one, and four halves of a float32 step.
    [(1000.0, 1.0, 2.38e-4, 2.41e-4), (0.5, 1.0, 1.1e-6, 1.2e-6), (0.5, 0.1, 1.1e-6, 1.2e-6),
     (0.5, 10.0, 1.01e-5, 1.02e-5)],
)  # fmt: skip
def test_up_to_which_distance_two_dividends_are_the_same(
    new: float, scale: float, same: float, other: float
) -> None:
    for off, differs in ((same, False), (other, True), (-same, False), (-other, True)):
        assert said(other_dividend(), dividend=new + off, dividend_new=new, scale=scale) is differs


# --- ratios, and what earlier versions stored


@pytest.mark.parametrize(
    ("ratio", "old", "new", "least", "most"),
    [
        # A ten-thousandth, and half of the last decimal (0.0001 below 800) of either price.
        (1.0, 10.0, 10.0, 1.09e-3, 1.11e-3),
        (4.0, 10.0, 40.0, 4.24e-3, 4.26e-3),
        (0.25, 40.0, 10.0, 1.06e-3, 1.064e-3),
        (1.0, 900.0, 900.0, 0.0909, 0.0911),
        # Of a penny stock's price a hundredth at most.
        (1.0, 0.001, 0.001, 9.9e-6, 1.03e-5),
    ],
)
def test_up_to_which_distance_a_price_is_another_one_times_a_ratio(
    ratio: float, old: float, new: float, least: float, most: float
) -> None:
    for off, holds in ((least, True), (most, False), (-least, True), (-most, False)):
        assert said(price_times(ratio), close=old, close_new=new + off) is holds


def test_the_last_decimal_that_earlier_versions_kept() -> None:
    prices = [0.01, 799.99, 800.0, 7_999.9, 8_000.0, 79_999.0, 80_000.0, 799_999.0, 800_000.0, 9e6]
    found = pl.DataFrame({"price": prices}).select(former_tick(pl.col("price"))).to_series().to_list()
    assert found == [1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2, 0.1, 0.1, 1.0, 1.0]


@pytest.mark.parametrize(
    ("old", "new", "scale", "rounded"),
    [
        # Half a unit and three halves of a float32 step (4.5e-6 of 25).
        (24.9499, 24.949954, 2.0, True), (24.9499, 24.949955, 2.0, False), (24.9499, 24.949846, 2.0, True),
        (24.9499, 24.949845, 2.0, False), (24.9499, 24.949954, 0.5, True), (24.9499, 24.949954, 1.0, False),
        (24.94991, 24.94993, 2.0, False), (24.949900001, 24.94993, 2.0, False), (24.9499, 24.9499, 2.0, True),
    ],
)  # fmt: skip
def test_which_prices_were_rounded_by_an_earlier_version(
    old: float, new: float, scale: float, rounded: bool
) -> None:
    assert said(formerly_rounded("close"), close=old, close_new=new, scale=scale) is rounded
