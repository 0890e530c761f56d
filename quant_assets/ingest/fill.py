"""Fills daily cells of one exchange: plan, fetch, reconcile with what stands, record, write."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.ingest.answers import Decisions
from quant_assets.ingest.cells import CellNews, CellWriter, Written, damaged_cell
from quant_assets.ingest.closed_days import (
    bars_given_up,
    held_sessions,
    rejected_dividends,
    taken_at_next_session,
)
from quant_assets.ingest.context import FillContext
from quant_assets.ingest.differences import Differences, find_differences
from quant_assets.ingest.fetch import Fetched, fetch
from quant_assets.ingest.plan import FillRequest, Mode, Plan, make_plan
from quant_assets.ingest.report import FillReport
from quant_assets.ingest.report_text import as_markdown
from quant_assets.ingest.spill import sweep_spill
from quant_assets.market.bars import DAILY_SCHEMA, KEYS, empty_daily
from quant_assets.market.claims import Scope, of_rules
from quant_assets.market.coverage import SETTLED, CellState, Missing
from quant_assets.market.listed import Listed
from quant_assets.resources.interrupts import Interrupted
from quant_assets.resources.object_store import ObjectStoreError, claim
from quant_assets.resources.source import SourceUnavailable
from quant_assets.tables.fetch_reports import write_report
from quant_assets.tables.layout import DAILY, TOP_LEVEL
from quant_assets.tables.listing_events import learn_first_trades, learn_reactivations, with_learned
from quant_assets.tables.manifest import Entry, Expected, Manifest, stamped
from quant_assets.tables.quarantine import (
    Decision,
    hold,
    mark,
    pending,
    read_quarantine,
    superseded,
)
from quant_assets.tables.requested import record_requested
from quant_assets.tables.restatements import LEDGER_SCHEMA, Ledger
from quant_assets.tables.symbol_facts import learn_facts

_WRITERS = 8


def fill_cells(context: FillContext, request: FillRequest, plan: Plan | None = None) -> FillReport:
    """Brings the cells of the days asked for up to date, asking the source only for what is missing.

    In every mode values that differ from those that are stored are classified; in all but `verify` they are recorded
    in the ledger and then taken.

    Args:
        plan: what `make_plan` has found for this request at this moment, when somebody has asked already.

    Returns:
        The report. Cells that nothing was missing from are in it as they are, and cost neither a request nor a write.

    Raises:
        SourceUnavailable, StoreUnavailable; the cells written before stay written. ObjectDamaged for a damaged
        manifest, ledger or quarantine; a damaged cell is a failed one in the report, and the others go on.
    """
    filling = _Filling(context, request)
    try:
        return _filled(filling, context, request, plan)
    except (SourceUnavailable, ObjectStoreError, Interrupted) as error:
        filling.report.error = " ".join(str(error).split())
        # A store that is away takes no report either; what is raised is the cause.
        with contextlib.suppress(ObjectStoreError):
            _write_report(filling, context, request, filling.report)
        raise


def _filled(filling: _Filling, context: FillContext, request: FillRequest, plan: Plan | None) -> FillReport:
    report = filling.fill(request, plan)
    if filling.reaches_back:
        # What was compared is wrong from its first row on: only a whole history can tell what it should be.
        known = Manifest(context.store, DAILY).all(context.code)
        stored = [date.fromisoformat(entry.partition) for entry in known]
        mode = Mode.VERIFY if request.mode is Mode.VERIFY else Mode.FORCE
        report.add(filling.fill(replace(request, days=stored, only=filling.reaches_back, mode=mode)))
        if mode is not Mode.VERIFY:
            report.waiting = _asked_about(read_quarantine(context.store, context.code), request)
    _write_report(filling, context, request, report)
    return report


def _write_report(filling: _Filling, context: FillContext, request: FillRequest, report: FillReport) -> None:
    """Keeps the report, as JSON with its Markdown in it, of a run that has asked, written or broken off."""
    if request.mode is not Mode.VERIFY and (report.requests or report.written or report.error):
        facts = {"run": context.run, "started": filling.started.isoformat(), **report.facts()}
        if context.scheduled_by:
            facts["scheduled_by"] = context.scheduled_by
        facts["markdown"] = as_markdown(facts)
        write_report(context.store, context.code, filling.started, context.run, facts)


class _Filling:
    """One run over an exchange."""

    def __init__(self, context: FillContext, request: FillRequest) -> None:
        self._context, self._catalog, self._request = context, request.listings, request
        self._store, self._code, self._clock = context.store, context.code, context.clock
        self._manifest = Manifest(self._store, DAILY)
        self._ledger = Ledger(self._store, self._code)
        self._writer = CellWriter(
            self._store,
            self._code,
            context.source.name,
            context.rules.min_coverage,
            Expected(self._store, self._code),
        )
        self.reaches_back: list[str] = []
        self.started = context.clock()
        self.report = FillReport(self._code, request.mode)
        """The report of the pass that is under way, or was the last one."""

    def fill(self, request: FillRequest, plan: Plan | None = None) -> FillReport:
        context, mode = self._context, request.mode
        self.report = report = FillReport(self._code, mode)
        self._request = request
        if mode is not Mode.VERIFY:
            claim(self._store, TOP_LEVEL)
            self._store.sweep()
        sweep_spill(context.rules.spill_folder)
        quarantine = read_quarantine(self._store, self._code)
        if mode is not Mode.VERIFY:
            report.waiting = _asked_about(quarantine, request)
        listings = with_learned(self._store, self._code, self._catalog)
        started = time.perf_counter()
        if plan is None:
            plan = make_plan(
                context.exchange,
                self._store,
                replace(request, listings=listings),
                self._clock(),
                look_back=context.rules.look_back,
                held=held_sessions(context.exchange, quarantine, self._clock().date()),
            )
        report.seconds["plan"] += time.perf_counter() - started
        self._writer.expected_sets.known(entry.expected_sha256 for entry in plan.stored.values())
        context.listeners.plan(plan)
        report.too_early = plan.days.too_early
        asked_days = {*plan.days.sessions, *plan.days.closed}
        report.cells |= {day: entry for day, entry in plan.stored.items() if day in asked_days}
        report.cells |= {day: damaged_cell(day, why) for day, why in plan.damaged.items()}
        report.warnings += _beyond_the_calendar(context.exchange, plan.days.sessions)
        if mode is not Mode.VERIFY:
            self._record_closed(plan, report)
        if not plan.wanted:
            return report
        starts = plan.starts()
        report.requested = len(starts)
        report.skipped = len(Listed(listings).ever(plan.days.sessions) - starts.keys())

        if mode is not Mode.VERIFY:
            # Before the first request: what fails or is killed from here on was asked for all the same.
            record_requested(self._store, self._code, asked_days, next_day=False)
        requests_before = context.source.data_requests
        try:
            with fetch(context, plan, listings, _decisions(context.exchange, quarantine)) as fetched:
                report.requests = context.source.data_requests - requests_before
                self._reconcile(plan, fetched, quarantine, report)
                fetched.written()
                # A bar that is no longer served is asked about again while answers are compared.
                report.requests = context.source.data_requests - requests_before
                report.outcomes = fetched.outcomes
                report.warnings += fetched.warnings
                report.seconds |= fetched.seconds
        finally:
            if mode is not Mode.VERIFY:
                self._record_unanswered(plan.days.sessions, report)
        return report

    def _record_unanswered(self, sessions: Sequence[date], report: FillReport) -> None:
        """Sessions that have no object to tell that they were asked for are put on record."""
        silent = [day for day in sessions if (cell := report.cells.get(day)) is None or not cell.version]
        if silent:
            record_requested(self._store, self._code, silent)

    def _reconcile(self, plan: Plan, fetched: Fetched, quarantine: pl.DataFrame, report: FillReport) -> None:
        started = time.perf_counter()
        found = find_differences(self._context, plan, fetched, pending(quarantine))
        report.restatements = found.events.with_columns(run=pl.lit(self._context.run)).select(
            list(LEDGER_SCHEMA)
        )
        fetched.warnings += found.notes
        if plan.mode is not Mode.INCREMENTAL:
            report.not_verified = _not_verified(fetched)
        report.seconds["compare"] += time.perf_counter() - started
        self.reaches_back = found.reaches_back
        if plan.mode is Mode.VERIFY:
            return
        started = time.perf_counter()
        # Known before the cells are: what a cell expects rests on the listing dates.
        learn_first_trades(self._store, self._code, self._catalog, fetched.first_trade, self._clock())
        learn_reactivations(self._store, self._code, fetched.bars_after, self._clock())
        report.facts_learned = learn_facts(self._store, self._code, fetched.told, self._clock())
        in_doubt = pl.concat([of_rules(fetched.refused), fetched.held, found.held])
        held = hold(self._store, self._code, in_doubt, fetched.facts, self._context.run, self._clock().date())
        report.quarantined, report.claimed = held.new, len(held.ids)
        quarantine = read_quarantine(self._store, self._code)
        exchange, unclaimed = self._context.exchange, quarantine.filter(~pl.col("id").is_in(sorted(held.ids)))
        answered, left_out = fetched.answered, self.reaches_back
        settled = [
            *superseded(quarantine, _given(quarantine, fetched, found), held.ids),
            *taken_at_next_session(exchange, unclaimed, plan, answered, in_doubt, left_out),
            *bars_given_up(exchange, unclaimed, answered, left_out),
        ]
        report.waiting = _asked_about(quarantine, self._request).filter(~pl.col("id").is_in(settled))
        # On record before it happens: a run that is killed here leaves nothing unexplained.
        new = self._ledger.record(found.events, found.old, found.new, self._context.run)
        # Before the cells are judged. A run that is killed between leaves holes, which are asked about again.
        mark(self._store, self._code, settled, Decision.SUPERSEDED, self._clock())
        self._write_all(plan, fetched, found, new, report)
        report.seconds["store"] += time.perf_counter() - started

    def _write_all(
        self, plan: Plan, fetched: Fetched, found: Differences, new: pl.DataFrame, report: FillReport
    ) -> None:
        listed = Listed(with_learned(self._store, self._code, self._catalog))
        before = plan.stored
        asked_days = {*plan.days.sessions}
        for year in sorted({session.year for session in plan.wanted} | _years(found.old)):
            news = self._news(year, plan, fetched, found, new)

            def write(session: date, news: dict[date, CellNews] = news) -> Written:
                expected = listed.at(session)
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
                    self._context.listeners.cell(session)
            self._manifest.record(self._code, entries)
            self._context.listeners.cells(report, settled)

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
        entry = plan.stored.get(session)
        if plan.mode is Mode.INCREMENTAL or entry is None or not entry.version:
            return True
        recorded = {m.symbol for m in entry.missing}
        return bool(cell.fresh.height or cell.old.height or recorded & cell.missing.keys())

    def _record_closed(self, plan: Plan, report: FillReport) -> None:
        fresh: list[Entry] = []
        calendar = self._context.exchange.calendar()
        for day in plan.days.closed:
            if day not in plan.stored:
                reason = f"{self._code} did not trade on {day}"
                if not calendar.knows(day):
                    reason = f"before {calendar.first_day}, where the calendar of {self._code} begins"
                fresh.append(stamped(Entry(day.isoformat(), CellState.CLOSED, reason=reason), self._clock()))
                report.cells[day] = fresh[-1]
        if fresh:
            self._manifest.record(self._code, fresh)


def _beyond_the_calendar(exchange: Exchange, sessions: Sequence[date]) -> list[str]:
    """A warning when holidays of the asked sessions are not known yet."""
    if not sessions or (last := max(sessions)) <= (until := exchange.calendar().known_until):
        return []
    return [
        f"the holidays of {exchange.code} are known until {until}, so {last} counts as a session like every weekday: "
        "install a newer pandas-market-calendars and exchange-calendars, or give closed days and known_until in a "
        "file of exchanges"
    ]


def _decisions(exchange: Exchange, quarantine: pl.DataFrame) -> Decisions:
    is_action = pl.col("scope") == Scope.ACTION.value

    def of(decision: Decision, which: pl.Expr, value: str) -> pl.DataFrame:
        return quarantine.filter(pl.col("decision") == decision.value, which).select("symbol", "date", value)

    none = rejected_dividends(exchange, quarantine)
    return Decisions(
        of(Decision.ACCEPTED, ~is_action, "close"),
        of(Decision.REJECTED, ~is_action, "close"),
        pl.concat([of(Decision.REJECTED, is_action, "dividend"), none]),
        none,
    )


def _asked_about(quarantine: pl.DataFrame, request: FillRequest) -> pl.DataFrame:
    """The pending claims of the symbols that a run may ask for."""
    waiting = pending(quarantine).filter(pl.col("symbol").is_in(request.listings["symbol"].implode()))
    return waiting if request.only is None else waiting.filter(pl.col("symbol").is_in(sorted(request.only)))


def _given(quarantine: pl.DataFrame, fetched: Fetched, found: Differences) -> pl.DataFrame:
    """The rows (DAILY_SCHEMA) that the source gave of symbols with something held, and that are stored."""
    waiting = set(pending(quarantine)["symbol"]) - {*found.reaches_back, *found.in_doubt}
    if not waiting:
        return empty_daily()
    given = fetched.spill.symbols(waiting).select(list(DAILY_SCHEMA))
    taken = given.join(found.held.filter(pl.col("scope") != Scope.ACTION.value), on=KEYS, how="anti")
    return pl.concat([taken, found.new.filter(pl.col("symbol").is_in(waiting))])


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
