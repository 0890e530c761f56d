"""Every fault as it goes over the wire, and when faults fire."""

from __future__ import annotations

import socket
import time
from datetime import UTC, date, datetime
from json import JSONDecodeError
from urllib.parse import urlsplit

import httpx
import pytest
from curl_cffi import requests

from quant_assets.replay.errors import FaultError
from quant_assets.replay.fault_book import FaultBook
from quant_assets.replay.faults import Fault
from quant_assets.replay.kinds import LIES, STATES, FaultKind
from quant_assets.replay.launch import LaunchError, ReplayHandle
from quant_assets_tests.replay.support import dates_of, epoch, get_chart, result

NOW = datetime(2013, 3, 1, tzinfo=UTC)
START = epoch("2012-06-01T00:00:00-04:00")


def ask(replay: ReplayHandle, symbol: str = "AAPL") -> httpx.Response:
    return get_chart(replay.url, symbol, START)


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "part"),
    [
        ("not_found_404", 404, "application/json", "No data found, symbol may be delisted"),
        ("rate_limited_429", 429, "text/html; charset=utf-8", "Too Many Requests"),
        ("rate_limited_429_retry_after", 429, "text/html; charset=utf-8", "Too Many Requests"),
        ("server_error_500_html", 500, "text/html; charset=utf-8", "<html>"),
        ("server_error_500_json", 500, "application/json", '{"chart":{"result":null,"error":{'),
        ("unauthorized_401", 401, "application/json", "Invalid Crumb"),
        ("empty_body", 200, "application/json", ""),
    ],
)
def test_failures(replay: ReplayHandle, kind: str, status: int, content_type: str, part: str) -> None:
    good = ask(replay).json()
    replay.add_faults({"kind": kind, "symbol": "AAPL", "retry_after": 7})
    broken = ask(replay)
    assert (broken.status_code, broken.headers["content-type"]) == (status, content_type)
    assert part in broken.text
    assert bool(broken.content) == (kind != "empty_body")
    assert broken.headers.get("retry-after") == ("7" if kind.endswith("retry_after") else None)
    assert ask(replay).json() == good  # once
    assert replay.stats()["faults"] == {kind: 1}
    assert replay.stats()["chart_status"].get(str(status), 0) == (1 if status != 200 else 3)


@pytest.mark.parametrize("status", [200, 999])
def test_too_many_requests_as_text(replay: ReplayHandle, status: int) -> None:
    replay.add_faults({"kind": "too_many_requests_text", "symbol": "AAPL", "status": status})
    broken = ask(replay)
    assert (broken.status_code, broken.text) == (status, "Too Many Requests\r\n")
    assert "retry-after" not in broken.headers
    assert ask(replay).status_code == 200
    assert replay.stats()["chart_status"] == ({"200": 2} if status == 200 else {"999": 1, "200": 1})


def test_consent_page(replay: ReplayHandle) -> None:
    replay.add_faults({"kind": "consent_page", "symbol": "AAPL"})
    page = ask(replay)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "consent.yahoo.com" in page.text
    assert 'name="csrfToken"' in page.text
    assert ask(replay).headers["content-type"] == "application/json"


def test_a_page_in_place_of_a_crumb(replay: ReplayHandle) -> None:
    replay.add_faults({"kind": "html_crumb"})
    crumb_url = f"{replay.url}/v1/test/getcrumb"
    page = httpx.get(crumb_url)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert 59_000 < len(page.content) < 61_000
    assert page.text.startswith("<!DOCTYPE html>")
    assert "<html>" not in page.text  # by which yfinance would know it
    for path in ("v8/finance/chart/AAPL", "v7/finance/quote", "v10/finance/quoteSummary/AAPL"):
        refused = requests.get(f"{replay.url}/{path}", params={"crumb": page.text, "period1": "0"})
        assert refused.status_code == 401
        assert "Invalid Crumb" in refused.text
    refused = requests.post(f"{replay.url}/v1/finance/screener", params={"crumb": page.text}, json={})
    assert refused.status_code == 401
    assert replay.stats()["requests"]["bad_crumb"] == 4
    # Once: the next crumb is one again. Charts are given without any, too.
    crumb = httpx.get(crumb_url).text
    assert get_chart(replay.url, "AAPL", START, crumb=crumb).status_code == 200
    assert ask(replay).status_code == 200
    assert replay.stats()["faults"] == {"html_crumb": 1}


