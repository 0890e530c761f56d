"""`make celery-test`: the compose file with two celery workers; one is killed in a backfill, then Redis goes away.

PostgreSQL, both Redis, code server, webserver, daemon and workers are processes of the files' commands, in namespaces
of their own (`compose_services`). The second worker has a home of its own, as on another machine: of what the first
knows it sees the tables, the database and Redis, and no file. Wanted, with figures in one line:

- the tables equal those of a single process, cell for cell;
- over any ten seconds no more requests than the pace allows, whoever asks;
- no symbol asked for twice, but for those of the killed worker's exchange that it had asked for.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.compose_services import (
    BIN,
    COMPOSE,
    HOME,
    INSIDE,
    NOW,
    Services,
    ask,
    in_namespaces,
    postgres,
    wait_until,
)

FILES = ("compose.yaml", "workers.yaml")
EXCHANGES = ("ASX", "LSE", "TSX")
FIRST, LAST = date(2012, 1, 3), date(2013, 3, 1)
SYMBOLS, PACE = 40, 1.0
OTHER_HOME = Path("/var/lib/another-machine")
TABLES = (
    "daily_prices/",
    "price_history/",
    "weekly_prices/",
    "symbol_profiles/",
    "exchange_profiles",
    "symbol_catalog",
)


def main() -> int:
    """The whole of it; answers the exit code."""
    if INSIDE not in os.environ:
        return in_namespaces("benchmarks.celery_workers", FILES)
    from quant_assets.dev.demo import write_universe
    from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start

    folder = Path(os.environ[INSIDE])
    names = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "QUEUE_PASSWORD", "GRAFANA_PASSWORD")
    variables = {name: secrets.token_hex(12) for name in names}
    variables |= {"QUANT_ASSETS_API_KEYS": "none", "QUANT_ASSETS_EXCHANGES": ",".join(EXCHANGES)}
    services = Services(folder, variables, FILES)
    markets = [
        GeneratedExchange(code, symbols=SYMBOLS, seed=7 + n, start=date(2010, 1, 4), end=LAST)
        for n, code in enumerate(EXCHANGES)
    ]
    began = time.monotonic()
    with start(ReplayConfig(now=NOW, generated=markets)) as source:
        write_universe(source, HOME / "universe.yaml")
        common = {
            "QUANT_ASSETS_SOURCE_URL": source.url,
            "QUANT_ASSETS_START": str(FIRST),
            "QUANT_ASSETS_NOW": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
            "QUANT_ASSETS_UNIVERSE": f"{HOME}/universe.yaml",
            "QUANT_ASSETS_VALUATIONS": "false",
        }
        settings = common | {"QUANT_ASSETS_REQUESTS_PER_SECOND": str(PACE), "QUANT_ASSETS_CONCURRENCY": "2"}
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        (folder / "settings.env").write_text(text, encoding="utf-8")
        alone = threading.Thread(target=_single_process, args=(folder, common))
        try:
            postgres(services)
            services.start("redis", services.services["redis"]["command"])
            services.start("queue", _queue(services))
            services.start("code", services.services["code"]["command"])
            services.start("webserver", services.services["webserver"]["command"])
            services.start("daemon", services.services["daemon"]["command"])
            _workers(services)
            wrong, told = _work(services, source)
            source.reset_stats()
            alone.start()
            alone.join()
            compared = _compare(folder)
            print(
                *(f"{name}={value}" for name, value in told.items()),
                f"differing={compared[1][:5]}",
                flush=True,
            )
            stopped = _cancelled(source)
        except BaseException:
            # Whatever ended it, the services' logs go with the folder: their ends are shown first.
            for name in ("worker-1", "worker-2", "daemon", "code"):
                file = folder / f"{name}.log"
                if file.exists():
                    print(f"--- {name}\n{file.read_text(errors='replace')[-2500:]}")
            raise
        finally:
            services.stop()
    if stopped[0] != "CANCELED" or stopped[2] > 2:
        wrong.append(
            f"a cancelled run ended {stopped[0]} after {stopped[1]:.0f} s and {stopped[2]} more requests"
        )
    told |= {"cancelled_s": round(stopped[1])}
    wrong += [f"differs from the single process's: {key}" for key in compared[1][:10]]
    told |= {
        "objects": compared[0],
        "differing": len(compared[1]),
        "seconds": round(time.monotonic() - began),
    }
    print(f"celery: {'ok' if not wrong else 'NOT ok'}", *(f"{name}={value}" for name, value in told.items()))
    for line in wrong:
        print(f"  {line}")
    return 1 if wrong else 0


def _queue(services: Services) -> list[str]:
    command = list(services.services["queue"]["command"])
    data = services.folder / "queue"
    data.mkdir(exist_ok=True)
    command[command.index("--dir") + 1] = str(data)
    return command


def _workers(services: Services, names: Sequence[str] = ("worker-1", "worker-2")) -> None:
    """Both, each in a group of processes that is killed whole; the second one on another machine, so to speak."""
    for name in names:
        service = services.services[name]
        more: dict[str, str] = {}
        if name == "worker-2":
            more = {"QUANT_ASSETS_HOME": str(OTHER_HOME), "DAGSTER_HOME": str(OTHER_HOME / "dagster")}
            (OTHER_HOME / "dagster").mkdir(parents=True)
            mounted = COMPOSE / services.file["configs"]["dagster"]["file"]
            (OTHER_HOME / "dagster" / "dagster.yaml").write_text(mounted.read_text(encoding="utf-8"))
        services.start(name, service["command"], more, start_new_session=True)


def _graphql(query: str, **variables: Any) -> Any:
    answer = ask("http://webserver:3000/graphql", body={"query": query, "variables": variables})
    assert "errors" not in answer, answer
    return answer["data"]


def _runs() -> list[dict[str, Any]]:
    query = """{ runsOrError(limit: 100) { ... on Runs { results {
        runId status jobName parentRunId assetSelection { path } tags { key value } } } } }"""
    return _graphql(query)["runsOrError"]["results"]


def _backfill(asset: str, keys: Sequence[str]) -> str:
    """As the dialog asks for one."""
    answer = _graphql(
        """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
            ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
        params={"assetSelection": [{"path": [asset]}], "partitionNames": list(keys), "fromFailure": False},
    )["launchPartitionBackfill"]
    return answer["backfillId"]


