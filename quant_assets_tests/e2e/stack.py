"""What the tests of daemon and browser share: Chromium, filled cells, and `quant-assets ui`, stopped afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from quant_assets.dev.demo import REPLAY, demo_settings, write_universe
from quant_assets.exchanges import exchange
from quant_assets.local_runs import Runner
from quant_assets.replay.launch import start
from quant_assets.resources.settings import Settings

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts"
FIRST_WAIT = 180
"""Seconds in which Dagster has to come up."""


def find_chromium() -> str:
    """The browser's path. Without one the test is skipped on a laptop, and fails where CI=true promises one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    reason = "no Chromium on the PATH (on Debian: apt-get install chromium)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def fill(home: Path, code: str, first: date, last: date) -> Settings:
    """Fills an exchange's cells of a range, and what is derived from them, in the demo's home."""
    with pytest.MonkeyPatch.context() as environment, start(REPLAY) as server:
        # A runner points DAGSTER_HOME at its own folder; what comes after must not inherit that.
        environment.setenv("DAGSTER_HOME", "")
        settings = demo_settings(home, server.url)
        assert settings.universe is not None
        write_universe(server, settings.universe)
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        with Runner(settings) as runner:
            runner.catalog()
            runner.daily(exchange(code), [day for day in days if day.weekday() < 5])
            runner.derived(exchange(code), first, last)
            runner.inventory()
    return settings


@contextlib.contextmanager
def running_ui(home: Path, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Runs `quant-assets ui` on `home`; yields its address once the code location is loaded.

    With the settings of the demo, or those that `environment` holds.
    """
    demo = ["--demo"] if environment is None else []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log.parent.mkdir(parents=True, exist_ok=True)
    # What lies in the current folder is none of its business.
    elsewhere = home / "elsewhere"
    elsewhere.mkdir(parents=True, exist_ok=True)
    (elsewhere / "workspace.yaml").write_text("load_from:\n  - python_module: somebody_elses\n")
    (elsewhere / "polars.py").write_text("raise ImportError('a module of the current folder')\n")
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "quant_assets.cli", "ui", *demo, "--port", str(port)],
            cwd=elsewhere,
            env={**os.environ, **(environment or {}), "QUANT_ASSETS_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for_assets(url, process, log)
            yield url
        finally:
            _stop(process, home)


def graphql(url: str, query: str, **variables: Any) -> dict[str, Any]:
    """Dagster's answer to a query."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        return json.load(response)["data"]


def _wait_for_assets(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + FIRST_WAIT
    while time.monotonic() < until:
        assert process.poll() is None, f"the UI ended by itself:\n{log.read_text(encoding='utf-8')[-3000:]}"
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError):
            if graphql(url, "{ assetNodes { id } }")["assetNodes"]:
                return
        time.sleep(0.5)
    raise AssertionError(f"no assets after {FIRST_WAIT} s:\n{log.read_text(encoding='utf-8')[-3000:]}")


def _stop(process: subprocess.Popen[bytes], home: Path) -> None:
    """Interrupts as a terminal would; what is left after that is killed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    for pid in processes_of(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(10)
    until = time.monotonic() + 30
    while processes_of(home) and time.monotonic() < until:
        time.sleep(0.2)


def processes_of(home: Path) -> list[int]:
    """The running processes that were started for `home`, by their environment."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = f"={home}".encode() in (folder / "environ").read_bytes()
            if ours and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found
