"""Opens the object store at a location: a folder, or a bucket of Google Cloud Storage."""

from __future__ import annotations

from pathlib import Path

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import SettingsError


def open_store(location: str) -> ObjectStore:
    """The store at a location: a folder, or `gs://bucket/prefix`. Raises SettingsError for any other."""
    if location.startswith("gs://"):
        from quant_assets.resources.gcs_store import GcsObjectStore

        bucket, _, prefix = location.removeprefix("gs://").partition("/")
        if not bucket:
            raise SettingsError(f"QUANT_ASSETS_STORE={location!r} names no bucket (write gs://bucket/prefix)")
        return GcsObjectStore(bucket, prefix)
    if "://" in location:
        raise SettingsError(
            f"QUANT_ASSETS_STORE={location!r}: no such kind of store (name a folder, or gs://bucket/prefix)"
        )
    return LocalObjectStore(Path(location))
