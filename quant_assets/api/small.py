"""What the routes of small tables share: they are read in a few parts, an exchange each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from fastapi import Request
from pydantic import Field

from quant_assets.api.answers import Batch, Notes, Prepared, Read
from quant_assets.api.parameters import Ranged, Shaping, Symbols, canonical, parts_of
from quant_assets.api.selection import checked_columns, unknown
from quant_assets.api.stores import settings_of, store_of
from quant_assets.api.versions import Look, digest, looked
from quant_assets.exchanges import Exchange, enabled, known
from quant_assets.tables.catalog_reads import current_catalog

Part = Callable[[], pl.DataFrame]


class OfExchange(Ranged):
    """Of one exchange or of all in use, in a range of days."""

    exchange: str | None = Field(
        None,
        description="Of this exchange alone, by its code. Nothing: all in use.",
        max_length=20,
        examples=["US"],
    )


class OfExchangeSymbols(OfExchange):
    """And of some symbols."""

    symbols: Symbols | None = Field(
        None,
        description="Of these symbols alone, with commas or spaces between; lower case will do.",
        max_length=20_000,
    )


def exchanges_for(request: Request, code: str | None) -> list[Exchange]:
    """The exchange of a code, or all in use. Raises Problem 404, naming near ones."""
    settings = settings_of(request)
    if code is None:
        return enabled(settings.exchanges, settings.exchanges_file)
    there = known(settings.exchanges_file)
    if code not in there:
        raise unknown("exchange", [code], there)
    return [there[code]]


def symbols_for(request: Request, text: str | None) -> list[str] | None:
    """The symbols of a list, as the catalog spells them; None: all. Raises Problem 404, naming near ones."""
    if text is None:
        return None
    catalog = current_catalog(store_of(request)).exchange_of
    names = [name if name in catalog else name.upper() for name in parts_of(text)]
    if lacking := [name for name in names if name not in catalog]:
        raise unknown("symbol", lacking, catalog)
    return sorted(names)


def places_for(request: Request, asked: OfExchangeSymbols) -> tuple[list[Exchange], list[str] | None]:
    """The exchanges to look at and the symbols (None: all): of symbols their own exchanges, and no others.

    Raises Problem 404, naming near ones.
    """
    exchanges, symbols = exchanges_for(request, asked.exchange), symbols_for(request, asked.symbols)
    if symbols is None:
        return exchanges, None
    of = current_catalog(store_of(request)).exchange_of
    theirs = {of[symbol] for symbol in symbols}
    return [one for one in exchanges if one.code in theirs], symbols


def prepared(
    request: Request,
    table: str,
    asked: Shaping,
    schema: Mapping[str, Any],
    looks: Sequence[Look],
    parts: Sequence[Part],
    told: Sequence[str] = (),
) -> Prepared:
    """An answer of parts that have the columns of `schema`, one after the other.

    `looks` and `told` are all that it depends on: objects of the store, and what else there is.
    """
    columns = checked_columns(asked, schema)
    versions = digest([*told, *looked(store_of(request), looks)])
    read = _in_parts(parts, pl.Schema(schema))
    return Prepared(table, canonical(asked), versions, read, 0, columns)


def _in_parts(parts: Sequence[Part], schema: pl.Schema) -> Read:
    def read(notes: Notes, first: int, rows: int) -> Iterator[Batch]:
        if first >= len(parts):
            yield Batch(first, pl.DataFrame(schema=schema))
        for at, part in enumerate(parts[first:], first):
            found = part()
            yield Batch(at, found.select(_column(found, name, kind) for name, kind in schema.items()))

    return read


def _column(found: pl.DataFrame, name: str, kind: Any) -> pl.Expr:
    """A column of the type that it has today; null where an earlier release did not write it."""
    return (pl.col(name) if name in found.columns else pl.lit(None)).cast(kind).alias(name)
