"""Who was expected in a session, who came, and why the others did not: the facts of a daily cell.

A cell is one (exchange, session). It is `complete` when every symbol listed that day has a row, `partial` when
some have, `failed` when none has, and `closed` when the exchange did not trade. A hole is always named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
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
NOT_ASKED = "not_asked"
"""Nobody has asked for the symbol in this session yet."""
SUSPENDED = "suspended"
"""The source has repeatedly stated bars on both sides and none here, while others traded (`is_suspension`)."""
REJECTED = "rejected"
"""The source gave a bar that breaks a rule, and a person has rejected it."""

HELD = "held"
"""The source gave a bar that is in doubt: it waits in quarantine, and the next run asks for it again."""

SETTLED = frozenset({NO_BAR, REFUSED, NOT_FOUND, NO_DATA})
"""Outcomes that the source stated: asking again the same day would only hear them again."""
FINAL = frozenset({SUSPENDED, REJECTED})
"""Outcomes that are not asked about again, unless a run is told to (`force`, `verify`)."""

SHORT_GAP = 5
"""Sessions in a row without a bar, up to which it takes statements of two different days to call it a suspension."""


def in_words(outcome: str, reason: str) -> str:
    """An outcome with its reason, which mostly begins with it, said once."""
    known = reason.startswith((outcome, outcome.replace("_", "-")))
    return reason if known else f"{outcome}: {reason}"


@dataclass(frozen=True, slots=True, order=True)
class Missing:
    """A symbol that was expected in a cell and has no row there."""

    symbol: str
    outcome: str
    """An outcome of the fetch ("failed", "rate_limited", …), or one of the constants above."""
    reason: str
    asked_on: date
    """The day (UTC) on which the source was last asked."""
    since: date | None = None
    """The day (UTC) on which it was first told so; None: on `asked_on`."""
    answers: int = 1
    """How often it was told so in all."""
    gap: int = 0
    """How many sessions in a row have no bar, between two bars; 0 where there is none on one side."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "symbol": self.symbol,
            "outcome": self.outcome,
            "reason": self.reason,
            "asked_on": self.asked_on.isoformat(),
            "since": self.since.isoformat() if self.since else None,
            "answers": self.answers,
            "gap": self.gap,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises KeyError or ValueError on anything else."""
        since = value.get("since")
        return cls(
            value["symbol"],
            value["outcome"],
            value["reason"],
            date.fromisoformat(value["asked_on"]),
            date.fromisoformat(since) if since else None,
            int(value.get("answers", 1)),
            int(value.get("gap", 0)),
        )

    def worth_asking(self, today: date) -> bool:
        """Whether asking now may bring news: at once after a failure, on another day after a plain answer."""
        if self.outcome in FINAL:
            return False
        return self.outcome not in SETTLED or self.asked_on < today

    def after(self, earlier: Missing | None) -> Missing:
        """This statement, counted on from an earlier one about the same symbol and session."""
        if earlier is None or earlier.outcome not in (self.outcome, SUSPENDED):
            return self
        return replace(self, since=earlier.since or earlier.asked_on, answers=self.answers + earlier.answers)

    def suspended(self, received: int, expected: int) -> bool:
        """Whether nothing was traded that could be missing: a suspension, or what looks like one (a long gap between
        bars, while most of the market traded)."""
        looks_suspended = self.outcome == NO_BAR and self.gap > SHORT_GAP and 2 * received >= expected
        return looks_suspended or self.outcome == SUSPENDED

    def excused(self, received: int, expected: int) -> bool:
        """Whether the hole says nothing against its cell: the symbol was suspended, or nobody has asked yet."""
        return self.suspended(received, expected) or self.outcome == NOT_ASKED

    def judged(self, received: int, expected: int) -> Missing:
        """This hole, called a suspension once the evidence is there: its neighbours, and repeated statements.

        `received` and `expected` count the symbols of the session: when most of the market has no bar, the session
        itself is missing.
        """
        answered_twice = self.answers >= 2 and (
            self.gap > SHORT_GAP or (self.since is not None and self.since < self.asked_on)
        )
        if self.outcome != NO_BAR or not self.gap or not answered_twice or 2 * received < expected:
            return self
        return replace(self, outcome=SUSPENDED)


def cell_state(
    expected: int, received: int, rows: int, *, excused: int = 0, min_coverage: float = 0.0
) -> CellState:
    """The state of an open session's cell from the symbols expected and received, and the rows it holds.

    `failed` below `min_coverage`: the share (0 to 1) of received symbols among those expected. `excused` ones
    (`Missing.excused`) do not count. Rows may be there without a bar received (an
    action whose ex-date had no bar). A session on which nobody was listed is complete with nothing in it.
    """
    if received >= expected:
        return CellState.COMPLETE
    due = expected - excused
    if due == 0:
        return CellState.PARTIAL
    return CellState.PARTIAL if rows and received / due >= min_coverage else CellState.FAILED


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


def absent_days(
    partitions: Iterable[str], weekdays: Collection[int] = range(1, 6), bounds: Iterable[date] = ()
) -> list[date]:
    """The days from the first to the last of `partitions` (YYYY-MM-DD) and `bounds` without a partition, in order.

    Only of these `weekdays` (0 is Sunday), on which the exchange can have a session. A day the exchange was closed
    has a cell that says so once its range has been asked for, so what is absent was never asked for.
    """
    # Days as ordinals, of which 1 is a Monday: their remainder by seven is the weekday's number.
    there = {date.fromisoformat(partition).toordinal() for partition in partitions}
    ends = there | {day.toordinal() for day in bounds}
    if not ends:
        return []
    days = range(min(ends), max(ends) + 1)
    return [date.fromordinal(day) for day in days if day % 7 in weekdays and day not in there]


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
