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
from quant_assets.ingest.judged import Judged, judged
from quant_assets.ingest.plan import Plan
from quant_assets.ingest.spill import Spill, spill_room
from quant_assets.ingest.stored import StoredRows
from quant_assets.market.action_dates import flagged, on_sessions, without_rejected
from quant_assets.market.bars import ANSWER_SCHEMA
from quant_assets.market.claims import CLAIM_SCHEMA, Scope, of_rules
from quant_assets.market.coverage import HELD, NO_BAR, NO_DATA, REFUSED, REJECTED, SHORT_GAP, Missing
from quant_assets.market.gaps import BarlessSessions, runs_without_bar
from quant_assets.market.twins import SAME_HISTORY, Twins, owner
from quant_assets.resources.interrupts import Interrupted, interrupted
from quant_assets.resources.source import FetchResult, HistoryRequest, Outcome

LEAD = timedelta(days=45)
"""How far before the first wanted session an answer starts: a gap is judged by the bars on both its sides, and is
told in the same words whichever run finds it."""

_BATCH_ROWS = 200_000
_NAMED = 5
"""How many symbols are named of those that one remark is about."""
_MOST_HOLES = 2_000_000
"""Wanted bars above which an interrupted run writes nothing: naming them all would take longer than asking again."""

_ENOUGH_DIVIDENDS = 3
"""Dividends of an answer from which they are judged by each other; of fewer, those that are stored are read, too."""

REFUSALS_SCHEMA = pl.Schema({**ANSWER_SCHEMA, "rule": pl.String()})


@dataclass(frozen=True, slots=True)
class Decisions:
    """What people have decided: accepted and rejected bars (symbol, date, close), and dividends (symbol, date,
    dividend) that are none; of these apart the ones that are stated for a closed day, on their sessions."""

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    no_dividends: pl.DataFrame
    none_on_closed_days: pl.DataFrame


@dataclass(slots=True)
class Fetched:
    """What the source gave for a plan."""

    spill: Spill
    stored: StoredRows
    """What it is compared with."""
    missing: dict[date, dict[str, Missing]] = field(default_factory=dict[date, dict[str, Missing]])
    """Per session the wanted symbols that have no bar, with the reason."""
    answered: dict[str, date] = field(default_factory=dict[str, date])
    """The symbols that were answered with data, and the first day that the answer reaches back to."""
    first_trade: dict[str, date] = field(default_factory=dict[str, date])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    refused: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REFUSALS_SCHEMA))
    held: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CLAIM_SCHEMA))
    """What the verdicts on the answers hold, as far as it is wanted or compared, and is not stored already."""
    facts: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    """Per symbol with refused rows the raw facts of its answer."""
    warnings: list[str] = field(default_factory=list[str])
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    ask_again: Callable[[Collection[str]], pl.DataFrame] = lambda _: pl.DataFrame(schema=ANSWER_SCHEMA)
    """Asks for some symbols once more; answers their whole answers (ANSWER_SCHEMA), unchecked."""

    def miss(self, session: date, hole: Missing) -> None:
        """Notes that a wanted symbol has no bar in a session."""
        self.missing.setdefault(session, {})[hole.symbol] = hole