def _status(backfill: str) -> str:
    query = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
        ... on PartitionBackfill { status error { message } } } }"""
    return _graphql(query, id=backfill)["partitionBackfillOrError"]["status"]


def _keys(asset: str) -> list[str]:
    query = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) {
        ... on AssetNode { partitionKeys } } }"""
    return _graphql(query, key={"path": [asset]})["assetNodeOrError"]["partitionKeys"]


def _work(services: Services, source: Any) -> tuple[list[str], dict[str, Any]]:
    wrong: list[str] = []
    catalog = HOME / "store" / "symbol_catalog.parquet"
    wait_until(
        lambda: any(HOME.glob("store/symbol_catalog*")), 240, f"the sensor has had {catalog} made", _told
    )
    wait_until(lambda: not _going(), 120, "the catalog's run is over", _told)
    keys = [key for key in _keys("daily_prices") if any(code in key for code in EXCHANGES)]
    source.reset_stats()
    began = time.monotonic()
    backfill = _backfill("daily_prices", keys)
    print(f"backfill {backfill} of {len(keys)} cells of {len(EXCHANGES)} exchanges", flush=True)

    def asked() -> int:
        return len(source.log())

    def both_ask() -> bool:
        """Whether both workers are within the symbols of an exchange."""
        by = Counter(_exchange(symbol) for _, symbol in source.log())
        return sum(5 <= count < SYMBOLS - 5 for count in by.values()) >= 2

    wait_until(both_ask, 300, "two exchanges are asked for at once", _told)
    victim = services.running["worker-2"]
    os.killpg(victim.pid, signal.SIGKILL)
    killed, before = time.monotonic(), Counter(symbol for _, symbol in source.log())
    print(f"worker-2 killed with its run after {asked()} requests", flush=True)
    wait_until(lambda: _failed() != [], 150, "the run of the killed worker is ended", _told)
    noticed = time.monotonic() - killed
    (dead,) = _failed()
    print(f"noticed after {noticed:.0f} s: run {dead['runId'][:8]} has failed", flush=True)
    # A second trouble while the other one works: the queue's Redis is away for a while.
    at = asked()
    wait_until(lambda: asked() >= at + 4 or _status(backfill) != "REQUESTED", 120, "it goes on", _told)
    services.running.pop("queue").kill()
    away_from, away = asked(), 8.0
    time.sleep(away)
    meanwhile = asked() - away_from
    services.start("queue", _queue(services))
    print(f"Redis away for {away:g} s: {meanwhile} requests meanwhile", flush=True)
    ended = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED")
    wait_until(lambda: _status(backfill) in ended, 600, "the backfill has ended", _told)
    took = time.monotonic() - began
    if _status(backfill) not in ("COMPLETED_SUCCESS", "COMPLETED"):
        wrong.append(f"the backfill ended {_status(backfill)}")
    log = source.log()
    wrong += _judged(log, before, dead)
    # As the container would be, by its restart policy.
    shutil.rmtree(OTHER_HOME)
    _workers(services, ["worker-2"])
    # What the bars teach of the listings is in the next catalog; a command of the command line makes one.
    _launch("symbol_catalog_job")
    wait_until(_derived_are_there, 600, "the derived tables are made", _told)
    runs = _runs()
    retried = [run for run in runs if run["parentRunId"] == dead["runId"]]
    if [run["status"] for run in retried] != ["SUCCESS"]:
        wrong.append(f"the killed run was done again: {retried}")
    twice = sum(count > 1 for count in Counter(symbol for _, symbol in log).values())
    most, over = _most(log, 10.0), _most(log, 1.0)
    if most > 10 * PACE + 2:
        wrong.append(f"{most} requests within ten seconds at a pace of {PACE:g}")
    return wrong, {
        "workers": 2, "exchanges": len(EXCHANGES), "cells": len(keys), "symbols": SYMBOLS * len(EXCHANGES),
        "requests": len(log), "twice": twice, "killed_after": sum(before.values()), "pace": PACE,
        "most_in_10s": most, "most_in_1s": over, "noticed_s": round(noticed), "while_redis_away": meanwhile,
        "backfill_s": round(took), "runs": dict(Counter(run["status"] for run in runs)),
    }  # fmt: skip


