"""The outside world as Dagster resources: where the tables live, where prices come from, what time it is."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.open_store import open_store
from quant_assets.resources.run_view import RunView
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo import YahooSource

_views: dict[str, RunView] = {}
_views_lock = threading.Lock()


@contextmanager
def sharing_view(run_id: str, view: RunView) -> Generator[None]:
    """Has a run that is executed in this process see the store through `view`, which whoever starts it shares."""
    _views[run_id] = view
    try:
        yield
    finally:
        _views.pop(run_id, None)


class StoreResource(dg.ConfigurableResource["StoreResource"]):
    """The home of the tables. In a run everything that opens it shares one view (`RunView`, also for the fields)."""

    location: str
    read_once: list[str] = []
    listed_once: list[str] = []

    _run_id: str | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        self._run_id = context.run.run_id if context.run else None

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        if self._run_id is not None:
            _views.pop(self._run_id, None)

    def open(self, *, patience: float | None = None) -> ObjectStore:
        """The store, ready to use from several threads; outside of a run with a `patience` as `open_store` has it."""
        if self._run_id is None:
            return open_store(self.location, patience=patience)
        with _views_lock:
            if self._run_id not in _views:
                _views[self._run_id] = RunView(open_store(self.location), self.read_once, self.listed_once)
            return _views[self._run_id]


class YahooResource(dg.ConfigurableResource["YahooResource"]):
    """Yahoo's prices. The fields are those of `Settings`; `source_url` empty means Yahoo itself."""

    home: str
    source_url: str = ""
    requests_per_second: float = 2.0
    concurrency: int = 4
    attempts: int = 4
    timeout_seconds: float = 15.0
    rate_limit_budget_seconds: float = 300.0
    retry_wait_seconds: float = 0.5
    cool_down_seconds: float = 5.0
    now: str | None = None

    def settings(self) -> Settings:
        """The fields as settings."""
        return Settings(
            home=Path(self.home),
            source_url=self.source_url,
            requests_per_second=self.requests_per_second,
            concurrency=self.concurrency,
            attempts=self.attempts,
            timeout_seconds=self.timeout_seconds,
            rate_limit_budget_seconds=self.rate_limit_budget_seconds,
            retry_wait_seconds=self.retry_wait_seconds,
            cool_down_seconds=self.cool_down_seconds,
            now=datetime.fromisoformat(self.now) if self.now else None,
        )

    def open(self) -> YahooSource:
        """A source with its own connections; close it when done."""
        return YahooSource(self.settings())

    @classmethod
    def of(cls, settings: Settings) -> YahooResource:
        """The resource that these settings describe."""
        return cls(
            home=str(settings.home.absolute()),
            source_url=settings.source_url,
            requests_per_second=settings.requests_per_second,
            concurrency=settings.concurrency,
            attempts=settings.attempts,
            timeout_seconds=settings.timeout_seconds,
            rate_limit_budget_seconds=settings.rate_limit_budget_seconds,
            retry_wait_seconds=settings.retry_wait_seconds,
            cool_down_seconds=settings.cool_down_seconds,
            now=settings.now.isoformat() if settings.now else None,
        )
