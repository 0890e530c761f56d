"""Whether two stores say the same, object by object: contents and facts, but not when they became known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from quant_assets.market.bars import content_sha256
from quant_assets.resources.object_store import Blob, ObjectStore, get_many
from quant_assets.tables.parquet import decode, read_facts

# What differs between two runs that found the same: the moments, and what a home calls an object's version.
_MOMENTS = ("recorded_at", "size", "version")
_MOMENT_COLUMNS = ("fetched_at", "known_at", "detected_at", "replaced_at", "decided_at", "run", "facts")
_DIARY = ("fetch_reports/", "report_pages/")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many objects there are in all, and the keys of those that differ or that only one store has."""

    objects: int
    differing: list[str]


def compare_stores(left: ObjectStore, right: ObjectStore) -> Comparison:
    """Compares every object of two stores but the reports of their runs, and the pages.

    Raises ObjectDamaged, StoreUnavailable.
    """
    keys = _keys(left), _keys(right)
    differing = sorted(keys[0] ^ keys[1])
    both = sorted(keys[0] & keys[1])
    for key, one, other in zip(both, _contents(left, both), _contents(right, both), strict=True):
        if one != other:
            differing.append(key)
    return Comparison(len(keys[0] | keys[1]), sorted(differing))


def _keys(store: ObjectStore) -> set[str]:
    return {info.key for info in store.list("") if not info.key.startswith(_DIARY)}


def _contents(store: ObjectStore, keys: list[str]) -> Iterator[object]:
    for key, blob in get_many(store, keys):
        if isinstance(blob, Exception):
            raise blob
        yield _content(blob, key, store.uri(key))


def _content(blob: Blob, key: str, uri: str) -> object:
    if key.endswith(".parquet"):
        facts = {name: value for name, value in read_facts(blob.data, uri).items() if name not in _MOMENTS}
        return content_sha256(decode(blob.data, uri), leave_out=_MOMENT_COLUMNS), facts
    if key.endswith(".json"):
        return _without_moments(orjson.loads(blob.data))
    return blob.data


def _without_moments(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_moments(v) for k, v in value.items() if k not in _MOMENTS}
    return value
