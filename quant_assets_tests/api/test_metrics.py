"""Metrics of the store and of the instance, by hand on a small store; and what is said while one of them is away."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from quant_assets.api.app import create_app
from quant_assets.cli.app import app
from quant_assets.defs.run_counts import RunWatch
from quant_assets.instance import open_instance
from quant_assets.maintenance import store_figures
from quant_assets.maintenance.store_figures import StoreWatch
from quant_assets.market.inventory import by_month, bytes_a_year, growth, totals
from quant_assets.operations.metrics import Looking, Platform
from quant_assets.resources.gcs_store import GcsObjectStore
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.locks import one_at_a_time
from quant_assets.resources.object_store import Blob, StoreUnavailable, claim
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings
from quant_assets.tables.fetch_reports import write_report
from quant_assets.tables.layout import DAILY, FETCH_REPORTS, TOP_LEVEL, manifest_key, report_key
from quant_assets_tests.api.desk import CHANGED, FIRST, KNOWN, restate
from quant_assets_tests.gcs_proxy import fault_proxy


class Counting(LocalObjectStore):
    """A store that counts what is read of it, and can be away."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read: list[str] = []
        self.away = False

    def get(self, key: str) -> Blob:
        self.read.append(key)
        return super().get(key)

    def list(self, prefix: str) -> Iterator[Any]:
        if self.away:
            raise StoreUnavailable("the bucket is away")
        return super().list(prefix)


@pytest.fixture
def store(desk: Path, tmp_path: Path) -> Counting:
    shutil.copytree(desk, tmp_path / "store")
    filled = Counting(tmp_path / "store")
    for number, (result, failed) in enumerate([("SUCCESS", {}), ("PARTIAL", {"not_found": 1})]):
        facts = {
            "result": result, "requests": 10 + number, "succeeded": 2 - len(failed), "failed": failed,
            "seconds": {"fetch": 1.5, "write": 0.5},
        }  # fmt: skip
        write_report(filled, "US", KNOWN + timedelta(hours=number), f"run{number}", facts)
    return filled


