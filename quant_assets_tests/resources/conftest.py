"""Both homes of the tables, for tests of what holds in either."""

from __future__ import annotations

from pathlib import Path

import pytest

from resources.dagster_resources import open_store
from resources.object_store import ObjectStore


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store in a folder, then one in a bucket; modules about one of the two have their own."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(f"gs://{request.getfixturevalue('bucket')}/some/prefix")
