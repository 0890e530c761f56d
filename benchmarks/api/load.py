"""Keep-alive connections that ask for drawn addresses, and what came back: `python -m benchmarks.api.load '{…}'`.

A process of its own, so that the server's interpreter does not wait for it. With a rate, every connection asks at
moments drawn beforehand, and an answer's time counts from the moment it was due: a server that falls behind is seen
to. Without one, each asks again as soon as it is answered. For each line on its input it prints what came since.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any, cast

_END = b"\r\n\r\n"


@dataclass
class Load:
    """What is to be asked. `rate`: requests a second of all connections together; 0: as fast as they are answered."""

    port: int
    paths: Sequence[str]
    connections: int = 1000
    rate: float = 0.0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    zipf: float = 1.0
    """The exponent: the n-th path is asked 1/n**zipf as often as the first."""
    seed: int = 1


@dataclass
class Came:
    """What came back in a while."""

    seconds: float = 0.0
    answers: int = 0
    bytes: int = 0
    errors: int = 0
    """Answers with another status than 200, and connections that broke."""
    stale: int = 0
    """Answers that said that they are stale."""
    fresh: int = 0
    """Answers to requests that were sent in this while, and did not say so."""
    kinds: dict[str, int] = field(default_factory=dict[str, int])
    """By where they came from (X-Cache), or by what went wrong."""
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    worst_ms: float = 0.0


class _Driver:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.draws = random.Random(load.seed)
        self.weights = [*accumulate(1 / (n + 1) ** load.zipf for n in range(len(load.paths)))]
        lines = "".join(f"{name}: {value}\r\n" for name, value in load.headers.items())
        self.requests = [
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode() for path in load.paths
        ]
        self.pause = load.connections / load.rate if load.rate else 0.0
        self.reset()

    def reset(self) -> None:
        self.began = time.perf_counter()
        self.came = Came()
        self.kinds: Counter[str] = Counter()
        self.times: list[float] = []

    def next_request(self) -> bytes:
        return self.draws.choices(self.requests, cum_weights=self.weights)[0]

    def told(self) -> Came:
        came = self.came
        came.seconds = time.perf_counter() - self.began
        came.kinds = dict(self.kinds)
        if times := sorted(self.times):
            came.p50_ms, came.p95_ms, came.p99_ms, came.worst_ms = (
                round(times[min(len(times) - 1, int(len(times) * share))] * 1000, 1)
                for share in (0.5, 0.95, 0.99, 1)
            )
        self.reset()
        return came

    def failed(self, kind: str) -> None:
        self.came.errors += 1
        self.kinds[kind] += 1


class _Connection(asyncio.Protocol):
    def __init__(self, driver: _Driver) -> None:
        self.driver = driver
        self.loop = asyncio.get_running_loop()
        self.buffer = bytearray()
        self.head: bytes | None = None
        self.left = 0
        self.under_way = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclasses.
        self.transport = cast("asyncio.Transport", transport)
        pause = self.driver.pause
        self.due = time.perf_counter() + (self.driver.draws.expovariate(1 / pause) if pause else 0.0)
        self.wait()

    def wait(self) -> None:
        delay = self.due - time.perf_counter()
        if delay > 0:
            self.loop.call_later(delay, self.ask)
        else:
            self.loop.call_soon(self.ask)

    def ask(self) -> None:
        if self.transport.is_closing():
            return
        self.under_way, self.sent = True, time.perf_counter()
        self.transport.write(self.driver.next_request())

    def data_received(self, data: bytes) -> None:
        if self.head is None:
            self.buffer += data
            end = self.buffer.find(_END)
            if end < 0:
                return
            self.head = bytes(self.buffer[:end]).lower()
            place = self.head.find(b"content-length:")
            size = int(self.head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            self.left = size - (len(self.buffer) - end - 4)
            self.driver.came.bytes += size
            self.buffer.clear()
        else:
            self.left -= len(data)
        if self.left <= 0:
            self.answered()

    def answered(self) -> None:
        assert self.head is not None
        driver, head = self.driver, self.head
        now = time.perf_counter()
        self.head, self.under_way = None, False
        driver.times.append(now - (self.due if driver.pause else self.sent))
        driver.came.answers += 1
        status = head[9:12]
        if status != b"200":
            driver.failed(status.decode())
        else:
            place = head.find(b"x-cache:")
            driver.kinds[
                head[place + 8 :].split(b"\r\n", 1)[0].strip().decode() if place >= 0 else "plain"
            ] += 1
            stale = b"x-stale-since:" in head
            driver.came.stale += stale
            driver.came.fresh += not stale and self.sent >= driver.began
        self.due = self.due + driver.draws.expovariate(1 / driver.pause) if driver.pause else now
        self.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.under_way:
            self.driver.failed("broken")
        self.loop.create_task(_connect(self.driver))


async def _connect(driver: _Driver) -> None:
    while True:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: _Connection(driver), "127.0.0.1", driver.load.port
            )
            return
        except OSError:
            driver.failed("refused")
            await asyncio.sleep(0.5)


async def _run(load: Load) -> None:
    driver = _Driver(load)
    loop = asyncio.get_running_loop()
    for start in range(0, load.connections, 100):
        await asyncio.gather(*(_connect(driver) for _ in range(start, min(start + 100, load.connections))))
    driver.reset()
    print("ready", flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(asdict(driver.told())), flush=True)


def main() -> None:
    """Loads as the argument says until the input ends."""
    import os

    import uvloop

    told: dict[str, Any] = json.loads(sys.argv[1])
    try:
        uvloop.run(_run(Load(**told)))
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
