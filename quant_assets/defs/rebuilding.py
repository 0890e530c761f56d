"""An instance that was lost is told again of everything that the store holds, from the manifest: `rebuild_instance`.

It asks the source for nothing and writes nothing to the store. Cells are judged anew, as in the run that made them:
what holds up what is downstream must be on record before that follows. Failed cells have no object; they are recorded
as planned by a run that failed, which is what Dagster shows as failed. Runs of before, their logs and their exact
times are gone with the instance; `quant-assets runs` tells of them from their reports.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg
from dagster._core.utils import make_new_run_id

from quant_assets.defs.cell_metadata import ROW_COUNT, by_exchange, data_version, object_link
from quant_assets.defs.cell_recording import CellRecorder
from quant_assets.defs.dagster_internals import (
    attempted_partitions,
    logical_version_tags,
    materialize_now,
    report_failed_partitions,
)
from quant_assets.defs.fill_run import RESULT_TAG
from quant_assets.defs.jobs import EXCHANGE_TAG, REBUILD_JOB, daily_job_name
from quant_assets.defs.partition_keys import daily_key, table_key
from quant_assets.defs.table_pages import PAGES
from quant_assets.exchanges import Exchange
from quant_assets.ingest.report import FillReport
from quant_assets.market.coverage import CellState
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore, ObjectStoreError
from quant_assets.tables.layout import (
    CATALOG,
    DAILY,
    EXCHANGES,
    HISTORY,
    PROFILES,
    TIME_DIMENSION,
    VALUATIONS,
    WEEKLY,
    object_key,
)
from quant_assets.tables.manifest import Entry, Manifest, entry_in
from quant_assets.tables.quarantine import pending, read_quarantine

REBUILT_TAG = "quant_assets/rebuilt"
"""The tag of runs that stand for what runs of a lost instance had done."""
_AT_ONCE = 250
"""Cells that are judged and materialized between two looks at the clock: about a year."""


def rebuild_job(exchanges: Sequence[Exchange], owner: str) -> dg.JobDefinition:
    """The job that records in Dagster what the store holds and Dagster does not show."""

    @dg.op(name="record_what_is_stored")
    def record(context: dg.OpExecutionContext, store: StoreResource, clock: ClockResource) -> None:
        home = store.open()
        counts: Counter[str] = Counter()
        try:
            # The catalog first: the cells name the version of it that they are made from.
            counts[CATALOG] = _whole_table(context, home, CATALOG)
            recorder = CellRecorder(context, home, {e.code: e for e in exchanges}, [], clock.now())
            for exchange in exchanges:
                counts[DAILY] += _cells(context, home, exchange, recorder, counts)
            recorder.finish()
            for exchange in exchanges:
                for table in (VALUATIONS, WEEKLY, HISTORY, PROFILES):
                    counts[table] += _partitions(context, home, exchange, table)
            counts[EXCHANGES] = _whole_table(context, home, EXCHANGES)
        except ObjectStoreError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        context.add_output_metadata(dict(counts))  # pyright: ignore[reportUnknownMemberType]

    @dg.job(
        name=REBUILD_JOB,
        description="Tells Dagster of everything that the store holds and Dagster does not show: after an instance "
        "was lost. Asks the source for nothing, writes nothing to the store.",
        owners=[owner],
    )
    def job() -> None:
        record()

    return job


def _cells(
    context: dg.OpExecutionContext,
    store: ObjectStore,
    exchange: Exchange,
    recorder: CellRecorder,
    counts: Counter[str],
) -> int:
    """Records the cells of an exchange that Dagster does not show; answers how many are there."""
    code, asset = exchange.code, dg.AssetKey(DAILY)
    shown = context.instance.get_materialized_partitions(asset)
    lacking = {
        day: entry
        for entry in Manifest(store, DAILY).all(code)
        if daily_key(code, day := date.fromisoformat(entry.partition)) not in shown
    }
    report = FillReport(code, waiting=pending(read_quarantine(store, code)))
    days = sorted(lacking)
    for start in range(0, len(days), _AT_ONCE):
        some = {day: lacking[day] for day in days[start : start + _AT_ONCE]}
        recorder.cells(report, some)
        context.log.info(f"{DAILY} {code}: {start + len(some):,} of {len(days):,} cells recorded")
    failed = {
        daily_key(code, day): entry.reason
        for day, entry in lacking.items()
        if entry.state is CellState.FAILED
    }
    tried = attempted_partitions(context.instance, asset)
    if untold := {key: reason for key, reason in failed.items() if key not in tried}:
        tags = {EXCHANGE_TAG: code, REBUILT_TAG: context.run.run_id, RESULT_TAG: "FAILED"}
        report_failed_partitions(
            context.instance,
            dg.DagsterRun(daily_job_name(code), make_new_run_id(), tags=tags),
            asset,
            untold,
            f"{len(untold)} cell(s) of {code} are failed by the manifest; the runs that made them so are lost "
            f"(`quant-assets gaps --exchange {code}` lists what is missing)",
        )
    counts["failed"] += len(failed)
    return len(lacking) - len(failed)


def _partitions(context: dg.OpExecutionContext, store: ObjectStore, exchange: Exchange, table: str) -> int:
    """Records an exchange's partitions of a table that Dagster does not show; answers how many."""
    code = exchange.code
    shown = context.instance.get_materialized_partitions(dg.AssetKey(table))
    stored = _stored(store, exchange, table)
    lacking = [e for e in stored if table_key(table, code, e.partition) not in shown]
    for start in range(0, len(lacking), _AT_ONCE):
        some = lacking[start : start + _AT_ONCE]
        materialize_now(context, [_materialization(store, table, code, entry) for entry in some])
    context.log.info(f"{table} {code}: {len(lacking):,} of {len(stored):,} partition(s) recorded")
    return len(lacking)


