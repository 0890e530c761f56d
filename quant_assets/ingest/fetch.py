"""Asks the source, turns answers into as-traded rows, and says of every wanted bar that did not come why."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from quant_assets.ingest.context import FillContext
from quant_assets.ingest.plan import Plan
from quant_assets.ingest.spill import Spill, spill_room
from quant_assets.market.action_dates import flagged, on_sessions
from quant_assets.market.bars import ANSWER_SCHEMA, conform
from quant_assets.market.corporate_actions import as_traded
from quant_assets.market.coverage import NO_BAR, NO_DATA, REFUSED, REJECTED, SHORT_GAP, Missing
from quant_assets.market.flags import NONE
from quant_assets.market.gaps import BarlessSessions, runs_without_bar
from quant_assets.market.oddities import with_oddities
from quant_assets.resources.interrupts import Interrupted, interrupted
from quant_assets.resources.source import FetchResult, HistoryRequest, Outcome

LEAD = timedelta(days=45)
"""How far before the first wanted session an answer starts: a gap is judged by the bars on both its sides, and is
told in the same words whichever run finds it."""

_BATCH_ROWS = 200_000
_FINGERPRINT_BARS = 20
_NAMED = 5
"""How many symbols are named of those that one remark is about."""
_MOST_HOLES = 2_000_000
"""Wanted bars above which an interrupted run writes nothing: naming them all would take longer than asking again."""

REFUSALS_SCHEMA = pl.Schema({**ANSWER_SCHEMA, "rule": pl.String()})
SAME_HISTORY = (
    "the same history as {}: a rename, or a ticker used again (take one of them out of the universe)"
)


@dataclass(frozen=True, slots=True)
class Decisions:
    """What people have decided about refused bars: symbol and date of accepted ones, and of rejected ones with their
    close. Both (symbol, date, close)."""

    accepted: pl.DataFrame
    rejected: pl.DataFrame


@dataclass(slots=True)
class Fetched:
    """What the source gave for a plan."""

    spill: Spill
    missing: dict[date, dict[str, Missing]] = field(default_factory=dict[date, dict[str, Missing]])
    """Per session the wanted symbols that have no bar, with the reason."""
    answered: dict[str, date] = field(default_factory=dict[str, date])
    """The symbols that were answered with data, and the first day that the answer reaches back to."""
    first_trade: dict[str, date] = field(default_factory=dict[str, date])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    refused: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REFUSALS_SCHEMA))
    facts: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    """Per symbol with refused rows the raw facts of its answer."""
    warnings: list[str] = field(default_factory=list[str])
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    ask_again: Callable[[Collection[str]], pl.DataFrame] = lambda _: pl.DataFrame(schema=ANSWER_SCHEMA)
    """Asks for some symbols once more; answers their whole answers (ANSWER_SCHEMA), unchecked."""


@dataclass(slots=True)
class _Answer:
    """One symbol's answer as far as it is wanted."""

    result: FetchResult
    rows: pl.DataFrame
    """The whole answer, with what the rules have to know of its days (`validation.CONTEXT`)."""
    runs: list[BarlessSessions]
    asked_twice: bool = False


@contextmanager
def fetch(
    context: FillContext, plan: Plan, listings: pl.DataFrame, decisions: Decisions
) -> Generator[Fetched]:
    """Asks for everything `plan` wants, at one request a symbol; the spilled rows live as long as the context.

    A symbol whose answer has a short gap is asked once more at the end: a bar that the source left out by accident
    comes then, and one that it does not have is missing by two answers.

    Raises SourceUnavailable.
    """
    with spill_room(context.rules.spill_folder) as spill:
        yield _Fetching(context, plan, listings, decisions, spill).run()


