"""Refusals that come as success: texts, consent pages and pages in place of crumbs, counted on the replay server."""

from __future__ import annotations

import time
from datetime import date

import pytest
import yfinance
from yfinance.data import YfData

from quant_assets.exchanges import exchange
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.pacing import Pacer
from quant_assets.resources.source import HistoryRequest, Outcome
from quant_assets.resources.yahoo_chart import CONSENT
from quant_assets.resources.yahoo_session import NoCrumb, ObservingSession, renew_cookies
from quant_assets_tests.resources.asking import NEW_YORK, START, Make, ask, wanted

MANY = ["AAPL", "IBM", "MSFT"] * 8


@pytest.mark.parametrize("status", [200, 999])
def test_a_text_that_says_too_many_requests_cools_everybody_down(
    market: ReplayHandle, make: Make, status: int
) -> None:
    market.add_faults({"kind": "too_many_requests_text", "status": status, "times": "persistent"})
    source = make(cool_down_seconds=0.2, rate_limit_budget_seconds=1.0, attempts=20, concurrency=4)
    began = time.monotonic()
    results = list(source.history(wanted(*MANY)))
    assert {result.outcome for result in results} == {Outcome.RATE_LIMITED}
    assert all(result.reason.startswith("rate-limited") for result in results)
    # Four at a time: after pauses of 0.2 and 0.4 s the next one is not in the budget, and nobody asks any more.
    assert market.stats()["requests"]["chart_data"] <= 12
    assert 0.2 <= time.monotonic() - began < 10


def test_after_such_a_text_the_rest_is_fetched_as_ever(market: ReplayHandle, make: Make) -> None:
    market.add_faults({"kind": "too_many_requests_text", "symbol": "IBM", "times": 1})
    began = time.monotonic()
    results = list(make(cool_down_seconds=0.5, concurrency=1).history(wanted("IBM", "AAPL")))
    assert {result.outcome for result in results} == {Outcome.OK}
    assert time.monotonic() - began >= 0.5
    assert market.stats()["chart_data"] == {"AAPL": 1, "IBM": 2}


def test_a_consent_page_is_named_with_its_remedy_and_soon_not_asked_for_again(
    market: ReplayHandle, make: Make
) -> None:
    market.add_faults({"kind": "consent_page", "times": "persistent"})
    results = list(make(attempts=4, concurrency=2).history(wanted(*MANY)))
    assert {result.outcome for result in results} == {Outcome.FAILED}
    assert {result.reason for result in results} == {CONSENT, f"not asked: {CONSENT}"}
    stats = market.stats()["requests"]
    # Twelve symbols and those under way, each once more with new cookies; these are fetched once, in three requests.
    assert stats["chart_data"] <= 2 * 16
    assert stats["cookie"] <= 1 + 3
    assert stats["crumb"] <= 2


def test_with_new_cookies_the_consent_page_is_gone(market: ReplayHandle, make: Make) -> None:
    market.add_faults({"kind": "consent_page", "symbol": "AAPL", "times": 1})
    source = make()
    got = ask(source, "AAPL", "IBM")
    assert {result.outcome for result in got.values()} == {Outcome.OK}
    assert got["AAPL"].facts["attempts"] == 2
    assert market.stats()["requests"]["cookie"] >= 3


def test_a_page_in_place_of_a_crumb_is_never_sent_and_a_crumb_asked_for_later(
    market: ReplayHandle, make: Make
) -> None:
    market.add_faults({"kind": "html_crumb", "times": 1})
    source = make()
    results = list(source.history(wanted(*MANY)))
    assert {result.outcome for result in results} == {Outcome.OK}
    stats = market.stats()
    assert "bad_crumb" not in stats["requests"]
    assert stats["requests"]["chart_data"] == len(MANY)
    assert stats["faults"] == {"html_crumb": 1}
    time.sleep(1.1)
    before = stats["requests"]["crumb"]
    for _ in range(2):
        assert ask(source, "AAPL")["AAPL"].outcome is Outcome.OK
    # One is asked for, and kept.
    assert market.stats()["requests"]["crumb"] == before + (before == 1)


def test_crumbs_that_stay_pages_are_asked_for_seldom(market: ReplayHandle, make: Make) -> None:
    market.add_faults({"kind": "html_crumb", "times": "persistent"})
    results = list(make().history(wanted(*MANY)))
    assert {result.outcome for result in results} == {Outcome.OK}
    stats = market.stats()["requests"]
    assert (stats["chart_data"], "bad_crumb" in stats) == (len(MANY), False)
    assert stats["crumb"] <= 3


