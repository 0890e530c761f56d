"""Dagster's runs as tasks of celery workers, on whatever machine these are: one run a worker, queued in the Redis
that they share (`QUANT_ASSETS_SHARED_REDIS`).

A message is taken off the queue when a worker begins with it. From then on the worker renews a mark; of a worker that
was killed it falls silent, the run is ended as failed (by the sensor `new_symbols` or by Dagster's run monitoring,
whichever looks first), and Dagster's run retries start another one, which asks for what is missing. A run whose
message Redis has lost (it came back empty) before a worker took it is queued again by the same sensor.
Needs the extra `celery`. Imports nothing heavy: workers fork, and polars' threads do not survive that.
"""

from __future__ import annotations

import signal
import ssl
import time
from collections.abc import Mapping
from typing import Any

import dagster as dg
from celery import Celery
from celery.signals import worker_process_init
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, unpack_value
from dagster._utils.interrupts import setup_interrupt_handlers
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.make_app import make_app
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from dagster_celery.tasks import create_execute_job_task
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel

from quant_assets.resources.settings import Settings, load_settings
from quant_assets.resources.shared_redis import LEASE_SECONDS, SharedRedis, SharedRedisAway, wait_for

_QUEUE = "dagster"
"""dagster-celery declares no other."""
_PREFIX = "celery:"
_PATIENCE_SECONDS = 900.0


