"""The cache in this process, and how requests for the same answer come together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from quant_assets.resources.cache import AnswerCache, Encoded, Health, MemoryCache


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_least_recently_used_answers_make_room() -> None:
    cache = MemoryCache(100_000, 60)
    for name in "abcdefgh":
        assert cache.put(name, Encoded(bytes(11_500)))
    assert cache.get("a") is not None
    assert cache.put("i", Encoded(bytes(11_500)))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    facts = cache.facts()
    assert facts["entries"] == 8
    assert facts["bytes"] <= facts["limit_bytes"] == 100_000
    assert facts["evicted"] == 1
    assert cache.clear() == 8
    assert cache.facts()["bytes"] == 0


def test_an_answer_larger_than_an_eighth_of_all_is_not_kept() -> None:
    cache = MemoryCache(80_000, 60)
    assert not cache.put("large", Encoded(bytes(10_000)))
    assert cache.facts()["entries"] == 0


def test_replacing_an_answer_counts_its_bytes_once() -> None:
    cache = MemoryCache(100_000, 60)
    for _ in range(50):
        cache.put("a", Encoded(bytes(5_000), {"ETag": "x"}))
    assert cache.facts()["entries"] == 1
    assert cache.facts()["bytes"] < 6_000


def test_an_answer_is_forgotten_after_its_time() -> None:
    clock = Clock()
    cache = MemoryCache(100_000, 60, clock)
    cache.put("a", Encoded(b"x"))
    clock.now = 59.9
    assert cache.get("a") == Encoded(b"x")
    clock.now = 60
    assert cache.get("a") is None
    assert cache.facts() == {"entries": 0, "bytes": 0, "limit_bytes": 100_000, "evicted": 0}


def test_a_packed_answer_that_was_damaged_is_none() -> None:
    answer = Encoded(b"body of bytes", {"Content-Type": "text/csv", "ETag": '"é"'})
    packed = answer.packed()
    assert Encoded.unpacked(packed) == answer
    for place in range(len(packed)):
        spoiled = bytearray(packed)
        spoiled[place] ^= 4
        assert Encoded.unpacked(bytes(spoiled)) is None
    assert Encoded.unpacked(packed[:-1]) is None
    assert Encoded.unpacked(b"") is None


class Far:
    """A shared cache, in a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def put(self, key: str, data: bytes) -> bool:
        self.kept[key] = data
        return True

    def clear(self) -> int:
        count = len(self.kept)
        self.kept.clear()
        return count

    def health(self) -> Health:
        return Health(None, 0, 0)

    def facts(self) -> dict[str, object]:
        return {"state": "ok"}

    def close(self) -> None:
        pass


def test_an_answer_is_found_here_then_in_the_shared_cache_and_else_made() -> None:
    far = Far()
    first, second = (AnswerCache(MemoryCache(100_000, 60), far) for _ in range(2))
    assert first.get_or_make("a", lambda: Encoded(b"1")) == (Encoded(b"1"), "made")
    assert first.get_or_make("a", lambda: Encoded(b"2")) == (Encoded(b"1"), "memory")
    assert second.get_or_make("a", lambda: Encoded(b"2")) == (Encoded(b"1"), "redis")
    assert second.get_or_make("a", lambda: Encoded(b"2")) == (Encoded(b"1"), "memory")
    assert second.outcomes() == {"memory": 1, "redis": 1, "joined": 0, "made": 0}
    assert first.hit_rate() == 0.5
    far.kept["b"] = b"what somebody else has put there"
    assert second.get_or_make("b", lambda: Encoded(b"3")) == (Encoded(b"3"), "made")
    assert second.clear() == 2
    assert second.get("a") is None


def test_without_a_cache_every_answer_is_made() -> None:
    cache = AnswerCache(None)
    assert cache.hit_rate() is None
    assert [cache.get_or_make("a", lambda: Encoded(b"1"))[1] for _ in range(3)] == ["made"] * 3
    assert cache.facts()["kind"] == "off"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def test_an_answer_that_many_want_at_once_is_made_once(threads: ThreadPoolExecutor) -> None:
    cache = AnswerCache(MemoryCache(100_000, 60))
    begun, go_on = threading.Event(), threading.Event()
    made: list[int] = []

    def make() -> Encoded:
        made.append(1)
        begun.set()
        assert go_on.wait(10)
        return Encoded(b"x")

    first = threads.submit(cache.get_or_make, "a", make)
    assert begun.wait(10)
    others = [threads.submit(cache.get_or_make, "a", make) for _ in range(6)]
    assert cache.get_or_make("b", lambda: Encoded(b"y"))[1] == "made"
    go_on.set()
    assert first.result(10) == (Encoded(b"x"), "made")
    assert {other.result(10)[1] for other in others} <= {"joined", "memory"}
    assert made == [1]


def test_a_failure_is_everybodys_who_waited_and_nothing_is_kept_of_it(threads: ThreadPoolExecutor) -> None:
    cache = AnswerCache(MemoryCache(100_000, 60))
    begun, go_on = threading.Event(), threading.Event()

    def fail() -> Encoded:
        begun.set()
        assert go_on.wait(10)
        raise ValueError("no such symbol")

    both = [threads.submit(cache.get_or_make, "a", fail)]
    assert begun.wait(10)
    both.append(threads.submit(cache.get_or_make, "a", fail))
    go_on.set()
    for one in both:
        with pytest.raises(ValueError, match="no such symbol"):
            one.result(10)
    assert cache.get_or_make("a", lambda: Encoded(b"x")) == (Encoded(b"x"), "made")


def test_a_stream_is_not_shared(threads: ThreadPoolExecutor) -> None:
    cache = AnswerCache(MemoryCache(100_000, 60))
    begun, go_on = threading.Event(), threading.Event()

    def stream() -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(10)
        return iter([b"x"])

    first = threads.submit(cache.get_or_make, "a", stream)
    assert begun.wait(10)
    second = threads.submit(cache.get_or_make, "a", stream)
    go_on.set()
    one, other = first.result(10)[0], second.result(10)[0]
    assert one is not other
    assert not isinstance(one, Encoded)
    assert cache.get("a") is None
