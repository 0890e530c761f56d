"""Reading a universe's source in tests, as the file of universes states it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.sources import constituents
from quant_assets.catalog.universe import Universe
from quant_assets.exchanges import exchange as known_exchange
from quant_assets.resources.documents import Documents
from quant_assets_tests.support import quick_settings
from quant_assets_tests.web import Web, web_server

Ask = Callable[..., list[ConfiguredSymbol]]


@pytest.fixture(scope="session")
def web() -> Iterator[Web]:
    with web_server() as web:
        yield web


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """Asks a source for its constituents: `ask("US", kind="csv", path=…)`."""
    documents = Documents(quick_settings(tmp_path, "http://127.0.0.1:9", attempts=1))

    def ask(
        exchange: str, others: Mapping[str, Sequence[ConfiguredSymbol]] | None = None, **source: Any
    ) -> list[ConfiguredSymbol]:
        universe = Universe.model_validate({"name": "ours", "exchange": exchange, "source": source})
        return constituents(universe, known_exchange(exchange), documents, others or {})

    yield ask
    documents.close()
