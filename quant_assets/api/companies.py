"""`/v1/companies`, `/v1/exchanges/{code}/listing-events`: who stood under which symbol, and what was learned."""

from __future__ import annotations

from typing import Annotated

import polars as pl
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from quant_assets import reader
from quant_assets.api import versions
from quant_assets.api.access import require
from quant_assets.api.answers import Prepared, answered
from quant_assets.api.described import of_table
from quant_assets.api.parameters import Shaping, Symbols, parts_of
from quant_assets.api.small import exchanges_for, prepared
from quant_assets.api.stores import store_of
from quant_assets.tables.catalog_reads import read_catalog
from quant_assets.tables.company_reads import COMPANIES_SCHEMA
from quant_assets.tables.layout import company_events_key, events_key
from quant_assets.tables.listing_events import LISTING_EVENTS_SCHEMA, read_events

router = APIRouter(prefix="/v1", tags=["listings"], dependencies=[Depends(require("read"))])


class OfCompanies(Shaping):
    """Some companies."""

    symbols: Symbols | None = Field(
        None,
        description="Of those that ever had one of these symbols, or have one of these ids. Nothing: all.",
        max_length=20_000,
    )


@router.get(
    "/companies",
    responses=of_table("companies", COMPANIES_SCHEMA, ("exchange", "company_id", "symbol")),
    response_class=Response,
)
async def companies(request: Request, asked: Annotated[OfCompanies, Query()]) -> Response:
    """Which company stood under which symbol, and when, as `quant_assets.companies` reads it."""
    return await answered(request, asked, lambda: _companies(request, asked))


@router.get(
    "/exchanges/{code}/listing-events",
    responses=of_table("listing_events", LISTING_EVENTS_SCHEMA, ("symbol", "event")),
    response_class=Response,
)
async def listing_events(
    request: Request,
    code: Annotated[str, Path(max_length=20, examples=["US"])],
    asked: Annotated[Shaping, Query()],
) -> Response:
    """What was learned of an exchange's listings, in the order in which it became known."""
    return await answered(request, asked, lambda: _listing_events(request, code, asked))


def _companies(request: Request, asked: OfCompanies) -> Prepared:
    store = store_of(request)
    catalog = read_catalog(store)
    codes = sorted(set(catalog.exchange_of.values()))
    looks = [versions.of_object(store, company_events_key(code)) for code in codes]

    # As they are written: of ids, capitals and small letters are not the same.
    names = None if asked.symbols is None else sorted(parts_of(asked.symbols))

    def part() -> pl.DataFrame:
        return reader.companies(names, store=store).collect()

    told = [catalog.info.version, *(names or ())]
    return prepared(request, "companies", asked, COMPANIES_SCHEMA, looks, [part], told)


def _listing_events(request: Request, code: str, asked: Shaping) -> Prepared:
    store = store_of(request)
    (one,) = exchanges_for(request, code)
    looks = [versions.of_object(store, events_key(one.code))]

    def part() -> pl.DataFrame:
        return read_events(store, one.code)

    return prepared(request, "listing_events", asked, LISTING_EVENTS_SCHEMA, looks, [part], [one.code])
