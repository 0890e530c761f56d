"""Daily rows as they are stored: the yearly history, overlaid by every cell that is newer than it.

So reads are right whether or not a compaction has run, and with manifest and history lost: the cells are the truth.
A reader sees each object as it was or as it is, never a mixture.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import date, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, TypeVar

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, conform_daily, empty_daily
from quant_assets.resources.object_store import (
    ObjectChanged,
    ObjectDamaged,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    get_many,
)
from quant_assets.tables.layout import DAILY, HISTORY, object_key, partition_of, partitions_prefix
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import decode, decode_with_facts
from quant_assets.tables.ranged import Found, Part, decode_parts, read_part, read_runs
from quant_assets.tables.restatements import Ledger
from quant_assets.tables.runs import Form, Runs, together

T = TypeVar("T")
P = TypeVar("P", Found, Part)

_FORM = Form(DAILY_SCHEMA)


@lru_cache(maxsize=1)
def _nothing() -> Runs:
    """No rows. Not made at import: a process that has made polars start its threads cannot be forked any more."""
    return Runs.of(empty_daily())


_RETRIES = 20
_AT_ONCE = 40
_PROCESSORS = min(4, os.cpu_count() or 1)

_FEW_SYMBOLS = 8
"""Symbols up to which the row groups that hold them are decoded for all years at once."""

_SHORT_DAYS = 45
"""Days up to which a range may be read from its cells alone."""
_OBJECT_COSTS = 4_096
"""Rows that are decoded in the time that asking for one more object takes."""
_SYMBOL_COSTS = 4_096
"""Rows that are decoded of a year's history for one symbol: a row group."""


class _Here(Executor):
    """Does at once, in this thread, what it is given: on a local disk more threads only get in each other's way."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future = Future[T]()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (raised where the result is asked for, as by any pool)
            future.set_exception(error)
        return future


def _at_once(store: ObjectStore, wanted: Sequence[str] | None) -> Executor:
    if store.remote:
        return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="years")
    few = wanted is not None and len(wanted) <= _FEW_SYMBOLS
    return _Here() if few else ThreadPoolExecutor(_PROCESSORS, thread_name_prefix="years")


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

    `columns`: of DAILY_SCHEMA in its order, symbol and date among them (not with `as_of`); None: all.

    Raises ObjectDamaged, StoreUnavailable.
    """
    span = start or date.min, end or date.max
    wanted = None if symbols is None else sorted(set(symbols))
    rows = _of_few_cells(store, exchange, wanted, span)
    if rows is None:
        rows = _of_years(store, exchange, wanted, span)
    if as_of is not None:
        rows = _as_of(Ledger(store, exchange), rows, as_of, span, wanted)
    return rows if columns is None else rows.select(columns)


def _of_years(
    store: ObjectStore, exchange: str, wanted: Sequence[str] | None, span: tuple[date, date]
) -> pl.DataFrame:
    manifest = Manifest(store, DAILY)
    with _at_once(store, wanted) as pool:
        # What years there are is asked of the objects themselves: the manifest is only derived from them.
        of_cells = pool.submit(manifest.object_years, exchange)
        compacted = _compacted(store, exchange)
        found = of_cells.result() | compacted.keys()
        if not found:
            return empty_daily()
        years = range(max(span[0].year, min(found)), min(span[1].year, max(found)) + 1)
        # The two of a year may be read in any order: a cell in which they differ is read as it is now.
        known = pool.submit(manifest.years, exchange, years)
        if wanted is not None and len(wanted) <= _FEW_SYMBOLS:
            parts = [pool.submit(_part, store, compacted.get(year), wanted) for year in years]
            return _of_parts(store, exchange, wanted, span, [part.result() for part in parts], known.result())
        histories = [pool.submit(_history, store, compacted.get(year), wanted) for year in years]
        rows = pool.map(
            partial(_year, store, exchange, wanted, span),
            years,
            [history.result() for history in histories],
            known.result().values(),
        )
        return together([_nothing(), *rows])


