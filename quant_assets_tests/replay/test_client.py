"""The real yfinance client on the server: what it gets, and the facts about it that the product relies on."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import yfinance as yf
from yfinance.exceptions import YFPricesMissingError, YFRateLimitError

from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.replay.support import LoopbackSession


def test_history(replay: ReplayHandle, session: LoopbackSession) -> None:
    frame = yf.Ticker("AAPL", session=session).history(start="2000-01-01", auto_adjust=False)
    # yfinance gives the two splits after the last bar empty rows of their own.
    assert len(frame) == 3272
    assert frame["Close"].isna().tolist() == [False] * 3270 + [True] * 2
    assert frame["Stock Splits"].tolist()[-2:] == [7.0, 4.0]
    assert str(frame.index.tz) == "America/New_York"
    assert frame.index[0].date() == date(2000, 3, 1)
    row = frame.loc["2005-02-25"]
    assert row["Close"] * 56 == pytest.approx(88.99, rel=1e-7)
    assert row["Volume"] == 16_348_400 * 56
    assert frame.loc["2005-02-28", "Stock Splits"] == 2.0
    assert frame.loc["2012-08-09", "Dividends"] == 2.65 / 28
    assert frame.loc["2013-03-01", "Adj Close"] == pytest.approx(430.47 / 28)
    # One cookie, one crumb, one probe for the time zone, one data request.
    assert replay.stats()["requests"] == {"cookie": 1, "crumb": 1, "chart_probe": 1, "chart_data": 1}
    yf.Ticker("AAPL", session=session).history(start="2000-01-01", auto_adjust=False)
    assert replay.stats()["requests"] == {"cookie": 1, "crumb": 1, "chart_probe": 1, "chart_data": 2}
    assert session.asked[:2] == ["fc.yahoo.com", "query1.finance.yahoo.com/v1/test/getcrumb"]


def test_history_by_period(replay: ReplayHandle, session: LoopbackSession) -> None:
    replay.set_clock("2013-03-01")
    frame = yf.Ticker("MSFT", session=session).history(period="5d")
    assert [d.date() for d in frame.index] == [date(2013, 2, d) for d in (25, 26, 27, 28)] + [
        date(2013, 3, 1)
    ]
    assert len(yf.Ticker("MSFT", session=session).history(period="max")) == 3270


def test_download(replay: ReplayHandle, session: LoopbackSession) -> None:
    symbols = ["AAPL", "IBM", "AAA.AX", "AAB.AX"]
    frame = yf.download(
        symbols, start="2000-01-01", auto_adjust=False, group_by="ticker", progress=False, session=session
    )
    assert set(frame.columns.get_level_values(0)) == set(symbols)
    assert frame["IBM"]["Close"].notna().sum() == 3270
    assert replay.stats()["chart_data"] == dict.fromkeys(symbols, 1)


def test_unknown_symbol(replay: ReplayHandle, session: LoopbackSession) -> None:
    yf.config.debug.hide_exceptions = True
    assert yf.Ticker("NOPE", session=session).history(start="2012-01-01").empty
    requests = replay.stats()["requests"]
    assert set(requests) == {"cookie", "crumb", "chart_probe", "quote"}  # no data request: it has no zone
    # With the zone given there is no probe, and the answer is told as it is.
    yf.config.debug.hide_exceptions = False
    ticker = yf.Ticker("NOPE", session=session)
    ticker._tz = "America/New_York"
    with pytest.raises(YFPricesMissingError, match="No data found, symbol may be delisted"):
        ticker.history(start="2012-01-01")
    assert len(yf.Ticker("IBM", session=session).history(start="2000-01-01")) == 3270


def test_screen_pages_through_an_exchange(replay: ReplayHandle, session: LoopbackSession) -> None:
    asx = yf.EquityQuery("eq", ["exchange", "ASX"])
    pages = [
        yf.screen(asx, offset=offset, size=16, sortField="ticker", sortAsc=True, session=session)
        for offset in (0, 16, 32)
    ]
    symbols = [quote["symbol"] for page in pages for quote in page["quotes"]]
    listed = [r["symbol"] for r in replay.catalog() if r["exchange"] == "ASX" and not r["delisted_on"]]
    assert symbols == sorted(listed)
    assert [page["total"] for page in pages] == [len(listed)] * 3
    assert {quote["exchange"] for page in pages for quote in page["quotes"]} == {"ASX"}
    descending = yf.screen(asx, size=5, sortField="ticker", sortAsc=False, session=session)
    assert [q["symbol"] for q in descending["quotes"]] == sorted(listed)[:-6:-1]
    us = yf.EquityQuery("is-in", ["exchange", "NMS", "NYQ"])
    assert yf.screen(us, session=session)["total"] == 9
    assert replay.stats()["requests"]["screener"] == 5
    assert yf.screen(yf.ETFQuery("eq", ["exchange", "ASX"]), session=session)["total"] == 0


def test_screen_compares_the_last_price_and_volume(replay: ReplayHandle, session: LoopbackSession) -> None:
    replay.set_clock("2013-03-04T12:00:00Z")
    query_of: Any = yf.EquityQuery
    on = query_of("is-in", ["exchange", "NMS"])
    last = {q["symbol"]: q for q in yf.screen(on, session=session)["quotes"]}
    for field, shown in (("intradayprice", "regularMarketPrice"), ("dayvolume", "regularMarketVolume")):
        value = last["MSFT"][shown]
        for operator, bounds, among in (
            ("gt", [value], False), ("gte", [value], True), ("lt", [value], False), ("lte", [value], True),
            ("btwn", [value, value], True), ("btwn", [value + 1, value + 2], False),
        ):  # fmt: skip
            query = query_of("and", [on, query_of(operator, [field, *bounds])])
            found = {quote["symbol"] for quote in yf.screen(query, session=session)["quotes"]}
            assert ("MSFT" in found) == among, (field, operator)


def test_search_and_lookup(replay: ReplayHandle, session: LoopbackSession) -> None:
    found = yf.Search("microsoft", session=session)
    assert [(q["symbol"], q["exchange"]) for q in found.quotes] == [("MSFT", "NMS")]
    assert [q["symbol"] for q in yf.Search("eaa", session=session).quotes] == ["EAA"]
    many = yf.Search("a", max_results=3, session=session).quotes
    assert [q["symbol"] for q in many] == ["AAA.AX", "AAB.AX", "AAC.AX"]
    assert yf.Search("zzzz", session=session).quotes == []
    assert list(yf.Lookup("apple", session=session).get_all().index) == ["AAPL"]


def test_info(replay: ReplayHandle, session: LoopbackSession) -> None:
    info = yf.Ticker("IBM", session=session).info
    assert info["quoteType"] == "EQUITY"
    assert info["currency"] == "USD"
    assert info["longName"] == "International Business Machines Corporation"
    assert info["regularMarketPrice"] == pytest.approx(202.91, rel=1e-6)


def test_fact_a_single_failure_is_hidden_by_one_retry(replay: ReplayHandle, session: LoopbackSession) -> None:
    replay.add_faults({"kind": "server_error_500_html", "symbol": "IBM"})
    assert len(yf.Ticker("IBM", session=session).history(start="2000-01-01")) == 3270
    assert replay.stats()["chart_status"] == {"500": 1, "200": 1}


def test_fact_a_lasting_429_raises(replay: ReplayHandle, session: LoopbackSession) -> None:
    replay.add_faults({"kind": "rate_limited_429", "symbol": "IBM", "times": None})
    with pytest.raises(YFRateLimitError):
        yf.Ticker("IBM", session=session).history(start="2000-01-01")


@pytest.mark.parametrize("kind", ["server_error_500_json", "unauthorized_401", "not_found_404"])
def test_fact_failures_look_like_missing_prices(
    replay: ReplayHandle, session: LoopbackSession, kind: str
) -> None:
    replay.add_faults({"kind": kind, "symbol": "IBM", "times": None})
    with pytest.raises(YFPricesMissingError):
        yf.Ticker("IBM", session=session).history(start="2000-01-01")


def test_fact_null_bar_is_dropped_and_duplicate_keeps_the_first(
    replay: ReplayHandle, session: LoopbackSession
) -> None:
    replay.add_faults(
        {"kind": "null_bar", "symbol": "IBM", "date": "2012-11-06", "times": None},
        {"kind": "duplicate_timestamp", "symbol": "IBM", "date": "2012-11-08", "differs": True},
    )
    frame = yf.Ticker("IBM", session=session).history(start="2012-11-01", end="2012-11-15", auto_adjust=False)
    assert date(2012, 11, 6) not in [d.date() for d in frame.index]
    assert frame.index.is_unique
    clean = yf.Ticker("IBM", session=session).history(start="2012-11-01", end="2012-11-16", auto_adjust=False)
    assert frame.loc["2012-11-08", "Close"].item() == clean.loc["2012-11-08", "Close"].item()
