"""`symbol_profiles`: how complete and how plausible every symbol's history is, per exchange."""

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg
import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.defs.io_manager import TableOutput
from quant_assets.defs.partitions import EXCHANGE, Grids
from quant_assets.defs.rendering import (
    MAX_SYMBOLS,
    coverage_heat_map_svg,
    markdown_table,
    price_volume_svg,
    svg_markdown,
)
from quant_assets.defs.table_pages import page
from quant_assets.exchanges import Exchange
from quant_assets.market.corporate_actions import adjust
from quant_assets.market.coverage import CellState, coverage_by_month
from quant_assets.market.profile_years import bars_of
from quant_assets.market.profiles import profiles_of_years
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import CATALOG, DAILY, HISTORY, PROFILES
from quant_assets.tables.lineage import profile_inputs
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.profile_sums import sums_of_years

_SKETCHES = 3


def make_symbol_profiles(
    grids: Grids, exchanges: Sequence[Exchange], memory_mb: int = 512
) -> dg.AssetsDefinition:
    """The asset, one partition an exchange; `memory_mb` bounds the rows that are summed at once."""
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
        traded = [d for d, entry in cells.items() if entry.version and entry.rows]
        if not sessions or not traded:
            raise dg.Failure(
                f"no daily prices of {exchange.code} yet: backfill {DAILY} first", allow_retries=False
            )
        first, last = date.fromisoformat(min(traded)), date.fromisoformat(max(traded))
        calendar = exchange.calendar().sessions(first, last)
        listings = with_learned(home, exchange.code, followed(symbol_catalog, exchange.code))
        years = sums_of_years(home, exchange.code, cells, memory_mb=memory_mb)
        profiles = profiles_of_years(years, calendar, listings)
        return TableOutput(
            profiles,
            inputs_sha256=profile_inputs(exchange, cells).sha256,
            metadata={
                "symbols": profiles.height,
                "quality": round(float(str(profiles["quality"].mean() or 0)), 1),
                "coverage_by_month": _coverage(profiles, years, calendar, listings),
                "lowest_quality": _worst(profiles),
                "split_adjusted_prices_and_volume": _sketches(home, exchange.code, profiles),
            },
        )

    return symbol_profiles


def _coverage(
    profiles: pl.DataFrame, years: Mapping[int, pl.DataFrame], calendar: list[date], listings: pl.DataFrame
) -> dg.MetadataValue:
    """Coverage by month of the symbols that a picture has room for: those least covered."""
    listed = profiles.filter(pl.col("symbol").is_in(listings["symbol"].implode()))
    shown = listed.sort("coverage", "symbol", nulls_last=True)["symbol"].head(MAX_SYMBOLS)
    bars = bars_of(years, shown).with_columns(close=1.0)
    of_shown = listings.filter(pl.col("symbol").is_in(shown.implode()))
    picture = coverage_heat_map_svg(coverage_by_month(bars, calendar, of_shown))
    return dg.MetadataValue.md(svg_markdown(picture, "coverage by month"))


def _worst(profiles: pl.DataFrame) -> dg.MetadataValue:
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
    return dg.MetadataValue.md(markdown_table(worst, 10))


def _sketches(store: ObjectStore, exchange: str, profiles: pl.DataFrame) -> dg.MetadataValue:
    """Prices and volume of the symbols that are traded most."""
    most = (
        profiles.sort("dollar_volume", descending=True, nulls_last=True)["symbol"].head(_SKETCHES).to_list()
    )
    adjusted = adjust(read_daily(store, exchange, symbols=most).lazy(), "split").collect()
    sketches = [
        svg_markdown(price_volume_svg(adjusted.filter(pl.col("symbol") == symbol), symbol), symbol)
        for symbol in most
    ]
    return dg.MetadataValue.md("\n\n".join(sketches))