@dataclass(slots=True)
class _Answer:
    """One symbol's answer as far as it is wanted."""

    result: FetchResult
    rows: pl.DataFrame
    """The whole answer, with what the rules have to know of its days (`validation.CONTEXT`)."""
    runs: list[BarlessSessions]
    judged: Judged
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
        stored = StoredRows(context.store, context.code, plan)
        self._fetched = Fetched(spill, stored, ask_again=self._once_more)
        self._batch: list[pl.DataFrame] = []
        self._starts = plan.starts()
        self._witnesses = stored.witnesses(self._starts)
        self._bars_wanted = sum(plan.wanted.counts().values())
        self._sessions: list[date] = []
        self._traded: list[date] = []
        self._days: frozenset[date] = frozenset()
        self._twins = Twins()
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
            # A session still to come lacks no bar.
            self._days = frozenset(self._traded)

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
            nothing = pl.DataFrame(schema=ANSWER_SCHEMA)
            return _Answer(result, nothing, [], Judged(nothing))
        from quant_assets.market.validation import with_context

        actions = on_sessions(result.splits, result.dividends, self._calendar)
        on_their_days = replace(result, splits=actions.splits, dividends=actions.dividends)
        found = judged(
            on_their_days,
            self._clock(),
            self._stored(on_their_days),
            self._days,
            self._decisions.accepted,
        )
        none = self._decisions.none_on_closed_days.filter(pl.col("symbol") == result.symbol)
        rows = flagged(without_rejected(found.rows, none), actions.moved)
        first = result.first_trade or self._plan.wanted.sessions_of(result.symbol)[0]
        present = _days_with_bar(rows, found.held)
        runs = runs_without_bar(self._sessions_of(result.symbol), present, first=first)
        accepted, rejected = (
            rows.join(decided, on=["symbol", "date", "close"], how="semi")
            for decided in (self._decisions.accepted, self._decisions.rejected)
        )
        if found.real_moves:
            real = rows.filter(pl.col("date").is_in(sorted(found.real_moves)))
            accepted = pl.concat([accepted, real.join(rejected, on=["symbol", "date"], how="anti")])
        return _Answer(
            result,
            with_context(rows, self._calendar, self._currencies, self._listings, accepted, rejected),
            runs,
            found,
        )

    def _stored(self, result: FetchResult) -> pl.DataFrame | None:
        """The stored rows that an answer is judged by."""
        rows = self._witnesses.get(result.symbol)
        if rows is None or result.dividends.is_empty() or result.dividends.height > _ENOUGH_DIVIDENDS:
            return rows
        first: date = rows["date"][0]
        return pl.concat([self._fetched.stored.dividends(result.symbol, first - timedelta(days=1)), rows])

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

    def _unexplained(self, answer: _Answer) -> bool:
        """Whether a wanted session lies in a short gap that is not settled; a long one looks like a suspension."""
        symbol = answer.result.symbol
        wanted = set(self._plan.wanted.sessions_of(symbol)) - self._plan.suspended.get(symbol, set())
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
        if more.is_empty():
            return replace(first, rows=rows, asked_twice=True)
        held = pl.concat(
            [first.judged.held, second.judged.held.filter(~pl.col("date").is_in(bars["date"].implode()))]
        ).unique(["date", "scope"], keep="first", maintain_order=True)
        sessions = [session for run in first.runs for session in run.sessions]
        runs = runs_without_bar(
            self._sessions_of(first.result.symbol),
            _days_with_bar(rows, held),
            first=min(sessions, default=None),
        )
        return _Answer(first.result, rows, runs, replace(first.judged, held=held), asked_twice=True)

    def _take(self, answer: _Answer) -> None:
        """Counts an answer, names what is missing from it, and hands what is wanted or compared to the batch."""
        started = time.perf_counter()
        result = answer.result
        symbol = result.symbol
        self._fetched.outcomes[result.outcome.value] += 1
        wanted = self._plan.wanted.sessions_of(symbol)
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
            self._hold(symbol, answer.judged)
            self._twins.add(symbol, answer.rows)
            self._batch.append(self._relevant(symbol, answer.rows))
            self._fetched.facts[symbol] = result.facts
            for note in result.notes:
                self._noted[note].append(symbol)
        else:
            outcome = NO_DATA if result.outcome is Outcome.NO_DATA else result.outcome.value
            for session in due:
                self._miss(session, symbol, outcome, result.reason)
        self._fetched.seconds["transform"] += time.perf_counter() - started
        if sum(rows.height for rows in self._batch) >= _BATCH_ROWS:
            self._flush()

    def _hold(self, symbol: str, judged: Judged) -> None:
        """Sets apart what the verdict holds of the sessions wanted and compared."""
        self._fetched.warnings += judged.notes
        if judged.held.is_empty():
            return
        wanted = set(self._plan.wanted.sessions_of(symbol))
        held = judged.held.filter(pl.col("date").is_in([*wanted, *self._plan.look_back]))
        held, rejected = self._undecided(held)
        for day, rule in rejected.filter(pl.col("scope") != Scope.ACTION.value).select("date", "rule").rows():
            if day in wanted:
                self._miss(day, symbol, REJECTED, f"rejected: {rule}")
        for row in held.filter(pl.col("scope") != Scope.ACTION.value).iter_rows(named=True):
            if row["date"] in wanted:
                self._miss(row["date"], symbol, HELD, f"held: {row['rule']}")
        self._fetched.held = pl.concat([self._fetched.held, held])
        self._warn(held, "held")

    def _undecided(self, held: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Of what is held: what nobody has rejected yet, and what somebody has."""
        is_action = pl.col("scope") == Scope.ACTION.value
        decided = self._decisions
        rejected = pl.concat(
            [
                held.filter(~is_action).join(decided.rejected, on=["symbol", "date", "close"], how="semi"),
                held.filter(is_action).join(
                    decided.no_dividends, on=["symbol", "date", "dividend"], how="semi", nulls_equal=True
                ),
            ]
        )
        return held.join(rejected, on=["date", "scope"], how="anti"), rejected

    def _warn(self, rows: pl.DataFrame, word: str) -> None:
        """A sentence for each symbol and reason (`rule`) of rows (with `scope`) that are not stored."""
        counts = rows.group_by("symbol", "rule", "scope").agg(pl.len(), pl.col("date").min())
        for symbol, rule, scope, count, first in counts.sort("symbol", "date", "rule").rows():
            what = "dividend(s)" if scope == Scope.ACTION.value else "bar(s)"
            self._fetched.warnings.append(
                f"{symbol}: {count} {what} from {first} on are {word}: {rule} "
                f"(quant-assets quarantine list --exchange {self._exchange.code} --symbol {symbol})"
            )

    def _relevant(self, symbol: str, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of wanted and compared sessions, and those on days that should have none."""
        days = [*self._plan.wanted.sessions_of(symbol), *self._plan.look_back]
        closed = ~pl.col("session") & pl.col("date").is_between(min(days), max(days))
        return rows.filter(pl.col("date").is_in(days) | closed | ~pl.col("listed"))

    def _miss(
        self, session: date, symbol: str, outcome: str, reason: str, *, answers: int = 1, gap: int = 0
    ) -> None:
        missing = Missing(symbol, outcome, reason, self._clock().date(), answers=answers, gap=gap)
        self._fetched.miss(session, missing)

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
            if self._plan.wanted.asks(row["symbol"], row["date"]):
                known = (row["symbol"], row["date"], row["close"]) in rejected
                word = "rejected" if known else "refused"
                self._miss(
                    row["date"], row["symbol"], REJECTED if known else REFUSED, f"{word}: {row['rule']}"
                )
        self._fetched.refused = pl.concat([self._fetched.refused, refused.select(list(REFUSALS_SCHEMA))])
        self._warn(of_rules(refused), "not stored")

    def _same_histories(self) -> None:
        """Of two symbols with one history the one that has it stored is believed; else neither: nobody can tell."""
        twins = self._twins.found()
        if not twins:
            return
        rows = self._fetched.spill.take({symbol for symbols in twins for symbol in symbols})
        for symbols in twins:
            believed = owner(symbols, rows, self._witnesses)
            for symbol in symbols:
                if symbol == believed:
                    self._fetched.spill.add(rows.filter(pl.col("symbol") == symbol))
                    continue
                others = ", ".join(other for other in symbols if other != symbol)
                rule = SAME_HISTORY.format(others)
                accepted = rows.join(self._decisions.accepted, on=["symbol", "date", "close"], how="semi")
                self._fetched.spill.add(accepted.filter(pl.col("symbol") == symbol))
                rest = rows.join(accepted, on=["symbol", "date"], how="anti")
                self._refuse(rest.filter(pl.col("symbol") == symbol).with_columns(rule=pl.lit(rule)))


def _days_with_bar(*frames: pl.DataFrame) -> set[date]:
    return {day for rows in frames for day in rows.filter(pl.col("close").is_not_null())["date"]}


def _stated(listings: pl.DataFrame) -> pl.DataFrame:
    """What is stated of listings: a symbol that is no longer followed goes on trading all the same."""
    if "stated_delisting" not in listings.columns:
        return listings
    return listings.with_columns(delisted_on="stated_delisting")
