"""Yahoo's quotes with the real yfinance client on loopback: whole answers on the replay server, wrong ones on a
server that says what a test writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources import yahoo_quotes
from quant_assets.resources.yahoo_quotes import CHUNK, Quoted, Quotes
from quant_assets_tests.support import quick_settings
from quant_assets_tests.web import Page, Web, web_server

Wrong = Callable[..., Quoted]
PATH = "/v7/finance/quote"
DOWN = Page(status=503)


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with web_server() as web:
        yield web


@pytest.fixture
def wrong(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wrong]:
    """Asks for A, B, … two symbols a request; the pages are the answers in order: `wrong("ABC", page, page)`."""
    opened: list[Quotes] = []
    monkeypatch.setattr(yahoo_quotes, "CHUNK", 2)

    def wrong(symbols: str, *pages: Page | bytes, **settings: Any) -> Quoted:
        web.pages[PATH] = [page if isinstance(page, Page) else Page(page) for page in pages]
        web.asked.clear()
        opened.append(Quotes(quick_settings(tmp_path, web.url, **settings)))
        return opened[-1].quoted(list(symbols))

    yield wrong
    for quotes in opened:
        quotes.close()


def answer(*symbols: str, **more: Any) -> bytes:
    """The answer of the quotes."""
    quotes = [{"symbol": symbol, **more} for symbol in symbols]
    return json.dumps({"quoteResponse": {"result": quotes, "error": None}}).encode()


def asked(web: Web) -> int:
    return sum(path.startswith(PATH) for path in web.asked)


def test_many_symbols_are_one_request_and_who_is_not_known_has_no_quote(
    market: ReplayHandle, tmp_path: Path
) -> None:
    quotes = Quotes(quick_settings(tmp_path, market.url))
    found = quotes.quoted(["AAPL", "BRK.B", "IBM", "^GSPC"])
    quotes.close()
    assert (list(found.quotes), found.failed) == (["AAPL", "IBM"], {})
    assert found.quotes["IBM"]["currency"] == "USD"
    assert market.stats()["requests"] == {"cookie": 1, "crumb": 1, "quote": 1}
    assert CHUNK == 200


def test_symbols_that_nobody_asked_for_and_what_is_no_quote_are_passed_over(wrong: Wrong, web: Web) -> None:
    whole = json.loads(answer("B", "X", "A", "B"))
    whole["quoteResponse"]["result"] += [None, {}, {"symbol": 7}, [1]]
    whole["quoteResponse"]["result"][0]["trailingPE"] = float("nan")
    found = wrong("ABC", json.dumps(whole).encode(), answer())
    assert (list(found.quotes), found.failed) == (["A", "B"], {})
    # A number that is none costs its field, and the first of two quotes counts.
    assert found.quotes["B"]["trailingPE"] != found.quotes["B"]["trailingPE"]
    assert [path.partition("symbols=")[2].partition("&")[0] for path in web.asked if PATH in path] == [
        "A%2CB",
        "C",
    ]


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (Page(status=429), "it answered with status 429 (too many requests)"),
        (DOWN, "it answered with status 503"),
        (Page(status=401), "it answered with status 401"),
        (
            Page(b'{"finance": {"error": {"code": "Bad Request"}}}', status=400),
            "it answered with status 400 and no q",
        ),
        (b"<html>Consent</html>", "it answered with status 200 and no quotes ('<html>Consent</html>'…)"),
        (b"", "it answered with status 200 and no quotes (''…)"),
        (b'{"quoteResponse": {"result": null, "error": null}}', "and no quotes ("),
        (b'{"quoteResponse": {"result": [], "error": {"code": "x"}}}', "and no quotes ("),
        (b"[" * 100_000, "and no quotes ("),
    ],
)
def test_what_is_no_answer_is_asked_for_again_and_then_told(
    wrong: Wrong, web: Web, page: Page | bytes, told: str
) -> None:
    assert list(wrong("A", page, answer("A")).quotes) == ["A"]
    failed = wrong("AB", page, attempts=2)
    assert (set(failed.failed), failed.quotes) == ({"A", "B"}, {})
    assert told in failed.failed["A"]
    assert failed.failed["A"].endswith(", asked 2 times")


def test_a_request_that_fails_costs_its_own_symbols_and_two_in_a_row_end_the_asking(
    wrong: Wrong, web: Web
) -> None:
    # yfinance itself asks once more, with other cookies.
    down = DOWN, DOWN
    one = wrong("ABCDEF", answer("A", "B"), *down, answer("E", "F"), attempts=1)
    assert (list(one.quotes), list(one.failed)) == (["A", "B", "E", "F"], ["C", "D"])
    apart = wrong("ABCDEFGH", *down, answer("C", "D"), *down, answer("G", "H"), attempts=1)
    assert (list(apart.quotes), list(apart.failed)) == (["C", "D", "G", "H"], ["A", "B", "E", "F"])
    ended = wrong("ABCDEFGH", answer("A", "B"), *down, *down, answer("G", "H"), attempts=1)
    assert list(ended.quotes) == ["A", "B"]
    assert ended.failed["F"] == "it answered with status 503, asked once"
    assert ended.failed["H"] == "not asked for any more: it answered with status 503, asked once"
    assert asked(web) == 5


def test_when_the_time_for_rate_limits_is_spent_nothing_more_is_asked(wrong: Wrong, web: Web) -> None:
    limited = wrong(
        "ABCD",
        answer("A", "B"),
        Page(status=429),
        attempts=3,
        rate_limit_budget_seconds=0,
        cool_down_seconds=1,
    )
    assert list(limited.quotes) == ["A", "B"]
    assert limited.failed == dict.fromkeys("CD", "the time allowed for waiting on rate limits is spent")
