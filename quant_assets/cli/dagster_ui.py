"""Opens Dagster's web page and daemon on a store, for the demo with its replay server beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from quant_assets.cli.console import console
from quant_assets.cli.usage import UsageProblem
from quant_assets.resources.settings import PREFIX, Settings

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ORDERLY_SECONDS = 40.0
"""How long Dagster may take to stop its servers, and a run in progress to write what came."""
_LAST_SECONDS = 10.0


def run_ui(settings: Settings, port: int, *, demo: bool) -> int:
    """Runs `dagster dev` until a signal ends it; answers the exit code: 0 when it was asked to end.

    It serves this package's code location, whatever lies in the current folder. Raises UsageProblem, LaunchError,
    HomeUnavailable, OSError.
    """
    from quant_assets.instance import prepare_instance

    _refuse_port_in_use(port)
    with contextlib.ExitStack() as stack:
        if demo:
            from quant_assets.dev.demo import REPLAY, demo_settings, write_universe
            from quant_assets.replay.launch import start

            server = stack.enter_context(start(REPLAY))
            settings = demo_settings(settings.home, server.url)
            assert settings.universe is not None
            write_universe(server, settings.universe)
            console.print(f"replay server on {server.url}, today is 2013-03-01", soft_wrap=True)
        home = str(prepare_instance(settings))
        environment = {
            **environment_of(settings),
            "DAGSTER_HOME": home,
            "PYTHONWARNINGS": "ignore",
            # The current folder may hold modules of any name.
            "PYTHONSAFEPATH": "1",
        }
        console.print(
            f"Dagster opens on http://127.0.0.1:{port} (half a minute; Ctrl-C ends it)", soft_wrap=True
        )
        where = ("-m", "quant_assets.definitions", "-d", home)
        command = [sys.executable, "-m", "dagster", "dev", *where, "-h", "127.0.0.1", "-p", str(port)]
        return supervise(command, environment)


def supervise(
    command: Sequence[str], environment: Mapping[str, str], *, orderly_seconds: float = _ORDERLY_SECONDS
) -> int:
    """Runs a command, and ends it with all its descendants on SIGINT, SIGTERM or SIGHUP; answers the exit code.

    The command gets a process group of its own and first the interrupt it knows from a terminal; what is still there
    after `orderly_seconds`, or at a second signal, is terminated and then killed.
    """
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in _ENDING}
    try:
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            while process.poll() is None and not received:
                time.sleep(0.1)
            if received:
                process.send_signal(signal.SIGINT)
                _wait(lambda: process.poll() is not None or len(received) > 1, orderly_seconds)
        finally:
            _end_group(process, hurry=len(received) > 1)
        return 0 if received else process.returncode
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_group(process: subprocess.Popen[bytes], *, hurry: bool) -> None:
    """Ends whatever is left of a process group: it is named after its first process, which may be gone."""

    def gone() -> bool:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    for number, seconds in ((signal.SIGTERM, 0 if hurry else _LAST_SECONDS), (signal.SIGKILL, _LAST_SECONDS)):
        if gone():
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        _wait(gone, seconds)
    process.wait()


def _wait(until: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        time.sleep(0.1)


def _refuse_port_in_use(port: int) -> None:
    with socket.socket() as probe:
        # As the web server will: a port whose last connections are fading away is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageProblem(
                f"--port {port}: {error.strerror} on 127.0.0.1; choose another one, or end what listens there"
            ) from error


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment of this process, with these settings and no others.

    What the demo leaves at its default must not come from what the user has set: a store, say, or exchanges.
    """
    from quant_assets.dev.demo import as_environment

    ours = {PREFIX + name.upper() for name in Settings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    return {**inherited, **as_environment(settings)}
