"""Tables as Parquet objects: what goes in comes out, and damage is told, never read."""

from __future__ import annotations

import contextlib
import io
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import NewerFormat, ObjectChanged, ObjectDamaged, ObjectNotFound
from quant_assets.tables.layout import (
    CATALOG,
    DAILY,
    HISTORY,
    PROFILES,
    TIME_DIMENSION,
    WEEKLY,
    object_key,
    partition_of,
)
from quant_assets.tables.parquet import decode, encode, read_facts, read_table
from quant_assets.tables.ranged import footers
from quant_assets_tests.tables.some_symbols import read_symbols

URI = "/somewhere/table.parquet"
FACTS = {"state": "partial", "missing": [{"symbol": "Ünï", "reason": 'quote " and \n'}], "n": 3}


def year_of_bars(symbols: int, sessions: int, seed: int = 0) -> pl.DataFrame:
    """A year as it might be: prices in cents that wander, volumes in shares, few dividends."""
    random = np.random.default_rng(seed)
    count = symbols * sessions
    start = np.exp(random.normal(3.5, 1.2, size=(symbols, 1)))
    close = start * np.exp(random.normal(0, 0.02, size=(symbols, sessions)).cumsum(axis=1))
    spread = np.abs(random.normal(0, 0.01, size=(2, symbols, sessions)))
    opened = close * (1 + random.normal(0, 0.005, size=close.shape))
    prices = {
        "open": opened,
        "high": np.maximum(opened, close) * (1 + spread[0]),
        "low": np.minimum(opened, close) * (1 - spread[1]),
        "close": close,
    }
    days = [date(2023, 1, 2) + timedelta(days=n) for n in range(sessions)]
    return pl.DataFrame(
        {
            "symbol": np.repeat([f"S{n:04d}.AX" for n in range(symbols)], sessions),
            "date": days * symbols,
            **{name: np.maximum(values.round(2), 0.01).ravel() for name, values in prices.items()},
            "volume": np.exp(random.normal(12, 1.5, size=count)).astype(int),
            "dividend": np.where(random.random(count) < 0.008, 0.25, 0.0),
            "split_ratio": np.ones(count),
            "currency": ["AUD"] * count,
            "flags": [""] * count,
            "fetched_at": [datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)] * count,
        },
        schema=DAILY_SCHEMA,
    )


# --- names


def test_an_object_is_named_by_table_exchange_and_time() -> None:
    assert object_key(CATALOG) == "symbol_catalog.parquet"
    assert object_key(PROFILES, "ASX") == "symbol_profiles/exchange=ASX.parquet"
    assert object_key(DAILY, "ASX", "2024-03-15") == "daily_prices/exchange=ASX/date=2024-03-15.parquet"
    assert object_key(HISTORY, "ASX", "2024") == "price_history/exchange=ASX/year=2024.parquet"
    assert object_key(WEEKLY, "ASX", "2024-03-11") == "weekly_prices/exchange=ASX/week=2024-03-11.parquet"


@pytest.mark.parametrize("table", sorted(TIME_DIMENSION))
def test_the_partition_is_read_back_from_the_name(table: str) -> None:
    partition = "2024" if table == HISTORY else "2024-03-11"
    assert partition_of(table, object_key(table, "US", partition)) == partition
    for other in ("notes.txt", "day=2024.parquet", f"{TIME_DIMENSION[table]}=2024.parquet.bak"):
        assert partition_of(table, f"{table}/exchange=US/{other}") is None


# --- round trip


@given(
    st.lists(
        st.tuples(
            st.text(max_size=4),
            st.floats(width=64) | st.none(),
            st.integers(-(2**62), 2**62) | st.none(),
            st.dates() | st.none(),
            st.lists(st.text(max_size=2), max_size=2) | st.none(),
            st.booleans() | st.none(),
        ),
        max_size=5,
    )
)
def test_a_table_and_its_facts_come_back_as_they_were(rows: list[tuple[Any, ...]]) -> None:
    types = (pl.String, pl.Float64, pl.Int64, pl.Date, pl.List(pl.String), pl.Boolean)
    frame = pl.DataFrame(rows, schema=dict(zip("abcdef", types, strict=True)), orient="row")
    data = encode(frame, FACTS)
    assert_frame_equal(decode(data, URI), frame, check_exact=True)
    facts = read_facts(data, URI)
    assert {name: facts[name] for name in FACTS} == FACTS
    assert facts["rows"] == frame.height


