"""Answers that are sent while they are read: a batch in memory at a time, and no client holds one for ever."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Generator, Iterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from quant_assets.api.problems import Problem
from quant_assets.api.workers import Workers
from quant_assets.errors import QuantAssetsError

_PART = 256 * 1024
"""Bytes that are handed over at once; the server takes no more until the client has taken them."""
SLOW_SECONDS = 60.0
"""How long a client may take for one part."""
_RETRY_AFTER_SECONDS = 10

log = logging.getLogger(__name__)


class Streams:
    """How many answers may be streamed at a time: each has a batch in memory for as long as its client reads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.open = 0

    def enter(self) -> None:
        """Raises Problem 503 when there are as many as there may be."""
        self.refuse_more()
        self.open += 1

    def refuse_more(self) -> None:
        """Raises Problem 503 when there are as many as there may be."""
        if self.open >= self.most:
            raise Problem(
                503,
                "Too many large answers at a time",
                f"{self.most} are being sent: ask again in a moment, or for fewer symbols",
                headers={"Retry-After": str(_RETRY_AFTER_SECONDS)},
            )

    def leave(self) -> None:
        """One has ended."""
        self.open -= 1


class StreamedResponse(StreamingResponse):
    """Pieces that worker threads make one by one, as the client takes them.

    An error after the first piece ends the connection before the answer is whole, which every client notices.
    Raises Problem 503 when too many are open.
    """

    def __init__(
        self, pieces: Iterator[bytes], headers: Mapping[str, str], workers: Workers, streams: Streams
    ) -> None:
        streams.enter()
        self._pieces, self._workers, self._streams = pieces, workers, streams
        self._making, self._over = threading.Lock(), False
        super().__init__(self._parts(), 200, headers)

    async def _parts(self) -> AsyncIterator[bytes]:
        while (piece := await self._workers.run(self._next)) is not None:
            for start in range(0, len(piece), _PART):
                yield piece[start : start + _PART]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: Message) -> None:
            async with asyncio.timeout(SLOW_SECONDS):
                await send(message)

        try:
            await super().__call__(scope, receive, in_time)
        except TimeoutError:
            log.warning("%s: the client took nothing for %g seconds", scope["path"], SLOW_SECONDS)
        except QuantAssetsError as error:
            log.error("%s: the answer ends early: %s", scope["path"], error)
        finally:
            self._streams.leave()
            self._end()

    def _next(self) -> bytes | None:
        with self._making:
            piece = None if self._over else next(self._pieces, None)
            if self._over:
                self._close()
            return piece

    def _end(self) -> None:
        """Nobody wants more. A thread that is making a piece closes them itself when it has it."""
        self._over = True
        if self._making.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._making.release()

    def _close(self) -> None:
        if isinstance(self._pieces, Generator):
            self._pieces.close()
