"""Pacing of requests to a source: one rate for all threads, processes and (with Redis) machines, and cool-downs."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.interrupts import Interrupted, interrupted, wait_unless_interrupted

if TYPE_CHECKING:
    from quant_assets.resources.shared_pace import SharedPace

_LOOK_UP_SECONDS = 0.25
"""How long a thread waits in the queue before it sees whether the run was interrupted."""


class RateBudgetSpent(QuantAssetsError):
    """The run has waited for rate limits as long as it may."""


class Pacer:
    """Lets requests through at a steady rate, shared by every process that names the same file, or the same Redis.

    A rate-limited answer cools the whole process down (`cool_down`), and the seconds so waited count against
    `budget_seconds`; when they are spent, `wait` raises RateBudgetSpent instead of asking a source that refuses.
    With `over_machines` every worker cools down; the others' cool-downs do not count against this one's budget.
    """

    def __init__(
        self,
        requests_per_second: float,
        budget_seconds: float,
        shared_file: Path | None,
        over_machines: SharedPace | None = None,
    ) -> None:
        self._budget = budget_seconds
        self._until = 0.0
        self._cooled = 0.0
        self._spent = False
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._limiter = None
        self._over_machines = over_machines
        if requests_per_second > 0 and over_machines is None:
            from pyrate_limiter import limiter_factory

            # An interval per request, not a burst per second: Yahoo counts bursts.
            interval_ms = max(1, round(1000 / requests_per_second))
            if shared_file is None:
                self._limiter = limiter_factory.create_inmemory_limiter(1, interval_ms, buffer_ms=5)
            else:
                shared_file.parent.mkdir(parents=True, exist_ok=True)
                self._limiter = limiter_factory.create_sqlite_limiter(
                    1, interval_ms, db_path=str(shared_file), buffer_ms=5, use_file_lock=True
                )

    @property
    def spent(self) -> bool:
        """Whether a rate limit asked for more waiting than the budget still holds."""
        return self._spent

    def wait(self) -> None:
        """Blocks until a request may be sent. Raises RateBudgetSpent, Interrupted."""
        self._wait_until_cool()
        # One thread of this process stands in the queue of all processes; the others wait behind it.
        with self._turn:
            self._acquire()
            # A cool-down may have begun while this request stood in the queue.
            while self._wait_until_cool():
                self._acquire()

    def _acquire(self) -> None:
        while not interrupted():
            if self._over_machines is not None:
                pause = self._over_machines.take()
                if not pause:
                    return
                wait_unless_interrupted(min(pause, _LOOK_UP_SECONDS))
            elif self._limiter is None or self._limiter.try_acquire("source", timeout=_LOOK_UP_SECONDS):
                return
        raise Interrupted

    def _wait_until_cool(self) -> bool:
        """Whether there was anything to wait for."""
        waited = False
        while True:
            with self._lock:
                if self._spent:
                    raise RateBudgetSpent("the time allowed for waiting on rate limits is spent")
                pause = self._until - time.monotonic()
            if pause <= 0:
                return waited
            waited = True
            if wait_unless_interrupted(min(pause, 0.5)):
                raise Interrupted

    def cool_down(self, seconds: float) -> None:
        """Nobody of this process asks again for `seconds`; overlapping cool-downs count once."""
        with self._lock:
            now = time.monotonic()
            extension = max(0.0, now + seconds - max(self._until, now))
            if self._cooled + extension > self._budget:
                self._spent = True
                return
            self._cooled += extension
            self._until = max(self._until, now + seconds)
        if self._over_machines is not None:
            self._over_machines.cool_down(seconds)

    def close(self) -> None:
        """Gives the shared file, or the place in Redis, back."""
        if self._over_machines is not None:
            self._over_machines.close()
        if self._limiter is not None:
            self._limiter.close()
