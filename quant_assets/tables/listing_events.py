"""Listing events: an append-only ledger of what was learned about listings, and the state that it leaves each in.

`first_trade` says when a symbol was listed. The events of `STATE_AFTER` follow each other: the last one of a symbol
tells its state (`standings`). What they rest on is judged in `quant_assets.catalog.listing_state`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

import polars as pl

from quant_assets.resources.object_store import Blob, ObjectNotFound, ObjectStore, put_reconciled
from quant_assets.tables.layout import events_key
from quant_assets.tables.parquet import decode, encode

LISTING_EVENTS_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "event": pl.String(),
        "date": pl.Date(),
        "evidence": pl.String(),
        "confidence": pl.String(),
        "known_at": pl.Datetime("us", "UTC"),
    }
)


class Event(StrEnum):
    """What happened; the day that `date` names, in words."""

    FIRST_TRADE = "first_trade"
    """Listed: the first trading day."""
    SUSPENDED = "suspended"
    """The first session without a bar of a symbol that the source still knows."""
    RESUMED = "resumed"
    """The first session with a bar again, of a symbol that was suspended or suspect."""
    SUSPECT = "suspect"
    """The first session without a bar of a symbol of which the source has nothing any more."""
    DELISTED = "delisted"
    """The last trading day."""
    REACTIVATED = "reactivated"
    """The day from which on a delisted symbol is expected again."""
    RENAMED = "renamed"
    """The first trading day under the new symbol."""


FIRST_TRADE = Event.FIRST_TRADE.value


class State(StrEnum):
    """Whether a symbol trades, as far as its bars tell."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    SUSPECT = "suspect"
    DELISTED = "delisted"


class Confidence(StrEnum):
    """How far an event can be trusted."""

    STATED = "stated"
    """The price source, or a person, said so."""
    SEEN = "seen"
    """A bar, or a list, shows it."""
    TWO_KINDS = "two_kinds"
    """Two kinds of evidence that do not depend on each other, over several sessions."""
    ONE_KIND = "one_kind"
    """One kind of evidence, over several sessions."""


STATE_AFTER: Mapping[str, State] = {
    Event.SUSPENDED: State.SUSPENDED,
    Event.RESUMED: State.ACTIVE,
    Event.SUSPECT: State.SUSPECT,
    Event.DELISTED: State.DELISTED,
    Event.REACTIVATED: State.ACTIVE,
}


