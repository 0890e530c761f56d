"""The runbook's entry "Two daemons on one instance", tried: `make two-daemons`.

A home of two exchanges is filled up to a Tuesday. Then two of Dagster's daemons are started on its instance, as two
deployments that share one by mistake would, after three closes of both exchanges, and at last one of them is killed.
Wanted: every session filled, no symbol asked for twice, a store that verifies clean, the other daemon going on.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import yaml

from quant_assets.exchanges import exchange
from quant_assets.local_runs import Runner
from quant_assets.maintenance.verify import verify_store
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.defs.scheduler import turn_off_sensors, turn_on
from quant_assets_tests.e2e.daemon import DaemonHome, Service, wait_until
from quant_assets_tests.e2e.stack import ARTIFACTS
from quant_assets_tests.support import days_between

CODES = ("ASX", "US")
FIRST = date(2012, 11, 1)
STOPPED, STARTED = datetime(2013, 2, 12, 22, tzinfo=UTC), datetime(2013, 2, 15, 22, tzinfo=UTC)
MISSED = [date(2013, 2, 13), date(2013, 2, 14), date(2013, 2, 15)]
LOGS = ("two_daemons_a.log", "two_daemons_b.log")


def main() -> int:
    """Prints what came of it; 1 when it is not what is wanted."""
    made_up = GeneratedExchange("ASX", symbols=20, seed=7, start=FIRST, end=date(2013, 3, 1))
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        source = stack.enter_context(start(ReplayConfig(now=STARTED, sampledata=True, generated=[made_up])))
        asx = sorted(e["symbol"] for e in source.catalog() if e["exchange"] == "ASX" and not e["delisted_on"])
        listed, new = {"US": ["AAPL", "IBM"], "ASX": asx[:4]}, {"US": ["MSFT"], "ASX": asx[4:8]}
        settings = Settings(
            home=home, exchanges=CODES, universe=home / "universe.yaml", start=FIRST, source_url=source.url,
            requests_per_second=0, now=STOPPED, min_coverage={"*": 0.0},
        )  # fmt: skip
        os.environ["DAGSTER_HOME"] = ""
        _fill(settings, listed)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(settings.dagster_home)))
        turn_on(instance, *CODES)
        turn_off_sensors(instance, "missing_valuations")
        source.reset_stats()
        platform = DaemonHome(settings.model_copy(update={"now": STARTED}), instance, STARTED)
        daemons = [Service(platform.settings, log, ["dagster._daemon", "run"]) for log in LOGS]
        for daemon, log in zip(daemons, LOGS, strict=True):
            (ARTIFACTS / log).unlink(missing_ok=True)
            stack.callback(daemon.end)
            daemon.begin()
        return _judge(platform, source, daemons, listed, new)


def _fill(settings: Settings, listed: dict[str, list[str]]) -> None:
    assert settings.universe is not None
    settings.universe.write_text(yaml.safe_dump(listed))
    with Runner(settings) as runner:
        runner.catalog()
        for code in CODES:
            runner.daily(exchange(code), days_between(FIRST, STOPPED.date()))
            runner.derived(exchange(code), FIRST, STOPPED.date())
        runner.inventory()


def _judge(
    platform: DaemonHome,
    source: ReplayHandle,
    daemons: list[Service],
    listed: dict[str, list[str]],
    new: dict[str, list[str]],
) -> int:
    known, began = platform.known(), time.monotonic()
    manifest = Manifest(platform.store, DAILY)

    def filled() -> bool:
        states = [manifest.year(code, 2013).get(str(day)) for code in CODES for day in MISSED]
        return all(entry is not None and entry.state is CellState.COMPLETE for entry in states)

    wait_until(filled)
    wait_until(platform.settled)
    missed = _told("three missed sessions", platform, source, known, listed)

    daemons[0].kill()
    known = platform.known()
    source.reset_stats()
    platform.follow({code: [*listed[code], *new[code]] for code in CODES})
    wait_until(lambda: set(source.stats()["chart_data"]) >= {s for names in new.values() for s in names})
    wait_until(platform.settled)
    added = _told("new symbols after one was killed", platform, source, known, new)
    clean = verify_store(platform.store).damaged == {}
    warned = sum((ARTIFACTS / log).read_text(encoding="utf-8").count("Another ") for log in LOGS)
    right = missed and added and clean
    print(
        f"two-daemons: {'ok' if right else 'FAILED'} store={'clean' if clean else 'damaged'} "
        f"warnings_of_dagster={warned} seconds={time.monotonic() - began:.0f}"
    )
    return 0 if right else 1


def _told(
    what: str, platform: DaemonHome, source: ReplayHandle, known: set[str], wanted: dict[str, list[str]]
) -> bool:
    """Prints the runs and requests of a part; whether each symbol was asked for once and no run failed."""
    asked = source.stats()["chart_data"]
    runs = platform.runs(known)
    failed = [run.run_id for of_job in runs.values() for run in of_job if not run.is_success]
    names = {symbol for of_code in wanted.values() for symbol in of_code}
    print(
        f"two-daemons: {what}: symbols={len(names)} requests={sum(asked.values())} failed_runs={len(failed)} "
        f"runs={ {job: len(of_job) for job, of_job in sorted(runs.items())} }"
    )
    return asked == dict.fromkeys(names, 1) and not failed


if __name__ == "__main__":
    sys.exit(main())
