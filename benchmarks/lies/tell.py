"""Plays the cases: stores that are filled evening by evening by the product, beside a server that lies and stops."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import polars as pl

from benchmarks.lies.cases import BYSTANDER, HONEST, Case, symbols_of
from benchmarks.lies.judge import holes, wrong_values
from benchmarks.lies.market import RIGHT_AGAIN, Market
from benchmarks.lies.undetectable import How
from quant_assets.catalog.build import build_catalog, followed
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest, Mode
from quant_assets.ingest.report import FillReport
from quant_assets.market.coverage import HELD
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import encode, read_table
from quant_assets.tables.quarantine import read_quarantine

_SYMBOL = re.compile(r"[A-Z]{3,4}(?:\.L)?")


@dataclass(frozen=True)
class Finding:
    """What is wrong with a case on an evening; `what` is wrong, unnamed, result, unhealed, late or raised.

    `how` is that of the store, or "command" where the command line was asked.
    """

    what: str
    case: Case
    how: str
    evening: int
    text: str
    count: int = 1


@dataclass
class Played:
    """What has come of the cases."""

    findings: list[Finding] = field(default_factory=list[Finding])
    cases: int = 0
    undetectable: int = 0
    swept: list[str] = field(default_factory=list[str])
    """Undetectable cases that the first daily update after them did not heal: swept."""
    loud: bool = False
    """Whether the warnings of every run are printed."""
    symbol_sessions: int = 0
    held_long: int = 0
    """Honest symbol-sessions held for more than three sessions."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def count(self, what: str) -> int:
        """How many values, or cases, are wrong in one way."""
        return sum(one.count for one in self.findings if one.what == what)


