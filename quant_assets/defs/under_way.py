"""What is being materialized: the runs and backfills of the instance that are queued or in progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from quant_assets.defs.dagster_internals import (
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    backfills_under_way,
)
from quant_assets.defs.jobs import EXCHANGE_TAG, table_job_name
from quant_assets.defs.partition_keys import split_key
from quant_assets.tables.layout import (
    CATALOG,
    DAILY,
    EXCHANGES,
    HISTORY,
    PROFILES,
    TIME_DIMENSION,
    VALUATIONS,
    WEEKLY,
)

FORSAKEN = timedelta(hours=12)
"""A run that began so long ago and has not ended counts as killed: Dagster does not notice the end of a run's process
where runs are processes of one machine (DefaultRunLauncher, and runs of the command line)."""

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_TABLES = (CATALOG, VALUATIONS, HISTORY, WEEKLY, PROFILES, EXCHANGES)
_PARTITION_TAGS = (PARTITION_TAG, RANGE_START_TAG, RANGE_END_TAG)


@dataclass(frozen=True)
class UnderWay:
    """Runs and backfills that are queued or in progress, by what they materialize."""

    work: Mapping[tuple[str, str | None], str]
    """(table, exchange) with what works on it ("run 12345678"); exchange None: on all of them."""

    def on(self, table: str, exchange: str | None = None) -> str | None:
        """What works on a table's partitions of an exchange now; None where nothing does."""
        if exchange is None:
            return next((what for (of, _), what in self.work.items() if of == table), None)
        return self.work.get((table, exchange)) or self.work.get((table, None))


def under_way(instance: dg.DagsterInstance) -> UnderWay:
    """The runs and backfills that are queued or in progress on this instance."""
    work: dict[tuple[str, str | None], str] = {}
    records = instance.get_run_records(dg.RunsFilter(statuses=UNDER_WAY))
    forsaken = datetime.now(UTC) - FORSAKEN
    for record in records:
        run = record.dagster_run
        if record.start_time is not None and datetime.fromtimestamp(record.start_time, UTC) < forsaken:
            continue
        for table in _tables_of(run):
            for exchange in _exchanges_of(run, table):
                work.setdefault((table, exchange), f"run {run.run_id[:8]}")
    for name, targets in backfills_under_way(instance).items():
        for asset, keys in targets.items():
            table = asset.path[-1]
            for exchange in {split_key(table, key)[0] for key in keys} or {None}:
                work.setdefault((table, exchange), f"backfill {name}")
    return UnderWay(work)


def filled_exchange(run: dg.DagsterRun) -> str | None:
    """The exchange whose daily cells a run fills; None where there are several, or none."""
    found = _exchanges_of(run, DAILY) if DAILY in _tables_of(run) else {None}
    return found.pop() if len(found) == 1 else None


def _tables_of(run: dg.DagsterRun) -> Iterable[str]:
    if run.asset_selection:
        return [key.path[-1] for key in run.asset_selection]
    if run.job_name.startswith(f"{DAILY}_"):
        return [DAILY]
    return [table for table in _TABLES if run.job_name == table_job_name(table)]


def _exchanges_of(run: dg.DagsterRun, table: str) -> set[str | None]:
    keys = [run.tags[tag] for tag in _PARTITION_TAGS if tag in run.tags]
    if table in TIME_DIMENSION:
        keys = [key for key in keys if "|" in key]
    found: set[str | None] = {split_key(table, key)[0] for key in keys}
    return found or {run.tags.get(EXCHANGE_TAG)}
