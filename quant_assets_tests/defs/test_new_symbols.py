"""Whom the sensor of new symbols requests the history of, over which range, how often, and what it never forgets."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import create_run_for_test

from quant_assets.catalog.build import CATALOG_SCHEMA
from quant_assets.defs.jobs import PRICES_ALONE
from quant_assets.defs.new_symbols import PAUSES
from quant_assets.market.coverage import CellState, Missing, symbols_sha256
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.manifest import Entry, Expected, Manifest, stamped
from quant_assets.tables.parquet import encode
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.defs.scheduler import waiting_run
from quant_assets_tests.support import days_between

Listed = dict[str, tuple[str, bool]]
KNOWN: Listed = {"AAPL": ("US", True), "AAA.AX": ("ASX", True)}


def sensed(platform: Platform, cursor: str | None, catalog: Listed) -> Any:
    """What the sensor answers about a catalog: exchange and whether it is active, by symbol."""
    rows = [(symbol, exchange, active) for symbol, (exchange, active) in catalog.items()]
    some = pl.DataFrame(rows, schema=["symbol", "exchange", "is_active"], orient="row")
    frame = pl.concat([pl.DataFrame(schema=CATALOG_SCHEMA), some], how="diagonal")
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
    # Of histories no snapshot of valuations can be had.
    assert [request.asset_selection for request in answer.run_requests] == [PRICES_ALONE, PRICES_ALONE]


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


def test_new_symbols_watches_anew_where_its_cursor_is_damaged_or_of_another_version(
    platform: Platform, cursor: str
) -> None:
    for kept in ("{", '"AAPL"', "[1, 2]", '{"US": ["AAPL"]}', '{"known": [1], "left": []}'):
        answer = sensed(platform, kept, KNOWN)
        # To take every symbol for a new one would ask for the history of the whole universe.
        assert asked(answer) == {}, kept
        assert answer.cursor == cursor


def test_new_symbols_names_a_catalog_that_cannot_be_read_and_keeps_its_cursor(
    platform: Platform, cursor: str
) -> None:
    platform.store.put(object_key(CATALOG), b"no table")
    answer = platform.sense("new_symbols", cursor)
    assert "symbol_catalog.parquet" in answer.skip_message
    assert answer.cursor in (None, cursor)


# What is not forgotten.

IBM: Listed = {"AAPL": ("US", True), "IBM": ("US", True)}
MONDAY, FRIDAY = date(2013, 2, 25), date(2013, 3, 1)


def filled(platform: Platform, symbols: Sequence[str], *holes: Missing, of: date = MONDAY) -> None:
    """Records that the week's cells from a day on were filled for these symbols."""
    days = [day for day in days_between(of, FRIDAY) if day.weekday() < 5]
    Expected(platform.store, "US").record(sorted(symbols))
    state = CellState.PARTIAL if holes else CellState.COMPLETE
    entries = [
        Entry(str(day), state, expected=len(symbols), expected_sha256=symbols_sha256(symbols), missing=holes)
        for day in days
    ]
    Manifest(platform.store, DAILY).record("US", [stamped(entry, datetime.now(UTC)) for entry in entries])


def hole(outcome: str, symbol: str = "IBM") -> Missing:
    return Missing(symbol, outcome, outcome, date(2013, 2, 28))


def later(answer: Any, passed: timedelta) -> str:
    """The cursor of an answer as it would be had this time passed since."""
    cursor = json.loads(answer.cursor)
    for kept in cursor["exchanges"].values():
        for tries in kept["tries"]:
            tries[1] = (datetime.fromisoformat(tries[1]) - passed).isoformat()
        if kept.get("next"):
            kept["next"] = (datetime.fromisoformat(kept["next"]) - passed).isoformat()
    return json.dumps(cursor)


def run_of(platform: Platform, answer: Any, status: dg.DagsterRunStatus | None = None) -> dg.DagsterRun:
    """The run that a sensor's answer requests, waiting in the queue or ended as FAILURE or CANCELED."""
    (request,) = answer.run_requests
    run = create_run_for_test(
        platform.instance, job_name=request.job_name, run_config=request.run_config, tags=request.tags,
        status=dg.DagsterRunStatus.NOT_STARTED,
    )  # fmt: skip
    if status is dg.DagsterRunStatus.FAILURE:
        platform.instance.report_run_failed(run)
    elif status is dg.DagsterRunStatus.CANCELED:
        platform.instance.report_run_canceled(run)
    return run


def test_what_a_run_has_not_brought_is_requested_again_after_pauses_that_grow(
    platform: Platform, cursor: str
) -> None:
    answer, keys = sensed(platform, cursor, IBM), set[str]()
    for number, pause in enumerate(PAUSES[1:4]):
        keys.add(answer.run_requests[0].run_key)
        run = run_of(
            platform, answer, (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)[number % 2]
        )
        soon = sensed(platform, later(answer, pause - timedelta(minutes=1)), IBM)
        assert asked(soon) == {}
        assert f"US: 1 of the new symbols have not come yet (run {run.run_id[:8]}" in soon.skip_message
        answer = sensed(platform, later(answer, pause), IBM)
        assert asked(answer) == {"daily_prices_us": ["IBM"]}
    # To Dagster a run key that it knows is a run that it has launched.
    assert len(keys) == 3
    given_up = json.loads(answer.cursor)
    for tries in given_up["exchanges"]["US"]["tries"]:
        tries[0] = len(PAUSES)
    never = sensed(platform, json.dumps(given_up), IBM)
    assert asked(never) == {}
    assert "US: 1 requested 14 times in vain, and not again (IBM; `quant-assets gaps`" in never.skip_message


