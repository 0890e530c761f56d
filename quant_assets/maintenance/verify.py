"""Reads every object of a store against what was recorded of it, and names what is damaged, unknown or strange."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from quant_assets.resources.object_store import (
    FORMAT,
    MARKER,
    Blob,
    NewerFormat,
    ObjectDamaged,
    ObjectStore,
    ObjectStoreError,
    StoreUnavailable,
    get_many,
    refuse_newer,
)
from quant_assets.tables.layout import (
    MANIFEST,
    TIME_DIMENSION,
    described_table,
    exchange_of,
    manifest_key,
    object_key,
    partition_of,
    table_of,
    year_of,
)
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import decode_with_facts

_REBUILD = "`quant-assets rebuild-manifest` records it"


@dataclass(slots=True)
class Verification:
    """How many objects were read, and what is wrong with which of them: a line by key."""

    objects: int = 0
    damaged: dict[str, str] = field(default_factory=dict[str, str])
    """Objects that are not what was written, gone, or in another's place."""
    unrecorded: dict[str, str] = field(default_factory=dict[str, str])
    """Objects that the manifest does not know, and manifest shards that are not there."""
    strays: dict[str, str] = field(default_factory=dict[str, str])
    """What lies among the tables and is none of ours; readers pass it over."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.damaged or self.unrecorded or self.strays)


def verify_store(store: ObjectStore, on_object: Callable[[], None] = lambda: None) -> Verification:
    """Reads everything once: Parquet against the content hash in its footer, JSON for being JSON, pages for
    being whole, and the manifest for objects that are gone, other than recorded, or not recorded at all.

    Raises StoreUnavailable; what is wrong is in the answer.
    """
    return _Verifying(store).verify(on_object)


class _Verifying:
    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._result = Verification()
        self._versions: dict[str, str] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        """What the footers of partitions tell that a copy of an object has as well."""

    def verify(self, on_object: Callable[[], None]) -> Verification:
        result = self._result
        keys = [info.key for info in self._store.list("")]
        for key, blob in get_many(self._store, keys):
            result.objects += 1
            on_object()
            if key != MARKER and table_of(key) is None:
                result.strays[key] = f"{self._store.uri(key)}: not an object of ours; remove it"
            elif isinstance(blob, ObjectStoreError):
                if isinstance(blob, StoreUnavailable):
                    # One object that cannot be read is a damage; a store that cannot be reached is none.
                    self._store.head(key)
                result.damaged[key] = str(blob)
            else:
                self._versions[key] = blob.info.version
                if problem := self._problem(key, blob):
                    result.damaged[key] = problem
        recorded: set[str] = set()
        for key in keys:
            if table_of(key) == MANIFEST:
                recorded |= self._check_shard(key)
        self._check_recorded(recorded)
        return result

    def _problem(self, key: str, blob: Blob) -> str:
        uri = self._store.uri(key)
        try:
            if key.endswith(".parquet"):
                _, facts = decode_with_facts(blob.data, uri)
                table = str(table_of(key))
                lies_at = partition_of(table, key) if table in TIME_DIMENSION else None
                holds = facts.get("partition", lies_at)
                if lies_at is not None and holds != lies_at:
                    return f"{uri}: holds the rows of {holds}"
                if lies_at is not None:
                    self._facts[key] = {name: facts.get(name) for name in ("content_sha256", "inputs_sha256")}
            elif key.endswith(".html"):
                if not blob.data.rstrip().endswith(b"</html>"):
                    return f"{uri}: no whole page; `quant-assets report` makes it anew"
            else:
                value: Any = orjson.loads(blob.data)
                refuse_newer(value.get("format", FORMAT) if isinstance(value, dict) else FORMAT, uri)
        except (ObjectDamaged, NewerFormat) as error:
            return str(error)
        except orjson.JSONDecodeError as error:
            return f"{uri}: no valid JSON ({error})"
        return ""

    def _check_shard(self, key: str) -> set[str]:
        """Holds a shard against the objects; answers the keys that it records."""
        table, exchange, year = described_table(key), exchange_of(key), year_of(key)
        if table is None or exchange is None or year is None:
            return set()
        recorded: set[str] = set()
        damaged = self._result.damaged
        try:
            entries = {} if key in damaged else Manifest(self._store, table).year(exchange, year)
        except (ObjectDamaged, NewerFormat, ValueError) as error:
            damaged[key] = f"{self._store.uri(key)}: no manifest ({error})"
            entries = {}
        if key in damaged:
            # That one thing is wrong already; its objects are not to be called unknown as well.
            return {other for other in self._versions if self._shard_of(other) == key}
        for entry in entries.values():
            of_entry = object_key(table, exchange, entry.partition)
            recorded.add(of_entry)
            if entry.version and of_entry not in self._versions and of_entry not in damaged:
                damaged[of_entry] = f"{self._store.uri(of_entry)}: recorded in the manifest, and gone"
            elif entry.version and self._differs(of_entry, entry):
                damaged[of_entry] = (
                    f"{self._store.uri(of_entry)}: not the object that the manifest records "
                    "(`quant-assets rebuild-manifest` if it was replaced on purpose)"
                )
        return recorded

    def _differs(self, key: str, entry: Entry) -> bool:
        """Whether another object was recorded; a copy of it has another version and the same facts."""
        if key in self._result.damaged or self._versions[key] == entry.version:
            return False
        recorded = {"content_sha256": entry.content_sha256, "inputs_sha256": entry.inputs_sha256}
        return self._facts.get(key) != recorded

    def _check_recorded(self, recorded: set[str]) -> None:
        """Names the objects that no shard knows, or the shard that is missing."""
        unknown = [key for key in self._versions if self._shard_of(key) and key not in recorded]
        lost = Counter(shard for key in unknown if (shard := self._shard_of(key)) not in self._versions)
        for key in unknown:
            if (shard := self._shard_of(key)) not in lost:
                self._result.unrecorded[key] = f"{self._store.uri(key)}: not in the manifest; {_REBUILD}"
            elif shard not in self._result.unrecorded:
                self._result.unrecorded[shard] = (
                    f"{self._store.uri(shard)}: no manifest of {lost[shard]} object(s), the first {key}; "
                    "`quant-assets rebuild-manifest` makes it anew"
                )

    @staticmethod
    def _shard_of(key: str) -> str:
        """The key of the shard that is to know an object; "" for what no shard knows."""
        table, exchange, year = table_of(key), exchange_of(key), year_of(key)
        if table not in TIME_DIMENSION or exchange is None or year is None:
            return ""
        return manifest_key(table, exchange, year)
