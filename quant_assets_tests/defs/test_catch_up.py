"""Sessions that were missed or stayed incomplete are asked for again; nothing is asked for twice."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quant_assets.defs.catch_up import GRACE, MOST_RUNS, PAUSES, Missing, choose
from quant_assets.defs.jobs import PRICES_ALONE
from quant_assets.defs.retries import Retries
from quant_assets.exchanges import exchange
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.clock import ClockResource
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.requested import record_requested
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.defs.scheduler import turn_on, waiting_run

US = exchange("US")
WEEK = US.calendar().sessions(date(2013, 2, 11), date(2013, 2, 15))
MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = WEEK
EVENING = datetime(2013, 2, 15, 22, tzinfo=UTC)
"""After Friday's close in New York (21:00 UTC), delay and grace."""


def missing(*absent: date, partial: dict[date, int] | None = None) -> Missing:
    lacking = dict.fromkeys(absent, 1) | (partial or {})
    return Missing(dict(sorted(lacking.items())), set(absent), set(lacking), WEEK)


def test_sessions_that_follow_each_other_are_one_range_and_a_session_between_them_ends_it() -> None:
    found = choose(US, missing(MONDAY, TUESDAY, THURSDAY, FRIDAY), Retries(PAUSES), EVENING)
    assert found.ranges == [[MONDAY, TUESDAY], [THURSDAY, FRIDAY]]
    assert found.note == "asks for 4 sessions, 2013-02-11 to 2013-02-15,"


def test_of_many_ranges_the_oldest_come_first() -> None:
    sessions = US.calendar().sessions(date(2012, 1, 3), date(2013, 2, 15))
    every_other = sessions[::2]
    lacking = Missing(dict.fromkeys(every_other, 1), set(every_other), set(every_other), sessions)
    assert choose(US, lacking, Retries(PAUSES), EVENING).ranges == [[s] for s in every_other[:MOST_RUNS]]


def test_a_session_is_left_to_its_schedule_until_the_tick_and_a_while_longer() -> None:
    tick = US.calendar().closes_at(FRIDAY) + US.delay
    before = choose(US, missing(FRIDAY), Retries(PAUSES), tick + GRACE - timedelta(seconds=1))
    assert (before.ranges, before.next) == ([], tick + GRACE)
    assert choose(US, missing(FRIDAY), Retries(PAUSES), tick + GRACE).ranges == [[FRIDAY]]
    # After an early close the schedule's tick comes hours later.
    half = date(2012, 11, 23)
    lacking = Missing({half: 1}, {half}, {half}, [half])
    closed = US.calendar().closes_at(half)
    assert choose(US, lacking, Retries(PAUSES), closed + US.delay + GRACE).ranges == []
    assert choose(US, lacking, Retries(PAUSES), closed + timedelta(hours=4)).ranges == [[half]]


@pytest.mark.parametrize("absent", [True, False])
def test_what_the_source_will_not_give_is_asked_for_with_growing_pauses_and_not_for_ever(
    absent: bool,
) -> None:
    retries = Retries(PAUSES)
    lacking = missing(MONDAY) if absent else missing(partial={MONDAY: 1})
    now, tries = EVENING, list[datetime]()
    while now < EVENING + timedelta(days=30):
        found = choose(US, lacking, retries, now)
        if found.ranges:
            tries.append(now)
            retries.tried(["2013-02-11|US"], now, {"2013-02-11|US": 1})
        now += timedelta(minutes=5)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert len(tries) == len(PAUSES)
    assert pauses == sorted(pauses)
    assert pauses[-1] == timedelta(days=1)
    assert tries[0] == (EVENING if absent else EVENING + PAUSES[0])
    assert "2013-02-11 asked for 10 times in vain, and not again" in choose(US, lacking, retries, now).note
    # When there is more to ask for, it is worth the while again.
    more = missing(partial={MONDAY: 3})
    assert choose(US, more, retries, now).ranges == []
    assert choose(US, more, retries, now + PAUSES[0]).ranges == [[MONDAY]]


# The sensor, on a store.


def at(platform: Platform, moment: datetime) -> Platform:
    return Platform(platform.settings.model_copy(update={"now": moment}), platform.instance)


def run_all(platform: Platform, ticked: Any) -> list[str]:
    """Runs what was requested; the ranges."""
    ranges: list[str] = []
    for request in ticked.run_requests:
        tags = request.tags
        assert request.asset_selection == PRICES_ALONE
        first = request.partition_key or tags["dagster/asset_partition_range_start"]
        last = request.partition_key or tags["dagster/asset_partition_range_end"]
        ranges.append(f"{first} .. {last}")
        platform.run(request.job_name, request.partition_key, tags=tags)
    return ranges


