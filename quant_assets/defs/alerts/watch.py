"""A look at the store and at Dagster's runs: finds what there is to alert about, tells it, and keeps what was told.

What is kept lies in the instance, so that the sensor and the command line tell nothing twice. An instance that was
lost tells once more what is open.
"""

from __future__ import annotations

import contextlib
import time as clock
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import dagster as dg
import orjson

from quant_assets.defs.alerts import found
from quant_assets.defs.alerts.alert import Alert, Kind, Memory
from quant_assets.defs.alerts.decisions import (
    ALL_IS_WELL,
    decide,
    digest,
    digest_is_due,
    in_the_past,
    is_quiet,
    message,
)
from quant_assets.defs.rebuilding import REBUILT_TAG
from quant_assets.defs.run_outcomes import FAILED, RunOutcome, reason, told
from quant_assets.exchanges import Exchange
from quant_assets.resources.locks import one_at_a_time
from quant_assets.resources.notify import Channel
from quant_assets.resources.object_store import ObjectStore, ObjectStoreError, StoreUnavailable
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.quarantine import items, pending, read_quarantine

_CURSOR = "quant_assets/alerts"
_DAYS = 30
"""So far back cells are looked at: beyond that a gap is no news."""
_MOST_UNDELIVERED = 50
_MOST_RUNS = 500
STORE_PATIENCE_SECONDS = 10.0
"""How long a look asks a bucket again that does not answer: it must be told of before Dagster ends the tick."""
_DELIVERY_SECONDS = 20.0
"""How long a look begins to send messages: what is left of many is sent by the next one. Dagster ends a sensor's tick
after a minute, and what was told in it would be told again."""
_SKEW = timedelta(minutes=10)
"""By how much the clocks of machines that run runs may differ: runs that ended so long before the last one seen are
looked at again, and told once all the same."""
_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
_GOING = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is watched, and who is told when."""

    exchanges: Sequence[Exchange]
    locks: Path
    limits: found.Limits
    least_coverage: Callable[[str], float]
    """By exchange code: the share (0 to 1) of expected symbols that a cell should have."""
    quiet: Mapping[str, tuple[time, time]]
    """Quiet hours by exchange code, in its zone; `*` is for all others, and in UTC for what concerns none."""
    digest_at: time | None
    """When the daily digest is told, UTC."""


def rules_of(settings: Settings, exchanges: Sequence[Exchange]) -> Rules:
    """What the settings say of alerts."""
    limits = found.Limits(settings.alert_run_minutes, settings.alert_waiting_runs, settings.alert_held)
    return Rules(
        exchanges,
        settings.locks_folder,
        limits,
        settings.least_coverage,
        settings.alert_quiet,
        settings.alert_digest,
    )


@dataclass(slots=True)
class Looked:
    """What a look came to."""

    found: list[Alert] = field(default_factory=list[Alert])
    told: list[Alert] = field(default_factory=list[Alert])
    digest: bool = False
    dead: dict[str, str] = field(default_factory=dict[str, str])
    """Channels that took nothing, with the reason."""

    def __str__(self) -> str:
        parts = [f"{len(self.found)} found, {len(self.told)} told"]
        parts += [alert.title.removeprefix("quant-assets: ") for alert in self.told]
        parts += ["the daily digest"] * self.digest
        parts += [f"channel {name} takes no messages: {why}" for name, why in self.dead.items()]
        return "; ".join(parts)


def look(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    rules: Rules,
    channels: Sequence[Channel],
    now: datetime,
    real_now: datetime | None = None,
) -> Looked:
    """Finds, tells and keeps. Whatever a channel does wrong is in the answer, and raises nothing.

    Args:
        now: the platform's moment, UTC; `real_now` is that of the clock by which runs are timed.
    """
    # Two daemons, or a cron beside one, would both tell what neither had told yet.
    with one_at_a_time(rules.locks / "alerts.look"):
        return _look(instance, store, rules, channels, now, real_now or datetime.now(UTC))


def _look(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    rules: Rules,
    channels: Sequence[Channel],
    now: datetime,
    real_now: datetime,
) -> Looked:
    memory = in_the_past(remembered(instance), now, real_now)
    looked = Looked()
    cells: dict[str, dict[date, Entry]] = {}
    held, unseen, away = 0, set[str](), False
    for exchange in rules.exchanges:
        if away:
            # It would be waited for once more, and say the same.
            unseen.add(exchange.code)
            continue
        try:
            some, waiting = _of_store(store, exchange, rules, now, cells)
            looked.found += some
            held += waiting
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one exchange, the others are told of
            unseen.add(exchange.code)
            away = isinstance(error, StoreUnavailable)
            why = str(error) if isinstance(error, ObjectStoreError) else f"{exchange.code}: {error!r}"
            looked.found.append(Alert(Kind.UNREADABLE, store.location, " ".join(why.split())))
    looked.found += _of_runs(instance, rules, memory, real_now)
    looked.found += [
        Alert(
            Kind.CHANNEL,
            name,
            f"channel {name} takes no messages: {why}; they are kept and sent once it does",
        )
        for name, why in memory.dead.items()
    ]
    quiet = _quiet(rules, now)
    looked.told = decide(memory, looked.found, now, quiet, unseen)
    messages = [message(looked.told)] if looked.told else []
    if digest_is_due(memory, rules.digest_at, now):
        day = str(now.astimezone(UTC).date())
        # The first look of all has no day to sum up.
        looked.digest, memory.digest = bool(memory.digest), day
        if looked.digest:
            lines = {code: _standing(of_exchange) for code, of_exchange in cells.items()}
            lines |= dict.fromkeys(sorted(unseen), "could not be read")
            messages.append(digest(memory, now, lines, _counts(instance, rules, real_now), held, unseen))
    deliver(memory, channels, messages)
    looked.dead = dict(memory.dead)
    _keep(instance, memory)
    return looked


def deliver(memory: Memory, channels: Sequence[Channel], messages: Sequence[tuple[str, str]]) -> None:
    """Sends messages, and first what channels have not taken before; what they do not take now is kept for them."""
    names = {channel.name for channel in channels}
    memory.undelivered = {name: some for name, some in memory.undelivered.items() if name in names}
    memory.dead = {name: why for name, why in memory.dead.items() if name in names}
    until = clock.monotonic() + _DELIVERY_SECONDS

    def hand_over(channel: Channel) -> None:
        waiting = [*memory.undelivered.pop(channel.name, []), *messages]
        # At least one is tried, so that a channel that is slow is not taken for one that is well.
        while waiting:
            if why := channel.send(*waiting[0], calm=waiting[0][0].endswith(ALL_IS_WELL)):
                memory.dead[channel.name] = why
                break
            memory.dead.pop(channel.name, None)
            waiting.pop(0)
            if clock.monotonic() > until:
                break
        if waiting:
            memory.undelivered[channel.name] = waiting[-_MOST_UNDELIVERED:]

    # At once: one that hangs keeps no other waiting.
    with ThreadPoolExecutor(max(1, len(channels)), thread_name_prefix="alerts") as pool:
        for _ in pool.map(hand_over, channels):
            pass


def remembered(instance: dg.DagsterInstance) -> Memory:
    """What is kept of alerts in an instance."""
    kept = instance.daemon_cursor_storage.get_cursor_values({_CURSOR}).get(_CURSOR)
    with contextlib.suppress(orjson.JSONDecodeError):
        return Memory.from_json(orjson.loads(kept)) if kept else Memory()
    return Memory()


def _keep(instance: dg.DagsterInstance, memory: Memory) -> None:
    instance.daemon_cursor_storage.set_cursor_values({_CURSOR: orjson.dumps(memory.to_json()).decode()})


def _of_store(
    store: ObjectStore,
    exchange: Exchange,
    rules: Rules,
    now: datetime,
    cells: dict[str, dict[date, Entry]],
) -> tuple[list[Alert], int]:
    """The alerts of an exchange's cells and claims, and how many claims wait; puts its cells into `cells`."""
    code, today = exchange.code, now.astimezone(UTC).date()
    entries = Manifest(store, DAILY).between(code, today - timedelta(days=_DAYS), today + timedelta(days=1))
    of_exchange = {date.fromisoformat(partition): entry for partition, entry in entries.items()}
    if not of_exchange and not any(True for _ in Manifest(store, DAILY).all(code)):
        return [], 0
    cells[code] = of_exchange
    held = items(pending(read_quarantine(store, code)))
    return [
        *found.stale(exchange, of_exchange, now),
        *found.low_coverage(exchange, of_exchange, rules.least_coverage(code)),
        *found.more_held(exchange, held, today, rules.limits.held_a_day),
    ], held.height


