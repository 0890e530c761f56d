"""What the storage layer makes of any store: safe replacing, reading many, and whose store it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import (
    ABSENT,
    MARKER,
    Blob,
    ObjectChanged,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStore,
    StoreUnavailable,
    checksum,
    claim,
    get_many,
    put_reconciled,
    validated_key,
)
from quant_assets_tests.resources.workers import answer, increment, start

# --- keys


@pytest.mark.parametrize(
    "key",
    ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", ".hidden", "a/.b/c", "a\0b"],
)
def test_a_key_that_could_leave_the_store_or_hide_in_it_is_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="not an object key"):
        validated_key(key)
    for use in (store.get, store.head, store.uri, store.delete, lambda key: store.put(key, b"")):
        with pytest.raises(ValueError, match="not an object key"):
            use(key)


parts = st.text(
    st.characters(codec="ascii", categories=["L", "N"], include_characters="=-_. "), min_size=1
).filter(lambda part: not part.startswith("."))


@given(st.lists(parts, min_size=1, max_size=4).map("/".join))
def test_a_plain_relative_path_is_a_key(key: str) -> None:
    assert validated_key(key) == key


def test_the_checksum_is_the_one_of_the_castagnoli_polynomial() -> None:
    assert checksum(b"123456789") == 0xE3069283


# --- put_reconciled


def test_the_first_put_finds_nothing_and_the_next_finds_what_stands(store: ObjectStore) -> None:
    seen: list[bytes | None] = []

    def decide(present: Blob | None) -> bytes:
        seen.append(present.data if present else None)
        return b"%d" % len(seen)

    first = put_reconciled(store, "k", decide)
    second = put_reconciled(store, "k", decide)
    assert seen == [None, b"1"]
    assert first is not None
    assert second is not None
    assert store.get("k").info == second
    assert second.version > first.version


def test_deciding_for_nothing_writes_nothing(store: ObjectStore) -> None:
    assert put_reconciled(store, "k", lambda _: None) is None
    assert store.head("k") is None


def test_without_a_first_look_an_object_that_stands_is_still_found(store: ObjectStore) -> None:
    store.put("k", b"old ")
    seen: list[bytes | None] = []

    def decide(present: Blob | None) -> bytes:
        seen.append(present.data if present else None)
        return (present.data if present else b"") + b"new"

    assert put_reconciled(store, "k", decide, read_first=False) is not None
    assert seen == [None, b"old "]
    assert store.get("k").data == b"old new"


def test_a_faster_writer_is_reconciled_with_not_overwritten(store: ObjectStore) -> None:
    rivals = iter([b"one ", b"two "])

    def decide(present: Blob | None) -> bytes:
        rival = next(rivals, None)
        if rival is not None:
            store.put("k", (present.data if present else b"") + rival)
        return (present.data if present else b"") + b"mine"

    put_reconciled(store, "k", decide)
    assert store.get("k").data == b"one two mine"


def test_losing_every_race_ends_in_an_error_that_names_the_object(store: ObjectStore) -> None:
    def decide(present: Blob | None) -> bytes:
        store.put("k", b"the rival's")
        return b"mine"

    with pytest.raises(ObjectChanged, match=r"/k: lost 3 races"):
        put_reconciled(store, "k", decide, attempts=3)
    assert store.get("k").data == b"the rival's"


def test_no_update_of_eight_processes_is_lost_and_versions_grow(tmp_path: Path) -> None:
    workers = [start(increment, tmp_path, "folder/counter", 15) for _ in range(8)]
    told = [json.loads(answer(worker)) for worker in workers]
    store = LocalObjectStore(tmp_path)
    assert store.get("folder/counter").data == b"120"
    assert all(versions == sorted(versions) for versions in told)
    everything = sorted(version for versions in told for version in versions)
    assert len(set(everything)) == 120
    assert everything[-1] == store.get("folder/counter").info.version
    assert [info.key for info in store.list("")] == ["folder/counter"]


# --- get_many


@pytest.mark.parametrize("count", [0, 1, 7])
def test_many_objects_come_in_the_order_asked_each_with_its_own_error(store: ObjectStore, count: int) -> None:
    for number in range(0, count, 2):
        store.put(f"k{number}", str(number).encode())
    keys = [f"k{number}" for number in reversed(range(count))]
    got = list(get_many(store, keys, workers=2))
    assert [key for key, _ in got] == keys
    for key, blob in got:
        if int(key[1:]) % 2:
            assert isinstance(blob, ObjectNotFound)
            assert key in str(blob)
        else:
            assert isinstance(blob, Blob)
            assert blob.data.decode() == key[1:]


def test_more_objects_than_one_window_all_come(store: ObjectStore) -> None:
    keys = [f"k{number:02d}" for number in range(19)]
    for key in keys:
        store.put(key, key.encode())
    assert [
        blob.data.decode() for _, blob in get_many(store, keys, workers=2) if isinstance(blob, Blob)
    ] == keys


def test_the_version_of_no_object_sorts_before_every_version(store: ObjectStore) -> None:
    assert store.put("k", b"").version > ABSENT


# --- whose store it is


def test_an_empty_store_is_claimed_once_and_then_known(store: ObjectStore) -> None:
    claim(store, ["daily_prices"])
    marker = store.get(MARKER)
    claim(store, ["daily_prices"])
    assert store.get(MARKER) == marker
    store.put("of anyone", b"")
    claim(store, ["daily_prices"])


@pytest.mark.parametrize("key", ["daily_prices/exchange=US/x.parquet", "daily_prices.parquet"])
def test_a_store_that_holds_our_tables_is_ours(store: ObjectStore, key: str) -> None:
    store.put(key, b"")
    claim(store, ["daily_prices"])
    assert store.head(MARKER) is not None


def test_another_projects_store_is_left_alone(store: ObjectStore) -> None:
    store.put("photos/cat.jpg", b"")
    with pytest.raises(StoreUnavailable, match=r"photos/cat\.jpg.*QUANT_ASSETS_STORE"):
        claim(store, ["daily_prices"])
    assert [info.key for info in store.list("")] == ["photos/cat.jpg"]


@pytest.mark.parametrize("marker", [b'{"format": 2}', b"[]", b"{}"])
def test_a_store_of_another_format_is_refused(store: ObjectStore, marker: bytes) -> None:
    store.put(MARKER, marker)
    with pytest.raises(StoreUnavailable, match="upgrade"):
        claim(store, [])


def test_an_unreadable_marker_is_named_with_its_remedy(store: ObjectStore) -> None:
    store.put(MARKER, b"{")
    with pytest.raises(ObjectDamaged, match=f"{MARKER}: unreadable; remove it"):
        claim(store, [])
