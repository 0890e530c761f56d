"""The platform of every test here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from quant_assets.instance import open_instance, prepare_instance
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.settings import Settings
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.support import quick_settings


@pytest.fixture(scope="session")
def empty_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dagster's folder of a home without any run. To copy it takes a tenth of the time in which it is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        return prepare_instance(Settings(home=tmp_path_factory.mktemp("empty")))


@pytest.fixture
def platform(
    market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_instance: Path
) -> Iterator[Platform]:
    settings = quick_settings(
        tmp_path, market.url, exchanges=("US", "ASX"), universe=tmp_path / "universe.json"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    shutil.copytree(empty_instance, settings.dagster_home)
    with open_instance(settings, captured=False) as instance:
        yield Platform(settings, instance)
