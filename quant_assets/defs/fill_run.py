"""What the Dagster runs that fill daily cells have in common: their rules, and what they record of a fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import orjson
import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.defs.partition_keys import affected_partitions, daily_key
from quant_assets.defs.progress import listener
from quant_assets.defs.rendering import markdown_table
from quant_assets.ingest.context import FillRules, Listeners
from quant_assets.ingest.report import FillReport
from quant_assets.market.coverage import CellState
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.manifest import Entry

RESULT_TAG = "quant_assets/result"


def rules_of(settings: Settings) -> dict[str, FillRules]:
    """By exchange code: what the settings demand of its fills."""
    return {
        code: FillRules(settings.spill_folder, settings.look_back_sessions, settings.least_coverage(code))
        for code in settings.exchanges
    }


def listeners(
    code: str, cells: Callable[[FillReport, Mapping[date, Entry]], None] = lambda _, __: None
) -> Listeners:
    """Tells whoever listens in this process how a fill of an exchange is getting on, and `cells` of each batch."""
    return Listeners(
        cells=cells,
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
