"""A small store with something in every table, and the API on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from quant_assets.api.app import create_app
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings
from quant_assets_tests.api.desk import FIRST, KNOWN, NOW, fill_desk, restate


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a filled store. Not to be written to."""
    folder = tmp_path_factory.mktemp("desk") / "store"
    fill_desk(LocalObjectStore(folder))
    return folder


@pytest.fixture
def store(desk: Path, tmp_path: Path) -> ObjectStore:
    """A store of the test's own."""
    shutil.copytree(desk, tmp_path / "store")
    return LocalObjectStore(tmp_path / "store")


@pytest.fixture
def settings(store: ObjectStore, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, store=store.location, now=NOW, start=FIRST, api_timeout_seconds=120)


@pytest.fixture
def client(settings: Settings) -> TestClient:
    return TestClient(create_app(settings), raise_server_exceptions=False)


@pytest.fixture
def changed(store: ObjectStore) -> Callable[[], date]:
    """Restates the close of IBM on a day to 77; answers the day."""

    def change() -> date:
        day = date(2012, 3, 6)
        restate(store, day, 77.0, KNOWN + timedelta(days=1))
        return day

    return change
