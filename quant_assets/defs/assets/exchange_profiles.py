"""`exchange_profiles`: what the store holds of every exchange, and how fresh it is."""

from collections.abc import Sequence
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
from quant_assets.tables.layout import DAILY, EXCHANGES, PROFILES
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
        rows = [
            exchange_profile(symbol_profiles[exchange.code], daily_cells(home, exchange.code)).insert_column(
                0, pl.Series("exchange", [exchange.code])
            )
            for exchange in exchanges
            if exchange.code in symbol_profiles
        ]
        if not rows:
            raise dg.Failure(f"no {PROFILES} yet: materialize them first", allow_retries=False)
        table = pl.concat(rows)
        # No cell knows how many rows the whole table has; the inventory does.
        context.log_event(dg.AssetObservation(DAILY, metadata=inventory_metadata(table)))
        inputs = inventory_inputs(home, [exchange.code for exchange in exchanges])
        return TableOutput(
            table, inputs_sha256=inputs, metadata={"inventory": dg.MetadataValue.md(markdown_table(table))}
        )

    return exchange_profiles


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
