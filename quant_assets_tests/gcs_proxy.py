"""A proxy in front of a Cloud Storage emulator that does what networks and busy servers do, on loopback only.

In a process of its own (`proxy_process`), `python -m quant_assets_tests.gcs_proxy UPSTREAM '{"faults": […]}'` prints
its URL, then for each line of its input what it did since the last one; it ends when its input does.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Fault:
    """Something that goes wrong with a share of the requests.

    kind: "status" (answered here, not forwarded), "reset" (the connection breaks before the request is forwarded),
    "lost" (forwarded, then the connection breaks), "cut" (half of the answer arrives), "flip" (a byte of it differs).
    matching: only requests whose "METHOD /path?query" holds all of these. burst: how many requests in a row, once it
    begins. times: how many requests at most.
    """

    kind: str
    chance: float = 1.0
    status: int = 503
    matching: Sequence[str] = ()
    burst: int = 1
    times: int = 1_000_000_000
    running: int = 0


# What the client library's requests look like.
UPLOAD = ("POST /upload/",)
DOWNLOAD = ("GET /", "alt=media")


class FaultProxy(ThreadingHTTPServer):
    """Forwards to `upstream`, with the faults of the moment.

    `asked` counts the requests by method, `struck` the faults by kind, and `most_at_once` is the largest number of
    requests that were under way at one moment.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, upstream: str, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults = list(faults)
        self.latency = (0.0, 0.0)
        self.asked: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.most_at_once = self.under_way = 0
        self.lock = threading.Lock()
        self._random = random.Random(seed)

    def draw(self, request: str) -> tuple[Fault | None, float]:
        """What happens to a request, and how long its answer takes."""
        with self.lock:
            self.asked[request.partition(" ")[0]] += 1
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
            pause = self._random.uniform(*self.latency)
            for fault in self.faults:
                if fault.times <= 0 or not all(part in request for part in fault.matching):
                    continue
                if fault.running or self._random.random() < fault.chance:
                    fault.running = (fault.running or fault.burst) - 1
                    fault.times -= 1
                    self.struck[str(fault.status) if fault.kind == "status" else fault.kind] += 1
                    return fault, pause
            return None, pause

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hung up is none of the proxy's business.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: FaultProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _upstream: HTTPConnection | None = None

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault, pause = self.server.draw(f"{self.command} {self.path}")
        try:
            time.sleep(pause)
            kind = fault.kind if fault else ""
            if fault and kind == "status":
                self._answer(fault.status, [], b'{"error": {"message": "made up by the fault proxy"}}')
                return
            if kind == "reset":
                self._break()
                return
            status, headers, data = self._forward(body)
            if kind == "lost":
                self._break()
            elif kind == "cut":
                self._answer(status, headers, data, data[: len(data) // 2])
                self._break()
            elif kind == "flip" and data:
                at = len(data) // 2
                self._answer(status, headers, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            else:
                self._answer(status, headers, data)
        finally:
            with self.server.lock:
                self.server.under_way -= 1

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        for last in (False, True):
            self._upstream = self._upstream or HTTPConnection(self.server.upstream, timeout=60)
            try:
                self._upstream.request(self.command, self.path, body, headers)
                answer = self._upstream.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            except (OSError, HTTPException):
                # The emulator closes connections that were idle.
                self._upstream = None
                if last:
                    raise
        raise AssertionError

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, part: bytes | None = None
    ) -> None:
        ours = ("content-length", "transfer-encoding", "connection", "date", "server")
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ours:
                self.send_header(name, value.replace(f"http://{self.server.upstream}", self.server.url))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if part is None else part)

    def _break(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def fault_proxy(upstream: str, faults: Sequence[Fault] = (), seed: int = 0) -> Generator[FaultProxy]:
    """A running proxy in a thread of this process."""
    proxy = FaultProxy(upstream, faults, seed)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        socketserver.TCPServer.server_close(proxy)


@dataclass
class ProxyProcess:
    """A proxy in a process of its own, so that its work does not count as the client's."""

    url: str
    process: subprocess.Popen[str]

    def did(self) -> dict[str, Any]:
        """`asked`, `struck` and `most_at_once` since the last time this was called."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextlib.contextmanager
def proxy_process(
    upstream: str,
    *,
    latency: tuple[float, float] = (0.0, 0.0),
    faults: Sequence[dict[str, Any]] = (),
    seed: int = 0,
) -> Generator[ProxyProcess]:
    """A running proxy in a process of its own; `faults` are the fields of `Fault`."""
    told = json.dumps({"latency": latency, "faults": faults, "seed": seed})
    process = subprocess.Popen(
        [sys.executable, "-m", "quant_assets_tests.gcs_proxy", upstream, told],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield ProxyProcess(process.stdout.readline().strip(), process)
    finally:
        process.kill()
        process.communicate()


def _serve_for_a_parent(upstream: str, told: dict[str, Any]) -> None:
    with fault_proxy(upstream, [Fault(**fault) for fault in told["faults"]], told["seed"]) as serving:
        serving.latency = tuple(told["latency"])
        print(serving.url, flush=True)
        for _ in sys.stdin:
            with serving.lock:
                did = {
                    "asked": dict(serving.asked),
                    "struck": dict(serving.struck),
                    "most_at_once": serving.most_at_once,
                }
                serving.asked.clear()
                serving.struck.clear()
                serving.most_at_once = serving.under_way
            print(json.dumps(did), flush=True)


if __name__ == "__main__":
    _serve_for_a_parent(sys.argv[1], json.loads(sys.argv[2]))
