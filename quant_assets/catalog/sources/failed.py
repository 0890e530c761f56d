"""The failure of a source."""

from __future__ import annotations

from quant_assets.catalog.configured import CatalogError
from quant_assets.catalog.universe import Universe


class SourceFailed(CatalogError):
    """A universe's source gives no list that can be used: nothing of the universe may change.

    Args:
        universe: the universe, named in the message with the kind of its source.
        seen: what was seen.
        remedy: what to do about it.
    """

    def __init__(self, universe: Universe, seen: str, remedy: str) -> None:
        super().__init__(f"{universe.name} ({universe.source.kind}): {seen}; {remedy}")
        self.universe = universe.name
