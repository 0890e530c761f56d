"""Dagster's project command knows the project: `dg check defs` and `dg list defs` in a clone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def _dg(home: Path, *arguments: str) -> str:
    """What `dg` prints in the root of the clone, with no settings of anybody."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("QUANT_ASSETS_", "DAGSTER_"))}
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dg"), *arguments],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dg_check_defs_loads_the_definitions(tmp_path: Path) -> None:
    assert "All definitions loaded successfully." in _dg(tmp_path, "check", "defs")


def test_dg_list_defs_names_every_asset_job_schedule_and_sensor(tmp_path: Path) -> None:
    listed = json.loads(_dg(tmp_path, "list", "defs", "--json"))
    assert {asset["asset_key"] for asset in listed["assets"]} == {
        "symbol_catalog", "daily_prices", "price_history", "weekly_prices", "symbol_profiles",
        "symbol_valuations", "exchange_profiles", "daily_prices_due/us", "daily_prices_due/asx",
        "report_pages",
    }  # fmt: skip
    assert {"daily_prices_us", "daily_prices_asx", "sweep_us", "verify_us", "weekly_prices_job"} <= {
        job["name"] for job in listed["jobs"]
    }
    assert "daily_prices_us_after_close" in {schedule["name"] for schedule in listed["schedules"]}
    assert "new_symbols" in {sensor["name"] for sensor in listed["sensors"]}


def test_dg_and_the_workspace_file_name_one_location() -> None:
    """Under two names, a schedule that was switched on in one would be off in the other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dg"]["project"]
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))["load_from"]
    module = entry["python_module"]
    assert module["module_name"] == project["code_location_target_module"]
    # Without a name of its own, Dagster calls a location by its module.
    assert module.get("location_name", module["module_name"]) == project["code_location_name"]
