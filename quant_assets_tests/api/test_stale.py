"""The API on a bucket that goes away and comes back: answers of local copies say so, and no others are stale."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from quant_assets.api.app import create_app
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets_tests.filled import FIRST, KNOWN, bars, cell, fill_store
from quant_assets_tests.gcs_proxy import Fault, FaultProxy, fault_proxy

ASKED = "/v1/prices?symbols=A&start=2012-01-03&end=2012-01-31"


@pytest.fixture
def line(bucket: str, emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with fault_proxy(emulator) as between:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", between.url)
        yield between


@pytest.fixture
def client(
    bucket: str, line: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    location = f"gs://{bucket}"
    fill_store(open_store(location), 30, ("US",))
    monkeypatch.setattr("quant_assets.resources.open_store._READERS_PATIENCE", 2.0)
    with TestClient(create_app(Settings(home=tmp_path, store=location, local_copy_mb=50))) as made:
        yield made


def restate(location: str) -> None:
    """The close of A on the second day is 77 now."""
    store, day, known = open_store(location), FIRST + timedelta(days=1), KNOWN + timedelta(days=1)
    frame = bars(day, ["A", "B", "US.daily_prices"], known).with_columns(close=pl.lit(77.0))
    entry = replace(cell(day, frame), recorded_at=known.isoformat())
    info = store.put(object_key(DAILY, "US", day.isoformat()), encode(frame, entry.facts()))
    Manifest(store, DAILY).record("US", [Entry.from_facts(entry.facts(), info)])


def test_answers_while_the_bucket_is_away_say_so_and_those_before_and_after_do_not(
    client: TestClient, line: FaultProxy, bucket: str
) -> None:
    fresh = client.get(ASKED)
    assert fresh.status_code == 200
    assert "stale_since" not in fresh.json()
    assert not {"x-stale-since", "warning"} & fresh.headers.keys()
    closes = [row["close"] for row in fresh.json()["data"]]

    before = datetime.now(UTC)
    line.faults = [Fault("reset")]
    for asked, found in ((ASKED, "made"), (ASKED, "memory")):
        stale = client.get(asked)
        assert stale.status_code == 200, stale.text
        assert stale.headers["x-cache"] == found
        assert stale.headers["warning"].startswith("110 ")
        assert datetime.fromisoformat(stale.headers["x-stale-since"]) <= before
        assert stale.json()["stale_since"] == stale.headers["x-stale-since"]
        assert [row["close"] for row in stale.json()["data"]] == closes
        assert stale.headers["etag"] != fresh.headers["etag"]
    csv = client.get(f"{ASKED}&format=csv")
    assert csv.headers["x-stale-since"]
    known = client.get(ASKED, headers={"If-None-Match": stale.headers["etag"]})
    assert (known.status_code, known.headers["x-stale-since"]) == (304, stale.headers["x-stale-since"])

    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["status"] == "degraded"
    assert ready.json()["store"]["state"] == "away"
    assert "quant_assets_bucket_up 0.0" in client.get("/metrics").text
    unread = client.get("/v1/weekly?symbols=A")
    assert unread.status_code == 503
    assert unread.headers["retry-after"]

    line.faults = []
    restate(f"gs://{bucket}")
    deadline = time.monotonic() + 60
    while "x-stale-since" in (back := client.get(ASKED)).headers:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "stale_since" not in back.json()
    assert 77.0 in [row["close"] for row in back.json()["data"]]


def test_a_bucket_that_goes_away_while_an_answer_is_made_leaves_nothing_unmarked(
    client: TestClient, line: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get(ASKED).status_code == 200
    client.app.state.cache.clear()  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    from quant_assets.api import answers

    whole = answers._whole  # pyright: ignore[reportPrivateUsage]

    def cut_off(*arguments: object) -> object:
        line.faults = [Fault("reset")]
        return whole(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(answers, "_whole", cut_off)
    answer = client.get(ASKED)
    assert answer.status_code == 200
    assert answer.headers["x-stale-since"]
    assert answer.json()["stale_since"]
