"""Copies of a bucket's objects on disk, so that reads go on while the bucket is away, and say how old they are.

While the bucket answers, it is asked for every listing and every version, and only bytes of the version that stands
are taken from a copy: nothing stale is read. Once it does not answer, what it said last is the answer, and the view
through which that is read tells since when nobody has confirmed it. For readers only: nothing is put through a view.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import uuid
from builtins import list as List
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import orjson

from quant_assets.resources.breaker import Breaker
from quant_assets.resources.copies_folder import CLAIM, answered, own_folder, plain
from quant_assets.resources.object_store import (
    MARKER,
    Blob,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    StoreUnavailable,
    checksum,
)

T = TypeVar("T")

_SHARE = 4
"""One object may take this part of all copies at most."""
_WAITING = 64
"""Objects that may wait to be copied; others are when they are asked for again."""
_ANSWERS = 4096
"""Listings, and looks at objects, that are remembered."""
_SAVE_SECONDS = 30.0
_INDEX = "index.json"


@dataclass(slots=True)
class _Said:
    """What the bucket said, and when it last did (seconds since 1970)."""

    answer: Any
    at: float


@dataclass(slots=True)
class _Copy:
    """An object on disk; `at`: when the bucket last confirmed the version."""

    version: str
    size: int
    crc32c: int
    at: float
    checked: bool = False
    """Whether this process has seen that the bytes on disk are those that were written."""


class LocalCopy:
    """The copies of one bucket's objects. All calls may be made from several threads.

    Args:
        store: the bucket; its calls should fail within a few seconds when it is away.
        folder: where the copies lie; each process that uses it has a part of its own.
        limit: bytes of all copies of this process; the least recently used fall out.
    """

    def __init__(
        self, store: ObjectStore, folder: Path, limit: int, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.store = store
        self._limit = limit
        self._clock = clock
        self._lock = threading.RLock()
        self._said: OrderedDict[Hashable, _Said] = OrderedDict()
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self._bytes = 0
        self._waiting: set[str] = set()
        self._copiers = ThreadPoolExecutor(2, thread_name_prefix="copies")
        self._folder, self._claim = own_folder(folder)
        self._saved_at = clock()
        self._id = uuid.uuid4().hex
        self.breaker = Breaker(lambda: store.head(MARKER), failures=1, longest=1.0)
        self._load()

    def view(self) -> CopyView:
        """The store as one reader sees it."""
        return CopyView(self)

    def facts(self) -> dict[str, object]:
        """objects, bytes, limit_bytes, away (why the bucket is, or None)."""
        with self._lock:
            count, size = len(self._copies), self._bytes
        return {"objects": count, "bytes": size, "limit_bytes": self._limit, "away": self.breaker.reason}

    def close(self) -> None:
        """Remembers for the next process what is known; takes no more copies."""
        self.breaker.close()
        self._copiers.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._save()
        os.close(self._claim)

    @property
    def outage(self) -> str:
        """Names the outage that is now, or was last."""
        return f"{self._id}-{self.breaker.opened}"

    def asked(self, question: Callable[[], T]) -> T:
        """What the bucket answers. Raises StoreUnavailable at once while it is known to be away."""
        if (reason := self.breaker.reason) is not None:
            raise StoreUnavailable(reason)
        try:
            answer = question()
        except StoreUnavailable as error:
            self.breaker.failed(str(error), certain=True)
            raise
        self.breaker.succeeded()
        return answer

    def answer(self, name: tuple[str, ...], question: Callable[[], T], used: Callable[[float], None]) -> T:
        """What the bucket answers, or said last; `used` hears when that was. Raises StoreUnavailable."""
        try:
            answer = self.asked(question)
        except StoreUnavailable:
            with self._lock:
                said = self._said.get(name)
            if said is None:
                raise
            used(said.at)
            return said.answer
        self.remember(name, answer)
        return answer

    def remember(self, name: tuple[str, ...], answer: Any) -> None:
        """The bucket says this now."""
        now = self._clock()
        with self._lock:
            self._said[name] = _Said(answer, now)
            self._said.move_to_end(name)
            while len(self._said) > _ANSWERS:
                self._said.popitem(last=False)
            if now - self._saved_at > _SAVE_SECONDS:
                self._save()

    def absent_at(self, key: str) -> float | None:
        """When the bucket last said that there is no such object, if that is what it said last."""
        with self._lock:
            said = self._said.get(("head", key))
        return None if said is None or said.answer is not None else said.at

    def drop(self, key: str) -> None:
        """The object is gone: so is its copy."""
        with self._lock:
            copy = self._copies.get(key)
        if copy is not None:
            self._forget(key, copy)

    def confirmed(self, infos: Iterable[ObjectInfo]) -> None:
        """The bucket has these versions now."""
        now = self._clock()
        with self._lock:
            for info in infos:
                copy = self._copies.get(info.key)
                if copy is not None and copy.version == info.version:
                    copy.at = now

    def find(self, key: str, version: str | None = None) -> tuple[Blob, float] | None:
        """The copy of an object (of this version) and when it was last confirmed; None where there is none."""
        with self._lock:
            copy = self._copies.get(key)
            if copy is None or (version is not None and copy.version != version):
                return None
            self._copies.move_to_end(key)
        try:
            data = self._file(key, copy.version).read_bytes()
        except OSError:
            data = None
        if data is None or len(data) != copy.size or checksum(data) != copy.crc32c:
            self._forget(key, copy)
            return None
        copy.checked = True
        return Blob(data, ObjectInfo(key, copy.size, copy.version)), copy.at

    def find_ranges(
        self, key: str, ranges: Sequence[tuple[int, int]], version: str
    ) -> tuple[List[bytes], float] | None:
        """The ranges of this version's copy and when it was last confirmed; None where there is none."""
        with self._lock:
            copy = self._copies.get(key)
            if copy is None or copy.version != version:
                return None
            self._copies.move_to_end(key)
        if not copy.checked and self.find(key, version) is None:
            return None
        try:
            with self._file(key, version).open("rb") as file:
                found = [os.pread(file.fileno(), length, offset) for offset, length in ranges]
        except OSError:
            found = None
        # Somebody may have cut it off since it was checked; what asks for more than there is, the store tells.
        if found is None or any(len(data) < length for data, (_, length) in zip(found, ranges, strict=True)):
            self._forget(key, copy)
            return None
        return found, copy.at

    def keep(self, blob: Blob) -> None:
        """Copies an object that was read; one that takes too large a part of all is not."""
        info = blob.info
        if info.size > self._limit // _SHARE:
            return
        file = self._file(info.key, info.version)
        temp = file.with_name(f"{file.name}.{threading.get_ident()}.tmp")
        try:
            temp.write_bytes(blob.data)
            temp.replace(file)
        except OSError:
            # A full disk, one that takes no more writes: reads go on without copies.
            _remove(temp)
            return
        with self._lock:
            former = self._copies.get(info.key)
            if former is not None and former.version != info.version:
                self._forget(info.key, former)
            elif former is not None:
                self._bytes -= former.size
            self._copies[info.key] = _Copy(
                info.version, info.size, checksum(blob.data), self._clock(), checked=True
            )
            self._copies.move_to_end(info.key)
            self._bytes += info.size
            while self._bytes > self._limit:
                oldest = next(iter(self._copies))
                self._forget(oldest, self._copies[oldest])

    def keep_later(self, key: str) -> None:
        """Copies an object of which a part was asked for, whole, in the background."""
        with self._lock:
            if key in self._waiting or len(self._waiting) >= _WAITING:
                return
            self._waiting.add(key)

        def copy() -> None:
            try:
                info = self.asked(lambda: self.store.head(key))
                if info is not None and info.size <= self._limit // _SHARE:
                    self.keep(self.asked(lambda: self.store.get(key)))
            except (StoreUnavailable, ObjectNotFound):
                pass
            finally:
                with self._lock:
                    self._waiting.discard(key)

        with contextlib.suppress(RuntimeError):
            self._copiers.submit(copy)

    def _file(self, key: str, version: str) -> Path:
        return self._folder / hashlib.sha256(f"{key}\0{version}".encode()).hexdigest()[:40]

    def _forget(self, key: str, copy: _Copy) -> None:
        with self._lock:
            if self._copies.get(key) is copy:
                del self._copies[key]
                self._bytes -= copy.size
        _remove(self._file(key, copy.version))

    def _save(self) -> None:
        self._saved_at = self._clock()
        index = {
            "location": self.store.location,
            "said": [
                [list_name, plain(said.answer), said.at]
                for list_name, said in ((cast("tuple[str, ...]", n), s) for n, s in self._said.items())
            ],
            "copies": [[key, *asdict(copy).values()][:5] for key, copy in self._copies.items()],
        }
        temp = self._folder / f"{_INDEX}.tmp"
        with contextlib.suppress(OSError):
            temp.write_bytes(orjson.dumps(index))
            temp.replace(self._folder / _INDEX)

    def _load(self) -> None:
        try:
            index = orjson.loads((self._folder / _INDEX).read_bytes())
            if index["location"] == self.store.location:
                for name, answer, at in index["said"]:
                    self._said[tuple(name)] = _Said(answered(name[0], answer), at)
                for key, version, size, crc32c, at in index["copies"]:
                    self._copies[key] = _Copy(version, size, crc32c, at)
        except (OSError, ValueError, LookupError, TypeError):
            self._said.clear()
            self._copies.clear()
        self._bytes = sum(copy.size for copy in self._copies.values())
        ours = {self._file(key, copy.version).name for key, copy in self._copies.items()} | {_INDEX, CLAIM}
        for file in self._folder.iterdir():
            if file.name not in ours:
                _remove(file)
        while self._bytes > self._limit:
            oldest = next(iter(self._copies))
            self._forget(oldest, self._copies[oldest])


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()


