"""The Yahoo source: the real client against the replay server, fault by fault."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yfinance
from polars.testing import assert_frame_equal
from yfinance.data import YfData

from quant_assets.replay.kinds import LIES, FaultKind
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.counters import DATA_REQUESTS, counted
from quant_assets.resources.pacing import Pacer
from quant_assets.resources.source import FetchResult, HistoryRequest, Outcome, SourceUnavailable
from quant_assets.resources.yahoo import YahooSource
from quant_assets.resources.yahoo_session import ObservingSession
from quant_assets_tests.conftest import ASX
from quant_assets_tests.resources.asking import Make, ask, wanted

DAY = date(2013, 2, 13)


def asx_symbols() -> list[str]:
    return [f"AA{letter}.AX" for letter in "ABCDEFGHIJ"[: ASX.symbols]]


def test_nothing_asked_is_nothing_sent(market: ReplayHandle, make: Make) -> None:
    source = make()
    assert list(source.history([])) == []
    assert source.data_requests == 0
    assert market.stats()["requests"] == {}


def test_good_answers_come_with_facts_at_one_request_a_symbol(market: ReplayHandle, make: Make) -> None:
    source = make()
    before = counted(DATA_REQUESTS)
    got = ask(source, "AAPL", "AAA.AX", "IBM")
    for result in got.values():
        assert result.outcome is Outcome.OK
        assert result.facts["status"] == 200
        assert result.facts["attempts"] == 1
        assert result.facts["seconds"] > 0
    assert (got["IBM"].currency, got["AAA.AX"].currency) == ("USD", "AUD")
    assert got["AAPL"].first_trade == date(2000, 3, 1)
    assert got["AAA.AX"].bars["date"].max() == date(2013, 3, 1)
    stats = market.stats()
    assert stats["chart_data"] == {"AAPL": 1, "AAA.AX": 1, "IBM": 1}
    # Nothing else is asked but one crumb, and one cookie in the life of a process: no probes, no quotes.
    assert stats["requests"].pop("cookie", 1) == 1
    assert stats["requests"] == {"chart_data": 3, "crumb": 1}
    assert source.data_requests == counted(DATA_REQUESTS) - before == 3


def test_the_answer_reaches_through_now_so_that_later_splits_come_with_it(
    market: ReplayHandle, make: Make
) -> None:
    market.set_clock("2021-01-04T23:00:00Z")
    (result,) = make(now="2021-01-04T23:00:00Z").history(wanted("AAPL", first=date(2013, 2, 27)))
    assert result.splits.rows() == [(date(2014, 6, 9), 7.0), (date(2020, 8, 31), 4.0)]


# Each kind of fault: what one firing leads to, and what lasting trouble leads to.
# (settings of the fault, outcome once, attempts once, outcome always, words of the reason)
FAULTS: dict[FaultKind, tuple[dict[str, Any], str, int, str, str]] = {
    FaultKind.NOT_FOUND_404: ({}, "not_found", 1, "not_found", "not found at the source: No data found"),
    FaultKind.RATE_LIMITED_429: ({}, "ok", 2, "rate_limited", "rate-limited (429)"),
    FaultKind.RATE_LIMITED_429_RETRY_AFTER: ({"retry_after": 0}, "ok", 2, "rate_limited", "429"),
    FaultKind.SERVER_ERROR_500_HTML: ({}, "ok", 2, "failed", "status 500"),
    FaultKind.SERVER_ERROR_500_JSON: ({}, "ok", 2, "failed", "status 500: Internal Server Error"),
    # The client fetches a new crumb and repeats the request by itself.
    FaultKind.UNAUTHORIZED_401: ({}, "ok", 1, "failed", "status 401"),
    FaultKind.MALFORMED_JSON: ({}, "ok", 2, "failed", "no JSON"),
    FaultKind.TRUNCATED: ({}, "ok", 2, "failed", "no answer (IncompleteRead"),
    FaultKind.EMPTY_BODY: ({}, "ok", 2, "failed", "empty body"),
    FaultKind.HANG: ({"seconds": 30}, "ok", 2, "failed", "no answer (Timeout"),
    FaultKind.TOO_MANY_REQUESTS_TEXT: ({}, "ok", 2, "rate_limited", "rate-limited (the text of it, with status 200)"),
    FaultKind.CONSENT_PAGE: ({}, "ok", 2, "failed", "consent page"),
    FaultKind.SLOW: ({"seconds": 0.2}, "ok", 1, "ok", ""),
    FaultKind.WRONG_SYMBOL: ({"other": "IBM"}, "ok", 2, "failed", "answer for another symbol: 'IBM'"),
    FaultKind.MISSING_SESSION: ({"date": DAY.isoformat()}, "ok", 1, "ok", ""),
    FaultKind.NULL_BAR: ({"date": DAY.isoformat()}, "ok", 1, "ok", ""),
    FaultKind.DUPLICATE_TIMESTAMP: ({"date": DAY.isoformat()}, "ok", 1, "ok", ""),
    FaultKind.LIVE_PARTIAL_BAR: ({}, "ok", 1, "ok", ""),
    FaultKind.LATER_SPLIT: ({"date": DAY.isoformat(), "ratio": 2}, "ok", 1, "ok", ""),
    FaultKind.CORRECTED_BAR: (
        {"date": DAY.isoformat(), "field": "close", "value": 460.0},
        "ok", 1, "ok", "",
    ),
    # What these bend can only be told by what stands, by other symbols, or by the exchange: later in a run.
    FaultKind.HIDDEN_SPLIT: ({"date": "2005-02-28"}, "ok", 1, "ok", ""),
    FaultKind.HIDDEN_DIVIDEND: ({"date": "2013-02-07"}, "ok", 1, "ok", ""),
    FaultKind.UNSCALED_HISTORY: ({"date": "2005-02-28"}, "ok", 1, "ok", ""),
    FaultKind.WRONG_UNIT: ({}, "ok", 1, "ok", ""),
    FaultKind.WRONG_CURRENCY: ({"currency": "GBP"}, "ok", 1, "ok", ""),
    FaultKind.OTHER_HISTORY: ({"other": "IBM"}, "ok", 1, "ok", ""),
    FaultKind.EXTRA_BAR: ({"date": "2013-02-16"}, "ok", 1, "ok", ""),
}  # fmt: skip
BENDING = [kind for kind, (_, _, _, always, _) in FAULTS.items() if always == "ok"]


def test_every_kind_of_fault_is_tested() -> None:
    assert set(FAULTS) >= set(FaultKind) - LIES - {FaultKind.HTML_CRUMB, FaultKind.QUOTES_DOWN}


@pytest.mark.parametrize("kind", list(FAULTS))
def test_a_fault_that_passes(
    market: ReplayHandle, make: Make, kind: FaultKind, capfd: pytest.CaptureFixture[str]
) -> None:
    more, outcome, attempts, _, _ = FAULTS[kind]
    source = make(timeout_seconds=1.0)
    good = ask(source, "AAPL", "MSFT")
    market.add_faults({"kind": kind, "symbol": "AAPL", "times": 1, **more})
    got = ask(source, "AAPL", "MSFT")
    assert got["AAPL"].outcome == outcome
    assert got["AAPL"].facts["attempts"] == attempts
    assert got["MSFT"].bars.equals(good["MSFT"].bars)
    assert market.stats()["faults"] == {kind: 1}
    assert capfd.readouterr().out == ""
    again = ask(source, "AAPL")["AAPL"]
    assert (again.outcome, again.facts["attempts"]) == (Outcome.OK, 1)
    assert again.bars.equals(good["AAPL"].bars)
    if outcome == "ok" and kind not in BENDING:
        assert got["AAPL"].bars.equals(good["AAPL"].bars)


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind not in BENDING])
def test_a_fault_that_stays_is_named(market: ReplayHandle, make: Make, kind: FaultKind) -> None:
    more, _, _, outcome, words = FAULTS[kind]
    market.add_faults({"kind": kind, "symbol": "AAPL", "times": "persistent", **more})
    source = make(timeout_seconds=0.7, attempts=2)
    got = ask(source, "IBM", "AAPL", "MSFT")
    assert got["AAPL"].outcome == outcome
    assert words in got["AAPL"].reason
    assert got["AAPL"].bars.is_empty()
    assert (got["IBM"].outcome, got["MSFT"].outcome) == (Outcome.OK, Outcome.OK)
    asked = market.stats()["chart_data"]["AAPL"]
    # What is not found is asked once; a 401 is repeated by the client within each attempt.
    assert asked == {"not_found_404": 1, "unauthorized_401": 4}.get(kind, 2)
    assert source.data_requests == asked + 2


@pytest.mark.parametrize("times", [1, "persistent"])
def test_what_a_bent_answer_says(market: ReplayHandle, make: Make, times: Any) -> None:
    good = ask(make(), "AAPL")["AAPL"].bars

    def bent(kind: str, **more: Any) -> FetchResult:
        market.clear_faults()
        market.add_faults({"kind": kind, "symbol": "AAPL", "times": times, "date": str(DAY), **more})
        return ask(make(), "AAPL")["AAPL"]

    without = good.filter(pl.col("date") != DAY)
    missing = bent("missing_session")
    assert (missing.dropped, missing.bars.equals(without)) == ({}, True)
    null = bent("null_bar")
    assert (null.dropped, null.bars.equals(without)) == ({DAY: "null values in the bar"}, True)
    twice = bent("duplicate_timestamp")
    assert (twice.dropped, twice.bars.equals(good)) == ({}, True)
    differing = bent("duplicate_timestamp", differs=True)
    assert differing.dropped == {DAY: "two different bars for one session"}
    assert differing.bars.equals(without)
    split = bent("later_split", ratio=2)
    assert split.splits.rows() == [(DAY, 2.0)]
    before, after = pl.col("date") < DAY, pl.col("date") >= DAY
    assert split.bars.filter(after).equals(good.filter(after))
    assert (split.bars.filter(before)["volume"] == good.filter(before)["volume"] * 2).all()
    corrected = bent("corrected_bar", field="close", value=460.0)
    assert corrected.bars.filter(pl.col("date") == DAY)["close"].item() == 460.0
    assert corrected.bars.filter(pl.col("date") != DAY).equals(without)
    assert bent("slow", seconds=0.1, date=None).bars.equals(good)


def test_a_live_bar_comes_under_todays_date(market: ReplayHandle, make: Make) -> None:
    noon = "2013-02-13T17:00:00Z"
    market.set_clock(noon)
    assert ask(make(now=noon), "AAPL")["AAPL"].bars["date"].max() == date(2013, 2, 12)
    market.add_faults({"kind": "live_partial_bar"})
    assert ask(make(now=noon), "AAPL")["AAPL"].bars["date"].max() == DAY


# Rate limits.


def test_retry_after_is_waited_for_by_everyone(market: ReplayHandle, make: Make) -> None:
    market.add_faults({"kind": "rate_limited_429_retry_after", "symbol": "AAA.AX", "retry_after": 1})
    source = make(concurrency=1)
    began = time.monotonic()
    results = list(source.history(wanted("AAA.AX", "AAB.AX")))
    assert {r.outcome for r in results} == {Outcome.OK}
    assert time.monotonic() - began >= 1.0
    assert market.stats()["chart_data"] == {"AAA.AX": 2, "AAB.AX": 1}


def test_a_spent_budget_stops_asking(market: ReplayHandle, make: Make) -> None:
    market.add_faults({"kind": "rate_limited_429", "times": "persistent", "after_total": 3})
    source = make(rate_limit_budget_seconds=0.3, cool_down_seconds=0.05, attempts=20)
    got = ask(source, *asx_symbols())
    outcomes = [result.outcome for result in got.values()]
    assert outcomes.count(Outcome.OK) == 3
    assert outcomes.count(Outcome.RATE_LIMITED) == len(outcomes) - 3
    assert all("rate-limited" in r.reason for r in got.values() if r.outcome is Outcome.RATE_LIMITED)
    asked = market.stats()["requests"]["chart_data"]
    # Pauses of 0.05, 0.1, 0.2 s for at most two requests each; then nobody asks any more.
    assert asked <= 3 + 8
    assert ask(source, "AAPL")["AAPL"].outcome is Outcome.RATE_LIMITED
    assert market.stats()["requests"]["chart_data"] == asked


def test_a_retry_after_beyond_the_budget_is_not_waited_for(market: ReplayHandle, make: Make) -> None:
    market.add_faults({"kind": "rate_limited_429_retry_after", "times": "persistent", "retry_after": 3600})
    began = time.monotonic()
    got = ask(make(rate_limit_budget_seconds=60), *asx_symbols())
    assert time.monotonic() - began < 10
    assert {r.outcome for r in got.values()} == {Outcome.RATE_LIMITED}
    assert market.stats()["requests"]["chart_data"] <= 4


def test_pauses_start_anew_after_an_answer(market: ReplayHandle, make: Make) -> None:
    market.add_faults({"kind": "rate_limited_429", "symbol": "AAPL", "times": 3})
    # Pauses of 0.1, 0.2 and 0.4 s, and one of 0.1 s for the trouble after them: the budget holds no further 0.8 s.
    source = make(rate_limit_budget_seconds=1.0, cool_down_seconds=0.1, attempts=5, concurrency=1)
    assert ask(source, "AAPL")["AAPL"].facts["attempts"] == 4
    market.add_faults({"kind": "rate_limited_429", "symbol": "IBM", "times": 1})
    result = ask(source, "IBM")["IBM"]
    assert (result.outcome, result.facts["attempts"]) == (Outcome.OK, 2)


def test_pauses_double_while_the_source_goes_on_refusing(market: ReplayHandle, make: Make) -> None:
    market.add_faults({"kind": "rate_limited_429", "symbol": "AAPL", "times": "persistent"})
    # Pauses of 0.1, 0.2 and 0.4 s; 0.8 s more are not in the budget.
    source = make(rate_limit_budget_seconds=1.0, cool_down_seconds=0.1, attempts=20)
    assert ask(source, "AAPL")["AAPL"].outcome is Outcome.RATE_LIMITED
    assert market.stats()["chart_data"] == {"AAPL": 4}


def test_the_pause_before_another_attempt_doubles_with_jitter(
    market: ReplayHandle, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("quant_assets.resources.yahoo.wait_unless_interrupted", pauses.append)
    monkeypatch.setattr("random.uniform", lambda low, high: low + (high - low) / 4)
    market.add_faults({"kind": "server_error_500_html", "symbol": "AAPL", "times": "persistent"})
    ask(make(retry_wait_seconds=0.4, attempts=8), "AAPL")
    assert pauses == pytest.approx([0.5, 0.9, 1.7, 3.3, 6.5, 12.9, 25.7])


def test_the_pace_is_kept_by_two_sources_of_one_home_together(market: ReplayHandle, make: Make) -> None:
    pair = [make(requests_per_second=10, concurrency=4) for _ in range(2)]
    began = time.monotonic()
    for source in pair:
        ask(source, *asx_symbols()[:4])
    total = sum(market.stats()["requests"].values())
    assert total >= 10
    assert time.monotonic() - began >= (total - 1) * 0.1 * 0.95


# Trouble with the source as a whole.


def unused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("symbols", [["AAPL"], ["AAPL", "IBM", "MSFT", "FB", "GOOG"]])
def test_an_unreachable_source_is_named(make: Make, symbols: list[str]) -> None:
    url = unused_address()
    source = make(url)
    with pytest.raises(SourceUnavailable, match=f"{url} does not answer: .*QUANT_ASSETS_SOURCE_URL"):
        list(source.history(wanted(*symbols)))


@pytest.mark.parametrize(("reached", "down"), [("", True), ("CDEF", False), ("A", False)])
def test_three_symbols_that_nobody_answers_for_before_any_answer_are_an_outage(
    make: Make, monkeypatch: pytest.MonkeyPatch, reached: str, down: bool
) -> None:
    def one(_: object, request: HistoryRequest) -> FetchResult:
        facts = {} if request.symbol in reached else {"unanswered": True, "unreachable": True}
        return FetchResult(request.symbol, Outcome.FAILED, "no answer", facts=facts)

    monkeypatch.setattr(YahooSource, "_one", one)
    results = make(concurrency=1).history(wanted(*"ABCDEF"))
    if down:
        with pytest.raises(SourceUnavailable):
            list(results)
    else:
        assert sorted(result.symbol for result in results) == [*"ABCDEF"]


def test_a_source_that_hangs_is_given_up_within_its_time_limits(market: ReplayHandle, make: Make) -> None:
    market.add_faults({"kind": "hang", "times": "persistent"})
    began = time.monotonic()
    results = list(make(timeout_seconds=0.5, attempts=2).history(wanted(*asx_symbols())))
    assert time.monotonic() - began < 20
    # It took the connection, so it is there; every symbol says what became of it.
    assert {result.outcome for result in results} == {Outcome.FAILED}
    assert sorted(result.symbol for result in results) == sorted(asx_symbols())
    assert all("Timeout" in result.reason or "stopped answering" in result.reason for result in results)


@pytest.mark.parametrize("kind", ["hang", "truncated"])
def test_the_only_symbol_asked_for_is_named_whatever_becomes_of_it(
    market: ReplayHandle, make: Make, kind: str
) -> None:
    market.add_faults({"kind": kind, "symbol": "AAPL", "times": "persistent"})
    result = ask(make(timeout_seconds=0.5, attempts=2), "AAPL")["AAPL"]
    assert (result.outcome, result.reason[:9]) == (Outcome.FAILED, "no answer")


def test_a_source_that_dies_midway_leaves_the_rest_failed_and_soon_unasked(make: Make) -> None:
    made_up = GeneratedExchange("ASX", symbols=30, seed=3, start=date(2013, 1, 2), end=date(2013, 3, 1))
    with start(ReplayConfig(generated=[made_up], now="2013-03-01T23:00:00Z")) as server:
        symbols = sorted(row["symbol"] for row in server.catalog())
        source = make(server.url, concurrency=1, attempts=2)
        results: list[FetchResult] = []
        for result in source.history(wanted(*symbols)):
            results.append(result)
            if len(results) == 4:
                server.stop()
    assert sorted(r.symbol for r in results) == symbols
    outcomes = [r.outcome for r in results]
    answered = outcomes.count(Outcome.OK)
    assert 4 <= answered <= 7
    assert outcomes[answered:] == [Outcome.FAILED] * (30 - answered)
    assert "no answer" in results[answered].reason
    unasked = sum(r.reason == "not asked: the source stopped answering" for r in results)
    assert unasked >= 30 - 7 - 12 - 3
    assert source.data_requests < 4 + 3 + 2 * 16


@pytest.mark.parametrize("good_after", [1, 3, 11])
def test_scattered_failures_are_no_outage(market: ReplayHandle, make: Make, good_after: int) -> None:
    market.add_faults({"kind": "truncated", "symbol": "AAPL", "times": "persistent"})
    names = [*["AAPL"] * good_after, "IBM"] * (26 // (good_after + 1) + 1)
    assert names.count("AAPL") > 12
    results = list(make(concurrency=1, attempts=1).history(wanted(*names)))
    assert [r.symbol for r in results] == names
    for result in results:
        assert result.outcome is (Outcome.OK if result.symbol == "IBM" else Outcome.FAILED)
        assert "not asked" not in result.reason
    assert market.stats()["chart_data"] == {name: names.count(name) for name in ("AAPL", "IBM")}


def test_twelve_failures_in_a_row_are_an_outage(market: ReplayHandle, make: Make) -> None:
    market.add_faults({"kind": "truncated", "symbol": "AAPL", "times": "persistent"})
    names = ["IBM", *["AAPL"] * 12, *["MSFT"] * 5]
    results = list(make(concurrency=1, attempts=1).history(wanted(*names)))
    assert [r.symbol for r in results] == names
    # Two requests are under way when the twelfth failure comes.
    reasons = [r.reason for r in results[13:]]
    assert reasons.count("not asked: the source stopped answering") >= 3
    assert market.stats()["chart_data"]["AAPL"] == 12


# Cookies, crumbs, and more than one source.


def test_each_host_has_its_own_pace_and_its_own_cookie(
    market: ReplayHandle, make: Make, tmp_path: Path
) -> None:
    port = market.url.rpartition(":")[2]
    sources = [make(f"http://{host}:{port}", requests_per_second=50) for host in ("127.0.0.1", "localhost")]
    for number, source in enumerate(sources, start=1):
        assert ask(source, "AAPL")["AAPL"].outcome is Outcome.OK
        # What another host has set is not sent to this one.
        assert market.stats()["requests"]["cookie"] == number
    folders = sorted((tmp_path / "cache").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert {"pace.sqlite", "cookies.db"} <= {file.name for file in folder.iterdir()}


def test_a_refused_crumb_is_fetched_anew_and_the_request_repeated(market: ReplayHandle, make: Make) -> None:
    source = make()
    before = counted(DATA_REQUESTS)
    assert ask(source, "IBM")["IBM"].outcome is Outcome.OK
    assert market.stats()["requests"]["crumb"] == 1
    market.add_faults({"kind": "unauthorized_401", "symbol": "AAPL"})
    assert ask(source, "AAPL")["AAPL"].outcome is Outcome.OK
    assert market.stats()["requests"]["crumb"] == 2
    assert market.stats()["chart_data"] == {"IBM": 1, "AAPL": 2}
    assert source.data_requests == counted(DATA_REQUESTS) - before == 3


@pytest.fixture(scope="module")
def later_server() -> Iterator[ReplayHandle]:
    """The same symbols as they look after later splits."""
    with start(ReplayConfig(sampledata=True, now="2021-01-04T23:00:00Z")) as handle:
        yield handle


def test_two_sources_in_one_process_each_ask_their_own_address(
    market: ReplayHandle, later_server: ReplayHandle, make: Make
) -> None:
    early = make()
    then = ask(early, "AAPL", first=date(2013, 2, 25))["AAPL"].bars
    late = make(later_server.url, now="2021-01-04T23:00:00Z")
    now = ask(late, "AAPL", first=date(2013, 2, 25))["AAPL"].bars
    assert now["close"][-1] == pytest.approx(then["close"][-1] / 28)
    # The first one goes on with its own, although the other was opened after it.
    assert ask(early, "AAPL", first=date(2013, 2, 25))["AAPL"].bars.equals(then)
    assert ask(late, "AAPL", first=date(2013, 2, 25))["AAPL"].bars.equals(now)


ANOTHER_PROCESS = """
import json, sys
from datetime import date
from pathlib import Path
from quant_assets_tests.support import quick_settings
from quant_assets.resources.source import HistoryRequest
from quant_assets.resources.yahoo import YahooSource

