"""The alert rules and the dashboard ask for metrics that the API has, and every alert has a test of its own.

The rules' own tests are promtool's (`make deploy-check`); that the dashboard's queries have data is shown on a
running Prometheus (`make compose-test`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from fastapi.testclient import TestClient

from quant_assets.api.app import create_app
from quant_assets_tests.support import quick_settings

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((MONITORING / "rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
QUERIES: list[str] = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
_ELSEWHERE = re.compile(r"quant_assets_(cache_redis_\w+|cache_hit_rate|bucket_up)")
"""Of an API with a Redis, with answers kept, or with copies of a bucket: tested where these are."""


def test_every_metric_asked_for_is_one_that_the_api_has(tmp_path: Path) -> None:
    with TestClient(create_app(quick_settings(tmp_path, "http://127.0.0.1:9"))) as client:
        client.get("/healthz")
        served = client.get("/metrics").text
    asked = {name for text in [*QUERIES, *(rule["expr"] for rule in RULES)] for name in _metrics(text)}
    assert len(asked) > 8
    assert {name for name in asked if not re.search(rf"^{name}[{{ ]", served, re.MULTILINE)} <= {
        name for name in asked if _ELSEWHERE.fullmatch(name)
    }


def test_every_alert_says_what_to_do_and_is_tested() -> None:
    tests = (MONITORING / "rules.test.yml").read_text(encoding="utf-8")
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "do"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["alert"] in tests


def test_panels_do_not_overlap_and_have_names() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert all(panel["title"] for panel in DASHBOARD["panels"])


def _metrics(query: str) -> set[str]:
    return set(re.findall(r"\b((?:quant_assets|process)_\w+)\{", query))
