"""The checks of daily cells: real runs with planted faults, what they record, and what an error stops."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from quant_assets.defs import asset_checks as checks
from quant_assets.defs.asset_checks import BLOCKING, DESCRIPTIONS, RECORDED
from quant_assets.market.bars import empty_daily
from quant_assets.market.checks import Severity, Verdict
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.layout import DAILY, HISTORY, PROFILES, WEEKLY, object_key
from quant_assets.tables.manifest import Entry, Manifest, entry_of
from quant_assets.tables.parquet import encode, read_facts, read_table
from quant_assets.tables.quarantine import hold
from quant_assets.tables.restatements import LEDGER_SCHEMA, Ledger
from quant_assets_tests.defs.platform import DAY, WEEK, Platform
from quant_assets_tests.support import NOW, days_between

LAST = date(2013, 3, 1)
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def said(platform: Platform, run_id: str) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """What a run has recorded, by partition and check."""
    records = platform.instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ).records
    told = [r.event_log_entry.dagster_event.event_specific_data for r in records]  # pyright: ignore
    return {(str(e.partition), e.check_name): e for e in told}  # pyright: ignore


def red(platform: Platform, run_id: str) -> dict[tuple[str, str], dg.AssetCheckSeverity]:
    """The severity of what did not pass, but for freshness: these days are long past."""
    told = said(platform, run_id)
    return {k: e.severity for k, e in told.items() if not e.passed and k[1] != "freshness"}


def tamper(platform: Platform, day: date, change: Callable[[pl.DataFrame], pl.DataFrame]) -> bytes:
    """Replaces what is stored of a day, as a sound object with a sound entry; answers what stood there."""
    store, key = platform.store, object_key(DAILY, "US", str(day))
    before = store.get(key).data
    store.put(key, encode(change(read_table(store, key)), read_facts(before, key)))
    Manifest(store, DAILY).record("US", [entry_of(DAILY, store.get(key), key)])
    return before


def put_back(platform: Platform, day: date, data: bytes) -> None:
    key = object_key(DAILY, "US", str(day))
    platform.store.put(key, data)
    Manifest(platform.store, DAILY).record("US", [entry_of(DAILY, platform.store.get(key), key)])


def torn(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose low is above their high."""
    return rows.with_columns(low=pl.col("high") * 2)


# What is said of a cell.


