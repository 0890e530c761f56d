"""Daily rows, sessions and holes from which tests make weeks."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

MON, TUE, WED, THU, FRI = (date(2024, 3, d) for d in (11, 12, 13, 14, 15))
DAILY = {
    "symbol": pl.String,
    "date": pl.Date,
    "open": pl.Float64,
    "high": pl.Float64,
    "low": pl.Float64,
    "close": pl.Float64,
    "volume": pl.Int64,
    "dividend": pl.Float64,
    "split_ratio": pl.Float64,
}
Bar = tuple[float, float, float, float, int]


def row(
    day: date, bar: Bar | None, *, dividend: float = 0.0, split: float = 1.0, symbol: str = "A"
) -> dict[str, Any]:
    opened, high, low, close, volume = bar or (None, None, None, None, 0)
    return {
        "symbol": symbol,
        "date": day,
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "dividend": dividend,
        "split_ratio": split,
    }


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=DAILY)


def sessions(*days: date, unasked: tuple[date, ...] = ()) -> pl.DataFrame:
    return pl.DataFrame(
        {"date": list(days), "asked": [day not in unasked for day in days]},
        schema={"date": pl.Date, "asked": pl.Boolean},
    )


def holes(*bars: tuple[str, date]) -> pl.DataFrame:
    return pl.DataFrame(list(bars), schema={"symbol": pl.String, "date": pl.Date}, orient="row")


FULL_WEEK = sessions(MON, TUE, WED, THU, FRI)
