"""Kills backfills at random moments, reruns them, and shows that nothing is lost, torn, mixed or left behind.

    python -m benchmarks.kill_backfill --kills 45 --dagster-kills 5 --seed 1

One process imports everything and then only forks, kills (SIGKILL) and waits; so a life costs as long as its work.
Each round fills an empty store, from the first request to the profiles, and is killed and started again until a
life gets through; what then stands there must be what an undisturbed run leaves. A reader reads all the while.
Prints one line at the end and exits with 1 when anything differs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

# A forked process must not wait for threads that were not forked with it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import dagster as dg
import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.definitions import build_definitions
from quant_assets.defs.partitions import make_grids
from quant_assets.defs.progress import Watcher, listening
from quant_assets.dev.demo import write_universe
from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules, Listeners
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest, Plan
from quant_assets.instance import open_instance
from quant_assets.local_runs import Runner
from quant_assets.market.bars import content_sha256
from quant_assets.reader import prices
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start
from quant_assets.resources.dagster_resources import YahooResource
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings, load_settings
from quant_assets.tables.layout import CATALOG, DAILY, EXCHANGES, HISTORY, PROFILES, WEEKLY, object_key
from quant_assets.tables.parquet import decode, read_facts, read_table

CODE, SYMBOLS = "ASX", 12
LISTED, LAST = date(2012, 11, 26), date(2013, 2, 1)
FIRST = date(2012, 12, 10)
"""In the midst of the suspensions, and before the splits."""
DAGSTER_FIRST = date(2013, 1, 7)
NOW = datetime(2013, 2, 1, 23, 0, tzinfo=UTC)
# When something was recorded, and as which version (the digits of the moment also count in the size).
_VAGUE = ("recorded_at", "version", "size")

KILLS_A_ROUND = 3
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

STAGES = (
    "start", "plan", "fetch", "cells", "record", "dagster", CATALOG, DAILY, HISTORY, WEEKLY, PROFILES, EXCHANGES,
    "end",
)  # fmt: skip

_processes = multiprocessing.get_context("fork")
_stage = _processes.RawValue("i", 0)
_round = _processes.RawValue("i", -1)
_stop = _processes.RawValue("i", 0)


def _at(stage: str) -> None:
    _stage.value = STAGES.index(stage)


# What a life does.


def settings(home: Path, store: Path, url: str, first: date) -> Settings:
    """Everything in `home` but the store; the pace is shared by all processes, as it is with Yahoo."""
    return Settings(
        home=home, store=str(store), exchanges=(CODE,), universe=home / "universe.yaml", start=first,
        source_url=url, requests_per_second=500, now=NOW,
    )  # fmt: skip


def fill(given: Settings) -> None:
    """A backfill without Dagster's records: `fill_cells`, then the bodies of the assets made from cells."""
    _at("start")
    store, source = open_store(given.store_location), YahooResource.of(given).open()
    days = weekdays(given.start)
    listener = _Stages()
    context = FillContext(
        exchange(CODE),
        store,
        source,
        given.clock,
        FillRules(given.home / "cache" / "spill"),
        listeners=Listeners(plan=listener.plan, symbol=lambda _: listener.symbol_done(), cell=listener.cell),
    )
    fill_cells(context, FillRequest(days, followed(read_table(store, object_key(CATALOG)), CODE)))
    source.close()

    _at(HISTORY)
    definitions = build_definitions(given)
    grids = make_grids([exchange(CODE)], given.start, NOW)
    with dg.DagsterInstance.ephemeral() as instance:
        for table, grid in ((HISTORY, grids.yearly), (WEEKLY, grids.weekly)):
            _at(table)
            keys = grid.get_partition_keys()
            ends = {
                "dagster/asset_partition_range_start": keys[0],
                "dagster/asset_partition_range_end": keys[-1],
            }
            job = definitions.resolve_job_def(f"{table}_job")
            job.execute_in_process(instance=instance, tags=ends, run_config=QUIET)
    _at("end")


def fill_by_dagster(given: Settings) -> None:
    """The same as the command line does it: real runs, recorded in Dagster's database."""
    _at("start")
    watcher = _Stages()
    with Runner(given, watcher) as runner, listening(watcher):
        runner.catalog()
        runner.daily(exchange(CODE), weekdays(given.start))
        runner.derived(exchange(CODE), given.start, LAST)
        runner.inventory()
    _at("end")


def open_dagster(given: Settings) -> None:
    """Makes Dagster's database, which takes longer than a life."""
    with Runner(given):
        pass


