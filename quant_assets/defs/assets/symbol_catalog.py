"""`symbol_catalog`: the symbols we follow, from the universe file and what its universes were refreshed to."""

from collections.abc import Sequence
from datetime import datetime

import dagster as dg
import polars as pl

from quant_assets.catalog.build import build_catalog, with_states
from quant_assets.catalog.companies import identified, remarks
from quant_assets.catalog.configured import CatalogError
from quant_assets.catalog.listings_judged import judged_listings
from quant_assets.catalog.lists import CatalogLists, inputs_sha256, lists_of
from quant_assets.defs.io_manager import TableOutput
from quant_assets.defs.progress import listener
from quant_assets.defs.rendering import markdown_table
from quant_assets.defs.table_pages import page
from quant_assets.defs.universe_refresh import UniverseRules, refreshed_for_catalog, summary, troubles
from quant_assets.exchanges import Exchange
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource, YahooResource
from quant_assets.resources.object_store import (
    ObjectDamaged,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreError,
)
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.listing_events import LISTING_EVENTS_SCHEMA
from quant_assets.tables.parquet import read_table


def make_symbol_catalog(rules: UniverseRules) -> dg.AssetsDefinition:
    """The asset, for the exchanges in use and the file that says where their symbols come from."""

    @dg.asset(
        name=CATALOG,
        **page(CATALOG),
    )
    def symbol_catalog(
        context: dg.AssetExecutionContext, store: StoreResource, source: YahooResource, clock: ClockResource
    ) -> TableOutput:
        home, now = store.open(), clock.now()
        try:
            universes = rules.universes()
            refreshed = refreshed_for_catalog(rules, universes, home, source, now)
            # What is refreshed after this is not in the hash, and so the catalog is made anew.
            made_of = inputs_sha256(rules.file, rules.exchanges, home, universes)
            lists = lists_of(universes, home)
        except (CatalogError, ObjectStoreError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        for trouble in troubles(refreshed):
            context.log.warning(trouble)
            listener().told(trouble)
        try:
            previous = read_table(home, object_key(CATALOG))
        except ObjectNotFound:
            previous = None
        catalog = build_catalog(
            lists.configured,
            rules.exchanges,
            previous,
            now.date(),
            lists.members,
            lists.unknown,
            lists.sourced,
        )
        catalog, news = _with_states(context, rules.exchanges, home, catalog, previous, now)
        catalog = _with_companies(context, rules.exchanges, home, catalog, previous, lists, now)
        counts = catalog.group_by("exchange").agg(
            pl.len().alias("symbols"), pl.col("is_active").sum().alias("active")
        )
        metadata: dict[str, object] = {
            "symbols": catalog.height,
            "by_exchange": dg.MetadataValue.md(markdown_table(counts.sort("exchange"))),
        }
        if news.height:
            metadata["listings"] = dg.MetadataValue.md(markdown_table(news.drop("known_at")))
        if refreshed:
            metadata["universes"] = dg.MetadataValue.md(summary(refreshed))
        return TableOutput(catalog, inputs_sha256=made_of, metadata=metadata)

    return symbol_catalog


def _with_states(
    context: dg.AssetExecutionContext,
    exchanges: Sequence[Exchange],
    store: ObjectStore,
    catalog: pl.DataFrame,
    previous: pl.DataFrame | None,
    now: datetime,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The catalog with the states of its listings, and the events that are new on record."""
    found: list[pl.DataFrame] = []
    for exchange in exchanges:
        if not (catalog["exchange"] == exchange.code).any():
            continue
        try:
            standing, news = judged_listings(store, exchange.code, catalog, previous, now)
        except ObjectDamaged as error:
            # Whoever reads it next names it as well; the lists do not depend on it.
            told = f"{exchange.code}: the states of its listings could not be judged: {error}"
            context.log.warning(told)
            listener().told(told)
            continue
        except ObjectStoreError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        catalog = with_states(catalog, standing, exchange.code)
        if news.height:
            found.append(news)
    return catalog, pl.concat(found) if found else pl.DataFrame(schema=LISTING_EVENTS_SCHEMA)


def _with_companies(
    context: dg.AssetExecutionContext,
    exchanges: Sequence[Exchange],
    store: ObjectStore,
    catalog: pl.DataFrame,
    previous: pl.DataFrame | None,
    lists: CatalogLists,
    now: datetime,
) -> pl.DataFrame:
    """The catalog with the companies of its symbols; tells what was found of them."""
    for exchange in exchanges:
        if not (catalog["exchange"] == exchange.code).any():
            continue
        try:
            catalog, found = identified(store, catalog, previous, exchange.code, lists, now)
            told = remarks(exchange.code, found)
        except ObjectDamaged as error:
            told = [f"{exchange.code}: the companies of its symbols could not be judged: {error}"]
        except ObjectStoreError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        for remark in told:
            context.log.warning(remark)
            listener().told(remark)
    return catalog
