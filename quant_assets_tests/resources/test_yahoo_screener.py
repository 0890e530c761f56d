"""Yahoo's screener with the real yfinance client on loopback: whole answers on the replay server, wrong ones on a
server that says what a test writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources import asking_again, yahoo_screener
from quant_assets.resources.interrupts import Interrupted
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo_client import open_client
from quant_assets.resources.yahoo_screener import PAGE, Screened, Screener, ScreenFailed
from quant_assets_tests.support import quick_settings
from quant_assets_tests.web import Page, Web, web_server

Screen = Callable[..., list[Screened]]
ON_ASX = {"eq": ["exchange", "ASX"]}
PATH = "/v1/finance/screener"


@pytest.fixture
def screen(market: ReplayHandle, tmp_path: Path) -> Iterator[Screen]:
    """Asks the replay server: `screen(query)`."""
    screener = Screener(quick_settings(tmp_path, market.url))

    def screen(query: Any, asset_type: Any = "equity", most: int = 100) -> list[Screened]:
        return screener.screened(query, asset_type, most)

    yield screen
    screener.close()


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with web_server() as web:
        yield web


@pytest.fixture
def wrong(web: Web, tmp_path: Path) -> Iterator[Screen]:
    """Asks a server that answers with these pages, one after the other: `wrong(page, page, attempts=2)`."""
    opened: list[Screener] = []

    def wrong(*pages: Page | bytes, **settings: Any) -> list[Screened]:
        web.pages[PATH] = [page if isinstance(page, Page) else Page(page) for page in pages]
        web.asked.clear()
        opened.append(Screener(quick_settings(tmp_path, web.url, **settings)))
        return opened[-1].screened(ON_ASX, "equity", 1000)

    yield wrong
    for screener in opened:
        screener.close()


def answer(total: object, *symbols: str, **more: str) -> bytes:
    """A screen's answer."""
    quotes = [{"symbol": symbol, "exchange": "ASX", **more} for symbol in symbols]
    return orjson.dumps({"finance": {"result": [{"total": total, "quotes": quotes}], "error": None}})


def test_every_listing_of_an_exchange_is_found_by_symbol(screen: Screen, market: ReplayHandle) -> None:
    listed = sorted(
        row["symbol"] for row in market.catalog() if row["exchange"] == "ASX" and not row["delisted_on"]
    )
    found = screen(ON_ASX)
    assert [one.symbol for one in found] == listed
    assert found[0] == Screened("AAA.AX", "Aaa Generated Ltd", "ASX", "AUD")
    assert market.stats()["requests"] == {"cookie": 1, "crumb": 1, "screener": 1}


@pytest.mark.parametrize(("size", "pages"), [(1, 9), (4, 3), (8, 2), (9, 1)])
def test_all_pages_are_asked_for(
    screen: Screen, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch, size: int, pages: int
) -> None:
    assert PAGE == 250
    monkeypatch.setattr(yahoo_screener, "PAGE", size)
    assert len({one.symbol for one in screen(ON_ASX)}) == 9
    assert market.stats()["requests"]["screener"] == pages


@pytest.mark.parametrize(
    ("query", "symbols"),
    [
        ({"is-in": ["exchange", "NMS", "NYQ"], "eq": ["region", "us"]}, ["AAPL", "FB", "GOOG", "IBM", "MSFT"]),
        ({"is-in": ["exchange", "NYQ"]}, ["IBM"]),
        ({"or": [{"eq": ["exchange", "NYQ"]}]}, ["IBM"]),
        ({"or": [{"eq": ["exchange", "NYQ"]}, {"is-in": ["exchange", "ASX"], "eq": ["region", "us"]}]}, ["IBM"]),
        ({"eq": ["region", "us"], "gt": ["intradayprice", "100"]}, ["AAPL", "GOOG", "IBM"]),
        (
            {"eq": ["region", "us"], "and": [{"lte": ["intradayprice", 1e2]}, {"gte": ["dayvolume", 1]}]},
            ["FB", "MSFT"],
        ),
        ({"eq": ["region", "us"], "btwn": ["intradayprice", "150", "300"]}, ["IBM"]),
        ({"eq": ["region", "us"], "lt": ["intradayprice", "-1"]}, []),
    ],
)  # fmt: skip
def test_of_several_operators_all_must_hold(screen: Screen, query: Any, symbols: list[str]) -> None:
    assert [one.symbol for one in screen(query)] == symbols


