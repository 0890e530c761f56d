"""The desk of the ingest's tests, for what its runs leave on record."""

from __future__ import annotations

from pathlib import Path

import pytest

from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.ingest.harness import Harness


@pytest.fixture
def harness(market: ReplayHandle, tmp_path: Path) -> Harness:
    return Harness(tmp_path, market.url)
