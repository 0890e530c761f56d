"""Dagster runs started from the command line: the same jobs as in the UI, in this process, on the same instance."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.utils import make_new_run_id

from quant_assets.catalog.build import followed
from quant_assets.definitions import build_definitions
from quant_assets.defs.assets.symbol_valuations import FAILED, UNANSWERED
from quant_assets.defs.automation import contiguous
from quant_assets.defs.fill_run import RESULT_TAG, fill_turn
from quant_assets.defs.handover import Handover, handing_over
from quant_assets.defs.jobs import PRICES_ALONE, REBUILD_JOB, REPORT_ASSET, daily_job_name, table_job_name
from quant_assets.defs.maintenance_jobs import sweep_job_name, verify_job_name
from quant_assets.defs.partition_keys import daily_key, table_key
from quant_assets.defs.progress import Watcher
from quant_assets.defs.run_marks import run_mark
from quant_assets.errors import QuantAssetsError
from quant_assets.exchanges import Exchange, enabled
from quant_assets.ingest.closed_days import held_sessions
from quant_assets.ingest.plan import FillRequest, Mode, Plan, make_plan
from quant_assets.ingest.report import FillReport
from quant_assets.ingest.spill import sweep_spill
from quant_assets.ingest.valuations import not_valued
from quant_assets.instance import databases_of, open_instance
from quant_assets.market.coverage import CellState
from quant_assets.resources.dagster_resources import sharing_view
from quant_assets.resources.interrupts import before_delivery
from quant_assets.resources.object_store import claim
from quant_assets.resources.open_store import open_store
from quant_assets.resources.run_view import RunView
from quant_assets.resources.settings import Settings
from quant_assets.resources.turns import open_turns
from quant_assets.tables.layout import (
    CATALOG,
    DAILY,
    EXCHANGES,
    HISTORY,
    LISTED_ONCE,
    PROFILES,
    READ_ONCE,
    TOP_LEVEL,
    VALUATIONS,
    WEEKLY,
    object_key,
)
from quant_assets.tables.lineage import Stale, made_partitions, stale_partitions
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.parquet import read_table
from quant_assets.tables.quarantine import read_quarantine
from quant_assets.tables.valuations import stored_snapshot

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_LOCATION = "__repository__@quant_assets.definitions"


class RunFailed(QuantAssetsError):
    """A run did not succeed; the message is its reason, in one line. `partial`: part of what was asked is usable."""

    def __init__(self, reason: str, *, partial: bool = False) -> None:
        super().__init__(reason)
        self.partial = partial


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a snapshot of valuations."""

    rows: int
    """Symbols that the session's snapshot holds now."""
    unanswered: int = 0
    """Symbols that the source said nothing of."""
    failed: int = 0
    """Symbols that it could not be asked for."""


