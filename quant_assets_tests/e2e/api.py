"""The API as a process of its own, and a client that asks for jobs and follows them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from quant_assets.dev.demo import as_environment
from quant_assets.operations.keys import Key, new_key
from quant_assets.resources.settings import Settings
from quant_assets_tests.e2e.stack import ARTIFACTS, ROOT


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class ApiProcess:
    """`quant-assets serve` on a home, with one key of the scope `operate`."""

    settings: Settings
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        made: tuple[str, Key] = new_key("tester", "operate")
        self._key, self._entry = made[0], made[1].entry()

    def begin(self) -> None:
        """Starts it, and waits until it answers."""
        environment = {
            **os.environ, **as_environment(self.settings), "QUANT_ASSETS_HOME": str(self.settings.home),
            "QUANT_ASSETS_API_KEYS": self._entry,
        }  # fmt: skip
        command = [sys.executable, "-m", "quant_assets", "serve", "--port", str(self.port)]
        ARTIFACTS.mkdir(exist_ok=True)
        with (ARTIFACTS / "api.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
        began = time.monotonic()
        while True:
            try:
                self.call("GET", "/v1/jobs")
                return
            except (urllib.error.URLError, ConnectionError):
                assert self._process.poll() is None, "it has ended: see artifacts/api.log"
                assert time.monotonic() < began + 120, "no answer: see artifacts/api.log"
                time.sleep(0.2)

    def kill(self) -> None:
        """Ends it without a word."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str
    ) -> dict[str, Any]:
        """What it answers. Raises HTTPError for a status of 400 or more."""
        with self._open(method, path, body, headers) as answer:
            return json.loads(answer.read())

    def ask(self, body: dict[str, Any], key: str = "") -> tuple[str, float]:
        """Asks for a job; its id, and the seconds that it took."""
        began = time.monotonic()
        headers = {"Idempotency_Key": key} if key else {}
        return str(self.call("POST", "/v1/jobs", body, **headers)["id"]), time.monotonic() - began

    def state(self, job: str) -> dict[str, Any]:
        """A job as it stands."""
        return self.call("GET", f"/v1/jobs/{job}")

    def events(self, job: str) -> Iterator[dict[str, Any]]:
        """The states of a job as they are streamed, the last one included."""
        with self._open("GET", f"/v1/jobs/{job}/events", None, {}) as stream:
            kind = ""
            for raw in stream:
                line = raw.decode().strip()
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    assert kind in ("state", "end"), line
                    yield json.loads(line.removeprefix("data: "))
                    if kind == "end":
                        return

    def follow(self, job: str) -> tuple[list[str], dict[str, Any]]:
        """The words that a job's status went through, and its last state."""
        words: list[str] = []
        state: dict[str, Any] = {}
        for state in self.events(job):
            if not words or words[-1] != state["status"]:
                words.append(state["status"])
        return words, state

    def _open(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            None if body is None else json.dumps(body).encode(),
            {
                "Authorization": f"Bearer {self._key}", "Content-Type": "application/json",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
            method=method,
        )  # fmt: skip
        return urllib.request.urlopen(request, timeout=300)
