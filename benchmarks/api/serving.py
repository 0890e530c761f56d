"""The processes of the measurement: a server, and a load on it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.api.load import Came, Load


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def process(
    command: list[str], environment: Mapping[str, str], log: Path
) -> Generator[subprocess.Popen[bytes]]:
    """A process while the context lasts; what it prints goes to `log`."""
    with log.open("ab") as output:
        started = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=output)
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


@contextmanager
def serving(
    folder: Path, environment: Mapping[str, str], *, bare: int = 0, workers: int = 1
) -> Generator[Server]:
    """The API, or with `bare` a FastAPI of one route that answers so many bytes."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.api.server", str(port), str(workers), str(bare)]
    with process(command, environment, folder / "server.log") as started:
        server = Server(port, started, bare=bool(bare))
        server.wait()
        yield server


class Server:
    """A running server."""

    def __init__(self, port: int, started: subprocess.Popen[bytes], *, bare: bool = False) -> None:
        self.port, self.process, self.bare = port, started, bare

    def wait(self) -> None:
        """Returns when it answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"api: the server did not start ({self.process.args})")

    def get(self, path: str) -> tuple[bytes, Mapping[str, str]]:
        """The body and the headers of an answer, of which no compressed form is asked for."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return answer.read(), {name.lower(): value for name, value in answer.headers.items()}

    def settle(self) -> None:
        """Returns when the requests of an earlier load are done with."""
        for _ in range(3):
            self.get("/v1/prices?symbols=NONE" if self.bare else "/v1/exchanges")

    def rss_mb(self) -> float:
        """Resident memory of all its processes now."""
        return sum(_rss(pid) for pid in [self.process.pid, *_children(self.process.pid)])


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _rss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Loading:
    """A load that is under way."""

    def __init__(self, started: subprocess.Popen[str]) -> None:
        self._process = started

    def came(self) -> Came:
        """What came back since the last time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return Came(**told)

    def during(self, seconds: float) -> Came:
        """What comes back in so many seconds from now on."""
        self.came()
        time.sleep(seconds)
        return self.came()


@contextmanager
def loading(load: Load) -> Generator[Loading]:
    """A load while the context lasts."""
    command = [sys.executable, "-m", "benchmarks.api.load", json.dumps(asdict(load))]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        if started.stdout.readline() != "ready\n":
            raise SystemExit("api: the load did not start")
        yield Loading(started)
    finally:
        started.kill()
        started.wait()
