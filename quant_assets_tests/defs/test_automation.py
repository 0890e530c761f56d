"""Schedules and sensors, evaluated at chosen instants."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from quant_assets.definitions import build_definitions
from quant_assets.defs.schedules import final_at
from quant_assets.exchanges import known
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import read_table
from quant_assets_tests.defs.platform import WEEK, Platform, failure

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


def partitions(ticked: Any) -> list[str]:
    return [str(request.partition_key) for request in ticked.run_requests or []]


def test_a_tick_asks_for_its_session_and_skips_closed_days_with_a_reason(platform: Platform) -> None:
    # The grid of a deployment: through today, whenever that is.
    platform = Platform(platform.settings.model_copy(update={"now": None}), platform.instance)
    (request,) = tick(platform, "US", datetime(2013, 2, 13, 16, 30, tzinfo=NEW_YORK)).run_requests
    assert (request.run_key, request.partition_key) == ("US-2013-02-13", "2013-02-13|US")
    for code, at, session in (
        # The day after Thanksgiving closes at 13:00; the tick comes later and finds it over.
        ("US", datetime(2012, 11, 23, 16, 30, tzinfo=NEW_YORK), "2012-11-23"),
        ("ASX", datetime(2012, 10, 5, 16, 30, tzinfo=SYDNEY), "2012-10-05"),
        ("ASX", datetime(2012, 10, 8, 16, 30, tzinfo=SYDNEY), "2012-10-08"),
    ):
        assert partitions(tick(platform, code, at)) == [f"{session}|{code}"]
    for code, zone in (("US", NEW_YORK), ("ASX", SYDNEY)):
        skipped = tick(platform, code, datetime(2012, 4, 6, 16, 30, tzinfo=zone))
        assert not skipped.run_requests
        assert skipped.skip_message == (
            f"no session of {code} has become final since Thursday 2012-04-05 16:30: nothing to fetch"
        )


def test_a_tick_past_midnight_asks_for_the_session_before_it(platform: Platform, tmp_path: Path) -> None:
    late = tmp_path / "late.yaml"
    late.write_text("exchanges:\n  US: {delay: 540}\n")
    settings = platform.settings.model_copy(update={"now": None, "exchanges_file": late})
    platform = Platform(settings, platform.instance)
    # Tuesday 01:00 is nine hours after Monday's close; Presidents' Day was Monday the 18th.
    assert partitions(tick(platform, "US", datetime(2013, 2, 12, 1, tzinfo=NEW_YORK))) == ["2013-02-11|US"]
    assert partitions(tick(platform, "US", datetime(2013, 2, 16, 1, tzinfo=NEW_YORK))) == ["2013-02-15|US"]
    skipped = tick(platform, "US", datetime(2013, 2, 19, 1, tzinfo=NEW_YORK))
    assert not skipped.run_requests
    assert "no session of US has become final since Saturday 2013-02-16 01:00" in skipped.skip_message


def test_no_tick_asks_for_a_session_before_the_grid(platform: Platform) -> None:
    settings = platform.settings.model_copy(update={"now": None, "start": date(2013, 2, 13)})
    platform = Platform(settings, platform.instance)
    before = tick(platform, "US", datetime(2013, 2, 12, 16, 30, tzinfo=NEW_YORK))
    assert before.skip_message == "US: 2013-02-12 is before the first day of the grid, 2013-02-13"
    assert partitions(tick(platform, "US", datetime(2013, 2, 13, 16, 30, tzinfo=NEW_YORK))) == [
        "2013-02-13|US"
    ]


def test_with_a_fixed_clock_the_schedules_skip_and_say_so(platform: Platform) -> None:
    # The demo's today is 2013-03-01; the scheduler's is not.
    for code, zone in (("US", NEW_YORK), ("ASX", SYDNEY)):
        skipped = tick(platform, code, datetime(2026, 11, 25, 16, 30, tzinfo=zone))
        assert not skipped.run_requests
        assert skipped.skip_message == (
            f"QUANT_ASSETS_NOW holds the clock at {platform.settings.now.isoformat()}: no session of {code} ends, so "
            "there is nothing to fetch (unset it to follow the market)"
        )


TEL_AVIV = """exchanges:
  TLV:
    {name: A Sunday exchange with two clocks a year, suffix: .TV, yahoo_codes: [TLV], calendar: TASE,
     zone: Asia/Jerusalem, close: "17:25", currencies: [ILS], weekdays: "0-4"}