home, *urls = sys.argv[1:]
closes = []
for url in urls:
    source = YahooSource(quick_settings(Path(home), url, now="2021-01-04T23:00:00Z"))
    (result,) = source.history([HistoryRequest("AAPL", date(2013, 2, 25), "America/New_York")])
    closes.append(result.bars["close"].to_list()[-1])
    source.close()
print(json.dumps(closes))
"""


def test_another_process_on_the_same_home_may_ask_another_address(
    market: ReplayHandle, later_server: ReplayHandle, make: Make, tmp_path: Path
) -> None:
    then = ask(make(), "AAPL", first=date(2013, 2, 25))["AAPL"].bars["close"][-1]
    market.reset_stats()
    printed = subprocess.run(
        [sys.executable, "-c", ANOTHER_PROCESS, str(tmp_path), later_server.url, market.url],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    late, early = json.loads(printed.splitlines()[-1])
    assert (late, early) == (pytest.approx(then / 28), then)
    # One cookie serves both: they are the same host.
    assert "cookie" not in market.stats()["requests"]


# What we read against what the package makes of the same answers.


def as_yfinance_shows(history: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "date": [stamp.date() for stamp in history.index],
            **{
                name.lower().replace(" ", "_"): history[name].tolist()
                for name in ("Open", "High", "Low", "Close", "Adj Close", "Volume")
            },
        },
        schema_overrides={"volume": pl.Int64},
    )


@pytest.mark.parametrize(
    ("symbol", "first"),
    [
        ("AAPL", date(2000, 3, 1)),
        ("IBM", date(2000, 3, 1)),
        ("MSFT", date(2002, 6, 3)),
        *((symbol, date(2012, 1, 3)) for symbol in asx_symbols() if symbol != "AAF.AX"),
    ],
)
def test_on_good_answers_we_read_what_the_package_reads(
    market: ReplayHandle, make: Make, tmp_path: Path, symbol: str, first: date
) -> None:
    ours = ask(make(), symbol, first=first)[symbol]
    yfinance.set_tz_cache_location(str(tmp_path / "yfinance"))
    session = ObservingSession(market.url, 5.0, Pacer(0, 1, None))
    ticker = yfinance.Ticker(symbol, session=session)
    YfData().cache_get.cache_clear()
    history = ticker.history(start=first.isoformat(), end="2013-03-02", auto_adjust=False)
    session.close()
    inside = ours.bars.filter(pl.col("date") >= first)
    assert inside.height > 100
    assert_frame_equal(inside, as_yfinance_shows(history), check_exact=True)

    def events(column: str) -> Sequence[tuple[date, float]]:
        paid = history[history[column] != 0][column]
        return [(stamp.date(), float(value)) for stamp, value in paid.items()]

    paid = ours.dividends.filter(pl.col("date") >= first).sort("date")
    assert paid.select("date", "amount").rows() == events("Dividends")
    assert set(paid["kind"]) <= {"dividend"}
    assert ours.meta.price == inside["close"][-1]
    assert ours.splits.filter(pl.col("date") >= first).sort("date").rows() == events("Stock Splits")
