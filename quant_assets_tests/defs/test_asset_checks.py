"""The checks of daily cells: real runs with planted faults, what they record, and what an error stops."""

from collections.abc import Callable
from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest

from quant_assets.defs.asset_checks import BLOCKING, DESCRIPTIONS, MOST_OF_A_KIND, check_key, chosen, headline
from quant_assets.market.bars import empty_daily
from quant_assets.market.checks import Severity, Verdict
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.layout import DAILY, EXCHANGES, HISTORY, PROFILES, WEEKLY, object_key
from quant_assets.tables.manifest import Entry, Manifest, entry_of
from quant_assets.tables.parquet import encode, read_facts, read_table
from quant_assets.tables.restatements import LEDGER_SCHEMA, Ledger
from quant_assets_tests.defs.platform import DAY, WEEK, Platform
from quant_assets_tests.support import NOW, days_between

LAST = date(2013, 3, 1)
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def evaluations(platform: Platform, run_id: str) -> list[dg.AssetCheckEvaluation]:
    """The results of checks that a run has recorded, in order."""
    records = platform.instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ).records
    return [r.event_log_entry.dagster_event.event_specific_data for r in records]  # pyright: ignore


def said(platform: Platform, run_id: str) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """What a run has recorded of cells, by partition and check."""
    return {(e.partition, e.check_name): e for e in evaluations(platform, run_id) if e.partition is not None}


def of_run(platform: Platform, run_id: str) -> dict[str, dg.AssetCheckEvaluation]:
    """What a run has recorded of itself, by check."""
    return {e.check_name: e for e in evaluations(platform, run_id) if e.partition is None}


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


