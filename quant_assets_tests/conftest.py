"""One replay server a worker, as good as new for every test: the recorded US symbols and ten made-up ASX ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets_tests.support import NOW

ASX = GeneratedExchange("ASX", symbols=10, seed=7, start=date(2012, 1, 3), end=date(2013, 3, 1))


@pytest.fixture(scope="session")
def market_server() -> Iterator[ReplayHandle]:
    with start(ReplayConfig(sampledata=True, generated=[ASX], now=NOW)) as handle:
        yield handle


@pytest.fixture
def market(market_server: ReplayHandle) -> ReplayHandle:
    """The server at NOW, without faults, with all counts at zero."""
    market_server.set_clock(NOW)
    market_server.clear_faults()
    market_server.reset_stats()
    return market_server
