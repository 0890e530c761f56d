"""The interpreter in which qlib and zipline are: this one, or that of `make export-test`."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def interpreter(tool: str) -> str:
    """A Python that has `tool`; skips the test where there is none."""
    if importlib.util.find_spec(tool):
        return sys.executable
    other = ROOT / ".venv-export" / "bin" / "python"
    if other.exists():
        return str(other)
    pytest.skip(f"{tool} is not installed (make export-test installs it and runs this)")


def run_there(tool: str, program: str, cwd: Path, **environ: str) -> Any:
    """What a program prints as its last line, as JSON."""
    done = subprocess.run(
        [interpreter(tool), "-W", "ignore", "-c", program],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), **environ},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
