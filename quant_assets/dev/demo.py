"""The demo: the whole platform over a replay server, from an empty folder to profiles, in one command."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import cast

import polars as pl
import yaml
from pydantic import SecretStr

from quant_assets.defs.progress import Watcher
from quant_assets.dev.compare_stores import Comparison, compare_stores
from quant_assets.dev.gcs_emulator import EmulatorError, gcs_emulator, make_bucket
from quant_assets.exchanges import known
from quant_assets.local_runs import Runner
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.counters import DATA_REQUESTS, WRITES, counted
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY, EXCHANGES, PROFILES, WEEKLY, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import read_table

FIRST, TODAY = date(2012, 1, 2), date(2013, 3, 1)
NOW = datetime(2013, 3, 1, 23, 0, tzinfo=UTC)
"""After the last close of the day, New York's."""

REPLAY = ReplayConfig(
    now=NOW,
    sampledata=True,
    generated=[GeneratedExchange("ASX", symbols=40, seed=7, start=FIRST, end=TODAY)],
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo ends with."""

    states: Counter[str]
    weekly_rows: int
    profiles: dict[str, float]
    """Mean quality per exchange."""
    inventory: pl.DataFrame
    requests: int
    writes: int
    seconds: float


def demo_home(home: Path) -> Path:
    """Where the demo keeps its own data, apart from what is fetched from Yahoo."""
    return home / "demo"


def demo_settings(home: Path, source_url: str, store: str = "") -> Settings:
    """The settings of the demo: its own folder (and store), the replay server's address, and its day."""
    folder = demo_home(home)
    return Settings(
        home=folder,
        store=store,
        exchanges=("ASX", "US"),
        universe=folder / "universe.yaml",
        start=FIRST,
        source_url=source_url,
        requests_per_second=0,
        now=NOW,
    )


def as_environment(settings: Settings) -> dict[str, str]:
    """The settings that differ from the defaults, as environment variables for a child process; secrets among them,
    as they are."""
    values = settings.model_dump(exclude_defaults=True)
    return {f"QUANT_ASSETS_{name.upper()}": _as_text(value) for name, value in values.items()}


def _as_text(value: object) -> str:
    """A setting as the environment has it."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case dict():
            return ",".join(f"{key}={_as_text(one)}" for key, one in cast("dict[str, object]", value).items())
        case (time_of_day() as first, time_of_day() as last):
            # Quiet hours.
            return f"{first:%H:%M}-{last:%H:%M}"
        case list() | tuple():
            return ",".join(map(str, cast("Sequence[object]", value)))
        case time_of_day():
            return f"{value:%H:%M}"
        case datetime():
            return value.isoformat()
        case None:
            # Of settings with another default: the digest.
            return "off"
        case _:
            return str(value)


def write_universe(server: ReplayHandle, file: Path) -> None:
    """The server's symbols as a universe file; delistings as a listing source would state them."""
    symbols: dict[str, list[dict[str, str]]] = {}
    exchanges = list(known().values())
    for entry in server.catalog():
        facts = {"symbol": entry["symbol"], "name": entry["name"]}
        if entry["delisted_on"]:
            facts["delisted_on"] = entry["delisted_on"]
        owner = next(exchange.code for exchange in exchanges if exchange.owns(entry["symbol"]))
        symbols.setdefault(owner, []).append(facts)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "# The symbols of the demo's replay server.\n" + yaml.safe_dump(symbols, sort_keys=True)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def run_demo(home: Path, watcher: Watcher, store: str = "") -> DemoResult:
    """Serves, fills and derives everything, and stops the server again. `store`: another than the home's own.

    Raises RunFailed, LaunchError, StoreUnavailable.
    """
    started = time.monotonic()
    requests, writes = counted(DATA_REQUESTS), counted(WRITES)
    with start(REPLAY) as server:
        settings = demo_settings(home, server.url, store)
        assert settings.universe is not None
        write_universe(server, settings.universe)
        with Runner(settings, watcher) as runner:
            runner.catalog()
            for exchange in runner.exchanges:
                days = pl.date_range(FIRST, TODAY, eager=True).to_list()
                weekdays = [day for day in days if day.weekday() < 5]
                runner.daily(exchange, weekdays)
                runner.valuations(exchange, TODAY)
                runner.derived(exchange, FIRST, TODAY)
            runner.inventory()
            return _result(runner, time.monotonic() - started, requests, writes)


def run_demo_gcs(home: Path, bucket: str | None, watcher: Watcher) -> tuple[Comparison, int]:
    """The demo with its store in a bucket of an emulator, compared with the demo on the local disk.

    With STORAGE_EMULATOR_HOST set, that emulator and `bucket` are used; else one is started. Answers the comparison
    and the requests to the price source. Raises EmulatorError and all that `run_demo` does.
    """
    given = bool(os.environ.get("STORAGE_EMULATOR_HOST"))
    if given and not bucket:
        raise EmulatorError("STORAGE_EMULATOR_HOST is set: name one of its buckets with --bucket")
    run_demo(home, watcher)
    with contextlib.ExitStack() as stack:
        if not given:
            stack.enter_context(gcs_emulator())
            bucket = bucket or "quant-assets-demo"
            make_bucket(bucket)
        # A prefix of its own each time: the run is to start from nothing.
        location = f"gs://{bucket}/demo-{time.time_ns()}"
        result = run_demo(home / "gcs", watcher, location)
        local = open_store(str(demo_home(home) / "store"))
        return compare_stores(local, open_store(location)), result.requests


def _result(runner: Runner, seconds: float, requests: int, writes: int) -> DemoResult:
    store = runner.store
    states: Counter[str] = Counter()
    weekly_rows = 0
    profiles: dict[str, float] = {}
    for exchange in runner.exchanges:
        states.update(entry.state.value for entry in Manifest(store, DAILY).all(exchange.code))
        weekly_rows += sum(entry.rows for entry in Manifest(store, WEEKLY).all(exchange.code))
        quality = read_table(store, object_key(PROFILES, exchange.code))["quality"]
        profiles[exchange.code] = float(str(quality.mean() or 0))
    return DemoResult(
        states,
        weekly_rows,
        profiles,
        read_table(store, object_key(EXCHANGES)),
        counted(DATA_REQUESTS) - requests,
        counted(WRITES) - writes,
        seconds,
    )
