"""`symbol_valuations` in Dagster: after the prices of its run, whatever becomes of them; a snapshot is of now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from quant_assets.definitions import build_definitions
from quant_assets.defs.jobs import PRICES_ALONE
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.clock import ClockResource
from quant_assets.tables.layout import DAILY, VALUATIONS, object_key
from quant_assets.tables.parquet import read_table
from quant_assets_tests.defs.platform import Platform, failure
from quant_assets_tests.defs.scheduler import turn_on, waiting_run
from quant_assets_tests.support import quick_settings

YESTERDAY, TODAY = "2013-02-28|US", "2013-03-01|US"
"""The last sessions at the platform's moment."""
TOO_LATE = (
    "symbol_valuations: 1 partition failed: 2013-02-28|US: a snapshot is of now, and 2013-02-28 is not: "
    "symbol_valuations of US can be asked for 2013-03-01"
)


def steps(result: dg.ExecuteInProcessResult) -> list[tuple[str | None, bool]]:
    """The steps of a run in their order, and whether each succeeded."""
    ended = [event for event in result.all_events if event.is_step_success or event.is_step_failure]
    return [(event.step_key, event.is_step_success) for event in ended]


def test_the_daily_job_takes_a_snapshot_after_the_prices_and_keeps_the_kind_that_the_list_says(
    platform: Platform, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "server_error_500_html", "symbol": "*", "times": None})
    platform.follow(US=["AAPL", {"symbol": "IBM", "asset_type": "etf"}, "NONE"])
    # The prices of nobody came, and that is no reason to miss the snapshot, which cannot be had later.
    both = platform.run("daily_prices_us", TODAY)
    assert steps(both) == [(DAILY, False), (VALUATIONS, True)]
    assert market.stats()["requests"]["quote"] == 1
    shown = platform.recorded(VALUATIONS, both.run_id)[TODAY]
    assert {name: shown[name] for name in ("state", "rows", "asked", "unanswered", "failed", "nonsense")} == {
        "state": "partial", "rows": 2, "asked": 3, "unanswered": 1, "failed": 0, "nonsense": 0,
    }  # fmt: skip
    assert "| NONE | the source has no quote of it |" in shown["symbols_without_an_answer"]
    stored = read_table(platform.store, object_key(VALUATIONS, "US", "2013-03-01"))
    assert stored.select("symbol", "asset_type").rows() == [("AAPL", "equity"), ("IBM", "etf")]

    market.clear_faults()
    market.reset_stats()
    # Prices of the past are asked for, and no snapshot of it.
    past = platform.run("daily_prices_us", YESTERDAY)
    assert steps(past) == [(DAILY, True), (VALUATIONS, True)]
    several = platform.run("daily_prices_us", YESTERDAY, TODAY)
    assert steps(several) == [(DAILY, True), (VALUATIONS, True)]
    assert platform.recorded(VALUATIONS, past.run_id) == platform.recorded(VALUATIONS, several.run_id) == {}
    assert "quote" not in market.stats()["requests"]


def test_with_the_quotes_down_the_prices_are_there_and_the_snapshots_step_is_the_one_that_failed(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "quotes_down", "times": None})
    run = platform.run("daily_prices_us", TODAY)
    assert steps(run) == [(DAILY, True), (VALUATIONS, False)]
    assert failure(run) == (
        "symbol_valuations: 1 partition failed: 2013-03-01|US: none of 2 symbols was answered: it answered with "
        "status 503, asked 3 times"
    )
    assert platform.recorded(DAILY, run.run_id)[TODAY]["state"] == "complete"
    assert platform.recorded(VALUATIONS, run.run_id) == {}

    market.clear_faults()
    # Alone and too late it is a failure; of a range the one that can be had is taken.
    assert failure(platform.run("symbol_valuations_job", YESTERDAY)) == TOO_LATE
    both = platform.run("symbol_valuations_job", YESTERDAY, TODAY)
    assert failure(both) == TOO_LATE
    assert list(platform.recorded(VALUATIONS, both.run_id)) == [TODAY]


def test_runs_that_are_about_the_past_select_prices_alone_and_valuations_can_be_switched_off(
    tmp_path: Path,
) -> None:
    defs = build_definitions(quick_settings(tmp_path, "http://127.0.0.1:9", valuations=False))
    assert "missing_valuations" not in {sensor.name for sensor in defs.get_repository_def().sensor_defs}
    job = defs.resolve_job_def("daily_prices_us")
    assert {key.path[-1] for key in job.asset_layer.executable_asset_keys} == {DAILY}
    assert {key.path[-1] for key in PRICES_ALONE} == {DAILY}
    assert defs.resolve_job_def("symbol_valuations_job")


def test_a_snapshot_that_is_missing_is_asked_for_again_until_the_next_sessions_day(
    platform: Platform,
) -> None:
    platform.follow(US=["AAPL"])

    def sense(cursor: str | None, now: str = "2013-03-01T23:00:00Z") -> Any:
        return platform.sense("missing_valuations", cursor, clock=ClockResource(fixed=now))

    off = sense(None)
    assert off.skip_message.startswith(
        "US: not followed, daily_prices_us_after_close is off; ASX: not followed"
    )
    turn_on(platform.instance, "US")
    early = sense(None)
    assert early.skip_message.startswith("US: 2013-03-01 waits for prices; ")
    assert platform.run("daily_prices_us", YESTERDAY, TODAY).success
    ticked = sense(early.cursor)
    (request,) = ticked.run_requests
    assert request.partition_key == TODAY
    # A run that has been requested is waited for, and one that brought nothing for a while.
    queued = waiting_run(platform.instance, "symbol_valuations_job", {"dagster/partition": TODAY})
    assert f"US: waits for run {queued.run_id[:8]}" in sense(ticked.cursor).skip_message
    platform.instance.report_run_canceled(queued)
    assert "US: 2013-03-01 is asked for again from " in sense(ticked.cursor).skip_message
    # It is nobody's when Monday has begun in New York; on Sunday it is Friday's.
    assert sense(None, "2013-03-04T04:59:00Z").run_requests
    monday = sense(None, "2013-03-04T05:00:00Z").skip_message
    assert monday.startswith("US: no snapshot can be taken that would be of a session that is over; ")
    assert platform.run("symbol_valuations_job", TODAY).success
    there = sense(ticked.cursor)
    assert there.skip_message.startswith("US: 2013-03-01 is there; ")
    assert sense(there.cursor).skip_message.startswith("US: that of 2013-03-01 is there; ")
