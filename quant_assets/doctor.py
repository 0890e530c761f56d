"""What a deployment needs, looked at part by part: `quant-assets doctor`.

Each examination asks the real thing (a put in the store, a question to Redis, a request to the source) and answers
findings; one that fails or hangs leaves the others their say. Nothing is changed, but for an object that is put and
removed again.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Literal

from quant_assets.catalog.universes_file import read_universes
from quant_assets.errors import QuantAssetsError
from quant_assets.exchanges import enabled
from quant_assets.operations.keys import KeyRing
from quant_assets.resources.notify import channels, kinds
from quant_assets.resources.object_store import is_claimed
from quant_assets.resources.open_store import open_store
from quant_assets.resources.reachability import reach
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import TOP_LEVEL

State = Literal["ok", "warning", "failed"]

_PATIENCE_SECONDS = 30.0
_STORE_PATIENCE_SECONDS = 10.0
_CLOCK_SECONDS = 30.0
"""Sessions are asked for minutes after their close: a clock that is half a minute off does no harm."""
_HEARTBEAT_SECONDS = 120.0
_LEAST_FREE_BYTES = 2_000_000_000
_LEAST_FILES = 1024
_CALENDAR_AHEAD = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part."""

    part: str
    state: State
    detail: str
    remedy: str = ""
    """What to do about it; empty when it is ok."""


Examination = Callable[[Settings], Iterator[Finding]]


def examine(
    settings: Settings, parts: Mapping[str, Examination] | None = None, patience: float = _PATIENCE_SECONDS
) -> list[Finding]:
    """All findings, in the order of the parts. None of them takes longer than `patience` seconds."""
    asked = PARTS if parts is None else parts
    answers: dict[str, SimpleQueue[list[Finding]]] = {part: SimpleQueue() for part in asked}
    deadline = time.monotonic() + patience
    for part, one in asked.items():
        # Daemons: the process ends without those that hang.
        Thread(target=_guarded, args=(part, one, settings, answers[part]), daemon=True).start()
    found: list[Finding] = []
    for part, answer in answers.items():
        try:
            found += answer.get(timeout=max(0.001, deadline - time.monotonic()))
        except Empty:
            found.append(Finding(part, "failed", f"no answer within {patience:g} s", "see what it waits for"))
    return found


def _guarded(
    part: str, examination: Examination, settings: Settings, answer: SimpleQueue[list[Finding]]
) -> None:
    found: list[Finding] = []
    try:
        found.extend(examination(settings))
    except QuantAssetsError as error:
        # Our messages name their remedy.
        found.append(Finding(part, "failed", str(error)))
    except OSError as error:
        found.append(Finding(part, "failed", f"{error.filename or ''} {error.strerror or error}".strip()))
    except Exception as error:  # noqa: BLE001 - whatever fails in one part, the others are told
        found.append(Finding(part, "failed", " ".join(f"{type(error).__name__}: {error}".split())))
    answer.put(found)


