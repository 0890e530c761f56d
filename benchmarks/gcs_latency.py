"""Reads and a daily update on a bucket that is far away: 30 ms are added to every request to the storage emulator.

Prints, for the read of one symbol's twenty years and for the daily update of an exchange, the requests that it made,
how many were under way at once, its median time, and the ratio to as many bare downloads by the same client at the
same concurrency. The time of a daily update is that of its storage alone, the price source not counted. The proxy
that adds the time runs in a process of its own, as a network does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from quant_assets.catalog.build import CATALOG_SCHEMA
from quant_assets.dev.gcs_emulator import gcs_emulator, make_bucket
from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules, Listeners
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest
from quant_assets.market.bars import conform_daily
from quant_assets.market.coverage import CellState
from quant_assets.reader import prices
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.layout import CATALOG, DAILY, HISTORY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets_tests.gcs_proxy import ProxyProcess, proxy_process

YEARS = range(2004, 2024)
SESSION = date(2024, 3, 1)
NOW = datetime(2024, 3, 1, 20, 0, tzinfo=UTC)
FETCHED = datetime(2024, 1, 1, tzinfo=UTC)
BUCKET = "far-away"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=2_000, help="of the daily update")
    parser.add_argument(
        "--history-symbols", type=int, default=500, help="in the twenty years that are read from"
    )
    parser.add_argument("--latency", type=float, default=0.03, help="seconds added to every request")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    with gcs_emulator() as near, tempfile.TemporaryDirectory() as home:
        make_bucket(BUCKET)
        symbol = write_history(open_store(f"gs://{BUCKET}/read"), given.history_symbols)
        with proxy_process(near, latency=(given.latency, given.latency)) as far:
            os.environ["STORAGE_EMULATOR_HOST"] = far.url
            store = open_store(f"gs://{BUCKET}/read")
            rows = prices(symbol, store=store).collect().height
            read = measured(far, given.repeats, lambda: timed(lambda: prices(symbol, store=store).collect()))
            report(store, f"one symbol, {len(YEARS)} years, {rows} rows", *read)
            update = measured(far, 3, daily_update(far, Path(home), given.symbols))
            report(store, f"daily update, {given.symbols} symbols", *update)


def write_history(store: ObjectStore, symbols: int) -> str:
    """Twenty years of an exchange, as a compaction leaves them; answers a symbol in their midst."""
    calendar, chance = exchange("ASX").calendar(), np.random.default_rng(1)
    names = [f"S{n:04d}.AX" for n in range(symbols)]
    for year in YEARS:
        days = calendar.sessions(date(year, 1, 1), date(year, 12, 31))
        close = np.round(chance.uniform(5, 50, symbols * len(days)), 2)
        frame = pl.DataFrame({"symbol": np.repeat(names, len(days)), "date": days * symbols, "close": close})
        frame = frame.with_columns(
            pl.col("close").alias("open"), pl.col("close").alias("high"), pl.col("close").alias("low"),
            pl.Series("volume", chance.integers(1, 100_000, close.size) * 100),
            dividend=0.0, split_ratio=1.0, currency=pl.lit("AUD"), flags=pl.lit(""), fetched_at=pl.lit(FETCHED),
        )  # fmt: skip
        cells = {day.isoformat(): f"content-{day}" for day in days}
        entries = [Entry(d, CellState.COMPLETE, version="1", content_sha256=c) for d, c in cells.items()]
        Manifest(store, DAILY).record("ASX", entries)
        whole = Entry(str(year), CellState.COMPLETE, rows=frame.height).facts() | {"cells": cells}
        store.put(object_key(HISTORY, "ASX", str(year)), encode(conform_daily(frame), whole, by_symbol=True))
    catalog = pl.DataFrame({"symbol": names}).with_columns(exchange=pl.lit("ASX"))
    missing = [
        pl.lit(None, dtype).alias(n) for n, dtype in CATALOG_SCHEMA.items() if n not in catalog.columns
    ]
    store.put(object_key(CATALOG), encode(catalog.with_columns(missing).select(list(CATALOG_SCHEMA)), {}))
    return names[symbols // 2]


def daily_update(far: ProxyProcess, home: Path, symbols: int) -> Callable[[], float]:
    """A daily update of an exchange into a new prefix each time; a call answers the seconds of its storage."""
    made_up = GeneratedExchange("ASX", symbols=symbols, seed=1, start=date(2023, 11, 1), end=SESSION)

    def update() -> float:
        with start(ReplayConfig(generated=[made_up], now=NOW)) as server:
            names = [row["symbol"] for row in server.catalog()]
            catalog = pl.DataFrame(
                {"symbol": names, "listed_on": None, "delisted_on": None},
                schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
            )
            source = YahooSource(Settings(home=home, source_url=server.url, requests_per_second=0, now=NOW))
            store = open_store(f"gs://{BUCKET}/update-{time.time_ns()}")
            seconds, planned = 0.0, list[float]()
            # The client and the claim of a new prefix belong to the first day, not to every day.
            for session in (date(2024, 2, 28), SESSION):
                far.did()
                started = time.perf_counter()
                context = FillContext(
                    exchange("ASX"),
                    store,
                    source,
                    clock=lambda: NOW,
                    rules=FillRules(home / "spill"),
                    listeners=Listeners(plan=lambda _: planned.append(time.perf_counter())),
                )
                report = fill_cells(context, FillRequest([session], catalog))
                # Until the plan stands nothing but the store is asked.
                seconds = planned[-1] - started + report.seconds["compare"] + report.seconds["store"]
            source.close()
            return seconds

    return update


def timed(work: Callable[[], object]) -> float:
    """The seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measured(far: ProxyProcess, repeats: int, work: Callable[[], float]) -> tuple[float, dict[str, int], int]:
    """Median seconds of `work`, the requests of one call by method, and how many of them were under way at once."""
    seconds: list[float] = []
    did: dict[str, Any] = {}
    for _ in range(repeats):
        far.did()
        seconds.append(work())
        did = far.did()
    return statistics.median(seconds), did["asked"], did["most_at_once"]


def report(store: ObjectStore, name: str, seconds: float, asked: dict[str, int], at_once: int) -> None:
    """One line: what was measured, beside as many bare downloads at the same concurrency."""
    requests = sum(asked.values())

    def bare() -> None:
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda _: store.get(object_key(CATALOG)), range(requests)))

    peer = statistics.median(timed(bare) for _ in range(5))
    methods = ",".join(f"{method}:{count}" for method, count in sorted(asked.items()))
    print(
        f"gcs-latency: {name}: requests={requests} ({methods}) at_once={at_once} seconds={seconds:.3f} "
        f"bare={peer:.3f} ratio={seconds / peer:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
