"""What requests share: the store that they read, and the settings."""

from __future__ import annotations

from fastapi import Request

from quant_assets.resources.local_copy import CopyView, LocalCopy
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings


def settings_of(request: Request) -> Settings:
    """The settings that the app was made with."""
    return request.app.state.settings


def store_of(request: Request) -> ObjectStore:
    """The store that the settings name, to read from: one view of it a request, where there are local copies."""
    copy: LocalCopy | None = request.app.state.copy
    if copy is None:
        return request.app.state.store
    view = view_of(request)
    if view is None:
        request.state.view = view = copy.view()
    return view


def view_of(request: Request) -> CopyView | None:
    """Through which view of the local copies a request has read so far."""
    return getattr(request.state, "view", None)
