"""SIGKILLs at random moments of backfills (`make kill-test`: fifty): reruns end as an undisturbed run does, and no
reader sees a tear."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from quant_assets_tests.e2e.processes import run_to_end

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_killed_backfills_end_as_undisturbed_ones() -> None:
    """In a process of its own, because it forks, which one with threads must not. KILL_SEED repeats a run."""
    command = [sys.executable, "-m", "benchmarks.kill_backfill", "--kills", "14", "--dagster-kills", "2"]
    code, output = run_to_end(command, ROOT, 600)
    print(output)
    assert code == 0, output
    last = output.strip().splitlines()[-1]
    facts = dict(re.findall(r"(\w+)=(\d+)", last))
    assert last.startswith("kill: ok")
    assert facts["kills"] == "16"
    assert facts["wrong"] == "0"

    # A test that killed only sleepers, or read only empty stores, would prove nothing.
    stages = _counts(output, "kills by stage")
    assert stages.keys() & {"fetch", "cells", "record"}
    assert stages.keys() & {"price_history", "weekly_prices", "symbol_profiles", "exchange_profiles"}
    reads = _counts(output, "reads")
    assert 0 < reads["cell, absent"] < reads["cell"]
    assert 0 < reads["history, absent"] < reads["history"]
    assert reads["prices"] > 30


def _counts(output: str, what: str) -> dict[str, int]:
    return json.loads(output.partition(f"kill: {what} ")[2].splitlines()[0])
