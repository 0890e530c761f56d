"""What every home of the tables promises, checked on a folder and on a bucket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from quant_assets.resources.counters import WRITES, counted
from quant_assets.resources.object_store import (
    ABSENT,
    MARKER,
    Blob,
    ObjectChanged,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    StoreUnavailable,
    claim,
    is_claimed,
    put_reconciled,
)


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


# --- one object


def test_what_was_put_is_what_is_got(store: ObjectStore) -> None:
    before = counted(WRITES)
    data = bytes(range(256)) * 1000
    info = store.put("table/exchange=US/date=2024-03-15.parquet", data)
    assert counted(WRITES) == before + 1
    blob = store.get(info.key)
    assert (blob.data, blob.info) == (data, info)
    assert info == ObjectInfo("table/exchange=US/date=2024-03-15.parquet", len(data), info.version)
    assert store.head(info.key) == info
    assert list(store.list("")) == [info]
    assert store.uri(info.key) == f"{store.location}/{info.key}"
    assert store.location in repr(store)


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    info = store.put("k", b"")
    assert store.get("k") == Blob(b"", info)
    assert store.head("k") == info
    assert store.get_ranges("k", [(0, 0), (0, 5)], info.version) == [b"", b""]


def test_what_is_not_there_is_not_found(store: ObjectStore) -> None:
    store.put("folder/k", b"")
    version = store.put("other", b"").version
    for key in ("missing", "folder", "folder/k/below"):
        assert store.head(key) is None
        for use in (store.get, store.delete, lambda key: store.get_ranges(key, [(0, 1)], version)):
            with pytest.raises(ObjectNotFound, match=key):
                use(key)


def test_ranges_are_of_the_version_that_was_looked_at(store: ObjectStore) -> None:
    info = store.put("k", b"0123456789")
    ranges = [(0, 2), (8, 5), (3, 0), (10, 4), (20, 1)]
    assert store.get_ranges("k", ranges, info.version) == [b"01", b"89", b"", b"", b""]
    store.put("k", b"01234")
    # The last range lies past the end of what stands there now, and not of what was looked at.
    for offset in (0, 4, 8):
        with pytest.raises(ObjectChanged, match="/k: replaced"):
            store.get_ranges("k", [(offset, 1)], info.version)


# --- versions


def test_absent_only_creates(store: ObjectStore) -> None:
    store.put("k", b"first", if_version=ABSENT)
    with pytest.raises(ObjectChanged, match="/k: another writer was faster"):
        store.put("k", b"second", if_version=ABSENT)
    assert store.get("k").data == b"first"
    store.delete("k")
    store.put("k", b"third", if_version=ABSENT)
    assert store.get("k").data == b"third"


def test_a_put_over_another_version_than_the_one_read_is_refused(store: ObjectStore) -> None:
    old = store.put("k", b"old")
    with pytest.raises(ObjectChanged):
        store.put("absent", b"", if_version=old.version)
    assert store.head("absent") is None
    new = store.put("k", b"new", if_version=old.version)
    with pytest.raises(ObjectChanged):
        store.put("k", b"late", if_version=old.version)
    assert store.get("k") == Blob(b"new", new)


def test_versions_sort_in_the_order_they_were_written(store: ObjectStore) -> None:
    versions = [store.put("k", b"same").version for _ in range(20)]
    assert versions == sorted(set(versions))
    assert versions[0] > ABSENT


def test_what_is_deleted_is_gone_and_cannot_be_deleted_again(store: ObjectStore) -> None:
    store.put("k", b"")
    store.put("kk", b"")
    store.delete("k")
    assert keys(store) == ["kk"]
    with pytest.raises(ObjectNotFound):
        store.delete("k")
    last = store.put("k", b"")
    store.delete("k", if_version=last.version)
    assert store.head("k") is None


def test_one_of_many_creators_wins_and_the_others_are_told(store: ObjectStore) -> None:
    def create(number: int) -> ObjectInfo | None:
        try:
            return store.put("k", f"{number}".encode(), if_version=ABSENT)
        except ObjectChanged:
            return None

    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(create, range(12)))
    (winner,) = (number for number, info in enumerate(made) if info is not None)
    assert store.get("k") == Blob(str(winner).encode(), made[winner] or ObjectInfo("", 0, ""))


def test_no_update_of_many_threads_is_lost(store: ObjectStore) -> None:
    def more(present: Blob | None) -> bytes:
        return str(int(present.data) + 1 if present else 1).encode()

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: put_reconciled(store, "counter", more), range(40)))
    assert len({info.version for info in done if info is not None}) == 40
    assert store.get("counter").data == b"40"


# --- listing


def test_a_listing_is_sorted_and_of_the_prefix_alone(store: ObjectStore) -> None:
    names = ["b", "a/2", "a/1", "a/10", "ab", "a-", "a/b/c", "exchange=US/x", "exchange=USX/x"]
    infos = {name: store.put(name, name.encode()) for name in names}
    assert list(store.list("")) == [infos[name] for name in sorted(names)]
    for prefix in ("a", "a/", "a/1", "exchange=US", "exchange=US/", "missing", "b/"):
        assert keys(store, prefix) == [name for name in sorted(names) if name.startswith(prefix)]


def test_groups_are_the_beginnings_of_keys_through_the_next_end(store: ObjectStore) -> None:
    for name in (
        "t/date=2023-12-29",
        "t/date=2024-01-02",
        "t/date=2024-01-03",
        "t/date=none",
        "t/other-x",
        "u/a-b",
    ):
        store.put(name, b"")
    assert store.groups("t/date=", "-") == ["t/date=2023-", "t/date=2024-"]
    assert store.groups("t/date=2024-", "-") == ["t/date=2024-01-"]
    assert store.groups("t/", "=") == ["t/date="]
    assert store.groups("", "/") == ["t/", "u/"]
    assert store.groups("missing/", "-") == store.groups("t/date=2023-12-29", "-") == []


def test_an_empty_store_lists_nothing_and_has_nothing_to_sweep(store: ObjectStore) -> None:
    assert keys(store) == []
    assert store.sweep() == 0


# --- whose store it is


def test_looking_whether_a_store_can_be_written_leaves_nothing(store: ObjectStore) -> None:
    store.check_writable()
    assert keys(store) == []


def test_asking_whose_a_store_is_changes_nothing(store: ObjectStore) -> None:
    assert not is_claimed(store, ["daily_prices"])
    assert keys(store) == []
    claim(store, ["daily_prices"])
    assert is_claimed(store, [])
    assert keys(store) == [MARKER]
    store.delete(MARKER)
    store.put("photos/cat.jpg", b"meow")
    with pytest.raises(StoreUnavailable, match="another project"):
        is_claimed(store, ["daily_prices"])
    assert keys(store) == ["photos/cat.jpg"]
