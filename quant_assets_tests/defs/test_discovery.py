"""Discovery on Dagster: a step an exchange, the catalog follows by its sensor, the schedule as the setting says."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from quant_assets.definitions import build_definitions
from quant_assets.reader import universe
from quant_assets.resources.settings import Settings
from quant_assets.tables.discovered import State, read_discovered
from quant_assets.tables.layout import discovered_key
from quant_assets_tests.defs.platform import Platform


def test_the_job_proposes_or_follows_and_the_catalog_comes_after_it(platform: Platform) -> None:
    platform.follow(US=["AAPL", "IBM"], ASX=["AAA.AX"])
    made = platform.sense("universe_file", None)
    looked = platform.run("discover_listings")
    assert looked.success
    (shown,) = [
        event.step_output_data.metadata["discovery"].value
        for event in looked.all_events
        if event.is_successful_output and event.step_key == "discover_us"
    ]
    assert "| US | changed | 5 | 3 | 0 | 0 | 0 | 0 |" in str(shown)
    assert read_discovered(platform.store, "US").listings["symbol"].to_list() == ["FB", "GOOG", "MSFT"]
    assert read_discovered(platform.store, "ASX").listings.height == 8
    assert not platform.sense("universe_file", made.cursor).run_requests
    automatic = Platform(platform.settings.model_copy(update={"discovery": "automatic"}), platform.instance)
    assert automatic.run("discover_listings").success
    assert set(read_discovered(platform.store, "ASX").listings["state"]) == {State.ACCEPTED}
    # What the catalog is made of has changed; it has them once it is made.
    assert len(platform.sense("universe_file", made.cursor).run_requests) == 1
    assert platform.run("symbol_catalog_job").success
    found = universe("discovered", store=platform.store).collect()
    assert found.height == 11
    assert found["is_active"].all()


def test_an_exchange_that_fails_leaves_the_others(platform: Platform) -> None:
    platform.follow(US=["AAPL"])
    platform.store.put(discovered_key("ASX"), b"no parquet")
    looked = platform.run("discover_listings")
    assert not looked.success
    (failed,) = [event for event in looked.all_events if event.is_step_failure]
    assert failed.step_key == "discover_asx"
    reason = failed.step_failure_data.user_failure_data
    assert reason is not None
    assert str(reason.description).startswith("ASX failed: ")
    assert read_discovered(platform.store, "US").listings.height == 4


@pytest.mark.parametrize("setting", ["off", "propose", "automatic"])
def test_the_schedule_is_on_saturdays_and_does_as_the_setting_says(setting: str) -> None:
    defs = build_definitions(Settings.model_validate({"discovery": setting}))
    schedule = defs.resolve_schedule_def("discover_listings_weekly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * 6", "UTC")
    assert schedule.default_status.value == "STOPPED"
    tick = dg.build_schedule_context(scheduled_execution_time=datetime(2024, 3, 16, 6, tzinfo=UTC))
    answer = schedule.evaluate_tick(tick)
    assert len(answer.run_requests or ()) == (0 if setting == "off" else 1)
    assert bool(answer.skip_message) == (setting == "off")
