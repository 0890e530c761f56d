"""What is missing, what was changed afterwards, and which sessions there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date

import polars as pl

from quant_assets.catalog.gaps import exchange_gaps
from quant_assets.exchanges import exchange as exchange_named
from quant_assets.market.gaps import GAPS_SCHEMA
from quant_assets.reader.arguments import Store, Symbols, Wanted, day_of, days_of, opened
from quant_assets.reader.lazy import Pushed, lazily
from quant_assets.reader.over_http import Served, served
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import load_settings
from quant_assets.tables.catalog_reads import read_catalog
from quant_assets.tables.restatements import LEDGER_SCHEMA, Ledger

_LONGEST = 8_000
"""Letters of symbols up to which they are part of a question to an API."""

SESSIONS_SCHEMA = pl.Schema(
    {
        "session": pl.Date(),
        "closes_at": pl.Datetime("us", "UTC"),
        "early_close": pl.Boolean(),
        "exchange": pl.String(),
    }
)


def gaps(
    symbols: Symbols = None, *, exchange: str | None = None, universe: str | None = None, store: Store = None
) -> pl.LazyFrame:
    """Where bars are missing, from the first day that was asked for through the last session that is over.

    Args:
        symbols, universe, store: as for `prices`; with neither symbols nor a universe also gaps of whole markets.
        exchange: only this one.

    Returns:
        kind ("hole", "late_start", "early_end", "suspended", "market"), symbol (null for a whole market), first and
        last session, sessions (how many), outcome, reason, asked_on (of the last question), answers, settled (is not
        asked about again), exchange; by exchange, symbol and first session.

    Raises:
        UnknownExchange: at once.
        UnknownSymbol, ObjectNotFound (there is no catalog yet), ObjectDamaged, StoreUnavailable: when collected.
    """
    wanted, only = Wanted.of(symbols, universe), _known(exchange)
    schema = pl.Schema({**GAPS_SCHEMA, "exchange": pl.String()})

    def read(pushed: Pushed) -> Iterator[pl.DataFrame]:
        if (api := served(store)) is not None:
            asked = {"exchange": exchange, "settled": "true"}
            yield from _over_http(api, "gaps", asked, schema, pushed, wanted)
            return
        home, settings = opened(store), load_settings()
        for code, names in _places(home, wanted, only, pushed):
            one = exchange_named(code, settings.exchanges_file)
            if names is None or names:
                found = exchange_gaps(home, one, settings.clock(), symbols=names or ())
                yield found.with_columns(exchange=pl.lit(code))

    return lazily("gaps", schema, read, exchange or "all exchanges")


def restatements(
    symbols: Symbols = None, *, exchange: str | None = None, universe: str | None = None, store: Store = None
) -> pl.LazyFrame:
    """The ledger: every value that changed after it was stored, why, and when that became known.

    Args:
        symbols, universe, store: as for `prices`.
        exchange: only this one.

    Returns:
        symbol, date, field, old and new (as text), class (why), first_date and rows (what was replaced because of
        it), detected_at (when the new value became known, UTC), run, exchange; by exchange, oldest first.

    Raises:
        UnknownExchange: at once.
        UnknownSymbol, ObjectNotFound (there is no catalog yet), ObjectDamaged, StoreUnavailable: when collected.
    """
    wanted, only = Wanted.of(symbols, universe), _known(exchange)
    schema = pl.Schema({**LEDGER_SCHEMA, "exchange": pl.String()})

    def read(pushed: Pushed) -> Iterator[pl.DataFrame]:
        if (api := served(store)) is not None:
            yield from _over_http(api, "restatements", {"exchange": exchange}, schema, pushed, wanted)
            return
        home = opened(store)
        for code, names in _places(home, wanted, only, pushed):
            rows = Ledger(home, code).restatements()
            kept = rows if names is None else rows.filter(pl.col("symbol").is_in(names))
            yield kept.with_columns(exchange=pl.lit(code))

    return lazily("restatements", schema, read, exchange or "all exchanges")


def sessions(exchange: str, start: date | str | None = None, end: date | str | None = None) -> pl.LazyFrame:
    """The sessions of an exchange, by its calendar; no store is asked.

    Args:
        exchange: its code, e.g. "ASX".
        start, end: first and last day (inclusive; a date or YYYY-MM-DD); None: the first day of the partition grid,
            and today. Sessions more than about a year ahead are what rules say, not what has been announced.

    Returns:
        session (in the exchange's own zone), closes_at (UTC), early_close, exchange; by session.

    Raises:
        UnknownExchange, ValueError (a date that is none, a range the wrong way round): at once.
        OutsideCalendar: when collected, after the last day that a calendar can tell.
    """
    settings = load_settings()
    one = exchange_named(exchange, settings.exchanges_file)
    first, last = days_of(day_of(start) or settings.start, day_of(end) or settings.clock().date())
    assert first is not None
    assert last is not None

    def read(pushed: Pushed) -> Iterator[pl.DataFrame]:
        begin, until = pushed.days("session")
        found = one.calendar().schedule(max(first, begin or first), min(last, until or last))
        yield found.with_columns(exchange=pl.lit(exchange))

    return lazily("sessions", SESSIONS_SCHEMA, read, exchange)


def _over_http(
    api: Served,
    path: str,
    asked: Mapping[str, object],
    schema: pl.Schema,
    pushed: Pushed,
    wanted: Wanted,
) -> Iterator[pl.DataFrame]:
    names = wanted.listed()
    if wanted.universe is not None:
        names = api.symbols_of(wanted.universe)
    if names is None:
        yield from api.read(path, asked, schema, pushed)
    elif len(listed := ",".join(names)) > _LONGEST:
        # More than an address has room for: all are asked for, and these are kept.
        kept = pl.Series(api.spelled(names), dtype=pl.String).implode()
        columns = None if pushed.columns is None else pushed.columns | {"symbol"}
        for frame in api.read(path, asked, schema, replace(pushed, columns=columns)):
            yield frame.filter(pl.col("symbol").is_in(kept)).select(
                n for n in frame.columns if pushed.needs(n)
            )
    elif names:
        yield from api.read(path, {**asked, "symbols": listed}, schema, pushed)


def _known(exchange: str | None) -> str | None:
    """Raises UnknownExchange."""
    return None if exchange is None else exchange_named(exchange, load_settings().exchanges_file).code


def _places(
    store: ObjectStore, wanted: Wanted, only: str | None, pushed: Pushed
) -> Iterable[tuple[str, list[str] | None]]:
    """The exchanges to look at, and of each the symbols; None: whatever there is."""
    catalog = read_catalog(store)
    everything = wanted.names is None and wanted.universe is None
    listed = wanted.by_exchange(store, catalog)
    for code in sorted(listed):
        if (only is None or code == only) and pushed.exchange(code):
            yield code, None if everything else listed[code]
