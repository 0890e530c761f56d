"""The sensor `requested_jobs`: what was asked of the API or by `quant-assets jobs` becomes runs, once each.

A request is a record in the store (`tables.jobs`). Of several homes on a store the one whose sensor is first takes it
on; in a home a run is launched once for each of its parts, also after a restart. How a job ended is recorded here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from quant_assets.defs.cursors import dumped, range_tags, read_cursor, texts
from quant_assets.defs.dagster_internals import RANGE_END_TAG, RANGE_START_TAG, instance_id
from quant_assets.defs.job_runs import FAILED, PART_TAG, end_of, runs_of
from quant_assets.defs.jobs import PRICES_ALONE, REFRESH_JOB, REFRESH_OP, daily_job_name
from quant_assets.defs.maintenance_jobs import sweep_job_name, verify_job_name
from quant_assets.defs.run_progress import JOB_TAG
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectStore, ObjectStoreError
from quant_assets.tables.jobs import (
    End,
    JobRecord,
    Part,
    change_job,
    days_with_jobs,
    jobs_of_day,
    moment,
    read_jobs,
    taken,
)
from quant_assets.tables.layout import CATALOG, DAILY, object_key

NAME = "requested_jobs"
_MOST_RUNS = 20
"""Runs that one tick requests; the rest comes with the next ones."""
_GOING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
"""What can be stopped; a run that has only been made is about to be queued."""


def requested_jobs_sensor(
    jobs: Sequence[Any], grid: dg.PartitionsDefinition[Any], owner: str, *, remote: bool
) -> dg.SensorDefinition:
    """Launches the runs of jobs that were asked for, and records how they ended.

    Args:
        jobs: Dagster's jobs that may be asked for.
        grid: the partitions of daily cells.
        remote: whether the store is a bucket, which is asked less often.
    """

    @dg.sensor(
        name=NAME,
        jobs=jobs,
        minimum_interval_seconds=15 if remote else 5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        owners=[owner],
        description="Launches what was asked for over the API or with `quant-assets jobs`, and records how it ended.",
    )
    def requested_jobs(
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        home, cursor = store.open(), read_cursor(context)
        ended = texts(cursor.get("ended")) or set[str]()
        since = str(cursor.get("day", ""))
        try:
            days = [day for day in days_with_jobs(home) if day >= since]
            ids = [job for day in days for job in jobs_of_day(home, day) if job not in ended]
            tick = _Tick(context.instance, home, ids, {job.name for job in jobs}, grid)
            tick.look()
        except ObjectStoreError as error:
            return dg.SkipReason(str(error))
        ended |= tick.ended
        # A day on which nothing is open any more is not looked at again; clocks of other machines may be late.
        yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y%m%d}"
        oldest = min([yesterday, *(job[:8] for job in ids if job not in ended)])
        kept = dumped({"day": oldest, "ended": sorted(job for job in ended if job[:8] >= oldest)})
        if tick.requests:
            return dg.SensorResult(run_requests=tick.requests, cursor=kept)
        reason = dg.SkipReason("; ".join(tick.notes) or "nothing was asked for")
        return dg.SensorResult(skip_reason=reason, cursor=kept)

    return requested_jobs


class _Tick:
    """One look at the jobs that may be open."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: ObjectStore,
        ids: Sequence[str],
        jobs: Collection[str],
        grid: dg.PartitionsDefinition[Any],
    ) -> None:
        self._instance, self._store, self._ids = instance, store, ids
        self._jobs, self._grid = jobs, grid
        self.requests: list[dg.RunRequest] = []
        self.notes: list[str] = []
        self.ended: set[str] = set()

    def look(self) -> None:
        """Goes through the jobs. Raises ObjectStoreError."""
        records: list[JobRecord] = []
        for found in read_jobs(self._store, self._ids):
            if isinstance(found, ObjectStoreError):
                self.notes.append(str(found))
            elif found.end is not None:
                self.ended.add(found.id)
            else:
                records.append(found)
        if not records:
            return
        own = instance_id(self._instance)
        runs = runs_of(self._instance, [record.id for record in records])
        for record in records:
            if record.taken_by not in ("", own):
                self.notes.append(f"{record.id}: another home on this store has taken it on")
                continue
            if len(self.requests) >= _MOST_RUNS:
                self.notes.append(f"{record.id}: waits for the next tick")
                continue
            if (why := self._not_yet(record)) and not record.cancelled_at:
                self.notes.append(f"{record.id}: {why}")
                continue
            if not record.taken_by:
                record = change_job(self._store, record.id, taken(own))
            if record.end is None and record.taken_by == own:
                self._go_on(record, runs[record.id])

    def _not_yet(self, record: JobRecord) -> str:
        if all(part.task == "refresh" for part in record.parts) or record.taken_by:
            return ""
        return (
            "" if self._store.head(object_key(CATALOG)) else f"waits for the catalog (materialize {CATALOG})"
        )

    def _go_on(self, record: JobRecord, runs: dict[str, dg.DagsterRun]) -> None:
        if end := end_of(record, runs, self._instance, self._store):
            self._settle(record, end)
        elif record.cancelled_at:
            stop_runs(self._instance, list(runs.values()))
        else:
            lacking = [run_request(record, part) for part in record.parts if part.name not in runs]
            # One request that Dagster cannot launch would hold up all the others, tick after tick.
            if wrong := next(filter(None, map(self._why_not, lacking)), None):
                self._settle(record, End(FAILED, moment(), reason=wrong))
            else:
                self.requests += lacking

    def _settle(self, record: JobRecord, end: End) -> None:
        change_job(self._store, record.id, lambda now: replace(now, end=end))
        self.notes.append(f"{record.id}: {end.status}")
        self.ended.add(record.id)

    def _why_not(self, request: dg.RunRequest) -> str:
        """Why a run cannot be launched with the settings of this home; empty where it can."""
        if request.job_name not in self._jobs:
            return (
                f"{request.job_name}: this home has no such job (QUANT_ASSETS_EXCHANGES names its exchanges)"
            )
        keys = [request.partition_key, *(request.tags.get(tag) for tag in (RANGE_START_TAG, RANGE_END_TAG))]
        for key in filter(None, keys):
            if not self._grid.has_partition_key(key):
                return f"{key}: not on the grid of this home (QUANT_ASSETS_START and the exchanges make it)"
        return ""


