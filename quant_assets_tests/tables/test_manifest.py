"""The manifest follows the objects: merged, caught up after a kill, and never trusted when damaged."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market.coverage import CellState, Missing, symbols_sha256
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import NewerFormat, ObjectDamaged, ObjectInfo
from quant_assets.tables.layout import DAILY, HISTORY, WEEKLY, object_key
from quant_assets.tables.manifest import Entry, Expected, Manifest, stamped
from quant_assets.tables.parquet import encode, read_facts
from quant_assets_tests.filled import bars, cell
from quant_assets_tests.resources.workers import answer, put_cell_and_die, record, start

ROWS = pl.DataFrame({"symbol": ["A", "B"]})


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


@pytest.fixture
def manifest(store: LocalObjectStore) -> Manifest:
    return Manifest(store, DAILY)


def put_cell(store: LocalObjectStore, entry: Entry, exchange: str = "US") -> Entry:
    """Puts the entry's object and answers the entry as the store has it."""
    info = store.put(object_key(DAILY, exchange, entry.partition), encode(ROWS, entry.facts()))
    return replace(entry, rows=2, size=info.size, version=info.version)


def known(store: LocalObjectStore, entry: Entry, exchange: str = "US") -> Entry:
    """The entry with what its object's footer adds."""
    facts = read_facts(store.get(object_key(DAILY, exchange, entry.partition)).data, "")
    return replace(entry, content_sha256=facts["content_sha256"])


# --- entries

entries = st.builds(
    Entry,
    partition=st.dates().map(date.isoformat),
    state=st.sampled_from(CellState),
    rows=st.integers(0, 9),
    size=st.integers(0, 9),
    version=st.sampled_from(["", "1-1-1", "2-1-1"]),
    content_sha256=st.text(max_size=3),
    expected=st.integers(0, 9),
    received=st.integers(0, 9),
    missing=st.lists(st.builds(Missing, st.text(), st.text(), st.text(), st.dates()), max_size=2).map(tuple),
    reason=st.text(max_size=5),
    recorded_at=st.sampled_from(["", "2024-03-15", "2024-03-16"]),
)


@given(entries)
def test_an_entry_survives_its_objects_footer(entry: Entry) -> None:
    info = ObjectInfo("k", entry.size, entry.version)
    facts = read_facts(encode(pl.DataFrame({"n": range(entry.rows)}), entry.facts()), "")
    assert replace(Entry.from_facts(facts, info), content_sha256=entry.content_sha256) == entry


@given(entries, entries)
def test_of_two_entries_one_beats_the_other_or_neither_is_newer(one: Entry, other: Entry) -> None:
    assert not (one.beats(other) and other.beats(one))
    assert not one.beats(one)
    if (one.version, one.recorded_at) != (other.version, other.recorded_at):
        assert one.beats(other) or other.beats(one)


def test_an_entry_is_stamped_in_utc() -> None:
    moment = datetime(2024, 3, 16, 9, tzinfo=timezone(timedelta(hours=11)))
    entry = stamped(Entry("2024-03-15", CellState.CLOSED), moment)
    assert entry.recorded_at == "2024-03-15T22:00:00.000000+00:00"
    assert stamped(entry, moment + timedelta(microseconds=1)).recorded_at > entry.recorded_at


# --- recording


def test_entries_are_recorded_by_exchange_and_year(store: LocalObjectStore, manifest: Manifest) -> None:
    days = ["2023-12-29", "2024-01-02", "2024-01-03"]
    written = {day: Entry(day, CellState.CLOSED, reason=day) for day in days}
    assert manifest.year("US", 2024) == {}
    assert list(manifest.all("US")) == []
    manifest.record("US", reversed(written.values()))
    manifest.record("USX", [Entry("2024-01-02", CellState.FAILED)])
    assert manifest.year("US", 2023) == {days[0]: written[days[0]]}
    assert manifest.year("US", 2024) == {day: written[day] for day in days[1:]}
    assert list(manifest.all("US")) == list(written.values())
    assert list(manifest.between("US", date(2023, 12, 29), date(2024, 1, 2))) == days[:2]
    assert list(manifest.between("US", date(2023, 12, 30), date(2024, 1, 1))) == []
    assert [info.key for info in store.list("manifest/daily_prices/exchange=US/")] == [
        manifest.shard_key("US", 2023),
        manifest.shard_key("US", 2024),
    ]


