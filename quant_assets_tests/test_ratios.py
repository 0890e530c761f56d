"""That nothing that is done often becomes half as slow again, whatever machine says so.

Each work is measured in processor time beside a plain read of the same history by polars, both in a process of their
own: threads and caches that other tests leave behind are none of theirs. The ratio must stay below one and a half
times the one on record (`ratios.json`). What was made faster, and what may be slower for a reason, is put on record
anew: `QUANT_ASSETS_RATIOS=record pytest quant_assets_tests/test_ratios.py`.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl

from quant_assets.catalog.build import CATALOG_SCHEMA
from quant_assets.defs.asset_checks import CellJudge
from quant_assets.exchanges import exchange
from quant_assets.ingest.cells import CellNews, CellWriter
from quant_assets.market.bars import conform_daily
from quant_assets.market.coverage import CellState
from quant_assets.market.profiles import symbol_profiles
from quant_assets.market.weekly import weekly_bars
from quant_assets.reader import prices
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import CATALOG, DAILY, HISTORY, object_key
from quant_assets.tables.lineage import RULES
from quant_assets.tables.manifest import Entry, Expected, Manifest
from quant_assets.tables.parquet import encode
from quant_assets_tests.e2e.processes import run_to_end

ROOT = Path(__file__).parents[1]
ON_RECORD = Path(__file__).with_name("ratios.json")
WORSE = 1.5
TIMES = 5
TRIES = 20
"""A machine that has much else to do may disturb some tries, for seconds; only what is worse is tried again."""
PAUSE_SECONDS = 0.5
ASX = exchange("ASX")
NAMES = [f"S{n:03d}.AX" for n in range(120)]
YEARS = (2022, 2023)
NOW = datetime(2023, 12, 30, tzinfo=UTC)
CELLS = 15

Work = Callable[[], object]


def rows_of(year: int, days: list[date]) -> pl.DataFrame:
    chance = np.random.default_rng(year)
    size = len(NAMES) * len(days)
    close = np.round(20 + np.cumsum(chance.normal(0, 0.01, size)), 2)
    rows = pl.DataFrame({"symbol": np.repeat(NAMES, len(days)), "date": days * len(NAMES), "close": close})
    return conform_daily(
        rows.with_columns(
            *(pl.col("close").alias(name) for name in ("open", "high", "low")),
            pl.Series("volume", chance.integers(1, 1000, size) * 100),
            dividend=0.0, split_ratio=1.0, currency=pl.lit("AUD"), flags=pl.lit(""), fetched_at=pl.lit(NOW),
        )
    )  # fmt: skip


def laid(folder: Path) -> ObjectStore:
    """Two years of history, and the cells of the last sessions."""
    home = LocalObjectStore(folder)
    writer = CellWriter(home, "ASX", "yahoo", 0.0, Expected(home, "ASX"))
    for year in YEARS:
        days = ASX.calendar().sessions(date(year, 1, 1), date(year, 12, 31))
        rows = rows_of(year, days)
        real = days[-CELLS:] if year == YEARS[-1] else []
        entries = [
            Entry(
                day.isoformat(),
                CellState.COMPLETE,
                rows=len(NAMES),
                version="1",
                content_sha256=f"as of {day}",
            )
            for day in days
            if day not in real
        ] + [
            writer.write(day, NAMES, CellNews(rows.filter(pl.col("date") == day)), None, NOW).entry
            for day in real
        ]
        Manifest(home, DAILY).record("ASX", entries)
        facts = Entry(str(year), CellState.COMPLETE, rows=rows.height).facts()
        cells = {entry.partition: entry.content_sha256 for entry in entries}
        made = encode(rows, facts | {"cells": cells, "rule": RULES[HISTORY]})
        home.put(object_key(HISTORY, "ASX", str(year)), made)
    catalog = pl.DataFrame({"symbol": NAMES, "exchange": "ASX"})
    lacking = [
        pl.lit(None, kind).alias(name) for name, kind in CATALOG_SCHEMA.items() if name not in catalog.columns
    ]
    home.put(object_key(CATALOG), encode(catalog.with_columns(lacking).select(list(CATALOG_SCHEMA)), {}))
    return home


def works(store: ObjectStore) -> dict[str, Work]:
    last = ASX.calendar().sessions(date(2023, 1, 1), date(2023, 12, 31))[-CELLS:]
    every = pl.concat(
        [rows_of(year, ASX.calendar().sessions(date(year, 1, 1), date(year, 12, 31))) for year in YEARS]
    )
    sessions = every["date"].unique().sort()
    calendar = pl.DataFrame({"date": sessions, "asked": True})
    listings = pl.DataFrame(
        {"symbol": NAMES, "listed_on": None, "delisted_on": None},
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
    )
    return {
        "one symbol, adjusted": lambda: prices(NAMES[50], adjust="split", store=store).collect(),
        "hundred symbols": lambda: prices(NAMES[:100], store=store).collect(),
        "one day": lambda: prices(NAMES, last[-1], last[-1], store=store).collect(),
        "weekly bars": lambda: weekly_bars(every, calendar),
        "profiles": lambda: symbol_profiles(every, sessions.to_list(), listings),
        "checks": lambda: list(CellJudge(store, ASX, NOW).judge(last)),
    }


def used(work: Work) -> float:
    """The median processor time of some calls."""
    taken: list[float] = []
    for _ in range(TIMES):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def measured(store: ObjectStore, on_record: dict[str, float]) -> dict[str, float]:
    """The best ratio of some tries, by work; what is within its record is not tried again."""
    files = sorted(Path(store.uri(f"{HISTORY}/exchange=ASX")).iterdir())

    def plain() -> None:
        for _ in range(3):
            for file in files:
                pl.read_parquet(file)

    best: dict[str, float] = {}
    left = works(store)
    for work in left.values():
        work()
    for _ in range(TRIES):
        for name, work in left.items():
            best[name] = min(best.get(name, np.inf), used(work) / used(plain))
        left = {name: work for name, work in left.items() if best[name] > WORSE * on_record.get(name, 0)}
        if not left:
            break
        time.sleep(PAUSE_SECONDS)
    return {name: round(ratio, 3) for name, ratio in best.items()}


def test_no_ratio_is_half_as_bad_again_as_on_record(tmp_path: Path) -> None:
    recording = os.environ.get("QUANT_ASSETS_RATIOS") == "record"
    on_record: dict[str, float] = {} if recording else json.loads(ON_RECORD.read_text())
    command = [sys.executable, "-m", "quant_assets_tests.test_ratios", str(tmp_path), json.dumps(on_record)]
    code, output = run_to_end(command, ROOT, 300)
    assert code == 0, output
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    if recording:
        ON_RECORD.write_text(json.dumps(found, indent=2) + "\n")
        return
    assert found.keys() == on_record.keys()
    assert {
        name: (ratio, on_record[name]) for name, ratio in found.items() if ratio > WORSE * on_record[name]
    } == {}


if __name__ == "__main__":
    print(json.dumps(measured(laid(Path(sys.argv[1], "store")), json.loads(sys.argv[2]))))
