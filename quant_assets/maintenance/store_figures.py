"""What a store holds, in figures, looked at again and again: only what has changed since the last look is read.

The figures are those of the manifest, the ledgers, the quarantine and the runs' reports. A look takes a handful of
listings; of the objects listed, those are read whose version is another one than at the look before. Reports, of
which there are more every day, are read once each, and listed whole every ten minutes: in between those of late are.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import polars as pl

from quant_assets.market.coverage import CellState
from quant_assets.market.inventory import CELLS_SCHEMA
from quant_assets.resources.object_store import (
    MARKER,
    Blob,
    NewerFormat,
    ObjectDamaged,
    ObjectInfo,
    ObjectStore,
    ObjectStoreError,
    StoreUnavailable,
    get_many,
)
from quant_assets.tables.fetch_reports import parse_report
from quant_assets.tables.layout import (
    DAILY,
    FETCH_REPORTS,
    MANIFEST,
    QUARANTINE,
    RESTATEMENTS,
    TIME_DIMENSION,
    TOP_LEVEL,
    described_table,
    exchange_of,
    table_of,
)
from quant_assets.tables.manifest import Entry
from quant_assets.tables.parquet import decode
from quant_assets.tables.quarantine import items, upgraded
from quant_assets.tables.shards import parse

T = TypeVar("T")

_SIZES_SECONDS = 600.0
"""How long the sizes of the records are believed: to list them all takes a request for every thousand objects."""
_PAGE = 1000
"""How many objects a request lists at most."""
_LONGEST = timedelta(days=1)
"""A report is named by when its run began: of one that took longer the next whole listing tells."""
_REMEMBERED = 40
"""The last cells of an exchange, by which its freshness is told."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a table there is."""

    objects: int = 0
    rows: int = 0
    bytes: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.objects + other.objects, self.rows + other.rows, self.bytes + other.bytes)


@dataclass(slots=True)
class Asked:
    """What the runs over an exchange came to, over all of their reports."""

    requests: int = 0
    answers: Counter[str] = field(default_factory=Counter[str])
    """Symbols asked, by outcome ("ok", "not_found", …)."""
    results: Counter[str] = field(default_factory=Counter[str])
    """Runs by result (SUCCESS, PARTIAL, FAILED)."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds by phase."""
    last: dict[str, Any] = field(default_factory=dict[str, Any])
    """The last report of all."""

    def add(self, report: Mapping[str, Any]) -> None:
        """Counts a report; they come in the order of their runs."""
        self.requests += int(report.get("requests", 0))
        self.answers["ok"] += int(report.get("succeeded", 0))
        self.answers.update({name: int(count) for name, count in report.get("failed", {}).items()})
        self.results[str(report.get("result", "unknown"))] += 1
        for phase, seconds in report.get("seconds", {}).items():
            self.seconds[phase] += float(seconds)
        self.last = dict(report)


@dataclass(slots=True)
class StoreFigures:
    """A store at one moment; all by exchange code. What is `unreadable` is left out of the rest."""

    cells: dict[str, pl.DataFrame] = field(default_factory=dict[str, pl.DataFrame])
    """CELLS_SCHEMA, in order of time."""
    sizes: dict[tuple[str, str], Size] = field(default_factory=dict["tuple[str, str]", Size])
    """By exchange ("" for what concerns none) and table or record."""
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    restatements: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    """Of the whole ledger, by class."""
    held: dict[str, pl.DataFrame] = field(default_factory=dict[str, pl.DataFrame])
    """The quarantine by items (`tables.quarantine.ITEMS_SCHEMA`), decided ones too."""
    unreadable: dict[str, str] = field(default_factory=dict[str, str])
    """Why, by the key of the object."""

    def recent_states(self, exchange: str) -> dict[date, CellState]:
        """The states of an exchange's last cells."""
        last = self.cells.get(exchange, pl.DataFrame(schema=CELLS_SCHEMA)).tail(_REMEMBERED)
        return {day: CellState(state) for day, state in last.select("date", "state").iter_rows()}


