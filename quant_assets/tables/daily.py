"""Daily rows as they are stored: the yearly history, overlaid by every cell that is newer than it.

So reads are right whether or not a compaction has run, and with manifest and history lost: the cells are the truth.
A reader sees each object as it was or as it is, never a mixture.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, TypeVar

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, conform
from quant_assets.resources.object_store import (
    Blob,
    ObjectChanged,
    ObjectDamaged,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    get_many,
)
from quant_assets.tables.ahead import Here, made_ahead
from quant_assets.tables.layout import DAILY, HISTORY, object_key, partition_of, partitions_prefix
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.name_lists import kept_of_many
from quant_assets.tables.parquet import decode, decode_with_facts, read_facts
from quant_assets.tables.ranged import Part, decode_parts, read_part
from quant_assets.tables.restatements import Ledger
from quant_assets.tables.runs import Runs, together


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of a year's history, and the facts in its footer."""

    rows: Runs
    facts: dict[str, Any]


P = TypeVar("P", Found, Part)


@dataclass(frozen=True, slots=True)
class _Look:
    """What is looked for: the rows of some symbols of an exchange (sorted; None: of all) between two days, and some
    of their columns."""

    store: ObjectStore
    exchange: str
    wanted: Sequence[str] | None
    span: tuple[date, date]
    columns: tuple[str, ...] = tuple(DAILY_SCHEMA)
    unrecorded: list[str] = field(default_factory=list[str], compare=False)
    """Gets the keys of cells that have been put and are not recorded yet."""
    names: frozenset[str] = field(default_factory=frozenset[str], compare=False)
    """Those wanted, to ask whether one is."""

    @property
    def some(self) -> tuple[str, ...] | None:
        """The columns; None: all."""
        return None if len(self.columns) == len(DAILY_SCHEMA) else self.columns

    @property
    def schema(self) -> pl.Schema:
        return _schema(self.columns)

    def nothing(self) -> Runs:
        """No rows. Not made at import: a process that has made polars start its threads cannot be forked any more."""
        return _no_rows(self.columns)

    def mine(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Of rows those of the symbols."""
        wanted = self.wanted
        if wanted is None:
            return rows
        # Of many most often all: to find that out takes a quarter of the time of picking them.
        if len(wanted) >= rows.height and self.names.issuperset(rows["symbol"].to_list()):
            return rows
        return rows.filter(pl.col("symbol").is_in(wanted))

    def frame(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the columns and types that are looked for, sorted by (symbol, date)."""
        return conform(rows, self.schema)


@lru_cache(maxsize=64)
def _schema(columns: tuple[str, ...]) -> pl.Schema:
    return pl.Schema({name: DAILY_SCHEMA[name] for name in columns})


@lru_cache(maxsize=64)
def _no_rows(columns: tuple[str, ...]) -> Runs:
    return Runs.of(pl.DataFrame(schema=_schema(columns)))


_noted: ContextVar[list[str] | None] = ContextVar("_noted", default=None)


@contextlib.contextmanager
def noting_unrecorded(into: list[str]) -> Generator[None]:
    """Within it, `into` gets the keys of cells that are read and not recorded in the manifest as they are: a run is
    writing them, or was ended before it recorded them."""
    token = _noted.set(into)
    try:
        yield
    finally:
        _noted.reset(token)


_RETRIES = 20
_AT_ONCE = 40
_PROCESSORS = min(4, os.cpu_count() or 1)

_FEW_SYMBOLS = 8
"""Symbols up to which one thread reads their row groups as fast as several."""
_MANY_AHEAD = 8
"""Years of many symbols that are brought from afar before they are decoded: each may be tens of megabytes."""
_QUERY_BYTES = 8 * 2**20
"""Bytes of years' histories from which on they are decoded before more are read."""

_SHORT_DAYS = 45
"""Days up to which a range may be read from its cells alone."""
_OBJECT_COSTS = 4_096
"""Rows that are decoded in the time that asking for one more object takes."""
_SYMBOL_COSTS = 4_096
"""Rows that are decoded of a year's history for one symbol: a row group."""


def _at_once(store: ObjectStore, wanted: Sequence[str] | None) -> Executor:
    if store.remote:
        return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="years")
    if wanted is not None and len(wanted) <= _FEW_SYMBOLS:
        return Here()
    # Decoding takes the processors; and what several threads free of memory stays with each of them.
    return ThreadPoolExecutor(_PROCESSORS if wanted is None else 1, thread_name_prefix="years")


