"""Reading one chart answer from its raw status and body."""

from __future__ import annotations

import copy
import json
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quant_assets.resources.source import (
    DIVIDENDS_SCHEMA,
    SERVED_SCHEMA,
    SPLITS_SCHEMA,
    FetchResult,
    Meta,
    Outcome,
    UnreadableEvent,
)
from quant_assets.resources.yahoo_chart import read_chart

NEW_YORK = "America/New_York"
# A Friday, the Monday after New York's clocks went forward, and the day after it.
DAYS = [date(2024, 3, 8), date(2024, 3, 11), date(2024, 3, 12)]


def opening(day: date, zone: str = NEW_YORK, hour: int = 9, minute: int = 30) -> int:
    return int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp())


def answer() -> dict[str, Any]:
    """A whole good answer, as Yahoo sends it."""
    return {
        "chart": {
            "result": [
                {
                    "meta": {
                        "currency": "USD",
                        "symbol": "AAPL",
                        "exchangeTimezoneName": NEW_YORK,
                        "firstTradeDate": 345479400,
                    },
                    "timestamp": [opening(day) for day in DAYS],
                    "indicators": {
                        "quote": [
                            {
                                "open": [169.0, 172.94, 173.15],
                                "high": [173.7, 174.38, 174.03],
                                "low": [168.94, 172.05, 171.01],
                                "close": [170.73, 172.75, 173.23],
                                "volume": [76114600, 60139500, 59825400],
                            }
                        ],
                        "adjclose": [{"adjclose": [170.1, 172.1, 172.6]}],
                    },
                }
            ],
            "error": None,
        }
    }


def result_of(body: dict[str, Any]) -> dict[str, Any]:
    return body["chart"]["result"][0]


def columns_of(body: dict[str, Any]) -> list[list[Any]]:
    """Every list that has one value a bar."""
    indicators = result_of(body)["indicators"]
    return [result_of(body)["timestamp"], *quote_of(body).values(), indicators["adjclose"][0]["adjclose"]]


def quote_of(body: dict[str, Any]) -> dict[str, Any]:
    return result_of(body)["indicators"]["quote"][0]


def read(
    body: dict[str, Any] | bytes | str, status: int = 200, symbol: str = "AAPL", zone: str = NEW_YORK
) -> FetchResult:
    if isinstance(body, dict):
        body = json.dumps(body)
    return read_chart(status, body.encode() if isinstance(body, str) else body, symbol=symbol, zone=zone)


def refusal(code: str, description: str) -> dict[str, Any]:
    return {"chart": {"result": None, "error": {"code": code, "description": description}}}


def test_a_good_answer_gives_bars_in_session_dates_and_its_facts() -> None:
    got = read(answer())
    assert (got.outcome, got.reason, got.currency) == (Outcome.OK, "", "USD")
    assert got.bars.schema == SERVED_SCHEMA
    assert got.bars["date"].to_list() == DAYS
    assert got.bars.row(1) == (DAYS[1], 172.94, 174.38, 172.05, 172.75, 172.1, 60139500)
    assert (got.splits.schema, got.splits.height) == (SPLITS_SCHEMA, 0)
    assert (got.dividends.schema, got.dividends.height) == (DIVIDENDS_SCHEMA, 0)
    assert got.first_trade == date(1980, 12, 12)
    assert got.dropped == {}
    assert got.facts == {"status": 200, "bytes": len(json.dumps(answer()))}


def test_the_symbol_may_be_spelled_in_lower_case() -> None:
    assert read(answer(), symbol="aapl").outcome is Outcome.OK


