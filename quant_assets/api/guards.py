"""What is settled before a request reaches its route: HEAD, addresses and bodies that are too long."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quant_assets.api.problems import Problem

LONGEST_URL = 32 * 1024
LARGEST_BODY = 2**20
BODY_SECONDS = 60.0
"""How long the body of a request may take from when it is first read."""
_CLOSE = {"Connection": "close"}
_TOO_LARGE = f"a body may have {LARGEST_BODY} bytes: send fewer symbols at a time"
_HEAD = "quant_assets.head"


def is_head(request: Request) -> bool:
    """Whether only the headers of the answer are wanted."""
    return bool(request.scope.get(_HEAD))


class Guards:
    """ASGI middleware. HEAD is answered as GET is, without the body; what is too long, by a problem document."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        outer = scope
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", _HEAD: True}
            send = _without_body(send)
        try:
            length = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
            if length > LONGEST_URL:
                raise Problem(
                    414,
                    "The address is too long",
                    f"{length} bytes, of which there may be {LONGEST_URL}: send many symbols as the body of "
                    "POST /v1/prices/query (and likewise of weekly and valuations)",
                )
            await self.app(scope, _bounded(scope, receive), send)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        finally:
            # Who counts requests by their route looks for it here.
            outer["route"] = scope.get("route")


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """`receive` for bodies up to LARGEST_BODY that come in time: of one that says it is larger nothing is read."""
    said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if not said.isdigit() or len(said) > len(str(LARGEST_BODY)) or int(said) > LARGEST_BODY:
        raise _too_large()
    taken, whole, until = 0, False, None

    async def bounded() -> Message:
        nonlocal taken, whole, until
        if whole:
            # What is waited for then is the end of the connection.
            return await receive()
        until = until or asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise HTTPException(
                408, f"the body did not come to its end in {BODY_SECONDS:g} seconds", _CLOSE
            ) from None
        whole = not message.get("more_body", False)
        taken += len(message.get("body", b""))
        if taken > LARGEST_BODY:
            # The form in which it comes through FastAPI's reading of bodies as it is.
            raise HTTPException(413, _TOO_LARGE, _CLOSE)
        return message

    return bounded


def _too_large() -> Problem:
    return Problem(413, "The body is too large", _TOO_LARGE, headers=_CLOSE)


def _without_body(send: Send) -> Send:
    async def headers_only(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return headers_only
