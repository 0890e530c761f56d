"""Partition keys: the one place where `2024-03-15|ASX` is put together and taken apart."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from quant_assets.exchanges import Exchange
from quant_assets.tables.layout import HISTORY, PROFILES, TIME_DIMENSION, WEEKLY


def daily_key(exchange: str, day: date) -> str:
    """The partition key of a daily cell."""
    return f"{day.isoformat()}|{exchange}"


def affected_partitions(exchange: Exchange, days: Collection[date]) -> list[str]:
    """The partitions that rest on the cells of some days, as `table key`, in order."""
    weeks = {exchange.week_of(day) for day in days}
    years = {day.year for day in days}
    return [
        *(f"{WEEKLY} {exchange.code}|{week}" for week in sorted(weeks)),
        *(f"{HISTORY} {exchange.code}|{year}" for year in sorted(years)),
        f"{PROFILES} {exchange.code}",
    ]


EXCHANGE = "exchange"


def table_key(table: str, exchange: str, partition: str) -> str:
    """The partition key of a table's partition of an exchange; the opposite of `split_key`."""
    if table not in TIME_DIMENSION:
        return exchange
    # Dagster joins the dimensions in the order of their names.
    ordered = sorted([(TIME_DIMENSION[table], partition), (EXCHANGE, exchange)])
    return "|".join(value for _, value in ordered)


def split_key(table: str, key: str) -> tuple[str, str | None]:
    """Exchange and time of a partition key, e.g. ("ASX", "2024-03-15"); the time is None where there is none."""
    if table not in TIME_DIMENSION:
        return key, None
    # Dagster joins the dimensions in the order of their names.
    first, second = key.split("|")
    return (first, second) if TIME_DIMENSION[table] > EXCHANGE else (second, first)
