"""Stores full of made-up cells, weeks and their manifest, made without a price source."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, content_sha256
from quant_assets.market.coverage import CellState
from quant_assets.resources.object_store import ObjectStore, claim
from quant_assets.tables.layout import CATALOG, DAILY, TOP_LEVEL, WEEKLY, expected_key, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode

KNOWN = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
FIRST = date(2012, 1, 2)


def bars(day: date, symbols: Iterable[str], fetched_at: datetime = KNOWN) -> pl.DataFrame:
    """One bar a symbol, no two alike."""
    rows = [
        (symbol, day, 10.0, 12.0 + number, 9.0, 11.0 + day.toordinal() % 997 / 100, 1000 + number,
         0.0, 1.0, "USD", "", fetched_at)
        for number, symbol in enumerate(symbols)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=DAILY_SCHEMA, orient="row")


def cell(day: date, frame: pl.DataFrame) -> Entry:
    """The entry of a complete cell."""
    return Entry(
        day.isoformat(),
        CellState.COMPLETE,
        rows=frame.height,
        content_sha256=content_sha256(frame),
        expected=frame.height,
        received=frame.height,
        source="made up",
        recorded_at=KNOWN.isoformat(),
    )


def fill_store(store: ObjectStore, objects: int, exchanges: tuple[str, ...] = ("ASX", "US")) -> None:
    """Puts `objects` objects, manifest shards included; of every ten days one is closed, and one a year failed."""
    claim(store, TOP_LEVEL)
    store.put(object_key(CATALOG), encode(pl.DataFrame({"symbol": ["A"], "exchange": ["US"]}), {}))
    store.put(expected_key("US", "f" * 64), b"{}")
    room = objects - 3
    for number, exchange in enumerate(exchanges):
        _fill_exchange(store, exchange, room // len(exchanges) + (number < room % len(exchanges)))


def _fill_exchange(store: ObjectStore, exchange: str, objects: int) -> None:
    planned: list[tuple[str, date]] = []
    bare: list[Entry] = []
    shards: set[tuple[str, int]] = set()
    day = FIRST
    while True:
        tables = [DAILY, WEEKLY] if day.weekday() == 0 else [DAILY]
        more = len({*shards, *((table, day.year) for table in tables)})
        if len(planned) + len(tables) + more > objects:
            break
        if day.day in (4, 14, 24):
            failed = day.day == 4 and day.month == 1
            state = CellState.FAILED if failed else CellState.CLOSED
            bare.append(Entry(day.isoformat(), state, reason="made up", recorded_at=KNOWN.isoformat()))
            shards.add((DAILY, day.year))
        else:
            planned += [(table, day) for table in tables]
            shards |= {(table, day.year) for table in tables}
        day += timedelta(days=1)
    planned += [(CATALOG, day)] * (objects - len(planned) - len(shards))

    def put(number: int) -> tuple[str, Entry] | None:
        table, day = planned[number]
        if table == CATALOG:
            key = expected_key(exchange, f"{number:064x}")
            store.put(key, b'{"made up": true}')
            return None
        frame = bars(day, ["A", "B", f"{exchange}.{table}"])
        entry = cell(day, frame)
        info = store.put(object_key(table, exchange, day.isoformat()), encode(frame, entry.facts()))
        return table, Entry.from_facts(entry.facts(), info)

    with ThreadPoolExecutor(8) as pool:
        entries = [made for made in pool.map(put, range(len(planned))) if made is not None]
    for table in (DAILY, WEEKLY):
        of_table = [entry for name, entry in entries if name == table]
        Manifest(store, table).record(exchange, of_table + (bare if table == DAILY else []))
