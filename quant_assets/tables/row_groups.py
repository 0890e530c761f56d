"""A Parquet file of some of another one's row groups, without decoding them: their bytes, and a footer of their own.

What is needed of the format (parquet.thrift, in Thrift's compact protocol) is little: the schema is taken over as it
is written, and of each column chunk its place, its sizes and how it is encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MAGIC = b"PAR1"

_TYPES = {"BOOLEAN": 0, "INT32": 1, "INT64": 2, "INT96": 3, "FLOAT": 4, "DOUBLE": 5, "BYTE_ARRAY": 6}
_ENCODINGS = (0, 3, 8)
"""PLAIN, RLE and RLE_DICTIONARY. A footer lists what its pages may use; each page says what it does."""
_CODECS = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "BROTLI": 4, "ZSTD": 6}

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_NUM_ROWS, _ROW_GROUPS = 3, 4


@dataclass(frozen=True, slots=True)
class Group:
    """A row group as a footer tells it: where it lies, and how many rows it has."""

    offset: int
    length: int
    rows: int
    chunks: tuple[tuple[int, int, int, int, int], ...]
    """Per column the values, the size in memory and in the file, and the offsets of data and dictionary (0: none)."""

    @classmethod
    def of(cls, group: Any) -> Group:
        """From pyarrow's RowGroupMetaData."""
        columns = [group.column(at) for at in range(group.num_columns)]
        chunks = tuple(
            (
                one.num_values,
                one.total_uncompressed_size,
                one.total_compressed_size,
                one.data_page_offset,
                one.dictionary_page_offset or 0,
            )
            for one in columns
        )
        starts = [_start(one) for one in chunks]
        end = max(start + one[2] for start, one in zip(starts, chunks, strict=True))
        return cls(min(starts), end - min(starts), group.num_rows, chunks)

    def stretches(self, columns: Sequence[int] | None) -> list[tuple[int, int]]:
        """Offset and length of some columns, by their place; None: of the group as a whole."""
        if columns is None:
            return [(self.offset, self.length)]
        return [(_start(chunk), chunk[2]) for chunk in map(self.chunks.__getitem__, columns)]


def _start(chunk: tuple[int, int, int, int, int]) -> int:
    _, _, _, data, dictionary = chunk
    return min(data, dictionary) if dictionary else data


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


def footer_of(schema: bytes, heads: Sequence[bytes], groups: Sequence[Group]) -> bytes:
    """The end of a file in which `groups` follow one another behind the first magic.

    `schema` as `schema_fields` gives it, `heads` as `column_heads` does.
    """
    told: list[bytes] = []
    at = len(MAGIC)
    for group in groups:
        told.append(_group(heads, group, at - group.offset))
        at += group.length
    fields = [
        (_NUM_ROWS, _I64, _integer(sum(group.rows for group in groups))),
        (_ROW_GROUPS, _LIST, _list(_STRUCT, told)),
    ]
    footer = schema + _struct(fields, last=2)
    return footer + len(footer).to_bytes(4, "little") + MAGIC


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


def _group(heads: Sequence[bytes], group: Group, shift: int) -> bytes:
    chunks = [_chunk(head, chunk, shift) for head, chunk in zip(heads, group.chunks, strict=True)]
    size = sum(chunk[1] for chunk in group.chunks)
    return _struct(
        [(1, _LIST, _list(_STRUCT, chunks)), (2, _I64, _integer(size)), (3, _I64, _integer(group.rows))]
    )


def _chunk(head: bytes, chunk: tuple[int, int, int, int, int], shift: int) -> bytes:
    values, in_memory, in_file, data, dictionary = chunk
    fields = [
        (5, _I64, _integer(values)),
        (6, _I64, _integer(in_memory)),
        (7, _I64, _integer(in_file)),
        (9, _I64, _integer(data + shift)),
    ]
    if dictionary:
        fields.append((11, _I64, _integer(dictionary + shift)))
    told = head + _struct(fields, last=4)
    return _struct([(2, _I64, _integer(_start(chunk) + shift)), (3, _STRUCT, told)])


def _struct(fields: Iterable[tuple[int, int, bytes]], last: int = 0) -> bytes:
    parts: list[bytes] = []
    for number, kind, value in fields:
        parts += (bytes([number - last << 4 | kind]), value)
        last = number
    return b"".join(parts) + b"\0"


def _list(kind: int, values: Sequence[bytes]) -> bytes:
    size = len(values)
    head = bytes([size << 4 | kind]) if size < 15 else bytes([15 << 4 | kind]) + _varint(size)
    return head + b"".join(values)


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