def weekdays(first: date) -> list[date]:
    """The days asked for: through the last one, Saturdays and Sundays left out."""
    days = [first + timedelta(days=n) for n in range((LAST - first).days + 1)]
    return [day for day in days if day.weekday() < 5]


class _Stages(Watcher):
    """Notes how far a life has got, for the statistics of where the kills fell."""

    _symbols = _cells = 0
    _last_of_year: frozenset[date] = frozenset()

    def plan(self, plan: Plan) -> None:
        self._last_of_year = frozenset({day.year: day for day in sorted(plan.wanted)}.values())
        self.planned(CODE, len(plan.starts()), len(plan.wanted))

    def planned(self, exchange: str, symbols: int, cells: int) -> None:
        self._symbols, self._cells = symbols, cells
        _at("fetch")

    def differ(self, restatements: pl.DataFrame) -> None: ...

    def told(self, trouble: str) -> None: ...

    def waiting(self, exchange: str) -> None: ...

    def symbol_done(self) -> None:
        self._symbols -= 1
        _at("fetch" if self._symbols else "cells")

    def cell(self, day: date) -> None:
        self.cell_done()
        _at("record" if day in self._last_of_year else "cells")

    def cell_done(self) -> None:
        self._cells -= 1
        _at("cells" if self._cells else "record")

    def run_started(self, title: str, partitions: int) -> None:
        _at(title.split()[0])

    def event(self) -> None:
        _at("dagster")


# What must hold afterwards, and all the while.


def differences(reference: Path, store: Path) -> list[str]:
    """How `store` differs from `reference`, and what was left there that no reader should find."""
    ours, theirs = open_store(str(store)), open_store(str(reference))
    # A run reports what it did, and a killed one did part of it.
    keys, wanted = (
        {info.key for info in home.list("") if not info.key.startswith("fetch_reports/")}
        for home in (ours, theirs)
    )
    found = [f"{key}: only one of the two has it" for key in sorted(keys ^ wanted)]
    for key in sorted(keys & wanted):
        try:
            same = _said(ours.get(key).data, key) == _said(theirs.get(key).data, key)
        except (ObjectDamaged, ValueError) as error:
            found.append(f"{key}: unreadable: {error}")
        else:
            found += [] if same else [f"{key}: not what an undisturbed run leaves"]
    return found + [f"{path}: left behind" for path in (store / ".tmp").iterdir()]


def _said(data: bytes, key: str) -> object:
    """What an object says: all its rows and facts but `_VAGUE`; the clock stands still, so times count."""
    if key.endswith(".json"):
        return _told(json.loads(data))
    # The hash is over every column, the times included.
    return content_sha256(decode(data, key), leave_out=()), _told(read_facts(data, key))


def _told(facts: Any) -> Any:
    if isinstance(facts, list):
        return [_told(value) for value in facts]
    return {k: _told(v) for k, v in facts.items() if k not in _VAGUE} if isinstance(facts, dict) else facts


def read_on(folder: Path, reference: Path, seed: int, tell: Any) -> None:
    """Reads whatever round is under way until told to stop; tells what was read, and what was wrong."""
    chance, counts, wrong = random.Random(seed), Counter[str](), list[str]()
    truth = read_table_of(reference)
    symbols, days = truth["symbol"].unique().sort().to_list(), truth["date"].unique().sort().to_list()

    def check(kind: str, rows: pl.DataFrame | None, wanted: pl.DataFrame) -> None:
        counts[kind] += 1
        if rows is None:
            counts[f"{kind}, absent"] += 1
            return
        seen = rows["date"].unique()
        if 0 < len(seen) < wanted["date"].n_unique():
            counts[f"{kind}, some sessions"] += 1
        expected = wanted.filter(pl.col("date").is_in(seen.implode()))
        if not rows.equals(expected):
            wrong.append(f"{kind}: {rows.height} rows instead of {expected.height}, {len(seen)} sessions")

    while not _stop.value and len(wrong) < 20:
        number = _round.value
        if number < 0:
            time.sleep(0.01)
            continue
        store = open_store(str(folder / f"{number:03d}"))
        try:
            few = sorted(chance.sample(symbols, 4))
            check(
                "prices",
                prices(few, store=store).collect().drop("exchange"),
                truth.filter(pl.col("symbol").is_in(few)),
            )
            for day in chance.sample(days, 10):
                cell = _frame(store, object_key(DAILY, CODE, day.isoformat()))
                check("cell", cell, truth.filter(pl.col("date") == day))
            for year in {day.year for day in days}:
                history = _frame(store, object_key(HISTORY, CODE, str(year)))
                check("history", history, truth.filter(pl.col("date").dt.year() == year))
        except Exception as error:  # noqa: BLE001 - whatever a read raises is a finding
            wrong.append(f"{type(error).__name__}: {error}")
    tell.send((dict(counts), wrong))


