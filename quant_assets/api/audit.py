"""The audit record over the API: the route that tells it, and what writes down the API's own operations."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quant_assets.api.access import OPERATING, require
from quant_assets.operations.audit import audit_trail
from quant_assets.operations.keys import without_keys
from quant_assets.tables.audit import Operation, now, write_down

router = APIRouter(prefix="/v1/audit", tags=["audit"], dependencies=[Depends(require("admin"))])
_DAYS = 30
_CHANGED_NOTHING = (401, 429)


class AuditRecord(BaseModel):
    """What was done, the latest first."""

    operations: list[Operation]


@router.get("")
def show_audit(
    request: Request,
    since: Annotated[date | None, Query(description=f"First day (UTC); {_DAYS} days ago by default.")] = None,
    who: Annotated[str | None, Query(max_length=200, description="Only what this key, user, … did.")] = None,
    via: Annotated[Literal["api", "cli", "dagster"] | None, Query(description="Only this way in.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditRecord:
    """Who did what to the store, when, and what came of it: over the API, by commands, and by Dagster."""
    first = since or (datetime.now(UTC) - timedelta(days=_DAYS)).date()
    found = audit_trail(request.app.state.store, first, who=who, via=via, limit=limit)
    return AuditRecord(operations=found)


class Recording:
    """ASGI middleware: what a key was used for that takes the scope operate or admin is on record before it is
    answered. A job that was taken down is a record itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        began, state = now(), scope.setdefault("state", {})

        async def recording(message: Message) -> None:
            if message["type"] == "http.response.start" and (who := state.get(OPERATING)):
                status = int(message["status"])
                accepted = status < 400 and scope["method"] == "POST" and scope["path"] == "/v1/jobs"
                if not accepted and status not in _CHANGED_NOTHING:
                    store = scope["app"].state.store
                    await run_in_threadpool(write_down, store, _operation(scope, began, who, status))
            await send(message)

        await self.app(scope, receive, recording)


def _operation(scope: Any, began: str, who: str, status: int) -> Operation:
    result = "ok" if status < 400 else "refused" if status < 500 else "failed"
    query = without_keys(scope["query_string"].decode("latin-1"))
    return Operation(
        at=began,
        who=who,
        via="api",
        what=without_keys(f"{scope['method']} {scope['path'][:200]}"),
        result=result,
        parameters={"query": query[:500]} if query else {},
        ended_at=now(),
        detail="" if status < 400 else f"status {status}",
    )
