"""What the stored cells say of the listings of an exchange: read, judged (`listing_state`), and put on record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from functools import partial

import polars as pl

from quant_assets.catalog.build import expected_through, left_lists
from quant_assets.catalog.listing_state import WINDOW, Hole, Listings, Session, judge, kind_of
from quant_assets.market.coverage import CellState
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore
from quant_assets.tables.entries import Entry
from quant_assets.tables.holes import holes_of
from quant_assets.tables.layout import DAILY, PROFILES, object_key
from quant_assets.tables.listing_events import FIRST_TRADE, Standing, append_events, read_events, standings
from quant_assets.tables.manifest import Expected, Manifest
from quant_assets.tables.parquet import read_table


def judged_listings(
    store: ObjectStore, exchange: str, catalog: pl.DataFrame, previous: pl.DataFrame | None, now: datetime
) -> tuple[dict[str, Standing], pl.DataFrame]:
    """Where the symbols of an exchange stand at `now`, and the events that this is news by, which are on record.

    Reads the ledger and a year or two of the manifest; more only where the state of somebody may change.

    Args:
        catalog: as it is made now; `previous`: as it was made before.

    Raises ObjectDamaged, StoreUnavailable.
    """
    ledger = read_events(store, exchange)
    known = standings(ledger)
    ours = catalog.filter(pl.col("exchange") == exchange)
    before = ours.clear() if previous is None else previous.filter(pl.col("exchange") == exchange)
    had_left, left = left_lists(before), left_lists(ours)
    listings = Listings(
        known,
        left,
        expected_through(ours),
        frozenset(_never_traded(ours, ledger)),
        frozenset(ours.filter(pl.col("stated_delisting").is_not_null())["symbol"]),
        frozenset(had_left.keys() - left.keys()),
        _LastBars(store, exchange).of,
    )
    sessions = recent_sessions(store, exchange, now.date())
    symbols = set(ours["symbol"])
    due = [event for event in judge(sessions, listings, now.date()) if event.symbol in symbols]
    news = append_events(store, exchange, due, now)
    return (standings(pl.concat([ledger, news])) if news.height else known), news


def _never_traded(catalog: pl.DataFrame, ledger: pl.DataFrame) -> pl.Series:
    first = ledger.filter(pl.col("event") == FIRST_TRADE)["symbol"]
    return catalog.filter(pl.col("listed_on").is_null(), ~pl.col("symbol").is_in(first.implode()))["symbol"]


def recent_sessions(store: ObjectStore, exchange: str, today: date) -> list[Session]:
    """The last sessions of an exchange that have a cell, in order. Raises ObjectDamaged, StoreUnavailable."""
    manifest = Manifest(store, DAILY)
    entries: list[Entry] = []
    # A year whose shard is lost is no evidence until a run has caught up with its objects.
    for year in (today.year, today.year - 1):
        of_year = manifest.year(exchange, year)
        open_ = [of_year[day] for day in sorted(of_year) if of_year[day].state is not CellState.CLOSED]
        entries = [*open_, *entries][-WINDOW:]
        if len(entries) == WINDOW:
            break
    holes = _holes(entries)
    expected = Expected(store, exchange)
    return [
        Session(
            date.fromisoformat(entry.partition),
            entry.received,
            holes.get(date.fromisoformat(entry.partition), {}),
            partial(_expects, expected, entry),
        )
        for entry in entries
    ]


def _holes(entries: list[Entry]) -> Mapping[date, dict[str, Hole]]:
    found: dict[date, dict[str, Hole]] = {}
    # Most of them say the same: they share one object.
    shared: dict[tuple[str, date, date], Hole] = {}
    rows = holes_of(entries).select("date", "symbol", "outcome", pl.coalesce("since", "asked_on"), "asked_on")
    for day, symbol, *told in rows.iter_rows():
        key = (told[0], told[1], told[2])
        hole = shared.get(key)
        if hole is None:
            hole = shared[key] = Hole(kind_of(key[0]), key[1], key[2])
        found.setdefault(day, {})[symbol] = hole
    return found


def _expects(expected: Expected, entry: Entry, symbol: str) -> bool:
    symbols = expected.symbols(entry.expected_sha256) if entry.expected_sha256 else None
    return symbols is not None and symbol in symbols


class _LastBars:
    """The last sessions with a bar by the profiles, read once somebody is asked for."""

    def __init__(self, store: ObjectStore, exchange: str) -> None:
        self._store, self._exchange = store, exchange
        self._last: dict[str, date] | None = None

    def of(self, symbol: str) -> date | None:
        if self._last is None:
            try:
                profiles = read_table(self._store, object_key(PROFILES, self._exchange))
            except ObjectNotFound:
                profiles = pl.DataFrame(schema={"symbol": pl.String, "last_session": pl.Date})
            self._last = dict(profiles.select("symbol", "last_session").drop_nulls().iter_rows())
        return self._last.get(symbol)
