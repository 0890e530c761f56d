"""What is there, without listing it: one small JSON object per table, exchange and year, derived from the objects.

The objects are the truth. An entry is recorded after its object is put, so the manifest may lag behind a killed
run and is never ahead of it; `refresh` catches up from the footers of the objects it does not know. A year whose
shard is lost is found by its objects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import date
from functools import partial
from itertools import repeat
from typing import cast

import orjson

from quant_assets.market.coverage import symbols_sha256
from quant_assets.resources.object_store import (
    ABSENT,
    Blob,
    ObjectChanged,
    ObjectDamaged,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreError,
    get_many,
    put_reconciled,
)
from quant_assets.tables.ahead import Here
from quant_assets.tables.entries import Entry, stamped
from quant_assets.tables.layout import (
    DAILY,
    MANIFEST,
    after_year,
    expected_key,
    manifest_key,
    manifest_prefix,
    partition_of,
    partitions_prefix,
    table_of,
    year_of,
    year_of_group,
)
from quant_assets.tables.parquet import read_facts
from quant_assets.tables.shards import dump, parse, parsed_before

__all__ = ["Entry", "Expected", "Manifest", "entry_in", "entry_of", "stamped"]

_YEARS_AT_ONCE = 8


class Manifest:
    """The entries of one table that is partitioned by exchange and time."""

    def __init__(self, store: ObjectStore, table: str) -> None:
        self._store = store
        self._table = table

    def shard_key(self, exchange: str, year: int) -> str:
        """Where one year's entries of an exchange are kept."""
        return manifest_key(self._table, exchange, year)

    def year(self, exchange: str, year: int) -> dict[str, Entry]:
        """The entries of a year by partition. Raises ObjectDamaged, StoreUnavailable."""
        try:
            return dict(self._parsed(self._store.get(self.shard_key(exchange, year))))
        except ObjectNotFound:
            return {}

    def years(self, exchange: str, wanted: Collection[int]) -> dict[int, dict[str, Entry]]:
        """The entries of some years by year, in order, and partition; as `known` tells them.

        One listing, and reads of those shards alone that this process has not parsed before. Raises ObjectDamaged,
        StoreUnavailable.
        """
        listed = {year: info for year, info in self._shards(exchange).items() if year in wanted}
        found = {year: dict(entries) for year, entries in self._parsed_shards(listed)}
        lost = {year for year in wanted if not found.get(year)}
        there = self.object_years(exchange) if lost else set[int]()
        for year in lost:
            found[year] = self._of_objects(exchange, year) if year in there else {}
        return dict(sorted(found.items()))

    def known(self, exchange: str, year: int) -> dict[str, Entry]:
        """The entries of a year by partition; where its shard is lost, those that the objects tell of themselves.

        Raises ObjectDamaged, StoreUnavailable.
        """
        return self.year(exchange, year) or self._of_objects(exchange, year)

    def object_years(self, exchange: str) -> set[int]:
        """The years of which there are objects, whatever the manifest says; one listing, however many there are."""
        groups = self._store.groups(partitions_prefix(self._table, exchange), after_year(self._table))
        found = (year_of_group(self._table, exchange, group) for group in groups)
        return {year for year in found if year is not None}

    def between(
        self,
        exchange: str,
        first: date,
        last: date,
        *,
        refresh: bool = False,
        damaged: dict[str, str] | None = None,
    ) -> dict[str, Entry]:
        """The entries whose partition lies in first..last (inclusive); with `refresh`, caught up with the objects.

        Without it, only a year whose shard is lost is asked of its objects.
        """
        wanted = range(first.year, last.year + 1)
        entries: dict[str, Entry] = {}
        if refresh:
            caught_up = partial(self._refreshed, exchange, damaged=damaged)
            with self._years_at_once() as pool:
                # The objects after the entries: what is put meanwhile is new, and not gone.
                known = list(pool.map(partial(self.year, exchange), wanted))
                for found in pool.map(caught_up, wanted, known, self._listed(exchange, wanted)):
                    entries |= found
        elif len(wanted) == 1:
            entries = self.known(exchange, first.year)
        else:
            for found in self.years(exchange, wanted).values():
                entries |= found
        return {p: e for p, e in entries.items() if first.isoformat() <= p <= last.isoformat()}

    def all(self, exchange: str) -> Iterator[Entry]:
        """Every entry of an exchange, in order of time; of a year whose shard is lost, those of its objects."""
        with ThreadPoolExecutor(1, thread_name_prefix="years") as pool:
            there = pool.submit(self.object_years, exchange)
            shards = self._shards(exchange)
            lost = sorted(there.result() - shards.keys())
        for year, entries in self._parsed_shards(shards):
            while lost and lost[0] < year:
                yield from _in_order(self.known(exchange, lost.pop(0)))
            yield from entries.values()
        for year in lost:
            yield from _in_order(self.known(exchange, year))

    def shards(self, exchange: str) -> dict[int, str]:
        """The keys of an exchange's shards by year, in order."""
        return {year: info.key for year, info in self._shards(exchange).items()}

    def record(self, exchange: str, entries: Iterable[Entry]) -> None:
        """Adds entries, per year in one conditional put; what another run recorded meanwhile stays.

        Raises ObjectDamaged, StoreUnavailable.
        """
        by_year: dict[int, list[Entry]] = {}
        for entry in entries:
            by_year.setdefault(int(entry.partition[:4]), []).append(entry)
        for year, added in sorted(by_year.items()):

            def decide(present: Blob | None, year: int = year, added: list[Entry] = added) -> bytes | None:
                stored = dict(self._parsed(present)) if present else {}
                # Of a year that has objects and no shard all are recorded: half a shard would hide the others.
                merged = dict(stored) if present else self._of_objects(exchange, year, added, damaged={})
                for entry in added:
                    other = merged.get(entry.partition)
                    if other is None or entry.beats(other):
                        merged[entry.partition] = entry
                return None if merged == stored else dump(merged)

            put_reconciled(self._store, self.shard_key(exchange, year), decide)

    def replace(self, exchange: str, entries: Iterable[Entry]) -> None:
        """Makes `entries` the whole manifest of an exchange, whatever is recorded there; for making it anew."""
        by_year: dict[str, dict[str, Entry]] = {}
        for entry in entries:
            by_year.setdefault(self.shard_key(exchange, int(entry.partition[:4])), {})[entry.partition] = (
                entry
            )
        for key in self.shards(exchange).values():
            if key not in by_year:
                self._store.delete(key)
        for key, of_year in by_year.items():
            self._store.put(key, dump(of_year))

    def refresh(
        self, exchange: str, year: int, *, record: bool = True, damaged: dict[str, str] | None = None
    ) -> dict[str, Entry]:
        """A year's entries after catching up with the objects.

        What the manifest does not know, or knows otherwise, is read, and recorded unless `record` is False; entries
        whose object is no longer there are left out, and so are damaged objects of tables that are made from cells.
        Damaged cells are put into `damaged` (what is wrong, by partition) and left out; without it, the first one is
        raised as ObjectDamaged.
        """
        return self._refreshed(exchange, year, self.year(exchange, year), record=record, damaged=damaged)

    def _refreshed(
        self,
        exchange: str,
        year: int,
        known: dict[str, Entry],
        listed: Iterable[ObjectInfo] | None = None,
        *,
        record: bool = True,
        damaged: dict[str, str] | None,
    ) -> dict[str, Entry]:
        there, fresh = self._caught_up(exchange, year, known, damaged, listed)
        if fresh and record:
            self.record(exchange, fresh)
        caught_up = known | {entry.partition: entry for entry in fresh}
        return {p: entry for p, entry in caught_up.items() if not entry.version or p in there}

    def _of_objects(
        self, exchange: str, year: int, known: Iterable[Entry] = (), *, damaged: dict[str, str] | None = None
    ) -> dict[str, Entry]:
        """What a year's objects tell of themselves, but for those that are `known`; `damaged` as in `refresh`."""
        by_partition = {entry.partition: entry for entry in known}
        _, fresh = self._caught_up(exchange, year, by_partition, damaged)
        return {entry.partition: entry for entry in fresh}

    def _listed(self, exchange: str, years: Sequence[int]) -> Iterable[Iterable[ObjectInfo] | None]:
        """The objects of each year, where one listing of them all is quicker than one a year: a folder is gone
        through as a whole. None: they are to be listed."""
        if self._store.remote or len(years) == 1:
            return repeat(None, len(years))
        by_year: dict[str, list[ObjectInfo]] = {}
        for info in self._store.list(partitions_prefix(self._table, exchange)):
            if (partition := partition_of(self._table, info.key)) is not None:
                by_year.setdefault(partition[:4], []).append(info)
        return [by_year.get(f"{year:04d}", []) for year in years]

    def _caught_up(
        self,
        exchange: str,
        year: int,
        known: dict[str, Entry],
        damaged: dict[str, str] | None,
        listed: Iterable[ObjectInfo] | None = None,
    ) -> tuple[set[str], list[Entry]]:
        """The partitions that have a sound object, and the entries of those that `known` lacks."""
        if listed is None:
            listed = self._store.list(partitions_prefix(self._table, exchange, year))
        there: set[str] = set()
        unknown: list[str] = []
        for info in listed:
            partition = partition_of(self._table, info.key)
            if partition is None:
                continue
            there.add(partition)
            if partition not in known or known[partition].version != info.version:
                unknown.append(info.key)
        fresh: list[Entry] = []
        for key, blob in get_many(self._store, unknown):
            try:
                if isinstance(blob, ObjectStoreError):
                    raise blob
                entry = entry_of(self._table, blob, self._store.uri(key))
                fresh.append(entry.with_later_answers(known.get(entry.partition)))
            except ObjectDamaged as error:
                partition = str(partition_of(self._table, key))
                # A cell is the only copy there is; what is made from cells is simply made anew.
                if self._table == DAILY:
                    if damaged is None:
                        raise
                    damaged[partition] = str(error)
                there.discard(partition)
        return there, fresh

    def _years_at_once(self) -> Executor:
        if self._store.remote:
            return ThreadPoolExecutor(_YEARS_AT_ONCE, thread_name_prefix="manifest")
        return Here()

    def _shards(self, exchange: str) -> dict[int, ObjectInfo]:
        found = self._store.list(manifest_prefix(self._table, exchange))
        infos = [info for info in found if table_of(info.key) == MANIFEST]
        return {year: info for info in infos if (year := year_of(info.key)) is not None}

    def _parsed_shards(self, shards: Mapping[int, ObjectInfo]) -> Iterator[tuple[int, Mapping[str, Entry]]]:
        """The entries of shards that were listed, by year; only those not parsed before are read."""
        known = {year: parsed_before(self._store.uri(i.key), i.version) for year, i in shards.items()}
        blobs = iter(get_many(self._store, [i.key for year, i in shards.items() if known[year] is None]))
        for year, entries in known.items():
            if entries is not None:
                yield year, entries
                continue
            _, blob = next(blobs)
            if isinstance(blob, ObjectStoreError):
                raise blob
            yield year, self._parsed(blob)

    def _parsed(self, blob: Blob) -> Mapping[str, Entry]:
        return parse(blob, self._store.uri(blob.info.key))


