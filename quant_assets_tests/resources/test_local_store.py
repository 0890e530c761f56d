"""Objects in a folder: replaced in one step, guarded by versions, and whole after any crash."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.resources.counters import WRITES, counted
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectInfo, ObjectNotFound, StoreUnavailable
from quant_assets_tests.resources.workers import (
    answer,
    pattern,
    put_forever,
    put_with_little_room,
    read_while,
    start,
)


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "store")


def temps(store: LocalObjectStore) -> list[Path]:
    return list(Path(store.location, ".tmp").iterdir())


# --- groups


@pytest.mark.parametrize("age", [0, 3600])
def test_groups_are_those_there_are_however_long_a_folder_has_been_left_alone(
    store: LocalObjectStore, age: int
) -> None:
    folder, inner = Path(store.location, "t"), LocalObjectStore(Path(store.location, "t"))

    def left_alone() -> None:
        os.utime(folder, (time.time() - age, time.time() - age))

    def years() -> list[str]:
        found = store.groups("t/date=", "-")
        assert inner.groups("date=", "-") == [name.removeprefix("t/") for name in found]
        return found

    store.put("t/date=2023-01-02", b"")
    for _ in range(2):
        left_alone()
        assert years() == ["t/date=2023-"]
        assert years() == ["t/date=2023-"]
        store.put("t/date=2024-01-02", b"")
        assert years() == ["t/date=2023-", "t/date=2024-"]
        left_alone()
        assert years() == ["t/date=2023-", "t/date=2024-"]
        store.delete("t/date=2024-01-02")
        assert years() == ["t/date=2023-"]


# --- one object


def test_what_was_put_is_what_is_got(store: LocalObjectStore) -> None:
    before = counted(WRITES)
    info = store.put("table/part=1.parquet", b"rows")
    assert counted(WRITES) == before + 1
    blob = store.get("table/part=1.parquet")
    assert (blob.data, blob.info) == (b"rows", info)
    assert info == ObjectInfo("table/part=1.parquet", 4, info.version)
    assert store.head("table/part=1.parquet") == info
    assert Path(store.uri("table/part=1.parquet")).read_bytes() == b"rows"
    assert store.location in repr(store)
    assert temps(store) == []


def test_what_is_not_there_is_not_found(store: LocalObjectStore) -> None:
    store.put("file", b"")
    for key in ("missing", "no/folder", "file/below"):
        assert store.head(key) is None
        for use in (store.get, store.delete, lambda key: store.get_ranges(key, [(0, 1)], "")):
            with pytest.raises(ObjectNotFound, match=key):
                use(key)


def test_a_folder_of_objects_is_no_object(store: LocalObjectStore) -> None:
    store.put("folder/k", b"")
    assert store.head("folder") is None
    for use in (store.get, store.delete, lambda key: store.get_ranges(key, [(0, 1)], "")):
        with pytest.raises(ObjectNotFound, match="folder"):
            use("folder")
    with pytest.raises(StoreUnavailable, match="folder"):
        store.put("folder", b"")
    assert temps(store) == []


# --- versions


def test_the_version_grows_even_when_the_clock_goes_back(store: LocalObjectStore) -> None:
    versions = [store.put("k", b"same").version for _ in range(50)]
    assert versions == sorted(set(versions))
    tomorrow = time.time() + 86_400
    os.utime(store.uri("k"), (tomorrow, tomorrow))
    ahead = store.head("k")
    assert ahead is not None
    assert store.put("k", b"same").version > ahead.version > versions[-1]


# --- listing

names = st.lists(st.sampled_from(["a", "ab", "b", "exchange=US", "exchange=USX"]), min_size=1, max_size=3)


@settings(max_examples=40)
@given(st.sets(names.map(lambda parts: "/".join(parts) + ".x"), max_size=8), st.text("abx/=.", max_size=4))
def test_a_listing_has_the_objects_whose_key_starts_with_the_prefix(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], prefix: str
) -> None:
    store = LocalObjectStore(tmp_path_factory.mktemp("list"))
    infos = {key: store.put(key, key.encode()) for key in keys}
    wanted = [*keys, *{key[: len(key) // 2] for key in keys}, *{key.rpartition("/")[0] for key in keys}, ""]
    for start_of_key in wanted:
        expected = [infos[key] for key in sorted(keys) if key.startswith(start_of_key)]
        assert list(store.list(start_of_key)) == expected
    if not prefix.startswith("/") and "//" not in prefix and "." not in prefix:
        assert [info.key for info in store.list(prefix)] == sorted(k for k in keys if k.startswith(prefix))


def test_a_listing_stays_inside_the_store_and_passes_over_what_is_hidden(store: LocalObjectStore) -> None:
    store.put("k", b"")
    Path(store.location).with_name("outside").write_bytes(b"")
    Path(store.location, ".hidden").write_bytes(b"")
    assert [info.key for info in store.list("")] == ["k"]
    assert list(store.list("missing/")) == []
    assert list(store.list("k/below")) == []
    assert list(store.list("/")) == []
    for prefix in ("../", "/etc/", "a/../../"):
        with pytest.raises(ValueError, match="not an object key"):
            list(store.list(prefix))


def test_an_empty_store_lists_nothing(store: LocalObjectStore) -> None:
    assert list(store.list("")) == []
    assert store.sweep() == 0


# --- durability


class Traced:
    """The calls that make a put durable, in order: what was synced, what was renamed and what was removed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        fsync, replace, unlink = os.fsync, os.replace, os.unlink

        def traced_fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            # What is not written by now is not made durable by this call.
            self.calls.append(
                ("fsync", f"{path.name}:{path.stat().st_size}" if path.is_file() else str(path))
            )
            fsync(descriptor)

        def traced_replace(source: Path, target: Path) -> None:
            self.calls.append(("rename", f"{Path(source).name} to {target}"))
            replace(source, target)

        def traced_unlink(path: Path, **more: int) -> None:
            unlink(path, **more)
            self.calls.append(("unlink", str(path)))

        monkeypatch.setattr(os, "fsync", traced_fsync)
        monkeypatch.setattr(os, "replace", traced_replace)
        monkeypatch.setattr(os, "unlink", traced_unlink)


