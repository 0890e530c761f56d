"""A source's answers, read one by one: usable or not, judged, and what is missing from each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.ingest.judged import Judged, judged
from quant_assets.ingest.stored import StoredRows
from quant_assets.ingest.wanted import Wanted
from quant_assets.market.action_dates import flagged, on_sessions, without_rejected
from quant_assets.market.bars import ANSWER_SCHEMA, DayTable, day_numbers
from quant_assets.market.gaps import BarlessSessions, runs_where
from quant_assets.resources.source import FetchResult, Outcome

LEAD = timedelta(days=45)
"""How far before the first wanted session an answer starts: a gap is judged by the bars on both its sides, and is
told in the same words whichever run finds it."""

_ENOUGH_DIVIDENDS = 3
"""Dividends of an answer from which they are judged by each other; of fewer, those that are stored are read, too."""

_SAME = 1e-3
"""Relative difference up to which two answers, minutes apart, have one price."""

_KEY_SCHEMA = pl.Schema({name: ANSWER_SCHEMA[name] for name in ("symbol", "date")})


@dataclass(frozen=True, slots=True)
class Decisions:
    """What people have decided: accepted and rejected bars (symbol, date, close), and dividends (symbol, date,
    dividend) that are none; of these apart the ones that are stated for a closed day, on their sessions."""

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    no_dividends: pl.DataFrame
    none_on_closed_days: pl.DataFrame


@dataclass(frozen=True, slots=True)
class OpenDays:
    """The exchange's sessions around what is wanted, at one moment."""

    over: Sequence[date] = ()
    """The sessions that are over, from `LEAD` before the first one wanted."""
    traded: Sequence[date] = ()
    """The same, and the one that goes on: an answer may hold its bar."""
    known: pl.Series = field(default_factory=lambda: pl.Series(dtype=pl.Date))
    """The same, and those of the week to come."""

    @classmethod
    def around(cls, exchange: Exchange, wanted: Wanted, now: datetime) -> OpenDays:
        """Those for what is wanted at `now`."""
        if not wanted:
            return cls()
        calendar = exchange.calendar()
        last = calendar.last_session_over(now, exchange.delay) or max(wanted)
        over = calendar.sessions(min(wanted) - LEAD, last)
        # The answer may hold the bar of a session that is not over; that it is one is no fault of the bar's.
        soon = calendar.sessions(last, last + timedelta(days=7))
        today = now.astimezone(ZoneInfo(exchange.zone)).date()
        traded = [*over, *(day for day in soon if last < day <= today)]
        return cls(over, traded, pl.Series([*over, *soon], dtype=pl.Date))


@dataclass(slots=True)
class Answer:
    """One symbol's answer as far as it is wanted."""

    result: FetchResult
    rows: pl.DataFrame
    """The whole answer (ANSWER_SCHEMA)."""
    runs: list[BarlessSessions]
    judged: Judged
    accepted: pl.DataFrame
    """symbol, date of rows that nothing has to explain."""
    rejected: pl.DataFrame
    """symbol, date of rows that a person has rejected."""
    asked_twice: bool = False


