"""What Dagster's pages say of the tables: it fits what is stored, and two exchanges never share a plot."""

from __future__ import annotations

import inspect
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from quant_assets.definitions import build_definitions
from quant_assets.defs.cell_metadata import by_exchange, cell_state, inventory_metadata, object_link
from quant_assets.defs.jobs import REPORT_ASSET
from quant_assets.defs.table_pages import PAGES, column_schema, split_code_url
from quant_assets.market.coverage import CellState
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
from quant_assets.tables.manifest import Entry
from quant_assets.tables.parquet import read_table
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.support import quick_settings


@pytest.mark.parametrize("table", PAGES)
def test_every_column_is_described_with_its_type(table: str) -> None:
    page = PAGES[table]
    assert list(page.columns) == list(page.schema)
    assert all(text.endswith(".") for text in page.columns.values())
    schema = column_schema(table)
    assert [column.name for column in schema.columns] == list(page.schema)
    unique = {column.name for column in schema.columns if not column.constraints.nullable}
    assert unique == set(page.key)


def test_types_read_as_polars_writes_them() -> None:
    types = {column.name: column.type for column in column_schema(DAILY).columns}
    assert (types["symbol"], types["date"], types["close"]) == ("String", "Date", "Float64")
    assert types["fetched_at"] == "Datetime(us, UTC)"
    assert {c.name: c.type for c in column_schema(EXCHANGES).columns}["worst_symbols"] == "List(String)"


def _specs(settings: Any) -> dict[str, dg.AssetSpec]:
    """Those of the tables; what stands for an exchange's prices being due is none, nor are the report pages."""
    specs = build_definitions(settings).resolve_all_asset_specs()
    return {
        spec.key.path[-1]: spec
        for spec in specs
        if len(spec.key.path) == 1 and spec.key.path[0] != REPORT_ASSET
    }


def test_every_table_has_an_owner_a_place_a_version_a_group_and_a_link_to_its_code(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, "http://127.0.0.1:9", owner="prices@example.com")
    specs = _specs(settings)
    assert set(specs) == set(PAGES)
    for table, spec in specs.items():
        assert spec.owners == ["prices@example.com"]
        assert spec.group_name == PAGES[table].group
        assert spec.code_version == PAGES[table].code_version
        assert spec.kinds == PAGES[table].kinds
        assert "**One row per" in spec.description or "**one row per" in spec.description
        assert not spec.description.startswith(" ")
        assert "\n    " not in spec.description
        (link,) = spec.metadata["dagster/code_references"].code_references
        source = Path(link.file_path)
        assert source.name == f"{table}.py"
        assert f"def {table}(" in "".join(
            inspect.getblock(source.read_text().splitlines(True)[link.line_number - 1 :])
        )
    store = settings.store_location
    assert specs[DAILY].metadata["dagster/uri"] == f"{store}/daily_prices"
    assert specs[PROFILES].metadata["dagster/uri"] == f"{store}/symbol_profiles"
    assert specs[CATALOG].metadata["dagster/uri"] == f"{store}/symbol_catalog.parquet"


def test_every_job_schedule_and_sensor_has_the_same_owner(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, "http://127.0.0.1:9", owner="prices@example.com")
    found = build_definitions(settings).get_repository_def()
    # Dagster makes the one over all assets itself.
    jobs = [job for job in found.get_all_jobs() if not job.name.startswith("__")]
    assert (len(jobs), len(found.schedule_defs), len(found.sensor_defs)) == (14, 6, 8)
    for one in (*jobs, *found.schedule_defs, *found.sensor_defs):
        assert one.owners == ["prices@example.com"], one.name


def test_with_a_code_url_the_links_go_to_the_repository(tmp_path: Path) -> None:
    url = "https://github.com/somebody/quant-assets/tree/v1"
    specs = _specs(quick_settings(tmp_path, "http://127.0.0.1:9", code_url=url))
    (link,) = specs[DAILY].metadata["dagster/code_references"].code_references
    assert link.url.startswith(f"{url}/quant_assets/defs/assets/daily_prices.py#L")


def test_split_code_url_tells_the_platforms_apart() -> None:
    assert split_code_url("https://github.com/a/b/tree/main/") == ("https://github.com/a/b", "main", "github")
    assert split_code_url("https://git.a.org/b/-/tree/v1") == ("https://git.a.org/b", "v1", "gitlab")
    with pytest.raises(ValueError, match="names no branch"):
        split_code_url("https://github.com/a/b")


def test_by_exchange_names_numbers_and_nothing_else() -> None:
    shown = by_exchange(
        "ASX", {"rows": 3, "quality": dg.MetadataValue.float(1.5), "state": "complete", "written": True}
    )
    assert list(shown) == ["rows (ASX)", "quality (ASX)", "state", "written"]
    assert by_exchange(None, {"rows": 3}) == {"rows": 3}


def test_object_link_opens_the_console_for_a_bucket_and_is_a_path_on_disk() -> None:
    link = object_link("gs://bucket/a/exchange=US/date=2013-03-01.parquet")
    assert link.value == (
        "https://console.cloud.google.com/storage/browser/_details/bucket/a/exchange%3DUS/date%3D2013-03-01.parquet"
    )
    assert isinstance(object_link("/store/a.parquet"), dg.PathMetadataValue)


