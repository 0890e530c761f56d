"""Answers in Redis, or what speaks its protocol (Upstash over `rediss://`): shared by processes, kept over restarts.

Redis is a help, never a need: a call waits for 50 ms at most, several that get no answer open a breaker, and while
that is open no request asks. A full Redis that refuses to take more goes on being read.
"""

from __future__ import annotations

import hashlib
import importlib
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from quant_assets.resources.breaker import Breaker, line
from quant_assets.resources.cache import CacheUnavailable, Health

_PREFIX = "quant-assets:"
_TIMEOUT = 0.05
_PROBE_TIMEOUT = 1.0
_CONNECTIONS = 16
_FULL_PAUSE = 5.0
"""Seconds in which a full Redis is given nothing: the answers would be sent to be refused."""
_LARGEST = 8_000_000
"""Bytes of the largest answer that is given to Redis: more does not come back in the time that a call may take."""


class RedisCache:
    """Entries below `quant-assets:<of>:` of a Redis, each for `seconds`.

    Args:
        url: `redis://[user:password@]host[:port][/db]`, or `rediss://…` for TLS. A secret: never shown.
        of: what the answers are of, so that two stores may share a Redis.
    """

    def __init__(self, url: str, seconds: float, of: str = "") -> None:
        self.location = shown(url)
        self._prefix = f"{_PREFIX}{hashlib.sha256(of.encode()).hexdigest()[:12]}:"
        self._seconds = max(1, int(seconds))
        # Calls are few at once, so that waiting for a connection is told from waiting for Redis.
        self._turns = threading.BoundedSemaphore(_CONNECTIONS)
        self._client = client_of(url, _TIMEOUT)
        # Questions of people and of the breaker: outside of requests, so they may take longer.
        self._patient = client_of(url, _PROBE_TIMEOUT)
        self._errors: Any = importlib.import_module("redis.exceptions")
        self.breaker = Breaker(self._patient.ping)
        self._full_until = 0.0
        self._refused = 0

    def get(self, key: str) -> bytes | None:
        found = self._asked(lambda: self._client.get(self._prefix + key))
        return found if isinstance(found, bytes) else None

    def put(self, key: str, data: bytes) -> bool:
        if len(data) > _LARGEST or time.monotonic() < self._full_until:
            return False
        return bool(self._asked(lambda: self._client.set(self._prefix + key, data, ex=self._seconds)))

    def clear(self) -> int:
        removed = 0
        try:
            names: list[bytes] = []
            for name in self._patient.scan_iter(match=f"{self._prefix}*", count=1000):
                names.append(name)
                if len(names) == 1000:
                    removed += self._patient.unlink(*names)
                    names.clear()
            return removed + (self._patient.unlink(*names) if names else 0)
        except Exception as error:  # noqa: BLE001 (what is no Redis may answer anything)
            raise CacheUnavailable(
                f"{self.location} cannot be cleared: {line(error)} (is it the Redis that QUANT_ASSETS_CACHE names?)"
            ) from None

    def health(self) -> Health:
        return Health(self.breaker.reason, self.breaker.opened, self._refused)

    def facts(self) -> dict[str, object]:
        told: dict[str, object] = {}
        reason = self.breaker.reason
        if reason is None:
            try:
                memory: dict[str, Any] = self._patient.info("memory")
                told = {
                    "entries": int(self._patient.dbsize()),
                    "bytes": memory.get("used_memory"),
                    "limit_bytes": memory.get("maxmemory") or None,
                }
            except Exception as error:  # noqa: BLE001 (as above)
                reason = line(error)
        state = "ok" if reason is None else "away"
        return {
            "location": self.location,
            "state": state,
            "reason": reason,
            "refused": self._refused,
            "breaker_opened": self.breaker.opened,
            **told,
        }

    def close(self) -> None:
        self.breaker.close()
        self._client.close()
        self._patient.close()

    def _asked(self, ask: Any) -> Any:
        """What a call answers; None where it fails, the breaker is open or too many calls are under way."""
        if self.breaker.reason is not None or not self._turns.acquire(timeout=_TIMEOUT):
            return None
        try:
            # Those who waited for their turn meanwhile have learned that no answer comes.
            answer = ask() if self.breaker.reason is None else None
            self.breaker.succeeded()
            return answer
        except self._errors.OutOfMemoryError:
            self._full_until = time.monotonic() + _FULL_PAUSE
            self._refused += 1
        except self._errors.TimeoutError as error:
            self.breaker.failed(line(error))
        except (self._errors.ConnectionError, OSError) as error:
            # A connection that an earlier Redis left behind fails once; nobody to connect to leaves no doubt.
            cause = error.__cause__ or error.__context__ or error
            self.breaker.failed(line(error), certain=isinstance(cause, ConnectionRefusedError))
        except Exception as error:  # noqa: BLE001 (what is no Redis may answer anything: redis-py fails in many ways)
            self._refused += 1
            self.breaker.failed(line(error))
        finally:
            self._turns.release()
        return None


def shown(url: str) -> str:
    """Where a Redis is, without its user, password and options."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def client_of(url: str, timeout: float) -> Any:
    """A client that asks once, and waits for `timeout` seconds at most."""
    redis: Any = importlib.import_module("redis")
    retry: Any = importlib.import_module("redis.retry")
    backoff: Any = importlib.import_module("redis.backoff")
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        # redis-py asks ten times otherwise.
        retry=retry.Retry(backoff.NoBackoff(), 0),
        protocol=2,
    )
