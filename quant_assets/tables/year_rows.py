"""A year's daily rows of an exchange for those who go through them once: only the columns they need, part by part.

The cells are the truth; what the year's history holds of them as they are is taken from there.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TypeVar

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, KEYS
from quant_assets.market.flags import FLAGS, NONE
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound, ObjectStore
from quant_assets.tables.ahead import made_ahead
from quant_assets.tables.daily import read_all
from quant_assets.tables.layout import DAILY, HISTORY, object_key
from quant_assets.tables.lineage import RULES
from quant_assets.tables.manifest import Entry
from quant_assets.tables.parquet import read_facts

T = TypeVar("T")
U = TypeVar("U")

_AT_ONCE = 2
"""Parts that are worked on at once: polars reads with all threads there are."""


def year_rows(
    store: ObjectStore,
    exchange: str,
    year: int,
    cells: Mapping[str, Entry],
    columns: Sequence[str],
    *,
    at_once: int | None = None,
) -> Iterator[pl.DataFrame]:
    """The rows of some cells of a year (by day; each has an object), sorted by symbol and date.

    Args:
        columns: of `DAILY_SCHEMA`, symbol and date among them.
        at_once: about how many rows a part holds; no symbol's rows lie in two of them. None: all in one part.

    Raises ObjectDamaged (of a cell), ObjectNotFound, StoreUnavailable.
    """
    data, in_history = _history(store, exchange, year)
    others = in_history.keys() - {day for day, e in cells.items() if in_history.get(day) == e.content_sha256}
    newer = sorted(day for day, entry in cells.items() if in_history.get(day) != entry.content_sha256)
    if data and not others and not newer:
        yield from _parts(data, columns, at_once)
        return
    frames = [cell_rows(store, exchange, newer, columns)]
    if len(others) < len(in_history):
        gone = [date.fromisoformat(day) for day in others]
        for rows in _parts(data, columns, None):
            frames.append(rows.filter(~pl.col("date").is_in(gone)))
    rows = pl.concat(frames).sort(KEYS)
    yield from _whole_symbols(rows.slice, rows.height, at_once or rows.height)


def history_rows(
    store: ObjectStore, exchange: str, year: int, columns: Sequence[str], *, at_once: int
) -> tuple[dict[str, str], Iterator[pl.DataFrame]]:
    """What a year's history holds: the content of each of its cells, by day, and its rows as `year_rows` has them.

    Nothing where there is none that can be used. Raises StoreUnavailable.
    """
    data, in_history = _history(store, exchange, year)
    return in_history, _parts(data, columns, at_once) if data else iter(())


def cell_rows(store: ObjectStore, exchange: str, days: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """The rows of some days' cells, sorted by symbol and date. Raises as `year_rows` does."""
    keys = [object_key(DAILY, exchange, day) for day in days]
    frames = [pl.DataFrame(schema={name: DAILY_SCHEMA[name] for name in columns})]
    for day, key, cell in zip(days, keys, read_all(store, keys), strict=True):
        if (cell["date"] != date.fromisoformat(day)).any():
            raise ObjectDamaged(f"{store.uri(key)}: holds rows of another day; remove it and backfill {day}")
        frames.append(cell.select(columns))
    return pl.concat(frames).sort(KEYS)


def side_by_side(function: Callable[[T], U], parts: Iterable[T]) -> Iterator[U]:
    """What `function` makes of each part, in order: two at once, while the next part is read."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="parts") as pool:
        yield from made_ahead(pool, function, parts, _AT_ONCE)


def _history(store: ObjectStore, exchange: str, year: int) -> tuple[bytes, dict[str, str]]:
    """The bytes of a year's history and the content of each cell in it; nothing where it cannot be used."""
    key = object_key(HISTORY, exchange, f"{year:04d}")
    with contextlib.suppress(ObjectDamaged, ObjectNotFound):
        data = store.get(key).data
        facts = read_facts(data, store.uri(key))
        if facts.get("rule") == RULES[HISTORY] and facts.get("partition", f"{year:04d}") == f"{year:04d}":
            return data, facts.get("cells", {})
    return b"", {}


def _parts(data: bytes, columns: Sequence[str], at_once: int | None) -> Iterator[pl.DataFrame]:
    """Verified Parquet bytes of rows sorted by symbol and date, as the parts of `year_rows`."""
    source = io.BytesIO(data)
    there = pl.read_parquet_schema(source)
    wanted = [name for name in columns if name in there]
    if at_once is None:
        rows = pl.read_parquet(source, columns=wanted, use_statistics=False)
        yield _with_columns(rows, columns)
        return
    scan = pl.scan_parquet(source, use_statistics=False)

    def rows_at(at: int, height: int) -> pl.DataFrame:
        return _with_columns(scan.select(wanted).slice(at, height).collect(), columns)

    yield from _whole_symbols(rows_at, scan.select(pl.len()).collect().item(), at_once)


def _whole_symbols(
    rows_at: Callable[[int, int], pl.DataFrame], total: int, at_once: int
) -> Iterator[pl.DataFrame]:
    """`total` rows sorted by symbol, given by place and height, in parts of about `at_once` that cut no symbol."""
    at, height = 0, max(1, at_once)
    while at < total:
        part = rows_at(at, height)
        if part.height < total - at:
            # The last symbol may go on.
            part = part.head(part["symbol"].search_sorted(part["symbol"].tail(1), side="left").item())
        if part.is_empty():
            height *= 2
            continue
        yield part
        at += part.height


def _with_columns(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """`rows` with all `columns` in their order: what an earlier release wrote has no flags."""
    if FLAGS in columns and FLAGS not in rows.columns:
        rows = rows.with_columns(pl.lit(NONE).alias(FLAGS))
    return rows.select(columns)