def _stored(store: ObjectStore, exchange: Exchange, table: str) -> list[Entry]:
    """The partitions of a table that are there, in order; of weeks, those without a session too."""
    if table == PROFILES:
        entry = _entry(store, object_key(table, exchange.code))
        return [] if entry is None else [entry]
    entries = list(Manifest(store, table).all(exchange.code))
    return [*entries, *_closed_weeks(exchange, entries)] if table == WEEKLY else entries


def _closed_weeks(exchange: Exchange, entries: Sequence[Entry]) -> Iterator[Entry]:
    """The weeks without a session between those that are stored: they have no object and no entry."""
    known = {entry.partition for entry in entries}
    if not known:
        return
    week, last = (date.fromisoformat(edge(known)) for edge in (min, max))
    while week < last:
        if week.isoformat() not in known and not exchange.week_sessions(week):
            yield Entry(
                week.isoformat(),
                CellState.CLOSED,
                reason=f"{exchange.code} had no session in the week of {week}",
            )
        week += timedelta(weeks=1)


def _whole_table(context: dg.OpExecutionContext, store: ObjectStore, table: str) -> int:
    """Records a table without partitions, where it is stored and Dagster does not show it; 1 or 0."""
    entry = _entry(store, object_key(table))
    if entry is None or context.instance.get_latest_materialization_event(dg.AssetKey(table)) is not None:
        return 0
    materialize_now(context, [_materialization(store, table, None, entry)])
    return 1


def _entry(store: ObjectStore, key: str) -> Entry | None:
    try:
        return entry_in(store.get(key), store.uri(key))
    except ObjectNotFound:
        return None


def _materialization(
    store: ObjectStore, table: str, code: str | None, entry: Entry
) -> dg.AssetMaterialization:
    partition = entry.partition if table in TIME_DIMENSION else None
    metadata: dict[str, Any] = {"state": entry.state.value}
    if entry.version:
        metadata |= {
            "rows" if code else ROW_COUNT: entry.rows,
            "bytes": entry.size,
            "sha256": entry.content_sha256,
            "object": object_link(store.uri(object_key(table, code, partition))),
        }
    if entry.reason:
        metadata["reason"] = entry.reason
    if entry.recorded_at:
        metadata["recorded_at"] = entry.recorded_at
    key = None if code is None else table_key(table, code, entry.partition)
    return dg.AssetMaterialization(
        table,
        description=f"{entry.state.value}, as the store holds it",
        metadata=by_exchange(code, metadata),
        partition=key,
        tags={**_dimensions(table, code, entry), **_version(table, entry)},
    )


def _dimensions(table: str, code: str | None, entry: Entry) -> Mapping[str, str]:
    if code is None or table not in TIME_DIMENSION:
        return {}
    named = {"exchange": code, TIME_DIMENSION[table]: entry.partition}
    return {f"dagster/partition/{name}": value for name, value in named.items()}


def _version(table: str, entry: Entry) -> Mapping[str, str]:
    # Dagster's own, which a catalog that is made anew has as well: another one would make all cells look outdated.
    return logical_version_tags(PAGES[table].code_version) if table == CATALOG else data_version(entry)
