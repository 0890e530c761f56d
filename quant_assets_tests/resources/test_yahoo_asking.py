"""How the Yahoo source asks: how many at once, how often, after what pauses, and when it gives up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from curl_cffi.requests.exceptions import RequestException
from yfinance.exceptions import YFException

from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources import yahoo, yahoo_session
from quant_assets.resources.interrupts import Interrupted
from quant_assets.resources.pacing import Pacer, RateBudgetSpent
from quant_assets.resources.source import FetchResult, HistoryRequest, Outcome, SourceUnavailable
from quant_assets.resources.yahoo import YahooSource
from quant_assets.resources.yahoo_client import cache_folder
from quant_assets_tests.resources.asking import NEW_YORK, Make, ask, wanted
from quant_assets_tests.support import quick_settings

NOWHERE = "http://127.0.0.1:1"
NAMES = [f"S{number:02d}" for number in range(40)]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[YahooSource]:
    source = YahooSource(quick_settings(tmp_path, NOWHERE, concurrency=1))
    yield source
    source.close()


@dataclass
class Answers:
    """One answer at a time: a symbol is answered when the one before it has been taken."""

    unanswered: set[str]
    facts: dict[str, Any]
    asked: list[str] = field(default_factory=list[str])
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def one(self, request: HistoryRequest) -> FetchResult:
        self.asked.append(request.symbol)
        assert self.turn.acquire(timeout=60)
        if request.symbol in self.unanswered:
            return FetchResult(request.symbol, Outcome.FAILED, "no answer", facts=self.facts)
        return FetchResult(request.symbol, Outcome.OK)

    def take(self, source: YahooSource, names: list[str]) -> list[tuple[str, str]]:
        """Symbols and reasons, in the order they come."""
        found: list[tuple[str, str]] = []
        results = source.history(wanted(*names))
        while True:
            self.turn.release()
            result = next(results, None)
            if result is None:
                return found
            found.append((result.symbol, result.reason))


@pytest.mark.parametrize(
    ("good", "asked"),
    [([], 13), ([0], 14), ([11], 25), ([12], 13), ([10, 22], 36), ([10, 23], 24)],
)
def test_after_twelve_in_a_row_without_an_answer_only_what_is_under_way_is_asked(
    source: YahooSource, monkeypatch: pytest.MonkeyPatch, good: list[int], asked: int
) -> None:
    answers = Answers({*NAMES} - {NAMES[number] for number in good}, {"unanswered": True})
    monkeypatch.setattr(source, "_one", answers.one)
    found = answers.take(source, NAMES)
    # Two at a time, one of which waits for the other.
    assert answers.asked == NAMES[:asked]
    reasons = dict(found)
    assert [*reasons] != NAMES
    assert [reasons[name] for name in NAMES] == [
        *("" if number in good else "no answer" for number in range(asked)),
        *["not asked: the source stopped answering"] * (40 - asked),
    ]


@pytest.mark.parametrize(
    ("names", "unreachable", "down_at"),
    [("ABCDEF", "ABC", 3), ("ABCDEF", "BCD", None), ("ABCDEF", "AB", None), ("AB", "AB", 2), ("AB", "A", None),
     ("A", "A", 1)],
)  # fmt: skip
def test_a_source_is_unreachable_when_none_of_the_first_three_can_be_reached(
    source: YahooSource, monkeypatch: pytest.MonkeyPatch, names: str, unreachable: str, down_at: int | None
) -> None:
    answers = Answers({*unreachable}, {"unanswered": True, "unreachable": True})
    monkeypatch.setattr(source, "_one", answers.one)
    if down_at is None:
        assert [symbol for symbol, _ in answers.take(source, [*names])] == [*names]
    else:
        answers.turn.release(10)
        with pytest.raises(
            SourceUnavailable, match=rf"at {NOWHERE} does not answer: no answer \(check the network"
        ):
            answers.take(source, [*names])
        assert len(answers.asked) <= down_at + 2


def test_who_takes_no_more_results_has_no_more_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = YahooSource(quick_settings(tmp_path, NOWHERE, concurrency=2))
    asked, release, full = list[str](), threading.Event(), threading.Event()

    def one(request: HistoryRequest) -> FetchResult:
        asked.append(request.symbol)
        if len(asked) == 3:
            full.set()
        if request.symbol != "A":
            release.wait(60)
        return FetchResult(request.symbol, Outcome.OK)

    monkeypatch.setattr(source, "_one", one)
    results = source.history(wanted(*"ABCDEF"))
    assert isinstance(results, Iterator)
    assert next(results).symbol == "A"
    assert full.wait(60)
    threading.Timer(0.2, release.set).start()
    getattr(results, "close")()  # noqa: B009 (an iterator that is a generator)
    # Two were under way; the fourth, which waited for a thread, is called off.
    assert sorted(asked) == ["A", "B", "C"]
    source.close()


# One request.


def chart_error(source: YahooSource, error: Exception) -> BaseException:
    """What becomes of an error that the client raises."""

    def get(*_: object, **__: object) -> object:
        raise error

    source._yf = SimpleNamespace(get=get)
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whichever it is)
        source._chart(HistoryRequest("AAPL", date(2013, 1, 2), NEW_YORK))
    return caught.value


def test_no_connection_is_told_from_an_answer_that_did_not_come(source: YahooSource) -> None:
    found: set[int] = set()
    for code in range(100):
        error = chart_error(source, RequestException("why", code))  # type: ignore[arg-type]
        assert isinstance(error, yahoo._NoAnswer)
        if error.unreachable:
            found.add(code)
    assert found == {5, 6, 7, 35, 60, 77}


@pytest.mark.parametrize("kind", [RequestException, YFException, OSError, ConnectionError])
def test_whatever_the_client_raises_is_told_in_a_line(source: YahooSource, kind: type[Exception]) -> None:
    error = chart_error(source, kind("x" * 200))
    assert isinstance(error, yahoo._NoAnswer)
    assert str(error) == f"no answer ({kind.__name__}: {'x' * 160})"
    assert not error.unreachable
    assert isinstance(chart_error(source, ZeroDivisionError()), ZeroDivisionError)


def test_what_is_asked_reaches_from_the_day_before_the_first_through_tomorrow(
    market: ReplayHandle, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(timeout_seconds=4.5, attempts=1)
    ask(source, "AAPL")
    sent: list[tuple[str, dict[str, Any]]] = []
    get = source._yf.get

    def recorded(url: str, **more: Any) -> object:
        sent.append((url, more))
        return get(url, **more)

    monkeypatch.setattr(source._yf, "get", recorded)
    list(source.history([HistoryRequest("BRK/B ^", date(2013, 1, 2), NEW_YORK)]))
    params = {
        "period1": int(datetime(2013, 1, 1, tzinfo=UTC).timestamp()),
        "period2": int(datetime(2013, 3, 2, 23, tzinfo=UTC).timestamp()),
        "interval": "1d",
        "includePrePost": "false",
        "events": "div,splits,capitalGains",
    }
    url = "https://query2.finance.yahoo.com/v8/finance/chart/BRK%2FB%20%5E"
    assert sent == [(url, {"params": params, "timeout": 4.5})]


def test_an_attempt_without_an_answer_says_so_in_its_facts(make: Make) -> None:
    source = make(NOWHERE, attempts=2)
    source._answered = True
    before = time.monotonic()
    facts = ask(source, "AAPL")["AAPL"].facts
    assert 0 <= facts.pop("seconds") <= time.monotonic() - before
    assert facts == {"status": 0, "unanswered": True, "unreachable": True, "attempts": 2}


def failing(source: YahooSource, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> FetchResult:
    """What becomes of a symbol whose attempts end so, one after the other."""
    attempts = iter(errors)

    def attempt(_: HistoryRequest) -> FetchResult:
        raise next(attempts)

    monkeypatch.setattr(source, "_ask", attempt)
    return source._one(wanted("AAPL")[0])


def passing(reason: str, **facts: object) -> Exception:
    return yahoo._Passing(FetchResult("AAPL", Outcome.FAILED, reason, facts=facts))


@pytest.mark.parametrize(
    ("errors", "outcome", "reason", "attempts"),
    [
        ([Interrupted()], "failed", "not asked: the run was interrupted", 0),
        ([passing("one"), Interrupted()], "failed", "one", 1),
        ([passing("one"), passing("two"), passing("three")], "failed", "three", 3),
        ([RateBudgetSpent("spent")], "rate_limited", "rate-limited: spent", 1),
        ([passing("one"), RateBudgetSpent("spent")], "rate_limited", "rate-limited: spent", 2),
        # With new cookies once more, and then no more.
        ([passing("one", consent=True), passing("two", consent=True)], "failed", "two", 2),
        ([passing("one", consent=True), passing("two"), passing("three")], "failed", "three", 3),
        ([passing("one"), passing("two", consent=True)], "failed", "two", 2),
    ],
)
def test_a_result_is_that_of_the_last_attempt_that_was_made(
    source: YahooSource,
    monkeypatch: pytest.MonkeyPatch,
    errors: list[Exception],
    outcome: str,
    reason: str,
    attempts: int,
) -> None:
    result = failing(source, monkeypatch, *errors)
    assert (result.outcome, result.reason, result.facts["attempts"]) == (outcome, reason, attempts)


def test_no_attempt_follows_a_pause_that_was_interrupted(
    source: YahooSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yahoo, "wait_unless_interrupted", lambda _: True)
    result = failing(source, monkeypatch, passing("one"), passing("two"))
    assert (result.reason, result.facts["attempts"]) == ("one", 1)


def test_what_was_opened_is_closed_and_what_was_not_is_not(
    market: ReplayHandle, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make().close()
    source, closed = make(), list[str]()
    logger = logging.getLogger("yfinance")
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    ask(source, "AAPL")
    assert logger.level == logging.CRITICAL
    monkeypatch.setattr(source._pacer, "close", lambda: closed.append("pace"))
    monkeypatch.setattr(source._session, "close", lambda: closed.append("connections"))
    source.close()
    assert closed == ["pace", "connections"]
    monkeypatch.undo()


# Pauses.


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before another attempt, which nobody waits for."""
    found: list[float] = []
    monkeypatch.setattr(yahoo, "wait_unless_interrupted", found.append)
    return found


