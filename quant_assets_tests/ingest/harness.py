"""A home folder with runs over it, and the truth to compare them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.exchanges import enabled, exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest, Mode
from quant_assets.ingest.report import FillReport
from quant_assets.market.bars import PRICES
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode, read_table
from quant_assets.tables.restatements import Ledger
from quant_assets_tests.support import (
    NOW,
    days_between,
    listings,
    quick_settings,
    recorded,
)

WEEK = days_between(date(2013, 2, 11), date(2013, 2, 15))
DAY = date(2013, 2, 13)
HOLIDAY = date(2013, 2, 18)
SYMBOLS = ("AAPL", "IBM", "MSFT")


@dataclass
class Harness:
    """A home folder, and runs over it; every run opens its own source, as in life."""

    home: Path
    url: str

    @property
    def store(self) -> LocalObjectStore:
        return LocalObjectStore(self.home / "store")

    def fill(
        self,
        days: Sequence[date] = WEEK,
        catalog: pl.DataFrame | None = None,
        *,
        code: str = "US",
        now: datetime = NOW,
        only: Sequence[str] | None = None,
        mode: Mode = Mode.INCREMENTAL,
        look_back: int = 15,
        min_coverage: float = 0.0,
        store: ObjectStore | None = None,
        run: str = "",
        **settings: Any,
    ) -> FillReport:
        chosen = quick_settings(self.home, self.url, now=now, **settings)
        source = YahooSource(chosen)
        try:
            rules = FillRules(self.home / "spill", look_back, min_coverage)
            context = FillContext(
                exchange(code, chosen.exchanges_file), store or self.store, source, chosen.clock, rules
            )
            return fill_cells(
                replace(context, run=run or context.run),
                FillRequest(days, listings(*SYMBOLS) if catalog is None else catalog, only, mode),
            )
        finally:
            source.close()
            # Whatever happened, no rows are left lying about.
            assert not list((self.home / "spill").rglob("*"))

    def live(
        self, market: ReplayHandle, day: date, days: Sequence[date] | None = None, **more: Any
    ) -> FillReport:
        """The run of a day's evening, by the server's clock as well; over that day, or over `days`."""
        market.set_clock(evening(day))
        return self.fill([day] if days is None else days, now=evening(day), **more)

    def restatements(self, code: str = "US") -> pl.DataFrame:
        return Ledger(self.store, code).restatements()

    def put_catalog(self, *symbols: str, code: str = "US", **listed_on: date) -> pl.DataFrame:
        """Writes the catalog that readers need; answers what a fill needs of it."""
        names = [*symbols, *listed_on]
        configured = [ConfiguredSymbol(symbol=name, listed_on=listed_on.get(name)) for name in names]
        catalog = build_catalog({code: configured}, enabled([code]), None, NOW.date())
        self.store.put(object_key(CATALOG), encode(catalog, {}))
        return listings(*symbols, **listed_on)

    def entry(self, day: date = DAY, code: str = "US") -> Entry:
        return Manifest(self.store, DAILY).year(code, day.year)[day.isoformat()]

    def cell(self, day: date = DAY, code: str = "US") -> pl.DataFrame:
        return read_table(self.store, object_key(DAILY, code, day.isoformat()))

    def path(self, day: date = DAY) -> Path:
        return Path(self.store.uri(object_key(DAILY, "US", day.isoformat())))


def evening(day: date) -> datetime:
    """When New York's session of a day is over, its delay included."""
    return datetime.combine(day, time(22), UTC)


def sessions(first: date, last: date, code: str = "US") -> list[date]:
    return list(exchange(code).calendar().sessions(first, last))


def told(events: pl.DataFrame) -> list[tuple[Any, ...]]:
    """What restatements say: symbol, date, field, old, new, class."""
    return events.select("symbol", "date", "field", "old", "new", "class").rows()


def truth(symbols: Sequence[str], days: Sequence[date]) -> pl.DataFrame:
    frames = [recorded(symbol).with_columns(pl.lit(symbol).alias("symbol")) for symbol in symbols]
    return pl.concat(frames).filter(pl.col("date").is_in(list(days))).sort("symbol", "date")


def bars(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("date", *PRICES, "volume", "symbol").sort("symbol", "date")
