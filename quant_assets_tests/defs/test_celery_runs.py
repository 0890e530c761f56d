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
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test, instance_for_test

from quant_assets.cli.usage import UsageProblem
from quant_assets.cli.worker import worker
from quant_assets.defs.run_marks import end_dead_runs
from quant_assets.dev.redis_server import RedisServer, redis_server
from quant_assets.instance import INSTANCE_FILE, instance_file
from quant_assets.resources import shared_redis
from quant_assets.resources.shared_redis import SharedRedis
from quant_assets_tests.support import NEEDS_REDIS

pytestmark = NEEDS_REDIS


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server("S3CRET") as started:
        yield started


def silent(shared: SharedRedis, run_id: str, seconds: int) -> None:
    shared.client.hset(f"{shared.prefix}runs", run_id, str(int(time.time()) - seconds))


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
    assert told["concurrency"]["runs"]["max_concurrent_runs"] == 3
    assert not told["run_retries"]["retry_on_asset_or_op_failure"]


def test_a_launcher_takes_the_silence_of_a_worker_for_its_death(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dagster_celery")
    from quant_assets.defs import celery_runs

    monkeypatch.setenv("QUANT_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("QUANT_ASSETS_SHARED_REDIS", server.url)
    monkeypatch.setenv("QUANT_ASSETS_WORKERS", "2")
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
    pytest.importorskip("dagster_celery")
    from quant_assets.defs import celery_runs

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


def test_what_forks_has_not_loaded_polars() -> None:
    pytest.importorskip("dagster_celery")
    code = (
        "import sys; from quant_assets.cli import worker; import quant_assets.instance; "
        "import quant_assets.defs.celery_runs; print(sorted({'polars', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
