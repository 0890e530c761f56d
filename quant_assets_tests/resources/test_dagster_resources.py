"""Dagster's resources are the settings under other names."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.resources.dagster_resources import StoreResource, YahooResource, sharing_view
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.run_view import RunView
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


def opened_by_a_run(location: Path, run_id: str) -> list[ObjectStore]:
    """What two ops of a run get when they open the store."""
    found: list[ObjectStore] = []

    @dg.op
    def opens(store: StoreResource) -> None:
        found.append(store.open())

    @dg.job(resource_defs={"store": StoreResource(location=str(location))})
    def twice() -> None:
        opens.alias("one")()
        opens.alias("other")()

    twice.execute_in_process(run_id=run_id)
    return found


def test_whatever_opens_the_store_in_a_run_shares_one_view_of_it(tmp_path: Path) -> None:
    one, other = opened_by_a_run(tmp_path, "5b1f5d3c-0000-4000-8000-000000000001")
    assert isinstance(one, RunView)
    assert one is other
    # The next run sees the store anew.
    assert opened_by_a_run(tmp_path, "5b1f5d3c-0000-4000-8000-000000000001")[0] is not one


def test_a_run_in_this_process_sees_the_store_through_the_view_of_whoever_started_it(tmp_path: Path) -> None:
    run_id = "5b1f5d3c-0000-4000-8000-000000000002"
    view = RunView(LocalObjectStore(tmp_path), [], [])
    with sharing_view(run_id, view):
        assert opened_by_a_run(tmp_path, run_id)[0] is view
    assert opened_by_a_run(tmp_path, run_id)[0] is not view


def test_a_view_is_shared_no_longer_than_whoever_started_the_run_says(tmp_path: Path) -> None:
    run_id = "5b1f5d3c-0000-4000-8000-000000000003"
    view = RunView(LocalObjectStore(tmp_path), [], [])
    with sharing_view(run_id, view):
        pass
    assert opened_by_a_run(tmp_path, run_id)[0] is not view


def test_a_moment_comes_through_a_resource_or_none_does() -> None:
    assert YahooResource.of(Settings()).now is None
    assert YahooResource.of(OTHERS).now == "2013-03-01T23:00:00+00:00"
    assert YahooResource(home="/somewhere").settings().now is None
