"""What the tables made from daily cells rest on, and which of their partitions are stale.

One answer for all who ask: the command line, which refreshes what a fill has changed; the assets, which leave alone
what is up to date; and automation, which requests runs. A partition records with itself a hash over the cells it was
made from (`inputs_sha256`) and its state; it is stale when today's cells give another hash or another state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState
from quant_assets.market.weeks import week_days, week_of
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound, ObjectStore
from quant_assets.tables.layout import DAILY, EXCHANGES, HISTORY, PROFILES, WEEKLY, object_key
from quant_assets.tables.manifest import Entry, Manifest, entry_in
from quant_assets.tables.parquet import read_facts

RULES = {
    HISTORY: "price_history 2",
    WEEKLY: "weekly_prices 2",
    PROFILES: "symbol_profiles 4",
    EXCHANGES: "exchange_profiles 1",
}
"""Per derived table the name and version of the rule that makes it: a new version makes every partition stale."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The cells that one partition of a derived table is made from."""

    partition: str
    """"2024" of the history, "2024-03-11" of the weeks, the exchange's code of the profiles."""
    cells: Mapping[str, Entry]
    """All cells of its time by day ("2024-03-15"), closed and failed ones included."""
    sessions: list[date]
    """The sessions it should hold, in order."""
    days: list[str]
    """The days, in order, whose cell has rows to make it from; without any it cannot be made."""
    state: CellState
    sha256: str

    def why_stale(self, made: Entry | None) -> Reason | None:
        """Why a partition that was made as `made` is to be made anew; None where it is as it should be."""
        if made is None:
            return Reason.MISSING
        if made.inputs_sha256 != self.sha256:
            return Reason.CELLS
        return Reason.STATE if made.state is not self.state else None


class Reason(StrEnum):
    """Why a partition is stale."""

    MISSING = "it has not been made"
    CELLS = "its cells have changed"
    STATE = "its state has changed"


@dataclass(frozen=True, slots=True)
class Stale:
    """A partition of a derived table that is to be made, or made anew. `partition` as in `Inputs`."""

    partition: str
    reason: Reason


def stale_partitions(
    store: ObjectStore,
    table: str,
    exchange: Exchange,
    span: tuple[date, date] | None,
    now: datetime,
) -> list[Stale]:
    """The partitions of a derived table that are to be made anew, in order of time.

    From what the manifests record of the cells: one read a year and table (and a listing of the table's own objects),
    no cell is read and nothing is written. A partition without any row to make it from is not stale.

    Args:
        table: HISTORY, WEEKLY or PROFILES; the profiles have one partition an exchange.
        span: first and last day of the cells in question; None: all that have ever been recorded.
        now: decides whether a year is over (aware datetime).

    Raises ObjectDamaged for a damaged manifest, StoreUnavailable.
    """
    manifest = Manifest(store, DAILY)
    if table == PROFILES or span is None:
        cells = {entry.partition: entry for entry in manifest.all(exchange.code)}
    else:
        cells = manifest.between(exchange.code, *whole_partitions(table, *span, exchange.first_weekday))
    if not cells:
        return []
    span = span or (date.fromisoformat(min(cells)), date.fromisoformat(max(cells)))
    made = made_partitions(store, table, exchange.code, span, exchange.first_weekday)
    if table == PROFILES:
        return list(stale([profile_inputs(exchange, cells)], made))
    return list(stale(inputs_between(table, exchange, cells, span, now), made))


def made_partitions(
    store: ObjectStore, table: str, exchange: str, span: tuple[date, date], first_weekday: int
) -> dict[str, Entry]:
    """The partitions of a derived table that are stored for the days of `span`; damaged ones are left out.

    `first_weekday` is the exchange's. Raises ObjectDamaged for a damaged manifest, StoreUnavailable.
    """
    if table == PROFILES:
        return _made_profile(store, exchange)
    first, last = (week_of(day, first_weekday) for day in span) if table == WEEKLY else span
    made: dict[str, Entry] = {}
    for year in range(first.year, last.year + 1):
        made |= Manifest(store, table).refresh(exchange, year, record=False)
    return made if table == HISTORY else _within(made, first, last)


def stale(inputs: Iterable[Inputs], made: Mapping[str, Entry]) -> Iterator[Stale]:
    """Of the partitions that can be made from their cells, those that are not as they should be."""
    for one in inputs:
        reason = one.why_stale(made.get(one.partition))
        if one.days and reason is not None:
            yield Stale(one.partition, reason)


def inputs_between(
    table: str, exchange: Exchange, cells: Mapping[str, Entry], span: tuple[date, date], now: datetime
) -> Iterator[Inputs]:
    """What each partition of HISTORY or WEEKLY that has a day of `span` rests on; `cells` are those of its whole time
    (see `whole_partitions`)."""
    if table == HISTORY:
        for year in range(span[0].year, span[1].year + 1):
            yield year_inputs(exchange, year, cells, now)
        return
    first, last = exchange.week_of(span[0]), exchange.week_of(span[1])
    for number in range(0, (last - first).days + 1, 7):
        yield week_inputs(exchange, first + timedelta(days=number), cells)


def whole_partitions(table: str, first: date, last: date, first_weekday: int) -> tuple[date, date]:
    """The first and the last day of the partitions of HISTORY or WEEKLY that the days first..last lie in.

    `first_weekday` is the exchange's.
    """
    if table == HISTORY:
        return date(first.year, 1, 1), date(last.year, 12, 31)
    weeks = week_of(first, first_weekday), week_of(last, first_weekday)
    return week_days(weeks[0], first_weekday)[0], week_days(weeks[1], first_weekday)[1]


