"""One run's view of a store: small records are read once, and what the run itself writes is seen at once."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterator, Sequence

from quant_assets.resources.object_store import Blob, ObjectChanged, ObjectInfo, ObjectNotFound, ObjectStore


class RunView:
    """The objects of another store, of which those below some prefixes are read and listed at most once.

    What the run puts or deletes is in the view from then on; what others write meanwhile is not, until `forget`. A
    conditional put goes by the version that was read, so a run that decided by an outdated object is refused
    (ObjectChanged), and reads anew: no write of others is lost. All other keys are passed on as they are.

    Args:
        read_once: prefixes (or whole keys) of the objects that are kept once read.
        listed_once: prefixes below which listings are kept.
    """

    def __init__(self, store: ObjectStore, read_once: Sequence[str], listed_once: Sequence[str]) -> None:
        self._store = store
        self._read_once, self._listed_once = tuple(read_once), tuple(listed_once)
        self._lock = threading.Lock()
        self._blobs: dict[str, Blob | None] = {}
        self._lists: dict[str, dict[str, ObjectInfo]] = {}
        self._groups: dict[tuple[str, str], list[str]] = {}
        self._put: dict[str, ObjectInfo] = {}

    @property
    def location(self) -> str:
        return self._store.location

    @property
    def remote(self) -> bool:
        return self._store.remote

    def forget(self) -> None:
        """From now on everything is read anew, once."""
        with self._lock:
            self._blobs.clear()
            self._lists.clear()
            self._groups.clear()
            self._put.clear()

    def get(self, key: str) -> Blob:
        if not key.startswith(self._read_once):
            return self._store.get(key)
        with self._lock:
            known = key in self._blobs
            blob = self._blobs.get(key)
        if not known:
            try:
                blob = self._store.get(key)
            except ObjectNotFound:
                blob = None
            with self._lock:
                # What the run has put meanwhile is newer.
                blob = self._blobs.setdefault(key, blob)
        if blob is None:
            raise ObjectNotFound(f"{self.uri(key)}: no such object")
        return blob

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]], version: str) -> list[bytes]:
        return self._store.get_ranges(key, ranges, version)

    def head(self, key: str) -> ObjectInfo | None:
        with self._lock:
            if key in self._blobs:
                blob = self._blobs[key]
                return None if blob is None else blob.info
        return self._store.head(key)

    def put(self, key: str, data: bytes, *, if_version: str | None = None) -> ObjectInfo:
        try:
            info = self._store.put(key, data, if_version=if_version)
        except ObjectChanged:
            self._drop(key)
            raise
        with self._lock:
            if key.startswith(self._read_once):
                self._blobs[key] = Blob(data, info)
            if key.startswith(self._listed_once):
                self._put[key] = info
            for prefix, listed in self._lists.items():
                if key.startswith(prefix):
                    listed[key] = info
            for (prefix, end), found in self._groups.items():
                rest = key.removeprefix(prefix)
                if rest != key and end in rest:
                    group = prefix + rest[: rest.index(end) + len(end)]
                    if group not in found:
                        bisect.insort(found, group)
        return info

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        if not prefix.startswith(self._listed_once):
            yield from self._store.list(prefix)
            return
        with self._lock:
            # A listing of more holds that of less.
            listed = next((found for of, found in self._lists.items() if prefix.startswith(of)), None)
        if listed is None:
            found = {info.key: info for info in self._store.list(prefix)}
            with self._lock:
                for key, info in self._put.items():
                    # Put while the listing was under way.
                    if key.startswith(prefix) and (key not in found or found[key].version < info.version):
                        found[key] = info
                listed = self._lists.setdefault(prefix, found)
        with self._lock:
            infos = [info for key, info in sorted(listed.items()) if key.startswith(prefix)]
        yield from infos

    def groups(self, prefix: str, end: str) -> list[str]:
        if not prefix.startswith(self._listed_once):
            return self._store.groups(prefix, end)
        with self._lock:
            known = self._groups.get((prefix, end))
        if known is None:
            found = self._store.groups(prefix, end)
            with self._lock:
                known = self._groups.setdefault((prefix, end), found)
        return list(known)

    def delete(self, key: str, *, if_version: str | None = None) -> None:
        self._drop(key)
        self._store.delete(key, if_version=if_version)

    def uri(self, key: str) -> str:
        return self._store.uri(key)

    def check_writable(self) -> None:
        self._store.check_writable()

    def sweep(self) -> int:
        return self._store.sweep()

    def _drop(self, key: str) -> None:
        with self._lock:
            self._blobs.pop(key, None)
            self._put.pop(key, None)
            self._lists = {of: found for of, found in self._lists.items() if not key.startswith(of)}
            self._groups = {of: found for of, found in self._groups.items() if not key.startswith(of[0])}
