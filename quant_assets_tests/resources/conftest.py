"""Both homes of the tables, for tests of what holds in either; and price sources on the replay server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.open_store import open_store
from quant_assets.resources.yahoo import YahooSource
from quant_assets_tests.resources.asking import Make
from quant_assets_tests.support import quick_settings


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store in a folder, then one in a bucket; modules about one of the two have their own."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(f"gs://{request.getfixturevalue('bucket')}/some/prefix")


@pytest.fixture
def make(market: ReplayHandle, tmp_path: Path) -> Iterator[Make]:
    """Makes sources on the replay server; settings as keyword arguments."""
    made: list[YahooSource] = []

    def make(url: str = market.url, home: Path = tmp_path, **settings: Any) -> YahooSource:
        made.append(YahooSource(quick_settings(home, url, **settings)))
        return made[-1]

    yield make
    for source in made:
        source.close()
