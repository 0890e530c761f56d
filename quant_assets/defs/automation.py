"""Which runs the tables made from daily cells need: one for each contiguous range of stale partitions.

In place of automation conditions, which see one event a partition and request a run for each: after a backfill of
many symbols that was a hundred runs, sixty of them for one week. What is stale is said by `tables.lineage`, as it is
for the command line and the assets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from quant_assets.defs.partition_keys import split_key, table_key
from quant_assets.defs.retries import Retries, doubling
from quant_assets.defs.under_way import UnderWay
from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import FINAL, SETTLED
from quant_assets.market.weeks import week_of
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import DAILY, HISTORY, PROFILES, WEEKLY, object_key
from quant_assets.tables.lineage import (
    inputs_between,
    made_partitions,
    profile_inputs,
    stale,
)
from quant_assets.tables.manifest import Entry, Manifest

TABLES = (HISTORY, WEEKLY, PROFILES)
PAUSES = doubling(timedelta(minutes=1), 12)
"""Before a partition that is still stale after its run is made again: it failed, or its cells have changed since."""
MOST_RUNS = 10
"""Runs requested at a time, exchange and table, oldest first."""


@dataclass
class Refresh:
    """What an exchange's derived tables need: runs, each (table, partition keys in order), and why others wait."""

    runs: list[tuple[str, list[str]]] = field(default_factory=list[tuple[str, list[str]]])
    waiting: list[str] = field(default_factory=list[str])

    @property
    def fresh(self) -> bool:
        """Whether nothing is stale."""
        return not self.runs and not self.waiting


def fingerprint(store: ObjectStore, exchange: Exchange, now: datetime) -> str:
    """Changes when something may have become stale: the records of cells and derived tables, the day (UTC)."""
    tables = (DAILY, HISTORY, WEEKLY)
    shards = [i for table in tables for i in store.list(f"manifest/{table}/exchange={exchange.code}/")]
    profiles = store.head(object_key(PROFILES, exchange.code))
    parts = sorted(f"{info.key}@{info.version}" for info in shards)
    return "|".join([*parts, profiles.version if profiles else "", str(now.date())])


def refresh_of(
    store: ObjectStore,
    exchange: Exchange,
    start: date,
    now: datetime,
    *,
    failed: Collection[str],
    under_way: UnderWay,
    retries: Retries,
    at: datetime,
) -> Refresh:
    """The runs that an exchange's derived tables need now.

    Args:
        start: first day of the partition grid.
        now: the moment as the platform sees it; decides whether a year is over.
        failed: partition keys of daily cells that nothing may rest on (a blocking check has failed).
        under_way: what is being materialized; a table waits for its cells' runs, and for its own.
        retries: by "table key", brought up to date with what is stale; runs that are requested are for the caller to
            record.
        at: the moment of the question, for the pauses.

    Raises ObjectDamaged for a damaged manifest, StoreUnavailable.
    """
    refresh = Refresh()
    code = exchange.code
    cells = {entry.partition: entry for entry in Manifest(store, DAILY).all(code)}
    if not cells:
        return refresh
    found: set[str] = set()
    for table in TABLES:
        partitions = [p for p in _stale(store, exchange, table, cells, now) if _in_grid(table, p, start)]
        names = {p: f"{table} {table_key(table, code, p)}" for p in partitions}
        found |= set(names.values())
        if not partitions:
            continue
        if work := under_way.on(DAILY, code) or under_way.on(table, code):
            refresh.waiting.append(f"{len(partitions)} partition(s) of {table} wait for {work}")
            continue
        unsound = _resting_on(table, exchange, failed)
        due = {p for p in partitions if p not in unsound and _is_due(retries, names[p], at)}
        if table == WEEKLY:
            due = {p for p in due if not _open_sessions(exchange, p, cells)}
        runs = list(contiguous(table, sorted(due)))[:MOST_RUNS]
        refresh.runs += [(table, [table_key(table, code, p) for p in run]) for run in runs]
        if held := [p for p in partitions if p in unsound]:
            refresh.waiting.append(
                f"{table} {', '.join(held[:3])} rest(s) on cells with a failed blocking check"
            )
        if rest := [p for p in partitions if p not in due and p not in unsound]:
            refresh.waiting.append(
                f"{len(rest)} partition(s) of {table}, such as {rest[-1]}, wait for their cells or for another try"
            )
    retries.keep(found)
    return refresh


def _stale(
    store: ObjectStore, exchange: Exchange, table: str, cells: dict[str, Entry], now: datetime
) -> list[str]:
    span = date.fromisoformat(min(cells)), date.fromisoformat(max(cells))
    made = made_partitions(store, table, exchange.code, span, exchange.first_weekday)
    inputs = (
        [profile_inputs(exchange, cells)]
        if table == PROFILES
        else inputs_between(table, exchange, cells, span, now)
    )
    return [one.partition for one in stale(inputs, made)]


def _open_sessions(exchange: Exchange, week: str, cells: dict[str, Entry]) -> list[date]:
    """The sessions of a week that something may still come of soon: the week is made once there is none.

    One that nobody has asked for, and one that was asked for without an answer. What the source has answered is what
    there is for now, however little; and before the first cell nothing is ever asked for.
    """
    first = date.fromisoformat(min(cells))
    return [
        session
        for session in exchange.week_sessions(date.fromisoformat(week))
        if session >= first
        and (
            (entry := cells.get(session.isoformat())) is None
            or (not entry.version and any(m.outcome not in SETTLED | FINAL for m in entry.missing))
        )
    ]


def _resting_on(table: str, exchange: Exchange, failed: Collection[str]) -> set[str]:
    """The partitions of a table that rest on some cells (partition keys of daily cells, of any exchange)."""
    days = [day for code, day in (split_key(DAILY, key) for key in failed) if code == exchange.code and day]
    if table == PROFILES:
        return {exchange.code} if days else set()
    if table == HISTORY:
        return {day[:4] for day in days}
    return {exchange.week_of(date.fromisoformat(day)).isoformat() for day in days}


def _in_grid(table: str, partition: str, start: date) -> bool:
    if table == PROFILES:
        return True
    return int(partition) >= start.year if table == HISTORY else partition >= str(week_of(start))


def _is_due(retries: Retries, name: str, at: datetime) -> bool:
    if name not in retries.tries:
        return True
    moment = retries.next(name)
    return moment is not None and moment <= at


def contiguous(table: str, partitions: Sequence[str]) -> Iterator[list[str]]:
    """The partitions (in order) in runs of those that follow each other in the table's grid."""

    def place(partition: str) -> int:
        if table == PROFILES:
            return 0
        return int(partition) if table == HISTORY else date.fromisoformat(partition).toordinal() // 7

    run: list[str] = []
    for partition in partitions:
        if run and place(partition) != place(run[-1]) + 1:
            yield run
            run = []
        run.append(partition)
    if run:
        yield run