def test_the_days_of_one_year_are_read_from_its_shard_alone(
    store: LocalObjectStore, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest.record("US", [Entry("2024-01-02", CellState.CLOSED)])
    # Nothing is listed.
    monkeypatch.setattr(store, "list", None)
    assert list(manifest.between("US", date(2024, 1, 1), date(2024, 12, 31))) == ["2024-01-02"]


def test_years_whose_shards_are_lost_come_in_order_among_the_others(
    store: LocalObjectStore, manifest: Manifest
) -> None:
    days = [f"{year}-01-04" for year in range(2021, 2026)]
    for day in days:
        rows = bars(date.fromisoformat(day), ["A"])
        entry = cell(date.fromisoformat(day), rows)
        info = store.put(object_key(DAILY, "US", day), encode(rows, entry.facts()))
        manifest.record("US", [replace(entry, size=info.size, version=info.version)])
    for year in (2021, 2022, 2024):
        store.delete(manifest.shard_key("US", year))
    assert [entry.partition for entry in Manifest(store, DAILY).all("US")] == days


def test_recording_what_is_known_writes_nothing(store: LocalObjectStore, manifest: Manifest) -> None:
    entry = Entry("2024-01-02", CellState.CLOSED)
    manifest.record("US", [entry])
    before = store.head(manifest.shard_key("US", 2024))
    manifest.record("US", [entry])
    manifest.record("US", [])
    assert store.head(manifest.shard_key("US", 2024)) == before


def test_the_newer_entry_stays_whichever_is_recorded_last(manifest: Manifest) -> None:
    closed = Entry("2024-01-02", CellState.FAILED, recorded_at="2024-01-09")
    old = Entry("2024-01-02", CellState.PARTIAL, version="1", recorded_at="2024-01-03")
    asked = replace(old, recorded_at="2024-01-04")
    new = replace(old, version="2", state=CellState.COMPLETE)
    order = [closed, old, asked, new]
    for first in order:
        for second in order:
            exchange = f"{order.index(first)}{order.index(second)}"
            manifest.record(exchange, [first])
            manifest.record(exchange, [second])
            newer = max(first, second, key=order.index)
            assert manifest.year(exchange, 2024) == {"2024-01-02": newer}


def test_a_manifest_made_anew_is_what_was_given_and_nothing_else(
    store: LocalObjectStore, manifest: Manifest
) -> None:
    other = Entry("2024-01-02", CellState.FAILED)
    manifest.record("USX", [other])
    manifest.record(
        "US", [Entry(day, CellState.CLOSED) for day in ("2022-01-03", "2024-01-02", "2024-01-03")]
    )
    store.put(manifest.shard_key("US", 2023), b"damaged")
    anew = [Entry("2023-01-03", CellState.COMPLETE, version="1"), Entry("2024-01-03", CellState.PARTIAL)]
    manifest.replace("US", anew)
    assert list(manifest.all("US")) == anew
    assert list(manifest.all("USX")) == [other]
    manifest.replace("US", [])
    assert list(store.list("manifest/daily_prices/exchange=US/")) == []


def test_eight_processes_record_at_once_and_nothing_is_lost(tmp_path: Path, manifest: Manifest) -> None:
    starts = [date(2024, 1, 1) + timedelta(days=20 * number) for number in range(8)]
    for worker in [start(record, tmp_path, "US", first, 6) for first in starts]:
        answer(worker)
    expected = {(first + timedelta(days=n)).isoformat() for first in starts for n in range(6)}
    assert manifest.year("US", 2024).keys() == expected


# --- catching up


def test_a_cell_put_by_a_killed_run_is_caught_up_with(tmp_path: Path, store: LocalObjectStore) -> None:
    manifest = Manifest(store, DAILY)
    worker = start(put_cell_and_die, tmp_path, "US", "2024-03-15")
    worker.communicate(timeout=60)
    assert worker.returncode == -signal.SIGKILL
    assert manifest.year("US", 2024) == {}
    found = manifest.refresh("US", 2024)
    info = store.head(object_key(DAILY, "US", "2024-03-15"))
    assert info is not None
    entry = found["2024-03-15"]
    assert (entry.state, entry.rows, entry.expected, entry.received) == (CellState.PARTIAL, 2, 3, 2)
    assert (entry.version, entry.size) == (info.version, info.size)
    assert manifest.year("US", 2024) == found


def test_refreshing_takes_replaced_objects_and_leaves_the_rest(
    store: LocalObjectStore, manifest: Manifest
) -> None:
    kept = put_cell(store, Entry("2024-01-02", CellState.COMPLETE))
    stale = put_cell(store, Entry("2024-01-03", CellState.PARTIAL))
    closed = Entry("2024-01-01", CellState.CLOSED)
    manifest.record("US", [kept, stale, closed])
    put_cell(store, Entry("2023-12-29", CellState.COMPLETE))
    put_cell(store, Entry("2024-01-02", CellState.COMPLETE), "USX")
    store.put("daily_prices/exchange=US/date=2024.notes", b"")
    unchanged = store.head(manifest.shard_key("US", 2024))
    assert manifest.refresh("US", 2024) == {e.partition: e for e in (kept, stale, closed)}
    assert store.head(manifest.shard_key("US", 2024)) == unchanged
    fresh = put_cell(store, Entry("2024-01-03", CellState.COMPLETE))
    expected = {e.partition: e for e in (kept, known(store, fresh), closed)}
    assert manifest.refresh("US", 2024) == expected
    assert manifest.year("US", 2024) == expected


def test_an_object_that_was_removed_is_no_longer_counted_on(
    store: LocalObjectStore, manifest: Manifest
) -> None:
    manifest.record("US", [put_cell(store, Entry("2024-01-02", CellState.COMPLETE))])
    store.delete(object_key(DAILY, "US", "2024-01-02"))
    assert manifest.refresh("US", 2024) == {}


def test_years_of_history_are_caught_up_with_too(store: LocalObjectStore) -> None:
    entry = Entry("2024", CellState.COMPLETE)
    store.put(object_key(HISTORY, "US", "2024"), encode(ROWS, entry.facts()))
    assert Manifest(store, HISTORY).refresh("US", 2024)["2024"].state is CellState.COMPLETE


# --- whom cells were filled for


@given(st.sets(st.text(alphabet="ABC.Ü", min_size=1, max_size=4), max_size=6))
def test_a_set_of_symbols_is_known_by_its_hash(
    tmp_path_factory: pytest.TempPathFactory, symbols: set[str]
) -> None:
    store = LocalObjectStore(tmp_path_factory.mktemp("sets"))
    Expected(store, "US").record(symbols)
    assert Expected(store, "US").symbols(symbols_sha256(symbols)) == frozenset(symbols)


def test_a_set_is_written_once_whoever_records_it_in_whatever_order(store: LocalObjectStore) -> None:
    one, other = Expected(store, "US"), Expected(store, "US")
    one.record(["B", "A"])
    (written,) = store.list("")
    assert written.key == f"expected_symbols/exchange=US/{symbols_sha256(['A', 'B'])}.json"
    one.record(["A", "B"])
    other.record(["A", "B"])
    assert list(store.list("")) == [written]
    other.record(["A"])
    assert len(list(store.list("expected_symbols/exchange=US/"))) == 2


def test_a_set_that_is_known_costs_no_request(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Expected(store, "US"), Expected(store, "US")
    one.record(["A"])
    other.known([symbols_sha256(["A"])])
    reader = Expected(store, "US")
    assert reader.symbols(symbols_sha256(["A"])) == {"A"}
    monkeypatch.setattr(store, "put", None)
    for sets in (one, other, reader):
        sets.record(["A"])


def test_a_set_that_was_not_recorded_is_unknown_until_it_is(store: LocalObjectStore) -> None:
    sets = Expected(store, "US")
    sha256 = symbols_sha256(["A"])
    assert sets.symbols(sha256) is None
    assert Expected(store, "USX").symbols(sha256) is None
    sets.record(["A"])
    assert sets.symbols(sha256) == {"A"}
    assert Expected(store, "USX").symbols(sha256) is None


@pytest.mark.parametrize("data", [b"", b"[", b'{"A": 1}', b'["B"]', b'"A"', b"\xff"])
def test_a_damaged_set_is_named_with_the_remedy_and_made_anew_once_removed(
    store: LocalObjectStore, data: bytes
) -> None:
    sha256 = symbols_sha256(["A"])
    key = f"expected_symbols/exchange=US/{sha256}.json"
    store.put(key, data)
    with pytest.raises(ObjectDamaged, match=rf"{sha256}\.json: .*remove it"):
        Expected(store, "US").symbols(sha256)
    store.delete(key)
    Expected(store, "US").record(["A"])
    assert Expected(store, "US").symbols(sha256) == {"A"}


# --- damage


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"2024-01-02": 1}',
        b'{"2024-01-02": {}}',
        b'{"2024-01-02": {"state": "?"}}',
        b"\xff",
    ],
)
def test_a_damaged_shard_is_named_and_made_anew_once_removed(
    store: LocalObjectStore, manifest: Manifest, data: bytes
) -> None:
    entry = put_cell(store, Entry("2024-01-02", CellState.COMPLETE))
    key = manifest.shard_key("US", 2024)
    store.put(key, data)
    for use in (
        lambda: manifest.year("US", 2024),
        lambda: manifest.refresh("US", 2024),
        lambda: list(manifest.all("US")),
        lambda: manifest.record("US", [entry]),
    ):
        with pytest.raises(ObjectDamaged, match=r"year=2024\.json.*rebuild-manifest"):
            use()
    store.delete(key)
    assert manifest.refresh("US", 2024) == {"2024-01-02": known(store, entry)}