@dataclass
class Runner:
    """Runs the jobs of one set of settings. Use as a context manager."""

    settings: Settings
    watcher: Watcher = field(default_factory=Watcher)
    writes: bool = True
    """Whether its runs write to the store; where not, one that can only be read will do."""

    def __enter__(self) -> Runner:
        warnings.simplefilter("ignore", dg.BetaWarning)
        self.exchanges: list[Exchange] = enabled(self.settings.exchanges, self.settings.exchanges_file)
        self.store = RunView(open_store(self.settings.store_location), READ_ONCE, LISTED_ONCE)
        self._changed: dict[str, set[date]] = {}
        self._restated: Counter[str] = Counter()
        self._facts_learned = False
        if self.writes:
            claim(self.store, TOP_LEVEL)
            # Here as well as in a fill: with nothing missing there is none.
            self.store.sweep()
        sweep_spill(self.settings.spill_folder)
        self._definitions = build_definitions(self.settings)
        # What is written to the terminal is not for the run's page as well.
        self._instance = open_instance(self.settings, captured=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._instance.dispose()

    def catalog(self) -> None:
        """Materializes the catalog."""
        self._run(f"{CATALOG}_job", CATALOG, [])

    def symbols(self, exchange: str) -> list[str]:
        """The symbols of an exchange that are followed, by the catalog."""
        return followed(read_table(self.store, object_key(CATALOG)), exchange)["symbol"].to_list()

    def daily(
        self,
        exchange: Exchange,
        days: Sequence[date],
        *,
        symbols: Sequence[str] = (),
        mode: Mode = Mode.INCREMENTAL,
    ) -> bool:
        """Fills an exchange's cells of `days` in one run; no run at all when nothing is missing.

        Returns whether there was a run. Raises RunFailed.
        """
        # Before anything is read: what another run changes from here on makes the plan an outdated one.
        turn = fill_turn(open_turns(self.settings), exchange.code)
        self.store.forget()
        catalog = read_table(self.store, object_key(CATALOG))
        listings = with_learned(self.store, exchange.code, followed(catalog, exchange.code))
        request = FillRequest(days, listings, symbols or None, mode)
        now = self.settings.clock()
        plan = make_plan(
            exchange, self.store, request, now, look_back=self.settings.look_back_sessions,
            held=held_sessions(exchange, read_quarantine(self.store, exchange.code), now.date()),
        )  # fmt: skip
        asked = set(days)
        shown = self._shown(DAILY)
        unshown = {
            day
            for day, entry in plan.stored.items()
            if day in asked
            and entry.state is not CellState.FAILED
            and daily_key(exchange.code, day) not in shown
        }
        # A damaged cell is part of the run, so that the run says so.
        needed = sorted(
            {
                *(plan.wanted.keys() & asked),
                *plan.damaged,
                *unshown,
                *(d for d in plan.days.closed if d not in plan.stored),
            }
        )
        if not needed and plan.wanted:
            # What is held of other sessions is asked about in a run of the last one.
            needed = plan.days.sessions[-1:]
        if not needed and not listings.is_empty():
            return False
        keys = [daily_key(exchange.code, day) for day in (needed or days)]
        config = {"symbols": list(symbols), "mode": mode.value}
        self._run(
            daily_job_name(exchange.code),
            f"{DAILY} {exchange.code}",
            keys,
            {"ops": {DAILY: {"config": config}}},
            (plan, turn),
            PRICES_ALONE,
        )
        return True

    def valuations(self, exchange: Exchange, session: date, symbols: Sequence[str] = ()) -> Taken:
        """Takes a snapshot of the valuations of a session, of the symbols that it lacks; no run when it lacks none.

        `symbols`: of these at most. Raises RunFailed.
        """
        code = exchange.code
        catalog = read_table(self.store, object_key(CATALOG))
        lacking = not_valued(self.store, code, session, catalog)
        wanted = [symbol for symbol in lacking if symbol in symbols] if symbols else lacking
        key = table_key(VALUATIONS, code, session.isoformat())
        # Where nothing is listed at all, the run is what says so.
        if not wanted and key in self._shown(VALUATIONS):
            return Taken(stored_snapshot(self.store, code, session).height)
        config = {"ops": {VALUATIONS: {"config": {"symbols": wanted or list(symbols)}}}}
        self._run(table_job_name(VALUATIONS), f"{VALUATIONS} {code}", [key], config)
        condition = dg.AssetRecordsFilter(dg.AssetKey(VALUATIONS), asset_partitions=[key])
        (record,) = self._instance.fetch_materializations(condition, limit=1).records
        assert record.asset_materialization is not None
        metadata = record.asset_materialization.metadata
        counts = [metadata[f"{name} ({code})"].value for name in ("rows", UNANSWERED, FAILED)]
        return Taken(*(int(str(count)) for count in counts))

    def verify(self, exchange: Exchange, first: date, last: date, symbols: Sequence[str] = ()) -> bool:
        """Whether anything in a range differs from what the source gives now; changes nothing. Raises RunFailed."""
        name = verify_job_name(exchange.code)
        config = {"start": first.isoformat(), "end": last.isoformat(), "symbols": list(symbols)}
        ops = {f"{name}_range": {"config": config}}
        run_id = self._run(name, f"verify {exchange.code}", [], {"ops": ops})
        run = self._instance.get_run_by_id(run_id)
        return run is not None and run.tags.get(RESULT_TAG) == "DIFFERS"

    def sweep(self, exchange: Exchange, symbols: Sequence[str] = ()) -> None:
        """Compares the whole history of the day's slice of symbols (of all by default) with the source.

        Raises RunFailed.
        """
        name = sweep_job_name(exchange.code)
        config = {"ops": {f"{name}_slice": {"config": {"symbols": list(symbols)}}}}
        self._run(name, f"sweep {exchange.code}", [], config)

    def rebuild_instance(self) -> dict[str, int]:
        """Tells Dagster of all that the store holds and Dagster does not show; answers how many partitions by table,
        and under `failed` how many cells are. Raises RunFailed."""
        run_id = self._run(REBUILD_JOB, REBUILD_JOB.replace("_", " "), [])
        counts: Counter[str] = Counter()
        for entry in self._instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_OUTPUT):
            assert entry.dagster_event is not None
            metadata = entry.dagster_event.step_output_data.metadata
            counts.update({name: int(str(value.value)) for name, value in metadata.items()})
        return dict(counts)

    def recorded(self, exchange: str, days: Sequence[date]) -> None:
        """Tells Dagster of cells that were changed outside a run, so that what rests on them is refreshed."""
        for day in days:
            event = dg.AssetMaterialization(DAILY, partition=daily_key(exchange, day))
            self._instance.report_runless_asset_event(event)

    def restated(self, exchange: str) -> int:
        """How many restatements of an exchange this runner's runs have recorded."""
        return self._restated[exchange]

    def first_changed(self, exchange: str) -> date | None:
        """The first day whose cell this runner's runs have changed."""
        return min(self._changed.get(exchange, ()), default=None)

    def derived(
        self,
        exchange: Exchange,
        first: date,
        last: date,
        tables: Sequence[str] = (HISTORY, WEEKLY, PROFILES),
        *,
        open_weeks: bool = True,
    ) -> int:
        """Brings the weekly bars, the history and the profiles up to date with the cells of first..last.

        Partitions that rest on unchanged cells are left alone; without `open_weeks` so are weeks that are not over
        and that nobody has made yet. Returns how many were made. Raises RunFailed.
        """
        code, span = exchange.code, (first, last)
        made = 0
        for table in tables:
            stale = stale_partitions(self.store, table, exchange, span, self.settings.clock())
            stored = made_partitions(self.store, table, code, span, exchange.first_weekday)
            if table == WEEKLY and not open_weeks:
                stale = [one for one in stale if one.partition in stored or self._is_over(exchange, one)]
            shown = self._shown(table)
            unshown = {partition for partition in stored if table_key(table, code, partition) not in shown}
            # A run is a range: one over a gap would ask for partitions that have nothing to rest on.
            for run in contiguous(table, sorted({one.partition for one in stale} | unshown)):
                keys = [table_key(table, code, partition) for partition in run]
                self._run(table_job_name(table), f"{table} {code}", keys)
                made += len(keys)
        return made

    def _is_over(self, exchange: Exchange, week: Stale) -> bool:
        """Whether the last session of a week is over."""
        sessions = exchange.week_sessions(date.fromisoformat(week.partition))
        over = exchange.calendar().last_session_over(self.settings.clock(), exchange.delay)
        return not sessions or (over is not None and sessions[-1] <= over)

    def inventory(self) -> None:
        """Materializes the profiles of the exchanges; and the catalog again where new companies have become known."""
        self._run(f"{EXCHANGES}_job", EXCHANGES, [])
        if self._facts_learned:
            self.catalog()

    def report_pages(self) -> int:
        """Makes the report pages anew; answers how many there are. Raises RunFailed."""
        run_id = self._run(table_job_name(REPORT_ASSET), REPORT_ASSET, [])
        pages = 0
        for entry in self._instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
            assert entry.dagster_event is not None
            metadata = entry.dagster_event.step_materialization_data.materialization.metadata
            pages = int(str(metadata["pages"].value))
        return pages

    def _shown(self, table: str) -> set[str]:
        """The partitions that Dagster shows as materialized: after a killed run more may be stored than those."""
        return self._instance.get_materialized_partitions(dg.AssetKey(table))

    def _learn(self, reports: Sequence[FillReport]) -> None:
        """Takes note of what fills have changed in the store."""
        for report in reports:
            if report.mode is not Mode.VERIFY:
                self._changed.setdefault(report.exchange, set()).update(report.changed)
                self._restated[report.exchange] += report.restatements.height
                self._facts_learned |= report.facts_learned

    def _run(
        self,
        job_name: str,
        title: str,
        keys: Sequence[str],
        config: dict[str, Any] | None = None,
        planned: tuple[Plan, str] | None = None,
        assets: Sequence[dg.AssetKey] | None = None,
    ) -> str:
        """One run in this process, answering its id; `keys` is the range from the first to the last."""
        job = self._definitions.resolve_job_def(job_name)
        run_id = make_new_run_id()
        tags = {".dagster/repository": _LOCATION}
        partition_key = None
        if len(keys) == 1:
            partition_key = keys[0]
        elif keys:
            tags["dagster/asset_partition_range_start"] = keys[0]
            tags["dagster/asset_partition_range_end"] = keys[-1]
        self.watcher.run_started(title, len(keys))
        watch: Callable[[Any], None] = lambda event: (  # noqa: E731
            self.watcher.event()
            if event.dagster_event and event.dagster_event.is_step_materialization
            else None
        )
        self._instance.add_event_listener(run_id, watch)
        handover = Handover(*planned) if planned else Handover()
        success = False
        try:
            with (
                databases_of(self.settings),
                before_delivery(lambda: self._cancelling(run_id)),
                sharing_view(run_id, self.store),
                handing_over(run_id, handover),
                run_mark(self.settings.locks_folder, run_id),
            ):
                result = job.execute_in_process(
                    instance=self._instance,
                    run_config={**_QUIET, **(config or {})},
                    tags=tags,
                    partition_key=partition_key,
                    run_id=run_id,
                    raise_on_error=False,
                    asset_selection=assets,
                )
            success = result.success
        except dg.DagsterExecutionInterruptedError as error:
            raise KeyboardInterrupt from error
        finally:
            self.watcher.run_ended(success=success)
            self._learn(handover.reports)
        if _was_interrupted(result):
            raise KeyboardInterrupt
        if not result.success:
            run = self._instance.get_run_by_id(run_id)
            partial = run is not None and run.tags.get(RESULT_TAG) == "PARTIAL"
            raise RunFailed(_reason(result, job_name), partial=partial)
        return run_id

    def _cancelling(self, run_id: str) -> None:
        """Has the run end as cancelled: to Dagster an interrupt that nobody asked for is a failure."""
        if (run := self._instance.get_run_by_id(run_id)) is not None:
            self._instance.report_run_canceling(run)


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    errors = [e.step_failure_data.error for e in result.all_events if e.is_step_failure]
    words = (dg.DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__)
    return any(error is not None and error.cls_name in words for error in errors)


def _reason(result: dg.ExecuteInProcessResult, job_name: str) -> str:
    """The innermost error of the first step that failed."""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            error = failure.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                return error.message.strip()
    for event in result.all_events:
        if event.is_run_failure and event.job_failure_data.error:
            return event.job_failure_data.error.message.strip()
    return f"{job_name} failed; its log is in the UI"
