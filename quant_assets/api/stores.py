"""What requests share: the store that they read, and the settings."""

from __future__ import annotations

from fastapi import Request

from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings


def settings_of(request: Request) -> Settings:
    """The settings that the app was made with."""
    return request.app.state.settings


def store_of(request: Request) -> ObjectStore:
    """The store that the settings name."""
    return request.app.state.store