def _frame(store: Any, key: str) -> pl.DataFrame | None:
    try:
        return decode(store.get(key).data, key)
    except ObjectNotFound:
        return None


def read_table_of(store: Path) -> pl.DataFrame:
    """All daily rows of a store, from its cells."""
    home = open_store(str(store))
    return pl.concat([decode(home.get(i.key).data, i.key) for i in home.list(f"{DAILY}/")]).sort(
        "symbol", "date"
    )


def undocumented(given: Settings) -> list[str]:
    """Partitions that stand in the store and that Dagster does not show as materialized."""
    store = open_store(given.store_location)
    found: list[str] = []
    with open_instance(given) as instance:
        for table, partition_first in ((DAILY, True), (HISTORY, False), (WEEKLY, False)):
            shown = instance.get_materialized_partitions(dg.AssetKey(table))
            for info in store.list(f"{table}/"):
                partition = info.key.rpartition("=")[2].removesuffix(".parquet")
                key = f"{partition}|{CODE}" if partition_first else f"{CODE}|{partition}"
                if key not in shown:
                    found.append(f"{table} {key}: stored, and Dagster does not show it")
    return found


# The one who kills.


def apart(work: Callable[..., Any], *args: Any) -> Any:
    """The result of `work` in a process of its own."""
    receive, send = _processes.Pipe(duplex=False)

    def run() -> None:
        send.send(work(*args))

    process = _processes.Process(target=run)
    process.start()
    send.close()
    try:
        return receive.recv()
    except EOFError:
        raise SystemExit(f"{work.__name__} failed; its error stands above") from None
    finally:
        process.join()


class Killer:
    """Rounds of lives, most of them short."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.stages: Counter[str] = Counter()
        self.found: list[str] = []
        self.leftovers = 0
        self.rounds = 0

    def live(
        self, work: Callable[[Settings], None], given: Settings, seconds: float | None, after: str = "start"
    ) -> bool:
        """One life of at most so many seconds from the stage `after` on; answers whether it was killed."""
        _stage.value = -1
        process = _processes.Process(target=work, args=(given,))
        process.start()
        while _stage.value < STAGES.index(after) and process.is_alive():
            time.sleep(0.001)
        process.join(seconds)
        killed = process.is_alive()
        stage = STAGES[_stage.value]
        process.kill()
        process.join()
        if process.exitcode not in (0, -9):
            self.found.append(f"a life ended by itself with exit code {process.exitcode} in stage {stage}")
        killed = killed and process.exitcode == -9
        if killed:
            self.stages[stage] += 1
            self.leftovers += len(list(Path(given.store_location, ".tmp").glob("*")))
            self.leftovers += len(list((given.home / "cache" / "spill").glob("*")))
        return killed

    def rounds_of(
        self,
        kills: int,
        work: Callable[[Settings], None],
        given: Callable[[int], Settings],
        reference: Path,
        longest: float,
    ) -> None:
        """As many rounds as `kills` kills need, each compared with `reference` at its end."""
        while kills > 0:
            one = given(self.rounds)
            with_catalog(reference, Path(one.store_location))
            _round.value = self.rounds
            for n in range(min(kills, KILLS_A_ROUND)):
                # The tables made from cells are made quickly: chance alone may miss them all.
                aimed = n == 0 and self.rounds % 3 == 1
                # Early moments more often: a life that goes on from another's cells is through with them quickly.
                seconds = (0.05 if aimed else longest) * self.chance.random() ** 1.5
                if not self.live(work, one, seconds, after=HISTORY if aimed else "start"):
                    break
                kills -= 1
            else:
                self.live(work, one, None)
            self.found += apart(differences, reference, Path(one.store_location))
            self.found += [f"{path}: left behind" for path in (one.home / "cache" / "spill").glob("*")]
            _round.value = -1
            self.rounds += 1


def with_catalog(reference: Path, store: Path) -> None:
    """Starts a store with the reference's catalog, so that readers know the symbols from the first moment."""
    key = object_key(CATALOG)
    open_store(str(store)).put(key, open_store(str(reference)).get(key).data)


def timed(work: Callable[[Settings], None], given: Settings) -> float:
    """Runs `work` undisturbed, for the reference and for how long it takes."""
    started = time.monotonic()
    apart(work, given)
    return time.monotonic() - started