def test_an_object_without_the_facts_of_a_cell_is_named(store: LocalObjectStore, manifest: Manifest) -> None:
    store.put(object_key(DAILY, "US", "2024-01-02"), encode(ROWS, {"state": "complete"}))
    with pytest.raises(ObjectDamaged, match=r"date=2024-01-02\.parquet.*partition"):
        manifest.refresh("US", 2024)


def test_moments_are_recorded_as_text_that_sorts() -> None:
    early = stamped(Entry("2024-01-02", CellState.CLOSED), datetime(2024, 1, 2, tzinfo=UTC))
    late = stamped(early, datetime(2024, 1, 2, 0, 0, 0, 1, tzinfo=UTC))
    assert late.beats(early)


# --- formats


def test_a_shard_says_its_format_and_one_of_a_newer_release_is_neither_read_nor_replaced(
    store: LocalObjectStore,
) -> None:
    manifest = Manifest(store, DAILY)
    key = manifest.shard_key("US", 2024)
    manifest.record("US", [Entry("2024-01-01", CellState.CLOSED)])
    assert orjson.loads(store.get(key).data)["format"] == 2
    newer = b'{"format": 3, "entries": []}'
    store.put(key, newer)
    refused = r"year=2024\.json: written in format 3, this version reads up to 2: upgrade quant-assets"
    for use in (
        lambda: manifest.year("US", 2024),
        lambda: list(manifest.all("US")),
        lambda: manifest.refresh("US", 2024),
        lambda: manifest.record("US", [Entry("2024-01-02", CellState.CLOSED)]),
    ):
        with pytest.raises(NewerFormat, match=refused):
            use()
    assert store.get(key).data == newer


