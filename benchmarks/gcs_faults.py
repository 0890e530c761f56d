"""A store in a bucket under everything that can happen to it: many writers, a bad network, kills.

    python -m benchmarks.gcs_faults --symbols 100 --from 2021-03-01 --kills 100

Three parts, each against a real emulator in a process of its own. Writers: 64 at once (8 processes of 8 threads) add
rows to the same 20 cells, in a bucket and in a folder; every row that was acknowledged must stand there. Network: a
backfill behind a proxy that resets, refuses and loses answers ends as the calm one, and as the one on disk. Kills:
backfills killed at random moments and started again, every other one on such a network, end the same. One line at the
end; exit code 1 when anything is lost or differs.

One process imports everything and then only forks, kills (SIGKILL) and waits; so a life costs as long as its work.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import polars as pl

from quant_assets.dev.compare_stores import compare_stores
from quant_assets.dev.gcs_emulator import gcs_emulator, make_bucket
from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest
from quant_assets.market.bars import empty_daily
from quant_assets.market.reconcile import merge
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start
from quant_assets.resources.dagster_resources import YahooResource
from quant_assets.resources.object_store import Blob, put_reconciled
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import decode, encode
from quant_assets_tests.filled import bars, cell
from quant_assets_tests.gcs_proxy import proxy_process

CODE = "ASX"
LAST = date(2023, 3, 1)
NOW = datetime(2023, 3, 1, 23, 0, tzinfo=UTC)
BUCKET = "faults"
PROCESSES, THREADS, CELLS = 8, 8, 20

_processes = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Job:
    """What a backfill needs to know."""

    url: str
    symbols: tuple[tuple[str, str | None], ...]
    """Each with the day it was delisted, if it was."""
    first: date
    home: Path


def fill(job: Job, location: str, host: str) -> dict[str, int]:
    """Fills every cell of the range; answers the cells by state."""
    os.environ["STORAGE_EMULATOR_HOST"] = host
    home = job.home / f"{os.getpid()}"
    given = Settings(home=home, store=location, source_url=job.url, requests_per_second=0, now=NOW)
    days = [job.first + timedelta(days=n) for n in range((LAST - job.first).days + 1)]
    catalog = pl.DataFrame(
        [(symbol, None, date.fromisoformat(gone) if gone else None) for symbol, gone in job.symbols],
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
        orient="row",
    )
    source = YahooResource.of(given).open()
    report = fill_cells(
        FillContext(exchange(CODE), open_store(location), source, given.clock, FillRules(home / "spill")),
        FillRequest([day for day in days if day.weekday() < 5], catalog),
    )
    source.close()
    return dict(report.states)


def differing(one: str, other: str) -> list[str]:
    """The keys in which two stores differ."""
    compared = compare_stores(open_store(one), open_store(other))
    return compared.differing if compared.objects > 10 else [f"{one}: only {compared.objects} objects"]


# --- writers


def day_of(number: int) -> date:
    return date(2023, 1, 2) + timedelta(days=number)


def write_cells(location: str, process: int, cells: int, together: Any, tell: Any) -> None:
    """Eight writers, each of which adds a row of its own to each of its cells; tells which were acknowledged."""
    from concurrent.futures import ThreadPoolExecutor

    store = open_store(location)

    def write(thread: int) -> list[tuple[int, str]]:
        symbol = f"W{process}{thread}"
        order = random.Random(process * THREADS + thread).sample(range(CELLS), cells)
        together.wait()
        done: list[tuple[int, str]] = []
        for number in order:
            day = day_of(number)
            key = object_key(DAILY, CODE, day.isoformat())
            incoming = bars(day, [symbol])
            entry: Entry | None = None

            def decide(present: Blob | None, key: str = key, incoming: pl.DataFrame = incoming) -> bytes:
                nonlocal entry
                stored = decode(present.data, key) if present else empty_daily()
                rows = merge(stored, incoming)
                entry = cell(incoming["date"][0], rows)
                return encode(rows, entry.facts())

            info = put_reconciled(store, key, decide, read_first=False)
            assert info is not None
            assert entry is not None
            Manifest(store, DAILY).record(CODE, [Entry.from_facts(entry.facts(), info)])
            done.append((number, symbol))
        return done

    with ThreadPoolExecutor(THREADS) as pool:
        tell.send([one for part in pool.map(write, range(THREADS)) for one in part])


def judge(location: str, acknowledged: list[tuple[int, str]]) -> dict[str, int]:
    """What stands there of what was acknowledged, and whether the manifest knows it."""
    store = open_store(location)
    counts = {"acknowledged": len(acknowledged), "lost": 0, "torn": 0, "unknown": 0}
    known = Manifest(store, DAILY).year(CODE, 2023)
    for number in sorted({number for number, _ in acknowledged}):
        day = day_of(number)
        expected = sorted(symbol for at, symbol in acknowledged if at == number)
        blob = store.get(object_key(DAILY, CODE, day.isoformat()))
        rows = decode(blob.data, blob.info.key)
        counts["lost"] += len(set(expected) - set(rows["symbol"]))
        counts["torn"] += not rows.equals(pl.concat([bars(day, [symbol]) for symbol in expected]))
        counts["unknown"] += known[day.isoformat()].version != blob.info.version
    return counts


def writers(location: str, cells: int) -> dict[str, int]:
    """Sixty-four writers at once; answers the counts of `judge`."""
    together = _processes.Barrier(PROCESSES * THREADS)
    pipes: list[Any] = []
    started: list[Any] = []
    for number in range(PROCESSES):
        receive, send = _processes.Pipe(duplex=False)
        process = _processes.Process(target=write_cells, args=(location, number, cells, together, send))
        process.start()
        send.close()
        pipes.append(receive)
        started.append(process)
    acknowledged = [one for pipe in pipes for one in pipe.recv()]
    for process in started:
        process.join()
    return apart(judge, location, acknowledged)


# --- network


def bad_network(chance: float) -> list[dict[str, Any]]:
    """What a bad network does, each with this chance."""
    return [
        {"kind": "reset", "chance": chance},
        {"kind": "lost", "chance": chance},
        {"kind": "lost", "chance": chance, "matching": ["POST /upload/"]},
        {"kind": "cut", "chance": chance, "matching": ["alt=media"]},
        {"kind": "status", "status": 429, "chance": chance},
        {"kind": "status", "status": 503, "chance": chance / 2, "burst": 3},
    ]


# --- kills


def live(job: Job, location: str, host: str, seconds: float | None) -> bool:
    """One backfill, killed after so many seconds; answers whether it was."""
    process = _processes.Process(target=fill, args=(job, location, host))
    process.start()
    process.join(seconds)
    alive = process.is_alive()
    process.kill()
    process.join()
    if process.exitcode not in (0, -9):
        raise SystemExit(f"a backfill of {location} failed; its error stands above")
    return alive and process.exitcode == -9


def kills(
    job: Job, hosts: Sequence[str], reference: str, count: int, longest: float, seed: int
) -> tuple[int, list[str]]:
    """Kills until there were so many, each round ended and compared; answers the rounds and what differs.

    Rounds take the hosts in turn. Behind a bad network an upload may land after its writer was killed.
    """
    chance, rounds, found = random.Random(seed), 0, list[str]()
    left = count
    while left > 0:
        location, host = f"gs://{BUCKET}/kills-{rounds}", hosts[rounds % len(hosts)]
        for _ in range(min(left, 5)):
            if not live(job, location, host, longest * chance.random() ** 1.5):
                break
            left -= 1
        live(job, location, host, None)
        found += apart(differing, reference, location)
        rounds += 1
    return rounds, found


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `work` in a process of its own."""
    receive, send = _processes.Pipe(duplex=False)

    def run() -> None:
        send.send(work(*arguments))

    process = _processes.Process(target=run)
    process.start()
    send.close()
    try:
        return receive.recv()
    except EOFError:
        raise SystemExit(f"{work.__name__} failed; its error stands above") from None
    finally:
        process.join()


