"""One pace for all threads and processes, and cool-downs that everyone keeps."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from quant_assets.resources.counters import count, counted
from quant_assets.resources.pacing import Pacer, RateBudgetSpent
from quant_assets_tests.resources.workers import answer, ask, start


def seconds_of(*steps: object) -> float:
    started = time.monotonic()
    for step in steps:
        assert callable(step)
        step()
    return time.monotonic() - started


def test_unpaced_requests_do_not_wait() -> None:
    pacer = Pacer(0, 1.0, None)
    assert seconds_of(*[pacer.wait] * 1000) < 0.5
    pacer.close()


@pytest.mark.parametrize("shared", [False, True])
def test_threads_share_one_pace(tmp_path: Path, shared: bool) -> None:
    pacer = Pacer(20, 1.0, tmp_path / "folder" / "pace.sqlite" if shared else None)
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        moments = sorted(pool.map(lambda _: (pacer.wait(), time.monotonic())[1], range(13)))
    pacer.close()
    assert moments[-1] - started >= 12 / 20 * 0.9
    assert moments[-1] - started < 12 / 20 * 4
    # No bursts: the requests are spread out.
    assert min(later - earlier for earlier, later in pairwise(moments[::4])) >= 4 / 20 * 0.5


def test_a_shared_pace_may_lie_in_a_folder_that_is_there(tmp_path: Path) -> None:
    for _ in range(2):
        pacer = Pacer(100, 1.0, tmp_path / "pace.sqlite")
        pacer.wait()
        pacer.close()
    assert (tmp_path / "pace.sqlite").exists()


def test_processes_that_share_a_file_share_one_pace(tmp_path: Path) -> None:
    workers = [start(ask, tmp_path / "pace.sqlite", 10, 8) for _ in range(2)]
    moments = sorted(moment for worker in workers for moment in json.loads(answer(worker)))
    assert len(moments) == 16
    assert moments[-1] - moments[0] >= 15 / 10 * 0.9


# --- cool-downs


def test_nobody_asks_during_a_cool_down() -> None:
    pacer = Pacer(0, 10.0, None)
    pacer.cool_down(0.3)
    assert seconds_of(pacer.wait) >= 0.29
    assert seconds_of(pacer.wait) < 0.1
    assert not pacer.spent


def test_a_request_that_stands_in_the_queue_when_a_cool_down_begins_keeps_it() -> None:
    pacer = Pacer(4, 10.0, None)
    pacer.wait()
    let_through: list[float] = []
    queued = threading.Thread(target=lambda: (pacer.wait(), let_through.append(time.monotonic())))
    queued.start()
    time.sleep(0.05)
    cooled = time.monotonic()
    pacer.cool_down(0.6)
    queued.join()
    pacer.close()
    assert let_through[0] - cooled >= 0.59


def test_overlapping_cool_downs_count_once_against_the_budget() -> None:
    pacer = Pacer(0, 1.0, None)
    for _ in range(20):
        pacer.cool_down(0.5)
    assert not pacer.spent
    pacer.cool_down(0.2)
    assert seconds_of(pacer.wait) < 0.65
    # Half a second is spent and half is left.
    pacer.cool_down(0.4)
    assert not pacer.spent
    pacer.cool_down(0.8)
    assert pacer.spent


def test_a_short_cool_down_does_not_cut_off_a_long_one() -> None:
    pacer = Pacer(0, 10.0, None)
    pacer.cool_down(0.5)
    pacer.cool_down(0.05)
    assert seconds_of(pacer.wait) >= 0.45


def test_a_long_cool_down_goes_on_after_a_short_one() -> None:
    pacer = Pacer(0, 10.0, None)
    pacer.cool_down(0.05)
    pacer.cool_down(0.5)
    assert seconds_of(pacer.wait) >= 0.45


def test_a_budget_that_is_spent_ends_the_asking_at_once() -> None:
    pacer = Pacer(0, 0.2, None)
    pacer.cool_down(60)
    assert pacer.spent

    def refused() -> None:
        with pytest.raises(RateBudgetSpent, match="spent"):
            pacer.wait()

    assert seconds_of(refused) < 0.1


def test_who_waits_is_told_when_the_budget_is_spent_meanwhile() -> None:
    pacer = Pacer(0, 1.0, None)
    pacer.cool_down(0.9)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pacer.wait)
        time.sleep(0.05)
        pacer.cool_down(60)
        with pytest.raises(RateBudgetSpent):
            waiting.result(timeout=5)


# --- counters


def test_counting_from_many_threads_loses_nothing() -> None:
    before = counted("test")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [count("test", 2) for _ in range(500)], range(8)))
    assert counted("test") - before == 8_000
    count("test")
    assert counted("test") - before == 8_001
    assert counted("never counted") == 0
