"""Care for a store: verify names what is damaged, rebuild-manifest brings back what stood, migrate moves it whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from quant_assets.dev.compare_stores import compare_stores
from quant_assets.maintenance.migrate import migrate_store
from quant_assets.maintenance.rebuild import rebuild_manifest
from quant_assets.maintenance.verify import verify_store
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import MARKER, ObjectDamaged, ObjectStore, StoreUnavailable
from quant_assets.resources.open_store import open_store
from quant_assets.tables.layout import CATALOG, DAILY, TOP_LEVEL, WEEKLY, expected_key, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import encode
from quant_assets_tests.filled import bars, cell, fill_store
from quant_assets_tests.gcs_proxy import Fault, fault_proxy

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = 160


@pytest.fixture
def at(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], ObjectStore]:
    """Opens a store by what it is for: "local:name" in a folder, "gcs:name" below a prefix of the test's bucket."""

    def open_it(place: str) -> ObjectStore:
        home, _, name = place.partition(":")
        if home == "gcs":
            return open_store(f"gs://{request.getfixturevalue('bucket')}/{name}")
        return open_store(str(tmp_path / name))

    return open_it


@pytest.fixture
def store(request: pytest.FixtureRequest, at: Callable[[str], ObjectStore]) -> ObjectStore:
    """A store of 160 objects, in a folder where the test does not ask for `EITHER`."""
    store = at(getattr(request, "param", "local:store"))
    fill_store(store, OBJECTS)
    return store


EITHER = pytest.mark.parametrize("store", ["local:store", "gcs:store"], indirect=True)
"""A test of each operation; what stores promise alike is tested at the stores (`resources/test_object_store.py`)."""


def everything(store: ObjectStore) -> dict[str, tuple[str, bytes]]:
    """Version and bytes of every object."""
    return {info.key: (info.version, store.get(info.key).data) for info in store.list("")}


def tamper(store: ObjectStore, key: str, data: bytes) -> None:
    """Changes an object's bytes; on a disk so that nothing but the bytes tells."""
    if not isinstance(store, LocalObjectStore):
        store.put(key, data)
        return
    path = Path(store.uri(key))
    stamp = path.stat().st_mtime_ns
    path.write_bytes(data)
    os.utime(path, ns=(stamp, stamp))


def swap(store: ObjectStore, one: str, other: str) -> None:
    if not isinstance(store, LocalObjectStore):
        first, second = store.get(one).data, store.get(other).data
        store.put(one, second)
        store.put(other, first)
        return
    paths = Path(store.uri(one)), Path(store.uri(other))
    paths[0].rename(paths[0].with_suffix(".aside"))
    paths[1].rename(paths[0])
    paths[0].with_suffix(".aside").rename(paths[1])


# --- verify


def test_a_sound_store_is_found_sound(store: ObjectStore) -> None:
    before = everything(store)
    steps: list[None] = []
    found = verify_store(store, lambda: steps.append(None))
    assert (found.objects, found.damaged) == (OBJECTS, {})
    assert len(steps) == OBJECTS
    assert everything(store) == before