class Expected:
    """The sets of symbols that cells were filled for, by their hash: one small object each, never changed.

    A cell records only the hash (`Entry.expected_sha256`). When the catalog has changed since, this tells whom a cell
    has without reading the cell.
    """

    def __init__(self, store: ObjectStore, exchange: str) -> None:
        self._store = store
        self._exchange = exchange
        self._known: dict[str, frozenset[str] | None] = {}
        self._kept: set[str] = set()

    def symbols(self, sha256: str) -> frozenset[str] | None:
        """The set with this hash; None where it was not recorded. Raises ObjectDamaged, StoreUnavailable."""
        if sha256 not in self._known:
            key = self._key(sha256)
            try:
                value: object = orjson.loads(self._store.get(key).data)
            except ObjectNotFound:
                value = None
            except orjson.JSONDecodeError:
                value = ""
            if value is not None and (
                not isinstance(value, list) or symbols_sha256(cast("list[str]", value)) != sha256
            ):
                raise ObjectDamaged(f"{self._store.uri(key)}: not the symbols of its name; remove it")
            self._known[sha256] = None if value is None else frozenset(cast("list[str]", value))
        return self._known[sha256]

    def known(self, sha256s: Iterable[str]) -> None:
        """Takes these sets as kept: entries that were recorded with their cells name them."""
        self._kept |= set(sha256s)

    def record(self, symbols: Iterable[str]) -> None:
        """Keeps a set; one that is known costs nothing."""
        ordered = sorted(symbols)
        sha256 = symbols_sha256(ordered)
        if sha256 not in self._kept and self._known.get(sha256) is None:
            with contextlib.suppress(ObjectChanged):
                self._store.put(self._key(sha256), orjson.dumps(ordered), if_version=ABSENT)
            self._known[sha256] = frozenset(ordered)

    def _key(self, sha256: str) -> str:
        return expected_key(self._exchange, sha256)


def entry_in(blob: Blob, uri: str) -> Entry:
    """The entry in an object's own footer. Raises ObjectDamaged, also where somebody else has written the table."""
    facts = read_facts(blob.data, uri)
    try:
        return Entry.from_facts(facts, blob.info)
    except (KeyError, TypeError, ValueError) as error:
        raise ObjectDamaged(f"{uri}: unreadable facts ({error!r}); remove it and make it anew") from error


def entry_of(table: str, blob: Blob, uri: str) -> Entry:
    """The entry that a partition's object tells of itself. Raises ObjectDamaged."""
    entry = entry_in(blob, uri)
    if entry.partition != partition_of(table, blob.info.key):
        raise ObjectDamaged(f"{uri}: holds the rows of {entry.partition}; remove it and make it anew")
    return entry


def _in_order(entries: Mapping[str, Entry]) -> list[Entry]:
    return [entries[partition] for partition in sorted(entries)]
