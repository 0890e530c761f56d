"""A store in a bucket with 64 writers at once, over a bad network, and under kills: nothing lost, all equal."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from quant_assets_tests.e2e.processes import run_to_end

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_writers_faults_and_kills_leave_what_a_calm_backfill_leaves() -> None:
    """In a process of its own, because it forks, which one with threads must not."""
    sizes = ["--symbols", "10", "--from", "2022-12-01", "--kills", "5", "--cells", "3", "--chance", "0.04",
             "--latency", "0.005", "0.03"]  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.gcs_faults", *sizes, "--seed", "5"]
    code, output = run_to_end(command, ROOT, 600)
    print(output)
    assert code == 0, output
    last = output.strip().splitlines()[-1]
    facts = dict(re.findall(r"(\w+)=(\d+)", last))
    assert last.startswith("gcs-faults: ok")
    # Each of 64 writers to three cells, in a folder and in a bucket.
    assert facts["acknowledged"] == str(2 * 64 * 3)
    assert (facts["lost"], facts["torn"], facts["wrong"], facts["kills"]) == ("0", "0", "0", "5")

    # A network that did nothing, or a backfill that stored nothing, would prove nothing.
    told = next(line for line in output.splitlines() if " network " in line)
    states, network = (json.loads(part) for part in told.partition(" states ")[2].split(" network "))
    assert states["complete"] > 50
    assert len(network["struck"]) >= 3
    assert sum(network["struck"].values()) >= 8
