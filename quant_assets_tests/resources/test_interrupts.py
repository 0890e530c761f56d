"""Interrupts come to an orderly stop: no further request, what was asked is answered, and then the signal arrives."""

# The interrupt arrives at the end of a block, not from one statement.
# ruff: noqa: PT012

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import pytest

from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.interrupts import (
    Interrupted,
    before_delivery,
    interrupted,
    orderly_stop,
    wait_unless_interrupted,
)
from quant_assets.resources.locks import one_at_a_time
from quant_assets.resources.source import HistoryRequest, Outcome
from quant_assets.resources.yahoo import YahooSource
from quant_assets_tests.support import quick_settings


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def test_orderly_stop_holds_an_interrupt_back_until_its_end() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt), before_delivery(lambda: steps.append("delivery")), orderly_stop():
        interrupt()
        assert interrupted()
        assert wait_unless_interrupted(60)
        steps.append("work done")
    assert steps == ["work done", "delivery"]
    assert not interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_is_delivered_at_once() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt) as raised, orderly_stop():
        interrupt()
        steps.append("first")
        interrupt()
        steps.append("second")
    assert steps == ["first"]
    # Once at once, and once more at the end.
    assert isinstance(raised.value.__context__, KeyboardInterrupt)


def test_what_was_to_be_called_before_a_delivery_is_not_called_afterwards() -> None:
    calls: list[str] = []
    with before_delivery(lambda: calls.append("call")):
        pass
    with pytest.raises(KeyboardInterrupt), orderly_stop():
        interrupt()
    assert calls == []


def test_a_second_interrupt_is_delivered_at_once_inside_another_orderly_stop_as_well() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt), orderly_stop(), orderly_stop():
        interrupt()
        steps.append("first")
        interrupt()
        steps.append("second")
    assert steps == ["first"]


def test_the_first_signal_is_delivered_at_the_end_whichever_came_second() -> None:
    delivered: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda found, _: delivered.append(found)) for number in signals]
    try:
        with orderly_stop():
            signal.raise_signal(signal.SIGINT)
            assert delivered == []
            signal.raise_signal(signal.SIGTERM)
            assert delivered == [signal.SIGTERM]
        assert delivered == [signal.SIGTERM, signal.SIGINT]
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def test_orderly_stop_delivers_an_interrupt_to_whoever_handled_it_before_and_over_an_error() -> None:
    class Cancelled(BaseException): ...

    def handle(*_: object) -> None:
        raise Cancelled

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with pytest.raises(Cancelled), orderly_stop(), orderly_stop():
            signal.raise_signal(signal.SIGTERM)
            raise ValueError("what the work found wrong")
    finally:
        signal.signal(signal.SIGTERM, before)


def test_orderly_stop_outside_the_main_thread_does_nothing() -> None:
    found: list[object] = []

    def work() -> None:
        with orderly_stop():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


def requests(market: ReplayHandle) -> list[HistoryRequest]:
    symbols = [entry["symbol"] for entry in market.catalog()]
    return [HistoryRequest(s, date(2013, 1, 2), "America/New_York") for s in symbols if "." not in s] + [
        HistoryRequest(s, date(2013, 1, 2), "Australia/Sydney") for s in symbols if s.endswith(".AX")
    ]


@pytest.mark.parametrize("pace", [0, 5])
def test_an_interrupted_source_asks_nothing_more_and_names_what_was_not_asked(
    market: ReplayHandle, tmp_path: Path, pace: float
) -> None:
    wanted = requests(market)
    assert len(wanted) == 15
    source = YahooSource(quick_settings(tmp_path, market.url, requests_per_second=pace, concurrency=2))
    results = {}
    asked_then = 0
    with pytest.raises(KeyboardInterrupt), orderly_stop():
        for result in source.history(wanted):
            results[result.symbol] = result
            if len(results) == 5:
                interrupt()
                stopped = time.monotonic()
                asked_then = sum(market.stats()["chart_data"].values())
        assert time.monotonic() - stopped < 5
    source.close()
    asked = market.stats()["chart_data"]
    # Two threads: what they had begun, they end.
    assert sum(asked.values()) <= asked_then + 2
    assert len(results) == 15
    not_asked = {s for s, r in results.items() if r.reason == "not asked: the run was interrupted"}
    assert not_asked == set(results) - set(asked)
    assert all(results[s].outcome is Outcome.FAILED for s in not_asked)
    assert {results[s].facts.get("attempts", 0) for s in not_asked} <= {0}
    assert all(results[s].outcome is Outcome.OK for s in asked)


def test_an_interrupt_ends_the_pause_before_another_attempt(market: ReplayHandle, tmp_path: Path) -> None:
    market.add_faults({"kind": "server_error_500_html", "symbol": "*", "times": "persistent"})
    source = YahooSource(quick_settings(tmp_path, market.url, retry_wait_seconds=60))
    timer = threading.Timer(1, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), orderly_stop():
        timer.start()
        results = list(source.history(requests(market)[:1]))
        assert [(r.outcome, r.facts["attempts"]) for r in results] == [(Outcome.FAILED, 1)]
    source.close()
    assert time.monotonic() - started < 20


HOLD = """
import sys, time
from pathlib import Path
from quant_assets.resources.locks import one_at_a_time
with one_at_a_time(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_waited_for_says_so_and_ends_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "locks" / "US"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    waits: list[str] = []

    def on_wait() -> None:
        waits.append("waiting")
        holder.kill()

    with one_at_a_time(file, on_wait), pytest.raises(KeyboardInterrupt) as raised:
        holder.wait()
        with orderly_stop(), one_at_a_time(file, interrupt):
            pytest.fail("two hold it")
    assert isinstance(raised.value.__context__, Interrupted)
    assert waits == ["waiting"]
    holder.communicate()
