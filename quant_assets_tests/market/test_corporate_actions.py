"""From served to traded and from traded to adjusted, against Yahoo's rescaling written forwards, bar by bar."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.market.bars import PRICES
from quant_assets.market.corporate_actions import (
    AS_TRADED_COLUMNS,
    Adjust,
    Reinvest,
    adjust,
    as_traded,
    declared,
    split_factor_after,
)

D0 = date(2020, 1, 1)
SPLITS = {"date": pl.Date, "ratio": pl.Float64}
DIVIDENDS = {"date": pl.Date, "amount": pl.Float64}
RATIOS = (2.0, 3.0, 4.0, 7.0, 20.0, 1.5, 0.5, 0.25, 0.1, 0.05)


def day(number: int) -> date:
    return D0 + timedelta(days=number)


@dataclass
class Traded:
    """What happened on one day; no bar where `bar` is None."""

    bar: tuple[float, float, float, float, int] | None
    dividend: float = 0.0
    split: float = 1.0


@dataclass
class Served:
    """What Yahoo would serve of it."""

    bars: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    splits: list[tuple[date, float]] = field(default_factory=list[tuple[date, float]])
    dividends: list[tuple[date, float]] = field(default_factory=list[tuple[date, float]])


def serve(days: list[Traded]) -> Served:
    """Yahoo's rescaling, forwards: every day divided by each split that came later."""
    served = Served()
    for number, traded in enumerate(days):
        later = math.prod(other.split for other in days[number + 1 :])
        if traded.bar:
            *prices, volume = traded.bar
            narrow = [float(np.float32(price / later)) for price in prices]
            served.bars.append(
                {
                    "date": day(number),
                    **dict(zip(PRICES, narrow, strict=True)),
                    "volume": round(volume * later),
                }
            )
        if traded.split != 1.0:
            served.splits.append((day(number), traded.split))
        if traded.dividend:
            served.dividends.append((day(number), traded.dividend / later))
    return served


def undo(served: Served) -> pl.DataFrame:
    schema = {"date": pl.Date, **dict.fromkeys(PRICES, pl.Float64), "volume": pl.Int64}
    return as_traded(
        pl.DataFrame(served.bars, schema=schema),
        pl.DataFrame(served.splits, schema=SPLITS, orient="row"),
        pl.DataFrame(served.dividends, schema=DIVIDENDS, orient="row"),
    )


def table(days: list[Traded]) -> pl.DataFrame:
    """The days as the platform stores them: a row for every bar and every action."""
    rows = [
        (day(n), *(t.bar or (None, None, None, None, 0)), t.dividend, t.split)
        for n, t in enumerate(days)
        if t.bar or t.dividend or t.split != 1.0
    ]
    schema = {
        "date": pl.Date,
        **dict.fromkeys(PRICES, pl.Float64),
        "volume": pl.Int64,
        "dividend": pl.Float64,
        "split_ratio": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


# In ticks of a hundredth of a cent below 800 (what a float32 can carry), volumes in lots that every split divides.
ticks = st.integers(min_value=100, max_value=7_999_999).map(lambda n: n / 10_000)
lots = st.integers(min_value=1, max_value=50_000).map(lambda n: n * 16_000_000)
bars = st.tuples(ticks, ticks, ticks, ticks, lots)
actions = st.tuples(
    st.sampled_from([0.0, 0.0, 0.25, 0.3333, 1.2]),
    st.sampled_from([1.0, 1.0, 1.0, *RATIOS]),
)
histories = st.lists(
    st.tuples(bars | st.none(), actions).map(lambda pair: Traded(pair[0], *pair[1])), min_size=1, max_size=12
).filter(lambda days: sum(t.split != 1.0 for t in days) <= 3)


# --- the split factor


@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(RATIOS)), max_size=6),
    st.lists(st.integers(-2, 22), max_size=10),
)
def test_the_split_factor_is_the_product_of_the_ratios_after_each_date(
    splits: list[tuple[int, float]], wanted: list[int]
) -> None:
    frame = pl.DataFrame([(day(n), ratio) for n, ratio in splits], schema=SPLITS, orient="row")
    factors = split_factor_after(pl.Series("d", [day(n) for n in wanted], dtype=pl.Date), frame)
    for number, factor in zip(wanted, factors.to_list(), strict=True):
        assert factor == pytest.approx(math.prod(ratio for n, ratio in splits if n > number), rel=1e-12)


