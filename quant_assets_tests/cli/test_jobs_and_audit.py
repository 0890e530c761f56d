"""`quant-assets jobs` and `quant-assets audit` on a store without Dagster."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from quant_assets.api.app import create_app
from quant_assets.cli.app import app, main
from quant_assets.cli.audit import OPERATING, commands_of
from quant_assets.operations.audit import audit_trail
from quant_assets.operations.keys import new_key
from quant_assets.operations.who import this_user
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import claim
from quant_assets.resources.settings import load_settings
from quant_assets.tables.audit import Operation, operations, record
from quant_assets.tables.fetch_reports import write_report
from quant_assets.tables.jobs import End, change_job, read_job
from quant_assets.tables.layout import AUDIT, CATALOG, TOP_LEVEL, audit_key, object_key
from quant_assets.tables.parquet import encode
from quant_assets_tests.support import NOW, tree

SINCE = date(2013, 1, 1)
TODAY = datetime.now(UTC).isoformat()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalObjectStore:
    for name, value in {"HOME": str(tmp_path), "EXCHANGES": "US", "NOW": NOW.isoformat()}.items():
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
    made = LocalObjectStore(tmp_path / "store")
    claim(made, TOP_LEVEL)
    made.put(object_key(CATALOG), encode(pl.DataFrame({"symbol": ["AAPL"], "exchange": ["US"]}), {}))
    return made


@pytest.fixture
def command(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["quant-assets", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        return int(left.value.code or 0), told.out, told.err

    return run


def test_jobs_from_the_command_line_are_those_of_the_api(command: Any, store: LocalObjectStore) -> None:
    code, out, _ = command(
        "jobs", "start", "backfill", "--exchange", "US", "--start", "2013-02-11", "--key", "k"
    )
    job = out.strip()
    assert code == 0
    assert (read_job(store, job).via, read_job(store, job).requested_by) == ("cli", this_user())
    _, out, told = command(
        "jobs", "start", "backfill", "--exchange", "US", "--start", "2013-02-11", "--key", "k"
    )
    assert (out.strip(), f"is job {job} already" in told) == (job, True)
    shown = TestClient(create_app(load_settings())).get(f"/v1/jobs/{job}").json()
    assert json.loads(command("jobs", "show", job, "--json")[1]) == shown
    assert job in command("jobs", "list", "--status", "pending")[1].replace("\n", "")
    assert command("jobs", "cancel", job)[1].startswith(f"{job} backfill cancelled")
    code, out, _ = command("jobs", "follow", job)
    assert (code, "cancelled" in out) == (1, True)
    change_job(store, command("jobs", "start", "sweep")[1].strip(), lambda r: _ended(r, "partial"))
    code, out, _ = command("jobs", "list", "--kind", "sweep", "--json")
    (sweep,) = json.loads(out)
    assert (sweep["status"], sweep["progress"]["cells_done"]) == ("partial", 3)
    code, out, _ = command("jobs", "follow", sweep["id"])
    assert (code, "US: complete=2 partial=1" in out) == (2, True)
    # How the cells stand says nothing of how far a job came that did not get to its end.
    change_job(store, command("jobs", "start", "sweep")[1].strip(), lambda r: _ended(r, "cancelled"))
    (sweep,) = json.loads(command("jobs", "list", "--kind", "sweep", "--status", "cancelled", "--json")[1])
    assert sweep["progress"]["cells_done"] == 0


def _ended(job: Any, status: str) -> Any:
    from dataclasses import replace

    result = {"parts": [{"exchange": "US", "cells": {"complete": 2, "partial": 1}}]}
    return replace(job, end=End(status, TODAY, ["something is missing"], result, ["a-run"]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["start", "tidy"], "update_daily"),
        (["start", "backfill", "--exchange", "US"], "give start or start_year"),
        (["start", "update_daily", "--symbols", "APPL"], "did you mean AAPL"),
        (["show", "nonsense"], "there is no job 'nonsense'"),
        (["list", "--status", "gone"], "write pending"),
    ],
)
def test_what_cannot_be_asked_for_is_told_in_a_line(command: Any, arguments: list[str], words: str) -> None:
    code, _, told = command("jobs", *arguments)
    assert code in (1, 2)
    assert words in " ".join(told.split())


def test_operations_of_all_ways_in_stand_in_one_record(
    command: Any, store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, key = new_key("boss", "admin")
    small, reader = new_key("viewer", "read")
    monkeypatch.setenv("QUANT_ASSETS_API_KEYS", f"{key.entry()},{reader.entry()}")
    client = TestClient(create_app(load_settings()))
    headers, read = ({"X-API-Key": one} for one in (text, small))
    job = client.post("/v1/jobs", json={"kind": "sweep"}, headers=headers).json()["id"]
    assert (
        client.post("/v1/jobs", json={"kind": "sweep", "exchange": "LSE"}, headers=headers).status_code == 422
    )
    # A key where none belongs is refused, and not kept.
    assert client.delete(f"/v1/jobs/{job}?api_key={text}", headers=headers).status_code == 422
    assert client.delete(f"/v1/jobs/{job}", headers=headers).status_code == 202
    records = Path(store.location, "audit").rglob("*.json")
    assert not any(text in file.read_text() for file in records)
    assert client.delete(f"/v1/jobs/{job}", headers=read).status_code == 403
    assert client.delete(f"/v1/jobs/{job}").status_code == 401
    assert client.get("/v1/jobs", headers=headers).status_code == 200
    assert command("rebuild-manifest")[0] == 0
    # Refused before anything was begun, and nothing but a look.
    assert command("backfill", "--exchange", "US")[0] == 2
    assert command("show-manifest")[0] == 0
    report = {"run": "r", "started": TODAY, "mode": "incremental", "result": "SUCCESS", "requests": 3}
    write_report(store, "US", datetime.now(UTC), "r1", report | {"scheduled_by": "schedule daily_prices_us"})
    write_report(store, "US", datetime.now(UTC), "r2", report)
    found = {(one.who, one.via, one.what, one.result) for one in audit_trail(store, SINCE)}
    assert found == {
        ("boss", "api", "job sweep", "cancelled"),
        ("boss", "api", "POST /v1/jobs", "refused"),
        ("boss", "api", f"DELETE /v1/jobs/{job}", "refused"),
        ("boss", "api", f"DELETE /v1/jobs/{job}", "ok"),
        ("viewer", "api", f"DELETE /v1/jobs/{job}", "refused"),
        (this_user(), "cli", "rebuild-manifest", "ok"),
        ("schedule daily_prices_us", "dagster", "fill US (incremental)", "ok"),
    }  # fmt: skip
    assert client.get("/v1/audit", headers=read).status_code == 403
    told = client.get("/v1/audit", params={"who": "boss", "limit": 2}, headers=headers).json()["operations"]
    assert [one["who"] for one in told] == ["boss", "boss"]
    code, out, _ = command("audit", "--json", "--via", "dagster")
    assert (code, [one["ref"] for one in json.loads(out)]) == (0, ["r"])
    assert "rebuild-manifest" in command("audit")[1]


def test_the_latest_operations_come_first_and_damaged_ones_hide_none(store: LocalObjectStore) -> None:
    moments = [f"2013-0{month}-1{day}T10:00:00+00:00" for month in (1, 2, 3) for day in (1, 2)]
    for moment in moments:
        record(store, Operation(moment, "me", "cli", "sweep", "ok"))
    store.put(audit_key(NOW, "0a1b2c3d"), b"{")
    store.put(f"{AUDIT}/2013-02/notes.json", b"{}")
    assert [one.at for one in operations(store, date(2013, 1, 12))] == moments[:0:-1]
    assert [one.at for one in operations(store, date(2013, 3, 12))] == moments[-1:]


def test_a_folder_that_is_no_store_does_not_become_one_by_a_record(
    command: Any, store: LocalObjectStore
) -> None:
    store.delete("quant-assets.json")
    store.delete(object_key(CATALOG))
    before = tree(Path(store.location))
    command("rebuild-manifest")
    assert not (Path(store.location) / AUDIT).exists()
    assert before.items() <= tree(Path(store.location)).items()


def test_every_command_that_is_recorded_is_there() -> None:
    assert {name for name, _ in commands_of(app)} >= OPERATING
