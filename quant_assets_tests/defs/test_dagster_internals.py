"""How Dagster 1.13.27 behaves where `defs/dagster_internals.py` relies on it. Red after an upgrade: read there."""

from collections.abc import Iterator, Sequence

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.automation_tick_evaluation_context import (
    build_run_requests_with_backfill_policies,
)
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.submit_asset_runs import (
    _get_execution_plan_entity_keys,  # pyright: ignore[reportPrivateUsage]
)
from dagster._core.snap import snapshot_from_execution_plan

from quant_assets.definitions import build_definitions
from quant_assets.defs.asset_checks import DESCRIPTIONS, check_key
from quant_assets.defs.dagster_internals import (
    add_metadata_of_partitions,
    failed_partitions,
    latest_materialization,
    materialize_now,
    output_without_materialization,
    partitions_of_run,
    report_check,
)
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY

GRID = dg.StaticPartitionsDefinition(["a", "b", "c"])
TABLE, CHECK = dg.AssetKey("table"), dg.AssetCheckKey(dg.AssetKey("table"), "sound")
RANGE = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def rows(instance: dg.DagsterInstance) -> list[tuple[str | None, str]]:
    """The results of the check that Dagster keeps, oldest first: partition and status."""
    history = instance.event_log_storage.get_asset_check_execution_history(CHECK, 100)
    return [(record.partition, record.status.value) for record in reversed(history)]


def test_a_backfill_asks_for_every_check_of_its_asset_and_the_plan_of_its_run_has_them_all(
    instance: dg.DagsterInstance,
) -> None:
    defs = build_definitions(Settings())
    graph = defs.get_repository_def().asset_graph
    assert isinstance(graph, AssetGraph)
    wanted = [AssetKeyPartitionKey(dg.AssetKey(DAILY), f"2024-03-{day:02}|US") for day in (4, 5, 6)]
    (request,) = build_run_requests_with_backfill_policies(wanted, graph, instance)
    named: Sequence[dg.AssetCheckKey] = request.asset_check_keys or []
    assert set(named) == {check_key(name) for name in DESCRIPTIONS}
    job = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey(DAILY)}, asset_check_selection=set(named)
    )
    plan = snapshot_from_execution_plan(create_execution_plan(job), job.get_job_snapshot_id())
    # The daemon refuses the run when one is missing here, and a check that cannot be executed is.
    assert _get_execution_plan_entity_keys(plan) == {dg.AssetKey(DAILY), *named}


@pytest.mark.parametrize("with_partitions", [False, True])
def test_a_check_with_partitions_is_announced_once_a_partition_and_one_without_once_a_run(
    instance: dg.DagsterInstance, with_partitions: bool
) -> None:
    spec = dg.AssetCheckSpec("sound", asset="table", partitions_def=GRID if with_partitions else None)

    @dg.multi_asset(
        specs=[dg.AssetSpec("table", skippable=True)],
        check_specs=[spec],
        partitions_def=GRID,
        can_subset=True,
    )
    def table() -> Iterator[dg.Output[None]]:
        yield from ()

    assert dg.materialize([table], instance=instance, tags=RANGE).success
    announced = [(key, "PLANNED") for key in ("a", "b", "c")] if with_partitions else [(None, "PLANNED")]
    assert sorted(rows(instance), key=str) == announced


