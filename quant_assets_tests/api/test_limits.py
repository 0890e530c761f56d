"""What no client or store can do to the API: fill its memory, hold it up, pass half an answer for a whole one."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import uvicorn
from starlette.testclient import TestClient
from starlette.types import Message
from uvicorn.protocols.http.h11_impl import H11Protocol

from quant_assets import prices
from quant_assets.api import answers, connections, guards, serving, streams
from quant_assets.api.app import create_app
from quant_assets.api.problems import Problem
from quant_assets.api.streams import StreamedResponse, Streams
from quant_assets.api.workers import Workers
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings

STREAMED = "/v1/prices?start=2012-03-12&format={}"


class OverH11(connections.Bounds, H11Protocol):
    """As it is served where there is no httptools."""


@pytest.fixture(params=["h11"])
def server(settings: Settings, request: pytest.FixtureRequest) -> Iterator[int]:
    """The API behind a real server; its port."""
    options = serving.OPTIONS if request.param == "auto" else {**serving.OPTIONS, "http": OverH11}
    config = uvicorn.Config(create_app(settings), port=0, log_level="error", **options)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield running.servers[0].sockets[0].getsockname()[1]
    running.should_exit = True
    thread.join(10)


def raw(port: int, *parts: bytes) -> bytes:
    """What comes back for some bytes, until the server closes or nothing more comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        for part in parts:
            line.sendall(part)
        found = b""
        line.settimeout(5)
        while more := line.recv(65536):
            found += more
            if b"\r\n\r\n" in found and b'"status"' in found:
                break
        return found


def test_a_body_that_says_it_is_large_is_refused_before_any_of_it_is_read(server: int) -> None:
    head = b"POST /v1/prices/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    began = time.monotonic()
    answer = raw(server, head + b"Content-Length: 100000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    assert time.monotonic() - began < 4
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = raw(server, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 17)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(("server", "symbols"), [("h11", 10_000), ("auto", 6_000)], indirect=["server"])
def test_an_address_that_is_too_long_is_refused_with_what_to_do_instead(server: int, symbols: int) -> None:
    # httptools itself takes no address of more than 64 kB.
    long = ",".join(["BHP.AX"] * symbols)
    answer = raw(server, f"GET /v1/prices?symbols={long} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 414 ")
    assert b"POST /v1/prices/query" in answer


@pytest.mark.parametrize("server", ["auto", "h11"], indirect=True)
def test_a_head_without_an_end_is_cut_off_before_it_holds_up_others(server: int) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server), timeout=10) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with pytest.raises(ConnectionError):
            line.sendall(b"x" * 2**25)
    answer = raw(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("server", ["auto", "h11"], indirect=True)
def test_who_never_ends_a_head_is_given_up_and_who_has_asked_is_not(
    server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server), timeout=5) as line:
        line.sendall(whole[:-2])
        assert line.recv(1000) == b""
    with socket.create_connection(("127.0.0.1", server), timeout=5) as line:
        for _ in range(3):
            line.sendall(whole)
            found = b""
            while b'"ok"' not in found:
                found += line.recv(1000)
            time.sleep(0.4)


def test_a_proxy_that_says_nothing_of_itself_needs_a_key(server: int) -> None:
    assert raw(server, b"GET /v1/catalog HTTP/1.0\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 401 ")


def test_a_body_that_never_ends_is_given_up(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "BODY_SECONDS", 0.3)
    head = b"POST /v1/prices/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answer = raw(server, head + b'Content-Length: 100\r\n\r\n{"symbols": [')
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_more_connections_than_there_may_be_are_told_to_come_again(
    server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 1)
    with socket.create_connection(("127.0.0.1", server), timeout=5) as first:
        first.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert first.recv(1000).startswith(b"HTTP/1.1 200 ")
        answer = raw(server, b"")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"application/problem+json" in answer


@pytest.mark.parametrize("form", ["csv", "arrow", "parquet"])
def test_a_large_answer_is_streamed_and_the_same(
    client: TestClient, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    expected = prices(start="2012-03-12", store=store).collect()
    monkeypatch.setattr(answers, "BATCH_ROWS", 20)
    answer = client.get(STREAMED.format(form))
    assert "content-length" not in answer.headers
    assert answer.headers["x-snapshot-id"].startswith("state-")
    read: Any = {
        "csv": lambda body: pl.read_csv(body, try_parse_dates=True),
        "arrow": pl.read_ipc_stream,
        "parquet": pl.read_parquet,
    }[form]
    found = read(io.BytesIO(answer.content))
    assert found.height == expected.height
    assert found["close"].to_list() == expected["close"].to_list()
    head = client.head(STREAMED.format(form))
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])


