"""A store over which catalogs are made one after the other, with closes and answers as a test states them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.companies import identified, remarks
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.lists import CatalogLists
from quant_assets.exchanges import enabled
from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.companies import CompanyRow
from quant_assets.tables.layout import CATALOG, HISTORY, object_key
from quant_assets.tables.parquet import encode
from quant_assets.tables.symbol_facts import SymbolFacts, learn_facts


class Desk:
    """A store over which catalogs are made."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalObjectStore(folder)
        self.catalog: pl.DataFrame | None = None

    def make(self, day: date, *listed: str | ConfiguredSymbol) -> list[CompanyRow]:
        """The catalog of a day's evening, of a list; answers what was found of companies."""
        entries = [ConfiguredSymbol(symbol=one) if isinstance(one, str) else one for one in listed]
        lists = CatalogLists(configured={"US": entries})
        made = build_catalog(lists.configured, enabled(["US"]), self.catalog, day)
        self.catalog, found = identified(self.store, made, self.catalog, "US", lists, evening(day))
        self.store.put(object_key(CATALOG), encode(self.catalog, {}))
        self.remarks = remarks("US", found)
        return found

    def learn(self, day: date, symbol: str, first: date, name: str, **more: str) -> None:
        """What an answer told on a day."""
        told = SymbolFacts(first, name, **{"currency": "USD", "instrument": "EQUITY", **more})
        learn_facts(self.store, "US", {symbol: told}, evening(day) - timedelta(hours=1))

    def store_bars(
        self,
        closes: Mapping[str, Mapping[date, float]],
        split: Mapping[str, date] | None = None,
        year: int = 2024,
    ) -> None:
        """Puts a year's history of some symbols' closes; `split` are the days of a split 4:1."""
        rows = [
            (symbol, day, *(close,) * 4, 100, 0.0, 4.0 if (split or {}).get(symbol) == day else 1.0, "USD", "",
             evening(day))
            for symbol, of_day in sorted(closes.items()) for day, close in sorted(of_day.items())
        ]  # fmt: skip
        frame = pl.DataFrame(rows, schema=DAILY_SCHEMA, orient="row")
        self.store.put(object_key(HISTORY, "US", str(year)), encode(frame, {"cells": {}}, by_symbol=True))

    def ids(self) -> dict[str, str | None]:
        assert self.catalog is not None
        return dict(self.catalog.select("symbol", "company_id").iter_rows())


def evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 22, tzinfo=UTC)


def walk(days: Iterable[date], start: float = 100.0, seed: int = 1) -> dict[date, float]:
    """Closes that move on most days."""
    closes: dict[date, float] = {}
    for number, day in enumerate(days):
        start = round(start * (1 + ((number * 7919 + seed * 104729) % 41 - 20) / 1000), 2)
        closes[day] = start
    return closes
