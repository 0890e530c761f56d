"""Holes: what kind each is, by evidence; when it is asked about again; and how it heals."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.catalog.gaps import exchange_gaps
from quant_assets.exchanges import exchange
from quant_assets.ingest.plan import FillRequest, Mode, make_plan
from quant_assets.market.coverage import CellState, Missing
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import Blob
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.listing_events import FIRST_TRADE, read_events
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, WEEK, Harness, bars, evening, sessions, truth
from quant_assets_tests.support import NOW, listings

TUESDAY, WEDNESDAY = date(2013, 2, 19), date(2013, 2, 20)


def missing(day: date, symbol: str = "AAPL", **more: Any) -> dict[str, Any]:
    return {"kind": "missing_session", "symbol": symbol, "date": str(day), "times": None, **more}


def hole(harness: Harness, day: date = DAY, symbol: str = "AAPL") -> Missing:
    (found,) = [m for m in harness.entry(day).missing if m.symbol == symbol]
    return found


def gaps(harness: Harness, now: Any = NOW) -> list[tuple[Any, ...]]:
    found = exchange_gaps(harness.store, exchange("US"), now)
    return found.select("kind", "symbol", "first", "last", "sessions", "settled").rows()


# Suspended, by evidence.


@pytest.mark.parametrize("length", [6, 5])
def test_a_gap_between_bars_is_a_suspension_once_it_is_stated_on_two_days(
    harness: Harness, market: ReplayHandle, length: int
) -> None:
    days = sessions(date(2013, 1, 14), date(2013, 2, 8))
    suspended = days[5 : 5 + length]
    market.add_faults(*(missing(day) for day in suspended))
    harness.fill(days, min_coverage=0.95)
    for day in suspended:
        assert (hole(harness, day).outcome, hole(harness, day).gap) == ("no_bar", length)
        assert (
            hole(harness, day).reason
            == f"no bar for {length} sessions between {days[4]} and {days[5 + length]}"
        )
    harness.fill(days, now=NOW + timedelta(days=1), min_coverage=0.95)
    assert {hole(harness, day).outcome for day in suspended} == {"suspended"}
    assert {harness.entry(day).state for day in suspended} == {CellState.PARTIAL}
    # What is settled is not asked about again.
    market.reset_stats()
    harness.fill(days, now=NOW + timedelta(days=2))
    assert market.stats()["chart_data"] == {}


def test_a_short_gap_is_a_suspension_after_statements_of_two_days_however_often_it_is_said_on_one(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(missing(DAY))
    harness.live(market, WEEK[-1], WEEK)
    first = hole(harness)
    # Forced, the same day says it over and over.
    for minutes in (1, 2):
        harness.fill(WEEK, now=evening(WEEK[-1]) + timedelta(minutes=minutes), mode=Mode.FORCE)
    again = hole(harness)
    assert (first.outcome, again.outcome) == ("no_bar", "no_bar")
    assert again.answers > first.answers >= 2
    harness.live(market, TUESDAY)
    found = hole(harness)
    assert (found.outcome, found.since, found.asked_on) == ("suspended", WEEK[-1], TUESDAY)
    assert harness.entry().state is CellState.PARTIAL
    market.reset_stats()
    harness.live(market, WEDNESDAY)
    assert market.stats()["chart_data"] == dict.fromkeys(SYMBOLS, 1)
    assert hole(harness) == found


def test_nobody_is_suspended_in_a_session_in_which_most_of_the_market_has_no_bar(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(missing(DAY, "AAPL"), missing(DAY, "IBM"), missing(WEEK[3], "AAPL"))
    for day in (WEEK[-1], TUESDAY, WEDNESDAY):
        harness.live(market, day, WEEK)
    assert {m.symbol: m.outcome for m in harness.entry().missing} == {"AAPL": "no_bar", "IBM": "no_bar"}
    assert hole(harness).answers >= 6
    # The day after it, one of three is missing.
    assert hole(harness, WEEK[3]).outcome == "suspended"


def test_a_suspension_in_progress_is_an_early_end_and_a_suspension_once_it_is_over(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.put_catalog(*SYMBOLS)
    market.add_faults(*(missing(day) for day in WEEK[2:]))
    harness.live(market, WEEK[-1], WEEK)
    assert {(hole(harness, day).outcome, hole(harness, day).gap) for day in WEEK[2:]} == {("no_bar", 0)}
    assert gaps(harness, evening(WEEK[-1])) == [("early_end", "AAPL", DAY, WEEK[-1], 3, False)]
    harness.live(market, TUESDAY)
    assert {hole(harness, day).outcome for day in WEEK[2:]} == {"suspended"}
    assert gaps(harness, evening(TUESDAY)) == [("suspended", "AAPL", DAY, WEEK[-1], 3, True)]


def test_an_end_of_trading_is_never_taken_for_a_delisting(harness: Harness, market: ReplayHandle) -> None:
    harness.put_catalog(*SYMBOLS)
    days = sessions(date(2013, 1, 14), date(2013, 2, 15))
    after = days[8:]
    market.add_faults(*(missing(day) for day in after))
    for day in days[-6:]:
        harness.live(market, day, days[: days.index(day) + 1])
    for day in after:
        entry = harness.entry(day)
        assert (entry.state, entry.expected, entry.received) == (CellState.PARTIAL, 3, 2)
        assert hole(harness, day).outcome == "no_bar"
        assert hole(harness, day).reason == f"no bar after {days[7]}"
    assert gaps(harness, evening(days[-1])) == [("early_end", "AAPL", after[0], after[-1], len(after), False)]
    assert set(read_events(harness.store, "US")["event"]) == {FIRST_TRADE}
    # It is asked about every day, and comes as soon as there is something.
    market.clear_faults()
    assert harness.live(market, TUESDAY, days).states == {"complete": len(days)}


# Healing.


def test_the_daily_run_fills_the_holes_before_it_of_the_symbols_that_it_asks_anyway(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(
        {"kind": "server_error_500_html", "symbol": "AAPL", "times": None, "until": "2013-02-14T00:00:00Z"}
    )
    harness.live(market, DAY, WEEK[:3])
    assert {harness.entry(day).state for day in WEEK[:3]} == {CellState.PARTIAL}
    report = harness.live(market, WEEK[3])
    assert report.requests == 3
    assert (list(report.cells), list(report.also_changed)) == ([WEEK[3]], WEEK[:3])
    assert {harness.entry(day).state for day in WEEK[:4]} == {CellState.COMPLETE}
    rows = pl.concat([harness.cell(day) for day in WEEK[:4]])
    assert_frame_equal(bars(rows), truth(SYMBOLS, WEEK[:4]), check_exact=True)
    assert harness.restatements().is_empty()


def test_a_bar_comes_where_a_dividend_alone_stood(harness: Harness, market: ReplayHandle) -> None:
    ex_date = date(2013, 2, 7)
    days = sessions(date(2013, 2, 4), date(2013, 2, 12))
    market.add_faults(missing(ex_date))
    harness.live(market, days[-1], days, catalog=listings("AAPL"))
    assert harness.cell(ex_date).select("close", "dividend").rows() == [(None, 2.65)]
    market.clear_faults()
    report = harness.live(market, DAY, catalog=listings("AAPL"))
    assert ex_date in report.also_changed
    (close,) = truth(["AAPL"], [ex_date])["close"]
    assert harness.cell(ex_date).select("close", "dividend").rows() == [(close, 2.65)]


def test_a_hole_of_a_symbol_that_is_not_asked_is_left_alone(harness: Harness, market: ReplayHandle) -> None:
    harness.live(market, DAY, WEEK[:3], only=["IBM", "MSFT"])
    report = harness.live(market, WEEK[3], only=["IBM"])
    assert report.requests == 1
    assert report.also_changed == {}
    assert {m.symbol: m.outcome for m in harness.entry().missing} == {"AAPL": "not_asked"}


def test_a_delisting_that_becomes_known_makes_its_cells_whole_without_a_request(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(*(missing(day, "MSFT") for day in WEEK[2:]))
    harness.live(market, WEEK[-1], WEEK)
    before = {day: harness.cell(day) for day in WEEK}
    assert {harness.entry(day).state for day in WEEK[2:]} == {CellState.PARTIAL}
    market.reset_stats()
    stated = listings(*SYMBOLS).with_columns(delisted_on=pl.when(pl.col("symbol") == "MSFT").then(WEEK[1]))
    report = harness.live(market, WEEK[-1], WEEK, catalog=stated)
    assert (report.requests, set(report.changed)) == (0, set(WEEK[2:]))
    assert market.stats()["requests"] == {}
    for day in WEEK:
        assert harness.cell(day).equals(before[day])
        assert (harness.entry(day).state, harness.entry(day).missing) == (CellState.COMPLETE, ())
    assert harness.live(market, WEEK[-1], WEEK, catalog=stated).written == 0


class Counting(LocalObjectStore):
    """A store that counts the reads of each table's objects."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: Counter[str] = Counter()

    def get(self, key: str) -> Blob:
        self.reads[key.partition("/")[0]] += 1
        return super().get(key)

    def get_ranges(self, key: str, ranges: Any, version: str) -> list[bytes]:
        self.reads[key.partition("/")[0]] += 1
        return super().get_ranges(key, ranges, version)


