"""A real crash: held back on its evening, and stored without a hand once the bars after it keep to the new level."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.exchanges import exchange
from quant_assets.ingest.decisions import Choice, settle_quarantine
from quant_assets.market.bars import PRICES
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.quarantine import Decision, read_quarantine
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, Harness, bars, evening, sessions, truth

DAYS = sessions(date(2013, 2, 11), date(2013, 2, 25))
BEFORE, AFTER = [day for day in DAYS if day < DAY], [day for day in DAYS if day >= DAY]


def divided(by: float) -> pl.DataFrame:
    """Apple's bars, from DAY on at a fraction of what they were."""
    return truth(["AAPL"], DAYS).with_columns(
        pl.when(pl.col("date") >= DAY).then((pl.col(name) / by).round(2)).otherwise(name).alias(name)
        for name in PRICES
    )


def served(rows: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "kind": "corrected_bar", "symbol": "AAPL", "date": str(row["date"]),
            "values": {name: row[name] for name in PRICES},
        }
        for row in rows.filter(pl.col("date") >= DAY).iter_rows(named=True)
    ]  # fmt: skip


def stored(harness: Harness) -> pl.DataFrame:
    cells = [
        harness.cell(day)
        for day in DAYS
        if harness.store.head(f"daily_prices/exchange=US/date={day}.parquet")
    ]
    return bars(pl.concat(cells).filter(pl.col("symbol") == "AAPL"))


def test_a_crash_is_held_back_for_five_evenings_and_then_stored_from_its_first_day_on(
    harness: Harness, market: ReplayHandle
) -> None:
    crashed = divided(6)
    market.add_faults(*served(crashed))
    harness.live(market, BEFORE[-1], BEFORE)
    for number, day in enumerate(AFTER):
        harness.live(market, day)
        settled = number >= 5
        expected = crashed if settled else crashed.filter(pl.col("date") < DAY)
        assert_frame_equal(stored(harness), bars(expected).filter(pl.col("date") <= day), check_exact=True)
        assert harness.entry(day).state is (CellState.COMPLETE if settled else CellState.PARTIAL)
    assert {harness.entry(day).state for day in DAYS} == {CellState.COMPLETE}
    assert set(read_quarantine(harness.store, "US")["decision"]) == {Decision.SUPERSEDED.value}
    assert harness.restatements().is_empty()


def test_what_looks_like_another_unit_is_not_believed_however_long_it_lasts(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(*served(divided(100)))
    harness.live(market, BEFORE[-1], BEFORE)
    for day in AFTER:
        harness.live(market, day)
    assert stored(harness)["date"].to_list() == BEFORE
    assert set(read_quarantine(harness.store, "US")["decision"]) == {Decision.PENDING.value}


@pytest.mark.parametrize("decision", [Decision.ACCEPTED, Decision.REJECTED])
def test_a_persons_decision_about_the_day_stands(
    harness: Harness, market: ReplayHandle, decision: Decision
) -> None:
    harness.put_catalog(*SYMBOLS)
    crashed = divided(6)
    market.add_faults(*served(crashed))
    harness.live(market, AFTER[0], [*BEFORE, AFTER[0]])
    settle_quarantine(
        harness.store, exchange("US"), Choice(decision, symbols=["AAPL"]), now=evening(DAY), min_coverage=0.0
    )
    for day in AFTER[1:]:
        harness.live(market, day)
    expected = crashed if decision is Decision.ACCEPTED else crashed.filter(pl.col("date") != DAY)
    assert_frame_equal(stored(harness), bars(expected), check_exact=True)
    (held,) = read_quarantine(harness.store, "US").filter(pl.col("date") == DAY)["decision"]
    assert held == decision.value
