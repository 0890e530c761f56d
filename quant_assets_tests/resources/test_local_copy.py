"""Local copies of a bucket's objects: on the emulator, behind a proxy that cuts it off."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quant_assets.resources.gcs_store import GcsObjectStore
from quant_assets.resources.local_copy import LocalCopy
from quant_assets.resources.object_store import MARKER, ObjectNotFound, StoreUnavailable
from quant_assets.resources.open_store import open_copy
from quant_assets.resources.settings import Settings
from quant_assets_tests.gcs_proxy import Fault, FaultProxy, fault_proxy


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def line(bucket: str, emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """What lies between the bucket and its readers."""
    with fault_proxy(emulator) as between:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", between.url)
        yield between


@pytest.fixture
def store(bucket: str, line: FaultProxy) -> GcsObjectStore:
    made = GcsObjectStore(bucket, "", patience=1.5)
    made.put(MARKER, b"{}")
    return made


@pytest.fixture
def open_copies(store: GcsObjectStore, tmp_path: Path) -> Iterator[Callable[..., LocalCopy]]:
    opened: list[LocalCopy] = []

    def open_(limit: int = 1_000_000, clock: Callable[[], float] = time.time) -> LocalCopy:
        opened.append(LocalCopy(store, tmp_path / "copies", limit, clock=clock))
        return opened[-1]

    yield open_
    for one in opened:
        with contextlib.suppress(OSError):
            one.close()


def cut(line: FaultProxy) -> None:
    line.faults = [Fault("reset")]


def mend(line: FaultProxy, copies: LocalCopy) -> None:
    line.faults = []
    deadline = time.monotonic() + 20
    while copies.breaker.reason is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def copied(copies: LocalCopy, objects: int) -> None:
    deadline = time.monotonic() + 20
    while copies.facts()["objects"] != objects:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_has_been_read_is_read_on_while_the_bucket_is_away_and_says_since_when(
    store: GcsObjectStore, line: FaultProxy, open_copies: Callable[..., LocalCopy]
) -> None:
    clock = Clock()
    copies = open_copies(clock=clock)
    info = store.put("t/a", b"one")
    store.put("t/b", b"other")
    view = copies.view()
    assert [one.key for one in view.list("t/")] == ["t/a", "t/b"]
    assert view.get("t/a").data == b"one"
    assert view.head("t/a") == info
    assert view.head("t/c") is None
    assert view.groups("t", "/") == ["t/"]
    assert view.stale_since is None

    clock.now += 60
    assert copies.view().get("t/a").data == b"one"
    clock.now += 60
    cut(line)
    view = copies.view()
    assert view.get("t/a").data == b"one"
    assert view.stale_since == datetime.fromtimestamp(clock.now - 60, UTC)
    assert [one.key for one in view.list("t/")] == ["t/a", "t/b"]
    assert view.head("t/a") == info
    assert view.head("t/c") is None
    assert view.groups("t", "/") == ["t/"]
    assert view.stale_since == datetime.fromtimestamp(clock.now - 120, UTC)
    with pytest.raises(StoreUnavailable):
        view.get("t/b")
    with pytest.raises(StoreUnavailable):
        list(view.list("u/"))

    asked = line.asked.total()
    for _ in range(20):
        copies.view().get("t/a")
    # Only the breaker asks, in its own time.
    assert line.asked.total() - asked <= 1

    mend(line, copies)
    view = copies.view()
    assert view.get("t/b").data == b"other"
    assert view.get("t/a").data == b"one"
    assert view.stale_since is None


def test_nothing_stale_is_read_while_the_bucket_answers(
    store: GcsObjectStore, line: FaultProxy, open_copies: Callable[..., LocalCopy]
) -> None:
    copies = open_copies()
    store.put("t/a", b"one")
    assert copies.view().get("t/a").data == b"one"
    downloads = ("GET", "alt=media")
    line.faults = [Fault("status", status=418, matching=downloads)]
    assert copies.view().get("t/a").data == b"one", "of this version there is a copy: none is downloaded"
    line.faults = []
    second = store.put("t/a", b"two")
    view = copies.view()
    assert view.get("t/a").data == b"two"
    assert list(view.list("t/")) == [second] == [view.head("t/a")]
    store.delete("t/a")
    assert list(view.list("t/")) == []
    assert view.head("t/a") is None
    with pytest.raises(ObjectNotFound):
        view.get("t/a")
    cut(line)
    assert list(view.list("t/")) == []
    assert view.head("t/a") is None
    with pytest.raises(ObjectNotFound):
        view.get("t/a")


def test_an_object_that_was_read_in_parts_is_copied_whole(
    store: GcsObjectStore, line: FaultProxy, open_copies: Callable[..., LocalCopy]
) -> None:
    copies = open_copies()
    data = bytes(range(256)) * 40
    info = store.put("t/a", data)
    assert copies.view().get_ranges("t/a", [(10, 5), (0, 2)], info.version) == [data[10:15], data[:2]]
    copied(copies, 1)
    store.put("t/b", b"other")
    copies.view().get("t/b")
    cut(line)
    view = copies.view()
    assert view.head("t/b") is not None, "what was read is known to be there"
    assert view.get_ranges("t/a", [(1000, 9)], info.version) == [data[1000:1009]]
    with pytest.raises(StoreUnavailable):
        view.get_ranges("t/a", [(0, 1)], f"{int(info.version) + 1:020d}")


def test_copies_stay_within_their_bytes_and_a_large_object_is_not_copied(
    store: GcsObjectStore, open_copies: Callable[..., LocalCopy], tmp_path: Path
) -> None:
    copies = open_copies(40_000)
    for number in range(12):
        store.put(f"t/{number:02d}", bytes([number]) * 9_000)
        copies.view().get(f"t/{number:02d}")
    store.put("t/large", bytes(11_000))
    copies.view().get("t/large")
    assert copies.facts() == {"objects": 4, "bytes": 36_000, "limit_bytes": 40_000, "away": None}
    files = [file for file in (tmp_path / "copies" / "0").iterdir() if file.stat().st_size]
    assert sum(file.stat().st_size for file in files) == 36_000


def test_another_process_begins_with_what_is_known_even_while_the_bucket_is_away(
    store: GcsObjectStore, line: FaultProxy, open_copies: Callable[..., LocalCopy], tmp_path: Path
) -> None:
    clock = Clock()
    first = open_copies(clock=clock)
    info = store.put("t/a", b"one")
    store.put("t/b", b"other")
    for key in ("t/a", "t/b"):
        first.view().get(key)
    list(first.view().list("t/"))
    beside = open_copies()
    assert beside.facts()["objects"] == 0, "each process has its own copies"
    first.close()
    own = tmp_path / "copies" / "0"
    spoiled = next(file for file in own.iterdir() if file.read_bytes() == b"other")
    spoiled.write_bytes(b"0ther")
    (own / "left-behind.tmp").write_bytes(b"x")

    cut(line)
    clock.now += 60
    second = open_copies(clock=clock)
    view = second.view()
    assert view.get("t/a").data == b"one"
    assert next(iter(view.list("t/"))).version == info.version
    assert view.stale_since == datetime.fromtimestamp(clock.now - 60, UTC)
    with pytest.raises(StoreUnavailable):
        view.get("t/b")
    assert not (own / "left-behind.tmp").exists()


def test_nothing_is_written_through_a_view(open_copies: Callable[..., LocalCopy]) -> None:
    view = open_copies().view()
    for write in (lambda: view.put("a", b""), lambda: view.delete("a"), view.check_writable, view.sweep):
        with pytest.raises(StoreUnavailable, match="write to the store itself"):
            write()


def test_only_a_bucket_is_copied_and_only_when_it_is_said(tmp_path: Path) -> None:
    assert open_copy(Settings(home=tmp_path, local_copy_mb=10)) is None
    assert open_copy(Settings(home=tmp_path, store="gs://bucket")) is None


def test_a_copy_that_somebody_cuts_off_is_taken_from_the_bucket_again(
    store: GcsObjectStore, open_copies: Callable[..., LocalCopy], tmp_path: Path
) -> None:
    copies = open_copies()
    info = store.put("a", bytes(range(200)))
    view = copies.view()
    assert view.get("a").data == bytes(range(200))
    (file,) = (
        one for one in (tmp_path / "copies" / "0").iterdir() if one.name not in ("claim", "index.json")
    )
    os.truncate(file, 50)
    assert view.get_ranges("a", [(0, 10), (40, 20)], info.version) == [bytes(range(10)), bytes(range(40, 60))]


def test_a_folder_that_takes_no_copies_any_more_is_no_error(
    store: GcsObjectStore, open_copies: Callable[..., LocalCopy], tmp_path: Path
) -> None:
    copies = open_copies()
    store.put("a", b"1")
    assert copies.view().get("a").data == b"1"
    # Read-only for everybody, root too: in place of each file stands a folder, which can be neither read nor removed.
    for file in [
        one for one in (tmp_path / "copies" / "0").iterdir() if one.name not in ("claim", "index.json")
    ]:
        file.unlink()
        (file / "x").mkdir(parents=True)
    for _ in range(2):
        assert copies.view().get("a").data == b"1"
