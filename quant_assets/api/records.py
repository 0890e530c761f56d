"""`/v1/cells`, `/v1/gaps`, `/v1/restatements`, `/v1/quarantine`: how good the data are, and what became of them."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Annotated, Literal

import polars as pl
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from quant_assets.api import versions
from quant_assets.api.access import require
from quant_assets.api.answers import Prepared, answered
from quant_assets.api.described import of_table
from quant_assets.api.small import OfExchange, OfExchangeSymbols, exchanges_for, places_for, prepared
from quant_assets.api.stores import settings_of, store_of
from quant_assets.catalog.gaps import exchange_gaps
from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState
from quant_assets.market.gaps import GAPS_SCHEMA
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import (
    CATALOG,
    DAILY,
    RESTATEMENTS,
    events_key,
    ledger_prefix,
    object_key,
    quarantine_key,
    requested_key,
)
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.quarantine import ITEMS_SCHEMA, Decision, items, read_quarantine
from quant_assets.tables.restatements import LEDGER_SCHEMA, Ledger

router = APIRouter(prefix="/v1", tags=["records"], dependencies=[Depends(require("read"))])

CELLS_SCHEMA = pl.Schema(
    {
        "exchange": pl.String(),
        "date": pl.Date(),
        "state": pl.String(),
        "rows": pl.Int64(),
        "bytes": pl.Int64(),
        "expected": pl.Int64(),
        "received": pl.Int64(),
        "missing": pl.Int64(),
        "reason": pl.String(),
        "source": pl.String(),
        "content_sha256": pl.String(),
        "recorded_at": pl.String(),
    }
)
"""A cell a row: how many symbols were `expected` and `received`, how many are `missing`, and why it is as it is."""
MISSING_COLUMN = {"missing_symbols": pl.List(pl.String())}
"""With `missing=true`: each symbol that is missing, with the reason."""

_GAPS_SCHEMA = pl.Schema({"exchange": pl.String(), **GAPS_SCHEMA})
_LEDGER_SCHEMA = pl.Schema({"exchange": pl.String(), **LEDGER_SCHEMA})
_ITEMS_SCHEMA = pl.Schema({"exchange": pl.String(), **ITEMS_SCHEMA})


class OfCells(OfExchange):
    """Some cells."""

    state: CellState | None = Field(None, description="Those in this state.")
    missing: bool = Field(
        False, description="With the column missing_symbols: who is missing in a cell, and why."
    )


class OfGaps(OfExchangeSymbols):
    """Some gaps."""

    settled: bool = Field(
        False, description="Those, too, that are not asked about again: suspensions, rejected bars."
    )


class OfQuarantine(OfExchangeSymbols):
    """Some claims."""

    decision: Decision | Literal["any"] = Field(
        Decision.PENDING, description="Those about which this was decided; pending: nothing yet."
    )


@router.get(
    "/cells",
    responses=of_table("cells", {**CELLS_SCHEMA, **MISSING_COLUMN}, ("exchange", "date", "state")),
    response_class=Response,
)
async def cells(request: Request, asked: Annotated[OfCells, Query()]) -> Response:
    """The (exchange, session) cells: what was expected, what came and what did not."""
    return await answered(request, asked, lambda: _cells(request, asked))


@router.get("/gaps", responses=of_table("gaps", _GAPS_SCHEMA, ("exchange", "kind")), response_class=Response)
async def gaps(request: Request, asked: Annotated[OfGaps, Query()]) -> Response:
    """Where bars are missing, with dates and evidence, as `quant-assets gaps` lists them; `start` and `end` cut to
    the gaps that touch the range. `symbol` is null for a whole market."""
    return await answered(request, asked, lambda: _gaps(request, asked))


@router.get(
    "/restatements",
    responses=of_table("restatements", _LEDGER_SCHEMA, ("exchange", "symbol")),
    response_class=Response,
)
async def restatements(request: Request, asked: Annotated[OfExchangeSymbols, Query()]) -> Response:
    """The ledger: every value that changed after it was stored, why, and when that became known, the oldest first."""
    return await answered(request, asked, lambda: _restatements(request, asked))


@router.get(
    "/quarantine",
    responses=of_table("quarantine", _ITEMS_SCHEMA, ("exchange", "item", "symbol")),
    response_class=Response,
)
async def quarantine(request: Request, asked: Annotated[OfQuarantine, Query()]) -> Response:
    """What is in doubt and held back: an answer, a stretch of rows, a row or an action a row of the table."""
    return await answered(request, asked, lambda: _quarantine(request, asked))


def _cells(request: Request, asked: OfCells) -> Prepared:
    store, exchanges = store_of(request), exchanges_for(request, asked.exchange)
    years = versions.years_between(asked.start, asked.end)
    looks = [versions.of_partitions(store, DAILY, one.code, years) for one in exchanges]
    schema = {**CELLS_SCHEMA, **(MISSING_COLUMN if asked.missing else {})}
    parts = [partial(_cells_of, store, one.code, asked) for one in exchanges]
    return prepared(request, "cells", asked, schema, looks, parts, [one.code for one in exchanges])


def _cells_of(store: ObjectStore, code: str, asked: OfCells) -> pl.DataFrame:
    first, last = (asked.start or date.min).isoformat(), (asked.end or date.max).isoformat()
    rows = [
        {
            "exchange": code,
            "date": date.fromisoformat(entry.partition),
            "state": entry.state.value,
            "rows": entry.rows,
            "bytes": entry.size,
            "expected": entry.expected,
            "received": entry.received,
            "missing": max(0, entry.expected - entry.received),
            "reason": entry.reason,
            "source": entry.source,
            "content_sha256": entry.content_sha256,
            "recorded_at": entry.recorded_at,
            **(
                {"missing_symbols": [f"{m.symbol}: {m.reason}" for m in entry.missing]}
                if asked.missing
                else {}
            ),
        }
        for entry in Manifest(store, DAILY).all(code)
        if first <= entry.partition <= last and (asked.state is None or entry.state is asked.state)
    ]
    return pl.DataFrame(rows, schema={**CELLS_SCHEMA, **(MISSING_COLUMN if asked.missing else {})})


def _gaps(request: Request, asked: OfGaps) -> Prepared:
    store, now = store_of(request), settings_of(request).clock()
    exchanges, symbols = places_for(request, asked)
    looks = [versions.of_object(store, object_key(CATALOG))]
    for one in exchanges:
        looks.append(versions.of_partitions(store, DAILY, one.code))
        looks += [versions.of_object(store, key(one.code)) for key in (requested_key, events_key)]

    def of(one: Exchange) -> pl.DataFrame:
        found = exchange_gaps(store, one, now, symbols=symbols or ())
        if not asked.settled:
            found = found.filter(~pl.col("settled"))
        if asked.start:
            found = found.filter(pl.col("last") >= asked.start)
        if asked.end:
            found = found.filter(pl.col("first") <= asked.end)
        return found.with_columns(exchange=pl.lit(one.code))

    # What is missing today grows by a day with each session that is over.
    told = [
        f"{one.code} {one.rules!r} {one.calendar().last_session_over(now, one.delay)}" for one in exchanges
    ]
    parts = [partial(of, one) for one in exchanges]
    return prepared(request, "gaps", asked, _GAPS_SCHEMA, looks, parts, [*told, *(symbols or ())])


def _restatements(request: Request, asked: OfExchangeSymbols) -> Prepared:
    store = store_of(request)
    exchanges, symbols = places_for(request, asked)
    looks = [versions.of_prefix(store, ledger_prefix(RESTATEMENTS, one.code)) for one in exchanges]

    def of(code: str) -> pl.DataFrame:
        found = _between(Ledger(store, code).restatements(), "date", asked, symbols)
        return found.with_columns(exchange=pl.lit(code))

    parts = [partial(of, one.code) for one in exchanges]
    told = [*(one.code for one in exchanges), *(symbols or ())]
    return prepared(request, "restatements", asked, _LEDGER_SCHEMA, looks, parts, told)


def _quarantine(request: Request, asked: OfQuarantine) -> Prepared:
    store = store_of(request)
    exchanges, symbols = places_for(request, asked)
    looks = [versions.of_object(store, quarantine_key(one.code)) for one in exchanges]

    def of(code: str) -> pl.DataFrame:
        held = _between(read_quarantine(store, code), "date", asked, symbols)
        found = items(held)
        if asked.decision != "any":
            found = found.filter(pl.col("decision") == asked.decision.value)
        return found.with_columns(exchange=pl.lit(code))

    parts = [partial(of, one.code) for one in exchanges]
    told = [*(one.code for one in exchanges), *(symbols or ())]
    return prepared(request, "quarantine", asked, _ITEMS_SCHEMA, looks, parts, told)


def _between(
    rows: pl.DataFrame, day: str, asked: OfExchangeSymbols, symbols: list[str] | None
) -> pl.DataFrame:
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(symbols))
    if asked.start:
        rows = rows.filter(pl.col(day) >= asked.start)
    return rows.filter(pl.col(day) <= asked.end) if asked.end else rows