CONSENT_PAGE = """<!DOCTYPE html>
<html><head><title>Yahoo is part of the Yahoo family of brands</title></head><body>
<form method="post" class="consent-form" action="/v2/collectConsent?sessionId=3_cc-session_1"></form></body></html>"""
NO_DATA_TEXT = "Data doesn't exist for startDate = 1710000000, endDate = 1710003600"


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason"),
    [
        (404, refusal("Not Found", "No data found, symbol may be delisted"), "not_found", "not found at the"),
        (400, refusal("Bad Request", NO_DATA_TEXT), "no_data", "has no data in the range"),
        (429, "Too Many Requests", "rate_limited", "429"),
        (429, answer(), "rate_limited", "429"),
        (999, "<html><body>Unable to process request at this time</body></html>", "rate_limited", "999"),
        (200, "Too Many Requests\r\n", "rate_limited", "status 200"),
        (200, "<html><head><title>429 Too Many Requests</title></head></html>", "rate_limited", "status 200"),
        (503, "too many requests", "rate_limited", "status 503"),
        (200, {"finance": {"error": {"code": "Too Many Requests"}}}, "rate_limited", "status 200"),
        (200, refusal("Too Many Requests", "Too Many Requests"), "rate_limited", "status 200"),
        (200, CONSENT_PAGE, "failed", "consent page instead of an answer (run again from a network outside"),
        (403, CONSENT_PAGE, "failed", "consent page"),
        (500, "<html><body>Internal Server Error</body></html>", "failed", "status 500: the body is no JSON"),
        (500, refusal("Internal", "oops"), "failed", "status 500: oops"),
        (500, answer(), "failed", "status 500"),
        # A missing page is no word about the symbol, nor is another kind of bad request about its data.
        (404, "<html>404</html>", "failed", "status 404"),
        (404, {"finance": {"error": {"description": "No data found"}}}, "failed", "status 404"),
        (404, refusal("Not Found", "no such path"), "failed", "status 404: no such path"),
        (400, refusal("Bad Request", "Invalid input"), "failed", "status 400: Invalid input"),
        (401, {"finance": {"result": None, "error": {"description": "Invalid Crumb"}}}, "failed", "401"),
        (200, refusal("Not Found", "No data found, symbol may be delisted"), "failed", "No data found"),
        (200, "", "failed", "empty body"),
        (200, " \r\n", "failed", "empty body"),
        (200, "null", "failed", "no chart"),
        (200, "[1, 2]", "failed", "no chart"),
        (200, "{}", "failed", "no chart"),
        (200, {"chart": {"result": None, "error": None}}, "failed", "no result"),
        (200, {"chart": {"result": [], "error": None}}, "failed", "no result"),
        (200, json.dumps(answer())[:-20], "failed", "no JSON"),
        (302, answer(), "failed", "status 302"),
    ],
)
def test_each_kind_of_answer_has_its_outcome(
    status: int, body: dict[str, Any] | str, outcome: str, reason: str
) -> None:
    got = read(body, status)
    assert got.outcome == outcome
    assert reason in got.reason
    assert got.bars.is_empty()
    assert got.facts["status"] == status


def test_an_answer_without_timestamps_is_no_data_and_still_tells_the_listing() -> None:
    body = answer()
    del result_of(body)["timestamp"]
    result_of(body)["indicators"] = {"quote": [{}], "adjclose": [{}]}
    got = read(body)
    assert (got.outcome, got.currency, got.first_trade) == (Outcome.NO_DATA, "USD", date(1980, 12, 12))


