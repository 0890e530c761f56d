"""What says the same at the precision of what was served, and on how many days it has been said."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quant_assets.market.bars import ANSWER_SCHEMA, PRICES
from quant_assets.market.claims import days_claimed, same_claims

DAY = date(2024, 3, 13)
YESTERDAY, TODAY = date(2024, 3, 18), date(2024, 3, 19)


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


def claimed(symbol: str, *times: tuple[int, date | None]) -> pl.DataFrame:
    """Claims of the days since DAY: how often each was made, and when last."""
    rows = pl.concat([claim(symbol=symbol, day=DAY + timedelta(days=n)) for n in range(len(times))])
    count, last = zip(*times, strict=True)
    return rows.with_columns(
        claims=pl.Series(count, dtype=pl.Int32), last_claimed=pl.Series(last, dtype=pl.Date)
    )


@pytest.mark.parametrize(
    ("times", "days"),
    [
        ([(2, YESTERDAY)], 3), ([(2, TODAY)], 2), ([(2, None)], 3),
        # The third of those that were made most often.
        ([(1, YESTERDAY), (6, YESTERDAY), (4, YESTERDAY), (5, YESTERDAY), (2, TODAY)], 5),
        ([(1, TODAY), (1, YESTERDAY), (1, YESTERDAY)], 1), ([(3, TODAY), (2, YESTERDAY), (3, TODAY)], 3),
    ],
)  # fmt: skip
def test_a_symbol_has_claimed_on_as_many_days_as_its_oldest_rows(
    times: list[tuple[int, date | None]], days: int
) -> None:
    earlier = pl.concat([claimed("A", *times), claimed("B", (9, YESTERDAY))])
    assert days_claimed(earlier, earlier, TODAY) == {"A": days, "B": 10}


def test_what_was_not_claimed_before_has_been_claimed_on_no_day_that_counts() -> None:
    earlier = claimed("A", (2, YESTERDAY))
    assert days_claimed(claim(101.0), earlier, TODAY) == {}
    assert days_claimed(claim(symbol="B"), earlier, TODAY) == {}
    assert days_claimed(claim(), earlier.clear(), TODAY) == {}
