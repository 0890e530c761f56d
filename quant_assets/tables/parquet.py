"""Tables as Parquet objects, and the facts that ride in their footers.

One object per partition, sorted, zstd, statistics on, row groups of about 16k rows (small enough that one
symbol of a year is a few ranged reads).
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
import polars as pl

from quant_assets.market.bars import content_sha256, with_flags
from quant_assets.resources.object_store import (
    FORMAT,
    ObjectDamaged,
    ObjectInfo,
    ObjectStore,
    checksum,
    refuse_newer,
)

_FACTS = "quant_assets"

# Between a table's body and its Parquet footer, where every reader passes over it, lies the seal: the checksum of
# each block of the body, the body's length, the checksum of all that follows the body, and the mark. It is the same
# in every format to come: only behind it can the facts, and the format in them, be believed.
_BLOCK = 65_536
_MARK = b"QASEAL1\n"
_FIXED = 8 + 4 + len(_MARK)
_ROW_GROUP = 16_384


def encode(frame: pl.DataFrame, facts: Mapping[str, Any]) -> bytes:
    """A table's Parquet bytes, with `facts` (JSON values), the format and the hash of the content in the footer."""
    recorded = {**facts, "format": FORMAT, "content_sha256": content_sha256(frame), "rows": frame.height}
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        compression_level=3,
        statistics=True,
        row_group_size=_ROW_GROUP,
        metadata={_FACTS: orjson.dumps(recorded, option=orjson.OPT_SORT_KEYS).decode()},
    )
    return _sealed(buffer.getvalue())


def _sealed(data: bytes) -> bytes:
    footer = int.from_bytes(data[-8:-4], "little") + 8
    body, tail = data[:-footer], data[-footer:]
    sums = b"".join(_sums(body)) + len(body).to_bytes(8, "little")
    return body + sums + checksum(sums + tail).to_bytes(4, "little") + _MARK + tail


def _sums(data: bytes) -> list[bytes]:
    """The checksum of each block."""
    return [checksum(data[at : at + _BLOCK]).to_bytes(4, "little") for at in range(0, len(data), _BLOCK)]


