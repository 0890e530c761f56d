"""One server for the suite, as good as new for every test; yfinance pointed at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yfinance as yf
import yfinance.base
from yfinance import cache
from yfinance.data import YfData

from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets_tests.replay.support import LoopbackSession

CLOCK = "2024-03-01T23:00:00Z"
ASX = GeneratedExchange("ASX", symbols=40, seed=7, start="2023-01-03", end="2024-03-01")
NYSE = GeneratedExchange("NYSE", symbols=4, seed=7, start="2023-01-03", end="2024-03-01")


@pytest.fixture(scope="session")
def server() -> Iterator[ReplayHandle]:
    with start(ReplayConfig(sampledata=True, generated=[ASX, NYSE], now=CLOCK)) as handle:
        yield handle


@pytest.fixture
def replay(server: ReplayHandle) -> ReplayHandle:
    """The server at CLOCK, without faults, with all counts at zero."""
    server.set_clock(CLOCK)
    server.clear_faults()
    server.reset_stats()
    return server


@pytest.fixture(scope="session")
def yfinance_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its databases in a folder of ours; it opens them once per process."""
    yf.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))


@pytest.fixture
def session(replay: ReplayHandle, yfinance_cache: None) -> Iterator[LoopbackSession]:
    """yfinance as in a new process: nothing cached, no cookie, errors raised."""
    yfinance.base._tz_info_fetch_ctr = 0
    cache.get_cookie_cache().store("curlCffi", None)
    for symbol in ("AAPL", "IBM", "MSFT", "AAA.AX", "AAB.AX"):
        cache.get_tz_cache().store(symbol, None)
    yf.config.debug.hide_exceptions = False
    session = LoopbackSession(replay.url)
    data = YfData(session=session)
    data.cache_get.cache_clear()
    data._crumb = data._cookie = None
    data._cookie_strategy = "basic"
    yield session
    yf.config.debug.hide_exceptions = True
