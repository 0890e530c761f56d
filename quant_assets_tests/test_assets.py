"""The platform as Dagster runs it: real jobs in this process, on a real instance, from the replay server."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import polars as pl
import pytest
from bokeh_sampledata import stocks
from dagster._utils.schedules import schedule_execution_time_iterator
from polars.testing import assert_frame_equal

from quant_assets.definitions import build_definitions
from quant_assets.exchanges import enabled, exchange
from quant_assets.market.bars import PRICES
from quant_assets.market.coverage import CellState
from quant_assets.market.weekly import WEEKLY_SCHEMA, weekly_bars
from quant_assets.partitions import make_grids
from quant_assets.reader import prices, profiles, read_daily, universe, weekly
from quant_assets.replay.launch import ReplayHandle
from quant_assets.runs import prepare_instance
from quant_assets_tests.conftest import FIRST, LAST
from quant_assets_tests.support import NOW, RECORDED, days_between, quick_settings, recorded
from resources.dagster_resources import StoreResource
from resources.io_manager import ParquetIOManager, PartitionFrames, PartitionOutputs, TableOutput
from resources.local_store import LocalObjectStore
from resources.settings import Settings
from resources.tables import DAILY, EXCHANGES, HISTORY, PROFILES, WEEKLY, object_key, read_table

WEEK = days_between(date(2013, 2, 11), date(2013, 2, 15))
DAY = date(2013, 2, 13)


@dataclass
class Platform:
    """Definitions over one home, their instance, and a way to run their jobs."""

    settings: Settings
    instance: dg.DagsterInstance
    defs: dg.Definitions = field(init=False)

    def __post_init__(self) -> None:
        self.defs = build_definitions(self.settings)

    @property
    def store(self) -> LocalObjectStore:
        return LocalObjectStore(Path(self.settings.store_location))

    def follow(self, **symbols: Sequence[str]) -> None:
        """Lists these symbols per exchange, and makes the catalog of them."""
        assert self.settings.universe is not None
        self.settings.universe.write_text(json.dumps(symbols))
        assert self.run("symbol_catalog_job").success

    def run(
        self, job: str, first: str | None = None, last: str | None = None, config: Any = None, **more: Any
    ) -> dg.ExecuteInProcessResult:
        tags = dict(more.pop("tags", {}))
        if last is not None:
            tags["dagster/asset_partition_range_start"] = first
            tags["dagster/asset_partition_range_end"] = last
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=first if last is None else None,
            tags=tags,
            run_config=config or {},
            raise_on_error=False,
        )

    def days(self, first: date, last: date, **more: Any) -> dg.ExecuteInProcessResult:
        return self.run("daily_prices_us", f"{first}|US", f"{last}|US", **more)

    def recorded(self, table: str, run_id: str) -> dict[str, dict[str, Any]]:
        """What a run materialized: metadata by partition."""
        condition = dg.AssetRecordsFilter(dg.AssetKey(table))
        records = self.instance.fetch_materializations(condition, limit=1000).records
        return {
            str(record.partition_key): {
                name: value.value for name, value in record.asset_materialization.metadata.items()
            }
            for record in records
            if record.run_id == run_id and record.asset_materialization is not None
        }


@pytest.fixture
def platform(market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    settings = quick_settings(
        tmp_path, market.url, exchanges=("US", "ASX"), universe=tmp_path / "universe.json"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    prepare_instance(settings)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        yield Platform(settings, instance)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The reason that the failed step itself gives."""
    assert not result.success
    (event,) = [e for e in result.all_events if e.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


# Loading.


def test_the_definitions_hold_every_table_job_schedule_and_sensor(platform: Platform) -> None:
    repository = platform.defs.get_repository_def()
    assert {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()} == {
        "symbol_catalog", "daily_prices", "price_history", "weekly_prices", "symbol_profiles",
        "exchange_profiles",
    }  # fmt: skip
    assert {"daily_prices_us", "daily_prices_asx", "weekly_prices_job"} <= set(repository.job_names)
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "daily_prices_us_after_close", "daily_prices_asx_after_close",
    }  # fmt: skip
    assert {sensor.name for sensor in repository.sensor_defs} >= {"new_symbols", "derived_tables"}


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