def test_funds_are_asked_for_as_such(screen: Screen) -> None:
    assert screen(ON_ASX, "etf") == []


def test_more_than_is_allowed_is_refused_before_it_is_all_asked_for(
    screen: Screen, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yahoo_screener, "PAGE", 2)
    assert len(screen(ON_ASX, most=9)) == 9
    market.reset_stats()
    told = (
        r"^Yahoo's screener: it finds 9 listings, of which 8 are allowed; narrow the query, or raise `most`$"
    )
    with pytest.raises(ScreenFailed, match=told):
        screen(ON_ASX, most=8)
    assert market.stats()["requests"]["screener"] == 1


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({}, "{} is no query; write an operator and its operands"),
        ([], "[] is no query"),
        ({"and": ["beta"]}, "'beta' is no query"),
        (
            {"near": ["beta", 1]},
            "'near' is no operator; write one of and, or, eq, is-in, gt, gte, lt, lte, btwn",
        ),
        ({"gt": "beta"}, "gt has no list of operands; write gt: [one, two]"),
        ({"gt": []}, "gt has no list of operands"),
        ({"gt": ["beta"]}, "Operand must be length 2 for GT/LT"),
        ({"gt": ["beta", "high"]}, "'high' is no number"),
        ({"gt": ["beta", "nan"]}, "'nan' is no number"),
        ({"gt": ["beta", "1e999"]}, "'1e999' is no number"),
        ({"gt": ["shoe size", 1]}, "Invalid field for"),
        ({"btwn": ["beta", 1]}, "Operand must be length 3 for BTWN"),
        ({"eq": ["exchange", "XXX"]}, 'Invalid EQ value "XXX"'),
        ({"eq": ["exchange"]}, "Operand must be length 2 for EQ"),
        ({"eq": ["exchange", "ASX", "NYQ"]}, "Operand must be length 2 for EQ"),
    ],
)
def test_what_cannot_be_asked_is_told_and_not_asked(
    screen: Screen, market: ReplayHandle, query: Any, told: str
) -> None:
    with pytest.raises(ScreenFailed) as refused:
        screen(query)
    assert str(refused.value).startswith("Yahoo's screener: it cannot be asked that: ")
    assert str(refused.value).endswith("; correct the query")
    assert told in str(refused.value)
    assert market.stats()["requests"] == {}


def test_what_the_screener_itself_refuses_is_told(screen: Screen, market: ReplayHandle) -> None:
    told = "refused the query: status 400, 'invalid screen: the replay server cannot compare beta'; correct the query"
    with pytest.raises(ScreenFailed, match=told):
        screen({"gt": ["beta", 1]})


def test_a_name_may_be_missing_and_the_longer_one_is_taken(wrong: Screen) -> None:
    assert wrong(answer(2, "B.AX", "A.AX", shortName="A Ltd", currency="AUD")) == [
        Screened("A.AX", "A Ltd", "ASX", "AUD"), Screened("B.AX", "A Ltd", "ASX", "AUD"),
    ]  # fmt: skip
    assert wrong(answer(1, "A.AX", shortName="A Ltd", longName="A Limited")) == [
        Screened("A.AX", "A Limited", "ASX", "")
    ]
    assert wrong(answer(1, "A.AX")) == [Screened("A.AX", "", "ASX", "")]
    assert wrong(answer(0)) == []


