"""A store in which everything has happened that the page shows, and the API on it as it is served."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import uvicorn

from quant_assets.api.app import create_app
from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.exchanges import enabled, exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest, Mode
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.parquet import encode
from quant_assets_tests.support import days_between, listings, quick_settings

NAMES = {
    "AAPL": "Apple Inc.",
    "IBM": "International Business Machines",
    "MSFT": "Microsoft <b>Corporation</b>",
}
FIRST, LAST = date(2005, 1, 3), date(2005, 4, 29)
SPLIT, DIVIDEND = "2005-02-28", "2005-02-15"
HOLE = ("2005-03-15", "2005-03-16")
RESTATED, HELD = "2005-04-12", "2005-04-20"
"""What happened to AAPL: a split of two for one, two sessions without a bar, a volume that changed later, and a low
that is held. MSFT paid a dividend."""


def fill_site(home: Path, market: ReplayHandle) -> Settings:
    """Fills four months of three symbols, then asks again for the last weeks; answers the settings."""
    store = LocalObjectStore(home / "store")
    configured = [ConfiguredSymbol(symbol=symbol, name=name) for symbol, name in NAMES.items()]
    store.put(object_key(CATALOG), encode(build_catalog({"US": configured}, enabled(["US"]), None, LAST), {}))
    market.add_faults(
        *({"kind": "missing_session", "symbol": "AAPL", "date": day, "times": None} for day in HOLE)
    )
    _fill(home, market, datetime(2005, 4, 29, 23, tzinfo=UTC), FIRST, Mode.INCREMENTAL)
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "AAPL", "date": RESTATED, "field": "volume", "value": 12_345},
        {"kind": "corrected_bar", "symbol": "AAPL", "date": HELD, "field": "low", "value": 900.0},
    )
    return _fill(home, market, datetime(2005, 4, 30, 12, tzinfo=UTC), date(2005, 4, 11), Mode.FORCE)


def _fill(home: Path, market: ReplayHandle, now: datetime, first: date, mode: Mode) -> Settings:
    market.set_clock(now)
    settings = quick_settings(home, market.url, now=now)
    source = YahooSource(settings)
    with contextlib.closing(source):
        context = FillContext(
            exchange("US"),
            LocalObjectStore(home / "store"),
            source,
            settings.clock,
            FillRules(home / "spill", 15, 0.0),
        )
        fill_cells(context, FillRequest(days_between(first, LAST), listings(*NAMES), None, mode))
    return settings


@dataclass
class Served:
    """An API that is being served."""

    url: str
    server: uvicorn.Server
    thread: threading.Thread

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@contextlib.contextmanager
def serving(settings: Settings, *, open_reading: bool = True) -> Iterator[Served]:
    """Serves the API on a free port of loopback, as `quant-assets serve` does, in a thread."""
    config = uvicorn.Config(
        create_app(settings, open_reading=open_reading), "127.0.0.1", 0, log_level="warning"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the API does not come up"
        assert time.monotonic() < until, "the API takes too long to come up"
        time.sleep(0.02)
    (port,) = (one.getsockname()[1] for one in server.servers[0].sockets)
    served = Served(f"http://127.0.0.1:{port}", server, thread)
    try:
        yield served
    finally:
        served.stop()
