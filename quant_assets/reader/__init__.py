"""What users import to read the tables: `from quant_assets import prices, weekly, universe, …`.

All but `snapshot_id` and `to_pandas` give a polars LazyFrame and read nothing before it is collected, then only what
the query needs (`quant_assets.reader.lazy`). What is wrong with an argument is raised at once where no store has to
be asked, all else when the query is collected. Where the rows come from stands in `quant_assets.tables.daily`.
"""

from __future__ import annotations

from quant_assets.reader.arguments import By, Store, Symbols
from quant_assets.reader.frames import to_pandas
from quant_assets.reader.listing_reads import companies, listing_events, universe
from quant_assets.reader.price_reads import prices, snapshot_id
from quant_assets.reader.record_reads import gaps, restatements, sessions
from quant_assets.reader.snapshots import SnapshotMismatch
from quant_assets.reader.table_reads import profiles, valuations, weekly
from quant_assets.tables.catalog_reads import UnknownSymbol

__all__ = [
    "By",
    "SnapshotMismatch",
    "Store",
    "Symbols",
    "UnknownSymbol",
    "companies",
    "gaps",
    "listing_events",
    "prices",
    "profiles",
    "restatements",
    "sessions",
    "snapshot_id",
    "to_pandas",
    "universe",
    "valuations",
    "weekly",
]
