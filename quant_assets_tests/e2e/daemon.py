"""A home whose runs Dagster's real daemon requests, alone: started, watched until nothing is left to do, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState

from quant_assets.defs.automation import refresh_of
from quant_assets.defs.retries import Retries
from quant_assets.defs.under_way import UnderWay, under_way
from quant_assets.dev.demo import as_environment
from quant_assets.exchanges import exchange
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.tables.lineage import inventory_stale
from quant_assets_tests.e2e.stack import ARTIFACTS, ROOT, processes_of

PATIENCE = 600
"""Seconds within which everything has to settle, on a busy machine."""


@dataclass
class DaemonHome:
    """A home, and Dagster's records of it. `now`: the moment at which its daemon lives."""

    settings: Settings
    instance: dg.DagsterInstance
    now: datetime

    @property
    def store(self) -> LocalObjectStore:
        return LocalObjectStore(Path(self.settings.store_location))

    def follow(self, listed: Mapping[str, Sequence[str]]) -> None:
        """Writes the list of symbols."""
        assert self.settings.universe is not None
        self.settings.universe.write_text(
            yaml.safe_dump({code: list(names) for code, names in listed.items()})
        )

    def known(self) -> set[str]:
        """The ids of all runs so far."""
        return {run.run_id for run in self.instance.get_runs()}

    def runs(self, known: set[str]) -> dict[str, list[dg.DagsterRun]]:
        """By job, the runs that are not known yet."""
        found: dict[str, list[dg.DagsterRun]] = {}
        for run in self.instance.get_runs():
            if run.run_id not in known:
                found.setdefault(run.job_name, []).append(run)
        return found

    def settled(self) -> bool:
        """Whether nothing is under way, and no derived table is stale."""
        codes = self.settings.exchanges
        if under_way(self.instance).work or inventory_stale(self.store, codes):
            return False
        return all(
            refresh_of(
                self.store, exchange(code), self.settings.start, self.now, failed=(), under_way=UnderWay({}),
                retries=Retries([]), at=self.now,
            ).runs == []
            for code in codes
        )  # fmt: skip

    def has_looked(self, sensor: str) -> bool:
        """Whether a sensor has been evaluated, and has recorded a cursor."""
        return any(
            state.instigator_name == sensor and getattr(state.instigator_data, "cursor", None) is not None
            for state in self._sensors()
        )

    def requested_by_tick(self, runs: Iterable[dg.DagsterRun]) -> list[Counter[tuple[str, str]]]:
        """By tick of a sensor that requested some of these runs: how many of each job and exchange."""
        jobs = {run.run_id: run for run in runs}
        ticks = [
            tick
            for state in self._sensors()
            for tick in self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
        ]
        of_ticks = [[jobs[run_id] for run_id in tick.run_ids if run_id in jobs] for tick in ticks]
        return [
            Counter((run.job_name, code) for run in requested for code in self.exchanges_of([run]))
            for requested in of_ticks
            if requested
        ]

    def exchanges_of(self, runs: Iterable[dg.DagsterRun]) -> Counter[str]:
        """How many of the runs are about each exchange; a run without partitions is about none."""
        about = [
            run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_start", "")
            for run in runs
        ]
        return Counter(code for text in about for code in self.settings.exchanges if code in text.split("|"))

    def _sensors(self) -> Sequence[InstigatorState]:
        return self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)


class Service:
    """A process of Dagster's over a home: its daemon, or its webserver. `log`: its output, of artifacts/."""

    def __init__(self, settings: Settings, log: str, command: Sequence[str]) -> None:
        self._settings, self._log, self._command = settings, ARTIFACTS / log, command
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Starts it."""
        settings = self._settings
        ARTIFACTS.mkdir(exist_ok=True)
        environment = {
            **os.environ, **as_environment(settings), "QUANT_ASSETS_HOME": str(settings.home),
            "DAGSTER_HOME": str(settings.dagster_home),
        }  # fmt: skip
        with self._log.open("a", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command, "-m", "quant_assets.definitions"],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kills it with all that it has started, at once."""
        assert self._process is not None
        for pid in [self._process.pid, *_descendants(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(10)

    def end(self) -> None:
        """Interrupts it as a terminal would; what is left of the home's processes after that is killed."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        for pid in processes_of(self._settings.home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(10)
        wait_until(lambda: processes_of(self._settings.home) == [], 30)


def _descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may hold anything.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


@contextlib.contextmanager
def running_daemon(settings: Settings, log: str) -> Iterator[None]:
    """Dagster's daemon, and no webserver; stopped afterwards with all that it has started. `log`: of artifacts/."""
    (ARTIFACTS / log).unlink(missing_ok=True)
    daemon = Service(settings, log, ["dagster._daemon", "run"])
    daemon.begin()
    try:
        yield
    finally:
        daemon.end()


def wait_until(happened: Callable[[], bool], seconds: float = PATIENCE, pause: float = 2) -> float:
    """The seconds it took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() < began + seconds, f"did not happen within {seconds:g} s"
        time.sleep(pause)
    return time.monotonic() - began