@pytest.fixture
def traced(store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch) -> Traced:
    """The calls of a store whose own folders are there."""
    store.check_writable()
    store.put("other", b"")
    return Traced(monkeypatch)


def test_put_syncs_the_bytes_before_the_rename_and_the_folder_after_it(
    store: LocalObjectStore, traced: Traced
) -> None:
    store.put("k", b"twelve bytes")
    (first, synced), (second, renamed), (third, folder) = traced.calls
    temp = synced.partition(":")[0]
    assert (first, synced) == ("fsync", f"{temp}:12")
    assert (second, renamed) == ("rename", f"{temp} to {store.uri('k')}")
    assert (third, folder) == ("fsync", store.location)
    # Replacing an object is as durable as making one.
    traced.calls.clear()
    store.put("k", b"twelve other")
    assert [name for name, _ in traced.calls] == ["fsync", "rename", "fsync"]


def test_put_syncs_the_parents_of_the_folders_it_makes(store: LocalObjectStore, traced: Traced) -> None:
    store.put("table/exchange=US/k", b"rows")
    root = store.location
    names = [name for name, _ in traced.calls]
    assert names.index("rename") == names.count("fsync") - 1
    parents = {path for name, path in traced.calls[: names.index("rename")] if name == "fsync"}
    assert {root, f"{root}/table"} <= parents
    assert traced.calls[-1] == ("fsync", f"{root}/table/exchange=US")
    # They are there now.
    traced.calls.clear()
    store.put("table/exchange=US/other", b"rows")
    assert len(traced.calls) == 3


def test_delete_syncs_the_folder_after_the_object_is_gone(store: LocalObjectStore, traced: Traced) -> None:
    store.put("table/k", b"rows")
    traced.calls.clear()
    store.delete("table/k")
    assert traced.calls == [("unlink", store.uri("table/k")), ("fsync", f"{store.location}/table")]


# --- other processes


def test_readers_see_whole_objects_while_one_is_replaced_over_and_over(store: LocalObjectStore) -> None:
    store.put("k", pattern(0))
    writer = start(put_forever, store.location, "k")
    readers = [start(read_while, store.location, "k", 1.5) for _ in range(2)]
    try:
        seen = [int(answer(reader)) for reader in readers]
    finally:
        writer.kill()
        writer.communicate()
    assert min(seen) > 5


