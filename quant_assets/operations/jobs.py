"""Jobs on request: taken down in the store, launched by Dagster's sensor `requested_jobs`, looked at and cancelled.

Nothing of a job runs in the process that asks for it. Its state is put together from its record and, until it has
ended, from what this home's Dagster says of its runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from quant_assets.operations.job_requests import JobRequest, parts_of
from quant_assets.resources.object_store import ObjectStore, claim
from quant_assets.resources.settings import Settings
from quant_assets.tables.jobs import (
    JobRecord,
    cancelled,
    change_job,
    latest_jobs,
    moment,
    new_id,
    put_job,
    read_job,
)
from quant_assets.tables.layout import TOP_LEVEL

if TYPE_CHECKING:
    import dagster as dg

Status = Literal["pending", "downloading_data", "running", "completed", "partial", "failed", "cancelled"]
ENDED: frozenset[Status] = frozenset({"completed", "partial", "failed", "cancelled"})
_HEARTBEAT_SECONDS = 120.0
"""A daemon that is alive leaves a heartbeat every half minute."""
_SENSOR = "requested_jobs"
_MOST_LOOKED_AT = 1000
_AT_ONCE = 100
"""Jobs whose runs Dagster is asked for in one question."""
_log = logging.getLogger(__name__)


class Progress(BaseModel):
    """How far a job has got, over those of its parts that have begun."""

    symbols: int = 0
    """Symbols that are asked for."""
    symbols_done: int = 0
    cells: int = 0
    """Cells that are to be settled."""
    cells_done: int = 0


class RunState(BaseModel):
    """One of the Dagster runs of a job."""

    id: str
    part: str = ""
    """The exchange it is about, or the task."""
    status: str = ""
    """Dagster's own word; empty once the job has ended."""
    url: str
    """Its page."""


class JobState(BaseModel):
    """A job as it stands."""

    id: str
    kind: str
    parameters: dict[str, Any]
    exchanges: list[str]
    status: Status
    note: str = ""
    """What it waits for, or why it ended as it did."""
    requested_at: str
    requested_by: str
    via: str
    cancelled_by: str = ""
    ended_at: str = ""
    progress: Progress = Field(default_factory=Progress)
    warnings: list[str] = []
    result: dict[str, Any] = {}
    """Once it has ended: `parts`, for each run what was requested, succeeded and failed, and the cells by state."""
    runs: list[RunState] = []

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status in ENDED


