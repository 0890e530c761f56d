"""Sensors: symbols new in the catalog get their history; derived tables follow the cells they rest on."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg
import orjson

from quant_assets.defs.jobs import Job
from quant_assets.exchanges import Exchange
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectNotFound
from quant_assets.tables.layout import CATALOG, DAILY, EXCHANGES, HISTORY, PROFILES, WEEKLY, object_key
from quant_assets.tables.parquet import read_table


def new_symbols_sensor(
    exchanges: Sequence[Exchange], jobs: Mapping[str, Job], start: date
) -> dg.SensorDefinition:
    """Requests the whole history of symbols that appear in the catalog, one run per exchange.

    The symbols seen so far are the cursor. Turned on over an existing catalog, it takes that one as known.
    """

    @dg.sensor(
        name="new_symbols",
        jobs=list(jobs.values()),
        minimum_interval_seconds=60,
        description="Watches the catalog and backfills symbols that are new in it; other symbols' rows stay.",
    )
    def new_symbols(
        context: dg.SensorEvaluationContext, store: StoreResource, clock: ClockResource
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            catalog = read_table(store.open(), object_key(CATALOG))
        except ObjectNotFound:
            # With an empty cursor the first catalog is all news.
            return dg.SensorResult(
                skip_reason=dg.SkipReason(f"no catalog yet: materialize {CATALOG}"),
                cursor=context.cursor or "[]",
            )
        active = catalog.filter(catalog["is_active"])
        symbols = set(active["symbol"])
        if context.cursor is None:
            return dg.SensorResult(
                skip_reason=dg.SkipReason(f"watching {len(symbols)} symbols from now on"),
                cursor=_cursor(symbols),
            )
        fresh = symbols - set(orjson.loads(context.cursor))
        if not fresh:
            return dg.SkipReason(f"no symbol is new ({len(symbols)} known)")
        requests: list[dg.RunRequest] = []
        for exchange in exchanges:
            new = sorted(set(active.filter(active["exchange"] == exchange.code)["symbol"]) & fresh)
            last = exchange.calendar().last_session_over(clock.now(), exchange.delay)
            if not new or last is None or last < start:
                continue
            first = start
            requests.append(
                dg.RunRequest(
                    run_key=f"{exchange.code}-{hashlib.sha256(','.join(new).encode()).hexdigest()[:16]}-{last}",
                    job_name=jobs[exchange.code].name,
                    run_config={"ops": {DAILY: {"config": {"symbols": new}}}},
                    tags={
                        "dagster/asset_partition_range_start": f"{first}|{exchange.code}",
                        "dagster/asset_partition_range_end": f"{last}|{exchange.code}",
                        "quant_assets/new_symbols": str(len(new)),
                    },
                )
            )
        return dg.SensorResult(
            run_requests=requests, cursor=_cursor(symbols | set(orjson.loads(context.cursor)))
        )

    return new_symbols


def derived_tables_sensor() -> dg.AutomationConditionSensorDefinition:
    """Runs the automation conditions: the catalog daily, and what is made from daily cells when they change."""
    return dg.AutomationConditionSensorDefinition(
        "derived_tables",
        target=dg.AssetSelection.assets(CATALOG, HISTORY, WEEKLY, PROFILES, EXCHANGES),
        use_user_code_server=True,
        description="Reads the catalog daily; refreshes history, weekly bars and profiles when their cells change.",
    )


def _cursor(symbols: set[str]) -> str:
    return orjson.dumps(sorted(symbols)).decode()
