"""`daily_prices`: the as-traded bars of one exchange and session, a cell an object; a range is one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

import dagster as dg
import orjson
import polars as pl

from quant_assets.assets.derived import affected_partitions, daily_key
from quant_assets.catalog.build import followed
from quant_assets.exchanges import Exchange
from quant_assets.ingest.fill import FillReport, Listeners, fill_cells
from quant_assets.ingest.plan import Mode
from quant_assets.market.coverage import CellState
from quant_assets.market.sketches import markdown_table
from quant_assets.partitions import Grids
from quant_assets.progress import listener
from resources.clock import ClockResource
from resources.dagster_resources import StoreResource, YahooResource
from resources.io_manager import failure_text, split_key
from resources.manifest import Entry
from resources.object_store import ObjectStore, ObjectStoreError
from resources.settings import Settings
from resources.source import SourceUnavailable
from resources.tables import CATALOG, DAILY, object_key

RESULT_TAG = "quant_assets/result"


class FillConfig(dg.Config):
    """How a run fills its cells."""

    symbols: list[str] = []
    """Ask for these symbols at most; empty: for all that are expected."""
    mode: str = Mode.INCREMENTAL.value
    """`incremental`: ask for what is missing. `force`: ask again for what is there, too, and reconcile it."""


@dataclass(frozen=True)
class FillRules:
    """What the settings say about every fill."""

    spill_folder: Path
    look_back: int
    min_coverage: Mapping[str, float]
    """By exchange, the share (0 to 1) of expected symbols below which a cell is failed."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The rules that these settings describe."""
        shares = {code: settings.least_coverage(code) for code in settings.exchanges}
        return cls(settings.spill_folder, settings.look_back_sessions, shares)


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


def listeners(code: str) -> Listeners:
    """Tells whoever listens in this process how a fill of an exchange is getting on."""
    return Listeners(
        plan=lambda plan: listener().planned(code, len(plan.starts()), len(plan.wanted)),
        symbol=lambda _: listener().symbol_done(),
        cell=lambda _: listener().cell_done(),
    )


def symbols_of(catalog: pl.DataFrame, exchange: str, only: Sequence[str]) -> pl.DataFrame:
    """The catalog's symbols of an exchange. Raises dagster's Failure when there is none, or `only` names others."""
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


def worst_result(reports: Sequence[FillReport]) -> str:
    """The result of a run from those of its exchanges: FAILED only where nothing of any is usable."""
    results = {report.result for report in reports}
    if results == {"FAILED"}:
        return "FAILED"
    return "COMPLETE" if results <= {"COMPLETE"} else "PARTIAL"


def log_changed(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    store: ObjectStore,
    report: FillReport,
    changed: Mapping[date, Entry],
) -> None:
    """One materialization for each cell that changed and is no partition of the run, so that what rests on it is
    refreshed. A cell that is failed is none to rest on."""
    for day, entry in sorted(changed.items()):
        if entry.state is not CellState.FAILED:
            context.log_event(
                dg.AssetMaterialization(
                    DAILY,
                    partition=daily_key(report.exchange, day),
                    metadata=cell_metadata(store, report, day, entry),
                )
            )


def tell(context: dg.AssetExecutionContext | dg.OpExecutionContext, report: FillReport) -> None:
    """Says in the run's log what came of a fill: warnings, restatements and what they affect, counts."""
    for warning in report.warnings:
        context.log.warning(warning)
    if not report.restatements.is_empty():
        affected = ", ".join(affected_partitions(report.exchange, report.restated_days))
        context.log.warning(
            f"{report.exchange}: {report.restatements.height} restatement(s); affected: {affected}\n"
            + markdown_table(report.restatements.drop("run"))
        )
    context.log.info(orjson.dumps(report.facts(), option=orjson.OPT_INDENT_2).decode())


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
    restated = report.restatements.filter(pl.col("date") == day)
    if not restated.is_empty():
        metadata["restatements"] = dg.MetadataValue.md(markdown_table(restated.drop("run")))
    if entry.missing:
        missing = pl.DataFrame(
            [(m.symbol, m.outcome, m.reason) for m in entry.missing],
            schema=["symbol", "outcome", "reason"],
            orient="row",
        )
        metadata["missing_symbols"] = dg.MetadataValue.md(markdown_table(missing))
    return metadata