def test_what_was_missed_is_filled_oldest_first_and_asked_for_once(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"], ASX=["AAB.AX"])
    before = at(platform, datetime(2013, 2, 12, 22, tzinfo=UTC))
    assert before.days(MONDAY, TUESDAY).success
    assert before.run("daily_prices_asx", f"{MONDAY}|ASX", f"{TUESDAY}|ASX").success
    # Nothing ran over three closes of both.
    after = at(platform, EVENING)
    unasked = after.sense("missing_sessions", None)
    assert not unasked.run_requests
    assert "US: not followed, daily_prices_us_after_close is off" in unasked.skip_message
    turn_on(platform.instance, "US", "ASX")
    # A run that has been requested is waited for.
    queued = waiting_run(
        platform.instance,
        "daily_prices_us",
        {"quant_assets/exchange": "US", "dagster/partition": f"{FRIDAY}|US"},
    )
    ticked = after.sense("missing_sessions", unasked.cursor)
    assert [request.job_name for request in ticked.run_requests] == ["daily_prices_asx"]
    platform.instance.report_run_canceled(queued)
    ticked = after.sense("missing_sessions", unasked.cursor)
    market.reset_stats()
    assert run_all(after, ticked) == [
        "2013-02-13|US .. 2013-02-15|US", "2013-02-13|ASX .. 2013-02-15|ASX",
    ]  # fmt: skip
    assert market.stats()["chart_data"] == {"AAPL": 1, "IBM": 1, "AAB.AX": 1}
    for code in ("US", "ASX"):
        states = {e.partition: e.state for e in Manifest(platform.store, DAILY).all(code)}
        assert states == {str(session): CellState.COMPLETE for session in WEEK}
    done = after.sense("missing_sessions", ticked.cursor)
    assert not done.run_requests
    assert "US: nothing is missing through 2013-02-15" in done.skip_message
    # A tick later that costs no more than a look at what is listed.
    assert after.sense("missing_sessions", done.cursor).skip_message == done.skip_message


def test_a_session_that_fails_is_asked_for_again_later_and_then_is_as_it_should_be(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    turn_on(platform.instance, "US")
    day = at(platform, EVENING)
    assert day.days(MONDAY, THURSDAY).success
    market.add_faults({"kind": "server_error_500_html", "symbol": "IBM", "times": "persistent"})
    ticked = day.sense("missing_sessions", None)
    assert run_all(day, ticked) == ["2013-02-15|US .. 2013-02-15|US"]
    market.reset_stats()

    def later(cursor: str | None, minutes: int) -> Any:
        clock = ClockResource(fixed=(EVENING + timedelta(minutes=minutes)).isoformat())
        return day.sense("missing_sessions", cursor, clock=clock)

    waits = later(ticked.cursor, 1)
    assert not waits.run_requests
    assert "US: 1 session to be asked for later, the next from 2013-02-15 22:30 UTC on" in waits.skip_message
    assert not later(waits.cursor, 29).run_requests
    market.clear_faults()
    again = later(waits.cursor, 31)
    assert run_all(day, again) == ["2013-02-15|US .. 2013-02-15|US"]
    assert market.stats()["chart_data"] == {"IBM": 1}
    assert "US: nothing is missing" in later(again.cursor, 32).skip_message


def test_a_symbol_taken_out_of_the_list_again_fails_no_past_cell(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "NOPE"])
    turn_on(platform.instance, "US")
    day = at(platform, EVENING)
    assert day.days(MONDAY, FRIDAY).success
    assert {e.state for e in Manifest(platform.store, DAILY).all("US")} == {CellState.PARTIAL}
    platform.follow(US=["AAPL"])
    market.reset_stats()
    noticed = day.sense("missing_sessions", None)
    assert not noticed.run_requests
    clock = ClockResource(fixed=(EVENING + PAUSES[0]).isoformat())
    ticked = day.sense("missing_sessions", noticed.cursor, clock=clock)
    assert run_all(day, ticked) == [f"{MONDAY}|US .. {FRIDAY}|US"]
    assert {e.state for e in Manifest(platform.store, DAILY).all("US")} == {CellState.COMPLETE}
    assert not market.stats()["chart_data"]


def test_nothing_is_missing_while_no_session_is_over_since_the_first_day_asked_for(
    platform: Platform,
) -> None:
    platform.follow(US=["AAPL"])
    turn_on(platform.instance, "US")
    holiday = date(2013, 2, 18)
    Manifest(platform.store, DAILY).record("US", [Entry(str(holiday), CellState.CLOSED)])
    noticed = at(platform, datetime(2013, 2, 18, 22, tzinfo=UTC)).sense("missing_sessions", None)
    assert not noticed.run_requests
    assert "US: nothing was asked for up to now" in noticed.skip_message


def test_a_session_on_a_weekday_without_partitions_is_named_and_asked_for_by_no_sensor(
    platform: Platform, tmp_path: Path
) -> None:
    # As of an exchange that trades from Sunday to Thursday, until it changes its week (Tel Aviv, January 2026).
    file = tmp_path / "exchanges.yaml"
    file.write_text("exchanges: {US: {weekdays: 0-4}}")
    changes = {"exchanges": ("US",), "exchanges_file": file, "start": MONDAY, "now": EVENING}
    alone = Platform(platform.settings.model_copy(update=changes), platform.instance)
    alone.follow(US=["AAPL"])
    turn_on(alone.instance, "US")
    record_requested(alone.store, "US", [MONDAY])
    (history,) = alone.sense("new_symbols", "[]").run_requests
    ticked = alone.sense("missing_sessions", None)
    (request,) = ticked.run_requests
    for tags in (history.tags, request.tags):
        assert tags["dagster/asset_partition_range_end"] == f"{THURSDAY}|US"
    assert alone.run(request.job_name, tags=request.tags).success
    done = alone.sense("missing_sessions", ticked.cursor)
    assert not done.run_requests
    assert (
        "2013-02-15 cannot be asked for: no exchange's `weekdays` name that weekday; add it to those of US"
        in done.skip_message
    )