@dataclass(frozen=True, slots=True)
class ListingEvent:
    """One event on its way into the ledger."""

    symbol: str
    event: Event
    date: date
    evidence: str
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the ledger leaves a symbol."""

    state: State = State.ACTIVE
    since: date | None = None
    """The date of the event that led there; None: there was none."""
    last_session: date | None = None
    """The last trading day before the latest delisting that was learned, whatever came after it."""
    reactivated: date | None = None
    """From when on it is expected again after that."""


def read_events(store: ObjectStore, exchange: str) -> pl.DataFrame:
    """All listing events of an exchange (LISTING_EVENTS_SCHEMA), oldest first. Raises ObjectDamaged."""
    key = events_key(exchange)
    try:
        return _parsed(store.get(key), store, key)
    except ObjectNotFound:
        return pl.DataFrame(schema=LISTING_EVENTS_SCHEMA)


def append_events(
    store: ObjectStore, exchange: str, events: Iterable[ListingEvent], now: datetime
) -> pl.DataFrame:
    """Appends those events that are news, and answers them (LISTING_EVENTS_SCHEMA); puts nothing without news.

    An event of a symbol with the same name and date is no news, unless its state, or its first trade, was told
    otherwise since.
    """
    wanted = list(events)
    news = pl.DataFrame(schema=LISTING_EVENTS_SCHEMA)
    if not wanted:
        return news

    def decide(present: Blob | None) -> bytes | None:
        nonlocal news
        key = events_key(exchange)
        ledger = _parsed(present, store, key) if present else pl.DataFrame(schema=LISTING_EVENTS_SCHEMA)
        told: dict[tuple[str, str], set[tuple[str, date]]] = {}
        for symbol, event, day in ledger.select("symbol", "event", "date").iter_rows():
            _note(told, symbol, event, day)
        rows: list[tuple[object, ...]] = []
        for one in wanted:
            if _note(told, one.symbol, one.event, one.date):
                rows.append((one.symbol, one.event.value, one.date, one.evidence, one.confidence.value, now))
        news = pl.DataFrame(rows, schema=LISTING_EVENTS_SCHEMA, orient="row")
        return encode(pl.concat([ledger, news]), {}) if rows else None

    put_reconciled(store, events_key(exchange), decide)
    return news


def standings(ledger: pl.DataFrame) -> dict[str, Standing]:
    """Where the ledger (LISTING_EVENTS_SCHEMA) leaves the symbols of which it tells a state."""
    found: dict[str, Standing] = {}
    rows = ledger.filter(pl.col("event").is_in(list(STATE_AFTER))).select("symbol", "event", "date")
    for symbol, event, day in rows.iter_rows():
        before = found.get(symbol, Standing())
        last, again = before.last_session, before.reactivated
        if event == Event.DELISTED:
            last, again = day, None
        elif event == Event.REACTIVATED:
            again = day
        found[symbol] = Standing(STATE_AFTER[event], day, last, again)
    return found


def with_learned(store: ObjectStore, exchange: str, catalog: pl.DataFrame) -> pl.DataFrame:
    """`catalog` (symbol, listed_on, delisted_on, …) with what the ledger knows of the dates.

    An unknown `listed_on` is filled with the first trade; of several learned dates the last of the ledger counts. Of
    a symbol that is delisted by the ledger `delisted_on` is its last trading day. A configured date wins. A symbol
    that has left the list without ever having had a bar (its `delisted_on` is not stated, and nothing tells when it
    was listed) is left out: no cell expects it.
    """
    ledger = read_events(store, exchange)
    learned = (
        ledger.filter(pl.col("event") == FIRST_TRADE)
        .group_by("symbol")
        .agg(pl.col("date").last().alias("_learned"))
    )
    listings = (
        catalog.join(learned, on="symbol", how="left", maintain_order="left")
        .with_columns(pl.coalesce("listed_on", "_learned").alias("listed_on"))
        .drop("_learned")
    )
    stated = "stated_delisting"
    if stated in listings.columns:
        left = pl.col("delisted_on").is_not_null() & pl.col(stated).is_null()
        listings = listings.filter(~(left & pl.col("listed_on").is_null()))
    ended = {s: found.since for s, found in standings(ledger).items() if found.state is State.DELISTED}
    if not ended or "delisted_on" not in listings.columns:
        return listings
    last = pl.col("symbol").replace_strict(ended, default=None, return_dtype=pl.Date)
    known = pl.col(stated if stated in listings.columns else "delisted_on")
    return listings.with_columns(pl.coalesce(known, last, "delisted_on").alias("delisted_on"))


def learn_first_trades(
    store: ObjectStore,
    exchange: str,
    catalog: pl.DataFrame,
    first_trade: Mapping[str, date],
    now: datetime,
) -> None:
    """Appends the first trade dates that neither the catalog nor the ledger knows; puts nothing without news."""
    configured = set(catalog.filter(pl.col("listed_on").is_not_null())["symbol"])
    told = "first trade date stated by the price source"
    news = [
        ListingEvent(symbol, Event.FIRST_TRADE, day, told, Confidence.STATED)
        for symbol, day in sorted(first_trade.items())
        if symbol not in configured
    ]
    append_events(store, exchange, news, now)


def learn_reactivations(
    store: ObjectStore, exchange: str, bars_after: Mapping[str, date], now: datetime
) -> None:
    """Appends that symbols trade again which the ledger has as delisted; `bars_after`: by symbol the first bar after
    the last day on which it was expected. Puts nothing without news."""
    if not bars_after:
        return
    standing = standings(read_events(store, exchange))
    news = [
        ListingEvent(
            symbol, Event.REACTIVATED, day, f"the source has bars again, the first on {day}", Confidence.SEEN
        )
        for symbol, day in sorted(bars_after.items())
        if (one := standing.get(symbol)) and one.state is State.DELISTED and one.since and one.since < day
    ]
    append_events(store, exchange, news, now)


def _note(told: dict[tuple[str, str], set[tuple[str, date]]], symbol: str, event: str, day: date) -> bool:
    """Takes note of an event; whether it was news. Of those that tell a state, and of first trades, only the last one
    counts: the source may take back what it said."""
    of_state = event in STATE_AFTER
    known = told.setdefault((symbol, "state" if of_state else event), set())
    if (event, day) in known:
        return False
    if of_state or event == FIRST_TRADE:
        known.clear()
    known.add((event, day))
    return True


def _parsed(blob: Blob, store: ObjectStore, key: str) -> pl.DataFrame:
    """The ledger in an object; what earlier releases have recorded, first trade dates, says no confidence."""
    ledger = decode(blob.data, store.uri(key))
    if "confidence" not in ledger.columns:
        ledger = ledger.with_columns(confidence=pl.lit(Confidence.STATED.value))
    return ledger.select(LISTING_EVENTS_SCHEMA.names())