def told(platform: Platform) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(platform)
    lines = generate_latest(registry).decode().splitlines()
    pairs = (line.removeprefix("quant_assets_").rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_figures_of_a_store(store: Counting, settings: Settings) -> None:
    platform = Platform(settings, store, patience=None)
    found = told(platform)
    platform.close()
    assert found['up{part="store"}'] == 1
    assert found['cells{exchange="US",state="complete"}'] == 60
    assert found['cells{exchange="US",state="partial"}'] == 1
    assert found['cells{exchange="ASX",state="closed"}'] == 3
    assert found['rows{exchange="US"}'] == 121
    assert found['last_cell_coverage_ratio{exchange="US"}'] == 1
    # NOW is Monday 23:00 UTC: New York closed at 20:00, Sydney at 06:00.
    assert found['freshness_seconds{exchange="US"}'] == 2 * 3600
    assert found['freshness_seconds{exchange="ASX"}'] == 16 * 3600
    assert found['late_sessions{exchange="US"}'] == 1
    assert (
        found['last_session_timestamp_seconds{exchange="US"}']
        == datetime(2012, 3, 30, 20, tzinfo=UTC).timestamp()
    )
    assert found['source_requests_total{exchange="US"}'] == 21
    assert found['source_answers_total{exchange="US",outcome="ok"}'] == 3
    assert found['source_answers_total{exchange="US",outcome="not_found"}'] == 1
    assert found['fills_total{exchange="US",result="PARTIAL"}'] == 1
    assert found['fill_seconds_total{exchange="US",phase="fetch"}'] == 3
    assert found['last_fill_requests{exchange="US"}'] == 11
    assert found['restatements_total{class="correction",exchange="US"}'] == 1
    assert found['held{exchange="US",scope="row"}'] == 1
    assert found['quarantine_items{decision="pending",exchange="US"}'] == 1
    assert found['store_objects{exchange="US",table="daily_prices"}'] == 61
    assert found['store_objects{exchange="US",table="fetch_reports"}'] == 2
    on_disk = sum(
        file.stat().st_size for file in (Path(store.location) / DAILY / "exchange=US").glob("*.parquet")
    )
    assert found['store_bytes{exchange="US",table="daily_prices"}'] == on_disk


def test_a_second_look_reads_what_has_changed_and_damage_is_counted_and_named(store: Counting) -> None:
    watch = StoreWatch(store)
    watch.look()
    store.read.clear()
    watch.look()
    assert store.read == []
    restate(store, date(2012, 3, 6), 77.0, KNOWN + timedelta(days=1))
    store.read.clear()
    figures = watch.look()
    assert sorted(key.split("/")[0] for key in store.read) == ["manifest", "restatements"]
    assert figures.restatements["US"] == {"correction": 2}
    key = manifest_key(DAILY, "ASX", 2012)
    store.put(key, b"{")
    figures = watch.look()
    assert list(figures.cells) == ["US"]
    assert "rebuild-manifest" in figures.unreadable[key]


def test_a_look_at_a_bucket_with_many_reports_lists_those_of_late_and_reads_what_is_new(
    bucket: str, emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_figures, "_PAGE", 8)
    now, seconds = [datetime(2012, 4, 2, 23, tzinfo=UTC)], [0.0]
    with fault_proxy(emulator) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        store = open_store(f"gs://{bucket}")
        claim(store, TOP_LEVEL)

        def report(day: datetime, code: str, run: str) -> None:
            write_report(store, code, day, run, {"result": "SUCCESS", "requests": 1, "succeeded": 1})

        for number in range(20):
            for code in ("ASX", "US"):
                report(now[0] - timedelta(days=40 + number), code, f"{number:08}")
        watch = StoreWatch(store, lambda: seconds[0], lambda: now[0])

        def looked() -> tuple[int, int]:
            """Fills counted, and requests that this took."""
            proxy.asked.clear()
            figures = watch.look()
            assert figures.sizes["US", FETCH_REPORTS].objects == figures.asked["US"].results.total()
            return sum(asked.results.total() for asked in figures.asked.values()), proxy.asked.total()

        listed: list[str] = []
        plain = GcsObjectStore.list
        monkeypatch.setattr(
            GcsObjectStore, "list", lambda self, prefix: listed.append(prefix) or plain(self, prefix)
        )
        count, requests = looked()
        assert count == 40
        assert requests > 40
        # The marker, three records, the exchanges that have reports, and of each those of the month.
        listed.clear()
        assert looked() == (40, 7)
        assert [prefix for prefix in listed if prefix.startswith(FETCH_REPORTS)] == [
            f"{FETCH_REPORTS}/exchange={code}/2012-04" for code in ("ASX", "US")
        ]
        report(now[0], "US", "new")
        assert looked() == (41, 8)
        # Of a run of two months ago that has ended only now the whole listing tells.
        report(now[0] - timedelta(days=60), "ASX", "long")
        assert looked() == (41, 7)
        seconds[0] += 601
        assert looked()[0] == 42
        # On the first of a month those of yesterday's are listed as well.
        now[0] += timedelta(days=29)
        listed.clear()
        assert looked()[0] == 42
        assert len([prefix for prefix in listed if prefix.startswith(FETCH_REPORTS)]) == 4


def test_a_report_that_is_none_is_named_as_long_as_it_is_there_and_counted_in_no_figure(
    store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = report_key("US", KNOWN - timedelta(hours=1), "bad")
    store.put(key, b'{"requests": "many"}')
    watch = StoreWatch(store)
    for _ in range(2):
        figures = watch.look()
        assert "no report: unusable requests; remove it" in figures.unreadable[key]
        assert figures.asked["US"].requests == 21
    # One that does not come the first time is counted once it does.
    write_report(store, "US", KNOWN + timedelta(hours=5), "run5", {"requests": 5})
    real = store.get

    def away(key: str) -> Blob:
        raise StoreUnavailable(f"{key}: no answer")

    monkeypatch.setattr(store, "get", away)
    assert len(watch.look().unreadable) == 2
    monkeypatch.setattr(store, "get", real)
    assert watch.look().asked["US"].requests == 26
    store.delete(key)
    assert watch.look().unreadable == {}


def test_a_store_that_is_away_is_a_metric_and_the_last_figures_stay(
    store: Counting, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant_assets.operations.metrics._NEAR_SECONDS", 0.0)
    platform = Platform(settings, store, patience=None)
    told(platform)
    store.away = True
    found = told(platform)
    assert found['up{part="store"}'] == 0
    assert found['cells{exchange="US",state="complete"}'] == 60
    assert found['figures_age_seconds{part="store"}'] >= 0
    platform.close()
    nothing = Platform(settings, LocalObjectStore(Path(store.location) / "unmounted"), patience=None)
    found = told(nothing)
    nothing.close()
    assert found['up{part="store"}'] == 0
    assert not [name for name in found if name.startswith(("cells", "freshness"))]


def test_a_scrape_does_not_wait_for_a_look_that_hangs() -> None:
    free = threading.Event()
    asked: list[int] = []

    def look() -> str:
        asked.append(1)
        free.wait(30)
        return "figures"

    looking = Looking("hanging", look, every=0.0)
    began = time.monotonic()
    assert looking.brought_up_to_date(0.05) is None
    assert looking.brought_up_to_date(0.05) is None
    assert time.monotonic() - began < 5
    assert len(asked) == 1
    free.set()
    assert looking.brought_up_to_date(30) == "figures"
    looking.close()


def test_runs_are_counted_by_outcome_the_killed_too_and_removed_ones_no_more(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with open_instance(settings) as instance:

        @dg.job(name="daily_prices_us")
        def job() -> None: ...

        def run(status: dg.DagsterRunStatus, **tags: str) -> str:
            given = {f"quant_assets/{name}": value for name, value in tags.items()}
            return instance.create_run_for_job(job, status=status, tags=given).run_id

        Status = dg.DagsterRunStatus
        good = run(Status.SUCCESS)
        run(Status.FAILURE, result="PARTIAL")
        run(Status.SUCCESS, rebuilt="x")
        watch = RunWatch(instance, settings.locks_folder)
        now = datetime.now(UTC)
        assert watch.look(now).runs == {("daily_prices_us", "SUCCESS"): 1, ("daily_prices_us", "PARTIAL"): 1}

        dead, queued = run(Status.STARTED), run(Status.NOT_STARTED)
        mark = settings.locks_folder / f"run-{dead}"
        with one_at_a_time(mark):
            pass
        os.utime(mark, (1, 1))
        counts = watch.look(now + timedelta(minutes=40))
        assert counts.runs["daily_prices_us", "FAILED"] == 1
        assert counts.died == 1
        assert 2300 < counts.waits < 2500
        instance.delete_run(good)
        instance.report_run_canceled(instance.get_run_by_id(queued))
        counts = watch.look(now)
        assert counts.runs == {
            ("daily_prices_us", "PARTIAL"): 1, ("daily_prices_us", "FAILED"): 1,
            ("daily_prices_us", "CANCELED"): 1,
        }  # fmt: skip
        assert counts.waits == 0
        assert set(counts.last_ended) == {("daily_prices_us", "CANCELED")}


def test_the_command_and_the_api_say_the_same(
    store: Counting, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "HOME": settings.home,
        "STORE": store.location,
        "NOW": "2012-04-02T23:00:00Z",
    }.items():
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", str(value))
    printed = CliRunner().invoke(app, ["metrics", "--once"]).stdout.splitlines()
    with TestClient(create_app(settings)) as client:
        served = set(client.get("/metrics").text.splitlines())
    moving = ("quant_assets_figures_age", "quant_assets_look", "quant_assets_daemon", "# ")
    assert 'quant_assets_cells{exchange="US",state="partial"} 1.0' in printed
    assert {line for line in printed if not line.startswith(moving)} <= served


def test_months_totals_and_growth(store: Counting) -> None:
    cells = StoreWatch(store).look().cells["US"]
    months = by_month(cells)
    assert months["month"].to_list() == [date(2012, 1, 1), date(2012, 2, 1), date(2012, 3, 1)]
    assert months["partial"].to_list() == [0, 1, 0]
    assert months["coverage"].to_list() == [1.0, pytest.approx(39 / 40), 1.0]
    whole = totals(cells).row(0, named=True)
    assert (whole["complete"], whole["closed"], whole["rows"]) == (60, 3, 121)
    assert (whole["first"], whole["last_complete"]) == (FIRST, date(2012, 3, 30))
    assert growth(months).select("year", "so_far").rows() == [(2012, whole["bytes"])]
    assert bytes_a_year(cells) == pytest.approx(252 * whole["bytes"] / 61, rel=0.02)
    assert CHANGED in cells["date"].to_list()
