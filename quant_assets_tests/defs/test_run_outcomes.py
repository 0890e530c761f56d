"""What became of runs: by the instance, by a run mark, and by the reports in the store."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime

import dagster as dg
import pytest
from typer.testing import CliRunner, Result

from quant_assets.cli.app import app
from quant_assets.cli.usage import UsageProblem
from quant_assets.defs.run_outcomes import DIED, RunsKept, find, outcome_of, recent
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.locks import one_at_a_time
from quant_assets.tables.fetch_reports import read_reports
from quant_assets_tests.defs.platform import DAY, Platform

Status = dg.DagsterRunStatus
TAG = "quant_assets/result"


@pytest.mark.parametrize(
    ("status", "said", "died", "outcome"),
    [
        (Status.SUCCESS, None, False, "SUCCESS"), (Status.SUCCESS, "SUCCESS", False, "SUCCESS"),
        (Status.SUCCESS, "PARTIAL", False, "PARTIAL"), (Status.SUCCESS, "DIFFERS", False, "PARTIAL"),
        (Status.SUCCESS, "COMPLETE", False, "SUCCESS"), (Status.FAILURE, None, False, "FAILED"),
        (Status.FAILURE, "PARTIAL", False, "PARTIAL"), (Status.FAILURE, "SUCCESS", False, "FAILED"),
        (Status.FAILURE, "FAILED", False, "FAILED"), (Status.CANCELED, "PARTIAL", False, "CANCELED"),
        (Status.STARTED, None, False, "RUNNING"), (Status.CANCELING, None, False, "RUNNING"),
        (Status.STARTED, None, True, "FAILED"), (Status.QUEUED, None, False, "QUEUED"),
        (Status.STARTING, None, False, "QUEUED"), (Status.NOT_STARTED, None, False, "QUEUED"),
    ],
)  # fmt: skip
def test_the_outcome_of_a_run(status: Status, said: str | None, died: bool, outcome: str) -> None:
    assert outcome_of(status, {TAG: said} if said else {}, died=died) == outcome


def test_runs_and_status_tell_what_came_and_a_home_that_lost_its_instance_tells_it_from_the_reports(
    platform: Platform, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = platform.settings
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "date": str(DAY), "times": "persistent"})
    failing = platform.days(date(2013, 2, 12), DAY)
    good = platform.days(date(2013, 2, 11), date(2013, 2, 11))
    dead = platform.instance.create_run_for_job(
        platform.defs.resolve_job_def("sweep_us"), status=Status.STARTED
    )
    mark = settings.locks_folder / f"run-{dead.run_id}"
    with one_at_a_time(mark):
        pass
    os.utime(mark, (1, 1))

    for name, value in {
        "HOME": str(settings.home), "EXCHANGES": "US,ASX", "UNIVERSE": str(settings.universe),
        "SOURCE_URL": market.url, "NOW": "2013-03-01T23:00:00Z",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    listed = {one["run"]: one for one in json.loads(call("runs", "--json").stdout)}
    assert {run: one["outcome"] for run, one in listed.items() if run != good.run_id} == {
        dead.run_id: "FAILED", failing.run_id: "PARTIAL",
        **{run: "SUCCESS" for run, one in listed.items() if one["job"] == "symbol_catalog_job"},
    }  # fmt: skip
    assert listed[dead.run_id]["error"] == DIED
    assert (listed[failing.run_id]["cells"], listed[failing.run_id]["requests"]) == ("complete=1 failed=1", 4)
    assert listed[failing.run_id]["partitions"] == "2013-02-12|US...2013-02-13|US"
    assert listed[good.run_id]["outcome"] == "SUCCESS"
    table = call("runs", "--outcome", "partial").stdout
    assert failing.run_id[:8] in table
    assert good.run_id[:8] not in table
    assert "daily_prices_us  2013-02-12|US...2013-02-13|US  complete=1 failed=1" in table
    assert "none of the last 4 runs is canceled" in call("runs", "--outcome", "canceled").stdout

    said = call("status", failing.run_id[:12])
    assert said.exit_code == 2
    assert "daily_prices: 1 partition failed: 2013-02-13|US: nothing received: 2 no_bar" in said.stdout
    assert "## US: PARTIAL" in said.stdout
    assert "| rows missing | no_bar 2 |" in said.stdout
    assert call("status", good.run_id).exit_code == 0
    assert call("status", dead.run_id).exit_code == 1
    platform.instance.report_run_failed(dead, "it was killed")
    said = call("status", dead.run_id)
    assert (said.exit_code, "error       it was killed\n" in said.stdout) == (1, True)
    for wrong in (["status", "ab"], ["status", "feedbeef"], ["runs", "--outcome", "good"]):
        assert isinstance(call(*wrong).exception, UsageProblem)

    # The run's page has the same report.
    (event,) = [e for e in failing.all_events if e.is_step_failure and e.step_key == "daily_prices"]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    shown = str(data.metadata["report"].value)
    (kept,) = (one for one in read_reports(platform.store, "US", 9) if one["run"] == failing.run_id)
    # On the page no run id and moment: they are the page's own.
    assert shown.splitlines()[0] == kept["markdown"].splitlines()[0] == "## US: PARTIAL"
    (output,) = [e for e in good.all_events if e.is_successful_output and e.step_key == "daily_prices"]
    assert "## US: SUCCESS" in str(output.step_output_data.metadata["report"].value)

    with dg.DagsterInstance.ephemeral() as lost:
        kept_here = RunsKept(lost, platform.store, ("US", "ASX"), settings.locks_folder, datetime.now(UTC))
        told = recent(kept_here)
        assert {(one.run, one.outcome, one.cells, one.from_store) for one in told} == {
            (good.run_id, "SUCCESS", "complete=1", True),
            (failing.run_id, "PARTIAL", "complete=1 failed=1", True),
        }
        (one,) = find(kept_here, failing.run_id[:8])
        assert one.reports == [kept]