def test_cell_state_says_how_partial_a_cell_is() -> None:
    partial = Entry("2013-03-01", CellState.PARTIAL, expected=500, received=498)
    assert cell_state(partial) == "partial: 498 of 500 symbols"
    closed = Entry("2013-03-01", CellState.CLOSED, reason="US did not trade on 2013-03-01")
    assert cell_state(closed) == "closed: US did not trade on 2013-03-01"
    assert cell_state(Entry("2013-03-01", CellState.COMPLETE)) == "complete"


def test_inventory_metadata_counts_the_whole_table() -> None:
    inventory = pl.DataFrame({"exchange": ["ASX", "US"], "rows": [10, 5], "bytes": [200, 100]})
    assert inventory_metadata(inventory) == {
        "dagster/row_count": 15, "dagster/size_bytes": 300,
        "stored rows (ASX)": 10, "stored bytes (ASX)": 200, "stored rows (US)": 5, "stored bytes (US)": 100,
    }  # fmt: skip


def test_pages_fit_what_is_stored_and_no_two_exchanges_share_a_number(platform: Platform) -> None:
    platform.follow(US=["AAPL", "IBM"], ASX=["AAA.AX"])
    first, last = date(2013, 2, 18), date(2013, 2, 20)
    assert platform.days(first, last).success
    assert platform.run("daily_prices_asx", f"{first}|ASX", f"{last}|ASX")
    for table, key in (
        (VALUATIONS, "2013-03-01|US"), (HISTORY, "US|2013"), (WEEKLY, "US|2013-02-18"), (PROFILES, "US"),
        (EXCHANGES, None),
    ):  # fmt: skip
        assert platform.run(f"{table}_job", key).success
    keys = {
        CATALOG: (CATALOG,), DAILY: (DAILY, "US", "2013-02-20"), HISTORY: (HISTORY, "US", "2013"),
        WEEKLY: (WEEKLY, "US", "2013-02-18"), PROFILES: (PROFILES, "US"), EXCHANGES: (EXCHANGES,),
        VALUATIONS: (VALUATIONS, "US", "2013-03-01"),
    }  # fmt: skip
    for table, key in keys.items():
        stored = read_table(platform.store, object_key(*key))
        assert stored.schema == pl.Schema(PAGES[table].schema), table
        unique = list(PAGES[table].key)
        assert stored.select(unique).is_unique().all()
        assert stored.equals(stored.sort(unique))
    # What Dagster plots: every number of a partitioned table names the exchange of its partition.
    for table in (DAILY, VALUATIONS, HISTORY, WEEKLY, PROFILES):
        for record in platform.instance.fetch_materializations(dg.AssetKey(table), limit=100).records:
            exchange = next(code for code in ("US", "ASX") if code in str(record.partition_key).split("|"))
            event = record.asset_materialization
            numbers = [
                name for name, value in event.metadata.items()
                if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)
            ]  # fmt: skip
            assert all(name.endswith(f" ({exchange})") for name in numbers), (table, numbers)
            assert numbers or event.metadata["state"].value == "closed"
    whole = platform.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(DAILY), asset_partitions=["2013-02-20|US", "2013-02-18|US"]),
        limit=5,
    ).records
    events = {record.partition_key: record.asset_materialization for record in whole}
    assert events["2013-02-20|US"].description == "complete"
    assert events["2013-02-18|US"].description == "closed: US did not trade on 2013-02-18"
    sha = events["2013-02-20|US"].metadata["sha256"].value
    assert sha.startswith(events["2013-02-20|US"].tags["dagster/data_version"])
    for table in (DAILY, VALUATIONS, HISTORY, WEEKLY, PROFILES):
        (observed,) = platform.instance.fetch_observations(dg.AssetKey(table), limit=5).records
        counted = observed.event_log_entry.dagster_event.event_specific_data.asset_observation.metadata
        stored = [read_table(platform.store, info.key) for info in platform.store.list(f"{table}/")]
        assert counted["dagster/row_count"].value == sum(map(len, stored)), table
        assert counted["dagster/size_bytes"].value == sum(
            info.size for info in platform.store.list(f"{table}/")
        )
    # The catalog made again of the same list puts nothing out of sync, nor do the same rows; other rows do.
    platform.follow(US=["AAPL", "IBM"], ASX=["AAA.AX"])
    assert _status(platform, DAILY, "2013-02-20|US") is StaleStatus.FRESH
    assert platform.days(last, last, config={"ops": {DAILY: {"config": {"mode": "force"}}}}).success
    assert _status(platform, WEEKLY, "US|2013-02-18") is StaleStatus.FRESH
    platform.instance.report_runless_asset_event(
        dg.AssetMaterialization(DAILY, partition="2013-02-20|US", tags={"dagster/data_version": "other"})
    )
    assert _status(platform, WEEKLY, "US|2013-02-18") is StaleStatus.STALE


def _status(platform: Platform, table: str, partition: str) -> StaleStatus:
    """What Dagster's page of a partition says: STALE is shown as *Unsynced*."""
    graph = platform.defs.get_repository_def().asset_graph
    resolver = CachingStaleStatusResolver(platform.instance, graph, LoadingContextForTest(platform.instance))
    return resolver.get_status(dg.AssetKey(table), partition)
