"""What Dagster 1.13.27 keeps of schedules, backfills and versions, where `defs/dagster_internals.py` reads it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

from quant_assets.defs.dagster_internals import (
    backfills_under_way,
    cron_ticks,
    provenance_tags,
    schedules_on,
)

NEW_YORK = ZoneInfo("America/New_York")
GRID = dg.StaticPartitionsDefinition(["a", "b", "c"])
UPSTREAM, TABLE = dg.AssetKey("upstream"), dg.AssetKey("table")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def ticks(cron: str, moment: str, count: int, *, backwards: bool = False) -> list[str]:
    found = cron_ticks(cron, "America/New_York", datetime.fromisoformat(moment), backwards=backwards)
    return [f"{tick.astimezone(UTC):%m-%d %H:%M}" for tick in islice(found, count)]


def test_ticks_are_in_the_zone_on_both_sides_of_a_change_of_clocks_and_include_the_moment() -> None:
    line = "30 16 * * 1-5"
    assert ticks(line, "2024-03-08T21:30Z", 3) == ["03-08 21:30", "03-11 20:30", "03-12 20:30"]
    assert ticks(line, "2024-03-11T20:30Z", 2, backwards=True) == ["03-11 20:30", "03-08 21:30"]
    (first,) = islice(cron_ticks(line, "America/New_York", datetime(2024, 3, 11, tzinfo=UTC)), 1)
    assert first == datetime(2024, 3, 11, 16, 30, tzinfo=NEW_YORK)


def test_an_hour_that_is_left_out_has_its_tick_after_it_and_one_that_comes_twice_has_one() -> None:
    assert ticks("30 2 * * *", "2024-03-09T12:00Z", 2) == ["03-10 07:00", "03-11 06:30"]
    assert ticks("30 1 * * *", "2024-11-02T12:00Z", 2) == ["11-03 06:30", "11-04 06:30"]


def test_schedules_that_somebody_has_turned_on_are_named_and_no_sensors() -> None:
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "__repository__")
    with dg.instance_for_test() as instance:
        for name, kind, status in (
            ("on", InstigatorType.SCHEDULE, InstigatorStatus.RUNNING),
            ("off", InstigatorType.SCHEDULE, InstigatorStatus.STOPPED),
            ("by_default", InstigatorType.SCHEDULE, InstigatorStatus.DECLARED_IN_CODE),
            ("a_sensor", InstigatorType.SENSOR, InstigatorStatus.RUNNING),
        ):
            schedule = kind is InstigatorType.SCHEDULE
            data = ScheduleInstigatorData("30 16 * * *") if schedule else SensorInstigatorData()
            origin = RemoteInstigatorOrigin(place, name)
            instance.add_instigator_state(InstigatorState(origin, kind, status, data))
        assert schedules_on(instance) == {"on"}


def test_backfills_that_have_not_ended_name_their_assets_with_the_partitions_to_make(
    instance: dg.DagsterInstance,
) -> None:
    @dg.asset(partitions_def=GRID)
    def table() -> None: ...

    graph = dg.Definitions(assets=[table]).get_repository_def().asset_graph
    for name, status in (
        ("asked", BulkActionStatus.REQUESTED),
        ("ending", BulkActionStatus.CANCELING),
        ("over", BulkActionStatus.COMPLETED_SUCCESS),
    ):
        backfill = PartitionBackfill.from_asset_partitions(
            name, graph, ["a", "c"], [TABLE], 0.0, {}, instance, False, None, None, None
        )
        instance.add_backfill(backfill.with_status(status))
    found = backfills_under_way(instance)
    assert {name: {key: sorted(keys) for key, keys in one.items()} for name, one in found.items()} == {
        "asked": {TABLE: ["a", "c"]},
        "ending": {TABLE: ["a", "c"]},
    }


def test_the_tags_of_provenance_are_those_that_dagster_gives_its_own(instance: dg.DagsterInstance) -> None:
    @dg.asset(code_version="3")
    def upstream() -> int:
        return 1

    @dg.asset(code_version="7")
    def table(upstream: int) -> int:
        return upstream

    assert provenance_tags(instance, "7", UPSTREAM) == {}
    assert dg.materialize([upstream, table], instance=instance).success
    (record,) = instance.fetch_materializations(TABLE, limit=1).records
    assert record.asset_materialization is not None
    own = record.asset_materialization.tags or {}
    tags = provenance_tags(instance, "7", UPSTREAM)
    assert len(tags) == 3
    assert {name: own.get(name) for name in tags} == tags
