"""Dagster's webserver and daemon over a home of three exchanges, and backfills as its UI asks for them."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from quant_assets.definitions import build_definitions
from quant_assets.dev.demo import as_environment
from quant_assets.instance import instance_file
from quant_assets.local_runs import Runner
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.settings import Settings
from quant_assets.resources.source import HistoryRequest
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.layout import DAILY
from quant_assets_tests.defs.scheduler import turn_off_sensors
from quant_assets_tests.e2e.stack import ARTIFACTS, graphql, processes_of, running_ui
from quant_assets_tests.support import NOW, days_between, quick_settings

FIRST = date(2012, 3, 1)
US = ["AAPL", "IBM"]
QUICK_BACKFILLS = Path(__file__).parent / "quick_backfills"
PACE, LONDON = 5, 15
"""Requests a second, and symbols of the exchange that has many."""
PATIENCE = 240
"""Seconds in which a backfill has to end, on a busy machine."""
ENDED = {"COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED"}


@dataclass
class Platform:
    """A running UI and daemon over a home of their own, and the source that they ask."""

    url: str
    source: ReplayHandle
    instance: dg.DagsterInstance
    symbols: Mapping[str, Sequence[str]]
    store: Path
    settings: Settings

    def launch(self, assets: Sequence[str], partitions: Sequence[str]) -> Backfill:
        """A backfill as the dialog asks for it, followed to its end."""
        self.source.reset_stats()
        return self.follow(self.ask(assets, partitions))

    def ask(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """Asks for a backfill as the dialog does; answers its id."""
        answer = graphql(
            self.url,
            """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
                ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            params={
                "assetSelection": [{"path": [asset]} for asset in assets],
                "partitionNames": list(partitions),
                "fromFailure": False,
            },
        )["launchPartitionBackfill"]
        assert "backfillId" in answer, answer
        return answer["backfillId"]

    def follow(self, backfill: str) -> Backfill:
        """Waits for the end of a backfill and answers what came of it."""
        seen: list[dict[str, Any]] = []

        def over() -> bool:
            seen[:] = [
                graphql(
                    self.url,
                    """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
                        ... on PartitionBackfill { status error { message } } } }""",
                    id=backfill,
                )["partitionBackfillOrError"]
            ]
            return seen[0]["status"] in ENDED

        wait_until(over)
        assert seen[0]["error"] is None, seen[0]["error"]
        runs = self.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
        return Backfill(seen[0]["status"], list(runs), self.source.stats())

    def latest_backfill(self) -> str:
        """The id of the backfill asked for last."""
        query = """{ partitionBackfillsOrError(limit: 1) { ... on PartitionBackfills { results { id } } } }"""
        return graphql(self.url, query)["partitionBackfillsOrError"]["results"][0]["id"]

    def cells(self, table: str = DAILY) -> set[str]:
        """The materialized partitions of a table."""
        return self.instance.get_materialized_partitions(dg.AssetKey(table))

    def failed_cells(self) -> int:
        """How many daily cells the UI shows as failed."""
        query = """{ assetNodeOrError(assetKey: {path: ["daily_prices"]}) {
            ... on AssetNode { partitionStats { numFailed } } } }"""
        return graphql(self.url, query)["assetNodeOrError"]["partitionStats"]["numFailed"]

    def failed_or_missing(self, keys: Sequence[str]) -> list[str]:
        """Of these daily cells those that the dialog takes for `Backfill only failed and missing partitions`."""
        return [key for key in keys if key not in self.cells()]


@dataclass
class Backfill:
    """How a backfill ended, its runs, and what the source was asked for meanwhile."""

    status: str
    runs: list[dg.DagsterRun]
    stats: Mapping[str, Mapping[str, int]]

    @property
    def ranges(self) -> dict[str, list[str]]:
        """By table, what each of its runs covered: `key` or `first...last`."""
        found: dict[str, list[str]] = {}
        for run in self.runs:
            assert run.asset_selection is not None
            (asset,) = run.asset_selection
            first = run.tags.get("dagster/asset_partition_range_start", "")
            last = run.tags.get("dagster/asset_partition_range_end", "")
            one = first if first == last else f"{first}...{last}"
            found.setdefault(asset.path[-1], []).append(run.tags.get("dagster/partition", one))
        return {table: sorted(ranges) for table, ranges in found.items()}

    @property
    def requests(self) -> Counter[str]:
        """How often each symbol's bars were asked for."""
        return Counter(self.stats["chart_data"])


@contextlib.contextmanager
def running_platform(home: Path) -> Iterator[Platform]:
    """A year's grid of two exchanges with a few symbols each and one with more, empty but for its catalog."""
    made_up = GeneratedExchange("ASX", symbols=3, seed=7, start=FIRST, end=NOW.date())
    more = GeneratedExchange("LSE", symbols=60, seed=3, start=FIRST, end=NOW.date())
    config = ReplayConfig(now=NOW, sampledata=True, generated=[made_up, more])
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        source = stack.enter_context(start(config))
        symbols = {"US": US, "ASX": sorted(e["symbol"] for e in source.catalog() if e["exchange"] == "ASX")}
        symbols["LSE"] = _without_gaps(source, home)[:LONDON]
        universe = home / "universe.yaml"
        universe.write_text(yaml.safe_dump(symbols))
        settings = Settings(
            home=home, exchanges=("ASX", "LSE", "US"), universe=universe, start=FIRST, source_url=source.url,
            requests_per_second=PACE, now=NOW, min_coverage={"*": 0.0},
        )  # fmt: skip
        patch.setenv("DAGSTER_HOME", "")
        with Runner(settings) as runner:
            runner.catalog()
        sensors = build_definitions(settings).get_repository_def().sensor_defs
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            # Nothing is to run but what a test asks for: before the daemon starts, which records states too.
            turn_off_sensors(instance, *(sensor.name for sensor in sensors))
        # The queue that instances with workers have.
        written = yaml.safe_load(instance_file(postgres=False, workers=1))
        queue = yaml.safe_dump({"run_coordinator": written["run_coordinator"]})
        with (settings.dagster_home / "dagster.yaml").open("a", encoding="utf-8") as file:
            file.write(queue)
        quick = os.pathsep.join([str(QUICK_BACKFILLS), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**as_environment(settings), "PYTHONPATH": quick}
        url = stack.enter_context(running_ui(home, ARTIFACTS / "backfills.log", environment))
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(settings.dagster_home)))
        yield Platform(url, source, instance, symbols, Path(settings.store_location), settings)
    assert processes_of(home) == []


def _without_gaps(source: ReplayHandle, home: Path) -> list[str]:
    """The London symbols that traded on every session: each is asked for once, whatever range is wanted."""
    symbols = [e["symbol"] for e in source.catalog() if e["exchange"] == "LSE"]
    prices = YahooSource(quick_settings(home / "probe", source.url))
    bars = {
        result.symbol: result.bars.height
        for result in prices.history([HistoryRequest(symbol, FIRST, "Europe/London") for symbol in symbols])
    }
    prices.close()
    return sorted(symbol for symbol, count in bars.items() if count == max(bars.values()))


def keys(code: str, first: date, last: date) -> list[str]:
    return [f"{day}|{code}" for day in days_between(first, last)]


def wait_until(happened: Callable[[], bool], seconds: float = PATIENCE, pause: float = 1) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"did not happen within {seconds:g} s"
        time.sleep(pause)


def once(symbols: Sequence[str]) -> Counter[str]:
    """Each symbol asked for one time."""
    return Counter(symbols)
