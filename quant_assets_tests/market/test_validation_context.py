"""What an answer's rows are judged by besides: the bars before them, their keys, and a quick look."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.market.bars import KEYS, PRICES
from quant_assets.market.validation import AnsweredBar, validate_answer
from quant_assets_tests.market.test_validation import D0, MOVED, answer, in_context, refused_days

# --- moves


def explained(rows: pl.DataFrame, **context: Any) -> list[tuple[bool, bool]]:
    return in_context(rows, **context).select("explained", "since_accepted").rows()


def test_which_bars_are_explained_and_which_follow_one_that_a_person_accepted() -> None:
    yes, no = (True, False), (False, False)
    assert explained(answer([5.0, 5.0, 50.0, 5.0])) == [yes, yes, no, yes]
    assert explained(answer([None, 5.0, 50.0, 5.0])) == [yes, yes, no, yes]
    # The bar that is accepted has none before it that was; the refused one leaves it the last good one.
    assert explained(answer([5.0, 50.0, 5.0, 5.0, 50.0, 50.0]), accepted=[1]) == [
        yes, yes, (False, True), (False, True), (True, True), yes,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("closes", "bad"),
    [
        ([10.0, 44.9], []), ([10.0, 45.1], [1]), ([44.9, 10.0], []), ([45.1, 10.0], [1]),
        # The splits of all bars since the last good one explain a move, the dividend of the day alone.
        ([10.0, None, 2.0], [2]), ([10.0, None, 2.3], []),
    ],
)  # fmt: skip
def test_how_far_a_close_may_be_from_the_one_before_it(closes: list[float | None], bad: list[int]) -> None:
    assert refused_days(answer(closes)) == bad


def test_a_refused_bar_does_not_use_up_the_split_that_explains_the_next_one() -> None:
    rows = answer([100.0, 1.0, 100.0, 10.0], splits={1: 2.0, 2: 0.5, 3: 10.0})
    assert refused_days(rows) == [1]
    assert refused_days(answer([100.0, 500.0, 10.0, 10.0], splits={1: 10.0})) == [1]


def test_a_large_move_is_seen_whatever_symbol_comes_first() -> None:
    rows = pl.concat([answer([8.0, 8.0]), answer([20.0, 2.0, 20.0], symbol="B")])
    _, refused = validate_answer(in_context(rows))
    assert refused.select(*KEYS, "rule").rows() == [("B", D0 + timedelta(days=1), MOVED)]


@pytest.mark.parametrize("close", [0.0, -0.5, -2.0, math.inf, math.nan])
def test_a_close_that_is_no_price_is_refused_for_that_alone_and_measures_nothing(close: float) -> None:
    _, refused = validate_answer(in_context(answer([5.0, 5.0, close, 5.0, 50.0])))
    assert [(day - D0).days for day in refused["date"]] == [2, 4]
    assert MOVED not in refused["rule"][0]
    assert refused["rule"][1] == MOVED


def test_five_bars_have_to_keep_to_a_level_whatever_days_without_a_bar_lie_between() -> None:
    level = [50.0, None, 50.0, None, 50.0, 50.0, 50.0]
    assert refused_days(answer([5.0, 5.0, *level])) == [2, 4, 6, 7, 8]
    # The bars and not the days count, and of the days no more than six are looked at.
    assert refused_days(answer([5.0, 5.0, *[50.0] * 6])) == []
    assert refused_days(answer([5.0, 5.0, 50.0, *[224.0] * 5])) == []
    assert refused_days(answer([5.0, 5.0, 50.0, *[226.0] * 6])) == [2]
    assert refused_days(answer([5.0, 5.0, 50.0, *[50.0] * 4, 5.0])) == [2, 3, 4, 5, 6]


# --- keys


@pytest.mark.parametrize("order", ["AAB", "ABA", "BAA"])
def test_two_rows_of_one_session_are_refused_wherever_they_stand(order: str) -> None:
    context = in_context(pl.concat([answer([5.0]), answer([5.0], symbol="B")]))
    twice = pl.concat([context.filter(pl.col("symbol") == symbol) for symbol in order])
    good, refused = validate_answer(twice)
    assert good["symbol"].to_list() == ["B"]
    assert refused["rule"].to_list() == ["two rows for one session"] * 2


# --- the quick look


ODD: list[dict[str, Any]] = [
    *({name: value} for name in PRICES for value in (None, 0.0, -1.0, math.nan, math.inf)),
    dict.fromkeys(PRICES), {**dict.fromkeys(PRICES), "volume": 0}, dict.fromkeys(PRICES, 0.5), {"high": 4.9},
    {"low": 5.1}, {"volume": None}, {"volume": None, "flags": "volume_unknown"}, {"volume": -1}, {"volume": 0},
    *({"dividend": value} for value in (None, -0.1, 0.5, math.nan, math.inf)),
    *({"split_ratio": value} for value in (None, 0.0, -1.0, 0.5, math.nan, math.inf)),
    *({"scale": value} for value in (None, -1.0, 0.0, math.nan, math.inf, -math.inf)),
    {"currency": None}, {"flags": None}, {"fetched_at": None}, {"session": False}, {"currency_known": False},
    {"listed": False}, {"explained": False}, {"explained": False, "since_accepted": True}, {"since_accepted": True},
    {"session": None}, {"currency_known": None}, {"listed": None}, {"explained": None},
]  # fmt: skip


def test_what_a_quick_look_clears_keeps_every_rule() -> None:
    plain = in_context(answer([5.0, 5.0]))
    changed = pl.DataFrame(
        [
            {**row, **change, "symbol": f"S{number:02}"}
            for number, odd in enumerate(ODD)
            for row, change in zip(plain.to_dicts(), ({}, odd), strict=True)
        ],
        schema=plain.schema,
    )
    good, refused = validate_answer(changed)
    kept, failure = AnsweredBar.filter(changed, cast=False)
    assert good.equals(kept.select(good.columns), null_equal=True)
    assert refused.select(KEYS).rows() == failure.invalid().sort(KEYS).select(KEYS).rows()
    assert (good.height - len(ODD), refused.height) == (10, len(ODD) - 10)
