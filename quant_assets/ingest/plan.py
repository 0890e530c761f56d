"""What a run has to ask for: per session the symbols still missing, per symbol the first session wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState, listed, symbols_sha256
from resources.manifest import Entry, Manifest
from resources.object_store import ObjectDamaged, ObjectStore
from resources.tables import DAILY, object_key, read_table


@dataclass(frozen=True, slots=True)
class Days:
    """The days of a range told apart, each list in order."""

    sessions: list[date]
    """Sessions that are over: the cells that can be filled."""
    closed: list[date]
    too_early: list[date]
    """Sessions not over yet, close and delay included."""


@dataclass(slots=True)
class Plan:
    """What is wanted of an exchange."""

    days: Days
    wanted: dict[date, set[str]]
    """Per session the symbols to ask for; sessions that want none are left out."""
    standing: dict[date, Entry] = field(default_factory=dict[date, Entry])
    """What the manifest knows of the sessions and closed days."""
    damaged: dict[date, str] = field(default_factory=dict[date, str])
    """Sessions whose cell is not what was written, and what is wrong: left alone until somebody removes it."""

    def starts(self) -> dict[str, date]:
        """Per symbol the earliest session wanted, symbols sorted."""
        first: dict[str, date] = {}
        for session in sorted(self.wanted):
            for symbol in self.wanted[session]:
                first.setdefault(symbol, session)
        return dict(sorted(first.items()))


def tell_apart(exchange: Exchange, days: Sequence[date], now: datetime) -> Days:
    """Which of `days` are sessions that are over at `now`, closed days, and sessions still to come."""
    calendar = exchange.calendar()
    told = Days([], [], [])
    if not days:
        return told
    sessions = set(calendar.sessions(min(days), max(days)))
    for day in sorted(set(days)):
        if day not in sessions:
            told.closed.append(day)
        elif calendar.is_over(day, now, exchange.delay):
            told.sessions.append(day)
        else:
            told.too_early.append(day)
    return told


def make_plan(
    exchange: Exchange,
    days: Sequence[date],
    listings: pl.DataFrame,
    store: ObjectStore,
    now: datetime,
    *,
    only: Collection[str] | None = None,
    force: bool = False,
) -> Plan:
    """Finds what is missing, from the manifest; a cell is read only when the expected symbols have changed.

    Args:
        days: days of the grid (any weekday).
        listings: symbol, listed_on, delisted_on of the exchange's symbols.
        only: ask for these symbols at most.
        force: ask for everything again, finished or not.
    """
    told = tell_apart(exchange, days, now)
    damaged: dict[date, str] = {}
    standing = _standing(exchange, told, Manifest(store, DAILY), damaged)
    wanted: dict[date, set[str]] = {}
    for session in told.sessions:
        if session in damaged:
            continue
        expected = listed(listings, session)
        try:
            asked = (
                set(expected) if force else _missing(exchange, session, expected, standing, store, now.date())
            )
        except ObjectDamaged as error:
            damaged[session] = str(error)
            continue
        if only is not None:
            asked &= set(only)
        entry = standing.get(session)
        # Also with nobody to ask for: a cell that nobody is expected in, or one filled for other symbols than
        # those expected now (a delisting has become known), has to say so.
        outdated = not expected if entry is None else entry.expected_sha256 != symbols_sha256(expected)
        if asked or outdated:
            wanted[session] = asked
    return Plan(told, wanted, standing, damaged)


def _standing(
    exchange: Exchange, told: Days, manifest: Manifest, damaged: dict[date, str]
) -> dict[date, Entry]:
    known: dict[date, Entry] = {}
    days = told.sessions + told.closed
    for year in sorted({day.year for day in days}):
        # The objects are the truth: a killed run's are not recorded yet, and one removed by hand still is.
        unusable: dict[str, str] = {}
        entries = manifest.refresh(exchange.code, year, damaged=unusable)
        damaged |= {day: unusable[day.isoformat()] for day in days if day.isoformat() in unusable}
        known |= {day: entries[day.isoformat()] for day in days if day.isoformat() in entries}
    return known


def _missing(
    exchange: Exchange,
    session: date,
    expected: Sequence[str],
    standing: Mapping[date, Entry],
    store: ObjectStore,
    today: date,
) -> set[str]:
    entry = standing.get(session)
    if entry is None or entry.state is CellState.CLOSED:
        return set(expected)
    settled = {m.symbol for m in entry.missing if not m.worth_asking(today)}
    if entry.expected_sha256 == symbols_sha256(expected):
        return {m.symbol for m in entry.missing} - settled
    have: set[str] = set()
    if entry.version:
        cell = read_table(store, object_key(DAILY, exchange.code, session.isoformat()))
        have = set(cell.filter(pl.col("close").is_not_null())["symbol"])
    return set(expected) - have - settled