@pytest.mark.parametrize("known", [True, False], ids=["sets kept", "sets removed"])
def test_a_new_symbol_is_planned_for_without_reading_a_cell(
    harness: Harness, market: ReplayHandle, known: bool
) -> None:
    days = sessions(date(2013, 1, 14), date(2013, 2, 15))
    market.add_faults(missing(DAY, "IBM"), {"kind": "not_found_404", "symbol": "MSFT", "times": None})
    harness.fill(days, listings("AAPL", "IBM", "MSFT"))
    if not known:
        for info in list(harness.store.list("expected_symbols/")):
            harness.store.delete(info.key)
    store = Counting(harness.home / "store")
    request = FillRequest(days, listings("AAPL", "GOOG", "IBM", "MSFT"))
    plan = make_plan(exchange("US"), store, request, NOW)
    # Today the source has said its word about the others.
    assert plan.wanted == {day: {"GOOG"} for day in days}
    assert store.reads["daily_prices"] == (0 if known else len(days))
    assert store.reads["manifest"] == 1
    tomorrow = make_plan(exchange("US"), store, request, NOW + timedelta(days=1))
    for day in days:
        assert tomorrow.wanted[day] == {"GOOG", "MSFT"} | ({"IBM"} if day == DAY else set())


def test_a_finished_range_is_planned_without_reading_a_cell(harness: Harness, market: ReplayHandle) -> None:
    harness.fill()
    store = Counting(harness.home / "store")
    report = harness.fill(store=store)
    assert report.requests == 0
    assert store.reads["daily_prices"] == 0