def test_sound_cells_pass_every_check_in_the_result_of_the_run_that_of_the_latest_cell_and_their_metadata(
    platform: Platform,
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    result = platform.days(date(2013, 2, 26), LAST)
    assert result.success
    told = said(platform, result.run_id)
    assert sorted(told) == sorted((f"{LAST}|US", name) for name in DESCRIPTIONS)
    assert all(evaluation.passed for evaluation in told.values())
    runs = of_run(platform, result.run_id)
    assert {name: e.description for name, e in runs.items()} == dict.fromkeys(
        DESCRIPTIONS, "4 cell(s): all passed"
    )
    cells = platform.recorded(DAILY, result.run_id)
    assert {key: facts["checks"] for key, facts in cells.items()} == {
        f"{day}|US": "all passed" for day in days_between(date(2013, 2, 26), LAST)
    }
    condition = dg.AssetRecordsFilter(dg.AssetKey(DAILY), asset_partitions=[f"{LAST}|US"])
    (record,) = platform.instance.fetch_materializations(condition, limit=2).records
    targets = [e.target_materialization_data for e in told.values()]
    assert {t and t.storage_id for t in targets} == {record.storage_id}
    # Against the cell of the day before, which this run does not make.
    alone = platform.run("daily_prices_us", f"{LAST}|US")
    assert said(platform, alone.run_id)[f"{LAST}|US", "jumps_explained"].description == (
        "2013-03-01|US: no unexplained move since 2013-02-28"
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
    why = "2013-02-13|US: 1 symbol(s) missing: AAPL (no bar between 2013-02-12 and 2013-02-14)"
    assert evaluation.description == why
    assert "| AAPL | no_bar |" in str(evaluation.metadata["rows"].value)
    whole = of_run(platform, result.run_id)["coverage"]
    assert (whole.passed, whole.severity, whole.description) == (False, WARN, f"5 cell(s): 1 WARN; {why}")
    assert f"| {DAY}\\|US | WARN |" in str(whole.metadata["rows"].value)
    assert platform.recorded(DAILY, result.run_id)[f"{DAY}|US"]["checks"].startswith(
        "coverage WARN: 1 symbol"
    )


def test_a_failed_cell_is_an_error_and_the_good_cells_of_its_run_are_judged_all_the_same(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "date": str(DAY), "times": "persistent"})
    result = platform.days(WEEK[0], WEEK[-1])
    assert not result.success
    told = said(platform, result.run_id)
    assert {key for key, _ in told} == {f"{DAY}|US", f"{WEEK[-1]}|US"}
    assert of_run(platform, result.run_id)["validity"].description == "5 cell(s): all passed"
    assert platform.recorded(DAILY, result.run_id).keys() == {f"{day}|US" for day in WEEK if day != DAY}
    assert red(platform, result.run_id) == {(f"{DAY}|US", "coverage"): ERROR}
    assert told[f"{DAY}|US", "coverage"].description == "2013-02-13|US: nothing received: 2 no_bar"
    assert told[f"{DAY}|US", "coverage"].target_materialization_data is None


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
    assert "2 stored row(s) break a rule: high is below low" in reasons[0]
    assert reasons[1] == "2013-02-12|US: its rows are not sorted by symbol and date"
    assert reasons[2].startswith(f"2013-02-13|US: {path}: the bytes are not those that were written")


def test_a_bar_that_waits_in_quarantine_is_a_warning_until_it_is_settled(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    assert platform.days(DAY, DAY).success
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "AAPL", "date": str(DAY), "field": "close", "value": 2.0}
    )
    result = platform.days(DAY, WEEK[-1])
    assert red(platform, result.run_id) == {(f"{DAY}|US", "validity"): WARN}
    text = str(said(platform, result.run_id)[f"{DAY}|US", "validity"].description)
    assert text.startswith("2013-02-13|US: 1 bar(s) wait in quarantine: AAPL (close 2 in a bar around ")
    # The run, and the cell, name who is held.
    run = platform.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert (run.tags["quant_assets/held"], run.tags["quant_assets/result"]) == ("AAPL", "PARTIAL")
    cells = platform.recorded(DAILY, result.run_id)
    assert "AAPL" in str(cells[f"{DAY}|US"]["held_symbols"])
    assert "close 2 in a bar around" in str(cells[f"{DAY}|US"]["held_symbols"])
    assert not any("held_symbols" in facts for key, facts in cells.items() if key != f"{DAY}|US")
    # What the source no longer says waits no more, in the same run's words already.
    market.clear_faults()
    healed = platform.days(DAY, WEEK[-1], config={"ops": {DAILY: {"config": {"mode": "force"}}}})
    assert red(platform, healed.run_id) == {}
    assert said(platform, healed.run_id)[f"{DAY}|US", "validity"].passed
    run = platform.instance.get_run_by_id(healed.run_id)
    assert run is not None
    assert "quant_assets/held" not in run.tags


