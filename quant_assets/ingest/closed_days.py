"""Actions that wait in quarantine under the date of a closed day: since they take effect at the next session, none is
held for its date any more, and those of before are settled there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import date

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.ingest.plan import Plan
from quant_assets.tables import quarantine as records
from quant_assets.tables.quarantine import Decision, pending


def held_sessions(exchange: Exchange, quarantine: pl.DataFrame, today: date) -> dict[str, set[date]]:
    """By symbol, the dates to ask about again on `today` (UTC): of all that is held (`quarantine.held_sessions`), and
    the sessions after those of actions that are dated on a closed day."""
    found = records.held_sessions(quarantine, today)
    for _, symbol, _, session in _on_closed_days(exchange, quarantine):
        found.setdefault(symbol, set()).add(session)
    return found


def taken_at_next_session(
    exchange: Exchange,
    quarantine: pl.DataFrame,
    plan: Plan,
    answered: Mapping[str, date],
    refused: pl.DataFrame,
    left_out: Collection[str],
) -> list[str]:
    """The ids of pending actions on closed days of which a run has compared the next session: there they are stored
    now, or the source no longer lists them.

    Args:
        answered: by symbol that was answered, the first day of its answer.
        refused: symbol, date of rows that the run has not taken; of the symbols `left_out` it has taken none.
    """
    not_taken = {*refused.select("symbol", "date").iter_rows()}
    return [
        id_
        for id_, symbol, day, session in _on_closed_days(exchange, quarantine)
        if answered.get(symbol, date.max) <= day
        and (session in plan.look_back or plan.wanted.asks(symbol, session))
        and (symbol, session) not in not_taken
        and symbol not in left_out
    ]


def bars_given_up(
    exchange: Exchange, quarantine: pl.DataFrame, answered: Mapping[str, date], left_out: Collection[str]
) -> list[str]:
    """The ids of pending bars of closed days that an answer over the day has no more: no session will settle them.

    `quarantine` is without what the run has claimed; `answered` and `left_out` as for `taken_at_next_session`.
    """
    calendar = exchange.calendar()
    bars = pending(quarantine).filter(pl.col("close").is_not_null()).select("id", "symbol", "date")
    return [
        id_
        for id_, symbol, day in bars.iter_rows()
        if answered.get(symbol, date.max) <= day and symbol not in left_out and not calendar.is_session(day)
    ]


def rejected_dividends(exchange: Exchange, quarantine: pl.DataFrame) -> pl.DataFrame:
    """The dividends (symbol, date, dividend) that somebody has rejected under the date of a closed day, dated on the
    session on which they would take effect: there they are none, either."""
    calendar = exchange.calendar()
    rejected = quarantine.filter(
        pl.col("decision") == Decision.REJECTED.value, pl.col("close").is_null(), pl.col("dividend") > 0
    ).select("symbol", "date", "dividend")
    moved = [
        (symbol, calendar.next_session(day), dividend)
        for symbol, day, dividend in rejected.rows()
        if not calendar.is_session(day)
    ]
    return pl.DataFrame(moved, schema=rejected.schema, orient="row")


def _on_closed_days(exchange: Exchange, quarantine: pl.DataFrame) -> Iterator[tuple[str, str, date, date]]:
    """Pending rows without a bar on a day without a session: id, symbol, that day, the next session."""
    calendar = exchange.calendar()
    waiting = pending(quarantine).filter(pl.col("close").is_null())
    for id_, symbol, day in waiting.select("id", "symbol", "date").iter_rows():
        if not calendar.is_session(day):
            yield id_, symbol, day, calendar.next_session(day)
