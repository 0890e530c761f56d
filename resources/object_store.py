"""The storage layer's interface: named objects, each put whole, each with a version and a checksum.

Every table, manifest shard, ledger and report goes through this and nothing else, so that a store may be
a folder or a bucket. Keys are relative, with forward slashes ("daily_prices/exchange=ASX/date=2024-03-15.parquet").
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, cast

import google_crc32c

from quant_assets.errors import QuantAssetsError

ABSENT = ""
"""The version of an object that does not exist: `put(…, if_version=ABSENT)` only creates."""


class ObjectStoreError(QuantAssetsError):
    """Anything the storage layer refuses or cannot do; the message names the object or the store."""


class ObjectNotFound(ObjectStoreError):
    """No object has that key."""


class ObjectChanged(ObjectStoreError):
    """The object is not at the version that the caller read: read it again and decide again."""


class ObjectDamaged(ObjectStoreError):
    """The object's bytes are not what was written."""


class NewerFormat(ObjectStoreError):
    """The object was written by a newer release in a format that this one does not know: upgrade quant-assets."""


class StoreUnavailable(ObjectStoreError):
    """The store cannot be reached, read or written; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as a listing tells it. Versions of one key sort as text in the order they were written."""

    key: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Blob:
    """An object's bytes, read in one piece, and the version they belong to."""

    data: bytes
    info: ObjectInfo


