"""Ctrl-C on the command line, and a command that is stopped while it waits for another one."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.locks import one_at_a_time
from quant_assets_tests.cli.test_cli import COMMAND, Shell, refused, shell

__all__ = ["shell"]

BACKFILL = ("backfill", "--exchange", "ASX", "--start", "2013-02-11", "--end", "2013-02-15")


def start(shell: Shell, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(COMMAND), *arguments], env=shell.environment(**settings), cwd=shell.home, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def asked(market: ReplayHandle) -> int:
    return sum(market.stats()["chart_data"].values())


def wait_until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_keeps_what_came_and_the_same_command_asks_only_for_the_rest(
    shell: Shell, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = [entry["symbol"] for entry in market.catalog() if entry["symbol"].endswith(".AX")]
    assert len(symbols) == 10
    (shell.home / "universe.yaml").write_text(f"ASX: [{', '.join(symbols)}]\n")
    settings = {"EXCHANGES": "ASX", "CONCURRENCY": "2"}
    process = start(shell, *BACKFILL, REQUESTS_PER_SECOND="2", **settings)
    wait_until(lambda: asked(market) >= 4)
    process.send_signal(signal.SIGINT)
    stopped = time.monotonic()
    run = finished(process)
    # The machine may be busy; without an orderly stop the pace alone takes three seconds more.
    assert time.monotonic() - stopped < 60
    refused(run, "interrupted", "the same command goes on from there", code=130)
    assert "DagsterExecution" not in run.stdout + run.stderr
    first = market.stats()["chart_data"]
    assert 4 <= len(first) <= 6
    monkeypatch.setenv("DAGSTER_HOME", str(shell.home / "dagster"))
    with dg.DagsterInstance.from_config(str(shell.home / "dagster")) as instance:
        states = {run.job_name: run.status for run in instance.get_runs()}
    assert states["daily_prices_asx"] is dg.DagsterRunStatus.CANCELED
    again = shell.process(*BACKFILL, **settings)
    assert f" requests={10 - len(first)} " in again.stdout.splitlines()[-1], again.stdout + again.stderr
    assert market.stats()["chart_data"] == dict.fromkeys(symbols, 1)


def test_a_backfill_waits_for_another_one_of_its_exchange_and_can_be_stopped_meanwhile(
    shell: Shell, market: ReplayHandle
) -> None:
    lock = Path(shell.home / "cache" / "locks" / "fill-US")
    command = ("backfill", "--exchange", "US", "--start", "2013-02-11", "--end", "2013-02-19")
    with one_at_a_time(lock):
        process = start(shell, *command)
        lines = process.stderr
        assert lines is not None
        # A busy machine has more lines before.
        wait_until(lambda: "another run or command fills US" in lines.readline())
        process.send_signal(signal.SIGINT)
        run = finished(process)
    assert run.returncode == 130
    assert run.stderr.splitlines()[-1].startswith("error: interrupted")
    assert asked(market) == 0
