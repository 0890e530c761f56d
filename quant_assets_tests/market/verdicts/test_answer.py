"""An answer's bars as a series."""

from __future__ import annotations

from math import log

import polars as pl
import pytest

from quant_assets.market.verdicts.answer import Series
from quant_assets_tests.market.verdicts.served import DAYS


def test_a_close_stands_in_for_an_open_that_is_none() -> None:
    prices = {"open": [10.0, 0.0, 33.0, None], "close": [10.0, 20.0, 30.0, 15.0]}
    bars = pl.DataFrame({"date": DAYS[:4], **prices}).with_columns(
        pl.col("close").alias(name) for name in ("high", "low", "adj_close", "volume")
    )
    assert Series.of(bars).gaps.tolist() == pytest.approx([0.0, log(2.0), log(1.65), log(0.5)])


def test_a_close_that_is_no_price_is_no_bar_of_the_series() -> None:
    closes = [10.0, 0.0, None, -0.5, float("nan"), float("inf"), 20.0]
    bars = pl.DataFrame({"date": DAYS[:7], "close": closes}).with_columns(
        pl.col("close").alias(name) for name in ("open", "high", "low", "adj_close", "volume")
    )
    assert Series.of(bars).closes.tolist() == [10.0, 20.0]
