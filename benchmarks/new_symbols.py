"""Many new symbols on a large grid, left to the real daemon: how many runs it takes until everything has settled.

    make new-symbols             300 symbols of two exchanges, two years (SYMBOLS=n, YEARS=n)

A home with two symbols an exchange is filled over the whole grid, with all that rests on its cells. Then Dagster's
daemon is started, the new symbols are written into the list, and nobody touches anything. Wanted of it: one run an
exchange that fetches the symbols' history, at most one weekly, history and profile run per exchange and tick of a
sensor, and at the end nothing stale, nothing under way, and no cell without its bars.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import yaml

from quant_assets.exchanges import exchange
from quant_assets.local_runs import Runner
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.settings import Settings
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY, EXCHANGES, HISTORY, PROFILES, WEEKLY
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.defs.scheduler import turn_on
from quant_assets_tests.e2e.daemon import DaemonHome, running_daemon, wait_until
from quant_assets_tests.support import days_between

CODES = ("ASX", "LSE")
NOW = datetime(2013, 3, 1, 23, tzinfo=UTC)
"""After the last close of both on a Friday."""
KNOWN = 2
"""Symbols of an exchange that are there from the start."""
PATIENCE = 1800


def main(symbols: int, years: int) -> int:
    """Prints what came of it; 1 when it is not what is wanted."""
    first = date(NOW.year - years, 3, 1)
    # Of a made-up exchange one symbol in some is delisted or comes late: drawn are more than are taken.
    made_up = [GeneratedExchange(code, symbols + 20, seed=7, start=first, end=NOW.date()) for code in CODES]
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        source = stack.enter_context(start(ReplayConfig(now=NOW, generated=made_up)))
        drawn = {code: _listed(source, code) for code in CODES}
        share = {code: KNOWN + (symbols + place) // len(CODES) for place, code in enumerate(CODES)}
        settings = Settings(
            home=home, exchanges=CODES, universe=home / "universe.yaml", start=first, source_url=source.url,
            requests_per_second=0, now=NOW, min_coverage={"*": 0.0},
        )  # fmt: skip
        os.environ["DAGSTER_HOME"] = ""
        began = time.monotonic()
        with dg.DagsterInstance.from_config(str(_prepared(settings, drawn))) as instance:
            turn_on(instance, *CODES)
            platform = DaemonHome(settings, instance, NOW)
            print(
                f"new-symbols: a home of {KNOWN * len(CODES)} symbols after {time.monotonic() - began:.0f} s"
            )
            stack.enter_context(running_daemon(settings, "new_symbols.log"))
            wait_until(lambda: platform.has_looked("new_symbols"), PATIENCE)
            return _judge(platform, source, {code: drawn[code][: share[code]] for code in CODES})


def _listed(source: ReplayHandle, code: str) -> list[str]:
    entries = [entry for entry in source.catalog() if entry["exchange"] == code and not entry["delisted_on"]]
    return sorted(entry["symbol"] for entry in entries)


def _prepared(settings: Settings, drawn: dict[str, list[str]]) -> Path:
    """Fills the home with the known symbols; answers Dagster's folder."""
    days = days_between(settings.start, NOW.date())
    assert settings.universe is not None
    settings.universe.write_text(yaml.safe_dump({code: drawn[code][:KNOWN] for code in CODES}))
    with Runner(settings) as runner:
        runner.catalog()
        for code in CODES:
            runner.daily(exchange(code), days)
            runner.derived(exchange(code), settings.start, NOW.date())
        runner.inventory()
    return settings.dagster_home


def _judge(platform: DaemonHome, source: ReplayHandle, listed: dict[str, list[str]]) -> int:
    """Adds the symbols, waits until all is settled, and says what it took."""
    new = {symbol for code in CODES for symbol in listed[code][KNOWN:]}
    known, began = platform.known(), time.monotonic()
    source.reset_stats()
    platform.follow(listed)
    daily = {f"{DAILY}_{code.lower()}": code for code in CODES}
    requested = wait_until(lambda: platform.runs(known).keys() >= daily.keys(), PATIENCE)

    def done() -> bool:
        return set(source.stats()["chart_data"]) == new and platform.settled()

    wait_until(done, PATIENCE)
    seconds = time.monotonic() - began
    runs = platform.runs(known)
    by_table = {
        table: platform.exchanges_of(runs.get(f"{table}_job", [])) for table in (WEEKLY, HISTORY, PROFILES)
    }
    fetches = {code: len(runs[job]) for job, code in daily.items()}
    ticks = platform.requested_by_tick(run for of_job in runs.values() for run in of_job)
    busiest = max((count for tick in ticks for count in tick.values()), default=0)
    states, without = _cells(platform, listed)
    by_state = {state.value: count for state, count in states.items()}
    print(f"new-symbols: requested after {requested:.0f} s; runs by table and exchange: daily_prices {fetches}, "
          + ", ".join(f"{table} {dict(counts)}" for table, counts in by_table.items()))  # fmt: skip
    print(f"new-symbols: cells by state: {by_state}; symbols without any bar: {sorted(without)[:5]}")
    asked = sum(source.stats()["chart_data"].values())
    failed = [run.run_id for of_job in runs.values() for run in of_job if not run.is_success]
    right = (
        set(fetches.values()) == {1} and busiest == 1 and not without and not failed
        and states.keys() <= {CellState.COMPLETE, CellState.PARTIAL, CellState.CLOSED}
    )  # fmt: skip
    print(
        f"new-symbols: {'ok' if right else 'FAILED'} symbols={len(new)} exchanges={len(CODES)} "
        f"cells={sum(states.values())} requests={asked} fetch_runs={sum(fetches.values())} "
        + " ".join(
            f"{name}_runs={by_table[table].total()}"
            for name, table in (("weekly", WEEKLY), ("history", HISTORY), ("profile", PROFILES))
        )
        + f" inventory_runs={len(runs.get(f'{EXCHANGES}_job', []))} most_per_exchange_and_tick={busiest} "
        f"failed_runs={len(failed)} stale=0 seconds={seconds:.0f}"
    )
    return 0 if right else 1


def _cells(platform: DaemonHome, listed: dict[str, list[str]]) -> tuple[Counter[CellState], set[str]]:
    """The cells by state, and the listed symbols of which no cell has a row."""
    states: Counter[CellState] = Counter()
    without: set[str] = set()
    for code in CODES:
        states.update(entry.state for entry in Manifest(platform.store, DAILY).all(code))
        without |= set(listed[code]) - set(read_daily(platform.store, code)["symbol"].unique())
    return states, without


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.new_symbols", description=__doc__)
    parser.add_argument("--symbols", type=int, default=300, help="new symbols, over both exchanges")
    parser.add_argument("--years", type=int, default=2, help="years of the grid")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    given = _arguments(sys.argv[1:])
    sys.exit(main(given.symbols, given.years))
