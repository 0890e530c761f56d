"""Daily rows as they are stored: the yearly history, overlaid by every cell that is newer than it.

So reads are right whether or not a compaction has run. A reader sees each object as it was or as it is, never a
mixture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from functools import partial

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, conform_daily, empty_daily
from quant_assets.resources.object_store import (
    ObjectChanged,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    get_many,
)
from quant_assets.tables.layout import DAILY, HISTORY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import decode, read_facts, read_symbols
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
        # A manifest that was lost must not make its years look empty: the history tells of them as well.
        places = (f"manifest/{DAILY}/exchange={exchange}/", f"{HISTORY}/exchange={exchange}/")
        recorded, compacted = pool.map(partial(_by_year, store), places)
        years = [year for year in sorted({*recorded, *compacted}) if first.year <= year <= last.year]
        if not years:
            return empty_daily()
        # The two of a year may be read in any order: a cell in which they differ is read as it stands.
        entries = [pool.submit(_entries, manifest, exchange, year) for year in years]
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


def _as_of(
    ledger: Ledger, rows: pl.DataFrame, moment: datetime, symbols: Sequence[str] | None
) -> pl.DataFrame:
    """What stood at a moment: what was replaced since is put back, what became known since is left out."""
    replaced = ledger.replaced_after(moment)
    if symbols is not None:
        replaced = replaced.filter(pl.col("symbol").is_in(symbols))
    before = pl.concat([rows.join(replaced, on=KEYS, how="anti"), replaced.select(list(DAILY_SCHEMA))])
    return before.filter(pl.col("fetched_at") <= moment).sort(KEYS)


def _by_year(store: ObjectStore, place: str) -> dict[int, ObjectInfo]:
    """The yearly objects below a place."""
    return {int(info.key.rpartition("year=")[2][:4]): info for info in store.list(place)}


def _entries(manifest: Manifest, exchange: str, year: int) -> dict[str, Entry]:
    return manifest.year(exchange, year) or manifest.refresh(exchange, year, record=False)


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
    for cell in read_all(store, [object_key(DAILY, exchange, p) for p in newer]):
        frames.append(cell if symbols is None else cell.filter(pl.col("symbol").is_in(symbols)))
    return pl.concat(frames).sort(KEYS)


def _history(
    store: ObjectStore, info: ObjectInfo | None, symbols: Sequence[str] | None
) -> tuple[pl.DataFrame, dict[str, str]]:
    """A year's compacted rows and the content of each cell in them; nothing where there is no such object."""
    if info is None:
        return empty_daily(), {}
    key = info.key
    listed: ObjectInfo | None = info
    for _ in range(_RETRIES):
        try:
            if symbols is None:
                blob = store.get(key)
                rows = decode(blob.data, store.uri(key))
                return rows, read_facts(blob.data, store.uri(key)).get("cells", {})
            found = read_symbols(store, key, symbols, listed)
            return (empty_daily(), {}) if found is None else (found[0], found[1].get("cells", {}))
        except ObjectNotFound:
            return empty_daily(), {}
        except ObjectChanged:
            # What the listing told is out of date.
            listed = None
    raise ObjectChanged(f"{store.uri(key)}: replaced {_RETRIES} times while it was read; try again")


def read_all(store: ObjectStore, keys: Sequence[str]) -> Iterable[pl.DataFrame]:
    """Whole tables, several read at once, in the order of `keys`. Raises ObjectNotFound, ObjectDamaged."""
    for key, blob in get_many(store, keys):
        if isinstance(blob, Exception):
            raise blob
        yield decode(blob.data, store.uri(key))
