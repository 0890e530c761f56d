"""What leans on Dagster's internals (1.13.27), each with its reason.

The storage of the event log is a module of its own (`event_log`, pinned by `test_event_log.py`). Here
`test_dagster_internals.py` and `test_dagster_records.py` of `quant_assets_tests/defs` pin the behaviour that each
function relies on, so that an upgrade that changes it is noticed.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    INPUT_DATA_VERSION_TAG_PREFIX,
    INPUT_EVENT_POINTER_TAG_PREFIX,
    compute_logical_data_version,
    extract_data_version_from_entry,
)
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.events import (
    AssetMaterializationPlannedData,
    DagsterEventBatchMetadata,
    generate_event_batch_id,
)
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.execution.context.metadata_logging import AssetMetadataHandle, OutputMetadataAccumulator
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._utils.schedules import schedule_execution_time_iterator

Context = dg.AssetExecutionContext | dg.OpExecutionContext

PARTITION_TAG = "dagster/partition"
PRIORITY_TAG = "dagster/priority"
"""On an op: of steps that can be executed now the one with the highest number is the next (0 without it)."""
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def partitions_of_run(tags: Mapping[str, str], grid: dg.PartitionsDefinition[Any]) -> list[str]:
    """The partition keys that a run's tags name: one, a range, or none.

    From the tags, because the run of a check alone has a partition without its job being partitioned.
    """
    if PARTITION_TAG in tags:
        return [tags[PARTITION_TAG]]
    if RANGE_START_TAG not in tags:
        return []
    return list(
        grid.get_partition_keys_in_range(dg.PartitionKeyRange(tags[RANGE_START_TAG], tags[RANGE_END_TAG]))
    )


def steps_of_run(context: Context) -> list[str]:
    """The keys of the steps that the run executes; those of a job that were not selected are not among them."""
    return list(context.get_step_execution_context().execution_plan.step_keys_to_execute)


def materialize_now(context: Context, materializations: Sequence[dg.AssetMaterialization]) -> None:
    """Stores materializations while the step is running, as one batch.

    `context.add_asset_metadata(partition_key=…)` and the framework's own events come when the step ends, and cost the
    square of the number of partitions; `context.log_event` stores at once, but one event at a time where a database
    would take a batch (DAGSTER_EVENT_BATCH_SIZE).
    """
    step = context.get_step_execution_context()
    batch = generate_event_batch_id()
    for number, materialization in enumerate(materializations, start=1):
        dg.DagsterEvent.asset_materialization(
            step, materialization, DagsterEventBatchMetadata(batch, number == len(materializations))
        )


def add_metadata_of_partitions(
    step: StepExecutionContext, asset: dg.AssetKey, metadata: Mapping[str, Mapping[str, Any]]
) -> None:
    """Metadata of many partitions (by key) for the materializations that the step's output will have.

    `add_asset_metadata(partition_key=…)` lists all partitions of the run and copies what it was given so far, each
    time: the square of their number. The keys are not checked here.
    """
    given = step._metadata_accumulator.per_output_metadata  # pyright: ignore[reportPrivateUsage]
    more = {AssetMetadataHandle(asset_key=asset, partition_key=key): value for key, value in metadata.items()}
    step._metadata_accumulator = OutputMetadataAccumulator(  # pyright: ignore[reportPrivateUsage]
        per_output_metadata={**given, **more}
    )


def output_without_materialization(
    name: str, metadata: Mapping[str, dg.MetadataValue[Any]] | None = None
) -> dg.Output[None]:
    """The output of an asset whose materializations are stored already, so that steps after it go on.

    Dagster would add a materialization of each partition to every output of an asset but those that carry this mark.
    """
    marked = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True, **(metadata or {})}
    return dg.Output(None, output_name=name, metadata=marked)


def report_check(context: Context, evaluation: dg.AssetCheckEvaluation) -> None:
    """Stores the result of a check in the name of the step, without an output of it.

    A step may yield one result a check; a range of partitions has many. A result of the whole run (`partition` None)
    takes the place of the one that was announced, any other is a row of its own.
    """
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
        job_name=context.run.job_name,
        message=f"{evaluation.check_name}: {evaluation.description or ''}",
        event_specific_data=evaluation,
        step_key=context.get_step_execution_context().step.key,
    )
    context.instance.report_dagster_event(event, context.run.run_id)


_MOST_NAMED = 1000


def failed_partitions(
    instance: dg.DagsterInstance,
    checks: Iterable[dg.AssetCheckKey],
    partitions: Collection[str] | None = None,
) -> dict[dg.AssetCheckKey, set[str]]:
    """By check, the partitions whose latest result did not pass, WARN or ERROR; of `partitions`, or of all.

    Results may name a partition though their check has no partitions, and these are what Dagster's own conditions on
    checks do not see: to them a check without partitions has one state.
    """
    failed: dict[dg.AssetCheckKey, set[str]] = {check: set() for check in checks}
    # Naming a few partitions is faster than reading all; a database takes only so many in one query.
    named = list(partitions) if partitions is not None and len(partitions) <= _MOST_NAMED else None
    storage = instance.event_log_storage
    for info in storage.get_asset_check_partition_info(list(failed), partition_keys=named):
        if (
            info.partition_key is not None
            and (partitions is None or info.partition_key in partitions)
            and info.latest_execution_status is AssetCheckExecutionRecordStatus.FAILED
        ):
            failed[info.check_key].add(info.partition_key)
    return failed


def latest_materialization(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str | None = None
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """What a check's result names as its target: the latest materialization of a partition, or of the asset.

    SQLite numbers an event once in its run and once among those of all runs; a target is named by the latter.
    """
    condition = dg.AssetRecordsFilter(asset, asset_partitions=None if partition is None else [partition])
    for record in instance.fetch_materializations(condition, limit=1).records:
        return AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
    return None


def cron_ticks(cron: str, zone: str, moment: datetime, *, backwards: bool = False) -> Iterator[datetime]:
    """The ticks of a cron line as the scheduler has them, in its zone: from `moment` on, or back from it (inclusive).

    Dagster's own, because a cron line does not tell what becomes of a tick in an hour that a change of clocks leaves
    out or repeats, and a library of our own might answer otherwise.
    """
    return schedule_execution_time_iterator(moment.timestamp(), cron, zone, ascending=not backwards)


def schedules_on(instance: dg.DagsterInstance) -> set[str]:
    """The names of the schedules that somebody has turned on; what a schedule's default is, is not recorded."""
    states = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    return {state.instigator_name for state in states if state.status is InstigatorStatus.RUNNING}


