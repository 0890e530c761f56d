"""Dagster's resources are the settings under other names."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from quant_assets.resources.dagster_resources import StoreResource, YahooResource
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings

FIELDS = [name for name in YahooResource.model_fields if name in Settings.model_fields]
OTHERS = Settings(
    home=Path("/somewhere"), source_url="http://127.0.0.1:1", requests_per_second=7, concurrency=3, attempts=9,
    timeout_seconds=2.5, rate_limit_budget_seconds=11, retry_wait_seconds=0.25, cool_down_seconds=13,
    now=datetime(2013, 3, 1, 23, tzinfo=UTC),
)  # fmt: skip


@pytest.mark.parametrize("name", sorted({*FIELDS} - {"home"}))
def test_a_field_that_is_not_given_is_the_default_of_the_setting(name: str) -> None:
    default = Settings.model_fields[name].default
    assert getattr(YahooResource(home="/somewhere").settings(), name) == default
    assert YahooResource.model_fields[name].default == default


@pytest.mark.parametrize("name", FIELDS)
def test_settings_come_through_a_resource_unchanged(name: str) -> None:
    assert getattr(OTHERS, name) != Settings.model_fields[name].default
    assert getattr(YahooResource.of(OTHERS).settings(), name) == getattr(OTHERS, name)


def test_a_source_is_opened_at_the_address_of_its_settings() -> None:
    source = YahooResource.of(OTHERS).open()
    assert source.address == "http://127.0.0.1:1"
    source.close()


def test_a_store_is_opened_where_it_lies(tmp_path: Path) -> None:
    store = StoreResource(location=str(tmp_path)).open()
    assert isinstance(store, LocalObjectStore)
    assert store.location == str(tmp_path)
