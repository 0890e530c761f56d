"""What the reads take: symbols in any form, days, moments, a store."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Literal, cast

import polars as pl

from quant_assets.exchanges import Exchange, UnknownExchange, exchange
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import load_settings
from quant_assets.tables.catalog_reads import ByExchange, ReadCatalog, exchanges_of, read_catalog
from quant_assets.tables.name_lists import kept_of_many
from quant_assets.tables.universe_reads import refuse_unknown

Store = ObjectStore | str | os.PathLike[str] | None
"""Where the tables are: a folder, `gs://…`, the address of an API (`quant-assets serve`; its key is taken from
QUANT_ASSETS_API_KEY), or an opened store; None: as the settings say."""

Symbols = str | Iterable[str] | pl.Series | pl.DataFrame | pl.LazyFrame | None
"""One symbol or several ("AAPL MSFT", "AAPL,MSFT", ["AAPL", "MSFT"]), or a frame with a column `symbol`, such as
`universe().filter(…)`; in lower case where the catalog has them in capitals. None: all."""

By = Literal["symbol", "company"]

_BETWEEN = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The symbols that a read is asked for: some names, those of a universe, or all."""

    names: tuple[str, ...] | pl.LazyFrame | None = None
    universe: str | None = None

    @classmethod
    def of(cls, symbols: Symbols, universe: str | None = None) -> Wanted:
        """Raises ValueError for what names no symbol, and for symbols beside a universe."""
        if symbols is None or universe is None:
            return cls(_names(symbols), universe)
        raise ValueError(f"symbols and universe={universe!r} are two answers to one question: leave one out")

    def listed(self) -> list[str] | None:
        """The names, each once; None: all there are. Reads where they come from a query."""
        if isinstance(self.names, pl.LazyFrame):
            return list(dict.fromkeys(_texts(self.names.select("symbol").collect()["symbol"])))
        return None if self.names is None else list(self.names)

    def by_exchange(self, store: ObjectStore, catalog: ReadCatalog) -> ByExchange:
        """As the catalog has them. Raises UnknownSymbol; ValueError for an unknown universe."""
        names = self.listed()
        if names is not None:
            return exchanges_of(catalog, names)
        if self.universe is None:
            return catalog.listed
        refuse_unknown(store, self.universe, universes_of(catalog))
        return catalog.of_universe(self.universe)


def _names(symbols: Symbols) -> tuple[str, ...] | pl.LazyFrame | None:
    match symbols:
        case None | pl.LazyFrame():
            return symbols
        case str():
            names = [name for name in _BETWEEN.split(symbols) if name]
            if not names:
                raise ValueError(f"{symbols!r} names no symbol (leave symbols out for all)")
        case pl.DataFrame():
            names = symbols["symbol"].to_list()
        case _:
            names = tuple(symbols)
            # What cannot be looked up is no text: it is named as all that is none.
            with contextlib.suppress(TypeError):
                return _different(names)
    return _different(tuple(_texts(names)))


@kept_of_many
def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_texts(names)))


def _texts(symbols: Iterable[object]) -> list[str]:
    names = list(symbols)
    # Of thousands that are what they should be this is told at once; where one is not, it is looked for.
    with contextlib.suppress(TypeError):
        if all(map(str.strip, cast("list[str]", names))):
            return cast("list[str]", names)
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{name!r} among the symbols is no symbol")
    return cast("list[str]", names)


def universes_of(catalog: ReadCatalog) -> set[str]:
    """The universes that the catalog names."""
    return (
        set(catalog.rows["universes"].explode().drop_nulls())
        if "universes" in catalog.rows.columns
        else set()
    )


def listed_universes(store: ObjectStore) -> set[str]:
    """The universes that the catalog names; none where there is no catalog yet."""
    try:
        return universes_of(read_catalog(store))
    except ObjectNotFound:
        return set()


def opened(store: Store) -> ObjectStore:
    if store is None:
        return open_store(load_settings().store_location)
    return open_store(os.fspath(store)) if isinstance(store, str | os.PathLike) else store


def day_of(value: date | str | None) -> date | None:
    """A day; of a datetime its date as it is written. Raises ValueError for a text that is none."""
    if isinstance(value, datetime):
        return value.date()
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is no date: write YYYY-MM-DD") from None


def days_of(start: date | str | None, end: date | str | None) -> tuple[date | None, date | None]:
    """The first and the last day of a range. Raises ValueError where they are the wrong way round."""
    first, last = day_of(start), day_of(end)
    if first is not None and last is not None and first > last:
        raise ValueError(f"start={first} is after end={last}: exchange them")
    return first, last


def moment_of(value: datetime | date | str | None) -> datetime | None:
    """A moment in UTC; of a date its end. Raises ValueError for a text that is none, and one without its zone."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f"as_of={value!r} is no moment: write 2013-03-01 or 2013-03-01T23:00:00Z"
            ) from None
    if value is None or isinstance(value, datetime):
        if value is not None and value.tzinfo is None:
            raise ValueError(f"as_of={value.isoformat()} has no time zone: add one, e.g. Z")
        return value.astimezone(UTC) if value else None
    return datetime.combine(value, time.max, UTC)


def known_exchange(code: str) -> Exchange | None:
    """The exchange as it is configured now; None where its code is not known any more."""
    try:
        return exchange(code, load_settings().exchanges_file)
    except UnknownExchange:
        return None