# --- back to what was traded


@given(histories)
@settings(max_examples=200)
def test_undoing_yahoos_rescaling_gives_back_what_was_traded(days: list[Traded]) -> None:
    # From a hundred on a price may look like one that was rounded to six decimals, which hides a tick.
    assume(max(math.prod(t.split for t in days[n:]) for n in range(len(days))) < 100)
    recovered = undo(serve(days))
    assert recovered.columns == list(AS_TRADED_COLUMNS)
    later = [math.prod(t.split for t in days[(d - D0).days + 1 :]) for d in recovered["date"]]
    assert recovered["scale"].to_list() == pytest.approx(later, rel=1e-12)
    recovered = recovered.drop("scale")
    assert_frame_equal(recovered.drop("dividend"), table(days).drop("dividend"), check_exact=True)
    assert_frame_equal(
        recovered.select("date", "dividend"), table(days).select("date", "dividend"), abs_tol=1e-6
    )


def test_bars_that_are_served_in_another_order_come_back_by_date() -> None:
    traded = [Traded((n, n, n, n, 100 * n), split=2.0 if n == 2 else 1.0) for n in (1, 2, 3)]
    served = serve(traded)
    served.bars.reverse()
    assert undo(served).drop("scale").equals(table(traded))


@given(st.integers(min_value=100, max_value=7_999_999), st.sampled_from(RATIOS), st.sampled_from(RATIOS))
@settings(max_examples=500)
def test_prices_in_cents_come_back_exactly_up_to_eighty_thousand(
    cents: int, first: float, second: float
) -> None:
    price = cents / 100
    days = [Traded((price, price, price, price, 0)), Traded(None, split=first), Traded(None, split=second)]
    assert undo(serve(days))["close"][0] == price


def test_a_dear_price_before_a_split_is_not_a_tick_off() -> None:
    # Cleaned up before it is multiplied, each of these is served a tick away from what was traded.
    cents = np.random.default_rng(5).integers(40_000, 80_000, size=3_000)
    days = [Traded((c / 100, c / 100, c / 100, c / 100, 0)) for c in cents.tolist()]
    recovered = undo(serve([*days, Traded(None, split=7.0)]))
    assert recovered["close"].drop_nulls().to_list() == [c / 100 for c in cents.tolist()]


def test_a_price_no_split_has_rescaled_keeps_every_decimal() -> None:
    price = 0.123456
    days = [Traded((price, price, price, price, 7)), Traded((901.2345, 901.2345, 901.2345, 901.2345, 7))]
    assert undo(serve(days))["close"].to_list() == [price, 901.2345]


def test_an_action_without_a_bar_gets_its_own_row_on_its_own_day() -> None:
    bar = (10.0, 10.0, 10.0, 10.0, 100)
    days = [Traded(bar), Traded(None, dividend=0.5, split=2.0), Traded(bar)]
    recovered = undo(serve(days))
    assert recovered.row(1, named=True) == {
        "date": day(1),
        **dict.fromkeys(PRICES),
        "volume": 0,
        "dividend": 0.5,
        "split_ratio": 2.0,
        "scale": 1.0,
    }
    assert recovered["scale"].to_list() == [2.0, 1.0, 1.0]