QUIET_IMPORT = """
import json, sys
opened = []
def hook(event, args):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        opened.append(f"{event} {args[1:]}")
sys.addaudithook(hook)
import quant_assets.definitions
from resources.settings import Settings
quant_assets.definitions.build_definitions(Settings()).get_repository_def()
heavy = ("yfinance", "pandas_market_calendars", "dataframely", "dagster_gcp", "pandas", "google.cloud.storage")
print(json.dumps({"heavy": [name for name in heavy if name in sys.modules], "opened": opened}))
"""


def test_loading_imports_nothing_heavy_and_opens_no_connection(tmp_path: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-c", QUIET_IMPORT], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert json.loads(printed.splitlines()[-1]) == {"heavy": [], "opened": []}


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
    assert whole | {"seconds": 0} == {
        "state": "complete", "rows": 3, "expected_symbols": 3, "received_symbols": 3,
        "bytes": path.stat().st_size, "sha256": whole["sha256"], "object": str(path),
        "requests": 4, "seconds": 0,
    }  # fmt: skip
    assert len(whole["sha256"]) == 64
    assert content["symbol"].to_list() == ["AAPL", "IBM", "MSFT"]
    partial = cells[f"{DAY}|US"]
    assert (partial["state"], partial["expected_symbols"], partial["received_symbols"]) == ("partial", 3, 2)
    assert "| AAPL | no_bar | no bar between 2013-02-12 and 2013-02-14 |" in partial["missing_symbols"]
    closed = cells["2013-02-18|US"]
    assert (closed["state"], closed["rows"], closed["reason"]) == (
        "closed",
        0,
        "US did not trade on 2013-02-18",
    )
    assert "object" not in closed
    run = platform.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["quant_assets/result"] == "PARTIAL"
    assert len(platform.instance.get_run_ids()) == 2  # the catalog's and this one


def test_the_good_cells_of_a_failed_run_are_materialized(platform: Platform, market: ReplayHandle) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "date": str(DAY), "times": "persistent"})
    result = platform.days(WEEK[0], WEEK[-1])
    assert failure(result) == (
        "daily_prices: 1 partition(s) failed: 2013-02-13|US: nothing received: 2 no_bar"
    )
    assert sorted(platform.recorded(DAILY, result.run_id)) == [f"{day}|US" for day in WEEK if day != DAY]
    run = platform.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert (run.status, run.tags["quant_assets/result"]) == (dg.DagsterRunStatus.FAILURE, "FAILED")


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
        assert reason.startswith(f"{table}: 1 partition(s) failed: {partition}: no daily cell of US in")
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
    assert (facts["state"], facts["rows"], facts["cells"], facts["written"]) == ("partial", 38, 19, True)
    assert read_table(platform.store, object_key(HISTORY, "US", "2013")).equals(from_cells)
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
        weekly("AAPL", end="2013-02-18", store=platform.store).collect(),
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
        prices("ZZZ", store=platform.store)


# Weekly bars against a second opinion.

SPLITS = {
    "AAPL": {date(2000, 6, 21): 2.0, date(2005, 2, 28): 2.0},
    "MSFT": {date(2003, 2, 18): 2.0},
}


