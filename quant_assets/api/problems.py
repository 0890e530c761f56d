"""Errors as RFC 9457 problem documents: what was wrong, with which input, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from quant_assets.errors import QuantAssetsError
from quant_assets.reader import SnapshotMismatch
from quant_assets.resources.cache import CacheUnavailable
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound, StoreUnavailable
from quant_assets.tables.membership import MembershipUnknown

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_SECONDS = 5


class ProblemDocument(BaseModel):
    """The body of every answer with a status of 400 or more (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    """One line that names the input and the remedy."""


class Problem(QuantAssetsError):
    """A request that is answered with a problem document. `extra`: further members of the document."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail
        self.headers, self.extra = dict(headers or {}), extra

    def response(self) -> Response:
        document = ProblemDocument(title=self.title, status=self.status, detail=self.detail, **self.extra)
        return Response(orjson.dumps(document.model_dump()), self.status, self.headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Problem | None:
    """The problem that an error of ours is to a client; None: it is a fault of this program."""
    detail = str(error)
    match error:
        case Problem():
            return error
        case SnapshotMismatch():
            return Problem(409, "The snapshot no longer holds", detail)
        case ObjectNotFound() | MembershipUnknown():
            return Problem(404, "Not found", detail)
        case ObjectDamaged():
            return Problem(500, "A stored object is damaged", detail)
        case StoreUnavailable():
            headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
            return Problem(503, "The store is out of reach", detail, headers=headers)
        case CacheUnavailable():
            headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
            return Problem(503, "The cache is out of reach", detail, headers=headers)
        case ValueError():
            return Problem(422, "The request cannot be used", detail)
        case _:
            return None


def register(app: FastAPI) -> None:
    """Has the app answer every error with a problem document."""

    async def answer(_: Request, error: Exception) -> Response:
        found = problem_of(error)
        if found is None:
            raise error
        return found.response()

    async def answer_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        parts = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        return Problem(422, "The request cannot be used", "; ".join(parts)).response()

    async def answer_status(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        title = "Not found" if error.status_code == 404 else "The request cannot be used"
        return Problem(error.status_code, title, str(error.detail), headers=error.headers).response()

    async def answer_fault(_: Request, error: Exception) -> Response:
        detail = "a fault of this program; the log has its traceback"
        return Problem(500, "Internal error", detail).response()

    app.add_exception_handler(Problem, answer)
    app.add_exception_handler(ValueError, answer)
    for kind in (ObjectNotFound, ObjectDamaged, StoreUnavailable, MembershipUnknown, CacheUnavailable):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_status)
    app.add_exception_handler(Exception, answer_fault)
