"""A cache of encoded answers: in this process, and behind it, where one is set, in Redis.

A key says all that an answer is made of, the versions of its objects among it: what is found is never stale, and
what has been replaced is not asked for again and falls out by age. So nothing has to be told when data changes, and
whatever the cache loses or cannot reach is only made anew.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, cast

import google_crc32c
import orjson

from quant_assets.errors import QuantAssetsError

T = TypeVar("T")

warming: ContextVar[bool] = ContextVar("warming", default=False)
"""Whether nobody waits for the answer: it is made for the cache, and counts as neither hit nor miss."""

_SHARE = 8
"""One entry may take this part of the memory at most: a single large answer must not push all others out."""
_ENTRY_COSTS = 512
"""Bytes that an entry takes beside its own."""
_JOINED_SECONDS = 60.0
"""How long a request waits for another one's answer before it makes its own."""

Outcome = Literal["memory", "redis", "joined", "made"]
"""Where an answer comes from: in "joined", from another request that was making it."""


class CacheUnavailable(QuantAssetsError):
    """Redis does not answer, or not as it should; the message names where it is, without its password."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An answer as it goes over the wire."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def packed(self) -> bytes:
        """One piece of bytes that tells when it is damaged."""
        head = orjson.dumps(dict(self.headers))
        rest = len(head).to_bytes(4, "big") + head + self.body
        return _sum(rest) + rest

    @classmethod
    def unpacked(cls, data: bytes) -> Encoded | None:
        """What was packed; None when the bytes are not that."""
        if len(data) < 8 or data[:4] != _sum(data[4:]):
            return None
        end = 8 + int.from_bytes(data[4:8], "big")
        try:
            headers: object = orjson.loads(data[8:end])
        except ValueError:
            return None
        return cls(data[end:], cast("dict[str, str]", headers)) if isinstance(headers, dict) else None


def _sum(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(4, "big")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


class MemoryCache:
    """Answers in this process: the least recently used fall out beyond `limit` bytes, and each after `seconds`."""

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[Encoded, float, int]] = OrderedDict()
        self._bytes = 0
        self._evicted = 0

    def get(self, key: str) -> Encoded | None:
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            if found[1] <= self._clock():
                self._drop(key)
                return None
            self._entries.move_to_end(key)
            return found[0]

    def put(self, key: str, answer: Encoded) -> bool:
        """Whether it is kept: what takes too large a part of all is not."""
        parts = sum(len(name) + len(value) for name, value in answer.headers.items())
        size = len(answer.body) + len(key) + parts + _ENTRY_COSTS
        if size > self.limit // _SHARE:
            return False
        with self._lock:
            if key in self._entries:
                self._drop(key)
            self._entries[key] = answer, self._clock() + self._seconds, size
            self._bytes += size
            while self._bytes > self.limit:
                self._drop(next(iter(self._entries)))
                self._evicted += 1
        return True

    def clear(self) -> int:
        """Forgets all; answers how many there were."""
        with self._lock:
            count = len(self._entries)
            self._entries.clear()
            self._bytes = 0
        return count

    def facts(self) -> dict[str, int]:
        """entries, bytes, limit_bytes, evicted."""
        with self._lock:
            return {
                "entries": len(self._entries),
                "bytes": self._bytes,
                "limit_bytes": self.limit,
                "evicted": self._evicted,
            }

    def _drop(self, key: str) -> None:
        self._bytes -= self._entries.pop(key)[2]


@dataclass(frozen=True, slots=True)
class Health:
    """How a shared cache does: why it is not asked (None: it is), how often it stopped answering, and how many
    answers it refused to keep."""

    reason: str | None
    opened: int
    refused: int


class FarCache(Protocol):
    """A cache that processes share. A call never raises and never waits long: what cannot be had is not there."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, data: bytes) -> bool: ...

    def clear(self) -> int:
        """Forgets all answers; how many there were. Raises CacheUnavailable."""
        ...

    def health(self) -> Health:
        """What is known without asking."""
        ...

    def facts(self) -> dict[str, object]:
        """state ("ok" or "away"), reason, location, and what the server tells of itself."""
        ...

    def close(self) -> None: ...