class StoreWatch:
    """Looks at a store. Not for several threads at once."""

    def __init__(
        self,
        store: ObjectStore,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._clock, self._now = store, clock, now
        self._read: dict[str, tuple[str, Any]] = {}
        """By key: the version that was read, and what it came to."""
        self._asked: dict[str, Asked] = {}
        self._reports: dict[str, int] = {}
        """The size of each report that was read, by its key."""
        self._damaged: dict[str, str] = {}
        """Those of them that are none: why, by key."""
        self._listed_reports = -float("inf")
        self._records: tuple[float, dict[tuple[str, str], Size]] | None = None

    def look(self, *, reports: bool = True) -> StoreFigures:
        """The store as it is now; without `reports`, of which there may be thousands, nothing of what runs came to.

        Raises StoreUnavailable, also where there is nothing at all. What is damaged, or newer than this release, is
        named in the figures.
        """
        if self._store.head(MARKER) is None and next(iter(self._store.list("")), None) is None:
            raise StoreUnavailable(f"{self._store.location} holds no tables: see QUANT_ASSETS_STORE")
        figures = StoreFigures()
        self._of_manifest(figures)
        ledger = self._changed(RESTATEMENTS, _classes, figures)
        for info, counts in ledger:
            code = str(exchange_of(info.key))
            figures.restatements.setdefault(code, Counter()).update(counts)
        for info, held in self._changed(QUARANTINE, _items, figures):
            figures.held[str(exchange_of(info.key))] = held
        if reports:
            self._of_reports(figures)
        for key, size in self._reports.items() if reports else self._listed(FETCH_REPORTS):
            of = exchange_of(key) or "", FETCH_REPORTS
            figures.sizes[of] = figures.sizes.get(of, Size()) + Size(1, 0, size)
        for key, size in self._sizes().items():
            figures.sizes[key] = figures.sizes.get(key, Size()) + size
        return figures

    def _of_manifest(self, figures: StoreFigures) -> None:
        frames: dict[str, list[pl.DataFrame]] = {}
        for info, (frame, size) in self._changed(MANIFEST, _shard, figures):
            code, table = str(exchange_of(info.key)), str(described_table(info.key))
            figures.sizes[code, table] = figures.sizes.get((code, table), Size()) + size
            if frame is not None:
                frames.setdefault(code, []).append(frame)
        figures.cells = {code: pl.concat(parts) for code, parts in sorted(frames.items())}

    def _of_reports(self, figures: StoreFigures) -> None:
        """Reports are put once and never changed: each is read once."""
        sizes = {info.key: info.size for info in self._new_reports() if info.key not in self._reports}
        for key, blob in get_many(self._store, list(sizes)):
            if isinstance(blob, ObjectStoreError):
                # It may be there the next time.
                figures.unreadable[key] = str(blob)
                self._listed_reports = -float("inf")
                continue
            self._reports[key] = sizes[key]
            try:
                report = parse_report(blob.data, self._store.uri(key))
            except (ObjectDamaged, NewerFormat) as error:
                self._damaged[key] = str(error)
                continue
            self._asked.setdefault(str(exchange_of(key)), Asked()).add(report)
        figures.asked = dict(self._asked)
        figures.unreadable |= self._damaged

    def _new_reports(self) -> Iterable[ObjectInfo]:
        """The reports that are listed this time: all, or where these are many those of runs that began of late."""
        moment = self._clock()
        if len(self._reports) >= _PAGE and moment - self._listed_reports <= _SIZES_SECONDS:
            exchanges = self._store.groups(f"{FETCH_REPORTS}/exchange=", "/")
            now = self._now()
            months = sorted({f"{day:%Y-%m}" for day in (now - _LONGEST, now)})
            # A listing for each of them, where one of everything takes more.
            if len(exchanges) * len(months) < len(self._reports) // _PAGE:
                prefixes = [f"{exchange}{month}" for exchange in exchanges for month in months]
                return [info for prefix in prefixes for info in self._store.list(prefix) if _is_report(info)]
        infos = self._infos(FETCH_REPORTS)
        self._listed_reports = moment
        there = {info.key for info in infos}
        for gone in self._reports.keys() - there:
            del self._reports[gone]
            self._damaged.pop(gone, None)
        return infos

    def _sizes(self) -> dict[tuple[str, str], Size]:
        """Of what has no manifest, but for the reports."""
        now = self._clock()
        if self._records is None or now - self._records[0] > _SIZES_SECONDS:
            found: dict[tuple[str, str], Size] = {}
            for top in sorted(TOP_LEVEL - TIME_DIMENSION.keys() - {FETCH_REPORTS}):
                for info in self._store.list(top):
                    if table_of(info.key) == top:
                        key = exchange_of(info.key) or "", top
                        found[key] = found.get(key, Size()) + Size(1, 0, info.size)
            self._records = now, found
        return self._records[1]

    def _changed(
        self, top: str, make: Callable[[Blob, str], T], figures: StoreFigures
    ) -> Iterable[tuple[ObjectInfo, T]]:
        """The objects of a record, with what `make` makes of each; made anew only of those that have changed."""
        infos = self._infos(top)
        unknown = [info.key for info in infos if self._read.get(info.key, ("",))[0] != info.version]
        for key, blob in get_many(self._store, unknown):
            try:
                if isinstance(blob, ObjectStoreError):
                    raise blob
                self._read[key] = blob.info.version, make(blob, self._store.uri(key))
            except ObjectStoreError as error:
                figures.unreadable[key] = str(error)
                self._read.pop(key, None)
        return [(info, self._read[info.key][1]) for info in infos if info.key in self._read]

    def _listed(self, top: str) -> Iterable[tuple[str, int]]:
        return ((info.key, info.size) for info in self._infos(top))

    def _infos(self, top: str) -> Sequence[ObjectInfo]:
        return [info for info in self._store.list(f"{top}/") if table_of(info.key) == top]


def _is_report(info: ObjectInfo) -> bool:
    return table_of(info.key) == FETCH_REPORTS


def cells_frame(entries: Iterable[Entry]) -> pl.DataFrame:
    """Entries of daily cells as CELLS_SCHEMA, in their order."""
    rows = [
        (
            date.fromisoformat(entry.partition),
            entry.state.value,
            entry.rows,
            entry.size,
            entry.expected,
            entry.received,
            _day(entry.recorded_at),
        )
        for entry in entries
    ]
    return pl.DataFrame(rows, schema=CELLS_SCHEMA, orient="row")


def _shard(blob: Blob, uri: str) -> tuple[pl.DataFrame | None, Size]:
    entries = parse(blob, uri)
    size = Size(
        sum(1 for entry in entries.values() if entry.version),
        sum(entry.rows for entry in entries.values()),
        sum(entry.size for entry in entries.values() if entry.version),
    )
    return cells_frame(entries.values()) if described_table(blob.info.key) == DAILY else None, size


def _classes(blob: Blob, uri: str) -> Counter[str]:
    try:
        return Counter(decode(blob.data, uri)["class"].to_list())
    except pl.exceptions.ColumnNotFoundError as error:
        raise ObjectDamaged(f"{uri}: no ledger of restatements ({error})") from error


def _items(blob: Blob, uri: str) -> pl.DataFrame:
    return items(upgraded(decode(blob.data, uri)))


def _day(moment: str) -> date | None:
    try:
        return date.fromisoformat(moment[:10])
    except ValueError:
        return None
