"""Moves a store to another home: local to bucket, bucket to local, bucket to bucket. The source is never changed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from quant_assets.maintenance.rebuild import rebuild_manifest
from quant_assets.resources.object_store import (
    ABSENT,
    ObjectStore,
    ObjectStoreError,
    StoreUnavailable,
    checksum,
    claim,
    is_claimed,
)
from quant_assets.tables.layout import MANIFEST, TOP_LEVEL
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import decode

_WORKERS = 16
_MANIFEST = f"{MANIFEST}/"


@dataclass(slots=True)
class Migration:
    """What a migration did, or would do."""

    objects: int = 0
    """Objects of the source, its manifest not counted: that is made anew at the target."""
    copied: int = 0
    already_there: int = 0
    verified: int = 0
    rows: int = 0
    bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])


def migrate_store(
    source: ObjectStore,
    target: ObjectStore,
    *,
    dry_run: bool = False,
    on_plan: Callable[[int], None] = lambda _: None,
    on_object: Callable[[], None] = lambda: None,
) -> Migration:
    """Copies every object and reads each copy back: same checksum, same rows.

    A migration that was interrupted is continued by calling it again: what already stands at the target with the
    same bytes is only verified. An object that stands there with other bytes is not touched and named as failed.

    Raises StoreUnavailable when a home cannot be reached at all or holds another project's objects, when there is
    nothing to move, and when the two homes are one.
    """
    _refuse_nested(source, target)
    is_claimed(source, TOP_LEVEL)
    infos = [info for info in source.list("") if not info.key.startswith(_MANIFEST)]
    if not infos:
        raise StoreUnavailable(f"{source.location} holds no tables: is it the store you mean?")
    result = Migration(objects=len(infos), bytes=sum(info.size for info in infos))
    on_plan(len(infos))
    if dry_run:
        is_claimed(target, TOP_LEVEL)
    else:
        claim(target, TOP_LEVEL)
        target.sweep()
    there = {info.key for info in target.list("")}
    if dry_run:
        result.already_there = sum(info.key in there for info in infos)
        result.copied = result.objects - result.already_there
        return result

    def move(key: str) -> tuple[bool, int]:
        data = source.get(key).data
        fresh = key not in there
        if fresh:
            target.put(key, data, if_version=ABSENT)
        copy = target.get(key).data
        if checksum(copy) != checksum(data) or len(copy) != len(data):
            raise ObjectStoreError(
                f"{target.uri(key)}: holds other bytes than {source.uri(key)}; remove it, or choose an empty target"
            )
        # Rows are counted from the copy, so that what was copied is known to be a table and not just bytes.
        return fresh, decode(copy, target.uri(key)).height if key.endswith(".parquet") else 0

    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="migrate") as pool:
        futures = [(info.key, pool.submit(move, info.key)) for info in infos]
        for key, future in futures:
            try:
                fresh, rows = future.result()
            except ObjectStoreError as error:
                result.failed[key] = str(error)
            else:
                result.copied += fresh
                result.already_there += not fresh
                result.verified += 1
                result.rows += rows
            on_object()
    if not result.failed:
        # Versions differ between homes, so the manifest is made anew; what no object tells comes from the source.
        rebuild_manifest(target, recorded=lambda table, exchange: Manifest(source, table).all(exchange))
    return result


def _refuse_nested(source: ObjectStore, target: ObjectStore) -> None:
    """A store inside another would be moved into itself."""
    places = [
        location if "://" in location else str(Path(location).resolve())
        for location in (source.location, target.location)
    ]
    one, other = (f"{place}/" for place in places)
    if one.startswith(other) or other.startswith(one):
        raise StoreUnavailable(f"{places[0]} and {places[1]} are one store, or one lies in the other")