def test_an_action_comes_through_when_no_bar_does() -> None:
    body = answer()
    del result_of(body)["timestamp"]
    result_of(body)["indicators"] = {"quote": [{}]}
    at = opening(DAYS[1])
    result_of(body)["events"] = {"splits": {str(at): {"date": at, "numerator": 2, "denominator": 1}}}
    got = read(body)
    assert got.outcome is Outcome.OK
    assert got.bars.is_empty()
    assert got.splits.rows() == [(DAYS[1], 2.0)]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: r["meta"].update(symbol="IBM"), "another symbol: 'IBM'"),
        (lambda r: r["meta"].pop("symbol"), "another symbol"),
        (lambda r: r["meta"].update(exchangeTimezoneName="Australia/Sydney"), "zone 'Australia/Sydney'"),
        (lambda r: r["meta"].pop("exchangeTimezoneName"), "zone None"),
        (lambda r: r.pop("meta"), "another symbol"),
        (lambda r: r.pop("indicators"), "without quotes"),
        (lambda r: r["indicators"].update(quote=[]), "without quotes"),
        (lambda r: r["indicators"]["quote"][0].pop("low"), "different length"),
        (lambda r: r["indicators"]["quote"][0]["close"].pop(), "different length"),
        (lambda r: r["timestamp"].pop(), "different length"),
        (lambda r: r.update(timestamp=opening(DAYS[0])), "different length"),
        (lambda r: r["timestamp"].__setitem__(1, None), "timestamps"),
        (lambda r: r["timestamp"].__setitem__(1, "soon"), "timestamps"),
        (lambda r: r["timestamp"].__setitem__(1, 10**17), "timestamps"),
        (lambda r: r["timestamp"].__setitem__(1, 2**33 + 1), "timestamps"),
        (lambda r: r["timestamp"].__setitem__(1, -(2**33) - 1), "timestamps"),
        (lambda r: r["meta"].update(firstTradeDate=10**17), "first trade date"),
        (lambda r: r.update(events={"splits": [[1, 2]]}), "splits that cannot"),
        (lambda r: r.update(events="none"), "events"),
    ],
)
def test_a_malformed_answer_fails_as_a_whole(spoil: Any, reason: str) -> None:
    body = answer()
    spoil(result_of(body))
    got = read(body)
    assert got.outcome is Outcome.FAILED
    assert reason in got.reason
    assert got.reason
    assert got.bars.is_empty()


AT = opening(DAYS[1])


@pytest.mark.parametrize(
    ("block", "event", "found"),
    [
        ("splits", {"date": AT, "numerator": 1, "denominator": 0}, (DAYS[1], "split", "1:0")),
        ("splits", {"date": AT, "numerator": 0, "denominator": 1}, (DAYS[1], "split", "0:1")),
        (
            "splits",
            {"date": AT, "numerator": 1.0, "denominator": 0.0, "splitRatio": "1:0"},
            (DAYS[1], "split", "1:0"),
        ),
        ("splits", {"date": AT, "numerator": -2, "denominator": 1}, (DAYS[1], "split", "-2:1")),
        ("splits", {"date": AT, "numerator": "nan", "denominator": 1}, (DAYS[1], "split", "nan:1")),
        ("splits", {"date": AT, "splitRatio": "2:1"}, (DAYS[1], "split", '"splitRatio":"2:1"')),
        ("splits", {"numerator": 2, "denominator": 1}, (DAYS[0], "split", '"numerator":2')),
        ("splits", {"date": 10**17, "numerator": 2, "denominator": 1}, (DAYS[0], "split", "100000000000")),
        ("dividends", {"date": AT, "amount": "3.14 USD"}, (DAYS[1], "dividend", "3.14 USD")),
        ("dividends", {"date": AT, "amount": None}, (DAYS[1], "dividend", "None")),
        ("dividends", {"date": AT, "amount": "Infinity"}, (DAYS[1], "dividend", "Infinity")),
        ("dividends", {"amount": 0.24}, (DAYS[0], "dividend", '{"amount":0.24}')),
        ("dividends", {"date": AT, "amount": 0.24, "currency": 7}, (DAYS[1], "dividend", '"currency":7')),
        ("dividends", 7, (DAYS[0], "dividend", "7")),
        ("capitalGains", {"date": AT, "amount": "much"}, (DAYS[1], "capital_gain", "much")),
    ],
)
def test_an_event_that_cannot_be_read_is_named_and_fails_nothing_else(
    block: str, event: Any, found: tuple[date, str, str]
) -> None:
    body = answer()
    good = {
        "splits": {str(opening(DAYS[2])): {"date": opening(DAYS[2]), "numerator": 2, "denominator": 1}},
        "dividends": {str(opening(DAYS[2])): {"date": opening(DAYS[2]), "amount": 0.25}},
    }
    result_of(body)["events"] = good
    # Yahoo lists an event under its moment, which tells the day of one that has none of its own.
    good.setdefault(block, {})[str(opening(DAYS[0]))] = event
    got = read(body)
    assert (got.outcome, got.bars["date"].to_list()) == (Outcome.OK, DAYS)
    assert (got.splits.rows(), got.dividends["amount"].to_list()) == ([(DAYS[2], 2.0)], [0.25])
    [unreadable] = got.unreadable
    assert (unreadable.date, unreadable.kind) == found[:2]
    assert found[2] in unreadable.text
    assert found[2] in str(unreadable)
    assert found[0].isoformat() in str(unreadable)