def sensors_off(instance: dg.DagsterInstance) -> set[str]:
    """The names of the sensors that somebody has turned off."""
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    return {state.instigator_name for state in states if state.status is InstigatorStatus.STOPPED}


def backfills_under_way(instance: dg.DagsterInstance) -> dict[str, dict[dg.AssetKey, Sequence[str]]]:
    """By id the asset backfills that have not ended: their assets, each with the partition keys it is to make."""
    statuses = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    found: dict[str, dict[dg.AssetKey, Sequence[str]]] = {}
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=statuses)):
        data = backfill.asset_backfill_data
        subsets = {} if data is None else data.target_subset.partitions_subsets_by_asset_key
        found[backfill.backfill_id] = {
            key: list(subsets[key].get_partition_keys()) if key in subsets else []
            for key in backfill.asset_selection or ()
        }
    return found


def provenance_tags(instance: dg.DagsterInstance, code_version: str, upstream: dg.AssetKey) -> dict[str, str]:
    """The tags that say by which code and from which version of `upstream` (no partitions) something is made.

    Dagster adds them to its own materializations and to no other. One without them is called *Unsynced* as soon as
    `upstream` is materialized again, though nothing in it has changed: all cells, every day. Without any
    materialization of `upstream` there are none.
    """
    for record in instance.fetch_materializations(upstream, limit=1).records:
        version = extract_data_version_from_entry(record.event_log_entry)
        if version is not None:
            name = upstream.to_user_string()
            return {
                CODE_VERSION_TAG: code_version,
                f"{INPUT_DATA_VERSION_TAG_PREFIX}/{name}": version.value,
                f"{INPUT_EVENT_POINTER_TAG_PREFIX}/{name}": str(record.storage_id),
            }
    return {}


def logical_version_tags(code_version: str) -> dict[str, str]:
    """The tags that Dagster itself gives to what is made by some code from no other asset."""
    version = compute_logical_data_version(code_version, {})
    return {CODE_VERSION_TAG: code_version, DATA_VERSION_TAG: version.value}


def report_failed_partitions(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    asset: dg.AssetKey,
    failed: Mapping[str, str],
    reason: str,
) -> None:
    """Has partitions (by key, with the reasons) show as failed: planned by a new `run`, which ends as failed.

    Dagster keeps no state of a partition: it is failed where the last run that was to make it has failed.
    """
    instance.add_run(run)
    for partition, why in failed.items():
        event = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
            job_name=run.job_name,
            message=f"{partition}: {why}",
            event_specific_data=AssetMaterializationPlannedData(asset, partition=partition),
        )
        instance.report_dagster_event(event, run.run_id)
    instance.report_run_failed(run, reason)


def attempted_partitions(instance: dg.DagsterInstance, asset: dg.AssetKey) -> set[str]:
    """The partitions whose last event is that a run was to make them: failed, cancelled, or under way."""
    storage = instance.event_log_storage
    return set(storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset))


def instance_id(instance: dg.DagsterInstance) -> str:
    """What tells an instance from others, as long as its databases live."""
    storage = instance.run_storage
    if isinstance(storage, SqlRunStorage):
        return storage.get_run_storage_id()
    return f"{socket.gethostname()}:{instance.root_directory}"