def test_a_request_that_no_run_came_of_is_made_again(platform: Platform, cursor: str) -> None:
    answer = sensed(platform, cursor, IBM)
    assert asked(sensed(platform, later(answer, timedelta(hours=1)), IBM)) == {"daily_prices_us": ["IBM"]}


def test_what_a_run_was_killed_over_is_requested_again_and_what_it_has_brought_is_not(
    platform: Platform, cursor: str
) -> None:
    listed: Listed = {**IBM, "MSFT": ("US", True), "QCOM": ("US", True)}
    answer = sensed(platform, cursor, listed)
    run_of(platform, answer, dg.DagsterRunStatus.FAILURE)
    filled(
        platform,
        ["AAPL", "IBM", "MSFT", "QCOM"],
        hole("failed"),
        hole("no_bar", "QCOM"),
        of=date(2013, 2, 11),
    )
    again = sensed(platform, later(answer, timedelta(hours=1)), listed)
    assert asked(again) == {"daily_prices_us": ["IBM"]}
    # An answer without a bar is an answer: what to do about a hole is for the runs of sessions that are missing.
    filled(platform, ["AAPL", "IBM", "MSFT", "QCOM"], hole("no_bar"), of=date(2013, 2, 11))
    done = sensed(platform, later(again, timedelta(hours=1)), listed)
    assert (asked(done), done.skip_message) == ({}, "no symbol is new (4 known)")


def test_symbols_that_come_while_a_run_of_the_exchange_is_under_way_wait_and_go_together(
    platform: Platform, cursor: str
) -> None:
    answer = sensed(platform, cursor, IBM)
    run = run_of(platform, answer)
    more: Listed = {**IBM, "MSFT": ("US", True), "QCOM": ("US", True)}
    waits = sensed(platform, answer.cursor, more)
    assert asked(waits) == {}
    words = f"US: 3 new symbols: run {run.run_id[:8]} over 2000-01-03..2013-03-01"
    assert waits.skip_message == f"{words} is queued; 2 wait for the next run"
    platform.instance.add_run_tags(run.run_id, {"quant_assets/asked": "1 of 1"})
    assert f"{words} has asked for 1 of 1; 2 wait" in sensed(platform, waits.cursor, more).skip_message
    platform.instance.report_run_canceled(run)
    filled(platform, ["AAPL", "IBM"], of=date(2013, 2, 11))
    assert asked(sensed(platform, waits.cursor, more)) == {"daily_prices_us": ["MSFT", "QCOM"]}


def test_a_run_that_somebody_else_started_is_waited_for(platform: Platform, cursor: str) -> None:
    tags = {"dagster/partition": "2013-03-01|US"}
    run = waiting_run(platform.instance, "daily_prices_us", tags)
    waits = sensed(platform, cursor, IBM)
    assert (asked(waits), waits.skip_message) == ({}, f"US: 1 new symbol: waits for run {run.run_id[:8]}")


def test_symbols_that_cells_were_filled_without_are_new_to_a_sensor_that_knows_nothing(
    platform: Platform,
) -> None:
    # None, one that cannot be read, and what a former version kept: the symbols that it had requested runs for.
    cursors = (None, "{}", '["AAA.AX","AAPL","IBM"]')
    filled(platform, ["AAPL"])
    for kept in cursors:
        answer = sensed(platform, kept, IBM)
        assert asked(answer) == {"daily_prices_us": ["IBM"]}
        tags = answer.run_requests[0].tags
        assert tags["dagster/asset_partition_range_start"] == "2000-01-03|US"
    filled(platform, ["AAPL", "IBM"], hole("not_asked"))
    assert [asked(sensed(platform, kept, IBM)) for kept in cursors] == [{"daily_prices_us": ["IBM"]}] * 3
    # Asked for in vain is asked for; the days before the first cell are nobody's to fill.
    filled(platform, ["AAPL", "IBM"], hole("failed"))
    assert [asked(sensed(platform, kept, IBM)) for kept in cursors] == [{}] * 3


def test_a_cursor_that_is_lost_between_a_request_and_its_first_cell_forgets_nobody(
    platform: Platform, cursor: str
) -> None:
    run_of(platform, sensed(platform, cursor, IBM), dg.DagsterRunStatus.FAILURE)
    assert asked(sensed(platform, None, IBM)) == {"daily_prices_us": ["IBM"]}


def test_a_symbol_that_returns_gets_what_it_has_missed_and_nothing_before(
    platform: Platform, cursor: str
) -> None:
    filled(platform, ["AAPL", "IBM"])
    known = sensed(platform, cursor, IBM)
    gone = sensed(platform, later(known, timedelta(hours=1)), {**IBM, "IBM": ("US", False)})
    filled(platform, ["AAPL"], of=date(2013, 2, 27))
    back = sensed(platform, gone.cursor, IBM)
    assert asked(back) == {"daily_prices_us": ["IBM"]}
    tags = back.run_requests[0].tags
    assert tags["dagster/asset_partition_range_start"] == "2013-02-27|US"
    filled(platform, ["AAPL", "IBM"])
    done = sensed(platform, back.cursor, IBM)
    assert (asked(done), json.loads(done.cursor)["left"]) == ({}, [])


def test_a_universe_of_thousands_is_one_run(platform: Platform, cursor: str) -> None:
    many: Listed = {f"A{number:04}": ("US", True) for number in range(3000)}
    answer = sensed(platform, cursor, {**KNOWN, **many})
    assert asked(answer) == {"daily_prices_us": sorted(many)}
    assert len(answer.cursor) < 100_000
    run_of(platform, answer)
    waits = sensed(platform, answer.cursor, {**KNOWN, **many})
    assert waits.skip_message.startswith("US: 3,000 new symbols: run ")
