"""The platform of every test here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.instance import prepare_instance
from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.support import quick_settings


@pytest.fixture
def platform(market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    settings = quick_settings(
        tmp_path, market.url, exchanges=("US", "ASX"), universe=tmp_path / "universe.json"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    prepare_instance(settings)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        yield Platform(settings, instance)
