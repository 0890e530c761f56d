"""The real daemon, left alone: it fills what was missed while it was down, and gives new symbols what they need."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg
import pytest
import yaml

from quant_assets.exchanges import exchange
from quant_assets.local_runs import Runner
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY, HISTORY, PROFILES, WEEKLY
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.defs.scheduler import turn_off_sensors, turn_on
from quant_assets_tests.e2e.daemon import DaemonHome, running_daemon, wait_until
from quant_assets_tests.e2e.stack import processes_of
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
NEW_US = ["FB", "MSFT"]


@dataclass
class Platform(DaemonHome):
    """A home with a running daemon, and the source that it asks."""

    source: ReplayHandle
    listed: dict[str, list[str]]


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
        # A run of its own for the valuations of the last session, at some moment of either test.
        turn_off_sensors(instance, "missing_valuations")
        source.reset_stats()
        settings = settings.model_copy(update={"now": STARTED})
        stack.enter_context(running_daemon(settings, "daemon.log"))
        yield Platform(settings, instance, STARTED, source, {**listed, "new": asx[2:]})
    assert processes_of(home) == []


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
        assert platform.exchanges_of(runs.pop(f"{table}_job")) == dict.fromkeys(CODES, 1)
    assert runs.keys() <= {"exchange_profiles_job"}
    assert Manifest(platform.store, WEEKLY).year("US", 2013)["2013-02-11"].state is CellState.COMPLETE


def test_symbols_added_to_the_list_get_their_history_and_all_that_rests_on_it_in_one_run_each(
    platform: Platform,
) -> None:
    """A small form of `make new-symbols`."""
    known = platform.known()
    new = [*platform.listed["new"], *NEW_US]
    platform.source.reset_stats()
    us, asx = (
        [*platform.listed[code], *more] for code, more in (("US", NEW_US), ("ASX", platform.listed["new"]))
    )
    platform.follow({"US": us, "ASX": asx})
    took = wait_until(lambda: platform.runs(known).keys() >= {"daily_prices_asx", "daily_prices_us"})
    print(f"the history of {len(new)} new symbols was requested after {took:.0f} s")

    def done() -> bool:
        return set(platform.source.stats()["chart_data"]) == set(new) and platform.settled()

    wait_until(done)
    runs = platform.runs(known)
    assert {job: len(of_job) for job, of_job in runs.items()} == {
        "symbol_catalog_job": 1, "daily_prices_asx": 1, "daily_prices_us": 1, "price_history_job": 2,
        "weekly_prices_job": 2, "symbol_profiles_job": 2, "exchange_profiles_job": len(runs["exchange_profiles_job"]),
    }  # fmt: skip
    for table in (HISTORY, WEEKLY, PROFILES):
        assert platform.exchanges_of(runs[f"{table}_job"]) == dict.fromkeys(CODES, 1)
    # One of the inventory when the first exchange is there, and one when the other is, unless both came at once.
    assert 1 <= len(runs["exchange_profiles_job"]) <= len(CODES)
    ticks = platform.requested_by_tick(run for of_job in runs.values() for run in of_job)
    assert ticks
    assert max(count for tick in ticks for count in tick.values()) == 1
    for year in (2012, 2013):
        for code in CODES:
            states = {e.state for e in Manifest(platform.store, DAILY).year(code, year).values()}
            assert states <= {CellState.COMPLETE, CellState.PARTIAL, CellState.CLOSED}
    assert took < 120 or os.getloadavg()[0] > 4, f"took {took:.0f} s"
