"""An instance lost whole is told again what the store holds, and shows each cell's state as before."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from quant_assets.cli.app import app
from quant_assets.defs.asset_checks import BLOCKING, check_key
from quant_assets.defs.dagster_internals import failed_partitions
from quant_assets.defs.run_outcomes import RunsKept, find, recent
from quant_assets.instance import open_instance
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import StoreUnavailable
from quant_assets.tables.layout import (
    CATALOG,
    DAILY,
    EXCHANGES,
    HISTORY,
    PROFILES,
    VALUATIONS,
    WEEKLY,
    object_key,
)
from quant_assets.tables.manifest import Manifest, entry_of
from quant_assets.tables.parquet import encode, read_facts, read_table
from quant_assets_tests.defs.platform import DAY, Platform
from quant_assets_tests.support import tree

FIRST, LAST = date(2013, 2, 4), date(2013, 3, 1)
TABLES = (CATALOG, DAILY, VALUATIONS, HISTORY, WEEKLY, PROFILES, EXCHANGES)


def shown(platform: Platform, instance: dg.DagsterInstance) -> dict[str, object]:
    """What Dagster's pages show of each table: every partition's status, a cell's metadata, and the checks."""
    repository = platform.defs.get_repository_def()
    found: dict[str, object] = {}
    for table in TABLES:
        key = dg.AssetKey(table)
        partitions = repository.assets_defs_by_key[key].partitions_def
        if partitions is None:
            found[table] = instance.get_latest_materialization_event(key) is not None
            continue
        status = instance.get_status_by_partition(key, partitions.get_partition_keys(), partitions)
        found[table] = {
            name: str(value)
            for name, value in (status or {}).items()
            # No snapshot is ever missing for good but by the run that tried: none of the past can be taken.
            if value is not None and not (table == VALUATIONS and value.value == "FAILED")
        }
    keys = [f"{DAY}|US", "2013-02-18|US", "2013-02-20|US"]
    for record in instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(DAILY), asset_partitions=keys), limit=10
    ).records:
        made = record.asset_materialization
        assert made is not None
        found[str(record.partition_key)] = {name: str(value.value) for name, value in made.metadata.items()}
        found[f"tags of {record.partition_key}"] = {
            name: value for name, value in (made.tags or {}).items() if "event_pointer" not in name
        }
    checks = [check_key(name) for name in (BLOCKING, "coverage", "validity")]
    found["checks"] = {key.name: sorted(some) for key, some in failed_partitions(instance, checks).items()}
    return found


def test_an_instance_lost_whole_shows_every_cell_again_and_nothing_is_asked_or_written(
    platform: Platform, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = platform.settings
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults(
        {"kind": "missing_session", "date": "2013-02-20", "times": "persistent"},
        {"kind": "missing_session", "date": str(DAY), "symbol": "IBM", "times": "persistent"},
    )
    assert not platform.days(FIRST, LAST).success
    assert platform.run("symbol_valuations_job", "2013-03-01|US").success
    assert platform.run("price_history_job", "US|2013").success
    assert platform.run("weekly_prices_job", "US|2013-02-04", "US|2013-02-11").success
    assert platform.run("symbol_profiles_job", "US").success
    assert platform.run("exchange_profiles_job").success
    # A cell whose rows break a rule holds up what is downstream, and must do so afterwards.
    store, key = platform.store, object_key(DAILY, "US", "2013-02-06")
    wrong = read_table(store, key).with_columns(symbol=read_table(store, key)["symbol"].sort(descending=True))
    store.put(key, encode(wrong, read_facts(store.get(key).data, key)))
    Manifest(store, DAILY).record("US", [entry_of(DAILY, store.get(key), key)])
    assert platform.run("daily_prices_us", "2013-02-06|US").success
    before = shown(platform, platform.instance)
    states = before[DAILY]
    assert isinstance(states, dict)
    assert set(states.values()) == {"AssetPartitionStatus.MATERIALIZED", "AssetPartitionStatus.FAILED"}
    assert states["2013-02-20|US"] == "AssetPartitionStatus.FAILED"
    assert before["checks"][BLOCKING] == ["2013-02-06|US"]  # type: ignore[index]

    lost = settings.home / "another"
    for name, value in {
        "HOME": str(lost), "STORE": settings.store_location, "EXCHANGES": "US,ASX", "START": "2000-01-03",
        "UNIVERSE": str(settings.universe), "SOURCE_URL": "http://127.0.0.1:9", "NOW": "2013-03-01T23:00:00Z",
        "MIN_COVERAGE": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
    stored = tree(Path(settings.store_location))
    # A backup that can only be read will do.
    for call in ("put", "delete", "check_writable", "sweep"):
        monkeypatch.setattr(LocalObjectStore, call, _read_only)
    result = CliRunner().invoke(app, ["rebuild-instance"], catch_exceptions=False)
    assert (
        "rebuild-instance: ok daily_prices=19 exchange_profiles=1 price_history=1 symbol_catalog=1"
        in result.stdout
    )
    assert "symbol_profiles=1 symbol_valuations=1 weekly_prices=2 failed_cells=1" in result.stdout
    assert tree(Path(settings.store_location)) == stored
    again = CliRunner().invoke(app, ["rebuild-instance"], catch_exceptions=False)
    assert "daily_prices=0" in again.stdout

    anew = Platform(
        settings.model_copy(update={"home": lost, "store": settings.store_location}), platform.instance
    )
    with open_instance(anew.settings) as instance:
        after = shown(anew, instance)
        assert after == before
        # The failed cell's run is told as what it is.
        (run,) = instance.get_runs(dg.RunsFilter(job_name="daily_prices_us"))
        assert run.status is dg.DagsterRunStatus.FAILURE
        kept = RunsKept(instance, platform.store, ("US",), settings.locks_folder, datetime.now(UTC))
        (one,) = find(kept, run.run_id)
        assert (one.outcome, one.error[:30]) == ("FAILED", "1 cell(s) of US are failed by ")
        # It stands for a run whose report is told.
        assert run.run_id not in {one.run for one in recent(kept, 50)}
        assert any(one.from_store for one in recent(kept, 50))


def _read_only(*_: object, **__: object) -> None:
    raise StoreUnavailable("Read-only file system")


def test_a_store_without_tables_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_ASSETS_HOME", str(tmp_path / "nowhere"))
    result = CliRunner().invoke(app, ["rebuild-instance"])
    assert "holds no tables" in str(result.exception)
    assert not (tmp_path / "nowhere").exists()
