"""What a run has to ask for: per session the symbols still missing, per symbol the first session wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from functools import reduce
from itertools import compress
from operator import or_

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.ingest.wanted import Symbols, Wanted
from quant_assets.market.coverage import FINAL, CellState, symbols_sha256
from quant_assets.market.listed import Listed
from quant_assets.resources.object_store import ObjectDamaged, ObjectStore
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Expected, Manifest
from quant_assets.tables.parquet import read_table

LOOK_BACK_SESSIONS = 15
"""Sessions before the last one asked for that a run reconciles as well, since its answers hold them anyway."""


class Mode(StrEnum):
    """What a run does about the cells it is given."""

    INCREMENTAL = "incremental"
    """Asks for what is missing, and reconciles what the same answers say of the sessions just before."""
    FORCE = "force"
    """Asks for everything that is expected again, and reconciles it."""
    VERIFY = "verify"
    """Asks for everything that is expected again, says what differs, and changes nothing."""


@dataclass(frozen=True, slots=True)
class FillRequest:
    """What is asked of a run over one exchange.

    `days` are days of the grid (any weekday). `listings` are the exchange's symbols: symbol, listed_on, delisted_on,
    and currency where the catalog names one. `only`: ask for these symbols at most, other symbols' rows stay.
    """

    days: Sequence[date]
    listings: pl.DataFrame
    only: Collection[str] | None = None
    mode: Mode = Mode.INCREMENTAL


@dataclass(frozen=True, slots=True)
class Days:
    """The days of a range told apart, each list in order."""

    sessions: list[date]
    """Sessions that are over: the cells that can be filled."""
    closed: list[date]
    too_early: list[date]
    """Sessions not over yet, close and delay included."""

    def by_kind(self) -> tuple[list[date], list[date], list[date]]:
        """Sessions, closed days, sessions that are not over."""
        return self.sessions, self.closed, self.too_early


@dataclass(slots=True)
class Plan:
    """What is wanted of an exchange."""

    days: Days
    wanted: Wanted
    """Per session the symbols to ask for; sessions that want none are left out."""
    mode: Mode = Mode.INCREMENTAL
    stored: dict[date, Entry] = field(default_factory=dict[date, Entry])
    """What the manifest knows of the sessions and closed days, and of the look-back window."""
    look_back: list[date] = field(default_factory=list[date])
    """Sessions before the wanted ones, with a cell, that are reconciled with what the answers say of them."""
    damaged: dict[date, str] = field(default_factory=dict[date, str])
    """Sessions whose cell is not what was written, and what is wrong: left alone until somebody removes it."""
    suspended: dict[str, set[date]] = field(default_factory=dict[str, set[date]])
    """Per symbol the sessions in which it is known to have been suspended."""

    def of_days(self, days: Collection[date]) -> Plan:
        """The same plan for some of the days that were asked for, which hold all that is wanted of them."""
        keep = set(days)
        kinds = Days(*([day for day in some if day in keep] for some in self.days.by_kind()))
        return replace(self, days=kinds, damaged={d: why for d, why in self.damaged.items() if d in keep})

    def starts(self) -> dict[str, date]:
        """Per symbol the earliest session wanted, in the order in which to ask: see `asking_order`."""
        return self.wanted.starts()


def classify_days(exchange: Exchange, days: Sequence[date], now: datetime) -> Days:
    """Which of `days` are sessions that are over at `now`, closed days, and sessions still to come."""
    calendar = exchange.calendar()
    kinds = Days([], [], [])
    if not days:
        return kinds
    sessions = set(calendar.sessions(min(days), max(days)))
    for day in sorted(set(days)):
        if day not in sessions:
            kinds.closed.append(day)
        elif calendar.is_over(day, now, exchange.delay):
            kinds.sessions.append(day)
        else:
            kinds.too_early.append(day)
    return kinds


def make_plan(
    exchange: Exchange,
    store: ObjectStore,
    request: FillRequest,
    now: datetime,
    *,
    look_back: int = LOOK_BACK_SESSIONS,
    held: Mapping[str, set[date]] | None = None,
) -> Plan:
    """Finds what is missing at `now`, from the manifest alone.

    Args:
        look_back: how many sessions before the last one wanted are reconciled at no further request.
        held: by symbol, the dates of which something waits in quarantine (`quarantine.held_sessions`): an
            incremental run of any session asks for them again, however far back they are.

    Raises ObjectDamaged for a damaged manifest, StoreUnavailable.
    """
    return _Planning(exchange, store, request, now).plan(look_back, held or {})


class _Planning:
    def __init__(self, exchange: Exchange, store: ObjectStore, request: FillRequest, now: datetime) -> None:
        self._exchange, self._store, self._now = exchange, store, now
        self._days, self._listings, self._mode = request.days, request.listings, request.mode
        self._only = None if request.only is None else set(request.only)
        self._expected = Expected(store, exchange.code)
        self._listed = Listed(request.listings)
        self._symbols = Symbols(self._listed.names)
        self._once_each = len(self._symbols.names) == len(self._listed.names)
        self._of_only = -1 if request.only is None else self._bits(request.only)
        self._sha256_of: dict[bytes, str] = {}
        self._bits_of: dict[str, int] = {}
        self._stored: dict[date, Entry] = {}
        self._damaged: dict[date, str] = {}

    def plan(self, look_back: int, held: Mapping[str, set[date]]) -> Plan:
        kinds = classify_days(self._exchange, self._days, self._now)
        self._learn([*kinds.sessions, *kinds.closed])
        wanted: dict[date, int] = {}
        for session in kinds.sessions:
            asked, outdated = self._wanted(session)
            if asked or outdated:
                wanted[session] = asked
        damaged = {day: why for day, why in self._damaged.items() if day in kinds.sessions}
        window: list[date] = []
        again: dict[date, int] = {}
        if self._mode is Mode.INCREMENTAL and kinds.sessions:
            again = self._again(held)
        asked_for = reduce(or_, [*wanted.values(), *again.values()], 0)
        if asked_for and self._mode is Mode.INCREMENTAL and look_back:
            asked_about = [session for session, symbols in wanted.items() if symbols]
            window = self._window(max(asked_about or kinds.sessions), look_back)
            self._learn(window)
            window = [s for s in window if s in self._stored and s not in wanted]
            for session in window:
                # Whoever is asked anyway fills the holes just before, too.
                missing, outdated = self._wanted(session)
                if missing & asked_for or outdated:
                    wanted[session] = missing & asked_for
        for session, symbols in again.items():
            wanted[session] = wanted.get(session, 0) | symbols
        return Plan(
            kinds, Wanted(self._symbols, wanted), self._mode, self._stored, window, damaged,
            _suspended(self._stored),
        )  # fmt: skip

    def _again(self, held: Mapping[str, set[date]]) -> dict[date, int]:
        """The sessions of which something is held, each with the symbols that were listed and may be asked for."""
        days = sorted({day for dates in held.values() for day in dates})
        sessions = classify_days(self._exchange, days, self._now).sessions
        if not sessions:
            return {}
        self._learn(sessions)
        pairs = pl.DataFrame(
            [(symbol, day) for symbol, dates in held.items() for day in dates],
            schema={"symbol": pl.String, "date": pl.Date},
            orient="row",
        )
        due = pairs.join(self._listings.unique("symbol"), on="symbol").filter(
            pl.col("date").is_in(sessions),
            (pl.col("date") >= pl.col("listed_on")).fill_null(value=True),
            (pl.col("date") <= pl.col("delisted_on")).fill_null(value=True),
        )
        answered = {
            (hole.symbol, day)
            for day in sessions
            for hole in (self._stored[day].missing if day in self._stored else ())
            if not hole.worth_asking(self._now.date())
        }
        again: dict[date, set[str]] = {}
        for symbol, day in due.select("symbol", "date").iter_rows():
            if (symbol, day) in answered or day in self._damaged:
                continue
            if self._only is None or symbol in self._only:
                again.setdefault(day, set()).add(symbol)
        return {day: self._bits(symbols) for day, symbols in again.items()}

    def _window(self, last: date, length: int) -> list[date]:
        calendar = self._exchange.calendar()
        sessions: list[date] = []
        day = last
        for _ in range(length):
            try:
                day = calendar.previous_session(day)
            except ValueError:
                break
            sessions.append(day)
        return sorted(sessions)

    def _learn(self, days: Sequence[date]) -> None:
        """What the manifest knows of some days."""
        manifest = Manifest(self._store, DAILY)
        by_year: dict[int, list[date]] = {}
        for day in days:
            by_year.setdefault(day.year, []).append(day)
        for year in sorted(year for year, some in by_year.items() if not self._stored.keys() >= set(some)):
            # The objects are the truth: a killed run's are not recorded yet, and one removed by hand still is.
            unusable: dict[str, str] = {}
            record = self._mode is not Mode.VERIFY
            entries = manifest.refresh(self._exchange.code, year, record=record, damaged=unusable)
            asked = {day.isoformat(): day for day in by_year[year]}
            self._damaged |= {asked[day]: why for day, why in unusable.items() if day in asked}
            self._stored |= {asked[day]: entry for day, entry in entries.items() if day in asked}

    def _wanted(self, session: date) -> tuple[int, bool]:
        """The symbols to ask for in a session, and whether its cell was filled for others than are expected now."""
        if session in self._damaged:
            return 0, False
        which = self._listed.which(session)
        expected = self._packed(which)
        try:
            asked = self._missing(session, expected, which) if self._mode is Mode.INCREMENTAL else expected
        except ObjectDamaged as error:
            self._damaged[session] = str(error)
            return 0, False
        entry = self._stored.get(session)
        # Also with nobody to ask for: a cell that nobody is expected in, or one filled for other symbols than
        # those expected now (a delisting has become known), has to say so.
        outdated = not expected if entry is None else entry.expected_sha256 != self._sha256(which)
        return asked & self._of_only, outdated

    def _missing(self, session: date, expected: int, which: npt.NDArray[np.bool_]) -> int:
        entry = self._stored.get(session)
        if entry is None or entry.state is CellState.CLOSED:
            return expected
        settled = self._bits(m.symbol for m in entry.missing if not m.worth_asking(self._now.date()))
        lacking = self._bits(m.symbol for m in entry.missing)
        if entry.expected_sha256 == self._sha256(which):
            return lacking & ~settled
        before = self._before(entry.expected_sha256)
        if before is None:
            # Only where the manifest was made anew from the objects.
            before = lacking | self._bits(self._in_cell(session, entry))
        return expected & ~(before & ~lacking) & ~settled

    def _packed(self, which: npt.NDArray[np.bool_]) -> int:
        if self._once_each:
            return self._symbols.packed(which)
        return self._symbols.bits(compress(self._listed.names, which.tolist()))

    def _sha256(self, which: npt.NDArray[np.bool_]) -> str:
        """The hash of the symbols that are expected."""
        key = which.tobytes()
        if key not in self._sha256_of:
            self._sha256_of[key] = symbols_sha256(compress(self._listed.names, which.tolist()))
        return self._sha256_of[key]

    def _before(self, sha256: str) -> int | None:
        """The symbols that a cell was filled for; None where nobody has noted them."""
        if sha256 not in self._bits_of:
            before = self._expected.symbols(sha256)
            if before is None:
                return None
            self._bits_of[sha256] = self._bits(before)
        return self._bits_of[sha256]

    def _bits(self, symbols: Iterable[str]) -> int:
        """A set of symbols; of others than are listed there is nothing to ask."""
        return self._symbols.bits(symbol for symbol in symbols if symbol in self._symbols)

    def _in_cell(self, session: date, entry: Entry) -> set[str]:
        if not entry.version:
            return set()
        cell = read_table(self._store, object_key(DAILY, self._exchange.code, session.isoformat()))
        return set(cell.filter(pl.col("close").is_not_null())["symbol"])


def _suspended(stored: dict[date, Entry]) -> dict[str, set[date]]:
    found: dict[str, set[date]] = {}
    for session, entry in stored.items():
        for missing in entry.missing:
            if missing.outcome in FINAL:
                found.setdefault(missing.symbol, set()).add(session)
    return found
