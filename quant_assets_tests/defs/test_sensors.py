"""Whom the sensor of new symbols requests the history of, over which range, and how often."""

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.parquet import encode
from quant_assets_tests.defs.platform import Platform

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
