"""A universe of thousands, enabled on a running instance whose daemon is killed on the way: none lost, none twice.

    make new-universe            3,000 symbols, two years, two kills (SYMBOLS=n YEARS=n KILLS=n PACE=per second)

A home with a small universe is filled over the whole grid. Then Dagster's daemon and webserver are started, a large
universe that stands in the file is enabled, and nobody touches anything but the daemon: it is killed (SIGKILL) with
the code it has loaded and the run under way, and started again. Wanted at the end: the cells hold what was traded,
each symbol once; the rows of the small universe to the byte as before; of each symbol one request, but for those
under way at the kills; no time in which the pace was higher than set; nothing stale, nothing under way.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import yaml

from quant_assets.exchanges import exchange
from quant_assets.local_runs import Runner
from quant_assets.replay.generator import generate
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import read_table
from quant_assets_tests.e2e.daemon import DaemonHome, Service, wait_until
from quant_assets_tests.e2e.stack import graphql
from quant_assets_tests.support import days_between

CODE = "ASX"
NOW = datetime(2013, 3, 1, 23, tzinfo=UTC)
"""After the last close, on a Friday."""
SMALL = 10
"""Symbols of the universe that is there from the start."""
SEED = 7
PATIENCE = 7200
_RUNS = """query($job: String!) { runsOrError(filter: {pipelineName: $job}) { ... on Runs {
    results { runId status tags { key value } } } } }"""
_SENSOR = """{ sensorsOrError(repositorySelector: {repositoryName: "__repository__",
    repositoryLocationName: "quant_assets.definitions"}) { ... on Sensors {
    results { name sensorState { ticks(limit: 1) { skipReason } } } } } }"""


@dataclass
class Instance:
    """A home with its source, daemon and webserver."""

    platform: DaemonHome
    source: ReplayHandle
    daemon: Service
    webserver: Service
    url: str

    def answered(self) -> int:
        """How many chart requests the source has had."""
        return sum(self.source.stats()["chart_data"].values())

    def said(self) -> tuple[str, str]:
        """What the web page says: how many symbols the latest run has asked for, and why the sensor waits."""
        runs = graphql(self.url, _RUNS, job=f"{DAILY}_{CODE.lower()}")["runsOrError"]["results"]
        tags = {tag["key"]: tag["value"] for tag in runs[0]["tags"]} if runs else {}
        sensors = graphql(self.url, _SENSOR)["sensorsOrError"].get("results", [])
        ticks = next((s["sensorState"]["ticks"] for s in sensors if s["name"] == "new_symbols"), [])
        return tags.get("quant_assets/asked", ""), (ticks[0]["skipReason"] or "") if ticks else ""


def main(symbols: int, years: int, kills: int, pace: float) -> int:
    """Prints what came of it; 1 when it is not what is wanted."""
    first = date(NOW.year - years, 3, 1)
    # Of a made-up exchange one symbol in some is delisted or comes late: drawn are more than are taken.
    made_up = GeneratedExchange(CODE, symbols * 3 // 2 + 60, seed=SEED, start=first, end=NOW.date())
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        source = stack.enter_context(start(ReplayConfig(now=NOW, generated=[made_up])))
        listed = sorted(
            entry["symbol"]
            for entry in source.catalog()
            if not entry["delisted_on"] and entry["listed_on"] <= str(first)
        )
        small, large = listed[:SMALL], listed[SMALL : SMALL + symbols]
        assert len(large) == symbols, f"only {len(large)} are listed all the time"
        settings = Settings(
            home=home, exchanges=(CODE,), universe=home / "universes.yaml", start=first, source_url=source.url,
            requests_per_second=0, now=NOW, min_coverage={"*": 0.0},
        )  # fmt: skip
        os.environ["DAGSTER_HOME"] = ""
        began = time.monotonic()
        _write(settings, small, large, enabled=False)
        with Runner(settings) as runner:
            runner.catalog()
            runner.daily(exchange(CODE), days_between(first, NOW.date()))
            runner.derived(exchange(CODE), first, NOW.date())
            runner.inventory()
        print(f"new-universe: a home of {SMALL} symbols after {time.monotonic() - began:.0f} s", flush=True)
        settings = settings.model_copy(update={"requests_per_second": pace})
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(settings.dagster_home)))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        served = Service(
            settings, "new_universe_web.log", ["dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
        )
        daemon = Service(settings, "new_universe.log", ["dagster._daemon", "run"])
        # What is ended last is started first: whatever happens, all processes of the home end.
        stack.callback(daemon.end)
        stack.callback(served.end)
        served.begin()
        daemon.begin()
        running = Instance(
            DaemonHome(settings, instance, NOW), source, daemon, served, f"http://127.0.0.1:{port}"
        )
        wait_until(lambda: running.platform.has_looked("new_symbols"), PATIENCE)
        return _Trial(running, small, large, made_up).run(kills, pace)


def _write(settings: Settings, small: Sequence[str], large: Sequence[str], *, enabled: bool) -> None:
    assert settings.universe is not None
    sources = {"small": (small, True), "large": (large, enabled)}
    text = yaml.safe_dump(
        {
            "universes": [
                {
                    "name": name, "exchange": CODE, "enabled": on,
                    "source": {"kind": "static", "symbols": list(symbols)},
                }
                for name, (symbols, on) in sources.items()
            ]
        }
    )  # fmt: skip
    new = settings.universe.with_suffix(".new")
    new.write_text(text)
    new.replace(settings.universe)


class _Trial:
    def __init__(
        self, running: Instance, small: Sequence[str], large: Sequence[str], made_up: GeneratedExchange
    ) -> None:
        self._running, self._small, self._large, self._made_up = running, small, large, made_up
        self._platform, self._source = running.platform, running.source

    def run(self, kills: int, pace: float) -> int:
        """Enables the universe, kills the daemon so many times, waits until all is settled, and judges."""
        before = self._rows(self._small)
        known, began = self._platform.known(), time.monotonic()
        self._source.reset_stats()
        _write(self._platform.settings, self._small, self._large, enabled=True)
        killed: list[int] = []
        seen: list[str] = []
        for number in range(1, kills + 1):
            share = len(self._large) * number // (kills + 1)
            wait_until(lambda share=share: self._running.answered() >= share, PATIENCE, pause=0.2)
            seen += self._look()
            # The run's process is one of its descendants.
            self._running.daemon.kill()
            killed.append(self._running.answered())
            print(f"new-universe: killed after {killed[-1]} requests", flush=True)
            self._running.daemon.begin()

        def done() -> bool:
            seen.extend(said for said in self._look() if said not in seen)
            return set(self._source.stats()["chart_data"]) >= set(self._large) and self._platform.settled()

        wait_until(done, PATIENCE)
        seconds = time.monotonic() - began
        print("new-universe: the page said: " + " | ".join(_some(seen)))
        runs = self._platform.runs(known)
        fills = runs.get(f"{DAILY}_{CODE.lower()}", [])
        lost, more, doubled = self._compared()
        asked = Counter(symbol for _, symbol in self._source.log())
        again = sum(asked.values()) - len(self._large)
        most = len(killed) * 2 * self._platform.settings.concurrency
        moments = [moment for moment, _ in self._source.log()]
        busiest = max(bisect_left(moments, moment + 10) - at for at, moment in enumerate(moments))
        equal = self._rows(self._small).equals(before)
        strange = set(asked) - set(self._large)
        open_runs = [run.run_id for of_job in runs.values() for run in of_job if not run.is_finished]
        right = (
            not lost and not more and not doubled and equal and not strange and not open_runs
            and 0 <= again <= most and busiest <= 10 * pace + 2 and len(fills) == kills + 1
        )  # fmt: skip
        print(
            f"new-universe: {'ok' if right else 'FAILED'} symbols={len(self._large)} sessions={self._sessions()} "
            f"kills={len(killed)} fill_runs={len(fills)} requests={sum(asked.values())} asked_again={again} "
            f"(at most {most}) most_in_10_s={busiest} (pace {pace:g}) lost_rows={lost} more_rows={more} "
            f"doubled_rows={doubled} others_equal={equal} runs_open={len(open_runs)} "
            f"seconds={seconds:.0f}"
        )
        return 0 if right else 1

    def _look(self) -> list[str]:
        with contextlib.suppress(OSError, KeyError, TypeError):
            return [said for said in self._running.said() if said]
        return []

    def _rows(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Their rows, from the cells themselves."""
        store = self._platform.store
        cells = [
            read_table(store, object_key(DAILY, CODE, entry.partition)).filter(
                pl.col("symbol").is_in(list(symbols))
            )
            for entry in Manifest(store, DAILY).all(CODE)
            if entry.rows
        ]
        return pl.concat(cells).sort("symbol", "date")

    def _sessions(self) -> int:
        return sum(1 for entry in Manifest(self._platform.store, DAILY).all(CODE) if entry.rows)

    def _compared(self) -> tuple[int, int, int]:
        """Bars that were traded and are not there, that are there otherwise than traded, and that are there twice."""
        spec = self._made_up
        history = generate(spec.exchange, spec.symbols, spec.start, spec.end, spec.seed)
        wanted = [*self._small, *self._large]
        traded = history.frame.filter(pl.col("symbol").is_in(wanted), pl.col("close").is_not_null())
        stored = self._rows(wanted).filter(pl.col("close").is_not_null())
        keys = ["symbol", "date"]
        both = traded.join(stored, on=keys, suffix="_stored")
        apart = both.filter((pl.col("close_stored") / pl.col("close") - 1).abs() > 1e-6).height
        lost = traded.join(stored, on=keys, how="anti").height
        more = stored.join(traded, on=keys, how="anti").height
        return lost, more + apart, stored.height - stored.unique(keys).height


def _some(said: Sequence[str]) -> Iterator[str]:
    """A few of many sentences."""
    step = max(1, len(said) // 6)
    yield from said[::step]


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.new_universe", description=__doc__)
    parser.add_argument("--symbols", type=int, default=3000, help="symbols of the universe that is enabled")
    parser.add_argument("--years", type=int, default=2, help="years of the grid")
    parser.add_argument("--kills", type=int, default=2, help="how often the daemon is killed")
    parser.add_argument("--pace", type=float, default=20.0, help="requests a second")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    given = _arguments(sys.argv[1:])
    sys.exit(main(given.symbols, given.years, given.kills, given.pace))
