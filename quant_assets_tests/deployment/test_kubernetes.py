"""The values for Dagster's chart and our own chart: secrets by name, bounded, nobody's user, known to the product.

`make deploy-check` renders the charts with Helm and holds them against the schemas of two versions of Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from packaging.version import Version

from quant_assets.defs.jobs import EXCHANGE_TAG
from quant_assets.defs.run_queue import ExchangeRunCoordinator
from quant_assets.resources.settings import PREFIX, Settings

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
VALUES: dict[str, Any] = yaml.safe_load((KUBERNETES / "dagster-values.yaml").read_text(encoding="utf-8"))
OURS: dict[str, Any] = yaml.safe_load((KUBERNETES / "chart" / "values.yaml").read_text(encoding="utf-8"))
PODS: dict[str, Any] = {
    "code": VALUES["dagster-user-deployments"]["deployments"][0],
    "webserver": VALUES["dagsterWebserver"],
    "daemon": VALUES["dagsterDaemon"],
}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}")
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part, path)
    else:
        yield path, value


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_bounded_and_can_change_nothing_but_its_volumes(name: str) -> None:
    pod = PODS[name]
    assert pod["resources"]["limits"]["memory"]
    assert pod["resources"]["requests"]["memory"]
    assert pod["podSecurityContext"]["runAsUser"] == 10001
    assert pod["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    home = "/var/lib/quant-assets"
    assert [mount["mountPath"] for mount in pod["volumeMounts"]] == [home, f"{home}/dagster", "/tmp"]
    assert VALUES["global"]["dagsterHome"] == f"{home}/dagster"
    assert {mount["name"] for mount in pod["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert pod["image"]["tag"] != "latest"


def test_no_secret_stands_in_the_values() -> None:
    for values in (VALUES, OURS):
        for path, value in leaves(values):
            if re.search(r"password|secret|key$", path, re.IGNORECASE) and not path.endswith(
                ("Name", "limit", "envSecrets.name")
            ):
                assert value in ("", False, EXCHANGE_TAG), path
    assert VALUES["global"]["postgresqlSecretName"]


def test_runs_are_jobs_of_the_cluster_one_an_exchange_at_a_time(tmp_path: Path) -> None:
    assert VALUES["runLauncher"]["type"] == "K8sRunLauncher"
    assert PODS["code"]["includeConfigInLaunchedRuns"] == {"enabled": True}
    given = VALUES["concurrency"]
    # What the chart writes of it, in Dagster's own words.
    limits = given["runs"]["tagConcurrencyLimits"]
    pools = {"default_limit": given["pools"]["defaultLimit"], "granularity": given["pools"]["granularity"]}
    runs = {"max_concurrent_runs": given["runs"]["maxConcurrentRuns"], "tag_concurrency_limits": limits}
    coordinator = VALUES["dagsterDaemon"]["runCoordinator"]
    assert coordinator["type"] == "CustomRunCoordinator"
    file = {
        "telemetry": {"enabled": False},
        "concurrency": {"pools": pools, "runs": runs},
        "run_coordinator": coordinator["config"]["customRunCoordinator"],
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(file), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_coordinator, ExchangeRunCoordinator)
        queue = instance.get_concurrency_config().run_queue_config
        assert queue
        assert queue.max_concurrent_runs == 2
        assert [limit["key"] for limit in queue.tag_concurrency_limits] == [EXCHANGE_TAG]


def test_the_chart_named_is_that_of_the_dagster_in_use() -> None:
    text = (KUBERNETES / "dagster-values.yaml").read_text(encoding="utf-8")
    named = re.search(r"--version (\S+)", text)
    assert named
    assert Version(named[1]).release[:2] == Version(dg.__version__).release[:2]


def test_settings_are_those_that_the_product_knows() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(OURS["settings"]) <= known
    templates = "".join(file.read_text(encoding="utf-8") for file in (KUBERNETES / "chart").rglob("*.yaml"))
    assert set(re.findall(r"\bQUANT_ASSETS_[A-Z_]+\b", templates)) <= known


def test_secrets_that_settings_are_reach_sensors_and_runs_and_docs_make_what_is_named() -> None:
    assert PODS["code"]["envSecrets"] == [{"name": "quant-assets-environment"}]
    docs = (KUBERNETES.parents[1] / "docs" / "deploy.md").read_text(encoding="utf-8")
    for name in ("quant-assets-environment", OURS["secretName"], VALUES["global"]["postgresqlSecretName"]):
        assert f"create secret generic {name} --from-" in docs


def test_what_both_charts_have_in_common_has_one_name() -> None:
    account = OURS["serviceAccount"]["name"]
    terraform = KUBERNETES.parent / "terraform" / "example.tfvars"
    assert f'kubernetes_service_account = "quant-assets/{account}"' in terraform.read_text(encoding="utf-8")
    assert VALUES["global"]["serviceAccountName"] == OURS["serviceAccount"]["name"]
    common = (KUBERNETES / "chart" / "templates" / "common.yaml").read_text(encoding="utf-8")
    for pod in PODS.values():
        assert all(f"name: {one['name']}\n" in common for one in pod["envConfigMaps"])
