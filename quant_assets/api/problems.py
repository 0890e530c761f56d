"""Errors as RFC 9457 problem documents: what was wrong, with which input, and what to do about it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from quant_assets.errors import QuantAssetsError
from quant_assets.operations.job_requests import KINDS, in_words
from quant_assets.reader import SnapshotMismatch
from quant_assets.resources.cache import CacheUnavailable
from quant_assets.resources.object_store import (
    NewerFormat,
    ObjectChanged,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStoreError,
    StoreUnavailable,
)
from quant_assets.tables.catalog_reads import UnknownSymbol
from quant_assets.tables.jobs import JobUnknown
from quant_assets.tables.membership import MembershipUnknown

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_SECONDS = 5
_MOST_TOLD = 10
_MOST_NAMED = 20


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
    found = _problem_of(error)
    if found is not None and not isinstance(error, Problem):
        # By which a client that knows the family of errors raises the same again.
        found.extra.setdefault("error", type(error).__name__)
    return found


def _problem_of(error: Exception) -> Problem | None:
    detail = str(error)
    match error:
        case Problem():
            return error
        case UnknownSymbol():
            told = {"symbols": list(error.symbols[:_MOST_TOLD]), "near": error.near}
            return Problem(404, "No such symbol", no_such("symbol", error.symbols, error.near), **told)
        case SnapshotMismatch():
            return Problem(409, "The snapshot no longer holds", detail)
        case ObjectNotFound() | MembershipUnknown() | JobUnknown():
            return Problem(404, "Not found", detail)
        case ObjectDamaged():
            return Problem(500, "A stored object is damaged", detail)
        case NewerFormat():
            return Problem(500, "A stored object is of a newer release", detail)
        case ObjectChanged():
            headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
            return Problem(503, "The store is being written to", detail, headers=headers)
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


_LISTS = {"exchange": "/v1/exchanges", "universe": "/v1/universes", "symbol": "/v1/catalog"}


def no_such(what: str, names: Sequence[str], near: Mapping[str, Sequence[str]]) -> str:
    """The names that there are none of, each with near ones, and which route lists those that there are."""
    said = [f"{name} (near: {', '.join(found)})" if (found := near.get(name)) else name for name in names]
    more = len(said) - _MOST_NAMED
    listed = ", ".join(said[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"no {what} {listed}: GET {_LISTS[what]} lists those there are"


def _invalid(request: Request, error: RequestValidationError) -> Problem:
    """What is wrong with which parameter; of one that there is not, what may have been meant."""
    parts: list[str] = []
    for one in error.errors()[:_MOST_TOLD]:
        *within, name = [str(part) for part in one["loc"] if part not in KINDS] or [""]
        if one["type"] == "extra_forbidden" and within == ["query"]:
            parts.append(_no_parameter(name, _parameters(request)))
        elif one["type"] == "json_invalid":
            parts.append(f"body, at character {name}: {in_words(one)}")
        else:
            where = ".".join([*within, name[:80]])
            parts.append(f"{where}: {in_words(one)}{_given(one.get('input'))}")
    return Problem(422, "The request cannot be used", "; ".join(parts))


def _given(value: object) -> str:
    return f", not {value[:80]!r}" if isinstance(value, str) else ""


def _parameters(request: Request) -> list[str]:
    """The names of the query parameters of the route that was asked for."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    if dependant is None:
        return []
    names: list[str] = []
    for field in dependant.query_params:
        model = getattr(field.field_info, "annotation", None)
        names += list(getattr(model, "model_fields", None) or [field.alias])
    return names


async def refuse_unheard(request: Request) -> None:
    """A dependency of all routes: no parameter is said that would not count, because it is said twice, or unknown.

    Raises Problem 422; for who may not ask, the one that says so.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    wrong = [
        f"{name[:80]} is said {count} times: say it once, a list with commas between"
        for name, count in counts.items()
        if count > 1
    ]
    # Elsewhere (the page, /healthz) nothing is asked by parameters.
    known = _parameters(request) if request.url.path.startswith("/v1/") else list(counts)
    wrong += [_no_parameter(name, known) for name in counts if name not in known]
    if wrong:
        request.app.state.admit(request)
        raise Problem(422, "The request cannot be used", "; ".join(wrong[:_MOST_TOLD]))


def _no_parameter(name: str, known: Sequence[str]) -> str:
    """That there is no such parameter, and which one may have been meant."""
    close = difflib.get_close_matches(name, known, 1)
    there = f" (there are {', '.join(known)})" if known else ": this route takes none"
    return f"query.{name[:80]}: there is no such parameter" + (
        f", did you mean {close[0]}" if close else there
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of answers with these statuses: problem documents."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def register(app: FastAPI, admit: Callable[[Request], None]) -> None:
    """Has the app answer every error with a problem document.

    `admit`: raises Problem for who may not ask. A body that cannot be parsed is refused before the route's own
    dependencies are asked, and who has no key should be told of that first.
    """

    def refusal(request: Request) -> Problem | None:
        try:
            admit(request)
        except Problem as refused:
            return refused
        return None

    app.state.admit = admit

    async def answer(_: Request, error: Exception) -> Response:
        found = problem_of(error)
        if found is None:
            raise error
        return found.response()

    async def answer_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        if any(one["type"] == "json_invalid" for one in error.errors()) and (refused := refusal(request)):
            return refused.response()
        return _invalid(request, error).response()

    async def answer_status(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 400 and (refused := refusal(request)):
            return refused.response()
        title, detail = "The request cannot be used", str(error.detail)
        path = request.url.path[:80]
        if error.status_code == 404:
            title, detail = "Not found", f"there is no {path}: /docs and /openapi.json list what there is"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            detail = f"{path} takes {allowed}, not {request.method[:20]}"
        return Problem(error.status_code, title, detail, headers=error.headers).response()

    async def answer_fault(_: Request, error: Exception) -> Response:
        detail = "a fault of this program; the log has its traceback"
        return Problem(500, "Internal error", detail).response()

    app.add_exception_handler(Problem, answer)
    app.add_exception_handler(ValueError, answer)
    for kind in (ObjectStoreError, CacheUnavailable, JobUnknown):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_status)
    app.add_exception_handler(Exception, answer_fault)
