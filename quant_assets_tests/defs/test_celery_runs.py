"""Runs on celery workers: a silent one is told from one that works, and nothing heavy is loaded to fork."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import pack_value

from quant_assets.cli.usage import UsageProblem
from quant_assets.cli.worker import worker
from quant_assets.defs import celery_runs
from quant_assets.defs.run_marks import end_dead_runs, queue_lost_runs
from quant_assets.dev.redis_server import RedisServer, redis_server
from quant_assets.instance import INSTANCE_FILE, instance_file, open_instance
from quant_assets.resources import shared_redis
from quant_assets.resources.settings import Settings, load_settings
from quant_assets.resources.shared_redis import SharedRedis
from quant_assets_tests.defs.scheduler import REPOSITORY
from quant_assets_tests.support import NEEDS_REDIS

pytestmark = NEEDS_REDIS


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server("S3CRET") as started:
        yield started


def silent(shared: SharedRedis, run_id: str, seconds: int) -> None:
    shared.client.hset(f"{shared.prefix}runs", run_id, str(int(time.time()) - seconds))


def of_workers(monkeypatch: pytest.MonkeyPatch, home: Path, server: RedisServer) -> Settings:
    """The settings of an instance whose runs go to two workers."""
    monkeypatch.setenv("QUANT_ASSETS_HOME", str(home))
    monkeypatch.setenv("QUANT_ASSETS_SHARED_REDIS", server.url)
    monkeypatch.setenv("QUANT_ASSETS_WORKERS", "2")
    return load_settings()


def test_runs_of_silent_workers_are_ended_and_those_of_others_are_not(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedRedis(server.url, "store")
    with instance_for_test() as instance:
        made = {
            name: create_run_for_test(instance, status=status).run_id
            for name, status in {
                "dead": dg.DagsterRunStatus.STARTED,
                "dead while it began": dg.DagsterRunStatus.STARTING,
                "cancelled and dead": dg.DagsterRunStatus.CANCELING,
                "alive": dg.DagsterRunStatus.STARTED,
                "queued": dg.DagsterRunStatus.STARTING,
            }.items()
        }
        for name, run_id in made.items():
            if name != "queued":
                silent(shared, run_id, 10 if name == "alive" else 31)
        # A Redis that was started just now has marks that nobody could renew.
        assert end_dead_runs(instance, tmp_path, shared) == []
        monkeypatch.setattr(shared_redis, "LEASE_SECONDS", 0.5)
        for name in ("alive",):
            silent(shared, made[name], 0)
        time.sleep(1.1)
        silent(shared, made["alive"], 0)
        assert set(end_dead_runs(instance, tmp_path, shared)) == {
            made["dead"], made["dead while it began"], made["cancelled and dead"],
        }  # fmt: skip
        states = {name: run.status for name, i in made.items() if (run := instance.get_run_by_id(i))}
        assert states == {
            "dead": dg.DagsterRunStatus.FAILURE,
            "dead while it began": dg.DagsterRunStatus.FAILURE,
            "cancelled and dead": dg.DagsterRunStatus.CANCELED,
            "alive": dg.DagsterRunStatus.STARTED,
            "queued": dg.DagsterRunStatus.STARTING,
        }
        assert shared.seen(made["dead"]).ago is None
        server.kill()
        assert end_dead_runs(instance, tmp_path, shared) == []


def test_the_instance_file_names_the_launcher_only_where_there_are_workers() -> None:
    assert instance_file(postgres=False, workers=0) == INSTANCE_FILE
    assert "run_launcher" not in yaml.safe_load(INSTANCE_FILE)
    told = yaml.safe_load(instance_file(postgres=True, workers=3))
    assert told["run_launcher"]["class"] == "WorkersRunLauncher"
    assert told["run_coordinator"]["class"] == "ExchangeRunCoordinator"
    assert told["concurrency"]["runs"]["max_concurrent_runs"] == 3
    assert not told["run_retries"]["retry_on_asset_or_op_failure"]


def test_the_queue_gives_runs_that_fill_one_exchange_its_tag(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_workers(monkeypatch, tmp_path, server)

    def over(first: str, last: str) -> dict[str, str]:
        return {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }

    # What an earlier release has written is replaced.
    now = instance_file(postgres=False, workers=2)
    before = now[: now.index("run_coordinator:")] + now[now.index("run_launcher:") :]
    file = load_settings().dagster_home / "dagster.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(before, encoding="utf-8")
    with open_instance(load_settings()) as instance:
        assert file.read_text(encoding="utf-8") == now
        (limit,) = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits

        def queued(table: str, tags: dict[str, str]) -> str | None:
            run = create_run_for_test(
                instance,
                "__ASSET_JOB",
                tags=tags,
                status=dg.DagsterRunStatus.NOT_STARTED,
                asset_selection={dg.AssetKey(table)},
                remote_job_origin=REPOSITORY.get_job_origin("__ASSET_JOB"),
            )
            run = instance.run_coordinator.submit_run(SubmitRunContext(run, None))
            assert run.status is dg.DagsterRunStatus.QUEUED
            return run.tags.get(limit["key"])

        assert queued("daily_prices", over("2012-01-03|ASX", "2012-02-03|ASX")) == "ASX"
        assert queued("daily_prices", {"dagster/partition": "2012-01-03|US"}) == "US"
        assert queued("daily_prices", over("2012-01-03|ASX", "2012-02-03|US")) is None
        assert queued("daily_prices", {limit["key"]: "LSE"}) == "LSE"
        # What asks for nothing needs no turn.
        assert queued("price_history", {"dagster/partition": "ASX|2012"}) is None


def test_a_launcher_takes_the_silence_of_a_worker_for_its_death(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_workers(monkeypatch, tmp_path, server)
    launcher = celery_runs.WorkersRunLauncher()
    shared = SharedRedis(server.url, str(tmp_path / "store"))
    with instance_for_test() as instance:
        run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)

        def health() -> WorkerStatus:
            return launcher.check_run_worker_health(run).status

        assert health() is WorkerStatus.RUNNING
        for module in (shared_redis, celery_runs):
            monkeypatch.setattr(module, "LEASE_SECONDS", 0.5)
        time.sleep(1.1)
        silent(shared, run.run_id, 0)
        assert health() is WorkerStatus.RUNNING
        silent(shared, run.run_id, 2)
        assert health() is WorkerStatus.FAILED
        # Without a mark: the time to make one is up.
        assert health() is WorkerStatus.RUNNING
        time.sleep(1.1)
        assert health() is WorkerStatus.FAILED
        server.kill()
        assert health() is WorkerStatus.RUNNING


def test_a_worker_without_a_queue_says_which_settings_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_ASSETS_HOME", str(tmp_path))
    with pytest.raises(UsageProblem, match="QUANT_ASSETS_SHARED_REDIS, and QUANT_ASSETS_WORKERS"):
        worker()
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_run_is_told_apart_from_a_failed_one(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("QUANT_ASSETS_SHARED_REDIS", server.url)
    launcher = celery_runs.WorkersRunLauncher()
    with instance_for_test() as instance:
        launcher.register_instance(instance)
        queued = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED).run_id
        # Not with a worker yet.
        assert not launcher.terminate(queued)
        instance.add_run_tags(queued, {"dagster-celery/task_id": "1"})
        assert launcher.terminate(queued)
        run = instance.get_run_by_id(queued)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.CANCELING


@dg.job
def nothing() -> None:
    """A job without ops."""


def test_runs_that_redis_has_lost_are_queued_again_once(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = of_workers(monkeypatch, tmp_path, server)
    shared = SharedRedis(server.url, settings.store_location)
    with open_instance(settings) as instance:
        queue = f"{shared.prefix}celery:dagster"
        runs = {}
        for name in ("taken", "queued", "urgent"):
            tags = {"dagster-celery/run_priority": "7"} if name == "urgent" else {}
            origin = dg.reconstructable(nothing).get_python_origin()
            run = create_run_for_test(
                instance, status=dg.DagsterRunStatus.STARTING, job_code_origin=origin, tags=tags
            )
            instance.run_launcher.launch_run(LaunchRunContext(run, None))
            runs[name] = run.run_id

        def messages() -> int:
            return sum(shared.client.llen(key) for key in shared.client.scan_iter(f"{queue}*"))

        monkeypatch.setattr(celery_runs, "LEASE_SECONDS", 0.5)
        with shared.mark(runs["taken"]):
            # A worker has taken the first message.
            shared.client.rpop(queue)
            for _ in range(2):
                assert queue_lost_runs(instance) == []
                time.sleep(1.1)
            for lose in (shared.client.flushall, lambda: (server.kill(), server.start())):
                lose()
                # Nothing at first: a worker that has one of them marks it within seconds.
                assert queue_lost_runs(instance) == []
                marked = (f"{shared.prefix}runs", runs["taken"], int(time.time()))
                shared.asked(lambda marked=marked: shared.client.hset(*marked))
                time.sleep(1.1)
                assert set(queue_lost_runs(instance)) == {runs["queued"], runs["urgent"]}
                assert messages() == 2
                assert queue_lost_runs(instance) == []
        (task,) = {
            run.tags["dagster-celery/task_id"] for run in instance.get_runs() if run.run_id == runs["queued"]
        }
        assert task.encode() in shared.client.lrange(queue, 0, -1)[0]
        told = [record.message for record in instance.all_logs(runs["queued"])]
        assert sum("Redis has lost the message of this run" in line for line in told) == 2
        server.kill()
        assert queue_lost_runs(instance) == []


def test_a_worker_leaves_a_run_alone_that_another_one_has(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = of_workers(monkeypatch, tmp_path, server)
    shared = SharedRedis(server.url, settings.store_location)
    with open_instance(settings) as instance:
        origin = dg.reconstructable(nothing).get_python_origin()
        run = create_run_for_test(
            instance, job_name="nothing", status=dg.DagsterRunStatus.STARTING, job_code_origin=origin
        )
        args = pack_value(ExecuteRunArgs(origin, run.run_id, instance.get_ref(), True))
        execute = celery_runs.worker_app(settings).tasks["execute_job"].run
        with shared.mark(run.run_id):
            assert execute(args) == 0
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status is dg.DagsterRunStatus.STARTING
        execute(args)
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status is dg.DagsterRunStatus.SUCCESS


def test_what_forks_has_not_loaded_polars() -> None:
    code = (
        "import sys; from quant_assets.cli import worker; import quant_assets.instance; "
        "import quant_assets.defs.celery_runs; print(sorted({'polars', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
