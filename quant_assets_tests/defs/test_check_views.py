"""What Dagster's UI is told of the checks: the queries of its overview, graph and list, answered in this process."""

from collections import Counter
from typing import Any

import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_graphql.test.utils import execute_dagster_graphql

from quant_assets.defs.asset_checks import DESCRIPTIONS
from quant_assets.dev.demo import as_environment
from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.defs.platform import DAY, WEEK, Platform

VIEWS = """{ assetNodeOrError(assetKey: {path: ["daily_prices"]}) { ... on AssetNode {
    assetChecksOrError { ... on AssetChecks { checks {
        name canExecuteIndividually jobNames partitionDefinition { name } partitionStatuses { __typename }
        executionForLatestMaterialization { runId status evaluation { severity description partition } }
    } } } } } }"""


def views(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The answer to VIEWS from a webserver's own context over our code location."""
    for name, value in as_environment(platform.settings).items():
        monkeypatch.setenv(name, value)
    target = LoadableTargetOrigin(module_name="quant_assets.definitions")
    origin = InProcessCodeLocationOrigin(loadable_target_origin=target, location_name="quant_assets")
    with WorkspaceProcessContext(platform.instance, InProcessTestWorkspaceLoadTarget(origin)) as process:
        return execute_dagster_graphql(process.create_request_context(), VIEWS).data["assetNodeOrError"]


def test_all_views_show_the_same_latest_result_of_a_check_and_each_can_be_executed_alone(
    platform: Platform, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": "persistent"})
    # The last session has a cell, so that freshness has nothing to warn of.
    assert platform.run("daily_prices_us", "2013-03-01|US").success
    result = platform.days(WEEK[0], WEEK[-1])
    assert result.success
    node = views(platform, monkeypatch)
    checks = {check["name"]: check for check in node["assetChecksOrError"]["checks"]}
    assert checks.keys() == DESCRIPTIONS.keys()
    latest = {name: check["executionForLatestMaterialization"] for name, check in checks.items()}
    # Overview, list and graph alike: the status, and yellow for its severity. No partitions to make another sum of.
    assert Counter(shown["status"] for shown in latest.values()) == {"SUCCEEDED": 7, "FAILED": 1}
    coverage = latest["coverage"]
    assert (coverage["runId"], coverage["status"]) == (result.run_id, "FAILED")
    assert coverage["evaluation"]["severity"] == "WARN"
    assert coverage["evaluation"]["description"].startswith(f"{DAY}|US: 1 symbol(s) missing: AAPL")
    for check in checks.values():
        assert check["canExecuteIndividually"] == "CAN_EXECUTE"
        # With a partitions definition the UI greys out its button, and sums up results in two ways.
        assert check["partitionDefinition"] is None
        assert check["partitionStatuses"] is None
        assert check["jobNames"]
