"""What a catalog is made of: the file's own lists, and the constituents of universes as last refreshed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.configured import CatalogError, ConfiguredSymbol, read_universe, universe_sha256
from quant_assets.catalog.lists import inputs_sha256, lists_of, refresh_lacking
from quant_assets.catalog.refresh import apply_refresh, frame_of, plan_refresh
from quant_assets.catalog.universe import Universe
from quant_assets.catalog.universes_file import read_universes
from quant_assets.exchanges import enabled
from quant_assets.market.bars import content_sha256
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.layout import universe_key
from quant_assets.tables.membership import members_on, read_membership
from quant_assets.tables.parquet import encode
from quant_assets.tables.universes import StoredUniverse, put_constituents, read_constituents

BOTH = enabled(["US", "ASX"])
NOW = datetime(2024, 3, 15, 4, tzinfo=UTC)
DAY = NOW.date()
LONG = """\
universes:
  - {name: page, exchange: US, source: {kind: csv, path: page.csv}}
  - {name: mine, exchange: US, source: {kind: static, symbols: [{symbol: IBM, name: Big Blue}, MSFT]}}
  - {name: au, exchange: ASX, source: {kind: csv, path: au.csv}}
  - {name: off, exchange: US, enabled: false, source: {kind: static, symbols: [OFF]}}
  - {name: both, exchange: US, source: {kind: union, of: [page, mine]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "universes.yaml").write_text(LONG)
    return tmp_path / "universes.yaml"


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "store")


def put(store: LocalObjectStore, universe: str, *symbols: ConfiguredSymbol | str, at: datetime = NOW) -> None:
    listed = [ConfiguredSymbol(symbol=one) if isinstance(one, str) else one for one in symbols]
    exchange = "ASX" if universe == "au" else "US"
    put_constituents(store, universe, StoredUniverse(frame_of(listed), exchange, "page.csv", at))


GIVEN = {"page": ["IBM", "AAPL"], "au": ["BHP.AX"], "mine": ["IBM", "MSFT"], "both": ["AAPL", "IBM", "MSFT"]}


def find(universe: Universe, others: Mapping[str, Sequence[ConfiguredSymbol]]) -> Sequence[ConfiguredSymbol]:
    if universe.name not in GIVEN:
        raise CatalogError(f"{universe.name}: no answer")
    return [ConfiguredSymbol(symbol=symbol) for symbol in GIVEN[universe.name]]


def test_a_catalog_of_a_short_list_is_byte_for_byte_what_it_was(
    tmp_path: Path, store: LocalObjectStore
) -> None:
    text = "US: [{symbol: IBM, name: Big Blue, sector: Tech}, AAPL]\nASX: [BHP.AX]\n"
    short = tmp_path / "list.yaml"
    short.write_text(text)
    universes = read_universes(short, BOTH)
    assert refresh_lacking(universes, store, find, 10, NOW) == []
    lists = lists_of(universes, store)
    assert (lists.members, lists.unknown) == ({}, set())
    catalog = build_catalog(lists.configured, BOTH, None, DAY, lists.members, lists.unknown)
    plain = build_catalog(read_universe(short, BOTH), BOTH, None, DAY)
    assert encode(catalog, {}) == encode(plain, {})
    # What releases without universes made of it, in the columns that they had.
    assert content_sha256(catalog.select(catalog.columns[:14])) == (
        "cd330880a47d49f25f75e94a5775bae69d19dfbce64ecad498114b68d563ce44"
    )
    assert (
        inputs_sha256(short, BOTH, store)
        == universe_sha256(short)
        == hashlib.sha256(text.encode()).hexdigest()
    )
    assert list(store.list("")) == []


def test_enabled_universes_are_in_the_catalog_and_a_symbol_says_of_all_that_it_is_in(
    file: Path, store: LocalObjectStore
) -> None:
    ibm = ConfiguredSymbol(symbol="IBM", name="IBM Corp", sector="Tech", asset_type="etf")
    put(store, "page", ibm, "AAPL")
    put(store, "both", "AAPL", "IBM", "MSFT")
    put(store, "off", "OFF")
    lists = lists_of(read_universes(file, BOTH), store)
    assert (lists.configured, lists.unknown) == ({}, {"au"})
    catalog = build_catalog(lists.configured, BOTH, None, DAY, lists.members, lists.unknown)
    assert catalog.select("symbol", "name", "sector", "asset_type", "universes").rows() == [
        ("AAPL", "AAPL", None, "equity", ["both", "page"]),
        # What a person has written counts first; what he has not comes from the source.
        ("IBM", "Big Blue", "Tech", "etf", ["both", "mine", "page"]),
        ("MSFT", "MSFT", None, "equity", ["both", "mine"]),
    ]
    assert catalog["is_active"].to_list() == [True, True, True]


def test_who_left_all_lists_is_inactive_and_who_is_in_one_that_nobody_can_tell_of_stays(
    file: Path, store: LocalObjectStore
) -> None:
    put(store, "page", "AAPL", "GE")
    put(store, "au", "BHP.AX")
    universes = read_universes(file, BOTH)
    lists = lists_of(universes, store)
    assert lists.unknown == {"both"}
    first = build_catalog(lists.configured, BOTH, None, DAY, lists.members, lists.unknown)
    later = NOW + timedelta(days=7)
    put(store, "page", "AAPL", at=later)
    store.delete(universe_key("au"))
    lists = lists_of(universes, store)
    catalog = build_catalog(lists.configured, BOTH, first, later.date(), lists.members, lists.unknown)
    assert catalog.select("symbol", "universes", "last_seen", "is_active").rows() == [
        ("BHP.AX", ["au"], DAY, True),
        ("AAPL", ["page"], later.date(), True),
        ("GE", [], DAY, False),
        ("IBM", ["mine"], later.date(), True),
        ("MSFT", ["mine"], later.date(), True),
    ]