def test_an_event_without_any_date_is_named_without_one() -> None:
    body = answer()
    result_of(body)["events"] = {"dividends": {"x": {"amount": 0.24}}}
    assert read(body).unreadable == [UnreadableEvent(None, "dividend", '{"amount":0.24}')]
    assert "without a date" in str(read(body).unreadable[0])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r["indicators"].pop("adjclose"),
        lambda r: r["indicators"].update(adjclose=[]),
        lambda r: r["indicators"].update(adjclose=[{}]),
        lambda r: r["indicators"]["adjclose"][0]["adjclose"].pop(),
        lambda r: r["indicators"]["adjclose"][0].update(adjclose=[None, None, None]),
        lambda r: r["indicators"]["adjclose"][0].update(adjclose=[[1], {}, "x"]),
    ],
)
def test_an_answer_whose_adj_close_cannot_be_read_keeps_its_bars(spoil: Any) -> None:
    body = answer()
    spoil(result_of(body))
    got = read(body)
    assert got.bars.drop("adj_close").equals(read(answer()).bars.drop("adj_close"))
    assert got.bars["adj_close"].to_list() == [None] * 3


@pytest.mark.parametrize("value", [None, "x"])
def test_one_adj_close_that_is_none_leaves_the_others(value: Any) -> None:
    body = answer()
    result_of(body)["indicators"]["adjclose"][0]["adjclose"][1] = value
    assert read(body).bars["adj_close"].to_list() == [170.1, None, 172.6]


@pytest.mark.parametrize("currency", [None, "", 7])
def test_an_answer_without_a_currency_says_so(currency: Any) -> None:
    body = answer()
    result_of(body)["meta"]["currency"] = currency
    result_of(body)["events"] = {"dividends": {"x": {"date": AT, "amount": 0.24, "currency": "USD"}}}
    got = read(body)
    assert (got.outcome, got.currency, got.bars["date"].to_list()) == (Outcome.OK, None, DAYS)
    assert got.dividends["currency"].to_list() == ["USD"]


def test_what_an_answer_says_of_today_is_kept() -> None:
    body = answer()
    at = datetime(2024, 3, 12, 20, 0, tzinfo=UTC)
    result_of(body)["meta"] |= {
        "regularMarketPrice": 173.23,
        "regularMarketTime": int(at.timestamp()),
        "fiftyTwoWeekHigh": 199.62,
        "fiftyTwoWeekLow": 152,
    }
    assert read(body).meta == Meta(173.23, at, 152.0, 199.62)
    for name, value in [
        ("regularMarketPrice", None),
        ("regularMarketTime", 10**17),
        ("fiftyTwoWeekHigh", "high"),
        ("fiftyTwoWeekLow", 0),
    ]:
        result_of(body)["meta"][name] = value
    assert read(body).meta == Meta() == read(answer()).meta


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, "the body is no JSON"),
        (201, "status 201: the body is no JSON"),
        (500, "status 500: the body is no JSON"),
    ],
)
def test_the_reason_names_a_status_that_is_not_200(status: int, reason: str) -> None:
    found = read_chart(status, b"<html>", symbol="AAPL", zone=NEW_YORK)
    assert (found.outcome, found.reason) == (Outcome.FAILED, reason)


def test_the_same_bar_twice_is_one_bar() -> None:
    body = answer()
    for values in columns_of(body):
        values.insert(2, values[1])
    result_of(body)["indicators"]["adjclose"][0]["adjclose"][1] = None
    got = read(body)
    assert got.bars.equals(read(answer()).bars)
    assert got.dropped == {}


