"""The cache in a real Redis: with a password, restarted, killed, hung and filled."""

from __future__ import annotations

import contextlib
import logging
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from quant_assets.dev.redis_server import RedisServer, redis_server
from quant_assets.resources.cache import AnswerCache, CacheUnavailable, Encoded, MemoryCache
from quant_assets.resources.redis_cache import RedisCache, shown
from quant_assets_tests.support import NEEDS_REDIS

pytestmark = NEEDS_REDIS
SECRET = "S3CRET"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server(SECRET) as started:
        yield started


@pytest.fixture
def cache(server: RedisServer) -> Iterator[RedisCache]:
    made = RedisCache(server.url, 60)
    yield made
    made.close()


def wait_until(met: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def asked(cache: RedisCache, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What requests have asked of Redis; each may wait for its time-out."""
    names: list[str] = []
    client = cache._client  # pyright: ignore[reportPrivateUsage]
    for name in ("get", "set"):
        call = getattr(client, name)
        monkeypatch.setattr(client, name, lambda *a, n=name, c=call, **k: (names.append(n), c(*a, **k))[1])
    return names


def test_answers_are_shared_and_end_with_their_time(server: RedisServer, cache: RedisCache) -> None:
    assert cache.get("a") is None
    assert cache.put("a", b"\x00\xff" * 1000)
    other = RedisCache(server.url, 60)
    assert other.get("a") == b"\x00\xff" * 1000
    other.close()
    client = redis.Redis.from_url(server.url)
    assert [0 < client.ttl(name) <= 60 for name in client.keys("quant-assets:*")] == [True]
    of_another_store = RedisCache(server.url, 60, "/another/store")
    assert of_another_store.get("a") is None
    of_another_store.close()


@pytest.mark.parametrize(
    "reply",
    [b"$abc\r\n", b":5\r\n", b"*-1\r\n", b"$99999999999999999999\r\nx", b"HTTP/1.1 400\r\n\r\n", b"\xff\r\n"],
)
def test_what_speaks_no_redis_is_a_cache_that_has_nothing(reply: bytes) -> None:
    class Garbage(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while self.request.recv(65536):
                    self.request.sendall(reply)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Garbage) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cache = RedisCache(f"redis://127.0.0.1:{server.server_address[1]}", 60)
        answers = AnswerCache(None, cache)
        try:
            assert [answers.get_or_make("a", lambda: Encoded(b"x"))[1] for _ in range(4)] == ["made"] * 4
            with pytest.raises(CacheUnavailable):
                cache.clear()
            assert cache.facts()["location"] == cache.location
        finally:
            cache.close()
            server.shutdown()


def test_clearing_forgets_ours_and_nothing_else(server: RedisServer, cache: RedisCache) -> None:
    client = redis.Redis.from_url(server.url)
    client.set("somebody:else", "x")
    cache.put("a", b"1")
    name = client.keys("quant-assets:*")[0].decode()
    client.mset({f"{name}{number}": "x" for number in range(2499)})
    assert cache.clear() == 2500
    assert client.keys() == [b"somebody:else"]
    assert cache.clear() == 0


def test_a_redis_that_is_killed_costs_nothing_and_is_used_again_when_it_is_back(
    server: RedisServer, cache: RedisCache, asked: list[str]
) -> None:
    cache.put("a", b"1")
    server.kill()
    assert [cache.get("a") for _ in range(5)] == [None] * 5
    assert cache.breaker.reason is not None
    asked.clear()
    assert not any(cache.get("a") or cache.put("b", b"2") for _ in range(100))
    assert asked == []
    facts = cache.facts()
    assert facts["state"] == "away"
    assert str(server.port) in str(facts["reason"])
    with pytest.raises(CacheUnavailable, match=str(server.port)) as refused:
        cache.clear()
    assert SECRET not in str(refused.value) + str(facts) + repr(cache.__dict__["location"])
    server.start()
    wait_until(lambda: cache.put("b", b"2"))
    assert cache.get("b") == b"2"
    assert cache.facts()["state"] == "ok"
    assert cache.breaker.opened == 1


def test_a_redis_that_hangs_holds_up_a_few_calls_for_a_moment_and_no_others(
    server: RedisServer, cache: RedisCache, asked: list[str]
) -> None:
    cache.put("a", b"1")
    server.hang()
    asked.clear()
    assert [cache.get("a") for _ in range(100)] == [None] * 100
    assert len(asked) == 3
    # Long enough for it to be probed while it hangs: no request does that.
    hung_until = time.monotonic() + 1.2
    while time.monotonic() < hung_until:
        assert cache.get("a") is None
        time.sleep(0.005)
    assert len(asked) == 3
    server.go_on()
    wait_until(lambda: cache.get("a") == b"1")


def test_a_full_redis_is_read_and_given_nothing_for_a_while(server: RedisServer, cache: RedisCache) -> None:
    cache.put("a", b"1")
    client = redis.Redis.from_url(server.url)
    client.config_set("maxmemory", client.info("memory")["used_memory"])
    client.config_set("maxmemory-policy", "noeviction")
    assert not cache.put("b", bytes(1_000_000))
    assert not cache.put("c", b"2")
    assert cache.get("a") == b"1"
    assert cache.facts()["state"] == "ok"
    assert cache.facts()["refused"] == 1


def test_a_wrong_password_is_told_and_not_shown(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cache = RedisCache(f"redis://:WR0NG@127.0.0.1:{server.port}", 60)
    assert [cache.get("a") for _ in range(5)] == [None] * 5
    facts = str(cache.facts())
    assert "away" in facts
    assert "invalid" in facts.lower()
    with pytest.raises(CacheUnavailable) as refused:
        cache.clear()
    assert "WR0NG" not in facts + str(refused.value) + caplog.text
    cache.close()


def test_the_process_in_front_keeps_its_answers_while_redis_is_gone(
    server: RedisServer, cache: RedisCache
) -> None:
    answers = AnswerCache(MemoryCache(1_000_000, 60), cache)
    assert answers.get_or_make("a", lambda: Encoded(b"1"))[1] == "made"
    server.kill()
    assert answers.get_or_make("a", lambda: Encoded(b"2")) == (Encoded(b"1"), "memory")
    for number in range(20):
        assert answers.get_or_make(f"b{number}", lambda: Encoded(b"3"))[1] == "made"
    assert answers.get_or_make("b7", lambda: Encoded(b"4")) == (Encoded(b"3"), "memory")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rediss://default:S3CRET@eu1.upstash.io:6379/0?password=S3CRET", "rediss://eu1.upstash.io:6379/0"),
        ("redis://localhost", "redis://localhost"),
    ],
)
def test_a_redis_is_shown_without_its_secrets(url: str, expected: str) -> None:
    assert shown(url) == expected