def test_a_writer_killed_at_any_moment_leaves_a_whole_object_and_what_it_leaves_is_swept(
    store: LocalObjectStore,
) -> None:
    store.put("k", pattern(0))
    swept = 0
    for number in range(40):
        if number >= 5 and swept:
            break
        writer = start(put_forever, store.location, "k")
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.013 * (number % 7))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        data = store.get("k").data
        assert data == pattern(data[0])
        left = len(temps(store))
        assert left <= 1
        assert store.sweep() == left
        assert temps(store) == []
        swept += left
        store.put("k", pattern(number), if_version=store.get("k").info.version)
    assert swept
    assert [info.key for info in store.list("")] == ["k"]


def test_only_what_dead_or_forgotten_writers_left_is_swept(store: LocalObjectStore) -> None:
    folder = Path(store.location, ".tmp")
    folder.mkdir(parents=True)
    ended = start(put_with_little_room, store.location, "k", 10)
    answer(ended)
    mine, here = os.getpid(), socket.gethostname()
    for name in (
        f"{here}@{ended.pid}-a",
        f"{here}@{mine}-b",
        "elsewhere@1-c",
        "elsewhere@1-old",
        f"{here}@1-d",
    ):
        (folder / name).write_bytes(b"half")
    os.utime(folder / "elsewhere@1-old", (1, 1))
    assert store.sweep() == 2
    assert {temp.name for temp in temps(store)} == {f"{here}@{mine}-b", "elsewhere@1-c", f"{here}@1-d"}


def test_what_a_process_of_another_user_writes_is_not_swept(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    temp = Path(store.location, ".tmp", f"{socket.gethostname()}@1-theirs")
    temp.parent.mkdir(parents=True)
    temp.write_bytes(b"half")
    monkeypatch.setattr(os, "kill", refuse)
    assert store.sweep() == 0
    assert temps(store) == [temp]


def test_looking_whether_a_store_can_be_written_leaves_nothing(store: LocalObjectStore) -> None:
    store.check_writable()
    assert temps(store) == []
    assert list(store.list("")) == []


def test_every_user_who_may_write_files_may_lock_a_key(store: LocalObjectStore) -> None:
    before = os.umask(0)
    try:
        store.put("k", b"")
    finally:
        os.umask(before)
    (lock,) = Path(store.location, ".locks").iterdir()
    assert lock.stat().st_mode & 0o777 == 0o666


# --- stores that cannot be written


def test_a_full_disk_is_told_with_its_remedy_and_leaves_the_old_object(store: LocalObjectStore) -> None:
    old = store.put("k", b"old")
    told = answer(start(put_with_little_room, store.location, "k", 20_000))
    assert store.uri("k") in told
    assert "File too large" in told
    assert "free space" in told
    assert "QUANT_ASSETS_STORE" in told
    assert store.get("k").info == old
    assert temps(store) == []


def test_a_store_below_a_regular_file_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = LocalObjectStore(tmp_path / "file" / "store")
    for use in (store.check_writable, lambda: store.put("k", b"")):
        with pytest.raises(StoreUnavailable, match=r"cannot write .*file/store.*QUANT_ASSETS_STORE"):
            use()
    assert list(store.list("")) == []


def test_an_object_below_another_object_cannot_be_put(store: LocalObjectStore) -> None:
    old = store.put("file", b"old")
    with pytest.raises(StoreUnavailable, match="file/below"):
        store.put("file/below", b"")
    assert store.get("file").info == old
    assert temps(store) == []


def test_a_path_the_disk_cannot_hold_is_told_by_every_call(store: LocalObjectStore) -> None:
    store.put("k", b"")
    key = "n" * 300
    calls = {
        "read": [lambda: store.get(key), lambda: store.get_ranges(key, [], "")],
        "look at": [lambda: store.head(key)],
        "write": [lambda: store.put(key, b"")],
        "list": [lambda: list(store.list(f"{key}/"))],
        "delete": [lambda: store.delete(key)],
    }
    for verb, uses in calls.items():
        for use in uses:
            with pytest.raises(StoreUnavailable, match=f"cannot {verb} .*QUANT_ASSETS_STORE"):
                use()
    assert temps(store) == []
