"""`exchange_profiles`: what the store holds of every exchange, and how fresh it is."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import dagster as dg
import polars as pl

from quant_assets.defs.cell_metadata import inventory_metadata
from quant_assets.defs.io_manager import PartitionFrames, TableOutput
from quant_assets.defs.rendering import markdown_table
from quant_assets.defs.table_pages import page
from quant_assets.exchanges import Exchange
from quant_assets.market.profiles import exchange_profile
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import (
    DAILY,
    EXCHANGES,
    HISTORY,
    MANIFEST,
    PROFILES,
    VALUATIONS,
    WEEKLY,
    object_key,
)
from quant_assets.tables.lineage import inventory_inputs
from quant_assets.tables.manifest import Manifest


def make_exchange_profiles(exchanges: Sequence[Exchange]) -> dg.AssetsDefinition:
    """The asset: one table over all exchanges in use."""

    @dg.asset(
        name=EXCHANGES,
        ins={PROFILES: dg.AssetIn(PROFILES)},
        **page(EXCHANGES),
    )
    def exchange_profiles(
        context: dg.AssetExecutionContext, store: StoreResource, symbol_profiles: PartitionFrames
    ) -> TableOutput:
        home = store.open()
        profiles = {
            exchange.code: symbol_profiles[exchange.code]
            for exchange in exchanges
            if exchange.code in symbol_profiles
        }
        if not profiles:
            raise dg.Failure(f"no {PROFILES} yet: materialize them first", allow_retries=False)
        table = pl.concat(
            exchange_profile(frame, daily_cells(home, code)).insert_column(0, pl.Series("exchange", [code]))
            for code, frame in profiles.items()
        )
        # No partition knows how many rows the whole table has; the inventory does.
        sizes = stored_sizes(home, [exchange.code for exchange in exchanges])
        sizes[PROFILES] = profile_sizes(home, profiles)
        for name, size in sizes.items():
            if not size.is_empty():
                context.log_event(dg.AssetObservation(name, metadata=inventory_metadata(size)))
        inputs = inventory_inputs(home, [exchange.code for exchange in exchanges])
        return TableOutput(
            table, inputs_sha256=inputs, metadata={"inventory": dg.MetadataValue.md(markdown_table(table))}
        )

    return exchange_profiles


def stored_sizes(store: ObjectStore, exchanges: Sequence[str]) -> dict[str, pl.DataFrame]:
    """By table: exchange, rows, bytes, as the manifest records them. A lost shard counts nothing."""
    # A run's view of the store answers every listing below this one from it.
    list(store.list(f"{MANIFEST}/"))
    sizes: dict[str, pl.DataFrame] = {}
    for table in (DAILY, VALUATIONS, HISTORY, WEEKLY):
        manifest = Manifest(store, table)
        found = {
            code: [entry for year in manifest.shards(code) for entry in manifest.year(code, year).values()]
            for code in exchanges
        }
        sizes[table] = _sizes(
            (code, sum(entry.rows for entry in entries), sum(entry.size for entry in entries))
            for code, entries in found.items()
            if entries
        )
    return sizes


def profile_sizes(store: ObjectStore, profiles: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """exchange, rows, bytes of the profiles (by exchange), which no manifest records."""
    infos = {code: store.head(object_key(PROFILES, code)) for code in profiles}
    return _sizes(
        (code, frame.height, info.size if (info := infos[code]) else 0) for code, frame in profiles.items()
    )


def _sizes(rows: Iterable[tuple[str, int, int]]) -> pl.DataFrame:
    schema = {"exchange": pl.String, "rows": pl.Int64, "bytes": pl.Int64}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def daily_cells(store: ObjectStore, exchange: str) -> pl.DataFrame:
    """The cells of an exchange: date, state, rows, bytes."""
    entries = list(Manifest(store, DAILY).all(exchange))
    return pl.DataFrame(
        {
            "date": [date.fromisoformat(e.partition) for e in entries],
            "state": [e.state.value for e in entries],
            "rows": [e.rows for e in entries],
            "bytes": [e.size for e in entries],
        },
        schema={"date": pl.Date, "state": pl.String, "rows": pl.Int64, "bytes": pl.Int64},
    )
