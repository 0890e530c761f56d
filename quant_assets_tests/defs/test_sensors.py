"""Whom the sensor of new symbols requests the history of, over which range, and how often."""

import json
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.parquet import encode
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.defs.scheduler import turn_on

Listed = dict[str, tuple[str, bool]]
KNOWN: Listed = {"AAPL": ("US", True), "AAA.AX": ("ASX", True)}


def sensed(platform: Platform, cursor: str | None, catalog: Listed) -> Any:
    """What the sensor answers about a catalog: exchange and whether it is active, by symbol."""
    rows = [(symbol, exchange, active) for symbol, (exchange, active) in catalog.items()]
    frame = pl.DataFrame(rows, schema=["symbol", "exchange", "is_active"], orient="row")
    platform.store.put(object_key(CATALOG), encode(frame, {}))
    with dg.build_sensor_context(
        instance=platform.instance,
        cursor=cursor,
        repository_def=platform.defs.get_repository_def(),
        resources=platform.defs.resources,
    ) as context:
        return platform.defs.resolve_sensor_def("new_symbols").evaluate_tick(context)


def asked(answer: Any) -> dict[str, list[str]]:
    """The symbols that runs are requested for, by job."""
    return {
        request.job_name: request.run_config["ops"]["daily_prices"]["config"]["symbols"]
        for request in answer.run_requests or []
    }


def with_settings(platform: Platform, **settings: Any) -> Platform:
    return Platform(platform.settings.model_copy(update=settings), platform.instance)


@pytest.fixture
def cursor(platform: Platform) -> str:
    """That of a sensor which knows the symbols of KNOWN."""
    first = sensed(platform, None, KNOWN)
    assert first.cursor
    return str(first.cursor)


def test_new_symbols_asks_for_active_symbols_only(platform: Platform, cursor: str) -> None:
    inactive = sensed(platform, cursor, {**KNOWN, "IBM": ("US", False)})
    assert asked(inactive) == {}
    # It is new on the day it becomes active.
    active = sensed(platform, inactive.cursor or cursor, {**KNOWN, "IBM": ("US", True)})
    assert asked(active) == {"daily_prices_us": ["IBM"]}


def test_new_symbols_asks_for_the_symbols_of_each_exchange_in_a_run_of_its_own(
    platform: Platform, cursor: str
) -> None:
    more: Listed = {"MSFT": ("US", True), "AAB.AX": ("ASX", True), "IBM": ("US", True)}
    answer = sensed(platform, cursor, {**KNOWN, **more})
    assert asked(answer) == {"daily_prices_us": ["IBM", "MSFT"], "daily_prices_asx": ["AAB.AX"]}
    assert {r.job_name: r.tags["quant_assets/new_symbols"] for r in answer.run_requests} == {
        "daily_prices_us": "2", "daily_prices_asx": "1",
    }  # fmt: skip
    assert len({request.run_key for request in answer.run_requests}) == 2


def test_new_symbols_asks_for_no_symbol_twice_though_it_goes_and_returns(
    platform: Platform, cursor: str
) -> None:
    with_ibm = {**KNOWN, "IBM": ("US", True)}
    came = sensed(platform, cursor, with_ibm)
    assert asked(came) == {"daily_prices_us": ["IBM"]}
    assert asked(sensed(platform, came.cursor, with_ibm)) == {}
    gone = sensed(platform, came.cursor, {**with_ibm, "IBM": ("US", False)})
    # What is there of it is there, and the daily run fills the rest; another symbol's coming changes nothing.
    other = sensed(platform, gone.cursor or came.cursor, {**KNOWN, "MSFT": ("US", True)})
    assert asked(other) == {"daily_prices_us": ["MSFT"]}
    back = sensed(platform, other.cursor, {**with_ibm, "MSFT": ("US", True)})
    assert asked(back) == {}


