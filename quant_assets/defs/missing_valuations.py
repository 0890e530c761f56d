"""The sensor `missing_valuations`: asks again for the snapshot of the last session, as long as it can be had.

Prices that were missed can be asked for later; a snapshot of valuations is of now. So one that failed in the daily
job, or was missed with it, is requested until the next session's day begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from quant_assets.defs.cursors import dumped, part, read_cursor, skipped
from quant_assets.defs.dagster_internals import schedules_on
from quant_assets.defs.jobs import Job
from quant_assets.defs.partition_keys import table_key
from quant_assets.defs.retries import Retries, doubling
from quant_assets.defs.schedules import daily_schedule_name
from quant_assets.defs.under_way import under_way
from quant_assets.exchanges import Exchange, grid_weekdays
from quant_assets.market.weeks import weekday, weekdays_of_cron
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectStore, ObjectStoreError
from quant_assets.tables.layout import DAILY, VALUATIONS
from quant_assets.tables.manifest import Manifest

PAUSES = doubling(timedelta(minutes=15), 5)
"""After each request before the next one: up to four hours."""


def missing_valuations_sensor(
    exchanges: Sequence[Exchange], job: Job, start: date, owner: str
) -> dg.SensorDefinition:
    """Requests the snapshot of an exchange's last session that is over, where its prices were asked for and it is not
    there; only of exchanges whose daily schedule is on, and while nothing else works on it. `start` is the grid's."""
    weekdays = weekdays_of_cron(grid_weekdays(exchanges))

    @dg.sensor(
        name="missing_valuations",
        job=job,
        minimum_interval_seconds=120,
        default_status=dg.DefaultSensorStatus.RUNNING,
        owners=[owner],
        description=(
            "Asks again for the valuations of the last session, with growing pauses, until the day of the next one; "
            "only of exchanges whose after_close schedule is on."
        ),
    )
    def missing_valuations(
        context: dg.SensorEvaluationContext, store: StoreResource, clock: ClockResource
    ) -> dg.SensorResult:
        home, now, at = store.open(), clock.now(), datetime.now(UTC)
        cursor = read_cursor(context)
        on, working = schedules_on(context.instance), under_way(context.instance)
        requests: list[dg.RunRequest] = []
        notes: list[str] = []
        for exchange in exchanges:
            code = exchange.code
            if daily_schedule_name(code) not in on:
                notes.append(f"{code}: not followed, {daily_schedule_name(code)} is off")
                continue
            session = _wanted(exchange, now)
            if session is None or session < start or weekday(session) not in weekdays:
                notes.append(f"{code}: no snapshot can be taken that would be of a session that is over")
                continue
            if work := working.on(DAILY, code) or working.on(VALUATIONS, code):
                notes.append(f"{code}: waits for {work}")
                continue
            known = part(cursor, code)
            if known.get("there") == str(session):
                notes.append(f"{code}: that of {session} is there")
                continue
            try:
                asked, there = (_has(home, table, code, session) for table in (DAILY, VALUATIONS))
            except ObjectStoreError as error:
                notes.append(f"{code}: {error}")
                continue
            if there or not asked:
                notes.append(
                    f"{code}: {session} is there" if there else f"{code}: {session} waits for prices"
                )
                cursor[code] = {"there": str(session) if there else ""}
                continue
            key = table_key(VALUATIONS, code, str(session))
            retries = Retries.load(known.get("tries"), PAUSES, forever=True)
            retries.keep({key})
            moment = retries.next(key) if key in retries.tries else None
            if moment is not None and moment > at:
                notes.append(f"{code}: {session} is asked for again from {moment:%Y-%m-%d %H:%M} UTC on")
                continue
            requests.append(
                dg.RunRequest(partition_key=key, tags={"quant_assets/asked_by": "missing_valuations"})
            )
            retries.tried([key], at)
            cursor[code] = {"tries": retries.dump()}
        if not requests:
            return skipped("; ".join(notes), cursor)
        return dg.SensorResult(run_requests=requests, cursor=dumped(cursor))

    return missing_valuations


def _wanted(exchange: Exchange, now: datetime) -> date | None:
    """The last session that is over, unless the day of the next one has begun: what is quoted then may be of that."""
    calendar = exchange.calendar()
    last = calendar.last_session_over(now, exchange.delay)
    today = now.astimezone(ZoneInfo(exchange.zone)).date()
    begun = today != last and calendar.knows(today) and calendar.is_session(today)
    return None if begun else last


def _has(store: ObjectStore, table: str, code: str, session: date) -> bool:
    """Whether something is recorded of a session; of valuations, whether there is an object."""
    entry = Manifest(store, table).year(code, session.year).get(str(session))
    return entry is not None and (table == DAILY or bool(entry.version))