def damage(store: ObjectStore, key: str) -> Path:
    file = Path(store.uri(key))
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0xFF
    file.write_bytes(data)
    return file


def test_a_damaged_object_is_named_and_what_lies_elsewhere_is_served(
    client: TestClient, store: ObjectStore
) -> None:
    file = damage(store, "daily_prices/exchange=ASX/date=2012-02-08.parquet")
    refused = client.get("/v1/prices?symbols=BHP.AX")
    assert refused.status_code == 500
    assert refused.headers["content-type"] == "application/problem+json"
    assert str(file) in refused.json()["detail"]
    assert client.get("/v1/prices?symbols=IBM").status_code == 200
    assert client.get("/v1/prices?symbols=BHP.AX&start=2012-02-09").status_code == 200


def test_a_stream_that_meets_a_damaged_object_ends_before_its_end(
    settings: Settings, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, server: int
) -> None:
    monkeypatch.setattr(answers, "BATCH_ROWS", 70)
    key = "daily_prices/exchange=US/date=2012-02-08.parquet"
    # AAPL, whose rows are of the damaged cell, is not the first: the status has been sent by then.
    damage(store, key)
    ask = b"GET /v1/prices?format=csv&symbols=BHP.AX,CBA.AX,IBM HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server), timeout=10) as line:
        line.sendall(ask)
        found = b""
        while more := line.recv(65536):
            found += more
    assert found.startswith(b"HTTP/1.1 200 ")
    assert b"BHP.AX" in found
    assert not found.endswith(b"0\r\n\r\n")


def test_a_store_that_cannot_be_read_is_told_with_when_to_ask_again(
    client: TestClient, store: ObjectStore
) -> None:
    catalog = Path(store.uri("symbol_catalog.parquet"))
    catalog.unlink()
    catalog.symlink_to(catalog)
    answer = client.get("/v1/prices?symbols=IBM")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert str(catalog) in answer.json()["detail"]


def test_a_store_that_hangs_holds_up_nobody_for_ever(settings: Settings, store: ObjectStore) -> None:
    limits = {"api_timeout_seconds": 0.5, "api_threads": 2}
    client = TestClient(create_app(settings.model_copy(update=limits)), raise_server_exceptions=False)
    catalog = Path(store.uri("symbol_catalog.parquet"))
    catalog.unlink()
    os.mkfifo(catalog)
    try:
        before = threading.active_count()
        for _ in range(4):
            began = time.monotonic()
            answer = client.get("/v1/prices?symbols=IBM")
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
            assert time.monotonic() - began < 5
        # Two hang; the others never began.
        assert threading.active_count() <= before + 2 + 1
        assert client.get("/healthz").status_code == 200
    finally:
        # Whoever waits for a writer gets one, and then nothing.
        for _ in range(3):
            with os.fdopen(os.open(catalog, os.O_RDWR | os.O_NONBLOCK), "wb"):
                time.sleep(0.05)


def test_a_client_that_reads_slowly_has_one_batch_waiting_and_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "SLOW_SECONDS", 0.3)
    made: list[int] = []
    slots, workers = Streams(1), Workers(2, 5.0)

    def pieces() -> Iterator[bytes]:
        for number in range(1_000):
            made.append(number)
            yield b"x" * 1_000

    async def ask() -> list[Message]:
        sent: list[Message] = []
        never = asyncio.Event()

        async def receive() -> Message:
            await never.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)
            if len(sent) > 3:
                await never.wait()

        response = StreamedResponse(pieces(), {}, workers, slots)
        with pytest.raises(Problem) as refused:
            StreamedResponse(pieces(), {}, workers, slots)
        assert refused.value.status == 503
        scope = {"type": "http", "path": "/x", "asgi": {"version": "3.0", "spec_version": "2.3"}}
        await asyncio.wait_for(response(scope, receive, send), 5)
        return sent

    sent = asyncio.run(ask())
    assert len(sent) == 4
    assert len(made) <= 4
    assert not any(message.get("more_body") is False for message in sent)
    assert slots.open == 0


def test_a_client_that_hangs_up_while_a_piece_is_made_leaves_nothing_open() -> None:
    slots, workers = Streams(1), Workers(2, 5.0)
    making, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        try:
            making.set()
            go_on.wait(5)
            yield b"x"
        finally:
            closed.set()

    async def ask() -> None:
        async def receive() -> Message:
            while not making.is_set():
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            return None

        scope = {"type": "http", "method": "GET", "path": "/", "asgi": {"spec_version": "2.3"}}
        await StreamedResponse(pieces(), {}, workers, slots)(scope, receive, send)

    asyncio.run(ask())
    assert slots.open == 0
    go_on.set()
    assert closed.wait(5)