def test_sound_cells_pass_every_check_and_each_result_names_its_partition_and_materialization(
    platform: Platform,
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    result = platform.days(date(2013, 2, 26), LAST)
    assert result.success
    told = said(platform, result.run_id)
    keys = [f"{day}|US" for day in days_between(date(2013, 2, 26), LAST)]
    assert sorted(told) == sorted((key, name) for key in keys for name in DESCRIPTIONS)
    assert all(evaluation.passed for evaluation in told.values())
    for key in keys:
        condition = dg.AssetRecordsFilter(dg.AssetKey(DAILY), asset_partitions=[key])
        (record,) = platform.instance.fetch_materializations(condition, limit=2).records
        targets = [e.target_materialization_data for (k, _), e in told.items() if k == key]
        assert {t and t.storage_id for t in targets} == {record.storage_id}
    # Against the cell of the day before, which this run does not make.
    alone = platform.run("daily_prices_us", f"{LAST}|US")
    assert said(platform, alone.run_id)[f"{LAST}|US", "jumps_explained"].description == (
        "no unexplained move since 2013-02-28"
    )


def test_a_missing_symbol_is_a_warning_that_names_it_and_stops_nothing(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": "persistent"})
    result = platform.days(WEEK[0], WEEK[-1])
    assert result.success
    assert red(platform, result.run_id) == {(f"{DAY}|US", "coverage"): WARN}
    evaluation = said(platform, result.run_id)[f"{DAY}|US", "coverage"]
    assert evaluation.description == ("1 symbol(s) missing: AAPL (no bar between 2013-02-12 and 2013-02-14)")
    assert "| AAPL | no_bar |" in str(evaluation.metadata["rows"].value)


def test_a_failed_cell_is_an_error_and_the_good_cells_of_its_run_are_judged_all_the_same(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "date": str(DAY), "times": "persistent"})
    result = platform.days(WEEK[0], WEEK[-1])
    assert not result.success
    told = said(platform, result.run_id)
    assert len(told) == len(WEEK) * len(DESCRIPTIONS)
    assert red(platform, result.run_id) == {(f"{DAY}|US", "coverage"): ERROR, (f"{DAY}|US", BLOCKING): ERROR}
    assert told[f"{DAY}|US", BLOCKING].description == "coverage: nothing received: 2 no_bar"
    assert told[f"{DAY}|US", BLOCKING].target_materialization_data is None


def test_a_session_that_is_over_and_has_no_cell_is_an_error(platform: Platform) -> None:
    platform.follow(US=["AAPL"])
    away = Platform(
        platform.settings.model_copy(update={"source_url": "http://127.0.0.1:9"}), platform.instance
    )
    result = away.days(DAY, DAY)
    assert not result.success
    assert red(away, result.run_id) == {(f"{DAY}|US", "calendar"): ERROR, (f"{DAY}|US", BLOCKING): ERROR}
    assert "is over and has no cell" in str(said(away, result.run_id)[f"{DAY}|US", "calendar"].description)


def test_rows_on_a_closed_day_and_rows_of_another_day_are_errors(platform: Platform) -> None:
    platform.follow(US=["AAPL", "IBM"])
    closed = date(2013, 2, 18)
    assert platform.days(WEEK[-1], closed).success
    store = platform.store
    rows = read_table(store, object_key(DAILY, "US", str(WEEK[-1])))
    key = object_key(DAILY, "US", str(closed))
    entry = Entry(str(closed), CellState.COMPLETE, rows=2)
    store.put(key, encode(rows.with_columns(date=pl.lit(closed)), entry.facts()))
    Manifest(store, DAILY).record("US", [entry_of(DAILY, store.get(key), key)])
    tamper(platform, WEEK[-1], lambda rows: rows.with_columns(date=pl.lit(WEEK[0])))
    result = platform.days(WEEK[-1], closed)
    told = said(platform, result.run_id)
    assert red(platform, result.run_id) == {
        (f"{day}|US", name): ERROR for day in (WEEK[-1], closed) for name in ("calendar", BLOCKING)
    }
    assert "2 row(s) on 2013-02-18" in str(told[f"{closed}|US", "calendar"].description)
    assert "have another date" in str(told[f"{WEEK[-1]}|US", "calendar"].description)


def test_stored_rows_that_break_a_rule_and_a_damaged_object_are_errors(platform: Platform) -> None:
    platform.follow(US=["AAPL", "IBM"])
    assert platform.days(WEEK[0], WEEK[2]).success
    tamper(platform, WEEK[0], torn)
    tamper(platform, WEEK[1], lambda rows: rows.reverse())
    path = platform.store.uri(object_key(DAILY, "US", str(WEEK[2])))
    with open(path, "r+b") as file:  # noqa: PTH123 - in place, as a disk loses bits
        file.seek(100)
        file.write(b"\x00\xff\x00")
    result = platform.days(WEEK[0], WEEK[2])
    told = said(platform, result.run_id)
    assert {key for key in red(platform, result.run_id) if key[1] in ("validity", BLOCKING)} == {
        (f"{day}|US", name) for day in WEEK[:3] for name in ("validity", BLOCKING)
    }
    reasons = [str(told[f"{day}|US", "validity"].description) for day in WEEK[:3]]
    assert "2 stored row(s) break a rule: low is above open" in reasons[0]
    assert reasons[1] == "its rows are not sorted by symbol and date"
    assert reasons[2].startswith(f"{path}: the bytes are not those that were written")


def test_a_bar_that_waits_in_quarantine_is_a_warning_until_it_is_settled(platform: Platform) -> None:
    platform.follow(US=["AAPL", "IBM"])
    assert platform.days(DAY, DAY).success
    row = read_table(platform.store, object_key(DAILY, "US", str(DAY))).head(1)
    hold(platform.store, "US", row.with_columns(scale=pl.lit(1.0), rule=pl.lit("low is odd")), {}, "a-run")
    result = platform.days(DAY, WEEK[-1])
    assert red(platform, result.run_id) == {(f"{DAY}|US", "validity"): WARN}
    text = str(said(platform, result.run_id)[f"{DAY}|US", "validity"].description)
    assert text.startswith("1 bar(s) wait in quarantine: AAPL (low is odd; ")


def test_an_unexplained_jump_is_a_warning_that_knows_the_shape_of_a_split(platform: Platform) -> None:
    platform.follow(US=["AAPL", "IBM"])
    assert platform.days(WEEK[0], DAY).success
    prices = ("open", "high", "low", "close")
    double = pl.when(pl.col("symbol") == "AAPL").then(2.0).otherwise(1.0)
    tamper(platform, WEEK[0], lambda rows: rows.with_columns(pl.col(p) * double for p in prices))
    result = platform.days(WEEK[0], DAY)
    assert red(platform, result.run_id) == {(f"{WEEK[1]}|US", "jumps_explained"): WARN}
    text = str(said(platform, result.run_id)[f"{WEEK[1]}|US", "jumps_explained"].description)
    assert "AAPL from" in text
    assert "looks like a 2:1 split" in text


@pytest.mark.parametrize(
    ("last", "severity"),
    [(date(2013, 2, 28), None), (date(2013, 2, 27), WARN), (date(2013, 2, 21), ERROR)],
)
def test_freshness_is_judged_on_the_latest_cell_and_fails_no_run(
    platform: Platform, last: date, severity: dg.AssetCheckSeverity | None
) -> None:
    platform.follow(US=["AAPL"])
    result = platform.days(last - timedelta(days=1), last)
    assert result.success
    told = said(platform, result.run_id)
    evaluation = told[f"{last}|US", "freshness"]
    assert (None if evaluation.passed else evaluation.severity) == severity
    assert told[f"{last - timedelta(days=1)}|US", "freshness"].passed
    assert told[f"{last}|US", BLOCKING].passed


def test_restatements_of_the_session_count_for_a_day_of_the_platforms_clock(platform: Platform) -> None:
    platform.follow(US=["AAPL"])
    assert platform.days(WEEK[0], DAY).success

    def restated(day: date, ago: timedelta) -> None:
        row = ("AAPL", day, "close", "1.0", "2.0", "correction", day, 1, NOW - ago)
        names = [name for name in LEDGER_SCHEMA if name != "run"]
        events = pl.DataFrame([row], schema={n: LEDGER_SCHEMA[n] for n in names}, orient="row")
        Ledger(platform.store, "US").record(events, empty_daily(), empty_daily(), "a-run")

    restated(WEEK[0], timedelta(hours=25))
    restated(DAY, timedelta(hours=23))
    result = platform.days(WEEK[0], DAY)
    assert red(platform, result.run_id) == {(f"{DAY}|US", "restatements_today"): WARN}
    evaluation = said(platform, result.run_id)[f"{DAY}|US", "restatements_today"]
    assert "| AAPL | 2013-02-13 | close |" in str(evaluation.metadata["rows"].value)


# What a run records.


def test_of_a_long_run_only_what_did_not_pass_and_the_last_partition_are_recorded(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": "persistent"})
    first = date(2013, 2, 4)
    result = platform.days(first, LAST)
    assert len(platform.recorded(DAILY, result.run_id)) > RECORDED
    assert sorted(said(platform, result.run_id)) == sorted(
        [(f"{DAY}|US", "coverage"), *((f"{LAST}|US", name) for name in DESCRIPTIONS)]
    )


def test_no_run_has_the_checks_in_its_plan(platform: Platform) -> None:
    platform.follow(US=["AAPL"])
    result = platform.days(WEEK[0], WEEK[-1])
    planned = platform.instance.get_records_for_run(
        result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    ).records
    assert planned == []
    # Neither has what the asset's own page starts, which takes along every check that it can.
    job = platform.defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey(DAILY)}
    )
    assert {node.name for node in job.nodes} == {DAILY, "daily_prices_checks"}
    from_page = job.execute_in_process(
        instance=platform.instance, partition_key=f"{DAY}|US", raise_on_error=False
    )
    assert from_page.success
    assert [event.step_key for event in from_page.all_events if event.is_step_success] == [DAILY]
    history = platform.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey(DAILY), BLOCKING), limit=100
    )
    assert {record.status.value for record in history} == {"SUCCEEDED"}
    assert {record.partition for record in history} == {f"{day}|US" for day in WEEK}
    graph = platform.defs.get_repository_def().asset_graph
    assert {key.name for key in graph.get(dg.AssetKey(DAILY)).check_keys} == set(DESCRIPTIONS)
    assert graph.get(dg.AssetCheckKey(dg.AssetKey(DAILY), BLOCKING)).partitions_def is not None


