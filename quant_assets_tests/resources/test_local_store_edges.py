"""Objects in a folder: the values on either side of every bound, and the names that files have."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from quant_assets.resources import local_store
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectInfo, StoreUnavailable

SECOND = 1_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "store")


def test_a_folder_is_near_by(store: LocalObjectStore) -> None:
    assert store.remote is False


def test_a_version_is_the_time_in_twenty_digits_the_inode_and_the_size(store: LocalObjectStore) -> None:
    info = store.put("k", b"four")
    found = Path(store.uri("k")).stat()
    assert info == ObjectInfo("k", 4, f"{found.st_mtime_ns:020d}-{found.st_ino}-4")


@pytest.mark.parametrize(("ahead", "expected"), [(-1, 0), (0, 1), (10, 11)])
def test_a_put_is_stamped_now_or_just_after_what_it_replaces(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, ahead: int, expected: int
) -> None:
    now = 2_000_000_000 * SECOND
    store.put("k", b"")
    os.utime(store.uri("k"), ns=(now + ahead, now + ahead))
    monkeypatch.setattr(local_store, "time", SimpleNamespace(time_ns=lambda: now))
    store.put("k", b"")
    store.put("new", b"")
    stamps = [Path(store.uri(key)).stat().st_mtime_ns for key in ("k", "new")]
    assert stamps == [now + expected, now]


@pytest.mark.parametrize("key", ["k", "table/exchange=US/date=2024-03-15.parquet", "a", "b", "c"])
def test_a_key_is_locked_in_one_of_sixty_four_files(store: LocalObjectStore, key: str) -> None:
    """Releases that write to one store at the same time have to agree on which."""
    store.put(key, b"")
    (lock,) = Path(store.location, ".locks").iterdir()
    assert lock.name == f"{zlib.crc32(key.encode()) % 64:02d}"


# What is remembered of folders.


@pytest.mark.parametrize(("age", "kept"), [(0, False), (3 * SECOND, False), (3 * SECOND + 1, True)])
def test_a_folder_is_remembered_once_it_has_been_left_alone_for_three_seconds(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, age: int, kept: bool
) -> None:
    monkeypatch.setattr(local_store, "_groups", {})
    store.put("t/date=2023-01-02", b"")
    folder = Path(store.location, "t")
    changed = folder.stat().st_mtime_ns
    monkeypatch.setattr(local_store, "time", SimpleNamespace(time_ns=lambda: changed + age))
    listed: list[str] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: (listed.append(str(path)), listdir(path))[1])
    for _ in range(2):
        assert store.groups("t/date=", "-") == ["t/date=2023-"]
    assert listed == [str(folder)] * (1 if kept else 2)
    # What the caller does with its answer is not remembered.
    store.groups("t/date=", "-").clear()
    assert store.groups("t/date=", "-") == ["t/date=2023-"]
    # A change is seen, and what another question found is not answered.
    os.utime(folder, ns=(changed - SECOND, changed - SECOND))
    assert store.groups("t/date=", "-") == ["t/date=2023-"]
    assert len(listed) == (2 if kept else 5)
    assert store.groups("t/", "=") == ["t/date="]


@pytest.mark.parametrize(("known", "left"), [(254, 255), (255, 256), (256, 1)])
def test_so_many_folders_are_remembered(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, known: int, left: int
) -> None:
    remembered = {(str(number), "", "", ""): ((0, 0), list[str]()) for number in range(known)}
    monkeypatch.setattr(local_store, "_groups", remembered)
    store.put("t/date=2023-01-02", b"")
    os.utime(Path(store.location, "t"), (1, 1))
    assert store.groups("t/date=", "-") == ["t/date=2023-"]
    assert len(remembered) == left


def test_groups_are_found_beside_names_that_hide_or_have_no_end(store: LocalObjectStore) -> None:
    for key in ("a-1", "a-2", "b-", "c", "sub/d-1", "sub/deep/e-1"):
        store.put(key, b"")
    Path(store.location, ".x-1").write_bytes(b"")
    assert store.groups("", "-") == ["a-", "b-"]
    assert store.groups("a", "-") == ["a-"]
    assert store.groups("sub/", "-") == ["sub/d-"]
    assert store.groups("sub/", "/") == ["sub/deep/"]
    assert store.groups("sub/d", "/") == ["sub/deep/"]
    assert store.groups("", "/") == ["sub/"]
    assert store.groups("missing/", "-") == store.groups("c/", "-") == store.groups("c/", "/") == []


def test_a_folder_that_cannot_be_listed_is_told(store: LocalObjectStore) -> None:
    store.put("k", b"")
    with pytest.raises(StoreUnavailable, match=r"cannot list .*: File name too long \(check the folder's"):
        store.groups("n" * 300 + "/x", "-")


def test_a_listing_goes_on_after_what_is_hidden(store: LocalObjectStore) -> None:
    for name in ("a", "z", "sub/x"):
        store.put(name, b"")
    for hidden in ("m", "q", ".b"):
        Path(store.location, f".{hidden}").write_bytes(b"")
    assert [info.key for info in store.list("")] == ["a", "sub/x", "z"]
    assert [info.key for info in store.list("su")] == ["sub/x"]
    assert [info.key for info in store.list("sub/x/y")] == []


# What writers leave.


@pytest.mark.parametrize(("age", "swept"), [(86_399, 0), (86_400, 0), (86_401, 1), (-5, 0)])
def test_what_another_machine_left_is_swept_after_a_day(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, age: int, swept: int
) -> None:
    temp = Path(store.location, ".tmp", "elsewhere@1-a")
    temp.parent.mkdir(parents=True)
    temp.write_bytes(b"half")
    os.utime(temp, (1_000_000, 1_000_000))
    monkeypatch.setattr(local_store, "time", SimpleNamespace(time=lambda: 1_000_000 + age))
    assert store.sweep() == swept
    assert temp.exists() is (swept == 0)


@pytest.mark.parametrize(
    ("name", "swept"),
    [("{host}@{dead}-a", True), ("{host}@{mine}-a", False), ("{host}@x-a", False), ("other@{dead}-a", False),
     ("{dead}-a", False), ("a@{host}@{dead}-a", False), ("{host}@-{dead}", False)],
)  # fmt: skip
def test_what_a_dead_process_of_this_machine_left_is_swept(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, name: str, swept: bool
) -> None:
    asked: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        asked.append((pid, number))
        if pid == 123_456:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    folder = Path(store.location, ".tmp")
    folder.mkdir(parents=True)
    (folder / name.format(host=socket.gethostname(), dead=123_456, mine=os.getpid())).write_bytes(b"half")
    assert store.sweep() == swept
    assert len(list(folder.iterdir())) == (not swept)
    # No process is sent anything.
    assert {number for _, number in asked} <= {0}


def test_a_temp_file_is_named_for_its_writer(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda source, target: (names.append(Path(source).name), replace(source, target))[1]
    )
    store.put("k", b"")
    (name,) = names
    assert re.fullmatch(rf"{re.escape(socket.gethostname())}@{os.getpid()}-[0-9a-f]{{32}}", name)


def test_no_descriptor_is_left_open(store: LocalObjectStore) -> None:
    def use() -> int:
        info = store.put("k", b"bytes")
        store.get("k")
        store.get_ranges("k", [(0, 1)], info.version)
        list(store.list(""))
        store.delete("k")
        return len([*Path("/proc/self/fd").iterdir()])

    before = use()
    assert use() <= before


def test_a_full_disk_leaves_no_temp_file(store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    store.put("k", b"old")
    monkeypatch.setattr(os, "fsync", full)
    for use, verb in ((lambda: store.put("k", b"new"), "write"), (store.check_writable, "write to")):
        with pytest.raises(StoreUnavailable, match=rf"cannot {verb} .*: No space left on device \(check"):
            use()
    assert list(Path(store.location, ".tmp").iterdir()) == []
    assert store.get("k").data == b"old"


def test_an_error_without_words_of_the_system_is_told_in_its_own(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError("out of luck")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreUnavailable, match="out of luck"):
        store.put("k", b"")


def test_what_is_put_meanwhile_waits_for_the_lock(store: LocalObjectStore) -> None:
    done = threading.Event()
    with store._locked("k"):
        writer = threading.Thread(target=lambda: (store.put("k", b""), done.set()))
        writer.start()
        time.sleep(0.05)
        assert not done.is_set()
        # Another key is not locked.
        store.put("a", b"")
    writer.join(30)
    assert done.is_set()