def _of_parts(
    store: ObjectStore,
    exchange: str,
    wanted: Sequence[str],
    span: tuple[date, date],
    parts: Sequence[Part | None],
    entries: Mapping[int, Mapping[str, Entry]],
) -> pl.DataFrame:
    """The rows of few symbols: years whose history holds all cells as they are come from one query."""
    found = [_nothing()]
    same: list[Part] = []
    for part, (year, cells) in zip(parts, entries.items(), strict=True):
        in_history: dict[str, str] = part.facts.get("cells", {}) if part is not None else {}
        newer = _newer(cells, in_history, span)
        if same and (newer or (part is not None and part.columns != same[0].columns)):
            found.append(_rows(same, wanted))
            same = []
        if newer:
            history = _rows([] if part is None else [part], wanted), in_history
            found.append(_year(store, exchange, wanted, span, year, history, cells))
        elif part is not None:
            same.append(part)
    rows = together([*found, _rows(same, wanted)])
    whole = rows.is_empty() or (span[0] == date.min and span[1] == date.max)
    return rows if whole else rows.filter(pl.col("date").is_between(*span))


def _rows(parts: Sequence[Part], wanted: Sequence[str]) -> Runs:
    rows = decode_parts(parts, wanted)
    return _nothing() if rows is None else Runs.of(rows).conformed(_FORM)


def _of_few_cells(
    store: ObjectStore, exchange: str, wanted: Sequence[str] | None, span: tuple[date, date]
) -> pl.DataFrame | None:
    """The rows of a short range, from its cells alone; None where its years are to be read.

    So it is where that is quicker, and where a day is not as the manifest says: what is lost or damaged, the history
    may still have, and what the two say of each other is told apart there.
    """
    first, last = span
    days = (last - first).days + 1
    if not 0 < days <= _SHORT_DAYS:
        return None
    manifest = Manifest(store, DAILY)
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
    if wanted is not None:
        in_years = min(in_years, len(wanted) * len(years) * _SYMBOL_COSTS)
    in_cells = sum(entry.rows for entry in cells)
    if in_cells + len(cells) * _OBJECT_COSTS > in_years + 2 * len(years) * _OBJECT_COSTS:
        return None
    try:
        frames = list(_cells(store, exchange, [entry.partition for entry in cells], wanted))
    except (ObjectDamaged, ObjectNotFound):
        return None
    return _conformed(pl.concat([empty_daily(), *frames]) if len(frames) != 1 else frames[0])


def _conformed(rows: pl.DataFrame) -> pl.DataFrame:
    """As `conform_daily`, at no cost for the rows of one day that are as they should be."""
    names, days = rows["symbol"], rows["date"]
    one_day = days.n_unique() == 1 and (names.slice(1) > names.slice(0, names.len() - 1)).all()
    return rows if one_day and rows.schema == DAILY_SCHEMA else conform_daily(rows)


def read_cells(
    store: ObjectStore, exchange: str, year: int, cells: Mapping[str, Entry], rule: str
) -> pl.DataFrame:
    """The rows of some cells of a year (DAILY_SCHEMA, by symbol and date), by day and entry.

    What the year's history holds of them as they are is taken from there, in one read, if it was made by the same
    `rule` (`lineage.RULES`); others are read one by one. Raises ObjectDamaged (of a cell), ObjectNotFound,
    StoreUnavailable.
    """
    rows, in_history = empty_daily(), dict[str, str]()
    with contextlib.suppress(ObjectDamaged):
        key = object_key(HISTORY, exchange, f"{year:04d}")
        found = _history_object(store, ObjectInfo(key, 0, ""), None)
        if found is not None and found.facts.get("rule") == rule:
            rows, in_history = found.rows.frame(), found.facts.get("cells", {})
    same = [date.fromisoformat(p) for p, e in cells.items() if in_history.get(p) == e.content_sha256]
    kept = {p: e for p, e in cells.items() if e.version}
    history = Runs.of(rows.filter(pl.col("date").is_in(same))), in_history
    return together([_year(store, exchange, None, (date.min, date.max), year, history, kept)])


def _as_of(
    ledger: Ledger,
    rows: pl.DataFrame,
    moment: datetime,
    span: tuple[date, date],
    symbols: Sequence[str] | None,
) -> pl.DataFrame:
    """What stood at a moment: what was replaced since is put back, what became known since is left out."""
    replaced = ledger.replaced_after(moment).filter(pl.col("date").is_between(*span))
    if symbols is not None:
        replaced = replaced.filter(pl.col("symbol").is_in(symbols))
    if not replaced.is_empty():
        kept = rows.join(replaced, on=KEYS, how="anti")
        rows = pl.concat([kept, replaced.select(list(DAILY_SCHEMA))]).sort(KEYS)
    return rows.filter(pl.col("fetched_at") <= moment)


