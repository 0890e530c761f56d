"""`/v1/prices`, `/v1/weekly`, `/v1/valuations`: tables with rows by symbol and time, as the reader reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

import polars as pl
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from quant_assets import reader
from quant_assets.api import versions
from quant_assets.api.access import asks_only, require
from quant_assets.api.answers import Batch, Notes, Prepared, Read, answered
from quant_assets.api.described import of_table
from quant_assets.api.parameters import OfPrices, OfSymbols, canonical
from quant_assets.api.problems import Problem
from quant_assets.api.selection import Selection, checked_columns, chosen, sessions_between
from quant_assets.api.stores import settings_of, store_of
from quant_assets.market.valuations import VALUATION_SCHEMA
from quant_assets.market.weekly import WEEKLY_SCHEMA
from quant_assets.reader.price_reads import price_schema, read_prices
from quant_assets.reader.snapshots import parse_snapshot
from quant_assets.tables.layout import VALUATIONS

router = APIRouter(prefix="/v1", tags=["data"], dependencies=[Depends(require("read"))])

T = TypeVar("T", bound=OfSymbols)

_MOST_ROWS_AT_ONCE = 500_000
"""Rows up to which companies, and what a snapshot names, are read: both only in one piece."""
_SESSIONS_A_WEEK = 5

_PRICES = of_table("prices", price_schema("split", "company"), ("symbol", "date"))
_WEEKLY_SCHEMA = pl.Schema({**WEEKLY_SCHEMA, "exchange": pl.String()})
_VALUATIONS_SCHEMA = pl.Schema({**VALUATION_SCHEMA, "exchange": pl.String()})
_WEEKLY = of_table("weekly", _WEEKLY_SCHEMA, ("symbol", "week"))
_VALUATIONS = of_table("valuations", _VALUATIONS_SCHEMA, ("symbol", "date"))


class ManySymbols(BaseModel):
    """More symbols than an address has room for."""

    symbols: list[Annotated[str, Field(max_length=40)]] = Field(
        max_length=50_000, examples=[["AAPL", "IBM"]], description="Yahoo's symbols; lower case will do."
    )

    def into(self, asked: T) -> T:
        """`asked` of these symbols, too."""
        return asked.model_copy(update={"symbols": ",".join([*(asked.names() or ()), *self.symbols])})


@router.get("/prices", responses=_PRICES, response_class=Response)
async def prices(request: Request, asked: Annotated[OfPrices, Query()]) -> Response:
    """Daily bars by symbol and date, as `quant_assets.prices` reads them: as traded, or adjusted on read."""
    return await answered(request, asked, lambda: _prices(request, asked))


@router.post("/prices/query", dependencies=[Depends(asks_only)], responses=_PRICES, response_class=Response)
async def query_prices(request: Request, body: ManySymbols, asked: Annotated[OfPrices, Query()]) -> Response:
    """The same of many symbols: they are the body, everything else is said in the address."""
    return await answered(request, asked, lambda: _prices(request, body.into(asked)))


@router.get("/weekly", responses=_WEEKLY, response_class=Response)
async def weekly(request: Request, asked: Annotated[OfSymbols, Query()]) -> Response:
    """Weekly bars by symbol and week; `start` and `end` bound the weeks' Mondays."""
    return await answered(request, asked, lambda: _weekly(request, asked))


@router.post("/weekly/query", dependencies=[Depends(asks_only)], responses=_WEEKLY, response_class=Response)
async def query_weekly(request: Request, body: ManySymbols, asked: Annotated[OfSymbols, Query()]) -> Response:
    """The same of many symbols: they are the body, everything else is said in the address."""
    return await answered(request, asked, lambda: _weekly(request, body.into(asked)))


@router.get("/valuations", responses=_VALUATIONS, response_class=Response)
async def valuations(request: Request, asked: Annotated[OfSymbols, Query()]) -> Response:
    """What symbols were worth after each session, as the source said then, by symbol and date."""
    return await answered(request, asked, lambda: _valuations(request, asked))


@router.post(
    "/valuations/query", dependencies=[Depends(asks_only)], responses=_VALUATIONS, response_class=Response
)
async def query_valuations(
    request: Request, body: ManySymbols, asked: Annotated[OfSymbols, Query()]
) -> Response:
    """The same of many symbols: they are the body, everything else is said in the address."""
    return await answered(request, asked, lambda: _valuations(request, body.into(asked)))


