"""One pace over machines in a real Redis: even, by its clock, and without a burst while Redis is away."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from quant_assets.dev.redis_server import RedisServer, redis_server
from quant_assets.resources.pacing import Pacer
from quant_assets.resources.settings import Settings
from quant_assets.resources.shared_pace import SharedPace
from quant_assets.resources.shared_redis import SharedRedis
from quant_assets.resources.yahoo_client import cache_folder, open_client
from quant_assets_tests.resources.workers import answer, ask_over_machines, start
from quant_assets_tests.support import NEEDS_REDIS

pytestmark = NEEDS_REDIS


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server("S3CRET") as started:
        yield started


def pacer(server: RedisServer, rate: float, workers: int = 1) -> Pacer:
    return Pacer(rate, 60.0, None, SharedPace(SharedRedis(server.url), "yahoo", rate, workers))


def moments_of(pacers: Sequence[Pacer], seconds: float) -> list[float]:
    """When requests were let through that each of the pacers asks for without a pause."""
    found: list[float] = []
    until = time.monotonic() + seconds

    def ask(one: Pacer) -> None:
        while time.monotonic() < until:
            one.wait()
            found.append(time.monotonic())

    threads = [threading.Thread(target=ask, args=[one]) for one in pacers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


def most_within(moments: Sequence[float], seconds: float) -> int:
    return max(sum(first <= one < first + seconds for one in moments) for first in moments)


def test_processes_with_clocks_that_differ_keep_one_even_pace(server: RedisServer) -> None:
    # Each process has a clock of its own: the second one's is an hour ahead.
    workers = [start(ask_over_machines, server.url, 20, 15, ahead) for ahead in (0, 3600)]
    moments = sorted(moment for worker in workers for moment in json.loads(answer(worker)))
    assert len(moments) == 30
    assert moments[-1] - moments[0] >= 29 / 20 * 0.98
    assert most_within(moments, 0.5) <= 11


def test_a_cool_down_of_one_holds_for_all(server: RedisServer) -> None:
    one, other = pacer(server, 100), pacer(server, 100)
    one.wait()
    one.cool_down(0.6)
    started = time.monotonic()
    other.wait()
    assert time.monotonic() - started >= 0.58
    # The shorter of two does not cut the longer one off.
    one.cool_down(0.5)
    other.cool_down(0.05)
    started = time.monotonic()
    other.wait()
    assert time.monotonic() - started >= 0.45
    one.close()
    other.close()


def test_redis_goes_away_and_comes_back_and_there_is_never_a_burst(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    rate, caught = 20.0, list[float]()
    pacers = [pacer(server, rate), pacer(server, rate)]
    for one in pacers:
        one.wait()
    caplog.set_level(logging.WARNING)
    thread = threading.Thread(target=lambda: caught.extend(moments_of(pacers, 6.0)))
    thread.start()
    time.sleep(1.0)
    gone = time.monotonic()
    server.kill()
    time.sleep(2.0)
    back = time.monotonic()
    # Empty: what it knew is lost with it.
    server.start()
    thread.join()
    for one in pacers:
        one.close()
    away = [moment for moment in caught if gone + 0.2 < moment < back]
    # Both went on, at half the pace each, in slots of their own.
    assert 0.7 * rate * 1.8 <= len(away) <= rate * 1.8 + 2
    assert most_within(caught, 1.0) <= rate + 2, [round(b - a, 3) for a, b in pairwise(caught)]
    after = [moment for moment in caught if moment > back + 3.0]
    assert len(after) >= 0.7 * rate * (caught[-1] - back - 3.0)
    said = [record.getMessage() for record in caplog.records if "pace" in record.getMessage()]
    assert sum("one of 2 shares of the pace" in text for text in said) == 2
    assert sum("answers again" in text for text in said) == 2
    assert "S3CRET" not in caplog.text


def test_who_begins_while_redis_is_away_takes_one_share_of_the_workers(server: RedisServer) -> None:
    server.kill()
    alone = pacer(server, 40, workers=4)
    moments = moments_of([alone], 1.0)
    alone.close()
    assert 5 <= len(moments) <= 12


def test_a_source_of_these_settings_asks_at_the_common_pace_of_its_host(
    server: RedisServer, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "home": tmp_path,
        "shared_redis": SecretStr(server.url),
        "source_url": "http://127.0.0.1:9",
    }
    client = open_client(Settings(**given, requests_per_second=50))
    unpaced = open_client(Settings(**given, requests_per_second=0))
    client.pacer.wait()
    unpaced.pacer.wait()
    name = cache_folder(Settings(**given)).name
    kept: Any = redis.Redis.from_url(server.url, decode_responses=True)
    assert set(kept.scan_iter()) == {f"quant-assets:pace:{name}", f"quant-assets:pace:{name}:askers"}
    client.close()
    unpaced.close()
    # And no file of this machine's own.
    assert not list(tmp_path.rglob("pace.sqlite"))


def test_a_hung_redis_does_not_stop_a_run(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant_assets.resources.shared_redis._TIMEOUT", 0.1)
    one = pacer(server, 50)
    one.wait()
    server.hang()
    started = time.monotonic()
    for _ in range(3):
        one.wait()
    assert time.monotonic() - started < 2
    server.go_on()
    one.close()


def test_a_clock_of_redis_that_is_set_back_holds_nobody_up_for_long(server: RedisServer) -> None:
    shared = SharedRedis(server.url)
    shared.client.hset("quant-assets:pace:yahoo", "free", str((int(time.time()) + 3600) * 1_000_000))
    one = pacer(server, 50)
    started = time.monotonic()
    one.wait()
    assert time.monotonic() - started < 3
    one.close()
    assert shared.client.zcard("quant-assets:pace:yahoo:askers") == 0
    shared.close()