def _judged(log: Sequence[tuple[float, str]], before: Counter[str], dead: dict[str, Any]) -> list[str]:
    """What was asked twice that nobody had to ask twice: only what the dead worker had asked for may be."""
    tags = {tag["key"]: tag["value"] for tag in dead["tags"]}
    exchange = next(code for code in EXCHANGES if code in tags["dagster/asset_partition_range_start"])
    asked = Counter(symbol for _, symbol in log)
    wrong = [
        f"{symbol} was asked for {count} times"
        for symbol, count in asked.items()
        if count > 1 + (_exchange(symbol) == exchange and symbol in before)
    ]
    if len(asked) < SYMBOLS * len(EXCHANGES) * 0.8:
        wrong.append(f"only {len(asked)} symbols were asked for")
    return wrong


def _exchange(symbol: str) -> str:
    from quant_assets.exchanges import known

    return next((one.code for one in known().values() if one.owns(symbol)), "US")


def _most(log: Sequence[tuple[float, str]], seconds: float) -> int:
    moments = [moment for moment, _ in log]
    return max(sum(first <= moment < first + seconds for moment in moments) for first in moments)


def _going() -> list[str]:
    return [
        run["runId"]
        for run in _runs()
        if run["status"] in ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
    ]


def _failed() -> list[dict[str, Any]]:
    return [run for run in _runs() if run["status"] == "FAILURE"]


def _derived_are_there() -> bool:
    """Whether every derived table is made and up to date, and nothing is under way."""
    if _going():
        return False
    from quant_assets.resources.local_store import LocalObjectStore
    from quant_assets.tables.lineage import inventory_stale

    made = all(any(HOME.glob(f"store/{table.rstrip('/')}*")) for table in TABLES)
    if not made or inventory_stale(LocalObjectStore(HOME / "store"), EXCHANGES):
        return False
    time.sleep(35)
    # The sensor has looked once more, and had nothing to ask for.
    return not _going()


def _launch(job: str, config: object = None, **tags: str) -> str:
    """Launches a job as the page does; answers the run's id."""
    place = {"repositoryLocationName": "quant_assets.definitions", "repositoryName": "__repository__"}
    answer = _graphql(
        """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
            ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
        params={
            "selector": {**place, "jobName": job},
            "runConfigData": config or {},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": f"dagster/{k}", "value": v} for k, v in tags.items()]},
        },
    )["launchRun"]
    assert "run" in answer, answer
    return answer["run"]["runId"]


def _cancelled(source: Any) -> tuple[str, float, int]:
    """A run on the worker that is left, cancelled as the page does it: how it ended, in which time, and how many
    symbols were still asked for meanwhile."""
    source.reset_stats()
    last = next(key for key in reversed(_keys("daily_prices")) if "LSE" in key)
    run_id = _launch(
        "daily_prices_lse", {"ops": {"daily_prices": {"config": {"mode": "force"}}}}, partition=last
    )
    wait_until(lambda: len(source.log()) >= 3, 120, "a run asks for everything again", _told)
    began, asked = time.monotonic(), len(source.log())
    terminate = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
    assert _graphql(terminate, id=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"

    def status() -> str:
        return next(run["status"] for run in _runs() if run["runId"] == run_id)

    wait_until(lambda: status() not in ("STARTED", "CANCELING"), 90, "the cancelled run has ended", _told)
    return status(), time.monotonic() - began, len(source.log()) - asked


def _told() -> str:
    runs = [(run["runId"][:8], run["jobName"], run["status"]) for run in _runs()]
    return json.dumps(runs)


def _single_process(folder: Path, common: dict[str, str]) -> None:
    """The same by the command line, without Dagster's services, into a home of its own."""
    home = folder / "alone"
    environment = {
        **os.environ,
        **common,
        "QUANT_ASSETS_HOME": str(home),
        "QUANT_ASSETS_REQUESTS_PER_SECOND": "0",
    }
    environment |= {"QUANT_ASSETS_EXCHANGES": ",".join(EXCHANGES)}
    for code in (*EXCHANGES, EXCHANGES[0]):
        command = [
            BIN / "quant-assets",
            "backfill",
            "--exchange",
            code,
            "--start",
            str(FIRST),
            "--end",
            str(LAST),
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/tmp")
        print(done.stdout.splitlines()[-1] if done.stdout else done.stderr[-500:], flush=True)


def _compare(folder: Path) -> tuple[int, list[str]]:
    from quant_assets.dev.compare_stores import compare_stores
    from quant_assets.resources.open_store import open_store

    found = compare_stores(open_store(str(HOME / "store")), open_store(str(folder / "alone" / "store")))
    return found.objects, [key for key in found.differing if key.startswith(TABLES)]


if __name__ == "__main__":
    raise SystemExit(main())
