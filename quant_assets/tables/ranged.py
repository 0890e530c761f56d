"""Some symbols of a table sorted by symbol, read in ranges of one version of its object.

What the end of an object says (facts, where each row group lies, which symbols it holds) is kept in the process by
the object's version: a version is never written twice, so what is kept is as good as what lies there. Every range is
asked for by that version and checked against the seal block by block before anything reads it.
"""

from __future__ import annotations

import importlib
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl

from quant_assets.market.bars import with_flags
from quant_assets.market.flags import FLAGS, NONE
from quant_assets.resources.object_store import ObjectChanged, ObjectInfo, ObjectStore
from quant_assets.tables.parquet import BLOCK, Seal, facts_in, verify
from quant_assets.tables.row_groups import MAGIC, Groups, column_heads, footer_of, schema_fields

_KEPT_BYTES = 64 * 2**20
"""Of what is kept of the ends of objects."""

_KEPT_GROUPS, _KEPT_CUTS = 8, 256
"""Row groups up to which it is kept how a part is made, a kilobyte each, and of how many parts of an object."""

_FEW_GROUPS = 4
"""Row groups up to which no object is read whole, however few it has."""


class Footer:
    """What the end of a table's object says of one version of it, and its body, read in ranges.

    Raises ObjectChanged when the object has been replaced, ObjectDamaged when its bytes are not what was written,
    NewerFormat, StoreUnavailable.
    """

    def __init__(self, store: ObjectStore, info: ObjectInfo) -> None:
        pq: Any = importlib.import_module("pyarrow.parquet")
        arrow: Any = importlib.import_module("pyarrow")
        self.info = info
        # Seal and Parquet footer grow with the object, slowly; one read is to bring them both.
        start = max(0, info.size - BLOCK - info.size // 40) // BLOCK * BLOCK
        (end,) = store.get_ranges(info.key, [(start, info.size - start)], info.version)

        def near_end(offset: int, length: int) -> bytes:
            if offset >= start:
                return end[offset - start : offset - start + length]
            (data,) = store.get_ranges(info.key, [(offset, length)], info.version)
            return data

        self.seal = Seal(near_end, info.size, store.uri(info.key))
        self._start, self._end = start, b""
        if start < self.seal.body:
            self._end = end[: self.seal.body - start]
            self.seal.check(start // BLOCK, self._end)
        # What Parquet's library makes of a footer takes ten times the memory of what is used of it.
        tail, self.seal.tail = self.seal.tail, b""
        metadata: Any = pq.read_metadata(arrow.BufferReader(tail))
        written: dict[bytes, bytes] = metadata.metadata or {}
        self.facts = facts_in({n.decode(): t.decode() for n, t in written.items()}, store.uri(info.key))
        self.columns: tuple[str, ...] = tuple(metadata.schema.names)
        self.groups = Groups.of(metadata)
        self._bounds = _bounds_of(metadata)
        self._schema = schema_fields(tail[-8 - int.from_bytes(tail[-8:-4], "little") : -8])
        self._heads = column_heads(metadata.row_group(0)) if len(self.groups) else []
        self._cuts: dict[tuple[tuple[int, ...], tuple[str, ...] | None], _Cut] = {}
        self.weight = len(self._end) + self.groups.nbytes + sum(one.nbytes for one in self._bounds)

    def groups_of(self, wanted: Sequence[str]) -> list[int]:
        """The row groups that can hold one of `wanted` (sorted)."""
        lowest, highest, known = self._bounds
        if not len(wanted):
            return [int(group) for group in np.flatnonzero(~known)]
        texts, numpy = np.array(wanted), cast("Any", np)
        # The first of those wanted that is not below the group's least symbol decides.
        first = numpy.searchsorted(texts, lowest)
        inside = (first < len(texts)) & (texts[numpy.minimum(first, len(texts) - 1)] <= highest)
        return [int(group) for group in numpy.flatnonzero(inside | ~known)]

    def part(self, store: ObjectStore, groups: Sequence[int], columns: Sequence[str] | None = None) -> bytes:
        """A Parquet file of these row groups alone; of what is not in `columns` there may be nothing but zeros."""
        cut = self._cut(tuple(groups), None if columns is None else tuple(columns))
        stretches = self._brought(store, cut)
        offsets = [offset for offset, _ in stretches]
        parts: list[bytes | memoryview] = [MAGIC]
        for at, length in cut.groups:
            end = at + length
            for offset, data in stretches[max(0, bisect_right(offsets, at) - 1) : bisect_left(offsets, end)]:
                if at < offset + len(data):
                    parts.append(bytes(max(0, offset - at)))
                    parts.append(data[max(0, at - offset) : end - offset])
                    at = min(end, offset + len(data))
            parts.append(bytes(end - at))
        return b"".join([*parts, cut.footer])

    def _brought(self, store: ObjectStore, cut: _Cut) -> list[tuple[int, memoryview]]:
        """Offset and bytes, checked, of what has to be known, in their order."""
        stretches: list[tuple[int, memoryview]] = []
        if cut.ranges:
            found = store.get_ranges(self.info.key, cut.ranges, self.info.version)
            for (offset, _), data in zip(cut.ranges, found, strict=True):
                self.seal.check(offset // BLOCK, data)
                stretches.append((offset, memoryview(data)))
        if cut.end:
            stretches.append((self._start, memoryview(self._end)))
        return stretches

    def _cut(self, groups: tuple[int, ...], columns: tuple[str, ...] | None) -> _Cut:
        known = self._cuts.get((groups, columns))
        if known is not None:
            return known
        some = self.groups.some(groups)
        places = None if columns is None else [at for at, name in enumerate(self.columns) if name in columns]
        wanted = {
            block
            for first, length in some.stretches(places)
            for block in range(first // BLOCK, -(-(first + length) // BLOCK))
        }
        kept = range(self._start // BLOCK, -(-self.seal.body // BLOCK)) if self._end else range(0)
        runs: list[tuple[int, int]] = []
        for block in sorted(wanted.difference(kept)):
            if runs and runs[-1][1] == block:
                runs[-1] = (runs[-1][0], block + 1)
            else:
                runs.append((block, block + 1))
        ranges = [(a * BLOCK, min(b * BLOCK, self.seal.body) - a * BLOCK) for a, b in runs]
        footer = footer_of(self._schema, self._heads, some)
        made = _Cut(some.stretches(), ranges, not wanted.isdisjoint(kept), footer)
        if len(groups) <= _KEPT_GROUPS:
            if len(self._cuts) >= _KEPT_CUTS:
                self._cuts.clear()
            self._cuts[groups, columns] = made
        return made


@dataclass(frozen=True, slots=True)
class _Cut:
    """How a part of some row groups is made."""

    groups: list[tuple[int, int]]
    """Offset and length of each."""
    ranges: list[tuple[int, int]]
    """Offset and length of what is to be asked for: blocks, neighbouring ones together."""
    end: bool
    """Whether it takes of the kept end as well."""
    footer: bytes


def _bounds_of(metadata: Any) -> tuple[Any, Any, Any]:
    """Per row group the least and the greatest symbol, and whether they are known."""
    groups = range(metadata.num_row_groups)
    if not groups:
        return np.array([], dtype=np.str_), np.array([], dtype=np.str_), np.array([], dtype=np.bool_)
    column = metadata.schema.names.index("symbol")
    found = [metadata.row_group(group).column(column).statistics for group in groups]
    known = [one is not None and one.has_min_max for one in found]
    lowest = [one.min if is_known else "" for one, is_known in zip(found, known, strict=True)]
    highest = [one.max if is_known else "" for one, is_known in zip(found, known, strict=True)]
    return np.array(lowest), np.array(highest), np.array(known)


class _Kept:
    """The ends of objects that were read last, by store, key and version."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._footers: OrderedDict[tuple[str, str, str], Footer] = OrderedDict()
        self._bytes = 0

    def get(self, store: ObjectStore, info: ObjectInfo) -> Footer:
        name = (store.location, info.key, info.version)
        with self._lock:
            found = self._footers.get(name)
            if found is not None:
                self._footers.move_to_end(name)
                return found
        made = Footer(store, info)
        with self._lock:
            if name not in self._footers:
                self._footers[name] = made
                self._bytes += made.weight
            while self._bytes > _KEPT_BYTES and len(self._footers) > 1:
                _, gone = self._footers.popitem(last=False)
                self._bytes -= gone.weight
        return made

    @property
    def weight(self) -> int:
        """The bytes that are kept."""
        return self._bytes

    def clear(self) -> None:
        """Forgets them all."""
        with self._lock:
            self._footers.clear()
            self._bytes = 0


footers = _Kept()


@dataclass(frozen=True, slots=True)
class Part:
    """What was read of a table and is not decoded yet: a Parquet file of the row groups that can hold the symbols."""

    data: bytes
    columns: tuple[str, ...]
    facts: dict[str, Any]


def read_part(
    store: ObjectStore,
    key: str,
    wanted: Sequence[str],
    columns: Sequence[str] | None = None,
    info: ObjectInfo | None = None,
) -> Part | None:
    """What a table sorted by symbol holds of some symbols (sorted and different), in few ranged reads of one version.

    Two requests where `info` tells the object's size and version (a listing does), three where it must be asked for,
    one fewer where this version has been read before. None where there is no such object; `data` is empty where it
    has none of the symbols. Raises ObjectChanged when it is replaced meanwhile (read again), ObjectDamaged,
    StoreUnavailable.
    """
    info = info or store.head(key)
    if info is None:
        return None
    footer = footers.get(store, info)
    groups = footer.groups_of(wanted)
    data = b""
    if len(groups) > max(_FEW_GROUPS, len(footer.groups) // 2):
        data = _whole(store, info)
    elif groups:
        data = footer.part(store, groups, columns)
    return Part(data, footer.columns, footer.facts)


def _whole(store: ObjectStore, info: ObjectInfo) -> bytes:
    blob, uri = store.get(info.key), store.uri(info.key)
    if blob.info.version != info.version:
        raise ObjectChanged(f"{uri}: replaced since it was looked at")
    verify(blob.data, uri)
    return blob.data


def decode_parts(
    parts: Sequence[Part], wanted: Sequence[str], columns: Sequence[str] | None = None
) -> pl.DataFrame | None:
    """The rows of some symbols in parts with the same columns, part by part; None where there are no row groups."""
    files = [part.data for part in parts if part.data]
    if not files:
        return None
    # All at once: a query takes longer to begin than a row group to decode.
    rows = pl.scan_parquet(files, use_statistics=False)
    if len(wanted) == 1:
        mine = pl.col("symbol") == wanted[0]
    else:
        # Of up to a hundred texts polars' decoder compares each with every row, unless something is done with the
        # answer.
        mine = pl.col("symbol").is_in(wanted).fill_null(False)
    return _columns_of(rows.filter(mine), parts[0].columns, columns)


def _columns_of(rows: pl.LazyFrame, there: Sequence[str], columns: Sequence[str] | None) -> pl.DataFrame:
    """All columns of rows, or some; what an earlier release wrote has no flags."""
    if columns is None:
        return with_flags(rows.collect())
    found = rows.select(name for name in columns if name in there).collect()
    if FLAGS in columns and FLAGS not in there:
        found = found.with_columns(pl.lit(NONE).alias(FLAGS)).select(columns)
    return found