@dataclass(eq=False)
class Store:
    """A store of some symbols of a market, filled from the server as it is at the clock."""

    home: Path
    server: ReplayHandle
    market: Market
    symbols: Sequence[str]
    truth: pl.DataFrame
    seconds: defaultdict[str, float]

    def __post_init__(self) -> None:
        self.store = LocalObjectStore(self.home / "store")
        self.truth = self.truth.filter(pl.col("symbol").is_in(list(self.symbols)))

    def fill(
        self,
        positions: Sequence[int],
        now: int,
        only: Collection[str] | None = None,
        mode: Mode = Mode.INCREMENTAL,
    ) -> FillReport:
        """Fills the sessions at `positions` on the evening of the session `now`, as `update-daily` does."""
        moment = self.market.evening(now)
        self.server.set_clock(moment)
        self._catalog(moment)
        code = self.market.code
        settings = Settings(
            home=self.home, source_url=self.server.url, requests_per_second=0, attempts=3, timeout_seconds=5.0,
            retry_wait_seconds=0.01, cool_down_seconds=0.01, rate_limit_budget_seconds=0.2, now=moment,
        )  # fmt: skip
        # A third of the symbols lies at a time: that alone must not make an evening's cell a failed one.
        rules = FillRules(settings.spill_folder, settings.look_back_sessions, 0.0)
        source = YahooSource(settings)
        started = time.perf_counter()
        try:
            catalog = followed(read_table(self.store, object_key(CATALOG)), code)
            return fill_cells(
                FillContext(self.market.exchange, self.store, source, settings.clock, rules),
                FillRequest([self.market.day(at) for at in positions], catalog, only, mode),
            )
        finally:
            source.close()
            self.seconds["fill"] += time.perf_counter() - started

    def _catalog(self, moment: datetime) -> None:
        key = object_key(CATALOG)
        if (self.home / "store" / key).exists():
            return
        # Symbols that are listed later are in it from the beginning: of those nothing is expected before.
        gone = {row["symbol"]: row["delisted_on"] for row in self.server.catalog()}
        listed = {
            self.market.code: [
                ConfiguredSymbol(symbol=one, delisted_on=gone.get(one)) for one in self.symbols
            ]
        }
        self.store.put(key, encode(build_catalog(listed, [self.market.exchange], None, moment.date()), {}))

    def judge(self, now: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Wrong values and holes on the evening of the session `now`."""
        started = time.perf_counter()
        stored = read_daily(self.store, self.market.code)
        truth = self.truth.filter(pl.col("date") <= self.market.day(now))
        found = wrong_values(stored, truth), holes(stored, truth)
        self.seconds["judge"] += time.perf_counter() - started
        return found

    def missing(self) -> dict[tuple[str, date], str]:
        """The holes that the cells name, with their outcomes."""
        return {
            (one.symbol, date.fromisoformat(entry.partition)): one.outcome
            for entry in Manifest(self.store, DAILY).all(self.market.code)
            for one in entry.missing
        }

    def held(self, absent: pl.DataFrame, now: int) -> set[str]:
        """The symbols of which something is held on the evening of the session `now`: a bar, an action, a claim."""
        outcomes = self.missing()
        doubtful = {
            symbol
            for symbol, day, name in absent.rows()
            if name != "row" or outcomes.get((symbol, day)) == HELD
        }
        return doubtful | self._pending(now)

    def _pending(self, now: int) -> set[str]:
        rows = read_quarantine(self.store, self.market.code).filter(pl.col("decision") == "pending")
        day = pl.col("last_claimed") if "last_claimed" in rows.columns else pl.col("fetched_at").dt.date()
        return set(rows.filter(day == self.market.evening(now).date())["symbol"])


@dataclass(eq=False)
class Telling:
    """Some cases in one store."""

    store: Store
    how: How
    cases: Sequence[Case]
    played: Played
    began: dict[str, int] = field(default_factory=dict[str, int])

    def evening(self, now: int, *, backfill: bool = False) -> None:
        """One evening: the fill, and what is then stored and said."""
        positions = range(self.store.market.begin, now + 1) if backfill else [now]
        try:
            report = self.store.fill(positions, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, these cases are lost and the others go on
            for case in self._active(now):
                self._find("raised", case, now, f"{type(error).__name__}: {error}")
            return
        wrong, absent = self.store.judge(now)
        if self.played.loud:
            self._print(now, report)
        held, unnamed = self.store.held(absent, now), _unnamed(absent, self.store)
        told = _named(report)
        bad = wrong.partition_by("symbol", as_dict=True)
        gaps = absent.partition_by("symbol", as_dict=True)
        for case in self._active(now):
            rows = bad.get((case.symbol,))
            lying = now < case.slot.first + case.slot.evenings
            if rows is not None and not case.undetectable(self.how):
                self._find("wrong", case, now, _first(rows), rows.height)
            if case.symbol in unnamed:
                self._find(
                    "unnamed", case, now, f"no bar on {unnamed[case.symbol]}, and its cell does not say so"
                )
            if case.symbol in held and case.symbol not in told:
                gap = gaps.get((case.symbol,))
                what = "in quarantine" if gap is None else f"{gap.height} absent, first {gap.row(0)[1:]}"
                self._find("unnamed", case, now, f"held: {what}, and the run does not name it")
            if case.symbol in held and report.result != "PARTIAL":
                self._find("result", case, now, f"held, and the run is {report.result}")
            if case.kind.name in (HONEST, BYSTANDER):
                continue
            if not lying and now == case.slot.first + case.slot.evenings + RIGHT_AGAIN - 1:
                self._healed(case, now, rows, gaps.get((case.symbol,)))
        self._sweep(now, {*wrong["symbol"], *absent["symbol"]})
        if self.cases[0].kind.alone and now == self.cases[0].slot.first + self.cases[0].slot.evenings:
            # A symbol that did not answer at all is asked again by the sensor of missing sessions.
            self.store.fill(range(self.store.market.begin, now + 1), now)

    def _healed(self, case: Case, now: int, rows: pl.DataFrame | None, gap: pl.DataFrame | None) -> None:
        text = [] if rows is None else [f"wrong {rows.height}: {_first(rows)}"]
        if gap is not None:
            text.append(f"absent {gap.height}: {gap.row(0)[1:]}")
        if text:
            self._find("unhealed", case, now, "; ".join(text))

    def _sweep(self, now: int, wrong: set[str]) -> None:
        """On the first evening on which the source is right: what was not to be told may be wrong where no daily
        update looks; the turn of its symbol in the nightly sweep has come."""
        over = [
            case
            for case in self.cases
            if now == case.slot.first + case.slot.evenings
            and case.symbol in wrong
            and case.undetectable(self.how)
        ]
        if over:
            self.played.swept += [f"{case.name} {self.how}" for case in over]
            self.store.fill(range(self.store.market.begin, now + 1), now, symbols_of(over), Mode.FORCE)

    def honest(self, now: int) -> None:
        """Counts what is held of honest symbols: their sessions three sessions old and older must be there."""
        honest = [case for case in self.cases if case.kind.name in (HONEST, BYSTANDER)]
        _, absent = self.store.judge(now)
        old = absent.filter(pl.col("date") <= self.store.market.day(now - RIGHT_AGAIN))
        for case in honest:
            rows = old.filter(pl.col("symbol") == case.symbol)
            self.played.held_long += rows.height
            if rows.height:
                self._find("late", case, now, f"{rows.height} held, first {rows.row(0)[1:]}", rows.height)
        mine = self.store.truth.filter(pl.col("symbol").is_in(symbols_of(honest)))
        self.played.symbol_sessions += mine.filter(pl.col("date") <= self.store.market.day(now)).height

    def _active(self, now: int) -> list[Case]:
        """The cases that are told, or were told up to three sessions ago; bystanders always."""
        return [
            case
            for case in self.cases
            if case.kind.name == BYSTANDER
            or case.slot.first <= now < case.slot.first + case.slot.evenings + RIGHT_AGAIN
        ]

    def _print(self, now: int, report: FillReport) -> None:
        events = [" ".join(str(value) for value in row) for row in report.restatements.rows()]
        for text in [*report.warnings, *events]:
            print(f"{self.how} {self.store.market.day(now)} {report.result}: {text}")

    def _find(self, what: str, case: Case, now: int, text: str, count: int = 1) -> None:
        self.played.findings.append(Finding(what, case, self.how, now - case.slot.first, text, count))


def _named(report: FillReport) -> set[str]:
    """The symbols that a run names: in its cells, its warnings and the facts of its report."""
    missing = {one.symbol for entry in report.cells.values() for one in entry.missing}
    words = " ".join(report.warnings) + json.dumps(report.facts(), default=str)
    return missing | named_in(words)


def _unnamed(absent: pl.DataFrame, store: Store) -> dict[str, date]:
    """By symbol the first session without a bar that its cell does not name."""
    outcomes = store.missing()
    rows = absent.filter(pl.col("field") == "row").sort("date", descending=True).rows()
    return {symbol: day for symbol, day, _ in rows if (symbol, day) not in outcomes}


def named_in(text: str) -> set[str]:
    """The symbols that a text names."""
    return set(_SYMBOL.findall(text))


def _first(rows: pl.DataFrame) -> str:
    _, day, name, stored, truth = rows.row(0)
    day_text = day.isoformat() if isinstance(day, date) else str(day)
    return f"{day_text} {name} {stored} (truth {truth})"