class CopyView:
    """A bucket as one reader sees it, with copies behind it: an ObjectStore to read from."""

    def __init__(self, copies: LocalCopy) -> None:
        self._copies = copies
        self._store = copies.store
        self._oldest: float | None = None
        self.only_fresh = False
        """Refuse from now on what the bucket does not confirm: it can no longer be said with the answer."""

    @property
    def location(self) -> str:
        return self._store.location

    @property
    def remote(self) -> bool:
        return True

    @property
    def outage(self) -> str:
        """Names the outage that is now, or was last."""
        return self._copies.outage

    @property
    def stale_since(self) -> datetime | None:
        """When the bucket last confirmed the oldest of what was read through this view without it, UTC; None: it
        has confirmed everything."""
        return None if self._oldest is None else datetime.fromtimestamp(self._oldest, UTC)

    def get(self, key: str) -> Blob:
        copies, kept = self._copies, self._copies.find(key)
        try:
            # A copy saves the download where it is of the version that stands.
            info = None if kept is None else copies.asked(lambda: self._store.head(key))
            if kept is not None and info is not None and info.version == kept[0].info.version:
                blob = kept[0]
                copies.confirmed([info])
            else:
                blob = copies.asked(lambda: self._store.get(key))
                copies.keep(blob)
        except ObjectNotFound:
            copies.drop(key)
            copies.remember(("head", key), None)
            raise
        except StoreUnavailable:
            if kept is None:
                if (absent := copies.absent_at(key)) is None:
                    raise
                self._use(absent)
                raise ObjectNotFound(f"{self.uri(key)}: no such object") from None
            self._use(kept[1])
            return kept[0]
        copies.remember(("head", key), blob.info)
        return blob

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]], version: str) -> List[bytes]:
        # Which version is wanted, a listing or a look has told, and has told how old that is.
        kept = self._copies.find_ranges(key, ranges, version)
        if kept is not None:
            return kept[0]
        found = self._copies.asked(lambda: self._store.get_ranges(key, ranges, version))
        self._copies.keep_later(key)
        return found

    def head(self, key: str) -> ObjectInfo | None:
        def look() -> ObjectInfo | None:
            info = self._store.head(key)
            self._copies.confirmed([info] if info is not None else [])
            return info

        try:
            return self._copies.answer(("head", key), look, self._use)
        except StoreUnavailable:
            # Never looked at, and read: a copy tells as much.
            kept = self._copies.find(key)
            if kept is None:
                raise
            self._use(kept[1])
            return kept[0].info

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        def look() -> List[ObjectInfo]:
            infos = [*self._store.list(prefix)]
            self._copies.confirmed(infos)
            return infos

        yield from self._copies.answer(("list", prefix), look, self._use)

    def groups(self, prefix: str, end: str) -> List[str]:
        found = self._copies.answer(
            ("groups", prefix, end), lambda: self._store.groups(prefix, end), self._use
        )
        return [*found]

    def uri(self, key: str) -> str:
        return self._store.uri(key)

    def put(self, key: str, data: bytes, *, if_version: str | None = None) -> ObjectInfo:
        raise self._refused()

    def delete(self, key: str, *, if_version: str | None = None) -> None:
        raise self._refused()

    def check_writable(self) -> None:
        raise self._refused()

    def sweep(self) -> int:
        raise self._refused()

    def _refused(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.location} is read through local copies here: write to the store itself"
        )

    def _use(self, at: float) -> None:
        if self.only_fresh:
            raise StoreUnavailable(
                self._copies.breaker.reason or f"{self.location} went away during the answer"
            )
        self._oldest = at if self._oldest is None else min(self._oldest, at)
