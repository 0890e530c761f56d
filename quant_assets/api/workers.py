"""The threads in which requests read: a fixed number, so that memory is bounded, and nobody waits without end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from quant_assets.api.problems import Problem

T = TypeVar("T")


class Workers:
    """Runs blocking work for coroutines.

    What a hanging store holds up keeps its thread until the store answers or its own time-out ends the wait; requests
    are told after `seconds`, and those that wait for a thread are taken back, so that there are never more threads.
    """

    def __init__(self, threads: int, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="api")
        self.seconds = seconds

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` answers. Raises what it raises; Problem 503 when it has not ended in time."""
        context = contextvars.copy_context()
        future = self._pool.submit(context.run, work)
        try:
            async with asyncio.timeout(self.seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise Problem(
                503,
                "No answer in time",
                f"reading took longer than {self.seconds:g} seconds: ask for less, or later "
                "(QUANT_ASSETS_API_TIMEOUT_SECONDS sets the time)",
                headers={"Retry-After": "5"},
            ) from None

    def close(self) -> None:
        """Takes no more work."""
        self._pool.shutdown(wait=False, cancel_futures=True)
