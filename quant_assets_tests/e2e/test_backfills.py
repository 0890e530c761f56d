"""Backfills and checks on a real daemon and webserver, asked for through GraphQL as the UI does and in the browser.

One Dagster serves the whole module. The tests build on each other's cells only where they say so.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES
from playwright.sync_api import Page, expect, sync_playwright

from quant_assets.dev.demo import as_environment
from quant_assets.market.coverage import CellState
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import DAILY, HISTORY, PROFILES, WEEKLY
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.e2e.backfills import (
    FIRST,
    LONDON,
    PACE,
    PATIENCE,
    Platform,
    keys,
    once,
    running_platform,
    wait_until,
)
from quant_assets_tests.e2e.stack import ARTIFACTS, find_chromium, graphql

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium()


@pytest.fixture(scope="module")
def platform(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("home")) as platform:
        yield platform


def test_one_cell(platform: Platform) -> None:
    done = platform.launch([DAILY], ["2012-03-01|US"])
    assert done.status == "COMPLETED_SUCCESS"
    assert done.ranges == {DAILY: ["2012-03-01|US"]}
    assert platform.cells() == {"2012-03-01|US"}
    assert done.requests == once(platform.symbols["US"])


def test_two_exchanges_and_three_months_are_a_run_each(platform: Platform) -> None:
    first, last = date(2012, 7, 2), date(2012, 9, 28)
    wanted = keys("ASX", first, last) + keys("US", first, last)
    before = platform.cells()
    done = platform.launch([DAILY], wanted)
    assert done.status == "COMPLETED_SUCCESS"
    assert done.ranges == {DAILY: [f"{first}|{code}...{last}|{code}" for code in ("ASX", "US")]}
    assert platform.cells() - before == set(wanted)
    # By this tag one run of an exchange goes at a time (`run_queue`).
    assert sorted(run.tags["quant_assets/exchange"] for run in done.runs) == ["ASX", "US"]
    assert done.requests == once([*platform.symbols["ASX"], *platform.symbols["US"]])


def test_one_exchange_and_a_year_is_one_run(platform: Platform) -> None:
    wanted = keys("US", FIRST, date(2013, 2, 28))
    before = platform.cells()
    done = platform.launch([DAILY], wanted)
    assert done.status == "COMPLETED_SUCCESS"
    assert done.ranges == {DAILY: ["2012-03-01|US...2013-02-28|US"]}
    assert platform.cells() == before | set(wanted)
    assert done.requests == once(platform.symbols["US"])


def test_only_failed_and_missing(platform: Platform) -> None:
    """Of a range whose middle, July to September, is there."""
    first, last = date(2012, 6, 28), date(2012, 10, 3)
    symbols = platform.symbols["ASX"]
    platform.source.add_faults(
        *({"kind": "truncated", "symbol": symbol, "times": "persistent"} for symbol in symbols)
    )
    half = platform.launch([DAILY], keys("ASX", date(2012, 10, 1), last))
    assert half.status == "COMPLETED_FAILED"
    assert platform.failed_cells() == 3
    platform.source.clear_faults()
    wanted = platform.failed_or_missing(keys("ASX", first, last))
    assert wanted == [*keys("ASX", first, date(2012, 6, 29)), *keys("ASX", date(2012, 10, 1), last)]
    done = platform.launch([DAILY], wanted)
    assert done.status == "COMPLETED_SUCCESS"
    assert {run.status for run in done.runs} == {dg.DagsterRunStatus.SUCCESS}
    assert done.ranges == {DAILY: ["2012-06-28|ASX...2012-06-29|ASX", "2012-10-01|ASX...2012-10-03|ASX"]}
    assert platform.failed_or_missing(keys("ASX", first, last)) == []
    assert platform.failed_cells() == 0
    # Each range is a run of its own, and asks for its own.
    assert done.requests == once([*symbols, *symbols])


def test_daily_with_all_that_rests_on_it(platform: Platform) -> None:
    first, last = date(2013, 1, 7), date(2013, 1, 18)
    wanted = keys("ASX", first, last)
    done = platform.launch([DAILY, WEEKLY, HISTORY, PROFILES], wanted)
    assert done.status == "COMPLETED_SUCCESS"
    assert done.ranges == {
        DAILY: [f"{first}|ASX...{last}|ASX"],
        WEEKLY: ["ASX|2013-01-07...ASX|2013-01-14"],
        HISTORY: ["ASX|2013"],
        PROFILES: ["ASX"],
    }
    assert set(wanted) <= platform.cells()
    assert platform.cells(WEEKLY) == {"ASX|2013-01-07", "ASX|2013-01-14"}
    assert done.requests == once(platform.symbols["ASX"])


def test_weekly_alone_asks_for_nothing(platform: Platform) -> None:
    wanted = ["US|2012-07-09", "US|2012-07-16", "US|2012-07-23"]
    done = platform.launch([WEEKLY], wanted)
    assert done.status == "COMPLETED_SUCCESS"
    assert done.ranges == {WEEKLY: [f"{wanted[0]}...{wanted[-1]}"]}
    assert set(wanted) <= platform.cells(WEEKLY)
    assert done.requests == Counter()


def test_a_cancelled_run_keeps_what_came_and_a_rerun_asks_only_for_the_rest(platform: Platform) -> None:
    wanted = keys("LSE", date(2012, 4, 2), date(2012, 4, 13))
    london = platform.symbols["LSE"]
    assert len(london) == LONDON
    platform.source.reset_stats()
    backfill = platform.ask([DAILY], wanted)
    wait_until(lambda: len(platform.source.log()) >= LONDON // 3, pause=0.1)
    (run,) = platform.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    query = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
    assert graphql(platform.url, query, id=run.run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    asked = len(platform.source.log())
    cancelled = platform.follow(backfill)
    (run,) = cancelled.runs
    assert run.status is dg.DagsterRunStatus.CANCELED
    # Until the signal has reached the run's process it asks on at its pace; then only what is under way ends.
    assert len(cancelled.requests) <= asked + platform.settings.concurrency + 2
    assert len(cancelled.requests) < LONDON
    assert set(cancelled.requests.values()) == {1}
    manifest = Manifest(LocalObjectStore(platform.store), DAILY)
    cells = [entry for entry in manifest.all("LSE") if entry.partition <= "2012-04-13"]
    sessions = [entry for entry in cells if entry.state is not CellState.CLOSED]
    assert len(cells) == len(wanted)
    assert {entry.state for entry in sessions} == {CellState.PARTIAL}
    assert {frozenset(m.symbol for m in entry.missing) for entry in sessions} == {
        frozenset(london) - frozenset(cancelled.requests)
    }
    rest = platform.launch([DAILY], wanted)
    assert rest.status == "COMPLETED_SUCCESS"
    assert rest.requests == once([symbol for symbol in london if symbol not in cancelled.requests])
    manifest = Manifest(LocalObjectStore(platform.store), DAILY)
    assert {entry.state for entry in manifest.all("LSE")} == {CellState.COMPLETE, CellState.CLOSED}


def test_two_backfills_and_a_command_at_once_keep_the_pace_and_ask_nothing_twice(platform: Platform) -> None:
    first, last = date(2012, 5, 7), date(2012, 5, 18)
    london, sydney = keys("LSE", first, last), keys("ASX", first, last)
    platform.source.reset_stats()
    command = [sys.executable, "-m", "quant_assets.cli", "backfill", "--exchange", "LSE"]
    command += ["--start", str(first), "--end", str(last)]
    environment = {**os.environ, **as_environment(platform.settings)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        backfills = [platform.ask([DAILY], london), platform.ask([DAILY], sydney)]
        done = [platform.follow(backfill) for backfill in backfills]
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert {backfill.status for backfill in done} == {"COMPLETED_SUCCESS"}
    assert {*london, *sydney} <= platform.cells()
    asked = Counter(symbol for _, symbol in platform.source.log())
    assert {symbol: asked[symbol] for symbol in platform.symbols["LSE"]} == dict.fromkeys(
        platform.symbols["LSE"], 1
    )
    assert set(asked) == {*platform.symbols["LSE"], *platform.symbols["ASX"]}
    moments = [moment for moment, _ in platform.source.log()]
    busiest = {
        seconds: max(sum(begin <= other < begin + seconds for other in moments) for begin in moments)
        for seconds in (1, 3)
    }
    print(f"requests: {len(moments)}, most in a second: {busiest[1]}, in three: {busiest[3]}")
    # A request that a busy machine delays on its way arrives nearer to the next one.
    assert busiest[1] <= PACE + 2
    assert busiest[3] <= 3 * PACE + 2
    manifest = Manifest(LocalObjectStore(platform.store), DAILY)
    sessions = [e for e in manifest.all("LSE") if str(first) <= e.partition <= str(last)]
    assert {entry.state for entry in sessions} <= {CellState.COMPLETE, CellState.CLOSED}


@pytest.fixture
def page(platform: Platform, chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1000}, base_url=platform.url)
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield page
        page.screenshot(path=ARTIFACTS / "backfills.png")
        browser.close()


def test_the_dialog_asks_for_the_failed_and_missing_cells_of_a_range(platform: Platform, page: Page) -> None:
    day, (first, *_) = "2013-02-27|ASX", platform.symbols["ASX"]
    platform.source.add_faults(
        {"kind": "missing_session", "symbol": first, "date": "2013-02-27", "times": "persistent"}
    )
    platform.launch([DAILY], ["2013-03-01|ASX"])
    platform.source.reset_stats()
    page.goto("/assets/daily_prices?view=partitions&partition=2013-03-01%7CASX")
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    dates = dialog.get_by_placeholder(re.compile("^ex: "))
    expect(dates).to_have_value("2013-03-01")
    dates.fill("[2013-02-25...2013-03-01]")
    dates.press("Enter")
    expect(dialog.get_by_text("5 partitions", exact=True)).to_be_visible()
    dialog.get_by_text("Backfill only failed and missing partitions within selection").click()
    expect(dialog.get_by_text("4 partitions", exact=True)).to_be_visible()
    page.screenshot(path=ARTIFACTS / "backfill_dialog.png")
    dialog.get_by_role("button", name=re.compile("^Launch")).click()
    wait_until(lambda: day in platform.cells())
    done = platform.follow(platform.latest_backfill())
    assert done.status == "COMPLETED_SUCCESS"
    assert done.ranges == {DAILY: ["2013-02-25|ASX...2013-02-28|ASX"]}
    # Who leaves a session out is asked a second time.
    assert done.requests == once([*platform.symbols["ASX"], first])


def expect_in_all_views(page: Page, *, warned: int, passed: int) -> None:
    """Overview, graph and list of daily_prices show the same of its checks."""
    page.goto("/assets/daily_prices?view=overview")
    heading = page.get_by_text("Latest check results", exact=True)
    summary = heading.locator("xpath=ancestor-or-self::*[following-sibling::*][1]/following-sibling::*[1]")
    tags = summary.get_by_text(re.compile(r"^\d+$"))
    # Warnings come first; a number that would be 0 is not shown.
    expect(tags).to_have_text([str(count) for count in (warned, passed) if count])
    page.goto("/assets/daily_prices?view=lineage")
    graph = page.get_by_text(re.compile(r"^\d+ / \d+ Passed$")).filter(visible=True)
    expect(graph).to_have_text([f"{passed} / {warned + passed} Passed"])
    page.goto("/assets/daily_prices?view=checks&checkDetail=coverage")
    rows = page.locator("[class*=checkRow]")
    expect(rows).to_have_count(warned + passed)
    expect(rows.filter(has_text="Succeeded")).to_have_count(passed)
    expect(rows.filter(has_text="Failed")).to_have_count(warned)


def test_the_views_agree_on_a_partial_cell_and_its_check_is_executed_again(
    platform: Platform, page: Page
) -> None:
    """After the dialog's backfill, which left one cell partial."""
    day, (first, *_) = "2013-02-27|ASX", platform.symbols["ASX"]
    # The one missing symbol is a warning, in all views the same.
    expect_in_all_views(page, warned=1, passed=7)
    expect(
        page.get_by_text(re.compile(rf"^{re.escape(day)}: 1 symbol\(s\) missing: {first}"))
    ).to_be_visible()
    page.screenshot(path=ARTIFACTS / "check_of_a_partial_cell.png")

    # As if it had been healed by other means: what is stored decides, and nobody is asked.
    manifest = Manifest(LocalObjectStore(platform.store), DAILY)
    cells = [
        replace(cell, state=CellState.COMPLETE, missing=()) if cell.partition == "2013-02-27" else cell
        for cell in manifest.all("ASX")
    ]
    manifest.replace("ASX", cells)
    platform.source.clear_faults()
    platform.source.reset_stats()
    page.get_by_text("Execute", exact=True).click()
    check = dg.AssetCheckKey(dg.AssetKey(DAILY), "coverage")

    def judged() -> bool:
        history = platform.instance.event_log_storage.get_asset_check_execution_history(check, 10)
        latest = next(record for record in history if record.partition == day)
        return latest.status.value == "SUCCEEDED" and latest.run_id == history[0].run_id

    wait_until(judged)
    wait_until(lambda: not platform.instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES)))
    assert Counter(platform.source.stats()["chart_data"]) == Counter()
    expect_in_all_views(page, warned=0, passed=8)
    page.screenshot(path=ARTIFACTS / "check_executed_again.png")
