"""From the source's quotes to a snapshot of valuations: who is asked for, what came, and what is stored of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.errors import QuantAssetsError
from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState, listed
from quant_assets.market.valuations import valued
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.yahoo_quotes import Quoted
from quant_assets.tables.layout import VALUATIONS
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.valuations import merged, stored_snapshot
from quant_assets.words import number_of


class SnapshotImpossible(QuantAssetsError):
    """No snapshot of that session can be taken, or nothing came; the message says why, and what can be asked for."""


class QuoteSource(Protocol):
    """Who is asked (`resources.yahoo_quotes.Quotes`)."""

    def quoted(self, symbols: Sequence[str]) -> Quoted:
        """The quotes of symbols."""
        ...


@dataclass(frozen=True)
class Snapshot:
    """What the valuations of a session are after asking."""

    rows: pl.DataFrame
    """What is to be stored: of symbols that were not answered now, what an earlier snapshot of the session has."""
    asked: int
    unanswered: Sequence[str]
    """Symbols of which the source said nothing when it was asked."""
    failed: Mapping[str, str]
    """By symbol why it could not be asked for."""
    missing: int
    """How many of the listed symbols have no row."""
    nonsense: Counter[str]
    """By column how many of the answers held something that it cannot mean."""

    @property
    def state(self) -> CellState:
        """Complete when every symbol that is listed has a row."""
        return CellState.PARTIAL if self.missing else CellState.COMPLETE


def askable(exchange: Exchange, now: datetime) -> list[date]:
    """The sessions that a snapshot of this moment can be of: the last one that is over, and today's."""
    calendar = exchange.calendar()
    today = now.astimezone(ZoneInfo(exchange.zone)).date()
    found = {calendar.last_session_over(now, exchange.delay)}
    if calendar.knows(today) and calendar.is_session(today):
        found.add(today)
    return sorted(session for session in found if session is not None)


def why_not_askable(exchange: Exchange, session: date, now: datetime) -> str:
    """Why no snapshot of a session can be taken at this moment, and of which one it can; "" when it can."""
    possible = askable(exchange, now)
    if session in possible:
        return ""
    dates = " or ".join(map(str, possible)) or "no session yet"
    return f"a snapshot is of now, and {session} is not: {VALUATIONS} of {exchange.code} can be asked for {dates}"


def take_snapshot(
    store: ObjectStore,
    exchange: Exchange,
    session: date,
    catalog: pl.DataFrame,
    source: QuoteSource,
    now: datetime,
    only: Sequence[str] = (),
) -> Snapshot:
    """Asks for the quotes of the symbols listed in a session, or of those of them that `only` names.

    Raises SnapshotImpossible, ObjectDamaged, StoreUnavailable, Interrupted.
    """
    code = exchange.code
    if why := why_not_askable(exchange, session, now):
        raise SnapshotImpossible(why)
    expected = _listed(store, code, catalog, session)
    asked = [symbol for symbol in expected if symbol in only] if only else expected
    if not asked:
        raise SnapshotImpossible(f"the catalog has no symbol of {code} that is listed on {session}")
    quoted = source.quoted(asked)
    found = valued(quoted.quotes, catalog.filter(pl.col("exchange") == code), session, now)
    rows = merged(stored_snapshot(store, code, session), found.rows)
    if rows.is_empty() or (found.rows.is_empty() and quoted.failed):
        why = next(iter(quoted.failed.values()), "the source has no quote of them")
        raise SnapshotImpossible(f"none of {number_of(len(asked), 'symbol')} was answered: {why}")
    unanswered = [s for s in asked if s not in quoted.quotes and s not in quoted.failed]
    missing = len(set(expected).difference(rows["symbol"]))
    return Snapshot(rows, len(asked), unanswered, quoted.failed, missing, found.nonsense)


def not_valued(store: ObjectStore, exchange: str, session: date, catalog: pl.DataFrame) -> list[str]:
    """The symbols listed in a session that its snapshot has no row of: all, where there is none.

    Raises ObjectDamaged, StoreUnavailable.
    """
    there = set(stored_snapshot(store, exchange, session)["symbol"])
    return [symbol for symbol in _listed(store, exchange, catalog, session) if symbol not in there]


def _listed(store: ObjectStore, exchange: str, catalog: pl.DataFrame, session: date) -> list[str]:
    return listed(with_learned(store, exchange, followed(catalog, exchange)), session)