def test_an_answer_without_a_currency_is_read_all_the_same(market: ReplayHandle, make: Make) -> None:
    good = ask(make(), "AAPL")["AAPL"]
    market.add_faults({"kind": "no_currency", "symbol": "AAPL"})
    got = ask(make(), "AAPL")["AAPL"]
    assert (got.outcome, got.currency, good.currency) == (Outcome.OK, None, "USD")
    assert got.bars.equals(good.bars)


# Stamps: what the server slips, the source puts right.


@pytest.mark.parametrize("hour", [0, 18, 23])
@pytest.mark.parametrize(
    ("first", "last"), [(None, None), ("2013-02-05", "2013-02-08"), ("2013-03-01", None)]
)
def test_stamps_of_the_day_before_change_nothing(
    market: ReplayHandle, make: Make, hour: int, first: str | None, last: str | None
) -> None:
    us = exchange("US")
    sessions = us.calendar().sessions(START, date(2013, 3, 1))
    request = HistoryRequest("AAPL", START, NEW_YORK, us.latest_close, sessions)
    (good,) = make().history([request])
    market.add_faults(
        {"kind": "stamped_before", "symbol": "AAPL", "hour": hour, "first": first, "last": last}
    )
    (got,) = make().history([request])
    slipped = [
        day
        for day in sessions
        if (first or "") <= str(day) <= (last or "9") and day in set(good.bars["date"])
    ]
    assert got.bars.equals(good.bars)
    assert got.dividends.equals(good.dividends)
    assert got.shifted[-len(slipped) :] == slipped
    assert got.dropped == {}


@pytest.mark.parametrize("differs", [False, True])
def test_a_live_row_beside_the_last_bar_changes_nothing(
    market: ReplayHandle, make: Make, differs: bool
) -> None:
    good = ask(make(), "AAPL")["AAPL"]
    market.add_faults({"kind": "live_row_beside_last", "symbol": "AAPL", "differs": differs})
    got = ask(make(), "AAPL")["AAPL"]
    assert got.bars.equals(good.bars)
    assert got.dropped == {}
    assert got.notes == (["a live row beside the bar of 2013-03-01 is left out"] if differs else [])


# What we lean on in yfinance 1.7.0; an upgrade that changes it is to be noticed here.


def test_yfinance_by_itself_keeps_a_page_as_its_crumb_and_sends_it_along(
    market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert yfinance.__version__ == "1.7.0"
    market.add_faults({"kind": "html_crumb", "times": "persistent"})
    session = ObservingSession(market.url, 5.0, Pacer(0, 1, None))
    monkeypatch.setattr(session, "_judge_crumb", lambda response: None)
    data = type.__call__(YfData, session=session)
    url = "https://query2.finance.yahoo.com/v8/finance/chart/AAPL"
    assert data.get(url, params={"period1": 1, "period2": 2}).status_code == 401
    assert market.stats()["requests"]["bad_crumb"] >= 1
    session.close()


def test_yfinance_asks_on_without_a_crumb_when_the_session_refuses_one(market: ReplayHandle) -> None:
    market.add_faults({"kind": "html_crumb", "times": "persistent"})
    session = ObservingSession(market.url, 5.0, Pacer(0, 1, None))
    with pytest.raises(NoCrumb):
        session.get("https://query1.finance.yahoo.com/v1/test/getcrumb")
    with pytest.raises(NoCrumb, match="a moment ago"):
        session.get("https://query1.finance.yahoo.com/v1/test/getcrumb")
    assert session.crumb_refused
    data = type.__call__(YfData, session=session)
    url = "https://query2.finance.yahoo.com/v8/finance/chart/AAPL"
    response = data.get(url, params={"period1": 1357000000, "period2": 1362000000})
    assert (response.status_code, data._crumb) == (200, None)
    session.close()


def test_yfinance_fetches_new_cookies_and_a_new_crumb_after_it_was_made_to_forget_them(
    market: ReplayHandle, make: Make
) -> None:
    source = make()
    ask(source, "AAPL")
    data = source._yf
    assert data._crumb == "replay.crumb"
    market.reset_stats()
    renew_cookies(data)
    assert (data._crumb, data._cookie, data._cookie_strategy, len(data._session.cookies)) == (
        None, None, "csrf", 0,
    )  # fmt: skip
    assert ask(source, "AAPL")["AAPL"].bars.height > 0
    # The consent form is fetched, sent, and copied.
    assert market.stats()["requests"] == {"cookie": 3, "crumb": 1, "chart_data": 1}
