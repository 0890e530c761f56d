"""The code location, daily cells as runs, and what is derived from them."""

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.defs.partitions import make_grids
from quant_assets.exchanges import enabled
from quant_assets.reader import prices, profiles, universe, weekly
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.layout import DAILY, EXCHANGES, HISTORY, PROFILES, WEEKLY, object_key
from quant_assets.tables.parquet import read_table
from quant_assets_tests.defs.platform import DAY, WEEK, Platform, failure
from quant_assets_tests.defs.second_opinion import by_pandas
from quant_assets_tests.support import NOW, days_between, recorded

# Loading.


def test_the_definitions_hold_every_table_job_schedule_and_sensor(platform: Platform) -> None:
    repository = platform.defs.get_repository_def()
    assert {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()} == {
        "symbol_catalog", "daily_prices", "price_history", "weekly_prices", "symbol_profiles",
        "symbol_valuations", "exchange_profiles", "daily_prices_due/us", "daily_prices_due/asx",
        "report_pages",
    }  # fmt: skip
    assert {
        "daily_prices_us",
        "daily_prices_asx",
        "weekly_prices_job",
        "refresh_universes",
        "discover_listings",
    } <= set(repository.job_names)
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "daily_prices_us_after_close", "daily_prices_asx_after_close", "sweep_us_nightly", "sweep_asx_nightly",
        "refresh_universes_weekly", "discover_listings_weekly", "prune_instance_nightly",
        "report_pages_schedule",
    }  # fmt: skip
    assert {sensor.name for sensor in repository.sensor_defs} >= {
        "new_symbols", "derived_tables", "alerts", "prices_in_time",
    }  # fmt: skip


def test_the_grids_have_every_weekday_through_today_and_nothing_after() -> None:
    grids = make_grids(enabled(["US", "ASX"]), date(2013, 2, 1), NOW)
    days = [key for key in grids.daily.get_partition_keys() if key.endswith("|US")]
    assert days == [f"{day}|US" for day in days_between(date(2013, 2, 1), date(2013, 3, 1))]
    assert "2013-02-18|US" in days  # a holiday has a cell too
    weeks = [key for key in grids.weekly.get_partition_keys() if key.startswith("ASX|")]
    assert weeks == [f"ASX|2013-{day}" for day in ("01-28", "02-04", "02-11", "02-18", "02-25")]
    assert sorted(grids.yearly.get_partition_keys()) == ["ASX|2013", "US|2013"]
    # On a Monday the new week is there, on a Saturday no new day.
    monday = make_grids(enabled(["US"]), date(2013, 2, 1), datetime(2013, 3, 4, 1, tzinfo=UTC))
    assert monday.weekly.get_partition_keys()[-1] == "US|2013-03-04"
    saturday = make_grids(enabled(["US"]), date(2013, 2, 1), datetime(2013, 3, 2, 12, tzinfo=UTC))
    assert saturday.daily.get_partition_keys()[-1] == "2013-03-01|US"


def test_a_clock_held_in_the_present_has_the_week_and_the_year_that_are_under_way() -> None:
    held = datetime.now(UTC) - timedelta(days=1)
    grids = make_grids(enabled(["US"]), date(held.year - 1, 6, 1), held)
    assert grids.yearly.get_partition_keys() == [f"US|{held.year - 1}", f"US|{held.year}"]
    monday = held.date() - timedelta(days=held.weekday())
    assert f"US|{monday}" in grids.weekly.get_partition_keys()


QUIET_IMPORT = """
import json, os, sys
from pathlib import Path
opened = []
def hook(event, args):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        opened.append(f"{event} {args[1:]}")
sys.addaudithook(hook)
import quant_assets.definitions
from quant_assets.resources.settings import Settings
quant_assets.definitions.build_definitions(Settings()).get_repository_def()
heavy = ("yfinance", "pandas_market_calendars", "dataframely", "dagster_gcp", "pandas", "google.cloud.storage")
threads = sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
print(json.dumps({
    "heavy": [name for name in heavy if name in sys.modules], "opened": opened,
    "threads": [name for name in threads if name in ("polars-0", "tokio-rt-worker")],
}))
"""


