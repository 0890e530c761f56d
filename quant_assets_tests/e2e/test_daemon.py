"""The real daemon, left alone: it fills what was missed while it was down, and gives new symbols what they need."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml

from quant_assets.defs.automation import refresh_of
from quant_assets.defs.retries import Retries
from quant_assets.defs.under_way import UnderWay, under_way
from quant_assets.dev.demo import as_environment
from quant_assets.exchanges import exchange
from quant_assets.local_runs import Runner
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY, HISTORY, PROFILES, WEEKLY
from quant_assets.tables.lineage import inventory_stale
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.defs.scheduler import turn_on
from quant_assets_tests.e2e.stack import ARTIFACTS, ROOT, processes_of
from quant_assets_tests.support import days_between

pytestmark = pytest.mark.slow

FIRST, STOPPED, STARTED = (
    date(2012, 11, 1),
    datetime(2013, 2, 12, 22, tzinfo=UTC),
    datetime(2013, 2, 15, 22, tzinfo=UTC),
)
"""The grid's first day; the daemon is down from Tuesday night to Friday night: three closes of both exchanges."""
MISSED = [date(2013, 2, 13), date(2013, 2, 14), date(2013, 2, 15)]
CODES = ("ASX", "US")
PATIENCE = 600
"""Seconds within which everything has to settle, on a busy machine."""


@dataclass
class Platform:
    """A home with a running daemon, and the source that it asks."""

    settings: Settings
    instance: dg.DagsterInstance
    source: ReplayHandle
    listed: dict[str, list[str]]

    @property
    def store(self) -> LocalObjectStore:
        return LocalObjectStore(Path(self.settings.store_location))

    def follow(self, listed: dict[str, list[str]]) -> None:
        """Writes the list of symbols."""
        assert self.settings.universe is not None
        self.settings.universe.write_text(yaml.safe_dump(listed))

    def runs(self, known: set[str]) -> dict[str, list[dg.DagsterRun]]:
        """By job, the runs that are not known yet."""
        found: dict[str, list[dg.DagsterRun]] = {}
        for run in self.instance.get_runs():
            if run.run_id not in known:
                found.setdefault(run.job_name, []).append(run)
        return found

    def known(self) -> set[str]:
        return {run.run_id for run in self.instance.get_runs()}

    def settled(self) -> bool:
        """Whether nothing is under way, and no derived table is stale."""
        if under_way(self.instance).work or inventory_stale(self.store, CODES):
            return False
        return all(
            refresh_of(
                self.store, exchange(code), FIRST, STARTED, failed=(), under_way=UnderWay({}),
                retries=Retries([]), at=STARTED,
            ).runs == []
            for code in CODES
        )  # fmt: skip


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A home filled through the moment at which the daemon stopped; it starts again three closes later."""
    home = tmp_path_factory.mktemp("home")
    made_up = GeneratedExchange("ASX", symbols=12, seed=7, start=FIRST, end=date(2013, 3, 1))
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        source = stack.enter_context(start(ReplayConfig(now=STARTED, sampledata=True, generated=[made_up])))
        asx = sorted(e["symbol"] for e in source.catalog() if e["exchange"] == "ASX" and not e["delisted_on"])
        listed = {"US": ["AAPL", "IBM"], "ASX": asx[:2]}
        universe = home / "universe.yaml"
        settings = Settings(
            home=home, exchanges=CODES, universe=universe, start=FIRST, source_url=source.url,
            requests_per_second=0, now=STOPPED, min_coverage={"*": 0.0},
        )  # fmt: skip
        patch.setenv("DAGSTER_HOME", "")
        universe.write_text(yaml.safe_dump(listed))
        with Runner(settings) as runner:
            runner.catalog()
            for code in CODES:
                runner.daily(exchange(code), days_between(FIRST, STOPPED.date()))
                runner.derived(exchange(code), FIRST, STOPPED.date())
            runner.inventory()
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(settings.dagster_home)))
        turn_on(instance, *CODES)
        source.reset_stats()
        settings = settings.model_copy(update={"now": STARTED})
        stack.enter_context(running_daemon(settings))
        yield Platform(settings, instance, source, {**listed, "new": asx[2:]})
    assert processes_of(home) == []


@contextlib.contextmanager
def running_daemon(settings: Settings) -> Iterator[None]:
    """Dagster's daemon, and no webserver; stopped afterwards with all that it has started."""
    ARTIFACTS.mkdir(exist_ok=True)
    environment = {
        **os.environ, **as_environment(settings), "QUANT_ASSETS_HOME": str(settings.home),
        "DAGSTER_HOME": str(settings.dagster_home),
    }  # fmt: skip
    with (ARTIFACTS / "daemon.log").open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-m", "quant_assets.definitions"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            for pid in processes_of(settings.home):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(10)
            wait_until(lambda: processes_of(settings.home) == [], 30)


