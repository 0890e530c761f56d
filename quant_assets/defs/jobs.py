"""Jobs: one per exchange for the day's prices, and those that refresh what is made from them.

The jobs that look after what is stored already (sweep, verify) are in `maintenance_jobs`, the one that refreshes
universes in `universe_refresh`, the one that discovers listings in `discovery`.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from quant_assets.exchanges import Exchange
from quant_assets.tables.layout import CATALOG, DAILY, EXCHANGES, HISTORY, PROFILES, WEEKLY

EXCHANGE_TAG = "quant_assets/exchange"
"""The tag of a run that says whose cells its job fills."""

REFRESH_JOB = "refresh_universes"
"""The name of the job that refreshes all enabled universes (`universe_refresh`)."""

DISCOVERY_JOB = "discover_listings"
"""The name of the job that looks for listings that stand in no list (`discovery`)."""

Job = UnresolvedAssetJobDefinition


def daily_job_name(exchange: str) -> str:
    """The name of the job that fills an exchange's daily cells."""
    return f"daily_prices_{exchange.lower()}"


def daily_jobs(exchanges: Sequence[Exchange], owner: str) -> dict[str, Job]:
    """By exchange code: the job that fills its daily cells."""
    return {
        exchange.code: dg.define_asset_job(
            daily_job_name(exchange.code),
            selection=dg.AssetSelection.assets(DAILY),
            description=f"Daily prices of {exchange.name}: a session, or a range of days as one run.",
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
            (HISTORY, "a year of an exchange, or a range of years as one run"),
            (WEEKLY, "a week of an exchange, or a range of weeks as one run"),
            (PROFILES, "of one exchange"),
            (EXCHANGES, "of all exchanges"),
        )
    }
