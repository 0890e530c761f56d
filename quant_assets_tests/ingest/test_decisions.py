"""`settle_quarantine`: a decision is about one value of one bar, and about the version that came last."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.decisions import Choice, settle_quarantine
from quant_assets.ingest.plan import Mode
from quant_assets.market.bars import PRICES
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.quarantine import Decision, read_quarantine
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, WEEK, Harness, evening

TUESDAY, WEDNESDAY, THURSDAY = date(2013, 2, 19), date(2013, 2, 20), date(2013, 2, 21)


def level(price: float, **more: Any) -> dict[str, Any]:
    """A bar of Apple's on DAY at another level; what was traded was 467, and no action explains it."""
    return {
        "kind": "corrected_bar", "symbol": "AAPL", "date": str(DAY),
        "values": dict.fromkeys(PRICES, price), **more,
    }  # fmt: skip


def decide(harness: Harness, decision: Decision, day: date) -> None:
    settle_quarantine(
        harness.store, exchange("US"), Choice(decision, symbols=["AAPL"]),
        now=evening(day) + timedelta(hours=1), min_coverage=0.0,
    )  # fmt: skip


def held(harness: Harness) -> dict[float, str]:
    """The held bars of Apple's on DAY: the decision by close."""
    rows = read_quarantine(harness.store, "US").filter(pl.col("date") == DAY)
    assert set(rows["symbol"]) <= {"AAPL"}
    return dict(rows.select("close", "decision").iter_rows())


def stored(harness: Harness) -> float | None:
    found = harness.cell().filter(pl.col("symbol") == "AAPL")["close"]
    return found.item() if found.len() else None


@pytest.fixture(autouse=True)
def catalog(harness: Harness) -> None:
    harness.put_catalog(*SYMBOLS)


@pytest.mark.parametrize("again", [50.0, 70.0])
def test_an_accepted_close_lets_in_no_other_close_of_the_same_session(
    harness: Harness, market: ReplayHandle, again: float
) -> None:
    market.add_faults(level(60.0))
    harness.live(market, WEEK[-1], WEEK)
    decide(harness, Decision.ACCEPTED, WEEK[-1])
    assert (held(harness), stored(harness)) == ({60.0: "accepted"}, 60.0)
    market.clear_faults()
    market.add_faults(level(again))
    report = harness.live(market, TUESDAY, [*WEEK, TUESDAY], mode=Mode.FORCE)
    assert report.quarantined == 1
    assert (held(harness), stored(harness)) == ({60.0: "accepted", again: "pending"}, 60.0)
    assert harness.restatements().is_empty()


def test_a_rejected_close_is_no_verdict_on_another_close_of_the_same_session(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(level(60.0))
    harness.live(market, WEEK[-1], WEEK)
    decide(harness, Decision.REJECTED, WEEK[-1])
    assert [m.outcome for m in harness.entry().missing] == ["rejected"]
    market.clear_faults()
    market.add_faults(level(50.0))
    harness.live(market, TUESDAY, WEEK, mode=Mode.FORCE)
    # Another value waits for another decision: the hole is open again, and is asked about again.
    assert [(m.symbol, m.outcome) for m in harness.entry().missing] == [("AAPL", "refused")]
    assert held(harness) == {60.0: "rejected", 50.0: "pending"}
    market.clear_faults()
    market.reset_stats()
    assert harness.live(market, WEDNESDAY, WEEK).states == {"complete": 5}
    assert market.stats()["chart_data"] == {"AAPL": 1}
    assert harness.entry().state is CellState.COMPLETE


@pytest.mark.parametrize(
    "versions", [(60.0, 50.0), (50.0, 60.0), (60.0, 40.0), (40.0, 60.0), (70.0, 50.0), (50.0, 70.0)], ids=str
)
def test_of_several_versions_of_a_held_bar_the_one_that_came_last_is_stored(
    harness: Harness, market: ReplayHandle, versions: tuple[float, float]
) -> None:
    for day, price in zip((WEEK[-1], TUESDAY), versions, strict=True):
        market.clear_faults()
        market.add_faults(level(price))
        harness.live(market, day, WEEK)
    assert held(harness) == dict.fromkeys(versions, "pending")
    decide(harness, Decision.ACCEPTED, TUESDAY)
    assert stored(harness) == versions[-1]
    # The source goes on giving it, and nothing comes of it.
    report = harness.live(market, THURSDAY, WEEK, mode=Mode.FORCE)
    assert (report.restatements.height, stored(harness)) == (0, versions[-1])
