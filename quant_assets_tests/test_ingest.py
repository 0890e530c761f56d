"""Filling cells: the real source against the replay server, into a store on disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.catalog.listings import FIRST_TRADE, read_events
from quant_assets.exchanges import exchange
from quant_assets.ingest.fill import FillReport, fill_cells
from quant_assets.market.bars import DAILY_SCHEMA, PRICES
from quant_assets.market.coverage import CellState, Missing
from quant_assets.reader import read_daily
from quant_assets.replay.faults import FaultKind
from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.conftest import FIRST, LAST
from quant_assets_tests.support import (
    NOW,
    RECORDED,
    days_between,
    listings,
    quick_settings,
    recorded,
    tree,
)
from resources.counters import WRITES, counted
from resources.local_store import LocalObjectStore
from resources.manifest import Entry, Manifest
from resources.object_store import ObjectDamaged
from resources.source import SourceUnavailable
from resources.tables import DAILY, object_key, read_facts, read_table
from resources.yahoo import YahooSource

WEEK = days_between(date(2013, 2, 11), date(2013, 2, 15))
DAY = date(2013, 2, 13)
HOLIDAY = date(2013, 2, 18)
SYMBOLS = ("AAPL", "IBM", "MSFT")


@dataclass
class Desk:
    """A home folder, and runs over it; every run opens its own source, as in life."""

    home: Path
    url: str

    @property
    def store(self) -> LocalObjectStore:
        return LocalObjectStore(self.home / "store")

    def fill(
        self,
        days: Sequence[date] = WEEK,
        catalog: pl.DataFrame | None = None,
        *,
        code: str = "US",
        now: datetime = NOW,
        only: Sequence[str] | None = None,
        force: bool = False,
        **settings: Any,
    ) -> FillReport:
        chosen = quick_settings(self.home, self.url, now=now, **settings)
        source = YahooSource(chosen)
        try:
            return fill_cells(
                exchange(code),
                days,
                listings(*SYMBOLS) if catalog is None else catalog,
                source=source,
                store=self.store,
                clock=chosen.clock,
                spill_folder=self.home / "spill",
                only=only,
                force=force,
            )
        finally:
            source.close()
            # Whatever happened, no rows are left lying about.
            assert not list((self.home / "spill").rglob("*"))

    def entry(self, day: date = DAY, code: str = "US") -> Entry:
        return Manifest(self.store, DAILY).year(code, day.year)[day.isoformat()]

    def cell(self, day: date = DAY, code: str = "US") -> pl.DataFrame:
        return read_table(self.store, object_key(DAILY, code, day.isoformat()))

    def path(self, day: date = DAY) -> Path:
        return Path(self.store.uri(object_key(DAILY, "US", day.isoformat())))


@pytest.fixture
def desk(market: ReplayHandle, tmp_path: Path) -> Desk:
    return Desk(tmp_path, market.url)


def truth(symbols: Sequence[str], days: Sequence[date]) -> pl.DataFrame:
    frames = [recorded(symbol).with_columns(pl.lit(symbol).alias("symbol")) for symbol in symbols]
    return pl.concat(frames).filter(pl.col("date").is_in(list(days))).sort("symbol", "date")


def bars(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("date", *PRICES, "volume", "symbol").sort("symbol", "date")


# The truth as it was traded.


@pytest.fixture(scope="session")
def years(thirteen_years: LocalObjectStore) -> pl.DataFrame:
    return read_daily(thirteen_years, "US")


@pytest.mark.parametrize("symbol", RECORDED)
def test_every_recorded_session_comes_back_as_it_was_traded(years: pl.DataFrame, symbol: str) -> None:
    expected = recorded(symbol).filter(pl.col("date").is_between(FIRST, LAST))
    got = years.filter(pl.col("symbol") == symbol)
    assert got["date"].to_list() == expected["date"].to_list()
    for name in PRICES:
        assert (got[name].round(4) == expected[name].round(4)).all(), name
        assert (got[name] - expected[name]).abs().max() < 5e-5
    assert got["volume"].to_list() == expected["volume"].to_list()
    assert set(got["currency"]) == {"USD"}


def test_a_split_leaves_the_days_around_it_as_traded(years: pl.DataFrame) -> None:
    apple = years.filter(pl.col("symbol") == "AAPL").select("date", "close", "split_ratio")
    around = apple.filter(pl.col("date").is_between(date(2005, 2, 25), date(2005, 2, 28)))
    assert around.rows() == [(date(2005, 2, 25), 88.99, 1.0), (date(2005, 2, 28), 44.86, 2.0)]
    splits = years.filter(pl.col("split_ratio") != 1).select("symbol", "date", "split_ratio").rows()
    assert splits == [
        ("AAPL", date(2000, 6, 21), 2.0),
        ("AAPL", date(2005, 2, 28), 2.0),
        ("MSFT", date(2003, 2, 18), 2.0),
    ]


def test_dividends_stand_on_their_ex_dates_as_declared(years: pl.DataFrame) -> None:
    paid = {
        (symbol, day): amount
        for symbol, day, amount in years.filter(pl.col("dividend") != 0)
        .select("symbol", "date", "dividend")
        .iter_rows()
    }
    assert {day: amount for (symbol, day), amount in paid.items() if symbol == "AAPL"} == {
        date(2012, 8, 9): 2.65,
        date(2012, 11, 7): 2.65,
        date(2013, 2, 7): 2.65,
    }
    # Before its split, Microsoft's first dividend; later the special one with the quarter's.
    assert paid["MSFT", date(2003, 2, 19)] == 0.08
    assert paid["MSFT", date(2004, 11, 15)] == 3.08
    assert paid["IBM", date(2013, 2, 6)] == 0.85
    assert sum(symbol == "IBM" for symbol, _ in paid) == 52
    assert not [day for symbol, day in paid if symbol == "FB"]


def test_every_cell_of_thirteen_years_is_complete_or_closed(thirteen_years: LocalObjectStore) -> None:
    entries = {date.fromisoformat(e.partition): e for e in Manifest(thirteen_years, DAILY).all("US")}
    assert sorted(entries) == days_between(FIRST, LAST)
    sessions = set(exchange("US").calendar().sessions(FIRST, LAST))
    for day, entry in entries.items():
        state = CellState.COMPLETE if day in sessions else CellState.CLOSED
        assert (day, entry.state) == (day, state)
        listed = 4 if day >= date(2012, 5, 18) else 3
        assert (entry.expected, entry.received) == ((listed, listed) if day in sessions else (0, 0))


def test_seen_from_after_later_splits_nothing_has_changed(
    thirteen_years: LocalObjectStore, market: ReplayHandle, tmp_path: Path
) -> None:
    """By 2021 Yahoo shows everything divided by up to 112; asked anew, all of it says what stands."""
    later = datetime(2021, 1, 4, 23, tzinfo=UTC)
    market.set_clock(later)
    settings = quick_settings(tmp_path, market.url, now=later)
    source = YahooSource(settings)
    before = tree(Path(thirteen_years.location))
    writes = counted(WRITES)
    report = fill_cells(
        exchange("US"), days_between(FIRST, LAST), listings(*RECORDED),
        source=source, store=thirteen_years, clock=settings.clock, spill_folder=tmp_path, force=True,
    )  # fmt: skip
    source.close()
    assert report.outcomes == {"ok": 4}
    assert report.changes.rows() == []
    assert (report.written, counted(WRITES) - writes) == (0, 0)
    assert tree(Path(thirteen_years.location)) == before


# Each kind of fault: settings, state of the day's cell once and always, whether all cells suffer when it stays,
# and the words of the reason.
FAULTS: dict[FaultKind, tuple[dict[str, Any], str, str, bool, str]] = {
    # A single 404 is taken at its word, but only for the day.
    FaultKind.NOT_FOUND_404: ({}, "partial", "partial", True, "not found at the source"),
    FaultKind.RATE_LIMITED_429: ({}, "complete", "partial", True, "rate-limited"),
    FaultKind.RATE_LIMITED_429_RETRY_AFTER: ({"retry_after": 0}, "complete", "partial", True, "rate-limited"),
    FaultKind.SERVER_ERROR_500_HTML: ({}, "complete", "partial", True, "status 500"),
    FaultKind.SERVER_ERROR_500_JSON: ({}, "complete", "partial", True, "status 500"),
    FaultKind.UNAUTHORIZED_401: ({}, "complete", "partial", True, "status 401"),
    FaultKind.MALFORMED_JSON: ({}, "complete", "partial", True, "no JSON"),
    FaultKind.TRUNCATED: ({}, "complete", "partial", True, "no answer"),
    FaultKind.EMPTY_BODY: ({}, "complete", "partial", True, "empty body"),
    FaultKind.HANG: ({"seconds": 30}, "complete", "partial", True, "no answer"),
    FaultKind.SLOW: ({"seconds": 0.1}, "complete", "complete", False, ""),
    FaultKind.WRONG_SYMBOL: ({"other": "FB"}, "complete", "partial", True, "another symbol: 'FB'"),
    FaultKind.MISSING_SESSION: (
        {"date": str(DAY)}, "complete", "partial", False, "no bar between 2013-02-12 and 2013-02-14",
    ),
    FaultKind.NULL_BAR: ({"date": str(DAY)}, "complete", "partial", False, "null values in the bar"),
    FaultKind.DUPLICATE_TIMESTAMP: (
        {"date": str(DAY), "differs": True}, "complete", "partial", False, "two different bars for one session",
    ),
    FaultKind.LIVE_PARTIAL_BAR: ({}, "complete", "complete", False, ""),
    FaultKind.LATER_SPLIT: ({"date": str(DAY), "ratio": 2}, "complete", "complete", False, ""),
    FaultKind.CORRECTED_BAR: (
        {"date": str(DAY), "field": "close", "value": 468.0}, "complete", "complete", False, "",
    ),
}  # fmt: skip


def test_every_kind_of_fault_is_tested() -> None:
    assert set(FAULTS) == set(FaultKind)


@pytest.mark.parametrize("times", [1, "persistent"], ids=["once", "persistent"])
@pytest.mark.parametrize("kind", list(FAULTS))
def test_no_fault_leaves_a_hole_unnamed_or_a_symbol_delisted(
    desk: Desk, market: ReplayHandle, kind: FaultKind, times: Any
) -> None:
    more, once, always, everywhere, words = FAULTS[kind]
    market.add_faults({"kind": kind, "symbol": "AAPL", "times": times, **more})
    report = desk.fill(timeout_seconds=0.7, attempts=2)
    assert market.stats()["faults"][kind] >= 1
    state = once if times == 1 else always
    assert desk.entry().state == state
    for day in WEEK:
        entry, rows = desk.entry(day), desk.cell(day)
        assert report.cells[day].state == entry.state
        lacking = {missing.symbol for missing in entry.missing}
        # What is not there is named, and what is named is not there.
        assert set(rows["symbol"]) == set(SYMBOLS) - lacking
        assert (entry.expected, entry.received) == (3, 3 - len(lacking))
        assert (entry.state is CellState.COMPLETE) == (not lacking)
        if state == "partial" and (everywhere or day == DAY):
            (missing,) = entry.missing
            assert missing.symbol == "AAPL"
            assert words in missing.reason
            assert missing.asked_on == NOW.date()
        else:
            assert not lacking
        # What is there is true.
        expected = truth(sorted(set(SYMBOLS) - lacking), [day])
        if kind is FaultKind.CORRECTED_BAR and day == DAY:
            apple = pl.col("symbol") == "AAPL"
            expected = expected.with_columns(close=pl.when(apple).then(468.0).otherwise("close"))
        assert_frame_equal(bars(rows), expected, check_exact=True)
    # No fault is evidence of a listing's end, or of another start.
    events = read_events(desk.store, "US").filter(pl.col("symbol") == "AAPL")
    assert set(events.select("event", "date").rows()) <= {(FIRST_TRADE, date(2000, 3, 1))}
    # Once the trouble is over, the next day's run makes all of it whole.
    market.clear_faults()
    desk.fill(now=NOW + timedelta(days=1))
    assert {desk.entry(day).state for day in WEEK} == {CellState.COMPLETE}


def test_a_session_missing_for_everyone_is_a_failed_cell_without_an_object(
    desk: Desk, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "missing_session", "date": str(DAY), "times": "persistent"})
    report = desk.fill()
    assert report.states == {"complete": 4, "failed": 1}
    assert report.cells[DAY].reason == "nothing received: 3 no_bar"
    assert [m.symbol for m in desk.entry().missing] == list(SYMBOLS)
    assert not desk.path().exists()
    market.clear_faults()
    desk.fill(now=NOW + timedelta(days=1))
    assert desk.entry().state is CellState.COMPLETE
    assert_frame_equal(bars(desk.cell()), truth(SYMBOLS, [DAY]), check_exact=True)


def test_a_passing_gap_is_asked_about_once_more_and_heals(desk: Desk, market: ReplayHandle) -> None:
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": 1})
    report = desk.fill()
    assert report.states == {"complete": 5}
    assert market.stats()["chart_data"] == {"AAPL": 2, "IBM": 1, "MSFT": 1}
    assert report.requests == 4


def test_when_the_second_question_fails_the_first_answer_stands(desk: Desk, market: ReplayHandle) -> None:
    market.add_faults(
        {"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": 1},
        {"kind": "hang", "symbol": "AAPL", "after": 1, "times": "persistent"},
    )
    report = desk.fill(timeout_seconds=0.5, attempts=2)
    assert report.states == {"complete": 4, "partial": 1}
    (missing,) = desk.entry().missing
    assert (missing.symbol, missing.outcome) == ("AAPL", "no_bar")


def test_bars_that_break_a_rule_are_refused_and_named(desk: Desk, market: ReplayHandle) -> None:
    def corrected(symbol: str, field: str, value: float) -> dict[str, Any]:
        return {
            "kind": "corrected_bar", "symbol": symbol, "date": str(DAY), "field": field, "value": value,
        }  # fmt: skip

    market.add_faults(
        corrected("AAPL", "low", 900.0), corrected("IBM", "open", -1.0), corrected("MSFT", "high", 1.0)
    )
    report = desk.fill(WEEK, listings(*SYMBOLS, "GOOG"))
    assert report.states == {"complete": 4, "partial": 1}
    assert desk.cell()["symbol"].to_list() == ["GOOG"]
    reasons = {m.symbol: (m.outcome, m.reason) for m in desk.entry().missing}
    assert {outcome for outcome, _ in reasons.values()} == {"refused"}
    assert reasons["AAPL"][1] == "refused: low is above open, close or high"
    assert "open is not positive" in reasons["IBM"][1]
    assert "high is below open or close" in reasons["MSFT"][1]


# What is asked, and when.


def test_a_finished_range_costs_neither_a_request_nor_a_write(desk: Desk, market: ReplayHandle) -> None:
    days = days_between(date(2013, 2, 4), date(2013, 2, 22))
    first = desk.fill(days)
    assert (first.requests, first.written, first.states) == (3, 14, {"complete": 14, "closed": 1})
    files, writes = tree(desk.home / "store"), counted(WRITES)
    market.reset_stats()
    for now in (NOW, NOW + timedelta(days=40)):
        again = desk.fill(days, now=now)
        assert (again.requests, again.written, again.states) == (0, 0, first.states)
    assert market.stats()["requests"] == {}
    assert counted(WRITES) == writes
    assert tree(desk.home / "store") == files


def test_what_failed_is_asked_again_at_once_and_nothing_else_is(desk: Desk, market: ReplayHandle) -> None:
    market.add_faults({"kind": "server_error_500_html", "symbol": "AAPL", "times": "persistent"})
    desk.fill()
    others = desk.cell()
    market.clear_faults()
    market.reset_stats()
    report = desk.fill(now=NOW + timedelta(minutes=5))
    assert market.stats()["chart_data"] == {"AAPL": 1}
    assert report.states == {"complete": 5}
    assert desk.cell().filter(pl.col("symbol") != "AAPL").equals(others)


def test_what_the_source_has_stated_is_asked_again_only_on_another_day(
    desk: Desk, market: ReplayHandle
) -> None:
    market.add_faults(
        {"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": "persistent"},
        {"kind": "not_found_404", "symbol": "MSFT", "times": "persistent"},
    )
    desk.fill()
    for day in (1, 2):
        market.reset_stats()
        desk.fill(now=NOW + timedelta(hours=day - 1))
        assert market.stats()["chart_data"] == {}
        morning = NOW + timedelta(days=day)
        desk.fill(now=morning)
        assert market.stats()["chart_data"] == {"AAPL": 2, "MSFT": 1}
        assert {m.asked_on for m in desk.entry().missing} == {morning.date()}
        market.reset_stats()
        desk.fill(now=morning)
        assert market.stats()["chart_data"] == {}
        assert desk.entry().state is CellState.PARTIAL


def test_only_some_symbols_may_be_asked_for(desk: Desk, market: ReplayHandle) -> None:
    report = desk.fill(only=["AAPL"])
    assert market.stats()["chart_data"] == {"AAPL": 1}
    assert report.states == {"partial": 5}
    assert [(m.symbol, m.outcome) for m in desk.entry().missing] == [
        ("IBM", "not_asked"),
        ("MSFT", "not_asked"),
    ]
    market.reset_stats()
    assert desk.fill().states == {"complete": 5}
    assert market.stats()["chart_data"] == {"IBM": 1, "MSFT": 1}


def test_a_new_symbol_leaves_the_rows_of_the_others_as_they_are(desk: Desk, market: ReplayHandle) -> None:
    desk.fill(catalog=listings("AAPL", "IBM"))
    before = {day: desk.cell(day) for day in WEEK}
    market.reset_stats()
    report = desk.fill(only=["MSFT"], now=NOW + timedelta(days=3))
    assert market.stats()["chart_data"] == {"MSFT": 1}
    assert report.states == {"complete": 5}
    for day in WEEK:
        after = desk.cell(day)
        assert after.filter(pl.col("symbol") != "MSFT").equals(before[day])
        assert after.filter(pl.col("symbol") == "MSFT")["fetched_at"].item() == NOW + timedelta(days=3)
        assert after.schema == DAILY_SCHEMA


def test_a_late_listing_is_learned_and_not_expected_before_its_first_trade(
    desk: Desk, market: ReplayHandle
) -> None:
    days = days_between(date(2012, 5, 14), date(2012, 5, 22))
    report = desk.fill(days, listings("AAPL", "FB"))
    assert report.states == {"complete": 7}
    expected = {day.isoformat(): desk.entry(day).expected for day in days}
    assert expected["2012-05-17"] == 1
    assert expected["2012-05-18"] == 2
    events = read_events(desk.store, "US").select("symbol", "event", "date").rows()
    assert ("FB", FIRST_TRADE, date(2012, 5, 18)) in events
    market.reset_stats()
    assert desk.fill(days, listings("AAPL", "FB")).written == 0
    assert market.stats()["requests"] == {}


def test_a_range_before_a_listing_is_complete_without_it(desk: Desk, market: ReplayHandle) -> None:
    days = days_between(date(2012, 4, 2), date(2012, 4, 5))
    report = desk.fill(days, listings("AAPL", "FB"))
    assert report.states == {"complete": 4}
    assert desk.fill(days, listings("AAPL", "FB")).requests == 0


def test_a_long_suspension_is_named_without_a_second_question(desk: Desk, market: ReplayHandle) -> None:
    days = days_between(date(2012, 1, 3), date(2013, 3, 1))
    desk.fill(days, listings("AAA.AX", "AAG.AX"), code="ASX")
    assert market.stats()["chart_data"] == {"AAA.AX": 1, "AAG.AX": 1}
    entries = Manifest(desk.store, DAILY).between("ASX", days[0], days[-1])
    holes = {day: e.missing for day, e in entries.items() if e.missing}
    assert len(holes) >= 6
    sessions = [day.isoformat() for day in exchange("ASX").calendar().sessions(days[0], days[-1])]
    at = sessions.index(min(holes))
    assert sorted(holes) == sessions[at : at + len(holes)]
    (reason,) = {missing.reason for (missing,) in holes.values()}
    assert (
        reason
        == f"no bar for {len(holes)} sessions between {sessions[at - 1]} and {sessions[at + len(holes)]}"
    )


def test_the_end_of_trading_is_a_named_hole_and_not_taken_for_a_delisting(
    desk: Desk, market: ReplayHandle
) -> None:
    facts = {row["symbol"]: row for row in market.catalog()}
    last = date.fromisoformat(facts["AAF.AX"]["delisted_on"])
    days = days_between(last - timedelta(days=4), last + timedelta(days=20))
    desk.fill(days, listings("AAA.AX", "AAF.AX"), code="ASX")
    after = [
        e
        for day, e in Manifest(desk.store, DAILY).between("ASX", days[0], days[-1]).items()
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
    report = desk.fill(days, stated, code="ASX", now=NOW + timedelta(days=1))
    assert {e.state for e in report.cells.values()} <= {CellState.COMPLETE, CellState.CLOSED}


def test_force_takes_a_corrected_bar_and_reports_it(desk: Desk, market: ReplayHandle) -> None:
    desk.fill()
    before = {day: desk.cell(day) for day in WEEK}
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "AAPL", "date": str(DAY), "field": "close", "value": 468.0}
    )
    later = NOW + timedelta(days=1)
    assert desk.fill(now=later).requests == 0
    assert desk.cell().equals(before[DAY])
    report = desk.fill(now=later, force=True)
    assert (report.requests, report.written) == (3, 1)
    old = str(truth(["AAPL"], [DAY])["close"].item())
    assert report.changes.rows() == [("AAPL", DAY, "close", old, "468.0")]
    apple = pl.col("symbol") == "AAPL"
    assert desk.cell().filter(apple)["close"].item() == 468.0
    assert desk.cell().filter(apple)["fetched_at"].item() == later
    assert desk.cell().filter(~apple).equals(before[DAY].filter(~apple))
    assert all(desk.cell(day).equals(before[day]) for day in WEEK if day != DAY)


# Time.


def test_a_session_that_is_not_over_is_neither_asked_for_nor_stored(desk: Desk, market: ReplayHandle) -> None:
    noon = datetime(2013, 2, 13, 17, tzinfo=UTC)
    market.set_clock(noon)
    market.add_faults({"kind": "live_partial_bar", "times": "persistent"})
    report = desk.fill(now=noon)
    assert report.states == {"complete": 2}
    assert report.too_early == [date(2013, 2, 13), date(2013, 2, 14), date(2013, 2, 15)]
    assert not desk.path().exists()
    assert str(DAY) not in Manifest(desk.store, DAILY).year("US", 2013)
    market.reset_stats()
    # Half an hour after the close, not a minute sooner.
    assert desk.fill([DAY], now=datetime(2013, 2, 13, 21, 29, tzinfo=UTC)).too_early == [DAY]
    assert market.stats()["requests"] == {}
    evening = datetime(2013, 2, 13, 21, 30, tzinfo=UTC)
    market.set_clock(evening)
    assert desk.fill([DAY], now=evening).states == {"complete": 1}
    assert_frame_equal(bars(desk.cell()), truth(SYMBOLS, [DAY]), check_exact=True)


def test_a_closed_day_is_recorded_without_a_request(desk: Desk, market: ReplayHandle) -> None:
    report = desk.fill([HOLIDAY])
    assert report.states == {"closed": 1}
    assert desk.entry(HOLIDAY).reason == "US did not trade on 2013-02-18"
    assert market.stats()["requests"] == {}
    assert not desk.path(HOLIDAY).exists()
    writes = counted(WRITES)
    assert desk.fill([HOLIDAY]).states == {"closed": 1}
    assert counted(WRITES) == writes


# Trouble with the source, the store, and each other.


def test_nothing_is_written_when_the_source_cannot_be_reached(desk: Desk) -> None:
    desk.fill(WEEK[:2])
    before = tree(desk.home / "store")
    away = Desk(desk.home, "http://127.0.0.1:9")
    with pytest.raises(SourceUnavailable, match=r"http://127\.0\.0\.1:9 does not answer"):
        away.fill()
    assert tree(desk.home / "store") == before


def test_a_damaged_cell_is_named_and_removed_it_is_made_anew(desk: Desk, market: ReplayHandle) -> None:
    desk.fill()
    whole = desk.cell()
    path = desk.path()
    path.write_bytes(path.read_bytes()[:-40])
    before = tree(desk.home / "store")
    with pytest.raises(ObjectDamaged, match=f"{path}: .* Remove the object and run the backfill"):
        desk.fill(catalog=listings(*SYMBOLS, "FB"))
    assert tree(desk.home / "store") == before
    # The remedy that the message names.
    path.unlink()
    market.reset_stats()
    report = desk.fill(now=NOW + timedelta(days=1))
    assert (report.written, report.states) == (1, {"complete": 5})
    assert desk.cell().drop("fetched_at").equals(whole.drop("fetched_at"))


def test_cells_that_a_killed_run_left_unrecorded_are_found_again(desk: Desk, market: ReplayHandle) -> None:
    desk.fill()
    shard = Path(desk.store.uri(Manifest(desk.store, DAILY).shard_key("US", 2013)))
    recorded_entries = Manifest(desk.store, DAILY).year("US", 2013)
    shard.unlink()
    market.reset_stats()
    report = desk.fill()
    assert (report.requests, report.states) == (0, {"complete": 5})
    assert Manifest(desk.store, DAILY).year("US", 2013) == recorded_entries


def test_the_footer_tells_what_the_manifest_tells(desk: Desk, market: ReplayHandle) -> None:
    market.add_faults({"kind": "server_error_500_html", "symbol": "AAPL", "times": "persistent"})
    desk.fill()
    blob = desk.store.get(object_key(DAILY, "US", str(DAY)))
    facts = read_facts(blob.data, "cell")
    assert Entry.from_facts(facts, blob.info) == desk.entry()
    assert (facts["source"], facts["state"], facts["expected"], facts["received"]) == (
        "yahoo",
        "partial",
        3,
        2,
    )
    assert [Missing.from_json(m).symbol for m in facts["missing"]] == ["AAPL"]


ANOTHER_RUN = """
import sys
from datetime import date
from pathlib import Path
from quant_assets.exchanges import exchange
from quant_assets.ingest.fill import fill_cells
from quant_assets.market import validation
from quant_assets_tests.support import days_between, listings, quick_settings
from resources.local_store import LocalObjectStore
from resources.yahoo import YahooSource

