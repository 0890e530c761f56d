"""Sensors: what changes in the world and in the store becomes runs.

- `universe_file`: the list of symbols or a universe has changed, or a new day has begun: the catalog is made anew.
- `missing_sessions`: what the schedules missed, and what is incomplete, is asked for again.
- `derived_tables`: history, weekly bars and profiles follow the cells they rest on.

The sensors of new symbols and of missing valuations are modules of their own (`new_symbols`, `missing_valuations`).
All are on by default: none of them asks the source for anything but symbols that somebody has added to the list, and
sessions of exchanges whose schedule somebody has turned on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg

from quant_assets.catalog.configured import CatalogError
from quant_assets.catalog.lists import inputs_sha256
from quant_assets.catalog.universes_file import read_universes
from quant_assets.defs import automation, catch_up
from quant_assets.defs.asset_checks import BLOCKING, check_key
from quant_assets.defs.cursors import dumped, is_later, part, range_tags, read_cursor, skipped
from quant_assets.defs.dagster_internals import (
    failed_partitions,
    schedules_on,
)
from quant_assets.defs.jobs import PRICES_ALONE, Job, table_job_name
from quant_assets.defs.partition_keys import daily_key
from quant_assets.defs.retries import Retries, doubling
from quant_assets.defs.schedules import daily_schedule_name
from quant_assets.defs.under_way import under_way
from quant_assets.exchanges import Exchange, grid_weekdays
from quant_assets.market.weeks import weekdays_of_cron
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectNotFound, ObjectStoreError
from quant_assets.tables.layout import CATALOG, DAILY, EXCHANGES, object_key
from quant_assets.tables.lineage import inventory_stale
from quant_assets.tables.parquet import read_facts

CATALOG_HOUR = 5
"""The catalog is made anew every day from this hour (UTC) on, whether its list has changed or not."""
_CATALOG_PAUSES = doubling(timedelta(minutes=2), 10)

_RUNNING = dg.DefaultSensorStatus.RUNNING
Answer = dg.SensorResult | dg.SkipReason


def universe_sensor(exchanges: Sequence[Exchange], universe: Path | None, owner: str) -> dg.SensorDefinition:
    """Makes the catalog anew when the content of its list, or of a universe, has changed since, and once a day.

    The hash of what a catalog was made of is recorded with it. A list that cannot be used is named in the
    skip reason, and the catalog stays as it is.
    """

    @dg.sensor(
        name="universe_file",
        job_name=table_job_name(CATALOG),
        minimum_interval_seconds=30,
        default_status=_RUNNING,
        owners=[owner],
        description="Watches the list of symbols (QUANT_ASSETS_UNIVERSE) and makes the catalog anew when it changes.",
    )
    def universe_file(
        context: dg.SensorEvaluationContext, store: StoreResource, clock: ClockResource
    ) -> Answer:
        home = store.open()
        try:
            listed = inputs_sha256(universe, exchanges, home)
        except (CatalogError, ObjectStoreError) as error:
            return dg.SkipReason(str(error))
        key = object_key(CATALOG)
        now = clock.now()
        day = (now - timedelta(hours=CATALOG_HOUR)).date()
        try:
            blob = home.get(key)
            made_of = read_facts(blob.data, home.uri(key)).get("inputs_sha256", "")
        except ObjectNotFound:
            made_of = None
        except ObjectStoreError as error:
            return dg.SkipReason(str(error))
        cursor = read_cursor(context)
        if made_of == listed and cursor.get("day") is None:
            # Watched for the first time: what is there is as it should be, and the day's turn comes tomorrow.
            return skipped("the catalog is that of the list", {"day": str(day)})
        if made_of == listed and cursor.get("day") == str(day):
            return skipped("the catalog is that of the list, and of today", {"day": str(day)})
        try:
            # Only where there is something to make of it: a long list takes seconds to read.
            read_universes(universe, exchanges)
        except CatalogError as error:
            return dg.SkipReason(str(error))
        if work := under_way(context.instance).on(CATALOG):
            return dg.SkipReason(f"the catalog is being made ({work})")
        retries = Retries.load(cursor.get("tries"), _CATALOG_PAUSES, forever=True)
        wanted = f"{listed} {day}"
        retries.keep({wanted})
        moment = retries.next(wanted) if wanted in retries.tries else None
        if moment is not None and moment > datetime.now(UTC):
            return dg.SkipReason(
                f"the last run did not make the catalog of this list; again at {moment:%H:%M} UTC"
            )
        retries.tried([wanted], datetime.now(UTC))
        # The day counts as done when the run is requested; a changed list only when the catalog tells so.
        return dg.SensorResult(
            run_requests=[dg.RunRequest(tags={"quant_assets/universe": listed[:16]})],
            cursor=dumped({"day": str(day), "tries": retries.dump()}),
        )

    return universe_file


def missing_sessions_sensor(
    exchanges: Sequence[Exchange], jobs: Mapping[str, Job], start: date, owner: str
) -> dg.SensorDefinition:
    """Requests what is missing of the exchanges whose schedule is on: see `catch_up`.

    Nothing is requested of an exchange while a run or backfill of its cells is queued or in progress.
    """
    weekdays = weekdays_of_cron(grid_weekdays(exchanges))

    @dg.sensor(
        name="missing_sessions",
        jobs=list(jobs.values()),
        minimum_interval_seconds=60,
        default_status=_RUNNING,
        owners=[owner],
        description=(
            "Asks again for sessions that were missed, failed or stayed incomplete, with growing pauses; only of "
            "exchanges whose after_close schedule is on."
        ),
    )
    def missing_sessions(
        context: dg.SensorEvaluationContext, store: StoreResource, clock: ClockResource
    ) -> Answer:
        home, now = store.open(), clock.now()
        cursor = read_cursor(context)
        on, working = schedules_on(context.instance), under_way(context.instance)
        requests: list[tuple[date, dg.RunRequest]] = []
        notes: list[str] = []
        for exchange in exchanges:
            code, schedule = exchange.code, daily_schedule_name(exchange.code)
            if schedule not in on:
                notes.append(f"{code}: not followed, {schedule} is off")
                continue
            if work := working.on(DAILY, code):
                notes.append(f"{code}: waits for {work}")
                continue
            known = part(cursor, code)
            try:
                seen = catch_up.fingerprint(home, exchange, now)
                if known.get("seen") == seen and "note" in known and is_later(known.get("next"), now):
                    notes.append(f"{code}: {known['note']}")
                    continue
                missing = catch_up.missing_sessions(home, exchange, start, now, weekdays)
            except ObjectStoreError as error:
                notes.append(f"{code}: {error}")
                continue
            if missing is None:
                notes.append(f"{code}: nothing was asked for up to now, so nothing is missing")
                continue
            retries = Retries.load(known.get("tries"), catch_up.PAUSES)
            wanted = catch_up.choose(exchange, missing, retries, now)
            for sessions in wanted.ranges:
                keys = [daily_key(code, s) for s in sessions]
                request = _request(jobs[code].name, keys, "missing_sessions", PRICES_ALONE)
                requests.append((sessions[0], request))
                sizes = {daily_key(code, s): missing.lacking[s] for s in sessions}
                retries.tried(sizes, now, sizes)
            notes.append(f"{code}: {wanted.note}")
            cursor[code] = {
                # After a request everything is looked at again, whatever the run brings.
                "seen": "" if wanted.ranges else seen,
                "next": wanted.next.isoformat() if wanted.next else None,
                "note": wanted.note,
                "tries": retries.dump(),
            }
        context.log.info("; ".join(notes))
        if not requests:
            return skipped("; ".join(notes), cursor)
        ordered = [request for _, request in sorted(requests, key=lambda found: found[0])]
        return dg.SensorResult(run_requests=ordered, cursor=dumped(cursor))

    return missing_sessions


def derived_tables_sensor(
    exchanges: Sequence[Exchange], jobs: Sequence[Job], start: date, owner: str
) -> dg.SensorDefinition:
    """Requests what is stale of the tables made from daily cells: see `automation`."""

    @dg.sensor(
        name="derived_tables",
        jobs=list(jobs),
        minimum_interval_seconds=30,
        default_status=_RUNNING,
        owners=[owner],
        description="Refreshes history, weekly bars and profiles when the cells they rest on have changed.",
    )
    def derived_tables(
        context: dg.SensorEvaluationContext, store: StoreResource, clock: ClockResource
    ) -> Answer:
        home, now, at = store.open(), clock.now(), datetime.now(UTC)
        cursor = read_cursor(context)
        working = under_way(context.instance)
        failed: set[str] | None = None
        requests: list[dg.RunRequest] = []
        notes: list[str] = []
        for exchange in exchanges:
            known = part(cursor, exchange.code)
            try:
                seen = automation.fingerprint(home, exchange, now)
                if known.get("fresh") == seen:
                    continue
                if failed is None:
                    blocking = check_key(BLOCKING)
                    failed = failed_partitions(context.instance, [blocking])[blocking]
                retries = Retries.load(known.get("tries"), automation.PAUSES, forever=True)
                refresh = automation.refresh_of(
                    home, exchange, start, now, failed=failed, under_way=working, retries=retries, at=at
                )
            except ObjectStoreError as error:
                notes.append(f"{exchange.code}: {error}")
                continue
            for table, keys in refresh.runs:
                requests.append(_request(table_job_name(table), keys, "derived_tables"))
                retries.tried([f"{table} {key}" for key in keys], at)
            notes += [f"{exchange.code}: {why}" for why in refresh.waiting]
            cursor[exchange.code] = {"fresh": seen if refresh.fresh else "", "tries": retries.dump()}
        codes = [exchange.code for exchange in exchanges]
        if not working.on(EXCHANGES) and not any(working.on(table) for table in automation.TABLES):
            stale = inventory_stale(home, codes)
            if stale is not None and stale != cursor.get(EXCHANGES):
                requests.append(dg.RunRequest(job_name=table_job_name(EXCHANGES)))
                cursor[EXCHANGES] = stale
        if notes:
            context.log.info("; ".join(notes))
        if not requests:
            return skipped("; ".join(notes) or "all derived tables are as their cells", cursor)
        return dg.SensorResult(run_requests=requests, cursor=dumped(cursor))

    return derived_tables


def _request(
    job: str, keys: Sequence[str], asked_by: str, assets: Sequence[dg.AssetKey] | None = None
) -> dg.RunRequest:
    """One run over partitions that follow each other in one exchange; of some of the job's assets, or all."""
    tags = {"quant_assets/asked_by": asked_by}
    if len(keys) == 1:
        return dg.RunRequest(job_name=job, partition_key=keys[0], tags=tags, asset_selection=assets)
    tags |= range_tags(keys[0], keys[-1])
    return dg.RunRequest(job_name=job, tags=tags, asset_selection=assets)
