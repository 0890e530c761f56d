"""Cool-downs and the pace by numbers: on a clock that goes on only where somebody waits."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from quant_assets.resources import pacing
from quant_assets.resources.interrupts import Interrupted
from quant_assets.resources.pacing import Pacer, RateBudgetSpent


class Clock:
    """Stands still but for those who wait; `waits` are their waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(pacing, "wait_unless_interrupted", self.wait)

    def wait(self, seconds: float) -> bool:
        assert len(self.waits) < 100
        self.waits.append(seconds)
        self.now += seconds
        return False

    def waited(self, pacer: Pacer) -> list[float]:
        """The waits of one request."""
        self.waits.clear()
        pacer.wait()
        return list(self.waits)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_nobody_waits_before_the_first_cool_down(clock: Clock) -> None:
    assert clock.waited(Pacer(0, 10.0, None)) == []


@pytest.mark.parametrize(
    ("seconds", "waits"),
    [(0.0, []), (0.25, [0.25]), (0.5, [0.5]), (1.0, [0.5, 0.5]), (1.25, [0.5, 0.5, 0.25]), (-1.0, [])],
)
def test_a_cool_down_is_waited_for_in_steps_of_half_a_second(
    clock: Clock, seconds: float, waits: list[float]
) -> None:
    pacer = Pacer(0, 10.0, None)
    pacer.cool_down(seconds)
    assert clock.waited(pacer) == waits
    assert clock.waited(pacer) == []


@pytest.mark.parametrize(
    ("cool_downs", "waited", "left"),
    [
        # The seconds asked for in all, overlaps counted once, and what is left of a budget of 4.
        ([1.0], 1.0, 3.0),
        ([1.0, 1.0], 1.0, 3.0),
        ([1.0, 0.25], 1.0, 3.0),
        ([0.25, 1.0], 1.0, 3.0),
        ([2.0, 0.25, 0.25, 1.0], 2.0, 2.0),
        ([4.0], 4.0, 0.0),
        ([0.0], 0.0, 4.0),
        ([-2.0], 0.0, 4.0),
    ],
)
def test_overlapping_cool_downs_take_of_the_budget_what_they_add(
    clock: Clock, cool_downs: list[float], waited: float, left: float
) -> None:
    for more, spent in ((0.0, False), (0.25, True)):
        pacer = Pacer(0, 4.0, None)
        for seconds in cool_downs:
            pacer.cool_down(seconds)
        assert sum(clock.waited(pacer)) == waited
        # Exactly what is left can still be waited for.
        pacer.cool_down(left + more)
        assert pacer.spent is spent
        if spent:
            with pytest.raises(RateBudgetSpent, match="the time allowed for waiting on rate limits is spent"):
                pacer.wait()
        else:
            assert sum(clock.waited(pacer)) == left


def test_a_cool_down_that_begins_while_another_lasts_ends_later(clock: Clock) -> None:
    pacer = Pacer(0, 4.0, None)
    pacer.cool_down(2.0)
    clock.now += 1.5
    pacer.cool_down(1.0)
    assert clock.waited(pacer) == [0.5, 0.5]
    # Two and a half seconds are spent.
    pacer.cool_down(1.5)
    assert not pacer.spent
    assert sum(clock.waited(pacer)) == 1.5
    pacer.cool_down(0.25)
    assert pacer.spent


def test_an_interrupt_ends_a_cool_down(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    pacer = Pacer(0, 4.0, None)
    pacer.cool_down(1.0)
    monkeypatch.setattr(pacing, "wait_unless_interrupted", lambda _: True)
    with pytest.raises(Interrupted, match="the run was interrupted"):
        pacer.wait()


def test_an_interrupt_ends_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "interrupted", lambda: True)
    with pytest.raises(Interrupted):
        Pacer(0, 4.0, None).wait()


def test_who_cools_down_in_the_queue_stands_in_it_anew(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    pacer, steps = Pacer(0, 10.0, None), list[str]()

    def acquire() -> None:
        steps.append(f"let through at {clock.now}")
        if len(steps) < 3:
            pacer.cool_down(0.25)

    monkeypatch.setattr(pacer, "_acquire", acquire)
    pacer.wait()
    assert steps == ["let through at 0.0", "let through at 0.25", "let through at 0.5"]


def test_who_asks_during_a_cool_down_stands_in_the_queue_once(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacer, steps = Pacer(0, 10.0, None), list[float]()
    monkeypatch.setattr(pacer, "_acquire", lambda: steps.append(clock.now))
    pacer.cool_down(0.25)
    pacer.wait()
    assert steps == [0.25]


# The pace: one request an interval, never a burst.


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("per_second", "interval"), [(0.5, 2_000), (1, 1_000), (2, 500), (3, 333), (1_000, 1), (5_000, 1)]
)
def test_a_pace_is_one_request_an_interval_of_whole_milliseconds(
    tmp_path: Path, per_second: float, interval: int, shared: bool
) -> None:
    pacer = Pacer(per_second, 1.0, tmp_path / "some" / "folder" / "pace.sqlite" if shared else None)
    limiter: Any = pacer._limiter
    (bucket,) = limiter.buckets()
    assert [(rate.limit, rate.interval) for rate in bucket.rates] == [(1, interval)]
    assert limiter.buffer_ms == 5
    # Between processes a lock on a file.
    assert isinstance(getattr(bucket, "lock", None), FileLock) is shared
    pacer.close()


def test_who_stands_in_the_queue_looks_up_four_times_a_second(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacer, looks = Pacer(1, 1.0, None), list[float]()
    real: Any = pacer._limiter

    def try_acquire(name: str, timeout: float) -> bool:
        looks.append(timeout)
        return len(looks) == 3

    monkeypatch.setattr(real, "try_acquire", try_acquire)
    pacer.wait()
    assert looks == [0.25] * 3
    pacer.close()


def test_the_shared_file_is_given_back(tmp_path: Path) -> None:
    pacer = Pacer(1, 1.0, tmp_path / "pace.sqlite")
    limiter: Any = pacer._limiter
    (bucket,) = limiter.buckets()
    connection = bucket.conn
    assert connection.execute("select 1").fetchone() == (1,)
    pacer.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("select 1")


def test_without_a_pace_nobody_stands_in_a_queue(tmp_path: Path) -> None:
    for per_second in (0, -1):
        pacer = Pacer(per_second, 1.0, tmp_path / "pace.sqlite")
        assert pacer._limiter is None
        pacer.wait()
        pacer.close()
    assert not (tmp_path / "pace.sqlite").exists()
