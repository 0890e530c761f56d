"""A thin market's bars, open and close outside the range and hardly a trade, are stored as they are served."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.ingest.plan import Mode
from quant_assets.market.coverage import CellState
from quant_assets.market.flags import has
from quant_assets.replay.generator import generate
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.tables.daily import read_daily
from quant_assets.tables.quarantine import read_quarantine
from quant_assets_tests.ingest.harness import Harness, sessions, truth
from quant_assets_tests.support import days_between, listings, tree

FIRST, LAST = date(2013, 1, 22), date(2013, 2, 15)
DAYS = sessions(FIRST, LAST)


def bar(day: date, field: str, value: float) -> dict[str, Any]:
    return {"kind": "corrected_bar", "symbol": "IBM", "date": str(day), "field": field, "value": value}


def thin(traded: pl.DataFrame) -> tuple[list[dict[str, Any]], pl.DataFrame]:
    """Corrections that make a thin symbol of IBM, and its bars then."""
    faults: list[dict[str, Any]] = []
    rows = traded.rows(named=True)
    for n, row in enumerate(rows):
        if n != 9:
            row["volume"] = 0
            faults.append(bar(row["date"], "volume", 0))
        if n % 3 == 0:
            row["open"] = round(row["low"] - 1.25, 2)
            faults.append(bar(row["date"], "open", row["open"]))
        if n % 6 == 0:
            row["close"] = round(row["high"] + 0.5, 2)
            faults.append(bar(row["date"], "close", row["close"]))
    return faults, pl.DataFrame(rows, schema=traded.schema)


def test_a_thin_market_fills_complete_cells_as_served_with_its_flags(
    harness: Harness, market: ReplayHandle
) -> None:
    traded = truth(["IBM"], DAYS)
    faults, served = thin(traded)
    market.add_faults(*faults)
    report = harness.fill(days_between(FIRST, LAST), listings("IBM", "MSFT"))
    assert set(report.states) == {"complete"}
    assert report.warnings == []
    assert read_quarantine(harness.store, "US").is_empty()
    stored = read_daily(harness.store, "US", symbols=["IBM"])
    assert stored.select(served.columns).equals(served)
    flags = dict(stored.select("date", "flags").iter_rows())
    assert flags[DAYS[0]] == "close_outside_range,no_trade,open_outside_range"
    assert flags[DAYS[1]] == "no_trade"
    assert flags[DAYS[3]] == "no_trade,open_outside_range"
    assert flags[DAYS[9]] == "open_outside_range"
    assert read_daily(harness.store, "US", symbols=["MSFT"])["flags"].unique().to_list() == [""]

    # Nothing of it is news to the next runs.
    before = tree(harness.home / "store")
    for mode in (Mode.INCREMENTAL, Mode.FORCE):
        again = harness.fill(days_between(FIRST, LAST), listings("IBM", "MSFT"), mode=mode)
        assert (again.restatements.height, again.written) == (0, 0)
    assert tree(harness.home / "store") == before
    assert harness.entry(DAYS[0]).state is CellState.COMPLETE


def test_a_made_up_exchange_of_thin_symbols_fills_complete_with_nothing_refused(tmp_path: Path) -> None:
    made = GeneratedExchange("LSE", symbols=8, seed=3, start="2023-07-03", end="2024-03-01", thin=1.0)
    traded = generate("LSE", 8, "2023-07-03", "2024-03-01", seed=3, thin=1.0).frame.filter(
        pl.col("close").is_not_null()
    )
    assert traded.filter(pl.col("volume") == 0).height > 0.2 * traded.height
    harness = Harness(tmp_path, "")
    with start(ReplayConfig(generated=[made], now="2024-03-01T20:00:00Z")) as server:
        harness.url = server.url
        report = harness.fill(
            sessions(date(2023, 7, 3), date(2024, 3, 1), "LSE"),
            listings(*traded["symbol"].unique()),
            code="LSE",
            now=datetime(2024, 3, 1, 20, tzinfo=UTC),
        )
    assert read_quarantine(harness.store, "LSE").is_empty()
    refused = [m for cell in report.cells.values() for m in cell.missing if m.outcome == "refused"]
    assert refused == []
    stored = read_daily(harness.store, "LSE").filter(pl.col("close").is_not_null())
    kept = ["symbol", "date", "open", "close", "volume"]
    assert stored.select(kept).equals(traded.select(kept).sort("symbol", "date"))
    # High and low are as served but for a step of rounding.
    both = stored.join(traded.select("symbol", "date", _high="high", _low="low"), on=["symbol", "date"])
    changed = both.filter((pl.col("high") != pl.col("_high")) | (pl.col("low") != pl.col("_low")))
    assert changed.filter(~has("rounding")).is_empty()
    outside = ~(pl.col("open").is_between("low", "high") & pl.col("close").is_between("low", "high"))
    told = has("open_outside_range") | has("close_outside_range")
    assert stored.select((outside == told).all()).item()
    assert stored.filter(outside).height > 20
    assert stored.select((has("no_trade") == (pl.col("volume") == 0)).all()).item()


def test_evening_by_evening_a_thin_market_has_the_flags_of_one_backfill(
    harness: Harness, market: ReplayHandle
) -> None:
    faults, _ = thin(truth(["IBM"], DAYS))
    market.add_faults(*faults)
    for day in DAYS[-6:]:
        harness.live(market, day, catalog=listings("IBM"))
    by_evening = read_daily(harness.store, "US").drop("fetched_at")
    other = Harness(harness.home / "other", harness.url)
    other.fill(DAYS[-6:], listings("IBM"))
    assert read_daily(other.store, "US").drop("fetched_at").equals(by_evening)


def test_a_corrected_bar_has_the_flags_of_its_new_values_and_the_others_keep_theirs(
    harness: Harness, market: ReplayHandle
) -> None:
    traded = truth(["IBM"], DAYS)
    market.add_faults(*(bar(day, "volume", 0) for day in DAYS[-4:]))
    harness.live(market, DAYS[-1], DAYS, catalog=listings("IBM"))
    market.clear_faults()
    market.add_faults(*(bar(day, "volume", 0) for day in DAYS[-4:-1]))
    report = harness.fill(DAYS, listings("IBM"), mode=Mode.FORCE)
    assert report.restatements.select("date", "field").rows() == [(DAYS[-1], "volume")]
    stored = read_daily(harness.store, "US", symbols=["IBM"])
    assert stored["flags"].to_list()[-4:] == ["no_trade"] * 3 + [""]
    assert stored["volume"].to_list()[-1] == traded["volume"].to_list()[-1]