class _Fetching:
    def __init__(
        self,
        context: FillContext,
        plan: Plan,
        listings: pl.DataFrame,
        decisions: Decisions,
        spill: Spill,
    ) -> None:
        self._context, self._plan, self._clock = context, plan, context.clock
        self._exchange, self._source = context.exchange, context.source
        self._listings, self._decisions = _stated(listings), decisions
        self._fetched = Fetched(spill, ask_again=self._once_more)
        self._batch: list[pl.DataFrame] = []
        self._starts = plan.starts()
        self._wanted_by_symbol: dict[str, list[date]] = {}
        for session in sorted(plan.wanted):
            for symbol in plan.wanted[session]:
                self._wanted_by_symbol.setdefault(symbol, []).append(session)
        self._bars_wanted = sum(map(len, self._wanted_by_symbol.values()))
        self._sessions: list[date] = []
        self._traded: list[date] = []
        self._fingerprints: dict[int, list[str]] = defaultdict(list)
        known = self._listings.filter(pl.col("listed_on").is_not_null())
        self._listed_on: dict[str, date] = dict(known.select("symbol", "listed_on").iter_rows())
        self._noted: dict[str, list[str]] = defaultdict(list)
        self._currency_of: dict[str, str] = {}
        if "currency" in self._listings.columns:
            stated = self._listings.filter(pl.col("currency").is_not_null())
            self._currency_of = dict(stated.select("symbol", "currency").iter_rows())
        self._calendar = pl.Series(dtype=pl.Date)
        self._currencies = pl.Series(self._exchange.currencies)
        if plan.wanted:
            calendar = self._exchange.calendar()
            last = calendar.last_session_over(self._clock(), self._exchange.delay) or max(plan.wanted)
            self._sessions = calendar.sessions(min(plan.wanted) - LEAD, last)
            # The answer may hold the bar of a session that is not over; that it is one is no fault of the bar's.
            soon = calendar.sessions(last, last + timedelta(days=7))
            today = self._clock().astimezone(ZoneInfo(self._exchange.zone)).date()
            self._traded = [*self._sessions, *(day for day in soon if last < day <= today)]
            self._calendar = pl.Series([*self._sessions, *soon], dtype=pl.Date)

    def _sessions_of(self, symbol: str) -> list[date]:
        """The exchange's sessions that the symbol's answer is to cover, through the last one that is over."""
        return self._sessions[bisect_left(self._sessions, self._starts[symbol] - LEAD) :]

    def run(self) -> Fetched:
        again: dict[str, _Answer] = {}
        for answer in self._ask(list(self._starts)):
            self._context.listeners.symbol(answer.result)
            self._worth_naming()
            if self._unexplained(answer):
                again[answer.result.symbol] = answer
            else:
                self._take(answer)
        for second in self._ask(sorted(again)):
            self._take(self._both(again[second.result.symbol], second))
        self._flush()
        self._same_histories()
        for note, symbols in sorted(self._noted.items()):
            more = f" and {len(symbols) - _NAMED} more" if len(symbols) > _NAMED else ""
            self._fetched.warnings.append(f"{note}: {', '.join(sorted(symbols)[:_NAMED])}{more}")
        return self._fetched

    def _worth_naming(self) -> None:
        """After an interrupt each cell names what was not asked for: not by the million."""
        if interrupted() and self._bars_wanted > _MOST_HOLES:
            raise Interrupted

    def _ask(self, symbols: list[str]) -> Iterator[_Answer]:
        exchange = self._exchange
        requests = [
            HistoryRequest(s, self._starts[s] - LEAD, exchange.zone, exchange.latest_close, self._traded)
            for s in symbols
        ]
        results = self._source.history(requests)
        while True:
            started = time.perf_counter()
            result = next(results, None)
            self._fetched.seconds["source"] += time.perf_counter() - started
            if result is None:
                return
            started = time.perf_counter()
            answer = self._read(result)
            self._fetched.seconds["transform"] += time.perf_counter() - started
            yield answer

    def _once_more(self, symbols: Collection[str]) -> pl.DataFrame:
        answers = [a.rows.select(list(ANSWER_SCHEMA)) for a in self._ask(sorted(symbols)) if a.rows.height]
        return pl.concat(answers) if answers else pl.DataFrame(schema=ANSWER_SCHEMA)

    def _read(self, result: FetchResult) -> _Answer:
        result = self._usable(result)
        if result.outcome is not Outcome.OK:
            return _Answer(result, pl.DataFrame(schema=ANSWER_SCHEMA), [])
        from quant_assets.market.validation import with_context

        own = result.dividends.filter(pl.col("currency").is_null())
        actions = on_sessions(result.splits, own, self._calendar)
        rows = as_traded(result.bars, actions.splits, actions.dividends).with_columns(
            pl.lit(result.symbol).alias("symbol"),
            pl.lit(result.currency).alias("currency"),
            pl.lit(NONE).alias("flags"),
            pl.lit(self._clock()).alias("fetched_at"),
        )
        rows = with_oddities(conform(flagged(rows, actions.moved), ANSWER_SCHEMA))
        present = set(rows.filter(pl.col("close").is_not_null())["date"])
        first = result.first_trade or self._wanted_by_symbol[result.symbol][0]
        runs = runs_without_bar(self._sessions_of(result.symbol), present, first=first)
        accepted, rejected = (
            rows.join(decided, on=["symbol", "date", "close"], how="semi")
            for decided in (self._decisions.accepted, self._decisions.rejected)
        )
        return _Answer(
            result,
            with_context(rows, self._calendar, self._currencies, self._listings, accepted, rejected),
            runs,
        )

    def _usable(self, result: FetchResult) -> FetchResult:
        """The answer in the listing's currency, or FAILED where nobody can tell what its numbers mean."""
        splits = [event for event in result.unreadable if event.kind == "split"]
        if result.outcome is not Outcome.OK or (result.currency and not splits):
            return result
        if (stated := self._currency_of.get(result.symbol)) and not splits:
            notes = [*result.notes, f"the answer names no currency; {stated} is taken from the catalog"]
            named = pl.col("currency").replace(stated, None)
            return replace(
                result, currency=stated, dividends=result.dividends.with_columns(named), notes=notes
            )
        # Which shares the prices before such a split are of is anybody's guess.
        reason = "; ".join(map(str, splits)) or (
            f"answer without a currency (state it in the universe file: `currency` of {result.symbol}, "
            f"one of {', '.join(self._exchange.currencies)})"
        )
        return FetchResult(
            result.symbol, Outcome.FAILED, reason, first_trade=result.first_trade, facts=result.facts
        )

    def _unexplained(self, answer: _Answer) -> bool:
        """Whether a wanted session lies in a short gap that is not settled; a long one looks like a suspension."""
        symbol = answer.result.symbol
        wanted = set(self._wanted_by_symbol[symbol]) - self._plan.suspended.get(symbol, set())
        short = [run for run in answer.runs if len(run.sessions) <= SHORT_GAP]
        return any(not wanted.isdisjoint(run.sessions) for run in short)

    def _both(self, first: _Answer, second: _Answer) -> _Answer:
        """The first answer with what only the second has; where the second brought nothing, the first stands."""
        if second.result.outcome is not Outcome.OK:
            return first
        bars = first.rows.filter(pl.col("close").is_not_null())
        more = second.rows.filter(
            ~pl.col("date").is_in(bars["date"].implode()), pl.col("close").is_not_null()
        )
        kept = first.rows.filter(~pl.col("date").is_in(more["date"].implode()))
        rows = pl.concat([kept, more]).sort("date")
        present = set(rows.filter(pl.col("close").is_not_null())["date"])
        sessions = [session for run in first.runs for session in run.sessions]
        if more.is_empty():
            return _Answer(first.result, rows, first.runs, asked_twice=True)
        runs = runs_without_bar(
            self._sessions_of(first.result.symbol), present, first=min(sessions, default=None)
        )
        return _Answer(first.result, rows, runs, asked_twice=True)

    def _take(self, answer: _Answer) -> None:
        """Counts an answer, names what is missing from it, and hands what is wanted or compared to the batch."""
        started = time.perf_counter()
        result = answer.result
        symbol = result.symbol
        self._fetched.outcomes[result.outcome.value] += 1
        wanted = self._wanted_by_symbol[symbol]
        first = result.first_trade
        if first is not None:
            self._fetched.first_trade[symbol] = first
        # Before the listing there is nothing to miss, whatever became of the rest.
        due = {session for session in wanted if first is None or session >= first}
        if first is not None and symbol in self._listed_on:
            # The list says otherwise: then it is a hole, and no reason to ask again and again.
            for session in wanted:
                if self._listed_on[symbol] <= session < first:
                    self._miss(session, symbol, NO_BAR, f"no bar: first traded on {first}")
        if result.outcome is Outcome.OK:
            self._fetched.answered[symbol] = self._starts[symbol] - LEAD
            for run in answer.runs:
                for session in due.intersection(run.sessions):
                    dropped = result.dropped.get(session)
                    self._miss(
                        session, symbol, REFUSED if dropped else NO_BAR, dropped or str(run),
                        answers=1 + answer.asked_twice, gap=run.between,
                    )  # fmt: skip
            self._fingerprint(symbol, answer.rows)
            self._batch.append(self._relevant(symbol, answer.rows))
            self._fetched.facts[symbol] = result.facts
            self._left_out(result)
            for note in result.notes:
                self._noted[note].append(symbol)
        else:
            outcome = NO_DATA if result.outcome is Outcome.NO_DATA else result.outcome.value
            for session in due:
                self._miss(session, symbol, outcome, result.reason)
        self._fetched.seconds["transform"] += time.perf_counter() - started
        if sum(rows.height for rows in self._batch) >= _BATCH_ROWS:
            self._flush()

    def _left_out(self, result: FetchResult) -> None:
        """Warns of the dividends that are in no row: unreadable ones, and those in another currency."""
        events = [str(event) for event in result.unreadable]
        foreign = result.dividends.filter(pl.col("currency").is_not_null())
        for day, amount, kind, currency in foreign.iter_rows():
            what = f"a {kind.replace('_', ' ')} of {amount:g} {currency} on {day}"
            events.append(f"{what} beside prices in {result.currency}")
        self._fetched.warnings += [f"{result.symbol}: not stored: {event}" for event in events]

    def _relevant(self, symbol: str, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of wanted and compared sessions, and those on days that should have none."""
        days = [*self._wanted_by_symbol[symbol], *self._plan.look_back]
        closed = ~pl.col("session") & pl.col("date").is_between(min(days), max(days))
        return rows.filter(pl.col("date").is_in(days) | closed | ~pl.col("listed"))

    def _miss(
        self, session: date, symbol: str, outcome: str, reason: str, *, answers: int = 1, gap: int = 0
    ) -> None:
        missing = Missing(symbol, outcome, reason, self._clock().date(), answers=answers, gap=gap)
        self._fetched.missing.setdefault(session, {})[symbol] = missing

    def _flush(self) -> None:
        """Validates the batch and spills what is good; a refused row becomes a named hole where one is wanted."""
        if not self._batch:
            return
        started = time.perf_counter()
        from quant_assets.market.validation import validate_answer

        good, refused = validate_answer(pl.concat(self._batch))
        self._batch = []
        self._refuse(refused)
        self._fetched.spill.add(good)
        self._fetched.seconds["transform"] += time.perf_counter() - started

    def _refuse(self, refused: pl.DataFrame) -> None:
        """Takes note of refused rows (REFUSALS_SCHEMA)."""
        if refused.is_empty():
            return
        rejected = set(self._decisions.rejected.select("symbol", "date", "close").iter_rows())
        for row in refused.iter_rows(named=True):
            if row["date"] in self._plan.wanted and row["symbol"] in self._plan.wanted[row["date"]]:
                known = (row["symbol"], row["date"], row["close"]) in rejected
                word = "rejected" if known else "refused"
                self._miss(
                    row["date"], row["symbol"], REJECTED if known else REFUSED, f"{word}: {row['rule']}"
                )
        self._fetched.refused = pl.concat([self._fetched.refused, refused.select(list(REFUSALS_SCHEMA))])
        counts = refused.group_by("symbol", "rule").agg(pl.len(), pl.col("date").min()).sort("symbol", "rule")
        for symbol, rule, count, first in counts.rows():
            self._fetched.warnings.append(
                f"{symbol}: {count} bar(s) from {first} on are not stored: {rule} "
                f"(quant-assets quarantine list --exchange {self._exchange.code} --symbol {symbol})"
            )

    def _fingerprint(self, symbol: str, rows: pl.DataFrame) -> None:
        bars = rows.filter(pl.col("volume") > 0).tail(_FINGERPRINT_BARS)
        if bars.height == _FINGERPRINT_BARS:
            self._fingerprints[hash(tuple(bars.select("date", "close", "volume").iter_rows()))].append(symbol)

    def _same_histories(self) -> None:
        """Of two symbols with one history neither is believed: nobody here can tell whose it is."""
        twins = [sorted(symbols) for symbols in self._fingerprints.values() if len(symbols) > 1]
        if not twins:
            return
        rows = self._fetched.spill.take({symbol for symbols in twins for symbol in symbols})
        for symbols in twins:
            for symbol in symbols:
                others = ", ".join(other for other in symbols if other != symbol)
                rule = SAME_HISTORY.format(others)
                accepted = rows.join(self._decisions.accepted, on=["symbol", "date", "close"], how="semi")
                self._fetched.spill.add(accepted.filter(pl.col("symbol") == symbol))
                rest = rows.join(accepted, on=["symbol", "date"], how="anti")
                self._refuse(rest.filter(pl.col("symbol") == symbol).with_columns(rule=pl.lit(rule)))


def _stated(listings: pl.DataFrame) -> pl.DataFrame:
    """What is stated of listings: a symbol that is no longer followed goes on trading all the same."""
    if "stated_delisting" not in listings.columns:
        return listings
    return listings.with_columns(delisted_on="stated_delisting")