def test_the_same_table_has_the_same_bytes() -> None:
    assert encode(year_of_bars(3, 5), FACTS) == encode(year_of_bars(3, 5), dict(reversed(FACTS.items())))


def test_a_table_is_read_from_its_store(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.put("t.parquet", encode(year_of_bars(2, 3), {}))
    assert read_table(store, "t.parquet").equals(year_of_bars(2, 3))
    with pytest.raises(ObjectNotFound, match=r"other\.parquet"):
        read_table(store, "other.parquet")


def test_a_year_of_history_costs_twenty_bytes_a_row_at_most() -> None:
    frame = year_of_bars(500, 250)
    small, large = len(encode(frame, {}, by_symbol=True)), len(encode(frame, {}))
    assert small / frame.height <= 20
    assert small <= 1.08 * large


# --- damage


def says_damaged(data: bytes) -> bool:
    """Whether both readers of whole objects refuse the bytes by name."""
    for read in (decode, read_facts):
        with pytest.raises(ObjectDamaged) as damaged:
            read(data, URI)
        assert URI in str(damaged.value)
        assert "Remove the object" in str(damaged.value)
    return True


SMALL = year_of_bars(3, 4)
BYTES = encode(SMALL, FACTS)


@pytest.mark.parametrize("length", [*range(0, len(BYTES), 97), len(BYTES) - 1])
def test_a_truncated_table_is_damaged(length: int) -> None:
    assert says_damaged(BYTES[:length])


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1PAR1", b"\0" * 500, b"no parquet at all" * 40, BYTES[::-1]]
)
def test_bytes_that_are_no_table_are_damaged(data: bytes) -> None:
    assert says_damaged(data)


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_anywhere_is_damage(bit: int) -> None:
    for place in range(len(BYTES)):
        data = bytearray(BYTES)
        data[place] ^= 1 << bit
        assert says_damaged(bytes(data))


@given(st.integers(0, len(BYTES) - 1), st.binary(min_size=1, max_size=200))
def test_garbage_written_over_any_part_is_damage(place: int, garbage: bytes) -> None:
    data = BYTES[:place] + garbage + BYTES[place + len(garbage) :]
    assert data == BYTES or says_damaged(data)


def parquet(metadata: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    SMALL.write_parquet(buffer, metadata=metadata)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "metadata", [{}, {"quant_assets": "{"}, {"quant_assets": "[1]"}, {"other": "{}"}], ids=str
)
def test_a_table_that_is_not_ours_is_not_read_as_ours(metadata: dict[str, str]) -> None:
    with pytest.raises(ObjectDamaged, match="somewhere"):
        read_facts(parquet(metadata), URI)
    with pytest.raises(ObjectDamaged, match="somewhere"):
        decode(parquet(metadata), URI)


def test_any_parquet_reader_reads_the_table() -> None:
    assert_frame_equal(pl.read_parquet(io.BytesIO(BYTES)), SMALL, check_exact=True)


# --- some symbols of a table

BIG = year_of_bars(120, 500, seed=1)
"""Several row groups, symbols that straddle two of them included."""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path_factory.mktemp("history"))
    store.put("big.parquet", encode(BIG, FACTS))
    return store


@given(st.lists(st.integers(-1, 120).map(lambda n: f"S{n:04d}.AX"), max_size=5))
@settings(max_examples=25)
def test_some_symbols_are_the_whole_table_filtered(history: LocalObjectStore, symbols: list[str]) -> None:
    found = read_symbols(history, "big.parquet", symbols)
    assert found is not None
    rows, facts = found
    assert_frame_equal(rows, BIG.filter(pl.col("symbol").is_in(symbols)), check_exact=True)
    assert facts["state"] == "partial"


