"""Schedules: each exchange's daily prices once a session's bar is final, the sweep of its histories, and the weekly
refresh of universes."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import dagster as dg

from quant_assets.defs.dagster_internals import cron_ticks
from quant_assets.defs.jobs import Job, daily_job_name
from quant_assets.defs.partition_keys import daily_key
from quant_assets.exchanges import Exchange


def daily_schedule_name(exchange: str) -> str:
    """The name of the schedule of an exchange's daily prices."""
    return f"{daily_job_name(exchange)}_after_close"


def daily_schedule(
    exchange: Exchange, job: Job, start: date, fixed_now: datetime | None, owner: str
) -> dg.ScheduleDefinition:
    """Each tick asks for the sessions whose bar has become final since the tick before, and says why there is none.

    Args:
        start: first day of the partition grid.
        fixed_now: the moment at which the platform's clock stands still (QUANT_ASSETS_NOW), if it does. No session
            ends on such a clock, so there is nothing for the schedule to ask for.
    """

    @dg.schedule(
        name=daily_schedule_name(exchange.code),
        job=job,
        cron_schedule=exchange.cron(),
        execution_timezone=exchange.zone,
        description=f"{exchange.name}: {job.name} of a session, once its bar is final (close and delay are over).",
        owners=[owner],
    )
    def after_close(context: dg.ScheduleEvaluationContext) -> dg.SkipReason | list[dg.RunRequest]:
        if fixed_now is not None:
            return dg.SkipReason(
                f"QUANT_ASSETS_NOW holds the clock at {fixed_now.isoformat()}: no session of {exchange.code} ends, "
                "so there is nothing to fetch (unset it to follow the market)"
            )
        tick = context.scheduled_execution_time
        final = final_at(exchange, tick)
        if not final:
            since = tick_before(exchange, tick)
            return dg.SkipReason(
                f"no session of {exchange.code} has become final since {since:%A %Y-%m-%d %H:%M}: nothing to fetch"
            )
        sessions = [session for session in final if session >= start]
        if not sessions:
            return dg.SkipReason(f"{exchange.code}: {final[-1]} is before the first day of the grid, {start}")
        return [
            dg.RunRequest(
                run_key=f"{exchange.code}-{session}", partition_key=daily_key(exchange.code, session)
            )
            for session in sessions
        ]

    return after_close


def final_at(exchange: Exchange, tick: datetime) -> list[date]:
    """The sessions whose close and delay lie after the tick before `tick` and not after `tick`, in order.

    Not the day of the tick: with a long delay that is the day after the session, or even a day without one. Over all
    ticks every session is there exactly once, whenever it closed.
    """
    return exchange.calendar().sessions_over_between(tick_before(exchange, tick), tick, exchange.delay)


def tick_before(exchange: Exchange, tick: datetime) -> datetime:
    """The tick of an exchange's daily schedule before `tick`, in the exchange's zone, as Dagster has it."""
    return next(cron_ticks(exchange.cron(), exchange.zone, tick - timedelta(seconds=1), backwards=True))


def first_tick(exchange: Exchange, moment: datetime) -> datetime:
    """The first tick of an exchange's daily schedule at or after `moment`, in the exchange's zone."""
    return next(cron_ticks(exchange.cron(), exchange.zone, moment))


def sweep_schedule(exchange: Exchange, job: dg.JobDefinition, owner: str) -> dg.ScheduleDefinition:
    """Every day, closed days included: the slice of the day, in the exchange's night."""
    return dg.ScheduleDefinition(
        name=f"{job.name}_nightly",
        job=job,
        cron_schedule="30 3 * * *",
        execution_timezone=exchange.zone,
        description=f"{exchange.name}: compares the whole history of a slice of the symbols with the source.",
        owners=[owner],
    )


def universes_schedule(job: dg.JobDefinition, owner: str) -> dg.ScheduleDefinition:
    """Once a week, when no exchange trades, and before the day's catalog is made."""
    return dg.ScheduleDefinition(
        name=f"{job.name}_weekly",
        job=job,
        cron_schedule="0 4 * * 6",
        execution_timezone="UTC",
        description="Brings every enabled universe up to date with its source; the catalog follows by its sensor.",
        owners=[owner],
    )
