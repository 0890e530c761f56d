"""The Redis that workers on several machines share (`QUANT_ASSETS_SHARED_REDIS`): one pace, turns, and marks of runs.

Another one than the cache's, or one that throws nothing away: a cache may forget, these may not. All times are those
of Redis, so that the machines' clocks may differ. That it is away is never an error of a run: see each use.
"""

from __future__ import annotations

import hashlib
import importlib
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.breaker import line
from quant_assets.resources.redis_cache import client_of, shown
from quant_assets.resources.settings import Settings

LEASE_SECONDS = 30.0
"""How long a turn or a mark outlives the process that has renewed it last."""
RENEWAL_SECONDS = 5.0
_TIMEOUT = 2.0

_MARK = """
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], time[1])
"""
_MISSED = """
local time = redis.call('TIME')
redis.call('HSETNX', KEYS[1], ARGV[1], time[1])
redis.call('EXPIRE', KEYS[1], 86400)
return tonumber(time[1]) - tonumber(redis.call('HGET', KEYS[1], ARGV[1]))
"""


class SharedRedisAway(QuantAssetsError):
    """Redis gives no answer; the message names the address, without its secret, and the remedy."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What Redis knows of a run: seconds since its process has renewed its mark (None: it has none), and since Redis
    itself was started."""

    ago: float | None
    up: float


class SharedRedis:
    """A connection of its own, ready for several threads.

    Args:
        url: `redis://[user:password@]host[:port][/db]`, or `rediss://…` for TLS. A secret: never shown.
        of: what turns and marks are of (a store's location), so that two stores may share a Redis.
    """

    def __init__(self, url: str, of: str = "") -> None:
        self.location = shown(url)
        self.client = client_of(url, _TIMEOUT)
        self.prefix = f"quant-assets:{hashlib.sha256(of.encode()).hexdigest()[:12]}:"
        self._errors: Any = importlib.import_module("redis.exceptions")
        self._mark: Any = self.client.register_script(_MARK)
        self._missed: Any = self.client.register_script(_MISSED)

    def asked(self, ask: Callable[[], Any]) -> Any:
        """What a call answers. Raises SharedRedisAway."""
        try:
            return ask()
        except (self._errors.RedisError, OSError) as error:
            raise SharedRedisAway(
                f"{self.location} does not answer: {line(error)} (does QUANT_ASSETS_SHARED_REDIS name it?)"
            ) from None

    def check(self) -> dict[str, str]:
        """Answers version and what is thrown away when memory is full. Raises SharedRedisAway."""

        def ask() -> dict[str, str]:
            info: dict[str, Any] = self.client.info()
            return {"version": str(info["redis_version"]), "policy": str(info["maxmemory_policy"])}

        return self.asked(ask)

    @contextmanager
    def mark(self, run_id: str) -> Generator[None]:
        """Marks a run as one of this process while the context lasts, and as one of none a while after its death."""
        key = f"{self.prefix}runs"
        with repeated(lambda: self._mark(keys=[key], args=[run_id]), self):
            yield
        self.quietly(lambda: self.client.hdel(key, run_id))

    def seen(self, run_id: str) -> Seen:
        """What is known of a run's process. Raises SharedRedisAway."""

        def ask() -> Seen:
            marked: Any = self.client.hget(f"{self.prefix}runs", run_id)
            now: Any = self.client.time()
            up: Any = self.client.info("server")["uptime_in_seconds"]
            return Seen(None if marked is None else float(now[0] - int(marked)), float(up))

        return self.asked(ask)

    def is_silent(self, run_id: str) -> bool:
        """Whether a worker has taken a run and its mark has not been renewed for a lease. False of one without a
        mark, where Redis is away, and where it was until just now, so that nobody could renew anything."""
        try:
            seen = self.seen(run_id)
        except SharedRedisAway:
            return False
        return seen.ago is not None and seen.ago > LEASE_SECONDS and seen.up > LEASE_SECONDS

    def forget(self, run_id: str) -> None:
        """Removes the mark of a run that has died."""
        self.quietly(lambda: self.client.hdel(f"{self.prefix}runs", run_id))

    def missed_for(self, run_id: str) -> float:
        """Notes that a run is neither queued nor with a worker; answers for how many seconds that has been so.

        Raises SharedRedisAway.
        """
        return float(self.asked(lambda: self._missed(keys=[f"{self.prefix}missed"], args=[run_id])))

    def not_missed(self, run_id: str) -> None:
        """Takes back that a run was missed."""
        self.quietly(lambda: self.client.hdel(f"{self.prefix}missed", run_id))

    def quietly(self, ask: Callable[[], Any]) -> Any:
        """What a call answers; None where Redis is away."""
        try:
            return self.asked(ask)
        except SharedRedisAway:
            return None

    def close(self) -> None:
        self.client.close()


@contextmanager
def repeated(call: Callable[[], object], shared: SharedRedis) -> Generator[None]:
    """Has `call` called now, and every few seconds while the context lasts, in a thread; Redis may be away."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(RENEWAL_SECONDS):
            shared.quietly(call)

    shared.quietly(call)
    thread = threading.Thread(target=go_on, name="shared-redis", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_TIMEOUT * 2)


def open_shared(settings: Settings) -> SharedRedis | None:
    """The Redis of `QUANT_ASSETS_SHARED_REDIS`; None where all workers are processes of one machine. Asks nothing."""
    url = settings.shared_redis.get_secret_value()
    return SharedRedis(url, settings.store_location) if url else None


def wait_for(shared: SharedRedis, seconds: float, on_wait: Callable[[str], object]) -> None:
    """Waits until Redis answers, and tells `on_wait` once why it waits. Raises SharedRedisAway after `seconds`."""
    until = time.monotonic() + seconds
    told = False
    while True:
        try:
            shared.asked(shared.client.ping)
        except SharedRedisAway as away:
            if time.monotonic() > until:
                raise
            if not told:
                on_wait(str(away))
            told = True
            time.sleep(1.0)
        else:
            return
