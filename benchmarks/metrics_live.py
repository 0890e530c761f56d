"""`make metrics-test`: a real Prometheus scrapes a fill under way, one that is killed, and a store that is away.

`quant-assets metrics` and `quant-assets serve` run beside `quant-assets backfill` on one home, against a replay
server, with Debian's Prometheus and Redis; rules and dashboards are those of deploy/monitoring. Wanted: every query
of the dashboards has data, the run is seen while it runs and as FAILED once it is killed, a store that is away is a
metric and ends no scrape, and a scrape takes less than a second. Prints what is seen; 1 when something is not as
wanted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from benchmarks.compose_services import COMPOSE, dashboard_queries
from quant_assets.dev.demo import write_universe
from quant_assets.dev.redis_server import RedisServer
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start

NOW = datetime(2013, 3, 1, 23, 0, tzinfo=UTC)
_COMMAND = [sys.executable, "-m", "quant_assets.cli"]


def main() -> int:
    """The whole of it; answers the exit code."""
    if not shutil.which("prometheus"):
        print("metrics-test needs Debian's package prometheus")
        return 1
    wrong: list[str] = []
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metrics-")))
        market = GeneratedExchange("ASX", symbols=12, seed=7, start=date(2012, 1, 2), end=date(2013, 3, 1))
        source = stack.enter_context(start(ReplayConfig(now=NOW, generated=[market])))
        write_universe(source, folder / "universe.yaml")
        redis = RedisServer()
        redis.start()
        stack.callback(redis.kill)
        given = {
            "HOME": folder / "home", "STORE": folder / "store", "UNIVERSE": folder / "universe.yaml",
            "EXCHANGES": "ASX", "SOURCE_URL": source.url, "START": "2012-01-02",
            "NOW": f"{NOW:%Y-%m-%dT%H:%M:%SZ}", "CACHE": redis.url,
        }  # fmt: skip
        environment = {**os.environ, **{f"QUANT_ASSETS_{name}": str(value) for name, value in given.items()}}

        def started(*arguments: str, pace: float = 1) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{arguments[0]}.log").open("ab"))
            process = subprocess.Popen(
                [*_COMMAND, *arguments],
                env={**environment, "QUANT_ASSETS_REQUESTS_PER_SECOND": str(pace)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            stack.callback(_end, process)
            return process

        def wanted(holds: bool, what: str) -> None:
            print(f"  {'ok' if holds else 'NOT SO'}: {what}", flush=True)
            if not holds:
                wrong.append(what)

        ports = _free_ports(3)
        prometheus = _Prometheus(folder, *ports)
        exporter = started("metrics", "--port", str(ports[0]))
        started("serve", "--port", str(ports[1]))
        stack.enter_context(prometheus.running())
        _until(lambda: len(prometheus.ask('up{job=~"quant-assets.*"} == 1')) == 2, 120, "both are scraped")
        wanted(prometheus.value('min(quant_assets_up{part="store"})') == 0, "a store of nobody is away")

        fill = started("backfill", "--exchange", "ASX", "--start", "2013-01-02", "--end", "2013-02-28")
        _until(
            lambda: prometheus.value('sum(quant_assets_runs{outcome="RUNNING"})') > 0, 180, "a run is seen"
        )
        wanted(
            prometheus.value("max(quant_assets_run_longest_seconds)") > 0, "a run under way, and for how long"
        )
        code = fill.wait(300)
        wanted(code in (0, 2), f"the fill has ended ({code})")
        _until(lambda: prometheus.value("max(quant_assets_fills_total)") > 0, 60, "its report is counted")
        requests = prometheus.value("max(quant_assets_source_requests_total)")
        cells = prometheus.value('max(quant_assets_cells{state="complete"})')
        wanted(requests >= 12 and cells > 30, f"{requests:.0f} requests, {cells:.0f} complete cells")

        # What is scraped is some seconds old: a run of the first command would be taken for one of the second.
        running = 'sum(quant_assets_runs{outcome="RUNNING"}) or vector(0)'
        _until(lambda: prometheus.value(running) == 0, 90, "the first runs are over")
        # Slow enough to be under way still when it is seen to be.
        asked = ("backfill", "--exchange", "ASX", "--start", "2012-06-01", "--end", "2012-12-31")
        killed = started(*asked, pace=0.2)
        _until(lambda: prometheus.value('sum(quant_assets_runs{outcome="RUNNING"})') > 0, 180, "a second run")
        killed.send_signal(signal.SIGKILL)
        _until(lambda: prometheus.value("max(quant_assets_runs_died)") == 1, 90, "a killed run is seen")
        wanted(
            prometheus.value('sum(max by (job) (quant_assets_runs{outcome="FAILED"}))') >= 1, "it is FAILED"
        )

        for _ in range(6):
            for path in ("prices?exchange=ASX&start=2013-02-01", "cells?exchange=ASX"):
                _get(f"http://127.0.0.1:{ports[1]}/v1/{path}")
        queries = dashboard_queries()
        until = time.monotonic() + 90
        while (empty := [one for one in queries if not prometheus.ask(one)]) and time.monotonic() < until:
            time.sleep(2)
        wanted(not empty, f"{len(queries)} queries of the dashboards, {len(empty)} without data: {empty}")

        (folder / "store").rename(folder / "elsewhere")
        _until(lambda: prometheus.value('min(quant_assets_up{part="store"})') == 0, 90, "the store is away")
        still = prometheus.value('max(quant_assets_cells{state="complete"})')
        wanted(still == cells, f"the last figures stay ({still:.0f} cells)")
        wanted(prometheus.value('min(up{job=~"quant-assets.*"})') == 1, "no scrape has failed")
        (folder / "elsewhere").rename(folder / "store")
        _until(lambda: prometheus.value('min(quant_assets_up{part="store"})') == 1, 90, "the store is back")

        slowest = {
            one["metric"]["job"]: float(one["value"][1])
            for one in prometheus.ask(
                'quantile_over_time(0.95, scrape_duration_seconds{job=~"quant-assets.*"}[10m])'
            )
        }
        wanted(max(slowest.values()) < 1, f"seconds of a scrape, 95 %: {slowest}")
        looks = {
            one["metric"]["part"]: one["value"][1]
            for one in prometheus.ask("max by (part) (quant_assets_look_seconds)")
        }
        print(f"seconds of a look: {looks}; memory of the command: {_resident(exporter.pid):.0f} MB")
        alerts = prometheus.rules()
        states = {name: state for name, state in alerts.items() if state != "inactive"}
        wanted(
            len(alerts) == 19 and alerts["QuantAssetsRunDied"] != "inactive",
            f"rules that found something: {states}",
        )
    print(f"metrics: {'ok' if not wrong else 'NOT ok'} seconds={time.monotonic() - began:.0f}")
    return 1 if wrong else 0


class _Prometheus:
    """Debian's Prometheus on a port of its own, with the product's rules."""

    def __init__(self, folder: Path, metrics: int, api: int, port: int) -> None:
        self._folder, self._port = folder, port
        rules = COMPOSE.parent / "monitoring" / "rules.yml"
        jobs = [("quant-assets", api), ("quant-assets-store", metrics)]
        config = {
            "global": {"scrape_interval": "2s", "evaluation_interval": "5s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{number}"]}]}
                for name, number in jobs
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Runs it while the context lasts."""
        command = [
            "prometheus", f"--config.file={self._folder}/prometheus.yml",
            f"--storage.tsdb.path={self._folder}/tsdb", f"--web.listen-address=127.0.0.1:{self._port}",
        ]  # fmt: skip
        with (self._folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            try:
                _until(self._answers, 60, "Prometheus answers")
                yield
            finally:
                _end(process)

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples of a query now."""
        answer = _get(f"http://127.0.0.1:{self._port}/api/v1/query?query={quote(query)}")
        return json.loads(answer)["data"]["result"]

    def value(self, query: str) -> float:
        """The only sample of a query; -1 where there is none."""
        found = self.ask(query)
        return float(found[0]["value"][1]) if found else -1.0

    def rules(self) -> dict[str, str]:
        """The state of each alert."""
        groups = json.loads(_get(f"http://127.0.0.1:{self._port}/api/v1/rules"))["data"]["groups"]
        return {rule["name"]: rule["state"] for group in groups for rule in group["rules"]}

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return b"Ready" in _get(f"http://127.0.0.1:{self._port}/-/ready")
        return False


def _get(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as response:
        return response.read()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def _until(done: Callable[[], bool], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.5)
    print(f"  ok: {what}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
