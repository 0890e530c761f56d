"""What a store holds, summed up from its cells: by month, by year, in all. Plain frames, no I/O, no clock."""

from __future__ import annotations

import polars as pl

from quant_assets.market.coverage import CellState

CELLS_SCHEMA = pl.Schema(
    {
        "date": pl.Date(),
        "state": pl.String(),
        "rows": pl.Int64(),
        "bytes": pl.Int64(),
        "expected": pl.Int64(),
        "received": pl.Int64(),
        "recorded": pl.Date(),
    }
)
"""A cell of an exchange a row: how many symbols were expected and received; `recorded`: the day (UTC) on which it was
put, null where nobody knows."""

MONTHS_SCHEMA = pl.Schema(
    {
        "month": pl.Date(),
        **{state.value: pl.Int64() for state in CellState},
        "rows": pl.Int64(),
        "bytes": pl.Int64(),
        "expected": pl.Int64(),
        "received": pl.Int64(),
        "coverage": pl.Float64(),
    }
)
"""A month (its first day) a row: cells by state, their rows and bytes, the symbols expected and received over all its
sessions, and the share of these (0 to 1; null where nobody was expected)."""


def by_month(cells: pl.DataFrame) -> pl.DataFrame:
    """The cells (CELLS_SCHEMA) of an exchange summed up by month (MONTHS_SCHEMA), in order."""
    states = [(pl.col("state") == state.value).sum().alias(state.value) for state in CellState]
    found = (
        cells.group_by(pl.col("date").dt.truncate("1mo").alias("month"))
        .agg(*states, pl.col("rows", "bytes", "expected", "received").sum())
        .with_columns(coverage=pl.when(pl.col("expected") > 0).then(pl.col("received") / pl.col("expected")))
        .sort("month")
    )
    return found.select(pl.col(name).cast(dtype) for name, dtype in MONTHS_SCHEMA.items())


def totals(cells: pl.DataFrame) -> pl.DataFrame:
    """One row of an exchange's cells (CELLS_SCHEMA): cells by state, rows, bytes, coverage (0 to 1, null: nobody was
    expected), `first` and `last` day with a cell, `last_complete`."""
    states = [(pl.col("state") == state.value).sum().alias(state.value) for state in CellState]
    complete = pl.col("state") == CellState.COMPLETE.value
    return cells.select(
        *states,
        pl.col("rows", "bytes").sum(),
        coverage=pl.when(pl.col("expected").sum() > 0).then(
            pl.col("received").sum() / pl.col("expected").sum()
        ),
        first=pl.col("date").min(),
        last=pl.col("date").max(),
        last_complete=pl.col("date").filter(complete).max(),
    )


def growth(months: pl.DataFrame) -> pl.DataFrame:
    """By year of session (ints, in order): `bytes` and `rows` of its cells, and the bytes `so_far`, itself included.

    Args:
        months: MONTHS_SCHEMA of one exchange or of several.
    """
    return (
        months.group_by(pl.col("month").dt.year().alias("year"))
        .agg(pl.col("bytes", "rows").sum())
        .sort("year")
        .with_columns(so_far=pl.col("bytes").cum_sum())
    )


def bytes_a_year(cells: pl.DataFrame, sessions: int = 20) -> int:
    """What an exchange's cells grow by in a year of 252 sessions, at the mean of its last `sessions` with rows."""
    last = cells.filter(pl.col("rows") > 0).sort("date").tail(sessions)["bytes"]
    return round(252 * sum(last) / len(last)) if len(last) else 0


def stored_by_month(cells: pl.DataFrame, months: int = 13) -> pl.DataFrame:
    """By the month in which cells were put (its first day; the last `months` of them, in order): `cells`, their
    `bytes`, and the bytes `so_far`. A cell that was replaced counts for the month of its last put."""
    return (
        cells.filter(pl.col("recorded").is_not_null() & (pl.col("bytes") > 0))
        .group_by(pl.col("recorded").dt.truncate("1mo").alias("month"))
        .agg(pl.len().alias("cells"), pl.col("bytes").sum())
        .sort("month")
        .with_columns(so_far=pl.col("bytes").cum_sum())
        .tail(months)
    )
