"""The application: its parts put together."""

from __future__ import annotations

from fastapi import FastAPI

from quant_assets._version import __version__
from quant_assets.api import cache, data, health, metrics, problems
from quant_assets.resources.open_cache import open_cache
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings, load_settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API on the store that the settings name. `app.state.settings` has them for the routes."""
    app = FastAPI(
        title="quant-assets",
        version=__version__,
        description="Daily stock prices as they were traded, with every hole named.",
        docs_url="/docs",
    )
    app.state.settings = settings or load_settings()
    app.state.store = open_store(app.state.settings.store_location)
    app.state.cache = open_cache(app.state.settings)
    for shared in (problems, health, metrics):
        shared.register(app)
    for part in (data, cache, health, metrics):
        app.include_router(part.router)
    return app