def test_pages_that_show_less_than_is_counted_are_no_answer(wrong: Screen, web: Web) -> None:
    told = r"^Yahoo's screener: it counts {} listings and shows {}; try again later$"
    with pytest.raises(ScreenFailed, match=told.format(3, 2)):
        wrong(answer(3, "A.AX", "B.AX"), answer(3))
    # A listing that came in between has moved one from a page to the next.
    with pytest.raises(ScreenFailed, match=told.format(4, 3)):
        wrong(answer(3, "A.AX", "B.AX"), answer(4, "B.AX", "C.AX"))
    with pytest.raises(ScreenFailed, match=told.format(1, 0)):
        wrong(answer(1))
    # One that went in between has not.
    assert len(wrong(answer(3, "A.AX", "B.AX"), answer(2, "C.AX"))) == 3


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (Page(status=429), "it answered with status 429 (too many requests)"),
        (Page(status=500), "it answered with status 500"),
        (Page(status=401), "it answered with status 401"),
        (Page(status=999), "it answered with status 999"),
        (b"<html>Consent</html>", "it answered with status 200 and no screen ('<html>Consent</html>'…)"),
        (b"Too Many Requests", "it answered with status 200 and no screen ('Too Many Requests'…)"),
        (b"", "it answered with status 200 and no screen (''…)"),
        (b"[]", "it answered with status 200 and no screen ('[]'…)"),
        (b'{"finance": null}', "it answered with status 200 and no screen ("),
        (b'{"finance": {"result": null, "error": null}}', "a screen that has no listings in it"),
        (b'{"finance": {"result": [], "error": null}}', "a screen that has no listings in it"),
        (b'{"finance": {"result": [{"total": 1}]}}', "a screen that has no listings in it"),
        (b'{"finance": {"result": [{"total": 1, "quotes": [{}]}]}}', "a screen that has no listings in it"),
        (b'{"finance": {"result": [{"total": 1, "quotes": [7]}]}}', "a screen that has no listings in it"),
        (answer("many", "A.AX"), "a screen that has no listings in it"),
        (answer(-1, "A.AX"), "a screen that has no listings in it"),
        (answer(1, ""), "a screen that has no listings in it"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_asked_again_and_then_told(
    wrong: Screen, web: Web, page: Page | bytes, told: str
) -> None:
    with pytest.raises(ScreenFailed) as refused:
        wrong(page, attempts=2)
    assert told in str(refused.value)
    assert str(refused.value).endswith(", asked 2 times; try again later")
    if isinstance(page, Page):
        assert str(refused.value) == f"Yahoo's screener: {told}, asked 2 times; try again later"
    # Where a status is told, yfinance asks once more with new cookies by itself.
    asked = [path for path in web.asked if path.startswith(PATH)]
    assert len(asked) == (4 if isinstance(page, Page) else 2)
    assert wrong(page, page, answer(1, "A.AX"), attempts=3) == [Screened("A.AX", "", "ASX", "")]


def test_an_error_of_the_screener_is_told_in_its_words(wrong: Screen) -> None:
    for error, told in (
        ({"code": "Bad Request", "description": "no such field"}, "'no such field'"),
        ({"code": "Bad Request"}, "'Bad Request'"),
        ("text", "'None'"),
    ):
        body = orjson.dumps({"finance": {"result": None, "error": error}})
        for page, status in ((Page(body), 200), (Page(body, status=400), 400)):
            with pytest.raises(
                ScreenFailed, match=f"it refused the query: status {status}, {told}; correct the query"
            ):
                wrong(page)


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    screener = Screener(quick_settings(tmp_path, "http://127.0.0.1:9", attempts=1))
    with pytest.raises(
        ScreenFailed, match=r"no answer from http://127\.0\.0\.1:9 \(ConnectionError: .*asked once"
    ):
        screener.screened(ON_ASX, "equity", 10)
    screener.close()
    screener.close()


def test_a_closed_screener_gives_its_files_and_connections_back(
    market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def open_and_keep(settings: Settings) -> Any:
        opened.append(open_client(settings))
        return opened[-1]

    def pace_files() -> int:
        files = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
        return sum("pace" in file and file.startswith(str(tmp_path)) for file in files)

    monkeypatch.setattr(yahoo_screener, "open_client", open_and_keep)
    screener = Screener(quick_settings(tmp_path, market.url, requests_per_second=50.0))
    for number in (1, 2):
        assert screener.screened(ON_ASX, "equity", 100)
        assert pace_files() > 0
        screener.close()
        assert (len(opened), pace_files()) == (number, 0)


def test_pauses_double_and_a_rate_limit_cools_the_pace_down(
    wrong: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(asking_again, "wait_unless_interrupted", lambda seconds: bool(pauses.append(seconds)))
    with pytest.raises(ScreenFailed):
        wrong(b"", attempts=6, retry_wait_seconds=3.0)
    assert pauses == [3.0, 6.0, 12.0, 24.0, 30.0]
    with pytest.raises(
        ScreenFailed, match="the time allowed for waiting on rate limits is spent; try again later"
    ):
        wrong(Page(status=429), attempts=3, cool_down_seconds=10.0, rate_limit_budget_seconds=5.0)
    monkeypatch.setattr(asking_again, "wait_unless_interrupted", lambda _: True)
    with pytest.raises(Interrupted):
        wrong(b"", attempts=2)
