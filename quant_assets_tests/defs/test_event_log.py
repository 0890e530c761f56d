"""The event log whose connections stay open (Dagster 1.13.27): what is in it is what Dagster's own would hold."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from quant_assets.defs.event_log import OpenEventLogStorage
from quant_assets.instance import INSTANCE_FILE, open_instance
from quant_assets.resources.settings import Settings

GRID = dg.StaticPartitionsDefinition([f"p{number}" for number in range(12)])
CELLS = dg.AssetKey("cells")


@dg.asset(
    name="cells",
    code_version="1",
    partitions_def=GRID,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("sound", asset="cells")],
)
def cells(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    for key in context.partition_keys:
        context.log_event(dg.AssetObservation("cells", partition=key, metadata={"seen": 1}))
    return dg.MaterializeResult(
        metadata={"rows": 7},
        data_version=dg.DataVersion("1"),
        tags={"quant_assets/state": "complete"},
        check_results=[dg.AssetCheckResult(passed=True)],
    )


@dg.asset(name="fails", partitions_def=GRID, backfill_policy=dg.BackfillPolicy.single_run())
def fails() -> None:
    raise ValueError("no")


def own_home(folder: Path) -> Path:
    """A folder whose event log is Dagster's own."""
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return folder


def our_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text(INSTANCE_FILE)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