def test_two_dividends_of_one_day_add_up_and_two_ratios_multiply() -> None:
    served = Served(
        bars=[{"date": day(0), **dict.fromkeys(PRICES, 5.0), "volume": 10}],
        splits=[(day(1), 2.0), (day(1), 1.5)],
        dividends=[(day(0), 0.1), (day(0), 0.05)],
    )
    recovered = undo(served)
    assert recovered["split_ratio"].to_list() == [1.0, 3.0]
    assert recovered["dividend"].to_list() == [pytest.approx(0.45), 0.0]


@pytest.mark.parametrize("declared", [0.285714, 0.000125, 1.234567, 0.1])
@pytest.mark.parametrize("ratio", [1.0, 7.0, 1 / 3])
def test_a_dividend_comes_back_with_all_its_six_decimals(declared: float, ratio: float) -> None:
    served = Served(
        bars=[{"date": day(n), **dict.fromkeys(PRICES, 5.0), "volume": 10} for n in range(3)],
        splits=[(day(2), ratio)],
        dividends=[(day(1), declared / ratio)],
    )
    assert undo(served)["dividend"].to_list() == [0.0, declared, 0.0]


def test_a_served_bar_without_a_price_stays_without_it() -> None:
    served = Served(
        bars=[{"date": day(0), "open": None, "high": 2.0, "low": None, "close": 2.0, "volume": None}],
        splits=[(day(1), 2.0)],
    )
    row = undo(served).row(0, named=True)
    assert (row["open"], row["high"], row["low"], row["close"], row["volume"]) == (None, 4.0, None, 4.0, 0)


def test_a_volume_that_was_not_served_is_none_and_an_amount_that_was_not_is_unknown() -> None:
    bar = {"date": day(0), **dict.fromkeys(("open", "high", "low", "close"), 2.0), "volume": None}
    found = undo(Served(bars=[bar], dividends=[(day(0), math.nan), (day(1), math.nan), (day(1), 0.5)]))
    assert found.select("volume", "dividend").rows() == [(0, 0.0), (0, 0.5)]
    amounts = pl.DataFrame({"date": [day(0), day(1)], "amount": [math.nan, 0.5]}, schema=DIVIDENDS)
    assert declared(amounts, pl.DataFrame(schema=SPLITS)).to_list() == [None, 0.5]


def test_nothing_served_is_nothing_traded() -> None:
    assert undo(Served()).is_empty()


# --- adjusting on read


def by_the_book(days: list[Traded], how: Adjust, reinvest: Reinvest) -> pd.DataFrame:
    """Adjusts with loops over a pandas frame: every split and dividend is applied to each day before it."""
    frame = table(days).to_pandas()
    rescaled = frame.copy()
    rescaled["volume"] = rescaled["volume"].astype(float)
    for at in range(len(frame)):
        for before in range(at):
            ratio = frame.loc[at, "split_ratio"]
            for column in (*PRICES, "dividend"):
                rescaled.loc[before, column] = rescaled.loc[before, column] / ratio
            rescaled.loc[before, "volume"] = rescaled.loc[before, "volume"] * ratio
    if how == "split":
        return rescaled
    result = rescaled.copy()
    for at in range(len(frame)):
        amount = rescaled.loc[at, "dividend"]
        if amount == 0:
            continue
        closes = rescaled["close"]
        if reinvest == "prev_close":
            known = closes[:at].dropna()
            if known.empty:
                continue
            step = 1 - amount / known.iloc[-1]
        else:
            known = closes[at:].dropna()
            if known.empty:
                continue
            step = 1 / (1 + amount / known.iloc[0])
        for before in range(at):
            for column in PRICES:
                result.loc[before, column] = result.loc[before, column] * step
    return result


def stored(days: list[Traded], symbol: str = "A") -> pl.DataFrame:
    return table(days).select(pl.lit(symbol).alias("symbol"), pl.all())