def by_pandas(
    symbol: str, first: date, last: date, *, complete: bool, dividends: Mapping[date, float] | None = None
) -> pl.DataFrame:
    """Weekly bars straight from the sample data, by pandas, one week at a time."""
    source = pd.DataFrame({name: getattr(stocks, symbol)[name] for name in ("date", *PRICES, "volume")})
    source["date"] = pd.to_datetime(source["date"])
    source = source[(source["date"] >= pd.Timestamp(first)) & (source["date"] <= pd.Timestamp(last))]
    paid = dividends if dividends is not None else {}
    if dividends is None and symbol == "AAPL":
        paid = {date(2013, 2, 7): 2.65}
    rows = []
    for period, week in source.groupby(source["date"].dt.to_period("W-SUN")):
        monday = period.start_time.date()
        splits = {
            day: ratio
            for day, ratio in SPLITS.get(symbol, {}).items()
            if monday <= day <= monday + timedelta(days=6)
        }
        after = week["date"].map(
            lambda stamp, splits=splits: pd.Series(
                [ratio for day, ratio in splits.items() if day > stamp.date()], dtype=float
            ).prod()
        )
        per_share = week[list(PRICES)].div(after, axis=0)
        days = [stamp.date() for stamp in week["date"]]
        rows.append(
            {
                "symbol": symbol,
                "week": monday,
                "first_session": days[0],
                "last_session": days[-1],
                "sessions": len(days),
                "open": per_share["open"].iloc[0],
                "high": per_share["high"].max(),
                "low": per_share["low"].min(),
                "close": per_share["close"].iloc[-1],
                "volume": float((week["volume"] * after).sum()),
                "dividends": sum(paid.get(day, 0.0) / by for day, by in zip(days, after, strict=True)),
                "split_ratio": float(pd.Series(list(splits.values()), dtype=float).prod()),
                "complete": complete,
            }
        )
    return pl.DataFrame(rows, schema=WEEKLY_SCHEMA)


def test_every_recorded_week_agrees_with_a_computation_by_pandas(thirteen_years: LocalObjectStore) -> None:
    daily = read_daily(thirteen_years, "US")
    sessions = exchange("US").calendar().sessions(FIRST, LAST)
    calendar = pl.DataFrame({"date": sessions, "complete": [True] * len(sessions)})
    ours = weekly_bars(daily, calendar)
    for symbol in RECORDED:
        paid = dict(daily.filter(pl.col("symbol") == symbol).select("date", "dividend").iter_rows())
        theirs = by_pandas(symbol, FIRST, LAST, complete=True, dividends=paid)
        assert theirs.height == (679 if symbol != "FB" else 42)
        assert_frame_equal(
            ours.filter(pl.col("symbol") == symbol), theirs, check_exact=False, rel_tol=1e-9, abs_tol=1e-9
        )


def test_weeks_around_a_split_come_whole_through_dagster(platform: Platform) -> None:
    platform.follow(US=["AAPL", "MSFT"])
    # A Wednesday's split; one on the Tuesday after a closed Monday; one on a Monday.
    for monday in (date(2000, 6, 19), date(2003, 2, 17), date(2005, 2, 28)):
        friday = monday + timedelta(days=4)
        assert platform.days(monday, friday).success
        run = platform.run("weekly_prices_job", f"US|{monday}")
        assert run.success
        made = platform.recorded(WEEKLY, run.run_id)[f"US|{monday}"]
        assert (made["state"], made["sessions"]) == ("complete", 4 if monday.year == 2003 else 5)
        got = read_table(platform.store, object_key(WEEKLY, "US", str(monday)))
        for symbol in ("AAPL", "MSFT"):
            paid = {date(2003, 2, 19): 0.08} if symbol == "MSFT" else {}
            theirs = by_pandas(symbol, monday, friday, complete=True, dividends=paid)
            assert_frame_equal(
                got.filter(pl.col("symbol") == symbol), theirs, check_exact=False, rel_tol=1e-9
            )
    apple = read_table(platform.store, object_key(WEEKLY, "US", "2000-06-19")).row(0, named=True)
    # No bar torn in two: the week's range is that of one share.
    assert apple["high"] / apple["low"] < 1.3
    assert apple["split_ratio"] == 2.0


# Schedules.

SYDNEY, NEW_YORK = ZoneInfo("Australia/Sydney"), ZoneInfo("America/New_York")