class AnswerCache:
    """The cache that answers go through. All calls may be made from several threads.

    Args:
        near: in this process; None: none.
        far: shared by processes; None: none.
    """

    def __init__(self, near: MemoryCache | None, far: FarCache | None = None) -> None:
        self.near, self.far = near, far
        self._lock = threading.Lock()
        self._making: dict[str, Future[object]] = {}
        self._outcomes: Counter[str] = Counter()

    def get(self, key: str) -> tuple[Encoded, Outcome] | None:
        """The answer and where it was found. Counted as a hit or not at all: `get_or_make` counts misses."""
        if self.near is not None and (found := self.near.get(key)) is not None:
            self._count("memory")
            return found, "memory"
        if self.far is not None and (data := self.far.get(key)) is not None:
            found = Encoded.unpacked(data)
            if found is not None:
                if self.near is not None:
                    self.near.put(key, found)
                self._count("redis")
                return found, "redis"
        return None

    def put(self, key: str, answer: Encoded) -> None:
        if self.near is not None:
            self.near.put(key, answer)
        if self.far is not None:
            self.far.put(key, answer.packed())

    def get_or_make(self, key: str, make: Callable[[], T]) -> tuple[T | Encoded, Outcome]:
        """The answer of this key: as it is kept, as another request is making it just now, or made.

        Only an `Encoded` is kept and shared; whatever else `make` answers (a stream) is its caller's alone, and
        those who waited for it make their own. Raises what `make` raises, for those who waited as well.
        """
        if (kept := self.get(key)) is not None:
            return kept
        with self._lock:
            making = self._making.get(key)
            mine = Future[object]() if making is None else None
            if mine is not None:
                self._making[key] = mine
        if making is not None:
            try:
                made = making.result(_JOINED_SECONDS)
            except NotYet:
                made = None
            if isinstance(made, Encoded):
                self._count("joined")
                return made, "joined"
        self._count("made")
        try:
            answer = make()
            if mine is not None and isinstance(answer, Encoded):
                self.put(key, answer)
        except BaseException as error:
            # Those who wait for this answer would else wait until they give up.
            if mine is not None:
                self._end(key)
                mine.set_exception(error)
                mine.exception()
            raise
        if mine is not None:
            self._end(key)
            mine.set_result(answer if isinstance(answer, Encoded) else None)
        return answer, "made"

    def clear(self) -> int:
        """Forgets all answers, here and, where it is set, in Redis; how many. Raises CacheUnavailable."""
        here = self.near.clear() if self.near is not None else 0
        return self.far.clear() if self.far is not None else here

    def outcomes(self) -> dict[str, int]:
        """How many answers came from where, since the process started."""
        with self._lock:
            return {name: self._outcomes[name] for name in ("memory", "redis", "joined", "made")}

    def hit_rate(self) -> float | None:
        """The share of answers that were not made anew; None before the first."""
        counts = self.outcomes()
        asked = sum(counts.values())
        return None if not asked else 1 - counts["made"] / asked

    def facts(self) -> dict[str, object]:
        """What there is of it, as `GET /v1/cache` tells it."""
        return {
            "kind": "redis" if self.far is not None else "memory" if self.near is not None else "off",
            "hit_rate": self.hit_rate(),
            "answers": self.outcomes(),
            "memory": self.near.facts() if self.near is not None else None,
            "redis": self.far.facts() if self.far is not None else None,
        }

    def close(self) -> None:
        if self.far is not None:
            self.far.close()

    def _count(self, outcome: Outcome) -> None:
        if warming.get():
            return
        with self._lock:
            self._outcomes[outcome] += 1

    def _end(self, key: str) -> None:
        with self._lock:
            del self._making[key]
