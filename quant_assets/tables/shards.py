"""A manifest shard as bytes: JSON, a list a column of its entries, and their holes as one packed table.

`{"format": 2, "entries": {"partition": [...], "state": [...], …, "missing": [how many, …]}, "holes": "…"}`, where
`holes` is the Parquet table of `tables.holes` in base64, absent where nobody is missing. Format 1 has an object an
entry and in it an object a hole; it is read, and becomes format 2 when the shard is next written.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import date
from typing import Any, cast

import orjson

from quant_assets.market.coverage import CellState
from quant_assets.resources.object_store import FORMAT, Blob, ObjectDamaged, refuse_newer
from quant_assets.tables.entries import Entry
from quant_assets.tables.holes import pack, unpack

_FORMAT = "format"
"""In a shard of format 1 it lies beside the partitions, none of which is called so."""

_COLUMNS = tuple(field.name for field in fields(Entry) if field.name not in ("state", "missing"))
"""The fields of an entry that are recorded as they are; beside them its `state` and how many are `missing`."""

_NUMBERS = frozenset({"rows", "size", "expected", "received", "missing"})

_KEPT_BYTES = 64_000_000
"""How much is kept parsed, counted in the bytes of the shards: some 25 exchanges of 20 years."""


def dump(entries: Mapping[str, Entry]) -> bytes:
    """The bytes of a shard, its entries in order of time."""
    ordered = [entry for _, entry in sorted(entries.items())]
    columns: dict[str, list[Any]] = {name: [getattr(entry, name) for entry in ordered] for name in _COLUMNS}
    columns["state"] = [entry.state.value for entry in ordered]
    columns["missing"] = [len(entry.missing) for entry in ordered]
    shard: dict[str, Any] = {_FORMAT: FORMAT, "entries": columns}
    if any(columns["missing"]):
        shard["holes"] = base64.b64encode(pack(entry.missing for entry in ordered)).decode()
    return orjson.dumps(shard)


def parse(blob: Blob, uri: str) -> Mapping[str, Entry]:
    """The entries of a shard by partition, in order of time; not to be changed, for the next one is given the same.

    Raises ObjectDamaged, naming `uri`; NewerFormat.
    """
    kept = _kept.get(uri, blob.info.version)
    return _kept.keep(uri, blob, _parsed(blob.data, uri)) if kept is None else kept


def parsed_before(uri: str, version: str) -> Mapping[str, Entry] | None:
    """The entries of a version of a shard that this process has parsed; None where it is to be read."""
    return _kept.get(uri, version)


def _parsed(data: bytes, uri: str) -> dict[str, Entry]:
    try:
        shard = cast("dict[str, Any]", orjson.loads(data))
        found = shard.pop(_FORMAT, None)
        refuse_newer(found, uri)
        if found == FORMAT:
            return _of_columns(shard["entries"], shard.get("holes"), uri)
        return {partition: Entry.from_facts(facts, None) for partition, facts in sorted(shard.items())}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, ObjectDamaged) as error:
        raise ObjectDamaged(
            f"{uri}: unreadable manifest ({error}); `quant-assets rebuild-manifest` makes it anew"
        ) from error


def _of_columns(columns: dict[str, list[Any]], holes: str | None, uri: str) -> dict[str, Entry]:
    counts = cast("list[int]", columns["missing"])
    packed = base64.b64decode(holes, validate=True) if holes else b""
    missing = unpack(packed, counts, uri) if packed or any(counts) else [()] * len(counts)
    for name, column in columns.items():
        if any(type(value) is not (int if name in _NUMBERS else str) for value in column):
            raise ValueError(f"{name}: of the wrong kind")
    for partition in columns["partition"]:
        date.fromisoformat(partition if "-" in partition else f"{partition}-01-01")
    states = {state.value: state for state in CellState}
    made: Callable[..., Entry] = Entry
    rows = zip(*(columns[name] for name in _COLUMNS), columns["state"], missing, strict=True)
    return {
        row[0]: made(**dict(zip(_COLUMNS, row, strict=False)), state=states[row[-2]], missing=row[-1])
        for row in rows
    }


class _Kept:
    """Parsed shards by where they lie, the one of the latest version; those asked for last, up to a size."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._size = 0
        self._shards: OrderedDict[str, tuple[str, int, Mapping[str, Entry]]] = OrderedDict()

    def get(self, uri: str, version: str) -> Mapping[str, Entry] | None:
        with self._lock:
            kept = self._shards.get(uri)
            if kept is None or kept[0] != version:
                return None
            self._shards.move_to_end(uri)
            return kept[2]

    def keep(self, uri: str, blob: Blob, entries: Mapping[str, Entry]) -> Mapping[str, Entry]:
        with self._lock:
            self._forget(uri)
            self._shards[uri] = (blob.info.version, len(blob.data), entries)
            self._size += len(blob.data)
            while self._size > self._limit:
                self._forget(next(iter(self._shards)))
        return entries

    def _forget(self, uri: str) -> None:
        if uri in self._shards:
            self._size -= self._shards.pop(uri)[1]


_kept = _Kept(_KEPT_BYTES)