def test_loading_imports_nothing_heavy_opens_no_connection_and_has_polars_start_no_thread(
    tmp_path: Path,
) -> None:
    printed = subprocess.run(
        [sys.executable, "-c", QUIET_IMPORT], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert json.loads(printed.splitlines()[-1]) == {"heavy": [], "opened": [], "threads": []}


# Daily cells as runs.


def test_a_range_is_one_run_that_records_every_cell(platform: Platform, market: ReplayHandle) -> None:
    platform.follow(US=["AAPL", "IBM", "MSFT"])
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": "persistent"})
    result = platform.days(date(2013, 2, 11), date(2013, 2, 19))
    assert result.success
    cells = platform.recorded(DAILY, result.run_id)
    days = days_between(date(2013, 2, 11), date(2013, 2, 19))
    assert sorted(cells) == [f"{day}|US" for day in days]
    whole = cells["2013-02-12|US"]
    content = read_table(platform.store, object_key(DAILY, "US", "2013-02-12"))
    path = Path(platform.store.uri(object_key(DAILY, "US", "2013-02-12")))
    assert whole == {
        "state": "complete", "rows": 3, "expected_symbols": 3, "received_symbols": 3,
        "bytes": path.stat().st_size, "sha256": whole["sha256"], "object": str(path),
        "checks": "all passed",
    }  # fmt: skip
    assert len(whole["sha256"]) == 64
    assert content["symbol"].to_list() == ["AAPL", "IBM", "MSFT"]
    partial = cells[f"{DAY}|US"]
    assert (partial["state"], partial["expected_symbols"], partial["received_symbols"]) == ("partial", 3, 2)
    assert "| AAPL | no_bar | no bar between 2013-02-12 and 2013-02-14 |" in partial["missing_symbols"]
    closed = cells["2013-02-18|US"]
    # Without numbers, which would draw every plot down to 0.
    assert closed == {
        "state": "closed", "reason": "US did not trade on 2013-02-18", "checks": "all passed",
    }  # fmt: skip
    run = platform.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["quant_assets/result"] == "PARTIAL"
    # Of the run and not of each cell.
    assert run.tags["quant_assets/requests"] == "4"
    assert run.tags["quant_assets/cells"] == "closed=1 complete=5 partial=1"
    assert len(platform.instance.get_run_ids()) == 2  # the catalog's and this one


def test_the_good_cells_of_a_failed_run_are_materialized(platform: Platform, market: ReplayHandle) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "date": str(DAY), "times": "persistent"})
    result = platform.days(WEEK[0], WEEK[-1])
    assert failure(result) == ("daily_prices: 1 partition failed: 2013-02-13|US: nothing received: 2 no_bar")
    assert sorted(platform.recorded(DAILY, result.run_id)) == [f"{day}|US" for day in WEEK if day != DAY]
    run = platform.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert (run.status, run.tags["quant_assets/result"]) == (dg.DagsterRunStatus.FAILURE, "PARTIAL")


@pytest.mark.parametrize("unnoticed", [False, True])
def test_a_damaged_cell_fails_what_rests_on_it_and_nothing_else(platform: Platform, unnoticed: bool) -> None:
    platform.follow(US=["AAPL", "IBM"])
    assert platform.days(date(2012, 12, 24), date(2013, 1, 11)).success
    path = Path(platform.store.uri(object_key(DAILY, "US", "2013-01-09")))
    stamp = path.stat().st_mtime_ns
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data if unnoticed else data[:-1])
    if unnoticed:
        # As a disk loses a bit: the manifest still takes the cell for the one it knows.
        os.utime(path, ns=(stamp, stamp))
    for table, first, last, hit in (
        (WEEKLY, "US|2012-12-24", "US|2013-01-07", "US|2013-01-07"),
        (HISTORY, "US|2012", "US|2013", "US|2013"),
    ):
        result = platform.run(f"{table}_job", first, last)
        told = failure(result)
        assert told.startswith(f"{table}: 1 partition failed: {hit}: {path}: ")
        assert told.endswith("Remove the object and run the backfill of its partition again")
        made = platform.recorded(table, result.run_id)
        assert sorted(made) == (["US|2012-12-24", "US|2012-12-31"] if table == WEEKLY else ["US|2012"])
        assert all(facts["written"] for facts in made.values())


