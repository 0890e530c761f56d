"""The rules of a daily bar: each broken one is told in words, and no row is dropped."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, PRICES
from quant_assets.market.validation import validate

GOOD: dict[str, Any] = {
    "symbol": "A",
    "date": date(2024, 3, 15),
    "open": 10.0,
    "high": 12.0,
    "low": 9.0,
    "close": 11.0,
    "volume": 100,
    "dividend": 0.0,
    "split_ratio": 1.0,
    "currency": "USD",
    "fetched_at": datetime(2024, 3, 15, 22, tzinfo=UTC),
}
EMPTY = {**GOOD, **dict.fromkeys(PRICES), "volume": 0, "dividend": 0.5}


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=DAILY_SCHEMA)


@pytest.mark.parametrize(
    "row",
    [
        GOOD,
        EMPTY,
        {**GOOD, **dict.fromkeys(PRICES, 5.0)},
        {**GOOD, "volume": 0},
        {**GOOD, "dividend": 0.37, "split_ratio": 0.1},
    ],
)
def test_a_bar_that_keeps_the_rules_is_good(row: dict[str, Any]) -> None:
    good, refused = validate(frame(row))
    assert good.equals(frame(row))
    assert refused.is_empty()
    assert refused.columns == [*DAILY_SCHEMA, "rule"]


BROKEN = [
    ({"symbol": None}, "no symbol"),
    ({"date": None}, "no date"),
    ({"open": 0.0, "low": 0.0}, "open is not positive; low is not positive"),
    ({"open": math.nan}, "open is not a number"),
    ({"high": math.inf}, "high is not a number"),
    ({"high": -12.0}, "high is not positive"),
    ({"low": 10.5}, "low is above open, close or high"),
    ({"low": 11.5, "open": 11.6}, "low is above open, close or high"),
    ({"high": 10.5}, "high is below open or close"),
    ({"high": 9.5}, "high is below open or close"),
    ({"close": None}, "some prices are missing"),
    ({"open": None}, "some prices are missing"),
    (dict.fromkeys(PRICES), "volume without prices"),
    ({"volume": -1}, "volume is negative"),
    ({"volume": None}, "no volume"),
    ({"dividend": -0.1}, "dividend is negative"),
    ({"dividend": math.nan}, "dividend is not a number"),
    ({"dividend": None}, "no dividend"),
    ({"split_ratio": 0.0}, "split ratio is not positive"),
    ({"split_ratio": math.inf}, "split ratio is not a number"),
    ({"split_ratio": None}, "no split ratio"),
    ({"currency": None}, "no currency"),
    ({"fetched_at": None}, "no fetched at"),
]


@pytest.mark.parametrize(("change", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_a_broken_rule_is_told_in_words_and_spares_the_other_rows(change: dict[str, Any], words: str) -> None:
    bad, other = {**GOOD, **change}, {**GOOD, "symbol": "B"}
    good, refused = validate(frame(other, bad))
    assert good.equals(frame(other))
    assert refused.drop("rule").equals(frame(bad), null_equal=True)
    told = refused["rule"].item().split("; ")
    assert set(words.split("; ")) <= set(told)
    assert not any("|" in part or "_" in part for part in told)


def test_two_rows_of_one_session_are_both_refused() -> None:
    good, refused = validate(frame(GOOD, {**GOOD, "close": 10.0}, {**GOOD, "symbol": "B"}).lazy())
    assert good["symbol"].to_list() == ["B"]
    assert refused["rule"].to_list() == ["two rows for one session"] * 2


def test_no_rows_are_no_rows_on_both_sides() -> None:
    good, refused = validate(frame())
    assert good.is_empty()
    assert refused.is_empty()


prices = st.sampled_from([None, -1.0, 0.0, 9.0, 10.0, 11.0, math.nan])
drawn_rows = st.lists(
    st.fixed_dictionaries(
        {
            **{name: st.just(value) for name, value in GOOD.items()},
            "symbol": st.sampled_from(["A", "B", "C", None]),
            **dict.fromkeys(PRICES, prices),
            "volume": st.sampled_from([None, -1, 0, 5]),
        }
    ),
    max_size=6,
)


@given(drawn_rows)
def test_good_and_refused_rows_are_together_all_the_rows(rows: list[dict[str, Any]]) -> None:
    good, refused = validate(frame(*rows))
    together = pl.concat([good, refused.drop("rule")]).sort(KEYS + PRICES + ("volume",))
    assert together.equals(frame(*rows).sort(KEYS + PRICES + ("volume",)), null_equal=True)
    assert refused.filter(pl.col("rule") == "").is_empty()
    again, none = validate(good)
    assert none.is_empty()
    assert again.height == good.height