def test_of_several_blocks_of_quotes_the_first_is_read() -> None:
    body = answer()
    indicators = result_of(body)["indicators"]
    indicators["quote"].append({**quote_of(body), "close": [1.0, 2.0, 3.0]})
    indicators["adjclose"].append({"adjclose": [1.0, 2.0, 3.0]})
    assert read(body).bars.equals(read(answer()).bars)


def test_of_two_different_bars_for_one_session_neither_is_believed() -> None:
    for stamp in (opening(DAYS[1]), opening(DAYS[1], hour=16)):
        body = answer()
        for values in columns_of(body):
            values.insert(2, values[1])
        result_of(body)["timestamp"][2] = stamp
        quote_of(body)["close"][2] += 1
        got = read(body)
        assert got.outcome is Outcome.OK
        assert got.bars["date"].to_list() == [DAYS[0], DAYS[2]]
        assert got.dropped == {DAYS[1]: "two different bars for one session"}
        assert got.notes == []


@pytest.mark.parametrize(
    ("close", "volume", "price"),
    [
        (0, 1_000, None),  # late trades are in the live row's volume only
        (0.5, 0, None),  # the live row has missed the closing auction
        (0.5, -1_000, 173.73),
        (0.5, 1_000, 173.23),  # today's price is the bar's close
    ],
)
def test_of_the_last_bar_and_a_live_row_beside_it_the_bar_is_taken(
    close: float, volume: int, price: float | None
) -> None:
    body = with_live_row(close, volume, price)
    for sign in (1, -1):
        # Whatever their order.
        for values in columns_of(body):
            values[2:] = values[2:][::sign]
        got = read(body)
        assert got.bars.equals(read(answer()).bars)
        assert (got.dropped, got.notes) == ({}, [f"a live row beside the bar of {DAYS[2]} is left out"])


@pytest.mark.parametrize("price", [None, 173.73])
def test_a_bar_that_the_live_row_beside_it_has_overtaken_is_not_believed_either(price: float | None) -> None:
    got = read(with_live_row(0.5, 1_000, price))
    assert got.bars["date"].to_list() == DAYS[:2]
    assert (got.dropped, got.notes) == ({DAYS[2]: "two different bars for one session"}, [])


def with_live_row(close: float, volume: int, price: float | None) -> dict[str, Any]:
    """An answer whose last bar has a row of the last trade beside it, with another close and volume."""
    body = answer()
    for values in columns_of(body):
        values.append(values[2])
    result_of(body)["timestamp"][3] = opening(DAYS[2], hour=16, minute=0) + 1
    quote_of(body)["close"][3] += close
    quote_of(body)["volume"][3] += volume
    result_of(body)["meta"]["regularMarketPrice"] = price
    return body


@pytest.mark.parametrize("names", [("open", "high", "low", "close", "volume"), ("volume",), ("close",)])
def test_a_bar_with_nulls_is_dropped_by_name(names: tuple[str, ...]) -> None:
    body = answer()
    for name in names:
        quote_of(body)[name][1] = None
    got = read(body)
    assert got.bars["date"].to_list() == [DAYS[0], DAYS[2]]
    assert got.dropped == {DAYS[1]: "null values in the bar"}


@pytest.mark.parametrize("value", [[1], {}, "much"])
def test_a_value_that_is_no_number_drops_its_bar(value: object) -> None:
    body = answer()
    quote_of(body)["close"][1] = value
    got = read(body)
    if got.outcome is Outcome.OK:
        assert DAYS[1] not in got.bars["date"]
        assert DAYS[1] in got.dropped
    else:
        assert got.reason == "quotes that are no numbers"


@pytest.mark.parametrize("volume", [0, 2**61, 2**62 - 1024])
def test_the_largest_volumes_that_can_be_counted_are_read(volume: int) -> None:
    body = answer()
    quote_of(body)["volume"][1] = volume
    assert read(body).bars["volume"][1] == volume


