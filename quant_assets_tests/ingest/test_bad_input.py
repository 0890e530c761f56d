"""Lists that are wrong and answers that are somebody else's: each named, and nothing of it stored as good."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from polars.testing import assert_frame_equal

from quant_assets.market.coverage import CellState
from quant_assets.market.twins import SAME_HISTORY
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.daily import read_daily
from quant_assets.tables.listing_events import read_events
from quant_assets.tables.quarantine import read_quarantine
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, WEEK, Harness, bars, sessions, truth
from quant_assets_tests.support import NOW, listings

TUESDAY = date(2013, 2, 19)
LISTED = date(2012, 5, 18)
"""Facebook's first day."""


def test_answers_in_another_currency_than_the_list_names_are_held_back_whole(
    harness: Harness, market: ReplayHandle
) -> None:
    catalog = listings(*SYMBOLS).with_columns(
        currency=pl.when(pl.col("symbol") == "IBM").then(pl.lit("EUR")).otherwise(pl.lit("USD"))
    )
    report = harness.fill(catalog=catalog)
    assert report.states == {"partial": 5}
    assert report.quarantined == 5
    words = "a currency that the exchange or the catalog does not name"
    for day in WEEK:
        assert harness.cell(day)["symbol"].to_list() == ["AAPL", "MSFT"]
        assert [(m.symbol, m.outcome, m.reason) for m in harness.entry(day).missing] == [
            ("IBM", "refused", f"refused: {words}")
        ]
    held = read_quarantine(harness.store, "US")
    assert held.select("symbol", "date", "rule", "currency", "decision").rows() == [
        ("IBM", day, words, "USD", "pending") for day in WEEK
    ]
    assert_frame_equal(bars(held), truth(["IBM"], WEEK), check_exact=True)
    assert words in report.warnings[0]


def test_bars_from_before_the_stated_listing_are_held_back_and_nothing_is_stored_before_it(
    harness: Harness, market: ReplayHandle
) -> None:
    stated = date(2012, 5, 23)
    days = sessions(date(2012, 5, 14), date(2012, 5, 29))
    report = harness.fill(days, listings("AAPL", FB=stated))
    assert report.states == {"complete": len(days)}
    early = [day for day in days if LISTED <= day < stated]
    assert report.quarantined == len(early) == 3
    held = read_quarantine(harness.store, "US")
    assert held.select("symbol", "date", "rule").rows() == [
        ("FB", day, "outside the dates of the listing") for day in early
    ]
    assert any("FB: 3 bar(s) from 2012-05-18 on are not stored" in warning for warning in report.warnings)
    facebook = read_daily(harness.store, "US", symbols=["FB"])
    assert facebook["date"].to_list() == [day for day in days if day >= stated]
    for day in days:
        assert harness.entry(day).expected == (2 if day >= stated else 1)
    # Held once.
    again = harness.fill(days, listings("AAPL", FB=stated), now=NOW + timedelta(days=1), only=["FB"])
    assert (again.requests, read_quarantine(harness.store, "US").height) == (0, 3)


def test_bars_after_the_stated_delisting_are_held_back(harness: Harness, market: ReplayHandle) -> None:
    catalog = listings(*SYMBOLS).with_columns(delisted_on=pl.when(pl.col("symbol") == "IBM").then(WEEK[2]))
    report = harness.fill(catalog=catalog)
    assert report.states == {"complete": 5}
    rows = read_daily(harness.store, "US", symbols=["IBM"])
    assert rows["date"].to_list() == WEEK[:3]
    held = read_quarantine(harness.store, "US")
    assert set(held["rule"]) == {"outside the dates of the listing"}
    assert set(WEEK[3:]) <= set(held["date"])


def test_a_learned_listing_is_what_the_source_states_and_a_stated_one_wins(
    harness: Harness, market: ReplayHandle
) -> None:
    days = sessions(date(2012, 5, 16), date(2012, 5, 22))
    harness.fill(days, listings("AAPL", "FB"))
    events = read_events(harness.store, "US").filter(pl.col("symbol") == "FB")
    assert events["date"].to_list() == [LISTED]
    assert {day: harness.entry(day).expected for day in days} == {
        day: 2 if day >= LISTED else 1 for day in days
    }