def celery_settings(settings: Settings) -> dict[str, Any]:
    """How dispatcher and workers use celery: one run at a time and a process for each, nothing taken in advance."""
    shared = SharedRedis(settings.shared_redis.get_secret_value(), settings.store_location)
    options = {"global_keyprefix": f"{shared.prefix}{_PREFIX}"}
    shared.close()
    url = settings.shared_redis.get_secret_value()
    # Celery wants to be told what redis-py does by itself: that the server's certificate is looked at.
    tls = {"ssl_cert_reqs": ssl.CERT_REQUIRED} if url.startswith("rediss://") else None
    return {
        "broker_url": url,
        "result_backend": url,
        "broker_use_ssl": tls,
        "redis_backend_use_ssl": tls,
        "result_expires": 86_400,
        "broker_transport_options": options,
        "result_backend_transport_options": options,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_default_queue": _QUEUE,
        # What a worker had taken in advance would wait for its long run, or be lost with it.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_concurrency": 1,
        "worker_max_tasks_per_child": 1,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


class WorkersRunLauncher(CeleryRunLauncher):
    """dagster-celery's, on the Redis of the settings, and told by the marks in it when a worker was killed."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        settings = load_settings()
        self._marks = SharedRedis(settings.shared_redis.get_secret_value(), settings.store_location)
        self._unmarked: dict[str, float] = {}
        super().__init__(
            default_queue=_QUEUE,
            broker=settings.shared_redis.get_secret_value(),
            backend=settings.shared_redis.get_secret_value(),
            config_source=celery_settings(settings),
            inst_data=inst_data,
        )

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> WorkersRunLauncher:
        return cls(inst_data)

    @property
    def supports_resume_run(self) -> bool:
        return False

    def dispose(self) -> None:
        self._marks.close()
        self.celery.close()
        super().dispose()

    def launch_run(self, context: LaunchRunContext) -> None:
        """Queues a run; while Redis is away it waits, since a launch that fails would end the run.

        Raises SharedRedisAway after a quarter of an hour.
        """
        run = context.dagster_run
        wait_for(
            self._marks,
            _PATIENCE_SECONDS,
            lambda why: self._instance.report_engine_event(f"Waits to be queued: {why}", run),
        )
        super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Has the worker of a run interrupt it; one that still waits for a worker is dropped when its turn comes."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        # dagster-celery does not say so, and the run would count as failed.
        self._instance.report_run_canceling(run)
        return super().terminate(run_id)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        if self._marks.is_silent(run.run_id) or self._never_marked(run.run_id):
            self._unmarked.pop(run.run_id, None)
            self._marks.forget(run.run_id)
            return CheckRunHealthResult(
                WorkerStatus.FAILED,
                "its worker is silent: it was killed, or its machine does not reach Redis",
            )
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def queue_again(self) -> list[str]:
        """Queues those runs again that Redis has lost before a worker took them; answers their ids.

        A run counts as lost when its message is not in the queue and no worker marks it, for a lease's time over
        several calls. Should it be with a worker all the same, Dagster drops the message of a run that has begun.
        """
        starting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])
        # Without the tag it is about to be queued.
        runs = [run for run in self._instance.get_runs(starting) if DAGSTER_CELERY_TASK_ID_TAG in run.tags]
        if not runs:
            return []
        try:
            messages = self._messages()
            lost = [run for run in runs if self._is_lost(run, messages)]
        except SharedRedisAway:
            return []
        again: list[str] = []
        for run in lost:
            self._instance.report_engine_event("Redis has lost the message of this run: queued again", run)
            try:
                super().launch_run(LaunchRunContext(run, None))
            except OperationalError:
                # Redis is away again; it is missed as before.
                break
            self._marks.not_missed(run.run_id)
            again.append(run.run_id)
        return again

    def _messages(self) -> list[bytes]:
        """Celery's messages that wait, and those that a worker has just taken. Raises SharedRedisAway."""
        of_celery = f"{self._marks.prefix}{_PREFIX}"
        queues = [f"{_QUEUE}{Channel.sep}{step}" if step else _QUEUE for step in Channel.priority_steps]

        def ask() -> list[bytes]:
            with self._marks.client.pipeline(transaction=True) as pipe:
                for queue in queues:
                    pipe.lrange(f"{of_celery}{queue}", 0, -1)
                pipe.hvals(f"{of_celery}{Channel.unacked_key}")
                return [message for found in pipe.execute() for message in found]

        return self._marks.asked(ask)

    def _is_lost(self, run: dg.DagsterRun, messages: list[bytes]) -> bool:
        task = run.tags[DAGSTER_CELERY_TASK_ID_TAG].encode()
        if any(task in message for message in messages) or self._marks.seen(run.run_id).ago is not None:
            self._marks.not_missed(run.run_id)
            return False
        return self._marks.missed_for(run.run_id) > LEASE_SECONDS

    def get_run_worker_debug_info(
        self, run: dg.DagsterRun, include_container_logs: bool | None = True
    ) -> str | None:
        return None

    def _never_marked(self, run_id: str) -> bool:
        """Whether no worker has marked a run that has begun, though it had the time: a Redis that has lost its marks
        has those again after seconds."""
        try:
            seen = self._marks.seen(run_id)
        except SharedRedisAway:
            return False
        if seen.ago is not None or seen.up < 2 * LEASE_SECONDS:
            self._unmarked.pop(run_id, None)
            return False
        return time.monotonic() - self._unmarked.setdefault(run_id, time.monotonic()) > 2 * LEASE_SECONDS


def worker_app(settings: Settings) -> Celery:
    """The application of a worker: it takes runs, and marks each as long as it lasts."""
    app = make_app({"config_source": celery_settings(settings), "task_default_queue": _QUEUE})
    execute = create_execute_job_task(app)
    shared = settings.shared_redis.get_secret_value()
    run = execute.run

    def marked(execute_job_args_packed: Any) -> int:
        args = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs)
        # A connection of this process: it was forked.
        marks = SharedRedis(shared, settings.store_location)
        try:
            if _is_taken(marks, args.run_id):
                return 0
            with marks.mark(args.run_id):
                return run(execute_job_args_packed)
        finally:
            marks.close()

    app.tasks[TASK_EXECUTE_JOB_NAME].run = marked
    return app


def _is_taken(marks: SharedRedis, run_id: str) -> bool:
    """Whether a worker that lives has the run: one that was queued again, though its message was not lost."""
    try:
        ago = marks.seen(run_id).ago
    except SharedRedisAway:
        return False
    return ago is not None and ago <= LEASE_SECONDS


@worker_process_init.connect
def _interrupts_end_runs_in_order(**_: Any) -> None:
    """Celery's processes end at once on a SIGTERM, and know no SIGINT: Dagster's runs stop in order on either."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    setup_interrupt_handlers()
