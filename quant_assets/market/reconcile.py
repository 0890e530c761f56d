"""Rows that stand and rows that come, brought together by (symbol, date)."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from quant_assets.market.bars import ACTIONS, DAILY_SCHEMA, KEYS, VALUES

CHANGES_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "date": pl.Date(),
        "field": pl.String(),
        "old": pl.String(),
        "new": pl.String(),
    }
)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What came of it: all rows (`DAILY_SCHEMA`, sorted), how many are new, and each value that differs."""

    rows: pl.DataFrame
    added: int
    changes: pl.DataFrame
    """CHANGES_SCHEMA: old and new value of every field that differs, whether or not it was taken."""


def reconcile(standing: pl.DataFrame, incoming: pl.DataFrame, *, replace: bool) -> Reconciled:
    """Merges `incoming` into `standing` (both DAILY_SCHEMA, unique by symbol and date).

    Precedence: a row that only one side has is kept. Where both have one and their values are the same, the
    standing row stays, `fetched_at` included, so that knowing a thing twice changes nothing. Where values differ,
    the standing row stays, unless `replace`: then the incoming row takes its place. A standing row without a bar
    (an action alone) takes the incoming bar and keeps its action. The differences are reported in every case.
    """
    if standing.is_empty():
        return Reconciled(incoming.sort(KEYS), incoming.height, pl.DataFrame(schema=CHANGES_SCHEMA))
    if incoming.is_empty():
        return Reconciled(standing.sort(KEYS), 0, pl.DataFrame(schema=CHANGES_SCHEMA))
    new_rows = incoming.join(standing, on=KEYS, how="anti")
    both = standing.join(incoming, on=KEYS, how="inner", suffix="_new")
    differing = both.filter(pl.any_horizontal(pl.col(n).ne_missing(pl.col(f"{n}_new")) for n in VALUES))
    changes = pl.concat(
        [
            differing.filter(pl.col(name).ne_missing(pl.col(f"{name}_new"))).select(
                *KEYS,
                pl.lit(name).alias("field"),
                pl.col(name).cast(pl.String).alias("old"),
                pl.col(f"{name}_new").cast(pl.String).alias("new"),
            )
            for name in VALUES
        ]
    ).sort(*KEYS, "field")
    if replace:
        taken = incoming.join(differing, on=KEYS, how="semi")
    else:
        filled = differing.filter(pl.col("close").is_null() & pl.col("close_new").is_not_null())
        taken = filled.select(
            name if name in (*KEYS, *ACTIONS) else pl.col(f"{name}_new").alias(name) for name in DAILY_SCHEMA
        )
    kept = standing.join(taken, on=KEYS, how="anti")
    rows = pl.concat([kept, taken, new_rows]).select(list(DAILY_SCHEMA)).sort(KEYS)
    return Reconciled(rows, new_rows.height, changes)
