"""What is derived from daily bars or taken beside them: weekly bars, valuations, profiles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import polars as pl

from quant_assets.market.profiles import SYMBOL_PROFILE_SCHEMA
from quant_assets.market.valuations import VALUATION_SCHEMA
from quant_assets.market.weekly import WEEKLY_SCHEMA
from quant_assets.reader.arguments import Store, Symbols, Wanted, days_of, known_exchange, opened
from quant_assets.reader.lazy import Pushed, lazily
from quant_assets.reader.over_http import Served, served
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore
from quant_assets.tables.catalog_reads import ByExchange, read_catalog
from quant_assets.tables.layout import PROFILES, exchange_of, object_key
from quant_assets.tables.parquet import read_table
from quant_assets.tables.valuations import read_valuations
from quant_assets.tables.weekly_reads import read_weekly

_EXCHANGE = {"exchange": pl.String()}


def weekly(
    symbols: Symbols = None,
    start: date | str | None = None,
    end: date | str | None = None,
    *,
    universe: str | None = None,
    store: Store = None,
) -> pl.LazyFrame:
    """Weekly bars of some symbols, or of all (columns of `quant_assets.market.weekly.WEEKLY_SCHEMA`, and `exchange`),
    by (symbol, week). A filter on symbol, exchange or week narrows what is read.

    `start` and `end` bound the weeks' Mondays; all other arguments, and what is raised, are as for `prices`.
    """
    wanted, (first, last) = Wanted.of(symbols, universe), days_of(start, end)
    schema = pl.Schema({**WEEKLY_SCHEMA, **_EXCHANGE})

    def read(pushed: Pushed) -> Iterator[pl.DataFrame]:
        begin, until = _narrowed(pushed, "week", first, last)
        if (api := served(store)) is not None:
            yield from _over_http(api, "weekly", begin, until, schema, pushed, wanted)
            return
        home = opened(store)
        frames = [
            read_weekly(
                home, known_exchange(code), code, names, begin or date.min, until or date.max
            ).with_columns(exchange=pl.lit(code))
            for code, names in _chosen(home, wanted, pushed).items()
        ]
        yield pl.concat([pl.DataFrame(schema=schema), *frames]).sort("symbol", "week")

    return lazily("weekly", schema, read)


def valuations(
    symbols: Symbols = None,
    start: date | str | None = None,
    end: date | str | None = None,
    *,
    universe: str | None = None,
    store: Store = None,
) -> pl.LazyFrame:
    """What symbols were worth and how large they were, as the source said after each session; by (symbol, date).

    Args:
        symbols, universe, store: as for `prices`.
        start, end: first and last session wanted (inclusive; a date or YYYY-MM-DD); None: as far as there is.

    Returns:
        symbol, date; market_cap (whole units of the currency: pounds where `currency` is "GBp"), pe (trailing twelve
        months), pb, dividend_yield (a fraction: 0.02 is 2 %), shares_outstanding; name, sector, industry, asset_type,
        currency; quoted_at (when the quoted price was made) and fetched_at, UTC; exchange. Null is what the source
        did not say, or said nonsense about. Nothing is adjusted: a later split changes none of it. There is a row for
        each snapshot that was taken, and none can be taken later.

    Raises as `prices` does.
    """
    wanted, (first, last) = Wanted.of(symbols, universe), days_of(start, end)
    schema = pl.Schema({**VALUATION_SCHEMA, **_EXCHANGE})

    def read(pushed: Pushed) -> Iterator[pl.DataFrame]:
        begin, until = _narrowed(pushed, "date", first, last)
        if (api := served(store)) is not None:
            yield from _over_http(api, "valuations", begin, until, schema, pushed, wanted)
            return
        home = opened(store)
        frames = [
            read_valuations(home, code, names, begin, until).with_columns(exchange=pl.lit(code))
            for code, names in _chosen(home, wanted, pushed).items()
        ]
        yield pl.concat([pl.DataFrame(schema=schema), *frames]).sort("symbol", "date")

    return lazily("valuations", schema, read)


def profiles(exchange: str | None = None, *, store: Store = None) -> pl.LazyFrame:
    """The symbol profiles of an exchange, or of all that have some (columns of
    `quant_assets.market.profiles.SYMBOL_PROFILE_SCHEMA`, and `exchange`), by exchange and symbol.

    Raises ObjectNotFound when collected, where they have not been materialized.
    """
    schema = pl.Schema({**SYMBOL_PROFILE_SCHEMA, **_EXCHANGE})

    def read(pushed: Pushed) -> Iterator[pl.DataFrame]:
        if (api := served(store)) is not None:
            yield from api.read("profiles", {"exchange": exchange}, schema, pushed)
            return
        home = opened(store)
        made = sorted(filter(None, (exchange_of(found.key) for found in home.list(f"{PROFILES}/"))))
        if not made or (exchange is not None and exchange not in made):
            raise ObjectNotFound(
                f"no profiles of {exchange or 'any exchange'!r} in {home.location}: there are those of "
                f"{', '.join(made) or 'no exchange'}; a backfill of the exchange makes them"
            )
        for code in made if exchange is None else [exchange]:
            if pushed.exchange(code):
                yield _conformed(read_table(home, object_key(PROFILES, code)), code, schema)

    return lazily("profiles", schema, read, exchange or "all exchanges")


def _over_http(
    api: Served,
    path: str,
    first: date | None,
    last: date | None,
    schema: pl.Schema,
    pushed: Pushed,
    wanted: Wanted,
) -> Iterator[pl.DataFrame]:
    if first is None or last is None or first <= last:
        yield from api.read_symbols(path, {"start": first, "end": last}, schema, pushed, wanted)


def _conformed(rows: pl.DataFrame, code: str, schema: pl.Schema) -> pl.DataFrame:
    """A table as it would be written now: null where an earlier release did not have the column."""
    rows = rows.with_columns(exchange=pl.lit(code))
    return rows.select(
        pl.col(name).cast(dtype) if name in rows.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
    )


def _chosen(store: ObjectStore, wanted: Wanted, pushed: Pushed) -> ByExchange:
    listed = wanted.by_exchange(store, read_catalog(store))
    return {code: kept for code, names in listed.items() if (kept := pushed.symbols(code, names))}


def _narrowed(
    pushed: Pushed, column: str, first: date | None, last: date | None
) -> tuple[date | None, date | None]:
    begin, end = pushed.days(column)
    return (
        max((day for day in (first, begin) if day is not None), default=None),
        min((day for day in (last, end) if day is not None), default=None),
    )
