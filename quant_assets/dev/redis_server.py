"""A Redis on loopback, started by us: to be killed, hung and filled."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager

from quant_assets.dev.gcs_emulator import EmulatorError


class RedisServer:
    """A process of redis-server on a port of its own; nothing of it is kept on disk.

    Args:
        password: what clients must say; empty: nothing.
    """

    def __init__(self, password: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        secret = f":{self._password}@" if self._password else ""
        return f"redis://{secret}127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it listens. Raises EmulatorError."""
        program = shutil.which("redis-server")
        if program is None:
            raise EmulatorError("redis-server is not installed: apt-get install redis-server")
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly no".split()
        command = [program, *options, "--save", ""]
        if self._password:
            command += ["--requirepass", self._password]
        self._process = subprocess.Popen(
            command, cwd=tempfile.gettempdir(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            time.sleep(0.01)
        self.kill()
        raise EmulatorError(f"redis-server does not listen on port {self.port}")

    def kill(self) -> None:
        """Ends it at once, as a power loss would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Has it accept connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, what: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(what)


@contextmanager
def redis_server(password: str = "") -> Generator[RedisServer]:
    """A running Redis. Raises EmulatorError."""
    server = RedisServer(password)
    server.start()
    try:
        yield server
    finally:
        server.kill()