def read_daily(
    store: ObjectStore,
    exchange: str,
    start: date | None = None,
    end: date | None = None,
    *,
    symbols: Sequence[str] | None = None,
    as_of: datetime | None = None,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """As-traded rows of one exchange (DAILY_SCHEMA, by symbol and date): all symbols, or some; those that stand, or
    those that stood at `as_of`.

    `columns`: of DAILY_SCHEMA in its order, symbol and date among them; None: all. Raises ObjectDamaged,
    StoreUnavailable.
    """
    wanted, names = (None, frozenset[str]()) if symbols is None else _ordered(tuple(symbols))
    look = _Look(store, exchange, wanted, (start or date.min, end or date.max), names=names)
    if columns is not None and as_of is None:
        look = replace(look, columns=tuple(columns))
    rows = _of_few_cells(look)
    if rows is None:
        rows = _of_years(look)
    if look.unrecorded and (noted := _noted.get()) is not None:
        noted += look.unrecorded
    if as_of is not None:
        rows = _as_of(Ledger(store, exchange), rows, as_of, look)
        rows = rows if columns is None else rows.select(columns)
    return rows


@kept_of_many
def _ordered(names: tuple[str, ...]) -> tuple[Sequence[str], frozenset[str]]:
    """Names, sorted and each once, and the set of them."""
    # In the order that they come in: they mostly are sorted.
    return sorted(dict.fromkeys(names)), frozenset(names)


def _of_years(look: _Look) -> pl.DataFrame:
    store, exchange, wanted, span = look.store, look.exchange, look.wanted, look.span
    manifest = Manifest(store, DAILY)
    with _at_once(store, wanted) as pool:
        # What years there are is asked of the objects themselves: the manifest is only derived from them.
        of_cells = pool.submit(manifest.object_years, exchange)
        compacted = _compacted(store, exchange)
        found = of_cells.result() | compacted.keys()
        if not found:
            return look.nothing().frame()
        years = range(max(span[0].year, min(found)), min(span[1].year, max(found)) + 1)
        # The two of a year may be read in any order: a cell in which they differ is read as it is now.
        known = pool.submit(manifest.years, exchange, years)
        if wanted is not None:
            infos = [compacted.get(year) for year in years]
            few = len(wanted) <= _FEW_SYMBOLS
            ahead = (_AT_ONCE if few else _MANY_AHEAD) if store.remote else 1
            parts = made_ahead(pool, partial(_part, look), infos, ahead)
            return _of_parts(look, zip(years, parts, strict=True), known.result)
        histories = [pool.submit(_history, look, compacted.get(year)) for year in years]
        rows = pool.map(
            partial(_year, look),
            years,
            [history.result() for history in histories],
            known.result().values(),
        )
        return together([look.nothing(), *rows])


def _of_parts(
    look: _Look,
    parts: Iterable[tuple[int, Part | None]],
    known: Callable[[], Mapping[int, Mapping[str, Entry]]],
) -> pl.DataFrame:
    """The rows of some symbols, from the parts of years; `known` gives their cells by year.

    Years whose history holds all cells as they are come from one query, as many as are not too large together.
    """
    span = look.span
    found = [look.nothing()]
    same: list[Part] = []
    for year, part in parts:
        cells = known()[year]
        in_history: dict[str, str] = part.facts.get("cells", {}) if part is not None else {}
        newer = _newer(cells, in_history, span)
        held = sum(len(one.data) for one in same)
        if same and (newer or held > _QUERY_BYTES or (part is not None and part.columns != same[0].columns)):
            # Of several batches the column of symbols is made when they are together.
            found.append(replace(_rows(look, same), names=None))
            same = []
        if newer:
            history = _rows(look, [] if part is None else [part]), in_history
            found.append(_year(look, year, history, cells))
        elif part is not None:
            same.append(part)
    found.append(_rows(look, same))
    same.clear()
    rows = together(found)
    whole = rows.is_empty() or (span[0] == date.min and span[1] == date.max)
    return rows if whole else rows.filter(pl.col("date").is_between(*span))


def _rows(look: _Look, parts: Sequence[Part]) -> Runs:
    rows = decode_parts(parts, look.wanted or (), look.some)
    return look.nothing() if rows is None else Runs.of(rows).conformed(look.schema)


def _of_few_cells(look: _Look) -> pl.DataFrame | None:
    """The rows of a short range, from its cells alone; None where its years are to be read.

    So it is where that is quicker, and where a day is not as the manifest says: what is lost or damaged, the history
    may still have, and what the two say of each other is told apart there.
    """
    exchange, (first, last) = look.exchange, look.span
    days = (last - first).days + 1
    if not 0 < days <= _SHORT_DAYS:
        return None
    manifest = Manifest(look.store, DAILY)
    years = {year: manifest.year(exchange, year) for year in range(first.year, last.year + 1)}
    if not all(years.values()):
        return None
    cells: list[Entry] = []
    for day in (first + timedelta(days=n) for n in range(days)):
        entry = years[day.year].get(day.isoformat())
        if entry is not None and entry.version:
            cells.append(entry)
        elif entry is None and day.weekday() < 5:
            return None
    in_years = sum(entry.rows for entries in years.values() for entry in entries.values())
    if look.wanted is not None:
        in_years = min(in_years, len(look.wanted) * len(years) * _SYMBOL_COSTS)
    in_cells = sum(entry.rows for entry in cells)
    if in_cells + len(cells) * _OBJECT_COSTS > in_years + 2 * len(years) * _OBJECT_COSTS:
        return None
    try:
        frames = list(_cells(look, cells))
    except (ObjectDamaged, ObjectNotFound):
        return None
    if len(frames) == 1:
        return _conformed(look, frames[0])
    return look.frame(pl.concat([look.nothing().frame(), *frames]))


def _conformed(look: _Look, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of one cell, as `look.frame` has them; at no cost where they are as they should be."""
    names = rows["symbol"]
    ordered = (names.slice(1) > names.head(-1)).all()
    return rows if ordered and rows.schema == look.schema else look.frame(rows)


def read_cells(
    store: ObjectStore, exchange: str, year: int, cells: Mapping[str, Entry], rule: str
) -> pl.DataFrame:
    """The rows of some cells of a year (DAILY_SCHEMA, by symbol and date), by day and entry.

    What the year's history holds of them as they are is taken from there, in one read, if it was made by the same
    `rule` (`lineage.RULES`); others are read one by one. Raises ObjectDamaged (of a cell), ObjectNotFound,
    StoreUnavailable.
    """
    look = _Look(store, exchange, None, (date.min, date.max))
    rows, in_history = look.nothing().frame(), dict[str, str]()
    with contextlib.suppress(ObjectDamaged):
        key = object_key(HISTORY, exchange, f"{year:04d}")
        found = _history_object(look, ObjectInfo(key, 0, ""))
        if found is not None and found.facts.get("rule") == rule:
            rows, in_history = found.rows.frame(), found.facts.get("cells", {})
    same = [date.fromisoformat(p) for p, e in cells.items() if in_history.get(p) == e.content_sha256]
    kept = {p: e for p, e in cells.items() if e.version}
    history = Runs.of(rows.filter(pl.col("date").is_in(same))), in_history
    return together([_year(look, year, history, kept)])


def _as_of(ledger: Ledger, rows: pl.DataFrame, moment: datetime, look: _Look) -> pl.DataFrame:
    """What stood at a moment: what was replaced since is put back, what became known since is left out."""
    replaced = ledger.replaced_after(moment).filter(pl.col("date").is_between(*look.span))
    if look.wanted is not None:
        replaced = replaced.filter(pl.col("symbol").is_in(look.wanted))
    if not replaced.is_empty():
        kept = rows.join(replaced, on=KEYS, how="anti")
        rows = pl.concat([kept, replaced.select(list(DAILY_SCHEMA))]).sort(KEYS)
    return rows.filter(pl.col("fetched_at") <= moment)


def _compacted(store: ObjectStore, exchange: str) -> dict[int, ObjectInfo]:
    """The history objects of an exchange by year."""
    infos = store.list(partitions_prefix(HISTORY, exchange))
    return {int(year): info for info in infos if (year := partition_of(HISTORY, info.key)) is not None}


def _year(look: _Look, year: int, history: tuple[Runs, dict[str, str]], entries: Mapping[str, Entry]) -> Runs:
    """A year's rows between two days: those of the history object, with every cell that is not in it as it stands."""
    span = look.span
    rows, in_history = history[0].conformed(look.schema), history[1]
    if newer := _newer(entries, in_history, span):
        frame = rows.frame()
        if stale := [date.fromisoformat(p) for p in newer if p in in_history]:
            frame = frame.filter(~pl.col("date").is_in(stale))
        rows = Runs.of(look.frame(pl.concat([frame, *_cells(look, [entries[day] for day in newer])])))
    return rows if span[0] <= date(year, 1, 1) and date(year, 12, 31) <= span[1] else rows.between(*span)


def _newer(entries: Mapping[str, Entry], in_history: Mapping[str, str], span: tuple[date, date]) -> list[str]:
    """The days, in order, whose cell is not in the history as it stands."""
    cells = {p: e.content_sha256 for p, e in entries.items() if e.version}
    if cells == in_history:
        return []
    first, last = (day.isoformat() for day in span)
    return sorted(p for p, content in cells.items() if in_history.get(p) != content and first <= p <= last)


def _cells(look: _Look, entries: Sequence[Entry]) -> Iterator[pl.DataFrame]:
    """The rows of cells as they stand, by day."""
    store = look.store
    keys = [object_key(DAILY, look.exchange, entry.partition) for entry in entries]
    for entry, key, blob in zip(entries, keys, _blobs(store, keys), strict=True):
        day = entry.partition
        cell = decode(blob.data, store.uri(key))
        if (cell["date"] != date.fromisoformat(day)).any():
            raise ObjectDamaged(f"{store.uri(key)}: holds rows of another day; remove it and backfill {day}")
        # Of a store that was copied versions differ and contents do not.
        if blob.info.version != entry.version and (
            read_facts(blob.data, store.uri(key)).get("content_sha256") != entry.content_sha256
        ):
            look.unrecorded.append(key)
        mine = look.mine(cell)
        yield mine if look.some is None else mine.select(look.columns)


def _history(look: _Look, info: ObjectInfo | None) -> tuple[Runs, dict[str, str]]:
    """A year's compacted rows and the content of each cell in them; nothing where there is no such object."""
    found = None if info is None else _history_object(look, info)
    return (look.nothing(), {}) if found is None else (found.rows, found.facts.get("cells", {}))


def _part(look: _Look, info: ObjectInfo | None) -> Part | None:
    """The part of a year's history that holds some symbols; None where there is no such object."""
    if info is None:
        return None
    store, wanted, columns = look.store, look.wanted or (), look.some
    return _unchanged(store, info, lambda listed: read_part(store, info.key, wanted, columns, listed))


def _history_object(look: _Look, info: ObjectInfo) -> Found | None:
    """A year's compacted rows and the facts in their footer; None where there is no such object."""
    store = look.store

    def read(_: ObjectInfo | None) -> Found | None:
        rows, facts = decode_with_facts(store.get(info.key).data, store.uri(info.key))
        return Found(Runs.of(rows.select(look.columns)), facts)

    return _unchanged(store, info, read)


def _unchanged(
    store: ObjectStore, info: ObjectInfo, read: Callable[[ObjectInfo | None], P | None]
) -> P | None:
    """What `read` makes of a year's history, all of it of one version."""
    key = info.key
    listed: ObjectInfo | None = info
    for _ in range(_RETRIES):
        try:
            found = read(listed)
            return None if found is None else _of_its_year(found, store, key)
        except ObjectNotFound:
            return None
        except ObjectChanged:
            # What the listing told is out of date.
            listed = None
    raise ObjectChanged(f"{store.uri(key)}: replaced {_RETRIES} times while it was read; try again")


def _of_its_year(found: P, store: ObjectStore, key: str) -> P:
    partition = partition_of(HISTORY, key)
    if found.facts.get("partition", partition) != partition:
        raise ObjectDamaged(
            f"{store.uri(key)}: holds the rows of {found.facts['partition']}; remove it, the next run makes it anew"
        )
    return found


def read_all(store: ObjectStore, keys: Sequence[str]) -> Iterable[pl.DataFrame]:
    """Whole tables, several read at once, in the order of `keys`. Raises ObjectNotFound, ObjectDamaged."""
    for key, blob in zip(keys, _blobs(store, keys), strict=True):
        yield decode(blob.data, store.uri(key))


def _blobs(store: ObjectStore, keys: Sequence[str]) -> Iterator[Blob]:
    for key, blob in get_many(store, keys):
        if isinstance(blob, ObjectNotFound):
            raise ObjectNotFound(
                f"{store.uri(key)}: recorded in the manifest, and gone; backfill its partition, or have "
                "`quant-assets rebuild-manifest` forget it"
            ) from blob
        if isinstance(blob, Exception):
            raise blob
        yield blob