def wait_until(happened: Callable[[], bool], seconds: float = PATIENCE) -> float:
    """The seconds it took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() < began + seconds, f"did not happen within {seconds:g} s"
        time.sleep(2)
    return time.monotonic() - began


def exchanges_of(runs: list[dg.DagsterRun]) -> Counter[str]:
    """How many of the runs are about each exchange."""
    about = [
        run.tags.get("dagster/partition") or run.tags["dagster/asset_partition_range_start"] for run in runs
    ]
    return Counter(code for text in about for code in CODES if code in text.split("|"))


def test_closes_missed_while_the_daemon_was_down_are_filled_without_a_hand(platform: Platform) -> None:
    known = platform.known()
    manifest = Manifest(platform.store, DAILY)

    def filled() -> bool:
        states = [manifest.year(code, 2013).get(str(day)) for code in CODES for day in MISSED]
        return all(entry is not None and entry.state is CellState.COMPLETE for entry in states)

    wait_until(filled)
    wait_until(platform.settled)
    runs = platform.runs(known)
    # One run for the whole of what was missed, and each symbol asked once.
    for code in CODES:
        (run,) = runs.pop(f"daily_prices_{code.lower()}")
        assert run.tags["dagster/asset_partition_range_start"] == f"{MISSED[0]}|{code}"
        assert run.tags["dagster/asset_partition_range_end"] == f"{MISSED[-1]}|{code}"
    asked = [*platform.listed["US"], *platform.listed["ASX"]]
    assert platform.source.stats()["chart_data"] == dict.fromkeys(asked, 1)
    for table in (HISTORY, WEEKLY, PROFILES):
        assert exchanges_of(runs.pop(f"{table}_job")) == dict.fromkeys(CODES, 1)
    assert runs.keys() <= {"exchange_profiles_job"}
    assert Manifest(platform.store, WEEKLY).year("US", 2013)["2013-02-11"].state is CellState.COMPLETE


def test_symbols_added_to_the_list_get_their_history_and_all_that_rests_on_it_in_one_run_each(
    platform: Platform,
) -> None:
    known = platform.known()
    new = platform.listed["new"]
    platform.source.reset_stats()
    platform.follow({"US": platform.listed["US"], "ASX": [*platform.listed["ASX"], *new]})
    took = wait_until(lambda: "daily_prices_asx" in platform.runs(known))
    print(f"the history of {len(new)} new symbols was requested after {took:.0f} s")

    def done() -> bool:
        return set(platform.source.stats()["chart_data"]) == set(new) and platform.settled()

    wait_until(done)
    runs = platform.runs(known)
    assert {job: len(of_job) for job, of_job in runs.items()} == dict.fromkeys(
        ["symbol_catalog_job", "daily_prices_asx", "price_history_job", "weekly_prices_job", "symbol_profiles_job",
         "exchange_profiles_job"], 1,
    )  # fmt: skip
    for year in (2012, 2013):
        states = {e.state for e in Manifest(platform.store, DAILY).year("ASX", year).values()}
        assert states <= {CellState.COMPLETE, CellState.PARTIAL, CellState.CLOSED}
    assert took < 120 or os.getloadavg()[0] > 4, f"took {took:.0f} s"
