"""A run asks for what is missing, and for nothing else, and for no session before it is over."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
from polars.testing import assert_frame_equal

from quant_assets.exchanges import exchange
from quant_assets.ingest.plan import Mode
from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.market.coverage import NO_BAR, SUSPENDED, CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.counters import WRITES, counted
from quant_assets.tables.layout import DAILY
from quant_assets.tables.listing_events import FIRST_TRADE, read_events
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.ingest.harness import DAY, HOLIDAY, SYMBOLS, WEEK, Harness, bars, truth
from quant_assets_tests.support import (
    NOW,
    days_between,
    listings,
    tree,
)

# What is asked, and when.


def test_a_finished_range_costs_neither_a_request_nor_a_write(harness: Harness, market: ReplayHandle) -> None:
    days = days_between(date(2013, 2, 4), date(2013, 2, 22))
    first = harness.fill(days)
    assert (first.requests, first.written, first.states) == (3, 14, {"complete": 14, "closed": 1})
    files, writes = tree(harness.home / "store"), counted(WRITES)
    market.reset_stats()
    for now in (NOW, NOW + timedelta(days=40)):
        again = harness.fill(days, now=now)
        assert (again.requests, again.written, again.states) == (0, 0, first.states)
    assert market.stats()["requests"] == {}
    assert counted(WRITES) == writes
    assert tree(harness.home / "store") == files


def test_what_failed_is_asked_again_at_once_and_nothing_else_is(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "server_error_500_html", "symbol": "AAPL", "times": "persistent"})
    harness.fill()
    others = harness.cell()
    market.clear_faults()
    market.reset_stats()
    report = harness.fill(now=NOW + timedelta(minutes=5))
    assert market.stats()["chart_data"] == {"AAPL": 1}
    assert report.states == {"complete": 5}
    assert harness.cell().filter(pl.col("symbol") != "AAPL").equals(others)


def test_what_the_source_has_stated_is_asked_again_only_on_another_day(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(
        {"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": "persistent"},
        {"kind": "not_found_404", "symbol": "MSFT", "times": "persistent"},
    )
    harness.fill()
    for day in (1, 2):
        market.reset_stats()
        harness.fill(now=NOW + timedelta(hours=day - 1))
        assert market.stats()["chart_data"] == {}
        morning = NOW + timedelta(days=day)
        harness.fill(now=morning)
        assert market.stats()["chart_data"] == {"AAPL": 2, "MSFT": 1}
        assert {m.asked_on for m in harness.entry().missing} == {morning.date()}
        market.reset_stats()
        harness.fill(now=morning)
        assert market.stats()["chart_data"] == {}
        assert harness.entry().state is CellState.PARTIAL


def test_only_some_symbols_may_be_asked_for(harness: Harness, market: ReplayHandle) -> None:
    report = harness.fill(only=["AAPL"])
    assert market.stats()["chart_data"] == {"AAPL": 1}
    assert report.states == {"partial": 5}
    assert [(m.symbol, m.outcome) for m in harness.entry().missing] == [
        ("IBM", "not_asked"),
        ("MSFT", "not_asked"),
    ]
    market.reset_stats()
    assert harness.fill().states == {"complete": 5}
    assert market.stats()["chart_data"] == {"IBM": 1, "MSFT": 1}


def test_a_new_symbol_leaves_the_rows_of_the_others_as_they_are(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.fill(catalog=listings("AAPL", "IBM"))
    before = {day: harness.cell(day) for day in WEEK}
    market.reset_stats()
    report = harness.fill(only=["MSFT"], now=NOW + timedelta(days=3))
    assert market.stats()["chart_data"] == {"MSFT": 1}
    assert report.states == {"complete": 5}
    for day in WEEK:
        after = harness.cell(day)
        assert after.filter(pl.col("symbol") != "MSFT").equals(before[day])
        assert after.filter(pl.col("symbol") == "MSFT")["fetched_at"].item() == NOW + timedelta(days=3)
        assert after.schema == DAILY_SCHEMA


def test_a_late_listing_is_learned_and_not_expected_before_its_first_trade(
    harness: Harness, market: ReplayHandle
) -> None:
    days = days_between(date(2012, 5, 14), date(2012, 5, 22))
    report = harness.fill(days, listings("AAPL", "FB"))
    assert report.states == {"complete": 7}
    expected = {day.isoformat(): harness.entry(day).expected for day in days}
    assert expected["2012-05-17"] == 1
    assert expected["2012-05-18"] == 2
    events = read_events(harness.store, "US").select("symbol", "event", "date").rows()
    assert ("FB", FIRST_TRADE, date(2012, 5, 18)) in events
    market.reset_stats()
    assert harness.fill(days, listings("AAPL", "FB")).written == 0
    assert market.stats()["requests"] == {}


def test_a_range_before_a_listing_is_complete_without_it(harness: Harness, market: ReplayHandle) -> None:
    days = days_between(date(2012, 4, 2), date(2012, 4, 5))
    report = harness.fill(days, listings("AAPL", "FB"))
    assert report.states == {"complete": 4}
    assert harness.fill(days, listings("AAPL", "FB")).requests == 0


def test_a_long_suspension_is_called_one_when_it_is_stated_on_another_day(
    harness: Harness, market: ReplayHandle
) -> None:
    days = days_between(date(2012, 1, 3), date(2013, 3, 1))
    harness.fill(days, listings("AAA.AX", "AAG.AX"), code="ASX", min_coverage=0.95)
    assert market.stats()["chart_data"] == {"AAA.AX": 1, "AAG.AX": 1}
    entries = Manifest(harness.store, DAILY).between("ASX", days[0], days[-1])
    holes = {day: e.missing for day, e in entries.items() if e.missing}
    assert len(holes) >= 6
    sessions = [day.isoformat() for day in exchange("ASX").calendar().sessions(days[0], days[-1])]
    at = sessions.index(min(holes))
    assert sorted(holes) == sessions[at : at + len(holes)]
    (reason,) = {missing.reason for (missing,) in holes.values()}
    assert {missing.outcome for (missing,) in holes.values()} == {NO_BAR}
    # It looks like a suspension, so that the cells are none that failed; said twice, it is not asked about again.
    assert {entries[day].state for day in holes} == {CellState.PARTIAL}
    for later, requests in ((1, 1), (9, 0)):
        again = harness.fill(days, listings("AAA.AX", "AAG.AX"), code="ASX", now=NOW + timedelta(days=later))
        assert again.requests == requests
        assert {m.outcome for entry in again.cells.values() for m in entry.missing} == {SUSPENDED}
    assert (
        reason
        == f"no bar for {len(holes)} sessions between {sessions[at - 1]} and {sessions[at + len(holes)]}"
    )


def test_the_end_of_trading_is_a_named_hole_and_not_taken_for_a_delisting(
    harness: Harness, market: ReplayHandle
) -> None:
    facts = {row["symbol"]: row for row in market.catalog()}
    last = date.fromisoformat(facts["AAF.AX"]["delisted_on"])
    days = days_between(last - timedelta(days=4), last + timedelta(days=20))
    harness.fill(days, listings("AAA.AX", "AAF.AX"), code="ASX")
    after = [
        e
        for day, e in Manifest(harness.store, DAILY).between("ASX", days[0], days[-1]).items()
        if day > str(last)
    ]
    named = [e for e in after if e.state is not CellState.CLOSED]
    assert len(named) >= 10
    assert {(e.state, *(m.reason for m in e.missing)) for e in named} == {
        (CellState.PARTIAL, f"no bar after {last}")
    }
    # Said once, in the catalog, it is expected no more.
    stated = listings("AAA.AX", "AAF.AX").with_columns(
        delisted_on=pl.when(pl.col("symbol") == "AAF.AX").then(last)
    )
    report = harness.fill(days, stated, code="ASX", now=NOW + timedelta(days=1))
    assert {e.state for e in report.cells.values()} <= {CellState.COMPLETE, CellState.CLOSED}


def test_force_takes_a_corrected_bar_and_reports_it(harness: Harness, market: ReplayHandle) -> None:
    harness.fill()
    before = {day: harness.cell(day) for day in WEEK}
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "AAPL", "date": str(DAY), "field": "close", "value": 468.0}
    )
    later = NOW + timedelta(days=1)
    assert harness.fill(now=later).requests == 0
    assert harness.cell().equals(before[DAY])
    report = harness.fill(now=later, mode=Mode.FORCE)
    assert (report.requests, report.written) == (3, 1)
    old = str(truth(["AAPL"], [DAY])["close"].item())
    (event,) = report.restatements.rows(named=True)
    assert (event["symbol"], event["date"], event["field"]) == ("AAPL", DAY, "close")
    assert (event["old"], event["new"], event["class"]) == (old, "468.0", "correction")
    apple = pl.col("symbol") == "AAPL"
    assert harness.cell().filter(apple)["close"].item() == 468.0
    assert harness.cell().filter(apple)["fetched_at"].item() == later
    assert harness.cell().filter(~apple).equals(before[DAY].filter(~apple))
    assert all(harness.cell(day).equals(before[day]) for day in WEEK if day != DAY)


def test_force_names_the_symbols_it_could_not_ask_again(harness: Harness, market: ReplayHandle) -> None:
    harness.fill()
    before = tree(harness.home / "store")
    market.add_faults({"kind": "server_error_500_html", "symbol": "IBM", "times": "persistent"})
    report = harness.fill(now=NOW + timedelta(days=1), mode=Mode.FORCE)
    assert list(report.not_verified) == ["IBM"]
    assert "500" in report.not_verified["IBM"]
    assert (report.written, tree(harness.home / "store")) == (0, before)


# Time.


def test_a_session_that_is_not_over_is_neither_asked_for_nor_stored(
    harness: Harness, market: ReplayHandle
) -> None:
    noon = datetime(2013, 2, 13, 17, tzinfo=UTC)
    market.set_clock(noon)
    market.add_faults({"kind": "live_partial_bar", "times": "persistent"})
    report = harness.fill(now=noon)
    assert report.states == {"complete": 2}
    assert report.too_early == [date(2013, 2, 13), date(2013, 2, 14), date(2013, 2, 15)]
    assert not harness.path().exists()
    assert str(DAY) not in Manifest(harness.store, DAILY).year("US", 2013)
    market.reset_stats()
    # Half an hour after the close, not a minute sooner.
    assert harness.fill([DAY], now=datetime(2013, 2, 13, 21, 29, tzinfo=UTC)).too_early == [DAY]
    assert market.stats()["requests"] == {}
    evening = datetime(2013, 2, 13, 21, 30, tzinfo=UTC)
    market.set_clock(evening)
    assert harness.fill([DAY], now=evening).states == {"complete": 1}
    assert_frame_equal(bars(harness.cell()), truth(SYMBOLS, [DAY]), check_exact=True)


def test_a_closed_day_is_recorded_without_a_request(harness: Harness, market: ReplayHandle) -> None:
    report = harness.fill([HOLIDAY])
    assert report.states == {"closed": 1}
    assert harness.entry(HOLIDAY).reason == "US did not trade on 2013-02-18"
    assert market.stats()["requests"] == {}
    assert not harness.path(HOLIDAY).exists()
    writes = counted(WRITES)
    assert harness.fill([HOLIDAY]).states == {"closed": 1}
    assert counted(WRITES) == writes
