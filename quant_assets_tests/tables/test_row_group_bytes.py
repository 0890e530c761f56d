"""What is written of a Parquet footer, byte by byte as the format has it (parquet.thrift, compact protocol)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quant_assets.tables import row_groups
from quant_assets.tables.row_groups import Groups, column_heads, footer_of, schema_fields


def groups_of(rows: list[int], chunks: list[list[tuple[int, int, int, int, int]]]) -> Groups:
    return Groups(np.array(rows, np.int64), np.array(chunks, np.int64))


ONE = [(64, 200, 100, 44, 4), (64, 20_000, 60, 104, 0)]
TWO = [(1, 30, 20, 300, 310), (1, 5, 10, 330, 0)]
"""The dictionary of the second one's first column lies behind its data."""


def test_a_footer_tells_each_group_where_it_lies_now() -> None:
    told = footer_of(b"<schema>", [b"<A>", b"<B>"], groups_of([1, 64], [TWO, ONE]))
    expected = bytes.fromhex(
        "16 82 01"  # 65 rows in all, the first field behind the schema's
        "19 2c"  # two row groups
        # The second group begins at 4 in place of 300.
        "19 2c"
        "26 08 1c 3c413e 16 02 16 3c 16 28 26 08 26 1c 00 00"
        "26 44 1c 3c423e 16 02 16 0a 16 14 26 44 00 00"
        "16 46 16 02 00"
        # The first one begins at 44 in place of 4.
        "19 2c"
        "26 58 1c 3c413e 16 8001 16 9003 16 c801 26 a801 26 58 00 00"
        "26 a002 1c 3c423e 16 8001 16 c0b802 16 78 26 a002 00 00"
        "16 d0bb02 16 8001 00"
        "00"
    )
    assert told == b"<schema>" + expected + (8 + len(expected)).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize("count", [14, 15, 16])
def test_a_list_of_fifteen_says_its_length_in_a_byte_of_its_own(count: int) -> None:
    groups = groups_of([1] * count, [[(1, 1, 1, 4, 0)]] * count)
    head = bytes([count << 4 | 12]) if count < 15 else bytes([0xFC, count])
    told = footer_of(b"", [b""], groups)
    of_each = [
        bytes.fromhex(f"19 1c 26 {at:02x} 1c 16 02 16 02 16 02 26 {at:02x} 00 00 16 02 16 02 00")
        for at in range(8, 8 + 2 * count, 2)
    ]
    assert told[:-8] == bytes([0x16, 2 * count, 0x19]) + head + b"".join(of_each) + b"\0"


def test_columns_of_a_head_each_are_told_by_their_own() -> None:
    told = footer_of(b"", [b"<long>", b""], groups_of([64], [ONE]))
    assert b"\x1c<long>\x16\x80\x01" in told
    assert b"\x26\xd0\x01\x1c\x16\x80\x01" in told


def test_few_groups_and_many_are_told_by_the_same_bytes() -> None:
    random = np.random.default_rng(7)
    chunks = random.integers(1, 2 ** random.integers(1, 45, (40, 3, 5)))
    chunks[..., 4] *= random.integers(0, 2, (40, 3))
    groups, heads = Groups(chunks[:, 0, 0], chunks), [b"<long>", b"", b"<b>"]
    each = row_groups._each_group(heads, groups)  # pyright: ignore[reportPrivateUsage]
    assert b"".join(each) == row_groups._all_groups(heads, groups)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("size", [63, 64, 8_191, 8_192, 2**20 - 1, 2**20, 2**31, 2**40])
def test_numbers_of_any_size_take_the_bytes_that_they_need(size: int) -> None:
    numbers = groups_of([1, 2], [[(1, size, 1, 4, 0)], [(2, 7, 1, 5, 0)]])
    told = footer_of(b"", [b""], numbers)
    long = row_groups._varint(size << 1)  # pyright: ignore[reportPrivateUsage]
    assert b"\x1c\x16\x02\x16" + long + b"\x16\x02\x26\x08\x00\x00\x16" + long + b"\x16\x02\x00" in told
    assert b"\x1c\x16\x04\x16\x0e\x16\x02\x26\x0a\x00\x00\x16\x0e\x16\x04\x00" in told


@pytest.mark.parametrize(
    ("chunk", "start"), [((1, 1, 1, 34, 4), 4), ((1, 1, 1, 34, 0), 34), ((1, 1, 1, 34, 50), 34)]
)
def test_a_column_begins_with_its_dictionary_where_it_has_one_before_the_data(
    chunk: tuple[int, int, int, int, int], start: int
) -> None:
    assert groups_of([1], [[chunk]]).starts.tolist() == [[start]]


