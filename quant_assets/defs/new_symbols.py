"""The sensor `new_symbols`: symbols new in the catalog get their whole history, one run an exchange at a time.

What Dagster knows (the runs it has requested) and what the store knows (which cells hold an answer about a symbol)
decide. The cursor remembers the symbols that need no looking at any more, and the tries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.defs import catch_up
from quant_assets.defs.cursors import dumped, is_later, part, range_tags, read_cursor, read_list, texts
from quant_assets.defs.dagster_internals import RANGE_END_TAG, RANGE_START_TAG
from quant_assets.defs.jobs import PRICES_ALONE, Job
from quant_assets.defs.partition_keys import daily_key, split_key
from quant_assets.defs.retries import Retries, doubling
from quant_assets.defs.run_audit import run_audit
from quant_assets.defs.run_marks import end_dead_runs, queue_lost_runs
from quant_assets.defs.run_progress import ASKED_TAG
from quant_assets.defs.under_way import UNDER_WAY, UnderWay, under_way
from quant_assets.exchanges import Exchange, grid_weekdays
from quant_assets.ingest.unasked import left_out, unasked
from quant_assets.market.weeks import weekday, weekdays_of_cron
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore, ObjectStoreError
from quant_assets.resources.shared_redis import SharedRedis
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.parquet import read_table

PAUSES = doubling(timedelta(minutes=1), 14)
"""After each of 14 requests, over about four days, before what a run has not brought is requested again."""
_COUNT_TAG = "quant_assets/new_symbols"
_NOT_BEGUN = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
_BY_TAG = {"quant_assets/asked_by": "new_symbols"}


@dataclass
class _Known:
    """What the cursor holds. `symbols`: those that need no looking at. `left`: those of them that left the list, and
    may have missed something when they return. `exchanges`: of each, its tries and what was found last."""

    symbols: set[str] = field(default_factory=set[str])
    left: set[str] = field(default_factory=set[str])
    exchanges: dict[str, Any] = field(default_factory=dict[str, Any])

    def dump(self) -> str:
        return dumped({"known": sorted(self.symbols), "left": sorted(self.left), "exchanges": self.exchanges})


def new_symbols_sensor(
    exchanges: Sequence[Exchange],
    jobs: Mapping[str, Job],
    start: date,
    owner: str,
    locks: Path,
    shared: SharedRedis | None = None,
) -> dg.SensorDefinition:
    """Requests the whole history of symbols that appear in the catalog.

    Of an exchange nothing is requested while a run or backfill of its cells is queued or in progress: what is new
    meanwhile waits, and goes together into the next run. A symbol is done with once the store has an answer about it.
    Of the first catalog those symbols are new that cells were filled without; to have an exchange filled that has no
    cells is for a person to ask for.

    Args:
        locks: where runs are marked (`run_marks`): those whose process is no more are ended first.
        shared: where workers on several machines mark theirs.
    """
    weekdays = weekdays_of_cron(grid_weekdays(exchanges))

    @dg.sensor(
        name="new_symbols",
        jobs=list(jobs.values()),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        owners=[owner],
        description="Watches the catalog and backfills symbols that are new in it; other symbols' rows stay.",
    )
    def new_symbols(
        context: dg.SensorEvaluationContext, store: StoreResource, clock: ClockResource
    ) -> dg.SensorResult | dg.SkipReason:
        if dead := end_dead_runs(context.instance, locks, shared):
            context.log.warning(f"ended, since their processes are no more: runs {', '.join(dead)}")
            for run_id in dead:
                run_audit(store.location)(context.instance, run_id, "its process has ended without a word")
        if lost := queue_lost_runs(context.instance):
            context.log.warning(f"queued again, since Redis has lost them: runs {', '.join(lost)}")
        home = store.open()
        try:
            catalog = read_table(home, object_key(CATALOG))
        except ObjectNotFound:
            return dg.SkipReason(f"no catalog yet: materialize {CATALOG}")
        except ObjectStoreError as error:
            return dg.SkipReason(str(error))
        now = clock.now()
        looks = [
            _Look(context.instance, home, exchange, jobs[exchange.code].name, catalog, start, now, weekdays)
            for exchange in exchanges
        ]
        known, whole = _loaded(context)
        anew = known is None
        known = known or _Known()
        try:
            # A cursor that says no more than "requested", or none: the store knows who was never asked for.
            for look in looks if not whole else ():
                believed = look.active if anew else look.active & known.symbols
                known.symbols = (known.symbols | believed) - look.overlooked(believed)
        except ObjectStoreError as error:
            return dg.SkipReason(str(error))
        for look in looks:
            known.left |= known.symbols & look.inactive
        waiting = [
            (look, fresh)
            for look in looks
            if (fresh := (look.active - known.symbols) | (look.active & known.left))
        ]
        working = under_way(context.instance) if waiting else UnderWay({})
        notes: list[str] = []
        requests: list[dg.RunRequest] = []
        for look, fresh in waiting:
            try:
                found = look.decide(fresh, known, working)
            except ObjectStoreError as error:
                notes.append(f"{look.code}: {error}")
                continue
            if isinstance(found, dg.RunRequest):
                requests.append(found)
            elif found:
                notes.append(f"{look.code}: {found}")
        if notes:
            context.log.info("; ".join(notes))
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=known.dump())
        count = sum(len(look.active) for look in looks)
        nothing = f"watching {count} symbols from now on" if anew else f"no symbol is new ({count} known)"
        return dg.SensorResult(skip_reason=dg.SkipReason("; ".join(notes) or nothing), cursor=known.dump())

    return new_symbols


class _Look:
    """One exchange at one tick."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: ObjectStore,
        exchange: Exchange,
        job: str,
        catalog: pl.DataFrame,
        first: date,
        now: datetime,
        weekdays: Collection[int],
    ) -> None:
        self._instance, self._store, self._exchange, self._job = instance, store, exchange, job
        self._catalog, self._now, self.code = catalog, now, exchange.code
        last = exchange.calendar().last_session_over(now, exchange.delay)
        while last is not None and last > first and weekday(last) not in weekdays:
            # It has no partition (see `catch_up`), and a run over a range that ends with it would fail.
            last -= timedelta(days=1)
        self._range = (first, last) if last is not None and last >= first else None
        self._weekdays = weekdays
        own = catalog.filter(pl.col("exchange") == exchange.code)
        self.active = set(own.filter("is_active")["symbol"])
        self.inactive = set(own["symbol"]) - self.active

    def overlooked(self, symbols: Collection[str]) -> set[str]:
        """Of symbols that are believed to be known those that were never asked for: cells were filled without them,
        or the last run that was requested for new symbols has not ended well. Raises ObjectStoreError."""
        if not symbols or self._range is None:
            return set()
        found = set[str]()
        if catch_up.first_day(self._store, self.code) is not None:
            found = left_out(
                self._exchange, self._store, self._sessions(), self._listings(), symbols, self._now
            )
        of_run = [_symbols_of(run) for run in self._runs(limit=1) if not run.is_success]
        return found.union(*of_run) & set(symbols)

    def decide(self, fresh: set[str], known: _Known, working: UnderWay) -> dg.RunRequest | str | None:
        """The run for the symbols that are new, or why there is none now. Raises ObjectStoreError."""
        if self._range is None:
            return None
        some = f"{len(fresh):,} new symbol{'s' if len(fresh) > 1 else ''}"
        for run in self._runs(limit=1, statuses=UNDER_WAY):
            if working.on(DAILY, self.code):
                return f"{some}: {_progress(run, fresh)}"
        if work := working.on(DAILY, self.code):
            return f"{some}: wait{'' if len(fresh) > 1 else 's'} for {work}"
        at, kept = datetime.now(UTC), part(known.exchanges, self.code)
        names = hashlib.sha256(",".join(sorted(fresh)).encode()).hexdigest()
        seen = f"{catch_up.fingerprint(self._store, self._exchange, self._now)}|{names}"
        if kept.get("seen") == seen and is_later(kept.get("next"), at) and "note" in kept:
            return str(kept["note"])
        lacking = unasked(self._exchange, self._store, self._sessions(), self._listings(), fresh, self._now)
        if catch_up.first_day(self._store, self.code) is None:
            # Nobody has ever asked for anything: who returns has missed nothing.
            lacking = {symbol: day for symbol, day in lacking.items() if symbol not in known.left}
        done = fresh - lacking.keys()
        known.symbols |= done
        known.left -= done
        retries = Retries.load(kept.get("tries"), PAUSES)
        retries.keep(retries.tries.keys() - done)
        due = [s for s in lacking if s not in retries.tries or _is_due(retries.next(s), at)]
        # Who returns lacks the time between; a run with others would ask for all that was before as well.
        chosen = sorted(set(due) - known.left) or sorted(due)
        if chosen:
            retries.tried(chosen, at)
            known.exchanges[self.code] = {"tries": retries.dump()}
            first = self._range[0] if set(chosen) - known.left else min(lacking[s] for s in chosen)
            return self._request(chosen, first)
        note = self._waits(lacking, retries)
        moments = [moment for symbol in lacking if (moment := retries.next(symbol)) is not None]
        known.exchanges[self.code] = {
            "tries": retries.dump(),
            "seen": seen,
            "next": min(moments).isoformat() if moments else None,
            "note": note,
        }
        return note or None

    def _request(self, symbols: Sequence[str], first: date) -> dg.RunRequest:
        assert self._range is not None
        last = self._range[1]
        which = hashlib.sha256(",".join(symbols).encode()).hexdigest()[:16]
        # The runs so far are counted, so that what failed can be requested again, and what was requested is not.
        count = self._instance.get_runs_count(dg.RunsFilter(job_name=self._job, tags=_BY_TAG))
        return dg.RunRequest(
            run_key=f"{self.code}-{which}-{last}-{count}",
            job_name=self._job,
            run_config={"ops": {DAILY: {"config": {"symbols": list(symbols)}}}},
            asset_selection=PRICES_ALONE,
            tags={
                **range_tags(daily_key(self.code, first), daily_key(self.code, last)),
                **_BY_TAG,
                _COUNT_TAG: str(len(symbols)),
            },
        )

    def _waits(self, lacking: Collection[str], retries: Retries) -> str:
        """Words on symbols that were requested and have not come."""
        moments = {symbol: retries.next(symbol) for symbol in lacking}
        later = [moment for moment in moments.values() if moment is not None]
        notes: list[str] = []
        if later:
            runs = self._runs(limit=1)
            ended = f" (run {runs[0].run_id[:8]}: {runs[0].status.value.lower()})" if runs else ""
            notes.append(
                f"{len(later):,} of the new symbols have not come yet{ended}; to be asked for again from "
                f"{min(later):%Y-%m-%d %H:%M} UTC on"
            )
        if given_up := sorted(symbol for symbol, moment in moments.items() if moment is None):
            few = ", ".join(given_up[:5]) + (", …" if len(given_up) > 5 else "")
            notes.append(
                f"{len(given_up):,} requested {len(PAUSES)} times in vain, and not again ({few}; `quant-assets gaps` "
                "tells why)"
            )
        return "; ".join(notes)

    def _runs(
        self, *, limit: int, statuses: Sequence[dg.DagsterRunStatus] | None = None
    ) -> Sequence[dg.DagsterRun]:
        """The runs that were requested for new symbols of the exchange, the latest first."""
        of_this = dg.RunsFilter(job_name=self._job, tags=_BY_TAG, statuses=statuses)
        return self._instance.get_runs(of_this, limit=limit)

    def _sessions(self) -> list[date]:
        assert self._range is not None
        return [
            session
            for session in self._exchange.calendar().sessions(*self._range)
            if weekday(session) in self._weekdays
        ]

    def _listings(self) -> pl.DataFrame:
        return with_learned(self._store, self.code, followed(self._catalog, self.code))


