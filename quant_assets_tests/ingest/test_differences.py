"""`find_differences`: corrections across a change of the year, and questions that bring no answer."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from quant_assets.ingest.plan import Mode
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.daily import read_daily
from quant_assets_tests.ingest.harness import DAY, WEEK, Harness, evening, sessions, told, truth

CHRISTMAS, JANUARY = date(2012, 12, 27), date(2013, 1, 3)


@pytest.mark.parametrize("mode", [Mode.INCREMENTAL, Mode.FORCE])
def test_find_differences_of_a_january_run_corrects_the_cell_of_december(
    harness: Harness, market: ReplayHandle, mode: Mode
) -> None:
    days = sessions(date(2012, 12, 10), date(2013, 1, 2))
    harness.live(market, days[-1], days)
    before = harness.cell(CHRISTMAS)
    (old,) = truth(["AAPL"], [CHRISTMAS])["close"]
    low = truth(["AAPL"], [CHRISTMAS])["low"].item()
    market.add_faults(
        {
            "kind": "corrected_bar", "symbol": "AAPL", "date": str(CHRISTMAS), "values": {"close": low},
        }
    )  # fmt: skip
    asked = [JANUARY] if mode is Mode.INCREMENTAL else [*days, JANUARY]
    report = harness.live(market, JANUARY, asked, mode=mode)
    assert told(harness.restatements()) == [("AAPL", CHRISTMAS, "close", str(old), str(low), "correction")]
    # The ledger and the cell tell the same: the value is the new one, known from January on.
    assert CHRISTMAS in report.changed
    apple = pl.col("symbol") == "AAPL"
    after = harness.cell(CHRISTMAS)
    assert after.filter(apple).select("close", "fetched_at").rows() == [(low, evening(JANUARY))]
    assert after.filter(~apple).equals(before.filter(~apple))
    assert read_daily(harness.store, "US", CHRISTMAS, CHRISTMAS).equals(after)
    assert read_daily(harness.store, "US", CHRISTMAS, CHRISTMAS, as_of=evening(days[-1])).equals(before)
    # The manifest of both years knows what was written.
    assert harness.entry(CHRISTMAS).version == report.changed[CHRISTMAS].version
    assert harness.entry(JANUARY).state is CellState.COMPLETE


@pytest.mark.parametrize(
    "trouble",
    [
        {"kind": "server_error_500_html"},
        {"kind": "empty_body"},
        {"kind": "rate_limited_429"},
        {"kind": "not_found_404"},
    ],
    ids=lambda fault: str(fault["kind"]),
)
@pytest.mark.parametrize("answered", [1, 2], ids=["both questions fail", "the second question fails"])
def test_find_differences_records_no_vanished_row_when_it_cannot_ask_again(
    harness: Harness, market: ReplayHandle, trouble: dict[str, Any], answered: int
) -> None:
    harness.live(market, WEEK[-2], WEEK[:-1])
    cell = harness.cell()
    market.add_faults(
        {"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": None},
        {**trouble, "symbol": "AAPL", "after": answered, "times": None},
    )
    report = harness.live(market, WEEK[-1])
    # Once or twice the bar was left out; that it is gone has been confirmed by nobody.
    assert report.restatements.is_empty()
    assert harness.restatements().is_empty()
    assert harness.cell().equals(cell)
    assert harness.entry(WEEK[-1]).state is CellState.COMPLETE


def test_find_differences_of_two_symbols_records_the_vanished_row_of_the_one_that_answers(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-2], WEEK[:-1])
    market.add_faults(
        {"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": None},
        {"kind": "missing_session", "symbol": "IBM", "date": str(DAY), "times": None},
        {"kind": "server_error_500_html", "symbol": "AAPL", "after": 1, "times": None},
    )
    report = harness.live(market, WEEK[-1])
    assert [event[0] for event in told(report.restatements)] == ["IBM"]
    assert told(harness.restatements()) == [("IBM", DAY, "row", "there", "not there", "vanished_row")]


def test_find_differences_of_an_action_alone_takes_the_bar_that_comes(
    harness: Harness, market: ReplayHandle
) -> None:
    ex_date, days = date(2012, 11, 7), sessions(date(2012, 11, 5), date(2012, 11, 9))
    market.add_faults({"kind": "missing_session", "symbol": "IBM", "date": str(ex_date), "times": None})
    harness.live(market, days[-1], days)
    bare = harness.cell(ex_date).filter(pl.col("symbol") == "IBM")
    assert bare.select("close", "dividend").rows() == [(None, 0.85)]
    market.clear_faults()
    later = sessions(date(2012, 11, 12), date(2012, 11, 12))
    assert ex_date in harness.live(market, later[0], later).changed
    (row,) = harness.cell(ex_date).filter(pl.col("symbol") == "IBM").rows(named=True)
    assert (row["close"], row["dividend"]) == (truth(["IBM"], [ex_date])["close"].item(), 0.85)
    # On the evening before, its dividend was seen in the next bar.
    assert told(harness.restatements()) == [("IBM", date(2012, 11, 8), "dividend", None, "0.0", "correction")]


@pytest.mark.parametrize("mode", [Mode.VERIFY, Mode.FORCE])
def test_find_differences_says_of_an_answer_in_doubt_what_differs_where_nothing_is_taken(
    harness: Harness, market: ReplayHandle, mode: Mode
) -> None:
    days = sessions(date(2013, 1, 22), WEEK[-1])
    harness.live(market, days[-1], days)
    market.add_faults({"kind": "rescaled_bars", "symbol": "IBM", "factor": 1.1, "times": None})
    report = harness.fill(days, now=evening(days[-1]), mode=mode)
    if mode is Mode.VERIFY:
        assert {event[0] for event in told(report.restatements)} == {"IBM"}
    else:
        assert report.restatements.is_empty()
        assert report.held.select("symbol", "scope").rows() == [("IBM", "answer")]
    assert harness.restatements().is_empty()


def test_find_differences_takes_on_the_third_day_what_it_has_held_on_two(
    harness: Harness, market: ReplayHandle
) -> None:
    days = sessions(date(2013, 1, 22), WEEK[-1])
    harness.live(market, days[-1], days)
    market.add_faults(
        {"kind": "rescaled_bars", "symbol": "IBM", "factor": 1.1, "volume": False, "times": None}
    )
    evenings = sessions(date(2013, 2, 19), date(2013, 2, 21))
    assert [harness.live(market, day).result for day in evenings] == ["PARTIAL", "PARTIAL", "SUCCESS"]
    (event,) = harness.restatements().rows(named=True)
    assert (event["class"], event["first_date"]) == ("rescaled", days[0])
