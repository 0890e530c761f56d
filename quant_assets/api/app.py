"""The application: its parts put together."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from quant_assets._version import __version__
from quant_assets.api import access, cache, data, health, metrics, problems
from quant_assets.resources.open_cache import open_cache
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings, load_settings


def create_app(settings: Settings | None = None, *, open_reading: bool = True) -> FastAPI:
    """The API on the store that the settings name. `app.state.settings` has them for the routes.

    `open_reading`: whether callers of this machine may read without a key. Raises KeyProblem.
    """
    app = FastAPI(
        title="quant-assets",
        version=__version__,
        description="Daily stock prices as they were traded, with every hole named.",
        docs_url="/docs",
    )
    app.state.settings = settings or load_settings()
    app.state.access = access.Access(app.state.settings, open_reading=open_reading)
    app.state.store = open_store(app.state.settings.store_location)
    app.state.cache = open_cache(app.state.settings)
    for shared in (problems, health, metrics):
        shared.register(app)
    for part in (data, cache, health, metrics):
        app.include_router(part.router)
    access.refuse_open_routes(app)
    if app.state.settings.api_cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(app.state.settings.api_cors),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Idempotency-Key", "If-None-Match", "Content-Type"],
            expose_headers=["ETag", "Location", "Retry-After"],
        )
    return app
