"""Which sessions of an exchange to ask for once more: missed while nothing ran, failed, or incomplete.

The schedules ask for a session once, when its bar becomes final; what is still missing after that is found here, from
the manifest. All of it is pure but for reading the store, so that it can be asked at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from quant_assets.catalog.build import followed
from quant_assets.defs.partition_keys import daily_key
from quant_assets.defs.retries import Retries, doubling
from quant_assets.defs.schedules import first_tick
from quant_assets.exchanges import Exchange
from quant_assets.ingest.plan import FillRequest, make_plan
from quant_assets.maintenance.inventory import first_day
from quant_assets.market.coverage import FINAL, CellState
from quant_assets.market.weeks import weekday
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.listing_events import events_key, with_learned
from quant_assets.tables.parquet import read_table
from quant_assets.words import number_of

GRACE = timedelta(minutes=10)
"""How long a session is left to its schedule's tick."""
PAUSES = doubling(timedelta(minutes=15), 10)
"""Before each of ten tries, over about five days; `gaps` lists what is missing after that."""
MOST_RUNS = 10
"""Runs requested at a time and exchange, oldest sessions first; the next ones follow when these are done."""


@dataclass(frozen=True)
class Missing:
    """Sessions of an exchange that are not as they should be, with the number of symbols worth asking for."""

    lacking: dict[date, int]
    absent: set[date]
    """Those of them without any record: nobody has asked for them, or no run got as far as to record an answer."""
    unresolved: set[date]
    """All sessions that may still be lacking, whether asking now is worth it or not."""
    sessions: list[date]
    """All sessions looked at, in order."""
    outside: list[date] = field(default_factory=list[date])
    """Sessions that have no partition, since no exchange's `weekdays` name their weekday."""


@dataclass
class Wanted:
    """What there is to catch up with at a moment: ranges to request now, oldest first, and words on the rest."""

    ranges: list[list[date]] = field(default_factory=list[list[date]])
    note: str = ""
    next: datetime | None = None
    """From when on there may be more to request though nothing has changed in the store."""


def fingerprint(store: ObjectStore, exchange: Exchange, now: datetime) -> str:
    """Changes when what is missing may have changed: the records, the catalog, the last session, the day (UTC)."""
    shards = sorted(f"{i.key}@{i.version}" for i in store.list(f"manifest/{DAILY}/exchange={exchange.code}/"))
    tables = [store.head(key) for key in (object_key(CATALOG), events_key(exchange.code))]
    last = exchange.calendar().last_session_over(now, exchange.delay)
    parts = [*shards, *(info.version if info else "" for info in tables), str(last), str(now.date())]
    return "|".join(parts)


def missing_sessions(
    store: ObjectStore,
    exchange: Exchange,
    start: date,
    now: datetime,
    weekdays: Collection[int] = range(7),
) -> Missing | None:
    """The sessions that are over at `now`, from the first day ever asked for on, that are not as they should be.

    `start` and `weekdays` (0 is Sunday) are those of the grid. Returns None where nothing was ever asked for, nobody
    is followed, or no session is over since. Raises ObjectDamaged, StoreUnavailable.
    """
    first, last = first_day(store, exchange.code), exchange.calendar().last_session_over(now, exchange.delay)
    if first is None or last is None:
        return None
    try:
        catalog = read_table(store, object_key(CATALOG))
    except ObjectNotFound:
        return None
    listings = with_learned(store, exchange.code, followed(catalog, exchange.code))
    if listings.is_empty():
        return None
    first = max(first, start)
    every = list(exchange.calendar().sessions(first, last)) if first <= last else []
    sessions = [session for session in every if weekday(session) in weekdays]
    if not sessions:
        return None
    plan = make_plan(exchange, store, FillRequest(sessions, listings), now, look_back=0)
    absent = {session for session in sessions if session not in plan.stored and session not in plan.damaged}
    lacking = plan.wanted.counts()
    unresolved = {
        session
        for session, entry in plan.stored.items()
        if entry.state is CellState.FAILED or any(hole.outcome not in FINAL for hole in entry.missing)
    }
    return Missing(
        {session: lacking.get(session, 0) for session in sorted(absent | lacking.keys())},
        absent,
        unresolved | absent | lacking.keys(),
        sessions,
        [session for session in every if weekday(session) not in weekdays],
    )


def choose(exchange: Exchange, missing: Missing, retries: Retries, now: datetime) -> Wanted:
    """Which of the missing sessions to request now, in ranges of sessions that follow each other.

    `retries` (by partition key) is brought up to date with what is missing; that the ranges are tried is for the
    caller to record.
    """
    key: Callable[[date], str] = lambda session: daily_key(exchange.code, session)  # noqa: E731
    retries.keep({key(session) for session in missing.unresolved})
    due: set[date] = set()
    later: list[datetime] = []
    given_up: list[date] = []
    for session, size in missing.lacking.items():
        if session in missing.absent and key(session) not in retries.tries:
            left_until = first_tick(exchange, exchange.calendar().closes_at(session) + exchange.delay) + GRACE
            if left_until > now:
                later.append(left_until)
                continue
            due.add(session)
            continue
        retries.notice(key(session), now, size)
        moment = retries.next(key(session))
        if moment is None:
            given_up.append(session)
        elif moment <= now:
            due.add(session)
        else:
            later.append(moment)
    wanted = Wanted(_ranges(missing.sessions, due)[:MOST_RUNS], next=min(later, default=None))
    notes: list[str] = []
    if due:
        notes.append(f"asks for {_named(sorted(due))}")
    if wanted.next is not None:
        notes.append(
            f"{number_of(len(later), 'session')} to be asked for later, "
            f"the next from {wanted.next:%Y-%m-%d %H:%M} UTC on"
        )
    if given_up:
        notes.append(
            f"{_named(given_up)} asked for {len(PAUSES)} times in vain, and not again (`quant-assets gaps` tells why)"
        )
    if missing.outside:
        notes.append(
            f"{_named(missing.outside)} cannot be asked for: no exchange's `weekdays` name that weekday; add it to "
            f"those of {exchange.code} (QUANT_ASSETS_EXCHANGES_FILE)"
        )
    wanted.note = "; ".join(notes) or f"nothing is missing through {missing.sessions[-1]}"
    return wanted


def _ranges(sessions: Sequence[date], due: set[date]) -> list[list[date]]:
    """The due sessions, those that follow each other together."""
    ranges: list[list[date]] = []
    before = False
    for session in sessions:
        if session in due:
            ranges = ranges if before else [*ranges, []]
            ranges[-1].append(session)
        before = session in due
    return ranges


def _named(sessions: Sequence[date]) -> str:
    if len(sessions) == 1:
        return str(sessions[0])
    return f"{len(sessions)} sessions, {sessions[0]} to {sessions[-1]},"
