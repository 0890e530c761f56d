"""What the tests of a store's care share."""

from __future__ import annotations

from pathlib import Path

import pytest

from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.ingest.desk import Desk


@pytest.fixture
def desk(market: ReplayHandle, tmp_path: Path) -> Desk:
    """An empty home against the replay server."""
    return Desk(tmp_path, market.url)