def _of_runs(instance: dg.DagsterInstance, rules: Rules, memory: Memory, real_now: datetime) -> list[Alert]:
    going = _told(instance, rules, dg.RunsFilter(statuses=_GOING), real_now)
    waiting = _told(instance, rules, dg.RunsFilter(statuses=_WAITING), real_now)
    over = [run for run in going if run.outcome == FAILED]
    # The first look of all tells of no run that ended before it.
    memory.runs_after = memory.runs_after or real_now.timestamp()
    memory.watched_since = memory.watched_since or memory.runs_after
    records, seen = _ended_since(instance, memory), set(memory.seen)
    for record in records:
        updated = record.update_timestamp.replace(tzinfo=UTC).timestamp()
        memory.runs_after = max(memory.runs_after, min(updated, real_now.timestamp()))
        if record.dagster_run.run_id not in seen and REBUILT_TAG not in record.dagster_run.tags:
            over.append(_with_reason(instance, told(record, rules.locks, real_now)))
    memory.seen = [record.dagster_run.run_id for record in records]
    return [
        *found.ended(over),
        *found.too_long([run for run in going if run.outcome != FAILED], rules.limits),
        *found.backlog(waiting, rules.limits),
    ]


def _ended_since(instance: dg.DagsterInstance, memory: Memory) -> list[dg.RunRecord]:
    """The runs that ended since the last look, the first of them if they are many; and those that may have ended
    before it by a clock that is behind."""
    last = datetime.fromtimestamp(memory.runs_after, UTC)
    before = max(last - _SKEW, datetime.fromtimestamp(memory.watched_since, UTC))
    records = [
        *instance.get_run_records(
            # The last one seen is among them: what is seen is remembered from look to look.
            dg.RunsFilter(statuses=_ENDED, updated_after=before, updated_before=last + timedelta(seconds=1)),
            limit=_MOST_RUNS,
        ),
        *instance.get_run_records(
            dg.RunsFilter(statuses=_ENDED, updated_after=last),
            limit=_MOST_RUNS,
            order_by="update_timestamp",
            ascending=True,
        ),
    ]
    return list({record.dagster_run.run_id: record for record in records}.values())