def main(arguments: list[str] | None = None) -> int:
    """Kills, reruns, compares; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=45, help="kills of fill_cells and the derived assets")
    parser.add_argument("--dagster-kills", type=int, default=5, help="kills of whole Dagster runs")
    parser.add_argument(
        "--seed", type=int, default=int(os.environ.get("KILL_SEED") or time.time_ns() % 10**6)
    )
    asked = parser.parse_args(arguments)
    print(f"kill: seed={asked.seed} (KILL_SEED={asked.seed} repeats the delays)", flush=True)
    started = time.monotonic()
    _warm_up()
    root = Path(tempfile.mkdtemp(prefix="kill-"))
    generated = GeneratedExchange(CODE, symbols=SYMBOLS, seed=7, start=LISTED, end=LAST)
    try:
        with start(ReplayConfig(now=NOW, generated=[generated])) as server:
            write_universe(server, root / "home" / "universe.yaml")
            shutil.copytree(root / "home", root / "new-home")
            killer, reader = rounds(root, server.url, asked.kills, asked.dagster_kills, asked.seed)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    counts, wrong = reader
    found = killer.found + [f"reader: {text}" for text in wrong]
    print(f"kill: kills by stage {json.dumps(dict(killer.stages.most_common()))}")
    print(f"kill: reads {json.dumps(counts)}")
    for text in found[:30]:
        print(f"kill: wrong: {text}")
    print(
        f"kill: {'ok' if not found else 'FAILED'} kills={killer.stages.total()} rounds={killer.rounds} "
        f"reads={sum(counts.get(kind, 0) for kind in ('prices', 'cell', 'history'))} "
        f"leftovers_swept={killer.leftovers} wrong={len(found)} seconds={time.monotonic() - started:.0f}"
    )
    return 1 if found else 0


def rounds(
    root: Path, url: str, kills: int, dagster_kills: int, seed: int
) -> tuple[Killer, tuple[dict[str, int], list[str]]]:
    """Both kinds of rounds, the reader beside them."""
    killer = Killer(seed)
    plain, dagster = root / "reference", root / "dagster-reference"
    by_dagster = settings(root / "home", dagster, url, DAGSTER_FIRST)
    apart(open_dagster, settings(root / "new-home", dagster, url, DAGSTER_FIRST))
    longest_dagster = timed(fill_by_dagster, by_dagster)
    with_catalog(dagster, plain)
    longest = timed(fill, settings(root / "home", plain, url, FIRST))
    print(f"kill: undisturbed {longest:.1f} s, by Dagster {longest_dagster:.1f} s", flush=True)

    receive, send = _processes.Pipe(duplex=False)
    reader = _processes.Process(target=read_on, args=(root, plain, seed, send), daemon=True)
    reader.start()
    killer.rounds_of(
        kills, fill, lambda n: settings(root / "home", root / f"{n:03d}", url, FIRST), plain, longest
    )
    _stop.value = 1
    result = receive.recv()
    reader.join()

    # One Dagster home per round: what it shows is compared with what is stored.
    def of_round(n: int) -> Settings:
        home = root / f"dagster-home-{n}"
        shutil.copytree(root / "new-home", home)
        return settings(home, root / f"{n:03d}", url, DAGSTER_FIRST)

    before = killer.rounds
    killer.rounds_of(dagster_kills, fill_by_dagster, of_round, dagster, longest_dagster)
    for n in range(before, killer.rounds):
        given = settings(root / f"dagster-home-{n}", root / f"{n:03d}", url, DAGSTER_FIRST)
        killer.found += apart(undocumented, given)
    return killer, result


def _warm_up() -> None:
    """Imports, definitions and calendars that every life would otherwise pay for."""
    warnings.simplefilter("ignore", dg.BetaWarning)
    for name in (
        "dataframely", "numpy", "pandas", "pyarrow.parquet", "pyrate_limiter", "yfinance",
        "quant_assets.market.validation", "quant_assets.resources.yahoo_session",
    ):  # fmt: skip
        importlib.import_module(name)
    definitions = build_definitions(load_settings())
    definitions.resolve_job_def(f"{HISTORY}_job")

    @dg.op
    def nothing() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        dg.GraphDefinition("nothing_job", node_defs=[nothing]).execute_in_process(
            instance=instance, run_config=QUIET
        )
    calendar = exchange(CODE).calendar()
    calendar.sessions(LISTED, LAST)


if __name__ == "__main__":
    sys.exit(main())