def _prices(request: Request, asked: OfPrices) -> Prepared:
    store, settings = store_of(request), settings_of(request)
    by_company = asked.by == "company"
    moment = asked.moment()
    snapshot = None if asked.snapshot is None or asked.snapshot.startswith("state-") else asked.snapshot
    selection = chosen(store, asked, company_ids=by_company)
    if snapshot is not None:
        parse_snapshot(snapshot)
        if moment is not None:
            raise Problem(
                422, "The request cannot be used", "a snapshot has its moment: leave as_of or snapshot out"
            )
    schema = price_schema(asked.adjust, asked.by)
    columns = checked_columns(asked, schema)
    exchanges = sorted(set(selection.catalog.exchange_of.values())) if by_company else selection.exchanges()
    until = asked.end if asked.adjust == "none" else None
    shared = not selection.catalog.shared.isdisjoint(selection.symbols)
    looks = [
        look
        for code in exchanges
        for look in versions.of_prices(
            store,
            code,
            asked.start,
            until,
            ledger=moment is not None or snapshot is not None,
            companies=by_company or shared,
        )
    ]
    digest = versions.digest([*selection.told(), *versions.looked(store, looks)])
    sessions = sessions_between(settings, asked.start, asked.end)
    rows = sessions * len(selection.symbols)
    in_one = by_company or snapshot is not None
    if in_one and rows > _MOST_ROWS_AT_ONCE:
        raise Problem(
            422,
            "The request cannot be used",
            f"by=company and a snapshot's id are answered for up to {_MOST_ROWS_AT_ONCE} rows, this is up to {rows}: "
            "ask for fewer symbols or days",
        )

    def some(notes: Notes, symbols: Sequence[str]) -> pl.DataFrame:
        rows, told = read_prices(
            symbols,
            asked.start,
            asked.end,
            asked.adjust,
            moment,
            reinvest=asked.reinvest,
            envelope=asked.envelope,
            by=asked.by,
            snapshot=snapshot,
            store=store,
        )
        if len(symbols) == len(selection.symbols):
            notes.snapshot = told
        return rows

    read = _by_symbol(selection, 0 if in_one else sessions, some, schema)
    return Prepared("prices", canonical(asked), digest, read, rows, columns)


def _weekly(request: Request, asked: OfSymbols) -> Prepared:
    store, settings = store_of(request), settings_of(request)
    selection = chosen(store, asked)
    columns = checked_columns(asked, _WEEKLY_SCHEMA)
    exchanges = selection.exchanges()
    looks = [look for code in exchanges for look in versions.of_weekly(store, code)]
    digest = versions.digest([*selection.told(), *versions.looked(store, looks)])
    weeks = sessions_between(settings, asked.start, asked.end) // _SESSIONS_A_WEEK + 1

    def some(_: Notes, symbols: Sequence[str]) -> pl.DataFrame:
        return reader.weekly(symbols, asked.start, asked.end, store=store).collect()

    read = _by_symbol(selection, weeks, some, _WEEKLY_SCHEMA)
    return Prepared("weekly", canonical(asked), digest, read, weeks * len(selection.symbols), columns)


def _valuations(request: Request, asked: OfSymbols) -> Prepared:
    store, settings = store_of(request), settings_of(request)
    selection = chosen(store, asked)
    columns = checked_columns(asked, _VALUATIONS_SCHEMA)
    exchanges = selection.exchanges()
    years = versions.years_between(asked.start, asked.end)
    looks = [versions.of_partitions(store, VALUATIONS, code, years) for code in exchanges]
    digest = versions.digest([*selection.told(), *versions.looked(store, looks)])
    sessions = sessions_between(settings, asked.start, asked.end)

    def some(_: Notes, symbols: Sequence[str]) -> pl.DataFrame:
        return reader.valuations(symbols, asked.start, asked.end, store=store).collect()

    read = _by_symbol(selection, sessions, some, _VALUATIONS_SCHEMA)
    return Prepared("valuations", canonical(asked), digest, read, sessions * len(selection.symbols), columns)


def _by_symbol(
    selection: Selection, each: int, some: Callable[[Notes, Sequence[str]], pl.DataFrame], schema: Any
) -> Read:
    """Reads as many symbols at once as have about the rows wanted, with up to `each` rows a symbol; 0: all."""
    symbols = selection.symbols

    def read(notes: Notes, first: int, rows: int) -> Iterator[Batch]:
        size = max(1, rows // each) if each else max(1, len(symbols))
        if first >= len(symbols):
            yield Batch(first, pl.DataFrame(schema=schema))
        for at in range(first, len(symbols), size):
            yield Batch(at, some(notes, symbols[at : at + size]))

    return read
