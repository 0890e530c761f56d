"""A Parquet file of some of another one's row groups, without decoding them: their bytes, and a footer of their own.

What is needed of the format (parquet.thrift, in Thrift's compact protocol) is little: the schema is taken over as it
is written, and of each column chunk its place, its sizes and how it is encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

MAGIC = b"PAR1"

_TYPES = {"BOOLEAN": 0, "INT32": 1, "INT64": 2, "INT96": 3, "FLOAT": 4, "DOUBLE": 5, "BYTE_ARRAY": 6}
_ENCODINGS = (0, 3, 8)
"""PLAIN, RLE and RLE_DICTIONARY. A footer lists what its pages may use; each page says what it does."""
_CODECS = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "BROTLI": 4, "ZSTD": 6}

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_NUM_ROWS, _ROW_GROUPS = 3, 4

_FEW_GROUPS = 16
"""Row groups up to which they are told one by one: calls of numpy take as long as some twenty."""


@dataclass(frozen=True)
class Groups:
    """Row groups as a footer tells them: of each where it lies and how many rows it has, as arrays of Int64."""

    rows: Any
    chunks: Any
    """Per group and column the values, the size in memory and in the file, and the offsets of data and dictionary (0:
    none)."""

    @classmethod
    def of(cls, metadata: Any) -> Groups:
        """From pyarrow's FileMetaData, of which nothing is kept: its objects take some ten times as much memory."""
        count, columns = metadata.num_row_groups, metadata.num_columns
        rows: list[int] = []
        told: list[tuple[int, int, int, int, int]] = []
        for group in map(metadata.row_group, range(count)):
            rows.append(group.num_rows)
            told += [
                (
                    one.num_values,
                    one.total_uncompressed_size,
                    one.total_compressed_size,
                    one.data_page_offset,
                    one.dictionary_page_offset or 0,
                )
                for one in map(group.column, range(columns))
            ]
        return cls(np.array(rows, np.int64), np.array(told, np.int64).reshape(count, columns, 5))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Of memory."""
        return int(self.rows.nbytes + self.chunks.nbytes)

    def some(self, numbers: Sequence[int]) -> Groups:
        """Those of these numbers, in their order."""
        return Groups(self.rows[list(numbers)], self.chunks[list(numbers)])

    @cached_property
    def starts(self) -> Any:
        """Per group and column where it begins: with its dictionary, where that lies before its data."""
        data, dictionary = self.chunks[..., 3], self.chunks[..., 4]
        return cast("Any", np).where(dictionary > 0, np.minimum(data, dictionary), data)

    def stretches(self, columns: Sequence[int] | None = None) -> list[tuple[int, int]]:
        """Offset and length, group by group: of some columns, by their place; None: of each group as a whole."""
        starts, sizes = self.starts, self.chunks[..., 2]
        if columns is None:
            first = starts.min(axis=1)
            return _pairs(first, (starts + sizes).max(axis=1) - first)
        places = list(columns)
        return _pairs(starts[:, places].ravel(), sizes[:, places].ravel())


def _pairs(offsets: Any, lengths: Any) -> list[tuple[int, int]]:
    return list(zip(offsets.tolist(), lengths.tolist(), strict=True))


def column_heads(group: Any) -> list[bytes]:
    """What is the same of a column in every row group of a file, from pyarrow's RowGroupMetaData of one of them.

    Raises KeyError where a type or a codec is not known here.
    """
    heads: list[bytes] = []
    for column in (group.column(at) for at in range(group.num_columns)):
        path = [_text(part.encode()) for part in column.path_in_schema.split(".")]
        fields = [
            (1, _I32, _integer(_TYPES[column.physical_type])),
            (2, _LIST, _list(_I32, [_integer(number) for number in _ENCODINGS])),
            (3, _LIST, _list(_BINARY, path)),
            (4, _I32, _integer(_CODECS[column.compression])),
        ]
        heads.append(_struct(fields)[:-1])
    return heads


def footer_of(schema: bytes, heads: Sequence[bytes], groups: Groups) -> bytes:
    """The end of a file in which `groups` follow one another behind the first magic.

    `schema` as `schema_fields` gives it, `heads` as `column_heads` does.
    """
    told = _all_groups(heads, groups) if len(groups) > _FEW_GROUPS else b"".join(_each_group(heads, groups))
    fields = [
        (_NUM_ROWS, _I64, _integer(int(groups.rows.sum()))),
        (_ROW_GROUPS, _LIST, _list_head(_STRUCT, len(groups)) + told),
    ]
    footer = schema + _struct(fields, last=2)
    return footer + len(footer).to_bytes(4, "little") + MAGIC


def _each_group(heads: Sequence[bytes], groups: Groups) -> Iterator[bytes]:
    """The structs of row groups, one after the other."""
    at = len(MAGIC)
    stretches, starts = groups.stretches(), groups.starts.tolist()
    of_all = zip(stretches, groups.rows.tolist(), groups.chunks.tolist(), starts, strict=True)
    for (offset, length), rows, chunks, begins in of_all:
        yield _group(heads, rows, chunks, begins, at - offset)
        at += length


def _group(
    heads: Sequence[bytes], rows: int, chunks: Sequence[Sequence[int]], starts: Sequence[int], shift: int
) -> bytes:
    told = [_chunk(*one, shift) for one in zip(heads, chunks, starts, strict=True)]
    size = sum(chunk[1] for chunk in chunks)
    return _struct([(1, _LIST, _list(_STRUCT, told)), (2, _I64, _integer(size)), (3, _I64, _integer(rows))])


_NEXT, _AFTER_NEXT = bytes([1 << 4 | _I64]), bytes([2 << 4 | _I64])
"""The head of a number whose field comes one or two after the last one."""
_METADATA = bytes([1 << 4 | _STRUCT])


def _chunk(head: bytes, chunk: Sequence[int], start: int, shift: int) -> bytes:
    """A column chunk: where it begins, and its metadata, of which `head` is the first part."""
    values, in_memory, in_file, data, dictionary = chunk
    # Thousands are made for a read: put together at once in half the time that a list of fields takes.
    return b"".join((
        _AFTER_NEXT, _integer(start + shift), _METADATA, head,
        _NEXT, _integer(values), _NEXT, _integer(in_memory), _NEXT, _integer(in_file),
        _AFTER_NEXT, _integer(data + shift),
        _AFTER_NEXT + _integer(dictionary + shift) if dictionary else b"", b"\0\0",
    ))  # fmt: skip


def _all_groups(heads: Sequence[bytes], groups: Groups) -> bytes:
    """The structs of row groups, made of all at once: each number is written into as many bytes as the longest takes,
    and those that it does not take are left out at last. Of a hundred groups that takes a fifth of the time."""
    count, columns = len(groups), len(heads)
    places = np.array(groups.stretches(), np.int64).reshape(count, 2)
    before = np.cumsum(places[:, 1]) - places[:, 1]
    shift = (len(MAGIC) + before - places[:, 0])[:, None]
    values, in_memory, in_file, data, dictionary = np.moveaxis(groups.chunks, 2, 0)
    chunk = [
        *_numbers(2, groups.starts + shift),
        _bytes(bytes([1 << 4 | _STRUCT])),
        _texts(heads),
        *_numbers(1, values),
        *_numbers(1, in_memory),
        *_numbers(1, in_file),
        *_numbers(2, data + shift),
        *_numbers(2, dictionary + shift, dictionary > 0),
        _bytes(b"\0\0"),
    ]
    told, kept = _side_by_side(chunk, (count, columns))
    of_group = count, columns * told.shape[-1]
    group = [
        _bytes(bytes([1 << 4 | _LIST]) + _list_head(_STRUCT, columns)),
        (told.reshape(of_group), kept.reshape(of_group)),
        *_numbers(1, in_memory.sum(axis=1)),
        *_numbers(1, groups.rows),
        _bytes(b"\0"),
    ]
    told, kept = _side_by_side(group, (count,))
    return told[kept].tobytes()


_Piece = tuple[Any, Any]
"""Bytes, and which of them are there; the last axis is along them."""


def _side_by_side(pieces: Sequence[_Piece], shape: tuple[int, ...]) -> _Piece:
    told, kept = (
        np.concatenate([np.broadcast_to(one, (*shape, one.shape[-1])) for one in side], axis=-1)
        for side in zip(*pieces, strict=True)
    )
    return told, kept


def _bytes(value: bytes) -> _Piece:
    return np.frombuffer(value, np.uint8), np.ones(len(value), np.bool_)


def _texts(values: Sequence[bytes]) -> _Piece:
    """A text each; the longest says how many bytes there are."""
    size = max(map(len, values), default=0)
    told = np.frombuffer(b"".join(value.ljust(size) for value in values), np.uint8).reshape(len(values), size)
    return told, np.arange(size) < np.array([len(value) for value in values], np.int64)[:, None]


def _numbers(delta: int, values: Any, there: Any = None) -> tuple[_Piece, _Piece]:
    """A field of type I64 each: its head, and the number; `there` says who has the field at all."""
    doubled = values << 1
    size = max(1, -(-int(doubled.max(initial=0)).bit_length() // 7))
    left = doubled[..., None] >> np.arange(0, 7 * size, 7)
    told = ((left & 127) | ((left > 127) << 7)).astype(np.uint8)
    kept = left > 0
    kept[..., 0] = True
    head = np.full((*values.shape, 1), delta << 4 | _I64, np.uint8)
    head_kept = np.ones(head.shape, np.bool_)
    if there is not None:
        kept &= there[..., None]
        head_kept &= there[..., None]
    return (head, head_kept), (told, kept)


def schema_fields(footer: bytes) -> bytes:
    """The version and the schema in a Parquet footer, as they are written: its first two fields.

    Raises ValueError where they are not.
    """
    at = 0
    for wanted, kind in ((1, _I32), (2, _LIST)):
        if footer[at] != 1 << 4 | kind:
            raise ValueError(f"field {wanted} of a Parquet footer is not the one that is expected")
        at = _passed(footer, at + 1, kind)
    return footer[:at]


def _struct(fields: Iterable[tuple[int, int, bytes]], last: int = 0) -> bytes:
    parts: list[bytes] = []
    for number, kind, value in fields:
        parts += (bytes([number - last << 4 | kind]), value)
        last = number
    return b"".join(parts) + b"\0"


def _list(kind: int, values: Sequence[bytes]) -> bytes:
    return _list_head(kind, len(values)) + b"".join(values)


def _list_head(kind: int, size: int) -> bytes:
    return bytes([size << 4 | kind]) if size < 15 else bytes([15 << 4 | kind]) + _varint(size)


def _text(value: bytes) -> bytes:
    return _varint(len(value)) + value


def _integer(value: int) -> bytes:
    return _varint(value << 1)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
        shift += 7


def _passed(data: bytes, at: int, kind: int) -> int:
    """Where the value of a kind that begins at `at` ends."""
    if kind in (_TRUE, _FALSE):
        return at
    if kind in (_BYTE, _DOUBLE):
        return at + (1 if kind == _BYTE else 8)
    if kind in (_I16, _I32, _I64):
        return _read_varint(data, at)[1]
    if kind == _BINARY:
        length, at = _read_varint(data, at)
        return at + length
    if kind in (_LIST, _SET):
        size, element = data[at] >> 4, data[at] & 15
        at += 1
        if size == 15:
            size, at = _read_varint(data, at)
        for _ in range(size):
            at = at + 1 if element in (_TRUE, _FALSE) else _passed(data, at, element)
        return at
    if kind != _STRUCT:
        raise ValueError(f"a Parquet footer with a value of kind {kind}")
    while data[at]:
        head = data[at]
        at += 1
        if not head >> 4:
            at = _read_varint(data, at)[1]
        at = _passed(data, at, head & 15)
    return at + 1
