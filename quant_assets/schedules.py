"""Schedules: each exchange's daily prices after its close, in its own time zone, closed days skipped."""

from __future__ import annotations

import dagster as dg

from quant_assets.exchanges import Exchange
from quant_assets.jobs import Job, daily_job_name
from quant_assets.partitions import DATE, EXCHANGE


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
