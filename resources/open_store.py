"""Opens the object store at a location: a folder, or a bucket of Google Cloud Storage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings, SettingsError

if TYPE_CHECKING:
    from quant_assets.resources.local_copy import LocalCopy


_READERS_PATIENCE = 3.0
"""Seconds for which a read that has copies to fall back on is tried: a person waits for it."""


def open_copy(settings: Settings) -> LocalCopy | None:
    """The local copies of the settings' store; None for a folder, or where there are to be none.

    Raises SettingsError, OSError.
    """
    location = settings.store_location
    if not settings.local_copy_mb or not location.startswith("gs://"):
        return None
    from quant_assets.resources.local_copy import LocalCopy

    store = shared_by_readers(open_store(location, patience=_READERS_PATIENCE))
    return LocalCopy(store, settings.copies_folder, settings.local_copy_mb * 1_000_000)


def shared_by_readers(store: ObjectStore) -> ObjectStore:
    """The store for many readers at once: of a bucket they share the looks; a folder's cost less than to wait."""
    from quant_assets.resources.shared_looks import SharedLooks

    return SharedLooks(store) if store.remote else store


def open_store(location: str, *, patience: float | None = None) -> ObjectStore:
    """The store at a location: a folder, or `gs://bucket/prefix`. Raises SettingsError for any other.

    `patience`: seconds for which a call to a bucket that does not answer is tried again; None: two minutes.
    """
    if location.startswith("gs://"):
        from quant_assets.resources.gcs_store import GcsObjectStore

        bucket, _, prefix = location.removeprefix("gs://").partition("/")
        if not bucket:
            raise SettingsError(f"QUANT_ASSETS_STORE={location!r} names no bucket (write gs://bucket/prefix)")
        return (
            GcsObjectStore(bucket, prefix)
            if patience is None
            else GcsObjectStore(bucket, prefix, patience=patience)
        )
    if "://" in location:
        raise SettingsError(
            f"QUANT_ASSETS_STORE={location!r}: no such kind of store (name a folder, or gs://bucket/prefix)"
        )
    return LocalObjectStore(Path(location))
