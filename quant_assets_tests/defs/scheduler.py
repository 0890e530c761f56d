"""Schedules turned on and runs queued, as the UI and the daemon do it, without either."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from quant_assets.defs.schedules import daily_schedule_name
from quant_assets.exchanges import exchange


def turn_on(instance: dg.DagsterInstance, *codes: str) -> None:
    """Turns on the daily schedules of some exchanges."""
    for code in codes:
        data = ScheduleInstigatorData(exchange(code).cron(), start_timestamp=0.0)
        origin = _origin(daily_schedule_name(code))
        instance.add_instigator_state(
            InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
        )


def turn_off_sensors(instance: dg.DagsterInstance, *names: str) -> None:
    """Turns off sensors that are on by default."""
    for name in names:
        instance.add_instigator_state(
            InstigatorState(
                _origin(name), InstigatorType.SENSOR, InstigatorStatus.STOPPED, SensorInstigatorData()
            )
        )


def _origin(name: str) -> RemoteInstigatorOrigin:
    return RemoteInstigatorOrigin(REPOSITORY, name)


REPOSITORY = RemoteRepositoryOrigin(
    ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="quant_assets.definitions")),
    "__repository__",
)
"""Where jobs, schedules and sensors of ours come from, as Dagster writes it down."""


def waiting_run(instance: dg.DagsterInstance, job: str, tags: dict[str, str]) -> dg.DagsterRun:
    """A run that has been requested and has not begun."""
    return create_run_for_test(instance, job_name=job, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
