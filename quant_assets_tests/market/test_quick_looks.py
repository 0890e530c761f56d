"""What is found for all rows at once, beside the longer way to the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.market import precision
from quant_assets.market.bars import ANSWER_SCHEMA, DayTable
from quant_assets.market.gaps import runs_where, runs_without_bar
from quant_assets.market.precision import (
    _of_few_decimals,
    _searched,
    _searched_float32,
    _was_rounded,
    recovered,
    recovered_dividends,
)
from quant_assets.market.validation import AnsweredBar, validate_answer
from quant_assets.market.verdicts import dividends as dividends_module
from quant_assets.market.verdicts.answer import Series
from quant_assets.market.verdicts.dividends import weigh_dividends
from quant_assets_tests.market.verdicts.served import DAYS as TRADED
from quant_assets_tests.market.verdicts.served import served as serve
from quant_assets_tests.market.verdicts.served import traded

FIRST = date(2013, 2, 11)
DAYS = [FIRST + timedelta(days=n) for n in range(12)]
GOOD: dict[str, Any] = {
    "date": FIRST, "open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 100, "dividend": 0.0,
    "split_ratio": 1.0, "currency": "USD", "flags": "", "fetched_at": datetime(2013, 3, 1, tzinfo=UTC), "scale": 1.0,
    "session": True, "currency_known": True, "listed": True, "explained": True, "since_accepted": False,
}  # fmt: skip
ODD: dict[str, list[Any]] = {
    "open": [None, 0.0, float("nan"), float("inf")], "high": [8.0], "low": [13.0, -1.0], "close": [None],
    "volume": [0, -1, None], "dividend": [None, -1.0, float("inf")], "split_ratio": [0.0, None],
    "scale": [None, float("nan")], "currency": [None], "flags": [None, "volume_unknown", "dividend_held"],
    "session": [False], "currency_known": [False, None], "listed": [False], "explained": [False],
    "since_accepted": [True], "date": [FIRST + timedelta(days=1)],
}  # fmt: skip
odd = st.sampled_from([(name, value) for name, values in ODD.items() for value in values])
SCHEMA = {**ANSWER_SCHEMA, **dict.fromkeys(list(GOOD)[-5:], pl.Boolean)}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("AAB"), st.lists(odd, max_size=2)), min_size=1, max_size=6))
def test_rows_that_are_surely_good_are_those_that_keep_every_rule(
    drawn: list[tuple[str, list[tuple[str, Any]]]],
) -> None:
    rows = pl.DataFrame(
        [
            {**GOOD, "symbol": symbol, "date": DAYS[n], **dict(changes)}
            for n, (symbol, changes) in enumerate(drawn)
        ],
        schema=SCHEMA,
    )
    good, refused = validate_answer(rows)
    expected, failure = AnsweredBar.filter(rows, cast=False)
    assert_frame_equal(good, expected.select(list(ANSWER_SCHEMA)))
    assert refused.height == failure.invalid().height
    assert refused.columns == [*ANSWER_SCHEMA, "rule"]


@given(st.sets(st.sampled_from(DAYS)), st.none() | st.sampled_from(DAYS))
def test_runs_where_are_the_runs_without_bar(present: set[date], first: date | None) -> None:
    there = np.array([day in present for day in DAYS])
    assert runs_where(DAYS, there, first=first) == runs_without_bar(DAYS, present, first=first)


@given(st.sets(st.integers(15_000, 15_040)), st.lists(st.integers(14_990, 15_050)))
def test_a_table_of_days_holds_those_it_was_made_of(days: set[int], others: list[int]) -> None:
    found = DayTable(np.array(sorted(days), dtype=np.int32)).holds(np.array(others, dtype=np.int32))
    assert found.tolist() == [other in days for other in others]


few_decimals = st.builds(
    lambda units, decimals: units / 10**decimals, st.integers(0, 10**7), st.integers(0, 6)
)
# Binary powers, next to which float32 values lie half as far apart, and those beside them.
binary = st.builds(
    lambda power, towards: float(np.nextafter(np.float32(2.0**power), np.float32(towards))),
    st.integers(-12, 18),
    st.sampled_from([0.0, 1e9]),
)


@given(
    st.lists(few_decimals | binary | st.floats(0, 1e6), min_size=1, max_size=8),
    st.sampled_from([1.0, 1.5, 2.0, 3.0, 7.0, 28.0, 224.0, 1 / 3, 0.1, 1 / 250]),
    st.booleans(),
    st.booleans(),
)
def test_prices_of_few_decimals_are_the_ones_that_are_found_by_search(
    prices: list[float], scale: float, rounded: bool, narrow: bool
) -> None:
    served = np.array(prices) / scale
    served = np.round(served, 6) if rounded else served
    served = served.astype(np.float32).astype(float) if narrow else served
    scales = np.full(served.size, scale)
    found, sure = _of_few_decimals(served, scales, rounded=rounded)
    np.testing.assert_array_equal(found[sure], _searched(served, scales, rounded=rounded)[sure])


@given(
    st.lists(few_decimals | binary | st.floats(0, 1e6), min_size=4, max_size=12),
    st.sampled_from([1.5, 2.0, 28.0, 0.1]),
    st.integers(0, 12),
    st.booleans(),
)
def test_prices_before_and_after_a_split_are_each_found_as_by_search(
    prices: list[float], ratio: float, before: int, narrow: bool
) -> None:
    scale = np.where(np.arange(len(prices)) < before, ratio, 1.0)
    served = np.array(prices) / scale
    served = (served.astype(np.float32).astype(float) if narrow else served).reshape(1, -1)
    rescaled = scale != 1.0
    rounded = _was_rounded(served, scale, rescaled) if rescaled.any() else False
    expected = _searched_float32(served[0])
    expected[rescaled] = _searched(served[0, rescaled], scale[rescaled], rounded=rounded)
    np.testing.assert_array_equal(recovered(served, scale)[0], expected)


def test_most_prices_have_few_decimals() -> None:
    for decimals, most in ((2, 60_000.0), (3, 600.0), (4, 600.0)):
        prices = np.round(np.linspace(0.5, most, 500), decimals)
        for scale in (1.0, 2.0, 0.1):
            served = (prices / scale).astype(np.float32).astype(float)
            found, sure = _of_few_decimals(served, np.float64(scale), rounded=False)
            assert sure.all()
            np.testing.assert_array_equal(found, prices)


payments = st.dictionaries(
    st.integers(2, 118),
    st.sampled_from([0.0001, 0.004, 0.006, 0.5, 0.6, 0.63, 0.7, 1.1, 19.0, 21.0, 60.0]),
    min_size=1,
    max_size=9,
)


@settings(max_examples=60, deadline=None)
@given(
    payments,
    st.lists(st.sampled_from([0.01, 0.5, 2.0, 100.0, 0.0, 1.0, 1.0, 1.0]), min_size=9, max_size=9),
    st.sets(st.integers(2, 118), max_size=3),
    st.sampled_from(["USD", "GBp"]),
    st.booleans(),
    st.booleans(),
)
@example({30: 10.0, 60: 60.0}, [1.0] * 9, set(), "USD", False, False)
@example({30: 15.0}, [0.5] * 9, set(), "USD", True, False)
@example({30: 0.004, 60: 0.0042}, [1.0] * 9, set(), "GBp", False, True)
def test_dividends_that_nothing_speaks_against_are_kept_when_weighed_one_by_one(
    paid: dict[int, float],
    factors: list[float],
    doubtful: set[int],
    currency: str,
    twice: bool,
    falls: bool,
) -> None:
    moves = {} if falls else {at: 1 / (1 - amount / 200) for at, amount in paid.items()}
    answer = serve(traded(dividends=paid, moves=moves))
    dates = answer.dividends["date"].to_list()
    # As listed some are another amount than what Adj Close was adjusted by.
    wrong = pl.Series(factors[: len(dates)])
    dividends = answer.dividends.with_columns(amount=pl.col("amount") * wrong)
    more = [dividends[:1].with_columns(kind=pl.lit("capital_gain"))] if twice else []
    answer = replace(answer, currency=currency, dividends=pl.concat([dividends, *more]))
    series, days = Series.of(answer.bars), {TRADED[at] for at in doubtful}
    stored = {TRADED[at]: amount for at, amount in list(paid.items())[:2]}
    quick = weigh_dividends(answer, series, days, stored)
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(dividends_module, "_ALIKE", 0.0)
        one_by_one = weigh_dividends(answer, series, days, stored)
    assert_frame_equal(quick.dividends, one_by_one.dividends, check_exact=True)
    assert (quick.held, quick.explained) == (one_by_one.held, one_by_one.explained)


@given(
    st.lists(
        st.builds(
            lambda units, decimals, off: units / 10**decimals * (1 + off),
            st.integers(-10, 10**7),
            st.integers(0, 9),
            st.sampled_from([0.0, 0.0, 4e-13, -6e-13, 2e-12]),
        )
        | st.sampled_from([float("nan"), float(np.float32(0.7))]),
        min_size=1,
        max_size=3,
    )
)
def test_dividends_of_six_decimals_are_what_a_search_finds(amounts: list[float]) -> None:
    served, scale = np.array(amounts), np.ones(len(amounts))
    found = recovered_dividends(served, scale)
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(precision, "_SURELY_SIX", -1.0)
        np.testing.assert_array_equal(found, recovered_dividends(served, scale))
