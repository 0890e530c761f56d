"""What was learned of listings, by value: who is filled, who is left out, what is appended."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import events_key
from quant_assets.tables.listing_events import (
    LISTING_EVENTS_SCHEMA,
    learn_first_trades,
    read_events,
    with_learned,
)
from quant_assets.tables.parquet import encode

DAY, GONE = date(2024, 3, 15), date(2024, 5, 2)
NOW = datetime(2024, 3, 16, tzinfo=UTC)
TOLD = "first trade date stated by the price source"


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def test_who_left_without_ever_having_traded_is_left_out(store: LocalObjectStore) -> None:
    columns = dict.fromkeys(("listed_on", "delisted_on", "stated_delisting"), pl.Date)
    rows = [
        ("CONFIGURED", DAY, None, None),
        ("NEW", None, None, None),
        ("LEFT", DAY, GONE, None),
        ("NEVER", None, GONE, None),
        ("STATED", None, GONE, GONE),
        ("LEARNED", None, GONE, None),
    ]
    catalog = pl.DataFrame(rows, schema={"symbol": pl.String, **columns}, orient="row")
    learn_first_trades(store, "US", catalog, {"LEARNED": DAY}, NOW)
    found = with_learned(store, "US", catalog)
    assert found.select("symbol", "listed_on").rows() == [
        ("CONFIGURED", DAY), ("NEW", None), ("LEFT", DAY), ("STATED", None), ("LEARNED", DAY),
    ]  # fmt: skip
    assert found.columns == catalog.columns
    # A catalog of an earlier release does not say who stated it.
    assert with_learned(store, "US", catalog.drop("stated_delisting"))["symbol"].len() == 6


def test_only_first_trades_that_nobody_knows_are_appended(store: LocalObjectStore) -> None:
    catalog = pl.DataFrame(
        {"symbol": ["A", "B", "C"], "listed_on": [DAY, None, None]},
        schema={"symbol": pl.String, "listed_on": pl.Date},
    )
    other = [("C", "renamed", DAY, "somebody said so", "stated", NOW)]
    store.put(events_key("US"), encode(pl.DataFrame(other, schema=LISTING_EVENTS_SCHEMA, orient="row"), {}))
    learn_first_trades(store, "US", catalog, {"C": DAY, "B": GONE, "A": GONE}, NOW)
    assert read_events(store, "US").rows() == [
        *other,
        ("B", "first_trade", GONE, TOLD, "stated", NOW),
        ("C", "first_trade", DAY, TOLD, "stated", NOW),
    ]
    assert with_learned(store, "US", catalog)["listed_on"].to_list() == [DAY, GONE, DAY]
    before = store.head(events_key("US"))
    learn_first_trades(store, "US", catalog, {"C": DAY, "A": GONE}, NOW)
    assert store.head(events_key("US")) == before