def metadata(**how: Any) -> Any:
    """Of a file with a column of every type."""
    days = pa.array([0, 1, 2])
    table = pa.table(
        {
            "bool": [True, False, True],
            "int32": days.cast(pa.int32()),
            "int64": days,
            "int96": days.cast(pa.timestamp("ns")),
            "float": days.cast(pa.float32()),
            "double": days.cast(pa.float64()),
            "text": ["a", "b", "c"],
            "n" * 127: days,
            "n" * 128: days,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, use_deprecated_int96_timestamps=True, **how)
    return pq.read_metadata(io.BytesIO(buffer.getvalue()))


CODECS = {"none": 0, "snappy": 1, "gzip": 2, "brotli": 4, "zstd": 6}


@pytest.mark.parametrize("codec", CODECS)
def test_a_column_is_told_by_the_numbers_of_the_format(codec: str) -> None:
    heads = column_heads(metadata(compression=codec).row_group(0))
    names = ["bool", "int32", "int64", "int96", "float", "double", "text", "n" * 127, "n" * 128]
    lengths = [bytes([len(name)]) for name in names[:-1]] + [b"\x80\x01"]
    types = [0, 1, 2, 3, 4, 5, 6, 2, 2]
    assert heads == [
        bytes([0x15, 2 * number])  # the type
        + bytes.fromhex("19 35 00 06 10")  # PLAIN, RLE, RLE_DICTIONARY
        + bytes.fromhex("19 18") + length + name.encode()
        + bytes([0x15, 2 * CODECS[codec]])
        for number, length, name in zip(types, lengths, names, strict=True)
    ]  # fmt: skip


def test_a_codec_that_is_not_known_is_an_error() -> None:
    with pytest.raises(KeyError, match="LZ4"):
        column_heads(metadata(compression="lz4").row_group(0))


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (0, "00"), (1, "01"), (126, "7e"), (127, "7f"), (128, "8001"), (129, "8101"), (255, "ff01"),
        (16_383, "ff7f"), (16_384, "808001"), (2**35 + 5, "858080808001"),
    ],
)  # fmt: skip
def test_numbers_are_written_in_sevens_of_bits(number: int, data: str) -> None:
    written = bytes.fromhex(data)
    assert row_groups._varint(number) == written  # pyright: ignore[reportPrivateUsage]
    read = row_groups._read_varint(b"\xff" + written + b"\xff", 1)  # pyright: ignore[reportPrivateUsage]
    assert read == (number, 1 + len(written))


@pytest.mark.parametrize(
    "values",
    [
        "2c 00 00",  # two structs without fields
        "1c 11 00",  # a struct with one field: true, false, a byte, numbers, a double
        "1c 12 00",
        "1c 13 00 00",
        "1c 14 8001 00",
        "1c 15 8001 00",
        "1c 16 808001 00",
        "1c 17 0000000000000000 00",
        "1c 18 03 000000 00",
        "1c 18 8001" + "00" * 128 + "00",
        "1c 19 25 8001 8002 00",  # a list of numbers, a set of bytes
        "1c 1a 23 0000 00",
        "1c 1c 15 02 00 00",  # a struct in it
        "1c 05 02 04 00",  # a field that says its number in full
        "1c 05 8002 8004 00",
        "1c 91 00",
        "1c f5 04 00",
        "31 000000",  # lists of booleans have a byte each
        "32 000000",
        "e3" + "00" * 14,
        "f3 0f" + "00" * 15,
        "f3 10" + "00" * 16,
        "f3 8001" + "00" * 128,
        "05",
    ],
)
def test_the_schema_ends_where_its_list_does(values: str) -> None:
    schema = bytes.fromhex("15 02 19" + values)
    assert schema_fields(schema + b"\0" * 9) == schema
    assert schema_fields(schema + b"\x16\x02\x19") == schema


@pytest.mark.parametrize(
    ("footer", "field"),
    [
        ("19 00", 1),
        ("25 02 19 05", 1),
        ("16 02 19 05", 1),
        ("15 02 29 05", 2),
        ("15 02 1a 05", 2),
        ("15 02 15 02", 2),
    ],
)
def test_what_is_not_the_version_and_the_schema_is_refused(footer: str, field: int) -> None:
    with pytest.raises(
        ValueError, match=f"^field {field} of a Parquet footer is not the one that is expected$"
    ):
        schema_fields(bytes.fromhex(footer) + b"\0" * 9)


@pytest.mark.parametrize("kind", [0, 11, 13])
def test_a_value_of_a_kind_that_footers_do_not_have_is_refused(kind: int) -> None:
    with pytest.raises(ValueError, match=f"^a Parquet footer with a value of kind {kind}$"):
        schema_fields(bytes([0x15, 2, 0x19, 0x10 | kind, 0, 0]))


def test_groups_lie_one_after_the_other_from_behind_the_magic_to_the_footer() -> None:
    buffer = io.BytesIO()
    numbers = pa.table({"a": list(range(100)), "b": ["x", "y"] * 50})
    how: dict[str, Any] = {"use_dictionary": ["b"], "compression": "none"}
    pq.write_table(numbers, buffer, row_group_size=60, **how)
    data, told = buffer.getvalue(), pq.read_metadata(io.BytesIO(buffer.getvalue()))
    groups = Groups.of(told)
    (one, _), (two, length) = groups.stretches()
    assert (one, groups.rows.tolist()) == (4, [60, 40])
    assert groups.some([1]).stretches() == [(two, length)]
    assert groups.stretches([1]) == [(groups.starts[at][1], groups.chunks[at][1][2]) for at in range(2)]
    assert two == one + groups.stretches()[0][1]
    assert two + length == len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    plain, dictionary = groups.chunks[1].tolist()
    assert (plain[0], plain[3:]) == (40, [two, 0])
    assert dictionary[4] == two + plain[2] < dictionary[3]
    assert plain[2] + dictionary[2] == length
