"""Reads every object of a store against what was recorded of it, and names what is damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from quant_assets.maintenance.rebuild import manifest_places
from quant_assets.resources.object_store import (
    Blob,
    ObjectDamaged,
    ObjectStore,
    ObjectStoreError,
    StoreUnavailable,
    get_many,
)
from quant_assets.tables.layout import TIME_DIMENSION, object_key, partition_of
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import decode, read_facts


@dataclass(slots=True)
class Verification:
    """How many objects were read, and what is wrong with which of them (by key)."""

    objects: int = 0
    damaged: dict[str, str] = field(default_factory=dict[str, str])


def verify_store(store: ObjectStore, on_object: Callable[[], None] = lambda: None) -> Verification:
    """Reads everything once: Parquet against the content hash in its footer, JSON for being JSON, and the manifest
    for objects that are gone or other than recorded.

    Raises StoreUnavailable; what is damaged is in the answer.
    """
    result = Verification()
    versions: dict[str, str] = {}
    keys = [info.key for info in store.list("")]
    for key, blob in get_many(store, keys):
        result.objects += 1
        on_object()
        if isinstance(blob, ObjectStoreError):
            if isinstance(blob, StoreUnavailable):
                # One object that cannot be read is a damage; a store that cannot be reached is none.
                store.head(key)
            result.damaged[key] = str(blob)
            continue
        versions[key] = blob.info.version
        problem = _problem(store, key, blob)
        if problem:
            result.damaged[key] = problem
    for table, exchange in manifest_places(store):
        for info in store.list(f"manifest/{table}/exchange={exchange}/"):
            if info.key in result.damaged:
                continue
            try:
                entries = Manifest(store, table).year(exchange, int(info.key[-9:-5]))
            except (ObjectDamaged, ValueError) as error:
                result.damaged[info.key] = f"{store.uri(info.key)}: no manifest ({error})"
                continue
            for entry in entries.values():
                key = object_key(table, exchange, entry.partition)
                if entry.version and key not in versions:
                    result.damaged[key] = f"{store.uri(key)}: recorded in the manifest, and gone"
                elif entry.version and entry.version != versions[key] and key not in result.damaged:
                    result.damaged[key] = (
                        f"{store.uri(key)}: not the object that the manifest records "
                        "(`quant-assets rebuild-manifest` if it was replaced on purpose)"
                    )
    return result


def _problem(store: ObjectStore, key: str, blob: Blob) -> str:
    try:
        if key.endswith(".parquet"):
            decode(blob.data, store.uri(key))
            table = key.partition("/")[0]
            lies_at = partition_of(table, key) if table in TIME_DIMENSION else None
            says = read_facts(blob.data, store.uri(key)).get("partition", lies_at)
            if lies_at is not None and says != lies_at:
                return f"{store.uri(key)}: holds the rows of {says}"
        else:
            orjson.loads(blob.data)
    except ObjectDamaged as error:
        return str(error)
    except orjson.JSONDecodeError as error:
        return f"{store.uri(key)}: no valid JSON ({error})"
    return ""
