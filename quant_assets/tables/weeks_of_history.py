"""Weekly bars of many weeks at once, from the years' histories: one read a year in place of one a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from functools import partial

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.market.bars import PRICES
from quant_assets.market.coverage import CellState
from quant_assets.market.weekly import WEEKLY_SCHEMA, weekly_bars
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.lineage import Inputs, bars_missing
from quant_assets.tables.year_rows import history_rows

_COLUMNS = ("symbol", "date", *PRICES, "volume", "dividend", "split_ratio")

_MANY = 8
"""Weeks from which on a year's history is read for them: it takes as long as about that many weeks' cells."""

_ROW_BYTES = 2048
"""What a row takes: it and those that are worked on or read meanwhile, and the bytes that they come from."""


def weeks_of_history(
    store: ObjectStore, exchange: Exchange, weeks: Mapping[str, Inputs], *, memory_mb: int
) -> dict[str, pl.DataFrame]:
    """The weekly bars of those `weeks` (by any key) that the histories hold as their cells are now.

    Left out are weeks over New Year, few weeks of a year, and what is newer than its history. Raises
    StoreUnavailable.
    """
    found: dict[str, pl.DataFrame] = {}
    by_year: dict[int, dict[str, Inputs]] = {}
    for key, week in weeks.items():
        first, last = exchange.week_days(date.fromisoformat(week.partition))
        if first.year == last.year:
            by_year.setdefault(first.year, {})[key] = week
    for year, of_year in by_year.items():
        if len(of_year) < _MANY:
            continue
        at_once = memory_mb * 2**20 // _ROW_BYTES
        content, parts = history_rows(store, exchange.code, year, _COLUMNS, at_once=at_once)
        held = {key: week for key, week in of_year.items() if _is_held(exchange, week, content)}
        if len(held) < _MANY:
            continue
        calendar, missing = expectations(held.values())
        make = partial(_bars, calendar, exchange.first_weekday, missing)
        bars = pl.concat([pl.DataFrame(schema=WEEKLY_SCHEMA), *map(make, parts)])
        by_week = bars.partition_by("week", as_dict=True)
        for key, week in held.items():
            found[key] = by_week.get((date.fromisoformat(week.partition),), bars.clear())
    return found


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
    first, last = (day.isoformat() for day in exchange.week_days(date.fromisoformat(week.partition)))
    there = {day: sha256 for day, sha256 in content.items() if first <= day <= last}
    return there == {day: week.cells[day].content_sha256 for day in week.days}


def _bars(
    calendar: pl.DataFrame, first_weekday: int, missing: pl.DataFrame, rows: pl.DataFrame
) -> pl.DataFrame:
    return weekly_bars(rows, calendar, first_weekday, missing=missing)