def _symbols_of(run: dg.DagsterRun) -> set[str]:
    """The symbols that a run was requested for."""
    config: Any = run.run_config
    try:
        return set(config["ops"][DAILY]["config"]["symbols"])
    except (KeyError, TypeError):
        return set()


def _progress(run: dg.DagsterRun, fresh: set[str]) -> str:
    """How far a run for new symbols has got."""
    first, last = (
        split_key(DAILY, run.tags[tag])[1] if tag in run.tags else "?"
        for tag in (RANGE_START_TAG, RANGE_END_TAG)
    )
    of_run = _symbols_of(run)
    asked = run.tags.get(ASKED_TAG)
    how = f"has asked for {asked}" if asked else "is queued" if run.status in _NOT_BEGUN else "has begun"
    wait = len(fresh - of_run)
    return f"run {run.run_id[:8]} over {first}..{last} {how}" + (
        f"; {wait:,} wait for the next run" if wait else ""
    )


def _is_due(moment: datetime | None, at: datetime) -> bool:
    return moment is not None and moment <= at


def _loaded(context: dg.SensorEvaluationContext) -> tuple[_Known | None, bool]:
    """What the cursor holds, and whether it rests on what the store knows; None where there is none that can be read.

    A list of symbols is what earlier versions kept: those that runs were requested for, whatever became of them.
    """
    cursor = read_cursor(context)
    symbols, left = texts(cursor.get("known")), texts(cursor.get("left"))
    if symbols is not None and left is not None:
        return _Known(symbols, left, part(cursor, "exchanges")), True
    listed = read_list(context)
    return (None if listed is None else _Known(listed)), False