class ObjectStore(Protocol):
    """What a home of the tables must do. All calls may be made from several threads."""

    @property
    def location(self) -> str:
        """Where the store is, as a person would write it; holds no secret."""
        ...

    @property
    def remote(self) -> bool:
        """Whether a request waits for an answer from afar, so that many are worth having under way at once."""
        ...

    def get(self, key: str) -> Blob:
        """The whole object, consistent. Raises ObjectNotFound, ObjectDamaged, StoreUnavailable."""
        ...

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]], version: str) -> list[bytes]:
        """The bytes of each (offset, length), all of `version`, asked for at once.

        Raises ObjectChanged when it is no longer that version, ObjectNotFound, StoreUnavailable.
        """
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """The object's facts, or None where there is none."""
        ...

    def put(self, key: str, data: bytes, *, if_version: str | None = None) -> ObjectInfo:
        """Writes the object in one atomic, durable step.

        `if_version`: the version that must stand there now (ABSENT: none); None replaces whatever stands.
        Raises ObjectChanged when another stands, StoreUnavailable when it cannot be written.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """The objects whose key starts with `prefix`, sorted by key."""
        ...

    def groups(self, prefix: str, end: str) -> list[str]:
        """The different beginnings, up to the first `end` after `prefix` and with it, of the keys that start with
        `prefix` and have one: `groups("t/date=", "-")` is ["t/date=2023-", "t/date=2024-"]. Sorted.

        One request where `list` takes one for every thousand objects.
        """
        ...

    def delete(self, key: str, *, if_version: str | None = None) -> None:
        """Removes the object. Raises ObjectNotFound, ObjectChanged."""
        ...

    def uri(self, key: str) -> str:
        """The path or URL by which other programs open the object."""
        ...

    def check_writable(self) -> None:
        """Raises StoreUnavailable, naming the location and the remedy, when nothing can be written."""
        ...

    def sweep(self) -> int:
        """Removes what writers that were killed left unfinished, invisible to readers; answers how many."""
        ...


MARKER = "quant-assets.json"
"""The object by which a store says that it is one of ours, and of which format."""

STORE_FORMAT = 1
"""The format of a store as a whole, in its marker: where things lie in it."""

FORMAT = 2
"""The format of each table that is written (in its footer), and of each manifest shard and record. What says no
format is of format 1, which has the holes of cells as an object each (`tables.shards`, `tables.entries`)."""


def refuse_newer(found: object, uri: str) -> None:
    """Raises NewerFormat when `found`, the format that the object at `uri` says, is not one of those known here."""
    if found is not None and (not isinstance(found, int) or found > FORMAT):
        raise NewerFormat(
            f"{uri}: written in format {found}, this version reads up to {FORMAT}: upgrade quant-assets"
        )


def claim(store: ObjectStore, tables: Collection[str]) -> None:
    """Makes sure that the store can be written and is ours: a marker says so, or it is empty, or holds our tables.

    Raises StoreUnavailable when it cannot be written, holds another project's objects, or has a newer format.
    """
    store.check_writable()
    if not is_claimed(store, tables):
        with contextlib.suppress(ObjectChanged):
            store.put(MARKER, json.dumps({"format": STORE_FORMAT}).encode(), if_version=ABSENT)


def is_claimed(store: ObjectStore, tables: Collection[str]) -> bool:
    """Whether the store says that it is ours; if not, it is empty or holds our tables. Changes nothing.

    Raises StoreUnavailable when it holds another project's objects, or has a newer format.
    """
    try:
        marker: object = json.loads(store.get(MARKER).data)
        found = cast("dict[str, Any]", marker).get("format") if isinstance(marker, dict) else None
        if found != STORE_FORMAT:
            raise StoreUnavailable(
                f"{store.uri(MARKER)} says format {found!r}, this version writes {STORE_FORMAT}: upgrade "
                "quant-assets, or choose another store"
            )
    except ObjectNotFound:
        # Another process may have claimed it between the two questions.
        first = next((info for info in store.list("") if info.key != MARKER), None)
        if first is not None and first.key.partition("/")[0].removesuffix(".parquet") not in tables:
            raise StoreUnavailable(
                f"{store.location} holds another project's objects (e.g. {first.key}): point QUANT_ASSETS_STORE at "
                "an empty folder or prefix"
            ) from None
        return False
    except ValueError as error:
        raise ObjectDamaged(f"{store.uri(MARKER)}: unreadable; remove it, it is made anew") from error
    return True


def checksum(data: bytes) -> int:
    """CRC32C of `data`: the checksum that GCS keeps of every object."""
    return int(google_crc32c.value(data))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def validated_key(key: str) -> str:
    """`key`, or ValueError when it could leave the store, is no plain relative path, or has a hidden part."""
    # A listing passes over what starts with a dot, as the readers of the tables do.
    if any(not part or part.startswith(".") for part in key.split("/")) or "\\" in key or "\0" in key:
        raise ValueError(f"not an object key: {key!r} (a relative path with forward slashes is)")
    return key


def put_reconciled(
    store: ObjectStore,
    key: str,
    decide: Callable[[Blob | None], bytes | None],
    *,
    read_first: bool = True,
    attempts: int = 50,
) -> ObjectInfo | None:
    """Replaces an object by what `decide` makes of the object that stands there now.

    `decide` gets the present object (None: there is none) and answers the new bytes, or None to leave it.
    When another writer was faster, it is asked again with what that writer left: no write is ever lost.
    With `first_look=False` the first try assumes that there is none and saves a read.

    Returns the new object's facts, or None when nothing was written.
    Raises ObjectChanged after `attempts` lost races.
    """
    look = read_first
    for _ in range(attempts):
        present: Blob | None = None
        if look:
            try:
                present = store.get(key)
            except ObjectNotFound:
                present = None
        data = decide(present)
        if data is None:
            return None
        try:
            return store.put(key, data, if_version=present.info.version if present else ABSENT)
        except ObjectChanged:
            look = True
    raise ObjectChanged(f"{store.uri(key)}: lost {attempts} races against other writers; try again later")


def get_many(
    store: ObjectStore, keys: Sequence[str], *, workers: int = 16
) -> Iterable[tuple[str, Blob | ObjectStoreError]]:
    """Reads objects concurrently, yielding (key, blob or the error of that key) in the order of `keys`."""

    def read(key: str) -> Blob | ObjectStoreError:
        try:
            return store.get(key)
        except ObjectStoreError as error:
            return error

    if len(keys) <= 1:
        yield from ((key, read(key)) for key in keys)
        return
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="store") as pool:
        # Bounded windows keep memory flat however many keys there are.
        for start in range(0, len(keys), workers * 4):
            window = keys[start : start + workers * 4]
            yield from zip(window, pool.map(read, window), strict=True)
