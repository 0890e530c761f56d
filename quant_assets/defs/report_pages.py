"""`report_pages`: the report pages in the store as an asset, made anew four times a day and at the end of
`quant-assets update-daily`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.defs.jobs import REPORT_ASSET, Job, table_job_name
from quant_assets.defs.rendering import markdown_table
from quant_assets.defs.run_outcomes import RunsKept, recent
from quant_assets.exchanges import Exchange
from quant_assets.maintenance.report.figures import StoreReport, read_report
from quant_assets.maintenance.report.keeping import keep_pages, pages
from quant_assets.maintenance.report.page import percent, size_in_words
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectStoreError

_RUNS = 60


def made_pages(
    kept: RunsKept, exchanges: Sequence[Exchange], now: datetime
) -> tuple[StoreReport, dict[str | None, str]]:
    """The figures of a store and its pages, with the last runs that are known. Keeps nothing.

    Args:
        now: the platform's moment; `kept.now` is the clock by which runs are timed.

    Raises ObjectDamaged, NewerFormat, StoreUnavailable.
    """
    damaged: dict[str, str] = {}
    runs = recent(kept, _RUNS, damaged)
    report = read_report(kept.store, exchanges, now, damaged)
    return report, pages(report, [_facts(one.facts(), exchanges) for one in runs])


def _facts(facts: dict[str, Any], exchanges: Sequence[Exchange]) -> Mapping[str, Any]:
    """A run with everything that the page asks for, and its exchange where only its partitions tell it."""
    empty = dict.fromkeys(("started", "queued", "seconds", "requests"))
    texts = dict.fromkeys(("job", "partitions", "exchange", "cells", "error"), "")
    partitions = str(facts.get("partitions", "")).replace("...", "|").split("|")
    told = [one.code for one in exchanges if one.code in partitions]
    return {**empty, **texts, **facts, "exchange": facts.get("exchange") or ", ".join(told)}


def make_report_pages(exchanges: Sequence[Exchange], locks: Path, owner: str) -> dg.AssetsDefinition:
    """The asset. `locks`: the home's folder of run marks."""

    @dg.asset(
        name=REPORT_ASSET,
        group_name="profiles",
        kinds={"html"},
        owners=[owner],
        description="What the store holds in pages for people: one over all exchanges and one an exchange, each "
        "a self-contained HTML file in `report_pages/` (inventory, coverage by month, freshness, worst symbols, "
        "what is held and restated, last runs, storage). The API serves them at `/v1/reports/all.html`.",
    )
    def report_pages(
        context: dg.AssetExecutionContext, store: StoreResource, clock: ClockResource
    ) -> dg.MaterializeResult[Any]:
        home = store.open()
        codes = [one.code for one in exchanges]
        try:
            kept = RunsKept(context.instance, home, codes, locks, datetime.now(UTC))
            report, made = made_pages(kept, exchanges, clock.now())
            places = keep_pages(home, made)
        except ObjectStoreError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        return dg.MaterializeResult(
            metadata={
                "inventory": dg.MetadataValue.md(markdown_table(_inventory(report))),
                **{f"page ({code or 'all'})": dg.MetadataValue.path(place) for code, place in places.items()},
                "pages": len(places),
                "bytes": sum(len(text.encode()) for text in made.values()),
            }
        )

    return report_pages


def report_job(owner: str) -> Job:
    """The job that makes the pages."""
    return dg.define_asset_job(
        table_job_name(REPORT_ASSET),
        selection=dg.AssetSelection.assets(REPORT_ASSET),
        description="Makes the report pages anew, from what is stored; asks the source for nothing.",
        owners=[owner],
    )


def report_schedule(job: Job, owner: str) -> dg.ScheduleDefinition:
    """Four times a day; on by default, since it asks the source for nothing."""
    return dg.ScheduleDefinition(
        name=f"{REPORT_ASSET}_schedule",
        job=job,
        cron_schedule="40 */6 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Makes the report pages anew.",
        owners=[owner],
    )


def _inventory(report: StoreReport) -> pl.DataFrame:
    rows = [
        {
            "exchange": one.code,
            "overdue sessions": len(one.fresh.late) if one.fresh else 0,
            "last complete": one.whole["last_complete"],
            "coverage": percent(one.whole["coverage"]),
            "partial": one.whole["partial"],
            "failed": one.whole["failed"],
            "held": one.held.height,
            "restated": sum(one.classes.values()),
            "stored": size_in_words(one.bytes),
        }
        for one in report.exchanges
    ]
    return pl.DataFrame(rows)