def test_no_quotes(replay: ReplayHandle) -> None:
    crumb = httpx.get(f"{replay.url}/v1/test/getcrumb").text
    replay.add_faults({"kind": "quotes_down"})
    ask_quotes = {"symbols": "AAPL,IBM", "crumb": crumb}
    down = requests.get(f"{replay.url}/v7/finance/quote", params=ask_quotes)
    assert (down.status_code, down.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert ask(replay).status_code == 200
    quotes = requests.get(f"{replay.url}/v7/finance/quote", params=ask_quotes)
    assert [one["symbol"] for one in quotes.json()["quoteResponse"]["result"]] == ["AAPL", "IBM"]


def test_malformed_json_is_a_whole_answer_that_is_no_json(replay: ReplayHandle) -> None:
    replay.add_faults({"kind": "malformed_json"})
    broken = ask(replay)
    assert broken.status_code == 200
    assert len(broken.content) == int(broken.headers["content-length"])
    with pytest.raises(JSONDecodeError):
        broken.json()


def test_truncated_promises_more_than_it_sends(replay: ReplayHandle) -> None:
    whole = len(ask(replay).content)
    replay.add_faults({"kind": "truncated"})
    with pytest.raises(httpx.RemoteProtocolError):
        ask(replay)
    replay.add_faults({"kind": "truncated"})
    parts = urlsplit(replay.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as raw:
        path = f"/v8/finance/chart/AAPL?period1={START}&period2=4000000000&interval=1d&events=div,splits"
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = b"".join(iter(lambda: raw.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert f"content-length: {whole}".encode() in head.lower()
    assert 0 < len(body) < whole


def test_hang_ends_without_an_answer(replay: ReplayHandle) -> None:
    replay.add_faults({"kind": "hang", "seconds": 0.4, "times": 2})
    began = time.monotonic()
    with pytest.raises(httpx.RemoteProtocolError):
        ask(replay)
    assert 0.35 < time.monotonic() - began < 5
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{replay.url}/v8/finance/chart/AAPL?period1=0&period2=4000000000", timeout=0.1)
    # Others are answered meanwhile, and the client that left is not waited for.
    assert ask(replay).status_code == 200


def test_slow_answers_late_and_right(replay: ReplayHandle) -> None:
    good = ask(replay).json()
    replay.add_faults({"kind": "slow", "seconds": 0.3})
    began = time.monotonic()
    assert ask(replay).json() == good
    assert time.monotonic() - began > 0.28


def test_wrong_symbol(replay: ReplayHandle) -> None:
    replay.add_faults({"kind": "wrong_symbol", "symbol": "AAPL", "other": "IBM"})
    assert ask(replay).json() == ask(replay, "IBM").json()
    replay.add_faults({"kind": "wrong_symbol", "symbol": "IBM"})
    assert result(ask(replay, "IBM"))["meta"]["symbol"] == "MSFT"


def test_missing_session(replay: ReplayHandle) -> None:
    good = result(ask(replay))
    replay.add_faults({"kind": "missing_session", "date": "2012-11-07"}, {"kind": "missing_session"})
    short = result(ask(replay))
    gone = set(dates_of(good)) - set(dates_of(short))
    assert date(2012, 11, 7) in gone
    assert len(gone) == len(good["timestamp"]) - len(short["timestamp"]) == 2
    assert short["events"] == good["events"]  # the ex-date stays
    assert short["indicators"]["quote"][0]["close"][0] == good["indicators"]["quote"][0]["close"][0]
    assert len(short["indicators"]["adjclose"][0]["adjclose"]) == len(short["timestamp"])


def test_null_bar(replay: ReplayHandle) -> None:
    good = result(ask(replay))
    at = dates_of(good).index(date(2012, 11, 7))
    replay.add_faults({"kind": "null_bar", "date": "2012-11-07"})
    bad = result(ask(replay))
    assert bad["timestamp"] == good["timestamp"]
    columns = {**bad["indicators"]["quote"][0], **bad["indicators"]["adjclose"][0]}
    before = {**good["indicators"]["quote"][0], **good["indicators"]["adjclose"][0]}
    for name, values in columns.items():
        assert values[at] is None
        assert values[:at] + values[at + 1 :] == before[name][:at] + before[name][at + 1 :]


@pytest.mark.parametrize("differs", [False, True])
def test_duplicate_timestamp(replay: ReplayHandle, differs: bool) -> None:
    good = result(ask(replay))
    at = dates_of(good).index(date(2012, 11, 7))
    replay.add_faults({"kind": "duplicate_timestamp", "date": "2012-11-07", "differs": differs})
    bad = result(ask(replay))
    stamps, closes = bad["timestamp"], bad["indicators"]["quote"][0]["close"]
    assert stamps[at] == stamps[at + 1]
    assert stamps[: at + 1] + stamps[at + 2 :] == good["timestamp"]
    assert closes[at] == good["indicators"]["quote"][0]["close"][at]
    assert (closes[at + 1] != closes[at]) == differs
    assert ask(replay).json()["chart"]["result"][0] == good


def test_live_partial_bar(replay: ReplayHandle) -> None:
    replay.set_clock("2012-11-07T17:00:00Z")  # an hour past noon, New York not closed
    good = result(ask(replay))
    assert dates_of(good)[-1] == date(2012, 11, 6)
    replay.add_faults({"kind": "live_partial_bar"})
    live = result(ask(replay))
    assert live["timestamp"] == [*good["timestamp"], epoch("2012-11-07T17:00:00Z")]
    assert live["meta"]["regularMarketTime"] == live["timestamp"][-1]
    replay.set_clock("2012-11-07T23:00:00Z")
    final = result(ask(replay))["indicators"]["quote"][0]
    partial = {name: values[-1] for name, values in live["indicators"]["quote"][0].items()}
    assert partial["open"] == final["open"][-1]
    assert partial["close"] != final["close"][-1]
    assert partial["volume"] < final["volume"][-1]
    assert partial["low"] <= min(partial["open"], partial["close"])
    assert partial["high"] >= max(partial["open"], partial["close"])
    # Once the session is over there is nothing partial to show.
    replay.add_faults({"kind": "live_partial_bar"})
    assert result(ask(replay))["timestamp"][-1] == epoch("2012-11-07T14:30:00Z")


def test_later_split_rescales_everything_before_it(replay: ReplayHandle) -> None:
    replay.set_clock("2013-02-20")
    good = result(get_chart(replay.url, "IBM", START))
    replay.add_faults({"kind": "later_split", "symbol": "IBM", "date": "2013-02-20", "ratio": 2})
    for _ in range(2):  # it stays
        split = result(get_chart(replay.url, "IBM", START))
    old, new = (a["indicators"]["quote"][0] for a in (good, split))
    assert new["close"][:-1] == [close / 2 for close in old["close"][:-1]]
    assert new["volume"][:-1] == [volume * 2 for volume in old["volume"][:-1]]
    assert new["close"][-1] == old["close"][-1]
    stamp = epoch("2013-02-20T14:30:00Z")
    assert split["events"]["splits"] == {
        str(stamp): {"date": stamp, "numerator": 2.0, "denominator": 1.0, "splitRatio": "2:1"}
    }
    amounts = [[d["amount"] for d in a["events"]["dividends"].values()] for a in (good, split)]
    assert amounts[1] == [amount / 2 for amount in amounts[0]]
    replay.set_clock("2013-02-19")  # before it comes into force
    assert "splits" not in result(get_chart(replay.url, "IBM", START))["events"]


def test_corrected_bar_changes_one_value_for_good(replay: ReplayHandle) -> None:
    replay.set_clock("2013-03-01")
    good = result(ask(replay))
    at = dates_of(good).index(date(2012, 11, 6))
    replay.add_faults(
        {"kind": "corrected_bar", "symbol": "AAPL", "date": "2012-11-06", "field": "close", "value": 580.5},
        {"kind": "corrected_bar", "symbol": "AAPL", "date": "2012-11-06", "field": "volume", "value": 100},
    )
    for _ in range(2):
        new = result(ask(replay))
    closes = good["indicators"]["quote"][0]["close"]
    assert new["indicators"]["quote"][0]["close"] == [*closes[:at], 580.5, *closes[at + 1 :]]
    assert new["indicators"]["quote"][0]["volume"][at] == 100
    # It was the close before an ex-date, so Yahoo's adjustment of everything earlier moves with it.
    ratio = new["indicators"]["adjclose"][0]["adjclose"][0] / good["indicators"]["adjclose"][0]["adjclose"][0]
    assert ratio == pytest.approx((1 - 2.65 / 580.5) / (1 - 2.65 / closes[at]), rel=1e-9)


def test_faults_count_only_data_requests_of_their_symbol(replay: ReplayHandle) -> None:
    replay.add_faults({"kind": "server_error_500_html", "symbol": "aapl", "times": 2, "after": 1})
    probe = f"{replay.url}/v8/finance/chart/AAPL?range=1d&interval=1d"
    statuses = []
    for _ in range(5):
        assert httpx.get(probe).status_code == 200
        assert ask(replay, "IBM").status_code == 200
        statuses.append(ask(replay).status_code)
    assert statuses == [200, 500, 500, 200, 200]


def test_star_hits_each_symbol_once(replay: ReplayHandle) -> None:
    replay.add_faults({"kind": "server_error_500_html"})
    assert [ask(replay, s).status_code for s in ("AAPL", "IBM", "AAPL", "IBM", "FB")] == [
        500,
        500,
        200,
        200,
        500,
    ]


def test_a_quota_over_all_symbols(replay: ReplayHandle) -> None:
    replay.add_faults({"kind": "rate_limited_429", "times": None, "after_total": 3})
    asked = ["AAPL", "IBM", "MSFT", "AAPL", "FB", "IBM"]
    assert [ask(replay, s).status_code for s in asked] == [200, 200, 200, 429, 429, 429]
    replay.clear_faults()
    assert ask(replay).status_code == 200


def test_failures_queue_and_states_combine(replay: ReplayHandle) -> None:
    replay.add_faults(
        {"kind": "null_bar", "date": "2012-11-07", "times": "persistent"},
        {"kind": "rate_limited_429"},
        {"kind": "empty_body"},
        {"kind": "duplicate_timestamp", "date": "2012-11-07"},
    )
    assert [(r.status_code, len(r.content) > 0) for r in (ask(replay), ask(replay))] == [
        (429, True),
        (200, False),
    ]
    both = result(ask(replay))
    at = dates_of(both).index(date(2012, 11, 7))
    assert both["timestamp"][at] == both["timestamp"][at + 1]
    assert None in both["indicators"]["quote"][0]["close"]
    after = result(ask(replay))
    assert len(after["timestamp"]) == len(both["timestamp"]) - 1
    assert None in after["indicators"]["quote"][0]["close"]


def test_random_faults_depend_on_the_seed_not_on_the_order() -> None:
    def hits(seed: int, order: list[str]) -> dict[str, list[int]]:
        book = FaultBook([Fault.from_dict({"kind": "empty_body", "rate": 0.3, "seed": seed})])
        asked: dict[str, int] = {}
        out: dict[str, list[int]] = {}
        for symbol in order:
            asked[symbol] = asked.get(symbol, 0) + 1
            if book.draw(symbol, NOW):
                out.setdefault(symbol, []).append(asked[symbol])
        return out

    one_by_one = ["A"] * 100 + ["B"] * 100
    assert hits(1, one_by_one) == hits(1, ["A", "B"] * 100)
    assert hits(1, one_by_one) != hits(2, one_by_one)
    assert 30 <= sum(len(h) for h in hits(1, one_by_one).values()) <= 90


def test_every_kind_has_a_wire_test() -> None:
    """A new kind without behaviour would answer as if nothing were wrong."""
    tested = {
        "not_found_404", "rate_limited_429", "rate_limited_429_retry_after", "server_error_500_html",
        "server_error_500_json", "unauthorized_401", "empty_body", "malformed_json", "truncated", "hang",
        "slow", "wrong_symbol", "missing_session", "null_bar", "duplicate_timestamp", "live_partial_bar",
        "later_split", "corrected_bar", "too_many_requests_text", "consent_page", "html_crumb",
        "quotes_down",
        # in test_fault_states.py
        "hidden_split", "hidden_dividend", "unscaled_history", "wrong_unit", "wrong_currency",
        "other_history", "extra_bar",
    }  # fmt: skip
    assert tested == set(FaultKind) - LIES  # those in test_lies.py
    assert set(FaultKind) > STATES


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ({"kind": "meteor"}, "unknown fault kind 'meteor'"),
        ({}, "unknown fault kind None"),
        ({"kind": "slow", "secs": 3}, "unknown fault field 'secs'"),
        ({"kind": "slow", "times": 0}, "times must be at least 1"),
        ({"kind": "slow", "rate": 1.5}, "rate must be above 0"),
        ({"kind": "later_split", "date": "2013-01-02"}, "needs date and ratio"),
        (
            {"kind": "corrected_bar", "date": "2013-01-02", "value": 3, "field": "mood"},
            "field must be one of",
        ),
        ({"kind": "null_bar", "date": "Tuesday"}, "Invalid isoformat"),
        ({"kind": "later_split", "date": "2013-01-02", "ratio": 0}, "ratio must be above 0"),
        ({"kind": "corrected_bar", "date": "2013-01-02", "field": "open"}, "needs date, and either field"),
        ({"kind": "corrected_bar", "date": "2013-01-02", "values": {}}, "needs date, and either field"),
        (
            {"kind": "corrected_bar", "date": "2013-01-02", "values": {"open": 1}, "value": 1},
            "needs date, and either field",
        ),
        ({"kind": "corrected_bar", "date": "2013-01-02", "values": {"mood": 1}}, "field must be one of"),
        ({"kind": "corrected_bar", "date": "2013-01-02", "values": {"open": "ten"}}, "could not convert"),
        ({"kind": "hidden_split", "date": "2013-01-02"}, "needs symbol and date"),
        ({"kind": "hidden_dividend", "symbol": "IBM"}, "needs symbol and date"),
        ({"kind": "unscaled_history", "symbol": "IBM"}, "needs symbol and date"),
        ({"kind": "other_history", "symbol": "IBM"}, "needs symbol and other"),
        ({"kind": "wrong_currency", "symbol": "IBM"}, "needs currency"),
        ({"kind": "extra_bar", "symbol": "IBM"}, "needs date"),
        ({"kind": "slow", "since": "2013-01-02T10:00:00"}, "has no time zone"),
        ({"kind": "slow", "until": "soon"}, "is no moment"),
        ({"kind": "slow", "since": "2013-01-03", "until": "2013-01-03T00:00:00Z"}, "since must be before"),
    ],
)
def test_senseless_faults_are_refused(raw: dict, complaint: str) -> None:
    with pytest.raises(FaultError, match=complaint):
        Fault.from_dict(raw)


def test_senseless_faults_are_refused_over_http(replay: ReplayHandle) -> None:
    with pytest.raises(LaunchError, match="unknown fault kind 'meteor'"):
        replay.add_faults({"kind": "meteor"})
    assert ask(replay).status_code == 200
