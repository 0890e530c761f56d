"""A manifest shard is small, says what its entries say, and is parsed once; who is missing is unpacked when asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.market.coverage import SUSPENDED, CellState, Missing
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import Blob, ObjectDamaged, ObjectInfo
from quant_assets.tables import holes, shards
from quant_assets.tables.holes import HOLES_SCHEMA, holes_of, pack, to_text, unpack
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets.tables.shards import dump, parse
from quant_assets_tests.filled import bars, cell

URI = "shard"
DAY = date(2024, 3, 15)

holes_ = st.builds(
    Missing,
    st.text(max_size=3),
    st.sampled_from(["no_bar", SUSPENDED]),
    st.text(max_size=3),
    st.dates(),
    st.none() | st.dates(),
    st.integers(1, 9),
    st.integers(0, 9),
)
cells = st.lists(st.lists(holes_, max_size=3).map(tuple), max_size=4)
entries = st.builds(
    Entry,
    partition=st.dates(date(2024, 1, 1), date(2024, 12, 31)).map(date.isoformat),
    state=st.sampled_from(CellState),
    rows=st.integers(0, 9),
    size=st.integers(0, 9),
    version=st.text(max_size=3),
    content_sha256=st.text(max_size=3),
    inputs_sha256=st.text(max_size=3),
    expected=st.integers(0, 9),
    received=st.integers(0, 9),
    expected_sha256=st.text(max_size=3),
    missing=st.lists(holes_, max_size=2).map(tuple),
    source=st.text(max_size=3),
    code_version=st.text(max_size=3),
    reason=st.text(max_size=3),
    recorded_at=st.text(max_size=3),
)
years = st.lists(entries, max_size=4).map(lambda made: {entry.partition: entry for entry in made})

versions = iter(range(1, 10**9))


def blob(data: bytes) -> Blob:
    """A shard's bytes as an object that nobody has read yet."""
    return Blob(data, ObjectInfo("shard", len(data), str(next(versions))))


def of_format_1(year: dict[str, Entry]) -> bytes:
    """A shard as earlier releases wrote it."""
    shard = {
        p: e.facts()
        | {"size": e.size, "version": e.version, "missing": [hole.to_json() for hole in e.missing]}
        for p, e in sorted(year.items())
    }
    return orjson.dumps({"format": 1} | shard, option=orjson.OPT_INDENT_2)


def suspended(day: date, symbols: list[str]) -> Entry:
    told = f"no bar between {day - timedelta(1)} and {day + timedelta(1)}"
    missing = tuple(Missing(s, SUSPENDED, told, DAY, DAY - timedelta(2), 2, 1) for s in sorted(symbols))
    return replace(cell(day, bars(day, ["A"])), state=CellState.PARTIAL, missing=missing, version="1")


# --- bytes


@settings(max_examples=40)
@given(cells)
def test_packed_holes_are_the_holes_of_their_cells(made: list[tuple[Missing, ...]]) -> None:
    packed = unpack(pack(made), [len(one) for one in made], URI)
    again = unpack(pack(packed), [len(one) for one in made], URI)
    for one, other, third in zip(made, packed, again, strict=True):
        assert one == other == third
        assert other == one
        assert (len(other), bool(other), hash(other), list(other)) == (
            len(one),
            bool(one),
            hash(one),
            list(one),
        )
        assert (repr(other), other[:1], tuple(reversed(other))) == (repr(one), one[:1], one[::-1])
    for one, other in zip(made[1:], packed, strict=False):
        assert (one == other) is (other == one) is (tuple(other) == one)


@settings(max_examples=40)
@given(years)
def test_a_shard_says_what_its_entries_say(year: dict[str, Entry]) -> None:
    found = parse(blob(dump(year)), URI)
    assert found == year
    assert list(found) == sorted(year)
    assert dump(found) == dump(year)


@settings(max_examples=40)
@given(years)
def test_a_shard_of_format_1_is_read_as_it_was(year: dict[str, Entry]) -> None:
    assert parse(blob(of_format_1(year)), URI) == year


