"""Looks that readers share: few, and never older than the question."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectInfo, StoreUnavailable
from quant_assets.resources.shared_looks import SharedLooks


class Slow(LocalObjectStore):
    """A folder that takes its time to be looked at."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.looks = 0
        self.at_once = self.most_at_once = 0
        self.away = False
        self._count = threading.Lock()

    def head(self, key: str) -> ObjectInfo | None:
        with self._count:
            self.looks += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if self.away:
            self.at_once -= 1
            raise StoreUnavailable("away")
        found = super().head(key)
        time.sleep(0.01)
        with self._count:
            self.at_once -= 1
        return found


@pytest.fixture
def store(tmp_path: Path) -> Slow:
    return Slow(tmp_path)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_a_look_is_never_older_than_the_question_and_many_share_one(
    store: Slow, threads: ThreadPoolExecutor
) -> None:
    shared = SharedLooks(store)
    newest = store.put("a", b"0").version
    lock = threading.Lock()

    def write_and_look(number: int) -> bool:
        nonlocal newest
        with lock:
            newest = store.put("a", b"x" * number).version
            mine = newest
        found = shared.head("a")
        assert found is not None
        return found.version >= mine

    assert all(threads.map(write_and_look, range(200)))
    assert store.looks < 120
    assert store.most_at_once == 1
    assert not shared._next
    assert not shared._under_way


def test_an_error_is_everybodys_and_ends_with_its_look(store: Slow, threads: ThreadPoolExecutor) -> None:
    shared = SharedLooks(store)
    store.away = True
    for asked in [threads.submit(shared.head, "a") for _ in range(20)]:
        with pytest.raises(StoreUnavailable):
            asked.result(10)
    store.away = False
    assert shared.head("a") is None
    store.put("t/a", b"1")
    assert [info.key for info in shared.list("t/")] == ["t/a"]
    assert shared.groups("t", "/") == ["t/"]
