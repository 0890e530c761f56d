"""`quant-assets ui`: which code location, which port, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quant_assets.cli.dagster_ui import environment_of
from quant_assets.dev.demo import demo_settings
from quant_assets.resources.settings import load_settings
from quant_assets_tests.cli.test_cli import Shell, misused, shell

__all__ = ["shell"]

# A tree as Dagster's: a parent that stops at an interrupt, a child that ignores it and holds a port, and one that
# ignores everything that can be ignored.
TREE = """
import signal, socket, subprocess, sys, time
kind = sys.argv[1]
if kind == "parent":
    stubborn = [subprocess.Popen([sys.executable, sys.argv[0], name, *sys.argv[2:]]) for name in ("port", "deaf")]
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        sys.exit(0)
signal.signal(signal.SIGINT, signal.SIG_IGN)
if kind == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
with socket.socket() as holder:
    holder.bind(("127.0.0.1", int(sys.argv[2])))
    holder.listen()
    time.sleep(600)
"""
SUPERVISE = """
import os, sys
from quant_assets.cli import dagster_ui
dagster_ui._LAST_SECONDS = 2
sys.exit(dagster_ui.supervise([sys.executable, *sys.argv[1:]], os.environ))
"""


def test_the_demo_is_served_with_its_own_settings_whatever_the_user_has_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As the README has a user export them, and a store of the user's own.
    monkeypatch.setenv("QUANT_ASSETS_EXCHANGES", "US")
    monkeypatch.setenv("QUANT_ASSETS_STORE", str(tmp_path / "real"))
    monkeypatch.setenv("QUANT_ASSETS_LOGS_BUCKET", "logs")
    settings = demo_settings(tmp_path, "http://127.0.0.1:8765")
    environment = environment_of(settings)
    monkeypatch.delenv("QUANT_ASSETS_EXCHANGES")
    monkeypatch.delenv("QUANT_ASSETS_STORE")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    served = load_settings()
    assert served == settings
    assert (served.store_location, served.exchanges) == (str(tmp_path / "demo" / "store"), ("ASX", "US"))
    # It is Dagster's, not a setting of ours.
    assert environment["QUANT_ASSETS_LOGS_BUCKET"] == "logs"


def test_what_a_user_has_set_reaches_dagster_secrets_and_hours_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = {
        "HOME": str(tmp_path), "EXCHANGES": "US,LSE", "MIN_COVERAGE": "90,LSE=80.5", "NOW": "2024-03-15T22:00:00Z",
        "ALERT_URLS": "mailto://me:s3cret@example.org json://127.0.0.1/hook", "ALERT_DIGEST": "off",
        "ALERT_QUIET": "22:00-07:30,US=20:15-06:00", "ALERT_RUN_MINUTES": "30,sweep_us=240",
        "CACHE": "redis://:s3cret@h:6379/0", "DAGSTER_DB": "postgresql://d:s3cret@h/dagster", "WORKERS": "2",
        "SHARED_REDIS": "rediss://:s3cret@h:6380/0", "VALUATIONS": "false", "DISCOVERY_TYPES": "etf,equity",
        "UNIVERSE": str(tmp_path / "u.yaml"), "START": "2010-01-04", "API_CORS": "https://a.example,https://b.example",
        "API_KEYS": f"ci:read:{'0' * 64}", "REQUESTS_PER_SECOND": "0.5",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
    settings = load_settings()
    environment = environment_of(settings)
    for name in given:
        monkeypatch.delenv(f"QUANT_ASSETS_{name}")
    for digest in ("off", "07:05"):
        for name, value in {**environment, "QUANT_ASSETS_ALERT_DIGEST": digest}.items():
            monkeypatch.setenv(name, value)
        settings = settings if digest == "off" else load_settings()
        assert load_settings() == settings
        assert environment_of(settings)["QUANT_ASSETS_ALERT_DIGEST"] == digest


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def processes_with(word: str) -> list[int]:
    """The processes that run with a word among their arguments; those that wait to be reaped have none."""
    return [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if int(folder.name) != os.getpid() and word.encode() in _arguments(folder)
    ]


def _arguments(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def wait_for(condition: object, seconds: float) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "tree.py"
    file.write_text(TREE)
    yield file
    for process in processes_with(str(file)):
        os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_whole_tree_and_frees_the_port(program: Path, port: int, number: int) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISE, str(program), "parent", str(port)])
    wait_for(lambda: listening(port), 60)
    supervisor.send_signal(number)
    assert supervisor.wait(60) == 0
    assert processes_with(str(program)) == []
    assert not listening(port)


def test_a_command_that_ends_by_itself_leaves_its_exit_code(tmp_path: Path) -> None:
    file = tmp_path / "ends.py"
    file.write_text("raise SystemExit(7)")
    assert subprocess.run([sys.executable, "-c", SUPERVISE, str(file)], timeout=60).returncode == 7


def test_a_port_that_cannot_be_had_is_refused_at_once(shell: Shell, port: int) -> None:
    misused(shell("ui", "--port", "99999999"), "--port", "65535")
    misused(shell("replay", "--port", "99999999"), "--port", "65535")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        misused(shell("ui", "--port", str(port)), f"--port {port}", "in use", "choose another one")
    assert not (shell.home / "dagster").exists()