@pytest.mark.parametrize("volume", [0.5, 2**62, 1e30, -1e30])
def test_a_volume_that_no_day_can_have_drops_its_bar(volume: float) -> None:
    body = answer()
    quote_of(body)["volume"][1] = volume
    got = read(body)
    assert got.bars["date"].to_list() == [DAYS[0], DAYS[2]]
    assert "volume" in got.dropped[DAYS[1]]


def test_a_dividend_in_another_currency_comes_with_it_beside_the_bar_of_its_day() -> None:
    body = answer()
    result_of(body)["meta"]["currency"] = "GBp"
    result_of(body)["events"] = {
        "dividends": {
            "a": {"date": opening(DAYS[1]), "amount": 0.24, "currency": "GBP"},
            "b": {"date": opening(DAYS[2]), "amount": 25, "currency": "GBp"},
            "c": {"date": opening(DAYS[2]), "amount": 26, "currency": ""},
        }
    }
    got = read(body)
    assert (got.bars["date"].to_list(), got.dropped) == (DAYS, {})
    assert got.dividends.rows() == [
        (DAYS[1], 0.24, "dividend", "GBP"),
        (DAYS[2], 25.0, "dividend", None),
        (DAYS[2], 26.0, "dividend", None),
    ]


def test_dividends_capital_gains_and_splits_keep_their_ex_dates() -> None:
    body = answer()
    # The ex-date of the split has no bar; it is not moved to one that has.
    holiday = date(2024, 3, 29)
    result_of(body)["events"] = {
        "dividends": {"x": {"date": opening(DAYS[0]), "amount": 0.24}},
        "capitalGains": {"y": {"date": opening(DAYS[1]), "amount": 1.5}},
        "splits": {"z": {"date": opening(holiday), "numerator": 1, "denominator": 8}},
    }
    got = read(body)
    assert got.dividends.rows() == [
        (DAYS[0], 0.24, "dividend", None),
        (DAYS[1], 1.5, "capital_gain", None),
    ]
    assert got.splits.rows() == [(holiday, 0.125)]
    assert got.dropped == {}


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        # Clocks change on the Sunday between; Sydney's ten o'clock is the evening before in UTC.
        ("Australia/Sydney", [date(2024, 4, 5), date(2024, 4, 8), date(2024, 10, 4), date(2024, 10, 7)]),
        (NEW_YORK, [date(2024, 3, 8), date(2024, 3, 11), date(2024, 11, 1), date(2024, 11, 4)]),
        ("Europe/London", [date(2024, 3, 28), date(2024, 4, 2), date(2024, 10, 25), date(2024, 10, 28)]),
    ],
)
@pytest.mark.parametrize("hour", [0, 10, 23])
def test_dates_are_the_exchanges_own_on_both_sides_of_a_clock_change(
    zone: str, days: list[date], hour: int
) -> None:
    body = answer()
    result_of(body)["meta"]["exchangeTimezoneName"] = zone
    result_of(body)["timestamp"] = [opening(day, zone, hour) for day in days]
    for name in quote_of(body):
        quote_of(body)[name] = [5, 6, 7, 8]
    result_of(body)["events"] = {"dividends": {"x": {"date": opening(days[1], zone, hour), "amount": 1}}}
    got = read(body, zone=zone)
    assert got.bars["date"].to_list() == days
    assert got.dividends["date"].to_list() == [days[1]]


def test_bars_and_events_of_the_evening_before_are_put_on_their_session_and_named() -> None:
    body = answer()
    evening = opening(date(2024, 3, 10), hour=23, minute=0)
    result_of(body)["timestamp"][1] = evening
    result_of(body)["meta"]["firstTradeDate"] = evening
    result_of(body)["events"] = {
        "dividends": {str(evening): {"date": evening, "amount": 0.24}},
        "splits": {str(evening): {"date": evening, "numerator": 2, "denominator": 1}},
        "capitalGains": {str(evening): {"date": evening, "amount": "much"}},
    }
    whole = json.dumps(body).encode()
    got = read_chart(200, whole, symbol="AAPL", zone=NEW_YORK, close=time(16), sessions=DAYS)
    assert got.bars.equals(read(answer()).bars)
    assert (got.shifted, got.first_trade) == ([DAYS[1]], DAYS[1])
    assert got.notes == [f"the bar of {DAYS[1]} was stamped on the day before, and is put on its session"]
    assert got.dividends["date"].to_list() == got.splits["date"].to_list() == [DAYS[1]]
    assert got.unreadable == [UnreadableEvent(DAYS[1], "capital_gain", "much")]
    # Nothing is known of the exchange's hours: the local date stands.
    assert (read(body).bars["date"].to_list()[1], read(body).shifted) == (date(2024, 3, 10), [])


