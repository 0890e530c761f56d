"""Commands and plans: what a person waits for before anything is fetched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date

import polars as pl
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.scale.laying import settings_of, size_mb
from benchmarks.scale.measuring import Prepared
from benchmarks.scale.scratch import folder_of
from benchmarks.scale.shape import CODES, NOW, Laid
from benchmarks.scale.work import OURS, Goal, Work
from quant_assets.exchanges import exchange
from quant_assets.ingest.plan import FillRequest, make_plan
from quant_assets.operations.metrics import Platform
from quant_assets.resources.open_store import open_store

_PLANNED = 5_000


def _command(*arguments: str) -> Callable[[Laid], Prepared]:
    """A command line of its own, as a person types it."""

    def prepare(laid: Laid) -> Prepared:
        given = {
            "HOME": str(laid.folder / "home"), "STORE": str(laid.store), "UNIVERSE": str(laid.universe),
            "EXCHANGES": ",".join(CODES), "NOW": NOW.isoformat(), "START": laid.shape.first.isoformat(),
        }  # fmt: skip
        environment = {**os.environ, **{f"QUANT_ASSETS_{name}": value for name, value in given.items()}}

        def run() -> dict[str, float]:
            process = subprocess.Popen(
                [sys.executable, "-m", "quant_assets.cli", *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            lines = sum(1 for _ in process.stdout)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0, f"{arguments} ended with {process.returncode}"
            return {"peak_mb": used.ru_maxrss / 1024, "lines": lines, "cpu": used.ru_utime + used.ru_stime}

        return run

    return prepare


def _scrape(laid: Laid) -> Prepared:
    """A scrape as Prometheus asks for it, of a process that has looked at the store before."""
    settings = settings_of(laid)
    platform = Platform(settings, open_store(str(laid.store)), patience=None)
    registry = CollectorRegistry()
    registry.register(platform)
    generate_latest(registry)

    def run() -> dict[str, float]:
        platform.store.forget_when()
        return {"kb": len(generate_latest(registry)) / 1000}

    return run


def _plan(laid: Laid) -> Prepared:
    """A first backfill: every symbol, every day, an empty store."""
    shape = laid.shape
    count = min(_PLANNED, shape.symbols)
    listings = pl.DataFrame(
        {"symbol": [f"S{n:05d}.AX" for n in range(count)], "listed_on": None, "delisted_on": None},
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
    )
    store = open_store(str(folder_of(laid)))

    def plan() -> dict[str, float]:
        made = make_plan(exchange(CODES[0]), store, FillRequest(shape.days(), listings), NOW)
        starts: dict[str, date] = made.starts()
        assert len(starts) == count
        return {"symbols": count}

    return plan


def _stored(laid: Laid) -> Prepared:
    def look() -> dict[str, float]:
        shards = list((laid.store / "manifest" / "daily_prices").rglob("*year=*"))
        largest = max(shards, key=lambda file: file.stat().st_size if file.is_file() else 0)
        return {"store_mb": size_mb(laid.store), "manifest_mb": largest.stat().st_size / 1e6}

    return look


COMMANDS = [
    Work("gaps", {OURS: _command("gaps")}, (Goal("seconds", 2),)),
    Work("show_manifest", {OURS: _command("show-manifest")}, (Goal("seconds", 1),)),
    Work("report", {OURS: _command("report")}, (Goal("seconds", 30),)),
    Work("metrics", {OURS: _command("metrics", "--once")}, (Goal("seconds", 10),)),
    Work("metrics_scrape", {OURS: _scrape}, (Goal("seconds", 1),)),
    Work("plan", {OURS: _plan}, (Goal("more_mb", 200),)),
    Work("size", {OURS: _stored}, (Goal("store_mb", 2000), Goal("manifest_mb", 2)), repeats=1),
]
