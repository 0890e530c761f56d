"""A few of the questions that `make api-fuzz` asks by the thousand."""

from __future__ import annotations

import pytest

from quant_assets.api.app import create_app
from quant_assets.operations.keys import new_key
from quant_assets.resources.settings import Settings
from quant_assets_tests.api.fuzzing import fuzz


@pytest.mark.parametrize("scope", [None, "admin"])
def test_every_answer_is_as_openapi_says(settings: Settings, scope: str | None) -> None:
    text, key = new_key("fuzz", "admin")
    app = create_app(settings.model_copy(update={"api_keys": key.entry()}))
    found = fuzz(app, 2, key=text if scope else None)
    assert found.failures == []
    assert found.opened == []
    assert found.cases > 40
    assert found.statuses[200] > 5
