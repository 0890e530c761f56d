"""Reading one chart answer: the values on either side of every bound."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from quant_assets.resources.source import FetchResult, Meta, Outcome
from quant_assets.resources.yahoo_chart import CONSENT, read_chart
from quant_assets.resources.yahoo_stamps import Stamping
from quant_assets_tests.resources.test_yahoo_chart import (
    DAYS,
    NEW_YORK,
    answer,
    columns_of,
    opening,
    quote_of,
    read,
    refusal,
    result_of,
    with_live_row,
)

GONE, EMPTY = "No data found, symbol may be delisted", "Data doesn't exist for startDate = 1"


def said(status: int, body: dict[str, Any] | bytes | str) -> tuple[str, str]:
    found = read(body, status)
    return found.outcome, found.reason


@pytest.mark.parametrize("status", [428, 429, 430, 998, 999, 1000])
def test_two_statuses_are_rate_limits(status: int) -> None:
    limited = status in (429, 999)
    assert said(status, b"x") == (
        ("rate_limited", f"rate-limited ({status})")
        if limited
        else ("failed", f"status {status}: the body is no JSON")
    )


@pytest.mark.parametrize("status", [199, 200, 201])
def test_only_with_status_200_an_answer_is_one(status: int) -> None:
    good = status == 200
    assert said(status, answer()) == (("ok", "") if good else ("failed", f"status {status}: no reason given"))
    assert said(status, b"") == ("failed", "empty body" if good else f"status {status}: empty body")


@pytest.mark.parametrize("status", [399, 400, 401, 403, 404, 405])
def test_what_is_not_there_is_told_by_status_and_words_together(status: int) -> None:
    failed = f"status {status}: "
    assert said(status, refusal("Not Found", GONE)) == (
        ("not_found", f"not found at the source: {GONE}") if status == 404 else ("failed", failed + GONE)
    )
    assert said(status, refusal("Bad Request", EMPTY)) == (
        ("no_data", "the source has no data in the range") if status == 400 else ("failed", failed + EMPTY)
    )
    assert said(status, refusal("Other", "something else")) == ("failed", f"{failed}something else")


def test_an_error_without_a_description_is_shown_whole() -> None:
    for error in ({"code": "x"}, "x", ["x"]):
        assert said(200, {"chart": {"error": error}}) == ("failed", f"status 200: {error}")


@pytest.mark.parametrize(("spaces", "limited"), [(0, True), (4079, True), (4080, False)])
def test_too_many_requests_is_looked_for_in_the_first_bytes(spaces: int, limited: bool) -> None:
    body = b"x" * spaces + b"Too Many Requests"
    assert said(200, body) == (
        ("rate_limited", "rate-limited (the text of it, with status 200)")
        if limited
        else ("failed", "the body is no JSON")
    )


@pytest.mark.parametrize(
    ("body", "consent"),
    [
        (b"<html>collectConsent</html>", True),
        (b" \n<HTML>csrfToken</HTML>", True),
        (b"<a href='https://consent.yahoo.com/'>", True),
        (b"<html></html>", False),
        (b"csrfToken", False),
    ],
)
def test_a_consent_page_is_markup_with_one_of_its_signs(body: bytes, consent: bool) -> None:
    found = read(body)
    facts: dict[str, Any] = {"status": 200, "bytes": len(body)}
    if consent:
        assert (found.outcome, found.reason) == (Outcome.FAILED, CONSENT)
        assert found.facts == {**facts, "consent": True, "unanswered": True}
    else:
        assert (found.reason, found.facts) == ("the body is no JSON", facts)


# What a result holds.


def test_of_several_results_the_first_is_read() -> None:
    body, other = answer(), answer()
    result_of(other)["meta"]["symbol"] = "IBM"
    body["chart"]["result"].append(result_of(other))
    assert read(body).bars.equals(read(answer()).bars)


@pytest.mark.parametrize("result", [None, [], {}, "x", {"meta": {}}])
def test_a_chart_without_a_list_of_results_holds_none(result: Any) -> None:
    assert said(200, {"chart": {"result": result, "error": None}}) == ("failed", "the chart holds no result")


@pytest.mark.parametrize("quote", [None, [], {}, {"open": [1]}])
def test_stamps_without_a_list_of_quotes_are_an_error(quote: Any) -> None:
    body = answer()
    result_of(body)["indicators"]["quote"] = quote
    assert said(200, body) == ("failed", "timestamps without quotes")


@pytest.mark.parametrize(
    ("stamps", "values", "good"),
    [(5, None, False), ([opening(DAYS[0])], [1.0], True), ([opening(DAYS[0])], [], False),
     ([opening(DAYS[0])], None, False), ([opening(DAYS[0])], 1.0, False), (5, [1.0], False)],
)  # fmt: skip
def test_stamps_and_quotes_are_lists_of_one_length(stamps: Any, values: Any, good: bool) -> None:
    body = answer()
    result_of(body)["timestamp"] = stamps
    for name in quote_of(body):
        quote_of(body)[name] = values
    assert said(200, body) == (
        ("ok", "") if good else ("failed", "timestamps and quotes of different length")
    )


@pytest.mark.parametrize(
    ("stamp", "day"),
    [
        (2**33, date(2242, 3, 16)),
        (2**33 + 1, None),
        (-(2**33), date(1697, 10, 17)),
        (-(2**33) - 1, None),
    ],
)
def test_stamps_are_read_through_the_years_1697_to_2242(stamp: int, day: date | None) -> None:
    body = answer()
    for values in columns_of(body):
        del values[1:]
    result_of(body)["timestamp"] = [stamp]
    found = read(body)
    if day is None:
        assert (found.outcome, found.reason) == (Outcome.FAILED, "timestamps that are no moments")
    else:
        assert found.bars["date"].to_list() == [day]


@pytest.mark.parametrize("value", [[1], {}, "much", None])
def test_a_value_that_is_no_number_costs_its_own_bar_and_a_stamp_that_is_none_the_answer(value: Any) -> None:
    body = answer()
    quote_of(body)["close"][1] = value
    found = read(body)
    assert (found.bars["close"].to_list(), found.dropped) == (
        [170.73, 173.23],
        {DAYS[1]: "null values in the bar"},
    )
    result_of(body)["timestamp"][1] = value
    assert said(200, body) == ("failed", "timestamps that are no moments")


def test_an_answer_with_stamps_needs_no_events_and_one_with_events_no_stamps() -> None:
    body = answer()
    assert (read(body).outcome, read(body).bars.height) == (Outcome.OK, 3)
    result_of(body)["events"] = {"dividends": {"x": {"date": opening(DAYS[0]), "amount": 1}}}
    assert (read(body).bars.height, read(body).dividends.height) == (3, 1)
    result_of(body)["timestamp"] = []
    found = read(body)
    assert (found.outcome, found.bars.height, found.dividends.height) == (Outcome.OK, 0, 1)
    result_of(body)["events"] = {}
    found = read(body)
    assert (found.outcome, found.reason) == (Outcome.NO_DATA, "the source has no data in the range")
    assert (found.currency, found.first_trade, found.facts["status"]) == ("USD", date(1980, 12, 12), 200)


@pytest.mark.parametrize("stamp", [10**17, "soon", [1], {}])
def test_a_first_trade_that_is_no_moment_is_shown(stamp: Any) -> None:
    body = answer()
    result_of(body)["meta"]["firstTradeDate"] = stamp
    assert said(200, body) == ("failed", f"a first trade date that is no moment: {stamp!r}")


@pytest.mark.parametrize(
    ("currency", "found"), [("AUD", "AUD"), ("", None), (None, None), (7, None), (["USD"], None)]
)
def test_a_currency_is_a_text(currency: Any, found: str | None) -> None:
    body = answer()
    result_of(body)["meta"]["currency"] = currency
    assert read(body).currency == found


def test_a_listing_without_a_first_trade_has_none() -> None:
    body = answer()
    del result_of(body)["meta"]["firstTradeDate"]
    assert (read(body).outcome, read(body).first_trade) == (Outcome.OK, None)


@pytest.mark.parametrize("value", [None, 0, -0.5, True, "5", [5]])
def test_what_is_no_price_is_none(value: Any) -> None:
    body = answer()
    meta = result_of(body)["meta"]
    for name in ("regularMarketPrice", "fiftyTwoWeekLow", "fiftyTwoWeekHigh"):
        meta[name] = value
    assert read(body).meta == Meta()
    meta |= {"regularMarketPrice": 0.5, "fiftyTwoWeekLow": 1, "fiftyTwoWeekHigh": 2, "regularMarketTime": 0}
    assert read(body).meta == Meta(0.5, datetime(1970, 1, 1, tzinfo=UTC), 1.0, 2.0)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([1, None, 3], [1.0, None, 3.0]),
        ([1, "x", 3], [1.0, None, 3.0]),
        ([1, "inf", 3], [1.0, None, 3.0]),
        ([1, "nan", None], [1.0, None, None]),
        ([1, 2], [None] * 3),
        ([1, 2, 3, 4], [None] * 3),
        ("123", [None] * 3),
        ({"a": 1, "b": 2, "c": 3}, [None] * 3),
    ],
)
def test_each_adj_close_that_is_a_number_is_kept(values: Any, found: list[float | None]) -> None:
    body = answer()
    adjusted = result_of(body)["indicators"]["adjclose"]
    adjusted[0]["adjclose"] = values
    assert read(body).bars["adj_close"].to_list() == found
    # It is in the first block of a list.
    adjusted.append({"adjclose": [7.0, 8.0, 9.0]})
    assert read(body).bars["adj_close"].to_list() == found
    for wrong in ([], {"adjclose": [1, 2, 3]}, "x", [[1, 2, 3]], None):
        result_of(body)["indicators"]["adjclose"] = wrong
        assert read(body).bars["adj_close"].to_list() == [None] * 3


@pytest.mark.parametrize(
    ("volume", "good"),
    [(0, True), (-1, True), (5, True), (0.5, False), (10.4, False), (2**62 - 1024, True), (2**62, False),
     (-(2**62) + 1024, True), (-(2**62), False), (2**63, False), (1e300, False)],
)  # fmt: skip
@pytest.mark.parametrize("plain", [True, False])
def test_a_volume_is_a_whole_number_that_can_be_counted(volume: float, good: bool, plain: bool) -> None:
    """As well where the other bars have nothing to settle as where one has."""
    body = answer()
    quote_of(body)["volume"][1] = volume
    if not plain:
        quote_of(body)["close"][0] = None
    found = read(body)
    first = DAYS[:1] if plain else []
    assert found.bars["date"].to_list() == [*first, *(DAYS[1:2] if good else []), DAYS[2]]
    assert found.dropped.get(DAYS[1]) == (None if good else "a volume that is no number of shares")
    if good:
        assert found.bars.filter(found.bars["date"] == DAYS[1])["volume"].item() == volume


@pytest.mark.parametrize(("volume", "good"), [(0.5, False), (2**62, False), (0, True), (7, True)])
def test_a_volume_is_judged_where_no_other_bar_is(volume: float, good: bool) -> None:
    body = answer()
    for values in columns_of(body):
        del values[1:]
    quote_of(body)["volume"] = [volume]
    found = read(body)
    assert found.bars["volume"].to_list() == ([volume] if good else [])
    assert [*found.dropped] == ([] if good else DAYS[:1])


def test_bars_that_have_nothing_to_settle_are_read_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(*_: object) -> None:
        pytest.fail("each was looked at")

    monkeypatch.setattr(Stamping, "put", put)
    body = answer()
    quote_of(body)["volume"] = volumes = [0, -5, 2**62 - 1024]
    assert read(body).bars["volume"].to_list() == volumes


# Two rows of one day.


@pytest.mark.parametrize("first", [True, False])
def test_of_equal_bars_the_one_with_an_adj_close_is_kept(first: bool) -> None:
    body = answer()
    for values in columns_of(body):
        values.insert(2, values[1])
    result_of(body)["indicators"]["adjclose"][0]["adjclose"][1 if first else 2] = None
    assert read(body).bars["adj_close"].to_list() == [170.1, 172.1, 172.6]


def live(body: dict[str, Any]) -> tuple[list[date], dict[date, str], list[str]]:
    found = read(body)
    return found.bars["date"].to_list(), found.dropped, found.notes


DIFFER = {DAYS[2]: "two different bars for one session"}
LEFT_OUT = [f"a live row beside the bar of {DAYS[2]} is left out"]


@pytest.mark.parametrize(
    ("close", "volume", "price", "left_out"),
    [(0.5, 1, None, False), (0.5, 0, None, True), (0.5, -1, None, True), (0.0, 1, None, True),
     (0.5, 1, 173.23, True), (0.5, 1, 173.73, False), (0.5, 1, 173.24, False)],
)  # fmt: skip
def test_a_live_row_is_left_out_unless_it_alone_has_got_further(
    close: float, volume: int, price: float | None, left_out: bool
) -> None:
    found = live(with_live_row(close, volume, price))
    assert found == ((DAYS, {}, LEFT_OUT) if left_out else (DAYS[:2], DIFFER, []))


def test_a_live_row_that_says_the_same_is_the_same_bar() -> None:
    assert live(with_live_row(0, 0, None)) == (DAYS, {}, [])


def test_a_row_with_nulls_is_no_live_row() -> None:
    body = with_live_row(0, 1, None)
    quote_of(body)["open"][3] = None
    assert live(body) == (DAYS[:2], {DAYS[2]: "null values in the bar"}, [])


def test_of_three_rows_of_the_last_day_none_is_known_to_be_live() -> None:
    body = with_live_row(0, 1, None)
    for values in columns_of(body):
        values.append(values[3])
    result_of(body)["timestamp"][4] += 1
    quote_of(body)["volume"][4] += 1
    assert live(body) == (DAYS[:2], DIFFER, [])


def test_of_two_rows_with_one_stamp_none_is_known_to_be_live() -> None:
    body = with_live_row(0, 1, None)
    result_of(body)["timestamp"][3] = result_of(body)["timestamp"][2]
    assert live(body) == (DAYS[:2], DIFFER, [])


# Bars of the evening before.


def of_the_evening_before(*slipped: date) -> FetchResult:
    body = answer()
    result_of(body)["timestamp"] = [
        opening(day - timedelta(days=1), hour=22, minute=0) if day in slipped else opening(day)
        for day in DAYS
    ]
    whole = json.dumps(body).encode()
    return read_chart(200, whole, symbol="AAPL", zone=NEW_YORK, close=time(16), sessions=DAYS)


@pytest.mark.parametrize(
    ("slipped", "span"),
    [
        (DAYS[1:2], "2024-03-11"),
        (DAYS[1:], "2 sessions from 2024-03-11 to 2024-03-12"),
        (DAYS, "3 sessions from 2024-03-08 to 2024-03-12"),
    ],
)
def test_bars_that_were_put_on_their_sessions_are_told_of(slipped: list[date], span: str) -> None:
    found = of_the_evening_before(*slipped)
    assert (found.bars["date"].to_list(), found.shifted) == (DAYS, slipped)
    assert found.notes == [f"the bar of {span} was stamped on the day before, and is put on its session"]
    assert of_the_evening_before().notes == []


@pytest.mark.parametrize("traded", [True, False])
def test_the_last_trade_is_of_its_own_day_however_late(traded: bool) -> None:
    body = answer()
    late = opening(DAYS[1], hour=20, minute=0)
    for values in columns_of(body):
        del values[2:]
    result_of(body)["timestamp"][1] = late
    result_of(body)["meta"]["regularMarketTime"] = late if traded else late + 1
    whole = json.dumps(body).encode()
    found = read_chart(200, whole, symbol="AAPL", zone=NEW_YORK, close=time(16), sessions=DAYS)
    assert found.bars["date"].to_list() == [DAYS[0], DAYS[1] if traded else DAYS[2]]
