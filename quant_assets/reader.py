"""What users import to read the tables: `from quant_assets import prices, weekly, universe, profiles`.

Reads come from the yearly history, overlaid by every daily cell that is newer than it, so they are right whether
or not a compaction has run. A reader sees each object as it was or as it is, never a mixture.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import polars as pl

from quant_assets.market.bars import KEYS, conform_daily, empty_daily
from quant_assets.market.corporate_actions import Adjust, Reinvest, adjust
from quant_assets.market.coverage import absent_days
from resources.dagster_resources import open_store
from resources.manifest import Entry, Manifest
from resources.object_store import ObjectChanged, ObjectInfo, ObjectNotFound, ObjectStore, get_many
from resources.settings import load_settings
from resources.tables import (
    CATALOG,
    DAILY,
    HISTORY,
    PROFILES,
    WEEKLY,
    decode,
    object_key,
    read_facts,
    read_symbols,
    read_table,
)

_RETRIES = 20
_AT_ONCE = 40

Store = ObjectStore | str | os.PathLike[str] | None


def prices(
    symbols: str | Iterable[str],
    start: date | str | None = None,
    end: date | str | None = None,
    adjust: Adjust = "none",
    *,
    reinvest: Reinvest = "prev_close",
    store: Store = None,
) -> pl.LazyFrame:
    """Daily bars of some symbols.

    Args:
        symbols: Yahoo's symbols, e.g. "AAPL" or ["BHP.AX", "CBA.AX"].
        start, end: first and last session wanted (inclusive; a date or YYYY-MM-DD); None: as far as there is.
        adjust: "none" as traded; "split" on the share basis of each symbol's last stored session; "total_return"
            also with dividends, by Yahoo's factor `1 − D/C_prev`, or by `1/(1 + D/C_ex)` with
            `reinvest="ex_close"`. The formulas stand in `quant_assets.market.corporate_actions`.
        store: where the tables are: a folder or an opened store; None: as the settings say.

    Returns:
        symbol, date, open, high, low, close, volume, dividend, split_ratio, currency, fetched_at (UTC), sorted by
        (symbol, date). `.collect()` gives a polars frame, `.collect().to_pandas()` a pandas one.

    Raises:
        ValueError: an unknown symbol (no catalog lists it), or an unknown way to adjust.
        ObjectDamaged, StoreUnavailable: naming the object.
    """
    home = _open(store)
    wanted = [symbols] if isinstance(symbols, str) else list(dict.fromkeys(symbols))
    first, last = _day(start), _day(end)
    by_exchange = _exchanges_of(home, wanted)
    # Adjusting needs the actions after `end` as well, so the range is cut last.
    frames = [
        read_daily(home, exchange, first, last if adjust == "none" else None, symbols=of_exchange)
        for exchange, of_exchange in by_exchange.items()
    ]
    if adjust != "none":
        for exchange in by_exchange:
            _warn_of_absent_days(home, exchange, first)
    rows = _adjusted(pl.concat(frames) if frames else empty_daily(), adjust, reinvest)
    return rows.filter(pl.col("date") <= last) if last else rows


def _warn_of_absent_days(store: ObjectStore, exchange: str, first: date | None) -> None:
    """An action on a day that was never fetched is not known here, and prices before it come out wrong."""
    absent = absent_days(entry.partition for entry in Manifest(store, DAILY).all(exchange))
    absent = [day for day in absent if first is None or day >= first]
    if absent:
        warnings.warn(
            f"{len(absent)} weekday(s) of {exchange} have no cell, the first {absent[0]}: a split or dividend on one "
            f"of them is not applied (quant-assets backfill --exchange {exchange} --start {absent[0]})",
            stacklevel=3,
        )


def _adjusted(rows: pl.DataFrame, how: Adjust, reinvest: Reinvest) -> pl.LazyFrame:
    return adjust(rows.lazy(), how, reinvest=reinvest)


def weekly(
    symbols: str | Iterable[str],
    start: date | str | None = None,
    end: date | str | None = None,
    *,
    store: Store = None,
) -> pl.LazyFrame:
    """Weekly bars of some symbols (columns of `quant_assets.market.weekly.WEEKLY_SCHEMA`), by (symbol, week).

    `start` and `end` bound the weeks' Mondays. Raises as `prices` does.
    """
    home = _open(store)
    wanted = [symbols] if isinstance(symbols, str) else list(dict.fromkeys(symbols))
    first, last = _day(start) or date.min, _day(end) or date.max
    frames: list[pl.DataFrame] = []
    for exchange, of_exchange in _exchanges_of(home, wanted).items():
        weeks = [
            e.partition
            for e in Manifest(home, WEEKLY).all(exchange)
            if e.version and first.isoformat() <= e.partition <= last.isoformat()
        ]
        for frame in _read_all(home, [object_key(WEEKLY, exchange, week) for week in weeks]):
            frames.append(frame.filter(pl.col("symbol").is_in(of_exchange)))
    if not frames:
        from quant_assets.market.weekly import WEEKLY_SCHEMA

        return pl.LazyFrame(schema=WEEKLY_SCHEMA)
    return pl.concat(frames).lazy().sort("symbol", "week")


def universe(*, store: Store = None) -> pl.LazyFrame:
    """The symbol catalog. Raises ObjectNotFound when it has not been materialized."""
    return _catalog(_open(store)).lazy()


def profiles(exchange: str, *, store: Store = None) -> pl.LazyFrame:
    """The symbol profiles of an exchange. Raises ObjectNotFound when they have not been materialized."""
    return read_table(_open(store), object_key(PROFILES, exchange)).lazy()


def read_daily(
    store: ObjectStore,
    exchange: str,
    start: date | None = None,
    end: date | None = None,
    *,
    symbols: Sequence[str] | None = None,
) -> pl.DataFrame:
    """As-traded rows of one exchange (DAILY_SCHEMA, by symbol and date): all symbols, or some.

    Raises ObjectDamaged, StoreUnavailable.
    """
    manifest = Manifest(store, DAILY)
    first, last = start or date.min, end or date.max
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="years") as pool:
        # A manifest that was lost must not make its years look empty: the history tells of them as well.
        places = (f"manifest/{DAILY}/exchange={exchange}/", f"{HISTORY}/exchange={exchange}/")
        recorded, compacted = pool.map(lambda place: _by_year(store, place), places)
        years = [year for year in sorted({*recorded, *compacted}) if first.year <= year <= last.year]
        if not years:
            return empty_daily()
        # The two of a year may be read in any order: a cell in which they differ is read as it stands.
        entries = [pool.submit(_entries, manifest, exchange, year) for year in years]
        histories = [pool.submit(_history, store, compacted.get(year), symbols) for year in years]
        overlay = pool.map(
            lambda history, known: _year(store, exchange, history, known, symbols),
            [history.result() for history in histories],
            [known.result() for known in entries],
        )
        rows = conform_daily(pl.concat(overlay))
    return rows.filter(pl.col("date").is_between(first, last))


def _by_year(store: ObjectStore, place: str) -> dict[int, ObjectInfo]:
    """The yearly objects below a place."""
    return {int(info.key.rpartition("year=")[2][:4]): info for info in store.list(place)}


def _entries(manifest: Manifest, exchange: str, year: int) -> dict[str, Entry]:
    return manifest.year(exchange, year) or manifest.refresh(exchange, year, record=False)


def _year(
    store: ObjectStore,
    exchange: str,
    history: tuple[pl.DataFrame, dict[str, str]],
    entries: Mapping[str, Entry],
    symbols: Sequence[str] | None,
) -> pl.DataFrame:
    """A year's rows: those of the history object, with every cell that is not in it as it stands now."""
    rows, in_history = history
    cells = {p: e.content_sha256 for p, e in entries.items() if e.version}
    newer = sorted(p for p, content in cells.items() if in_history.get(p) != content)
    if not newer:
        return rows
    stale = [date.fromisoformat(p) for p in newer if p in in_history]
    frames = [rows.filter(~pl.col("date").is_in(stale))] if stale else [rows]
    for cell in _read_all(store, [object_key(DAILY, exchange, p) for p in newer]):
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


