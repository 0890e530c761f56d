"""Sizes of price moves, and what explains them."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market.moves import (
    BELIEVABLE,
    LARGE,
    USUAL,
    exceeds,
    is_explained,
    is_within,
    like_a_split,
    looks_like_a_unit,
    size_explained,
)

prices = st.floats(0.01, 10_000)
ratios = st.sampled_from([1.0, 2.0, 4.0, 0.1, 1.5])
dividends = st.sampled_from([0.0, 0.5, 20.0])


def test_each_judgement_takes_a_larger_move_than_the_one_before():
    assert 1 < USUAL < LARGE < 4 < BELIEVABLE < 5  # a late 4:1 split is stored, a 5:1 waits


def test_is_within_counts_rises_and_falls_alike():
    assert [is_within(move, 1.6) for move in (1.0, 1.59, 1.61, 1 / 1.59, 1 / 1.61)] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert not is_within(0.0, 1.6)
    assert not is_within(-1.0, 1.6)
    assert not is_within(math.nan, 1.6)


@given(prices, prices, ratios, dividends, st.sampled_from([USUAL, LARGE, BELIEVABLE]))
def test_is_explained_and_size_explained_agree(
    close: float, before: float, ratio: float, dividend: float, factor: float
):
    row = pl.DataFrame({"close": [close], "split_ratio": [ratio], "dividend": [dividend], "before": [before]})
    too_large = row.select(exceeds(size_explained(pl.col("before")), factor)).item()
    # At the very bound the two may round to different sides.
    ways = (close, close * ratio, (close + dividend) * ratio)
    if all(abs(abs(math.log(way / before)) - math.log(factor)) > 1e-12 for way in ways):
        assert is_explained(close, before, ratio, dividend, factor) is not too_large


@pytest.mark.parametrize(
    ("close", "ratio", "dividend", "explained"),
    [(25.0, 1.0, 0.0, False), (25.0, 4.0, 0.0, True), (40.0, 1.0, 60.0, True), (24.0, 4.0, 1.0, True)],
)
def test_is_explained_by_the_split_or_by_the_dividend(
    close: float, ratio: float, dividend: float, explained: bool
):
    assert is_explained(close, 100.0, ratio, dividend, USUAL) is explained


@pytest.mark.parametrize(
    ("move", "like"),
    [
        (0.25, "4:1"),
        (0.26, "4:1"),
        (0.27, None),
        (10.0, "1:10"),
        (0.4, "5:2"),
        (0.6, "5:3"),
        (5 / 3, "3:5"),
        (2.5, "2:5"),
        (1.0, None),
        (0.9, None),
    ],
)
def test_like_a_split_names_the_simple_ratio(move: float, like: str | None):
    assert like_a_split(move) == like


@pytest.mark.parametrize("ratio", [2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 50, 100])
def test_every_usual_ratio_is_named_as_a_split_and_as_a_consolidation(ratio: int):
    assert like_a_split(1 / ratio) == f"{ratio}:1"
    assert like_a_split(ratio) == f"1:{ratio}"


@pytest.mark.parametrize(
    ("move", "is_unit"),
    [(100.0, True), (0.01, True), (121.0, True), (123.0, False), (0.0083, True), (0.0081, False)],
)
def test_looks_like_a_unit_allows_for_the_markets_own_move(move: float, is_unit: bool):
    assert looks_like_a_unit(move) is is_unit
