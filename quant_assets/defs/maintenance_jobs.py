"""Jobs that look after what is stored: the sweep, which finds what was corrected long ago, and verification.

They are no asset jobs, because they concern whole histories of some symbols and not partitions; what a sweep changes
is recorded as materializations of the cells it changed.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime

import dagster as dg
import polars as pl

from quant_assets.defs.cell_recording import CellRecorder
from quant_assets.defs.fill_run import (
    DIFFERS_TAG,
    RESULT_TAG,
    listeners,
    log_report,
    one_fill_at_a_time,
    report_metadata,
    run_tags,
    symbols_of,
)
from quant_assets.defs.handover import handed_over
from quant_assets.defs.progress import listener
from quant_assets.defs.run_audit import scheduled_by
from quant_assets.defs.run_progress import RunProgress
from quant_assets.exchanges import Exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest, Mode
from quant_assets.ingest.report import FillReport
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource, YahooResource
from quant_assets.resources.interrupts import Interrupted, orderly_stop
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore, ObjectStoreError
from quant_assets.resources.source import SourceUnavailable
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import read_table


class VerifyConfig(dg.Config):
    """What to compare with the source."""

    start: str
    """First day, YYYY-MM-DD."""
    end: str
    """Last day, YYYY-MM-DD."""
    symbols: list[str] = []
    """Only these; empty: all that are expected."""


class SweepConfig(dg.Config):
    """What to compare with the source."""

    symbols: list[str] = []
    """The day's slice of these; empty: of all that are expected."""


def sweep_job_name(exchange: str) -> str:
    """The name of the job that sweeps an exchange."""
    return f"sweep_{exchange.lower()}"


def verify_job_name(exchange: str) -> str:
    """The name of the job that verifies an exchange's prices."""
    return f"verify_{exchange.lower()}"


def slice_of(symbols: Collection[str], day: date, days: int) -> list[str]:
    """The symbols whose turn it is on a day, so that `days` days in a row have every symbol once."""
    return sorted(symbols)[day.toordinal() % days :: days]


def stored_days(store: ObjectStore, exchange: str) -> list[date]:
    """Every day of an exchange that has a cell, in order."""
    return sorted(date.fromisoformat(entry.partition) for entry in Manifest(store, DAILY).all(exchange))


def sweep_jobs(
    exchanges: Sequence[Exchange], rules: Mapping[str, FillRules], sweep_days: int, owner: str
) -> dict[str, dg.JobDefinition]:
    """By exchange code: the job that compares the whole history of the day's slice of symbols with the source."""

    def make(exchange: Exchange) -> dg.JobDefinition:
        @dg.op(name=f"sweep_{exchange.code.lower()}_slice")
        def sweep(
            context: dg.OpExecutionContext,
            config: SweepConfig,
            store: StoreResource,
            source: YahooResource,
            clock: ClockResource,
        ) -> None:
            home = store.open()
            catalog = _catalog(home, exchange.code)
            days = stored_days(home, exchange.code)
            asked = [one for one in catalog["symbol"] if not config.symbols or one in config.symbols]
            turn = slice_of(asked, clock.now().date(), sweep_days)
            if not turn or not days:
                context.log.info(f"{exchange.code}: nothing to sweep today")
                return
            request = FillRequest(days, catalog, turn, Mode.FORCE)
            with orderly_stop():
                report = _run(context, source, exchange, request, (home, clock.now, rules[exchange.code]))
                if report.changed:
                    recorder = CellRecorder(context, home, {exchange.code: exchange}, [], clock.now())
                    recorder.changed(report)
                    recorder.finish()

        @dg.job(
            name=sweep_job_name(exchange.code),
            description=f"{exchange.name}: whole histories of a slice of symbols, of all in {sweep_days} days.",
            tags={"quant_assets/exchange": exchange.code},
            owners=[owner],
        )
        def job() -> None:
            sweep()

        return job

    return {exchange.code: make(exchange) for exchange in exchanges}


def verify_jobs(
    exchanges: Sequence[Exchange], rules: Mapping[str, FillRules], owner: str
) -> list[dg.JobDefinition]:
    """The jobs that compare a range with the source, say what differs, and change nothing; one an exchange."""

    def make(exchange: Exchange) -> dg.JobDefinition:
        @dg.op(name=f"verify_{exchange.code.lower()}_range")
        def verify(
            context: dg.OpExecutionContext,
            config: VerifyConfig,
            store: StoreResource,
            source: YahooResource,
            clock: ClockResource,
        ) -> None:
            home = store.open()
            first, last = date.fromisoformat(config.start), date.fromisoformat(config.end)
            days = [day for day in stored_days(home, exchange.code) if first <= day <= last]
            catalog = symbols_of(_catalog(home, exchange.code, whole=True), exchange.code, config.symbols)
            request = FillRequest(days, catalog, config.symbols or None, Mode.VERIFY)
            _run(context, source, exchange, request, (home, clock.now, rules[exchange.code]))

        @dg.job(
            name=verify_job_name(exchange.code),
            description=f"{exchange.name}: asks again, says what differs from the store, and changes nothing.",
            tags={"quant_assets/exchange": exchange.code},
            owners=[owner],
        )
        def job() -> None:
            verify()

        return job

    return [make(exchange) for exchange in exchanges]


def _run(
    context: dg.OpExecutionContext,
    source: YahooResource,
    exchange: Exchange,
    request: FillRequest,
    given: tuple[ObjectStore, Callable[[], datetime], FillRules],
) -> FillReport:
    home, now, rules = given
    run_id, verify = context.run.run_id, request.mode is Mode.VERIFY
    handed = handed_over(run_id)
    with orderly_stop():
        prices = source.open()
        listen = listeners(exchange.code, RunProgress.of_run(context, exchange.code))
        by = scheduled_by(context.run.tags)
        run = FillContext(exchange, home, prices, now, rules, run_id, listen, by)
        alone = one_fill_at_a_time(context.log, rules, exchange.code)
        try:
            # A verification writes nothing, and has no need to wait.
            with contextlib.nullcontext("") if verify else alone as turn:
                report = fill_cells(run, request, handed.plan_for(request.days, turn, home))
        except (SourceUnavailable, ObjectStoreError, Interrupted) as error:
            context.instance.add_run_tags(run_id, {RESULT_TAG: "FAILED"})
            raise dg.Failure(str(error), allow_retries=False) from error
        finally:
            prices.close()
        handed.reports.append(report)
        log_report(context, report, exchange)
        listener().differ(report.restatements)
        tags = run_tags([report])
        if verify:
            tags |= {RESULT_TAG: report.verified}
            tags |= {DIFFERS_TAG: report.differences} if report.differences else {}
        context.instance.add_run_tags(run_id, tags)
        context.add_output_metadata(report_metadata([report]))
    return report


def _catalog(store: ObjectStore, exchange: str, *, whole: bool = False) -> pl.DataFrame:
    try:
        catalog = read_table(store, object_key(CATALOG))
    except ObjectNotFound as error:
        raise dg.Failure(f"no catalog yet: materialize {CATALOG}", allow_retries=False) from error
    return catalog if whole else symbols_of(catalog, exchange, [])
