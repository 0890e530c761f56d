"""What it means that a source now gives other values than those that are stored: classes of restatements, and their
proof (`restating` judges by them).

One symbol at a time, with everything that can be compared of it. With q the ratio of the new close to the old one:

* `late_split`: a split ratio becomes known on an ex-date. Either the rows before it stay (q = 1: what stands was
  fetched before the split), or all of them change by that ratio (what stands was fetched when the source had already
  rescaled them, and was wrong by it). Also a constant q back from a date without any event, where the prices prove a
  split: what stands jumps by it on that date.
* `unit_change`: q is 100 or 1/100 (pence and pounds), or the currency's unit changes.
* `late_dividend`: a dividend becomes known; nothing else changes.
* `correction`: any other value.
* `vanished_row`, `appeared_row`: the source no longer has a bar that stands, which is kept; or has one where it had
  repeatedly stated that there is none.

What contradicts the stored rows without any of these is held, and the stored rows stay: a history rescaled without a
split that would explain it, another history altogether (a ticker that was given to another company), a known dividend
or split that is left out. Held claims are settled by time: the same claim on CONFIRMED different days, consistent in
itself, is taken (`rescaled`, `replaced`, or a `correction`). But where LIVE_ROWS of the stored rows that are
contradicted were captured on their own evenings, neither a rescaling nor another unit nor another history is taken
without a person; of a rescaling what is new is taken after PERSISTENT days.
"""

from __future__ import annotations

from enum import StrEnum

import polars as pl

from quant_assets.market.bars import KEYS


class RestatementClass(StrEnum):
    """Why a value that stands is another one now."""

    CORRECTION = "correction"
    LATE_SPLIT = "late_split"
    UNIT_CHANGE = "unit_change"
    LATE_DIVIDEND = "late_dividend"
    VANISHED_ROW = "vanished_row"
    APPEARED_ROW = "appeared_row"
    RESCALED = "rescaled"
    """A stretch on another scale, claimed on several days: what was stored was wrong by the ratio."""
    REPLACED = "replaced"
    """Another history, claimed on several days."""


RESTATEMENTS_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "date": pl.Date(),
        "field": pl.String(),
        "old": pl.String(),
        "new": pl.String(),
        "class": pl.String(),
        "first_date": pl.Date(),
        "rows": pl.Int64(),
    }
)
"""One restatement a row: `date` is the session (of a split the ex-date, of a change of unit the last session),
`field` the column (or "row"), `old` and `new` the values as text. `rows` rows from `first_date` on were replaced
because of it.
"""

RESCALED = "rescaled without a split"
OTHER_HISTORY = "another history than the one that is stored"

CONFIRMED = 3
"""Different days on which a claim, consistent in itself, is made before it is taken against what is stored."""
LIVE_ROWS = 10
"""So many rows that were captured on their own evenings are a record of their own."""
PERSISTENT = 10
"""Days after which new rows are taken although the claim rescales rows that were captured on their own evening."""


class Doubt(StrEnum):
    """What an answer claims against the stored rows without a proof."""

    RESCALED = "rescaled"
    OTHER_HISTORY = "other_history"
    UNIT = "unit"
    SPLIT_LEFT_OUT = "split_left_out"
    DIVIDEND_CHANGED = "dividend_changed"


def vanished(absent: pl.DataFrame) -> pl.DataFrame:
    """The events (RESTATEMENTS_SCHEMA) of standing bars (DAILY_SCHEMA) that the source no longer has."""
    return _row_events(absent, RestatementClass.VANISHED_ROW, "there", "not there")


def appeared(rows: pl.DataFrame) -> pl.DataFrame:
    """The events (RESTATEMENTS_SCHEMA) of rows (DAILY_SCHEMA) where the source had stated that there are none."""
    return _row_events(rows, RestatementClass.APPEARED_ROW, "not there", "there")


def _row_events(rows: pl.DataFrame, kind: RestatementClass, old: str, new: str) -> pl.DataFrame:
    return rows.select(
        *KEYS,
        pl.lit("row").alias("field"),
        pl.lit(old).alias("old"),
        pl.lit(new).alias("new"),
        pl.lit(kind.value).alias("class"),
        pl.col("date").alias("first_date"),
        pl.lit(1, pl.Int64).alias("rows"),
    ).cast(RESTATEMENTS_SCHEMA)
