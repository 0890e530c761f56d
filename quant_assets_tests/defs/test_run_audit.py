"""Which of Dagster's runs leave a record of their own, and what it says of them."""

from __future__ import annotations

import os
from datetime import date

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.test_utils import create_run_for_test

from quant_assets.defs.run_audit import is_asked_for, scheduled_by
from quant_assets.operations.audit import audit_trail
from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.defs.platform import Platform


@pytest.mark.parametrize(
    ("tags", "by", "asked_for"),
    [
        ({}, "", True),
        ({"dagster/backfill": "abc"}, "", True),
        ({"dagster/schedule_name": "s", "quant_assets/exchange": "US"}, "schedule s", False),
        ({"dagster/schedule_name": "refresh_universes_weekly"}, "schedule refresh_universes_weekly", True),
        ({"dagster/sensor_name": "missing_sessions"}, "sensor missing_sessions", False),
        ({"dagster/sensor_name": "requested_jobs", "quant_assets/job": "j"}, "", False),
    ],
)
def test_who_has_asked_for_a_run(tags: dict[str, str], by: str, asked_for: bool) -> None:
    assert (scheduled_by(tags), is_asked_for(tags)) == (by, asked_for)


def launched(platform: Platform, job: str, tags: dict[str, str]) -> str:
    """A run as a process of its own executes it, with the executor of the definitions."""
    definition = platform.defs.resolve_job_def(job)
    run = platform.instance.create_run_for_job(definition, tags=tags)
    execute_run(InMemoryJob(definition), run, platform.instance)
    return run.run_id


def test_a_run_from_the_pages_is_written_down_once_and_a_schedules_fill_rides_in_its_report(
    platform: Platform, market: ReplayHandle
) -> None:
    universe = platform.settings.universe
    assert universe is not None
    universe.write_text('{"US": ["AAPL", "IBM"]}')
    by_hand = launched(platform, "symbol_catalog_job", {})
    refreshed = launched(platform, "symbol_catalog_job", {"dagster/sensor_name": "universe_file"})
    day = {"dagster/partition": "2013-02-13|US"}
    schedule = {"dagster/schedule_name": "daily_prices_us_after_close"}
    filled = launched(platform, "daily_prices_us", day | schedule)
    market.add_faults({"kind": "server_error_500_json", "times": "persistent"})
    failed = launched(platform, "daily_prices_us", {"dagster/partition": "2013-02-14|US", "user": "ann"})
    assert len({by_hand, refreshed, filled, failed}) == 4
    trail = {one.ref: one for one in audit_trail(platform.store, date(2013, 1, 1))}
    assert trail.keys() == {by_hand, filled, failed}
    assert [(trail[run].who, trail[run].what, trail[run].result) for run in (by_hand, filled, failed)] == [
        ("Dagster's pages", "symbol_catalog_job", "ok"),
        ("schedule daily_prices_us_after_close", "fill US (incremental)", "ok"),
        ("ann", "daily_prices_us", "failed"),
    ]
    assert trail[failed].parameters == {"partition": "2013-02-14|US"}
    assert trail[failed].detail
    assert {one.via for one in trail.values()} == {"dagster"}
    assert isinstance(platform.instance.get_run_by_id(failed), dg.DagsterRun)


def test_a_run_that_was_killed_is_written_down_when_that_is_noticed(platform: Platform) -> None:
    platform.follow(US=["AAPL"])
    run = create_run_for_test(
        platform.instance, "symbol_catalog_job", status=dg.DagsterRunStatus.STARTED, tags={"user": "ann"}
    )
    mark = platform.settings.locks_folder / f"run-{run.run_id}"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    os.utime(mark, (0, 0))
    platform.sense("new_symbols", None)
    (killed,) = [one for one in audit_trail(platform.store, date(2013, 1, 1)) if one.ref == run.run_id]
    assert (killed.who, killed.result, killed.detail) == (
        "ann", "failed", "its process has ended without a word",
    )  # fmt: skip
