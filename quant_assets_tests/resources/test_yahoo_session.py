"""The session that yfinance uses, answer by answer, against a server that answers what it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from curl_cffi import CurlHttpVersion
from curl_cffi.requests import Session

from quant_assets.resources import yahoo_session
from quant_assets.resources.counters import DATA_REQUESTS, counted
from quant_assets.resources.pacing import Pacer
from quant_assets.resources.yahoo_session import ChartRefused, NoCrumb, ObservingSession

YAHOO = "https://query2.finance.yahoo.com"
CHART = f"{YAHOO}/v8/finance/chart/AAPL"
CRUMB = f"{YAHOO}/v1/test/getcrumb"


class Answer(NamedTuple):
    """What the server answers next."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Server(ThreadingHTTPServer):
    """Gives `answer` to every question, and keeps the questions with their headers."""

    answer = Answer()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(server.answer.status)
        for name, value in server.answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(server.answer.body)))
        self.end_headers()
        self.wfile.write(server.answer.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def session(server: Server) -> Iterator[ObservingSession]:
    session = ObservingSession(server.url, 5.0, Pacer(0, 1.0, None))
    yield session
    session.close()


class Clock:
    """A clock that stands still, in place of the session's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(
            yahoo_session, "time", SimpleNamespace(monotonic=lambda: self.now, time=lambda: 1_000.9)
        )


@pytest.mark.parametrize(
    ("status", "refused"),
    [(200, False), (399, False), (400, True), (401, False), (402, True), (404, True), (500, True)],
)
def test_a_chart_is_refused_from_status_400_on_and_401_is_left_to_yfinance(
    server: Server, session: ObservingSession, status: int, refused: bool
) -> None:
    server.answer = Answer(status, b"why")
    if refused:
        with pytest.raises(ChartRefused, match=rf"^status {status}$") as caught:
            session.get(CHART)
        assert (caught.value.status, caught.value.body, caught.value.retry_after) == (status, b"why", None)
    else:
        assert session.get(CHART).status_code == status
    # What is no chart is answered whatever its status.
    assert session.get(f"{YAHOO}/v8/finance/chart/AAPL/more").status_code == status
    assert session.get(f"{YAHOO}/v7/finance/quote").status_code == status


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("7", 7.0), ("0.5", 0.5), ("0", 0.0), ("-3", 0.0), ("soon", None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
def test_a_retry_after_is_a_number_of_seconds_or_nothing(
    server: Server, session: ObservingSession, header: str | None, seconds: float | None
) -> None:
    server.answer = Answer(429, b"", {} if header is None else {"Retry-After": header})
    with pytest.raises(ChartRefused) as caught:
        session.get(CHART)
    assert caught.value.retry_after == seconds


def test_requests_for_charts_are_counted_and_no_others(server: Server, session: ObservingSession) -> None:
    server.answer = Answer(body=b"word")
    before = counted(DATA_REQUESTS)
    assert session.data_requests == 0
    for url in (CHART, CRUMB, f"{YAHOO}/v7/finance/quote", CHART, CHART):
        session.get(url)
    assert session.data_requests == counted(DATA_REQUESTS) - before == 3
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("asked", "path", "host"),
    [
        (f"{CHART}?period1=1&interval=1d", "/v8/finance/chart/AAPL?period1=1&interval=1d", YAHOO[8:]),
        (CHART, "/v8/finance/chart/AAPL", YAHOO[8:]),
        ("https://fc.yahoo.com", "/", "fc.yahoo.com"),
    ],
)
def test_a_request_goes_to_the_configured_address_and_looks_as_if_it_had_not(
    server: Server, session: ObservingSession, asked: str, path: str, host: str
) -> None:
    response = session.get(asked, headers={"X-Mine": "kept"})
    [(found, headers)] = server.asked
    assert (found, headers["x-forwarded-host"], headers["x-mine"]) == (path, host, "kept")
    assert "Chrome" in headers["user-agent"]
    assert "upgrade" not in headers
    assert response.url == asked
    # Only the host that sets Yahoo's cookie has set it.
    assert [cookie.name for cookie in session.cookies.jar] == (["A3"] if host == "fc.yahoo.com" else [])


def test_every_request_is_paced(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pacer, waits = Pacer(0, 1.0, None), list[int]()
    monkeypatch.setattr(pacer, "wait", lambda: waits.append(len(server.asked)))
    session = ObservingSession(server.url, 5.0, pacer)
    session.get(CHART)
    session.get(f"{YAHOO}/v7/finance/quote")
    session.close()
    assert waits == [0, 1]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, 5.0),
        ({"timeout": None}, 5.0),
        ({"timeout": 3}, 3),
        ({"timeout": 9}, 5.0),
        ({"timeout": (3, 4)}, 5.0),
    ],
)
def test_no_request_takes_longer_than_the_time_limit(
    session: ObservingSession, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], sent: float
) -> None:
    sends, limits = Session.request, list[object]()

    def request(*args: Any, **kwargs: Any) -> object:
        limits.append(kwargs["timeout"])
        return sends(*args, **kwargs)

    monkeypatch.setattr(Session, "request", request)
    session.request("GET", CHART, **asked)
    assert limits == [sent]


def test_a_plain_address_is_asked_in_the_old_protocol_and_yahoo_in_the_browsers_own() -> None:
    pacer = Pacer(0, 1.0, None)
    for url, version in (
        ("http://127.0.0.1:1", CurlHttpVersion.V1_1),
        ("https://mirror.example", None),
        ("", None),
    ):
        session = ObservingSession(url, 5.0, pacer)
        assert (session.http_version, session.impersonate) == (version, "chrome")
        session.close()


# Crumbs.


@pytest.mark.parametrize(
    ("status", "body", "good"),
    [
        (200, b"abc.def/1\n", True),
        (200, b"c" * 64, True),
        (200, b"c" * 65, False),
        (200, b"", False),
        (200, b"Too Many Requests", False),
        (200, b"<html>", False),
        (200, b"{}", False),
        (201, b"abc", False),
        (401, b"abc", False),
    ],
)
def test_a_crumb_is_one_short_word_with_status_200(
    server: Server, session: ObservingSession, status: int, body: bytes, good: bool
) -> None:
    server.answer = Answer(status, body)
    assert not session.crumb_refused
    if good:
        assert session.get(CRUMB).content == body
    else:
        with pytest.raises(NoCrumb, match=rf"^status {status} and no crumb$"):
            session.get(CRUMB)
    assert session.crumb_refused is not good


def test_after_what_is_no_crumb_none_is_asked_for_for_a_while_each_time_longer(
    server: Server, session: ObservingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        server.answer = Answer(401)
        with pytest.raises(NoCrumb, match="and no crumb"):
            session.get(CRUMB)
        asked = len(server.asked)
        clock.now += pause - 0.25
        with pytest.raises(NoCrumb, match="no crumb to be had a moment ago"):
            session.get(CRUMB)
        assert len(server.asked) == asked
        clock.now += 0.25
    # Anything else is asked for all the same, and a crumb that comes ends it.
    server.answer = Answer(body=b"word")
    session.get(CRUMB)
    server.answer = Answer(401)
    with pytest.raises(NoCrumb, match="and no crumb"):
        session.get(CRUMB)
    session.get(CHART)
    clock.now += 1.0
    server.answer = Answer(body=b"word")
    assert session.get(CRUMB).text == "word"


def test_the_cookie_lasts_a_day_and_is_of_all_of_yahoo(
    server: Server, session: ObservingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)
    session.get("https://fc.yahoo.com")
    (cookie,) = session.cookies.jar
    told = {name: value for name, value in vars(cookie).items() if name not in ("_rest", "rfc2109")}
    assert told == {
        "version": 0, "name": "A3", "value": "replay", "port": None, "port_specified": False,
        "domain": ".yahoo.com", "domain_specified": True, "domain_initial_dot": True,
        "path": "/", "path_specified": True, "secure": False, "expires": 1_000 + 86_400, "discard": False,
        "comment": None, "comment_url": None,
    }  # fmt: skip
