"""What a run says of what it holds: its result, its report, and until when."""

from __future__ import annotations

from datetime import date
from typing import Any

import orjson
import pytest

from quant_assets.ingest.plan import Mode
from quant_assets.market.bars import PRICES
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.fetch_reports import read_reports
from quant_assets.tables.quarantine import read_quarantine
from quant_assets_tests.ingest.harness import DAY, HOLIDAY, WEEK, Harness, sessions, truth
from quant_assets_tests.support import listings

TUESDAY, WEDNESDAY, THURSDAY = date(2013, 2, 19), date(2013, 2, 20), date(2013, 2, 21)
LOW = "high is below low"


def broken(symbol: str = "IBM", day: date = DAY) -> dict[str, Any]:
    return {"kind": "corrected_bar", "symbol": symbol, "date": str(day), "field": "low", "value": 300.0}


def test_a_run_with_something_held_is_partial_and_names_it_until_the_source_is_right(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    market.add_faults(broken())
    # A good bar stands, and every cell is complete: the source's other word for it is held all the same.
    report = harness.live(market, TUESDAY)
    assert (report.states, report.result, report.claimed) == ({"complete": 1}, "PARTIAL", 1)
    (held,) = report.held.rows(named=True)
    assert (held["symbol"], held["scope"], held["kind"], held["rule"]) == ("IBM", "row", "rule", LOW)
    assert (held["first"], held["last"], held["sessions"], held["since"]) == (DAY, DAY, 1, TUESDAY)
    written = read_reports(harness.store, "US")[-1]["held"]
    assert written == orjson.loads(orjson.dumps([held]))
    # The same evening nothing is asked, and it is held still; of others alone nothing is.
    again = harness.live(market, TUESDAY)
    assert (again.requests, again.result, again.held.height) == (0, "PARTIAL", 1)
    assert harness.live(market, TUESDAY, only=["AAPL"]).result == "SUCCESS"
    # Nobody waits for a symbol that is no longer followed.
    assert harness.live(market, TUESDAY, catalog=listings("AAPL", "MSFT")).held.is_empty()
    assert harness.live(market, TUESDAY, WEEK, mode=Mode.VERIFY).held.is_empty()
    market.clear_faults()
    right = harness.live(market, WEDNESDAY)
    assert (right.result, right.held.height, right.claimed) == ("SUCCESS", 0, 0)


def test_another_claim_about_a_bar_does_not_settle_the_one_before(
    harness: Harness, market: ReplayHandle
) -> None:
    """A good bar stands; first all of its prices are a tenth lower, then a fifth."""
    harness.live(market, WEEK[-1], WEEK)
    good = truth(["AAPL"], [DAY]).row(0, named=True)
    for factor, day in ((0.9, TUESDAY), (0.8, WEDNESDAY)):
        market.clear_faults()
        prices = {name: round(good[name] * factor, 2) for name in PRICES}
        market.add_faults({"kind": "corrected_bar", "symbol": "AAPL", "date": str(DAY), "values": prices})
        harness.live(market, day)
    held = read_quarantine(harness.store, "US")
    assert held["close"].to_list() == [round(good["close"] * factor, 2) for factor in (0.9, 0.8)]
    assert set(held["decision"]) == {"pending"}


@pytest.mark.parametrize("least", [0.0, 0.95])
def test_what_is_held_of_a_universe_of_one_is_no_failure(
    harness: Harness, market: ReplayHandle, least: float
) -> None:
    market.add_faults(broken())
    report = harness.live(market, DAY, catalog=listings("IBM"), min_coverage=least)
    assert (report.states, report.result) == ({"failed": 1}, "PARTIAL")
    # That nobody answers is one, whatever is held.
    market.add_faults({"kind": "server_error_500_html", "symbol": "*", "times": None})
    failed = harness.live(market, WEEK[3], catalog=listings("IBM"), min_coverage=least)
    assert (failed.result, failed.held.height) == ("FAILED", 1)


def test_a_new_bar_of_an_answer_that_is_in_doubt_as_a_whole_is_named_as_held(
    harness: Harness, market: ReplayHandle
) -> None:
    days = sessions(date(2013, 1, 22), WEEK[-1])
    harness.live(market, days[-2], days[:-1])
    market.add_faults({"kind": "rescaled_bars", "symbol": "IBM", "factor": 1.1, "times": None})
    assert harness.live(market, days[-1]).result == "PARTIAL"
    (missing,) = harness.entry(days[-1]).missing
    assert (missing.symbol, missing.outcome) == ("IBM", "held")


def test_a_bar_of_a_closed_day_waits_until_the_source_has_it_no_more(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    market.add_faults({"kind": "extra_bar", "symbol": "IBM", "date": str(HOLIDAY)})
    report = harness.live(market, TUESDAY)
    assert (report.result, report.held["symbol"].to_list()) == ("PARTIAL", ["IBM"])
    # While the source has it, it waits.
    assert harness.live(market, WEDNESDAY).result == "PARTIAL"
    market.clear_faults()
    right = harness.live(market, THURSDAY)
    assert (right.result, right.held.height) == ("SUCCESS", 0)
    assert set(read_quarantine(harness.store, "US")["decision"]) == {"superseded"}
