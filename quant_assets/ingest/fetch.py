"""Asks the source, turns answers into as-traded rows, and says of every wanted bar that did not come why."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from quant_assets.ingest.answers import LEAD, Answer, Decisions, OpenDays, Reader
from quant_assets.ingest.batch import Batch
from quant_assets.ingest.context import FillContext
from quant_assets.ingest.judged import Judged
from quant_assets.ingest.kept import KeptAnswers
from quant_assets.ingest.plan import Mode, Plan
from quant_assets.ingest.spill import Spill, spill_room
from quant_assets.ingest.stored import StoredRows
from quant_assets.market.bars import ANSWER_SCHEMA
from quant_assets.market.claims import CLAIM_SCHEMA, Scope, of_rules
from quant_assets.market.coverage import HELD, NO_BAR, REFUSED, REJECTED, SHORT_GAP, Missing
from quant_assets.market.twins import SAME_HISTORY, Twins, owner
from quant_assets.resources.interrupts import Interrupted, interrupted
from quant_assets.resources.source import FetchResult, HistoryRequest, Outcome
from quant_assets.tables.symbol_facts import SymbolFacts

_NAMED = 5
"""How many symbols are named of those that one remark is about."""
_MOST_HOLES = 2_000_000
"""Wanted bars above which an interrupted run writes nothing: naming them all would take longer than asking again."""

REFUSALS_SCHEMA = pl.Schema({**ANSWER_SCHEMA, "rule": pl.String()})


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
    bars_after: dict[str, date] = field(default_factory=dict[str, date])
    """Per symbol that is expected no more, without anybody having stated so: its first bar since."""
    told: dict[str, SymbolFacts] = field(default_factory=dict[str, SymbolFacts])
    """Per symbol what its answer says of the listing."""
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

    written: Callable[[], None] = lambda: None
    """To be told once the cells are written: until then the answers are kept, should the run be killed."""

    def miss(self, session: date, hole: Missing) -> None:
        """Notes that a wanted symbol has no bar in a session."""
        self.missing.setdefault(session, {})[hole.symbol] = hole


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
        self._ended = _ended(listings)
        stored = StoredRows(context.store, context.code, plan)
        self._fetched = Fetched(spill, stored, ask_again=self._once_more)
        # What is asked to compare it with what stands is asked anew.
        anew = plan.mode is not Mode.INCREMENTAL
        self._kept = KeptAnswers(context.rules.answers_folder, context.exchange, anew=anew)
        self._asked_on: dict[str, date] = {}
        self._fetched.written = self._kept.clear
        self._starts = plan.starts()
        self._bars_wanted = sum(plan.wanted.counts().values())
        days = OpenDays.around(context.exchange, plan.wanted, self._clock())
        self._traded = days.traded
        self._reader = Reader(
            context.exchange, plan.wanted, self._starts, days, decisions, stored, _currencies(self._listings)
        )
        self._batch = Batch(context.exchange, plan, self._listings, days)
        self._twins = Twins()
        known = self._listings.filter(pl.col("listed_on").is_not_null())
        self._listed_on: dict[str, date] = dict(known.select("symbol", "listed_on").iter_rows())
        self._noted: dict[str, list[str]] = defaultdict(list)

    def run(self) -> Fetched:
        again: dict[str, Answer] = {}
        for answer in self._ask(list(self._starts)):
            self._context.listeners.symbol(answer.result)
            self._worth_naming()
            if self._unexplained(answer):
                again[answer.result.symbol] = answer
            else:
                self._take(answer)
        for second in self._ask(sorted(again)):
            self._take(self._reader.both(again[second.result.symbol], second))
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

    def _ask(self, symbols: list[str]) -> Iterator[Answer]:
        exchange = self._exchange
        requests = [
            HistoryRequest(s, self._starts[s] - LEAD, exchange.zone, exchange.latest_close, self._traded)
            for s in symbols
        ]
        for result, at in self._results(requests):
            started = time.perf_counter()
            answer = self._reader.read(result, at)
            self._fetched.seconds["transform"] += time.perf_counter() - started
            yield answer

    def _results(self, requests: list[HistoryRequest]) -> Iterator[tuple[FetchResult, datetime]]:
        """The source's results with the moments at which they came; first those that a killed run has kept."""
        unanswered: dict[str, HistoryRequest] = {}
        for request in requests:
            if (kept := self._kept.take(request, self._clock())) is None:
                unanswered[request.symbol] = request
                continue
            self._asked_on[request.symbol] = kept.at.date()
            yield kept.result, kept.at
        results = self._source.history(list(unanswered.values()))
        while True:
            started = time.perf_counter()
            result = next(results, None)
            self._fetched.seconds["source"] += time.perf_counter() - started
            if result is None:
                return
            self._asked_on.pop(result.symbol, None)
            at = self._clock()
            self._kept.keep(unanswered[result.symbol], result, at)
            yield result, at

    def _once_more(self, symbols: Collection[str]) -> pl.DataFrame:
        answers = [answer.rows for answer in self._ask(sorted(symbols)) if answer.rows.height]
        return pl.concat(answers) if answers else pl.DataFrame(schema=ANSWER_SCHEMA)

    def _unexplained(self, answer: Answer) -> bool:
        """Whether a wanted session lies in a short gap that is not settled; a long one looks like a suspension."""
        short = [run for run in answer.runs if len(run.sessions) <= SHORT_GAP]
        if not short:
            return False
        symbol, wanted = answer.result.symbol, self._plan.wanted
        suspended = self._plan.suspended.get(symbol, set())
        return any(
            session not in suspended and wanted.asks(symbol, session)
            for run in short
            for session in run.sessions
        )

    def _take(self, answer: Answer) -> None:
        """Counts an answer, names what is missing from it, and hands what is wanted or compared to the batch."""
        started = time.perf_counter()
        result = answer.result
        symbol = result.symbol
        self._fetched.outcomes[result.outcome.value] += 1
        first = result.first_trade
        if first is not None:
            self._fetched.first_trade[symbol] = first
        if result.outcome in (Outcome.OK, Outcome.NO_DATA):
            meta = result.meta
            self._fetched.told[symbol] = SymbolFacts(
                first, meta.name, result.currency, instrument=meta.instrument
            )
        wanted = self._plan.wanted
        # Before the listing there is nothing to miss, whatever became of the rest.
        since = first or date.min
        if first is not None and symbol in self._listed_on:
            # The list says otherwise: then it is a hole, and no reason to ask again and again.
            listed_on = self._listed_on[symbol]
            for session in wanted.sessions_of(symbol) if listed_on < first else ():
                if listed_on <= session < first:
                    self._miss(session, symbol, NO_BAR, f"no bar: first traded on {first}")
        if result.outcome is Outcome.OK:
            self._fetched.answered[symbol] = self._starts[symbol] - LEAD
            if (ended := self._ended.get(symbol)) is not None:
                later = answer.rows.filter(pl.col("date") > ended, pl.col("close").is_not_null())[
                    "date"
                ].min()
                if isinstance(later, date):
                    self._fetched.bars_after[symbol] = later
            for run in answer.runs:
                answers, gap = 1 + answer.asked_twice, run.between
                absent = self._hole(symbol, NO_BAR, str(run), answers=answers, gap=gap)
                for session in run.sessions:
                    if session < since or not wanted.asks(symbol, session):
                        continue
                    if dropped := result.dropped.get(session):
                        self._miss(session, symbol, REFUSED, dropped, answers=answers, gap=gap)
                    else:
                        self._fetched.miss(session, absent)
            self._hold(symbol, answer.judged)
            self._twins.add(symbol, answer.rows)
            self._batch.add(answer)
            self._fetched.facts[symbol] = result.facts
            for note in result.notes:
                self._noted[note].append(symbol)
        else:
            absent = self._hole(symbol, result.outcome.value, result.reason)
            for session in wanted.sessions_of(symbol):
                if session >= since:
                    self._fetched.miss(session, absent)
        self._fetched.seconds["transform"] += time.perf_counter() - started
        if self._batch.full:
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

    def _miss(
        self, session: date, symbol: str, outcome: str, reason: str, *, answers: int = 1, gap: int = 0
    ) -> None:
        self._fetched.miss(session, self._hole(symbol, outcome, reason, answers=answers, gap=gap))

    def _hole(self, symbol: str, outcome: str, reason: str, *, answers: int = 1, gap: int = 0) -> Missing:
        asked_on = self._asked_on.get(symbol) or self._clock().date()
        return Missing(symbol, outcome, reason, asked_on, answers=answers, gap=gap)

    def _flush(self) -> None:
        """Validates the batch and spills what is good; a refused row becomes a named hole where one is wanted."""
        started = time.perf_counter()
        if (found := self._batch.validated()) is None:
            return
        good, refused = found
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
            believed = owner(symbols, rows, self._reader.witnesses)
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


def _currencies(listings: pl.DataFrame) -> dict[str, str]:
    """Per symbol the currency that the catalog names."""
    if "currency" not in listings.columns:
        return {}
    return dict(listings.filter(pl.col("currency").is_not_null()).select("symbol", "currency").iter_rows())


def _ended(listings: pl.DataFrame) -> dict[str, date]:
    """The last days of listings that nobody has stated."""
    if "stated_delisting" not in listings.columns:
        return {}
    ended = listings.filter(pl.col("delisted_on").is_not_null(), pl.col("stated_delisting").is_null())
    return dict(ended.select("symbol", "delisted_on").iter_rows())


def _stated(listings: pl.DataFrame) -> pl.DataFrame:
    """What is stated of listings: a symbol that is no longer followed goes on trading all the same."""
    if "stated_delisting" not in listings.columns:
        return listings
    return listings.with_columns(delisted_on="stated_delisting")
