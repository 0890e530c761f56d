"""Frames as bytes: JSON, CSV, an Arrow IPC stream or Parquet, in one piece or batch by batch, and compressed.

Times are ISO 8601 in UTC. What JSON has no number for (NaN, infinities) is null there; of a null CSV has nothing
between its commas, and of a list its values with a | between.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol

import orjson
import polars as pl
import zstandard

from quant_assets.api.negotiation import Encoding, Format

Orient = Literal["records", "columns"]

_ZSTD_LEVEL = 3
_GZIP_LEVEL = 1
"""Gzip takes most of the time of an answer at its usual level, and saves a tenth of the bytes with it."""
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


def json_answer(frame: pl.DataFrame, orient: Orient, envelope: Mapping[str, Any]) -> bytes:
    """`envelope` with the rows as its member `data`: an object a row, or a list a column."""
    if orient == "records":
        data = frame.write_json()
    elif frame.width == 0:
        data = "{}"
    else:
        data = frame.select(pl.all().implode()).write_json()[1:-1]
    return orjson.dumps({**envelope, "data": orjson.Fragment(data)})


def in_format(frames: Iterable[pl.DataFrame], form: Format, facts: Mapping[str, str]) -> Iterator[bytes]:
    """The bytes of frames with the same columns, a piece for each; at least one frame, which may have no rows.

    `facts` ride in the schema of Arrow and Parquet. JSON is not made in pieces.
    """
    match form:
        case "csv":
            yield from _csv(frames)
        case "arrow" | "parquet":
            yield from _arrow(frames, form, facts)
        case "json":
            raise ValueError("JSON is made in one piece")


def _csv(frames: Iterable[pl.DataFrame]) -> Iterator[bytes]:
    for number, frame in enumerate(frames):
        lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
        flat = frame.with_columns(pl.col(name).list.join("|") for name in lists) if lists else frame
        text = flat.write_csv(include_header=number == 0, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
        yield text.encode()


def _arrow(
    frames: Iterable[pl.DataFrame], form: Literal["arrow", "parquet"], facts: Mapping[str, str]
) -> Iterator[bytes]:
    ipc: Any = importlib.import_module("pyarrow.ipc")
    pq: Any = importlib.import_module("pyarrow.parquet")
    sink = _Sink()
    writer: Any = None
    for frame in frames:
        table: Any = frame.to_arrow()
        if writer is None:
            schema = table.schema.with_metadata(dict(facts))
            if form == "arrow":
                writer = ipc.new_stream(sink, schema)
            else:
                writer = pq.ParquetWriter(sink, schema, compression="zstd")
        writer.write_table(table.replace_schema_metadata(dict(facts)))
        yield sink.take()
    if writer is not None:
        writer.close()
    yield sink.take()


class _Sink:
    """A file that is written to and given away piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._at += len(part)
        return len(part)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """What was written stays to be taken."""

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _compressor(encoding: Encoding) -> _Compressor:
    match encoding:
        case "zstd":
            return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
        case "gzip":
            return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        case "identity":
            return _Plain()


def compressed(pieces: Iterable[bytes], encoding: Encoding) -> Iterator[bytes]:
    """The pieces as one compressed stream; empty ones are left out."""
    compressor = _compressor(encoding)
    for piece in pieces:
        if piece and (data := compressor.compress(piece)):
            yield data
    if data := compressor.flush():
        yield data
