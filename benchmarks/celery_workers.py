"""`make celery-test`: the compose file with two celery workers; one is killed in a backfill, then Redis goes away,
and then comes back empty.

PostgreSQL, both Redis, code server, webserver, daemon and workers are processes of the files' commands, in namespaces
of their own (`compose_services`). The second worker has a home of its own, as on another machine: of what the first
knows it sees the tables, the database and Redis, and no file. Wanted, with figures in one line:

- the tables equal those of a single process, cell for cell;
- over any ten seconds no more requests than the pace allows, whoever asks;
- no symbol asked for twice, but for those of the killed worker's exchange that it had asked for;
- the run that waited for a worker when Redis lost everything is queued again, and every run of the backfill has the
  tag by which one of an exchange goes at a time.

With `--bucket` the store is a bucket of the storage emulator instead of a folder that both machines mount.
"""

from __future__ import annotations

import argparse
import contextlib
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
from quant_assets.defs.jobs import EXCHANGE_TAG
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.open_store import open_store
from quant_assets.tables.lineage import inventory_stale

FILES = ("compose.yaml", "workers.yaml")
EXCHANGES = ("ASX", "LSE", "TSX")
FIRST, LAST = date(2012, 1, 3), date(2013, 3, 1)
PACE = 1.0
OTHER_HOME = Path("/var/lib/another-machine")
BUCKET = "celery-test"
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
    parser = argparse.ArgumentParser(prog="make celery-test")
    parser.add_argument("--bucket", action="store_true", help="the store is a bucket of the storage emulator")
    parser.add_argument("--symbols", type=int, default=40, help="of each exchange")
    asked = parser.parse_args()
    if INSIDE not in os.environ:
        return in_namespaces("benchmarks.celery_workers", FILES)
    from quant_assets.dev.gcs_emulator import gcs_emulator, make_bucket

    with contextlib.ExitStack() as stack:
        if not asked.bucket:
            return _run(str(HOME / "store"), asked.symbols, {})
        url = stack.enter_context(gcs_emulator())
        make_bucket(BUCKET)
        return _run(f"gs://{BUCKET}/prices", asked.symbols, {"STORAGE_EMULATOR_HOST": url})


def _run(location: str, symbols: int, more: dict[str, str]) -> int:
    """Everything with a store at some place; answers the exit code.

    Args:
        symbols: of each exchange.
        more: what else the services' environment says.
    """
    from quant_assets.dev.demo import write_universe
    from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start

    folder = Path(os.environ[INSIDE])
    names = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "QUEUE_PASSWORD", "GRAFANA_PASSWORD")
    variables = {name: secrets.token_hex(12) for name in names}
    variables |= {"QUANT_ASSETS_API_KEYS": "none", "QUANT_ASSETS_EXCHANGES": ",".join(EXCHANGES)}
    variables |= {"QUANT_ASSETS_STORE": location}
    services = Services(folder, variables, FILES)
    markets = [
        GeneratedExchange(code, symbols=symbols, seed=7 + n, start=date(2010, 1, 4), end=LAST)
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
        settings = (
            common | {"QUANT_ASSETS_REQUESTS_PER_SECOND": str(PACE), "QUANT_ASSETS_CONCURRENCY": "2"} | more
        )
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
            wrong, told = _work(services, source, location, symbols)
            source.reset_stats()
            alone.start()
            alone.join()
            compared = _compare(folder, location)
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
    """Redis's command, with what it keeps in the folder of the test."""
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


def _work(services: Services, source: Any, location: str, symbols: int) -> tuple[list[str], dict[str, Any]]:
    wrong: list[str] = []
    store = open_store(location)
    wait_until(lambda: _is_made(store, "symbol_catalog"), 240, "the sensor has had the catalog made", _told)
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
        return sum(5 <= count < symbols - 5 for count in by.values()) >= 2

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
    # A third one: it comes back empty, while a run waits for the worker that is left.
    wait_until(lambda: _waiting() != [], 300, "a run waits for a worker", _told)
    services.running.pop("queue").kill()
    (lost,) = _waiting()
    shutil.rmtree(services.folder / "queue")
    services.start("queue", _queue(services))
    emptied = time.monotonic()
    print(f"Redis came back empty, run {lost[:8]} waited in it", flush=True)
    wait_until(lambda: _queued_again(lost), 240, "the lost run is queued again", _told)
    missed = time.monotonic() - emptied
    print(f"queued again after {missed:.0f} s", flush=True)
    ended = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED")
    wait_until(lambda: _status(backfill) in ended, 600, "the backfill has ended", _told)
    took = time.monotonic() - began
    if _status(backfill) not in ("COMPLETED_SUCCESS", "COMPLETED"):
        wrong.append(f"the backfill ended {_status(backfill)}")
    log = source.log()
    wrong += _judged(log, before, dead, symbols)
    of_it = [run for run in _runs() if ("dagster/backfill", backfill) in _tags(run).items()]
    if not of_it or any(EXCHANGE_TAG not in _tags(run) for run in of_it):
        wrong.append(f"runs of the backfill lack {EXCHANGE_TAG}: {of_it}")
    if (again := next(run["status"] for run in of_it if run["runId"] == lost)) != "SUCCESS":
        wrong.append(f"the run that Redis had lost ended {again}")
    # As the container would be, by its restart policy.
    shutil.rmtree(OTHER_HOME)
    _workers(services, ["worker-2"])
    # What the bars teach of the listings is in the next catalog; a command of the command line makes one.
    _launch("symbol_catalog_job")
    wait_until(lambda: _derived_are_there(store), 600, "the derived tables are made", _told)
    runs = _runs()
    retried = [run for run in runs if run["parentRunId"] == dead["runId"]]
    if [run["status"] for run in retried] != ["SUCCESS"]:
        wrong.append(f"the killed run was done again: {retried}")
    twice = sum(count > 1 for count in Counter(symbol for _, symbol in log).values())
    most, over = _most(log, 10.0), _most(log, 1.0)
    if most > 10 * PACE + 2:
        wrong.append(f"{most} requests within ten seconds at a pace of {PACE:g}")
    return wrong, {
        "workers": 2, "exchanges": len(EXCHANGES), "cells": len(keys), "symbols": symbols * len(EXCHANGES),
        "requests": len(log), "twice": twice, "killed_after": sum(before.values()), "pace": PACE,
        "most_in_10s": most, "most_in_1s": over, "noticed_s": round(noticed), "while_redis_away": meanwhile,
        "queued_again_s": round(missed), "backfill_s": round(took),
        "runs": dict(Counter(run["status"] for run in runs)),
    }  # fmt: skip


def _tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["tags"]}