def _told(
    instance: dg.DagsterInstance, rules: Rules, which: dg.RunsFilter, real_now: datetime
) -> list[RunOutcome]:
    return [
        told(record, rules.locks, real_now) for record in instance.get_run_records(which, limit=_MOST_RUNS)
    ]


def _with_reason(instance: dg.DagsterInstance, run: RunOutcome) -> RunOutcome:
    return replace(run, error=reason(instance, run.run)) if run.outcome == FAILED and not run.error else run


def _quiet(rules: Rules, now: datetime) -> set[str]:
    """The exchanges that have quiet hours now, "" among them where what concerns none has."""
    zones = {"": "UTC", **{exchange.code: exchange.zone for exchange in rules.exchanges}}
    hours = {code: rules.quiet.get(code or "*", rules.quiet.get("*")) for code in zones}
    return {code for code, zone in zones.items() if is_quiet(hours[code], zone, now)}


def _standing(cells: Mapping[date, Entry]) -> str:
    """How an exchange stands, in a line: its last cells."""
    if not cells:
        return f"no cell in {_DAYS} days"
    last = max(cells)
    states = Counter(cells[day].state.value for day in sorted(cells)[-5:])
    counts = " ".join(f"{state}={count}" for state, count in sorted(states.items()))
    entry = cells[last]
    return f"{last} {entry.state.value}, {entry.received} of {entry.expected} symbols; last five {counts}"


def _counts(instance: dg.DagsterInstance, rules: Rules, real_now: datetime) -> dict[str, int]:
    records = dg.RunsFilter(created_after=real_now - timedelta(days=1))
    return Counter(run.outcome for run in _told(instance, rules, records, real_now))
