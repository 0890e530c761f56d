"""The catalog as readers need it: parsed once a version, and each symbol's exchange in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from quant_assets.resources.object_store import ObjectInfo, ObjectNotFound, ObjectStore
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.parquet import decode


@dataclass(frozen=True, slots=True)
class ReadCatalog:
    """The catalog as it was read last from a store, and each symbol's exchange in it."""

    info: ObjectInfo
    rows: pl.DataFrame
    exchange_of: dict[str, str]
    shared: frozenset[str] = frozenset()
    """The symbols that several companies had."""


_CATALOGS_KEPT = 8
_catalogs: dict[str, ReadCatalog] = {}
"""By the store's location: what has not been replaced since is not parsed again."""


def read_catalog(store: ObjectStore) -> ReadCatalog:
    try:
        blob = store.get(object_key(CATALOG))
    except ObjectNotFound as error:
        raise ObjectNotFound(
            f"no catalog in {store.location}: set QUANT_ASSETS_HOME or QUANT_ASSETS_STORE to a store that has been "
            "filled, or run a backfill"
        ) from error
    known = _catalogs.get(store.location)
    if known is None or known.info != blob.info:
        rows = decode(blob.data, store.uri(object_key(CATALOG)))
        exchange_of = dict(rows.select("symbol", "exchange").iter_rows())
        shared = frozenset[str]()
        if "company_since" in rows.columns:
            shared = frozenset(rows.filter(pl.col("company_since").is_not_null())["symbol"])
        if len(_catalogs) >= _CATALOGS_KEPT:
            _catalogs.clear()
        _catalogs[store.location] = known = ReadCatalog(blob.info, rows, exchange_of, shared)
    return known


def read_by_catalog(
    store: ObjectStore,
    symbols: Sequence[str],
    read: Callable[[dict[str, list[str]]], list[pl.DataFrame]],
) -> tuple[ReadCatalog, dict[str, list[str]], list[pl.DataFrame]]:
    """The catalog, the symbols by exchange, and what is read of each.

    From afar the catalog that is known is asked for again while it is believed; what was read by one that has been
    replaced is read again.
    """
    believed = _catalogs.get(store.location) if store.remote else None
    if believed is not None and believed.exchange_of.keys() >= set(symbols):
        with ThreadPoolExecutor(1, thread_name_prefix="catalog") as pool:
            asked = pool.submit(read_catalog, store)
            by_exchange = _by_exchange(believed, symbols)
            frames = read(by_exchange)
        if asked.result() is believed:
            return believed, by_exchange, frames
    catalog = read_catalog(store)
    by_exchange = _by_exchange(catalog, symbols)
    return catalog, by_exchange, read(by_exchange)


def exchanges_of(store: ObjectStore, symbols: Sequence[str]) -> dict[str, list[str]]:
    return _by_exchange(read_catalog(store), symbols)


def _by_exchange(catalog: ReadCatalog, symbols: Sequence[str]) -> dict[str, list[str]]:
    exchange_of = catalog.exchange_of
    unknown = [symbol for symbol in symbols if symbol not in exchange_of]
    if unknown:
        raise ValueError(f"not in the catalog: {', '.join(unknown)} (universe() lists the symbols there are)")
    by_exchange: dict[str, list[str]] = {}
    for symbol in symbols:
        by_exchange.setdefault(exchange_of[symbol], []).append(symbol)
    return by_exchange
