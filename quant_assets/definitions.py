"""The code location: the one place where assets, jobs, schedules, sensors and resources are wired together."""

from __future__ import annotations

import dagster as dg

from quant_assets.defs.alerts.sensor import alerts_sensor
from quant_assets.defs.assets.daily_prices import make_daily_prices
from quant_assets.defs.assets.exchange_profiles import make_exchange_profiles
from quant_assets.defs.assets.price_history import make_price_history
from quant_assets.defs.assets.symbol_catalog import make_symbol_catalog
from quant_assets.defs.assets.symbol_profiles import make_symbol_profiles
from quant_assets.defs.assets.symbol_valuations import make_symbol_valuations
from quant_assets.defs.assets.weekly_prices import make_weekly_prices
from quant_assets.defs.discovery import discovery_job, discovery_schedule
from quant_assets.defs.discovery import rules_of as discovery_rules_of
from quant_assets.defs.fill_run import rules_of
from quant_assets.defs.freshness import due_specs, freshness_sensor
from quant_assets.defs.io_manager import ParquetIOManager
from quant_assets.defs.jobs import daily_jobs, table_jobs
from quant_assets.defs.maintenance_jobs import sweep_jobs, verify_jobs
from quant_assets.defs.missing_valuations import missing_valuations_sensor
from quant_assets.defs.new_symbols import new_symbols_sensor
from quant_assets.defs.partitions import first_day, make_grids
from quant_assets.defs.rebuilding import rebuild_job
from quant_assets.defs.report_pages import make_report_pages, report_job, report_schedule
from quant_assets.defs.requested_jobs import requested_jobs_sensor
from quant_assets.defs.retention import prune_job, prune_schedule
from quant_assets.defs.run_audit import run_audit
from quant_assets.defs.run_marks import marking_executor
from quant_assets.defs.schedules import daily_schedule, sweep_schedule, universes_schedule
from quant_assets.defs.sensors import (
    derived_tables_sensor,
    missing_sessions_sensor,
    universe_sensor,
)
from quant_assets.defs.table_pages import with_places
from quant_assets.defs.universe_refresh import UniverseRules, universes_job
from quant_assets.exchanges import calendars_begin_after, enabled
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource, YahooResource
from quant_assets.resources.settings import Settings, SettingsError, load_settings
from quant_assets.resources.shared_redis import open_shared
from quant_assets.tables.layout import (
    EXCHANGES,
    HISTORY,
    LISTED_ONCE,
    PROFILES,
    READ_ONCE,
    VALUATIONS,
    WEEKLY,
)


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything, for one set of settings. Reads configuration files; touches no network and no store.

    Raises SettingsError, UnknownExchange, ExchangeConfigError.
    """
    exchanges, owner = enabled(settings.exchanges, settings.exchanges_file), settings.owner
    if late := calendars_begin_after(exchanges, settings.start):
        raise SettingsError(
            f"QUANT_ASSETS_START={settings.start}: no calendar of the enabled exchanges reaches back so far; that of "
            f"{late[0].code} ({late[0].rules.calendar}) begins first, on {late[1]} (set QUANT_ASSETS_START to that "
            "day or a later one)"
        )
    start = first_day(exchanges, settings.start)
    grids = make_grids(exchanges, start, settings.now)
    rules = rules_of(settings)
    jobs = daily_jobs(exchanges, owner, valuations=settings.valuations)
    tables = table_jobs(owner)
    universes = UniverseRules(settings.universe, exchanges, settings.universe_shrink)
    refresh = universes_job(universes, owner)
    discovery = discovery_job(universes, discovery_rules_of(settings), owner)
    verifications = verify_jobs(exchanges, rules, owner)
    sweeps = sweep_jobs(exchanges, rules, settings.sweep_days, owner)
    pruning = [prune_job(settings.keep_runs_days, owner)] if settings.keep_runs_days else []
    pages = report_job(owner)
    store = StoreResource(
        location=settings.store_location, read_once=list(READ_ONCE), listed_once=list(LISTED_ONCE)
    )
    assets = [
        make_symbol_catalog(universes),
        make_daily_prices(grids, exchanges, rules),
        make_symbol_valuations(grids, exchanges),
        make_price_history(grids, exchanges),
        make_weekly_prices(grids, exchanges, settings.memory_mb),
        make_symbol_profiles(grids, exchanges, settings.memory_mb),
        make_exchange_profiles(exchanges),
    ]
    return dg.Definitions(
        assets=[
            *with_places(assets, settings.store_location, owner, settings.code_url or None),
            *due_specs(exchanges, owner),
            make_report_pages(exchanges, settings.locks_folder, owner),
        ],
        jobs=[
            *jobs.values(),
            *tables.values(),
            *sweeps.values(),
            *verifications,
            refresh,
            discovery,
            rebuild_job(exchanges, owner),
            pages,
            *pruning,
        ],
        schedules=[
            *(
                daily_schedule(exchange, jobs[exchange.code], start, settings.now, owner)
                for exchange in exchanges
            ),
            *(sweep_schedule(exchange, sweeps[exchange.code], owner) for exchange in exchanges),
            universes_schedule(refresh, owner),
            discovery_schedule(discovery, settings),
            *(prune_schedule(job, owner) for job in pruning),
            report_schedule(pages, owner),
        ],
        sensors=[
            universe_sensor(exchanges, settings.universe, owner),
            new_symbols_sensor(exchanges, jobs, start, owner, settings.locks_folder, open_shared(settings)),
            missing_sessions_sensor(exchanges, jobs, start, owner),
            derived_tables_sensor(
                exchanges, [tables[t] for t in (HISTORY, WEEKLY, PROFILES, EXCHANGES)], start, owner
            ),
            requested_jobs_sensor(
                [*jobs.values(), *sweeps.values(), *verifications, refresh],
                grids.daily,
                owner,
                remote="://" in settings.store_location,
            ),
            alerts_sensor(settings, exchanges),
            freshness_sensor(exchanges, owner, settings.now),
            *([missing_valuations_sensor(exchanges, tables[VALUATIONS], start, owner)] * settings.valuations),
        ],
        resources={
            "store": store,
            "source": YahooResource.of(settings),
            "clock": ClockResource(fixed=settings.now.isoformat() if settings.now else None),
            "io_manager": ParquetIOManager(store=store),
        },
        # A run is one step: a process for the step beside the run's would load everything once more, for nothing.
        executor=marking_executor(settings.locks_folder, run_audit(settings.store_location)),
    )


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(load_settings())
