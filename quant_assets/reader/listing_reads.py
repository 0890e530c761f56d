"""Who is listed, in which universe, and under which symbols: the catalog and its ledgers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from urllib.parse import quote

import polars as pl

from quant_assets.catalog.build import CATALOG_SCHEMA
from quant_assets.reader.arguments import (
    Store,
    Symbols,
    Wanted,
    day_of,
    known_exchange,
    listed_universes,
    opened,
    universes_of,
)
from quant_assets.reader.lazy import Pushed, lazily
from quant_assets.reader.over_http import served, universe_path
from quant_assets.resources.settings import load_settings
from quant_assets.tables.catalog_reads import exchanges_of, read_catalog
from quant_assets.tables.company_reads import COMPANIES_SCHEMA, read_companies
from quant_assets.tables.listing_events import LISTING_EVENTS_SCHEMA, read_events
from quant_assets.tables.membership import MEMBERS_SCHEMA
from quant_assets.tables.universe_reads import read_members, refuse_unknown


def universe(name: str | None = None, on: date | str | None = None, *, store: Store = None) -> pl.LazyFrame:
    """The symbol catalog, or who is in one universe, or who was in it on a day.

    Args:
        name: a universe's; None: the whole catalog, of symbols that left their universes as well.
        on: a day (or YYYY-MM-DD). Answered from what refreshes saw and what somebody stated of earlier days, never
            from today's list. Needs `name`.
        store: as for `prices`.

    Returns:
        The catalog's rows. With `on` who was in the universe, by symbol: symbol, date (since when: the day of the
        last event `joined`), evidence, confidence ("first_seen": it was in at the first refresh, and joined on that
        date or earlier; "seen" by a refresh, on that date at the latest; "stated" by a person), known_at. Those that
        are not followed any more are among them. A day after the last refresh is answered as of it, with a warning.

    Raises:
        ValueError: at once: `on` without a name, or a day in the future.
        ValueError: when collected, as all that follow: an unknown universe.
        ObjectNotFound: there is no catalog yet.
        MembershipUnknown: nothing tells who was in on that day; the message names the earliest day of which
            something does.
    """
    day, today = day_of(on), load_settings().clock().date()
    if day is not None:
        if name is None:
            raise ValueError(f"universe(on={str(on)!r}) needs a name: which universe?")
        if day > today:
            raise ValueError(f"on={day} is in the future: today is {today} (UTC)")

    def members(pushed: Pushed) -> Iterator[pl.DataFrame]:
        assert name is not None
        assert day is not None
        if (api := served(store)) is not None:
            yield from api.read(universe_path(name), {"on": day}, MEMBERS_SCHEMA, pushed)
            return
        home = opened(store)
        # What is known of a universe does not wait for a catalog.
        yield read_members(home, name, day, today, listed_universes(home))

    def catalog(pushed: Pushed) -> Iterator[pl.DataFrame]:
        if (api := served(store)) is not None:
            path = "catalog" if name is None else universe_path(name)
            yield from api.read(path, {}, CATALOG_SCHEMA, pushed)
            return
        home = opened(store)
        found = read_catalog(home)
        # What an earlier release did not write is not known.
        rows = pl.concat([pl.DataFrame(schema=CATALOG_SCHEMA), found.rows], how="diagonal_relaxed")
        if name is not None:
            refuse_unknown(home, name, universes_of(found))
            rows = rows.filter(pl.col("universes").list.contains(name))
        yield rows

    if day is not None:
        return lazily("universe", MEMBERS_SCHEMA, members, f"{name} on {day}")
    return lazily("universe", CATALOG_SCHEMA, catalog, name or "the whole catalog")


def listing_events(exchange: str, *, store: Store = None) -> pl.LazyFrame:
    """What was learned of an exchange's listings, in the order in which it became known.

    Returns:
        symbol, event, date, evidence (in words), confidence, known_at (UTC); docs/catalog.md tells what each event
        says, what its date is, and by which rules it is judged.

    Raises, when collected:
        ValueError: an unknown exchange.
        ObjectDamaged, StoreUnavailable: naming the object.
    """

    def read(pushed: Pushed) -> Iterator[pl.DataFrame]:
        if (api := served(store)) is not None:
            path = f"exchanges/{quote(exchange, safe='')}/listing-events"
            yield from api.read(path, {}, LISTING_EVENTS_SCHEMA, pushed)
            return
        events = read_events(opened(store), exchange)
        if events.is_empty() and known_exchange(exchange) is None:
            raise ValueError(f"unknown exchange: {exchange} (universe() names the exchange of each symbol)")
        yield events

    return lazily("listing_events", LISTING_EVENTS_SCHEMA, read, exchange)


def companies(symbols: Symbols = None, *, store: Store = None) -> pl.LazyFrame:
    """Which company stood under which symbol, and when.

    Args:
        symbols: symbols, or ids of companies: all companies that ever had one of them, each with all its symbols.
            None: all.
        store: as for `prices`.

    Returns:
        exchange, company_id, symbol, first and last (the days on which the company had the symbol; null: open),
        event, evidence (what shows it, in words), confidence ("seen", "strong", or "stated" by a person), known_at;
        by exchange, company and first day. What is not decided is in none of it (quant-assets catalog review).

    Raises, when collected:
        ObjectNotFound: there is no catalog yet.
        UnknownSymbol: one of them is neither in the catalog nor an id of a company.
    """
    wanted = Wanted.of(symbols)

    def read(pushed: Pushed) -> Iterator[pl.DataFrame]:
        if (api := served(store)) is not None:
            names = wanted.listed()
            asked = None if names is None else ",".join(names)
            yield from api.read("companies", {"symbols": asked}, COMPANIES_SCHEMA, pushed)
            return
        home = opened(store)
        catalog, listed = read_catalog(home), wanted.listed()
        names = None if listed is None else {catalog.spelled(name) or name for name in listed}
        places = [code for code in sorted(set(catalog.exchange_of.values())) if pushed.exchange(code)]
        rows = read_companies(home, places, names)
        if names:
            told = {*rows["symbol"], *rows["company_id"]}
            exchanges_of(catalog, sorted(names - told))
        yield rows

    return lazily("companies", COMPANIES_SCHEMA, read)
