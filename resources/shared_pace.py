"""One pace towards a source for processes on several machines, kept by a Redis and by its clock.

Of the limiters at hand none does this: pyrate-limiter's bucket in Redis takes the time of whoever asks, so that two
clocks which differ make two paces, and `limits` counts windows, which lets bursts through. So it is a script of a few
lines: a request is let through when the one before it lies an interval back, or the asker is told how long to wait.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
import uuid
from typing import Any

from quant_assets.resources.breaker import Breaker
from quant_assets.resources.shared_redis import SharedRedis, SharedRedisAway

_log = logging.getLogger(__name__)

_SETTLING_SECONDS = 1.5
"""Whoever finds Redis again has all wait so long: by then the others, who look once a second, have found it too."""
_LOOK_SECONDS = 1.0
_ASKER_SECONDS = 120.0
"""Who has not asked for so long is counted among the askers no more."""

# Microseconds, written out: Lua would write them with fourteen digits.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, me, settling = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local free = tonumber(redis.call('HGET', KEYS[1], 'free') or 0)
local cool = tonumber(redis.call('HGET', KEYS[1], 'cool') or 0)
-- Further ahead it lies only where the clock of Redis was set back.
local right = math.min(free, now + math.max(interval, 1500000))
if settling > 0 then right = math.max(right, now + settling) end
if right ~= free then
  free = right
  redis.call('HSET', KEYS[1], 'free', string.format('%.0f', free))
end
redis.call('ZADD', KEYS[2], string.format('%.0f', now), me)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now - tonumber(ARGV[4])))
local wait = math.max(free, cool) - now
if wait <= 0 then
  redis.call('HSET', KEYS[1], 'free', string.format('%.0f', now + interval))
  wait = 0
end
return {wait, now, redis.call('ZRANGE', KEYS[2], 0, -1)}
"""
_COOL = """
local time = redis.call('TIME')
local until_ = time[1] * 1000000 + time[2] + tonumber(ARGV[1])
if until_ > tonumber(redis.call('HGET', KEYS[1], 'cool') or 0) then
  redis.call('HSET', KEYS[1], 'cool', string.format('%.0f', until_))
end
"""


class SharedPace:
    """The turnstile of one source. While Redis is away every asker goes on at its share of the pace: it keeps to
    slots of its own on the clock of Redis as it knew it last, so that all together are as far apart as before.

    Args:
        shared: the Redis.
        name: the source that is asked, whatever the store.
        requests_per_second: above 0.
        workers: how many askers there are at least, for one that begins while Redis is away.
    """

    def __init__(self, shared: SharedRedis, name: str, requests_per_second: float, workers: int = 1) -> None:
        self._shared = shared
        self._interval = 1 / requests_per_second
        self._workers = max(1, workers)
        self._me = uuid.uuid4().hex
        self._keys = [f"quant-assets:pace:{name}", f"quant-assets:pace:{name}:askers"]
        self._take: Any = shared.client.register_script(_TAKE)
        self._cool: Any = shared.client.register_script(_COOL)
        self._breaker = Breaker(shared.client.ping, pause=0.25, longest=_LOOK_SECONDS)
        self._askers: list[str] = []
        # Redis's clock, less this process's: until Redis has told it, the machine's own is taken for it.
        self._ahead = time.time() - time.monotonic()
        self._away = False
        self._last_slot: int | None = None
        self._cool_until = 0.0
        self._lock = threading.Lock()

    def take(self) -> float:
        """0: a request may be sent now. Else the seconds after which to ask again: another one may come first."""
        if self._breaker.reason is None:
            try:
                return self.ask()
            except SharedRedisAway as away:
                self._breaker.failed(str(away), certain="refused" in str(away))
                self._goes_away(str(away))
        return self._own_slot()

    def cool_down(self, seconds: float) -> None:
        """Nobody, on no machine, asks again for `seconds`; on this one not even where Redis is away."""
        with self._lock:
            self._cool_until = max(self._cool_until, time.monotonic() + seconds)
        if self._breaker.reason is None:
            self._shared.quietly(lambda: self._cool(keys=self._keys[:1], args=[round(seconds * 1e6)]))

    def close(self) -> None:
        """Leaves the askers."""
        self._breaker.close()
        if self._breaker.reason is None:
            self._shared.quietly(lambda: self._shared.client.zrem(self._keys[1], self._me))
        self._shared.close()

    def ask(self) -> float:
        """As `take`, of Redis alone. Raises SharedRedisAway."""
        settling = _SETTLING_SECONDS if self._away else 0.0
        args = [self._interval * 1e6, self._me, settling * 1e6, _ASKER_SECONDS * 1e6]
        answer = self._shared.asked(lambda: self._take(keys=self._keys, args=args))
        wait, now, askers = answer
        self._breaker.succeeded()
        if self._away:
            _log.warning("%s answers again: requests keep the common pace", self._shared.location)
        self._away, self._last_slot = False, None
        self._ahead = now / 1e6 - time.monotonic()
        self._askers = sorted(one.decode() for one in askers)
        return wait / 1e6

    def _goes_away(self, why: str) -> None:
        if self._away:
            return
        self._away = True
        _log.warning(
            "%s; until it answers requests keep to one of %d shares of the pace", why, self._slots()[1]
        )

    def _slots(self) -> tuple[int, int]:
        """This asker's place among all, and how many there are."""
        of = max(len(self._askers), self._workers)
        if self._me in self._askers:
            return self._askers.index(self._me), of
        return random.Random(self._me).randrange(of), of

    def _own_slot(self) -> float:
        place, of = self._slots()
        period = self._interval * of
        now = time.monotonic()
        since = (now + self._ahead) / period - place / of
        slot = math.floor(since)
        within = (since - slot) * of < 1
        cooling = self._cool_until - now
        # The first one is let pass: the last request may have been sent just now.
        if self._last_slot is None:
            self._last_slot = slot
        if cooling > 0:
            return cooling
        if within and slot > self._last_slot:
            self._last_slot = slot
            return 0.0
        return max(0.001, (slot + 1 - since) * period)
