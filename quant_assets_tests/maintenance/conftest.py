"""What the tests of a store's care share."""

from __future__ import annotations

from pathlib import Path

import pytest

from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.ingest.harness import Harness


@pytest.fixture
def harness(market: ReplayHandle, tmp_path: Path) -> Harness:
    """An empty home against the replay server."""
    return Harness(tmp_path, market.url)