class JobDesk:
    """Where jobs are asked for. All calls may be made from several threads."""

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self._settings, self._store = settings, store

    def request(self, request: JobRequest, who: str, via: str, key: str = "") -> tuple[JobState, bool]:
        """Takes a job down. `key`: the client's own, by which the same request sent twice is one job.

        Returns:
            The job, and whether it is new.

        Raises JobRefused, JobKeyTaken, StoreUnavailable.
        """
        parts = parts_of(request, self._settings, self._store)
        claim(self._store, TOP_LEVEL)
        record = JobRecord(
            id=new_id(_now()),
            kind=request.kind,
            parameters=request.parameters(),
            parts=parts,
            requested_at=moment(),
            requested_by=who,
            via=via,
        )
        kept, new = put_job(self._store, record, key)
        if new:
            return _as_recorded(kept, "pending", "waits to be launched"), True
        return self.state(kept.id), False

    def state(self, job: str) -> JobState:
        """A job as it stands. Raises JobUnknown, ObjectDamaged, StoreUnavailable, HomeUnavailable."""
        return self._states([read_job(self._store, job)])[0]

    def list(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        exchange: str | None = None,
        before: str = "",
        limit: int = 50,
    ) -> tuple[list[JobState], str | None]:
        """The jobs, the latest first, `limit` at most. `before`: those requested before the job with this id.

        Returns:
            The jobs, and the id before which to go on; None where there are none. A filter that few jobs pass ends a
            look after 1,000 jobs, with what it has found.

        Raises StoreUnavailable, HomeUnavailable.
        """
        found: list[JobState] = []
        looked = 0
        for batch in _batches(latest_jobs(self._store, before), min(limit, _AT_ONCE)):
            chosen = [
                record
                for record in batch
                if kind in (None, record.kind)
                and (exchange is None or exchange.upper() in {part.exchange for part in record.parts})
            ]
            found += [state for state in self._states(chosen) if status in (None, state.status)]
            looked += len(batch)
            if len(found) >= limit:
                return found[:limit], found[:limit][-1].id
            if looked >= _MOST_LOOKED_AT:
                return found, batch[-1].id
        return found, None

    def cancel(self, job: str, who: str) -> JobState:
        """Cancels a job: one that nobody has taken on is over at once; of another the runs are asked to stop.

        A job that has ended stays as it is. Raises JobUnknown, StoreUnavailable, HomeUnavailable.
        """
        record = change_job(self._store, job, cancelled(who))
        if record.end is None and (instance := self._instance()) is not None:
            from quant_assets.defs.job_runs import runs_of
            from quant_assets.defs.requested_jobs import stop_runs

            try:
                stop_runs(instance, list(runs_of(instance, [job])[job].values()))
            except Exception as error:  # noqa: BLE001 (the sensor asks again: that it is to stop is on record)
                _log.warning("job %s: its runs could not be asked to stop yet: %s", job, error)
        return self.state(job)

    def _states(self, records: Sequence[JobRecord]) -> list[JobState]:
        from quant_assets.instance import databases_of

        going = [record.id for record in records if record.end is None and record.taken_by]
        instance = self._instance() if any(record.end is None for record in records) else None
        # Of many that wait it is asked once what for.
        waits_for = cache(lambda: self._waits_for(instance))
        with databases_of(self._settings):
            runs: dict[str, dict[str, dg.DagsterRun]] = {}
            if instance is not None and going:
                from quant_assets.defs.job_runs import runs_of

                runs = runs_of(instance, going)
            return [self._state(record, runs.get(record.id, {}), instance, waits_for) for record in records]

    def _state(
        self,
        record: JobRecord,
        runs: dict[str, dg.DagsterRun],
        instance: dg.DagsterInstance | None,
        waits_for: Callable[[], str],
    ) -> JobState:
        if record.end is not None:
            end = record.end
            state = _as_recorded(record, end.status, end.reason)
            state.ended_at, state.warnings, state.result = end.at, list(end.warnings), end.result
            facts: list[dict[str, Any]] = end.result.get("parts", [])
            state.runs = [
                RunState(id=run, part=str(part.get("exchange", "")), url=self._url(run))
                for run, part in zip(end.runs, facts, strict=False)
            ]
            asked = sum(part.get("requested", 0) for part in facts)
            if end.status in ("completed", "partial"):
                cells = sum(sum(part.get("cells", {}).values()) for part in facts)
                state.progress = Progress(symbols=asked, symbols_done=asked, cells=cells, cells_done=cells)
            else:
                # The cells tell how they stand, not which of them the job got to.
                came = sum(part.get("succeeded", 0) for part in facts)
                state.progress = Progress(symbols=asked, symbols_done=came)
            return state
        if not record.taken_by or instance is None:
            return _as_recorded(record, "pending", waits_for())
        from quant_assets.defs.dagster_internals import instance_id
        from quant_assets.defs.job_runs import end_of, phase_of

        if record.taken_by != instance_id(instance):
            return _as_recorded(record, "pending", "another home on this store works on it; ask there")
        if end := end_of(record, runs, instance, self._store):
            # The sensor is about to record the same.
            from dataclasses import replace

            return self._state(replace(record, end=end), {}, instance, waits_for)
        phase = phase_of(record, runs)
        state = _as_recorded(record, phase.status, phase.note or ("" if runs else waits_for()))
        state.progress = Progress(**phase.progress)
        state.runs = [
            RunState(id=run.run_id, part=name, status=run.status.value.lower(), url=self._url(run.run_id))
            for name, run in sorted(runs.items())
        ]
        return state

    def _waits_for(self, instance: dg.DagsterInstance | None) -> str:
        """Why a job has not been launched yet."""
        home = self._settings.dagster_home
        if instance is None:
            return f"no Dagster has run in {home} yet: quant-assets ui starts it"
        from quant_assets.defs.dagster_internals import sensors_off
        from quant_assets.instance import newest_heartbeat

        beat = newest_heartbeat(self._settings)
        if beat is None or time.time() - beat > _HEARTBEAT_SECONDS:
            return (
                f"no daemon of Dagster is alive in {home}: it begins once one is (quant-assets ui starts it)"
            )
        if _SENSOR in sensors_off(instance):
            return f"the sensor {_SENSOR} is turned off: turn it on in Dagster's pages"
        return "waits to be launched"

    def _instance(self) -> dg.DagsterInstance | None:
        from quant_assets.instance import watched_instance

        return watched_instance(self._settings)

    def _url(self, run: str) -> str:
        return f"{self._settings.dagster_url.rstrip('/')}/runs/{run}"


def warm_up(settings: Settings) -> None:
    """Loads what the first request for a job would otherwise wait for: calendars, and Dagster's records.

    Raises SettingsError, ExchangeConfigError, HomeUnavailable.
    """
    from quant_assets.exchanges import enabled
    from quant_assets.instance import watched_instance
    from quant_assets.tables import parquet as _  # noqa: F401 (polars)

    for exchange in enabled(settings.exchanges, settings.exchanges_file):
        exchange.calendar().last_session_over(settings.clock(), exchange.delay)
    watched_instance(settings)


def _as_recorded(record: JobRecord, status: str, note: str) -> JobState:
    return JobState(
        id=record.id,
        kind=record.kind,
        parameters=record.parameters,
        exchanges=[part.exchange for part in record.parts if part.exchange],
        status=status,  # pyright: ignore[reportArgumentType]
        note=note,
        requested_at=record.requested_at,
        requested_by=record.requested_by,
        via=record.via,
        cancelled_by=record.cancelled_by,
    )


def _batches(records: Iterable[JobRecord], size: int) -> Iterable[list[JobRecord]]:
    batch: list[JobRecord] = []
    for record in records:
        batch.append(record)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _now() -> Any:
    from datetime import UTC, datetime

    # Not the clock of the settings, which may be held: ids sort by the moment of the request.
    return datetime.now(UTC)
