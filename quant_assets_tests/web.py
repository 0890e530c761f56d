"""A web server on loopback, whose pages a test writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Page:
    """One answer. `length`: what Content-Length says (None: the truth); `pause`: seconds before every byte."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    length: int | None = None
    pause: float = 0.0


@dataclass
class Web:
    """The pages by path, each a list: one answer a request, the last for all further ones; and what was asked."""

    url: str
    pages: dict[str, list[Page]] = field(default_factory=dict[str, list[Page]])
    asked: list[str] = field(default_factory=list[str])

    def put(self, path: str, body: bytes | str, **more: str) -> str:
        """Puts a page there and answers its address."""
        data = body.encode() if isinstance(body, str) else body
        self.pages[path] = [Page(data, headers=more)]
        return self.url + path


@contextmanager
def web_server() -> Generator[Web]:
    """Serves until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            web.asked.append(self.path)
            answers = web.pages.get(path, [Page(status=404)])
            page = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(page.body) if page.length is None else page.length))
            self.end_headers()
            try:
                if page.pause:
                    for at in range(len(page.body)):
                        time.sleep(page.pause)
                        self.wfile.write(page.body[at : at + 1])
                else:
                    self.wfile.write(page.body)
            except OSError:
                pass  # whoever asked has heard enough
            self.close_connection = page.length is not None or self.close_connection

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
