"""How often callers of a service may ask: an allowance for each, which refills steadily."""

from __future__ import annotations

import threading
from typing import Any


class RateLimits:
    """So many requests a minute for each name, as many at once at most. Kept in this process alone."""

    def __init__(self, per_minute: int) -> None:
        """`per_minute`: 0 is without a limit."""
        from pyrate_limiter import MonotonicClock, Rate, StateBucket

        self._clock = MonotonicClock()
        self._rates = [Rate(per_minute, 60_000)] if per_minute else []
        self._buckets: dict[str, StateBucket] = {}
        self._lock = threading.Lock()

    def wait(self, name: str) -> float:
        """Takes one request off the allowance of `name`: 0, or the seconds until there is one where none is left."""
        if not self._rates:
            return 0.0
        from pyrate_limiter import RateItem, StateBucket

        with self._lock:
            bucket = self._buckets.get(name)
            if bucket is None:
                bucket = self._buckets[name] = StateBucket(self._rates)
            item = RateItem(name, self._clock.now())
            if bucket.put(item):
                return 0.0
            milliseconds: Any = bucket.waiting(item)
            return max(1, milliseconds) / 1000
