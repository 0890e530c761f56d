"""An exchange that trades from Sunday to Thursday, beside New York: from the user's file to weekly bars."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.cli import fetch
from quant_assets.cli.usage import UsageProblem
from quant_assets.defs.automation import PAUSES, refresh_of
from quant_assets.defs.partition_keys import affected_partitions
from quant_assets.defs.partitions import make_grids
from quant_assets.defs.retries import Retries
from quant_assets.defs.under_way import UnderWay
from quant_assets.exchanges import Exchange, enabled
from quant_assets.instance import prepare_instance
from quant_assets.local_runs import Runner
from quant_assets.reader import weekly
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY, WEEKLY, object_key
from quant_assets.tables.lineage import Reason, stale_partitions
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import read_table
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.support import quick_settings

EXCHANGES = """
exchanges:
  TASE:
    name: Tel Aviv Stock Exchange
    suffix: .TA
    yahoo_codes: [TLV]
    calendar: XTAE
    zone: Asia/Jerusalem
    close: "17:25"
    currencies: [ILA]
    weekdays: "0-4"
"""
FIRST = date(2024, 2, 25)  # a Sunday
NOW = datetime(
    2024, 3, 10, 17, tzinfo=UTC
)  # a Sunday: Tel Aviv's first session of the week 2024-03-11 is over
SYMBOLS = {"TASE": ["AAA.TA", "AAC.TA", "AAH.TA"], "US": ["AAA", "AAB"]}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exchanges") / "mine.yaml"
    path.write_text(EXCHANGES)
    return path


@pytest.fixture(scope="module")
def levant(file: Path) -> Iterator[ReplayHandle]:
    generated = [
        GeneratedExchange("TASE", 8, 3, date(2023, 10, 1), date(2024, 4, 1)),
        GeneratedExchange("NASDAQ", 2, 3, date(2023, 10, 1), date(2024, 4, 1)),
    ]
    with start(ReplayConfig(generated=generated, now=NOW, exchanges_file=file)) as handle:
        yield handle


@pytest.fixture
def platform(levant: ReplayHandle, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    settings = quick_settings(
        tmp_path, levant.url, exchanges=("TASE", "US"), exchanges_file=file, start=FIRST, now=NOW,
        universe=tmp_path / "universe.json",
    )  # fmt: skip
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    prepare_instance(settings)
    return Platform(settings, dg.DagsterInstance.from_config(str(settings.dagster_home)))


def tel_aviv(platform: Platform) -> Exchange:
    return enabled(["TASE"], platform.settings.exchanges_file)[0]


def days_from(first: date, number: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(number)]


def test_each_weekly_bar_holds_one_trading_week_of_its_own_exchange(platform: Platform) -> None:
    platform.follow(**SYMBOLS)
    assert platform.run("daily_prices_tase", "2024-02-25|TASE", "2024-03-10|TASE").success
    assert platform.run("daily_prices_us", "2024-02-26|US", "2024-03-08|US").success
    weeks = ("2024-02-26", "2024-03-04", "2024-03-11")
    for code in ("TASE", "US"):
        run = platform.run("weekly_prices_job", f"{code}|{weeks[0]}", f"{code}|{weeks[1]}")
        assert run.success, code
    assert platform.run("weekly_prices_job", f"TASE|{weeks[2]}").success

    states = {
        code: {day: e.state.value for day, e in Manifest(platform.store, WEEKLY).year(code, 2024).items()}
        for code in ("TASE", "US")
    }
    # Of the third week Tel Aviv's Sunday alone is over, and New York's has not begun.
    assert states["TASE"] == {weeks[0]: "complete", weeks[1]: "complete", weeks[2]: "partial"}
    assert states["US"] == {weeks[0]: "complete", weeks[1]: "complete"}

    daily = read_daily(platform.store, "TASE").filter(pl.col("symbol") == "AAA.TA")
    bars = read_table(platform.store, object_key(WEEKLY, "TASE", weeks[1])).filter(
        pl.col("symbol") == "AAA.TA"
    )
    own = daily.filter(pl.col("date").is_between(date(2024, 3, 3), date(2024, 3, 9))).sort("date")
    assert own["date"].to_list() == days_from(date(2024, 3, 3), 5)  # Sunday to Thursday
    assert bars.select(
        "week", "first_session", "last_session", "sessions", "open", "close", "complete"
    ).rows() == [
        (date(2024, 3, 4), date(2024, 3, 3), date(2024, 3, 7), 5, own["open"][0], own["close"][-1], True)
    ]
    assert (bars["high"][0], bars["volume"][0]) == (own["high"].max(), own["volume"].sum())

    both = weekly(
        ["AAA.TA", "AAA"], start="2024-03-04", end="2024-03-04", store=platform.settings.store_location
    )
    assert both.select("symbol", "first_session", "last_session").collect().rows() == [
        ("AAA", date(2024, 3, 4), date(2024, 3, 8)),
        ("AAA.TA", date(2024, 3, 3), date(2024, 3, 7)),
    ]


def test_stale_weeks_are_those_of_the_exchange(platform: Platform) -> None:
    platform.follow(**SYMBOLS)
    one, store = tel_aviv(platform), platform.store
    sunday = date(2024, 3, 3)
    assert platform.run("daily_prices_tase", f"{sunday}|TASE").success

    def stale(first: date, last: date) -> list[tuple[str, Reason]]:
        return [(s.partition, s.reason) for s in stale_partitions(store, WEEKLY, one, (first, last), NOW)]

    assert stale(sunday, sunday) == [("2024-03-04", Reason.MISSING)]
    assert stale(date(2024, 2, 25), date(2024, 3, 2)) == []
    assert platform.run("weekly_prices_job", "TASE|2024-03-04").success
    assert stale(sunday, sunday) == []
    # The Sunday after belongs to the next week, the Thursday to this one.
    assert platform.run("daily_prices_tase", "2024-03-10|TASE").success
    assert stale(sunday, date(2024, 3, 7)) == []
    assert stale(sunday, date(2024, 3, 10)) == [("2024-03-11", Reason.MISSING)]
    assert platform.run("daily_prices_tase", "2024-03-07|TASE").success
    assert stale(sunday, date(2024, 3, 7)) == [("2024-03-04", Reason.CELLS)]
    assert affected_partitions(one, [sunday, date(2024, 3, 10)])[:2] == [
        "weekly_prices TASE|2024-03-04",
        "weekly_prices TASE|2024-03-11",
    ]


def test_automation_waits_for_the_cells_of_the_exchanges_own_week(platform: Platform) -> None:
    platform.follow(**SYMBOLS)
    one, store = tel_aviv(platform), platform.store

    def runs(failed: list[str]) -> dict[str, list[str]]:
        found = refresh_of(
            store, one, FIRST, NOW, failed=failed, under_way=UnderWay({}), retries=Retries(PAUSES), at=NOW
        )
        return {table: keys for table, keys in found.runs if table == WEEKLY}

    assert platform.run("daily_prices_tase", "2024-03-04|TASE", "2024-03-07|TASE").success
    # Its Sunday has no cell, and lies before all that was ever asked for.
    assert runs([]) == {WEEKLY: ["TASE|2024-03-04"]}
    assert platform.run("daily_prices_tase", "2024-02-29|TASE").success
    # Now it is a hole: the week waits. The one before ends with its Thursday.
    assert runs([]) == {WEEKLY: ["TASE|2024-02-26"]}
    assert platform.run("daily_prices_tase", "2024-03-03|TASE").success
    assert runs([]) == {WEEKLY: ["TASE|2024-02-26", "TASE|2024-03-04"]}
    assert runs(["2024-03-03|TASE"]) == {WEEKLY: ["TASE|2024-02-26"]}
    assert runs(["2024-03-10|TASE"]) == {WEEKLY: ["TASE|2024-02-26", "TASE|2024-03-04"]}


@pytest.mark.parametrize(("codes", "weekdays"), [("TASE", "60123"), ("US", "01234"), ("TASE,US", "601234")])
def test_a_backfill_asks_for_the_days_of_the_grid(
    file: Path, monkeypatch: pytest.MonkeyPatch, codes: str, weekdays: str
) -> None:
    monkeypatch.setenv("QUANT_ASSETS_EXCHANGES", codes)
    monkeypatch.setenv("QUANT_ASSETS_EXCHANGES_FILE", str(file))
    found = fetch._days(date(2024, 3, 1), date(2024, 3, 14))
    # Tel Aviv's grid alone has no Friday, so a range may not begin or end with one.
    assert {str(day.weekday()) for day in found} == set(weekdays)
    grid = make_grids(enabled(codes.split(","), file), date(2024, 3, 1), NOW + timedelta(days=5))
    keys = grid.daily.get_partition_keys()
    assert {f"{day}|{codes[:4].strip(',')}" for day in found} <= set(keys)


def test_a_day_before_the_grid_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_ASSETS_START", "2000-01-03")
    with pytest.raises(
        UsageProblem, match="--date 1999-12-30 is before the first day of the grid, 2000-01-03"
    ):
        fetch.update_daily("US", "1999-12-30")


def test_the_command_line_brings_a_sundays_week_up_to_date(platform: Platform) -> None:
    platform.follow(**SYMBOLS)
    sunday = date(2024, 3, 10)
    with Runner(platform.settings) as runner:
        one = runner.exchanges[0]
        runner.daily(one, [sunday])
        runner.derived(one, sunday, sunday)
    entry = Manifest(platform.store, WEEKLY).year("TASE", 2024)["2024-03-11"]
    assert (entry.rows, entry.state) == (3, "partial")
    assert Manifest(platform.store, DAILY).year("TASE", 2024)[str(sunday)].state == "complete"


def test_a_week_counts_the_cells_before_its_monday_as_upstream(platform: Platform) -> None:
    graph = platform.defs.resolve_asset_graph()
    weeks = graph.get(dg.AssetKey(WEEKLY))
    grid = weeks.partitions_def
    assert grid is not None
    mapping = graph.get_partition_mapping(weeks.key, dg.AssetKey(DAILY))
    daily = graph.get(dg.AssetKey(DAILY)).partitions_def
    assert daily is not None
    found = mapping.get_upstream_mapped_partitions_result_for_partitions(
        grid.subset_with_partition_keys(["TASE|2024-03-04"]), grid, daily, NOW
    ).partitions_subset.get_partition_keys()
    own = {f"{day}|TASE" for day in days_from(date(2024, 3, 3), 5)}
    assert own <= set(found)


def test_grids_of_exchanges_that_trade_on_sundays_have_them(file: Path) -> None:
    both = make_grids(enabled(["TASE", "US"], file), FIRST, NOW)
    keys = both.daily.get_partition_keys()
    assert {"2024-02-25|TASE", "2024-03-10|TASE", "2024-03-08|US"} <= set(keys)
    # On a Sunday, the week named by the next day is under way.
    assert [k for k in both.weekly.get_partition_keys() if k.startswith("TASE")][-1] == "TASE|2024-03-11"
    alone = make_grids(enabled(["US"], file), date(2024, 2, 26), NOW)
    assert alone.weekly.get_partition_keys() == ["US|2024-02-26", "US|2024-03-04"]
    assert "2024-03-10|US" not in alone.daily.get_partition_keys()
