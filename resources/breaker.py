"""A breaker: what does not answer is left alone, and asked by a thread of its own whether it answers again.

No caller ever pays for the question: while the breaker is open, calls are refused at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Breaker:
    """Open after `failures` in a row, or after one that leaves no doubt; closed when `probe` succeeds.

    Args:
        probe: raises while what is behind the breaker does not answer. Called in a thread of the breaker's own.
        failures: passing failures in a row, without a success between them, after which it opens.
        pause: seconds before the first probe; doubles up to `longest`.
    """

    def __init__(
        self,
        probe: Callable[[], object],
        *,
        failures: int = 3,
        pause: float = 0.5,
        longest: float = 5.0,
    ) -> None:
        self._probe = probe
        self._limit = failures
        self._pause, self._longest = pause, longest
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._reason: str | None = None
        self._closed = threading.Event()
        self.opened = 0
        """How often it has opened."""

    @property
    def reason(self) -> str | None:
        """Why it is open; None: it is closed."""
        return self._reason

    def succeeded(self) -> None:
        """A call was answered. An open breaker stays open: the call was begun before it opened."""
        self._in_a_row = 0

    def failed(self, reason: str, *, certain: bool = False) -> None:
        """A call was not answered; `certain`: no doubt is left that none will be."""
        with self._lock:
            self._in_a_row += 1
            if self._reason is not None or (not certain and self._in_a_row < self._limit):
                return
            self._reason = reason
            self.opened += 1
        threading.Thread(target=self._until_it_answers, name="breaker", daemon=True).start()

    def close(self) -> None:
        """Ends the probing."""
        self._closed.set()

    def _until_it_answers(self) -> None:
        pause = self._pause
        while not self._closed.wait(pause):
            try:
                self._probe()
            except Exception as error:  # noqa: BLE001 (whatever it is, the next probe will see)
                self._reason = line(error)
                pause = min(pause * 2, self._longest)
                continue
            with self._lock:
                self._in_a_row = 0
                self._reason = None
            return


def line(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
