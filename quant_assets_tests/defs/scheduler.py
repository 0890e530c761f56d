"""Schedules turned on and runs queued, as the UI and the daemon do it, without either."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from quant_assets.defs.schedules import daily_schedule_name
from quant_assets.exchanges import exchange


def turn_on(instance: dg.DagsterInstance, *codes: str) -> None:
    """Turns on the daily schedules of some exchanges."""
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="quant_assets.definitions")
    )
    repository = RemoteRepositoryOrigin(location, "__repository__")
    for code in codes:
        origin = RemoteInstigatorOrigin(repository, daily_schedule_name(code))
        data = ScheduleInstigatorData(exchange(code).cron(), start_timestamp=0.0)
        state = InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
        instance.add_instigator_state(state)


def waiting_run(instance: dg.DagsterInstance, job: str, tags: dict[str, str]) -> dg.DagsterRun:
    """A run that has been requested and has not begun."""
    return create_run_for_test(instance, job_name=job, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
