"""The catalog as readers need it: parsed once a version, and each symbol's exchange in it."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import polars as pl

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.object_store import ObjectInfo, ObjectNotFound, ObjectStore
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.name_lists import kept_of_many
from quant_assets.tables.parquet import decode

T = TypeVar("T")

ByExchange = dict[str, list[str]]
"""Symbols by the exchange that lists them."""

_NAMED, _EXPLAINED, _NEAR, _LONGEST = 10, 3, 3, 40
"""Unknown symbols that a message names, those it has near ones for, how many near ones, letters shown of each."""


class UnknownSymbol(QuantAssetsError, ValueError):
    """No catalog lists them.

    `symbols` are those asked for, `near` names of the first ones symbols that are spelled nearly the same.
    """

    def __init__(
        self, message: str, symbols: Sequence[str] = (), near: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        super().__init__(message)
        self.symbols = tuple(symbols)
        self.near = {symbol: tuple(names) for symbol, names in (near or {}).items()}


@dataclass(frozen=True)
class ReadCatalog:
    """The catalog as it was read last from a store, and each symbol's exchange in it."""

    info: ObjectInfo
    rows: pl.DataFrame
    exchange_of: dict[str, str]
    shared: frozenset[str] = frozenset()
    """The symbols that several companies had."""

    @cached_property
    def listed(self) -> ByExchange:
        """All symbols by exchange."""
        found: ByExchange = {}
        for symbol, exchange in self.exchange_of.items():
            found.setdefault(exchange, []).append(symbol)
        return found

    @cached_property
    def one_exchange(self) -> Callable[[tuple[str, ...]], str | None]:
        """The exchange that lists all of some symbols, spelled as they are; None where no single one does."""

        def find(names: tuple[str, ...]) -> str | None:
            codes = set(map(self.exchange_of.get, names))
            return codes.pop() if len(codes) == 1 else None

        return kept_of_many(find)

    def spelled(self, symbol: str) -> str | None:
        """The symbol as the catalog spells it: itself, or in capitals; None where neither is listed."""
        if symbol in self.exchange_of:
            return symbol
        capitals = symbol.upper()
        return capitals if capitals in self.exchange_of else None

    def of_universe(self, name: str) -> ByExchange:
        """The symbols that are in a universe now, by exchange."""
        within = self.rows.filter(pl.col("universes").list.contains(name))
        found: ByExchange = {}
        for symbol, exchange in within.select("symbol", "exchange").iter_rows():
            found.setdefault(exchange, []).append(symbol)
        return found


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


def current_catalog(store: ObjectStore) -> ReadCatalog:
    """As `read_catalog`; where the version that stands is known, nothing but that is asked for."""
    known = _catalogs.get(store.location)
    if known is not None and store.head(object_key(CATALOG)) == known.info:
        return known
    return read_catalog(store)


def read_by_catalog(
    store: ObjectStore, choose: Callable[[ReadCatalog], ByExchange], read: Callable[[ByExchange], T]
) -> tuple[ReadCatalog, ByExchange, T]:
    """The catalog, what `choose` takes of it, and what is read of that.

    From afar the catalog that is known is asked for again while it is believed; what was read by one that has been
    replaced is read again.
    """
    believed = _catalogs.get(store.location) if store.remote else None
    if believed is not None:
        # What the known one does not list, the present one may.
        with contextlib.suppress(UnknownSymbol):
            by_exchange = choose(believed)
            with ThreadPoolExecutor(1, thread_name_prefix="catalog") as pool:
                asked = pool.submit(read_catalog, store)
                found = read(by_exchange)
            if asked.result() is believed:
                return believed, by_exchange, found
    # On a local disk it costs next to nothing to ask which version stands.
    catalog = read_catalog(store) if store.remote else current_catalog(store)
    by_exchange = choose(catalog)
    return catalog, by_exchange, read(by_exchange)


def exchanges_of(catalog: ReadCatalog, symbols: Iterable[str]) -> ByExchange:
    """Symbols that are all different by exchange, as the catalog spells them, each once. Raises UnknownSymbol."""
    symbols = tuple(symbols)
    if (code := catalog.one_exchange(symbols)) is not None:
        return {code: list(symbols)}
    found: ByExchange = {}
    unknown: list[str] = []
    seen: set[str] = set()
    for symbol in symbols:
        name = catalog.spelled(symbol)
        if name is None:
            unknown.append(symbol)
        elif name not in seen:
            seen.add(name)
            found.setdefault(catalog.exchange_of[name], []).append(name)
    if unknown:
        raise unknown_symbols(catalog, unknown)
    return found


def unknown_symbols(catalog: ReadCatalog, symbols: Sequence[str]) -> UnknownSymbol:
    """The error that names them, the first ones beside near ones of the catalog."""
    shown: list[str] = []
    near = {symbol: _near(catalog, symbol) for symbol in symbols[:_EXPLAINED]}
    for symbol in symbols[:_NAMED]:
        like = near.get(symbol)
        shown.append(
            f"{symbol[:_LONGEST]} (did you mean {' or '.join(like)}?)" if like else symbol[:_LONGEST]
        )
    more = len(symbols) - len(shown)
    text = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return UnknownSymbol(f"not in the catalog: {text}; universe() lists the symbols there are", symbols, near)


def _near(catalog: ReadCatalog, symbol: str) -> list[str]:
    """Symbols that are spelled nearly the same; of those that begin with another letter one cannot be meant."""
    asked = symbol.upper()[:_LONGEST]
    alike = [name for name in catalog.exchange_of if name[:1] == asked[:1]]
    listings = [name for name in alike if name.startswith(f"{asked}.")]
    close = difflib.get_close_matches(asked, alike, n=_NEAR)
    return list(dict.fromkeys([*sorted(listings), *close]))[:_NEAR]
