"""Trying changes: each in a tree of its own, by a fork that has imported everything but our code."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.mutants.changes import ROOT, Mutant

HEAVY = ("pytest", "hypothesis", "polars.testing", "pandas", "dataframely", "yfinance", "curl_cffi",
         "orjson", "pandas_market_calendars", "pydantic_settings", "yaml", "filelock", "pyrate_limiter",
         "bokeh_sampledata", "google.cloud.storage", "dagster", "xdist.plugin", "httpx")  # fmt: skip
"""What the tests import besides our own code: imported once, each run being a fork."""
TIMEOUT = -100


def tests_for(mutant: Mutant, known: dict[str, Any], budget: float) -> tuple[list[str], float]:
    """The tests to run, and how long they take."""
    seconds: dict[str, float] = known["seconds"]
    path = Path(mutant.path.removeprefix("quant_assets/"))
    mirror = f"{path.parent}/test_{path.name}"
    executed: dict[str, list[str]] = known["functions"]
    # A function that is newer than the map: whatever executes its module.
    found = executed.get(f"{mutant.path}:{mutant.function}") or executed.get(f"{mutant.path}:", [])
    tests = [test for test in found if test in seconds]
    tests.sort(key=lambda test: (mirror not in test, seconds[test]))
    chosen: list[str] = []
    total = 0.0
    for test in tests:
        if total + seconds[test] <= budget or not chosen:
            chosen.append(test)
            total += seconds[test]
    return chosen, total


def start(tree: Path, tests: list[str]) -> int:
    """A fork that runs tests in a tree; its exit code is 0 when all of them pass."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    log = os.open(tree / "mutant.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(tree)
    sys.path[:] = [str(tree), *(p for p in sys.path if p and Path(p).resolve() != ROOT)]
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    code = 3
    try:
        import pytest

        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={tree}/tmp", *tests]))
    finally:
        os._exit(code)


class Runs:
    """Tries mutants, each in a tree of its own; prints those that survive."""

    def __init__(self, known: dict[str, Any], budget: float, slack: float, folder: Path) -> None:
        self._known, self._budget, self._slack, self._folder = known, budget, slack, folder
        self._sound: set[str] = set()
        self.counts: Counter[str] = Counter()

    def tree(self, name: str) -> Path:
        """A copy of the code and its tests."""
        tree = self._folder / name
        tree.mkdir()
        for part in ("quant_assets", "resources", "quant_assets_tests", "benchmarks"):
            shutil.copytree(ROOT / part, tree / part, symlinks=True)
        shutil.copy(ROOT / "pyproject.toml", tree)
        return tree

    def run(self, mutants: list[Mutant], jobs: int) -> None:
        """Tries all of them, `jobs` at once."""
        for name in HEAVY:
            importlib.import_module(name)
        self._clean = self.tree("clean")
        trees = [self.tree(str(number)) for number in range(jobs)]
        queue, running = list(reversed(mutants)), dict[int, tuple[Mutant, Path, float]]()
        while queue or running:
            while queue and trees:
                tests, expected = tests_for(queue[-1], self._known, self._budget)
                mutant = queue.pop()
                if not tests:
                    self._count(mutant, "survived", " (no test executes it)")
                    continue
                tree = trees.pop()
                (tree / mutant.path).write_text(mutant.source)
                running[start(tree, tests)] = mutant, tree, time.monotonic() + self._slack + 4 * expected
            time.sleep(0.05)
            for pid, (mutant, tree, deadline) in list(running.items()):
                code = ended(pid, deadline)
                if code is None:
                    continue
                del running[pid]
                shutil.copy(self._clean / mutant.path, tree / mutant.path)
                trees.append(tree)
                if code == TIMEOUT or code == 0:
                    self._count(mutant, "survived" if code == 0 else "timeout")
                elif self._kills(tree / "mutant.log"):
                    self._count(mutant, "killed")
                else:
                    queue.append(mutant)

    def _count(self, mutant: Mutant, outcome: str, more: str = "") -> None:
        self.counts[outcome] += 1
        if outcome == "survived":
            print(f"{mutant}{more}", flush=True)

    def _kills(self, log: Path) -> bool:
        """Whether the test that failed passes without the change; else it is left out from now on."""
        lines = log.read_text(errors="replace").splitlines()
        named = (
            line.split(" - ")[0].split(": ")[-1] for line in lines if line.startswith(("FAILED ", "ERROR"))
        )
        test = next((name.removeprefix("FAILED ").removeprefix("ERROR ") for name in named), "")
        test = next((t for t in self._known["seconds"] if test and test.endswith(t)), "")
        if not test or test in self._sound:
            return True
        pid, code = start(self._clean, [test]), None
        deadline = time.monotonic() + self._slack + 4 * self._known["seconds"][test]
        while code is None:
            time.sleep(0.05)
            code = ended(pid, deadline)
        if code == 0:
            self._sound.add(test)
            return True
        print(f"{test} fails without any change, or is gone: left out", file=sys.stderr, flush=True)
        del self._known["seconds"][test]
        return False


def ended(pid: int, deadline: float) -> int | None:
    """The exit code of a run; None while it goes on, TIMEOUT when it has been ended because of its deadline."""
    done, status = os.waitpid(pid, os.WNOHANG)
    late = time.monotonic() > deadline
    if not done and not late:
        return None
    # Also what the tests started and a change kept from being stopped.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if not done:
        os.waitpid(pid, 0)
        return TIMEOUT
    return os.waitstatus_to_exitcode(status)
