"""Daily rows as they are stored: the yearly history, overlaid by every cell that is newer than it.

So reads are right whether or not a compaction has run, and with manifest and history lost: the cells are the truth.
A reader sees each object as it was or as it is, never a mixture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from functools import partial
from typing import Any

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
from quant_assets.tables.parquet import decode, decode_with_facts, read_symbols
from quant_assets.tables.restatements import Ledger

_RETRIES = 20
_AT_ONCE = 40


def read_daily(
    store: ObjectStore,
    exchange: str,
    start: date | None = None,
    end: date | None = None,
    *,
    symbols: Sequence[str] | None = None,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """As-traded rows of one exchange (DAILY_SCHEMA, by symbol and date): all symbols, or some; those that stand, or
    those that stood at `as_of`.

    Raises ObjectDamaged, StoreUnavailable.
    """
    manifest = Manifest(store, DAILY)
    first, last = start or date.min, end or date.max
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="years") as pool:
        # What years there are is asked of the objects themselves: the manifest is only derived from them.
        of_cells = pool.submit(manifest.object_years, exchange)
        compacted = _compacted(store, exchange)
        found = of_cells.result() | compacted.keys()
        if not found:
            return empty_daily()
        years = range(max(first.year, min(found)), min(last.year, max(found)) + 1)
        if not years:
            return empty_daily()
        # The two of a year may be read in any order: a cell in which they differ is read as it is now.
        entries = [pool.submit(_entries, manifest, exchange, year, (first, last)) for year in years]
        histories = [pool.submit(_history, store, compacted.get(year), symbols) for year in years]
        overlay = pool.map(
            partial(_year, store, exchange, symbols),
            [history.result() for history in histories],
            [known.result() for known in entries],
        )
        rows = conform_daily(pl.concat(overlay))
    if as_of is not None:
        rows = _as_of(Ledger(store, exchange), rows, as_of, symbols)
    return rows.filter(pl.col("date").is_between(first, last))


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
        if found is not None and found[1].get("rule") == rule:
            rows, in_history = found[0], found[1].get("cells", {})
    same = [date.fromisoformat(p) for p, e in cells.items() if in_history.get(p) == e.content_sha256]
    kept = {p: e for p, e in cells.items() if e.version}
    return conform_daily(
        _year(store, exchange, None, (rows.filter(pl.col("date").is_in(same)), in_history), kept)
    )


def _entries(manifest: Manifest, exchange: str, year: int, span: tuple[date, date]) -> dict[str, Entry]:
    first, last = (day.isoformat() for day in span)
    return {p: e for p, e in manifest.known(exchange, year).items() if first <= p <= last}


def _as_of(
    ledger: Ledger, rows: pl.DataFrame, moment: datetime, symbols: Sequence[str] | None
) -> pl.DataFrame:
    """What stood at a moment: what was replaced since is put back, what became known since is left out."""
    replaced = ledger.replaced_after(moment)
    if symbols is not None:
        replaced = replaced.filter(pl.col("symbol").is_in(symbols))
    before = pl.concat([rows.join(replaced, on=KEYS, how="anti"), replaced.select(list(DAILY_SCHEMA))])
    return before.filter(pl.col("fetched_at") <= moment).sort(KEYS)


def _compacted(store: ObjectStore, exchange: str) -> dict[int, ObjectInfo]:
    """The history objects of an exchange by year."""
    infos = store.list(partitions_prefix(HISTORY, exchange))
    return {int(year): info for info in infos if (year := partition_of(HISTORY, info.key)) is not None}


def _year(
    store: ObjectStore,
    exchange: str,
    symbols: Sequence[str] | None,
    history: tuple[pl.DataFrame, dict[str, str]],
    entries: Mapping[str, Entry],
) -> pl.DataFrame:
    """A year's rows: those of the history object, with every cell that is not in it as it stands now."""
    rows, in_history = history
    cells = {p: e.content_sha256 for p, e in entries.items() if e.version}
    newer = sorted(p for p, content in cells.items() if in_history.get(p) != content)
    if not newer:
        return rows
    stale = [date.fromisoformat(p) for p in newer if p in in_history]
    frames = [rows.filter(~pl.col("date").is_in(stale))] if stale else [rows]
    keys = [object_key(DAILY, exchange, p) for p in newer]
    for partition, key, cell in zip(newer, keys, read_all(store, keys), strict=True):
        if not cell.filter(pl.col("date") != date.fromisoformat(partition)).is_empty():
            raise ObjectDamaged(
                f"{store.uri(key)}: holds rows of another day; remove it and backfill {partition}"
            )
        frames.append(cell if symbols is None else cell.filter(pl.col("symbol").is_in(symbols)))
    return pl.concat(frames).sort(KEYS)


def _history(
    store: ObjectStore, info: ObjectInfo | None, symbols: Sequence[str] | None
) -> tuple[pl.DataFrame, dict[str, str]]:
    """A year's compacted rows and the content of each cell in them; nothing where there is no such object."""
    found = None if info is None else _history_object(store, info, symbols)
    return (empty_daily(), {}) if found is None else (found[0], found[1].get("cells", {}))


def _history_object(
    store: ObjectStore, info: ObjectInfo, symbols: Sequence[str] | None
) -> tuple[pl.DataFrame, dict[str, Any]] | None:
    """A year's compacted rows and the facts in their footer; None where there is no such object."""
    key = info.key
    listed: ObjectInfo | None = info
    for _ in range(_RETRIES):
        try:
            if symbols is None:
                blob = store.get(key)
                return _of_its_year(decode_with_facts(blob.data, store.uri(key)), store, key)
            found = read_symbols(store, key, symbols, listed)
            return None if found is None else _of_its_year(found, store, key)
        except ObjectNotFound:
            return None
        except ObjectChanged:
            # What the listing told is out of date.
            listed = None
    raise ObjectChanged(f"{store.uri(key)}: replaced {_RETRIES} times while it was read; try again")


def _of_its_year(
    found: tuple[pl.DataFrame, dict[str, Any]], store: ObjectStore, key: str
) -> tuple[pl.DataFrame, dict[str, Any]]:
    _, facts = found
    partition = partition_of(HISTORY, key)
    if facts.get("partition", partition) != partition:
        raise ObjectDamaged(
            f"{store.uri(key)}: holds the rows of {facts['partition']}; remove it, the next run makes it anew"
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
