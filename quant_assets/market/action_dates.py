"""Splits and dividends that are dated on a day on which the exchange is closed: they take effect at its next session.

Whoever holds a share at the close of the session before is concerned by it, and the first price that shows it is that
of the next session: that is its ex-date, whatever day the source names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache

import polars as pl

from quant_assets.market.bars import day_numbers
from quant_assets.market.flags import FLAGS, action_dated, joined

_STATED, _SESSION = "stated", "session"
_SAME = 1e-4
"""How far two amounts may be apart that are the same, served on different share bases."""


@dataclass(frozen=True, slots=True)
class ActionsOnSessions:
    """Actions by the session on which they take effect.

    `splits` and `dividends` have the columns they were given with, sorted by date. `moved` (session, stated) names
    once each stated date that is no session, beside the one that its action took effect on; sorted.
    """

    splits: pl.DataFrame
    dividends: pl.DataFrame
    moved: pl.DataFrame


def on_sessions(splits: pl.DataFrame, dividends: pl.DataFrame, sessions: pl.Series) -> ActionsOnSessions:
    """Moves each action of one symbol that is dated on a closed day to the next session.

    Several actions of one session stay rows of their own, for whoever adds dividends and multiplies ratios. Equal
    ones (every column but the date) that are listed under different dates and take effect on one session are the same
    action listed more than once, and are one. What is listed twice under one date stays as it is.

    Args:
        splits: date, ratio, and whatever else.
        dividends: date, amount, and whatever else.
        sessions: the exchange's sessions (Date), in order, over all dates that are to be judged. An action dated
            before the first or after the last of them stays as it is: nothing is known of that day.
    """
    if _dated_as_they_are((splits, dividends), sessions):
        return ActionsOnSessions(_by_date(splits), _by_date(dividends), _none_moved().clone())
    placed = [_placed(actions, sessions) for actions in (splits, dividends)]
    moved = (
        pl.concat([actions.select(pl.col("date").alias(_SESSION), _STATED) for actions in placed])
        .filter(pl.col(_SESSION) != pl.col(_STATED))
        .unique()
        .sort(_SESSION, _STATED)
    )
    of_splits, of_dividends = (_once(actions) for actions in placed)
    return ActionsOnSessions(of_splits, of_dividends, moved)


def without_rejected(rows: pl.DataFrame, rejected: pl.DataFrame) -> pl.DataFrame:
    """One symbol's rows (date, dividend, and more) without the dividends that a person has rejected.

    Args:
        rejected: date (the session on which it would take effect), dividend, as declared. Of a row that has less than
            that, or another amount in doubt (null), nothing was decided.
    """
    if rejected.is_empty():
        return rows
    of_day = rejected.group_by("date").agg(pl.col("dividend").sum().alias("_rejected"))
    rest = pl.col("dividend") - pl.col("_rejected")
    slack = _SAME * pl.col("_rejected")
    return (
        rows.join(of_day, on="date", how="left", maintain_order="left")
        .with_columns(
            dividend=pl.when(rest.abs() <= slack).then(0.0).when(rest > 0).then(rest).otherwise("dividend")
        )
        .drop("_rejected")
    )


def flagged(rows: pl.DataFrame, moved: pl.DataFrame) -> pl.DataFrame:
    """One symbol's rows (date, flags and more), those that actions have been `moved` to flagged with their dates."""
    if moved.is_empty():
        return rows
    stated: dict[date, list[str]] = {}
    for session, day in moved.select(_SESSION, _STATED).rows():
        stated.setdefault(session, []).append(action_dated(day))
    codes = {session: ",".join(days) for session, days in stated.items()}
    more = pl.col("date").replace_strict(codes, default=None, return_dtype=pl.String)
    return rows.with_columns(joined(pl.col(FLAGS), more).alias(FLAGS))


@cache
def _none_moved() -> pl.DataFrame:
    return pl.DataFrame(schema={_SESSION: pl.Date, _STATED: pl.Date})


def _dated_as_they_are(given: Sequence[pl.DataFrame], sessions: pl.Series) -> bool:
    """Whether none of the actions is dated on a closed day, as far as is known: most answers have none that is."""
    stated = [day for actions in given if actions.height for day in day_numbers(actions["date"]).tolist()]
    if not stated or sessions.is_empty():
        return True
    open_ = day_numbers(sessions)
    first, last = int(open_[0]), int(open_[-1])
    known = [day for day in stated if first <= day <= last]
    return bool((open_[open_.searchsorted(known)] == known).all()) if known else True


def _by_date(actions: pl.DataFrame) -> pl.DataFrame:
    return actions if actions["date"].is_sorted() else actions.sort("date", maintain_order=True)


def _placed(actions: pl.DataFrame, sessions: pl.Series) -> pl.DataFrame:
    """Actions with `date` the session that they take effect on, and `stated` the date that was given."""
    stated = actions.with_columns(pl.col("date").alias(_STATED))
    if sessions.is_empty() or actions.is_empty():
        return stated
    next_session = sessions.alias(_SESSION).to_frame().with_columns(_known=True).sort(_SESSION)
    # Before the first session nobody knows whether the days up to it were closed.
    since = pl.col("date") >= sessions.min()
    return (
        stated.with_row_index("_at")
        .sort("date")
        .join_asof(
            next_session, left_on="date", right_on=_SESSION, strategy="forward", check_sortedness=False
        )
        .sort("_at")
        .with_columns(pl.when(since & pl.col("_known")).then(_SESSION).otherwise("date").alias("date"))
        .select(stated.columns)
    )


def _once(actions: pl.DataFrame) -> pl.DataFrame:
    """Of equal actions of one session those under the last of their stated dates: its own, if it is one of them."""
    same = [name for name in actions.columns if name != _STATED]
    last = pl.col(_STATED).max().over(same)
    return actions.filter(pl.col(_STATED) == last).drop(_STATED).sort("date", maintain_order=True)
