"""`symbol_profiles`: how complete and how plausible every symbol's history is, per exchange."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.defs.io_manager import TableOutput
from quant_assets.defs.partitions import EXCHANGE, Grids
from quant_assets.defs.rendering import coverage_heat_map_svg, markdown_table, price_volume_svg, svg_markdown
from quant_assets.defs.table_pages import page
from quant_assets.exchanges import Exchange
from quant_assets.market.corporate_actions import adjust
from quant_assets.market.coverage import CellState, coverage_by_month
from quant_assets.market.profiles import symbol_profiles as profile_symbols
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import CATALOG, DAILY, HISTORY, PROFILES
from quant_assets.tables.lineage import profile_inputs
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.manifest import Manifest

_SKETCHES = 3


def make_symbol_profiles(grids: Grids, exchanges: Sequence[Exchange]) -> dg.AssetsDefinition:
    """The asset, one partition an exchange."""
    by_code = {exchange.code: exchange for exchange in exchanges}
    of_exchange = dg.MultiToSingleDimensionPartitionMapping(EXCHANGE)

    @dg.asset(
        name=PROFILES,
        partitions_def=grids.exchanges,
        ins={CATALOG: dg.AssetIn(CATALOG)},
        deps=[
            dg.AssetDep(DAILY, partition_mapping=of_exchange),
            dg.AssetDep(HISTORY, partition_mapping=of_exchange),
        ],
        **page(PROFILES),
    )
    def symbol_profiles(
        context: dg.AssetExecutionContext, store: StoreResource, symbol_catalog: pl.DataFrame
    ) -> TableOutput:
        home = store.open()
        exchange = by_code[context.partition_key]
        cells = {entry.partition: entry for entry in Manifest(home, DAILY).all(exchange.code)}
        sessions = [d for d, entry in cells.items() if entry.state is not CellState.CLOSED]
        daily = read_daily(home, exchange.code)
        if not sessions or daily.is_empty():
            raise dg.Failure(
                f"no daily prices of {exchange.code} yet: backfill {DAILY} first", allow_retries=False
            )
        first, last = daily["date"].min(), daily["date"].max()
        calendar = exchange.calendar().sessions(first, last)  # pyright: ignore[reportArgumentType]
        listings = with_learned(home, exchange.code, followed(symbol_catalog, exchange.code))
        profiles = profile_symbols(daily, calendar, listings)
        return TableOutput(
            profiles,
            inputs_sha256=profile_inputs(exchange, cells).sha256,
            metadata={
                "symbols": profiles.height,
                "quality": round(float(str(profiles["quality"].mean() or 0)), 1),
                **_pictures(daily, profiles, coverage_by_month(daily, calendar, listings)),
            },
        )

    return symbol_profiles


def _pictures(daily: pl.DataFrame, profiles: pl.DataFrame, coverage: pl.DataFrame) -> dict[str, Any]:
    """What is better looked at than read: coverage by month, the worst symbols, and a few charts."""
    worst = profiles.sort("quality", "symbol").select(
        "symbol",
        "quality",
        "coverage",
        "missing_sessions",
        "longest_gap",
        "stale_days",
        "suspicious_jumps",
        "flags",
    )
    sketched = (
        profiles.sort("dollar_volume", descending=True, nulls_last=True)["symbol"].head(_SKETCHES).to_list()
    )
    adjusted = adjust(daily.filter(pl.col("symbol").is_in(sketched)).lazy(), "split").collect()
    sketches = [
        svg_markdown(price_volume_svg(adjusted.filter(pl.col("symbol") == symbol), symbol), symbol)
        for symbol in sketched
    ]
    return {
        "coverage_by_month": dg.MetadataValue.md(
            svg_markdown(coverage_heat_map_svg(coverage), "coverage by month")
        ),
        "lowest_quality": dg.MetadataValue.md(markdown_table(worst, 10)),
        "split_adjusted_prices_and_volume": dg.MetadataValue.md("\n\n".join(sketches)),
    }
