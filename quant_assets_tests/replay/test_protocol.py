"""Raw answers of the chart and discovery endpoints: shape, ranges, clock, daylight saving, errors."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest

from quant_assets.replay.launch import LaunchError, ReplayHandle
from quant_assets_tests.replay.conftest import ASX, NYSE
from quant_assets_tests.replay.support import dates_of, epoch, get_chart, result, unadjust

SYDNEY = ZoneInfo("Australia/Sydney")
CHART_KEYS = {
    "currency", "symbol", "exchangeName", "instrumentType", "firstTradeDate", "regularMarketTime",
    "gmtoffset", "timezone", "exchangeTimezoneName", "regularMarketPrice", "currentTradingPeriod",
    "dataGranularity", "range", "validRanges",
}  # fmt: skip


def test_chart_shape(replay: ReplayHandle) -> None:
    answer = result(get_chart(replay.url, "AAPL"))
    meta = answer["meta"]
    assert set(meta) >= CHART_KEYS
    assert (meta["symbol"], meta["currency"], meta["exchangeName"]) == ("AAPL", "USD", "NMS")
    assert (meta["exchangeTimezoneName"], meta["gmtoffset"], meta["timezone"]) == (
        "America/New_York",
        -18000,
        "EST",
    )
    assert meta["firstTradeDate"] == answer["timestamp"][0] == epoch("2000-03-01T09:30:00-05:00")
    assert len(answer["timestamp"]) == 3270
    quote = answer["indicators"]["quote"][0]
    assert set(quote) == {"open", "high", "low", "close", "volume"}
    assert {len(column) for column in quote.values()} == {3270}
    assert len(answer["indicators"]["adjclose"][0]["adjclose"]) == 3270
    stamp = str(epoch("2020-08-31T09:30:00-04:00"))
    assert answer["events"]["splits"][stamp] == {
        "date": int(stamp),
        "numerator": 4.0,
        "denominator": 1.0,
        "splitRatio": "4:1",
    }
    stamp = str(epoch("2012-08-09T09:30:00-04:00"))
    assert answer["events"]["dividends"][stamp] == {"amount": 2.65 / 28, "date": int(stamp)}


def test_every_symbol_can_be_undone_from_its_answer(replay: ReplayHandle) -> None:
    from quant_assets.replay.generator import generate
    from quant_assets.replay.history import History
    from quant_assets.replay.sampledata import sampledata

    specs = [generate(g.exchange, g.symbols, g.start, g.end, g.seed) for g in (ASX, NYSE)]
    truth_of = History.combine([sampledata(), *specs])
    for symbol in truth_of.symbols:
        truth = truth_of.truth(symbol)
        undone = unadjust(result(get_chart(replay.url, symbol)))
        for j, name in enumerate(("open", "high", "low", "close")):
            assert undone[name] == truth.prices[j].tolist(), (symbol, name)
        assert undone["volume"] == truth.volume.tolist(), symbol
        assert [amount for _, amount in undone["dividends"]] == truth.dividends[1].tolist(), symbol


def test_timestamps_follow_daylight_saving(replay: ReplayHandle) -> None:
    apple = result(get_chart(replay.url, "AAPL"))["timestamp"]
    for moment in ("2012-03-09T14:30:00Z", "2012-03-12T13:30:00Z", "2012-11-05T14:30:00Z"):
        assert epoch(moment) in apple
    sydney = result(get_chart(replay.url, "AAA.AX"))["timestamp"]
    # Sydney's clocks went back on 2023-04-02 and forward on 2023-10-01.
    for moment in ("2023-03-30T23:00:00Z", "2023-04-03T00:00:00Z", "2023-09-29T00:00:00Z"):
        assert epoch(moment) in sydney
    assert epoch("2023-10-01T23:00:00Z") in sydney


def test_only_events_of_the_range_are_told(replay: ReplayHandle) -> None:
    ex_date, next_day = epoch("2005-02-28T09:30:00-05:00"), epoch("2005-03-01T09:30:00-05:00")
    start = epoch("2005-01-03T00:00:00-05:00")
    assert "events" not in result(get_chart(replay.url, "AAPL", start, ex_date))  # the end is excluded
    splits = result(get_chart(replay.url, "AAPL", start, ex_date + 1))["events"]["splits"]
    assert list(splits) == [str(ex_date)]
    assert list(result(get_chart(replay.url, "AAPL", ex_date, next_day))["events"]) == ["splits"]
    assert "events" not in result(get_chart(replay.url, "AAPL", ex_date + 1, next_day + 1))
    # but the numbers are on today's basis, whatever the range: 88.99 / 2 / 7 / 4
    bars = result(get_chart(replay.url, "AAPL", start, ex_date))
    assert bars["indicators"]["quote"][0]["close"][-1] == pytest.approx(88.99 / 56, rel=1e-7)


def test_events_are_told_when_asked_for(replay: ReplayHandle) -> None:
    assert set(result(get_chart(replay.url, "AAPL", events="div"))["events"]) == {"dividends"}
    assert set(result(get_chart(replay.url, "AAPL", events="splits"))["events"]) == {"splits"}
    assert "events" not in result(get_chart(replay.url, "AAPL", events=""))


def test_period_bounds_are_start_included_end_excluded(replay: ReplayHandle) -> None:
    first, last = epoch("2013-02-26T14:30:00Z"), epoch("2013-02-28T14:30:00Z")
    assert result(get_chart(replay.url, "IBM", first, last))["timestamp"] == [first, last - 86400]
    assert result(get_chart(replay.url, "IBM", first - 1, last + 1))["timestamp"][-1] == last


def test_unknown_symbol_is_404(replay: ReplayHandle) -> None:
    response = get_chart(replay.url, "NOPE")
    assert response.status_code == 404
    assert response.json() == {
        "chart": {
            "result": None,
            "error": {"code": "Not Found", "description": "No data found, symbol may be delisted"},
        }
    }


def test_known_symbol_without_bars_in_the_range_is_400(replay: ReplayHandle) -> None:
    response = get_chart(replay.url, "FB", 946857600, 951868800)
    assert response.status_code == 400
    assert response.json()["chart"]["error"] == {
        "code": "Bad Request",
        "description": "Data doesn't exist for startDate = 946857600, endDate = 951868800",
    }


def test_other_intervals_are_refused(replay: ReplayHandle) -> None:
    assert get_chart(replay.url, "FB", interval="1h").status_code == 422


def test_range_words(replay: ReplayHandle) -> None:
    replay.set_clock("2013-03-01")

    def sessions(word: str) -> list[date]:
        params = {"range": word, "interval": "1d", "events": "div,splits"}
        return dates_of(result(httpx.get(f"{replay.url}/v8/finance/chart/AAPL", params=params)))

    assert sessions("1d") == [date(2013, 3, 1)]
    assert sessions("5d") == [date(2013, 2, d) for d in (25, 26, 27, 28)] + [date(2013, 3, 1)]
    assert sessions("1mo")[0] == date(2013, 2, 1)
    assert sessions("ytd")[0] == date(2013, 1, 2)
    assert sessions("1y")[0] == date(2012, 3, 1)
    assert sessions("max")[0] == date(2000, 3, 1)


def test_a_bar_shows_once_its_session_has_closed(replay: ReplayHandle) -> None:
    def last(symbol: str, now: str) -> date:
        replay.set_clock(now)
        return dates_of(result(get_chart(replay.url, symbol)))[-1]

    assert last("AAPL", "2012-08-09T19:59:59Z") == date(2012, 8, 8)
    assert last("AAPL", "2012-08-09T20:00:00Z") == date(2012, 8, 9)
    assert last("AAPL", "2012-08-11T12:00:00Z") == date(2012, 8, 10)
    # The day after Thanksgiving closes at 13:00.
    assert last("EAA", "2023-11-24T17:59:59Z") == date(2023, 11, 22)
    assert last("EAA", "2023-11-24T18:00:00Z") == date(2023, 11, 24)
    assert last("AAA.AX", "2023-06-05T05:59:59Z") == date(2023, 6, 2)
    assert last("AAA.AX", "2023-06-05T06:00:00Z") == date(2023, 6, 5)


def test_an_action_is_in_force_from_the_open_of_its_ex_date(replay: ReplayHandle) -> None:
    start = epoch("2005-02-01T00:00:00-05:00")
    replay.set_clock("2005-02-28T14:30:00Z")
    early = result(get_chart(replay.url, "AAPL", start))
    assert early["indicators"]["quote"][0]["close"][-1] == pytest.approx(88.99, rel=1e-7)
    assert "events" not in early
    replay.set_clock("2005-02-28T14:30:01Z")
    during = result(get_chart(replay.url, "AAPL", start))
    assert dates_of(during)[-1] == date(2005, 2, 25)
    assert during["indicators"]["quote"][0]["close"][-1] == pytest.approx(44.495, rel=1e-7)
    assert list(during["events"]["splits"]) == [str(epoch("2005-02-28T14:30:00Z"))]
    # An answer to "only today" has no bar, but the action.
    today = result(get_chart(replay.url, "AAPL", epoch("2005-02-28T00:00:00-05:00")))
    assert "timestamp" not in today
    assert today["indicators"]["quote"] == [{}]
    assert "splits" in today["events"]


def test_clock_moves_both_ways(replay: ReplayHandle) -> None:
    replay.set_clock(date(2010, 1, 4))
    assert replay.clock().isoformat() == "2010-01-04T23:59:59+00:00"
    assert dates_of(result(get_chart(replay.url, "MSFT")))[-1] == date(2010, 1, 4)
    assert get_chart(replay.url, "FB").status_code == 404  # not listed yet
    replay.set_clock("2012-05-18T22:00:00+02:00")
    assert dates_of(result(get_chart(replay.url, "FB"))) == [date(2012, 5, 18)]
    replay.set_clock("2010-01-04")
    assert get_chart(replay.url, "FB").status_code == 404
    replay.set_clock(None)
    assert replay.clock().year >= 2026
    for wrong in ("yesterday", "2010-01-04T10:00:00"):
        with pytest.raises(LaunchError, match="refused PUT clock"):
            replay.set_clock(wrong)


def test_catalog_grows_with_the_clock_and_keeps_the_delisted(replay: ReplayHandle) -> None:
    now = {row["symbol"]: row for row in replay.catalog()}
    assert len(now) == 5 + 40 + 4
    gone = next(row for row in now.values() if row["delisted_on"])
    late = max(now.values(), key=lambda row: row["listed_on"])
    assert now["IBM"] == {
        "symbol": "IBM",
        "name": "International Business Machines Corporation",
        "exchange": "NYSE",
        "yahoo_exchange": "NYQ",
        "currency": "USD",
        "listed_on": "2000-03-01",
        "delisted_on": None,
    }
    last_close = datetime.fromisoformat(f"{gone['delisted_on']}T16:00").replace(tzinfo=SYDNEY)
    replay.set_clock(last_close - timedelta(seconds=1))
    assert {row["symbol"]: row for row in replay.catalog()}[gone["symbol"]]["delisted_on"] is None
    replay.set_clock(last_close)
    assert {row["symbol"]: row for row in replay.catalog()}[gone["symbol"]] == gone
    replay.set_clock(f"{late['listed_on']}T06:00:00Z")
    assert late["symbol"] in {row["symbol"] for row in replay.catalog()}
    replay.set_clock("2023-01-04T06:00:00Z")
    assert late["symbol"] not in {row["symbol"] for row in replay.catalog()}


def test_a_delisted_symbol_keeps_its_history_but_leaves_discovery(replay: ReplayHandle) -> None:
    gone = next(row for row in replay.catalog() if row["delisted_on"])
    assert dates_of(result(get_chart(replay.url, gone["symbol"])))[-1].isoformat() == gone["delisted_on"]

    def quoted() -> list[str]:
        params = {"symbols": f"{gone['symbol']},AAA.AX,NOPE"}
        body = httpx.get(f"{replay.url}/v7/finance/quote", params=params).json()
        return [entry["symbol"] for entry in body["quoteResponse"]["result"]]

    assert quoted() == ["AAA.AX"]
    replay.set_clock("2023-02-01")
    assert quoted() == [gone["symbol"], "AAA.AX"]


def test_stats_count_by_kind_and_symbol(replay: ReplayHandle) -> None:
    get_chart(replay.url, "AAPL")
    get_chart(replay.url, "AAPL")
    get_chart(replay.url, "NOPE")
    httpx.get(f"{replay.url}/v8/finance/chart/IBM?range=1d&interval=1d")
    httpx.get(f"{replay.url}/")
    httpx.get(f"{replay.url}/v1/test/getcrumb")
    httpx.get(f"{replay.url}/v7/finance/quote?symbols=AAPL")
    httpx.get(f"{replay.url}/v1/finance/search?q=apple")
    assert httpx.get(f"{replay.url}/v1/finance/trending").status_code == 404
    assert httpx.post(f"{replay.url}/v1/finance/screener", content="no").status_code == 400
    assert replay.stats() == {
        "requests": {
            "chart_data": 3,
            "chart_probe": 1,
            "cookie": 1,
            "crumb": 1,
            "quote": 1,
            "search": 1,
            "other": 1,
            "screener": 1,
        },
        "chart_data": {"AAPL": 2, "NOPE": 1},
        "chart_status": {"200": 2, "404": 1},
        "faults": {},
    }
    replay.reset_stats()
    assert replay.stats()["requests"] == {}
