"""`/v1/catalog`, `/v1/universes`, `/v1/profiles`, `/v1/exchanges`: which symbols and exchanges there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import date
from functools import partial
from typing import Annotated

import polars as pl
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from quant_assets import reader
from quant_assets.api import versions
from quant_assets.api.access import require
from quant_assets.api.answers import Prepared, answered
from quant_assets.api.described import of_table
from quant_assets.api.parameters import Choosing, Day, Ranged, Shaping, Symbols
from quant_assets.api.selection import chosen, unknown
from quant_assets.api.small import exchanges_for, prepared, symbols_for
from quant_assets.api.stores import settings_of, store_of
from quant_assets.catalog.build import CATALOG_SCHEMA
from quant_assets.exchanges import Exchange, known
from quant_assets.market.coverage import CellState
from quant_assets.market.profiles import SYMBOL_PROFILE_SCHEMA
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore
from quant_assets.tables.catalog_reads import ReadCatalog, current_catalog
from quant_assets.tables.layout import (
    CATALOG,
    DAILY,
    PROFILES,
    UNIVERSE_EVENTS,
    UNIVERSES,
    exchange_of,
    membership_key,
    object_key,
    universe_key,
    universe_of,
)
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.membership import MEMBERS_SCHEMA, read_membership, vouched
from quant_assets.tables.universe_reads import read_members
from quant_assets.tables.universes import read_constituents

router = APIRouter(prefix="/v1", tags=["listings"], dependencies=[Depends(require("read"))])

UNIVERSES_SCHEMA = pl.Schema(
    {"universe": pl.String(), "symbols": pl.Int64(), "answered_from": pl.Date(), "refreshed_on": pl.Date()}
)
"""`symbols`: how many the catalog has in it now; `answered_from`: the first day that `on=` can be."""

EXCHANGES_SCHEMA = pl.Schema(
    {
        "exchange": pl.String(),
        "name": pl.String(),
        "zone": pl.String(),
        "close": pl.String(),
        "suffix": pl.String(),
        "currencies": pl.List(pl.String()),
        "in_use": pl.Boolean(),
        "symbols": pl.Int64(),
        "active_symbols": pl.Int64(),
        "first_cell": pl.Date(),
        "last_cell": pl.Date(),
        "last_complete": pl.Date(),
        "last_session_over": pl.Date(),
        **{f"cells_{state.value}": pl.Int64() for state in CellState},
        "rows": pl.Int64(),
        "bytes": pl.Int64(),
    }
)
"""`close`: the usual one, local; `last_session_over`: the last session whose bars are final by now."""

SESSIONS_SCHEMA = pl.Schema(
    {
        "session": pl.Date(),
        "closes_at": pl.Datetime("us", "UTC"),
        "early_close": pl.Boolean(),
        "exchange": pl.String(),
    }
)
_PROFILES_SCHEMA = pl.Schema({**SYMBOL_PROFILE_SCHEMA, "exchange": pl.String()})
_UNIVERSE_SCHEMA = {**CATALOG_SCHEMA, **MEMBERS_SCHEMA}


class OfCatalog(Choosing):
    """Some rows of the catalog."""

    q: str | None = Field(
        None,
        description="Those whose symbol or name has this in it, in whatever case.",
        max_length=100,
        examples=["app"],
    )
    active: bool | None = Field(None, description="Those that are followed (true), or no longer are (false).")


class OfUniverse(Shaping):
    """A universe on a day."""

    on: Day | None = Field(
        None,
        description="Who was in it on this day, from what was seen or stated of it. Nothing: who is in it now.",
    )


class OfProfiles(Shaping):
    """Some profiles."""

    exchange: str | None = Field(
        None, description="Of this exchange alone. Nothing: of all that have profiles.", max_length=20
    )
    symbols: Symbols | None = Field(None, description="Of these symbols alone.", max_length=20_000)


class OfExchanges(Shaping):
    """Which exchanges."""

    all: bool = Field(False, description="Those that are known and not in use, too.")


_CATALOG = of_table("catalog", CATALOG_SCHEMA, ("symbol", "exchange"))


@router.get("/catalog", responses=_CATALOG, response_class=Response)
async def catalog(request: Request, asked: Annotated[OfCatalog, Query()]) -> Response:
    """The symbols that are followed or were, with what is known of their listings."""
    return await answered(request, asked, lambda: _catalog(request, asked))


@router.get(
    "/universes", responses=of_table("universes", UNIVERSES_SCHEMA, ("universe",)), response_class=Response
)
async def universes(request: Request, asked: Annotated[Shaping, Query()]) -> Response:
    """The universes there are."""
    return await answered(request, asked, lambda: _universes(request, asked))


@router.get(
    "/universes/{name}",
    responses=of_table("universe", _UNIVERSE_SCHEMA, ("symbol",)),
    response_class=Response,
)
async def universe(
    request: Request,
    name: Annotated[str, Path(max_length=200, examples=["configured"])],
    asked: Annotated[OfUniverse, Query()],
) -> Response:
    """The catalog's rows of a universe; with `on` who was in it on that day, since when, and what shows it."""
    return await answered(request, asked, lambda: _universe(request, name, asked))


