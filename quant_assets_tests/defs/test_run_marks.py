"""A run whose process was killed does not stay in progress for ever."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.test_utils import create_run_for_test, instance_for_test

from quant_assets.defs.run_marks import end_dead_runs, has_died, marking_executor, run_mark

MARKS = """
import sys, time
from pathlib import Path
from quant_assets.resources.locks import one_at_a_time
with one_at_a_time(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_for_test() as instance:
        yield instance


@pytest.mark.parametrize(
    ("status", "ends_as"),
    [
        (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE),
        (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED),
        (dg.DagsterRunStatus.QUEUED, None),
    ],
)
def test_a_run_ends_when_its_process_was_killed(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus,
    ends_as: dg.DagsterRunStatus | None,
) -> None:
    held = status is not dg.DagsterRunStatus.QUEUED
    run = create_run_for_test(instance, status=status if held else dg.DagsterRunStatus.NOT_STARTED)
    # Of a run that nobody here has marked nothing is known.
    assert (end_dead_runs(instance, tmp_path), has_died(tmp_path, run.run_id)) == ([], False)
    mark = tmp_path / f"run-{run.run_id}"
    process = subprocess.Popen([sys.executable, "-c", MARKS, str(mark)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    made = time.time() - 60
    os.utime(mark, (made, made))
    assert end_dead_runs(instance, tmp_path) == []
    process.kill()
    process.wait()
    assert has_died(tmp_path, run.run_id)
    assert end_dead_runs(instance, tmp_path) == ([run.run_id] if held else [])
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is (ends_as or dg.DagsterRunStatus.NOT_STARTED)
    assert mark.exists() is not held


def test_a_mark_is_held_while_steps_are_executed_and_gone_afterwards(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    there: list[str] = []

    @dg.op
    def look(context: dg.OpExecutionContext) -> None:
        there.extend(file.name for file in tmp_path.iterdir())
        assert not has_died(tmp_path, context.run_id)

    @dg.job(executor_def=marking_executor(tmp_path))
    def marked() -> None:
        look()

    run = instance.create_run_for_job(marked)
    assert execute_run(InMemoryJob(marked), run, instance).success
    assert there == [f"run-{run.run_id}"]
    assert list(tmp_path.iterdir()) == []


def test_a_mark_that_was_just_made_is_not_that_of_a_dead_run(tmp_path: Path) -> None:
    (tmp_path / "run-a").touch()
    assert not has_died(tmp_path, "a")
    os.utime(tmp_path / "run-a", (time.time() - 6, time.time() - 6))
    assert has_died(tmp_path, "a")
    with run_mark(tmp_path, "a"):
        assert not has_died(tmp_path, "a")
    assert not has_died(tmp_path, "a")


def test_a_run_goes_on_where_its_mark_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("no folder")
    with run_mark(tmp_path / "locks", "a"):
        assert (tmp_path / "locks").read_text() == "no folder"


def test_a_mark_that_cannot_be_opened_tells_nothing(tmp_path: Path) -> None:
    """It may be another user's; the sensor that looks has other work to do."""
    (tmp_path / "run-a").symlink_to(tmp_path / "run-a")
    assert not has_died(tmp_path, "a")
