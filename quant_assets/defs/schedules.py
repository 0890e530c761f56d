"""Schedules: each exchange's daily prices after its close, closed days skipped, and the sweep of its histories."""

from __future__ import annotations

import dagster as dg

from quant_assets.defs.jobs import Job, daily_job_name
from quant_assets.defs.partitions import DATE, EXCHANGE
from quant_assets.exchanges import Exchange


def daily_schedule(exchange: Exchange, job: Job) -> dg.ScheduleDefinition:
    """Asks for the session of the day at close + delay; says why when there is none."""

    @dg.schedule(
        name=f"{daily_job_name(exchange.code)}_after_close",
        job=job,
        cron_schedule=exchange.cron(),
        execution_timezone=exchange.zone,
        description=f"{exchange.name}: the day's prices, after the close of each session.",
    )
    def after_close(context: dg.ScheduleEvaluationContext) -> dg.SkipReason | dg.RunRequest:
        day = context.scheduled_execution_time.date()
        if not exchange.calendar().is_session(day):
            return dg.SkipReason(
                f"{exchange.code} does not trade on {day:%A} {day}: no session, nothing to fetch"
            )
        return dg.RunRequest(
            run_key=f"{exchange.code}-{day}",
            partition_key=dg.MultiPartitionKey({EXCHANGE: exchange.code, DATE: day.isoformat()}),
        )

    return after_close


def sweep_schedule(exchange: Exchange, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Every day, closed days included: the slice of the day, in the exchange's night."""
    return dg.ScheduleDefinition(
        name=f"{job.name}_nightly",
        job=job,
        cron_schedule="30 3 * * *",
        execution_timezone=exchange.zone,
        description=f"{exchange.name}: compares the whole history of a slice of the symbols with the source.",
    )