def run(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> str:
    tags = {"dagster/asset_partition_range_start": "p0", "dagster/asset_partition_range_end": "p11"}
    return dg.materialize([asset], instance=instance, tags=tags, raise_on_error=False).run_id


def held(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the pages of Dagster are made of, after a run of each asset."""
    found: dict[str, Any] = {}
    for asset in (cells, fails):
        key, run_id = asset.key, run(asset, instance)
        entries = [record.event_log_entry for record in instance.get_records_for_run(run_id).records]
        found[f"{key} run"] = [
            (e.dagster_event_type, e.get_dagster_event().asset_key, e.get_dagster_event().partition)
            for e in entries
            if e.is_dagster_event
        ]
        found[f"{key} status"] = instance.get_run_stats(run_id).materializations
        found[f"{key} partitions"] = sorted(instance.get_materialized_partitions(key))
        statuses = instance.get_status_by_partition(key, [f"p{n}" for n in range(12)], GRID) or {}
        found[f"{key} states"] = {name: str(state) for name, state in statuses.items()}
        (record,) = instance.get_asset_records([key])
        entry = record.asset_entry
        materialization = entry.last_materialization
        found[f"{key} latest"] = (
            None if materialization is None else materialization.asset_materialization,
            entry.last_run_id == run_id,
            entry.last_materialization_record is None,
        )
        found[f"{key} tags"] = instance.get_event_tags_for_asset(key)
        for kind in (
            dg.DagsterEventType.ASSET_OBSERVATION,
            dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        ):
            records = instance.get_event_records(dg.EventRecordsFilter(kind, asset_key=key))
            found[f"{key} {kind}"] = [(one.partition_key, one.run_id == run_id) for one in records]
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(CELLS, "sound"), limit=20
    )
    found["checks"] = [(one.status.value, one.partition) for one in checks]
    found["failures"] = len(
        instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=9).records
    )
    return found


@pytest.mark.parametrize("batch", ["500", "5", "0"])
def test_a_run_leaves_what_it_leaves_in_dagsters_own_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: str
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    with dg.DagsterInstance.from_config(str(own_home(tmp_path / "own"))) as instance:
        expected = held(instance)
    assert len(expected["AssetKey(['cells']) partitions"]) == 12
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", batch)
    ours = our_home(tmp_path / "ours", monkeypatch)
    with dg.DagsterInstance.from_config(str(ours)) as instance:
        assert isinstance(instance.event_log_storage, OpenEventLogStorage)
        assert held(instance) == expected
    # Each storage goes on with what the other has begun.
    (ours / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(ours)) as instance:
        assert not isinstance(instance.event_log_storage, OpenEventLogStorage)
        assert len(instance.get_materialized_partitions(CELLS)) == 12
        run(cells, instance)
        assert len(instance.fetch_materializations(CELLS, limit=99).records) == 24


WRITER = """
import os, sys
import dagster as dg
name, count = sys.argv[1], int(sys.argv[2])
with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
    for number in range(count):
        instance.report_runless_asset_event(dg.AssetMaterialization("shared", partition=f"{name}{number}"))
        print(number, flush=True)
"""


def writer(name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_two_processes_and_one_that_is_killed_lose_nothing_that_was_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = our_home(tmp_path, monkeypatch)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        calm, killed = writer("a", 40), writer("b", 100_000)
        assert killed.stdout is not None
        acknowledged = -1
        while acknowledged < 20:
            acknowledged = int(killed.stdout.readline())
        os.killpg(killed.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in killed.stdout.read().split()[:-1])])
        assert calm.wait(60) == 0
        killed.wait(60)
        partitions = instance.get_materialized_partitions(dg.AssetKey("shared"))
        assert {f"a{n}" for n in range(40)} | {f"b{n}" for n in range(acknowledged + 1)} <= partitions


def test_a_fork_uses_no_connection_of_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.from_config(str(our_home(tmp_path, monkeypatch))) as instance:
        for number in range(3):
            instance.report_runless_asset_event(
                dg.AssetMaterialization("shared", partition=f"before{number}")
            )
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    event = dg.AssetMaterialization("shared", partition=f"child{number}")
                    instance.report_runless_asset_event(event)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            instance.report_runless_asset_event(dg.AssetMaterialization("shared", partition=f"after{number}"))
        assert instance.get_materialized_partitions(dg.AssetKey("shared")) == {
            f"{name}{number}" for name in ("before", "child", "after") for number in range(3)
        }


def test_a_database_that_was_removed_meanwhile_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = our_home(tmp_path, monkeypatch)
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        dg.DagsterInstance.from_config(str(home)) as other,
    ):
        first = run(cells, instance)
        # The other one removes the files that this one has open.
        other.event_log_storage.wipe()
        assert instance.get_records_for_run(first).records == []
        second = run(cells, instance)
        assert len(instance.get_records_for_run(second).records) > 12
        assert len(other.get_records_for_run(second).records) > 12
        instance.event_log_storage.wipe()
        assert instance.get_materialized_partitions(CELLS) == set()


def test_the_database_of_a_run_is_begun_as_dagster_begins_it(tmp_path: Path) -> None:
    def begun(log: SqliteEventLogStorage, run: str) -> tuple[list[Any], ...]:
        with log.run_connection(run):
            pass
        database = sqlite3.connect(log.path_for_shard(run))
        try:
            asked = (
                "SELECT type, name, sql FROM sqlite_master",
                "SELECT * FROM alembic_version",
                "PRAGMA journal_mode",
            )
            return tuple(sorted(database.execute(one).fetchall()) for one in asked)
        finally:
            database.close()

    theirs, ours = (
        SqliteEventLogStorage(str(tmp_path / "theirs")),
        OpenEventLogStorage(str(tmp_path / "ours")),
    )
    wanted = begun(theirs, "one")
    assert wanted[1:] != ([], [])
    assert [begun(ours, run) for run in ("one", "two", "one")] == [wanted] * 3
    files = {path.name for path in (tmp_path / "ours").iterdir()}
    assert {name for name in files if not name.endswith(("-shm", "-wal"))} == {"index.db", "one.db", "two.db"}


def test_where_files_cannot_be_linked_the_database_of_a_run_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refused)
    log = OpenEventLogStorage(str(tmp_path))
    assert log.get_records_for_run("one").records == []
    assert {path.name for path in tmp_path.iterdir() if "-" not in path.suffix} == {"index.db", "one.db"}


def test_only_so_many_connections_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.from_config(str(our_home(tmp_path, monkeypatch))) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("shared"))
        for number in range(40):
            instance.get_records_for_run(f"run-{number}")
        files = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
        open_now = [file for file in files if file.startswith(str(tmp_path)) and file.endswith(".db")]
        assert 1 < len(open_now) <= 18
        assert any(file.endswith("index.db") for file in open_now)


def test_another_folder_than_dagsters_home_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = our_home(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    with pytest.raises(dg.DagsterInvariantViolationError, match=rf"DAGSTER_HOME is {tmp_path}/other"):
        dg.DagsterInstance.from_config(str(home))


def test_the_file_of_an_earlier_version_is_renewed_and_one_that_was_changed_is_not(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    file = settings.dagster_home / "dagster.yaml"
    file.parent.mkdir()
    former = (
        INSTANCE_FILE[: INSTANCE_FILE.index("storage:")] + INSTANCE_FILE[INSTANCE_FILE.index("telemetry:") :]
    )
    file.write_text(former)
    with open_instance(settings) as instance:
        assert isinstance(instance.event_log_storage, OpenEventLogStorage)
    assert file.read_text() == INSTANCE_FILE
    file.write_text(former + "# mine\n")
    with open_instance(settings) as instance:
        assert not isinstance(instance.event_log_storage, OpenEventLogStorage)
    assert file.read_text().endswith("# mine\n")