def _compacted(store: ObjectStore, exchange: str) -> dict[int, ObjectInfo]:
    """The history objects of an exchange by year."""
    infos = store.list(partitions_prefix(HISTORY, exchange))
    return {int(year): info for info in infos if (year := partition_of(HISTORY, info.key)) is not None}


def _year(
    store: ObjectStore,
    exchange: str,
    wanted: Sequence[str] | None,
    span: tuple[date, date],
    year: int,
    history: tuple[Runs, dict[str, str]],
    entries: Mapping[str, Entry],
) -> Runs:
    """A year's rows between two days: those of the history object, with every cell that is not in it as it stands."""
    rows, in_history = history[0].conformed(_FORM), history[1]
    cells = {p: e.content_sha256 for p, e in entries.items() if e.version}
    if cells != in_history:
        first, last = (day.isoformat() for day in span)
        newer = sorted(
            p for p, content in cells.items() if in_history.get(p) != content and first <= p <= last
        )
    else:
        newer = []
    if newer:
        frame = rows.frame()
        if stale := [date.fromisoformat(p) for p in newer if p in in_history]:
            frame = frame.filter(~pl.col("date").is_in(stale))
        rows = Runs.of(conform_daily(pl.concat([frame, *_cells(store, exchange, newer, wanted)])))
    return rows if span[0] <= date(year, 1, 1) and date(year, 12, 31) <= span[1] else rows.between(*span)


def _newer(entries: Mapping[str, Entry], in_history: Mapping[str, str], span: tuple[date, date]) -> list[str]:
    """The days, in order, whose cell is not in the history as it stands."""
    cells = {p: e.content_sha256 for p, e in entries.items() if e.version}
    if cells == in_history:
        return []
    first, last = (day.isoformat() for day in span)
    return sorted(p for p, content in cells.items() if in_history.get(p) != content and first <= p <= last)


def _cells(
    store: ObjectStore, exchange: str, days: Sequence[str], wanted: Sequence[str] | None
) -> Iterator[pl.DataFrame]:
    """The rows of cells as they stand, by day."""
    keys = [object_key(DAILY, exchange, day) for day in days]
    for day, key, cell in zip(days, keys, read_all(store, keys), strict=True):
        if (cell["date"] != date.fromisoformat(day)).any():
            raise ObjectDamaged(f"{store.uri(key)}: holds rows of another day; remove it and backfill {day}")
        yield cell if wanted is None else cell.filter(pl.col("symbol").is_in(wanted))


def _history(
    store: ObjectStore, info: ObjectInfo | None, wanted: Sequence[str] | None
) -> tuple[Runs, dict[str, str]]:
    """A year's compacted rows and the content of each cell in them; nothing where there is no such object."""
    found = None if info is None else _history_object(store, info, wanted)
    return (_nothing(), {}) if found is None else (found.rows, found.facts.get("cells", {}))


def _part(store: ObjectStore, info: ObjectInfo | None, wanted: Sequence[str]) -> Part | None:
    """The part of a year's history that holds some symbols; None where there is no such object."""
    if info is None:
        return None
    return _unchanged(store, info, lambda listed: read_part(store, info.key, wanted, listed))


def _history_object(store: ObjectStore, info: ObjectInfo, wanted: Sequence[str] | None) -> Found | None:
    """A year's compacted rows and the facts in their footer; None where there is no such object."""

    def read(listed: ObjectInfo | None) -> Found | None:
        if wanted is not None:
            return read_runs(store, info.key, wanted, listed)
        rows, facts = decode_with_facts(store.get(info.key).data, store.uri(info.key))
        return Found(Runs.of(rows), facts)

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
    for key, blob in get_many(store, keys):
        if isinstance(blob, ObjectNotFound):
            raise ObjectNotFound(
                f"{store.uri(key)}: recorded in the manifest, and gone; backfill its partition, or have "
                "`quant-assets rebuild-manifest` forget it"
            ) from blob
        if isinstance(blob, Exception):
            raise blob
        yield decode(blob.data, store.uri(key))
