"""What is answered while Redis or the bucket is gone, and when a cell changes meanwhile."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import redis as redis_client

from benchmarks.api.load import Came, Load
from benchmarks.api.serving import Loading, Server, loading, serving
from benchmarks.scale.shape import LAST, Laid
from quant_assets.dev.gcs_emulator import emulator_process, make_bucket
from quant_assets.dev.redis_server import RedisServer
from quant_assets.maintenance.migrate import migrate_store
from quant_assets.market.bars import content_sha256
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.open_store import open_store
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import decode, encode


def during_redis_faults(redis: RedisServer, load: Loading, seconds: float) -> None:
    """Prints what came while Redis was there, killed, hung and full, and after each."""

    def full() -> None:
        client = redis_client.Redis.from_url(redis.url)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", client.info("memory")["used_memory"])

    _say("Redis there", load.during(seconds))
    for name, harm, heal in (
        ("killed", redis.kill, redis.start),
        ("hung", redis.hang, redis.go_on),
        ("full", full, lambda: redis_client.Redis.from_url(redis.url).config_set("maxmemory", 0)),
    ):
        load.came()
        harm()
        time.sleep(seconds)
        _say(f"Redis {name}", load.came())
        heal()
        time.sleep(seconds / 2)
        _say("Redis back", load.came())


def changes_seen(laid: Laid, server: Server, load: Loading, pause: float, times: int = 5) -> None:
    """Changes a cell, asks for it at once, and again after a pause: each time all answers of its exchange are new."""
    load.came()
    store, seen = open_store(str(laid.store)), 0
    for number in range(times):
        seen += _change_and_ask(store, server, LAST, 100.0 + number)
        time.sleep(pause)
    came = load.came()
    _say(f"{times} cells changed under load, seen by the next request: {seen}", came)


def _change_and_ask(store: ObjectStore, server: Server, day: date, close: float) -> bool:
    key = object_key(DAILY, "US", day.isoformat())
    frame = decode(store.get(key).data, key)
    symbol = str(frame["symbol"][0])
    before = server.get(f"/v1/prices?symbols={symbol}&start={day}&end={day}")
    frame = frame.with_columns(close=pl.lit(close))
    manifest = Manifest(store, DAILY)
    entry = replace(manifest.year("US", day.year)[day.isoformat()], content_sha256=content_sha256(frame))
    info = store.put(key, encode(frame, entry.facts()))
    manifest.record("US", [Entry.from_facts(entry.facts(), info)])
    body, headers = server.get(f"/v1/prices?symbols={symbol}&start={day}&end={day}")
    rows = json.loads(body)["data"]
    return rows[0]["close"] == close and "x-stale-since" not in headers and body != before[0]


def during_bucket_outage(
    laid: Laid, folder: Path, seconds: float, paths: list[str], connections: int, rate: float
) -> None:
    """Prints what came while the bucket was there, stopped for so many seconds, and after."""
    with emulator_process() as (_, emulator):
        make_bucket("bench")
        moved = migrate_store(open_store(str(laid.store)), open_store("gs://bench"))
        print(f"api: a bucket of {moved.objects} objects, {moved.bytes / 1e6:.0f} MB", flush=True)
        environment = {
            "QUANT_ASSETS_HOME": str(laid.folder / "home-of-copies"),
            "QUANT_ASSETS_STORE": "gs://bench",
            "QUANT_ASSETS_CACHE": "memory",
            "QUANT_ASSETS_LOCAL_COPY_MB": "1000",
            "QUANT_ASSETS_API_RATE": "0",
            "QUANT_ASSETS_NOW": "2024-03-01T23:00:00Z",
        }
        zstd = {"Accept-Encoding": "zstd"}
        with serving(folder, environment) as server:
            for path in paths[: min(20, len(paths))]:
                server.get(path)
            with loading(Load(server.port, paths, connections, rate, zstd)) as load:
                load.during(min(20.0, seconds))
                _say("bucket there", load.during(min(20.0, seconds)))
                os.kill(emulator.pid, signal.SIGSTOP)
                load.came()
                try:
                    time.sleep(seconds)
                    _say(f"bucket stopped for {seconds:.0f} s", load.came(), unmarked=True)
                finally:
                    os.kill(emulator.pid, signal.SIGCONT)
                back = time.monotonic()
                while "x-stale-since" in server.get(paths[0])[1]:
                    time.sleep(0.05)
                print(f"api: fresh again after {time.monotonic() - back:.1f} s", flush=True)
                load.came()
                _say("bucket back", load.during(min(20.0, seconds)))
                seen = _change_and_ask(open_store("gs://bench"), server, LAST, 100.0)
                print(f"api: a cell changed in the bucket is seen by the next request: {seen}", flush=True)


def _say(name: str, came: Came, *, unmarked: bool = False) -> None:
    more = f", stale and marked {came.stale}" + (f", stale and unmarked {came.fresh}" if unmarked else "")
    print(
        f"api: {name}: {came.answers / came.seconds:.0f} answers/s, p50 {came.p50_ms} ms, p95 {came.p95_ms} ms, "
        f"worst {came.worst_ms} ms, errors {came.errors}{more}, from {came.kinds}",
        flush=True,
    )
