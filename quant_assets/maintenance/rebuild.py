"""Makes the manifest anew from the objects, which are the truth, from the calendar, and from what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState, Missing, cell_state, listed, symbols_sha256
from quant_assets.resources.object_store import (
    ObjectDamaged,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    get_many,
)
from quant_assets.resources.source import Outcome
from quant_assets.tables.layout import (
    CATALOG,
    DAILY,
    MANIFEST,
    TIME_DIMENSION,
    described_table,
    exchange_of,
    object_key,
    partition_of,
    partitions_prefix,
    table_of,
)
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.manifest import Entry, Expected, Manifest, entry_of, stamped
from quant_assets.tables.parquet import read_table
from quant_assets.tables.requested import Requested, read_requested


def manifest_places(store: ObjectStore) -> list[tuple[str, str]]:
    """The (table, exchange) pairs that have a manifest or objects, and DAILY of every exchange that was asked for."""
    found: set[tuple[str, str]] = set()
    for root in ("requested/", f"{MANIFEST}/", *(f"{table}/" for table in TIME_DIMENSION)):
        for info in store.list(root):
            table, exchange = table_of(info.key), exchange_of(info.key)
            if exchange is not None and table is not None:
                described = described_table(info.key) or (table if table in TIME_DIMENSION else DAILY)
                found.add((described, exchange))
    return sorted(found)


def rebuild_manifest(
    store: ObjectStore,
    *,
    exchanges: Mapping[str, Exchange] | None = None,
    now: datetime | None = None,
    recorded: Callable[[str, str], Iterable[Entry]] | None = None,
    on_object: Callable[[], None] = lambda: None,
) -> int:
    """Writes every manifest shard from the footers of the objects it tells of.

    Args:
        exchanges: the exchanges by code. Of each of these, days without an object are made anew as well: closed ones
            from its calendar, sessions that were asked for without anything coming from the record of requests.
        now: the moment under which those are recorded.
        recorded: entries of (table, exchange) that tell what no object does: cells that have none, and the
            day of the last question; by default those of the present manifest, as far as it can be read.

    Returns:
        The number of objects recorded. Raises StoreUnavailable, and ObjectDamaged when an object has no readable
        footer.
    """
    objects = 0
    for table, exchange in manifest_places(store):
        manifest = Manifest(store, table)
        kept = _readable(manifest, exchange) if recorded is None else recorded(table, exchange)
        before = {entry.partition: entry for entry in kept}
        infos = {info.key: info for info in store.list(partitions_prefix(table, exchange))}
        entries = {
            entry.partition: entry.with_later_answers(before.get(entry.partition))
            for entry in _from_footers(store, table, infos, on_object)
        }
        objects += len(entries)
        for entry in before.values():
            if not entry.version:
                entries.setdefault(entry.partition, entry)
        if table == DAILY and exchanges is not None and exchange in exchanges:
            made = _WithoutObject(store, exchanges[exchange], now or datetime.now(UTC))
            entries |= made.entries(entries)
        manifest.replace(exchange, entries.values())
    return objects


class _WithoutObject:
    """Entries of the days that have no object, as far as calendar and record of requests tell."""

    def __init__(self, store: ObjectStore, exchange: Exchange, now: datetime) -> None:
        self._store, self._exchange, self._now = store, exchange, now
        self._expected = Expected(store, exchange.code)

    def entries(self, known: Mapping[str, Entry]) -> dict[str, Entry]:
        """Those of the days from the first to the last one known or asked for that are not `known`."""
        requested = read_requested(self._store, self._exchange.code)
        days = [date.fromisoformat(partition) for partition in known]
        bounds = [day for day in (*days, requested.first, requested.last) if day is not None]
        if not bounds:
            return {}
        calendar = self._exchange.calendar()
        sessions = set(calendar.sessions(min(bounds), max(bounds)))
        weekdays = {day.weekday() for day in sessions} | set(range(5))
        absent = [
            day
            for n in range((max(bounds) - min(bounds)).days + 1)
            if (day := min(bounds) + timedelta(days=n)).weekday() in weekdays and str(day) not in known
        ]
        closed = {str(day): self._closed(day) for day in absent if day not in sessions}
        return closed | self._failed([day for day in absent if day in sessions], requested)

    def _closed(self, day: date) -> Entry:
        reason = f"{self._exchange.code} did not trade on {day}"
        return stamped(Entry(str(day), CellState.CLOSED, reason=reason), self._now)

    def _failed(self, sessions: list[date], requested: Requested) -> dict[str, Entry]:
        """The sessions asked for that have no object: who was expected is to be asked for again."""
        asked = [session for session in sessions if session in requested]
        if not asked:
            return {}
        listings = self._listings()
        return {str(session): self._nothing_came(session, listed(listings, session)) for session in asked}

    def _nothing_came(self, session: date, expected: list[str]) -> Entry:
        self._expected.record(expected)
        reason = "asked for; what the source answered is not on record"
        today = self._now.astimezone(UTC).date()
        entry = Entry(
            str(session),
            cell_state(len(expected), 0, 0),
            expected=len(expected),
            expected_sha256=symbols_sha256(expected),
            missing=tuple(Missing(symbol, Outcome.FAILED.value, reason, today) for symbol in expected),
            reason=f"nothing received: {reason}"
            if expected
            else "no symbol of the catalog was listed that day",
        )
        return stamped(entry, self._now)

    def _listings(self) -> pl.DataFrame:
        try:
            catalog = read_table(self._store, object_key(CATALOG))
        except ObjectNotFound:
            schema = {"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date}
            return pl.DataFrame(schema=schema)
        return with_learned(self._store, self._exchange.code, followed(catalog, self._exchange.code))


def _from_footers(
    store: ObjectStore, table: str, infos: dict[str, ObjectInfo], on_object: Callable[[], None]
) -> Iterator[Entry]:
    keys = [key for key in infos if partition_of(table, key) is not None]
    for key, blob in get_many(store, keys):
        on_object()
        if isinstance(blob, Exception):
            raise blob
        yield entry_of(table, blob, store.uri(key))


def _readable(manifest: Manifest, exchange: str) -> Iterator[Entry]:
    for year in manifest.shards(exchange):
        try:
            yield from manifest.year(exchange, year).values()
        except ObjectDamaged:
            continue