@router.get(
    "/profiles", responses=of_table("profiles", _PROFILES_SCHEMA, ("symbol",)), response_class=Response
)
async def profiles(request: Request, asked: Annotated[OfProfiles, Query()]) -> Response:
    """Coverage, oddities, returns and quality by symbol."""
    return await answered(request, asked, lambda: _profiles(request, asked))


@router.get(
    "/exchanges", responses=of_table("exchanges", EXCHANGES_SCHEMA, ("exchange",)), response_class=Response
)
async def exchanges(request: Request, asked: Annotated[OfExchanges, Query()]) -> Response:
    """The exchanges, what is stored of them, and how fresh it is."""
    return await answered(request, asked, lambda: _exchanges(request, asked))


@router.get(
    "/exchanges/{code}/sessions",
    responses=of_table("sessions", SESSIONS_SCHEMA, ("session",)),
    response_class=Response,
)
async def sessions(
    request: Request,
    code: Annotated[str, Path(max_length=20, examples=["US"])],
    asked: Annotated[Ranged, Query()],
) -> Response:
    """The sessions by the exchange's calendar, with their closes in UTC. Nothing said: from the first day of the grid
    through today. Later than a year ahead they are what rules say, not what has been announced."""
    return await answered(request, asked, lambda: _sessions(request, code, asked))


def _catalog(request: Request, asked: OfCatalog) -> Prepared:
    selection = chosen(store_of(request), asked)

    def part() -> pl.DataFrame:
        rows = selection.catalog.rows
        if asked.names() is not None or asked.universe or asked.exchange:
            rows = rows.filter(pl.col("symbol").is_in(selection.symbols))
        if asked.q:
            has = pl.col("symbol").str.to_lowercase().str.contains(asked.q.lower(), literal=True)
            if "name" in rows.columns:
                has |= (
                    pl.col("name")
                    .fill_null("")
                    .str.to_lowercase()
                    .str.contains(asked.q.lower(), literal=True)
                )
            rows = rows.filter(has)
        if asked.active is not None and "is_active" in rows.columns:
            rows = rows.filter(pl.col("is_active") == asked.active)
        return rows

    return prepared(request, "catalog", asked, CATALOG_SCHEMA, [], [part], [selection.catalog.info.version])


def _universes(request: Request, asked: Shaping) -> Prepared:
    store = store_of(request)
    known_here = current_catalog(store)
    looks = [versions.of_prefix(store, f"{part}/") for part in (UNIVERSES, UNIVERSE_EVENTS)]

    def part() -> pl.DataFrame:
        counts = _counted(known_here)
        stored = _stored(store)
        rows: list[tuple[object, ...]] = []
        for name in sorted({*counts, *stored}):
            told = vouched(read_membership(store, name)) if name in stored else []
            found = read_constituents(store, name) if name in stored else None
            refreshed = None if found is None else found.refreshed_at.date()
            rows.append((name, counts.get(name, 0), told[0][0] if told else None, refreshed))
        return pl.DataFrame(rows, schema=UNIVERSES_SCHEMA, orient="row")

    return prepared(request, "universes", asked, UNIVERSES_SCHEMA, looks, [part], [known_here.info.version])


def _universe(request: Request, name: str, asked: OfUniverse) -> Prepared:
    store = store_of(request)
    here = current_catalog(store)
    there = {
        *_counted(here),
        *(universe_of(i.key) for p in (UNIVERSES, UNIVERSE_EVENTS) for i in store.list(f"{p}/")),
    }
    if name not in there:
        raise unknown("universe", [name], sorted(one for one in there if one))
    if asked.on is None:

        def now() -> pl.DataFrame:
            return here.rows.filter(pl.col("universes").list.contains(name))

        return prepared(request, "universe", asked, CATALOG_SCHEMA, [], [now], [name, here.info.version])
    day, today = asked.on, settings_of(request).clock().date()

    def then() -> pl.DataFrame:
        return read_members(store, name, day, today, _counted(here))

    looks = [versions.of_object(store, key) for key in (membership_key(name), universe_key(name))]
    # A day in the future is refused until it has come.
    return prepared(request, "universe", asked, MEMBERS_SCHEMA, looks, [then], [name, str(min(day, today))])


