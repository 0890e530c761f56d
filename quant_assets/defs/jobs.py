"""Jobs: one per exchange for what comes in every day, and those that refresh what is made from them.

The jobs that look after what is stored already (sweep, verify) are in `maintenance_jobs`, the one that refreshes
universes in `universe_refresh`, the one that discovers listings in `discovery`.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from quant_assets.exchanges import Exchange
from quant_assets.tables.layout import CATALOG, DAILY, EXCHANGES, HISTORY, PROFILES, VALUATIONS, WEEKLY

EXCHANGE_TAG = "quant_assets/exchange"
"""The tag of a run that says whose cells its job fills."""

REFRESH_JOB = "refresh_universes"
"""The name of the job that refreshes all enabled universes (`universe_refresh`)."""

REFRESH_OP = "refresh_enabled_universes"
"""The name of its only step."""

DISCOVERY_JOB = "discover_listings"
"""The name of the job that looks for listings that stand in no list (`discovery`)."""

REBUILD_JOB = "rebuild_instance"
"""The name of the job that tells an empty instance what the store holds (`rebuilding`)."""

PRUNE_JOB = "prune_instance"
"""The name of the job that removes what is old from Dagster's instance (`retention`)."""

PRICES_ALONE = [dg.AssetKey(DAILY)]
"""What runs of an exchange's daily job select that are about prices of the past: a snapshot is of now."""

REPORT_ASSET = "report_pages"
"""The asset that stands for the report pages (`report_pages`); its job is called as those of the tables."""

Job = UnresolvedAssetJobDefinition


def daily_job_name(exchange: str) -> str:
    """The name of the job that fills an exchange's daily cells."""
    return f"daily_prices_{exchange.lower()}"


def daily_jobs(exchanges: Sequence[Exchange], owner: str, *, valuations: bool = True) -> dict[str, Job]:
    """By exchange code: the job that fills its daily cells, and then takes a snapshot of its valuations.

    Whoever wants prices alone selects them (PRICES_ALONE).
    """
    collected = [DAILY, VALUATIONS] if valuations else [DAILY]
    then = ", then the valuations of its last session" if valuations else ""
    return {
        exchange.code: dg.define_asset_job(
            daily_job_name(exchange.code),
            selection=dg.AssetSelection.assets(*collected),
            description=f"Daily prices of {exchange.name}: a session, or a range of days as one run{then}.",
            tags={EXCHANGE_TAG: exchange.code},
            owners=[owner],
        )
        for exchange in exchanges
    }


def table_job_name(table: str) -> str:
    """The name of the job that makes a table other than the daily one."""
    return f"{table}_job"


def table_jobs(owner: str) -> dict[str, Job]:
    """By table: the jobs of the other tables, each over its own grid."""
    return {
        table: dg.define_asset_job(
            table_job_name(table),
            selection=dg.AssetSelection.assets(table),
            description=f"Makes {table} anew, {extent}; what is up to date already is left as it is.",
            owners=[owner],
        )
        for table, extent in (
            (CATALOG, "from the list of symbols"),
            (VALUATIONS, "a snapshot of an exchange, of its last session"),
            (HISTORY, "a year of an exchange, or a range of years as one run"),
            (WEEKLY, "a week of an exchange, or a range of weeks as one run"),
            (PROFILES, "of one exchange"),
            (EXCHANGES, "of all exchanges"),
        )
    }
