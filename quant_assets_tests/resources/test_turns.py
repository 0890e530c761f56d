"""Turns over machines in a real Redis: one holder, an end with the process, and a Redis that goes away."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quant_assets.dev.redis_server import RedisServer, redis_server
from quant_assets.resources import shared_redis
from quant_assets.resources.shared_redis import Seen, SharedRedis, SharedRedisAway, wait_for
from quant_assets.resources.turns import FileTurns, SharedTurns, Turns
from quant_assets_tests.support import NEEDS_REDIS

pytestmark = NEEDS_REDIS
HOLDER = """
import sys, time
from quant_assets.resources import shared_redis, turns
shared_redis.RENEWAL_SECONDS = 0.1
turns.LEASE_SECONDS = 2
with turns.SharedTurns(shared_redis.SharedRedis(sys.argv[1], "store")).hold("fill-US"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    monkeypatch.setattr(shared_redis, "RENEWAL_SECONDS", 0.1)
    monkeypatch.setattr("quant_assets.resources.turns.LEASE_SECONDS", 1.5)
    monkeypatch.setattr("quant_assets.resources.turns._LOOK_SECONDS", 0.05)
    with redis_server("S3CRET") as started:
        yield started


@pytest.mark.parametrize("kind", ["files", "redis"])
def test_a_turn_is_one_holders_and_notes_are_left(server: RedisServer, tmp_path: Path, kind: str) -> None:
    def turns() -> Turns:
        return FileTurns(tmp_path) if kind == "files" else SharedTurns(SharedRedis(server.url, "store"))

    steps: list[str] = []

    def other() -> None:
        with turns().hold("fill-US", lambda: steps.append("waits")):
            steps.append(f"in after {turns().note('fill-US')}")

    assert turns().note("fill-US") == ""
    with turns().hold("fill-US"), turns().hold("fill-ASX"):
        turns().write_note("fill-US", "first")
        thread = threading.Thread(target=other)
        thread.start()
        # Longer than the lease, which is renewed.
        time.sleep(1.7)
        steps.append("out")
    thread.join()
    assert steps == ["waits", "out", "in after first"]


def test_another_stores_turns_are_others(server: RedisServer) -> None:
    one, other = (SharedTurns(SharedRedis(server.url, of)) for of in ("gs://a", "gs://b"))
    with one.hold("fill-US"), other.hold("fill-US"):
        one.write_note("fill-US", "a")
        assert other.note("fill-US") == ""


def test_a_turn_ends_when_its_process_was_killed(server: RedisServer) -> None:
    command = [sys.executable, "-c", HOLDER, server.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    killed: list[float] = []

    def kill() -> None:
        os.kill(process.pid, signal.SIGKILL)
        killed.append(time.monotonic())

    try:
        with SharedTurns(SharedRedis(server.url, "store")).hold("fill-US", kill):
            assert time.monotonic() - killed[0] < 15
    finally:
        process.kill()
        process.wait()


def test_who_waits_for_a_turn_while_redis_is_away_has_it_when_it_is_back(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    turns = SharedTurns(SharedRedis(server.url, "store"))
    server.kill()
    threading.Timer(0.5, server.start).start()
    # No note is equal to this one.
    assert turns.note("fill-US") != turns.note("fill-US") != ""
    with caplog.at_level(logging.WARNING), turns.hold("fill-US"):
        pass
    assert [r.getMessage() for r in caplog.records if "fill-US waits until it does" in r.getMessage()]
    assert "S3CRET" not in caplog.text


def test_who_has_a_turn_keeps_it_over_a_redis_that_has_lost_everything(server: RedisServer) -> None:
    entered: list[float] = []

    def other() -> None:
        with SharedTurns(SharedRedis(server.url, "store")).hold("fill-US"):
            entered.append(time.monotonic())

    with SharedTurns(SharedRedis(server.url, "store")).hold("fill-US"):
        server.kill()
        server.start()
        time.sleep(0.4)
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.6)
        left = time.monotonic()
    thread.join()
    assert entered[0] >= left


def test_who_waits_takes_no_turn_that_redis_has_lost_and_its_holder_still_has(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_redis, "RENEWAL_SECONDS", 0.5)
    waits, entered = threading.Event(), list[float]()

    def other() -> None:
        with SharedTurns(SharedRedis(server.url, "store")).hold("fill-US", waits.set):
            entered.append(time.monotonic())

    shared = SharedRedis(server.url, "store")
    with SharedTurns(shared).hold("fill-US"):
        thread = threading.Thread(target=other)
        thread.start()
        assert waits.wait(20)
        for _ in range(3):
            # Emptied by somebody, or full and throwing away.
            shared.client.flushall()
            time.sleep(0.6)
        left = time.monotonic()
    thread.join()
    # Given back, it is the other's at once.
    assert left <= entered[0] < left + 0.6
    assert "both go on" not in caplog.text


def test_a_mark_is_renewed_outlives_a_lost_redis_and_ages_with_a_killed_process(server: RedisServer) -> None:
    shared = SharedRedis(server.url, "store")
    assert shared.seen("run") == Seen(None, shared.seen("run").up)
    with shared.mark("run"):
        assert (shared.seen("run").ago or 0) <= 1
        server.kill()
        server.start()
        time.sleep(0.5)
        assert shared.seen("run").ago is not None
    assert shared.seen("run").ago is None
    shared.client.hset(f"{shared.prefix}runs", "run", str(int(time.time()) - 100))
    assert 99 <= (shared.seen("run").ago or 0) <= 105
    shared.forget("run")
    assert shared.seen("run").ago is None
    shared.close()


def test_a_launch_waits_for_redis_and_not_for_ever(server: RedisServer) -> None:
    shared, told = SharedRedis(server.url, "store"), list[str]()
    wait_for(shared, 5, told.append)
    assert told == []
    server.kill()
    with pytest.raises(SharedRedisAway, match="QUANT_ASSETS_SHARED_REDIS"):
        wait_for(shared, 0, told.append)
    threading.Timer(0.3, server.start).start()
    wait_for(shared, 20, told.append)
    assert len(told) == 1
    assert "does not answer" in told[0]
    assert "S3CRET" not in told[0]
    shared.close()