class Counting(LocalObjectStore):
    """Keeps what was asked for in ranges, and the bytes that came."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[list[tuple[int, int]]] = []
        self.brought = 0

    def get_ranges(self, key: str, ranges: Any, version: str) -> list[bytes]:
        self.asked.append(list(ranges))
        parts = super().get_ranges(key, ranges, version)
        self.brought += sum(map(len, parts))
        return parts


@pytest.mark.parametrize(
    ("symbols", "ranges", "share"),
    [
        (["S0001.AX"], 1, 0.5),
        # It straddles two row groups, which are neighbours.
        (["S0032.AX"], 1, 0.75),
        # In two groups that are no neighbours; both ranges in one question.
        (["S0001.AX", "S0070.AX"], 2, 0.8),
        # Part of it came with the end of the object.
        (["S0119.AX"], 1, 0.3),
        (["ABSENT"], 0, 0.25),
    ],
)
def test_symbols_are_read_in_few_ranges_without_reading_the_table(
    history: LocalObjectStore, symbols: list[str], ranges: int, share: float
) -> None:
    footers.clear()
    store = Counting(Path(history.location))
    whole = len(store.get("big.parquet").data)
    # What the end of an object says is known from the first read on.
    for asked, below in (([1, ranges][: 1 + bool(ranges)], share), ([ranges][: bool(ranges)], share)):
        store.asked.clear()
        store.brought = 0
        found = read_symbols(store, "big.parquet", symbols, store.head("big.parquet"))
        assert found is not None
        assert_frame_equal(found[0], BIG.filter(pl.col("symbol").is_in(symbols)), check_exact=True)
        assert [len(ranges) for ranges in store.asked] == asked
        assert store.brought < whole * below


def test_a_table_with_a_very_long_footer_is_read_all_the_same(tmp_path: Path) -> None:
    # Seal and footer do not fit into what is read first.
    cells = {f"{n:06d}": f"{n * 7919:064x}" for n in range(5000)}
    store = Counting(tmp_path)
    store.put("t.parquet", encode(BIG, {"cells": cells}))
    found = read_symbols(store, "t.parquet", ["S0001.AX"])
    assert found is not None
    assert found[1]["cells"] == cells
    assert_frame_equal(found[0], BIG.filter(pl.col("symbol") == "S0001.AX"), check_exact=True)


@pytest.mark.parametrize("rows", [1, 7, 1000, 16_384])
def test_symbols_are_found_whatever_the_size_of_row_groups(tmp_path: Path, rows: int) -> None:
    store = LocalObjectStore(tmp_path)
    frame = year_of_bars(9, 11, seed=2).with_columns(
        flags=pl.when(pl.col("date").dt.day() == 5).then(pl.lit("no_trade")).otherwise(pl.lit("")),
        open=pl.when(pl.col("date").dt.day() == 5).then(None).otherwise("open"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quant_assets.tables.parquet._FEW_ROWS_GROUP", rows)
        store.put("t.parquet", encode(frame, {}, by_symbol=True))
    names = frame["symbol"].unique().sort().to_list()
    for wanted in ([], names[:1], names[3:5], names[::2], [*names, "ZZZ"], ["A", "S0004.AX!"]):
        found = read_symbols(store, "t.parquet", wanted)
        assert found is not None
        assert_frame_equal(found[0], frame.filter(pl.col("symbol").is_in(wanted)), check_exact=True)


def test_an_object_that_has_been_replaced_is_read_as_it_is_now(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    for number in range(3):
        frame = year_of_bars(5 + number, 20, seed=number)
        store.put("t.parquet", encode(frame, {"n": number}))
        for _ in range(2):
            found = read_symbols(store, "t.parquet", ["S0004.AX"])
            assert found is not None
            assert found[0].equals(frame.filter(pl.col("symbol") == "S0004.AX"))
            assert found[1]["n"] == number


def test_what_is_kept_of_ends_of_objects_is_bounded(
    history: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    footers.clear()
    monkeypatch.setattr("quant_assets.tables.ranged._KEPT_BYTES", 100_000)
    for number in range(5):
        history.put(f"small{number}.parquet", encode(year_of_bars(100, 20, seed=number), {}))
    for _ in range(2):
        for number in range(5):
            found = read_symbols(history, f"small{number}.parquet", ["S0003.AX"])
            assert found is not None
            assert found[0].equals(year_of_bars(100, 20, seed=number).filter(pl.col("symbol") == "S0003.AX"))
            assert footers.weight <= 100_000


def test_symbols_of_no_table_are_none(history: LocalObjectStore) -> None:
    assert read_symbols(history, "other.parquet", ["A"]) is None


class Replaced(LocalObjectStore):
    """Another writer replaces the object before its n-th ranged read."""

    reads = 0
    at = 0

    def get_ranges(self, key: str, ranges: Any, version: str) -> list[bytes]:
        self.reads += 1
        if self.reads == self.at:
            self.put(key, encode(BIG.with_columns(pl.col("volume") + 1), {}))
        return super().get_ranges(key, ranges, version)


def test_a_table_replaced_at_any_moment_of_the_read_is_told_not_mixed(tmp_path: Path) -> None:
    store = Replaced(tmp_path)
    store.put("t.parquet", encode(BIG, {}))
    read_symbols(store, "t.parquet", ["S0050.AX"])
    reads = store.reads
    assert reads >= 2
    for at in range(1, reads + 1):
        store.put("t.parquet", encode(BIG, {}))
        store.reads, store.at = 0, at
        with pytest.raises(ObjectChanged, match=r"t\.parquet"):
            read_symbols(store, "t.parquet", ["S0050.AX"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 100,
        b"x" * 100 + b"PAR1",
        BYTES[:-9],
        BYTES[9:],
        parquet({}),
        parquet({"quant_assets": "{}"}),
    ],
    ids=range(7),
)
def test_a_read_of_symbols_tells_bytes_that_are_no_table(tmp_path: Path, data: bytes) -> None:
    store = LocalObjectStore(tmp_path)
    store.put("t.parquet", data)
    with pytest.raises(ObjectDamaged, match=r"t\.parquet"):
        read_symbols(store, "t.parquet", ["S0001.AX"])


@given(st.data())
def test_a_flipped_bit_ends_a_read_of_symbols_in_the_right_rows_or_in_damage(
    history: LocalObjectStore, data: st.DataObject
) -> None:
    whole = bytearray(history.get("big.parquet").data)
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    history.put("flipped.parquet", bytes(whole))
    with contextlib.suppress(ObjectDamaged):
        found = read_symbols(history, "flipped.parquet", ["S0050.AX"])
        assert found is not None
        assert_frame_equal(found[0], BIG.filter(pl.col("symbol") == "S0050.AX"), check_exact=True)
    everyone = BIG["symbol"].unique().to_list()
    with pytest.raises(ObjectDamaged, match=r"flipped\.parquet"):
        read_symbols(history, "flipped.parquet", everyone)


# --- formats


def test_a_table_says_its_format_and_one_of_a_newer_release_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalObjectStore(tmp_path)
    store.put("now.parquet", encode(BIG, {}))
    assert read_facts(store.get("now.parquet").data, URI)["format"] == 2
    monkeypatch.setattr("quant_assets.tables.parquet.FORMAT", 3)
    store.put("later.parquet", encode(BIG, {}))
    monkeypatch.undo()
    data = store.get("later.parquet").data
    refused = r"written in format 3, this version reads up to 2: upgrade quant-assets"
    for read in (decode, read_facts):
        with pytest.raises(NewerFormat, match=f"^{URI}: {refused}"):
            read(data, URI)
    with pytest.raises(NewerFormat, match=rf"later\.parquet: {refused}"):
        read_symbols(store, "later.parquet", ["S0001.AX"])


def test_a_table_that_says_no_format_is_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant_assets.tables.parquet.FORMAT", None)
    data = encode(SMALL, {})
    monkeypatch.undo()
    assert decode(data, URI).equals(SMALL)