def test_a_listing_stated_before_the_first_trade_leaves_named_holes_that_are_asked_about_once_a_day(
    harness: Harness, market: ReplayHandle
) -> None:
    days = sessions(date(2012, 5, 14), date(2012, 5, 22))
    catalog = listings("AAPL", FB=date(2012, 5, 16))
    harness.fill(days, catalog)
    for day in days:
        expected = [("FB", "no_bar", f"no bar: first traded on {LISTED}")]
        told = [(m.symbol, m.outcome, m.reason) for m in harness.entry(day).missing]
        assert told == (expected if date(2012, 5, 16) <= day < LISTED else [])
    market.reset_stats()
    assert harness.fill(days, catalog).requests == 0
    # Never a suspension, however often it is said.
    for later in (1, 2):
        assert harness.fill(days, catalog, now=NOW + timedelta(days=later)).requests == 1
    assert [m.outcome for m in harness.entry(date(2012, 5, 17)).missing] == ["no_bar"]
    # Once the list is right, nothing is missing.
    report = harness.fill(days, listings("AAPL", FB=LISTED), now=NOW + timedelta(days=3))
    assert (report.requests, report.states) == (0, {"complete": len(days)})


def test_an_answer_for_another_symbol_is_nobodys(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults({"kind": "wrong_symbol", "symbol": "AAPL", "other": "FB", "times": None})
    report = harness.fill()
    assert report.states == {"partial": 5}
    for day in WEEK:
        assert harness.cell(day)["symbol"].to_list() == ["IBM", "MSFT"]
        (missing,) = harness.entry(day).missing
        assert (missing.symbol, missing.outcome) == ("AAPL", "failed")
        assert "another symbol: 'FB'" in missing.reason
    assert read_quarantine(harness.store, "US").is_empty()


def test_of_two_symbols_with_one_history_the_one_that_has_it_stored_is_believed(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    market.add_faults({"kind": "other_history", "symbol": "AAPL", "other": "IBM"})
    harness.live(market, TUESDAY)
    assert [m.symbol for m in harness.entry(TUESDAY).missing] == ["AAPL"]
    assert harness.cell(TUESDAY)["symbol"].to_list() == ["IBM", "MSFT"]
    assert_frame_equal(bars(harness.cell(TUESDAY)), truth(("IBM", "MSFT"), [TUESDAY]), check_exact=True)
    market.clear_faults()
    assert harness.live(market, date(2013, 2, 20)).result == "SUCCESS"
    assert read_daily(harness.store, "US").filter(pl.col("symbol") == "AAPL").height == 7


def test_of_two_symbols_with_one_history_neither_is_stored_once_both_are_asked(
    harness: Harness, market: ReplayHandle
) -> None:
    """The newer one was asked alone at first, when there was nothing to compare it with."""
    market.add_faults({"kind": "other_history", "symbol": "AAPL", "other": "IBM"})
    harness.live(market, WEEK[-1], WEEK, only=["IBM", "MSFT"])
    harness.live(market, WEEK[-1], WEEK, only=["AAPL"])
    report = harness.live(market, TUESDAY)
    assert harness.entry(TUESDAY).state is CellState.PARTIAL
    assert {m.symbol: (m.outcome, m.reason) for m in harness.entry(TUESDAY).missing} == {
        one: ("refused", f"refused: {SAME_HISTORY.format(other)}")
        for one, other in (("AAPL", "IBM"), ("IBM", "AAPL"))
    }
    assert harness.cell(TUESDAY)["symbol"].to_list() == ["MSFT"]
    assert sum("the same history as" in warning for warning in report.warnings) == 2
    assert report.restatements.is_empty()
    # Whose it was shows when they are told apart again: the one that was wrong is not taken for a restatement.
    market.clear_faults()
    harness.live(market, date(2013, 2, 20))
    assert {day: harness.entry(day).state for day in (TUESDAY, date(2013, 2, 20))} == {
        TUESDAY: CellState.COMPLETE, date(2013, 2, 20): CellState.COMPLETE,
    }  # fmt: skip
    assert_frame_equal(bars(harness.cell(TUESDAY)), truth(SYMBOLS, [TUESDAY]), check_exact=True)
    assert (
        harness.cell().filter(pl.col("symbol") == "IBM")["close"].to_list()
        == truth(["IBM"], [DAY])["close"].to_list()
    )


def test_an_answer_without_a_currency_is_read_in_the_catalogs_or_names_the_field_that_helps(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "no_currency", "symbols": ["IBM", "MSFT"]})
    catalog = listings(*SYMBOLS).with_columns(currency=pl.when(pl.col("symbol") == "IBM").then(pl.lit("USD")))
    report = harness.fill(catalog=catalog)
    assert report.states == {"partial": 5}
    for day in WEEK:
        assert harness.cell(day).select("symbol", "currency").rows() == [("AAPL", "USD"), ("IBM", "USD")]
        assert [(m.symbol, m.outcome, m.reason) for m in harness.entry(day).missing] == [
            (
                "MSFT", "failed",
                "answer without a currency (state it in the universe file: `currency` of MSFT, one of USD)",
            )
        ]  # fmt: skip
    assert report.warnings == ["the answer names no currency; USD is taken from the catalog: IBM"]


def test_an_event_that_cannot_be_read_is_named_and_costs_no_bar(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(
        {
            "kind": "unreadable_event",
            "symbol": "AAPL",
            "date": "2013-02-07",
            "what": "dividend",
            "text": "2.65 USD",
        },
        {
            "kind": "dividend_currency",
            "symbol": "IBM",
            "date": "2013-02-06",
            "currency": "GBP",
            "factor": 0.01,
        },
    )
    days = sessions(date(2013, 2, 4), date(2013, 2, 8))
    report = harness.live(market, days[-1], days)
    assert report.states == {"complete": 5}
    rows = pl.concat([harness.cell(day) for day in days])
    # What the dividends were nobody knows.
    unknown = rows.filter(pl.col("dividend").is_null())
    assert unknown.select("symbol", "date", "flags").sort("symbol").rows() == [
        ("AAPL", date(2013, 2, 7), "dividend_held"), ("IBM", date(2013, 2, 6), "dividend_held"),
    ]  # fmt: skip
    assert_frame_equal(bars(rows), truth(SYMBOLS, days), check_exact=True)
    assert [warning.split(" (quant")[0] for warning in sorted(report.warnings)] == [
        "AAPL: 1 dividend(s) from 2013-02-07 on are held: a dividend that cannot be read: 2.65 USD",
        "IBM: 1 dividend(s) from 2013-02-06 on are held: a dividend in GBP, prices in USD",
    ]


def test_a_split_that_cannot_be_read_holds_what_is_before_it(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults(
        {"kind": "unreadable_event", "symbol": "AAPL", "date": "2005-02-28", "what": "split", "text": "1:0"}
    )
    days = sessions(date(2005, 2, 22), date(2005, 3, 4))
    harness.fill(days, listings("AAPL", "IBM"))
    for day in days:
        after = day > date(2005, 2, 28)
        assert harness.cell(day)["symbol"].to_list() == (["AAPL", "IBM"] if after else ["IBM"])
        if not after:
            (missing,) = harness.entry(day).missing
            assert (missing.symbol, missing.outcome) == ("AAPL", "held")
            assert missing.reason == "held: a split of 2005-02-28 that cannot be read: 1:0"


def test_a_live_row_beside_the_last_bar_costs_no_evening_its_cell(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "live_row_beside_last", "differs": True})
    for day in WEEK:
        report = harness.live(market, day)
        assert report.states == {"complete": 1}
        assert report.warnings == [f"a live row beside the bar of {day} is left out: AAPL, IBM, MSFT"]
    assert_frame_equal(
        bars(pl.concat([harness.cell(day) for day in WEEK])), truth(SYMBOLS, WEEK), check_exact=True
    )
