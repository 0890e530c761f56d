"""What the end of a table's object says of its row groups, and which of its bytes are read for some of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import Blob, ObjectChanged, ObjectDamaged, ObjectInfo
from quant_assets.tables.parquet import (
    _sealed,  # pyright: ignore[reportPrivateUsage]
    encode,
)
from quant_assets.tables.ranged import (
    Footer,
    _Kept,  # pyright: ignore[reportPrivateUsage]
    decode_parts,
    read_part,
)
from quant_assets.tables.row_groups import MAGIC
from quant_assets_tests.tables.some_symbols import read_symbols

# --- row groups


def grouped(groups: Sequence[Sequence[str]], statistics: bool = True) -> bytes:
    """A sealed table with a row group for each of some lists of symbols."""
    rows = len(groups[0])
    symbols = [symbol for group in groups for symbol in group]
    frame = pl.DataFrame({"symbol": symbols, "flags": [f"in {n // rows}" for n in range(len(symbols))]})
    buffer = io.BytesIO()
    facts = {"quant_assets": orjson.dumps({"format": 2, "rows": frame.height}).decode()}
    frame.write_parquet(buffer, row_group_size=rows, statistics=statistics, metadata=facts)
    return _sealed(buffer.getvalue())


@pytest.mark.parametrize(
    ("wanted", "groups"),
    [
        ([], []),
        (["A"], []),
        (["B"], [0]),
        (["C"], [0]),
        (["D"], [0]),
        (["E"], []),
        (["F"], [1]),
        (["H"], [1, 2]),
        (["J"], [2]),
        (["K"], []),
        (["A", "E", "K"], []),
        (["A", "E", "G"], [1]),
        (["B", "I"], [0, 2]),
        (["A", "C", "D", "F", "Z"], [0, 1]),
        (["B", "C", "D", "I", "J"], [0, 2]),
        (["Z"], []),
    ],
)
def test_the_groups_of_symbols_are_those_that_can_hold_one(
    tmp_path: Path, wanted: list[str], groups: list[int]
) -> None:
    store = LocalObjectStore(tmp_path)
    footer = Footer(store, store.put("table", grouped(["BDD", "FGH", "HIJ"])))
    assert footer.groups_of(wanted) == groups
    found = read_symbols(store, "table", wanted)
    assert found is not None
    assert found[0]["symbol"].to_list() == [name for name in "BDDFGHHIJ" if name in wanted]


def test_a_table_that_says_nothing_of_its_groups_is_read_all_the_same(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    footer = Footer(store, store.put("table", grouped(["AB", "CD"], statistics=False)))
    for wanted in ([], ["B"], ["Z"]):
        assert footer.groups_of(wanted) == [0, 1]
    found = read_symbols(store, "table", ["B", "C"])
    assert found is not None
    assert found[0].rows() == [("B", "in 0"), ("C", "in 1")]


def test_a_table_without_rows_has_none_of_any_symbol(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.put("table", encode(pl.DataFrame(schema=DAILY_SCHEMA), {"n": 1}))
    part = read_part(store, "table", ["A"])
    assert part is not None
    assert (part.data, part.columns, part.facts["n"]) == (b"", tuple(DAILY_SCHEMA), 1)
    assert decode_parts([part], ["A"]) is None


# --- ranges


class Asked(LocalObjectStore):
    """Keeps the ranges that were asked for; `replaced` before the whole object is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[list[tuple[int, int]]] = []
        self.replaced = b""

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]], version: str) -> list[bytes]:
        self.asked.append(list(ranges))
        return super().get_ranges(key, ranges, version)

    def get(self, key: str) -> Blob:
        if self.replaced:
            self.put(key, self.replaced)
        return super().get(key)


SIZE = 65_536
ROWS = 9_000
"""Of a row group: a little more than a block."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve row groups of a symbol each that cannot be made smaller."""
    folder = tmp_path_factory.mktemp("large")
    values = np.random.default_rng(5).integers(-(2**62), 2**62, 12 * ROWS)
    frame = pl.DataFrame({"symbol": [f"S{n // ROWS:02d}" for n in range(12 * ROWS)], "n": values})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quant_assets.tables.parquet._FEW_ROWS_GROUP", ROWS)
        LocalObjectStore(folder).put("table", encode(frame, {}, by_symbol=True))
    return folder


def head(store: LocalObjectStore) -> ObjectInfo:
    info = store.head("table")
    assert info is not None
    return info