home, url = Path(sys.argv[1]), sys.argv[2]
settings = quick_settings(home, url)
us, store = exchange("US"), LocalObjectStore(home / "store")
days = days_between(date(2013, 1, 2), date(2013, 2, 15))
us.calendar().sessions(days[0], days[-1])
print("ready", flush=True)
sys.stdin.readline()
report = fill_cells(
    us, days, listings("AAPL", "IBM", "MSFT"), source=YahooSource(settings), store=store,
    clock=settings.clock, spill_folder=home / "another", only=["AAPL"],
)
print(report.written, flush=True)
"""


def test_two_processes_over_the_same_cells_at_once_lose_nothing(desk: Desk, market: ReplayHandle) -> None:
    days = days_between(date(2013, 1, 2), date(2013, 2, 15))
    sessions = exchange("US").calendar().sessions(days[0], days[-1])
    # Both wait for the slow first answer, and so write at the same time.
    market.add_faults({"kind": "slow", "seconds": 1.0})
    with subprocess.Popen(
        [sys.executable, "-c", ANOTHER_RUN, str(desk.home), market.url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        mine = desk.fill(days, only=["IBM", "MSFT"])
        theirs = int(other.stdout.readline())
    assert other.returncode == 0
    assert (mine.written, theirs) == (len(sessions), len(sessions))
    rows = pl.concat([desk.cell(day) for day in sessions])
    assert_frame_equal(bars(rows), truth(SYMBOLS, sessions), check_exact=True)
    assert {desk.entry(day).state for day in sessions} == {CellState.COMPLETE}
    assert desk.fill(days).requests == 0
