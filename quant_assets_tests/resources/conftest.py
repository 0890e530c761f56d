"""Both homes of the tables, for tests of what holds in either."""

from __future__ import annotations

from pathlib import Path

import pytest

from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.open_store import open_store


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store in a folder, then one in a bucket; modules about one of the two have their own."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(f"gs://{request.getfixturevalue('bucket')}/some/prefix")