def test_of_very_many_failures_the_worst_and_latest_are_recorded_and_no_materialized_error_is_left_out() -> (
    None
):
    fine = {name: Verdict("fine") for name in DESCRIPTIONS}
    warned = fine | {"coverage": Verdict("short", Severity.WARN)}
    wrong = fine | {name: Verdict("bad", Severity.ERROR) for name in ("validity", BLOCKING)}
    days = [date(2010, 1, 1) + timedelta(days=n) for n in range(600)]
    keys = [f"{day}|US" for day in days]
    results = {key: wrong if n < 300 else warned if n < 598 else fine for n, key in enumerate(keys)}
    chosen = checks.to_record(results, [keys[0]])
    assert {key for key, _, _ in chosen} == {keys[0], *keys[200:300], keys[-1]}
    assert {name for key, name, _ in chosen if key == keys[-1]} == set(DESCRIPTIONS)
    # What stops something comes first.
    assert {name for _, name, _ in chosen[:101]} == {BLOCKING}


# What an error stops.


class Daemon:
    """Evaluates the automation conditions, tick by tick."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._cursor = None

    def tick(self) -> dict[str, set[str]]:
        """The partitions of each table that are requested now."""
        tables = (WEEKLY, HISTORY, PROFILES)
        result = dg.evaluate_automation_conditions(
            self._platform.defs,
            self._platform.instance,
            asset_selection=dg.AssetSelection.assets(*tables),
            # By then the year that the grid ends with is over: before, Dagster does not know it.
            evaluation_time=datetime(2014, 1, 2, tzinfo=UTC),
            cursor=self._cursor,
        )
        self._cursor = result.cursor
        asked = {table: result.get_requested_partitions(dg.AssetKey(table)) for table in tables}
        return {table: {str(p) for p in partitions} for table, partitions in asked.items() if partitions}


WHAT_RESTS_ON_THE_WEEK = {WEEKLY: {"US|2013-02-11"}, HISTORY: {"US|2013"}, PROFILES: {"US"}}


def test_good_cells_set_off_what_is_downstream_and_an_old_week_again_when_it_is_corrected(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    daemon = Daemon(platform)
    assert daemon.tick() == {}
    # A warning stops nothing; nor does it that most results of a long run are not recorded.
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": "persistent"})
    assert platform.days(date(2013, 2, 4), LAST).success
    asked = daemon.tick()
    assert asked.pop(WEEKLY) == {
        "US|2013-02-04", "US|2013-02-11", "US|2013-02-18", "US|2013-02-25",
    }  # fmt: skip
    assert asked == {HISTORY: {"US|2013"}, PROFILES: {"US"}}
    assert daemon.tick() == {}
    # Filled, it is news for its own week alone.
    market.clear_faults()
    assert platform.days(DAY, DAY, config={"ops": {DAILY: {"config": {"mode": "force"}}}}).success
    assert daemon.tick() == WHAT_RESTS_ON_THE_WEEK


def test_an_error_stops_what_is_downstream_until_it_is_gone(platform: Platform) -> None:
    platform.follow(US=["AAPL", "IBM"])
    assert platform.days(WEEK[0], WEEK[-1]).success
    daemon = Daemon(platform)
    daemon.tick()
    before = tamper(platform, DAY, torn)
    # The run itself has nothing to do and succeeds; the check finds what is stored.
    assert platform.days(DAY, DAY).success
    assert daemon.tick() == {}
    # Other cells of the week do not help.
    assert platform.days(WEEK[0], WEEK[1]).success
    assert daemon.tick() == {}
    put_back(platform, DAY, before)
    assert platform.days(DAY, DAY).success
    assert daemon.tick() == WHAT_RESTS_ON_THE_WEEK


def test_a_failed_cell_stops_its_week_and_no_other(platform: Platform, market: ReplayHandle) -> None:
    platform.follow(US=["AAPL", "IBM"])
    daemon = Daemon(platform)
    daemon.tick()
    market.add_faults({"kind": "missing_session", "date": str(DAY), "times": "persistent"})
    assert not platform.days(date(2013, 2, 4), WEEK[-1]).success
    assert daemon.tick() == {WEEKLY: {"US|2013-02-04"}}
    market.clear_faults()
    assert platform.days(DAY, DAY, config={"ops": {DAILY: {"config": {"mode": "force"}}}}).success
    assert daemon.tick() == WHAT_RESTS_ON_THE_WEEK
