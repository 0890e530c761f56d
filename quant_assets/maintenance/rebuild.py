"""Makes the manifest anew from the objects, which are the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from quant_assets.resources.object_store import ObjectDamaged, ObjectInfo, ObjectStore, get_many
from quant_assets.tables.layout import TIME_DIMENSION, partition_of
from quant_assets.tables.manifest import Entry, Manifest, entry_of


def manifest_places(store: ObjectStore) -> list[tuple[str, str]]:
    """The (table, exchange) pairs that have a manifest or objects."""
    found: set[tuple[str, str]] = set()
    for root in ("", "manifest/"):
        for table in TIME_DIMENSION:
            for info in store.list(f"{root}{table}/exchange="):
                found.add((table, info.key.partition("exchange=")[2].partition("/")[0]))
    return sorted(found)


def rebuild_manifest(
    store: ObjectStore,
    *,
    without_objects: Callable[[str, str], Iterable[Entry]] | None = None,
    on_object: Callable[[], None] = lambda: None,
) -> int:
    """Writes every manifest shard from the footers of the objects it tells of.

    Args:
        without_objects: entries of (table, exchange) for cells that have no object (closed, failed); by default
            those of the present manifest are kept, as far as it can be read.

    Returns:
        The number of objects recorded. Raises StoreUnavailable, and ObjectDamaged when an object has no readable
        footer.
    """
    recorded = 0
    for table, exchange in manifest_places(store):
        manifest = Manifest(store, table)
        infos = {info.key: info for info in store.list(f"{table}/exchange={exchange}/")}
        entries = list(_from_footers(store, table, infos, on_object))
        recorded += len(entries)
        if without_objects is not None:
            others = list(without_objects(table, exchange))
        else:
            others = list(_readable(store, manifest, table, exchange))
        known = {entry.partition for entry in entries}
        entries += [entry for entry in others if not entry.version and entry.partition not in known]
        manifest.replace(exchange, entries)
    return recorded


def _from_footers(
    store: ObjectStore, table: str, infos: dict[str, ObjectInfo], on_object: Callable[[], None]
) -> Iterator[Entry]:
    keys = [key for key in infos if partition_of(table, key) is not None]
    for key, blob in get_many(store, keys):
        on_object()
        if isinstance(blob, Exception):
            raise blob
        yield entry_of(table, blob, store.uri(key))


def _readable(store: ObjectStore, manifest: Manifest, table: str, exchange: str) -> Iterator[Entry]:
    for info in store.list(f"manifest/{table}/exchange={exchange}/"):
        try:
            yield from manifest.year(exchange, int(info.key[-9:-5])).values()
        except ObjectDamaged:
            continue
