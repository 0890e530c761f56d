"""`same_claims`: what says the same at the precision of what was served, and nothing else."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from quant_assets.market.bars import ANSWER_SCHEMA, PRICES
from quant_assets.market.claims import same_claims

DAY = date(2024, 3, 13)


def claim(
    close: float = 100.0, *, day: date = DAY, symbol: str = "A", scope: str = "row", **more: object
) -> pl.DataFrame:
    values = {
        "symbol": symbol, "date": day, "open": close, "high": close, "low": close, "close": close, "volume": 1000,
        "dividend": 0.0, "split_ratio": 1.0, "currency": "USD", "flags": "",
        "fetched_at": datetime(2024, 3, 13, 22, tzinfo=UTC), "scale": 1.0, **more,
    }  # fmt: skip
    schema = {**ANSWER_SCHEMA, "scope": pl.String()}
    return pl.DataFrame([{**values, "scope": scope}]).select(pl.col(n).cast(t) for n, t in schema.items())


def test_the_same_values_served_under_another_scale_or_a_float32_apart_are_one_claim() -> None:
    held = pl.concat([claim(), claim(day=date(2024, 3, 14))])
    for earlier in (claim(), claim(scale=4.0), claim(100.000004)):
        assert same_claims(held, earlier).rows() == [(0, 0)]


@pytest.mark.parametrize(
    "other",
    [claim(100.02), claim(symbol="B"), claim(scope="action"), claim(day=date(2024, 3, 12)), claim(currency="GBp"),
     claim(volume=1002), claim(dividend=0.5), claim(split_ratio=2.0)],
)  # fmt: skip
def test_any_other_value_symbol_date_or_scope_is_another_claim(other: pl.DataFrame) -> None:
    assert same_claims(other, claim()).is_empty()


def test_an_action_without_a_known_amount_is_the_same_as_another_one_alone() -> None:
    bare = claim().with_columns(pl.lit(None, pl.Float64).alias(name) for name in PRICES)
    assert same_claims(bare, bare).height == 1
    unknown, none = claim(scope="action", dividend=None), claim(scope="action", dividend=0.0)
    assert same_claims(unknown, unknown).height == 1
    assert same_claims(unknown, none).is_empty()
    assert same_claims(none, unknown).is_empty()
    # Of a bar it is not what is claimed.
    assert same_claims(claim(dividend=None), claim()).height == 1