def _read_all(store: ObjectStore, keys: Sequence[str]) -> Iterable[pl.DataFrame]:
    for key, blob in get_many(store, keys):
        if isinstance(blob, Exception):
            raise blob
        yield decode(blob.data, store.uri(key))


def _catalog(store: ObjectStore) -> pl.DataFrame:
    try:
        return read_table(store, object_key(CATALOG))
    except ObjectNotFound as error:
        raise ObjectNotFound(
            f"no catalog in {store.location}: set QUANT_ASSETS_HOME or QUANT_ASSETS_STORE to a store that has been "
            "filled, or run a backfill"
        ) from error


def _exchanges_of(store: ObjectStore, symbols: Sequence[str]) -> dict[str, list[str]]:
    catalog = _catalog(store)
    exchange_of = dict(catalog.select("symbol", "exchange").iter_rows())
    unknown = [symbol for symbol in symbols if symbol not in exchange_of]
    if unknown:
        raise ValueError(f"not in the catalog: {', '.join(unknown)} (universe() lists the symbols there are)")
    by_exchange: dict[str, list[str]] = {}
    for symbol in symbols:
        by_exchange.setdefault(exchange_of[symbol], []).append(symbol)
    return by_exchange


def _open(store: Store) -> ObjectStore:
    if store is None:
        return open_store(load_settings().store_location)
    return open_store(os.fspath(store)) if isinstance(store, str | os.PathLike) else store


def _day(value: date | str | None) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) else value