def test_what_cannot_be_run_says_why_in_one_line(platform: Platform, market: ReplayHandle) -> None:
    nothing_yet = platform.days(WEEK[0], WEEK[-1])
    assert "symbol_catalog is not there yet" in failure(nothing_yet)
    platform.follow(US=["AAPL"])
    wrong = platform.days(WEEK[0], WEEK[0], config={"ops": {DAILY: {"config": {"symbols": ["ZZZ"]}}}})
    assert failure(wrong).startswith("not in the catalog: ZZZ")
    nobody = platform.run("daily_prices_asx", "2013-02-13|ASX")
    assert failure(nobody).startswith("the catalog has no symbol of ASX")
    for table, partition in ((WEEKLY, "US|2013-02-11"), (HISTORY, "US|2013")):
        reason = failure(platform.run(f"{table}_job", partition))
        assert reason.startswith(f"{table}: 1 partition failed: {partition}: no daily cell of US in")
        assert reason.endswith("backfill daily_prices first")
    assert failure(platform.run("symbol_profiles_job", "US")).startswith("no daily prices of US yet")
    market.add_faults({"kind": "hang", "times": "persistent"})
    away = Platform(
        platform.settings.model_copy(update={"source_url": "http://127.0.0.1:9"}), platform.instance
    )
    assert "http://127.0.0.1:9 does not answer" in failure(away.days(WEEK[0], WEEK[1]))
    assert not Path(platform.store.uri("daily_prices")).exists()


# What is derived.


def test_history_weeks_profiles_and_reader_agree_with_the_cells(platform: Platform) -> None:
    platform.follow(US=["AAPL", "IBM"])
    first, last = date(2013, 1, 28), date(2013, 2, 22)
    assert platform.days(first, last).success
    truth = pl.concat([recorded(s).with_columns(pl.lit(s).alias("symbol")) for s in ("AAPL", "IBM")]).filter(
        pl.col("date").is_between(first, last)
    )

    def read() -> pl.DataFrame:
        return prices(["AAPL", "IBM"], store=platform.store).collect()

    from_cells = read()
    assert_frame_equal(from_cells.select(truth.columns), truth, check_exact=True)

    history = platform.run("price_history_job", "US|2013")
    assert history.success
    facts = platform.recorded(HISTORY, history.run_id)["US|2013"]
    assert (facts["state"], facts["rows"], facts["cells"], facts["written"]) == ("complete", 38, 19, True)
    assert read_table(platform.store, object_key(HISTORY, "US", "2013")).equals(from_cells.drop("exchange"))
    assert read().equals(from_cells)
    # Cells that came after the compaction are read all the same.
    assert platform.days(date(2013, 2, 25), date(2013, 2, 26)).success
    assert read().height == 42
    assert read().head(19).equals(from_cells.head(19))
    # Made again of the same cells, it is not written again; of more cells, it is.
    again = platform.run("price_history_job", "US|2013")
    assert platform.recorded(HISTORY, again.run_id)["US|2013"]["written"] is True
    third = platform.run("price_history_job", "US|2013")
    assert platform.recorded(HISTORY, third.run_id)["US|2013"]["written"] is False

    weeks = platform.run("weekly_prices_job", "US|2013-01-28", "US|2013-02-25")
    assert weeks.success
    made = platform.recorded(WEEKLY, weeks.run_id)
    assert {key: facts["state"] for key, facts in made.items()} == {
        "US|2013-01-28": "complete", "US|2013-02-04": "complete", "US|2013-02-11": "complete",
        "US|2013-02-18": "complete", "US|2013-02-25": "partial",
    }  # fmt: skip
    assert made["US|2013-02-18"]["sessions"] == 4
    assert_frame_equal(
        weekly("AAPL", end="2013-02-18", store=platform.store).collect().drop("exchange"),
        by_pandas("AAPL", first, last, complete=True),
        check_exact=False, rel_tol=1e-9,
    )  # fmt: skip

    profiled = platform.run("symbol_profiles_job", "US")
    assert profiled.success
    facts = platform.recorded(PROFILES, profiled.run_id)["US"]
    assert (facts["symbols"], facts["rows"]) == (2, 2)
    assert 0 < facts["quality"] <= 100
    for picture in ("coverage_by_month", "split_adjusted_prices_and_volume"):
        assert "svg" in facts[picture]
    assert "AAPL" in facts["lowest_quality"]
    assert profiles("US", store=platform.store).collect()["symbol"].to_list() == ["AAPL", "IBM"]
    assert universe(store=platform.store).collect()["symbol"].to_list() == ["AAPL", "IBM"]

    inventory = platform.run("exchange_profiles_job")
    assert inventory.success
    table = read_table(platform.store, object_key(EXCHANGES))
    # ASX has no profiles yet, so it is left out and not made up.
    assert table["exchange"].to_list() == ["US"]
    assert table["cells_complete"].item() == 21
    with pytest.raises(ValueError, match="not in the catalog: ZZZ"):
        prices("ZZZ", store=platform.store).collect()
