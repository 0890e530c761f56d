"""Real receivers on loopback: an SMTP server and a webhook, each in a thread, that can be dead."""

from __future__ import annotations

import email
import email.policy
import html
import json
import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer


@dataclass
class Received:
    """What a receiver has taken: (title, body) in order; `url` is its address as apprise has it."""

    url: str = ""
    messages: list[tuple[str, str]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    """A webhook's: what each message says that it is, `info` or `warning`."""
    dead: bool = False

    def titles(self) -> list[str]:
        return [title.removeprefix("quant-assets: ") for title, _ in self.messages]


@contextmanager
def webhook() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if received.dead:
                self.send_error(503)
                return
            said = json.loads(body)
            received.messages.append((said["title"], said["message"]))
            received.kinds.append(said["type"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"json://127.0.0.1:{server.server_port}/hook?key=s3cret"
        with _serving(server):
            yield received


@contextmanager
def smtp() -> Iterator[Received]:
    """As much of RFC 5321 as a client needs to hand over a mail."""
    received = Received()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if received.dead:
                return
            self.wfile.write(b"220 desk\r\n")
            for line in self.rfile:
                word = line.strip().upper()[:4]
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    received.messages.append(_mail(b"".join(iter(self.rfile.readline, b".\r\n"))))
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                if word == b"QUIT":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
        received.url = (
            f"mailto://example.com:{port}?smtp=127.0.0.1&from=quant@example.com&to=desk@example.com"
        )
        with _serving(server):
            yield received


def _mail(data: bytes) -> tuple[str, str]:
    mail = email.message_from_bytes(data.replace(b"\r\n..", b"\r\n."), policy=email.policy.default)
    body = mail.get_body(("plain", "html"))
    assert body is not None
    text = body.get_content().strip()
    if body.get_content_type() == "text/html":
        # As a reader of mail shows it: only a break ends a line.
        text = html.unescape(re.sub(r"<br\s*/?>", "\n", " ".join(text.split())))
    return str(mail["Subject"]), text


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
