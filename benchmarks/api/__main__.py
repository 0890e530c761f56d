"""`make bench-api`: the API under load on this machine, which makes the load as well.

One symbol's history is asked for at a time, as JSON in zstd, drawn by Zipf's law from all symbols of the store; lines
that begin with `api:` say what came of it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from benchmarks.api.faults import changes_seen, during_bucket_outage, during_redis_faults
from benchmarks.api.load import Came, Load
from benchmarks.api.serving import Loading, Server, loading, serving
from benchmarks.scale.laying import lay
from benchmarks.scale.scratch import copy_of
from benchmarks.scale.shape import Laid, Shape
from quant_assets.dev.redis_server import redis_server

ZSTD = {"Accept-Encoding": "zstd"}
_FEW = 32
"""Connections of the measurements of throughput: a thousand would wait longer than a request may, uncached."""


def main() -> None:
    """Lays the store, or takes the one that lies there, and measures."""
    options = _options()
    with ExitStack() as stack:
        folder: Path = options.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-api-"))
        )
        folder.mkdir(parents=True, exist_ok=True)
        laid = lay(folder / "large", Shape(symbols=options.symbols, years=options.years))
        print(
            f"api: {options.symbols} symbols x {options.years} years, {options.connections} keep-alive connections, "
            f"{os.cpu_count()} cores shared by server and load; load average {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        if "speed" in options.only:
            _speed(laid, folder, options)
        if "redis" in options.only:
            _redis(laid, folder, options)
        if "bucket" in options.only:
            small = lay(folder / "small", Shape(symbols=options.bucket_symbols, years=options.bucket_years))
            during_bucket_outage(
                small, folder, options.outage, paths_of(small), options.connections, options.rate or 100
            )


def paths_of(laid: Laid) -> list[str]:
    """The address of each symbol's history, in an order that mixes the exchanges."""
    from quant_assets import universe

    names = universe(store=str(laid.store)).collect()["symbol"].sample(fraction=1, shuffle=True, seed=1)
    return [f"/v1/prices?symbols={name}" for name in names]


def environment(laid: Laid, cache: str, cache_mb: int = 256) -> dict[str, str]:
    """The settings of a server on a laid store."""
    return {
        "QUANT_ASSETS_HOME": str(laid.folder / "home"),
        "QUANT_ASSETS_STORE": str(laid.store),
        "QUANT_ASSETS_CACHE": cache,
        "QUANT_ASSETS_CACHE_MB": str(cache_mb),
        "QUANT_ASSETS_API_RATE": "0",
        "QUANT_ASSETS_NOW": "2024-03-01T23:00:00Z",
        "POLARS_MAX_THREADS": "2",
    }


def _speed(laid: Laid, folder: Path, options: argparse.Namespace) -> None:
    paths = paths_of(laid)
    many = options.connections
    with serving(folder, environment(laid, "off")) as server, _load(server, paths, _FEW) as load:
        size = len(server.get(paths[0])[0])
        uncached = load.during(options.seconds)
        _say("uncached", uncached, _FEW, server)
        body = uncached.bytes // max(1, uncached.answers)
    print(f"api: an answer has {size} bytes of JSON, {body} in zstd", flush=True)
    with redis_server() as redis:
        for name, cache, megabytes, workers in (
            ("memory", "memory", 256, 1),
            ("memory, 2 workers", "memory", 256, 2),
            ("Redis alone", redis.url, 0, 1),
        ):
            if workers > options.workers:
                continue
            with serving(folder, environment(laid, cache, megabytes), workers=workers) as server:
                with _load(server, paths, _FEW) as load:
                    filled = load.during(options.fill)
                    cached = load.during(options.seconds)
                _say(f"{name}, filling", filled, _FEW, server)
                _say(name, cached, _FEW, server)
                gain = _rate(cached) / max(0.001, _rate(uncached))
                print(f"api: {name}: {gain:.1f} x uncached", flush=True)
                with _load(server, paths, many) as load:
                    _say(f"{name}, as fast as answered", most := load.during(options.seconds), many, server)
                held = options.rate or 0.6 * _rate(most)
                with _load(server, paths, many, held) as load:
                    _say(f"{name}, at {held:.0f}/s", load.during(options.seconds), many, server)
    with serving(folder, {}, bare=body) as server:
        with _load(server, paths, _FEW) as load:
            _say("bare FastAPI of the same bytes", load.during(options.seconds), _FEW, server)
        with _load(server, paths, many) as load:
            _say("bare FastAPI, as fast as answered", load.during(options.seconds), many, server)


def _redis(laid: Laid, folder: Path, options: argparse.Namespace) -> None:
    """Redis killed, hung and full under load, and cells changed meanwhile."""
    # Its cells are changed: what is laid stays as it is.
    paths, changing = paths_of(laid), copy_of(laid)
    with redis_server() as redis, serving(folder, environment(changing, redis.url)) as server:
        with _load(server, paths, _FEW) as load:
            load.during(options.fill)
        with _load(server, paths, options.connections, options.rate or 100) as load:
            during_redis_faults(redis, load, options.seconds)
            changes_seen(changing, server, load, options.seconds)


def _load(
    server: Server, paths: list[str], connections: int, rate: float = 0.0
) -> AbstractContextManager[Loading]:
    server.settle()
    return loading(Load(server.port, paths, connections, rate, ZSTD))


def _rate(came: Came) -> float:
    return came.answers / came.seconds


def _say(name: str, came: Came, connections: int, server: Server) -> None:
    made = came.kinds.get("made", 0)
    hits = 100 * (1 - made / came.answers) if came.answers else 0.0
    print(
        f"api: {name}: {_rate(came):.0f} answers/s, {connections} connections, p50 {came.p50_ms} ms, "
        f"p95 {came.p95_ms} ms, p99 {came.p99_ms} ms, hits {hits:.1f} %, errors {came.errors}, "
        f"RSS {server.rss_mb():.0f} MB",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.api", description=__doc__)
    parser.add_argument("--symbols", type=int, default=2000)
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--fill", type=float, default=90.0, help="seconds in which the cache is filled")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: 60 %% of the most")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server that are tried")
    parser.add_argument("--bucket-symbols", type=int, default=200)
    parser.add_argument("--bucket-years", type=int, default=3)
    parser.add_argument("--outage", type=float, default=60.0, help="seconds for which the bucket is away")
    parser.add_argument("--only", default="speed,redis,bucket", help="speed, redis, bucket; comma-separated")
    parser.add_argument("--folder", type=Path, help="where stores are laid, and found again")
    options = parser.parse_args()
    options.only = options.only.split(",")
    return options


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"api: {time.perf_counter() - began:.0f} s in all")
