"""Where each table lies in the store: the names of the tables and the keys of their objects."""

from __future__ import annotations

CATALOG = "symbol_catalog"
DAILY = "daily_prices"
HISTORY = "price_history"
WEEKLY = "weekly_prices"
PROFILES = "symbol_profiles"
EXCHANGES = "exchange_profiles"


TIME_DIMENSION = {DAILY: "date", HISTORY: "year", WEEKLY: "week"}
"""The tables that are partitioned by exchange and time, and what the time is called."""
RECORDS = (
    "expected_symbols",
    "fetch_reports",
    "listing_events",
    "quarantine",
    "replaced_rows",
    "restatements",
)
"""What stands beside the tables: what runs have learned, decided and done."""


TOP_LEVEL = frozenset({*TIME_DIMENSION, CATALOG, PROFILES, EXCHANGES, "manifest", *RECORDS})
"""What the first part of a key can be in a store of ours."""


def object_key(table: str, exchange: str | None = None, partition: str | None = None) -> str:
    """The key of a table's object: `daily_prices/exchange=ASX/date=2024-03-15.parquet`, `symbol_catalog.parquet`."""
    if exchange is None:
        return f"{table}.parquet"
    if partition is None:
        return f"{table}/exchange={exchange}.parquet"
    return f"{table}/exchange={exchange}/{TIME_DIMENSION[table]}={partition}.parquet"


def partition_of(table: str, key: str) -> str | None:
    """The time partition in an object's key ("2024-03-15"), or None when the key is not one of the table's."""
    name = key.rpartition("/")[2]
    start, end = f"{TIME_DIMENSION[table]}=", ".parquet"
    return name[len(start) : -len(end)] if name.startswith(start) and name.endswith(end) else None
