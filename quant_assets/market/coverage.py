"""Who was expected in a session, who came, and why the others did not: the facts of a daily cell.

A cell is one (exchange, session). It is `complete` when every symbol listed that day has a row, `partial` when
some have, `failed` when none has, and `closed` when the exchange did not trade. A hole is always named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, Self

import polars as pl


class CellState(StrEnum):
    """What a cell holds, measured against what it should hold."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    CLOSED = "closed"
    FAILED = "failed"


NO_BAR = "no_bar"
"""The source answered, without a bar for the session: a suspension or a hole of the source's."""
REFUSED = "refused"
"""The source gave a bar that breaks a rule."""
NOT_FOUND = "not_found"
NO_DATA = "no_data"

SETTLED = frozenset({NO_BAR, REFUSED, NOT_FOUND, NO_DATA})
"""Outcomes that the source stated: asking again the same day would only hear them again."""


@dataclass(frozen=True, slots=True, order=True)
class Missing:
    """A symbol that was expected in a cell and has no row there."""

    symbol: str
    outcome: str
    """An outcome of the fetch ("failed", "rate_limited", "not_found", "no_data"), or NO_BAR, or REFUSED."""
    reason: str
    asked_on: date
    """The day (UTC) on which the source was last asked."""

    def to_json(self) -> dict[str, str]:
        """As JSON values."""
        return {**asdict(self), "asked_on": self.asked_on.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises KeyError or ValueError on anything else."""
        return cls(value["symbol"], value["outcome"], value["reason"], date.fromisoformat(value["asked_on"]))

    def worth_asking(self, today: date) -> bool:
        """Whether asking now may bring news: at once after a failure, on another day after a plain answer."""
        return self.outcome not in SETTLED or self.asked_on < today


def cell_state(expected: int, received: int, rows: int) -> CellState:
    """The state of an open session's cell from the symbols expected and received, and the rows it holds.

    Rows may be there without a bar received (an action whose ex-date had no bar). A session on which nobody was
    listed is complete with nothing in it.
    """
    if received >= expected:
        return CellState.COMPLETE
    return CellState.PARTIAL if rows else CellState.FAILED


def symbols_sha256(symbols: Iterable[str]) -> str:
    """Hash of a set of symbols, by which a cell says for whom it was filled."""
    return hashlib.sha256("\n".join(sorted(symbols)).encode()).hexdigest()


def listed(listings: pl.DataFrame, session: date) -> list[str]:
    """The symbols of `listings` (symbol, listed_on, delisted_on) active in a session, sorted.

    A null date is unknown and bounds nothing; both bounds are inclusive (`delisted_on` is the last trading day).
    """
    return (
        listings.filter(
            (pl.col("listed_on").is_null() | (pl.col("listed_on") <= session))
            & (pl.col("delisted_on").is_null() | (pl.col("delisted_on") >= session))
        )["symbol"]
        .sort()
        .to_list()
    )


def absent_days(partitions: Iterable[str]) -> list[date]:
    """The weekdays between the first and the last of `partitions` (YYYY-MM-DD) that are none of them, in order.

    A day the exchange was closed has a cell that says so once its range has been asked for, so what is absent was
    never asked for.
    """
    there = {date.fromisoformat(partition) for partition in partitions}
    if not there:
        return []
    days = [min(there) + timedelta(days=n) for n in range((max(there) - min(there)).days)]
    return [day for day in days if day.weekday() < 5 and day not in there]


def short_gaps(sessions: list[date], present: set[date], *, first: date, longest: int) -> list[date]:
    """The sessions without a bar, in runs of at most `longest`, between bars or at either end.

    Such a run looks like a hole of the source's, worth a second question; a longer one looks like a suspension.
    Sessions before `first` (the listing) do not count.
    """
    gaps: list[date] = []
    run: list[date] = []
    for session in sessions:
        if session < first:
            continue
        if session not in present:
            run.append(session)
            continue
        if len(run) <= longest:
            gaps += run
        run = []
    return gaps + run if len(run) <= longest else gaps


def describe_gap(sessions: list[date], present: set[date], session: date) -> str:
    """In words, where a session without a bar stands among a symbol's bars: before, after, or between which."""
    before = [day for day in present if day < session]
    after = [day for day in present if day > session]
    if not before and not after:
        return "answered without any bar"
    if not before:
        return f"no bar before {min(after)}"
    if not after:
        return f"no bar after {max(before)}"
    left, right = max(before), min(after)
    length = sum(left < day < right for day in sessions)
    between = f"between {left} and {right}"
    return f"no bar {between}" if length == 1 else f"no bar for {length} sessions {between}"


def coverage_by_month(daily: pl.DataFrame, sessions: list[date], listings: pl.DataFrame) -> pl.DataFrame:
    """How much of each month every symbol has: symbol, month (its first day), coverage (0 to 1, null: not listed).

    Args:
        daily: symbol, date, close of one exchange; a null close is no bar.
        sessions: the exchange's sessions to judge by.
        listings: symbol, listed_on, delisted_on; null bounds nothing.
    """
    bars = daily.filter(pl.col("close").is_not_null()).select("symbol", "date", pl.lit(True).alias("bar"))
    days = pl.DataFrame({"date": sessions}, schema={"date": pl.Date})
    return (
        listings.select("symbol", "listed_on", "delisted_on")
        .join(days, how="cross")
        .join(bars, on=["symbol", "date"], how="left")
        .with_columns(
            due=(pl.col("listed_on").is_null() | (pl.col("date") >= pl.col("listed_on")))
            & (pl.col("delisted_on").is_null() | (pl.col("date") <= pl.col("delisted_on"))),
            month=pl.col("date").dt.truncate("1mo"),
        )
        .group_by("symbol", "month")
        .agg(
            pl.when(pl.col("due").any())
            .then((pl.col("bar").is_not_null() & pl.col("due")).sum() / pl.col("due").sum())
            .alias("coverage")
        )
        .sort("symbol", "month")
    )