@settings(max_examples=40)
@given(years)
def test_what_cells_name_as_missing_is_gathered_from_packed_and_plain_entries(year: dict[str, Entry]) -> None:
    expected = sorted(
        ((date.fromisoformat(e.partition), m) for e in year.values() for m in e.missing), key=repr
    )
    packed = parse(blob(dump(year)), URI)
    mixed = [packed[p] if n % 2 else e for n, (p, e) in enumerate(year.items())]
    for told in (year.values(), list(packed.values())[::-1], mixed):
        found = holes_of(told)
        assert found.schema == {"date": pl.Date, **HOLES_SCHEMA}
        assert sorted(((row[0], Missing(*row[1:])) for row in found.iter_rows()), key=repr) == expected
        for symbol in {hole.symbol for _, hole in expected}:
            mine = holes_of(told, [symbol])
            assert mine.sort(mine.columns).equals(found.filter(pl.col("symbol") == symbol).sort(mine.columns))


def test_a_year_with_sixty_of_two_thousand_symbols_suspended_daily_is_small() -> None:
    drawn, symbols = random.Random(1), [f"S{n:04}.AX" for n in range(2000)]
    days = [date(2024, 1, 1) + timedelta(n) for n in range(366)]
    year = {str(day): suspended(day, drawn.sample(symbols, 60)) for day in days if day.weekday() < 5}
    data = dump(year)
    assert len(data) < 250_000
    assert len(of_format_1(year)) > 10 * len(data)
    assert parse(blob(data), URI) == year


def test_a_year_of_which_nothing_came_is_small() -> None:
    symbols = [f"S{n:04}.AX" for n in range(500)]
    days = [str(date(2024, 1, 1) + timedelta(n)) for n in range(90)]
    missing = tuple(Missing(s, "failed", "asked for", DAY) for s in symbols)
    year = {day: Entry(day, CellState.FAILED, missing=missing) for day in days}
    assert len(dump(year)) < 50_000


@settings(max_examples=40)
@given(st.lists(holes_, max_size=3).map(tuple))
def test_the_holes_of_a_footer_are_text_and_those_of_format_1_are_read(made: tuple[Missing, ...]) -> None:
    entry = Entry(str(DAY), CellState.PARTIAL, missing=made)
    assert isinstance(entry.facts()["missing"], str)
    assert Entry.from_facts(entry.facts(), None) == entry
    former = entry.facts() | {"missing": [hole.to_json() for hole in made]}
    assert Entry.from_facts(former, None) == entry


def test_sixty_holes_take_little_of_a_footer() -> None:
    missing = suspended(DAY, [f"S{n:04}.AX" for n in range(0, 2000, 33)]).missing
    text = to_text(missing)
    assert len(text) < 1000
    assert 10 * len(text) < len(orjson.dumps([hole.to_json() for hole in missing]))


@pytest.mark.parametrize("text", ["?", "A", "AAAA", to_text([Missing("A", "b", "c", DAY)])[:-4]])
def test_text_that_is_no_holes_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        Entry.from_facts(Entry(str(DAY), CellState.PARTIAL).facts() | {"missing": text}, None)


damages: dict[str, Callable[[dict[str, Any]], object]] = {
    "no entries": lambda shard: shard.pop("entries"),
    "entries are none": lambda shard: shard.update(entries=[]),
    "a column lacks": lambda shard: shard["entries"].pop("rows"),
    "a column is short": lambda shard: shard["entries"]["rows"].pop(),
    "a state is none": lambda shard: shard["entries"].update(state=["?", "?"]),
    "a day is none": lambda shard: shard["entries"]["partition"].append("2024-02-30"),
    "a number is text": lambda shard: shard["entries"].update(expected=["2", 2]),
    "a number is nothing": lambda shard: shard["entries"].update(rows=[None, 0]),
    "a text is nothing": lambda shard: shard["entries"].update(recorded_at=["", None]),
    "holes are gone": lambda shard: shard.pop("holes"),
    "holes are no text": lambda shard: shard.update(holes=1),
    "holes are another's": lambda shard: shard["entries"].update(missing=[1, 1]),
    "holes are damaged": lambda shard: shard.update(holes=shard["holes"][:-40] + "A" * 40),
    "holes are no base64": lambda shard: shard.update(holes="?" + shard["holes"][1:]),
}


@pytest.mark.parametrize("damage", damages)
def test_a_damaged_shard_is_named_with_its_remedy(damage: str) -> None:
    shard = orjson.loads(dump({str(d): suspended(d, ["A", "B"]) for d in (DAY, DAY + timedelta(3))}))
    damages[damage](shard)
    with pytest.raises(ObjectDamaged, match=r"^shard: unreadable manifest .*rebuild-manifest"):
        parse(blob(orjson.dumps(shard)), URI)