@pytest.mark.parametrize(
    ("start", "first"),
    [
        (date(2013, 2, 11), "2013-02-11"),
        # The last session that is over, and the day after it.
        (date(2013, 3, 1), "2013-03-01"),
        (date(2013, 3, 4), None),
    ],
)
def test_new_symbols_asks_from_the_start_of_the_grid_through_the_last_session_that_is_over(
    platform: Platform, cursor: str, start: date, first: str | None
) -> None:
    answer = sensed(with_settings(platform, start=start), cursor, {**KNOWN, "IBM": ("US", True)})
    ranges = [
        (r.tags["dagster/asset_partition_range_start"], r.tags["dagster/asset_partition_range_end"])
        for r in answer.run_requests or []
    ]
    assert ranges == ([(f"{first}|US", "2013-03-01|US")] if first else [])


def test_new_symbols_run_key_tells_exchange_symbols_and_last_session(platform: Platform, cursor: str) -> None:
    def key(*symbols: str, exchange: str = "US", now: datetime | None = None) -> str:
        chosen = platform if now is None else with_settings(platform, now=now)
        answer = sensed(chosen, cursor, {**KNOWN, **dict.fromkeys(symbols, (exchange, True))})
        (request,) = answer.run_requests
        return str(request.run_key)

    one = key("IBM")
    # A sensor that lost its cursor asks for the same run, which Dagster then does not launch again.
    assert key("IBM") == one
    others = [
        key("IBM", "MSFT"),
        key("MSFT"),
        key("IBM", exchange="ASX"),
        key("IBM", now=datetime(2013, 2, 28, 23, tzinfo=UTC)),
    ]
    assert len({one, *others}) == 5


@pytest.mark.parametrize("kept", ["{", "{}", "17", '"AAPL"', "[1, 2]", '{"US": ["AAPL"]}'])
def test_new_symbols_watches_anew_where_its_cursor_is_damaged_or_of_another_version(
    platform: Platform, cursor: str, kept: str
) -> None:
    answer = sensed(platform, kept, KNOWN)
    # To take every symbol for a new one would ask for the history of the whole universe.
    assert asked(answer) == {}
    assert answer.cursor == cursor


def test_new_symbols_names_a_catalog_that_cannot_be_read_and_keeps_its_cursor(
    platform: Platform, cursor: str
) -> None:
    platform.store.put(object_key(CATALOG), b"no table")
    answer = platform.sense("new_symbols", cursor)
    assert "symbol_catalog.parquet" in answer.skip_message
    assert answer.cursor in (None, cursor)


@pytest.mark.parametrize("sensor", ["missing_sessions", "derived_tables", "universe_file"])
@pytest.mark.parametrize(
    "kept",
    [
        "{",
        "[]",
        '{"US": 17, "day": [], "tries": 3, "exchange_profiles": {}}',
        '{"US": {"seen": "", "fresh": 5, "next": "soon", "tries": {"a": 1}}, "tries": [[1, "x", 2, []]]}',
        '{"US": {"next": "2013-03-02T00:00:00", "tries": [[1, "2013-03-02T00:00:00", 1, ["2013-03-01|US"]]]}}',
    ],
    ids=["damaged", "a list", "numbers", "no moments", "moments without zone"],
)
def test_sensors_start_anew_where_their_cursor_is_damaged_or_of_another_version(
    platform: Platform, sensor: str, kept: str
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    turn_on(platform.instance, "US")
    assert platform.days(date(2013, 2, 27), date(2013, 2, 28)).success
    anew = platform.sense(sensor, None)
    if kept.startswith('{"US": {"seen": ""') and sensor == "missing_sessions":
        # As it would be had another version kept no note.
        seen = json.loads(anew.cursor or "{}").get("US", {}).get("seen", "")
        kept = json.dumps({"US": {"seen": seen, "next": "soon"}})
    answer = platform.sense(sensor, kept)
    if sensor == "universe_file":
        # What it has kept of the day may be a day that is not today's.
        assert len(answer.run_requests or []) <= 1
    else:
        assert [r.tags for r in answer.run_requests or []] == [r.tags for r in anew.run_requests or []]
        assert answer.skip_message == anew.skip_message