def stop_runs(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun]) -> None:
    """Asks runs to stop: one that is queued is over at once, one that is under way finishes the requests it has sent.

    Of a run whose process does not answer nothing becomes here: `new_symbols` ends those that are no more.
    """
    for run in runs:
        if run.status in _GOING:
            instance.run_coordinator.cancel_run(run.run_id)


def run_request(record: JobRecord, part: Part) -> dg.RunRequest:
    """The run of one part of a job."""
    tags = {
        JOB_TAG: record.id,
        PART_TAG: part.name,
        "quant_assets/asked_by": record.requested_by or record.via,
    }
    key = f"{record.id} {part.name}"
    symbols = list(part.symbols)
    match part.task:
        case "daily":
            config = {"symbols": symbols, "mode": part.mode}
            keys = [f"{day}|{part.exchange}" for day in (part.first, part.last)]
            more: dict[str, Any] = (
                {"partition_key": keys[0]} if keys[0] == keys[1] else {"tags": {**tags, **range_tags(*keys)}}
            )
            return dg.RunRequest(
                **{"tags": tags, **more},
                run_key=key,
                job_name=daily_job_name(part.exchange),
                run_config={"ops": {DAILY: {"config": config}}},
                asset_selection=None if part.valuations else PRICES_ALONE,
            )
        case "verify":
            name = verify_job_name(part.exchange)
            op, config = f"{name}_range", {"start": part.first, "end": part.last, "symbols": symbols}
        case "sweep":
            name = sweep_job_name(part.exchange)
            op, config = f"{name}_slice", {"symbols": symbols}
        case _:
            name, op, config = REFRESH_JOB, REFRESH_OP, {"universes": symbols}
    return dg.RunRequest(run_key=key, job_name=name, run_config={"ops": {op: {"config": config}}}, tags=tags)
