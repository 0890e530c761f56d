"""Weekly bars of random histories: against a pandas loop, and runs of rows against one query."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.market.weekly import WEEKLY_SCHEMA, weekly_bars
from quant_assets_tests.market.weekly_rows import (
    FULL_WEEK,
    frame,
    holes,
    row,
    sessions,
)


def pandas_weeks(daily: pl.DataFrame) -> list[dict[str, Any]]:
    """The same weeks, one symbol and one row at a time, walking each week backwards from its end."""
    table = daily.to_pandas()
    table["date"] = pd.to_datetime(table["date"])
    found: list[dict[str, Any]] = []
    for symbol in sorted(table["symbol"].unique()):
        own = table[table["symbol"] == symbol].sort_values("date")
        mondays = own["date"] - pd.to_timedelta(own["date"].dt.weekday, unit="D")
        for monday in mondays.unique():
            basis, volume, dividends = 1.0, 0.0, 0.0
            bars: list[Any] = []
            for item in own[mondays == monday].iloc[::-1].itertuples():
                volume += item.volume * basis
                dividends += item.dividend / basis
                if not math.isnan(item.close):
                    prices = [item.open / basis, item.high / basis, item.low / basis, item.close / basis]
                    bars.insert(0, (item.date.date(), *prices))
                basis *= item.split_ratio
            if not bars and dividends == 0 and basis == 1:
                continue
            found.append(
                {
                    "symbol": symbol,
                    "week": pd.Timestamp(monday).date(),
                    "first_session": bars[0][0] if bars else None,
                    "last_session": bars[-1][0] if bars else None,
                    "sessions": len(bars),
                    "open": bars[0][1] if bars else None,
                    "high": max(bar[2] for bar in bars) if bars else None,
                    "low": min(bar[3] for bar in bars) if bars else None,
                    "close": bars[-1][4] if bars else None,
                    "volume": volume,
                    "dividends": dividends,
                    "split_ratio": basis,
                }
            )
    return found


@st.composite
def histories(draw: st.DrawFn) -> pl.DataFrame:
    start = draw(st.dates(date(2019, 12, 1), date(2020, 2, 1)))
    rows: list[dict[str, Any]] = []
    price = st.integers(1, 2_000_000).map(lambda ticks: ticks / 1_000)
    for symbol in draw(st.lists(st.sampled_from("ABC"), unique=True, min_size=1)):
        for offset in draw(st.lists(st.integers(0, 20), unique=True, min_size=1, max_size=15)):
            low, opened, close, high = sorted(draw(st.tuples(price, price, price, price)))
            bar = (opened, high, low, close, draw(st.integers(0, 10**9)))
            rows.append(
                row(
                    start + timedelta(days=offset),
                    bar if draw(st.integers(0, 9)) else None,
                    dividend=draw(st.sampled_from([0.0, 0.0, 0.0, 0.25, 1.07])),
                    split=draw(st.sampled_from([1.0, 1.0, 1.0, 1.0, 2.0, 1.5, 7.0, 0.1, 1 / 3])),
                    symbol=symbol,
                )
            )
    return frame(*draw(st.permutations(rows)))


@settings(max_examples=150, deadline=None)
@given(histories(), st.sampled_from(["streaming", "in-memory"]))
def test_random_histories_agree_with_a_pandas_loop(daily: pl.DataFrame, engine: Any) -> None:
    ours = weekly_bars(daily.lazy(), FULL_WEEK).collect(engine=engine)
    theirs = pl.DataFrame(pandas_weeks(daily), schema=WEEKLY_SCHEMA).drop("complete")
    assert ours.schema == WEEKLY_SCHEMA
    # Thousandths of a share and ten digits of a price are what the rounding promises.
    assert_frame_equal(ours.drop("complete"), theirs, rel_tol=1e-9, abs_tol=6e-4)
    prices = ["open", "high", "low", "close"]
    assert_frame_equal(ours.select(prices), theirs.select(prices), rel_tol=1e-9, abs_tol=0.0)
    # What is made of runs of rows is the same to the bit.
    assert_frame_equal(weekly_bars(daily, FULL_WEEK), ours, check_exact=True)
    bars = ours.filter(pl.col("sessions") > 0)
    assert bars.filter((pl.col("low") > pl.col("open")) | (pl.col("close") > pl.col("high"))).is_empty()


@pytest.mark.parametrize("seed", range(12))
def test_weeks_made_of_runs_of_rows_are_those_of_one_query_to_the_bit(seed: int) -> None:
    chance = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    largest = int(10 ** chance.integers(1, 17))
    for symbol in chance.permutation(5):
        for offset in range(45):
            if chance.random() < 0.3 * (symbol % 2):
                continue
            low, opened, close, high = (
                np.sort(chance.uniform(1, 100, 4)).round(int(chance.integers(0, 8))).tolist()
            )
            bar = (opened, high, low, close, int(chance.integers(0, largest)))
            made = row(
                date(2019, 12, 20) + timedelta(offset),
                None if chance.random() < 0.04 else bar,
                dividend=float(chance.choice([0.1, 0.2, 1 / 3])) if chance.random() < 0.1 else 0.0,
                split=float(chance.choice([2.0, 0.5, 1 / 7])) if chance.random() < 0.03 else 1.0,
                symbol=f"S{symbol}",
            )
            for name, share in (("volume", 0.02), ("dividend", 0.02), ("split_ratio", 0.005)):
                made[name] = None if chance.random() < share else made[name]
            rows.append(made)
    daily = frame(*rows)
    if seed % 2:
        daily = daily.sample(fraction=1.0, shuffle=True, seed=seed)
    days = [date(2019, 12, 20) + timedelta(n) for n in range(45) if chance.random() < 0.95]
    calendar = sessions(*days, unasked=(days[int(chance.integers(0, len(days)))],))
    lacking = holes(*((f"S{chance.integers(0, 7)}", days[n]) for n in (0, 7, -1)), ("S1", date(2031, 1, 1)))
    first_weekday = int(chance.integers(0, 7))
    one_query = weekly_bars(daily.lazy(), calendar, first_weekday, missing=lacking).collect()
    assert_frame_equal(
        weekly_bars(daily, calendar, first_weekday, missing=lacking), one_query, check_exact=True
    )
