"""Served answers for tests: a quiet random walk with its actions, counted to today's share basis as Yahoo does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.market.verdicts.answer import Answer

N = 120
D0 = date(2024, 1, 1)


def weekdays(count: int) -> list[date]:
    days: list[date] = []
    day = D0
    while len(days) < count:
        if day.weekday() < 5:
            days.append(day)
        day += timedelta(days=1)
    return days


DAYS = weekdays(N)


def traded(
    seed: int = 1, splits: Mapping[int, float] | None = None, dividends: Mapping[int, float] | None = None,
    usual: float = 0.01, start: float = 200.0, moves: Mapping[int, float] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """What was traded (DAILY_SCHEMA): `splits`, `dividends` and `moves` (factors of a day's close) by row."""
    rng = np.random.default_rng(seed)
    steps = np.exp(rng.normal(0, usual, N))
    for at, factor in (moves or {}).items():
        steps[at] *= factor
    for at, ratio in (splits or {}).items():
        steps[at] /= ratio
    close = start * np.cumprod(steps)
    # Overnight gaps carry the large moves.
    opens = np.concatenate([close[:1], close[:-1]]) * steps * np.exp(rng.normal(0, usual / 4, N))
    for at, amount in (dividends or {}).items():
        close[at:] *= 1 - amount / close[at - 1]
        opens[at:] *= 1 - amount / close[at - 1]
    high, low = np.maximum(opens, close) * 1.004, np.minimum(opens, close) * 0.996
    rows = pl.DataFrame(
        {
            "symbol": ["A"] * N, "date": DAYS, "open": opens, "high": high, "low": low, "close": close,
            "volume": (rng.lognormal(11, 0.3, N) / _before(splits or {}, N) * _all(splits or {})).astype(np.int64),
            "dividend": [(dividends or {}).get(n, 0.0) for n in range(N)],
            "split_ratio": [(splits or {}).get(n, 1.0) for n in range(N)],
            "currency": ["USD"] * N, "flags": [""] * N,
        }
    )  # fmt: skip
    moments = pl.col("date").cast(pl.Datetime("us", "UTC")) + timedelta(hours=22)
    rounded = rows.with_columns(pl.col("open", "high", "low", "close").round(2), fetched_at=moments)
    return rounded.select(pl.col(name).cast(dtype) for name, dtype in DAILY_SCHEMA.items())


def _before(splits: Mapping[int, float], count: int) -> np.ndarray:
    """S(t): the product of the ratios after each row."""
    return np.array([np.prod([r for at, r in splits.items() if at > n] or [1.0]) for n in range(count)])


def _all(splits: Mapping[int, float]) -> float:
    return float(np.prod(list(splits.values()) or [1.0]))


def served(rows: pl.DataFrame, through: int = N, **facts: Any) -> Answer:
    """The honest answer on the evening of a row, with its splits and dividends."""
    rows = rows[:through]
    splits = {n: r for n, r in enumerate(rows["split_ratio"]) if r != 1.0}
    scale = _before(splits, through)
    close = rows["close"].to_numpy() / scale
    paid = rows["dividend"].to_numpy() / scale
    steps = np.ones(through)
    steps[1:] = 1 - paid[1:] / close[:-1]
    after = np.append(np.cumprod(steps[::-1])[::-1][1:], 1.0)
    prices = {
        name: (rows[name].to_numpy() / scale).astype(np.float32).astype(np.float64)
        for name in ("open", "high", "low", "close")
    }
    bars = pl.DataFrame(
        {
            "date": rows["date"], **prices, "adj_close": close * after,
            "volume": np.rint(rows["volume"].to_numpy() * scale).astype(np.int64),
        }
    )  # fmt: skip
    return Answer(
        "A",
        bars,
        events([(rows["date"][n], r) for n, r in splits.items()], "ratio"),
        listed([(rows["date"][n], float(paid[n])) for n in range(through) if paid[n]]),
        "USD",
        sessions=frozenset(DAYS),
        **facts,
    )


def events(rows: Sequence[tuple[date, float]], name: str) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema={"date": pl.Date, name: pl.Float64}, orient="row")


def listed(
    rows: Sequence[tuple[date, float]], kind: str = "dividend", currency: str | None = None
) -> pl.DataFrame:
    """Dividends as a source lists them."""
    return events(rows, "amount").with_columns(kind=pl.lit(kind), currency=pl.lit(currency, pl.String))


def scaled(bars: pl.DataFrame, factor: float, first: int, last: int, *, volume: bool = True) -> pl.DataFrame:
    """Bars with the prices of rows first..last times a factor, and volumes divided by it."""
    which = pl.col("date").is_between(DAYS[first], DAYS[last])
    prices = ("open", "high", "low", "close", "adj_close")
    out = bars.with_columns(pl.when(which).then(pl.col(n) * factor).otherwise(n).alias(n) for n in prices)
    if volume:
        shares = (pl.col("volume") / factor).round(0).cast(pl.Int64)
        out = out.with_columns(volume=pl.when(which).then(shares).otherwise("volume"))
    return out


def changed(bars: pl.DataFrame, at: int, **factors: float) -> pl.DataFrame:
    """Bars with some columns of one row times a factor."""
    return bars.with_columns(
        pl.when(pl.col("date") == DAYS[at]).then(pl.col(name) * factor).otherwise(name).alias(name)
        for name, factor in factors.items()
    )
