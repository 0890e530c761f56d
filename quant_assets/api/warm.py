"""Warm-up: once data has changed, the answers asked for most are made anew before anybody asks again.

Whoever writes need not tell: the manifest is looked at now and then, and where it has changed and rests again (the
daily job writes for minutes), what was asked for most is asked once more, one after the other, within this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple

from fastapi import FastAPI, Request
from starlette.types import Message

from quant_assets.api.versions import digest
from quant_assets.errors import QuantAssetsError
from quant_assets.resources.cache import AnswerCache, warming
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import MANIFEST

LOOK_SECONDS = 30.0
"""How often it is looked whether data has changed."""
_REMEMBERED = 8
"""So many times what is to be made anew is counted at most."""

_LONGEST = 4096
"""Bytes of what is remembered of a request: what is longer is asked for once, and would fill the memory."""

log = logging.getLogger(__name__)


class _Asked(NamedTuple):
    path: str
    query: bytes
    accept: bytes
    encodings: bytes


class Popular:
    """What was asked for, and how often; of late more than of old."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._counts: Counter[_Asked] = Counter()

    def count(self, request: Request) -> None:
        """A request was answered with something that the cache keeps."""
        if not self.most or request.method != "GET" or warming.get():
            return
        found: dict[bytes, bytes] = dict(request.scope["headers"])
        asked = _Asked(
            request.scope["path"],
            request.scope["query_string"],
            found.get(b"accept", b""),
            found.get(b"accept-encoding", b""),
        )
        if len(asked.query) + len(asked.accept) + len(asked.encodings) > _LONGEST:
            return
        self._counts[asked] += 1
        if len(self._counts) > self.most * _REMEMBERED:
            # What was asked for once makes room; what was asked for often counts half.
            self._counts = Counter({one: n // 2 for one, n in self._counts.items() if n > 1})

    def top(self) -> list[_Asked]:
        """Those asked for most, the most popular first."""
        return [asked for asked, _ in self._counts.most_common(self.most)]


class WarmUp:
    """Looks at the store of an app, and has it make its most popular answers anew."""

    def __init__(self, app: FastAPI, popular: Popular) -> None:
        self._app, self.popular = app, popular
        self._warm: str | None = None
        self._seen: str | None = None

    async def run(self, pause: float) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.look()
            except QuantAssetsError as error:
                log.info("no warm-up: %s", error)
            await asyncio.sleep(pause)

    async def look(self) -> int:
        """Asks anew if data has changed since the last time and rests since the last look; answers how often.

        Raises StoreUnavailable.
        """
        store: ObjectStore = self._app.state.store
        workers = self._app.state.workers
        now = await workers.run(
            lambda: digest(f"{info.key} {info.version}" for info in store.list(f"{MANIFEST}/"))
        )
        rests, self._seen = now == self._seen, now
        if self._warm is None:
            # What is there at the start is made when it is asked for: nothing was popular yet.
            self._warm = now
        if not rests or now == self._warm:
            return 0
        self._warm = now
        top = self.popular.top()
        for asked in top:
            await self._ask(asked)
        return len(top)

    async def _ask(self, asked: _Asked) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": asked.path,
            "raw_path": asked.path.encode(),
            "root_path": "",
            "query_string": asked.query,
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"accept", asked.accept or b"*/*"),
                *([(b"accept-encoding", asked.encodings)] if asked.encodings else []),
            ],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 0),
            "state": {},
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: Message) -> None:
            """Nobody waits for it."""

        token = warming.set(True)
        try:
            await self._app(scope, receive, send)
        except Exception:
            # A symbol may be gone; whoever asks for it is told.
            log.warning("no warm-up of %s", asked.path, exc_info=True)
        finally:
            warming.reset(token)


@contextlib.asynccontextmanager
async def warmed(app: FastAPI) -> AsyncIterator[None]:
    """Keeps an app's popular answers warm while the context lasts, if its settings say so."""
    cache: AnswerCache = app.state.cache
    if not app.state.popular.most or (cache.near is None and cache.far is None):
        yield
        return
    task = asyncio.create_task(WarmUp(app, app.state.popular).run(LOOK_SECONDS))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def popular_of(request: Request) -> Popular:
    """Where requests are counted."""
    return request.app.state.popular


def register(app: FastAPI) -> None:
    """Gives the app what counts its requests."""
    app.state.popular = Popular(app.state.settings.cache_warm)
