"""Where bars are missing: runs of sessions without one, each with what bounds it, and what kind of gap it is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import polars as pl

from quant_assets.market.coverage import FINAL, SUSPENDED


@dataclass(frozen=True, slots=True)
class BarlessSessions:
    """Sessions in a row without a bar. `before` and `after` are the bars on its sides; None where there is none."""

    sessions: tuple[date, ...]
    before: date | None
    after: date | None

    @property
    def between(self) -> int:
        """The number of sessions, or 0 when there is no bar on one of the sides."""
        return len(self.sessions) if self.before and self.after else 0

    def __str__(self) -> str:
        if self.before is None and self.after is None:
            return "answered without any bar"
        if self.before is None:
            return f"no bar before {self.after}"
        if self.after is None:
            return f"no bar after {self.before}"
        between = f"between {self.before} and {self.after}"
        return f"no bar {between}" if self.between == 1 else f"no bar for {self.between} sessions {between}"


def runs_without_bar(
    sessions: Sequence[date], present: set[date], *, first: date | None = None
) -> list[BarlessSessions]:
    """The runs of `sessions` (in order) that are not in `present`, from `first` (the listing) on."""
    runs: list[BarlessSessions] = []
    open_: list[date] = []
    before: date | None = None
    for session in sessions[bisect_left(sessions, first) if first else 0 :]:
        if session not in present:
            open_.append(session)
            continue
        if open_:
            runs.append(BarlessSessions(tuple(open_), before, session))
            open_ = []
        before = session
    return [*runs, BarlessSessions(tuple(open_), before, None)] if open_ else runs


class GapKind(StrEnum):
    """What a gap is, judged by what is known of its neighbours."""

    MARKET = "market"
    """No symbol has a bar, or the session was never asked for."""
    LATE_START = "late_start"
    """From the day a symbol is listed to its first bar."""
    EARLY_END = "early_end"
    """From a symbol's last bar on: a suspension that goes on, a delisting nobody has stated, or a hole."""
    SUSPENDED = "suspended"
    """Bars on both sides, repeatedly stated, while others traded."""
    HOLE = "hole"
    """Bars are missing and may still come."""


GAPS_SCHEMA = pl.Schema(
    {
        "kind": pl.String(),
        "symbol": pl.String(),
        "first": pl.Date(),
        "last": pl.Date(),
        "sessions": pl.Int64(),
        "outcome": pl.String(),
        "reason": pl.String(),
        "asked_on": pl.Date(),
        "answers": pl.Int64(),
        "settled": pl.Boolean(),
    }
)
"""A gap a row: `symbol` null for a whole market, `first` and `last` its sessions; `outcome`, `reason`, `asked_on` (of
the last question) and `answers` as the cells tell. A `settled` gap is not asked about again."""

MISSING_SCHEMA = pl.Schema(
    {
        "date": pl.Date(),
        "symbol": pl.String(),
        "outcome": pl.String(),
        "reason": pl.String(),
        "asked_on": pl.Date(),
        "answers": pl.Int64(),
    }
)


def find_gaps(
    sessions: Sequence[date],
    asked: Iterable[date],
    empty: Iterable[date],
    missing: pl.DataFrame,
    listings: pl.DataFrame,
) -> pl.DataFrame:
    """The gaps of an exchange (GAPS_SCHEMA, by symbol and first session; those of the whole market first).

    Args:
        sessions: the exchange's sessions that are over, in the range in question, in order.
        asked: the sessions that have a cell.
        empty: those of them that were expected to hold something and have no bar of anybody.
        missing: what the cells name as missing (MISSING_SCHEMA).
        listings: symbol, listed_on, delisted_on.
    """
    there, bare = set(asked), set(empty)
    rows: list[tuple[object, ...]] = [
        (GapKind.MARKET, None, run.sessions[0], run.sessions[-1], len(run.sessions), *why, None, None, False)
        for days, why in (
            ({s for s in sessions if s in there}, ("not_asked", "never asked for")),
            ({s for s in sessions if s not in bare}, ("failed", "no symbol has a bar")),
        )
        for run in runs_without_bar(sessions, days)
    ]
    listed = {symbol: (first, last) for symbol, first, last in listings.select(
        "symbol", "listed_on", "delisted_on"
    ).iter_rows()}  # fmt: skip
    inside = [s for s in sessions if s in there and s not in bare]
    of_symbols = missing.filter(pl.col("date").is_in(inside)).sort("symbol", "date")
    for (symbol,), holes in of_symbols.group_by("symbol", maintain_order=True):
        recorded = {row["date"]: row for row in holes.iter_rows(named=True)}
        first, last = listed.get(str(symbol), (None, None))
        bars = {s for s in inside if s not in recorded and s >= (first or s) and s <= (last or s)}
        # What nobody has a bar of, or was never asked for, neither ends a gap nor belongs to it.
        for run in runs_without_bar(sessions, bars):
            if known := [s for s in run.sessions if s in recorded]:
                rows.append(_gap(str(symbol), known, recorded, bars))
    return pl.DataFrame(rows, schema=GAPS_SCHEMA, orient="row").sort("symbol", "first", nulls_last=False)


def _gap(
    symbol: str, sessions: list[date], recorded: dict[date, dict[str, object]], bars: set[date]
) -> tuple[object, ...]:
    rows = [recorded[s] for s in sessions]
    outcomes = sorted({str(row["outcome"]) for row in rows})
    if outcomes == [SUSPENDED]:
        kind = GapKind.SUSPENDED
    elif not any(s < sessions[0] for s in bars):
        kind = GapKind.LATE_START
    elif not any(s > sessions[-1] for s in bars):
        kind = GapKind.EARLY_END
    else:
        kind = GapKind.HOLE
    last = max(rows, key=lambda row: str(row["asked_on"]))
    settled = all(outcome in FINAL for outcome in outcomes)
    return (
        kind, symbol, sessions[0], sessions[-1], len(sessions), ", ".join(outcomes), last["reason"],
        last["asked_on"], last["answers"], settled,
    )  # fmt: skip
