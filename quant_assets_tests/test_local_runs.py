"""The whole main job over a bucket, as over a folder; over a store that cannot be used it ends before it begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from quant_assets.defs.progress import Watcher
from quant_assets.dev.compare_stores import compare_stores
from quant_assets.dev.demo import run_demo_gcs
from quant_assets.dev.gcs_emulator import EmulatorError
from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest
from quant_assets.local_runs import Runner
from quant_assets.maintenance.verify import verify_store
from quant_assets.reader import prices
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.object_store import MARKER, ObjectStore, StoreUnavailable
from quant_assets.resources.open_store import open_store
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.layout import CATALOG, DAILY, EXCHANGES, HISTORY, PROFILE_SUMS, PROFILES, WEEKLY
from quant_assets_tests.gcs_proxy import Fault, FaultProxy, fault_proxy
from quant_assets_tests.ingest.harness import WEEK
from quant_assets_tests.support import days_between, listings, quick_settings


@pytest.fixture
def proxy(bucket: str, emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with fault_proxy(emulator) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


def test_the_whole_main_job_makes_in_a_bucket_what_it_makes_in_a_folder(
    bucket: str, market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    universe = tmp_path / "universe.yaml"
    universe.write_text("US: [AAPL, IBM]\n")
    first, last = date(2012, 12, 24), date(2013, 1, 11)
    # All kinds of table; of cells the sessions, of years both, and what is recorded of them.
    objects = {
        DAILY: 13, WEEKLY: 3, HISTORY: 2, PROFILES: 1, EXCHANGES: 1, CATALOG: 1, "manifest": 2 + 2 + 2,
        "listing_events": 1, "symbol_facts": 1, "company_events": 1, "expected_symbols": 1, "requested": 1,
        MARKER: 1, PROFILE_SUMS: 2,
    }  # fmt: skip
    stores: list[ObjectStore] = []
    for home, location in (("local", ""), ("far", f"gs://{bucket}/prices")):
        settings = quick_settings(
            tmp_path / home, market.url, store=location, universe=universe, start=date(2012, 12, 3)
        )
        with Runner(settings) as runner:
            runner.catalog()
            for one in runner.exchanges:
                runner.daily(one, days_between(first, last))
                runner.derived(one, first, last)
            runner.inventory()
            stores.append(runner.store)
            # A second time there is nothing to do.
            assert not runner.daily(one, days_between(first, last))
        # What a command prints is not kept a second time for the pages of its runs.
        assert list(settings.dagster_home.rglob("*.db"))
        assert not list(settings.dagster_home.rglob("compute_logs"))
    local, far = stores
    assert far.location == f"gs://{bucket}/prices"
    there = Counter(info.key.partition("/")[0].removesuffix(".parquet") for info in far.list(""))
    assert there == {**objects, "fetch_reports": 1}
    same = compare_stores(local, far)
    assert (same.objects, same.differing) == (sum(objects.values()), [])
    assert verify_store(far).sound
    read = [prices("AAPL", adjust="split", store=store).collect().drop("fetched_at") for store in stores]
    assert read[0].height == 13
    assert read[0].equals(read[1])


@pytest.mark.parametrize(
    ("trouble", "remedy"),
    [
        ("missing", "create the bucket, or correct QUANT_ASSETS_STORE"),
        ("forbidden", r"grant that identity roles/storage\.objectAdmin on the bucket"),
        ("read-only", r"grant that identity roles/storage\.objectAdmin on the bucket"),
        ("expired", "run `gcloud auth application-default login`"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_told_at_the_start(
    proxy: FaultProxy,
    bucket: str,
    market: ReplayHandle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
    remedy: str,
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    proxy.faults = {
        "missing": [],
        "forbidden": [Fault("status", status=403)],
        "read-only": [Fault("status", status=403, matching=("POST",))],
        "expired": [Fault("status", status=401)],
    }[trouble]
    name = "no-such-bucket" if trouble == "missing" else bucket
    settings = quick_settings(tmp_path, market.url, store=f"gs://{name}/p")
    told = rf"in bucket {name} as anonymous \(emulator\): .*{remedy}"
    # From the command line, and in a run that Dagster's daemon starts.
    with pytest.raises(StoreUnavailable, match=told), Runner(settings):
        pass
    source = YahooSource(settings)
    rules = FillRules(tmp_path / "spill")
    context = FillContext(exchange("US"), open_store(settings.store), source, settings.clock, rules)
    with pytest.raises(StoreUnavailable, match=told):
        fill_cells(context, FillRequest(WEEK, listings("AAPL")))
    source.close()
    assert market.stats()["requests"] == {}


def test_a_demo_on_an_emulator_of_ones_own_asks_for_its_bucket_first(tmp_path: Path, bucket: str) -> None:
    with pytest.raises(EmulatorError, match="name one of its buckets with --bucket"):
        run_demo_gcs(tmp_path, None, Watcher())
    assert list(tmp_path.iterdir()) == []


def test_a_prefix_of_another_project_is_told_at_the_start_and_left_as_it_is(
    bucket: str, market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    theirs = open_store(f"gs://{bucket}/photos")
    theirs.put("2024/cat.jpg", b"meow")
    settings = quick_settings(tmp_path, market.url, store=theirs.location)
    with (
        pytest.raises(StoreUnavailable, match=r"another project's objects \(e\.g\. 2024/cat\.jpg\)"),
        Runner(settings),
    ):
        pass
    assert [info.key for info in theirs.list("")] == ["2024/cat.jpg"]
    assert market.stats()["requests"] == {}


def test_derived_makes_weeks_with_weeks_between_them_in_runs_of_their_own(
    market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run over both would ask for the weeks between, which have no cell to rest on."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    universe = tmp_path / "universe.yaml"
    universe.write_text("US: [AAPL, IBM]\n")
    settings = quick_settings(tmp_path, market.url, universe=universe, start=date(2012, 12, 3))
    first, last = date(2013, 1, 7), date(2013, 2, 8)
    with Runner(settings) as runner:
        runner.catalog()
        runner.daily(exchange("US"), days_between(first, date(2013, 1, 11)))
        runner.daily(exchange("US"), days_between(date(2013, 2, 4), last))
        runner.derived(exchange("US"), first, last)
        weeks = [info.key.rpartition("=")[2] for info in runner.store.list(f"{WEEKLY}/")]
    assert weeks == ["2013-01-07.parquet", "2013-02-04.parquet"]