def test_materializations_are_stored_while_the_step_runs_and_its_output_adds_none(
    instance: dg.DagsterInstance,
) -> None:
    seen: list[set[str]] = []
    after: list[str] = []

    @dg.multi_asset(specs=[dg.AssetSpec("table", skippable=True)], partitions_def=GRID, can_subset=True)
    def table(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        for pair in (("a",), ("b", "c")):
            materialize_now(context, [dg.AssetMaterialization("table", partition=key) for key in pair])
            seen.append(set(context.instance.get_materialized_partitions(TABLE)))
        yield output_without_materialization("table")

    @dg.asset(deps=[table])
    def next_table() -> None:
        after.append("ran")

    assert dg.materialize([table, next_table], instance=instance, tags=RANGE).success
    assert seen == [{"a"}, {"a", "b", "c"}]
    stored = instance.fetch_materializations(TABLE, limit=10).records
    assert sorted(str(record.partition_key) for record in stored) == ["a", "b", "c"]
    assert after == ["ran"]


def test_metadata_of_many_partitions_comes_with_their_materializations_as_if_added_one_by_one(
    instance: dg.DagsterInstance,
) -> None:
    def stored(at_once: bool) -> dict[str | None, dict[str, object]]:
        class Manager(dg.ConfigurableIOManager):
            def handle_output(self, context: dg.OutputContext, obj: object) -> None:
                step = context.step_context
                step.add_asset_metadata({"rows": 0, "kept": "yes"}, asset_key=TABLE)
                found = {key: {"rows": len(key), "name": key} for key in context.asset_partition_keys}
                if at_once:
                    add_metadata_of_partitions(step, TABLE, found)
                    return
                for key, metadata in found.items():
                    step.add_asset_metadata(metadata, asset_key=TABLE, partition_key=key)

            def load_input(self, context: dg.InputContext) -> None: ...

        @dg.asset(partitions_def=GRID, backfill_policy=dg.BackfillPolicy.single_run())
        def table() -> int:
            return 1

        resources = {"io_manager": Manager()}
        assert dg.materialize([table], instance=instance, tags=RANGE, resources=resources).success
        records = instance.fetch_materializations(TABLE, limit=3).records
        return {
            record.partition_key: {
                name: value.value
                for name, value in record.asset_materialization.metadata.items()  # pyright: ignore
            }
            for record in records
        }

    assert stored(at_once=True) == stored(at_once=False)
    assert stored(at_once=True)["b"] == {"rows": 1, "kept": "yes", "name": "b"}


def test_a_result_of_the_run_takes_the_announced_row_and_one_of_a_partition_is_a_row_of_its_own(
    instance: dg.DagsterInstance,
) -> None:
    @dg.multi_asset(
        specs=[dg.AssetSpec("table", skippable=True)],
        check_specs=[dg.AssetCheckSpec("sound", asset="table")],
        partitions_def=GRID,
        can_subset=True,
    )
    def table(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        materialize_now(context, [dg.AssetMaterialization("table", partition=key) for key in ("a", "b")])
        for partition, passed in (("a", False), ("b", False), ("b", True), (None, False)):
            target = latest_materialization(context.instance, TABLE, partition)
            report_check(
                context,
                dg.AssetCheckEvaluation(
                    TABLE, "sound", passed, severity=dg.AssetCheckSeverity.WARN, partition=partition,
                    target_materialization_data=target,
                ),
            )  # fmt: skip
        yield from ()

    assert dg.materialize([table], instance=instance, tags=RANGE).success
    # The row that was announced stays the first; a second result of a partition in one run replaces the first.
    assert rows(instance) == [(None, "FAILED"), ("a", "FAILED"), ("b", "SUCCEEDED")]
    # WARN or ERROR: what did not pass is failed to Dagster. A result without a partition is none of a partition.
    assert failed_partitions(instance, [CHECK]) == {CHECK: {"a"}}
    history = instance.event_log_storage.get_asset_check_execution_history(CHECK, 10)
    targets = [record.evaluation.target_materialization_data for record in history if record.evaluation]
    by_partition = {
        str(r.partition_key): r.storage_id for r in instance.fetch_materializations(TABLE, 10).records
    }
    assert [target and target.storage_id for target in targets] == [
        by_partition["b"], by_partition["a"], by_partition["b"],
    ]  # fmt: skip


def test_the_partitions_of_a_run_are_read_from_its_tags() -> None:
    assert partitions_of_run({"dagster/partition": "b"}, GRID) == ["b"]
    assert partitions_of_run(RANGE, GRID) == ["a", "b", "c"]
    assert partitions_of_run({}, GRID) == []
