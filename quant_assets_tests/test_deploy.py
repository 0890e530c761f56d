"""Dagster's production settings: they load, and what Dagster itself stores as objects lies in a bucket."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster_gcp.gcs.compute_log_manager import GCSComputeLogManager

from quant_assets.definitions import build_definitions
from quant_assets.defs.io_manager import ParquetIOManager
from quant_assets_tests.support import quick_settings

PRODUCTION = Path(__file__).parents[1] / "deploy" / "production" / "dagster.yaml"


@pytest.fixture
def machine(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dg.DagsterInstance]:
    """The production instance as a machine sees it that has a disk of its own."""
    monkeypatch.setenv("QUANT_ASSETS_LOGS_BUCKET", bucket)

    def on(name: str) -> dg.DagsterInstance:
        home = tmp_path / name
        home.mkdir()
        # Logs pass through a local folder, by default one that all these "machines" share.
        place = "    prefix: dagster-logs\n"
        settings = PRODUCTION.read_text(encoding="utf-8")
        assert place in settings
        apart = settings.replace(place, f"{place}    local_dir: {home / 'logs'}\n")
        (home / "dagster.yaml").write_text(apart, encoding="utf-8")
        return dg.DagsterInstance.from_config(str(home))

    return on


def test_a_compute_log_written_on_one_machine_is_read_on_another(
    machine: Callable[[str], dg.DagsterInstance], bucket: str, tmp_path: Path
) -> None:
    key = ["some-run", "compute_logs", "daily_prices"]
    machine("worker").dispose()
    # In a process of its own, for the capture takes over the standard streams, and so does pytest's.
    code = (
        "import sys, dagster as dg\n"
        "with dg.DagsterInstance.from_config(sys.argv[1]) as instance:\n"
        "    with instance.compute_log_manager.capture_logs(sys.argv[2:]):\n"
        "        print('42 symbols asked')\n"
        "        print('one of them is slow', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "worker"), *key],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with machine("webserver") as webserver:
        logs = webserver.compute_log_manager
        assert isinstance(logs, GCSComputeLogManager)
        told = {kind: logs.get_log_data_for_type(key, kind, 0, None)[0] for kind in ComputeIOType}
        assert told == {
            ComputeIOType.STDOUT: b"42 symbols asked\n",
            ComputeIOType.STDERR: b"one of them is slow\n",
        }
        where = logs.get_log_metadata(key).stdout_location
        assert where == f"gs://{bucket}/dagster-logs/storage/some-run/compute_logs/daily_prices.out"


def test_the_production_instance_sends_nothing_out_and_asks_nothing_twice(
    machine: Callable[[str], dg.DagsterInstance],
) -> None:
    with machine("worker") as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert not instance.run_retries_enabled
        assert instance.run_monitoring_enabled
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 2


def test_no_value_of_ours_is_pickled(tmp_path: Path) -> None:
    """What an op passes on goes through our IO manager, which takes tables alone, or is nothing at all."""
    definitions = build_definitions(quick_settings(tmp_path, "http://127.0.0.1:9"))
    assert isinstance((definitions.resources or {})["io_manager"], ParquetIOManager)
    outputs = 0
    for job in definitions.resolve_all_job_defs():
        for node in job.graph.nodes:
            for output in node.definition.output_defs:
                outputs += 1
                assert output.io_manager_key == "io_manager"
    assert outputs > 6
