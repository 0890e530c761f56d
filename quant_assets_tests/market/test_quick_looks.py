"""What is found for all rows at once, beside the longer way to the same."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.market.bars import ANSWER_SCHEMA
from quant_assets.market.gaps import runs_where, runs_without_bar
from quant_assets.market.validation import AnsweredBar, validate_answer

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
