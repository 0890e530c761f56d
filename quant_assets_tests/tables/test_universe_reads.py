"""Who was in a universe on a day: answered as of the last refresh up to it, and refused where nothing tells."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.reader import universe
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectNotFound
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.membership import MEMBERS_SCHEMA, MembershipUnknown, record_seen
from quant_assets.tables.parquet import encode
from quant_assets.tables.universe_reads import read_members
from quant_assets.tables.universes import CONSTITUENTS_SCHEMA, StoredUniverse, put_constituents

NOW = datetime(2024, 3, 15, 4, tzinfo=UTC)
DAY = NOW.date()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalObjectStore:
    """A universe `idx` that was refreshed on two days, and a catalog."""
    monkeypatch.setenv("QUANT_ASSETS_NOW", "2024-03-20T23:00:00Z")
    store = LocalObjectStore(tmp_path)
    for symbols, at in ((["IBM", "GE"], NOW), (["IBM", "FB"], NOW + timedelta(days=3))):
        record_seen(store, "idx", symbols, "idx.csv", at)
        rows = pl.DataFrame(
            [(s, *[None] * 8) for s in sorted(symbols)], schema=CONSTITUENTS_SCHEMA, orient="row"
        )
        put_constituents(store, "idx", StoredUniverse(rows, "US", "idx.csv", at))
    catalog = pl.DataFrame(
        [("IBM", "US", ["idx", "mine", "discovered"]), ("FB", "US", ["idx"]), ("GE", "US", [])],
        schema={"symbol": pl.String, "exchange": pl.String, "universes": pl.List(pl.String)},
        orient="row",
    )
    store.put(object_key(CATALOG), encode(catalog, {}))
    return store


def test_a_day_is_answered_by_the_last_refresh_up_to_it(store: LocalObjectStore) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = universe("idx", DAY, store=store).collect()
        second = universe("idx", "2024-03-18", store=store).collect()
        assert universe("idx", on="2024-03-17", store=store).collect().equals(first)
    assert first.schema == MEMBERS_SCHEMA
    assert first.select("symbol", "date", "confidence", "known_at").rows() == [
        ("GE", DAY, "first_seen", NOW), ("IBM", DAY, "first_seen", NOW),
    ]  # fmt: skip
    assert second.select("symbol", "date", "confidence").rows() == [
        ("FB", date(2024, 3, 18), "seen"), ("IBM", DAY, "first_seen"),
    ]  # fmt: skip


def test_a_day_after_the_last_refresh_is_answered_with_a_warning(store: LocalObjectStore) -> None:
    told = (
        r"universe 'idx' was last refreshed on 2024-03-18: who joined or left since is not known on 2024-03-19 "
        r"\(quant-assets refresh-universe --universe idx\)"
    )
    with pytest.warns(UserWarning, match=told) as warned:
        late = universe("idx", "2024-03-19", store=store).collect()
    assert late["symbol"].to_list() == ["FB", "IBM"]
    # It points at whoever asks.
    assert [one.filename for one in warned] == [__file__]


def test_what_nothing_tells_is_refused(store: LocalObjectStore) -> None:
    with pytest.raises(
        MembershipUnknown, match=r"on 2024-03-14: the earliest date that can be vouched for is 2024-03-15"
    ):
        universe("idx", "2024-03-14", store=store).collect()
    # The catalog names it, and nobody has refreshed it.
    with pytest.raises(MembershipUnknown, match="'mine' on 2024-03-15: it has never been refreshed"):
        universe("mine", DAY, store=store).collect()
    with pytest.raises(MembershipUnknown, match=r"^universe 'discovered' is a list of decisions"):
        universe("discovered", DAY, store=store).collect()
    with pytest.raises(ValueError, match=r"on=2024-03-21 is in the future: today is 2024-03-20 \(UTC\)"):
        universe("idx", "2024-03-21", store=store).collect()
    with pytest.warns(UserWarning, match="last refreshed"):
        assert universe("idx", "2024-03-20", store=store).collect().height == 2
    with pytest.raises(ValueError, match=r"universe\(on='2024-03-15'\) needs a name"):
        universe(on=DAY, store=store).collect()
    with pytest.raises(ValueError, match="'soon' is no date"):
        universe("idx", "soon", store=store).collect()


@pytest.mark.parametrize("day", [None, DAY])
def test_an_unknown_universe_is_refused_with_those_there_are(
    store: LocalObjectStore, day: date | None
) -> None:
    record_seen(store, "more", ["A"], "x", NOW)
    with pytest.raises(ValueError, match=r"no universe 'idy' in .*: there are discovered, idx, mine, more$"):
        universe("idy", day, store=store).collect()


def test_without_a_day_the_catalog_answers(store: LocalObjectStore) -> None:
    assert universe(store=store).collect()["symbol"].to_list() == ["IBM", "FB", "GE"]
    assert universe("idx", store=store).collect()["symbol"].to_list() == ["IBM", "FB"]
    assert universe("mine", store=store).collect()["symbol"].to_list() == ["IBM"]


def test_the_past_is_known_without_a_catalog(store: LocalObjectStore) -> None:
    store.delete(object_key(CATALOG))
    assert universe("idx", DAY, store=store).collect()["symbol"].to_list() == ["GE", "IBM"]
    with pytest.raises(ValueError, match=r"there are idx$"):
        universe("mine", DAY, store=store).collect()
    with pytest.raises(ObjectNotFound, match="no catalog in"):
        universe("idx", store=store).collect()


def test_an_empty_store_knows_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no universe 'idx' in .*: there are none yet$"):
        read_members(LocalObjectStore(tmp_path), "idx", DAY, DAY)
