"""Which company each symbol of an exchange is: evaluated when a catalog is made, from what has become known since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain

import polars as pl

from quant_assets.catalog.company_judge import Judge
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.lists import CatalogLists
from quant_assets.resources.object_store import ObjectStore, claim
from quant_assets.tables.companies import Book, CompanyEvent, CompanyRow, append_company_events, read_book
from quant_assets.tables.layout import TOP_LEVEL
from quant_assets.tables.listing_events import Confidence, Event, ListingEvent, append_events
from quant_assets.tables.symbol_facts import SymbolFacts, learn_facts


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the companies of an exchange are as of one catalog."""

    book: Book
    new: list[CompanyRow] = field(default_factory=list[CompanyRow])
    """The rows that the ledger has got of it."""


def with_company_ids(catalog: pl.DataFrame, exchange: str, book: Book) -> pl.DataFrame:
    """A catalog with `company_id` (null: not known yet) and `company_since` (null: always) of an exchange's symbols;
    the rows of others stay as they are."""
    rows: list[tuple[str, str, date | None]] = []
    for symbol, spells in book.of_symbol.items():
        rows.append((symbol, spells[-1].company_id, max(book.changes(symbol), default=None)))
    ids = pl.DataFrame(rows, {"symbol": pl.String, "_id": pl.String, "_since": pl.Date}, orient="row")
    ours = pl.col("exchange") == exchange
    return (
        catalog.join(ids, on="symbol", how="left", maintain_order="left")
        .with_columns(
            company_id=pl.when(ours).then("_id").otherwise("company_id"),
            company_since=pl.when(ours).then("_since").otherwise("company_since"),
        )
        .select(catalog.columns)
    )


def evaluate_companies(
    store: ObjectStore,
    exchange: str,
    catalog: pl.DataFrame,
    previous: pl.DataFrame | None,
    listed: Iterable[ConfiguredSymbol],
    now: datetime,
) -> Evaluation:
    """Gives ids to the symbols of an exchange that are known well enough, and judges what may have been renamed or
    reused since the catalog before; what is found is in the ledger.

    Args:
        catalog: the catalog to be, of which only the exchange's rows count.
        previous: the catalog before.
        listed: what the lists say, for the ISINs.

    Raises ObjectDamaged, StoreUnavailable.
    """
    # What a person has written comes first in the lists, and counts.
    isins = {entry.symbol: SymbolFacts(isin=entry.isin) for entry in reversed(list(listed)) if entry.isin}
    if isins:
        claim(store, TOP_LEVEL)
        learn_facts(store, exchange, isins, now)
    judge = Judge(store, exchange, catalog, previous, now, isins)
    book = read_book(store, exchange)
    if not judge.anything_to_say(book):
        return Evaluation(book)
    claim(store, TOP_LEVEL)
    new = append_company_events(store, exchange, judge.rows, now)
    append_events(store, exchange, _listing_events(new), now)
    return Evaluation(read_book(store, exchange) if new else book, new)


def _listing_events(rows: Sequence[CompanyRow]) -> list[ListingEvent]:
    """That listings go on under another symbol: events of the old one."""
    now = {row.company_id: row for row in rows if row.event is CompanyEvent.RENAMED and row.last is None}
    return [
        ListingEvent(
            row.symbol, Event.RENAMED, new.first, f"{new.symbol} now: {row.evidence}", Confidence.SEEN
        )
        for row in rows
        if row.event is CompanyEvent.RENAMED
        and row.last is not None
        and (new := now.get(row.company_id)) is not None
        and new.first is not None
    ]


def identified(
    store: ObjectStore,
    catalog: pl.DataFrame,
    previous: pl.DataFrame | None,
    exchange: str,
    lists: CatalogLists,
    now: datetime,
) -> tuple[pl.DataFrame, list[CompanyRow]]:
    """A catalog to be with the companies of an exchange, and what the ledger has got of it.

    Raises ObjectDamaged, StoreUnavailable.
    """
    listed = [*lists.configured.get(exchange, ()), *chain(*lists.members.get(exchange, {}).values())]
    found = evaluate_companies(store, exchange, catalog, previous, listed, now)
    return with_company_ids(catalog, exchange, found.book), found.new


def remarks(exchange: str, found: Iterable[CompanyRow]) -> list[str]:
    """A sentence for each symbol that has been found to be another company's, or may be."""
    words = {CompanyEvent.RENAMED: "a company's new symbol", CompanyEvent.REUSED: "another company's now"}
    told: list[str] = []
    for row in found:
        if row.event is CompanyEvent.OPEN:
            told.append(f"{exchange} {row.symbol}: {row.evidence} (quant-assets catalog review)")
        elif row.event in words and row.last is None:
            told.append(
                f"{exchange} {row.symbol}: {words[row.event]} from {row.first} on ({row.company_id}): {row.evidence}"
            )
    return told