def test_a_row_that_is_stored_with_a_flag_is_a_warning_that_shows_it_and_stops_nothing(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    for field, value in (("volume", 0), ("open", 210.0)):
        market.add_faults(
            {"kind": "corrected_bar", "symbol": "IBM", "date": str(LAST), "field": field, "value": value}
        )
    result = platform.days(LAST, LAST)
    assert red(platform, result.run_id) == {(f"{LAST}|US", "flags"): WARN}
    evaluation = said(platform, result.run_id)[f"{LAST}|US", "flags"]
    text = f"{LAST}|US: 1 of 2 row(s) are flagged: 1 no_trade, 1 open_outside_range"
    assert evaluation.description == text
    assert "no_trade,open_outside_range" in str(evaluation.metadata)


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
    assert (f"{last - timedelta(days=1)}|US", "freshness") not in told
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


def test_of_many_cells_those_that_did_not_pass_are_recorded_and_last_what_the_views_show(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": "persistent"})
    result = platform.days(date(2013, 2, 4), LAST)
    assert sorted(said(platform, result.run_id)) == sorted(
        [(f"{DAY}|US", "coverage"), *((f"{LAST}|US", n) for n in DESCRIPTIONS if n != "coverage")]
    )
    # What is announced is taken by the result of the run: nothing stays planned, and none is announced a partition.
    planned = platform.instance.get_records_for_run(
        result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    ).records
    assert len(planned) == len(DESCRIPTIONS)
    for name in DESCRIPTIONS:
        history = platform.instance.event_log_storage.get_asset_check_execution_history(check_key(name), 10)
        assert {record.status.value for record in history} <= {"SUCCEEDED", "FAILED"}
        shown = f"{DAY}|US" if name == "coverage" else f"{LAST}|US"
        assert [record.partition for record in history] == [shown, None]


def test_a_cell_that_passes_now_and_did_not_before_is_recorded_as_passed(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": "persistent"})
    assert platform.days(WEEK[0], WEEK[-1]).success
    market.clear_faults()
    again = platform.days(WEEK[0], WEEK[-1], config={"ops": {DAILY: {"config": {"mode": "force"}}}})
    told = said(platform, again.run_id)
    assert sorted(told) == sorted(
        [(f"{DAY}|US", "coverage"), *((f"{WEEK[-1]}|US", name) for name in DESCRIPTIONS)]
    )
    assert all(evaluation.passed for key, evaluation in told.items() if key[1] != "freshness")


def only_checks(platform: Platform, *names: str, **tags: str) -> dg.ExecuteInProcessResult:
    """Runs checks without the asset, as the UI's *Execute* does."""
    job = platform.defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection={check_key(name) for name in names}
    )
    return job.execute_in_process(instance=platform.instance, tags=tags, raise_on_error=False)


def test_a_run_of_checks_alone_judges_the_cells_that_did_not_pass_and_the_latest_and_asks_for_nothing(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    assert platform.days(WEEK[0], WEEK[-1]).success
    before = tamper(platform, DAY, torn)
    requests = market.stats()["requests"]
    # Nothing was wrong with the cell at its last judgement, so that nobody asks without naming it.
    assert red(platform, only_checks(platform, "validity", BLOCKING).run_id) == {}
    named = only_checks(platform, "validity", BLOCKING, **{"dagster/partition": f"{DAY}|US"})
    assert red(platform, named.run_id) == {(f"{DAY}|US", name): ERROR for name in ("validity", BLOCKING)}
    assert {key for key, _ in said(platform, named.run_id)} == {f"{DAY}|US"}
    put_back(platform, DAY, before)
    again = only_checks(platform, "validity")
    assert again.success
    told = said(platform, again.run_id)
    assert {key: e.passed for key, e in told.items()} == {
        (f"{DAY}|US", "validity"): True,
        (f"{WEEK[-1]}|US", "validity"): True,
    }
    assert of_run(platform, again.run_id)["validity"].description == "2 cell(s): all passed"
    assert market.stats()["requests"] == requests
    assert platform.recorded(DAILY, again.run_id) == {}


def test_the_asset_materialized_from_its_page_takes_its_checks_along(platform: Platform) -> None:
    platform.follow(US=["AAPL"])
    job = platform.defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey(DAILY)}
    )
    from_page = job.execute_in_process(
        instance=platform.instance, partition_key=f"{DAY}|US", raise_on_error=False
    )
    assert from_page.success
    assert [event.step_key for event in from_page.all_events if event.is_step_success] == [DAILY]
    assert of_run(platform, from_page.run_id).keys() == DESCRIPTIONS.keys()
    assert platform.recorded(DAILY, from_page.run_id).keys() == {f"{DAY}|US"}


FINE = {name: Verdict("fine") for name in DESCRIPTIONS}
WARNED = FINE | {"coverage": Verdict("short", Severity.WARN)}
JUMPED = FINE | {"jumps_explained": Verdict("moved", Severity.WARN)}
WRONG = FINE | {name: Verdict("bad", Severity.ERROR) for name in ("validity", BLOCKING)}
KEYS = [f"{date(2010, 1, 1) + timedelta(days=n)}|US" for n in range(900)]


def test_no_number_of_repeats_of_one_kind_hides_another_kind_or_an_error_of_a_materialized_cell() -> None:
    results = {
        key: JUMPED if n == 5 else WRONG if n < 300 else WARNED if n < 898 else FINE
        for n, key in enumerate(KEYS)
    }
    records = chosen(results, [KEYS[0]], {})
    by_name: dict[str, list[str]] = {}
    for key, name, _ in records:
        by_name.setdefault(name, []).append(key)
    assert by_name["jumps_explained"] == [KEYS[5]]
    assert by_name["coverage"][-1] == KEYS[897]
    assert sorted(by_name["coverage"]) == KEYS[898 - MOST_OF_A_KIND : 898]
    assert sorted(by_name["validity"]) == KEYS[300 - MOST_OF_A_KIND : 300]
    assert sorted(by_name[BLOCKING]) == [KEYS[0], *KEYS[300 - MOST_OF_A_KIND : 300]]
    # Of what passed everywhere, the latest cell.
    assert by_name["calendar"] == [KEYS[-1]]


def test_the_worst_result_of_each_check_comes_last_and_of_several_the_latest() -> None:
    results = {KEYS[0]: WRONG, KEYS[1]: WRONG | WARNED, KEYS[2]: WARNED, KEYS[3]: FINE}
    last = {name: key for key, name, _ in chosen(results, [], {"coverage": [KEYS[3]]})}
    assert last == dict.fromkeys(DESCRIPTIONS, KEYS[3]) | {
        "coverage": KEYS[2], "validity": KEYS[0], BLOCKING: KEYS[0],
    }  # fmt: skip
    assert (
        headline({KEYS[0]: Verdict("bad", Severity.ERROR), KEYS[1]: Verdict("odd", Severity.WARN)}) == KEYS[0]
    )
    assert headline({}) is None


# What an error stops.


class Daemon:
    """Evaluates the sensor of the derived tables, tick by tick, and runs what it requests."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._cursor: str | None = None

    def tick(self) -> dict[str, set[str]]:
        """The partitions of each table that are requested now."""
        ticked = self._platform.sense("derived_tables", self._cursor)
        self._cursor = ticked.cursor
        asked: dict[str, set[str]] = {}
        for request in ticked.run_requests:
            table = request.job_name.removesuffix("_job")
            result = self._platform.run(request.job_name, request.partition_key, tags=request.tags)
            assert result.success
            if table != EXCHANGES:
                asked.setdefault(table, set()).update(self._platform.recorded(table, result.run_id))
        return asked


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


@pytest.mark.parametrize("symbol", ["AAPL", None], ids=["too few symbols", "nobody"])
def test_a_failed_cell_stops_nothing_and_its_week_is_made_again_once_it_is_filled(
    platform: Platform, market: ReplayHandle, symbol: str | None
) -> None:
    settings = platform.settings.model_copy(update={"min_coverage": {"*": 95}})
    platform = Platform(settings, platform.instance)
    platform.follow(US=["AAPL", "IBM"])
    daemon = Daemon(platform)
    daemon.tick()
    market.add_faults({"kind": "missing_session", "date": str(DAY), "symbol": symbol or "*", "times": None})
    assert not platform.days(date(2013, 2, 4), WEEK[-1]).success
    assert Manifest(platform.store, DAILY).year("US", 2013)[str(DAY)].state is CellState.FAILED
    assert daemon.tick() == {**WHAT_RESTS_ON_THE_WEEK, WEEKLY: {"US|2013-02-04", "US|2013-02-11"}}
    assert daemon.tick() == {}
    market.clear_faults()
    assert platform.days(DAY, DAY, config={"ops": {DAILY: {"config": {"mode": "force"}}}}).success
    assert daemon.tick() == WHAT_RESTS_ON_THE_WEEK


def test_a_week_waits_for_a_session_that_was_not_answered(platform: Platform, market: ReplayHandle) -> None:
    platform.follow(US=["AAPL", "IBM"])
    assert platform.days(date(2013, 2, 4), WEEK[-2]).success
    market.add_faults({"kind": "server_error_500_html", "times": None})
    assert not platform.days(WEEK[-1], WEEK[-1]).success
    daemon = Daemon(platform)
    assert daemon.tick()[WEEKLY] == {"US|2013-02-04"}
    assert daemon.tick() == {}
    market.clear_faults()
    assert platform.days(WEEK[-1], WEEK[-1]).success
    assert daemon.tick() == WHAT_RESTS_ON_THE_WEEK
