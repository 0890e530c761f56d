"""What the sensor of requested jobs makes of them, run by run, and what a job is said to be doing meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from quant_assets.defs.jobs import PRICES_ALONE
from quant_assets.operations.job_requests import parse_request
from quant_assets.operations.jobs import JobDesk, JobState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.jobs import Part, change_job, read_job, taken
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.defs.scheduler import REPOSITORY

BACKFILL = {"exchange": "US", "start": "2013-02-11", "end": "2013-02-15"}


class Desk(JobDesk):
    """The desk of a platform, which knows its sensor's cursor."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform.settings, platform.store)
        self.platform, self.cursor = platform, None

    def ask(self, kind: str, **parameters: Any) -> str:
        return self.request(parse_request(kind, parameters), "ci", "api")[0].id

    def tick(self) -> list[dg.RunRequest]:
        """One evaluation of the sensor."""
        answer = self.platform.sense("requested_jobs", self.cursor)
        self.cursor = answer.cursor or self.cursor
        return list(answer.run_requests or [])

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """What the daemon would launch."""
        return self.platform.defs.resolve_job_def(str(request.job_name)).execute_in_process(
            instance=self.platform.instance, run_config=request.run_config, tags=dict(request.tags),
            partition_key=request.partition_key, raise_on_error=False,
            asset_selection=list(request.asset_selection) if request.asset_selection else None,
        )  # fmt: skip

    def done(self, job: str) -> JobState:
        """The state of a job once its runs are over, first by Dagster's records and then by its own."""
        by_dagster = self.state(job)
        self.tick()
        recorded = read_job(self.platform.store, job).end
        assert recorded is not None
        state = self.state(job)
        assert (state.status, state.warnings, state.result) == (
            by_dagster.status, by_dagster.warnings, by_dagster.result,
        )  # fmt: skip
        return state


def run_of(desk: Desk, request: dg.RunRequest, status: DagsterRunStatus, **tags: str) -> str:
    """A run as the daemon makes it of a request, in some state."""
    run = create_run_for_test(
        desk.platform.instance, str(request.job_name), status=status, tags={**request.tags, **tags},
        remote_job_origin=REPOSITORY.get_job_origin(str(request.job_name)),
    )  # fmt: skip
    return run.run_id


@pytest.fixture
def desk(platform: Platform) -> Desk:
    platform.follow(US=["AAPL", "IBM"])
    return Desk(platform)


def test_a_backfill_becomes_one_run_and_ends_with_what_it_brought(desk: Desk, market: ReplayHandle) -> None:
    job = desk.ask("backfill", **BACKFILL)
    assert "no daemon of Dagster is alive" in desk.state(job).note
    (request,) = desk.tick()
    assert request.job_name == "daily_prices_us"
    assert request.asset_selection == PRICES_ALONE
    assert {name: request.tags[f"dagster/asset_partition_range_{name}"] for name in ("start", "end")} == {
        "start": "2013-02-11|US", "end": "2013-02-15|US",
    }  # fmt: skip
    # Until the run is there, the same run is requested again, and Dagster launches a key once.
    assert [again.run_key for again in desk.tick()] == [request.run_key]
    result = desk.execute(request)
    assert desk.tick() == []
    state = desk.done(job)
    assert (state.status, state.note, state.warnings) == ("completed", "", [])
    assert [run.id for run in state.runs] == [result.run_id]
    assert state.runs[0].url == f"http://127.0.0.1:3000/runs/{result.run_id}"
    assert (state.progress.symbols_done, state.progress.cells_done) == (2, 5)
    (part,) = state.result["parts"]
    assert (part["requested"], part["succeeded"], part["cells"]["complete"]) == (2, 2, 5)
    assert desk.tick() == []
    # A new instance, which has none of the runs: the job is remembered, and not launched again.
    assert Desk(desk.platform).tick() == []


@pytest.mark.parametrize(
    ("listed_on", "status"),
    [
        # Three sessions could be completed without it; none could.
        ("2013-02-14", "completed"),
        ("2000-01-03", "partial"),
    ],
)
def test_symbols_that_were_not_asked_are_a_warning_where_sessions_could_be_completed(
    platform: Platform, market: ReplayHandle, listed_on: str, status: str
) -> None:
    settings = platform.settings.model_copy(update={"min_coverage": {"*": 0.0}, "concurrency": 1})
    desk = Desk(Platform(settings, platform.instance))
    desk.platform.follow(US=["AAPL", {"symbol": "IBM", "listed_on": listed_on}])
    limited = {"kind": "rate_limited_429_retry_after", "retry_after": 1000, "times": "persistent"}
    market.add_faults(limited | {"symbol": "IBM"})
    job = desk.ask("backfill", **BACKFILL)
    (request,) = desk.tick()
    desk.execute(request)
    state = desk.done(job)
    assert state.status == status
    assert any("the source limited the rate: 1 symbol not asked" in one for one in state.warnings)
    assert state.result["parts"][0]["failed"] == {"rate_limited": 1}


def test_a_run_that_brings_nothing_is_a_failed_job_with_its_reason(desk: Desk, market: ReplayHandle) -> None:
    market.add_faults({"kind": "server_error_500_json", "times": "persistent"})
    job = desk.ask("force_update", exchange="US", date="2013-02-13")
    (request,) = desk.tick()
    assert request.partition_key == "2013-02-13|US"
    assert request.run_config["ops"]["daily_prices"]["config"]["mode"] == "force"
    assert not desk.execute(request).success
    state = desk.done(job)
    assert state.status == "failed"
    assert state.note


