"""What is there, without listing it: one small JSON object per table, exchange and year, derived from the objects.

The objects are the truth. An entry is recorded after its object is put, so the manifest may lag behind a killed
run and is never ahead of it; `refresh` catches up from the footers of the objects it does not know. A year whose
shard is lost is found by its objects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Self, cast

import orjson

from quant_assets.market.coverage import CellState, Missing, symbols_sha256
from quant_assets.resources.object_store import (
    ABSENT,
    FORMAT,
    Blob,
    ObjectChanged,
    ObjectDamaged,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreError,
    get_many,
    put_reconciled,
    refuse_newer,
)
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

_YEARS_AT_ONCE = 8

_FORMAT = "format"
"""In a shard the format lies beside the partitions, none of which is called so."""

_FOOTER_FIELDS = (
    "rows",
    "content_sha256",
    "inputs_sha256",
    "expected",
    "received",
    "expected_sha256",
    "source",
    "code_version",
    "reason",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One partition of a table. `version` is empty where the cell has no object (closed, failed)."""

    partition: str
    state: CellState
    rows: int = 0
    size: int = 0
    version: str = ""
    content_sha256: str = ""
    inputs_sha256: str = ""
    """Hash over the cells a derived table was made from."""
    expected: int = 0
    received: int = 0
    expected_sha256: str = ""
    """Hash over the symbols that were expected."""
    missing: tuple[Missing, ...] = ()
    source: str = ""
    code_version: str = ""
    reason: str = ""
    recorded_at: str = ""

    def facts(self) -> dict[str, Any]:
        """What rides in the footer of the entry's object: all but what only the store knows."""
        values = asdict(self)
        return {name: values[name] for name in _FOOTER_FIELDS} | {
            "partition": self.partition,
            "state": self.state.value,
            "missing": [missing.to_json() for missing in self.missing],
            "recorded_at": self.recorded_at,
        }

    @classmethod
    def from_facts(cls, facts: dict[str, Any], info: ObjectInfo | None) -> Self:
        """The entry that `facts` and the object's own facts make. Raises KeyError, ValueError on anything else."""
        return cls(
            partition=facts["partition"],
            missing=tuple(Missing.from_json(value) for value in facts.get("missing", ())),
            size=info.size if info else facts.get("size", 0),
            version=info.version if info else facts.get("version", ""),
            recorded_at=facts.get("recorded_at", ""),
            state=CellState(facts["state"]),
            **{name: facts[name] for name in _FOOTER_FIELDS if name in facts},
        )

    def with_later_answers(self, recorded: Entry | None) -> Self:
        """This entry of an object, with what was `recorded` of the same content since: the day of the last question
        and the count of answers move on in the manifest alone."""
        if (
            recorded is None
            or recorded.recorded_at <= self.recorded_at
            or (recorded.content_sha256, recorded.state, recorded.expected_sha256)
            != (self.content_sha256, self.state, self.expected_sha256)
        ):
            return self
        return replace(self, missing=recorded.missing, recorded_at=recorded.recorded_at)

    def beats(self, other: Entry) -> bool:
        """Whether this entry is the newer knowledge of the two: the later object, then the later record."""
        return (self.version, self.recorded_at) > (other.version, other.recorded_at)


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
            return self._parse(self._store.get(self.shard_key(exchange, year)))
        except ObjectNotFound:
            return {}

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
        entries: dict[str, Entry] = {}

        def of_year(year: int) -> dict[str, Entry]:
            return self.refresh(exchange, year, damaged=damaged) if refresh else self.known(exchange, year)

        with ThreadPoolExecutor(_YEARS_AT_ONCE, thread_name_prefix="manifest") as pool:
            for found in pool.map(of_year, range(first.year, last.year + 1)):
                entries |= found
        return {p: e for p, e in entries.items() if first.isoformat() <= p <= last.isoformat()}

    def all(self, exchange: str) -> Iterator[Entry]:
        """Every entry of an exchange, in order of time; of a year whose shard is lost, those of its objects."""
        with ThreadPoolExecutor(1, thread_name_prefix="years") as pool:
            there = pool.submit(self.object_years, exchange)
            shards = self.shards(exchange)
            lost = sorted(there.result() - shards.keys())
        for year, blob in zip(shards, get_many(self._store, list(shards.values())), strict=True):
            while lost and lost[0] < year:
                yield from _in_order(self.known(exchange, lost.pop(0)))
            if isinstance(blob[1], ObjectStoreError):
                raise blob[1]
            yield from _in_order(self._parse(blob[1]))
        for year in lost:
            yield from _in_order(self.known(exchange, year))

    def shards(self, exchange: str) -> dict[int, str]:
        """The keys of an exchange's shards by year, in order."""
        found = self._store.list(manifest_prefix(self._table, exchange))
        keys = [info.key for info in found if table_of(info.key) == MANIFEST]
        return {year: key for key in keys if (year := year_of(key)) is not None}

    def record(self, exchange: str, entries: Iterable[Entry]) -> None:
        """Adds entries, per year in one conditional put; what another run recorded meanwhile stays.

        Raises ObjectDamaged, StoreUnavailable.
        """
        by_year: dict[int, list[Entry]] = {}
        for entry in entries:
            by_year.setdefault(int(entry.partition[:4]), []).append(entry)
        for year, added in sorted(by_year.items()):

            def decide(present: Blob | None, year: int = year, added: list[Entry] = added) -> bytes | None:
                stored = self._parse(present) if present else {}
                # Of a year that has objects and no shard all are recorded: half a shard would hide the others.
                merged = dict(stored) if present else self._of_objects(exchange, year, added, damaged={})
                for entry in added:
                    other = merged.get(entry.partition)
                    if other is None or entry.beats(other):
                        merged[entry.partition] = entry
                return None if merged == stored else _dump(merged)

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
            self._store.put(key, _dump(of_year))

    def refresh(
        self, exchange: str, year: int, *, record: bool = True, damaged: dict[str, str] | None = None
    ) -> dict[str, Entry]:
        """A year's entries after catching up with the objects.

        What the manifest does not know, or knows otherwise, is read, and recorded unless `record` is False; entries
        whose object is no longer there are left out, and so are damaged objects of tables that are made from cells.
        Damaged cells are put into `damaged` (what is wrong, by partition) and left out; without it, the first one is
        raised as ObjectDamaged.
        """
        known, there, fresh = self._caught_up(exchange, year, self.year(exchange, year), damaged)
        if fresh and record:
            self.record(exchange, fresh)
        known |= {entry.partition: entry for entry in fresh}
        return {p: entry for p, entry in known.items() if not entry.version or p in there}

    def _of_objects(
        self, exchange: str, year: int, known: Iterable[Entry] = (), *, damaged: dict[str, str] | None = None
    ) -> dict[str, Entry]:
        """What a year's objects tell of themselves, but for those that are `known`; `damaged` as in `refresh`."""
        by_partition = {entry.partition: entry for entry in known}
        _, _, fresh = self._caught_up(exchange, year, by_partition, damaged)
        return {entry.partition: entry for entry in fresh}

    def _caught_up(
        self, exchange: str, year: int, known: dict[str, Entry], damaged: dict[str, str] | None
    ) -> tuple[dict[str, Entry], set[str], list[Entry]]:
        """`known`, the partitions that have a sound object, and the entries of those that `known` lacks."""
        prefix = partitions_prefix(self._table, exchange, year)
        there: set[str] = set()
        unknown: list[str] = []
        for info in self._store.list(prefix):
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
        return known, there, fresh

    def _parse(self, blob: Blob) -> dict[str, Entry]:
        uri = self._store.uri(blob.info.key)
        try:
            parsed = cast("dict[str, dict[str, Any]]", orjson.loads(blob.data))
            refuse_newer(parsed.pop(_FORMAT, None), uri)
            return {partition: Entry.from_facts(facts, None) for partition, facts in parsed.items()}
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ObjectDamaged(
                f"{uri}: unreadable manifest ({error}); `quant-assets rebuild-manifest` makes it anew"
            ) from error


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


def _in_order(entries: dict[str, Entry]) -> list[Entry]:
    return [entries[partition] for partition in sorted(entries)]


def _dump(entries: dict[str, Entry]) -> bytes:
    return orjson.dumps(
        {_FORMAT: FORMAT}
        | {
            partition: entry.facts() | {"size": entry.size, "version": entry.version}
            for partition, entry in sorted(entries.items())
        },
        option=orjson.OPT_INDENT_2,
    )


def stamped(entry: Entry, now: datetime) -> Entry:
    """`entry`, recorded at `now` (UTC)."""
    return replace(entry, recorded_at=now.astimezone(UTC).isoformat(timespec="microseconds"))