@pytest.mark.parametrize("reinvest", ["prev_close", "ex_close"])
@pytest.mark.parametrize("how", ["split", "total_return"])
@given(histories, histories)
@settings(max_examples=60)
def test_adjusting_agrees_with_loops_over_pandas(
    how: Adjust, reinvest: Reinvest, one: list[Traded], other: list[Traded]
) -> None:
    together = pl.concat([stored(other, "B"), stored(one, "A")])
    adjusted = adjust(together.lazy(), how, reinvest=reinvest).collect()
    assert adjusted.columns == together.columns
    assert adjusted["symbol"].to_list() == sorted(together["symbol"].to_list())
    for symbol, days in (("A", one), ("B", other)):
        expected = pl.from_pandas(by_the_book(days, how, reinvest)).with_columns(
            pl.col("date").cast(pl.Date), pl.col(*PRICES).cast(pl.Float64)
        )
        mine = adjusted.filter(pl.col("symbol") == symbol).drop("symbol")
        assert_frame_equal(mine, expected, rel_tol=1e-9, abs_tol=1e-12)


@given(histories)
@settings(max_examples=50)
def test_the_last_row_is_never_adjusted(days: list[Traded]) -> None:
    rows = stored(days)
    for how in ("split", "total_return"):
        adjusted = adjust(rows.lazy(), how).collect()
        assert adjusted.select(PRICES).tail(1).equals(rows.select(PRICES).tail(1))


def test_no_adjustment_sorts_and_changes_nothing() -> None:
    rows = stored([Traded((1.0, 1.0, 1.0, 1.0, 5), split=2.0), Traded((3.0, 3.0, 3.0, 3.0, 5), dividend=1.0)])
    assert adjust(rows.reverse().lazy(), "none").collect().equals(rows)


def test_total_return_by_hand_in_both_conventions() -> None:
    flat = [
        Traded((100.0, 100.0, 100.0, 100.0, 10)),
        Traded((52.0, 52.0, 52.0, 52.0, 20), split=2.0),
        Traded((48.0, 48.0, 48.0, 48.0, 30), dividend=2.0),
    ]
    split = adjust(stored(flat).lazy(), "split").collect()
    assert split["close"].to_list() == [50.0, 52.0, 48.0]
    assert split["volume"].to_list() == [20.0, 20.0, 30.0]
    yahoo = adjust(stored(flat).lazy(), "total_return").collect()["close"].to_list()
    assert yahoo == pytest.approx([50 * (1 - 2 / 52), 52 * (1 - 2 / 52), 48])
    ex_day = adjust(stored(flat).lazy(), "total_return", reinvest="ex_close").collect()["close"].to_list()
    assert ex_day == pytest.approx([50 / (1 + 2 / 48), 52 / (1 + 2 / 48), 48])


def test_a_dividend_of_the_whole_price_leaves_the_days_after_it_readable() -> None:
    days = [Traded((5.0, 5.0, 5.0, 5.0, 1)), Traded((1.0, 1.0, 1.0, 1.0, 1), dividend=5.0)]
    assert adjust(stored(days).lazy(), "total_return").collect()["close"].to_list() == [0.0, 1.0]


def test_unknown_ways_to_adjust_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="splits"):
        adjust(pl.LazyFrame(), "splits")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="never"):
        adjust(pl.LazyFrame(), "split", reinvest="never")  # type: ignore[arg-type]


def test_a_volume_of_which_a_reverse_split_has_left_nothing_is_unknown() -> None:
    days = [
        Traded((0.0001, 0.0002, 0.0001, 0.0001, 279_293)),
        Traded(None, dividend=0.5),
        Traded((0.01, 0.01, 0.01, 0.01, 5), split=1 / 1_000_000),
    ]
    recovered = undo(serve(days))
    assert recovered["volume"].to_list() == [None, 0, 5]
    adjusted = adjust(recovered.with_columns(symbol=pl.lit("A")).lazy(), "split").collect()
    assert adjusted["volume"].to_list() == [None, 0.0, 5.0]