def test_parts_of_several_exchanges_are_runs_of_their_own(desk: Desk) -> None:
    desk.platform.follow(US=["AAPL"], ASX=["AAB.AX"])
    job = desk.ask("sweep")
    requests = desk.tick()
    assert [request.job_name for request in requests] == ["sweep_us", "sweep_asx"]
    assert len({request.run_key for request in requests}) == 2
    desk.execute(requests[0])
    assert desk.state(job).status == "running"
    assert [request.job_name for request in desk.tick()] == ["sweep_asx"]
    desk.execute(requests[1])
    assert desk.done(job).status == "completed"
    update = desk.ask("update_daily", exchange="US")
    (request,) = desk.tick()
    # The last session over: with the valuations, as the schedule asks for it.
    assert (request.asset_selection, request.partition_key) == (None, "2013-03-01|US")
    desk.cancel(update, "me")


@pytest.mark.parametrize(
    ("status", "tags", "expected", "note"),
    [
        (DagsterRunStatus.QUEUED, {}, "pending", "queued: US"),
        (DagsterRunStatus.STARTED, {}, "downloading_data", ""),
        (DagsterRunStatus.STARTED, (4, 1, 20, 0), "downloading_data", ""),
        (DagsterRunStatus.STARTED, (4, 4, 20, 0), "running", ""),
        (DagsterRunStatus.STARTED, (4, 4, 20, 7), "running", ""),
    ],
)
def test_a_job_says_what_it_is_doing(
    desk: Desk, status: DagsterRunStatus, tags: Any, expected: str, note: str
) -> None:
    job = desk.ask("backfill", **BACKFILL)
    (request,) = desk.tick()
    counts = dict(zip(("symbols", "symbols_done", "cells", "cells_done"), tags or (0, 0, 0, 0), strict=True))
    shown = {"quant_assets/progress": str(counts).replace("'", '"')} if tags else {}
    run_of(desk, request, status, **shown)
    state = desk.state(job)
    assert (state.status, note in state.note) == (expected, True)
    assert state.progress.model_dump() == counts
    assert desk.tick() == []


def test_a_cancelled_job_launches_nothing_more_and_stops_what_waits(desk: Desk) -> None:
    job = desk.ask("backfill", **BACKFILL)
    change_job(desk.platform.store, job, taken("elsewhere"))
    assert desk.tick() == []
    assert "another home on this store" in desk.state(job).note
    job = desk.ask("backfill", **BACKFILL)
    (request,) = desk.tick()
    run = run_of(desk, request, DagsterRunStatus.QUEUED)
    state = desk.cancel(job, "me")
    found = desk.platform.instance.get_run_by_id(run)
    assert found is not None
    assert found.status is DagsterRunStatus.CANCELED
    assert state.status == "cancelled"
    assert desk.tick() == []
    assert read_job(desk.platform.store, job).end is not None
    # Cancelled between the sensor's look and the run: there is none, and none comes.
    job = desk.ask("backfill", **BACKFILL)
    desk.tick()
    desk.cancel(job, "me")
    assert desk.tick() == []
    assert desk.state(job).status == "cancelled"


def test_a_job_waits_for_the_catalog(platform: Platform) -> None:
    desk = Desk(platform)
    job = desk.ask("backfill", **BACKFILL)
    assert desk.tick() == []
    assert read_job(platform.store, job).taken_by == ""
    platform.follow(US=["AAPL"])
    assert len(desk.tick()) == 1
    assert platform.store.head(object_key(CATALOG))


def test_the_days_of_the_cursor_pass_and_open_jobs_stay(desk: Desk) -> None:
    store, job = desk.platform.store, desk.ask("backfill", **BACKFILL)
    record = read_job(store, job)
    old = replace(record, id="20130301-230000-0a1b2c3d4e5f")
    store.put("jobs/20130301-230000-0a1b2c3d4e5f.json", old.dump())
    assert len(desk.tick()) == 2
    desk.cancel(old.id, "me")
    desk.tick()
    assert str(date.today().year) in str(desk.cursor)  # noqa: DTZ011
    assert "20130301" not in str(desk.cursor)
    assert len(desk.tick()) == 1


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Part("daily", "LSE", "2013-02-11", "2013-02-11"), "daily_prices_lse: this home has no such job"),
        (Part("daily", "US", "2013-02-16", "2013-02-16"), "2013-02-16|US: not on the grid"),
        (Part("daily", "US", "1999-12-01", "2013-02-15"), "1999-12-01|US: not on the grid"),
    ],
)
def test_a_job_that_this_home_cannot_launch_fails_and_holds_up_no_other(
    desk: Desk, part: Part, words: str
) -> None:
    store, good = desk.platform.store, desk.ask("backfill", **BACKFILL)
    bad = replace(read_job(store, good), id="20130301-230000-0a1b2c3d4e5f", parts=[part])
    store.put(f"jobs/{bad.id}.json", bad.dump())
    assert [request.tags["quant_assets/job"] for request in desk.tick()] == [good]
    state = desk.state(bad.id)
    assert (state.status, words in state.note) == ("failed", True)
