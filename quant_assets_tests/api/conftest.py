"""A small store of made-up bars, and the API on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from quant_assets.api.app import create_app
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets_tests.filled import FIRST, KNOWN, bars, cell, fill_store


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """Cells and weeks of January 2012 of ASX and US; the catalog has A, of US."""
    made = LocalObjectStore(tmp_path / "store")
    fill_store(made, 40)
    return made


@pytest.fixture
def client(store: ObjectStore) -> TestClient:
    return TestClient(create_app(Settings(store=store.location)), raise_server_exceptions=False)


@pytest.fixture
def changed(store: ObjectStore) -> Callable[[], date]:
    """Restates the close of A on a day to 77, in the cell and the manifest; answers the day."""

    def change() -> date:
        day = FIRST + timedelta(days=1)
        known = KNOWN + timedelta(days=1)
        frame = bars(day, ["A", "B", "US.daily_prices"], known).with_columns(close=pl.lit(77.0))
        entry = replace(cell(day, frame), recorded_at=known.isoformat())
        info = store.put(object_key(DAILY, "US", day.isoformat()), encode(frame, entry.facts()))
        Manifest(store, DAILY).record("US", [Entry.from_facts(entry.facts(), info)])
        return day

    return change
