"""`daily_prices`: the as-traded bars of one exchange and session, a cell an object; a range is one run."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import dagster as dg
import polars as pl

from quant_assets.defs.asset_checks import check_specs
from quant_assets.defs.cell_recording import CellRecorder, judge_again
from quant_assets.defs.dagster_internals import output_without_materialization, partitions_of_run
from quant_assets.defs.fill_run import (
    RESULT_TAG,
    listeners,
    log_report,
    one_fill_at_a_time,
    report_metadata,
    run_tags,
    symbols_of,
)
from quant_assets.defs.handover import handed_over
from quant_assets.defs.io_manager import failure_text
from quant_assets.defs.jobs import EXCHANGE_TAG, daily_job_name
from quant_assets.defs.partition_keys import daily_key, split_key
from quant_assets.defs.partitions import Grids
from quant_assets.defs.run_audit import scheduled_by
from quant_assets.defs.run_progress import RunProgress
from quant_assets.defs.table_pages import page
from quant_assets.exchanges import Exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest, Mode
from quant_assets.ingest.report import FillReport
from quant_assets.market.coverage import CellState
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource, YahooResource
from quant_assets.resources.interrupts import Interrupted, interrupted, orderly_stop
from quant_assets.resources.object_store import ObjectStoreError
from quant_assets.resources.source import SourceUnavailable
from quant_assets.tables.layout import CATALOG, DAILY
from quant_assets.words import number_of


class FillConfig(dg.Config):
    """How a run fills its cells."""

    symbols: list[str] = []
    """Ask for these symbols at most; empty: for all that are expected."""
    mode: str = Mode.INCREMENTAL.value
    """`incremental`: ask for what is missing. `force`: ask again for what is there, too, and reconcile it."""


def make_daily_prices(
    grids: Grids, exchanges: Sequence[Exchange], rules: Mapping[str, FillRules]
) -> dg.AssetsDefinition:
    """The asset over the daily grid, and its checks: outputs of one op, which can be asked for either alone."""
    by_code = {exchange.code: exchange for exchange in exchanges}

    @dg.multi_asset(
        name=DAILY,
        partitions_def=grids.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={CATALOG: dg.AssetIn(CATALOG)},
        specs=[
            dg.AssetSpec(
                DAILY,
                deps=[CATALOG],
                skippable=True,
                **page(DAILY),
            )
        ],
        check_specs=check_specs(),
        can_subset=True,
    )
    def daily_prices(
        context: dg.AssetExecutionContext,
        config: FillConfig,
        store: StoreResource,
        source: YahooResource,
        clock: ClockResource,
        symbol_catalog: pl.DataFrame,
    ) -> Iterator[dg.Output[None]]:
        home = store.open()
        keys = partitions_of_run(context.run.tags, grids.daily)
        if not context.selected_asset_keys:
            judge_again(context, home, by_code, keys, clock.now())
            return
        if config.mode not in (Mode.INCREMENTAL, Mode.FORCE):
            raise dg.Failure(
                f"mode {config.mode!r}: say incremental or force (verify is a job of its own, verify_…)",
                allow_retries=False,
            )
        days: dict[str, list[date]] = {}
        for key in keys:
            code, day = split_key(DAILY, key)
            days.setdefault(code, []).append(date.fromisoformat(str(day)))
        _refuse_other_exchanges(context, days)
        run_id = context.run.run_id
        with orderly_stop():
            recorder = CellRecorder(context, home, by_code, keys, clock.now())
            prices = source.open()
            reports: list[FillReport] = []
            error: Exception | None = None
            try:
                for code, wanted in sorted(days.items()):
                    if interrupted():
                        break
                    symbols = symbols_of(symbol_catalog, code, config.symbols)
                    listen = listeners(code, RunProgress.of_run(context, code), recorder.cells)
                    given = handed_over(run_id)
                    with one_fill_at_a_time(context.log, rules[code], code) as turn:
                        report = fill_cells(
                            FillContext(
                                by_code[code],
                                home,
                                prices,
                                clock.now,
                                rules[code],
                                run_id,
                                listen,
                                scheduled_by(context.run.tags),
                            ),
                            FillRequest(wanted, symbols, config.symbols or None, Mode(config.mode)),
                            given.plan_for(wanted, turn, home),
                        )
                    given.reports.append(report)
                    reports.append(report)
                    recorder.rest(report)
                    log_report(context, report, by_code[code])
            except (SourceUnavailable, ObjectStoreError, Interrupted) as unavailable:
                error = unavailable
            finally:
                prices.close()
            # The good cells are judged all the same, and those that are absent are what the checks are there to say.
            try:
                recorder.finish()
            except ObjectStoreError as unreadable:
                # What broke the run comes first: judging reads the same store.
                error = error or unreadable
            told = report_metadata(reports)
            if error is not None:
                result = "PARTIAL" if any(report.written for report in reports) else "FAILED"
                context.instance.add_run_tags(run_id, {**run_tags(reports), RESULT_TAG: result})
                raise dg.Failure(str(error), told, allow_retries=False) from error
            context.instance.add_run_tags(run_id, run_tags(reports))
            if reasons := what_failed(reports):
                raise dg.Failure(reasons, told, allow_retries=False)
        yield output_without_materialization(DAILY, told)

    return daily_prices


def _refuse_other_exchanges(context: dg.AssetExecutionContext, days: Mapping[str, Sequence[date]]) -> None:
    """A job of one exchange takes no partition of another: all jobs share the grid, so Dagster does not refuse it."""
    own = context.run.tags.get(EXCHANGE_TAG)
    if own is None or not (others := sorted(set(days) - {own})):
        return
    right = ", ".join(daily_job_name(code) for code in others)
    raise dg.Failure(
        f"{context.run.job_name} fills cells of {own} only, and got "
        f"{number_of(len(days[others[0]]), 'partition')} of {others[0]}, "
        f"such as {daily_key(others[0], days[others[0]][0])}: launch {right} for them",
        allow_retries=False,
    )


NOT_ASKED = (
    "nothing was asked: what the source has said today is asked again on another day, or in mode force"
)


def what_failed(reports: Sequence[FillReport]) -> str:
    """One line: the cells of a run that are not there, and the symbols that could not be asked again; else empty."""
    failed: dict[str, str] = {}
    asked = False
    for report in reports:
        for day in report.too_early:
            reason = f"the session of {day} is not over yet; try again after the close"
            failed[daily_key(report.exchange, day)] = reason
        for day, entry in sorted(report.cells.items()):
            if entry.state is CellState.FAILED:
                failed[daily_key(report.exchange, day)] = entry.reason
                asked |= bool(report.requests)
        asked |= bool(report.too_early)
    reasons = [failure_text(DAILY, failed)] if failed else []
    if failed and not asked:
        reasons.append(NOT_ASKED)
    not_verified = {s: reason for report in reports for s, reason in report.not_verified.items()}
    if not_verified:
        few = "; ".join(f"{symbol}: {reason}" for symbol, reason in list(not_verified.items())[:5])
        reasons.append(
            f"{number_of(len(not_verified), 'symbol')} could not be asked again, their rows stand as they were: {few}"
        )
    return "; ".join(reasons)
