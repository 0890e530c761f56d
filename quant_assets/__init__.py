"""quant-assets: a Dagster data-asset platform for daily stock prices.

The code location is `quant_assets.definitions`. For reading: `from quant_assets import prices, weekly, universe,
profiles` (see `quant_assets.reader`). Importing this package does no work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_assets._version import __version__ as __version__

if TYPE_CHECKING:
    from quant_assets.reader import (
        SnapshotMismatch,
        UnknownSymbol,
        companies,
        gaps,
        listing_events,
        prices,
        profiles,
        restatements,
        sessions,
        snapshot_id,
        to_pandas,
        universe,
        valuations,
        weekly,
    )

__all__ = [
    "SnapshotMismatch",
    "UnknownSymbol",
    "companies",
    "gaps",
    "listing_events",
    "prices",
    "profiles",
    "restatements",
    "sessions",
    "snapshot_id",
    "to_pandas",
    "universe",
    "valuations",
    "weekly",
]


def __dir__() -> list[str]:
    # What is there for readers: no module that happens to have been loaded, and none of our own imports.
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__})


def __getattr__(name: str) -> Any:
    if name in __all__:
        from quant_assets import reader

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
