"""Fills daily cells of one exchange: plan, fetch, reconcile with what stands, record, write."""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.ingest.cells import CellNews, CellWriter, Written, damaged_cell
from quant_assets.ingest.differences import Differences, find_differences
from quant_assets.ingest.fetch import Decisions, Fetched, fetch
from quant_assets.ingest.plan import LOOK_BACK, Mode, Plan, make_plan
from quant_assets.ingest.spill import sweep_spill
from quant_assets.market.bars import DAILY_SCHEMA, empty_daily
from quant_assets.market.coverage import SETTLED, CellState, Missing, listed
from quant_assets.resources.object_store import ObjectStore, claim
from quant_assets.resources.source import FetchResult, PriceSource
from quant_assets.tables.fetch_reports import write_report
from quant_assets.tables.layout import DAILY, TOP_LEVEL
from quant_assets.tables.listing_events import learn_first_trades, with_learned
from quant_assets.tables.manifest import Entry, Expected, Manifest, stamped
from quant_assets.tables.quarantine import Decision, hold, mark, read_quarantine, superseded
from quant_assets.tables.requested import record_requested
from quant_assets.tables.restatements import LEDGER_SCHEMA, Ledger

_WRITERS = 8


@dataclass(slots=True)
class FillReport:
    """What became of a run over one exchange."""

    exchange: str
    mode: Mode = Mode.INCREMENTAL
    cells: dict[date, Entry] = field(default_factory=dict[date, Entry])
    """Every day asked for that has a cell now, closed days included."""
    changed: dict[date, Entry] = field(default_factory=dict[date, Entry])
    """The cells that were put."""
    too_early: list[date] = field(default_factory=list[date])
    requests: int = 0
    requested: int = 0
    """Symbols asked for."""
    skipped: int = 0
    """Symbols expected that had nothing missing."""
    outcomes: Counter[str] = field(default_factory=Counter[str])
    """Symbols asked, by outcome."""
    restatements: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LEDGER_SCHEMA))
    """What the source gives differently from what stands; recorded and taken, but in mode `verify`."""
    quarantined: int = 0
    """Bars newly held back."""
    warnings: list[str] = field(default_factory=list[str])
    not_verified: dict[str, str] = field(default_factory=dict[str, str])
    """Symbols that were to be asked again and could not be, with the reason; their rows stand as they were."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def states(self) -> Counter[str]:
        """The number of cells by state."""
        return Counter(entry.state.value for entry in self.cells.values())

    @property
    def written(self) -> int:
        """How many cells were put."""
        return len(self.changed)

    @property
    def also_changed(self) -> dict[date, Entry]:
        """The cells that were put outside the days asked for: holes filled and values restated."""
        return {day: entry for day, entry in self.changed.items() if day not in self.cells}

    @property
    def restated_days(self) -> list[date]:
        """The sessions whose rows were restated, in order."""
        return sorted(set(self.restatements["date"]) | set(self.restatements["first_date"]))

    @property
    def result(self) -> str:
        """COMPLETE, PARTIAL (something usable came, something is missing) or FAILED (nothing usable is there)."""
        states = {entry.state for entry in self.cells.values()}
        if self.not_verified or CellState.FAILED in states or CellState.PARTIAL in states:
            return "PARTIAL" if states - {CellState.FAILED, CellState.CLOSED} else "FAILED"
        return "COMPLETE"

    def facts(self) -> dict[str, Any]:
        """The report as JSON values."""
        succeeded = self.outcomes["ok"]
        return {
            "exchange": self.exchange,
            "mode": self.mode.value,
            "result": self.result,
            "requested": self.requested,
            "succeeded": succeeded,
            "skipped": self.skipped,
            "failed": {outcome: n for outcome, n in sorted(self.outcomes.items()) if outcome != "ok"},
            "requests": self.requests,
            "cells": {state.value: self.states[state.value] for state in CellState},
            "cells_written": self.written,
            "changed": [day.isoformat() for day in sorted(self.changed)],
            "restatements": dict(Counter(self.restatements["class"].to_list())),
            "quarantined": self.quarantined,
            "not_verified": self.not_verified,
            "warnings": self.warnings,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


@dataclass(frozen=True, slots=True)
class Listeners:
    """Whom to tell how far a fill has got."""

    plan: Callable[[Plan], None] = lambda _: None
    symbol: Callable[[FetchResult], None] = lambda _: None
    cell: Callable[[date], None] = lambda _: None
    cells: Callable[[FillReport, Mapping[date, Entry]], None] = lambda _, __: None
    """A batch of cells is written and in the manifest: those asked for, and others that were put."""


def fill_cells(
    exchange: Exchange,
    days: Sequence[date],
    catalog: pl.DataFrame,
    *,
    source: PriceSource,
    store: ObjectStore,
    clock: Callable[[], datetime],
    spill_folder: Path,
    only: Collection[str] | None = None,
    mode: Mode = Mode.INCREMENTAL,
    look_back: int = LOOK_BACK,
    min_coverage: float = 0.0,
    run: str = "",
    listeners: Listeners = Listeners(),
) -> FillReport:
    """Brings the cells of `days` up to date, asking only for what is missing.

    Args:
        catalog: the exchange's symbols: symbol, listed_on, delisted_on, and currency where it names one.
        only: ask for these symbols at most; the others' rows stay as they are.
        mode: see `Mode`. In every mode values that differ from those that stand are classified; in all but `verify`
            they are recorded in the ledger and then taken.
        look_back: sessions before the last one asked for that are reconciled with the same answers.
        min_coverage: the share (0 to 1) of expected symbols below which a cell is `failed`.
        run: the id under which ledger, quarantine and report know this run; by default a new one.

    Returns:
        The report. Cells that nothing was missing from are in it as they stand, and cost neither a request nor a
        write.

    Raises:
        SourceUnavailable, StoreUnavailable; the cells written before stay written. ObjectDamaged for a damaged
        manifest, ledger or quarantine; a damaged cell is a failed one in the report, and the others go on.
    """
    run = run or uuid.uuid4().hex
    filling = _Filling(exchange, catalog, source, store, clock, spill_folder, min_coverage, run, listeners)
    report = filling.fill(days, only, mode, look_back)
    if filling.reaches_back:
        # What was compared is wrong from its first row on: only a whole history can tell what it should be.
        stored = [date.fromisoformat(entry.partition) for entry in Manifest(store, DAILY).all(exchange.code)]
        whole = filling.fill(
            stored, filling.reaches_back, Mode.VERIFY if mode is Mode.VERIFY else Mode.FORCE, 0
        )
        _add(report, whole)
    if mode is not Mode.VERIFY and (report.requests or report.written):
        facts = {"run": run, "started": filling.started.isoformat(), **report.facts()}
        write_report(store, exchange.code, filling.started, run, facts)
    return report


def _add(report: FillReport, more: FillReport) -> None:
    """Takes what a second pass did into the report of the first."""
    for day, entry in more.cells.items():
        if day in report.cells:
            report.cells[day] = entry
    report.changed |= more.changed
    report.requests += more.requests
    report.outcomes += more.outcomes
    report.restatements = pl.concat([report.restatements, more.restatements])
    report.quarantined += more.quarantined
    report.warnings += more.warnings
    report.not_verified |= more.not_verified


class _Filling:
    """One run over an exchange."""

    def __init__(
        self,
        exchange: Exchange,
        catalog: pl.DataFrame,
        source: PriceSource,
        store: ObjectStore,
        clock: Callable[[], datetime],
        spill_folder: Path,
        min_coverage: float,
        run: str,
        listeners: Listeners,
    ) -> None:
        self._exchange, self._catalog, self._source, self._store = exchange, catalog, source, store
        self._clock, self._spill_folder, self._run = clock, spill_folder, run
        self._listeners = listeners
        self._manifest = Manifest(store, DAILY)
        self._ledger = Ledger(store, exchange.code)
        self._writer = CellWriter(
            store, exchange.code, source.name, min_coverage, Expected(store, exchange.code)
        )
        self.reaches_back: list[str] = []
        self.started = clock()

    def fill(
        self, days: Sequence[date], only: Collection[str] | None, mode: Mode, look_back: int
    ) -> FillReport:
        report = FillReport(self._exchange.code, mode)
        if mode is not Mode.VERIFY:
            claim(self._store, TOP_LEVEL)
            self._store.sweep()
        sweep_spill(self._spill_folder)
        listings = with_learned(self._store, self._exchange.code, self._catalog)
        started = time.perf_counter()
        plan = make_plan(
            self._exchange,
            days,
            listings,
            self._store,
            self._clock(),
            only=only,
            mode=mode,
            look_back=look_back,
        )
        report.seconds["plan"] += time.perf_counter() - started
        self._listeners.plan(plan)
        report.too_early = plan.days.too_early
        asked_days = {*plan.days.sessions, *plan.days.closed}
        report.cells |= {day: entry for day, entry in plan.standing.items() if day in asked_days}
        report.cells |= {day: damaged_cell(day, why) for day, why in plan.damaged.items()}
        if mode is not Mode.VERIFY:
            self._record_closed(plan, report)
        if not plan.wanted:
            return report
        starts = plan.starts()
        report.requested = len(starts)
        expected = {symbol for session in plan.days.sessions for symbol in listed(listings, session)}
        report.skipped = len(expected - starts.keys())

        quarantine = read_quarantine(self._store, self._exchange.code)
        if mode is not Mode.VERIFY:
            # Before the first request: what fails or is killed from here on was asked for all the same.
            record_requested(self._store, self._exchange.code, asked_days)
        requests_before = self._source.data_requests
        with fetch(
            plan, self._exchange, listings, self._source, self._clock,
            spill_folder=self._spill_folder, decisions=_decisions(quarantine), on_symbol=self._listeners.symbol,
        ) as fetched:  # fmt: skip
            report.requests = self._source.data_requests - requests_before
            self._reconcile(plan, fetched, quarantine, mode, report)
            report.outcomes = fetched.outcomes
            report.warnings += fetched.warnings
            report.seconds |= fetched.seconds
        return report

    def _reconcile(
        self, plan: Plan, fetched: Fetched, quarantine: pl.DataFrame, mode: Mode, report: FillReport
    ) -> None:
        started = time.perf_counter()
        found = find_differences(plan, fetched, self._store, self._exchange.code, self._ledger, self._clock())
        report.restatements = found.events.with_columns(run=pl.lit(self._run)).select(list(LEDGER_SCHEMA))
        fetched.warnings += found.notes
        if mode is not Mode.INCREMENTAL:
            report.not_verified = _not_verified(fetched)
        report.seconds["compare"] += time.perf_counter() - started
        self.reaches_back = found.reaches_back
        if mode is Mode.VERIFY:
            return
        started = time.perf_counter()
        # Known before the cells are: what a cell expects rests on the listing dates.
        learn_first_trades(
            self._store, self._exchange.code, self._catalog, fetched.first_trade, self._clock()
        )
        refused = pl.concat([fetched.refused, found.refused.select(fetched.refused.columns)])
        report.quarantined = hold(self._store, self._exchange.code, refused, fetched.facts, self._run)
        # On record before it happens: a run that is killed here leaves nothing unexplained.
        new = self._ledger.record(found.events, found.old, found.new, self._run)
        self._write_all(plan, fetched, found, new, report)
        settled = superseded(quarantine, pl.concat([found.new, found.fresh()]))
        mark(self._store, self._exchange.code, settled, Decision.SUPERSEDED, self._clock())
        report.seconds["store"] += time.perf_counter() - started

    def _write_all(
        self, plan: Plan, fetched: Fetched, found: Differences, new: pl.DataFrame, report: FillReport
    ) -> None:
        listings = with_learned(self._store, self._exchange.code, self._catalog)
        before = plan.standing
        asked_days = {*plan.days.sessions}
        for year in sorted({session.year for session in plan.wanted} | _years(found.old)):
            news = self._news(year, plan, fetched, found, new)

            def write(session: date, news: dict[date, CellNews] = news) -> Written:
                expected = listed(listings, session)
                return self._writer.write(
                    session, expected, news[session], before.get(session), self._clock()
                )

            entries: list[Entry] = []
            settled: dict[date, Entry] = {}
            with ThreadPoolExecutor(_WRITERS, thread_name_prefix="cells") as pool:
                for session, written in zip(news, pool.map(write, news), strict=True):
                    if not written.damaged:
                        entries.append(written.entry)
                    if session in asked_days:
                        report.cells[session] = written.entry
                    if written.put:
                        report.changed[session] = written.entry
                    if not written.damaged and (written.put or session in asked_days):
                        settled[session] = written.entry
                    self._listeners.cell(session)
            self._manifest.record(self._exchange.code, entries)
            self._listeners.cells(report, settled)

    def _news(
        self, year: int, plan: Plan, fetched: Fetched, found: Differences, new: pl.DataFrame
    ) -> dict[date, CellNews]:
        """What there is to write of a year, by session."""
        fresh = _by_date(found.fresh(year))
        old, taken = _by_date(_of_year(found.old, year)), _by_date(_of_year(new, year))
        nothing = empty_daily()
        news: dict[date, CellNews] = {}
        for session in sorted({*plan.wanted, *fresh, *old}):
            if session.year != year:
                continue
            cell = CellNews(
                fresh.get(session, nothing), old.get(session, nothing), taken.get(session, nothing),
                fetched.missing.get(session, {}),
            )  # fmt: skip
            if self._is_news(session, cell, plan):
                news[session] = cell
        return news

    def _is_news(self, session: date, cell: CellNews, plan: Plan) -> bool:
        """Whether a cell may have to be written: most of those that are forced have not."""
        entry = plan.standing.get(session)
        if plan.mode is Mode.INCREMENTAL or entry is None or not entry.version:
            return True
        said = {m.symbol for m in entry.missing}
        return bool(cell.fresh.height or cell.old.height or said & cell.missing.keys())

    def _record_closed(self, plan: Plan, report: FillReport) -> None:
        fresh: list[Entry] = []
        calendar = self._exchange.calendar()
        for day in plan.days.closed:
            if day not in plan.standing:
                reason = f"{self._exchange.code} did not trade on {day}"
                if not calendar.knows(day):
                    reason = (
                        f"before {calendar.first_day}, where the calendar of {self._exchange.code} begins"
                    )
                fresh.append(stamped(Entry(day.isoformat(), CellState.CLOSED, reason=reason), self._clock()))
                report.cells[day] = fresh[-1]
        if fresh:
            self._manifest.record(self._exchange.code, fresh)


def _decisions(quarantine: pl.DataFrame) -> Decisions:
    def of(decision: Decision) -> pl.DataFrame:
        return quarantine.filter(pl.col("decision") == decision.value).select("symbol", "date", "close")

    return Decisions(of(Decision.ACCEPTED), of(Decision.REJECTED))


def _not_verified(fetched: Fetched) -> dict[str, str]:
    holes: list[Missing] = [m for of_session in fetched.missing.values() for m in of_session.values()]
    return {
        m.symbol: m.reason for m in holes if m.outcome not in SETTLED and m.symbol not in fetched.answered
    }


def _years(rows: pl.DataFrame) -> set[int]:
    return set(rows["date"].dt.year().unique())


def _of_year(rows: pl.DataFrame, year: int) -> pl.DataFrame:
    return rows.filter(pl.col("date").dt.year() == year)


def _by_date(rows: pl.DataFrame) -> dict[date, pl.DataFrame]:
    parts = rows.select(list(DAILY_SCHEMA)).partition_by("date", as_dict=True)
    return {day: part for (day,), part in parts.items() if isinstance(day, date)}
