"""Starting and ending: errors in words, ports, and a subprocess that never outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from quant_assets.replay.csv_files import COLUMNS
from quant_assets.replay.launch import (
    GeneratedExchange,
    LaunchError,
    ReplayConfig,
    ReplayHandle,
    parse_generated,
    start,
)
from quant_assets_tests.replay.support import get_chart, result


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "small.csv"
    path.write_text(f"{','.join(COLUMNS)}\nXYZ,2024-01-02,10,11,9,10.5,100,0,1\n")
    return path


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether a process has ended, waiting for it a little."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_history_file_is_served_until_stopped(history: Path) -> None:
    with start(ReplayConfig(history_files=[(history, "as_traded")], now=date(2024, 1, 2))) as handle:
        answer = result(get_chart(handle.url, "XYZ"))
        assert answer["indicators"]["quote"][0]["close"] == [10.5]
        assert handle.health() == {"status": "ok", "symbols": 1}
        assert handle.clock() == datetime(2024, 1, 2, 23, 59, 59, tzinfo=UTC)
        pid = handle.process.pid
    assert gone(pid)
    handle.stop()
    with pytest.raises(LaunchError, match="does not answer"):
        handle.health()


def test_only_loopback_is_bound(server: ReplayHandle) -> None:
    port = urlsplit(server.url).port
    # Any other loopback address would answer too if all interfaces were bound.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=2)


def test_a_taken_port_is_named(history: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"cannot listen on 127.0.0.1:{port} .*choose another port"):
            start(ReplayConfig(port=port, history_files=[(history, "as_traded")]))


def test_a_bad_file_is_named_by_the_parent(history: Path) -> None:
    history.write_text(history.read_text().replace("10.5", "ten"))
    with pytest.raises(LaunchError, match=f"{history}, line 2: close ten of XYZ is not a number"):
        start(ReplayConfig(history_files=[(history, "as_traded")]))


def test_faults_from_a_file_are_in_force(history: Path, tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('[{"kind": "empty_body"}]')
    config = ReplayConfig(
        history_files=[(history, "as_traded")], faults_file=faults, faults=[{"kind": "not_found_404"}]
    )
    with start(config) as handle:
        assert [get_chart(handle.url, "XYZ").status_code for _ in range(3)] == [404, 200, 200]
        assert handle.stats()["faults"] == {"not_found_404": 1, "empty_body": 1}


def test_killing_the_parent_ends_the_server(history: Path) -> None:
    program = (
        "import sys, time\n"
        "from quant_assets.replay.launch import ReplayConfig, start\n"
        "handle = start(ReplayConfig(history_files=[(sys.argv[1], 'as_traded')]))\n"
        "print(handle.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(history)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not gone(pid, within=0.2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def test_a_child_that_inherits_the_pipe_does_not_keep_the_server_alive(history: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from quant_assets.replay.launch import ReplayConfig, start\n"
        "handle = start(ReplayConfig(history_files=[(sys.argv[1], 'as_traded')]))\n"
        "if os.fork() == 0:\n"
        "    time.sleep(60)\n"
        "    os._exit(0)\n"
        "print(handle.process.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    # The grandchild shares the parent's output and its end of the pipe; its group is ours to end.
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(history)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert gone(pid)
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        parent.stdout.close()  # pyright: ignore[reportOptionalMemberAccess]


def test_foreground_says_where_and_ends_on_interrupt(history: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "quant_assets.replay",
        "--history",
        str(history),
        "--today",
        "2024-01-02",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("replaying on http://127.0.0.1:")
    assert get_chart(line.split()[-1], "XYZ").status_code == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(10) in (0, -signal.SIGINT, 128 + signal.SIGINT)
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_foreground_says_what_is_wrong() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quant_assets.replay"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: nothing to replay")
    assert "Traceback" not in done.stderr


def test_importing_is_cheap() -> None:
    program = (
        "import sys, json, quant_assets.replay.launch, quant_assets.replay.__main__\n"
        "print(json.dumps([m for m in ('polars', 'pandas', 'numpy', 'uvicorn', 'starlette', "
        "'exchange_calendars', 'quant_assets.market', 'resources') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_configuration_round_trip(history: Path) -> None:
    config = ReplayConfig(
        port=8765,
        now="2024-03-01T12:00:00+11:00",
        sampledata=True,
        history_files=[(str(history), "yahoo")],
        generated=[GeneratedExchange("HKEX", 10, 3, "2020-01-01", "2021-01-01")],
        faults=[{"kind": "slow", "seconds": 2}],
        spells=[{"symbol": "XYZ", "until": "2024-03-01"}],
    )
    again = ReplayConfig.from_json(config.to_json())
    assert again == config
    moment = datetime(2024, 3, 1, 1, tzinfo=UTC)
    assert ReplayConfig.from_json(ReplayConfig(now=moment).to_json()).now == "2024-03-01T01:00:00+00:00"


def test_generated_exchange_as_text() -> None:
    assert parse_generated("HKEX:10:2020-01-01:2021-01-01:3") == GeneratedExchange(
        "HKEX", 10, 3, "2020-01-01", "2021-01-01"
    )
    assert parse_generated("LSE") == GeneratedExchange("LSE")
    assert parse_generated("LSE::2020-01-01") == GeneratedExchange("LSE", start="2020-01-01")
    with pytest.raises(LaunchError, match="symbols is not a whole number"):
        parse_generated("LSE:many")
