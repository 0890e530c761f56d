"""Tables as Parquet objects, and the facts that ride in their footers.

One object per partition, sorted, zstd, statistics on. A year's history has small row groups, since one symbol of it
is read more often than all; what is read whole has larger ones.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import polars as pl

from quant_assets.market.bars import content_sha256, with_flags
from quant_assets.resources.object_store import (
    FORMAT,
    ObjectDamaged,
    ObjectStore,
    checksum,
    refuse_newer,
)
from quant_assets.tables.layout import CATALOG, EXCHANGES, RECORDS, UNIVERSES, VALUATIONS, object_key

_FACTS = "quant_assets"

# Between a table's body and its Parquet footer, where every reader passes over it, lies the seal: the checksum of
# each block of the body, the body's length, the checksum of all that follows the body, and the mark. It is the same
# in every format to come: only behind it can the facts, and the format in them, be believed.
BLOCK = 65_536
_MARK = b"QASEAL1\n"
_FIXED = 8 + 4 + len(_MARK)
_ROW_GROUP = 16_384
_FEW_ROWS_GROUP = 4_096
"""Costs 5 % more bytes; one symbol's year is decoded in a third of the time."""


def encode(frame: pl.DataFrame, facts: Mapping[str, Any], *, by_symbol: bool = False) -> bytes:
    """A table's Parquet bytes, with `facts` (JSON values), the format and the hash of the content in the footer.

    `by_symbol`: a symbol at a time will be read of it, rather than the whole.
    """
    recorded = {**facts, "format": FORMAT, "content_sha256": content_sha256(frame), "rows": frame.height}
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        compression_level=3,
        statistics=True,
        row_group_size=_FEW_ROWS_GROUP if by_symbol else _ROW_GROUP,
        metadata={_FACTS: orjson.dumps(recorded, option=orjson.OPT_SORT_KEYS).decode()},
    )
    return _sealed(buffer.getvalue())


def _sealed(data: bytes) -> bytes:
    footer = int.from_bytes(data[-8:-4], "little") + 8
    body, tail = data[:-footer], data[-footer:]
    sums = b"".join(_sums(body, len(body))) + len(body).to_bytes(8, "little")
    return body + sums + checksum(sums + tail).to_bytes(4, "little") + _MARK + tail


def _sums(data: bytes, end: int) -> list[bytes]:
    """The checksum of each block of `data` up to `end`."""
    starts = range(0, end, BLOCK)
    return [checksum(data[at : min(at + BLOCK, end)]).to_bytes(4, "little") for at in starts]


class Seal:
    """The seal of a table, read and checked: what follows the body, and the checksum of each block of the body.

    Nothing else reads a table's bytes before they are checked against it: polars aborts the whole process on some
    damaged files, and pyarrow reads wrong prices from others. Raises ObjectDamaged.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int, uri: str) -> None:
        self._uri = uri
        end = read(max(0, size - 8), 8)
        before_footer = size - int.from_bytes(end[:4], "little") - 8
        if end[4:] != b"PAR1" or before_footer < _FIXED:
            raise self._damaged()
        fixed = read(before_footer - _FIXED, _FIXED)
        self.body = int.from_bytes(fixed[:8], "little")
        length = before_footer - _FIXED - self.body
        if length != -(-self.body // BLOCK) * 4 or fixed[12:] != _MARK:
            raise self._damaged()
        self.tail = read(self.body, size - self.body)
        self._sums = [self.tail[at : at + 4] for at in range(0, length, 4)]
        rest = self.tail[: length + 8] + self.tail[length + _FIXED :]
        if checksum(rest).to_bytes(4, "little") != fixed[8:12]:
            raise self._damaged()

    def check(self, first_block: int, data: bytes, end: int | None = None) -> None:
        """Raises ObjectDamaged unless `data`, up to `end`, are the blocks of the body from the first on."""
        sums = _sums(data, len(data) if end is None else end)
        if sums != self._sums[first_block : first_block + len(sums)]:
            raise self._damaged()

    def _damaged(self) -> ObjectDamaged:
        return ObjectDamaged(f"{self._uri}: the bytes are not those that were written. {_remedy(self._uri)}")


def verify(data: bytes, uri: str) -> None:
    """Raises ObjectDamaged, naming `uri`, unless the bytes are those that were written."""
    seal = Seal(lambda offset, length: data[offset : offset + length], len(data), uri)
    seal.check(0, data, seal.body)


def decode(data: bytes, uri: str) -> pl.DataFrame:
    """The table in Parquet bytes; daily bars of earlier releases come with `flags` (`with_flags`).

    Raises ObjectDamaged, naming `uri`, when they are not what was written; NewerFormat.
    """
    return decode_with_facts(data, uri)[0]


def decode_with_facts(data: bytes, uri: str) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The table in Parquet bytes and the facts in its footer. Raises as `decode` does."""
    facts = read_facts(data, uri)
    return with_flags(pl.read_parquet(data, use_statistics=False)), facts


def read_facts(data: bytes, uri: str) -> dict[str, Any]:
    """The facts in a Parquet footer.

    Raises ObjectDamaged, naming `uri`, when the bytes are not what was written; NewerFormat.
    """
    verify(data, uri)
    return facts_in(pl.read_parquet_metadata(io.BytesIO(data)), uri)


def facts_in(metadata: Mapping[str, str], uri: str) -> dict[str, Any]:
    """The facts in the metadata of a Parquet footer that has been checked. Raises NewerFormat."""
    facts: dict[str, Any] = orjson.loads(metadata[_FACTS])
    refuse_newer(facts.get("format"), uri)
    return facts


def read_table(store: ObjectStore, key: str) -> pl.DataFrame:
    """One whole table object. Raises ObjectNotFound, ObjectDamaged, StoreUnavailable."""
    return decode(store.get(key).data, store.uri(key))


_WHOLE = tuple(f"/{object_key(table)}" for table in (CATALOG, EXCHANGES))
"""Tables without partitions."""


def _remedy(uri: str) -> str:
    """What to do about a damaged object: what records alone have learned is in no source and no other object."""
    # The key is the end of the address: table/name, or table/exchange/year.
    kept = (*RECORDS, VALUATIONS)
    table = next((part for part in reversed(uri.split("/")[-3:-1]) if part in kept), None)
    if table == UNIVERSES:
        return "Remove the object and run quant-assets refresh-universe"
    if table == VALUATIONS:
        return "Bring the object back from a backup; where there is none, remove it: it cannot be asked for again"
    if table is not None:
        return (
            "Bring the object back from a backup; where there is none, remove it, and its record begins anew"
        )
    if uri.endswith(_WHOLE):
        return "Remove the object: the next quant-assets update-daily or backfill makes it anew"
    return "Remove the object and run the backfill of its partition again"