def home(settings: Settings) -> Iterator[Finding]:
    """Whether the folder of everything local can be written, and has room."""
    folder = settings.home.absolute()
    standing = next(one for one in (folder, *folder.parents) if one.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        remedy = "change its owner, or point QUANT_ASSETS_HOME elsewhere"
        why = "cannot be written by this user" if standing.is_dir() else "is no folder"
        yield Finding("home", "failed", f"{standing} {why}", remedy)
        return
    free = shutil.disk_usage(standing).free
    detail = f"{folder}, {free / 1e9:.1f} GB free"
    if free < _LEAST_FREE_BYTES:
        yield Finding("home", "warning", detail, "free 2 GB: rows under way are kept there between two steps")
    else:
        yield Finding("home", "ok", detail)


def store(settings: Settings) -> Iterator[Finding]:
    """Whether the tables' place is there, can be written, and as whom."""
    opened = open_store(settings.store_location, patience=_STORE_PATIENCE_SECONDS)
    claimed = is_claimed(opened, TOP_LEVEL)
    if not opened.remote and not (folder := Path(opened.location)).exists():
        standing = next(one for one in folder.parents if one.exists())
        if not os.access(standing, os.W_OK):
            remedy = "change its owner, or point QUANT_ASSETS_STORE elsewhere"
            yield Finding(
                "store", "failed", f"{opened.location} cannot be made in {standing} by this user", remedy
            )
            return
        yield Finding("store", "ok", f"{opened.location} is not there yet; the first run makes it")
        return
    began = time.monotonic()
    opened.check_writable()
    took = time.monotonic() - began
    who = getattr(opened, "identity", "")
    detail = f"{opened.location} can be written{f' as {who}' if who else ''} ({1000 * took:.0f} ms)"
    yield Finding("store", "ok", detail if claimed else f"{detail}; it is empty")


def instance(settings: Settings) -> Iterator[Finding]:
    """Whether Dagster's databases open, and its daemon lives."""
    from quant_assets.instance import check_database, newest_heartbeat, workers_apart

    # Also before the first run, which would be the one to find it away.
    check_database(settings)
    if apart := workers_apart(settings):
        remedy = "name one PostgreSQL in QUANT_ASSETS_DAGSTER_DB, here and for every worker"
        yield Finding("workers", "warning", apart, remedy)
    if not (settings.dagster_home / "dagster.yaml").exists():
        yield Finding("instance", "ok", f"{settings.dagster_home} is made by the first run")
        return
    beat = newest_heartbeat(settings)
    age = None if beat is None else time.time() - beat
    if age is None or age > _HEARTBEAT_SECONDS:
        since = (
            "it has never run here"
            if age is None
            else f"its last heartbeat was {timedelta(seconds=round(age))} ago"
        )
        remedy = (
            "without it no schedule and no sensor runs: start it (quant-assets ui, or dagster-daemon run); "
            "not needed where a cron calls update-daily"
        )
        yield Finding("daemon", "warning", since, remedy)
    else:
        yield Finding("daemon", "ok", f"its last heartbeat was {age:.0f} s ago")
    where = " in PostgreSQL (QUANT_ASSETS_DAGSTER_DB)" if settings.dagster_db.get_secret_value() else ""
    yield Finding("instance", "ok", f"{settings.dagster_home}{where}")


def cache(settings: Settings) -> Iterator[Finding]:
    """Whether the cache of the API answers."""
    from quant_assets.resources.open_cache import open_cache

    opened = open_cache(settings)
    try:
        if opened.far is None:
            yield Finding("cache", "ok", str(opened.facts()["kind"]))
            return
        opened.far.get("doctor")
        far = opened.far.facts()
        if far["reason"] is None:
            yield Finding("cache", "ok", f"{far['location']} answers")
        else:
            remedy = "start it, or correct QUANT_ASSETS_CACHE; until then answers are made anew each time"
            yield Finding("cache", "warning", f"{far['location']}: {far['reason']}", remedy)
    finally:
        opened.close()


def shared(settings: Settings) -> Iterator[Finding]:
    """Whether the Redis that several machines share answers, lets requests through, and forgets nothing."""
    from quant_assets.resources.shared_pace import SharedPace
    from quant_assets.resources.shared_redis import LEASE_SECONDS, open_shared

    opened = open_shared(settings)
    if opened is None:
        yield Finding("shared", "ok", "none: all work is done on one machine")
        return
    facts = opened.check()
    # At a pace of its own, so that nobody is held up.
    pace = SharedPace(opened, "doctor", 1000.0)
    pace.ask()
    pace.close()
    detail = f"{opened.location} answers (Redis {facts['version']})"
    if facts["policy"] != "noeviction":
        remedy = "set maxmemory-policy noeviction, or name another one than the cache's: runs and turns would be lost"
        yield Finding(
            "shared", "warning", f"{detail}, and forgets when it is full ({facts['policy']})", remedy
        )
    else:
        yield Finding("shared", "ok", f"{detail}; leases of {LEASE_SECONDS:g} s")


def source(settings: Settings) -> Iterator[Finding]:
    """Whether the price source answers, and its clock agrees with ours."""
    from quant_assets.resources.yahoo_client import YAHOO, base_url

    address = base_url(settings) or YAHOO
    try:
        reached = reach(address, min(settings.timeout_seconds, _STORE_PATIENCE_SECONDS))
    except QuantAssetsError as error:
        remedy = "is there a way out of this network, and what does QUANT_ASSETS_SOURCE_URL name?"
        yield Finding("source", "failed", str(error), remedy)
        return
    yield Finding("source", "ok", f"{address} answers")
    if settings.now is not None:
        remedy = "right for a replay of the past; for live data unset QUANT_ASSETS_NOW: no session ever ends"
        yield Finding("clock", "warning", f"held at {settings.now.isoformat()}", remedy)
    elif reached.ahead_seconds is None:
        yield Finding("clock", "warning", "the source tells no time to compare with", "compare it by hand")
    elif abs(reached.ahead_seconds) > _CLOCK_SECONDS:
        way = "ahead of" if reached.ahead_seconds > 0 else "behind"
        remedy = "set it (NTP): sessions would be asked for too early or too late"
        detail = f"{timedelta(seconds=round(abs(reached.ahead_seconds)))} {way} the source's"
        yield Finding("clock", "failed", detail, remedy)
    else:
        yield Finding("clock", "ok", "agrees with the source's")


def calendars(settings: Settings) -> Iterator[Finding]:
    """How far the sessions of each exchange are known."""
    today = settings.clock().date()
    short = {
        one.code: until
        for one in enabled(settings.exchanges, settings.exchanges_file)
        if (until := one.calendar().known_until) < today + _CALENDAR_AHEAD
    }
    if short:
        told = ", ".join(f"{code} until {until}" for code, until in short.items())
        remedy = "install a newer pandas-market-calendars, or give known_until in a file of exchanges"
        yield Finding("calendars", "warning", f"holidays are known: {told}", remedy)
    else:
        yield Finding("calendars", "ok", f"known for {', '.join(settings.exchanges)}")


def universe(settings: Settings) -> Iterator[Finding]:
    """Whether the universe file can be used."""
    found = read_universes(settings.universe, enabled(settings.exchanges, settings.exchanges_file))
    followed = sum(one.enabled for one in found)
    place = str(settings.universe) if settings.universe else "the list that ships with the package"
    if followed:
        yield Finding("universe", "ok", f"{place}: {followed} of {len(found)} universes enabled")
    else:
        remedy = "enable one, or list symbols of the enabled exchanges"
        yield Finding("universe", "warning", f"{place}: no universe is followed", remedy)


def alerts(settings: Settings) -> Iterator[Finding]:
    """Whether somebody is told of trouble. Nothing is sent: `quant-assets alerts test` does that."""
    found = channels(settings)
    if found:
        yield Finding(
            "alerts", "ok", f"told to {kinds(found)}; `quant-assets alerts test` sends each a message"
        )
    else:
        yield Finding(
            "alerts", "ok", "nobody is told of trouble (QUANT_ASSETS_ALERT_URLS names who would be)"
        )


def codes(settings: Settings) -> Iterator[Finding]:
    """Whether what is set by exchange is set for exchanges in use: a code that is misspelt would say nothing."""
    for name in ("min_coverage", "alert_quiet"):
        given: dict[str, object] = getattr(settings, name)
        if unknown := sorted(given.keys() - {"*", *settings.exchanges}):
            remedy = "correct the code, or name the exchange in QUANT_ASSETS_EXCHANGES"
            detail = f"QUANT_ASSETS_{name.upper()} is set for {', '.join(unknown)}, which is not in use"
            yield Finding("settings", "warning", detail, remedy)


def limits(settings: Settings) -> Iterator[Finding]:
    """What the system allows this user."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    unlimited = files == resource.RLIM_INFINITY
    if not unlimited and files < _LEAST_FILES:
        yield Finding("limits", "warning", f"{files} open files", f"allow {_LEAST_FILES} (ulimit -n)")
    else:
        yield Finding("limits", "ok", "open files: " + ("unlimited" if unlimited else f"{files}"))
    free = _available_mb()
    if free is not None and free < settings.memory_mb:
        remedy = "lower QUANT_ASSETS_MEMORY_MB, or give the machine more"
        yield Finding(
            "memory", "warning", f"{free:.0f} MB free of {settings.memory_mb} MB that a step may take", remedy
        )
    elif free is not None:
        yield Finding("memory", "ok", f"{free:.0f} MB free")


def keys(settings: Settings) -> Iterator[Finding]:
    """Whether the keys of the API can be read."""
    found = KeyRing(settings.api_keys, settings.api_keys_file).all()
    if found:
        yield Finding("keys", "ok", f"{len(found)} of the API")
    else:
        remedy = "fine on one machine; for jobs over the API: quant-assets keys create"
        yield Finding("keys", "ok", f"none: the API only reads, on loopback ({remedy})")


PARTS: dict[str, Examination] = {
    "home": home,
    "store": store,
    "instance": instance,
    "source": source,
    "calendars": calendars,
    "universe": universe,
    "cache": cache,
    "shared": shared,
    "keys": keys,
    "alerts": alerts,
    "settings": codes,
    "limits": limits,
}
"""What is examined, by its name."""


def _available_mb() -> float | None:
    """Memory that is free by the system's own account; None where it gives none."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(told["MemAvailable"].split()[0]) / 1024 if "MemAvailable" in told else None