class Reader:
    """Reads answers over `days` about what is `wanted`.

    Args:
        starts: per symbol the first session wanted.
        stored: the stored rows that answers are judged by.
        currencies: per symbol the currency that the catalog names.
    """

    def __init__(
        self,
        exchange: Exchange,
        wanted: Wanted,
        starts: Mapping[str, date],
        days: OpenDays,
        decisions: Decisions,
        stored: StoredRows,
        currencies: Mapping[str, str],
    ) -> None:
        self._exchange, self._wanted, self._starts = exchange, wanted, starts
        self._open_days, self._decisions, self._stored = days, decisions, stored
        self._currency_of = currencies
        self.witnesses = stored.witnesses(starts)
        """By symbol the latest stored rows."""
        # A session still to come lacks no bar.
        self._days = frozenset(days.traded)
        self._over = day_numbers(pl.Series(days.over, dtype=pl.Date))

    def read(self, result: FetchResult, now: datetime) -> Answer:
        """What an answer says that came at `now`."""
        result = self._usable(_without_future(result, now))
        if result.outcome is not Outcome.OK:
            nothing, none = pl.DataFrame(schema=ANSWER_SCHEMA), _no_keys().clone()
            return Answer(result, nothing, [], Judged(nothing), none, none)
        actions = on_sessions(result.splits, result.dividends, self._open_days.known)
        on_their_days = result
        if actions.splits is not result.splits or actions.dividends is not result.dividends:
            on_their_days = replace(result, splits=actions.splits, dividends=actions.dividends)
        found = judged(
            on_their_days, now, self._witnesses_of(on_their_days), self._days, self._decisions.accepted
        )
        rows = found.rows
        if (none := self._decisions.none_on_closed_days).height:
            rows = without_rejected(rows, none.filter(pl.col("symbol") == result.symbol))
        rows = flagged(rows, actions.moved)
        first = result.first_trade or self._starts[result.symbol]
        runs = self._runs(result.symbol, rows, found.held, first)
        accepted, rejected = (
            rows.join(decided, on=["symbol", "date", "close"], how="semi").select(list(_KEY_SCHEMA))
            if decided.height
            else _no_keys().clone()
            for decided in (self._decisions.accepted, self._decisions.rejected)
        )
        if found.real_moves:
            real = rows.filter(pl.col("date").is_in(sorted(found.real_moves))).select(list(_KEY_SCHEMA))
            accepted = pl.concat([accepted, real.join(rejected, on=["symbol", "date"], how="anti")])
        return Answer(result, rows, runs, found, accepted, rejected)

    def both(self, first: Answer, second: Answer) -> Answer:
        """The first answer with what only the second has; where the second brought nothing, or has other prices, the
        first stands."""
        if second.result.outcome is not Outcome.OK or _contradicts(first.rows, second.rows):
            return first
        bars = first.rows.filter(pl.col("close").is_not_null())
        more = second.rows.filter(
            ~pl.col("date").is_in(bars["date"].implode()), pl.col("close").is_not_null()
        )
        if more.is_empty():
            return replace(first, asked_twice=True)
        kept = first.rows.filter(~pl.col("date").is_in(more["date"].implode()))
        rows = pl.concat([kept, more]).sort("date")
        accepted, rejected = (
            pl.concat([mine, others.join(more, on=list(_KEY_SCHEMA), how="semi")])
            for mine, others in ((first.accepted, second.accepted), (first.rejected, second.rejected))
        )
        held = pl.concat(
            [first.judged.held, second.judged.held.filter(~pl.col("date").is_in(bars["date"].implode()))]
        ).unique(["date", "scope"], keep="first", maintain_order=True)
        sessions = [session for run in first.runs for session in run.sessions]
        runs = self._runs(first.result.symbol, rows, held, min(sessions, default=None))
        return replace(
            first, rows=rows, runs=runs, judged=replace(first.judged, held=held), accepted=accepted,
            rejected=rejected, asked_twice=True,
        )  # fmt: skip

    def _runs(
        self, symbol: str, rows: pl.DataFrame, held: pl.DataFrame, first: date | None
    ) -> list[BarlessSessions]:
        """The sessions that the symbol's answer is to cover and has no bar of, given or held."""
        begin = bisect_left(self._open_days.over, self._starts[symbol] - LEAD)
        expected, there = self._over[begin:], _with_bar(rows)
        if held.height:
            there = np.concatenate([there, _with_bar(held)])
        if np.array_equal(there[-expected.size :], expected):
            # As of most symbols that have been listed all the while.
            return []
        present = DayTable(there).holds(expected)
        return runs_where(self._open_days.over[begin:], present, first=first)

    def _witnesses_of(self, result: FetchResult) -> pl.DataFrame | None:
        """The stored rows that an answer is judged by."""
        rows = self.witnesses.get(result.symbol)
        if rows is None or result.dividends.is_empty() or result.dividends.height > _ENOUGH_DIVIDENDS:
            return rows
        first: date = rows["date"][0]
        return pl.concat([self._stored.dividends(result.symbol, first - timedelta(days=1)), rows])

    def _usable(self, result: FetchResult) -> FetchResult:
        """The answer in the listing's currency, or FAILED where nobody can tell what its numbers mean."""
        if result.outcome is not Outcome.OK or result.currency:
            return result
        if stated := self._currency_of.get(result.symbol):
            notes = [*result.notes, f"the answer names no currency; {stated} is taken from the catalog"]
            named = pl.col("currency").replace(stated, None)
            return replace(
                result, currency=stated, dividends=result.dividends.with_columns(named), notes=notes
            )
        reason = (
            f"answer without a currency (state it in the universe file: `currency` of {result.symbol}, "
            f"one of {', '.join(self._exchange.currencies)})"
        )
        return FetchResult(
            result.symbol, Outcome.FAILED, reason, first_trade=result.first_trade, facts=result.facts
        )


@cache
def _no_keys() -> pl.DataFrame:
    return pl.DataFrame(schema=_KEY_SCHEMA)


def _without_future(result: FetchResult, now: datetime) -> FetchResult:
    """An answer without a first trade date that nobody can know yet: believed it would take the symbol out of every
    cell until then, and so out of every question that could correct it."""
    # The source knows no clock that is held.
    tomorrow = max(now, datetime.now(UTC)).date() + timedelta(days=1)
    if result.first_trade is None or result.first_trade <= tomorrow:
        return result
    note = "the answer names a first trade date still to come; it is left out"
    return replace(result, first_trade=None, notes=[*result.notes, note])


def _contradicts(rows: pl.DataFrame, again: pl.DataFrame) -> bool:
    """Whether most bars of two answers of one symbol are at other prices: nobody can tell which are right."""
    both = rows.select("date", "close").join(again.select("date", _again="close"), on="date").drop_nulls()
    apart = (both["_again"] / both["close"] - 1.0).abs() > _SAME
    return 2 * int(apart.sum()) > both.height


def _with_bar(rows: pl.DataFrame) -> npt.NDArray[np.int32]:
    """The days of rows that have a bar."""
    days = day_numbers(rows["date"])
    return days[rows["close"].is_not_null().to_numpy()] if rows["close"].null_count() else days