@EITHER
def test_each_of_twenty_damages_is_found_and_no_other(store: ObjectStore) -> None:
    chance = random.Random(11)
    daily = [info.key for info in store.list(f"{DAILY}/")]
    weekly = [info.key for info in store.list(f"{WEEKLY}/exchange=US/")]
    chosen = chance.sample(daily, 13)
    damaged: set[str] = set()

    for number, key in enumerate(chosen[:4]):
        data = store.get(key).data
        tamper(store, key, data[: (0, 5, len(data) // 2, len(data) - 1)[number]])
    for number, key in enumerate(chosen[4:10]):
        data = bytearray(store.get(key).data)
        place = (0, len(data) // 3, len(data) // 2, len(data) * 3 // 4, len(data) - 9, len(data) - 1)[number]
        data[place] ^= 1 << number
        tamper(store, key, bytes(data))
    for key in chosen[10:13]:
        store.delete(key)
    damaged |= set(chosen)
    for pair in ([k for k in daily if k not in damaged][3:5], weekly[:2]):
        swap(store, *pair)
        damaged |= set(pair)
    for key, data in (
        (MARKER, b'{"format": 1'),
        (f"manifest/{WEEKLY}/exchange=ASX/year=2012.json", b""),
        (expected_key("US", "f" * 64), b"\xff"),
    ):
        tamper(store, key, data)
        damaged.add(key)

    found = verify_store(store)
    assert len(damaged) == 20
    assert set(found.damaged) == damaged
    for key, problem in found.damaged.items():
        assert store.uri(key) in problem


def test_a_manifest_that_is_json_and_no_manifest_is_named(store: ObjectStore) -> None:
    key = f"manifest/{DAILY}/exchange=US/year=2012.json"
    for data in (b"[]", b'{"2012-01-02": {}}', b'{"2012-01-02": 3}'):
        tamper(store, key, data)
        assert set(verify_store(store).damaged) == {key}


def test_rows_of_another_day_under_a_cells_key_are_named_though_no_manifest_tells(store: ObjectStore) -> None:
    one, other = [info.key for info in store.list(f"{DAILY}/exchange=US/")][:2]
    swap(store, one, other)
    for info in list(store.list("manifest/")):
        store.delete(info.key)
    assert set(verify_store(store).damaged) == {one, other}


def test_a_store_that_cannot_be_reached_is_not_called_damaged(
    at: Callable[[str], ObjectStore], bucket: str, emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_store(at("gcs:store"), 30)
    with fault_proxy(emulator) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        proxy.faults = [Fault("status", status=403, matching=("/o/",))]
        with pytest.raises(StoreUnavailable, match=f"bucket {bucket} .*objectAdmin"):
            verify_store(at("gcs:store"))


# --- rebuild-manifest


@EITHER
def test_a_manifest_made_anew_is_the_one_that_stood(store: ObjectStore) -> None:
    shards = {info.key: store.get(info.key).data for info in store.list("manifest/")}
    others = {key: told for key, told in everything(store).items() if key not in shards}
    assert any(b'"closed"' in shard for shard in shards.values())
    assert any(b'"failed"' in shard for shard in shards.values())
    recorded = rebuild_manifest(store)
    assert recorded == sum(1 for key in others if key.startswith((f"{DAILY}/", f"{WEEKLY}/")))
    assert {info.key: store.get(info.key).data for info in store.list("manifest/")} == shards
    assert {key: told for key, told in everything(store).items() if key not in shards} == others


@EITHER
def test_what_the_manifest_says_wrongly_of_objects_is_put_right(store: ObjectStore) -> None:
    key = f"manifest/{DAILY}/exchange=US/year=2012.json"
    right = Manifest(store, DAILY).year("US", 2012)
    first, *_ = (entry for entry in right.values() if entry.version)
    Manifest(store, DAILY).replace(
        "US", [replace(entry, rows=7, version="0") if entry == first else entry for entry in right.values()]
    )
    assert Manifest(store, DAILY).year("US", 2012) != right
    rebuild_manifest(store)
    assert Manifest(store, DAILY).year("US", 2012) == right
    tamper(store, key, b"not a manifest")
    rebuild_manifest(store)
    # What had no object is known from nowhere else.
    assert Manifest(store, DAILY).year("US", 2012) == {p: e for p, e in right.items() if e.version}


def test_no_manifest_is_made_of_a_damaged_object(store: ObjectStore) -> None:
    key = next(iter(store.list(f"{WEEKLY}/exchange=US/"))).key
    tamper(store, key, store.get(key).data[:-1])
    with pytest.raises(ObjectDamaged, match=key):
        rebuild_manifest(store)


def test_no_manifest_is_made_of_an_object_in_anothers_place(store: ObjectStore) -> None:
    one, other = [info.key for info in store.list(f"{DAILY}/exchange=US/")][:2]
    swap(store, one, other)
    with pytest.raises(ObjectDamaged, match=one):
        rebuild_manifest(store)


# --- migrate


def start_migration(source: ObjectStore, target: ObjectStore) -> subprocess.Popen[str]:
    code = (
        "import sys; from quant_assets.resources.open_store import open_store as o; "
        "from quant_assets.maintenance.migrate import migrate_store as m; "
        "r = m(o(sys.argv[1]), o(sys.argv[2])); print(len(r.failed))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, source.location, target.location],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_at(source: ObjectStore, target: ObjectStore, objects: int) -> int:
    """Kills a migration once so many objects stand at the target; answers how many then do."""
    process = start_migration(source, target)
    try:
        while process.poll() is None and sum(1 for _ in target.list("")) < objects:
            time.sleep(0.03)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        _, told = process.communicate()
    assert process.returncode == -signal.SIGKILL, told
    return sum(1 for _ in target.list(""))


@pytest.mark.parametrize(
    ("source", "target", "kills"),
    [
        ("local:from", "gcs:to", (30, 70, 110)),
        ("gcs:from", "local:to", (60,)),
    ],
)
def test_a_killed_migration_is_continued_to_a_verified_end(
    at: Callable[[str], ObjectStore], source: str, target: str, kills: tuple[int, ...]
) -> None:
    ours, theirs = at(source), at(target)
    fill_store(ours, OBJECTS)
    before = everything(ours)
    tables = sum(1 for key in before if not key.startswith("manifest/"))
    stood = 0
    for objects in kills:
        now = kill_at(ours, theirs, objects)
        assert max(stood, objects) <= now < tables
        stood = now
    result = migrate_store(ours, theirs)
    assert result.failed == {}
    assert result.objects == result.verified == tables
    assert result.already_there == stood
    assert result.copied == tables - stood
    assert result.rows == sum(e.rows for e in entries(ours)) + 1
    assert everything(ours) == before
    same = compare_stores(ours, theirs)
    assert (same.objects, same.differing) == (OBJECTS, [])
    assert verify_store(theirs).damaged == {}
    if isinstance(theirs, LocalObjectStore):
        assert list(Path(theirs.location, ".tmp").iterdir()) == []
    again = migrate_store(ours, theirs)
    assert (again.copied, again.already_there, again.verified) == (0, tables, tables)


def entries(store: ObjectStore) -> list[object]:
    return [
        e for table in (DAILY, WEEKLY) for code in ("ASX", "US") for e in Manifest(store, table).all(code)
    ]


def test_a_dry_run_changes_nothing_at_either_end(
    store: ObjectStore, at: Callable[[str], ObjectStore]
) -> None:
    target = at("local:target")
    planned: list[int] = []
    result = migrate_store(store, target, dry_run=True, on_plan=planned.append)
    assert planned == [result.objects]
    assert (result.copied, result.already_there, result.verified) == (result.objects, 0, 0)
    assert not Path(target.location).exists()
    key = object_key(CATALOG)
    target.put(key, store.get(key).data)
    there = everything(target)
    before = everything(store)
    assert migrate_store(store, target, dry_run=True).already_there == 1
    assert everything(target) == there
    assert everything(store) == before


@EITHER
def test_an_object_that_stands_at_the_target_with_other_bytes_is_named_and_left(
    store: ObjectStore, at: Callable[[str], ObjectStore]
) -> None:
    target = at("local:target")
    key = next(iter(store.list(f"{DAILY}/exchange=US/"))).key
    other = encode(
        bars(date(2012, 1, 2), ["OTHER"]), cell(date(2012, 1, 2), bars(date(2012, 1, 2), ["X"])).facts()
    )
    info = target.put(key, other)
    result = migrate_store(store, target)
    assert list(result.failed) == [key]
    assert target.uri(key) in result.failed[key]
    assert store.uri(key) in result.failed[key]
    assert (target.get(key).data, target.get(key).info) == (other, info)
    assert result.verified == result.objects - 1
    # A manifest is made of a whole store only.
    assert list(target.list("manifest/")) == []


def test_a_damaged_object_is_named_and_the_others_are_moved(
    store: ObjectStore, at: Callable[[str], ObjectStore]
) -> None:
    key = next(iter(store.list(f"{DAILY}/exchange=US/"))).key
    tamper(store, key, store.get(key).data[:-3])
    result = migrate_store(store, at("local:target"))
    assert list(result.failed) == [key]
    assert result.verified == result.objects - 1


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("foreign", ["source", "target"])
@pytest.mark.parametrize("home", ["local", "gcs"])
def test_another_projects_objects_are_neither_moved_nor_mixed_with(
    at: Callable[[str], ObjectStore], home: str, foreign: str, dry_run: bool
) -> None:
    source, target = at(f"{home}:source"), at(f"{home}:target")
    strange = source if foreign == "source" else target
    strange.put("photos/cat.jpg", b"meow")
    if strange is target:
        fill_store(source, 20)
    with pytest.raises(StoreUnavailable, match=r"another project's objects \(e\.g\. photos/cat\.jpg\)"):
        migrate_store(source, target, dry_run=dry_run)
    assert [info.key for info in strange.list("")] == ["photos/cat.jpg"]


# Only a folder has a way up: to a bucket "t/../s" is a name like any other.
_ITSELF = [("s", "s"), ("s", "s/t"), ("s/t", "s")]


@pytest.mark.parametrize(
    ("home", "source", "target"),
    [(home, *pair) for home in ("local", "gcs") for pair in _ITSELF] + [("local", "s", "t/../s")],
)
def test_a_store_is_not_moved_into_itself(
    at: Callable[[str], ObjectStore], home: str, source: str, target: str
) -> None:
    fill_store(at(f"{home}:{source}"), 20)
    before = everything(at(f"{home}:{source}"))
    with pytest.raises(StoreUnavailable, match="one store, or one lies in the other"):
        migrate_store(at(f"{home}:{source}"), at(f"{home}:{target}"))
    assert everything(at(f"{home}:{source}")) == before


@pytest.mark.parametrize("home", ["local", "gcs"])
def test_nothing_to_move_is_told(at: Callable[[str], ObjectStore], home: str) -> None:
    with pytest.raises(StoreUnavailable, match="holds no tables"):
        migrate_store(at(f"{home}:nothing"), at("local:target"))


# --- compare


def test_two_stores_differ_in_what_was_changed_and_in_nothing_else(at: Callable[[str], ObjectStore]) -> None:
    ours, theirs = at("local:ours"), at("gcs:theirs")
    fill_store(ours, 100)
    fill_store(theirs, 100)
    assert compare_stores(ours, theirs).differing == []
    value, later, fact, gone, *_ = (info.key for info in theirs.list(f"{DAILY}/exchange=US/"))
    day = date(2012, 1, 2)

    def put(key: str, when: datetime, rows: int, volume: int) -> None:
        symbols = ["A", "B", f"US.{DAILY}"]
        frame = bars(date.fromisoformat(key[-18:-8]), symbols, when)
        entry = cell(date.fromisoformat(key[-18:-8]), frame)
        frame = frame.with_columns(volume=frame["volume"] + volume)
        theirs.put(key, encode(frame, replace(entry, expected=rows).facts()))

    put(value, bars(day, ["A"])["fetched_at"][0], 3, 1)
    put(later, datetime(2030, 1, 1, tzinfo=UTC), 3, 0)
    put(fact, bars(day, ["A"])["fetched_at"][0], 4, 0)
    theirs.delete(gone)
    theirs.put("listing_events/new.json", b"{}")
    shard = f"manifest/{WEEKLY}/exchange=US/year=2012.json"
    theirs.put(shard, theirs.get(shard).data.replace(b'"rows":[3', b'"rows":[4', 1))
    told = compare_stores(ours, theirs)
    assert told.differing == sorted([value, fact, gone, "listing_events/new.json", shard])
    assert told.objects == 101


def test_the_first_part_of_every_key_is_one_of_ours(store: ObjectStore) -> None:
    assert {info.key.partition("/")[0].removesuffix(".parquet") for info in store.list("")} <= {
        *TOP_LEVEL,
        MARKER,
    }
