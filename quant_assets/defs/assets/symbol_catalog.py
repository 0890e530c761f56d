"""`symbol_catalog`: the symbols we follow, from the configured list."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import polars as pl

from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.configured import CatalogError, read_universe, universe_sha256
from quant_assets.defs.io_manager import TableOutput
from quant_assets.defs.rendering import markdown_table
from quant_assets.defs.table_pages import page
from quant_assets.exchanges import Exchange
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectNotFound
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.parquet import read_table


def make_symbol_catalog(exchanges: Sequence[Exchange], universe: Path | None) -> dg.AssetsDefinition:
    """The asset, for the exchanges in use and the file that lists their symbols."""

    @dg.asset(
        name=CATALOG,
        **page(CATALOG),
    )
    def symbol_catalog(store: StoreResource, clock: ClockResource) -> TableOutput:
        try:
            made_of = universe_sha256(universe)
            configured = read_universe(universe, list(exchanges))
        except CatalogError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        try:
            previous = read_table(store.open(), object_key(CATALOG))
        except ObjectNotFound:
            previous = None
        catalog = build_catalog(configured, exchanges, previous, clock.now().date())
        counts = catalog.group_by("exchange").agg(
            pl.len().alias("symbols"), pl.col("is_active").sum().alias("active")
        )
        return TableOutput(
            catalog,
            inputs_sha256=made_of,
            metadata={
                "symbols": catalog.height,
                "by_exchange": dg.MetadataValue.md(markdown_table(counts.sort("exchange"))),
            },
        )

    return symbol_catalog
