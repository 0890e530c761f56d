"""A table's bytes as the format has them: what earlier releases wrote is read, and later ones can read ours."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from quant_assets.resources.object_store import ObjectDamaged, checksum
from quant_assets.tables.parquet import Seal, encode, read_facts, verify


def noise(rows: int) -> pl.DataFrame:
    """Eight bytes a row that cannot be made smaller."""
    values = np.random.default_rng(5).integers(-(2**62), 2**62, rows)
    return pl.DataFrame({"symbol": ["A"] * rows, "n": values})


def crc(data: bytes) -> bytes:
    return checksum(data).to_bytes(4, "little")


@pytest.mark.parametrize("rows", [0, 1, 30_000])
def test_the_seal_lies_between_the_body_and_the_footer(rows: int) -> None:
    data = encode(noise(rows), {"partition": "2024"})
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert (data[-4:], data[footer - 8 : footer]) == (b"PAR1", b"QASEAL1\n")
    length = int.from_bytes(data[footer - 20 : footer - 12], "little")
    assert 4 <= length < footer - 20
    blocks = [data[at : min(at + 65_536, length)] for at in range(0, length, 65_536)]
    assert len(blocks) == (4 if rows == 30_000 else 1)
    sums = data[length : footer - 20]
    assert sums == b"".join(map(crc, blocks))
    assert data[footer - 12 : footer - 8] == crc(sums + data[footer - 20 : footer - 12] + data[footer:])
    seal = Seal(lambda offset, size: data[offset : offset + size], len(data), "uri")
    assert (seal.body, seal.tail) == (length, data[length:])
    for number, block in enumerate(blocks):
        seal.check(number, block)
        with pytest.raises(ObjectDamaged):
            seal.check(number + 1, block)
    seal.check(1, b"".join(blocks[1:3]))


def test_the_seal_is_read_in_three_ranges_of_which_none_is_of_the_body() -> None:
    data = encode(noise(30_000), {})
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    body = int.from_bytes(data[footer - 20 : footer - 12], "little")
    asked: list[tuple[int, int]] = []

    def read(offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return data[offset : offset + length]

    Seal(read, len(data), "uri")
    assert asked == [(len(data) - 8, 8), (footer - 20, 20), (body, len(data) - body)]


@pytest.mark.parametrize("size", range(30))
def test_bytes_too_few_for_a_seal_are_damage(size: int) -> None:
    # A footer of no bytes, behind what is no seal.
    data = (b"\0" * 30 + b"\0\0\0\0PAR1")[-8 - size :]
    with pytest.raises(ObjectDamaged, match=r"^uri: the bytes are not those that were written\. Remove the"):
        verify(data, "uri")


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("daily_prices/exchange=US/date=2024-05-17.parquet", "Remove the object and run the backfill of its"),
        (
            "symbol_valuations/exchange=US/date=2024-05-17.parquet",
            "Bring the object back from a backup; where there is none, remove it: it cannot be asked for again",
        ),
        (
            "symbol_catalog.parquet",
            "Remove the object: the next quant-assets update-daily or backfill makes it",
        ),
        ("universes/sp500.parquet", "Remove the object and run quant-assets refresh-universe"),
        (
            "universe_events/sp500.parquet",
            "Bring the object back from a backup; where there is none, remove it",
        ),
        ("restatements/exchange=US/year=2024.parquet", "Bring the object back from a backup"),
        ("quarantine/exchange=US.parquet", "Bring the object back from a backup"),
    ],
)
def test_a_damaged_object_is_told_with_what_brings_it_back(key: str, remedy: str) -> None:
    with pytest.raises(ObjectDamaged) as told:
        verify(b"junk", f"gs://bucket/prefix/{key}")
    assert str(told.value).startswith(
        f"gs://bucket/prefix/{key}: the bytes are not those that were written. {remedy}"
    )


@pytest.mark.parametrize(
    ("by_symbol", "sizes"), [({"by_symbol": True}, [4_096] * 4 + [1]), ({}, [16_384, 1])]
)
def test_what_is_read_by_symbol_has_small_row_groups(by_symbol: dict[str, Any], sizes: list[int]) -> None:
    rows = sum(sizes)
    data = encode(noise(rows), {}, **by_symbol)
    told = pq.read_metadata(io.BytesIO(data))
    assert [told.row_group(number).num_rows for number in range(told.num_row_groups)] == sizes
    column = told.row_group(0).column(0)
    assert (column.compression, column.statistics.min, column.statistics.max) == ("ZSTD", "A", "A")
    assert read_facts(data, "uri")["rows"] == rows
