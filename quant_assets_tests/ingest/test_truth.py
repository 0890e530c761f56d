"""What is stored is what was traded: every recorded session, from before and from after later splits."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest, Mode
from quant_assets.market.bars import PRICES
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.counters import WRITES, counted
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.conftest import FIRST, LAST
from quant_assets_tests.support import (
    RECORDED,
    days_between,
    listings,
    quick_settings,
    recorded,
    tree,
)

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
        assert got[name].to_list() == expected[name].to_list(), name
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
    context = FillContext(exchange("US"), thirteen_years, source, settings.clock, FillRules(tmp_path))
    report = fill_cells(context, FillRequest(days_between(FIRST, LAST), listings(*RECORDED), mode=Mode.FORCE))
    source.close()
    assert report.outcomes == {"ok": 4}
    assert report.restatements.rows() == []
    # The one write is the run's own report.
    assert (report.written, counted(WRITES) - writes) == (0, 1)
    assert tree(Path(thirteen_years.location)) == before
