"""Looks at a bucket that many readers share: of those who want the same at once, one asks for all.

A look that is under way already may have passed what was written since it began. So who comes meanwhile waits for the
next one: every look has begun after it was asked for, and what it tells is never older than the question.
"""

from __future__ import annotations

import threading
from builtins import list as List
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from quant_assets.resources.object_store import Blob, ObjectInfo, ObjectStore

T = TypeVar("T")


@dataclass(slots=True)
class _Look:
    """One question to the bucket, and those who wait for its answer."""

    after: _Look | None
    """The one that is under way."""
    over: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: Exception | None = None


class SharedLooks:
    """An ObjectStore whose listings and looks are shared by those who ask at once; all else goes to the store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._next: dict[tuple[str, ...], _Look] = {}
        self._under_way: dict[tuple[str, ...], _Look] = {}

    @property
    def location(self) -> str:
        return self._store.location

    @property
    def remote(self) -> bool:
        return self._store.remote

    def get(self, key: str) -> Blob:
        return self._store.get(key)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]], version: str) -> List[bytes]:
        return self._store.get_ranges(key, ranges, version)

    def head(self, key: str) -> ObjectInfo | None:
        return self._shared(("head", key), lambda: self._store.head(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from self._shared(("list", prefix), lambda: [*self._store.list(prefix)])

    def groups(self, prefix: str, end: str) -> List[str]:
        return [*self._shared(("groups", prefix, end), lambda: self._store.groups(prefix, end))]

    def put(self, key: str, data: bytes, *, if_version: str | None = None) -> ObjectInfo:
        return self._store.put(key, data, if_version=if_version)

    def delete(self, key: str, *, if_version: str | None = None) -> None:
        self._store.delete(key, if_version=if_version)

    def uri(self, key: str) -> str:
        return self._store.uri(key)

    def check_writable(self) -> None:
        self._store.check_writable()

    def sweep(self) -> int:
        return self._store.sweep()

    def _shared(self, name: tuple[str, ...], ask: Callable[[], T]) -> T:
        with self._lock:
            look = self._next.get(name)
            leads = look is None
            if look is None:
                look = self._next[name] = _Look(self._under_way.get(name))
        if leads:
            if look.after is not None:
                look.after.over.wait()
                look.after = None
            with self._lock:
                del self._next[name]
                self._under_way[name] = look
            try:
                look.answer = ask()
            except Exception as error:  # noqa: BLE001 (raised below, for all who wait)
                look.error = error
            with self._lock:
                if self._under_way[name] is look:
                    del self._under_way[name]
            look.over.set()
        else:
            look.over.wait()
        if look.error is not None:
            raise look.error
        return look.answer
