"""Symbols that end, leave their lists and come back, over real cells: what is expected of them, asked and kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.catalog.build import build_catalog, followed, with_states
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.listings_judged import judged_listings
from quant_assets.exchanges import enabled
from quant_assets.ingest.plan import Mode
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.counters import WRITES, counted
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.listing_events import FIRST_TRADE, read_events
from quant_assets.tables.parquet import encode
from quant_assets_tests.ingest.harness import Harness, evening, sessions
from quant_assets_tests.support import RECORDED

US = enabled(["US"])
JANUARY = sessions(date(2013, 1, 2), date(2013, 2, 8))
ENDED = date(2013, 1, 11)


@dataclass
class Life:
    """Day by day what the daily job does: the catalog, then the prices."""

    harness: Harness
    market: ReplayHandle
    catalog: pl.DataFrame | None = None
    asked: dict[str, int] = field(default_factory=dict[str, int])

    def make_catalog(self, day: date, names: Collection[str]) -> None:
        page = [ConfiguredSymbol(symbol=name) for name in names]
        before, now = self.catalog, evening(day)
        made = build_catalog({}, US, before, day, {"US": {"page": page}}, sourced=("page",))
        standing, _ = judged_listings(self.harness.store, "US", made, before, now)
        self.catalog = with_states(made, standing, "US")
        self.harness.store.put(object_key(CATALOG), encode(self.catalog, {}))

    def begin(self, days: list[date]) -> None:
        """A backfill on the evening of the last of the days."""
        self.make_catalog(days[-1], RECORDED)
        self.fill(days[-1], days)

    def live(self, days: Iterable[date], names: Collection[str] = RECORDED) -> None:
        for day in days:
            self.make_catalog(day, names)
            self.market.reset_stats()
            self.fill(day, [day])
            self.asked = self.market.stats().get("chart_data", {})

    def fill(self, day: date, days: list[date], mode: Mode = Mode.INCREMENTAL) -> None:
        assert self.catalog is not None
        self.harness.live(self.market, day, days, catalog=followed(self.catalog, "US"), mode=mode)

    def events(self, symbol: str) -> list[tuple[str, date]]:
        rows = read_events(self.harness.store, "US").filter(
            pl.col("symbol") == symbol, pl.col("event") != FIRST_TRADE
        )
        return rows.select("event", "date").rows()

    def row(self, symbol: str) -> tuple[object, ...]:
        assert self.catalog is not None
        found = self.catalog.filter(pl.col("symbol") == symbol)
        return found.select("state", "delisted_on", "is_active").row(0)

    def states(self, days: Iterable[date]) -> set[CellState]:
        return {self.harness.entry(day).state for day in days}


@pytest.fixture
def life(harness: Harness, market: ReplayHandle) -> Life:
    return Life(harness, market)


def not_found(symbol: str, since: date, until: date | None = None) -> dict[str, object]:
    end = {} if until is None else {"until": evening(until).isoformat()}
    start = evening(since).isoformat()
    return {"kind": "not_found_404", "symbol": symbol, "times": "persistent", "since": start, **end}


def test_a_symbol_that_ends_and_leaves_its_list_is_delisted_and_comes_back_with_it(life: Life) -> None:
    # The whole exchange is down for three days before.
    life.market.add_faults(not_found("*", JANUARY[3], JANUARY[6]), not_found("IBM", date(2013, 1, 12)))
    life.begin(JANUARY[:3])
    life.live([day for day in JANUARY[3:] if day <= date(2013, 1, 17)])
    assert life.row("IBM") == ("suspect", None, True)
    assert life.events("AAPL") == life.events("MSFT") == []
    # It has left: still it is asked for, and expected, for two weeks.
    others = [name for name in RECORDED if name != "IBM"]
    after = [day for day in JANUARY if date(2013, 1, 18) <= day <= date(2013, 1, 22)]
    life.live(after[:1], others)
    assert life.asked["IBM"] >= 1
    life.live(after[1:], others)
    assert life.events("IBM") == [("suspect", date(2013, 1, 14)), ("delisted", ENDED)]
    assert life.row("IBM") == ("delisted", ENDED, False)
    assert life.asked.keys() == set(others)
    # From its last session on no cell lacks it, and nobody is asked to find out.
    life.market.reset_stats()
    life.fill(after[-1], [day for day in JANUARY if day <= after[-1]])
    assert life.market.stats().get("chart_data", {}) == {}
    assert life.states(day for day in JANUARY if ENDED < day <= after[-1]) == {CellState.COMPLETE}
    assert read_daily(life.harness.store, "US", symbols=["IBM"])["date"].max() == ENDED
    # Nothing new, nothing put.
    before = counted(WRITES)
    assert life.catalog is not None
    _, news = judged_listings(life.harness.store, "US", life.catalog, life.catalog, evening(after[-1]))
    assert news.is_empty()
    assert counted(WRITES) == before

    life.market.clear_faults()
    again = date(2013, 1, 30)
    life.make_catalog(again, RECORDED)
    assert life.events("IBM")[-1] == ("reactivated", again)
    assert life.row("IBM") == ("active", None, True)
    life.fill(again, [day for day in JANUARY if day <= again])
    assert read_daily(life.harness.store, "US", symbols=["IBM"])["date"].max() == again
    life.make_catalog(again + timedelta(days=1), RECORDED)
    assert life.events("IBM")[-1] == ("reactivated", again)


def test_a_sweep_that_finds_bars_of_a_delisted_symbol_brings_it_back(life: Life) -> None:
    life.market.add_faults(not_found("IBM", date(2013, 1, 12)))
    days = [day for day in JANUARY if day <= date(2013, 1, 22)]
    life.begin(days[:8])
    life.live(days[8:10])
    life.live(days[10:], ["AAPL", "FB", "MSFT"])
    assert life.row("IBM")[0] == "delisted"
    life.market.clear_faults()
    # An incremental run has nothing to ask of it, a sweep has: its history.
    life.fill(days[-1], days, Mode.FORCE)
    assert life.events("IBM")[-1] == ("reactivated", ENDED + timedelta(days=3))
    life.fill(days[-1], days)
    assert read_daily(life.harness.store, "US", symbols=["IBM"])["date"].max() == days[-1]


def test_what_somebody_takes_off_a_list_of_his_own_is_expected_no_more(life: Life) -> None:
    life.make_catalog(JANUARY[0], RECORDED)
    written = {"US": {"mine": [ConfiguredSymbol(symbol="AAPL")]}}
    taken = build_catalog({}, US, life.catalog, JANUARY[3], written)
    listed = dict(followed(taken, "US").select("symbol", "delisted_on").iter_rows())
    assert listed == {"AAPL": None, **dict.fromkeys(("FB", "IBM", "MSFT"), JANUARY[0])}