def tick(platform: Platform, code: str, at: datetime) -> Any:
    schedule = platform.defs.resolve_schedule_def(f"daily_prices_{code.lower()}_after_close")
    context = dg.build_schedule_context(
        instance=platform.instance,
        scheduled_execution_time=at,
        repository_def=platform.defs.get_repository_def(),
    )
    return schedule.evaluate_tick(context)


@pytest.mark.parametrize(
    ("code", "after", "expected"),
    [
        # Clocks in Sydney went back on Sunday 7 April 2013 and forward on Sunday 6 October.
        ("ASX", "2013-04-04T12:00Z", ["2013-04-05T05:30Z", "2013-04-08T06:30Z"]),
        ("ASX", "2013-10-04T00:00Z", ["2013-10-04T06:30Z", "2013-10-07T05:30Z"]),
        # New York's forward on Sunday 10 March and back on Sunday 3 November.
        ("US", "2013-03-08T12:00Z", ["2013-03-08T21:30Z", "2013-03-11T20:30Z"]),
        ("US", "2013-11-01T12:00Z", ["2013-11-01T20:30Z", "2013-11-04T21:30Z"]),
    ],
)
def test_schedules_tick_half_an_hour_after_the_close_in_the_exchanges_own_zone(
    code: str, after: str, expected: list[str]
) -> None:
    defs = build_definitions(Settings(exchanges=("US", "ASX")))
    schedule = defs.resolve_schedule_def(f"daily_prices_{code.lower()}_after_close")
    ticks = schedule_execution_time_iterator(
        datetime.fromisoformat(after).timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )
    assert [next(ticks) for _ in expected] == [datetime.fromisoformat(text) for text in expected]


def test_a_tick_asks_for_its_session_and_skips_closed_days_with_a_reason(platform: Platform) -> None:
    # The grid of a deployment: through today, whenever that is.
    platform = Platform(platform.settings.model_copy(update={"now": None}), platform.instance)

    def partition(code: str, at: datetime) -> str:
        (request,) = tick(platform, code, at).run_requests or []
        assert request.run_key == f"{code}-{at.date()}"
        return str(request.partition_key)

    assert partition("US", datetime(2013, 2, 13, 16, 30, tzinfo=NEW_YORK)) == "2013-02-13|US"
    # The day after Thanksgiving closes at 13:00; the tick comes later and finds it over.
    assert partition("US", datetime(2012, 11, 23, 16, 30, tzinfo=NEW_YORK)) == "2012-11-23|US"
    assert partition("ASX", datetime(2012, 10, 5, 16, 30, tzinfo=SYDNEY)) == "2012-10-05|ASX"
    assert partition("ASX", datetime(2012, 10, 8, 16, 30, tzinfo=SYDNEY)) == "2012-10-08|ASX"
    for code, zone in (("US", NEW_YORK), ("ASX", SYDNEY)):
        skipped = tick(platform, code, datetime(2012, 4, 6, 16, 30, tzinfo=zone))
        assert not skipped.run_requests
        assert skipped.skip_message == (
            f"{code} does not trade on Friday 2012-04-06: no session, nothing to fetch"
        )


# New symbols.


