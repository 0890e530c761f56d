"""A lock that processes of one machine hold on a file, and that ends with the process however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from quant_assets.resources.interrupts import Interrupted, wait_unless_interrupted


@contextmanager
def one_at_a_time(file: Path, on_wait: Callable[[], object] = lambda: None) -> Generator[None]:
    """Holds an exclusive lock on a file, also against other threads of this process.

    `on_wait` is called once when somebody else holds it. Raises Interrupted while waiting, OSError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        waited = False
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if not waited:
                waited = True
                on_wait()
            if wait_unless_interrupted(0.2):
                raise Interrupted
        yield
    finally:
        os.close(descriptor)