class _Seal:
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
        if length != -(-self.body // _BLOCK) * 4 or fixed[12:] != _MARK:
            raise self._damaged()
        self.tail = read(self.body, size - self.body)
        self._sums = [self.tail[at : at + 4] for at in range(0, length, 4)]
        rest = self.tail[: length + 8] + self.tail[length + _FIXED :]
        if checksum(rest).to_bytes(4, "little") != fixed[8:12]:
            raise self._damaged()

    def check(self, first_block: int, data: bytes) -> None:
        """Raises ObjectDamaged unless `data` are the blocks of the body from the first on."""
        sums = _sums(data)
        if sums != self._sums[first_block : first_block + len(sums)]:
            raise self._damaged()

    def _damaged(self) -> ObjectDamaged:
        return ObjectDamaged(f"{self._uri}: the bytes are not those that were written. {_REMEDY}")


def _verify(data: bytes, uri: str) -> None:
    seal = _Seal(lambda offset, length: data[offset : offset + length], len(data), uri)
    seal.check(0, data[: seal.body])


def decode(data: bytes, uri: str) -> pl.DataFrame:
    """The table in Parquet bytes; daily bars of earlier releases come with `flags` (`with_flags`).

    Raises ObjectDamaged, naming `uri`, when they are not what was written; NewerFormat.
    """
    return decode_with_facts(data, uri)[0]


def decode_with_facts(data: bytes, uri: str) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The table in Parquet bytes and the facts in its footer. Raises as `decode` does."""
    facts = read_facts(data, uri)
    return with_flags(pl.read_parquet(io.BytesIO(data), use_statistics=False)), facts


def read_facts(data: bytes, uri: str) -> dict[str, Any]:
    """The facts in a Parquet footer.

    Raises ObjectDamaged, naming `uri`, when the bytes are not what was written; NewerFormat.
    """
    _verify(data, uri)
    return _known_format(orjson.loads(pl.read_parquet_metadata(io.BytesIO(data))[_FACTS]), uri)


def _known_format(facts: dict[str, Any], uri: str) -> dict[str, Any]:
    refuse_newer(facts.get("format"), uri)
    return facts


def read_table(store: ObjectStore, key: str) -> pl.DataFrame:
    """One whole table object. Raises ObjectNotFound, ObjectDamaged, StoreUnavailable."""
    return decode(store.get(key).data, store.uri(key))


_REMEDY = "Remove the object and run the backfill of its partition again"


class RangedTable(io.RawIOBase):
    """A table's object as a seekable file of one version, read in ranges and checked block by block.

    `fetch` brings what will be needed in few requests; what has not been brought is fetched when it is read.
    Raises ObjectChanged when it has been replaced, ObjectDamaged when its bytes are not what was written.
    """

    def __init__(self, store: ObjectStore, info: ObjectInfo) -> None:
        super().__init__()
        self._store, self._info = store, info
        self._position = 0
        self._blocks: dict[int, bytes] = {}
        # Seal and Parquet footer grow with the object, slowly; one read is to bring them both.
        start = max(0, info.size - _BLOCK - info.size // 128) // _BLOCK * _BLOCK
        (end,) = self._ranges([(start, info.size - start)])

        def near_end(offset: int, length: int) -> bytes:
            if offset >= start:
                return end[offset - start : offset - start + length]
            (data,) = self._ranges([(offset, length)])
            return data

        self._seal = _Seal(near_end, info.size, store.uri(info.key))
        if start < self._seal.body:
            self._keep(start // _BLOCK, end[: self._seal.body - start])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._info.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        start = min(self._position, self._info.size)
        end = self._info.size if size < 0 else min(self._info.size, start + size)
        body = self._seal.body
        data = b""
        if start < min(end, body):
            first = start // _BLOCK
            self.fetch([(start, end - start)])
            data = b"".join(self._blocks[block] for block in range(first, -(-min(end, body) // _BLOCK)))
            data = data[start - first * _BLOCK : end - first * _BLOCK]
        if end > body:
            data += self._seal.tail[max(0, start - body) : end - body]
        self._position = end
        return data

    def fetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Brings what each (offset, length) needs: neighbouring blocks in one range, all ranges at once."""
        wanted = {
            block
            for offset, length in ranges
            for block in range(offset // _BLOCK, -(-min(offset + length, self._seal.body) // _BLOCK))
        }
        runs: list[tuple[int, int]] = []
        for block in sorted(wanted - self._blocks.keys()):
            if runs and runs[-1][1] == block:
                runs[-1] = (runs[-1][0], block + 1)
            else:
                runs.append((block, block + 1))
        if not runs:
            return
        found = self._ranges([(a * _BLOCK, min(b * _BLOCK, self._seal.body) - a * _BLOCK) for a, b in runs])
        for (first, _), data in zip(runs, found, strict=True):
            self._keep(first, data)

    def _keep(self, first: int, data: bytes) -> None:
        self._seal.check(first, data)
        for at in range(0, len(data), _BLOCK):
            self._blocks[first + at // _BLOCK] = data[at : at + _BLOCK]

    def _ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self._store.get_ranges(self._info.key, ranges, self._info.version)


def read_symbols(
    store: ObjectStore, key: str, symbols: Sequence[str], info: ObjectInfo | None = None
) -> tuple[pl.DataFrame, dict[str, Any]] | None:
    """The rows of some symbols of a table sorted by symbol, and its facts, in few ranged reads of one version.

    Two requests where `info` tells the object's size and version (a listing does), three where it must be asked for.
    None where there is no such object. Raises ObjectChanged when it is replaced meanwhile (read again),
    ObjectDamaged, StoreUnavailable.
    """
    arrow: Any = importlib.import_module("pyarrow")
    compute: Any = importlib.import_module("pyarrow.compute")
    pq: Any = importlib.import_module("pyarrow.parquet")
    info = info or store.head(key)
    if info is None:
        return None
    wanted = sorted(set(symbols))
    source = RangedTable(store, info)
    file = pq.ParquetFile(source)
    footer: dict[bytes, bytes] = file.metadata.metadata or {}
    facts = _known_format(orjson.loads(footer[_FACTS.encode()]), store.uri(key))
    column = file.schema_arrow.get_field_index("symbol")
    groups: list[int] = []
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        if statistics is None or any(statistics.min <= symbol <= statistics.max for symbol in wanted):
            groups.append(group)
    source.fetch(_place(file.metadata.row_group(group)) for group in groups)
    table = file.read_row_groups(groups)
    names = table.column("symbol")
    # Filtered before it is made a polars frame: a group has thousands of rows, a symbol's year some 250.
    mine = compute.is_in(names, value_set=arrow.array(wanted, type=names.type))
    return with_flags(pl.DataFrame(table.filter(mine))), facts


def _place(group: Any) -> tuple[int, int]:
    """Offset and length of a row group, whose columns lie one after the other."""
    columns = [group.column(number) for number in range(group.num_columns)]
    starts = [
        min(offset for offset in (one.dictionary_page_offset, one.data_page_offset) if offset)
        for one in columns
    ]
    ends = [start + one.total_compressed_size for start, one in zip(starts, columns, strict=True)]
    return min(starts), max(ends) - min(starts)