def test_symbols_new_in_the_catalog_get_their_history_and_disturb_nobody(
    platform: Platform, market: ReplayHandle
) -> None:
    platform = Platform(platform.settings.model_copy(update={"start": date(2013, 2, 9)}), platform.instance)
    sensor = platform.defs.resolve_sensor_def("new_symbols")

    def look(cursor: str | None) -> Any:
        with dg.build_sensor_context(
            instance=platform.instance,
            cursor=cursor,
            repository_def=platform.defs.get_repository_def(),
            resources=dict(platform.defs.resources or {}),
        ) as context:
            return sensor.evaluate_tick(context)

    nothing = look(None)
    assert (nothing.run_requests, nothing.skip_message) == ([], "no catalog yet: materialize symbol_catalog")
    platform.follow(US=["AAPL"])
    # Turned on over a catalog, it takes that one as known.
    baseline = look(None)
    assert (baseline.run_requests, baseline.skip_message) == ([], "watching 1 symbols from now on")
    assert look(baseline.cursor).skip_message == "no symbol is new (1 known)"
    # But a first catalog that comes after it is all news.
    (request,) = look(nothing.cursor).run_requests
    assert request.run_config == {"ops": {DAILY: {"config": {"symbols": ["AAPL"]}}}}

    # The grid starts on a Saturday, so on the Monday after it.
    assert platform.days(date(2013, 2, 11), date(2013, 2, 20)).success
    before = {day: read_table(platform.store, object_key(DAILY, "US", str(day))) for day in WEEK}
    platform.follow(US=["AAPL", "IBM"])
    market.reset_stats()
    news = look(baseline.cursor)
    (request,) = news.run_requests
    assert request.job_name == "daily_prices_us"
    assert request.tags["dagster/asset_partition_range_start"] == "2013-02-11|US"
    assert request.tags["dagster/asset_partition_range_end"] == "2013-03-01|US"
    result = platform.run("daily_prices_us", None, config=request.run_config, tags=request.tags)
    assert result.success
    assert market.stats()["chart_data"] == {"IBM": 1}
    for day, rows in before.items():
        now = read_table(platform.store, object_key(DAILY, "US", str(day)))
        assert now["symbol"].to_list() == ["AAPL", "IBM"]
        assert now.filter(pl.col("symbol") == "AAPL").equals(rows)
    assert not look(news.cursor).run_requests


# The IO manager, by itself.


@pytest.fixture
def io(tmp_path: Path) -> dict[str, Any]:
    store = StoreResource(location=str(tmp_path / "tables"))
    return {"store": store, "io_manager": ParquetIOManager(store=store)}


GRIDS = make_grids(enabled(["US", "ASX"]), date(2013, 2, 4), NOW)
FRAME = pl.DataFrame({"symbol": ["AAPL"], "value": [1.5]})
RANGE = {
    "dagster/asset_partition_range_start": "US|2013-02-04",
    "dagster/asset_partition_range_end": "US|2013-02-18",
}


def ran(assets: Sequence[dg.AssetsDefinition], io: dict[str, Any], **more: Any) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(assets, resources=io, instance=instance, raise_on_error=False, **more)


