"""What the storage layer makes of any store, by value: formats, keys and markers; and small things beside it."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quant_assets.resources import locks
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.counters import count, counted
from quant_assets.resources.gcs_store import GcsObjectStore
from quant_assets.resources.interrupts import Interrupted
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.locks import one_at_a_time
from quant_assets.resources.object_store import (
    FORMAT,
    MARKER,
    STORE_FORMAT,
    Blob,
    NewerFormat,
    ObjectChanged,
    ObjectDamaged,
    ObjectInfo,
    StoreUnavailable,
    claim,
    get_many,
    is_claimed,
    put_reconciled,
    refuse_newer,
)
from quant_assets.resources.open_store import open_store
from quant_assets.resources.run_view import RunView
from quant_assets.resources.settings import SettingsError
from quant_assets.resources.source import FetchResult, HistoryRequest, Meta, Outcome, UnreadableEvent


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "store")


# Formats.


def test_the_formats_are_what_releases_have_agreed_on() -> None:
    assert (STORE_FORMAT, FORMAT, MARKER) == (1, 2, "quant-assets.json")


@pytest.mark.parametrize("found", [None, 0, 1, 2])
def test_a_format_that_is_known_is_taken(found: object) -> None:
    refuse_newer(found, "a/b")


@pytest.mark.parametrize("found", [3, 99, "1", 1.0, [1], ""])
def test_any_other_format_is_refused(found: object) -> None:
    with pytest.raises(NewerFormat) as refused:
        refuse_newer(found, "a/b")
    assert str(refused.value) == (
        f"a/b: written in format {found}, this version reads up to 2: upgrade quant-assets"
    )


# Whose store it is.


def test_a_claimed_store_says_so_in_its_marker(store: LocalObjectStore) -> None:
    claim(store, [])
    assert store.get(MARKER).data == b'{"format": 1}'
    assert is_claimed(store, []) is True


@pytest.mark.parametrize(
    ("marker", "found"),
    [
        (b'{"format": 0}', "0"),
        (b'{"format": 2}', "2"),
        (b'{"format": "1"}', "'1'"),
        (b"{}", "None"),
        (b"[1]", "None"),
    ],
)
def test_a_marker_of_another_format_is_shown(store: LocalObjectStore, marker: bytes, found: str) -> None:
    store.put(MARKER, marker)
    with pytest.raises(StoreUnavailable) as refused:
        is_claimed(store, [])
    assert str(refused.value) == (
        f"{store.uri(MARKER)} says format {found}, this version writes 1: upgrade quant-assets, or choose another "
        "store"
    )


def test_a_marker_that_is_no_json_is_shown(store: LocalObjectStore) -> None:
    for marker in (b"", b"{", b"\xff"):
        store.put(MARKER, marker)
        with pytest.raises(ObjectDamaged):
            is_claimed(store, [])


@pytest.mark.parametrize(
    ("key", "ours"),
    [("t/x", True), ("t/x/y", True), ("t.parquet", True), ("t", True), ("u/x", False), ("x/t", False),
     ("t.csv", False), ("x.parquet/t", False), ("tt/x", False)],
)  # fmt: skip
def test_a_store_without_a_marker_is_ours_by_its_first_object(
    store: LocalObjectStore, key: str, ours: bool
) -> None:
    store.put(key, b"")
    if ours:
        assert is_claimed(store, ["t"]) is False
    else:
        with pytest.raises(StoreUnavailable, match="holds another project's objects"):
            is_claimed(store, ["t"])


def test_a_store_that_cannot_be_written_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="cannot write"):
        claim(LocalObjectStore(tmp_path / "file"), [])


# Replacing and reading many.


class Contested(LocalObjectStore):
    """Somebody else is always faster."""

    def put(self, key: str, data: bytes, *, if_version: str | None = None) -> ObjectInfo:
        raise ObjectChanged("another writer was faster")


def test_a_contested_write_is_tried_fifty_times(tmp_path: Path) -> None:
    seen: list[Blob | None] = []

    def decide(present: Blob | None) -> bytes:
        seen.append(present)
        return b"mine"

    with pytest.raises(ObjectChanged, match="/k: lost 50 races against other writers; try again later"):
        put_reconciled(Contested(tmp_path), "k", decide)
    assert seen == [None] * 50


@pytest.mark.parametrize(
    ("keys", "workers"), [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (8, 2), (9, 2)]
)
def test_many_are_read_each_once_in_order(store: LocalObjectStore, keys: int, workers: int) -> None:
    names = [f"k{number:02d}" for number in range(keys)]
    for name in names:
        store.put(name, name.encode())
    assert [(key, getattr(blob, "data", blob)) for key, blob in get_many(store, names, workers=workers)] == [
        (name, name.encode()) for name in names
    ]


# Opening.


@pytest.mark.parametrize(
    ("location", "kind", "found"),
    [
        ("gs://b", GcsObjectStore, "gs://b"),
        ("gs://b/", GcsObjectStore, "gs://b"),
        ("gs://b/p/q/", GcsObjectStore, "gs://b/p/q"),
        ("/data/tables", LocalObjectStore, "/data/tables"),
        ("/data/gs:/b", LocalObjectStore, "/data/gs:/b"),
    ],
)
def test_a_location_is_a_folder_or_a_bucket(location: str, kind: type, found: str) -> None:
    store = open_store(location)
    assert (type(store), store.location) == (kind, found)


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("gs://", "names no bucket (write gs://bucket/prefix)"),
        ("gs:///p", "names no bucket (write gs://bucket/prefix)"),
        ("s3://b/p", "no such kind of store (name a folder, or gs://bucket/prefix)"),
    ],
)
def test_any_other_location_is_refused(location: str, told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_store(location)
    assert str(refused.value).startswith(f"QUANT_ASSETS_STORE={location!r}")
    assert str(refused.value).endswith(told)


# A view of it.


def test_a_view_is_of_its_store(store: LocalObjectStore) -> None:
    view = RunView(store, ["r/"], ["r/"])
    info = view.put("r/k", b"bytes")
    assert (view.location, view.remote, view.uri("r/k")) == (store.location, False, store.uri("r/k"))
    assert view.get_ranges("r/k", [(1, 2)], info.version) == [b"yt"]
    Path(store.location, ".tmp", "elsewhere@1-old").write_bytes(b"half")
    os.utime(Path(store.location, ".tmp", "elsewhere@1-old"), (1, 1))
    assert view.sweep() == 1
    assert RunView(GcsObjectStore("b", ""), [], []).remote is True


def test_a_view_of_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable):
        RunView(LocalObjectStore(tmp_path / "file"), [], []).check_writable()


@pytest.mark.parametrize("newer", [True, False])
def test_what_is_put_while_a_listing_is_under_way_is_in_it(store: LocalObjectStore, newer: bool) -> None:
    view = RunView(store, [], ["c/"])
    mine = view.put("c/k", b"mine")
    view.put("c/new", b"")
    store.delete("c/new")
    theirs = store.put("c/k", b"theirs")
    view.put("d/k", b"")
    if newer:
        # As if the listing had been answered before the run's own put.
        view._put["c/k"], mine = theirs, mine
        store.put("c/k", b"", if_version=theirs.version)
        os.utime(store.uri("c/k"), (1, 1))
    found = {info.key: info for info in view.list("c/")}
    assert [*found] == ["c/k", "c/new"]
    assert found["c/k"] == theirs
    assert mine.version < theirs.version


# Locks.


def test_a_lock_makes_its_folders_for_everybody_and_is_free_again(tmp_path: Path) -> None:
    file, waits = tmp_path / "some" / "folders" / "lock", list[int]()
    before = os.umask(0)
    try:
        for _ in range(2):
            with one_at_a_time(file, lambda: waits.append(1)):
                pass
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o666
    assert waits == []


def test_a_lock_is_looked_at_five_times_a_second_and_the_waiting_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, release, pauses = threading.Event(), threading.Event(), list[float]()

    def hold() -> None:
        with one_at_a_time(tmp_path / "lock"):
            held.set()
            release.wait(30)

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 3:
            release.set()
            holder.join(30)
        return False

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    monkeypatch.setattr(locks, "wait_unless_interrupted", wait)
    told: list[int] = []
    with one_at_a_time(tmp_path / "lock", lambda: told.append(len(pauses))):
        assert pauses == [0.2] * 3
    assert told == [0]


def test_who_waits_for_a_lock_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "wait_unless_interrupted", lambda _: True)
    with (
        one_at_a_time(tmp_path / "lock"),
        pytest.raises(Interrupted, match="the run was interrupted"),
        one_at_a_time(tmp_path / "lock"),
    ):
        pytest.fail("two hold it")


# Small things.


def test_a_count_goes_up_by_one_or_by_as_many_as_are_said() -> None:
    before = counted("these")
    count("these")
    assert counted("these") == before + 1
    count("these", 3)
    assert counted("these") == before + 4


def test_a_clock_is_fixed_in_utc() -> None:
    assert ClockResource(fixed="2013-03-02T10:00:00+11:00").now() == datetime(2013, 3, 1, 23, tzinfo=UTC)


def test_a_result_holds_nothing_that_it_is_not_given() -> None:
    result = FetchResult("A", Outcome.OK)
    for frame in (result.bars, result.splits, result.dividends):
        assert frame.is_empty()
    assert (result.reason, result.currency, result.first_trade, result.meta) == ("", None, None, Meta())
    assert (result.dropped, result.unreadable, result.shifted, result.notes, result.facts) == (
        {},
        [],
        [],
        [],
        {},
    )
    request = HistoryRequest("A", datetime(2013, 1, 2, tzinfo=UTC).date(), "UTC")
    assert (request.close, request.sessions) == (None, ())
    told = [str(UnreadableEvent(day, "capital_gain", "x")) for day in (None, request.start)]
    assert told == [
        "a capital gain that cannot be read (without a date: x)",
        "a capital gain that cannot be read (2013-01-02: x)",
    ]
