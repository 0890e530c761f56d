"""`daily_prices`: the as-traded bars of one exchange and session, a cell an object; a range is one run."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.defs.fill_run import (
    RESULT_TAG,
    FillRules,
    cell_metadata,
    listeners,
    log_changed,
    symbols_of,
    tell,
    worst_result,
)
from quant_assets.defs.io_manager import failure_text
from quant_assets.defs.jobs import EXCHANGE_TAG, daily_job_name
from quant_assets.defs.partition_keys import daily_key, split_key
from quant_assets.defs.partitions import Grids
from quant_assets.exchanges import Exchange
from quant_assets.ingest.fill import FillReport, fill_cells
from quant_assets.ingest.plan import Mode
from quant_assets.market.coverage import CellState
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource, YahooResource
from quant_assets.resources.object_store import ObjectStore, ObjectStoreError
from quant_assets.resources.source import SourceUnavailable
from quant_assets.tables.layout import CATALOG, DAILY


class FillConfig(dg.Config):
    """How a run fills its cells."""

    symbols: list[str] = []
    """Ask for these symbols at most; empty: for all that are expected."""
    mode: str = Mode.INCREMENTAL.value
    """`incremental`: ask for what is missing. `force`: ask again for what is there, too, and reconcile it."""


def make_daily_prices(grids: Grids, exchanges: Sequence[Exchange], rules: FillRules) -> dg.AssetsDefinition:
    """The asset, over the daily grid."""
    by_code = {exchange.code: exchange for exchange in exchanges}

    @dg.asset(
        name=DAILY,
        partitions_def=grids.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={CATALOG: dg.AssetIn(CATALOG)},
        group_name="prices",
        kinds={"yahoo", "parquet"},
        description="As-traded daily bars. One object per exchange and session; closed days materialize as closed.",
    )
    def daily_prices(
        context: dg.AssetExecutionContext,
        config: FillConfig,
        store: StoreResource,
        source: YahooResource,
        clock: ClockResource,
        symbol_catalog: pl.DataFrame,
    ) -> None:
        if config.mode not in (Mode.INCREMENTAL, Mode.FORCE):
            raise dg.Failure(
                f"mode {config.mode!r}: say incremental or force (verify is a job of its own, verify_…)",
                allow_retries=False,
            )
        days: dict[str, list[date]] = {}
        for key in context.partition_keys:
            code, day = split_key(DAILY, key)
            days.setdefault(code, []).append(date.fromisoformat(str(day)))
        _refuse_other_exchanges(context, days)
        home = store.open()
        prices = source.open()
        try:
            reports = [
                fill_cells(
                    by_code[code],
                    wanted,
                    symbols_of(symbol_catalog, code, config.symbols),
                    source=prices,
                    store=home,
                    clock=clock.now,
                    spill_folder=rules.spill_folder,
                    only=config.symbols or None,
                    mode=Mode(config.mode),
                    look_back=rules.look_back,
                    min_coverage=rules.min_coverage[code],
                    run=context.run.run_id,
                    listeners=listeners(code),
                )
                for code, wanted in sorted(days.items())
            ]
        except (SourceUnavailable, ObjectStoreError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        finally:
            prices.close()
        _record(context, home, reports)

    return daily_prices


def _refuse_other_exchanges(context: dg.AssetExecutionContext, days: Mapping[str, Sequence[date]]) -> None:
    """A job of one exchange takes no partition of another: all jobs share the grid, so Dagster does not refuse it."""
    own = context.run.tags.get(EXCHANGE_TAG)
    if own is None or not (others := sorted(set(days) - {own})):
        return
    right = ", ".join(daily_job_name(code) for code in others)
    raise dg.Failure(
        f"{context.run.job_name} fills cells of {own} only, and got {len(days[others[0]])} partition(s) of "
        f"{others[0]}, such as {daily_key(others[0], days[others[0]][0])}: launch {right} for them",
        allow_retries=False,
    )


def _record(context: dg.AssetExecutionContext, store: ObjectStore, reports: Sequence[FillReport]) -> None:
    """One materialization per cell that stands; the run fails at the end if some cell does not."""
    good: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for report in reports:
        keys = {
            date.fromisoformat(str(split_key(DAILY, key)[1])): key
            for key in context.partition_keys
            if split_key(DAILY, key)[0] == report.exchange
        }
        for day in report.too_early:
            failed[keys[day]] = f"the session of {day} is not over yet; try again after the close"
        for day, entry in sorted(report.cells.items()):
            if entry.state is CellState.FAILED:
                failed[keys[day]] = entry.reason
            else:
                good[keys[day]] = cell_metadata(store, report, day, entry)
        tell(context, report)
    not_verified = {s: reason for report in reports for s, reason in report.not_verified.items()}
    context.instance.add_run_tags(context.run.run_id, {RESULT_TAG: worst_result(reports)})
    for report in reports:
        log_changed(context, store, report, report.also_changed)
    if not failed and not not_verified:
        for key, metadata in good.items():
            context.add_asset_metadata(metadata, partition_key=key)
        return
    for key, metadata in good.items():
        context.log_event(dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata))
    said = [failure_text(DAILY, failed)] if failed else []
    if not_verified:
        few = "; ".join(f"{symbol}: {reason}" for symbol, reason in list(not_verified.items())[:5])
        said.append(
            f"{len(not_verified)} symbol(s) could not be asked again, their rows stand as they were: {few}"
        )
    raise dg.Failure("; ".join(said), allow_retries=False)
