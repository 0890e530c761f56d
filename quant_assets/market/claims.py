"""What a source claims, compared with what it has claimed before: which claims are the same, and what became of them.

A claim is a row (ANSWER_SCHEMA) that is in doubt. Two claims about one session are the same when no value differs at
the precision of what was served (`reconcile.differing`).
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

import polars as pl

from quant_assets.market.bars import ANSWER_SCHEMA, DAILY_SCHEMA, KEYS, VALUES
from quant_assets.market.reconcile import differing


class Scope(StrEnum):
    """How much of an answer is in doubt."""

    ANSWER = "answer"
    """All of it: its share basis cannot be told, and none of its rows is stored."""
    ROW = "row"
    """One session's bar, alone or as part of a stretch."""
    ACTION = "action"
    """A dividend or a split: the bar is stored, without it."""


_WORDS = {Scope.ANSWER: "answer", Scope.ROW: "bar", Scope.ACTION: "action"}

_OLDEST = 3
"""So many rows of a symbol's claims tell on how many days it has made them."""

RULE = "rule"
"""The kind of a row that breaks a rule of validation, or that was held before kinds were told apart."""


CLAIM_SCHEMA = pl.Schema(
    {
        **ANSWER_SCHEMA,
        "rule": pl.String(),
        "scope": pl.String(),
        "kind": pl.String(),
        "witnesses": pl.String(),
    }
)
"""Rows as an answer claims them that are not stored: `rule` is the reason in words, `scope` how much of the answer is
in doubt (`Scope`), `kind` the code of what is wrong, `witnesses` what speaks for and against it."""


def of_rules(refused: pl.DataFrame) -> pl.DataFrame:
    """Rows that break a rule (ANSWER_SCHEMA and `rule`) as claims (CLAIM_SCHEMA)."""
    return refused.with_columns(
        scope=pl.lit(Scope.ROW.value), kind=pl.lit(RULE), witnesses=pl.lit("")
    ).select(list(CLAIM_SCHEMA))


def named(scope: str, first: date, last: date, sessions: int) -> str:
    """What is held, in a few words: "bar of 2024-03-13", "3 bars of 2024-03-11 to 2024-03-13"."""
    if sessions == 1:
        return f"{_WORDS[Scope(scope)]} of {first}"
    if scope == Scope.ANSWER:
        return f"answer of {sessions} sessions, {first} to {last}"
    return f"{sessions} {_WORDS[Scope(scope)]}s of {first} to {last}"


def same_claims(held: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Which rows of `held` say the same as rows of `earlier`: `at` (row numbers of `held`) and `earlier_at`.

    Args:
        held, earlier: the columns of ANSWER_SCHEMA, and `scope`. A pair has the same symbol, date and scope.
    """
    columns = [*DAILY_SCHEMA, "scope"]
    scales = (pl.col("scale").alias(name) for name in ("scale_old", "scale_most", "scale_seen"))
    old = earlier.select(*columns, *scales).with_row_index("earlier_at")
    new = held.select(*columns, "scale").with_row_index("at")
    pairs = old.join(new, on=[*KEYS, "scope"], how="inner", suffix="_new")
    same = pl.all_horizontal(~differing(name) for name in VALUES)
    # Beside a row a dividend that is not known is no other one; an action is about nothing else.
    both_known = pl.col("dividend").is_null() == pl.col("dividend_new").is_null()
    return (
        pairs.filter(same, both_known | (pl.col("scope") != Scope.ACTION.value))
        .select("at", "earlier_at")
        .sort("at", "earlier_at")
    )


def days_claimed(held: pl.DataFrame, earlier: pl.DataFrame, today: date) -> dict[str, int]:
    """By symbol of claims made before, on how many different days they have been made, `today` included.

    Args:
        held: today's claims, as in `same_claims`.
        earlier: those that were made before: the same columns, `claims` (on how many days) and `last_claimed`.
    """
    again = earlier[same_claims(held, earlier)["earlier_at"]]
    days = pl.col("claims") + (pl.col("last_claimed") < today).fill_null(value=True).cast(pl.Int32)
    # The window that is compared moves on with each session, so its newest rows have been claimed less often.
    most = again.group_by("symbol").agg(days.sort(descending=True).head(_OLDEST).min())
    return dict(most.iter_rows())
