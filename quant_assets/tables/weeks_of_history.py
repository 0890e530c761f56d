"""Weekly bars of many weeks at once, from the years' histories: one read a year in place of one a cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.market.bars import DAILY_SCHEMA, PRICES
from quant_assets.market.coverage import CellState
from quant_assets.market.weekly import WEEKLY_SCHEMA, weekly_bars
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.lineage import Inputs, bars_missing
from quant_assets.tables.year_rows import history_rows, side_by_side

_COLUMNS = ("symbol", "date", *PRICES, "volume", "dividend", "split_ratio")

_MANY = 8
"""Weeks from which on a year's history is read for them: it takes as long as about that many weeks' cells."""

_A_WEEK = 7

_ROW_BYTES = 1280
"""What a row takes: it and those that are worked on or read meanwhile, and the bytes that they come from."""


@dataclass(frozen=True, slots=True)
class _Year:
    """What a year's history gives: the frames of weeks (by key), the content of its cells, and its first and last
    rows, which a week over New Year is made from."""

    year: int
    weeks: Mapping[str, Inputs]
    """Those whose Monday is in the year."""
    frames: dict[str, pl.DataFrame]
    content: Mapping[str, str]
    edges: pl.DataFrame


def weeks_of_history(
    store: ObjectStore, exchange: Exchange, weeks: Mapping[str, Inputs], *, memory_mb: int
) -> Iterator[dict[str, pl.DataFrame]]:
    """The weekly bars of those `weeks` (by any key, in order of time) that the histories hold as their cells are now.

    Each year that has Mondays among them is one dictionary, by key. Left out are few weeks of a year, and what is
    newer than its history. Two years are read at once. Raises StoreUnavailable.
    """
    years = [
        (year, {key: weeks[key] for key in keys})
        for year, keys in groupby(weeks, lambda key: date.fromisoformat(weeks[key].partition).year)
    ]
    at_once = memory_mb * 2**20 // _ROW_BYTES
    before: _Year | None = None
    for this in side_by_side(lambda year: _of_year(store, exchange, *year, at_once), years):
        if before is not None:
            _over_new_year(exchange, before, this)
            yield before.frames
        before = this
    if before is not None:
        yield before.frames


def _of_year(
    store: ObjectStore, exchange: Exchange, year: int, weeks: Mapping[str, Inputs], at_once: int
) -> _Year:
    days = {key: exchange.week_days(date.fromisoformat(week.partition)) for key, week in weeks.items()}
    within = {key: weeks[key] for key, (first, last) in days.items() if first.year == last.year}
    found: dict[str, pl.DataFrame] = {}
    content, parts = (
        history_rows(store, exchange.code, year, _COLUMNS, at_once=at_once)
        if len(within) >= _MANY
        else ({}, ())
    )
    held = {key: week for key, week in within.items() if _is_held(exchange, week, content)}
    if len(held) < _MANY:
        return _Year(year, weeks, {}, {}, pl.DataFrame())
    calendar, missing = expectations(held.values())
    early, late = date(year, 1, _A_WEEK), date(year, 12, 31 - _A_WEEK)
    made = [pl.DataFrame(schema=WEEKLY_SCHEMA)]
    edges = [pl.DataFrame(schema={name: DAILY_SCHEMA[name] for name in _COLUMNS})]
    for rows in parts:
        made.append(weekly_bars(rows, calendar, exchange.first_weekday, missing=missing))
        days = rows["date"]
        edges.append(rows.filter((days <= early) | (days > late)))
    bars = pl.concat(made)
    by_week = bars.partition_by("week", as_dict=True)
    for key, week in held.items():
        found[key] = by_week.get((date.fromisoformat(week.partition),), bars.clear())
    return _Year(year, weeks, found, content, pl.concat(edges))


def _over_new_year(exchange: Exchange, before: _Year, after: _Year) -> None:
    """Adds the week that lies in two years, if it is wanted and both histories hold their part of it."""
    content = {**before.content, **after.content}
    for year in (before, after):
        for key, week in year.weeks.items():
            first, last = exchange.week_days(date.fromisoformat(week.partition))
            in_both = (first.year, last.year) == (before.year, after.year)
            if not in_both or not (before.content and after.content) or not _is_held(exchange, week, content):
                continue
            edges = before.edges, after.edges
            of_week = [rows.filter((rows["date"] >= first) & (rows["date"] <= last)) for rows in edges]
            rows = of_week[0].merge_sorted(of_week[1], "symbol")
            calendar, missing = expectations([week])
            year.frames[key] = weekly_bars(rows, calendar, exchange.first_weekday, missing=missing)


def expectations(weeks: Iterable[Inputs]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What `weekly_bars` has to know of weeks: their sessions, and the bars that were expected and are missing."""
    asked: list[tuple[date, bool]] = []
    missing: list[tuple[str, date]] = []
    for week in weeks:
        cells = week.cells
        for session in week.sessions:
            entry = cells.get(session.isoformat())
            asked.append((session, entry is not None and entry.state is not CellState.CLOSED))
        for day, entry in cells.items():
            missing += [(symbol, date.fromisoformat(day)) for symbol in bars_missing(entry)]
    return (
        pl.DataFrame(asked, schema={"date": pl.Date, "asked": pl.Boolean}, orient="row"),
        pl.DataFrame(missing, schema={"symbol": pl.String, "date": pl.Date}, orient="row"),
    )


def _is_held(exchange: Exchange, week: Inputs, content: Mapping[str, str]) -> bool:
    """Whether a history has just the cells that a week is made from, by the content of each."""
    first, last = exchange.week_days(date.fromisoformat(week.partition))
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    there = {day: content[day] for day in days if day in content}
    return there == {day: week.cells[day].content_sha256 for day in week.days}