def test_the_end_of_an_object_is_read_from_a_block_on_in_one_request(large: Path) -> None:
    store = Asked(large)
    info = head(store)
    Footer(store, info)
    ((start, length),) = store.asked[0]
    assert len(store.asked) == 1
    assert start + length == info.size
    assert start == (info.size - SIZE - info.size // 40) // SIZE * SIZE > 0


@pytest.mark.parametrize(
    "groups", [[0], [11], [0, 1], [0, 2, 3], [1, 5, 10], [2, 4, 6, 8], list(range(12)), []]
)
def test_each_block_of_the_groups_is_brought_once_and_neighbours_together(
    large: Path, groups: list[int]
) -> None:
    store = Asked(large)
    footer = Footer(store, head(store))
    data = store.get("table").data
    body, ((start, _),) = footer.seal.body, store.asked.pop()
    told = footer.groups.some(groups).stretches()
    blocks = {
        block for offset, length in told for block in range(offset // SIZE, (offset + length - 1) // SIZE + 1)
    }
    part = footer.part(store, groups)
    assert len(store.asked) == (1 if any(block * SIZE < start for block in blocks) else 0)
    for ranges in store.asked:
        brought = [
            block for first, length in ranges for block in range(first // SIZE, -(-(first + length) // SIZE))
        ]
        assert brought == sorted(block for block in blocks if block * SIZE < start)
        assert all(
            first % SIZE == 0 and (first + length) % SIZE * (first + length - body) == 0
            for first, length in ranges
        )
        assert all(one[0] + one[1] < other[0] for one, other in pairwise(ranges))
    at = len(MAGIC)
    for offset, length in told:
        assert part[at : at + length] == data[offset : offset + length]
        at += length
    whole = pl.read_parquet(data)
    if groups:
        expected = whole.filter(pl.col("symbol").is_in([f"S{number:02d}" for number in groups]))
        assert pl.read_parquet(part).equals(expected)
        wanted = expected["symbol"].unique().sort().to_list()
        read = read_symbols(store, "table", wanted)
        assert read is not None
        assert read[0].equals(expected)


def test_the_rows_of_parts_come_part_by_part(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    for name in ("one", "two"):
        store.put(name, grouped(["AB", "CD"]))
    parts = [part for name in ("one", "two") if (part := read_part(store, name, ["A", "C"]))]
    rows = decode_parts(parts, ["A", "C"])
    assert rows is not None
    assert rows.rows() == [("A", "in 0"), ("C", "in 1")] * 2
    assert decode_parts([replace(parts[0], data=b"")], ["A"]) is None
    assert read_part(store, "three", ["A"]) is None


@pytest.mark.parametrize(("number", "seen"), [(0, False), (3, True), (11, True)])
def test_a_flipped_bit_of_a_block_is_seen_by_whoever_brings_it(
    tmp_path: Path, large: Path, number: int, seen: bool
) -> None:
    data = bytearray(LocalObjectStore(large).get("table").data)
    store = LocalObjectStore(tmp_path)
    footer = Footer(LocalObjectStore(large), head(LocalObjectStore(large)))
    ((offset, length),) = footer.groups.some([number]).stretches()
    data[offset + length // 2] ^= 4
    store.put("table", bytes(data))
    if not seen:
        assert read_symbols(store, "table", ["S03", "S11"]) is not None
        return
    with pytest.raises(ObjectDamaged, match=r"table: the bytes are not those that were written"):
        read_part(store, "table", [f"S{number:02d}"])


def test_a_table_that_is_read_whole_is_of_the_version_that_was_looked_at(tmp_path: Path) -> None:
    store = Asked(tmp_path)
    info = store.put("table", grouped(["AB", "CD", "EF", "GH", "IJ", "KL"]))
    assert read_symbols(store, "table", list("ACEGIK"), info) is not None
    store.replaced = grouped(["AB", "CD"])
    with pytest.raises(ObjectChanged, match=r"table: replaced since it was looked at$"):
        read_symbols(store, "table", list("ACEGIK"), info)


def test_ends_of_objects_are_kept_up_to_a_size_those_that_were_read_last(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Asked(tmp_path)
    infos = [store.put(f"table{number}", grouped(["AB"])) for number in range(3)]
    kept = _Kept()
    weight = kept.get(store, infos[0]).weight
    assert kept.weight == weight > 0
    monkeypatch.setattr("quant_assets.tables.ranged._KEPT_BYTES", 2 * weight)
    kept.get(store, infos[1])
    assert kept.weight == 2 * weight
    kept.get(store, infos[0])  # not the oldest any more
    kept.get(store, infos[2])
    assert kept.weight == 2 * weight
    store.asked.clear()
    kept.get(store, infos[0])
    kept.get(store, infos[2])
    assert store.asked == []
    kept.get(store, infos[1])
    assert len(store.asked) == 1
    # The last one is kept however large it is.
    monkeypatch.setattr("quant_assets.tables.ranged._KEPT_BYTES", 1)
    other = Asked(large)
    kept.get(other, head(other))
    kept.get(other, head(other))
    assert len(other.asked) == 1
    kept.clear()
    assert kept.weight == 0
    kept.get(other, head(other))
    assert len(other.asked) == 2