# --- in a store


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that are parsed from now on."""
    seen: list[str] = []
    once = shards._parsed  # pyright: ignore[reportPrivateUsage]

    @wraps(once)
    def counting(data: bytes, uri: str) -> dict[str, Entry]:
        seen.append(uri[-9:-5])
        return once(data, uri)

    monkeypatch.setattr(shards, "_parsed", counting)
    return seen


def with_years(store: LocalObjectStore, *wanted: int) -> Manifest:
    manifest = Manifest(store, DAILY)
    for year in wanted:
        day = date(year, 3, 15)
        entry = suspended(day, ["B"])
        info = store.put(object_key(DAILY, "US", str(day)), encode(bars(day, ["A"]), entry.facts()))
        manifest.record("US", [replace(entry, version=info.version, size=info.size)])
    return manifest


def test_an_unchanged_shard_is_parsed_once_and_a_changed_one_anew(
    store: LocalObjectStore, parsed: list[str]
) -> None:
    manifest = with_years(store, 2023, 2024)
    parsed.clear()
    first = manifest.year("US", 2024)
    assert parsed == ["2024"]
    for read in (
        lambda: list(Manifest(LocalObjectStore(Path(store.location)), DAILY).all("US")),
        lambda: manifest.between("US", date(2023, 1, 1), date(2024, 12, 31)),
        lambda: manifest.years("US", [2023, 2024]),
        lambda: manifest.known("US", 2024),
        lambda: manifest.refresh("US", 2024),
    ):
        assert read() == read()
    assert parsed == ["2024", "2023"]
    closed = Entry("2024-03-18", CellState.CLOSED)
    manifest.record("US", [closed])
    assert manifest.years("US", [2024])[2024] == first | {closed.partition: closed}
    assert parsed == ["2024", "2023", "2024"]


def test_what_a_caller_does_to_its_entries_is_nobody_elses(store: LocalObjectStore) -> None:
    manifest = with_years(store, 2024)
    for read in (lambda: manifest.year("US", 2024), lambda: manifest.years("US", [2024])[2024]):
        before = read()
        read().clear()
        assert read() == before != {}


def test_years_are_read_as_known_with_those_whose_shards_are_lost(store: LocalObjectStore) -> None:
    manifest = with_years(store, 2021, 2022, 2024)
    store.delete(manifest.shard_key("US", 2022))
    found = manifest.years("US", range(2020, 2025))
    assert list(found) == [2020, 2021, 2022, 2023, 2024]
    assert found == {year: manifest.known("US", year) for year in found}
    assert [len(of_year) for of_year in found.values()] == [0, 1, 1, 0, 1]
    assert manifest.years("US", [2021]) == {2021: found[2021]}
    assert manifest.years("US", []) == {}


def test_a_shard_of_format_1_is_renewed_when_it_is_written(store: LocalObjectStore) -> None:
    manifest = Manifest(store, DAILY)
    year = {str(d): suspended(d, ["A", "B"]) for d in (DAY, DAY + timedelta(3))}
    store.put(manifest.shard_key("US", 2024), of_format_1(year))
    assert manifest.year("US", 2024) == year
    manifest.record("US", year.values())
    assert orjson.loads(store.get(manifest.shard_key("US", 2024)).data)["format"] == 1
    closed = Entry("2024-03-20", CellState.CLOSED)
    manifest.record("US", [closed])
    assert orjson.loads(store.get(manifest.shard_key("US", 2024)).data)["format"] == 2
    assert manifest.year("US", 2024) == year | {closed.partition: closed}


def test_holes_are_unpacked_only_when_they_are_asked_for(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = with_years(store, 2024)
    (entry,) = manifest.all("US")

    def refuse(*_: object) -> None:
        raise AssertionError

    holes._unpacked.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(holes, "decode", refuse)
    assert len(manifest.year("US", 2024)[entry.partition].missing) == 1
    assert manifest.refresh("US", 2024) == {entry.partition: entry}
    monkeypatch.undo()
    assert [hole.symbol for hole in entry.missing] == ["B"]


def test_what_is_kept_parsed_is_bounded_and_forgets_what_was_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, parsed: list[str]
) -> None:
    data = dump({str(DAY): Entry(str(DAY), CellState.CLOSED)})
    monkeypatch.setattr(shards, "_kept", shards._Kept(2 * len(data)))  # pyright: ignore[reportPrivateUsage]
    one, two, three = (blob(data) for _ in range(3))
    for read, uri in ((one, "one"), (two, "two"), (one, "one"), (three, "three"), (one, "one"), (two, "two")):
        parse(read, f"{uri:0>9}.json")
    assert [name.lstrip("0") for name in parsed] == ["one", "two", "hree", "two"]