def _stored(store: ObjectStore) -> set[str]:
    """The universes of which the store has constituents or events."""
    infos = (info for part in (UNIVERSES, UNIVERSE_EVENTS) for info in store.list(f"{part}/"))
    return {name for info in infos if (name := universe_of(info.key)) is not None}


def _counted(here: ReadCatalog) -> dict[str, int]:
    """How many symbols of the catalog are in each universe."""
    if "universes" not in here.rows.columns:
        return {}
    counts = here.rows.select(pl.col("universes").explode().drop_nulls().value_counts()).unnest("universes")
    return dict(counts.iter_rows())


def _profiles(request: Request, asked: OfProfiles) -> Prepared:
    store = store_of(request)
    made = {code: info for info in store.list(f"{PROFILES}/") if (code := exchange_of(info.key)) is not None}
    if asked.exchange is not None:
        exchanges_for(request, asked.exchange)
        if asked.exchange not in made:
            # Says what there is instead.
            reader.profiles(asked.exchange, store=store).collect()
        made = {asked.exchange: made[asked.exchange]}
    symbols = symbols_for(request, asked.symbols)

    def of(code: str) -> pl.DataFrame:
        rows = reader.profiles(code, store=store).with_columns(exchange=pl.lit(code)).collect()
        return rows if symbols is None else rows.filter(pl.col("symbol").is_in(symbols))

    told = [*(f"{code} {info.version}" for code, info in made.items()), *(symbols or ())]
    return prepared(
        request, "profiles", asked, _PROFILES_SCHEMA, [], [partial(of, code) for code in sorted(made)], told
    )


def _exchanges(request: Request, asked: OfExchanges) -> Prepared:
    settings, store = settings_of(request), store_of(request)
    used = exchanges_for(request, None)
    others = known(settings.exchanges_file) if asked.all else {}
    codes = [one.code for one in used]
    listed = [*used, *(one for code, one in sorted(others.items()) if code not in codes)]
    over = {one.code: one.calendar().last_session_over(settings.clock(), one.delay) for one in used}
    looks = [versions.of_object(store, object_key(CATALOG))]
    looks += [versions.of_partitions(store, DAILY, code) for code in codes]

    def part() -> pl.DataFrame:
        try:
            symbols = current_catalog(store).rows
        except ObjectNotFound:
            symbols = pl.DataFrame(schema=CATALOG_SCHEMA)
        rows = [
            _exchange_row(one, one.code in over, over.get(one.code), symbols, _entries(store, one.code, over))
            for one in listed
        ]
        return pl.DataFrame(rows, schema=EXCHANGES_SCHEMA)

    told = [f"{one.code} {one!r} {over.get(one.code)}" for one in listed]
    return prepared(request, "exchanges", asked, EXCHANGES_SCHEMA, looks, [part], told)


def _entries(store: ObjectStore, code: str, used: Collection[str]) -> list[Entry]:
    return list(Manifest(store, DAILY).all(code)) if code in used else []


def _exchange_row(
    one: Exchange, used: bool, over: date | None, symbols: pl.DataFrame, entries: Sequence[Entry]
) -> dict[str, object]:
    mine = symbols.filter(pl.col("exchange") == one.code)
    states = Counter(entry.state for entry in entries)
    complete = [entry.partition for entry in entries if entry.state is CellState.COMPLETE]
    days = [entry.partition for entry in entries]
    return {
        "exchange": one.code,
        "name": one.name,
        "zone": one.zone,
        "close": one.close.isoformat("minutes"),
        "suffix": one.suffix,
        "currencies": list(one.currencies),
        "in_use": used,
        "symbols": mine.height,
        "active_symbols": int(mine["is_active"].sum()) if "is_active" in mine.columns else mine.height,
        "first_cell": _day(min(days, default=None)),
        "last_cell": _day(max(days, default=None)),
        "last_complete": _day(max(complete, default=None)),
        "last_session_over": over,
        **{f"cells_{state.value}": states[state] for state in CellState},
        "rows": sum(entry.rows for entry in entries),
        "bytes": sum(entry.size for entry in entries),
    }


def _day(partition: str | None) -> date | None:
    return None if partition is None else date.fromisoformat(partition)


def _sessions(request: Request, code: str, asked: Ranged) -> Prepared:
    settings = settings_of(request)
    (one,) = exchanges_for(request, code)
    first = asked.start or min(settings.start, asked.end or settings.start)
    last = asked.end or max(settings.clock().date(), first)

    def part() -> pl.DataFrame:
        found = one.calendar().schedule(first, last)
        return found.with_columns(exchange=pl.lit(code))

    return prepared(
        request,
        "sessions",
        asked,
        SESSIONS_SCHEMA,
        [],
        [part],
        [repr(one.rules), code, str(first), str(last)],
    )