def main(arguments: list[str] | None = None) -> int:
    """Runs the three parts; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--from", dest="first", type=date.fromisoformat, default=date(2021, 3, 1))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument(
        "--cells", type=int, default=CELLS, help="how many of the 20 cells each writer writes to"
    )
    parser.add_argument("--chance", type=float, default=0.02, help="of each kind of fault")
    parser.add_argument(
        "--latency", type=float, nargs=2, default=(0.03, 0.2), metavar=("LEAST", "MOST"),
        help="seconds that the bad network adds to each request",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    asked = parser.parse_args(arguments)
    started = time.monotonic()
    print(f"gcs-faults: seed={asked.seed}", flush=True)
    for name in ("dagster_gcp.gcs", "google.cloud.storage", "dataframely", "pandas", "yfinance",
                 "pyrate_limiter", "quant_assets.market.validation",
                 "quant_assets.resources.yahoo_session"):  # fmt: skip
        importlib.import_module(name)
    generated = GeneratedExchange(CODE, symbols=asked.symbols, seed=3, start=date(2021, 1, 4), end=LAST)
    wrong: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="gcs-faults-") as folder,
        gcs_emulator() as host,
        start(ReplayConfig(now=NOW, generated=[generated])) as server,
    ):
        make_bucket(BUCKET)
        symbols = tuple((entry["symbol"], entry["delisted_on"]) for entry in server.catalog())
        job = Job(server.url, symbols, asked.first, Path(folder) / "homes")
        local, calm = str(Path(folder) / "store"), f"gs://{BUCKET}/calm"

        totals: Counter[str] = Counter()
        for home in (str(Path(folder) / "writers"), f"gs://{BUCKET}/writers"):
            counts = writers(home, asked.cells)
            kind = "bucket" if home.startswith("gs://") else "folder"
            print(
                f"gcs-faults: writers {kind} {json.dumps(counts)} at {time.monotonic() - started:.0f} s",
                flush=True,
            )
            totals.update(counts)
        if totals["lost"] or totals["torn"] or totals["unknown"]:
            wrong.append(f"writers: {dict(totals)}")

        states = apart(fill, job, local, host)
        begun = time.monotonic()
        if apart(fill, job, calm, host) != states:
            wrong.append("the calm backfills differ in their states")
        longest = time.monotonic() - begun
        wrong += apart(differing, local, calm)
        print(f"gcs-faults: calm {longest:.1f} s, done at {time.monotonic() - started:.0f} s", flush=True)
        faults, latency = bad_network(asked.chance), tuple(asked.latency)
        with proxy_process(host, latency=latency, faults=faults, seed=asked.seed) as proxy:
            if apart(fill, job, f"gs://{BUCKET}/bad-network", proxy.url) != states:
                wrong.append("the backfill over a bad network differs in its states")
            did = proxy.did()
        print(f"gcs-faults: faults done at {time.monotonic() - started:.0f} s")
        print(f"gcs-faults: states {json.dumps(states)} network {json.dumps(did)}", flush=True)
        wrong += apart(differing, calm, f"gs://{BUCKET}/bad-network")

        # A slow network would only lengthen the lives between two kills.
        latency = (asked.latency[0] / 6, asked.latency[1] / 6)
        with proxy_process(host, latency=latency, faults=faults, seed=asked.seed) as proxy:
            rounds, found = kills(job, (host, proxy.url), calm, asked.kills, longest, asked.seed)
            more = proxy.did()
        wrong += found
        print(f"gcs-faults: kills network {json.dumps(more)}", flush=True)
    for text in wrong[:30]:
        print(f"gcs-faults: wrong: {text}")
    print(
        f"gcs-faults: {'ok' if not wrong else 'FAILED'} writers={PROCESSES * THREADS} "
        f"acknowledged={totals['acknowledged']} lost={totals['lost']} torn={totals['torn']} "
        f"cells={sum(states.values())} requests={sum(did['asked'].values())} faults={sum(did['struck'].values())} "
        f"kills={asked.kills} rounds={rounds} wrong={len(wrong)} seconds={time.monotonic() - started:.0f}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
