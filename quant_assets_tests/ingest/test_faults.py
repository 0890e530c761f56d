"""No fault of the source ends as a complete cell with a hole, or as a delisting."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.exchanges import exchange
from quant_assets.ingest.decisions import Choice, settle_quarantine
from quant_assets.maintenance.rebuild import rebuild_manifest
from quant_assets.market.coverage import CellState
from quant_assets.replay.kinds import LIES, REFUSALS, FaultKind
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.listing_events import FIRST_TRADE, read_events
from quant_assets.tables.quarantine import Decision, read_quarantine
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, WEEK, Harness, bars, truth
from quant_assets_tests.support import (
    NOW,
    listings,
)

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
    # A split that no price shows is none: what is before it is on another basis than it says.
    FaultKind.LATER_SPLIT: (
        {"date": str(WEEK[-1] + timedelta(days=4)), "ratio": 2}, "partial", "partial", True, "rescaled in part",
    ),
    FaultKind.CORRECTED_BAR: (
        {"date": str(DAY), "field": "close", "value": 468.0}, "complete", "complete", False, "",
    ),
    # Nobody can know yet of a split or a dividend that nobody has told, or that has been told by half.
    FaultKind.HIDDEN_SPLIT: ({"date": "2005-02-28"}, "complete", "complete", False, ""),
    FaultKind.HIDDEN_DIVIDEND: ({"date": "2013-02-07"}, "complete", "complete", False, ""),
    FaultKind.UNSCALED_HISTORY: ({"date": "2005-02-28"}, "complete", "complete", False, ""),
    # A single bar in another unit moves a hundredfold; a whole answer in another unit names it.
    FaultKind.WRONG_UNIT: (
        {"date": str(DAY)}, "partial", "partial", False, "two units of the currency in one answer",
    ),
    FaultKind.WRONG_CURRENCY: (
        {"currency": "GBP"}, "partial", "partial", True, "a currency that the exchange or the catalog does not name",
    ),
    FaultKind.EXTRA_BAR: ({"date": "2013-02-16"}, "complete", "complete", False, ""),
}  # fmt: skip


def test_every_kind_of_fault_is_tested() -> None:
    # Another symbol's history is told by that symbol: it has a test of its own. Quotes are no histories.
    assert {*FAULTS, FaultKind.OTHER_HISTORY, FaultKind.QUOTES_DOWN} >= set(FaultKind) - LIES - REFUSALS


@pytest.mark.parametrize("times", [1, "persistent"], ids=["once", "persistent"])
@pytest.mark.parametrize("kind", list(FAULTS))
def test_no_fault_leaves_a_hole_unnamed_or_a_symbol_delisted(
    harness: Harness, market: ReplayHandle, kind: FaultKind, times: Any
) -> None:
    more, once, always, everywhere, words = FAULTS[kind]
    market.add_faults({"kind": kind, "symbol": "AAPL", "times": times, **more})
    report = harness.fill(timeout_seconds=0.7, attempts=2)
    assert market.stats()["faults"][kind] >= 1
    state = once if times == 1 else always
    assert harness.entry().state == state
    for day in WEEK:
        entry, rows = harness.entry(day), harness.cell(day)
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
    events = read_events(harness.store, "US").filter(pl.col("symbol") == "AAPL")
    assert set(events.select("event", "date").rows()) <= {(FIRST_TRADE, date(2000, 3, 1))}
    # Once the trouble is over, the next day's run makes all of it whole.
    market.clear_faults()
    harness.fill(now=NOW + timedelta(days=1))
    assert {harness.entry(day).state for day in WEEK} == {CellState.COMPLETE}


@pytest.mark.parametrize("times", [1, "persistent"], ids=["once", "persistent"])
def test_of_two_symbols_with_one_history_neither_is_stored(
    harness: Harness, market: ReplayHandle, times: Any
) -> None:
    market.add_faults({"kind": "other_history", "symbol": "AAPL", "other": "IBM", "times": times})
    report = harness.fill()
    assert report.states == {"partial": 5}
    for day in WEEK:
        assert harness.cell(day)["symbol"].to_list() == ["MSFT"]
        told = {m.symbol: (m.outcome, m.reason) for m in harness.entry(day).missing}
        assert told.keys() == {"AAPL", "IBM"}
        for symbol, other in (("AAPL", "IBM"), ("IBM", "AAPL")):
            assert told[symbol][0] == "refused"
            assert f"the same history as {other}" in told[symbol][1]
    held = read_quarantine(harness.store, "US")
    assert set(held["symbol"]) == {"AAPL", "IBM"}
    assert set(held["decision"]) == {"pending"}
    # Once they differ, both are there again, and nothing waits for a decision any more.
    market.clear_faults()
    assert harness.fill(now=NOW + timedelta(days=1)).states == {"complete": 5}
    assert_frame_equal(bars(harness.cell()), truth(SYMBOLS, [DAY]), check_exact=True)
    assert set(read_quarantine(harness.store, "US")["decision"]) == {"superseded"}


def test_of_two_symbols_with_one_history_the_bar_that_a_person_accepted_is_stored(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.put_catalog(*SYMBOLS)
    market.add_faults({"kind": "other_history", "symbol": "AAPL", "other": "IBM", "times": "persistent"})
    harness.fill()
    ibm = pl.col("symbol") == "IBM", pl.col("date") == DAY
    (chosen,) = read_quarantine(harness.store, "US").filter(*ibm)["id"]
    settle_quarantine(
        harness.store, exchange("US"), Choice(Decision.ACCEPTED, [chosen]), now=NOW, min_coverage=0.0
    )
    harness.path().unlink()
    rebuild_manifest(harness.store, exchanges={"US": exchange("US")})
    # The run that fetches the lost cell again takes what was accepted, and nothing else of the two.
    harness.fill(now=NOW + timedelta(days=1))
    for day in WEEK:
        assert harness.cell(day)["symbol"].to_list() == (["IBM", "MSFT"] if day == DAY else ["MSFT"])
    assert [(m.symbol, m.outcome) for m in harness.entry().missing] == [("AAPL", "refused")]


def test_a_session_missing_for_everyone_is_a_failed_cell_without_an_object(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "missing_session", "date": str(DAY), "times": "persistent"})
    report = harness.fill()
    assert report.states == {"complete": 4, "failed": 1}
    assert report.cells[DAY].reason == "nothing received: 3 no_bar"
    assert [m.symbol for m in harness.entry().missing] == list(SYMBOLS)
    assert not harness.path().exists()
    market.clear_faults()
    harness.fill(now=NOW + timedelta(days=1))
    assert harness.entry().state is CellState.COMPLETE
    assert_frame_equal(bars(harness.cell()), truth(SYMBOLS, [DAY]), check_exact=True)


def test_a_passing_gap_is_asked_about_once_more_and_heals(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": 1})
    report = harness.fill()
    assert report.states == {"complete": 5}
    assert market.stats()["chart_data"] == {"AAPL": 2, "IBM": 1, "MSFT": 1}
    assert report.requests == 4


def test_when_the_second_question_fails_the_first_answer_stands(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(
        {"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": 1},
        {"kind": "hang", "symbol": "AAPL", "after": 1, "times": "persistent"},
    )
    report = harness.fill(timeout_seconds=0.5, attempts=2)
    assert report.states == {"complete": 4, "partial": 1}
    (missing,) = harness.entry().missing
    assert (missing.symbol, missing.outcome) == ("AAPL", "no_bar")


def test_bars_that_break_a_rule_are_refused_and_named(harness: Harness, market: ReplayHandle) -> None:
    def corrected(symbol: str, field: str, value: float) -> dict[str, Any]:
        return {
            "kind": "corrected_bar", "symbol": symbol, "date": str(DAY), "field": field, "value": value,
        }  # fmt: skip

    market.add_faults(
        corrected("AAPL", "low", 900.0), corrected("IBM", "open", -1.0), corrected("MSFT", "high", 1.0)
    )
    report = harness.fill(WEEK, listings(*SYMBOLS, "GOOG"))
    assert report.states == {"complete": 4, "partial": 1}
    assert harness.cell()["symbol"].to_list() == ["GOOG"]
    reasons = {m.symbol: (m.outcome, m.reason) for m in harness.entry().missing}
    assert {symbol: outcome for symbol, (outcome, _) in reasons.items()} == {
        "AAPL": "refused", "IBM": "refused", "MSFT": "held",
    }  # fmt: skip
    assert reasons["AAPL"][1] == "refused: high is below low"
    assert "open is not positive" in reasons["IBM"][1]
    assert "high 1 in a bar around 27.9" in reasons["MSFT"][1]
