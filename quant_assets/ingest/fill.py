"""Fills daily cells of one exchange: plan, fetch, reconcile with what stands, write, record."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path

import polars as pl

from quant_assets import __version__
from quant_assets.catalog.listings import learn_first_trades, with_learned
from quant_assets.exchanges import Exchange
from quant_assets.ingest.fetch import Fetched, fetch, sweep_spill
from quant_assets.ingest.plan import Plan, make_plan
from quant_assets.market.bars import content_sha256, empty_daily
from quant_assets.market.coverage import SETTLED, CellState, Missing, cell_state, listed, symbols_sha256
from quant_assets.market.reconcile import CHANGES_SCHEMA, reconcile
from resources.manifest import Entry, Manifest, stamped
from resources.object_store import Blob, ObjectDamaged, ObjectStore, claim, put_reconciled
from resources.source import FetchResult, PriceSource
from resources.tables import DAILY, TOP_LEVEL, decode, encode, object_key, read_facts

NOT_ASKED = "not_asked"
_WRITERS = 8


@dataclass(slots=True)
class FillReport:
    """What became of a run over one exchange."""

    exchange: str
    cells: dict[date, Entry] = field(default_factory=dict[date, Entry])
    """Every day asked for that has a cell now, closed days included."""
    too_early: list[date] = field(default_factory=list[date])
    requests: int = 0
    written: int = 0
    """Cells put in this run."""
    outcomes: Counter[str] = field(default_factory=Counter[str])
    """Symbols asked, by outcome."""
    changes: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CHANGES_SCHEMA))
    """Values that the source gives differently from what stands."""
    warnings: list[str] = field(default_factory=list[str])
    not_verified: dict[str, str] = field(default_factory=dict[str, str])
    """Symbols that `force` was to ask again and could not, with the reason; their rows stand as they were."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def states(self) -> Counter[str]:
        """The number of cells by state."""
        return Counter(entry.state.value for entry in self.cells.values())


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
    force: bool = False,
    on_plan: Callable[[Plan], None] = lambda _: None,
    on_symbol: Callable[[FetchResult], None] = lambda _: None,
    on_cell: Callable[[date], None] = lambda _: None,
) -> FillReport:
    """Brings the cells of `days` up to date, asking only for what is missing.

    Args:
        catalog: the exchange's symbols: symbol, listed_on, delisted_on.
        only: ask for these symbols at most; the others' rows stay as they are.
        force: ask for every expected symbol again and take the source's values where they differ.

    Returns:
        The report. Cells that nothing was missing from are in it as they stand, and cost neither a request nor a
        write.

    Raises:
        SourceUnavailable, StoreUnavailable; the cells written before stay written. ObjectDamaged for a damaged
        manifest or ledger; a damaged cell is a failed one in the report, and the others go on.
    """
    report = FillReport(exchange.code)
    claim(store, TOP_LEVEL)
    store.sweep()
    sweep_spill(spill_folder)
    manifest = Manifest(store, DAILY)
    listings = with_learned(store, exchange.code, catalog)
    started = time.perf_counter()
    plan = make_plan(exchange, days, listings, store, clock(), only=only, force=force)
    report.seconds["plan"] += time.perf_counter() - started
    on_plan(plan)
    report.too_early = plan.days.too_early
    report.cells |= plan.standing
    report.cells |= {day: _damaged(day, why) for day, why in plan.damaged.items()}
    _record_closed(plan, manifest, exchange, clock(), report)
    if not plan.wanted:
        return report

    requests_before = source.data_requests
    with fetch(plan, exchange, source, clock, spill_folder=spill_folder, on_symbol=on_symbol) as fetched:
        report.requests = source.data_requests - requests_before
        report.outcomes = fetched.outcomes
        report.warnings = fetched.warnings
        report.seconds |= fetched.seconds
        if force:
            report.not_verified = {
                m.symbol: m.reason
                for of_session in fetched.missing.values()
                for m in of_session.values()
                if m.outcome not in SETTLED
            }
        started = time.perf_counter()
        # Known before the cells are: what a cell expects rests on the listing dates.
        learn_first_trades(store, exchange.code, catalog, fetched.first_trade, clock())
        listings = with_learned(store, exchange.code, catalog)
        for year in sorted({session.year for session in plan.wanted}):
            rows = fetched.spill.year(year)
            by_session = {day: part for (day,), part in rows.partition_by("date", as_dict=True).items()}
            sessions = [session for session in sorted(plan.wanted) if session.year == year]
            sound: list[date] = []

            def write(session: date, by_session: dict[object, pl.DataFrame] = by_session) -> _Written:
                cell = _Cell(
                    exchange, session, listed(listings, session), plan, fetched, source.name, clock(), force
                )
                try:
                    return cell.write(store, by_session.get(session, empty_daily()))
                except ObjectDamaged as error:
                    return _Written(
                        _damaged(session, str(error)), False, pl.DataFrame(schema=CHANGES_SCHEMA), True
                    )

            with ThreadPoolExecutor(_WRITERS, thread_name_prefix="cells") as pool:
                for written in pool.map(write, sessions):
                    session = date.fromisoformat(written.entry.partition)
                    if not written.damaged:
                        sound.append(session)
                    report.cells[session] = written.entry
                    report.written += written.put
                    if not written.changes.is_empty():
                        report.changes = pl.concat([report.changes, written.changes])
                    on_cell(session)
            manifest.record(exchange.code, (report.cells[session] for session in sound))
        report.seconds["store"] += time.perf_counter() - started
    return report


