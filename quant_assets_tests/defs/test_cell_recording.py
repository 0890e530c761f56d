"""When the cells of a run are recorded, and what a run costs in records."""

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.defs.asset_checks import DESCRIPTIONS
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Manifest, entry_of
from quant_assets.tables.parquet import encode, read_facts, read_table
from quant_assets_tests.defs.platform import DAY, WEEK, Platform, failure
from quant_assets_tests.support import days_between


def test_cells_are_materialized_batch_by_batch_and_those_of_a_run_that_breaks_off_stay(
    platform: Platform,
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    first, last = date(2012, 12, 27), date(2013, 1, 4)
    # A folder where an object has to go: the write of that cell fails for good.
    Path(platform.store.uri(object_key(DAILY, "US", "2013-01-03"))).mkdir(parents=True)
    result = platform.days(first, last)
    assert "date=2013-01-03.parquet" in failure(result)
    recorded = platform.recorded(DAILY, result.run_id)
    assert sorted(recorded) == [f"{day}|US" for day in days_between(first, date(2012, 12, 31))]
    # The cells of the second batch were planned, and are failed now.
    keys = [f"{day}|US" for day in days_between(first, last)]
    status = platform.instance.get_status_by_partition(
        dg.AssetKey(DAILY),
        keys,
        platform.defs.get_repository_def().assets_defs_by_key[dg.AssetKey(DAILY)].partitions_def,  # type: ignore[arg-type]
    )
    assert status is not None
    assert {key for key, value in status.items() if value and value.value == "FAILED"} == set(keys) - set(
        recorded
    )


def test_a_cell_is_materialized_once_a_run_with_the_tags_of_its_partition(platform: Platform) -> None:
    platform.follow(US=["AAPL", "IBM"])
    for _ in range(2):
        result = platform.days(WEEK[0], WEEK[-1])
        events = platform.instance.get_records_for_run(
            result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        ).records
        keys = [record.partition_key for record in events]
        assert keys == [f"{day}|US" for day in WEEK]
    (latest,) = platform.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(DAILY), asset_partitions=[f"{DAY}|US"]), limit=1
    ).records
    assert latest.asset_materialization is not None
    tags = latest.asset_materialization.tags or {}
    assert tags["dagster/partition/exchange"] == "US"
    assert tags["dagster/partition/date"] == str(DAY)


@pytest.mark.parametrize("weeks", [1, 6])
def test_sound_cells_cost_no_record_of_a_check_each(platform: Platform, weeks: int) -> None:
    platform.follow(US=["AAPL"])
    first = date(2013, 1, 14)
    result = platform.days(first, date.fromordinal(first.toordinal() + 7 * weeks - 3))
    records = platform.instance.get_records_for_run(result.run_id).records
    events = [r.event_log_entry.dagster_event for r in records if r.event_log_entry.dagster_event]
    kinds = [event.event_type_value for event in events]
    assert kinds.count("ASSET_MATERIALIZATION") == 5 * weeks
    # Announced once a check, whatever the number of cells; one result of the run, and one of the cell shown.
    assert kinds.count("ASSET_CHECK_EVALUATION_PLANNED") == len(DESCRIPTIONS)
    assert kinds.count("ASSET_CHECK_EVALUATION") == 2 * len(DESCRIPTIONS)


def test_cells_that_the_sweep_changes_are_judged_and_materialized_and_no_others(platform: Platform) -> None:
    sweeping = Platform(platform.settings.model_copy(update={"sweep_days": 1}), platform.instance)
    sweeping.follow(US=["AAPL", "IBM"])
    assert sweeping.days(WEEK[0], WEEK[-1]).success
    store, key = platform.store, object_key(DAILY, "US", str(DAY))
    wrong = read_table(store, key).with_columns(close=pl.col("high"))
    store.put(key, encode(wrong, read_facts(store.get(key).data, key)))
    Manifest(store, DAILY).record("US", [entry_of(DAILY, store.get(key), key)])
    result = sweeping.run("sweep_us")
    assert result.success
    recorded = sweeping.recorded(DAILY, result.run_id)
    assert recorded.keys() == {f"{DAY}|US"}
    assert recorded[f"{DAY}|US"]["checks"].startswith("restatements_today WARN: ")
    check = dg.AssetCheckKey(dg.AssetKey(DAILY), "restatements_today")
    latest = platform.instance.event_log_storage.get_asset_check_execution_history(check, 1)[0]
    assert (latest.run_id, latest.partition, latest.status.value) == (result.run_id, f"{DAY}|US", "FAILED")


def test_records_that_cannot_be_read_fail_the_run_with_their_name_and_not_with_a_stack(
    platform: Platform,
) -> None:
    platform.follow(US=["AAPL"])
    assert platform.days(DAY, DAY).success
    shard = next(Path(platform.settings.store_location).glob("manifest/daily_prices/exchange=US/*2013*"))
    shard.write_bytes(b"{")
    result = platform.days(DAY, DAY)
    assert str(shard) in failure(result)
