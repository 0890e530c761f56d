"""The application: its parts put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi

from quant_assets._version import __version__
from quant_assets.api import (
    access,
    audit,
    cache,
    companies,
    health,
    jobs,
    listings,
    metrics,
    page,
    prices,
    problems,
    records,
    reports,
    warm,
)
from quant_assets.api.guards import Guards
from quant_assets.api.streams import Streams
from quant_assets.api.workers import Workers
from quant_assets.resources.open_cache import open_cache
from quant_assets.resources.open_store import open_copy, open_store, shared_by_readers
from quant_assets.resources.settings import Settings, load_settings


def create_app(settings: Settings | None = None, *, open_reading: bool = True) -> FastAPI:
    """The API on the store that the settings name.

    `app.state` has for the routes: `settings`; `access`; `admit`, which refuses who may not ask; `store`, and a local
    `copy` of it or None; `cache`, of encoded answers; `workers` and `streams`, which bound what is read and sent at a
    time.

    `open_reading`: whether callers of this machine may read without a key. Raises KeyProblem.
    """
    app = FastAPI(
        title="quant-assets",
        version=__version__,
        description="Daily stock prices as they were traded, with every hole named.",
        # The page has its own, which asks nothing of another server.
        docs_url=None,
        redoc_url=None,
        responses=problems.documented(400, 401, 403, 404, 406, 409, 413, 414, 422, 429, 500, 503),
        dependencies=[Depends(problems.refuse_unheard)],
        lifespan=_lifespan,
    )
    state = app.state
    state.settings = settings or load_settings()
    state.access = access.Access(state.settings, open_reading=open_reading)
    state.store = shared_by_readers(open_store(state.settings.store_location))
    state.copy = open_copy(state.settings)
    state.cache = open_cache(state.settings)
    state.workers = Workers(state.settings.api_threads, state.settings.api_timeout_seconds)
    state.streams = Streams(state.settings.api_streams)
    problems.register(app, access.admit_to_route)
    health.register(app)
    warm.register(app)
    for part in (prices, listings, companies, records, reports, jobs, audit, cache, health, metrics, page):
        app.include_router(part.router)
    access.refuse_open_routes(app)
    app.add_middleware(audit.Recording)
    app.add_middleware(Guards)
    if state.settings.api_cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(state.settings.api_cors),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Idempotency-Key", "If-None-Match", "Content-Type"],
            expose_headers=[
                "ETag",
                "Idempotent-Replayed",
                "Link",
                "Location",
                "Retry-After",
                "X-Cache",
                "X-Snapshot-Id",
                "X-Stale-Since",
                "X-Warnings",
            ],
        )
    # Around all others: what they refuse counts as well.
    metrics.register(app)
    app.openapi = lambda: _openapi(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with warm.warmed(app):
        yield
    state = app.state
    for part in (state.workers, state.checks, state.cache, state.copy, state.metrics.platform):
        if part is not None:
            part.close()


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: FastAPI's, with the problem document among its schemas."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas["ProblemDocument"] = problems.ProblemDocument.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = made
    return app.openapi_schema
