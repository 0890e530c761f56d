"""Where bars are missing: runs of sessions without one, each with what bounds it, and what kind of gap it is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING

import polars as pl

from quant_assets.market.coverage import FINAL, SUSPENDED

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


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


def runs_where(
    sessions: Sequence[date], there: npt.NDArray[np.bool_], *, first: date | None = None
) -> list[BarlessSessions]:
    """The same, `there` saying of each session whether it has a bar: at once where all have, as most answers do."""
    import numpy as np

    start = bisect_left(sessions, first) if first else 0
    lacking = np.flatnonzero(~there[start:]) + start
    if not lacking.size:
        return []
    runs: list[BarlessSessions] = []
    for run in np.split(lacking, np.flatnonzero(np.diff(lacking) > 1) + 1):
        begin, beyond = int(run[0]), int(run[-1]) + 1
        before = sessions[begin - 1] if begin > start else None
        after = sessions[beyond] if beyond < len(sessions) else None
        runs.append(BarlessSessions(tuple(sessions[begin:beyond]), before, after))
    return runs


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
    # What nobody has a bar of, or was never asked for, neither ends a gap nor belongs to it.
    inside = [s for s in sessions if s in there and s not in bare]
    gaps = pl.concat(
        [
            pl.DataFrame(rows, schema=GAPS_SCHEMA, orient="row"),
            _gaps_of_symbols(_placed(missing, inside, listings)),
        ]
    )
    return gaps.sort("symbol", "first", nulls_last=False)


def _placed(missing: pl.DataFrame, inside: Sequence[date], listings: pl.DataFrame) -> pl.DataFrame:
    """What is missing in the sessions `inside`: the columns of MISSING_SCHEMA, by symbol and session, each once; with
    `before`, how many bars the symbol has before the session, and `bars`, how many it has in all.

    A symbol has a bar in each session of its listing in which it is not missing.
    """
    days = pl.Series("date", inside, pl.Date).sort()
    # By number of session: the first of the listing, and the one after its last.
    bounds = listings.select(
        "symbol",
        begin=days.search_sorted(listings["listed_on"].fill_null(date.min), "left").cast(pl.Int64),
        end=days.search_sorted(listings["delisted_on"].fill_null(date.max), "right").cast(pl.Int64),
    ).unique("symbol", keep="last", maintain_order=True)
    numbered = days.to_frame().with_row_index("at").with_columns(pl.col("at").cast(pl.Int64))
    symbol, at, begin, end = (pl.col(name) for name in ("symbol", "at", "begin", "end"))
    listed = (at >= begin) & (at < end)
    return (
        missing.join(numbered, on="date", maintain_order="left")
        .join(bounds, on="symbol", how="left", maintain_order="left")
        # Sorting numbers takes half the time of sorting names.
        .with_columns(
            symbol.cast(pl.Enum(missing["symbol"].unique().sort())),
            begin.fill_null(0),
            end.fill_null(len(days)),
        )
        .sort("symbol", "at", maintain_order=True)
        .filter(((symbol != symbol.shift(-1)) | (at != at.shift(-1))).fill_null(value=True))
        .with_columns(
            before=(pl.min_horizontal(at, end) - begin).clip(0)
            - (listed.cast(pl.Int64).cum_sum().over("symbol") - listed),
            bars=(end - begin).clip(0) - listed.sum().over("symbol"),
        )
    )


def _gaps_of_symbols(placed: pl.DataFrame) -> pl.DataFrame:
    """The gaps (GAPS_SCHEMA) that `_placed` sessions make: those with the same bars before them are one."""
    gap = ["symbol", "before"]
    # What is said of a gap is what was said last, and of its first session where that was said of several at once.
    latest = placed.filter(pl.col("asked_on") == pl.col("asked_on").max().over(gap)).unique(
        gap, keep="first", maintain_order=True
    )
    outcomes = placed.select(*gap, "outcome").unique().sort(*gap, "outcome")
    said = outcomes.group_by(gap, maintain_order=True).agg(
        outcome=pl.col("outcome").str.join(", "),
        suspended=(pl.col("outcome") == SUSPENDED).all(),
        settled=pl.col("outcome").is_in(sorted(FINAL)).all(),
    )
    return (
        placed.group_by(gap, maintain_order=True)
        .agg(
            pl.col("date").first().alias("first"),
            pl.col("date").last().alias("last"),
            pl.len().cast(pl.Int64).alias("sessions"),
            pl.col("bars").first(),
        )
        .join(said, on=gap, maintain_order="left")
        .join(latest.select(*gap, "reason", "asked_on", "answers"), on=gap, maintain_order="left")
        .with_columns(
            kind=pl.when("suspended")
            .then(pl.lit(GapKind.SUSPENDED.value))
            .when(pl.col("before") == 0)
            .then(pl.lit(GapKind.LATE_START.value))
            .when(pl.col("before") == pl.col("bars"))
            .then(pl.lit(GapKind.EARLY_END.value))
            .otherwise(pl.lit(GapKind.HOLE.value))
        )
        .select(list(GAPS_SCHEMA))
        .cast({"symbol": pl.String})
    )