def _damaged(day: date, why: str) -> Entry:
    return Entry(day.isoformat(), CellState.FAILED, reason=why)


def _record_closed(
    plan: Plan, manifest: Manifest, exchange: Exchange, now: datetime, report: FillReport
) -> None:
    fresh: list[Entry] = []
    for day in plan.days.closed:
        if day not in plan.standing:
            entry = Entry(day.isoformat(), CellState.CLOSED, reason=f"{exchange.code} did not trade on {day}")
            fresh.append(stamped(entry, now))
            report.cells[day] = fresh[-1]
    if fresh:
        manifest.record(exchange.code, fresh)


@dataclass(frozen=True, slots=True)
class _Written:
    entry: Entry
    put: bool
    changes: pl.DataFrame
    damaged: bool = False


@dataclass(slots=True)
class _Cell:
    """One cell in the making."""

    exchange: Exchange
    session: date
    expected: list[str]
    plan: Plan
    fetched: Fetched
    source: str
    now: datetime
    force: bool

    def write(self, store: ObjectStore, incoming: pl.DataFrame) -> _Written:
        """Puts the cell, reconciled with whatever stands there at that moment; no news, no put."""
        key = object_key(DAILY, self.exchange.code, self.session.isoformat())
        recorded = self.plan.standing.get(self.session)
        result = _Written(Entry("", CellState.FAILED), False, incoming)

        def decide(present: Blob | None) -> bytes | None:
            nonlocal result
            rows, before = empty_daily(), recorded
            if present is not None:
                uri = store.uri(key)
                rows = decode(present.data, uri)
                if recorded is None or recorded.version != present.info.version:
                    before = Entry.from_facts(read_facts(present.data, uri), present.info)
            merged = reconcile(rows, incoming, replace=self.force)
            entry = self._entry(merged.rows, before)
            if before is not None and merged.rows.equals(rows) and _says_the_same(entry, before):
                # The day of the last question moves on in the manifest alone.
                if entry.missing != before.missing:
                    before = replace(before, missing=entry.missing, recorded_at=entry.recorded_at)
                result = _Written(before, False, merged.changes)
                return None
            result = _Written(entry, not merged.rows.is_empty(), merged.changes)
            return encode(merged.rows, entry.facts()) if result.put else None

        info = put_reconciled(store, key, decide, first_look=recorded is not None and bool(recorded.version))
        if info is None:
            return result
        return replace(result, entry=replace(result.entry, size=info.size, version=info.version))

    def _entry(self, rows: pl.DataFrame, before: Entry | None) -> Entry:
        have = set(rows.filter(pl.col("close").is_not_null())["symbol"])
        earlier = {m.symbol: m for m in before.missing} if before else {}
        news = self.fetched.missing.get(self.session, {})
        never = Missing("", NOT_ASKED, "not asked for yet", self.now.date())
        missing = tuple(
            news.get(symbol) or earlier.get(symbol) or replace(never, symbol=symbol)
            for symbol in self.expected
            if symbol not in have
        )
        received = len(self.expected) - len(missing)
        entry = Entry(
            partition=self.session.isoformat(),
            state=cell_state(len(self.expected), received, rows.height),
            rows=rows.height,
            content_sha256=content_sha256(rows) if rows.height else "",
            expected=len(self.expected),
            received=received,
            expected_sha256=symbols_sha256(self.expected),
            missing=missing,
            source=self.source,
            code_version=__version__,
            reason="" if rows.height else _why_empty(self.expected, missing),
        )
        return stamped(entry, self.now)


def _says_the_same(entry: Entry, before: Entry) -> bool:
    def told(e: Entry) -> object:
        return (
            e.state,
            e.expected_sha256,
            e.content_sha256,
            [(m.symbol, m.outcome, m.reason) for m in e.missing],
        )

    return told(entry) == told(before)


def _why_empty(expected: Sequence[str], missing: Sequence[Missing]) -> str:
    if not expected:
        return "no symbol of the catalog was listed that day"
    outcomes = Counter(m.outcome for m in missing)
    return "nothing received: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