# Whatever a server may send.

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), NUMBERS, st.sampled_from(["", "AAPL", "IBM", "USD", "inf", "nan", "x"])
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def full_answer() -> dict[str, Any]:
    body = answer()
    result_of(body)["meta"] |= {"regularMarketPrice": 173.23, "regularMarketTime": opening(DAYS[2], hour=16)}
    at = opening(DAYS[1])
    result_of(body)["events"] = {
        "dividends": {str(at): {"date": at, "amount": 0.24, "currency": "USD"}},
        "splits": {str(at): {"date": at, "numerator": 2, "denominator": 1, "splitRatio": "2:1"}},
    }
    return body


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


PLACES = places(full_answer())


def judge(status: int, body: bytes) -> None:
    """What holds of every result, whatever was sent."""
    got = read_chart(status, body, symbol="AAPL", zone=NEW_YORK)
    assert got.symbol == "AAPL"
    assert got.bars.schema == SERVED_SCHEMA
    assert got.splits.schema == SPLITS_SCHEMA
    assert got.dividends.schema == DIVIDENDS_SCHEMA
    if got.outcome is not Outcome.OK:
        assert got.reason
        assert got.bars.is_empty()
        return
    assert status == 200
    meta = result_of(json.loads(body))["meta"]
    assert str(meta["symbol"]).upper() == "AAPL"
    assert meta["exchangeTimezoneName"] == NEW_YORK
    assert got.bars["date"].is_unique().all()
    assert got.bars["date"].is_sorted()
    assert got.bars.drop("adj_close").null_count().sum_horizontal().item() == 0
    assert got.bars["adj_close"].drop_nulls().is_finite().all()
    assert not set(got.bars["date"]) & set(got.dropped)
    assert got.splits["ratio"].is_finite().all()
    assert (got.splits["ratio"] > 0).all()
    assert got.dividends["amount"].is_finite().all()


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.one_of(st.just("drop"), JSON)), min_size=1, max_size=3))
@example([(("chart", "result", 0, "meta", "firstTradeDate"), 10**17)])
@example([(("chart", "result", 0, "timestamp", 0), 2**62)])
@example([(("chart", "result", 0, "indicators", "quote", 0, "volume", 0), 1e300)])
@example([(("chart", "result", 0, "events", "splits"), [1])])
def test_no_change_to_an_answer_raises_or_gets_another_symbols_bars_in(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    body = copy.deepcopy(full_answer())
    for path, value in changes:
        holder: Any = body
        try:
            for key in path[:-1]:
                holder = holder[key]
            if value == "drop":
                del holder[path[-1]]
            else:
                holder[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    judge(200, json.dumps(body).encode())


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([200, 400, 404, 500]), st.binary(max_size=40) | JSON.map(lambda j: json.dumps(j).encode())
)
def test_no_other_bytes_raise(status: int, body: bytes) -> None:
    judge(status, body)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damaged_bytes_raise(data: st.DataObject) -> None:
    whole = json.dumps(full_answer()).encode()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 30)))
    judge(200, whole[:start] + data.draw(st.binary(max_size=5)) + whole[end:])


def test_a_moment_after_the_last_session_is_read_in_the_exchanges_zone() -> None:
    body = answer()
    evening = datetime(2024, 3, 12, 23, 30, tzinfo=UTC)
    result_of(body)["timestamp"][2] = int(evening.timestamp())
    assert read(body).bars["date"].to_list() == DAYS
