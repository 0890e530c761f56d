"""Reading a source's document, its failure told as the source's."""

from __future__ import annotations

from quant_assets.catalog.sources.failed import SourceFailed
from quant_assets.catalog.universe import Universe
from quant_assets.resources.documents import Documents, DocumentUnavailable


def read(universe: Universe, location: str, megabytes: int, documents: Documents) -> bytes:
    """The document's bytes. Raises SourceFailed."""
    try:
        return documents.read(location, megabytes * 1_000_000)
    except DocumentUnavailable as error:
        raise SourceFailed(universe, error.seen, error.remedy) from error
