"""Some symbols of a table sorted by symbol, read in ranges of one version of its object.

What the end of an object says (facts, where each row group lies, which symbols it holds) is kept in the process by
the object's version: a version is never written twice, so what is kept is as good as what lies there. Every range is
asked for by that version and checked against the seal block by block before anything reads it.
"""

from __future__ import annotations

import importlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import polars as pl

from quant_assets.market.bars import with_flags
from quant_assets.market.flags import FLAGS, NONE
from quant_assets.resources.object_store import ObjectChanged, ObjectInfo, ObjectStore
from quant_assets.tables.parquet import BLOCK, Seal, facts_in, verify
from quant_assets.tables.row_groups import MAGIC, Group, column_heads, footer_of, schema_fields

_KEPT_BYTES = 64 * 2**20
"""Of the ends of objects that are kept. What Parquet's library makes of them takes a few times as much."""

_KEPT_GROUPS, _KEPT_FOOTERS = 8, 256
"""Row groups up to which the footer of a part is kept, half a kilobyte each, and how many of an object are."""

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
        self.metadata: Any = pq.read_metadata(arrow.BufferReader(self.seal.tail))
        written: dict[bytes, bytes] = self.metadata.metadata or {}
        self.facts = facts_in({n.decode(): t.decode() for n, t in written.items()}, store.uri(info.key))
        self.weight = len(end) + len(self.seal.tail)
        self._groups: dict[int, Group] = {}
        self._heads: tuple[bytes, list[bytes]] | None = None
        self._footers: dict[tuple[int, ...], bytes] = {}

    @cached_property
    def _bounds(self) -> tuple[Any, Any, Any]:
        """Per row group the least and the greatest symbol, and whether they are known."""
        groups = range(self.metadata.num_row_groups)
        if not groups:
            return np.array([], dtype=np.str_), np.array([], dtype=np.str_), np.array([], dtype=np.bool_)
        column = self.metadata.schema.names.index("symbol")
        found = [self.metadata.row_group(group).column(column).statistics for group in groups]
        known = [one is not None and one.has_min_max for one in found]
        lowest = [one.min if is_known else "" for one, is_known in zip(found, known, strict=True)]
        highest = [one.max if is_known else "" for one, is_known in zip(found, known, strict=True)]
        return np.array(lowest), np.array(highest), np.array(known)

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
        stretches = self._brought(store, groups, columns)
        parts = [MAGIC]
        for group in map(self._group, groups):
            at, end = group.offset, group.offset + group.length
            for offset, data in stretches:
                if offset < end and at < offset + len(data):
                    parts.append(bytes(max(0, offset - at)))
                    parts.append(data[max(0, at - offset) : end - offset])
                    at = min(end, offset + len(data))
            parts.append(bytes(end - at))
        return b"".join([*parts, self._footer_of(tuple(groups))])

    def _brought(
        self, store: ObjectStore, groups: Iterable[int], columns: Sequence[str] | None
    ) -> list[tuple[int, bytes]]:
        """Offset and bytes of what has to be known of row groups, checked; neighbouring blocks are one stretch."""
        names: list[str] = self.metadata.schema.names
        places = None if columns is None else [at for at, name in enumerate(names) if name in columns]
        wanted = {
            block
            for group in map(self._group, groups)
            for first, length in group.stretches(places)
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
        stretches: list[tuple[int, bytes]] = []
        if ranges:
            found = store.get_ranges(self.info.key, ranges, self.info.version)
            for (offset, _), data in zip(ranges, found, strict=True):
                self.seal.check(offset // BLOCK, data)
                stretches.append((offset, data))
        if not wanted.isdisjoint(kept):
            stretches.append((self._start, self._end))
        return stretches

    def _group(self, number: int) -> Group:
        if number not in self._groups:
            self._groups[number] = Group.of(self.metadata.row_group(number))
        return self._groups[number]

    def _footer_of(self, groups: tuple[int, ...]) -> bytes:
        known = self._footers.get(groups)
        if known is not None:
            return known
        if self._heads is None:
            end = self.seal.tail
            written = end[-8 - int.from_bytes(end[-8:-4], "little") : -8]
            self._heads = schema_fields(written), column_heads(self.metadata.row_group(0))
        made = footer_of(*self._heads, [self._group(group) for group in groups])
        if len(groups) <= _KEPT_GROUPS:
            if len(self._footers) >= _KEPT_FOOTERS:
                self._footers.clear()
            self._footers[groups] = made
        return made


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
    names: list[str] = footer.metadata.schema.names
    data = b""
    if len(groups) > max(_FEW_GROUPS, footer.metadata.num_row_groups // 2):
        data = _whole(store, info)
    elif groups:
        data = footer.part(store, groups, columns)
    return Part(data, tuple(names), footer.facts)


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
