"""Weekly bars as they are stored, or as they come from the daily rows that they were made of.

A week's object holds every symbol; of few symbols the daily rows of many weeks are read sooner. A week that was made
of the cells as they stand (`lineage`) is the same either way; any other is read as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState
from quant_assets.market.weekly import WEEKLY_SCHEMA, weekly_bars
from quant_assets.market.weeks import week_days
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
    lacking: dict[str, list[date]]


_WEEKS_KEPT = 20_000
_weeks: dict[tuple[str, str, str], _Week] = {}
"""By store, exchange and week, for as long as its cells are the same."""


def read_weekly(
    store: ObjectStore, exchange: Exchange | None, code: str, symbols: Sequence[str], first: date, last: date
) -> pl.DataFrame:
    """Weekly bars of some symbols of an exchange (WEEKLY_SCHEMA), of the weeks first..last (Mondays), unsorted.

    `exchange` may be None where its code is not known any more. Raises ObjectDamaged, ObjectNotFound (naming the
    object), StoreUnavailable.
    """
    made = {
        entry.partition: entry
        for entry in Manifest(store, WEEKLY).all(code)
        if entry.version and first.isoformat() <= entry.partition <= last.isoformat()
    }
    frames = [pl.DataFrame(schema=WEEKLY_SCHEMA)]
    stored = sorted(made)
    if exchange is not None and len(symbols) <= _FEW_SYMBOLS and len(made) > _FEW_WEEKS:
        try:
            found, weeks = _from_daily(store, exchange, symbols, made)
        except (ObjectDamaged, ObjectNotFound):
            # The weeks themselves may be sound.
            pass
        else:
            frames.append(found)
            stored = [week for week in stored if week not in weeks]
    for frame in read_all(store, [object_key(WEEKLY, code, week) for week in stored]):
        frames.append(frame.filter(pl.col("symbol").is_in(symbols)))
    return pl.concat(frames)


def _from_daily(
    store: ObjectStore, exchange: Exchange, symbols: Sequence[str], made: Mapping[str, Entry]
) -> tuple[pl.DataFrame, set[str]]:
    """The bars of the weeks that were made of the cells as they stand, from the daily rows; and the weeks' names."""
    cells = {entry.partition: entry for entry in Manifest(store, DAILY).all(exchange.code)}
    same: dict[str, _Week] = {}
    for name, entry in made.items():
        week = _week(store, exchange, date.fromisoformat(name), cells)
        if week.inputs.days and week.inputs.why_stale(entry) is None:
            same[name] = week
    if not same:
        return pl.DataFrame(schema=WEEKLY_SCHEMA), set()
    weeks = {name: date.fromisoformat(name) for name in same}
    begin = week_days(min(weeks.values()), exchange.first_weekday)[0]
    end = week_days(max(weeks.values()), exchange.first_weekday)[1]
    daily = read_daily(store, exchange.code, begin, end, symbols=symbols)
    calendar, missing = _expectations(same.values(), symbols)
    bars = weekly_bars(daily, calendar, exchange.first_weekday, missing=missing)
    if len(same) <= (end - begin).days // 7:
        bars = bars.filter(pl.col("week").is_in(list(weeks.values())))
    return bars, set(same)


def _week(store: ObjectStore, exchange: Exchange, week: date, cells: Mapping[str, Entry]) -> _Week:
    first, _ = exchange.week_days(week)
    days = [(first + timedelta(days=n)).isoformat() for n in range(7)]
    of_week = tuple(entry for day in days if (entry := cells.get(day)) is not None)
    name = (store.location, exchange.code, week.isoformat())
    known = _weeks.get(name)
    if known is None or not _same(known.cells, of_week):
        by_day = {entry.partition: entry for entry in of_week}
        inputs = week_inputs(exchange, week, by_day)
        lacking = [
            (symbol, date.fromisoformat(entry.partition))
            for entry in of_week
            for symbol in bars_missing(entry)
        ]
        by_symbol = groupby(sorted(lacking), lambda one: one[0])
        sessions = [(day, _asked(by_day.get(day.isoformat()))) for day in inputs.sessions]
        known = _Week(of_week, inputs, sessions, {name: [day for _, day in days] for name, days in by_symbol})
        if len(_weeks) >= _WEEKS_KEPT:
            _weeks.clear()
        _weeks[name] = known
    return known


def _same(known: Sequence[Entry], now: Sequence[Entry]) -> bool:
    return len(known) == len(now) and all(a is b or a == b for a, b in zip(known, now, strict=True))


def _asked(entry: Entry | None) -> bool:
    return entry is not None and entry.state is not CellState.CLOSED


def _expectations(weeks: Iterable[_Week], symbols: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What `weekly_bars` has to know of weeks: their sessions, and the bars of `symbols` that were expected and are
    missing."""
    sessions: list[tuple[date, bool]] = []
    lacking: list[tuple[str, date]] = []
    for week in weeks:
        sessions += week.sessions
        if week.lacking:
            lacking += [(name, day) for name in symbols for day in week.lacking.get(name, ())]
    return (
        pl.DataFrame(sessions, schema={"date": pl.Date, "asked": pl.Boolean}, orient="row"),
        pl.DataFrame(lacking, schema={"symbol": pl.String, "date": pl.Date}, orient="row"),
    )
