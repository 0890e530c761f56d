"""Whether the process lives, and whether it can work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.cache import AnswerCache
from quant_assets.resources.local_copy import LocalCopy
from quant_assets.resources.object_store import MARKER, ObjectStore
from quant_assets.resources.settings import Settings

router = APIRouter(tags=["health"])

_PATIENCE_SECONDS = 2.0
_BELIEVED_SECONDS = 1.0
_HEARTBEAT_SECONDS = 120.0
"""A daemon that is alive leaves a heartbeat every half minute."""


class Part(BaseModel):
    """One of the things that the API leans on."""

    state: Literal["ok", "away", "off"]
    reason: str = ""
    """Why it is not ok, in one line."""


class Readiness(BaseModel):
    """`ok`: all parts are. `degraded`: data is answered (of local copies, while the store is away), something
    is away. `away`: no data is answered."""

    status: Literal["ok", "degraded", "away"]
    store: Part
    cache: Part
    dagster: Part


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def healthz() -> Alive:
    """The process lives. Asks nothing of anybody."""
    return Alive()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "No data can be answered."}})
async def readyz(request: Request, response: Response) -> Readiness:
    """Whether data can be answered, and what of the rest is there: within two seconds, whatever hangs.

    A cache or a Dagster that is away leaves the status at 200: the data is answered without them.
    """
    parts = await request.app.state.checks.all()
    copy: LocalCopy | None = request.app.state.copy
    copied = copy is not None and bool(copy.facts()["objects"])
    ready = Readiness(
        status="away"
        if parts["store"].state == "away" and not copied
        else "ok"
        if all(part.state != "away" for part in parts.values())
        else "degraded",
        **parts,
    )
    response.status_code = 503 if ready.status == "away" else 200
    response.headers["Cache-Control"] = "no-store"
    return ready


class Checks:
    """Asks the parts how they are: each in a thread of its own, and one that hangs is not asked again meanwhile."""

    def __init__(
        self, parts: Mapping[str, Callable[[], Part]], *, patience: float = _PATIENCE_SECONDS
    ) -> None:
        self._parts = parts
        self._patience = patience
        self._threads = ThreadPoolExecutor(len(parts), thread_name_prefix="readiness")
        self._asked: dict[str, tuple[float, asyncio.Future[Part]]] = {}

    async def all(self) -> dict[str, Part]:
        """How each of them is."""
        loop, now = asyncio.get_running_loop(), time.monotonic()
        for name, ask in self._parts.items():
            known = self._asked.get(name)
            if known is not None and known[1].get_loop() is loop:
                under_way = not known[1].done()
                if under_way or now - known[0] < _BELIEVED_SECONDS:
                    continue
            self._asked[name] = now, loop.run_in_executor(self._threads, _guarded, ask)
        asked = {name: future for name, (_, future) in self._asked.items()}
        await asyncio.wait(asked.values(), timeout=self._patience)
        return {
            name: future.result()
            if future.done()
            else Part(state="away", reason=f"no answer for {time.monotonic() - self._asked[name][0]:.0f} s")
            for name, future in asked.items()
        }

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _guarded(ask: Callable[[], Part]) -> Part:
    try:
        return ask()
    except QuantAssetsError as error:
        return Part(state="away", reason=str(error))
    except Exception as error:  # noqa: BLE001 (a part that fails in whatever way is away)
        return Part(state="away", reason=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def register(app: FastAPI) -> None:
    """Gives the app what `/readyz` asks; `app.state` has its settings, store and cache already."""
    state = app.state
    settings: Settings = state.settings
    cache: AnswerCache = state.cache
    copy: LocalCopy | None = state.copy
    # That of the copies gives up sooner.
    store: ObjectStore = state.store if copy is None else copy.store

    def ask_store() -> Part:
        if store.head(MARKER) is None and next(iter(store.list("")), None) is None:
            return Part(state="away", reason=f"{store.location} holds no tables: see QUANT_ASSETS_STORE")
        return Part(state="ok")

    def ask_store_or_copy() -> Part:
        part = _guarded(ask_store)
        if part.state == "away" and copy is not None and copy.facts()["objects"]:
            part.reason += "; reads go on from local copies, and say so"
        return part

    def ask_cache() -> Part:
        facts = cache.facts()
        if facts["kind"] == "off":
            return Part(state="off", reason="QUANT_ASSETS_CACHE=off")
        health = cache.far.facts() if cache.far is not None else {"reason": None, "location": ""}
        if health["reason"] is None:
            return Part(state="ok")
        return Part(state="away", reason=f"{health['location']}: {health['reason']}")

    state.checks = Checks(
        {"store": ask_store_or_copy, "cache": ask_cache, "dagster": lambda: _ask_dagster(settings)}
    )


def _ask_dagster(settings: Settings) -> Part:
    if not (settings.dagster_home / "dagster.yaml").exists():
        return Part(
            state="off", reason=f"no Dagster has run in {settings.dagster_home} (quant-assets ui starts it)"
        )
    from quant_assets.instance import newest_heartbeat

    beat = newest_heartbeat(settings)
    if beat is None:
        return Part(state="away", reason="its daemon has left no heartbeat (quant-assets ui starts it)")
    age = time.time() - beat
    if age > _HEARTBEAT_SECONDS:
        return Part(state="away", reason=f"the last heartbeat of its daemon is {age:.0f} s old")
    return Part(state="ok")
