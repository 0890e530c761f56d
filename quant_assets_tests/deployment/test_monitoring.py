"""The alert rules and the dashboards ask for metrics that the API has, and every alert has a test of its own.

The rules' own tests are promtool's (`make deploy-check`); that the dashboards' queries have data is shown on a
running Prometheus (`make compose-test`, `make metrics-test`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from quant_assets.api.app import create_app
from quant_assets.instance import open_instance
from quant_assets.resources.object_store import claim
from quant_assets.resources.open_store import open_store
from quant_assets.tables.layout import TOP_LEVEL
from quant_assets_tests.support import quick_settings

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((MONITORING / "rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARDS: dict[str, dict[str, Any]] = {
    file.name: json.loads(file.read_text(encoding="utf-8")) for file in MONITORING.glob("dashboard*.json")
}
QUERIES: list[str] = [
    target["expr"] for one in DASHBOARDS.values() for panel in one["panels"] for target in panel["targets"]
]
_ELSEWHERE = re.compile(
    r"quant_assets_(cache_redis_\w+|cache_hit_rate|bucket_up|daemon_heartbeat_age_seconds)"
)
"""Of an API with a Redis, with answers kept, with copies of a bucket, or beside a daemon: tested where these are."""


def test_every_metric_asked_for_is_one_that_the_api_has(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, "http://127.0.0.1:9")
    claim(open_store(settings.store_location), TOP_LEVEL)
    with open_instance(settings) as instance, TestClient(create_app(settings)) as client:
        assert instance.get_runs() == []
        client.get("/healthz")
        served = client.get("/metrics").text
    asked = {name for text in [*QUERIES, *(rule["expr"] for rule in RULES)] for name in _metrics(text)}
    assert len(asked) > 30
    # Names and their help are told of metrics that have no value yet.
    lacking = {name for name in asked if f"# TYPE {name.removesuffix('_bucket')} " not in served}
    assert {name for name in lacking if not _ELSEWHERE.fullmatch(name)} == set()


def test_every_alert_says_what_to_do_and_is_tested() -> None:
    tests = (MONITORING / "rules.test.yml").read_text(encoding="utf-8")
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "do"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["alert"] in tests


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_panels_do_not_overlap_and_have_names(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places) > 10
    assert all(panel["title"] for panel in panels)


def _metrics(query: str) -> set[str]:
    return set(re.findall(r"\b((?:quant_assets|process)_\w+)\b", query))
