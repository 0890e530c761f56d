"""What is old leaves the instance, and Dagster's pages show of cells what they showed before."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from typer.testing import CliRunner

from quant_assets.cli.app import app
from quant_assets.cli.usage import UsageProblem
from quant_assets.defs.retention import Pruned, prune
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.layout import CATALOG, DAILY
from quant_assets_tests.defs.platform import DAY, Platform
from quant_assets_tests.defs.test_rebuilding import shown

LATER = timedelta(minutes=5)


def logs(platform: Platform) -> set[str]:
    """The runs whose logs are there."""
    folder = Path(platform.settings.dagster_home) / "history" / "runs"
    return {file.stem for file in folder.glob("*-*.db")}


def test_old_runs_leave_and_what_is_shown_of_cells_and_checks_stays(
    platform: Platform, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = platform.instance
    platform.follow(US=["AAPL", "IBM"])
    market.add_faults({"kind": "missing_session", "date": str(DAY), "times": "persistent"})
    first = platform.days(date(2013, 2, 11), date(2013, 2, 15))
    second = platform.days(date(2013, 2, 14), date(2013, 2, 15))
    before = shown(platform, instance)
    now = datetime.now(UTC)
    for run in (first, second):
        assert run.run_id in logs(platform)
    # Nothing is as old as that.
    assert prune(instance, now - timedelta(days=1)) == Pruned()
    would = prune(instance, now + LATER, dry_run=True)
    assert (would.runs, would.kept_rows) == (2, 1)
    assert shown(platform, instance) == before
    assert first.run_id in logs(platform)

    pruned = prune(instance, now + LATER)
    assert (pruned.runs, pruned.kept_rows, pruned.events, pruned.checks) == (
        would.runs, would.kept_rows, would.events, would.checks,
    )  # fmt: skip
    # Two cells were recorded twice.
    assert pruned.events > 2
    assert pruned.checks > 0
    assert logs(platform) == set()
    # The run by which a cell shows as failed is there, with nothing in it.
    assert [run.run_id for run in instance.get_runs()] == [first.run_id]
    assert shown(platform, instance) == before
    records = instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(DAILY)), limit=100).records
    assert sorted(str(r.partition_key) for r in records) == [
        f"2013-02-{day}|US" for day in (11, 12, 14, 15)
    ]  # fmt: skip
    assert instance.get_latest_materialization_event(dg.AssetKey(CATALOG)) is not None
    # What rests on what is left goes on: the failed cell is asked for again, and its run may leave then.
    market.clear_faults()
    healed = Platform(
        platform.settings.model_copy(update={"now": datetime(2013, 3, 4, 23, tzinfo=UTC)}), instance
    )
    market.set_clock(datetime(2013, 3, 4, 23, tzinfo=UTC))
    assert healed.run(
        "daily_prices_us", f"{DAY}|US", config={"ops": {DAILY: {"config": {"mode": "force"}}}}
    ).success
    assert prune(instance, now + LATER).runs == 1

    # Killed after the runs had left: what else is old leaves all the same.
    instance.add_backfill(
        PartitionBackfill(
            "old", BulkActionStatus.COMPLETED_SUCCESS, from_failure=False, tags={}, backfill_timestamp=0.0
        )
    )
    assert prune(instance, now - timedelta(days=1)) == Pruned(backfills=1)

    monkeypatch.setenv("QUANT_ASSETS_HOME", str(platform.settings.home))
    result = CliRunner().invoke(app, ["instance", "prune", "--keep", "90d"])
    assert result.stdout == "prune: ok older_than=90d runs=0 kept_rows=0 events=0 checks=0 backfills=0\n"
    for wrong in ("soon", "0d", "-3"):
        result = CliRunner().invoke(app, ["instance", "prune", f"--keep={wrong}"])
        assert isinstance(result.exception, UsageProblem)
    job = platform.run("prune_instance")
    assert job.success
