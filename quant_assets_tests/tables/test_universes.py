"""The constituents of a universe: kept as last refreshed, and never replaced by an older look."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.layout import universe_key
from quant_assets.tables.parquet import read_facts
from quant_assets.tables.universes import (
    CONSTITUENTS_SCHEMA,
    StoredUniverse,
    constituents_sha256,
    put_constituents,
    read_constituents,
)

NOW = datetime(2024, 3, 15, 4, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def found(*symbols: str, at: datetime = NOW, exchange: str = "US", source: str = "us.csv") -> StoredUniverse:
    rows = pl.DataFrame(
        [
            (s, f"{s} Inc", "equity", "Tech", None, "USD", "US0378331005", date(1990, 1, 2), None)
            for s in symbols
        ],
        schema=CONSTITUENTS_SCHEMA,
        orient="row",
    )
    return StoredUniverse(rows, exchange, source, at)


def test_what_was_put_is_read_again_with_when_and_from_what(store: LocalObjectStore) -> None:
    assert read_constituents(store, "mine") is None
    assert constituents_sha256(store, "mine") is None
    assert put_constituents(store, "mine", found("AAPL", "IBM")) is True
    stored = read_constituents(store, "mine")
    assert stored is not None
    assert stored.constituents.equals(found("AAPL", "IBM").constituents)
    assert stored.constituents.schema == CONSTITUENTS_SCHEMA
    assert (stored.exchange, stored.source, stored.refreshed_at) == ("US", "us.csv", NOW)
    assert read_constituents(store, "other") is None
    facts = read_facts(store.get(universe_key("mine")).data, "here")
    assert {name: facts[name] for name in ("universe", "exchange", "source", "refreshed_at", "rows")} == {
        "universe": "mine", "exchange": "US", "source": "us.csv", "refreshed_at": "2024-03-15T04:00:00+00:00",
        "rows": 2,
    }  # fmt: skip
    assert constituents_sha256(store, "mine") == facts["content_sha256"]


def test_a_moment_of_another_zone_is_kept_in_utc(store: LocalObjectStore) -> None:
    east = timezone(timedelta(hours=10))
    # 02:00 of the 15th in Sydney is the 14th in UTC.
    put_constituents(store, "mine", found("IBM", at=datetime(2024, 3, 15, 2, tzinfo=east)))
    facts = read_facts(store.get(universe_key("mine")).data, "here")
    assert facts["refreshed_at"] == "2024-03-14T16:00:00+00:00"
    assert put_constituents(store, "mine", found("IBM", at=datetime(2024, 3, 15, 9, tzinfo=east))) is False
    assert put_constituents(store, "mine", found("IBM", at=datetime(2024, 3, 15, 10, tzinfo=east))) is True


@pytest.mark.parametrize(
    ("later", "put"),
    [
        (found("IBM"), False),
        (found("IBM", at=datetime(2024, 3, 15, 23, 59, 59, tzinfo=UTC)), False),
        # The next day it is known that it is still so.
        (found("IBM", at=datetime(2024, 3, 16, tzinfo=UTC)), True),
        (found("AAPL"), True),
        (found("IBM", source="other.csv"), True),
        (found("IBM", exchange="ASX"), True),
        (found("AAPL", at=NOW - timedelta(microseconds=1)), False),
        (found("AAPL", at=NOW - timedelta(days=1)), False),
    ],
)
def test_news_is_put_and_an_older_look_is_not(
    store: LocalObjectStore, later: StoredUniverse, put: bool
) -> None:
    put_constituents(store, "mine", found("IBM"))
    assert put_constituents(store, "mine", later) is put
    stored = read_constituents(store, "mine")
    assert stored is not None
    expected = later if put else found("IBM")
    assert (stored.exchange, stored.source, stored.refreshed_at) == (
        expected.exchange, expected.source, expected.refreshed_at,
    )  # fmt: skip
    assert stored.constituents.equals(expected.constituents)


def test_the_hash_is_that_of_the_constituents_and_of_nothing_else(store: LocalObjectStore) -> None:
    put_constituents(store, "mine", found("IBM"))
    before = constituents_sha256(store, "mine")
    put_constituents(store, "mine", found("IBM", at=NOW + timedelta(days=7), source="elsewhere"))
    assert constituents_sha256(store, "mine") == before
    put_constituents(store, "mine", found("AAPL", at=NOW + timedelta(days=8)))
    assert constituents_sha256(store, "mine") != before


def test_of_many_at_once_the_latest_look_stays(store: LocalObjectStore) -> None:
    looks = [found(f"S{n}", at=NOW + timedelta(seconds=n)) for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda look: put_constituents(store, "mine", look), [*looks[12:], *looks[:12]]))
    stored = read_constituents(store, "mine")
    assert stored is not None
    assert (stored.constituents["symbol"].to_list(), stored.refreshed_at) == (
        ["S23"], NOW + timedelta(seconds=23),
    )  # fmt: skip


def test_a_damaged_object_is_named(store: LocalObjectStore) -> None:
    store.put(universe_key("mine"), b"no parquet")
    for use in (
        lambda: read_constituents(store, "mine"),
        lambda: constituents_sha256(store, "mine"),
        lambda: put_constituents(store, "mine", found("IBM")),
    ):
        with pytest.raises(ObjectDamaged, match=r"universes/mine\.parquet"):
            use()
