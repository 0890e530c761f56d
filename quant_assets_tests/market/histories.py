"""Stored histories of one symbol and later answers, written out, and what is judged of their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from quant_assets.market.bars import ANSWER_SCHEMA, DAILY_SCHEMA, KEYS, PRICES, conform
from quant_assets.market.reconcile import compare, settle
from quant_assets.market.restatements import (
    CONFIRMED,
)
from quant_assets.market.restating import Restated, restate

D0 = date(2024, 1, 1)
KNOWN = datetime(2024, 6, 1, 22, tzinfo=UTC)
LATER = KNOWN + timedelta(days=30)
N = 30
"""Rows of the histories written here: enough for every share and count that evidence is measured by."""


def day(number: int) -> date:
    return D0 + timedelta(days=number)


def closes(splits: Mapping[int, float] | None = None, level: float = 50.0, rows: int = N) -> list[float]:
    """As traded: a quiet price that only splits move."""
    found, factor = [], 1.0
    for n in range(rows):
        factor *= (splits or {}).get(n, 1.0)
        found.append(round((level + ((n * 37) % 11 - 5) * level / 500) / factor, 4))
    return found


def history(
    of: Sequence[float] | None = None,
    *,
    symbol: str = "A",
    splits: Mapping[int, float] | None = None,
    dividends: Mapping[int, float] | None = None,
    currency: str = "USD",
    known: datetime | Sequence[datetime] = KNOWN,
) -> pl.DataFrame:
    prices = closes(splits) if of is None else of
    rows = range(len(prices))
    return pl.DataFrame(
        {
            "symbol": [symbol] * len(prices),
            "date": [day(n) for n in rows],
            "open": prices,
            "high": [round(price * 1.02, 4) for price in prices],
            "low": [round(price * 0.98, 4) for price in prices],
            "close": prices,
            "volume": [10_000 + 100 * n for n in rows],
            "dividend": [(dividends or {}).get(n, 0.0) for n in rows],
            "split_ratio": [(splits or {}).get(n, 1.0) for n in rows],
            "currency": [currency] * len(prices),
            "flags": [""] * len(prices),
            "fetched_at": [known] * len(prices) if isinstance(known, datetime) else known,
        },
        schema=DAILY_SCHEMA,
    )


def later(rows: pl.DataFrame, scale: float = 1.0) -> pl.DataFrame:
    """The rows as an answer of a later day."""
    moment = pl.lit(LATER).cast(pl.Datetime("us", "UTC"))
    return conform(rows.with_columns(moment.alias("fetched_at"), scale=pl.lit(scale)), ANSWER_SCHEMA)


def rescaled(rows: pl.DataFrame, by: float, before: int = N) -> pl.DataFrame:
    """The rows before one with prices times `by` and volumes divided by it."""
    which = pl.col("date") < day(before)
    return rows.with_columns(
        *(
            pl.when(which).then((pl.col(n) * by).round(4)).otherwise(n).alias(n)
            for n in PRICES
        ),
        pl.when(which).then((pl.col("volume") / by).round(0).cast(pl.Int64)).otherwise("volume").alias("volume"),
    )  # fmt: skip


def put(rows: pl.DataFrame, number: int, symbol: str = "A", **values: Any) -> pl.DataFrame:
    """The rows with some values of one of them replaced."""
    which = (pl.col("date") == day(number)) & (pl.col("symbol") == symbol)
    return rows.with_columns(
        pl.when(which).then(pl.lit(value, dtype=DAILY_SCHEMA[name])).otherwise(name).alias(name)
        for name, value in values.items()
    )


def judge(stored_rows: pl.DataFrame, answer: pl.DataFrame, *, whole: bool = True, days: int = 1) -> Restated:
    """`days`: on how many days the answer has been claimed."""
    return restate(compare(stored_rows, answer).pairs, whole=whole, claimed={"A": days})


def live(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows as if each had been captured on its own evening."""
    return rows.with_columns(fetched_at=pl.col("date").cast(pl.Datetime("us", "UTC")) + timedelta(hours=22))


def held_and_then_taken(stored_rows: pl.DataFrame, answer: pl.DataFrame, kind: str) -> Restated:
    """A claim against what is stored: held on two days, taken on the third. Answers what was held on the first."""
    for days in (1, 2):
        found = judge(stored_rows, answer, days=days)
        assert found.events.is_empty()
        assert found.old.is_empty()
        assert set(found.held["kind"]) == {kind}
    taken = judge(stored_rows, answer, days=CONFIRMED)
    assert taken.held.is_empty()
    assert not taken.in_doubt
    assert same(applied(stored_rows, answer, taken), answer)
    return found


def told(found: Restated) -> list[tuple[date, str, str]]:
    return found.events.sort(KEYS).select("date", "field", "class").rows()


def applied(stored_rows: pl.DataFrame, answer: pl.DataFrame, found: Restated) -> pl.DataFrame:
    return settle(
        stored_rows, found.old, found.new, compare(stored_rows, answer).fresh.select(list(DAILY_SCHEMA))
    )


def same(stored_rows: pl.DataFrame, answer: pl.DataFrame) -> bool:
    found = compare(stored_rows, answer)
    return found.pairs.filter("differs").is_empty() and found.pairs.height == answer.height


def nothing_changes(found: Restated) -> None:
    assert found.events.rows() == []
    assert found.old.is_empty()
    assert found.new.is_empty()
    assert found.held.is_empty()
    assert found.reaches_back == []