def test_a_cell_of_a_newer_release_is_not_taken_for_a_damaged_one(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant_assets.tables.parquet.FORMAT", 3)
    entry = Entry("2024-01-02", CellState.COMPLETE)
    store.put(object_key(WEEKLY, "US", "2024-01-02"), encode(pl.DataFrame({"a": [1]}), entry.facts()))
    monkeypatch.undo()
    with pytest.raises(NewerFormat, match=r"week=2024-01-02\.parquet: written in format 3"):
        Manifest(store, WEEKLY).refresh("US", 2024, damaged={})


def test_refresh_leaves_out_what_was_known_of_a_cell_that_is_damaged_now(
    store: LocalObjectStore, manifest: Manifest
) -> None:
    whole = put_cell(store, Entry("2024-03-14", CellState.COMPLETE))
    entry = put_cell(store, Entry("2024-03-15", CellState.COMPLETE))
    manifest.record("US", [whole, entry])
    store.put(object_key(DAILY, "US", "2024-03-15"), b"PAR1 and then nothing")
    damaged: dict[str, str] = {}
    assert list(manifest.refresh("US", 2024, damaged=damaged)) == ["2024-03-14"]
    assert list(damaged) == ["2024-03-15"]


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"recorded_at": "2024-01-03T00:00:00Z"}, False),  # recorded no later than the object was
        ({"recorded_at": "2024-01-02T00:00:00Z"}, False),
        ({"content_sha256": "other"}, False),
        ({"state": CellState.COMPLETE}, False),
        ({"expected_sha256": "other"}, False),
    ],
)
def test_later_answers_are_taken_where_the_content_is_the_same(change: dict[str, Any], taken: bool) -> None:
    made = Entry(
        "2024-01-02",
        CellState.PARTIAL,
        content_sha256="a",
        expected_sha256="b",
        recorded_at="2024-01-03T00:00:00Z",
    )
    hole = Missing("A", "no_bar", "no bar", date(2024, 1, 5))
    recorded = replace(made, **{"missing": (hole,), "recorded_at": "2024-01-04T00:00:00Z", **change})
    found = made.with_later_answers(recorded)
    assert found == (replace(made, missing=(hole,), recorded_at="2024-01-04T00:00:00Z") if taken else made)
    assert made.with_later_answers(None) is made
