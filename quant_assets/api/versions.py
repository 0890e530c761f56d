"""Of which objects, in which versions, an answer is made: asked of the store's listings, without reading a row.

A digest is taken before the rows are read. So an answer is at least as new as the versions it goes by, and what was
written meanwhile has another digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TypeVar

from quant_assets._version import __version__
from quant_assets.resources.object_store import ObjectInfo, ObjectStore
from quant_assets.tables.layout import (
    DAILY,
    HISTORY,
    REPLACED,
    WEEKLY,
    company_events_key,
    ledger_prefix,
    manifest_prefix,
    partitions_prefix,
    year_of,
)
from quant_assets.tables.manifest import Manifest

S = TypeVar("S")
T = TypeVar("T")

_AT_ONCE = 8
Look = Callable[[], list[str]]


def digest(parts: Iterable[str]) -> str:
    """32 hex digits over texts in their order, and the release: another one may make other bytes of the same."""
    # In one go: there are a hundred, and each update costs more than its bytes.
    encoded = [text.encode() for text in (__version__, *parts)]
    found = hashlib.sha256(b"".join(len(text).to_bytes(8, "big") + text for text in encoded))
    return found.hexdigest()[:32]


def looked(store: ObjectStore, looks: Sequence[Look]) -> list[str]:
    """What some looks at the store find, in their order; from afar at once. Raises StoreUnavailable."""
    if store.remote and len(looks) > 1:
        with ThreadPoolExecutor(min(_AT_ONCE, len(looks)), thread_name_prefix="versions") as pool:
            return [text for found in pool.map(lambda look: look(), looks) for text in found]
    return [text for look in looks for text in look()]


def of_object(store: ObjectStore, key: str) -> Look:
    """The version of one object, or that there is none."""

    def look() -> list[str]:
        info = store.head(key)
        return [f"{key} -" if info is None else _text(info)]

    return look


def of_prefix(store: ObjectStore, prefix: str, years: Collection[int] | None = None) -> Look:
    """The versions of all objects below a prefix; of those that name a year, only of these years."""

    def look() -> list[str]:
        return [_text(info) for info in store.list(prefix) if years is None or year_of(info.key) in years]

    return look


def of_partitions(
    store: ObjectStore, table: str, exchange: str, years: Collection[int] | None = None
) -> Look:
    """The versions of a table's manifest shards; of a year whose shard is lost, those of its objects."""

    def look() -> list[str]:
        listed, there = _both(
            store,
            lambda: list(store.list(manifest_prefix(table, exchange))),
            lambda: Manifest(store, table).object_years(exchange),
        )
        shards = {year: info for info in listed if (year := year_of(info.key)) is not None}
        found = [_text(info) for year, info in shards.items() if years is None or year in years]
        for year in sorted(there - shards.keys()):
            if years is None or year in years:
                found += [_text(info) for info in store.list(partitions_prefix(table, exchange, year))]
        return found

    return look


def _both(store: ObjectStore, one: Callable[[], S], other: Callable[[], T]) -> tuple[S, T]:
    """The answers of two questions to the store; from afar asked at once."""
    if not store.remote:
        return one(), other()
    with ThreadPoolExecutor(1, thread_name_prefix="versions") as pool:
        asked = pool.submit(other)
        return one(), asked.result()


def years_between(start: date | None, end: date | None) -> range | None:
    """The years of a range of days; None where it is open on both sides."""
    if start is None and end is None:
        return None
    return range((start or date.min).year, (end or date.max).year + 1)


def of_prices(
    store: ObjectStore,
    exchange: str,
    start: date | None,
    end: date | None,
    *,
    ledger: bool = False,
    companies: bool = False,
) -> list[Look]:
    """Those that a read of daily rows rests on; `end` only where rows after it do not count."""
    years = years_between(start, end)
    looks = [
        of_partitions(store, DAILY, exchange, years),
        of_prefix(store, partitions_prefix(HISTORY, exchange), years),
    ]
    if ledger:
        looks.append(of_prefix(store, ledger_prefix(REPLACED, exchange)))
    if companies:
        looks.append(of_object(store, company_events_key(exchange)))
    return looks


def of_weekly(store: ObjectStore, exchange: str) -> list[Look]:
    """Those that a read of weekly bars rests on: the weeks, and the days of which they may be made."""
    return [of_partitions(store, WEEKLY, exchange), *of_prices(store, exchange, None, None)]


def _text(info: ObjectInfo) -> str:
    return f"{info.key} {info.version}"
