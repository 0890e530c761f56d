"""What the storage and pacing tests run in processes of their own: `python workers.py TASK ARGUMENT…`."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import Blob, StoreUnavailable, put_reconciled

ROOT = Path(__file__).resolve().parents[2]
SIZE = 300_000


def start(task: Callable[..., None], *arguments: object) -> subprocess.Popen[str]:
    """A process that runs one of the tasks below; what it prints is its answer."""
    command = [sys.executable, __file__, task.__name__, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answer(process: subprocess.Popen[str]) -> str:
    """What a process printed, once it has ended well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


def pattern(number: int) -> bytes:
    """An object in which every byte tells which one it is."""
    return bytes([number % 256]) * (SIZE + number % 256)


# --- tasks


def increment(root: str, key: str, times: str) -> None:
    store = LocalObjectStore(Path(root))

    def more(present: Blob | None) -> bytes:
        return str(int(present.data) + 1 if present else 1).encode()

    versions: list[str] = []
    for _ in range(int(times)):
        info = put_reconciled(store, key, more)
        assert info is not None
        versions.append(info.version)
    print(json.dumps(versions))


def put_forever(root: str, key: str) -> None:
    store = LocalObjectStore(Path(root))
    print("ready", flush=True)
    for number in range(1_000_000):
        store.put(key, pattern(number))


def read_while(root: str, key: str, seconds: str) -> None:
    """Reads until the time is over; prints how many different objects it saw."""
    store = LocalObjectStore(Path(root))
    seen: set[int] = set()
    end = time.monotonic() + float(seconds)
    last = ""
    while time.monotonic() < end:
        blob = store.get(key)
        assert blob.data == pattern(blob.data[0]), "a mixture of two objects"
        assert blob.info.version >= last, "an older object after a newer one"
        last = blob.info.version
        seen.add(blob.data[0])
    print(len(seen))


def put_with_little_room(root: str, key: str, size: str) -> None:
    """Puts more than the process may write to one file; prints what it was told."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        LocalObjectStore(Path(root)).put(key, b"n" * int(size))
    except StoreUnavailable as error:
        print(error)


def record(root: str, exchange: str, first: str, days: str) -> None:
    from datetime import date, timedelta

    from quant_assets.market.coverage import CellState
    from quant_assets.tables.manifest import Entry, Manifest

    manifest = Manifest(LocalObjectStore(Path(root)), "daily_prices")
    for number in range(int(days)):
        day = date.fromisoformat(first) + timedelta(days=number)
        manifest.record(exchange, [Entry(day.isoformat(), CellState.CLOSED, reason=str(os.getpid()))])


def put_cell_and_die(root: str, exchange: str, day: str) -> None:
    import polars as pl

    from quant_assets.market.coverage import CellState
    from quant_assets.tables.layout import DAILY, object_key
    from quant_assets.tables.manifest import Entry
    from quant_assets.tables.parquet import encode

    frame = pl.DataFrame({"symbol": ["A", "B"]})
    entry = Entry(day, CellState.PARTIAL, rows=2, expected=3, received=2, recorded_at="2024-03-15T22:00:00")
    LocalObjectStore(Path(root)).put(object_key(DAILY, exchange, day), encode(frame, entry.facts()))
    os.kill(os.getpid(), signal.SIGKILL)


def ask(pace_file: str, rate: str, times: str) -> None:
    """Asks at a shared pace; prints when each request was let through, on the clock all processes share."""
    from quant_assets.resources.pacing import Pacer

    pacer = Pacer(float(rate), 60.0, Path(pace_file))
    moments: list[float] = []
    for _ in range(int(times)):
        pacer.wait()
        moments.append(time.monotonic())
    pacer.close()
    print(json.dumps(moments))


def ask_over_machines(url: str, rate: str, times: str, ahead: str) -> None:
    """As `ask`, at a pace that Redis keeps, on a machine whose clock is `ahead` seconds ahead."""
    from quant_assets.resources.pacing import Pacer
    from quant_assets.resources.shared_pace import SharedPace
    from quant_assets.resources.shared_redis import SharedRedis

    now = time.time
    time.time = lambda: now() + float(ahead)
    pacer = Pacer(float(rate), 60.0, None, SharedPace(SharedRedis(url), "yahoo", float(rate)))
    moments: list[float] = []
    for _ in range(int(times)):
        pacer.wait()
        moments.append(time.monotonic())
    pacer.close()
    print(json.dumps(moments))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
