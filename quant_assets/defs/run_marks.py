"""Runs whose process has ended without a word: told by a lock, which ends with the process however that ends.

Where runs are processes of one machine Dagster does not notice the end of one, so that it would keep its place among
those that may run at once, and hold up whoever waits for it. Over several machines no lock tells: there whoever takes
a run renews a mark in the Redis that they share (`celery_runs`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import IN_PROC_CONFIG
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

from quant_assets.defs.run_audit import failure_of
from quant_assets.resources.locks import one_at_a_time
from quant_assets.resources.shared_redis import SharedRedis

_FRESH = 5.0
"""Seconds in which a mark that was just made may not be locked yet."""
_IN_PROGRESS = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@contextmanager
def run_mark(folder: Path, run_id: str) -> Generator[None]:
    """Marks a run as one of this process while the context lasts."""
    file = _file(folder, run_id)
    with contextlib.ExitStack() as held:
        # On a full disk there is no mark; what else that means is for the run itself to say.
        with contextlib.suppress(OSError):
            held.enter_context(one_at_a_time(file))
            held.callback(file.unlink, missing_ok=True)
        yield


def has_died(folder: Path, run_id: str) -> bool:
    """Whether a run was marked by a process that is no more. False of one that nobody here has marked, and
    where the mark cannot be read."""
    try:
        descriptor = os.open(_file(folder, run_id), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return time.time() - os.fstat(descriptor).st_mtime > _FRESH
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def end_dead_runs(instance: dg.DagsterInstance, folder: Path, shared: SharedRedis | None = None) -> list[str]:
    """Marks runs that are in progress by the records, and whose process is no more, as ended; answers their ids.

    With `shared` also those that a worker on whatever machine has taken and been silent about since.
    """
    statuses = _IN_PROGRESS if shared is None else [*_IN_PROGRESS, dg.DagsterRunStatus.STARTING]
    dead = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=statuses))
        if has_died(folder, run.run_id) or (shared is not None and shared.is_silent(run.run_id))
    ]
    for run in dead:
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "the run's process has ended")
        else:
            instance.report_run_failed(run, "the run's process has ended without a word: it was killed")
        with contextlib.suppress(OSError):
            _file(folder, run.run_id).unlink()
        if shared is not None:
            shared.forget(run.run_id)
    return [run.run_id for run in dead]


def queue_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Has runs queued again that the queue of the workers has lost (see `celery_runs`); answers their ids.

    None where runs are no messages.
    """
    if not instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
        return []
    # By its name: the class comes with the extra `celery`.
    again: Any = getattr(instance.run_launcher, "queue_again", None)
    return [] if again is None else list(again())


Ended = Callable[[dg.DagsterInstance, str, str], None]
"""What is told of a run whose steps are over: the instance, its id, and why its first failed step failed."""


def marking_executor(folder: Path, ended: Ended = lambda _, __, ___: None) -> dg.ExecutorDefinition:
    """Executes a run's steps in the run's own process, marks it as long as it does, and tells `ended`."""

    @dg.executor(name="in_process", config_schema=IN_PROC_CONFIG)
    def in_process(context: dg.InitExecutorContext) -> InProcessExecutor:
        config: Any = context.executor_config
        retries = RetryMode.from_config(config["retries"]) or RetryMode.ENABLED
        return _MarkingExecutor(retries, folder, ended)

    return in_process


class _MarkingExecutor(InProcessExecutor):
    def __init__(self, retries: RetryMode, folder: Path, ended: Ended) -> None:
        super().__init__(retries)
        self._folder, self._ended = folder, ended

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        why = ""
        with run_mark(self._folder, plan_context.run_id):
            try:
                for event in super().execute(plan_context, execution_plan):
                    if event.is_step_failure and not why:
                        why = failure_of(event)
                    yield event
            finally:
                self._ended(plan_context.instance, plan_context.run_id, why)


def _file(folder: Path, run_id: str) -> Path:
    return folder / f"run-{run_id}"