def _waiting() -> list[str]:
    """The runs that wait in Redis for a worker: those whose process has not begun."""
    query = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
        ... on MessageEvent { message } } } } }"""
    starting = [run["runId"] for run in _runs() if run["status"] == "STARTING"]
    logs = {
        run_id: [event.get("message", "") for event in _graphql(query, id=run_id)["logsForRun"]["events"]]
        for run_id in starting
    }
    return [
        run_id
        for run_id, messages in logs.items()
        if any("forwarded to the broker" in message for message in messages)
        and not any("Started process" in message for message in messages)
    ]


def _queued_again(run_id: str) -> bool:
    query = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
        ... on MessageEvent { message } } } } }"""
    events = _graphql(query, id=run_id)["logsForRun"]["events"]
    return any("Redis has lost the message" in event.get("message", "") for event in events)


def _judged(
    log: Sequence[tuple[float, str]], before: Counter[str], dead: dict[str, Any], symbols: int
) -> list[str]:
    """What was asked twice that nobody had to ask twice: only what the dead worker had asked for may be."""
    first = _tags(dead)["dagster/asset_partition_range_start"]
    exchange = next(code for code in EXCHANGES if code in first)
    asked = Counter(symbol for _, symbol in log)
    wrong = [
        f"{symbol} was asked for {count} times"
        for symbol, count in asked.items()
        if count > 1 + (_exchange(symbol) == exchange and symbol in before)
    ]
    if len(asked) < symbols * len(EXCHANGES) * 0.8:
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


def _is_made(store: ObjectStore, table: str) -> bool:
    return next(iter(store.list(table)), None) is not None


def _derived_are_there(store: ObjectStore) -> bool:
    """Whether every derived table is made and up to date, and nothing is under way."""
    if _going() or not all(_is_made(store, table) for table in TABLES) or inventory_stale(store, EXCHANGES):
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
    environment.pop("STORAGE_EMULATOR_HOST", None)
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


def _compare(folder: Path, location: str) -> tuple[int, list[str]]:
    from quant_assets.dev.compare_stores import compare_stores

    found = compare_stores(open_store(location), open_store(str(folder / "alone" / "store")))
    return found.objects, [key for key in found.differing if key.startswith(TABLES)]


if __name__ == "__main__":
    raise SystemExit(main())