"""


@pytest.mark.parametrize(
    ("code", "delay"),
    [
        # Of those that are alike in all that matters here, one.
        *((code, 30) for code in ("ASX", "US", "LSE", "HKEX", "TSX", "JPX", "XETR", "XPAR", "NSE", "TLV")),
        *((code, 30) for code in ("TASE", "TADAWUL")),
        *((c, d) for c in ("US", "ASX", "TLV") for d in (540, 1440)),
    ],
)
def test_over_years_of_ticks_each_session_is_asked_for_once_and_not_before_it_is_final(
    tmp_path: Path, code: str, delay: int
) -> None:
    extra = tmp_path / "more.yaml"
    extra.write_text(TEL_AVIV)
    exchange = replace(known(extra)[code], delay=timedelta(minutes=delay))
    first, last = date(2018, 1, 2), date(2026, 10, 30)
    asked: list[date] = []
    start = datetime.combine(first, time(), tzinfo=UTC).timestamp()
    for at in schedule_execution_time_iterator(start, exchange.cron(), exchange.zone):
        if at.date() > last + timedelta(days=14):
            break
        final = final_at(exchange, at)
        assert all(exchange.calendar().is_over(session, at, exchange.delay) for session in final)
        # A night in which the clocks change aside, a session waits for no later tick than its own.
        assert all(
            at - exchange.calendar().closes_at(s) < exchange.delay + timedelta(hours=73) for s in final
        )
        asked += final
    assert [s for s in asked if first < s <= last] == exchange.calendar().sessions(
        first + timedelta(days=1), last
    )


def test_the_job_of_one_exchange_refuses_partitions_of_another(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL"], ASX=["AAB.AX"])
    market.reset_stats()
    result = platform.run("daily_prices_us", f"{WEEK[0]}|ASX")
    assert failure(result) == (
        "daily_prices_us fills cells of US only, and got 1 partition of ASX, such as 2013-02-11|ASX: launch "
        "daily_prices_asx for them"
    )
    assert not market.stats()["chart_data"]
    assert not list(Manifest(platform.store, DAILY).all("ASX"))


# New symbols.


def test_symbols_new_in_the_catalog_get_their_history_and_disturb_nobody(
    platform: Platform, market: ReplayHandle
) -> None:
    platform = Platform(platform.settings.model_copy(update={"start": date(2013, 2, 9)}), platform.instance)

    def look(cursor: str | None) -> Any:
        return platform.sense("new_symbols", cursor)

    nothing = look(None)
    assert (nothing.run_requests, nothing.skip_message) == ([], "no catalog yet: materialize symbol_catalog")
    platform.follow(US=["AAPL"])
    # The first catalog is taken as known, whether the sensor was there before it or not.
    baseline = look(nothing.cursor)
    assert (baseline.run_requests, baseline.skip_message) == ([], "watching 1 symbols from now on")
    assert look(baseline.cursor).skip_message == "no symbol is new (1 known)"

    # The grid starts on a Saturday, so on the Monday after it.
    assert platform.days(date(2013, 2, 11), date(2013, 2, 20)).success
    before = {day: read_table(platform.store, object_key(DAILY, "US", str(day))) for day in WEEK}
    platform.follow(US=["AAPL", "IBM"])
    market.reset_stats()
    news = look(baseline.cursor)
    (request,) = news.run_requests
    assert request.job_name == "daily_prices_us"
    assert request.run_config == {"ops": {DAILY: {"config": {"symbols": ["IBM"]}}}}
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


# The list of symbols.


def test_a_changed_list_makes_the_catalog_anew_and_a_touched_one_does_not(platform: Platform) -> None:
    universe = platform.settings.universe
    assert universe is not None
    universe.write_text("US: [AAPL]\n")
    first = platform.sense("universe_file", None)
    (request,) = first.run_requests
    assert platform.run(request.job_name or "symbol_catalog_job").success
    same = platform.sense("universe_file", first.cursor)
    assert not same.run_requests
    universe.touch()
    assert not platform.sense("universe_file", same.cursor).run_requests
    universe.write_text("US: [AAPL, IBM]\n")
    # Nothing that the sensor keeps is needed to notice: the catalog tells what it was made of.
    for cursor in (same.cursor, None):
        assert len(platform.sense("universe_file", cursor).run_requests) == 1
    changed = platform.sense("universe_file", same.cursor)
    # Its run has not come or has failed: it is not requested again at once.
    waits = platform.sense("universe_file", changed.cursor)
    assert not waits.run_requests
    assert "the last run did not make the catalog of this list" in waits.skip_message
    assert platform.run("symbol_catalog_job").success
    assert not platform.sense("universe_file", waits.cursor).run_requests
    # A list that cannot be used is named, and asked of nobody.
    universe.write_text("US: AAPL\n")
    wrong = platform.sense("universe_file", changed.cursor)
    assert not wrong.run_requests
    assert wrong.skip_message.startswith(f"{universe}: US is no list of symbols")


def test_the_catalog_is_made_anew_once_a_day(platform: Platform) -> None:
    platform.follow(US=["AAPL"])

    def at(hour: int, day: int, cursor: str | None) -> Any:
        clock = ClockResource(fixed=datetime(2013, 2, day, hour, tzinfo=UTC).isoformat())
        return platform.sense("universe_file", cursor, clock=clock)

    seen = at(23, 11, None)
    assert not seen.run_requests
    assert not at(4, 12, seen.cursor).run_requests
    daily = at(5, 12, seen.cursor)
    assert len(daily.run_requests) == 1
    assert not at(6, 12, daily.cursor).run_requests
    assert len(at(6, 13, daily.cursor).run_requests) == 1