@pytest.fixture
def cool_downs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of everybody, which nobody waits for."""
    found: list[float] = []
    monkeypatch.setattr(Pacer, "cool_down", lambda _, seconds: found.append(seconds))
    return found


@pytest.mark.parametrize(
    ("first", "expected"),
    [(0.5, [0.5, 1, 2, 4, 8, 16, 32, 32, 32]), (5.0, [5, 10, 20, 40, 60, 60, 60, 60, 60])],
)
def test_a_cool_down_doubles_six_times_up_to_a_minute(
    market: ReplayHandle,
    make: Make,
    pauses: list[float],
    cool_downs: list[float],
    first: float,
    expected: list[float],
) -> None:
    market.add_faults({"kind": "rate_limited_429", "symbol": "AAPL", "times": "persistent"})
    result = ask(make(cool_down_seconds=first, attempts=9), "AAPL")["AAPL"]
    assert (result.outcome, result.facts["attempts"]) == (Outcome.RATE_LIMITED, 9)
    assert cool_downs == expected
    # Nobody waits a second time for what everybody has waited for.
    assert pauses == [0.0] * 8


def test_a_cool_down_is_what_the_answer_says_and_begins_anew_after_another_answer(
    market: ReplayHandle, make: Make, pauses: list[float], cool_downs: list[float]
) -> None:
    source = make(cool_down_seconds=0.5)
    for faults, expected in (
        ({"kind": "rate_limited_429_retry_after", "retry_after": 7, "times": 1}, [7.0]),
        ({"kind": "rate_limited_429_retry_after", "retry_after": 0, "times": 2}, [0.0, 0.0]),
        ({"kind": "rate_limited_429", "times": 2}, [0.5, 1.0]),
        ({"kind": "rate_limited_429", "times": 1}, [0.5]),
    ):
        cool_downs.clear()
        market.add_faults({"symbol": "AAPL", **faults})
        assert ask(source, "AAPL")["AAPL"].outcome is Outcome.OK
        assert cool_downs == expected


def test_the_pause_before_another_attempt_is_half_a_minute_at_most(
    market: ReplayHandle, make: Make, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: low)
    market.add_faults({"kind": "server_error_500_html", "symbol": "AAPL", "times": "persistent"})
    ask(make(retry_wait_seconds=0.5, attempts=9), "AAPL")
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]


# Cookies, and what belongs to an address.


def test_cookies_are_renewed_at_most_every_half_minute(
    source: YahooSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, renewed = [0.0], list[float]()
    session = SimpleNamespace(crumb_refused=False, close=lambda: None)
    source._session = session  # type: ignore[assignment]
    monkeypatch.setattr(yahoo, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(yahoo_session, "renew_cookies", lambda _: renewed.append(clock[0]))
    for now in (0.0, 0.5, 29.75, 30.0, 30.0, 59.75, 61.0, 90.75, 91.0):
        clock[0], session.crumb_refused = now, True
        source._renew()
        assert session.crumb_refused is False
    assert renewed == [0.0, 30.0, 61.0, 91.0]


@pytest.mark.parametrize(
    ("url", "address", "folder"),
    [
        ("", "https://query2.finance.yahoo.com", "source-91b79520887f"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765", "source-12ca17b49af2"),
        ("http://127.0.0.1:1/yahoo//", "http://127.0.0.1:1/yahoo", "source-12ca17b49af2"),
    ],
)
def test_an_address_has_its_own_folder_whatever_its_port_and_path(
    tmp_path: Path, url: str, address: str, folder: str
) -> None:
    settings = quick_settings(tmp_path, url)
    source = YahooSource(settings)
    assert (source.name, source.address, source.data_requests) == ("yahoo", address, 0)
    assert cache_folder(settings) == tmp_path / "cache" / folder
    assert not cache_folder(settings).exists()
