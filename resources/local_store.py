"""The object store on a local disk: a folder, written by temp file, fsync and rename."""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import os
import re
import socket
import stat
import time
import uuid
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from quant_assets.resources.counters import WRITES, count
from quant_assets.resources.object_store import (
    ABSENT,
    Blob,
    ObjectChanged,
    ObjectInfo,
    ObjectNotFound,
    StoreUnavailable,
    validated_key,
)

# Readers of the tables (Polars, DuckDB, Spark globs) pass over names that start with a dot.
_TEMP = ".tmp"
_LOCKS = ".locks"
_LOCK_FILES = 64
_STALE_SECONDS = 24 * 3600
_NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


_SETTLED_NS = 3_000_000_000
"""A folder that has not changed for so long gets another time with its next change, on whatever file system."""
_GROUPS_KEPT = 256
_groups: dict[tuple[str, str, str, str], tuple[tuple[int, int], builtins.list[str]]] = {}
"""What was found in folders, by the time of their last change."""


class LocalObjectStore:
    """Objects as files below one folder.

    A reader that has opened a file keeps the object it opened, whatever is put meanwhile; a writer killed at
    any moment leaves the old object or the new one, and at most a temp file that `sweep` removes. The check of
    the version and the rename happen under a lock shared by all processes of this machine.

    A version is (mtime in ns, inode, size); `put` makes mtime strictly grow from version to version of a key.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root).expanduser().absolute()

    def __repr__(self) -> str:
        return f"LocalObjectStore({str(self._root)!r})"

    @property
    def location(self) -> str:
        return str(self._root)

    @property
    def remote(self) -> bool:
        return False

    def uri(self, key: str) -> str:
        return str(self._path(key))

    def get(self, key: str) -> Blob:
        path = self._path(key)
        try:
            with path.open("rb") as file:
                opened = os.fstat(file.fileno())
                data = file.read()
        except _NO_OBJECT as error:
            raise ObjectNotFound(f"{path}: no such object") from error
        except OSError as error:
            raise self._unavailable("read", path, error) from error
        return Blob(data, ObjectInfo(key, len(data), _version(opened)))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]], version: str) -> list[bytes]:
        path = self._path(key)
        try:
            with path.open("rb") as file:
                # Files are only ever replaced, never written in place: what is open is one version throughout.
                if _version(os.fstat(file.fileno())) != version:
                    raise ObjectChanged(f"{path}: replaced since it was looked at")
                return [os.pread(file.fileno(), length, offset) for offset, length in ranges]
        except _NO_OBJECT as error:
            raise ObjectNotFound(f"{path}: no such object") from error
        except OSError as error:
            raise self._unavailable("read", path, error) from error

    def head(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        try:
            present = self._stat(path)
        except OSError as error:
            raise self._unavailable("look at", path, error) from error
        return ObjectInfo(key, present.st_size, _version(present)) if present else None

    def put(self, key: str, data: bytes, *, if_version: str | None = None) -> ObjectInfo:
        path = self._path(key)
        try:
            temp = self._write_temp(data)
            try:
                _make_folder(path.parent)
                with self._locked(key):
                    present = self._stat(path)
                    stored = _version(present) if present else ABSENT
                    if if_version is not None and stored != if_version:
                        raise ObjectChanged(f"{path}: another writer was faster")
                    now = time.time_ns()
                    stamp = max(now, present.st_mtime_ns + 1) if present else now
                    os.utime(temp, ns=(stamp, stamp))
                    temp.replace(path)
                    count(WRITES)
                    _sync_folder(path.parent)
                    return ObjectInfo(key, len(data), _version(path.stat()))
            finally:
                temp.unlink(missing_ok=True)
        except OSError as error:
            raise self._unavailable("write", path, error) from error

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        # The deepest folder that the prefix names wholly; names inside it are filtered.
        named, _, beginning = prefix.rpartition("/")
        folder = self._path(named) if named else self._root
        base = f"{named}/" if named else ""
        if prefix != base + beginning:
            return  # No key begins with a slash.
        try:
            found = sorted(self._walk(folder, base, beginning), key=lambda info: info.key)
        except OSError as error:
            raise self._unavailable("list", folder, error) from error
        yield from found

    def groups(self, prefix: str, end: str) -> builtins.list[str]:
        named, _, rest = prefix.rpartition("/")
        folder = self._path(named) if named else self._root
        base = f"{named}/" if named else ""
        if end == "/":
            return sorted({_up_to(info.key, prefix, end) for info in self.list(prefix)} - {""})
        asked = str(folder), base, rest, end
        try:
            present, now = folder.stat(), time.time_ns()
            known = _groups.get(asked)
            if known is not None and known[0] == (present.st_mtime_ns, present.st_ino):
                return list(known[1])
            # Names are enough: a group ends within one, or not at all.
            names = os.listdir(folder)  # noqa: PTH208 (a name is all that is needed of thousands of files)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._unavailable("list", folder, error) from error
        # One search over all of them: there is a name a day.
        begun = re.compile(rf"(?<=\0)(?!\.){re.escape(rest)}[^\0]*?{re.escape(end)}")
        found = sorted(base + name for name in set(begun.findall("\0" + "\0".join(names))))
        if now - present.st_mtime_ns > _SETTLED_NS:
            if len(_groups) >= _GROUPS_KEPT:
                _groups.clear()
            _groups[asked] = (present.st_mtime_ns, present.st_ino), found
        return list(found)

    def delete(self, key: str, *, if_version: str | None = None) -> None:
        path = self._path(key)
        try:
            with self._locked(key):
                present = self._stat(path)
                if present is None:
                    raise ObjectNotFound(f"{path}: no such object")
                if if_version is not None and _version(present) != if_version:
                    raise ObjectChanged(f"{path}: another writer was faster")
                path.unlink()
                _sync_folder(path.parent)
        except OSError as error:
            raise self._unavailable("delete", path, error) from error

    def check_writable(self) -> None:
        try:
            self._write_temp(b"").unlink()
        except OSError as error:
            raise self._unavailable("write to", self._root, error) from error

    def sweep(self) -> int:
        """Removes temp files whose writer is dead, or older than a day; answers how many."""
        removed = 0
        folder = self._root / _TEMP
        if not folder.is_dir():
            return 0
        for temp in folder.iterdir():
            host, _, rest = temp.name.rpartition("@")
            pid = rest.partition("-")[0]
            with contextlib.suppress(FileNotFoundError):
                dead = host == socket.gethostname() and pid.isdigit() and not _alive(int(pid))
                if dead or time.time() - temp.stat().st_mtime > _STALE_SECONDS:
                    temp.unlink()
                    removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return self._root / validated_key(key)

    def _write_temp(self, data: bytes) -> Path:
        folder = self._root / _TEMP
        folder.mkdir(parents=True, exist_ok=True)
        temp = folder / f"{socket.gethostname()}@{os.getpid()}-{uuid.uuid4().hex}"
        try:
            with temp.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temp.unlink(missing_ok=True)
            raise
        return temp

    def _stat(self, path: Path) -> os.stat_result | None:
        try:
            present = path.stat()
        except _NO_OBJECT:
            return None
        return None if stat.S_ISDIR(present.st_mode) else present

    def _walk(self, folder: Path, base: str, beginning: str = "") -> Iterator[ObjectInfo]:
        """The objects below a folder whose name in it begins so; their keys begin with `base`."""
        try:
            # Of a folder's thousands of files a year's are wanted: no more is asked of the others than their names.
            entries = [entry for entry in os.scandir(folder) if entry.name.startswith(beginning)]
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            key = base + entry.name
            if entry.is_dir():
                yield from self._walk(Path(entry.path), f"{key}/")
            else:
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat()
                    yield ObjectInfo(key, found.st_size, _version(found))

    @contextlib.contextmanager
    def _locked(self, key: str) -> Generator[None]:
        folder = self._root / _LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        # A fixed number of lock files: two keys may share one, which costs a short wait and nothing else.
        descriptor = os.open(
            folder / f"{zlib.crc32(key.encode()) % _LOCK_FILES:02d}", os.O_RDWR | os.O_CREAT, 0o666
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unavailable(self, verb: str, path: Path, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(
            f"cannot {verb} {path}: {error.strerror or error} "
            f"(check the folder's permissions and free space, or point QUANT_ASSETS_STORE elsewhere)"
        )


def _up_to(key: str, prefix: str, end: str) -> str:
    """The beginning of a key through the first `end` after `prefix`; "" where there is none."""
    inside, found, _ = key[len(prefix) :].partition(end)
    return prefix + inside + found if found else ""


def _version(present: os.stat_result) -> str:
    return f"{present.st_mtime_ns:020d}-{present.st_ino}-{present.st_size}"


def _make_folder(folder: Path) -> None:
    """Makes a folder and its parents so that they are there after a power loss, too."""
    new = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in new:
        _sync_folder(made.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
