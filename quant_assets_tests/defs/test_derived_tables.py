"""The tables made from daily cells follow them in few runs, each over a range, and never two on one partition."""

from __future__ import annotations

from datetime import date
from typing import Any

from quant_assets.defs.jobs import table_job_name
from quant_assets.tables.layout import HISTORY, PROFILES, WEEKLY
from quant_assets_tests.defs.platform import DAY, WEEK, Platform
from quant_assets_tests.defs.scheduler import waiting_run

FIRST, LAST = date(2012, 5, 1), date(2013, 3, 1)


def requested(ticked: Any) -> dict[str, list[str]]:
    """By job, the ranges that are requested."""
    found: dict[str, list[str]] = {}
    for request in ticked.run_requests:
        tags = request.tags
        first = request.partition_key or tags.get("dagster/asset_partition_range_start", "")
        last = request.partition_key or tags.get("dagster/asset_partition_range_end", "")
        found.setdefault(request.job_name, []).append(first if first == last else f"{first} .. {last}")
    return found


def run_all(platform: Platform, ticked: Any) -> None:
    for request in ticked.run_requests:
        assert platform.run(request.job_name, request.partition_key, tags=request.tags).success


ALL_OF_TWO_YEARS = {
    f"{HISTORY}_job": ["US|2012 .. US|2013"],
    f"{WEEKLY}_job": ["US|2012-04-30 .. US|2013-02-25"],
    f"{PROFILES}_job": ["US"],
}
"""The grid begins on a Tuesday: its first week has no cell of its Monday, and waits for none."""


def test_new_symbols_on_a_grid_of_two_years_are_one_run_a_table_and_then_everything_is_settled(
    platform: Platform,
) -> None:
    platform = Platform(platform.settings.model_copy(update={"start": FIRST}), platform.instance)
    cursor = None
    for symbols in (["AAPL"], ["AAPL", "IBM", "MSFT"]):
        platform.follow(US=symbols)
        assert platform.days(FIRST, LAST).success
        ticked = platform.sense("derived_tables", cursor)
        assert requested(ticked) == ALL_OF_TWO_YEARS
        # While they wait for their turn nothing is requested again.
        waiting = [
            waiting_run(platform.instance, request.job_name, request.tags | key_of(request))
            for request in ticked.run_requests
        ]
        meanwhile = platform.sense("derived_tables", ticked.cursor)
        assert requested(meanwhile) == {}
        assert f"partition(s) of {WEEKLY} wait for run {waiting[1].run_id[:8]}" in meanwhile.skip_message
        for run in waiting:
            platform.instance.report_run_canceled(run)
        run_all(platform, ticked)
        inventory = platform.sense("derived_tables", meanwhile.cursor)
        assert requested(inventory) == {"exchange_profiles_job": [""]}
        run_all(platform, inventory)
        settled = platform.sense("derived_tables", inventory.cursor)
        assert requested(settled) == {}
        cursor = settled.cursor


def key_of(request: Any) -> dict[str, str]:
    return {"dagster/partition": request.partition_key} if request.partition_key else {}


def test_derived_tables_wait_for_the_runs_of_their_cells_and_of_no_other_exchange(platform: Platform) -> None:
    platform.follow(US=["AAPL"])
    assert platform.days(WEEK[0], WEEK[-1]).success

    def with_run(job: str, **tags: str) -> dict[str, list[str]]:
        run = waiting_run(platform.instance, job, {f"dagster/{name}": value for name, value in tags.items()})
        try:
            return requested(platform.sense("derived_tables", None))
        finally:
            platform.instance.report_run_canceled(run)

    assert with_run("daily_prices_us", partition=f"{DAY}|US") == {}
    both = with_run("daily_prices_asx", partition=f"{DAY}|ASX")
    assert both == {
        f"{HISTORY}_job": ["US|2013"],
        f"{WEEKLY}_job": ["US|2013-02-11"],
        f"{PROFILES}_job": ["US"],
    }
    without = with_run(table_job_name(WEEKLY), partition="US|2013-02-11")
    assert without == {job: keys for job, keys in both.items() if job != f"{WEEKLY}_job"}


def test_a_table_that_cannot_be_made_is_tried_again_with_pauses(platform: Platform) -> None:
    platform.follow(US=["AAPL"])
    assert platform.days(WEEK[0], WEEK[-1]).success
    ticked = platform.sense("derived_tables", None)
    assert len(ticked.run_requests) == 3
    # Its runs have failed: nothing was made.
    again = platform.sense("derived_tables", ticked.cursor)
    assert requested(again) == {}
    assert "wait for their cells or for another try" in again.skip_message
