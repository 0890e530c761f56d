"""The routes of jobs: asked for, looked at, followed, cancelled. They run elsewhere (`operations.jobs`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent

from quant_assets.api.access import Caller, require
from quant_assets.api.guards import is_head
from quant_assets.api.problems import Problem, problem_of
from quant_assets.errors import QuantAssetsError
from quant_assets.operations.job_requests import JobRequest, Kind
from quant_assets.operations.jobs import JobDesk, JobState, Status
from quant_assets.tables.jobs import JobKeyTaken

_EXAMPLES = {
    "yesterday": {"value": {"kind": "update_daily", "exchange": "US"}},
    "three years of two symbols": {
        "value": {"kind": "backfill", "exchange": "US", "start_year": 2021, "symbols": ["AAPL", "IBM"]}
    },
    "what differs": {
        "value": {
            "kind": "backfill", "exchange": "US", "start": "2024-01-02", "end": "2024-03-28", "mode": "verify",
        }
    },
}  # fmt: skip
_LOOK_SECONDS = 0.5

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
JobId = Annotated[
    str, Path(max_length=80, description="A job's id.", examples=["20261127-155526-0a1b2c3d4e5f"])
]


class JobList(BaseModel):
    """Jobs, the latest first."""

    jobs: list[JobState]
    next: str | None = None
    """What to send as `before` for the next ones; null where there are none."""


def desk(request: Request) -> Iterator[JobDesk]:
    """Where this application asks for jobs."""
    state = request.app.state
    try:
        yield JobDesk(state.settings, state.store)
    except QuantAssetsError as error:
        if problem_of(error) is not None:
            raise
        # Not before: it loads Dagster.
        from quant_assets.instance import HomeUnavailable

        if not isinstance(error, HomeUnavailable):
            raise
        raise Problem(
            503, "Dagster's records are out of reach", str(error), headers={"Retry-After": "5"}
        ) from error


Desk = Annotated[JobDesk, Depends(desk)]


@router.post("", status_code=202)
def request_job(
    body: Annotated[JobRequest, Body(openapi_examples=_EXAMPLES)],  # pyright: ignore[reportArgumentType]
    caller: Annotated[Caller, Depends(require("operate"))],
    desk: Desk,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1, max_length=200,
            description="A text of your own: the same request sent twice with it is one job.",
        ),
    ] = None,
) -> JobState:  # fmt: skip
    """Asks for a job. It is checked and taken down at once; Dagster runs it as soon as its daemon looks."""
    try:
        state, new = desk.request(body, caller.name, "api", idempotency_key or "")
    except JobKeyTaken as error:
        raise Problem(409, "The Idempotency-Key stands for another request", str(error)) from error
    response.headers["Location"] = f"/v1/jobs/{state.id}"
    if not new:
        response.headers["Idempotent-Replayed"] = "true"
    return state


@router.get("", dependencies=[Depends(require("read"))])
def list_jobs(
    desk: Desk,
    status: Annotated[Status | None, Query(description="Only those of this status.")] = None,
    kind: Annotated[Kind | None, Query(description="Only those of this kind.")] = None,
    exchange: Annotated[
        str | None, Query(max_length=12, description="Only those about this exchange.")
    ] = None,
    before: Annotated[str, Query(max_length=80, description="The `next` of the answer before.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> JobList:
    """The jobs that were asked for, the latest first."""
    found, following = desk.list(status=status, kind=kind, exchange=exchange, before=before, limit=limit)
    return JobList(jobs=found, next=following)


@router.get("/{job}", dependencies=[Depends(require("read"))])
def show_job(job: JobId, desk: Desk) -> JobState:
    """A job as it stands: status, progress, warnings, result, and links to its runs."""
    return desk.state(job)


@router.delete("/{job}", status_code=202)
def cancel_job(job: JobId, desk: Desk, caller: Annotated[Caller, Depends(require("operate"))]) -> JobState:
    """Cancels a job. One that has not begun is over at once; one under way finishes the requests that it has sent."""
    return desk.cancel(job, caller.name)


@router.get(
    "/{job}/events",
    dependencies=[Depends(require("read"))],
    response_class=EventSourceResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "Server-sent events.",
        },
    },
)
async def follow_job(request: Request, job: JobId, desk: Desk) -> Response:
    """The job's state as server-sent events: `state` whenever something of it changes, `end` as the last one."""
    first = await run_in_threadpool(desk.state, job)
    if is_head(request):
        # Whoever wants no body waits for no end.
        return Response(media_type="text/event-stream")

    async def events() -> AsyncIterator[ServerSentEvent]:
        state, sent = first, ""
        while True:
            text = state.model_dump_json()
            if state.ended:
                yield ServerSentEvent(text, event="end", id=state.id)
                return
            if text != sent:
                yield ServerSentEvent(text, event="state", id=state.id)
                sent = text
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                state = await run_in_threadpool(desk.state, job)
            except QuantAssetsError as error:
                problem = problem_of(error)
                yield ServerSentEvent(problem.detail if problem else str(error), event="error")
                return

    return EventSourceResponse(events(), ping=15)
