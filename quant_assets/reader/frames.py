"""What a read answers, as a pandas frame in the forms that its users expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import pandas as pd

_DAYS = ("date", "week", "session")


def to_pandas(
    frame: pl.LazyFrame | pl.DataFrame,
    index: str | Sequence[str] | None = None,
    pivot: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """What any of the reads answers, as a pandas frame: `to_pandas(prices("AAPL"))`.

    Args:
        index: the columns that become the index: "date" makes a DatetimeIndex, ["symbol", "date"] a MultiIndex.
        pivot: the column that is spread out, a row a day and a column a symbol: `to_pandas(prices(), pivot="close")`.
            Several columns make a MultiIndex of column and symbol.

    Raises:
        ValueError: a column that the frame does not have, `index` beside `pivot`, or two rows of a symbol and day.
    """
    if index is not None and pivot is not None:
        raise ValueError("index and pivot are two forms of a frame: leave one out")
    rows = frame.lazy()
    there = rows.collect_schema().names()
    indexed, spread = _columns(index, there), _columns(pivot, there)
    if not spread:
        table = rows.collect().to_pandas()
        return table.set_index(indexed if len(indexed) > 1 else indexed[0]) if indexed else table
    day = next((name for name in _DAYS if name in there), None)
    if day is None or "symbol" not in there:
        raise ValueError(f"pivot={pivot!r} needs a column symbol and one of {', '.join(_DAYS)}")
    long = rows.select("symbol", day, *spread).collect()
    if long.select("symbol", day).is_duplicated().any():
        raise ValueError(f"pivot={pivot!r}: there are two rows of a symbol and {day}")
    values = spread if not isinstance(pivot, str) else spread[0]
    return long.to_pandas().pivot(index=day, columns="symbol", values=values)


def _columns(names: str | Sequence[str] | None, there: Sequence[str]) -> list[str]:
    wanted = [] if names is None else [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in there:
            raise ValueError(f"no column {name!r}: there are {', '.join(there)}")
    return wanted