def year_inputs(exchange: Exchange, year: int, cells: Mapping[str, Entry], now: datetime) -> Inputs:
    """What a year's history rests on.

    It is complete when every session from its first cell on is: through the last cell of a year that is not over at
    `now`, so that a session that nobody has asked for yet does not make it stale; else through the year's end.
    """
    of_year = _within(cells, date(year, 1, 1), date(year, 12, 31))
    sessions: list[date] = []
    if of_year:
        calendar = exchange.calendar()
        over = calendar.last_session_over(now, exchange.delay)
        end = date(year, 12, 31)
        last = end if over is not None and over > end else date.fromisoformat(max(of_year))
        sessions = list(calendar.sessions(date.fromisoformat(min(of_year)), last))
    return _inputs(HISTORY, str(year), of_year, sessions)


def week_inputs(exchange: Exchange, week: date, cells: Mapping[str, Entry]) -> Inputs:
    """What a week's bars rest on: the cells of the exchange's own week that a Monday names (`market.weeks`)."""
    of_week = _within(cells, *exchange.week_days(week))
    return _inputs(WEEKLY, week.isoformat(), of_week, exchange.week_sessions(week))


def profile_inputs(exchange: Exchange, cells: Mapping[str, Entry]) -> Inputs:
    """What an exchange's profiles rest on: all its cells, whatever their state."""
    days = with_rows(cells)
    return Inputs(exchange.code, cells, [], days, CellState.COMPLETE, _inputs_sha256(RULES[PROFILES], cells))


def inventory_inputs(store: ObjectStore, exchanges: Iterable[str]) -> str:
    """Hash over the profiles that the table of all exchanges is made from; "" where there are none.

    Raises StoreUnavailable.
    """
    made = {code: _made_profile(store, code).get(code) for code in exchanges}
    lines = [f"{code}:{e.content_sha256}:{e.inputs_sha256}" for code, e in sorted(made.items()) if e]
    return hashlib.sha256("\n".join([RULES[EXCHANGES], *lines]).encode()).hexdigest() if lines else ""


def inventory_stale(store: ObjectStore, exchanges: Iterable[str]) -> str | None:
    """What the table of all exchanges is to be made from, where that is not what it was made from; else None."""
    key = object_key(EXCHANGES)
    inputs = inventory_inputs(store, exchanges)
    try:
        made_from = read_facts(store.get(key).data, store.uri(key)).get("inputs_sha256")
    except (ObjectNotFound, ObjectDamaged):
        made_from = None
    return inputs if inputs and inputs != made_from else None


def with_rows(cells: Mapping[str, Entry]) -> list[str]:
    """The days, in order, whose cell has rows, whatever its state: a valid row is good whoever else is missing."""
    return sorted(day for day, entry in cells.items() if entry.version)


def bars_missing(entry: Entry) -> list[str]:
    """The symbols that lack a bar in a cell: expected, and neither there nor suspended."""
    return [m.symbol for m in entry.missing if not m.suspended(entry.received, entry.expected)]


def all_complete(cells: Mapping[str, Entry], sessions: Iterable[date]) -> bool:
    """Whether every session's cell is there and complete."""
    return all(
        (entry := cells.get(session.isoformat())) is not None and entry.state is CellState.COMPLETE
        for session in sessions
    )


def _made_profile(store: ObjectStore, exchange: str) -> dict[str, Entry]:
    key = object_key(PROFILES, exchange)
    try:
        blob = store.get(key)
        return {exchange: entry_in(blob, store.uri(key))}
    except (ObjectNotFound, ObjectDamaged):
        return {}


def _inputs(table: str, partition: str, cells: Mapping[str, Entry], sessions: list[date]) -> Inputs:
    state = CellState.COMPLETE if all_complete(cells, sessions) else CellState.PARTIAL
    # Weeks say of each symbol whether one of its bars is missing, and that may change while the rows stay.
    lacking = bars_missing if table == WEEKLY else None
    sha256 = _inputs_sha256(RULES[table], cells, lacking)
    return Inputs(partition, cells, sessions, with_rows(cells), state, sha256)


def _within(cells: Mapping[str, Entry], first: date, last: date) -> dict[str, Entry]:
    # The days are few, the cells may be those of decades.
    days = ((first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1))
    return {day: cells[day] for day in days if day in cells}


def _inputs_sha256(
    rule: str, cells: Mapping[str, Entry], lacking: Callable[[Entry], list[str]] | None = None
) -> str:
    """Hash over the state and content of cells, who is `lacking` in each, and the rule that is applied to them."""
    lines = [
        f"{day}:{entry.state}:{entry.content_sha256}"
        + (f":{','.join(sorted(lacking(entry)))}" if lacking else "")
        for day, entry in sorted(cells.items())
    ]
    return hashlib.sha256("\n".join([rule, *lines]).encode()).hexdigest()


def entries_of(
    store: ObjectStore,
    table: str,
    partitions: Iterable[tuple[str, date]],
    *,
    reach: int = 0,
    damaged: dict[str, dict[str, str]] | None = None,
) -> dict[str, dict[str, Entry]]:
    """Per exchange a table's entries from the first of `partitions` to `reach` days past the last one.

    Damaged cells are left out and named in `damaged`, per exchange and day.
    """
    days: dict[str, list[date]] = {}
    for code, day in partitions:
        days.setdefault(code, []).append(day)
    manifest = Manifest(store, table)
    return {
        code: manifest.between(
            code,
            min(found),
            max(found) + timedelta(days=reach),
            refresh=True,
            damaged=None if damaged is None else damaged.setdefault(code, {}),
        )
        for code, found in days.items()
    }
