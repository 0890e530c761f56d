"""The routes of jobs on a store without Dagster: what is taken down, refused, repeated, listed and cancelled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from starlette.testclient import TestClient

from quant_assets.api.app import create_app
from quant_assets.operations.jobs import warm_up
from quant_assets.operations.keys import new_key
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import claim
from quant_assets.resources.settings import Settings
from quant_assets.tables.jobs import days_with_jobs, jobs_of_day, read_job
from quant_assets.tables.layout import CATALOG, TOP_LEVEL, job_key, object_key
from quant_assets.tables.parquet import encode
from quant_assets_tests.support import NOW

TEXT, KEY = new_key("ci", "operate")
OTHER_TEXT, OTHER = new_key("desk", "operate")
AS_CI, AS_DESK = ({"Authorization": f"Bearer {text}"} for text in (TEXT, OTHER_TEXT))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    keys = f"{KEY.entry()},{OTHER.entry()}"
    return Settings(home=tmp_path, exchanges=("US", "ASX"), now=NOW, api_keys=keys, api_operating_rate=0)


@pytest.fixture
def store(settings: Settings) -> LocalObjectStore:
    made = LocalObjectStore(Path(settings.store_location))
    claim(made, TOP_LEVEL)
    rows = {"symbol": ["AAPL", "IBM", "BHP.AX"], "exchange": ["US", "US", "ASX"]}
    made.put(object_key(CATALOG), encode(pl.DataFrame(rows), {}))
    return made


@pytest.fixture
def client(settings: Settings, store: LocalObjectStore) -> TestClient:
    return TestClient(create_app(settings))


def ask(client: TestClient, body: Mapping[str, Any], headers: Mapping[str, str] = AS_CI) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{}", "kind is missing: write update_daily, backfill"),
        ('{"kind": "bakfill"}', "kind='bakfill': write update_daily, backfill"),
        ('{"kind": "backfill", "start": "2013-01-02"}', "body.exchange: is missing"),
        (
            '{"kind": "backfill", "exchange": "US", "start": "soon"}',
            "body.start: write YYYY-MM-DD, not 'soon'",
        ),
        ('{"kind": "sweep", "start": "2013-01-02"}', "body.start: sweep takes no such parameter"),
        ("{kind", "at character 1: no JSON"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_in_words(client: TestClient, body: str, words: str) -> None:
    answer = client.post("/v1/jobs", content=body, headers={**AS_CI, "Content-Type": "application/json"})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_of_jobs_of_one_second_the_latest_comes_first(client: TestClient) -> None:
    asked = [ask(client, {"kind": "sweep", "exchange": code})["id"] for code in ("US", "ASX", "US", "ASX")]
    assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]] == asked[::-1]


def test_who_may_not_ask_is_told_so_before_what_is_wrong_with_the_address(client: TestClient) -> None:
    assert client.post("/v1/jobs?dry=1", json={}).status_code == 401
    answer = client.post("/v1/jobs?dry=1", json={"kind": "sweep"}, headers=AS_CI)
    assert (answer.status_code, "dry" in answer.json()["detail"]) == (422, True)


def ids(store: LocalObjectStore) -> list[str]:
    return [job for day in days_with_jobs(store) for job in jobs_of_day(store, day)]


def test_a_job_is_taken_down_in_the_store_before_its_id_is_answered(
    client: TestClient, settings: Settings, store: LocalObjectStore
) -> None:
    # As `serve` does while it starts.
    warm_up(settings)
    began = time.monotonic()
    answer = client.post("/v1/jobs", json={"kind": "update_daily", "exchange": "us"}, headers=AS_CI)
    took = time.monotonic() - began
    assert answer.status_code == 202
    job = answer.json()
    assert (job["status"], job["requested_by"], job["exchanges"]) == ("pending", "ci", ["US"])
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert took < 1
    (part,) = read_job(store, job["id"]).parts
    assert (part.task, part.first, part.last, part.valuations) == ("daily", "2013-03-01", "2013-03-01", True)
    # Another process, later: it is there, and says why nothing happens yet.
    again = TestClient(create_app(settings)).get(answer.headers["location"]).json()
    assert again == job | {"note": again["note"]}
    assert f"no Dagster has run in {settings.dagster_home}" in again["note"]


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (
            {"kind": "backfill", "exchange": "US", "start_year": 2012, "symbols": "aapl, IBM", "mode": "force"},
            [("daily", "US", "2012-01-02", "2013-03-01", ["AAPL", "IBM"], "force")],
        ),
        (
            {"kind": "backfill", "exchange": "US", "start": "2013-01-01", "end": "2013-02-03", "mode": "verify"},
            [("verify", "US", "2013-01-01", "2013-02-01", [], "verify")],
        ),
        (
            {"kind": "force_update", "date": "2013-02-27"},
            [("daily", code, "2013-02-27", "2013-02-27", [], "force") for code in ("US", "ASX")],
        ),
        # Only one of them has a session then, and only one has the symbol.
        (
            {"kind": "update_daily", "date": "2013-02-18"},
            [("daily", "ASX", "2013-02-18", "2013-02-18", [], "incremental")],
        ),
        ({"kind": "sweep", "symbols": ["bhp.ax"]}, [("sweep", "ASX", "", "", ["BHP.AX"], "incremental")]),
        ({"kind": "refresh_universe"}, [("refresh", "", "", "", [], "incremental")]),
    ],
)  # fmt: skip
def test_a_request_comes_to_a_run_an_exchange(
    client: TestClient, store: LocalObjectStore, body: dict[str, Any], parts: list[Any]
) -> None:
    record = read_job(store, ask(client, body)["id"])
    found = [(p.task, p.exchange, p.first, p.last, list(p.symbols), p.mode) for p in record.parts]
    assert found == parts


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"kind": "tidy_up"}, "update_daily"),
        ({"kind": "backfill", "exchange": "US"}, "give start or start_year"),
        ({"kind": "backfill", "exchange": "US", "start": "last week"}, "start"),
        ({"kind": "force_update", "exchange": "US", "date": 1360195200}, "write YYYY-MM-DD"),
        ({"kind": "backfill", "exchange": "US", "start": "2013-02-10", "end": "2013-02-01"}, "after end 2013-02-01"),
        ({"kind": "backfill", "exchange": "US", "start": "1990-01-02"}, "before the first day of the grid"),
        ({"kind": "backfill", "exchange": "US", "start_year": 1999}, "before the first day of the grid"),
        ({"kind": "backfill", "exchange": "US", "start_year": 2014}, "is after the last session of US"),
        ({"kind": "backfill", "exchange": "US", "start": "2013-01-02", "end": "2013-12-31"}, "in the future"),
        ({"kind": "backfill", "exchange": "NASDAQ", "start": "2013-01-02"}, "exchange"),
        ({"kind": "backfill", "exchange": "LSE", "start": "2013-01-02"}, "not enabled"),
        ({"kind": "update_daily", "exchange": "US", "date": "2013-02-18"}, "date"),
        ({"kind": "update_daily", "exchange": "US", "symbols": ["APPL"]}, "did you mean AAPL"),
        ({"kind": "update_daily", "exchange": "US", "symbols": ["BHP.AX"]}, "not in the catalog of US"),
        ({"kind": "update_daily", "symbols": [""]}, "symbols"),
        ({"kind": "refresh_universe", "universes": ["sp500"]}, "sp500"),
        ({"kind": "sweep", "days": 3}, "days"),
        ([], ""),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_at_once_and_leaves_nothing(
    client: TestClient, store: LocalObjectStore, body: Any, words: str
) -> None:
    answer = client.post("/v1/jobs", json=body, headers=AS_CI)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert ids(store) == []


def test_the_same_key_twice_is_one_job(client: TestClient, store: LocalObjectStore) -> None:
    body = {"kind": "backfill", "exchange": "US", "start": "2013-01-02"}
    keyed = {**AS_CI, "Idempotency-Key": "tonight"}
    job = ask(client, body, keyed)
    second = client.post("/v1/jobs", json=body, headers=keyed)
    assert (second.status_code, second.json()["id"]) == (202, job["id"])
    assert second.headers["idempotent-replayed"] == "true"
    other = client.post("/v1/jobs", json=body | {"start": "2013-01-03"}, headers=keyed)
    assert other.status_code == 409
    assert f"job {job['id']}" in other.json()["detail"]
    assert ids(store) == [job["id"]]
    # It is a key of whoever sends it.
    assert ask(client, body, {**AS_DESK, "Idempotency-Key": "tonight"})["id"] != job["id"]
    # A request that was killed before the job itself was kept.
    store.delete(job_key(job["id"]))
    assert ask(client, body, keyed)["id"] == job["id"]
    assert len(ids(store)) == 2


def test_jobs_are_listed_and_filtered_the_latest_first(client: TestClient, store: LocalObjectStore) -> None:
    made = [
        ask(client, body)["id"]
        for body in (
            {"kind": "sweep", "exchange": "US"}, {"kind": "sweep"}, {"kind": "update_daily", "exchange": "ASX"},
        )
    ]  # fmt: skip
    # Ids of one second have no order among themselves: give each a second of its own.
    for number, job in enumerate(made):
        record = orjson.loads(store.get(job_key(job)).data)
        record["id"] = f"20130301-23000{number}-{job[-12:]}"
        store.put(job_key(record["id"]), orjson.dumps(record))
        store.delete(job_key(job))
        made[number] = record["id"]
    client.delete(f"/v1/jobs/{made[0]}", headers=AS_CI)

    def listed(**query: Any) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=query).json()["jobs"]]

    assert listed() == made[::-1]
    assert listed(kind="sweep") == [made[1], made[0]]
    assert listed(exchange="asx") == [made[2], made[1]]
    assert listed(status="cancelled") == [made[0]]
    assert listed(status="running") == []
    page = client.get("/v1/jobs", params={"limit": 2}).json()
    assert page["next"] == made[1]
    assert listed(limit=2, before=page["next"]) == [made[0]]
    assert client.get("/v1/jobs", params={"status": "gone"}).status_code == 422
    # A damaged record hides none of the others.
    store.put(job_key(made[1]), b"{}")
    assert listed() == [made[2], made[0]]
    assert client.get(f"/v1/jobs/{made[1]}").status_code == 500


def test_a_job_that_has_not_begun_is_cancelled_at_once(client: TestClient, store: LocalObjectStore) -> None:
    job = ask(client, {"kind": "sweep"})["id"]
    assert client.delete(f"/v1/jobs/{job}").status_code == 401
    answer = client.delete(f"/v1/jobs/{job}", headers=AS_DESK)
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["cancelled_by"]) == ("cancelled", "desk")
    # The second time it is over already.
    assert client.delete(f"/v1/jobs/{job}", headers=AS_CI).json()["cancelled_by"] == "desk"
    # Who wants no body does not wait for its end, either.
    assert client.head(f"/v1/jobs/{job}/events").headers["content-type"].startswith("text/event-stream")
    with client.stream("GET", f"/v1/jobs/{job}/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in events.iter_lines() if line]
    assert lines[:2] == [f"id: {job}", "event: end"]
    assert orjson.loads(lines[2].removeprefix("data: "))["status"] == "cancelled"


@pytest.mark.parametrize("job", ["nonsense", "20130301-230000-000000000000", "..%2f..%2fquant-assets"])
@pytest.mark.parametrize("path", ["", "/events"])
def test_an_unknown_job_is_not_found(client: TestClient, job: str, path: str) -> None:
    assert client.get(f"/v1/jobs/{job}{path}").status_code == 404
    assert client.delete(f"/v1/jobs/{job}", headers=AS_CI).status_code == 404
