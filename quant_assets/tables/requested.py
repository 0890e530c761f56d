"""Which days of an exchange have been asked for, whatever came of it: one small JSON object an exchange.

`requested/exchange=….json`: `{"format": 1, "ranges": [["2012-12-24", "2013-01-08"], …]}`. It only grows, and is put
before the first request of a run: so a range is known as asked for though the run was killed, or nothing came. The
one session that a daily update adds is recorded by its cell; only where it gets none is it added here, after the run.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, cast

import orjson

from quant_assets.resources.object_store import (
    FORMAT,
    Blob,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStore,
    put_reconciled,
    refuse_newer,
)
from quant_assets.tables.layout import DAILY, requested_key
from quant_assets.tables.manifest import Manifest

_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Requested:
    """Days that were asked for, as (first, last) of each range, in order; ranges neither meet nor overlap."""

    ranges: tuple[tuple[date, date], ...] = ()

    @property
    def first(self) -> date | None:
        """The first day ever asked for."""
        return self.ranges[0][0] if self.ranges else None

    @property
    def last(self) -> date | None:
        """The last day ever asked for."""
        return self.ranges[-1][1] if self.ranges else None

    def __contains__(self, day: date) -> bool:
        at = bisect_right(self.ranges, day, key=lambda of: of[0]) - 1
        return at >= 0 and day <= self.ranges[at][1]

    def with_days(self, days: Iterable[date]) -> Requested:
        """These days and more; days with nothing but a weekend between them are one range."""
        merged: list[tuple[date, date]] = []
        for first, last in sorted([*self.ranges, *((day, day) for day in days)]):
            if merged and _meet(merged[-1][1], first):
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        return Requested(tuple(merged))


def read_requested(store: ObjectStore, exchange: str) -> Requested:
    """What has been asked for of an exchange; nothing where no release has recorded it yet.

    Raises ObjectDamaged, NewerFormat, StoreUnavailable.
    """
    try:
        return _parse(store.get(requested_key(exchange)), store)
    except ObjectNotFound:
        return Requested()


def record_requested(
    store: ObjectStore, exchange: str, days: Iterable[date], *, next_day: bool = True
) -> None:
    """Adds days to what has been asked for; puts nothing where all of them are on record.

    Args:
        next_day: whether to put what adds nothing but one day after the last on record.

    Raises ObjectDamaged, NewerFormat, StoreUnavailable.
    """
    more = sorted(set(days))

    def decide(present: Blob | None) -> bytes | None:
        before = _parse(present, store) if present else Requested()
        new = [day for day in more if day not in before]
        if not new or (not next_day and len(new) == 1 and before.last is not None and new[0] > before.last):
            return None
        return _dump(before.with_days(new))

    put_reconciled(store, requested_key(exchange), decide)


def first_requested(store: ObjectStore, exchange: str) -> date | None:
    """The first day of an exchange that was ever asked for; None where nothing was.

    Stores of releases that did not record it begin with their first cell. Raises ObjectDamaged, StoreUnavailable.
    """
    manifest = Manifest(store, DAILY)
    years = manifest.object_years(exchange) | manifest.shards(exchange).keys()
    first = read_requested(store, exchange).first
    for year in sorted(year for year in years if first is None or year <= first.year):
        for partition in sorted(manifest.known(exchange, year)):
            return min(first or date.max, date.fromisoformat(partition))
    return first


def _meet(last: date, first: date) -> bool:
    """Whether no weekday lies between two days; a range of Monday to Friday goes on on Monday."""
    if first <= last + timedelta(days=1):
        return True
    between = ((first - last).days - 1, (last + timedelta(days=1)).weekday())
    return between in ((2, _SATURDAY), (1, _SATURDAY), (1, _SATURDAY + 1))


def _parse(blob: Blob, store: ObjectStore) -> Requested:
    uri = store.uri(blob.info.key)
    try:
        found = cast("dict[str, Any]", orjson.loads(blob.data))
        refuse_newer(found.get("format"), uri)
        ranges = [(date.fromisoformat(first), date.fromisoformat(last)) for first, last in found["ranges"]]
        ends = [day for of in ranges for day in of]
        if ends != sorted(ends):
            raise ValueError("ranges not in order")
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ObjectDamaged(
            f"{uri}: unreadable ({error}); remove it, the next backfill makes it anew"
        ) from error
    return Requested(tuple(ranges))


def _dump(requested: Requested) -> bytes:
    ranges = [[first.isoformat(), last.isoformat()] for first, last in requested.ranges]
    return orjson.dumps({"format": FORMAT, "ranges": ranges})
