"""Health, metrics, and the routes of the cache."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from quant_assets.api.app import create_app
from quant_assets.api.health import Checks, Part
from quant_assets.resources.cache import Encoded
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import claim
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import TOP_LEVEL


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    claim(LocalObjectStore(tmp_path / "store"), TOP_LEVEL)
    return TestClient(create_app(Settings(home=tmp_path)))


def samples(client: TestClient) -> dict[str, float]:
    """Every sample by its name and the values of its labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def test_readiness_names_each_part(client: TestClient, tmp_path: Path) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    told = answer.json()
    assert told["status"] == "ok"
    assert told["store"]["state"] == told["cache"]["state"] == "ok"
    assert told["dagster"]["state"] == "off"
    assert str(tmp_path) in told["dagster"]["reason"]
    assert client.get("/healthz").json() == {"status": "ok"}


def test_without_a_store_nothing_is_ready(tmp_path: Path) -> None:
    answer = TestClient(create_app(Settings(home=tmp_path))).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "away"
    assert str(tmp_path / "store") in answer.json()["store"]["reason"]


def test_a_part_that_hangs_is_away_in_time_and_not_asked_again_meanwhile(client: TestClient) -> None:
    go_on = threading.Event()
    asked: list[int] = []

    def hang() -> Part:
        asked.append(1)
        go_on.wait(10)
        return Part(state="ok")

    state = client.app.state  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    fine = lambda: Part(state="ok")  # noqa: E731
    state.checks = Checks({"store": fine, "cache": fine, "dagster": hang}, patience=0.05)
    with client:
        began = time.monotonic()
        told = [client.get("/readyz").json() for _ in range(3)]
        assert time.monotonic() - began < 2
        assert asked == [1]
        go_on.set()
    assert [one["status"] for one in told] == ["degraded"] * 3
    assert "no answer" in told[2]["dagster"]["reason"]
    state.checks.close()


def test_requests_are_counted_by_the_template_of_their_route(client: TestClient) -> None:
    client.get("/healthz")
    for made_up in range(20):
        client.get(f"/nowhere/{made_up}")
    client.request("BREW", "/healthz")
    client.delete("/v1/cache")
    counted = samples(client)
    assert counted["quant_assets_requests_total GET /healthz 200"] == 1
    assert counted["quant_assets_requests_total GET none 404"] == 20
    assert counted["quant_assets_requests_total DELETE /v1/cache 401"] == 1
    assert counted["quant_assets_request_seconds_count GET /healthz"] == 1
    assert not [name for name in counted if "nowhere" in name or "BREW" in name]
    assert counted["process_resident_memory_bytes"] > 1e6


def test_each_app_counts_for_itself(client: TestClient, tmp_path: Path) -> None:
    client.get("/healthz")
    other = TestClient(create_app(Settings(home=tmp_path)))
    assert "quant_assets_requests_total GET /healthz 200" not in samples(other)


def test_the_cache_is_looked_at_and_counted(client: TestClient) -> None:
    cache = client.app.state.cache  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    for _ in range(4):
        cache.get_or_make("a", lambda: Encoded(bytes(1000)))
    told = client.get("/v1/cache").json()
    assert told["kind"] == "memory"
    assert told["hit_rate"] == 0.75
    assert told["answers"] == {"memory": 3, "redis": 0, "joined": 0, "made": 1}
    assert told["memory"]["entries"] == 1
    assert told["redis"] is None
    counted = samples(client)
    assert counted["quant_assets_cache_hit_rate"] == 0.75
    assert counted["quant_assets_cache_answers_total memory"] == 3
    assert counted["quant_assets_cache_bytes"] == told["memory"]["bytes"]


def test_clearing_the_cache_takes_a_key(client: TestClient) -> None:
    refused = client.delete("/v1/cache")
    assert refused.status_code == 401
    assert "admin" in refused.json()["detail"]
