"""Runs a command to its end, whatever it leaves behind."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


def run_to_end(command: Sequence[str], folder: Path, timeout: float) -> tuple[int, str]:
    """The exit code of a command that is run in `folder`, and what it printed (both streams).

    Into a file and not a pipe: what a killed Dagster run leaves running (`tail` on its log) would hold a pipe open,
    and whoever reads it waits for ever. Raises subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        done = subprocess.run(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, timeout=timeout)
        output.seek(0)
        return done.returncode, output.read()
