"""`daily_prices`: the as-traded bars of one exchange and session, a cell an object; a range is one run."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.exchanges import Exchange
from quant_assets.ingest.fill import FillReport, fill_cells
from quant_assets.market.coverage import CellState
from quant_assets.market.sketches import markdown_table
from quant_assets.partitions import Grids
from quant_assets.progress import listener
from resources.clock import ClockResource
from resources.dagster_resources import StoreResource, YahooResource
from resources.io_manager import failure_text, split_key
from resources.manifest import Entry
from resources.object_store import ObjectStore, ObjectStoreError
from resources.source import SourceUnavailable
from resources.tables import CATALOG, DAILY, object_key

RESULT_TAG = "quant_assets/result"


class FillConfig(dg.Config):
    """How a run fills its cells."""

    symbols: list[str] = []
    """Ask for these symbols at most; empty: for all that are expected."""
    force: bool = False
    """Ask again for what is there, and take the source's values where they differ."""


def make_daily_prices(grids: Grids, exchanges: Sequence[Exchange], spill_folder: Path) -> dg.AssetsDefinition:
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
        days: dict[str, list[date]] = {}
        for key in context.partition_keys:
            code, day = split_key(DAILY, key)
            days.setdefault(code, []).append(date.fromisoformat(str(day)))
        home = store.open()
        prices = source.open()
        try:
            reports = [
                fill_cells(
                    by_code[code],
                    wanted,
                    _symbols(symbol_catalog, code, config.symbols),
                    source=prices,
                    store=home,
                    clock=clock.now,
                    spill_folder=spill_folder,
                    only=config.symbols or None,
                    force=config.force,
                    on_plan=lambda plan, code=code: listener().planned(
                        code, len(plan.starts()), len(plan.wanted)
                    ),
                    on_symbol=lambda _: listener().symbol_done(),
                    on_cell=lambda _: listener().cell_done(),
                )
                for code, wanted in sorted(days.items())
            ]
        except (SourceUnavailable, ObjectStoreError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        finally:
            prices.close()
        _record(context, home, reports)

    return daily_prices


def _symbols(catalog: pl.DataFrame, exchange: str, only: Sequence[str]) -> pl.DataFrame:
    symbols = followed(catalog, exchange)
    if symbols.is_empty():
        raise dg.Failure(
            f"the catalog has no symbol of {exchange}: add some to the universe file and materialize {CATALOG}",
            allow_retries=False,
        )
    unknown = sorted(set(only) - set(catalog["symbol"]))
    if unknown:
        raise dg.Failure(
            f"not in the catalog: {', '.join(unknown)} (add them to the universe file and materialize {CATALOG})",
            allow_retries=False,
        )
    return symbols


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
        for warning in report.warnings:
            context.log.warning(warning)
        if not report.changes.is_empty():
            context.log.warning(
                f"{report.exchange}: {report.changes.height} value(s) differ from what stands:\n"
                + markdown_table(report.changes)
            )
        context.log.info(
            f"{report.exchange}: {dict(report.states)}, {report.requests} request(s), {report.written} cell(s) "
            f"written, seconds { ({k: round(v, 2) for k, v in report.seconds.items()}) }"
        )
    not_verified = {s: reason for report in reports for s, reason in report.not_verified.items()}
    states = {entry.state for report in reports for entry in report.cells.values()}
    result = "FAILED" if failed or not_verified else "PARTIAL" if CellState.PARTIAL in states else "COMPLETE"
    context.instance.add_run_tags(context.run.run_id, {RESULT_TAG: result})
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


def cell_metadata(store: ObjectStore, report: FillReport, day: date, entry: Entry) -> dict[str, Any]:
    """What the UI shows of a cell."""
    metadata: dict[str, Any] = {
        "state": entry.state.value,
        "rows": entry.rows,
        "expected_symbols": entry.expected,
        "received_symbols": entry.received,
        "bytes": entry.size,
        "sha256": entry.content_sha256,
        "requests": report.requests,
        "seconds": round(sum(report.seconds.values()), 2),
    }
    if entry.version:
        key = object_key(DAILY, report.exchange, day.isoformat())
        metadata["object"] = dg.MetadataValue.path(store.uri(key))
    if entry.reason:
        metadata["reason"] = entry.reason
    if entry.missing:
        missing = pl.DataFrame(
            [(m.symbol, m.outcome, m.reason) for m in entry.missing],
            schema=["symbol", "outcome", "reason"],
            orient="row",
        )
        metadata["missing_symbols"] = dg.MetadataValue.md(markdown_table(missing))
    return metadata
