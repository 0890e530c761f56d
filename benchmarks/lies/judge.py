"""What is stored beside what was traded: the judge has its own idea of when two values are the same."""

from __future__ import annotations

import polars as pl

PRICES = ("open", "high", "low", "close")
_FLOAT32 = 2.0**-23
"""Two prices that one float32 may stand for differ by no more than this share."""
_EXACT = 1e-9

WRONG_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "date": pl.Date(),
        "field": pl.String(),
        "stored": pl.Float64(),
        "truth": pl.Float64(),
    }
)


def wrong_values(stored: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """Every value stored as good that is not the truth (WRONG_SCHEMA); a null is unknown or held, and not wrong.

    A stored row of a day without a row in the truth is wrong as a whole (`field` "row").
    """
    both = stored.join(truth, on=["symbol", "date"], how="left", suffix="_true")
    known = pl.col("close_true").is_not_null()
    smallest = truth.group_by("symbol").agg(
        _s=pl.col("split_ratio").filter(pl.col("split_ratio") < 1).product()
    )
    both = both.join(smallest, on="symbol", how="left")
    found = [_rows(both.filter(~known), "row", pl.col("close"), pl.lit(None, pl.Float64))]
    real = both.filter(known)
    for name in PRICES:
        off = (pl.col(name) - pl.col(f"{name}_true")).abs() > _FLOAT32 * pl.col(f"{name}_true")
        found.append(_rows(real.filter(off), name, pl.col(name), pl.col(f"{name}_true")))
    # Served in today's shares: after a 1:10 a recovered volume is up to five shares off.
    shares = 0.5 / pl.col("_s").fill_null(1.0) + 0.5
    off = pl.col("close").is_not_null() & ((pl.col("volume") - pl.col("volume_true")).abs() > shares)
    found.append(_rows(real.filter(off), "volume", pl.col("volume"), pl.col("volume_true")))
    for name, least in (("dividend", 5e-7), ("split_ratio", _EXACT)):
        off = (pl.col(name) - pl.col(f"{name}_true")).abs() > least * pl.max_horizontal(1.0, f"{name}_true")
        found.append(_rows(real.filter(off), name, pl.col(name), pl.col(f"{name}_true")))
    return pl.concat(found).sort("symbol", "date", "field")


def holes(stored: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """What is not there (symbol, date, field): a bar ("row"), or a dividend or split that is null."""
    bars = stored.filter(pl.col("close").is_not_null())
    absent = truth.join(bars, on=["symbol", "date"], how="anti").select("symbol", "date", field=pl.lit("row"))
    nulls = [
        stored.filter(pl.col(name).is_null()).select("symbol", "date", field=pl.lit(name))
        for name in ("dividend", "split_ratio")
    ]
    return pl.concat([absent, *nulls]).sort("symbol", "date")


def _rows(rows: pl.DataFrame, field: str, stored: pl.Expr, truth: pl.Expr) -> pl.DataFrame:
    return rows.select(
        "symbol", "date", field=pl.lit(field), stored=stored.cast(pl.Float64), truth=truth.cast(pl.Float64)
    )