# The gaps of an exchange, from what its cells tell.


def test_the_gaps_of_a_store_are_named_by_kind_with_their_sessions(
    harness: Harness, market: ReplayHandle
) -> None:
    days = sessions(date(2012, 5, 14), date(2012, 7, 13))
    catalog = harness.put_catalog("AAPL", "FB", "GOOG", "IBM", "MSFT")
    now = evening(days[-1])
    first_days = [date(2012, 5, 18), date(2012, 5, 21)]
    suspended, ended = days[15:22], days[-3:]
    empty, unasked, failed = days[24], days[27:29], days[31]
    market.add_faults(
        *(missing(day, "FB") for day in first_days),
        *(missing(day, "GOOG") for day in suspended),
        *(missing(day, "IBM") for day in ended),
        missing(days[12], "MSFT"),
        *(missing(empty, symbol) for symbol in ("AAPL", "FB", "GOOG", "IBM", "MSFT")),
    )
    market.set_clock(now)
    harness.fill([day for day in days if day not in {*unasked, failed}], catalog, now=now)
    market.add_faults({"kind": "server_error_500_html", "symbol": "AAPL", "times": None})
    harness.fill([failed], catalog, now=now, look_back=0)
    assert gaps(harness, now) == [
        ("market", None, empty, empty, 1, False),
        ("market", None, unasked[0], unasked[-1], 2, False),
        ("hole", "AAPL", failed, failed, 1, False),
        ("late_start", "FB", first_days[0], first_days[-1], 2, False),
        ("suspended", "GOOG", suspended[0], suspended[-1], len(suspended), True),
        ("early_end", "IBM", ended[0], ended[-1], len(ended), False),
        ("hole", "MSFT", days[12], days[12], 1, False),
    ]
    told = exchange_gaps(harness.store, exchange("US"), now, symbols=["MSFT", "AAPL"])
    assert told.select("symbol", "outcome", "asked_on", "answers").rows() == [
        ("AAPL", "failed", now.date(), 1),
        ("MSFT", "no_bar", now.date(), 2),
    ]
    assert "status 500" in told["reason"][0]
    assert told["reason"][1] == f"no bar between {days[11]} and {days[13]}"
    # All of it comes on another day, when there is something to come; and nothing is missing any more.
    market.clear_faults()
    later = now + timedelta(days=1)
    market.set_clock(later)
    harness.fill(days, catalog, now=later)
    assert gaps(harness, now) == [("suspended", "GOOG", suspended[0], suspended[-1], len(suspended), True)]


def test_an_empty_store_has_no_gaps(harness: Harness) -> None:
    assert gaps(harness) == []


def test_sessions_after_the_last_cell_are_a_gap_once_they_are_over(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.put_catalog(*SYMBOLS)
    harness.fill()
    assert gaps(harness, evening(TUESDAY) - timedelta(hours=3)) == []
    assert gaps(harness, evening(WEDNESDAY)) == [("market", None, TUESDAY, WEDNESDAY, 2, False)]
    # A closed day is none, asked for or not.
    harness.fill([date(2013, 2, 18)])
    assert gaps(harness, evening(WEDNESDAY)) == [("market", None, TUESDAY, WEDNESDAY, 2, False)]
    entries = Manifest(harness.store, DAILY).year("US", 2013)
    assert set(entries) == {str(day) for day in [*WEEK, date(2013, 2, 18)]}
    assert harness.store.head(object_key(DAILY, "US", "2013-02-18")) is None
