"""Weekly bars as they are stored, or as they come from the daily rows that they were made of.

A week's object holds every symbol; of few symbols the daily rows of many weeks are read sooner. A week that was made
of the cells as they stand (`lineage`) is the same either way; any other is read as it is stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState
from quant_assets.market.weekly import WEEKLY_SCHEMA, weekly_bars
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound, ObjectStore
from quant_assets.tables.daily import read_all, read_daily
from quant_assets.tables.layout import DAILY, WEEKLY, object_key
from quant_assets.tables.lineage import Inputs, bars_missing, week_inputs
from quant_assets.tables.manifest import Entry, Manifest

_FEW_SYMBOLS = 100
_FEW_WEEKS = 4
"""Weeks up to which their objects are read."""


@dataclass(frozen=True, slots=True)
class _Week:
    """What a week rests on: its cells, how it would be recorded now, its sessions and whether each has been asked
    for, and who lacks a bar on which day."""

    cells: tuple[Entry, ...]
    inputs: Inputs
    sessions: list[tuple[date, bool]]
    lacking: list[tuple[str, date]]


@dataclass(frozen=True, slots=True)
class _Weeks:
    """The weeks of an exchange, as long as its cells and what was made of them are the same."""

    exchange: Exchange
    cells: dict[str, Entry]
    made: dict[str, Entry]
    weeks: dict[str, _Week]
    same: list[str]
    """Those that were made of their cells as they stand."""
    calendar: pl.DataFrame
    lacking: dict[str, list[date]]
    """What `weekly_bars` has to know of those: their sessions, and who lacks a bar on which days."""


_STORES_KEPT = 16
_known: dict[tuple[str, str], _Weeks] = {}
"""By store and exchange."""


def read_weekly(
    store: ObjectStore, exchange: Exchange | None, code: str, symbols: Sequence[str], first: date, last: date
) -> pl.DataFrame:
    """Weekly bars of some symbols of an exchange (WEEKLY_SCHEMA), of the weeks first..last (Mondays), unsorted.

    `exchange` may be None where its code is not known any more. Raises ObjectDamaged, ObjectNotFound (naming the
    object), StoreUnavailable.
    """
    made = {entry.partition: entry for entry in Manifest(store, WEEKLY).all(code) if entry.version}
    begin, end = first.isoformat(), last.isoformat()
    stored = [week for week in made if begin <= week <= end]
    frames = [pl.DataFrame(schema=WEEKLY_SCHEMA)]
    if exchange is not None and len(symbols) <= _FEW_SYMBOLS and len(stored) > _FEW_WEEKS:
        weeks = _weeks_of(store, exchange, made)
        same = [week for week in weeks.same if begin <= week <= end]
        if same:
            # Where days cannot be read, the weeks themselves may be sound.
            with contextlib.suppress(ObjectDamaged, ObjectNotFound):
                frames.append(_from_daily(store, weeks, symbols, same))
                stored = sorted(set(stored).difference(same))
    for frame in read_all(store, [object_key(WEEKLY, code, week) for week in stored]):
        frames.append(frame.filter(pl.col("symbol").is_in(symbols)))
    return pl.concat(frames)


def _from_daily(
    store: ObjectStore, weeks: _Weeks, symbols: Sequence[str], same: Sequence[str]
) -> pl.DataFrame:
    """The bars of weeks (in order) that were made of the cells as they stand, from the daily rows."""
    exchange = weeks.exchange
    begin, end = exchange.week_days(_day(same[0]))[0], exchange.week_days(_day(same[-1]))[1]
    daily = read_daily(store, exchange.code, begin, end, symbols=symbols)
    lacking = [(name, day) for name in symbols for day in weeks.lacking.get(name, ())]
    missing = pl.DataFrame(lacking, schema={"symbol": pl.String, "date": pl.Date}, orient="row")
    bars = weekly_bars(daily, weeks.calendar, exchange.first_weekday, missing=missing)
    if len(same) <= (end - begin).days // 7:
        bars = bars.filter(pl.col("week").is_in([_day(week) for week in same]))
    return bars


def _weeks_of(store: ObjectStore, exchange: Exchange, made: dict[str, Entry]) -> _Weeks:
    cells = {entry.partition: entry for entry in Manifest(store, DAILY).all(exchange.code)}
    known = _known.get((store.location, exchange.code))
    if known is not None and known.exchange is not exchange:
        known = None
    if known is not None and known.cells == cells and known.made == made:
        return known
    before = {} if known is None else known.weeks
    weeks = {name: _week(exchange, _day(name), cells, before.get(name)) for name in made}
    same = [
        name for name, week in weeks.items() if week.inputs.days and week.inputs.why_stale(made[name]) is None
    ]
    sessions = [session for name in same for session in weeks[name].sessions]
    lacking: dict[str, list[date]] = {}
    for symbol, day in (one for name in same for one in weeks[name].lacking):
        lacking.setdefault(symbol, []).append(day)
    calendar = pl.DataFrame(sessions, schema={"date": pl.Date, "asked": pl.Boolean}, orient="row")
    if len(_known) >= _STORES_KEPT:
        _known.clear()
    found = _Weeks(exchange, cells, made, weeks, sorted(same), calendar, lacking)
    _known[store.location, exchange.code] = found
    return found


def _week(exchange: Exchange, week: date, cells: Mapping[str, Entry], before: _Week | None) -> _Week:
    first, _ = exchange.week_days(week)
    days = [(first + timedelta(days=n)).isoformat() for n in range(7)]
    of_week = tuple(entry for day in days if (entry := cells.get(day)) is not None)
    if before is not None and before.cells == of_week:
        return before
    by_day = {entry.partition: entry for entry in of_week}
    inputs = week_inputs(exchange, week, by_day)
    lacking = [(symbol, _day(entry.partition)) for entry in of_week for symbol in bars_missing(entry)]
    sessions = [(day, _asked(by_day.get(day.isoformat()))) for day in inputs.sessions]
    return _Week(of_week, inputs, sessions, lacking)


def _asked(entry: Entry | None) -> bool:
    return entry is not None and entry.state is not CellState.CLOSED


def _day(partition: str) -> date:
    return date.fromisoformat(partition)
