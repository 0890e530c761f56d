"""Turns: what only one process at a time may do, on one machine (files) or on all (the Redis that they share).

A turn ends with its process however that ends: a lock on a file at once, a lease in Redis half a minute later.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from quant_assets.resources import shared_redis
from quant_assets.resources.interrupts import Interrupted, wait_unless_interrupted
from quant_assets.resources.locks import one_at_a_time
from quant_assets.resources.settings import Settings
from quant_assets.resources.shared_redis import (
    LEASE_SECONDS,
    SharedRedis,
    SharedRedisAway,
    open_shared,
    repeated,
)

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5
_KEPT_SECONDS = 86_400


class Turns(Protocol):
    """Turns by their names, each with a note that its holders leave for those who come later."""

    def hold(self, name: str, on_wait: Callable[[], object] = lambda: None) -> AbstractContextManager[None]:
        """Holds a turn; `on_wait` is called once when somebody else has it. Raises Interrupted, OSError."""
        ...

    def note(self, name: str) -> str:
        """What was noted last; empty where nothing was."""
        ...

    def write_note(self, name: str, text: str) -> None:
        """Leaves a note. Raises OSError."""
        ...


class FileTurns:
    """Turns among the processes of one machine that name the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, name: str, on_wait: Callable[[], object] = lambda: None) -> AbstractContextManager[None]:
        return one_at_a_time(self._folder / name, on_wait)

    def note(self, name: str) -> str:
        try:
            return (self._folder / f"{name}.turn").read_text()
        except FileNotFoundError:
            return ""

    def write_note(self, name: str, text: str) -> None:
        (self._folder / f"{name}.turn").write_text(text)


@dataclass(slots=True)
class _Wait:
    """What somebody who waits for a turn has seen of it."""

    began: bool = False
    released: bytes | None = None
    """What the last holder who gave it back had left, when it was last seen held."""
    gone: float | None = None
    """Since when nobody has it though nobody gave it back."""


class SharedTurns:
    """Turns among all who share a Redis and a store.

    Who wants a turn while Redis is away waits until it is back. Who has one goes on, and has it again once Redis is
    back, whatever that has forgotten: who waits leaves a turn that was not given back to its holder for a while. Only
    where another one was first meanwhile do two have it, and that is told.
    """

    def __init__(self, shared: SharedRedis) -> None:
        self._shared = shared
        self._lock: Any = importlib.import_module("redis.lock").Lock
        self._errors: Any = importlib.import_module("redis.exceptions")

    @contextmanager
    def hold(self, name: str, on_wait: Callable[[], object] = lambda: None) -> Generator[None]:
        lock = self._lock(
            self._shared.client,
            f"{self._shared.prefix}turn:{name}",
            timeout=LEASE_SECONDS,
            thread_local=False,
        )
        told: set[str] = set()
        wait = _Wait()
        while not self._taken(name, lock, told, wait):
            if "waits" not in told:
                told.add("waits")
                on_wait()
            if wait_unless_interrupted(_LOOK_SECONDS):
                raise Interrupted
        try:
            with repeated(lambda: self._renew(name, lock), self._shared):
                yield
        finally:
            # Lost to somebody else, or Redis is away: it ends by itself.
            with contextlib.suppress(self._errors.RedisError, OSError):
                lock.release()
                self._shared.client.set(self._given_back(name), uuid.uuid4().hex, ex=_KEPT_SECONDS)

    def note(self, name: str) -> str:
        key = f"{self._shared.prefix}note:{name}"
        try:
            found = self._shared.asked(lambda: self._shared.client.get(key))
        except SharedRedisAway:
            # Equal to no other: whoever compares takes it that somebody else has had the turn.
            return uuid.uuid4().hex
        return found.decode() if found else ""

    def write_note(self, name: str, text: str) -> None:
        self._shared.quietly(lambda: self._shared.client.set(f"{self._shared.prefix}note:{name}", text))

    def _given_back(self, name: str) -> str:
        return f"{self._shared.prefix}given-back:{name}"

    def _taken(self, name: str, lock: Any, told: set[str], wait: _Wait) -> bool:
        try:
            if wait.began and not self._is_free(name, lock, wait):
                return False
            if not wait.began:
                wait.released = self._shared.asked(lambda: self._shared.client.get(self._given_back(name)))
            wait.began = True
            return self._shared.asked(lambda: lock.acquire(blocking=False))
        except SharedRedisAway as away:
            wait.began, wait.gone = True, None
            if "away" not in told:
                told.add("away")
                _log.warning("%s; %s waits until it does", away, name)
            return False

    def _is_free(self, name: str, lock: Any, wait: _Wait) -> bool:
        """Whether a turn was given back, or its holder has not renewed it though it had the time: one that a Redis
        has lost, or thrown away when it was full, is its holder's again at the next renewal."""
        released, held = self._shared.asked(
            lambda: (self._shared.client.get(self._given_back(name)), self._shared.client.exists(lock.name))
        )
        if held:
            wait.released, wait.gone = released, None
            return False
        if released != wait.released:
            return True
        wait.gone = wait.gone or time.monotonic()
        return time.monotonic() - wait.gone > 1.5 * shared_redis.RENEWAL_SECONDS

    def _renew(self, name: str, lock: Any) -> None:
        try:
            lock.reacquire()
        except self._errors.LockNotOwnedError:
            # A Redis that has lost what it knew, or was away for longer than the lease.
            if not lock.acquire(blocking=False):
                _log.warning("%s: another worker has taken it while Redis was away; both go on", name)


def open_turns(settings: Settings) -> Turns:
    """Turns among all who write to the store, as far as the settings know them. Asks nothing."""
    shared = open_shared(settings)
    return FileTurns(settings.spill_folder.parent / "locks") if shared is None else SharedTurns(shared)
