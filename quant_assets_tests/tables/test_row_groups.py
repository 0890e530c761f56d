"""A file of some row groups of another one holds their rows, whichever they are."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.tables.row_groups import MAGIC, Groups, column_heads, footer_of, schema_fields

ROWS = 37
FRAME = pl.DataFrame(
    {
        "symbol": [f"S{n // 11:03d}" for n in range(1000)],
        "date": [date(2020, 1, 1) + timedelta(days=n % 11) for n in range(1000)],
        "close": [None if n % 17 == 0 else n / 7 for n in range(1000)],
        "volume": [None if n > 900 else n**3 for n in range(1000)],
        "same": ["AUD"] * 1000,
        "flag": [n % 3 == 0 for n in range(1000)],
        "long": ["x" * (n % 300) for n in range(1000)],
        "at": [datetime(2024, 1, 2, 3, 4, 5, n, tzinfo=UTC) for n in range(1000)],
        "none": pl.Series([None] * 1000, dtype=pl.Float64),
        **{f"more{n}": [n] * 1000 for n in range(9)},
    }
)


def written(rows: int, **how: Any) -> bytes:
    buffer = io.BytesIO()
    FRAME.write_parquet(buffer, row_group_size=rows, statistics=True, metadata={"a": "b" * 300}, **how)
    return buffer.getvalue()


def some(data: bytes, numbers: list[int]) -> bytes:
    metadata = pq.read_metadata(io.BytesIO(data))
    fields = schema_fields(data[-8 - int.from_bytes(data[-8:-4], "little") : -8])
    groups = Groups.of(metadata).some(numbers)
    bodies = [data[offset : offset + length] for offset, length in groups.stretches()]
    return b"".join([MAGIC, *bodies, footer_of(fields, column_heads(metadata.row_group(0)), groups)])


DATA = written(ROWS)


@given(st.lists(st.integers(0, 1000 // ROWS), min_size=1, max_size=30))
@settings(max_examples=60)
def test_chosen_row_groups_are_read_in_their_order(numbers: list[int]) -> None:
    expected = pl.concat([FRAME.slice(number * ROWS, ROWS) for number in numbers])
    data = some(DATA, numbers)
    assert_frame_equal(pl.read_parquet(data), expected, check_exact=True)
    assert_frame_equal(pl.scan_parquet([data, data]).collect(), pl.concat([expected, expected]))
    assert pq.read_table(io.BytesIO(data)).num_rows == expected.height


@pytest.mark.parametrize("rows", [1, 250, 1000])
@pytest.mark.parametrize("compression", ["zstd", "snappy", "uncompressed"])
def test_row_groups_of_any_size_and_codec_are_read(rows: int, compression: Any) -> None:
    data = written(rows, compression=compression)
    last = (1000 - 1) // rows
    expected = pl.concat([FRAME.slice(number * rows, rows) for number in (last, 0)])
    assert_frame_equal(pl.read_parquet(some(data, [last, 0])), expected, check_exact=True)


def test_a_footer_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="field 1 of a Parquet footer"):
        schema_fields(b"\x19\x00")
    with pytest.raises(ValueError, match="value of kind 14"):
        schema_fields(b"\x15\x02\x19\x1c\x1e\x00")


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "brotli", "uncompressed"])
def test_a_column_is_told_as_it_was(compression: Any) -> None:
    """Readers do without most of it, but others need not."""
    data = written(250, compression=compression)
    told, original = (pq.read_metadata(io.BytesIO(one)).row_group(0) for one in (some(data, [2]), data))
    kept = ("path_in_schema", "physical_type", "compression", "encodings")
    for at in range(original.num_columns):
        ours, theirs = told.column(at).to_dict(), original.column(at).to_dict()
        assert set(theirs["encodings"]) <= {"PLAIN", "RLE", "RLE_DICTIONARY"}
        assert set(ours["encodings"]) == {"PLAIN", "RLE", "RLE_DICTIONARY"}
        assert [ours[name] for name in kept[:3]] == [theirs[name] for name in kept[:3]]
