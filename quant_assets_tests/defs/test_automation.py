"""Schedules and sensors, evaluated at chosen instants."""

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from quant_assets.definitions import build_definitions
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.parquet import read_table
from quant_assets_tests.defs.platform import WEEK, Platform

# Schedules.

SYDNEY, NEW_YORK = ZoneInfo("Australia/Sydney"), ZoneInfo("America/New_York")


def tick(platform: Platform, code: str, at: datetime) -> Any:
    schedule = platform.defs.resolve_schedule_def(f"daily_prices_{code.lower()}_after_close")
    context = dg.build_schedule_context(
        instance=platform.instance,
        scheduled_execution_time=at,
        repository_def=platform.defs.get_repository_def(),
    )
    return schedule.evaluate_tick(context)


@pytest.mark.parametrize(
    ("code", "after", "expected"),
    [
        # Clocks in Sydney went back on Sunday 7 April 2013 and forward on Sunday 6 October.
        ("ASX", "2013-04-04T12:00Z", ["2013-04-05T05:30Z", "2013-04-08T06:30Z"]),
        ("ASX", "2013-10-04T00:00Z", ["2013-10-04T06:30Z", "2013-10-07T05:30Z"]),
        # New York's forward on Sunday 10 March and back on Sunday 3 November.
        ("US", "2013-03-08T12:00Z", ["2013-03-08T21:30Z", "2013-03-11T20:30Z"]),
        ("US", "2013-11-01T12:00Z", ["2013-11-01T20:30Z", "2013-11-04T21:30Z"]),
    ],
)
def test_schedules_tick_half_an_hour_after_the_close_in_the_exchanges_own_zone(
    code: str, after: str, expected: list[str]
) -> None:
    defs = build_definitions(Settings(exchanges=("US", "ASX")))
    schedule = defs.resolve_schedule_def(f"daily_prices_{code.lower()}_after_close")
    ticks = schedule_execution_time_iterator(
        datetime.fromisoformat(after).timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )
    assert [next(ticks) for _ in expected] == [datetime.fromisoformat(text) for text in expected]


def test_a_tick_asks_for_its_session_and_skips_closed_days_with_a_reason(platform: Platform) -> None:
    # The grid of a deployment: through today, whenever that is.
    platform = Platform(platform.settings.model_copy(update={"now": None}), platform.instance)

    def partition(code: str, at: datetime) -> str:
        (request,) = tick(platform, code, at).run_requests or []
        assert request.run_key == f"{code}-{at.date()}"
        return str(request.partition_key)

    assert partition("US", datetime(2013, 2, 13, 16, 30, tzinfo=NEW_YORK)) == "2013-02-13|US"
    # The day after Thanksgiving closes at 13:00; the tick comes later and finds it over.
    assert partition("US", datetime(2012, 11, 23, 16, 30, tzinfo=NEW_YORK)) == "2012-11-23|US"
    assert partition("ASX", datetime(2012, 10, 5, 16, 30, tzinfo=SYDNEY)) == "2012-10-05|ASX"
    assert partition("ASX", datetime(2012, 10, 8, 16, 30, tzinfo=SYDNEY)) == "2012-10-08|ASX"
    for code, zone in (("US", NEW_YORK), ("ASX", SYDNEY)):
        skipped = tick(platform, code, datetime(2012, 4, 6, 16, 30, tzinfo=zone))
        assert not skipped.run_requests
        assert skipped.skip_message == (
            f"{code} does not trade on Friday 2012-04-06: no session, nothing to fetch"
        )


# New symbols.


def test_symbols_new_in_the_catalog_get_their_history_and_disturb_nobody(
    platform: Platform, market: ReplayHandle
) -> None:
    platform = Platform(platform.settings.model_copy(update={"start": date(2013, 2, 9)}), platform.instance)
    sensor = platform.defs.resolve_sensor_def("new_symbols")

    def look(cursor: str | None) -> Any:
        with dg.build_sensor_context(
            instance=platform.instance,
            cursor=cursor,
            repository_def=platform.defs.get_repository_def(),
            resources=dict(platform.defs.resources or {}),
        ) as context:
            return sensor.evaluate_tick(context)

    nothing = look(None)
    assert (nothing.run_requests, nothing.skip_message) == ([], "no catalog yet: materialize symbol_catalog")
    platform.follow(US=["AAPL"])
    # Turned on over a catalog, it takes that one as known.
    baseline = look(None)
    assert (baseline.run_requests, baseline.skip_message) == ([], "watching 1 symbols from now on")
    assert look(baseline.cursor).skip_message == "no symbol is new (1 known)"
    # But a first catalog that comes after it is all news.
    (request,) = look(nothing.cursor).run_requests
    assert request.run_config == {"ops": {DAILY: {"config": {"symbols": ["AAPL"]}}}}

    # The grid starts on a Saturday, so on the Monday after it.
    assert platform.days(date(2013, 2, 11), date(2013, 2, 20)).success
    before = {day: read_table(platform.store, object_key(DAILY, "US", str(day))) for day in WEEK}
    platform.follow(US=["AAPL", "IBM"])
    market.reset_stats()
    news = look(baseline.cursor)
    (request,) = news.run_requests
    assert request.job_name == "daily_prices_us"
    assert request.tags["dagster/asset_partition_range_start"] == "2013-02-11|US"
    assert request.tags["dagster/asset_partition_range_end"] == "2013-03-01|US"
    result = platform.run("daily_prices_us", None, config=request.run_config, tags=request.tags)
    assert result.success
    assert market.stats()["chart_data"] == {"IBM": 1}
    for day, rows in before.items():
        now = read_table(platform.store, object_key(DAILY, "US", str(day)))
        assert now["symbol"].to_list() == ["AAPL", "IBM"]
        assert now.filter(pl.col("symbol") == "AAPL").equals(rows)
    assert not look(news.cursor).run_requests