def test_what_is_lacking_is_refreshed_and_what_was_refreshed_is_left_to_its_schedule(
    file: Path, store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    universes = read_universes(file, BOTH)
    done = refresh_lacking(universes, store, find, 10, NOW)
    assert {one.universe.name: one.status for one in done} == {
        "page": "new", "mine": "new", "au": "new", "both": "new",
    }  # fmt: skip
    # The second time the outside world is asked for nothing; what the file says itself is taken at once.
    monkeypatch.setitem(GIVEN, "mine", ["MSFT"])
    later = NOW + timedelta(days=1)
    again = refresh_lacking(universes, store, find, 10, later)
    assert {one.universe.name: one.status for one in again} == {"mine": "changed", "both": "unchanged"}
    ledger = read_membership(store, "mine")
    assert members_on(ledger, "mine", DAY)["symbol"].to_list() == ["IBM", "MSFT"]
    assert members_on(ledger, "mine", later.date())["symbol"].to_list() == ["MSFT"]


def test_a_universe_that_was_moved_to_another_exchange_brings_none_of_its_symbols_there(
    file: Path, store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "page", "AAPL")
    put(store, "au", "BHP.AX")
    put(store, "both", "AAPL")
    lists = lists_of(read_universes(file, BOTH), store)
    first = build_catalog(lists.configured, BOTH, None, DAY, lists.members, lists.unknown)
    file.write_text(LONG.replace("name: au, exchange: ASX", "name: au, exchange: US"))
    moved = read_universes(file, BOTH)
    # Until it is refreshed, nobody can tell who is in it.
    lists = lists_of(moved, store)
    assert lists.unknown == {"au"}
    catalog = build_catalog(lists.configured, BOTH, first, DAY, lists.members, lists.unknown)
    assert catalog.filter(pl.col("symbol") == "BHP.AX").equals(first.filter(pl.col("symbol") == "BHP.AX"))
    monkeypatch.setitem(GIVEN, "au", ["GE"])
    done = {one.universe.name: one.status for one in refresh_lacking(moved, store, find, 10, NOW)}
    assert done["au"] == "changed"
    assert [one.symbol for one in lists_of(moved, store).members["US"]["au"]] == ["GE"]


def test_one_that_fails_for_the_first_time_is_told_and_the_others_are_there(
    file: Path, store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(GIVEN, "page")
    universes = read_universes(file, BOTH)
    done = refresh_lacking(universes, store, find, 10, NOW)
    assert {one.universe.name: (one.status, one.reason) for one in done} == {
        "page": ("failed", "page: no answer"), "mine": ("new", ""), "au": ("new", ""),
        "both": ("skipped", "it needs page"),
    }  # fmt: skip
    lists = lists_of(universes, store)
    assert lists.unknown == {"page", "both"}
    assert {code: list(some) for code, some in lists.members.items()} == {"US": ["mine"], "ASX": ["au"]}


def test_the_hash_of_the_inputs_follows_file_and_refreshes(file: Path, store: LocalObjectStore) -> None:
    seen = [inputs_sha256(file, BOTH, store)]

    def moved() -> bool:
        seen.append(inputs_sha256(file, BOTH, store))
        # The same, whether the file is read for it or was read before.
        assert inputs_sha256(file, BOTH, store, read_universes(file, BOTH)) == seen[-1]
        return seen[-1] != seen[-2]

    assert not moved()
    put(store, "page", "AAPL")
    assert moved()
    # A refresh that found the same, and what is stored of a list that the catalog takes from elsewhere.
    put(store, "page", "AAPL", at=NOW + timedelta(days=1))
    put(store, "mine", "AAPL")
    put(store, "off", "AAPL")
    put(store, "stranger", "AAPL")
    assert not moved()
    put(store, "page", "AAPL", "IBM", at=NOW + timedelta(days=2))
    assert moved()
    put(store, "au", "AAPL")
    assert moved()
    put(store, "both", "AAPL")
    assert moved()
    file.write_text(LONG + "# more\n")
    assert moved()
    assert len(set(seen)) == 6
    file.write_text("universes: 3\n")
    with pytest.raises(CatalogError, match=r"universes\.yaml:1: "):
        inputs_sha256(file, BOTH, store)


def test_damage_is_named_and_takes_nobody_off_a_list(file: Path, store: LocalObjectStore) -> None:
    universes = read_universes(file, BOTH)
    store.put(universe_key("page"), b"no parquet")
    for use in (
        lambda: inputs_sha256(file, BOTH, store),
        lambda: lists_of(universes, store),
        lambda: refresh_lacking(universes, store, find, 10, NOW),
    ):
        with pytest.raises(ObjectDamaged, match=r"universes/page\.parquet"):
            use()


def test_many_refreshes_at_once_end_with_what_the_latest_found(file: Path, store: LocalObjectStore) -> None:
    from concurrent.futures import ThreadPoolExecutor

    universes = read_universes(file, BOTH)

    def refresh(number: int) -> None:
        found = [ConfiguredSymbol(symbol=f"S{n}") for n in range(number + 1)]
        planned = plan_refresh(
            universes, ["page"], lambda name: read_constituents(store, name), lambda *_: found, 100
        )
        apply_refresh(store, planned, NOW + timedelta(seconds=number))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(refresh, range(12)))
    stored = read_constituents(store, "page")
    assert stored is not None
    symbols = stored.constituents["symbol"].to_list()
    assert (len(symbols), stored.refreshed_at) == (12, NOW + timedelta(seconds=11))
    assert (
        members_on(read_membership(store, "page"), "page", date(2024, 3, 15))["symbol"].to_list() == symbols
    )
