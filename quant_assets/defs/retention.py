"""Old runs, their logs, ticks and backfills leave Dagster's instance; what its pages show of cells stays.

Dagster's own `delete_run` takes the materializations of a run with it, and the cells that they recorded would show as
missing. Here the last word on a partition stays, whatever the age of its run: its latest materialization, its latest
result of each check, and the row of a run that failed to make it. Leans on Dagster's tables (1.13.27), the same in
SQLite and PostgreSQL.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable, RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from sqlalchemy import Connection, Table, create_engine, delete, func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from quant_assets.defs.jobs import PRUNE_JOB

T = TypeVar("T")
_AT_ONCE = 200
"""Runs that are looked at between two commits, so that nobody waits long for the database."""
_IDS = 500
"""Values that one statement may name; SQLite takes a thousand."""
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_BACKFILLS_ENDED = ["COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"]
_TICKS_ENDED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


@dataclass(slots=True)
class Pruned:
    """What left the instance, or would."""

    runs: int = 0
    kept_rows: int = 0
    """Runs whose logs left and whose row stays: they say why a partition is failed."""
    events: int = 0
    """Events of assets; those of runs alone are in their logs."""
    checks: int = 0
    backfills: int = 0


def prune(instance: dg.DagsterInstance, before: datetime, *, dry_run: bool = False) -> Pruned:
    """Removes runs that ended before a moment (UTC), and ticks and backfills from before it; see the module.

    Safe beside a daemon and beside runs; killed, it goes on where it was when it is called again.
    """
    events, runs = instance.event_log_storage, instance.run_storage
    assert isinstance(events, SqlEventLogStorage)
    assert isinstance(runs, SqlRunStorage)
    pruned = Pruned()
    old = _old_runs(instance, before)
    last_words, last_checks = (
        (_last_events(events), _last_checks(events)) if old else (set[int](), set[int]())
    )
    explaining = _explaining(instance) if old else set[str]()
    for some in _parts(old, _AT_ONCE):
        with events.index_connection() as connection:
            ids = _ids(connection, SqlEventLogStorageTable, some, _of_assets) - last_words
            checks = _ids(connection, AssetCheckExecutionsTable, some) - last_checks
            pruned.events += len(ids)
            pruned.checks += len(checks)
            if not dry_run:
                _delete(connection, SqlEventLogStorageTable, ids)
                for part in _parts(sorted(ids), _IDS):
                    connection.execute(
                        delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(part))
                    )
                _delete(connection, AssetCheckExecutionsTable, checks)
        for run in some:
            pruned.kept_rows += run in explaining
            pruned.runs += run not in explaining
        if not dry_run:
            _remove_logs(instance, events, some)
            _remove_rows(runs, [run for run in some if run not in explaining])
    pruned.backfills = _backfills(runs, before, dry_run=dry_run)
    if not dry_run:
        for state in instance.all_instigator_state():
            instance.purge_ticks(
                state.instigator_origin_id, state.selector_id, before.timestamp(), _TICKS_ENDED
            )
        if old or pruned.backfills:
            _give_back(instance, events)
    return pruned


def _old_runs(instance: dg.DagsterInstance, before: datetime) -> list[str]:
    """The ids of runs that ended before a moment, oldest first."""
    found: list[str] = []
    cursor: str | None = None
    condition = dg.RunsFilter(statuses=_ENDED, created_before=before)
    while records := instance.get_run_records(condition, limit=1000, cursor=cursor):
        cursor = records[-1].dagster_run.run_id
        found += [
            record.dagster_run.run_id
            for record in records
            if (record.end_time or record.update_timestamp.replace(tzinfo=UTC).timestamp())
            < before.timestamp()
        ]
    return found[::-1]


_MADE = dg.DagsterEventType.ASSET_MATERIALIZATION.value
_PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value


def _last_events(events: SqlEventLogStorage) -> set[int]:
    """The ids of the latest materialization, and of the latest plan of one, of every partition."""
    table = SqlEventLogStorageTable
    query = (
        select(func.max(table.c.id))
        .where(table.c.asset_key.is_not(None), table.c.dagster_event_type.in_([_MADE, _PLANNED]))
        .group_by(table.c.asset_key, table.c.partition, table.c.dagster_event_type)
    )
    with events.index_connection() as connection:
        return set(connection.execute(query).scalars())


def _last_checks(events: SqlEventLogStorage) -> set[int]:
    """The ids of the latest result of every check, of the asset and of each partition."""
    table = AssetCheckExecutionsTable
    query = select(func.max(table.c.id)).group_by(table.c.asset_key, table.c.check_name, table.c.partition)
    with events.index_connection() as connection:
        return set(connection.execute(query).scalars())


def _explaining(instance: dg.DagsterInstance) -> set[str]:
    """The runs by which partitions show as failed: they failed, and were the last that were to make them."""
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations
    last = sorted({run for asset in instance.all_asset_keys() for run, _ in attempts(asset).values()})
    return {
        run.run_id
        for part in _parts(last, _IDS)
        for run in instance.get_runs(
            dg.RunsFilter(run_ids=list(part), statuses=[dg.DagsterRunStatus.FAILURE])
        )
    }


def _of_assets(table: Table) -> object:
    return table.c.asset_key.is_not(None)


def _ids(connection: Connection, table: Table, runs: Sequence[str], *which: object) -> set[int]:
    """The ids of the rows of some runs."""
    conditions = [condition(table) for condition in which]  # type: ignore[operator]
    return {
        number
        for part in _parts(runs, _IDS)
        for number in connection.execute(
            select(table.c.id).where(table.c.run_id.in_(part), *conditions)
        ).scalars()
    }


def _delete(connection: Connection, table: Table, ids: Iterable[int]) -> None:
    for part in _parts(sorted(ids), _IDS):
        connection.execute(delete(table).where(table.c.id.in_(part)))


def _remove_logs(instance: dg.DagsterInstance, events: SqlEventLogStorage, runs: Sequence[str]) -> None:
    """What only the page of a run shows: its events that concern no asset, and what it has printed."""
    if isinstance(events, SqliteEventLogStorage):
        for run in runs:
            path = Path(events.path_for_shard(run))
            for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
                file.unlink(missing_ok=True)
    else:
        table = SqlEventLogStorageTable
        with events.index_connection() as connection:
            for part in _parts(runs, _IDS):
                connection.execute(delete(table).where(table.c.run_id.in_(part), table.c.asset_key.is_(None)))
    for run in runs:
        # Of many places where such logs can lie; a bucket has a lifecycle of its own.
        with contextlib.suppress(Exception):
            instance.compute_log_manager.delete_logs(prefix=[run])


def _remove_rows(storage: SqlRunStorage, runs: Sequence[str]) -> None:
    with storage.connect() as connection:
        for part in _parts(runs, _IDS):
            connection.execute(delete(RunTagsTable).where(RunTagsTable.c.run_id.in_(part)))
            connection.execute(delete(RunsTable).where(RunsTable.c.run_id.in_(part)))


def _backfills(storage: SqlRunStorage, before: datetime, *, dry_run: bool) -> int:
    table = BulkActionsTable
    moment = before.astimezone(UTC).replace(tzinfo=None)
    with storage.connect() as connection:
        query = select(table.c.key).where(table.c.timestamp < moment, table.c.status.in_(_BACKFILLS_ENDED))
        keys = list(connection.execute(query).scalars())
        for part in _parts([] if dry_run else keys, _IDS):
            connection.execute(delete(BackfillTagsTable).where(BackfillTagsTable.c.backfill_id.in_(part)))
            connection.execute(delete(table).where(table.c.key.in_(part)))
    return len(keys)


def _give_back(instance: dg.DagsterInstance, events: SqlEventLogStorage) -> None:
    """SQLite's files become smaller, unless somebody is using them now: then their room is used again."""
    if not isinstance(events, SqliteEventLogStorage):
        return
    index = Path(events.path_for_shard("index"))
    for file in (index, index.parent.parent / "runs.db"):
        if not file.exists():
            continue
        engine = create_engine(f"sqlite:///{file}", poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with contextlib.suppress(OperationalError), engine.connect() as connection:
            connection.execute(text("VACUUM"))


def _parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def prune_job(keep_days: int, owner: str) -> dg.JobDefinition:
    """The job that removes what is older than `keep_days` days."""

    @dg.op(name="remove_old_runs")
    def remove(context: dg.OpExecutionContext) -> None:
        pruned = prune(context.instance, datetime.now(UTC) - timedelta(days=keep_days))
        context.log.info(f"older than {keep_days} days: {pruned}")
        context.add_output_metadata(asdict(pruned))  # pyright: ignore[reportUnknownMemberType]

    @dg.job(
        name=PRUNE_JOB,
        description=f"Removes runs, their logs, ticks and backfills that are older than {keep_days} days; what "
        "Dagster's pages show of cells and checks stays.",
        owners=[owner],
    )
    def job() -> None:
        remove()

    return job


def prune_schedule(job: dg.JobDefinition, owner: str) -> dg.ScheduleDefinition:
    """Every night; on by default, since it asks the source for nothing and nobody misses it before a disk is full."""
    return dg.ScheduleDefinition(
        name=f"{job.name}_nightly",
        job=job,
        cron_schedule="15 2 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes what is old from Dagster's instance, so that it does not grow without bound.",
        owners=[owner],
    )