def error_of(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [e for e in result.all_events if e.is_step_failure]
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    assert error is not None
    return error.message


def test_one_partition_goes_out_and_comes_in(io: dict[str, Any]) -> None:
    seen: dict[str, Any] = {}

    @dg.asset(name=PROFILES, partitions_def=GRIDS.exchanges)
    def one() -> pl.DataFrame:
        return FRAME

    @dg.asset(name="copy", partitions_def=GRIDS.exchanges, ins={PROFILES: dg.AssetIn(PROFILES)})
    def copy(symbol_profiles: pl.DataFrame) -> TableOutput:
        seen["frame"] = symbol_profiles
        return TableOutput(symbol_profiles, metadata={"note": "hello"})

    @dg.asset(name="all_of_them", ins={PROFILES: dg.AssetIn(PROFILES)})
    def all_of_them(symbol_profiles: PartitionFrames) -> pl.DataFrame:
        seen["keys"], seen["length"] = list(symbol_profiles), len(symbol_profiles)
        seen["absent"] = symbol_profiles.get("ASX")
        return symbol_profiles["US"]

    result = ran([one, copy], io, partition_key="US")
    assert result.success
    assert seen["frame"].equals(FRAME)
    (event,) = result.asset_materializations_for_node("copy")
    assert {name: event.metadata[name].value for name in ("state", "rows", "written", "note")} == {
        "state": "complete", "rows": 1, "written": True, "note": "hello",
    }  # fmt: skip
    store = io["store"].open()
    assert read_table(store, object_key(PROFILES, "US")).equals(FRAME)
    again = ran([one, copy], io, partition_key="US")
    (event,) = again.asset_materializations_for_node("copy")
    assert event.metadata["written"].value is False
    # Over all partitions an input is a mapping, in which those without an object are absent.
    assert ran([one, all_of_them], io, selection=["all_of_them"]).success
    assert (seen["keys"], seen["length"], seen["absent"]) == (["US"], 1, None)


def test_a_range_goes_out_and_comes_in(io: dict[str, Any]) -> None:
    seen: dict[str, Any] = {}
    single = dg.BackfillPolicy.single_run()

    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=single)
    def weeks(context: dg.AssetExecutionContext) -> PartitionOutputs:
        def made() -> Iterator[tuple[str, TableOutput]]:
            for number, key in enumerate(context.partition_keys):
                if key.endswith("02-11"):
                    yield key, TableOutput(None, CellState.CLOSED, "closed")
                else:
                    yield key, TableOutput(FRAME.with_columns(value=pl.lit(float(number))))

        return PartitionOutputs(made())

    @dg.asset(
        name="sums", partitions_def=GRIDS.weekly, backfill_policy=single, ins={WEEKLY: dg.AssetIn(WEEKLY)}
    )
    def sums(weekly_prices: PartitionFrames) -> None:
        seen.update({key: frame["value"].item() for key, frame in weekly_prices.items()})

    result = ran([weeks, sums], io, tags=RANGE)
    assert result.success
    assert seen == {"US|2013-02-04": 0.0, "US|2013-02-18": 2.0}
    recorded_states = {
        event.partition: event.metadata["state"].value
        for event in result.asset_materializations_for_node(WEEKLY)
    }
    assert recorded_states == {
        "US|2013-02-04": "complete", "US|2013-02-11": "closed", "US|2013-02-18": "complete",
    }  # fmt: skip
    with pytest.raises(KeyError):
        PartitionFrames(io["store"].open(), {"a": "nowhere.parquet"})["a"]


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (FRAME, "weekly_prices: one frame for 3 partitions"),
        ({"US|2013-02-25": FRAME}, "weekly_prices: US|2013-02-25 is no partition of this run"),
        ({"US|2013-02-04": [1, 2]}, "a table is a polars DataFrame, not a list"),
    ],
)
def test_a_wrong_output_says_what_a_table_is(io: dict[str, Any], made: Any, complaint: str) -> None:
    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=dg.BackfillPolicy.single_run())
    def weeks() -> Any:
        return made

    result = ran([weeks], io, tags=RANGE)
    assert not result.success
    assert complaint in error_of(result)


def test_a_wrong_input_says_what_to_do(io: dict[str, Any]) -> None:
    single = dg.BackfillPolicy.single_run()

    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=single)
    def weeks(context: dg.AssetExecutionContext) -> dict[str, pl.DataFrame]:
        return dict.fromkeys(context.partition_keys, FRAME)

    @dg.asset(
        name="reads", partitions_def=GRIDS.weekly, backfill_policy=single, ins={WEEKLY: dg.AssetIn(WEEKLY)}
    )
    def reads(weekly_prices: pl.DataFrame) -> None:
        raise AssertionError("not reached")

    many = ran([weeks, reads], io, tags=RANGE)
    assert "3 partitions for one frame; annotate the input as a Mapping" in error_of(many)
    absent = ran([weeks, reads], io, selection=["reads"], partition_key="US|2013-02-25")
    assert "materialize weekly_prices first" in failure(absent)


def test_what_failed_of_a_range_is_named_and_what_did_not_is_kept(io: dict[str, Any]) -> None:
    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=dg.BackfillPolicy.single_run())
    def weeks(context: dg.AssetExecutionContext) -> dict[str, TableOutput]:
        return {
            key: TableOutput(None, CellState.FAILED, "no luck")
            if key.endswith("02-11")
            else TableOutput(FRAME)
            for key in context.partition_keys
        }

    result = ran([weeks], io, tags=RANGE)
    assert failure(result) == "weekly_prices: 1 partition(s) failed: US|2013-02-11: no luck"
    kept = [event.partition for event in result.asset_materializations_for_node(WEEKLY)]
    assert kept == ["US|2013-02-04", "US|2013-02-18"]
