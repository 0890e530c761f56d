"""`make_plan`: which cells of the look-back are written anew, and for whom."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.market.coverage import CellState, symbols_sha256
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.quarantine import hold, read_quarantine
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, WEEK, Harness
from quant_assets_tests.support import listings

MONDAY, TUESDAY = WEEK[0], WEEK[1]


def delisted(symbol: str, last: date) -> pl.DataFrame:
    return listings(*SYMBOLS).with_columns(delisted_on=pl.when(pl.col("symbol") == symbol).then(last))


def test_make_plan_brings_outdated_cells_of_the_look_back_up_to_date_without_a_request_of_their_own(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, DAY, WEEK[:3])
    before = {day: harness.cell(day) for day in WEEK[:3]}
    market.reset_stats()
    # It becomes known that Monday was Microsoft's last day: of Tuesday and Wednesday it is expected no more.
    report = harness.live(market, WEEK[3], catalog=delisted("MSFT", MONDAY))
    assert market.stats()["chart_data"] == {"AAPL": 1, "IBM": 1}
    two = symbols_sha256(["AAPL", "IBM"])
    for day in (TUESDAY, DAY):
        assert (harness.entry(day).expected, harness.entry(day).expected_sha256) == (2, two)
        assert harness.entry(day).state is CellState.COMPLETE
        # What was traded was traded.
        assert harness.cell(day).equals(before[day])
    assert harness.entry(MONDAY).expected == 3
    assert set(report.also_changed) == {TUESDAY, DAY}
    assert harness.live(market, WEEK[4], catalog=delisted("MSFT", MONDAY)).also_changed == {}


def test_make_plan_fails_the_cells_whose_set_of_symbols_is_damaged_and_names_it(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    (kept,) = harness.store.list("expected_symbols/")
    Path(harness.store.uri(kept.key)).write_bytes(b"[")
    report = harness.live(market, WEEK[-1], WEEK, catalog=listings(*SYMBOLS, "FB"))
    assert report.states == {"failed": 5}
    assert all(kept.key in entry.reason for entry in report.cells.values())
    assert harness.entry(DAY).received == 3


def test_make_plan_leaves_outdated_cells_alone_before_the_look_back(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, DAY, WEEK[:3])
    report = harness.live(market, WEEK[3], catalog=delisted("MSFT", MONDAY), look_back=1)
    assert set(report.also_changed) == {DAY}
    assert harness.entry(TUESDAY).expected == 3


@pytest.mark.parametrize("look_back", [0, 15])
def test_make_plan_names_a_symbol_that_joined_in_the_cells_of_the_look_back(
    harness: Harness, market: ReplayHandle, look_back: int
) -> None:
    harness.live(market, DAY, WEEK[:3], catalog=listings("AAPL", "IBM"))
    harness.live(market, WEEK[3], catalog=listings(*SYMBOLS), look_back=look_back)
    # Whoever is asked anyway fills the cells just before, too.
    expected = 3 if look_back else 2
    for day in WEEK[:3]:
        assert (harness.entry(day).expected, harness.cell(day).height) == (expected, expected)


def broken(day: date) -> dict[str, object]:
    return {"kind": "corrected_bar", "symbol": "IBM", "date": str(day), "field": "low", "value": 300.0}


def test_a_held_bar_is_asked_for_again_by_a_run_of_another_session_however_far_back_it_is(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(broken(MONDAY))
    harness.live(market, DAY, WEEK[:3])
    assert [m.symbol for m in harness.entry(MONDAY).missing] == ["IBM"]
    market.clear_faults()
    market.reset_stats()
    # On the evening on which it was answered it is not asked about again.
    assert harness.live(market, DAY, look_back=0).requests == 0
    report = harness.live(market, WEEK[3], look_back=0)
    assert market.stats()["chart_data"] == dict.fromkeys(SYMBOLS, 1)
    assert set(report.also_changed) == {MONDAY}
    assert harness.entry(MONDAY).state is CellState.COMPLETE
    assert read_quarantine(harness.store, "US")["decision"].to_list() == ["superseded"]


@pytest.mark.parametrize("look_back", [0, 15])
def test_what_is_held_beside_good_rows_is_asked_about_though_nothing_is_missing(
    harness: Harness, market: ReplayHandle, look_back: int
) -> None:
    harness.live(market, WEEK[3], WEEK[:4])
    row = harness.cell(MONDAY).filter(pl.col("symbol") == "IBM")
    doubt = row.with_columns(
        scale=pl.lit(1.0),
        rule=pl.lit("in doubt"),
        kind=pl.lit("dividend"),
        scope=pl.lit("action"),
        dividend=pl.lit(9.0),
    )
    held = hold(harness.store, "US", doubt, {}, "a-run", WEEK[3])
    market.reset_stats()
    # Not of a run that is told to ask for others.
    assert harness.live(market, WEEK[3], only=["AAPL"]).requests == 0
    report = harness.live(market, WEEK[3], look_back=look_back)
    assert (market.stats()["chart_data"], report.states) == ({"IBM": 1}, {"complete": 1})
    # The source says something else, and that is what is stored.
    assert read_quarantine(harness.store, "US").select("id", "decision").rows() == [(*held.ids, "superseded")]
    market.reset_stats()
    assert harness.live(market, WEEK[3]).requests == 0
