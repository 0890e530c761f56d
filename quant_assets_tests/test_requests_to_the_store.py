"""How often a daily update asks the store for something: reads, listings and puts, counted at the store itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from quant_assets import local_runs
from quant_assets.ingest import fill, plan
from quant_assets.local_runs import Runner
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.support import days_between, quick_settings, tree

KINDS = {
    "get": "reads", "get_ranges": "reads", "head": "reads", "list": "listings", "groups": "listings", "put": "puts",
}  # fmt: skip


class Asked:
    """What has been asked of every local store of this process, by kind and key."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, str]] = []

    def counts(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.keys)

    def __str__(self) -> str:
        counts = self.counts()
        return " ".join(f"{kind}={counts[kind]}" for kind in ("reads", "listings", "puts"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    log = Asked()

    def counting(kind: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(store: LocalObjectStore, key: str, *arguments: Any, **more: Any) -> Any:
            log.keys.append((kind, key))
            return method(store, key, *arguments, **more)

        return call

    for name, kind in KINDS.items():
        monkeypatch.setattr(LocalObjectStore, name, counting(kind, getattr(LocalObjectStore, name)))
    return log


def update(settings: Settings, days: list[date]) -> None:
    """What `backfill` and `update-daily` do."""
    with Runner(settings) as runner:
        runner.catalog()
        for one in runner.exchanges:
            runner.daily(one, days)
            runner.derived(one, days[0], days[-1])
            Manifest(runner.store, DAILY).between(one.code, days[0], days[-1])
        runner.inventory()


def test_a_daily_update_of_three_symbols_asks_the_store_for_little_and_again_for_less(
    market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    universe = tmp_path / "universe.yaml"
    universe.write_text("US: [AAPL, IBM, MSFT]\n")

    def settings(day: date) -> Settings:
        now = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
        market.set_clock(now)
        return quick_settings(tmp_path, market.url, universe=universe, start=date(2013, 1, 14), now=now)

    first, yesterday, today = date(2013, 1, 14), date(2013, 2, 13), date(2013, 2, 14)
    update(settings(yesterday), days_between(first, yesterday))
    planned: list[int] = []

    def counted(*arguments: Any, **more: Any) -> plan.Plan:
        planned.append(1)
        return made(*arguments, **more)

    made = plan.make_plan
    for module in (fill, local_runs):
        monkeypatch.setattr(module, "make_plan", counted)

    asked.keys.clear()
    market.reset_stats()
    update(settings(today), [today])
    counts = asked.counts()
    print(f"\none session, three symbols: {asked} plans={len(planned)}")
    assert market.stats()["chart_data"] == {"AAPL": 1, "IBM": 1, "MSFT": 1}
    assert len(planned) == 1
    assert counts["reads"] <= 30
    assert counts["listings"] <= 8
    # Catalog, cell, report, history, week, profiles, inventory; and three manifest shards.
    assert counts["puts"] <= 10

    before = tree(tmp_path / "store")
    asked.keys.clear()
    market.reset_stats()
    update(settings(today), [today])
    print(f"again: {asked}")
    assert market.stats()["requests"] == {}
    assert asked.counts()["puts"] == 0
    assert tree(tmp_path / "store") == before
