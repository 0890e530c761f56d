"""Measures one side of one work in a process of its own, so that its peak memory is its own.

    python -m benchmarks.scale.measuring WORK SIDE FOLDER

A side is called once to be warm and then timed: five times, or fewer where it takes long. Times are medians; the
clock of the wall and that of the processors are both told, since the machine may have other things to do.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REPEATS = 5
_LONG = 60.0
"""Seconds of one side after which no other repeat is begun."""


@dataclass
class Measured:
    """What a side came to: medians of `runs` in seconds, memory in MB (`before` the first call, `peak` of all), what
    was answered (`answer_mb`), and facts of its own."""

    seconds: float
    cpu: float
    runs: int
    before_mb: float = 0.0
    peak_mb: float = 0.0
    answer_mb: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


Prepared = Callable[[], object]


class NotThere(Exception):
    """A peer that is not installed."""


def measure(work: str, side: str, folder: Path, timeout: float = 3600) -> Measured | str:
    """Measures a side in a new process; a text where it cannot be measured."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale.measuring", work, side, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1:]
    if done.returncode or not last:
        return f"failed ({done.returncode})"
    found = json.loads(last[0])
    return found["not_there"] if "not_there" in found else Measured(**found)


def timed(call: Prepared, repeats: int = REPEATS) -> Measured:
    """Calls something until it has been timed often enough."""
    before = _status("VmRSS")
    wall: list[float] = []
    busy: list[float] = []
    answer = 0.0
    facts: dict[str, Any] = {}
    began = time.perf_counter()
    for number in range(repeats + 1):
        wall_began, busy_began = time.perf_counter(), _cpu()
        found = call()
        taken = time.perf_counter() - wall_began
        # What is said in its place was measured inside.
        if isinstance(found, dict):
            facts = found
            taken = float(facts.pop("seconds", taken))
        used = float(facts.pop("cpu", _cpu() - busy_began))
        answer = max(answer, _size(found))
        del found
        long = time.perf_counter() - began > _LONG / 2
        if number or long or repeats == 1:
            wall.append(taken)
            busy.append(used)
        if (wall and time.perf_counter() - began > _LONG) or len(wall) >= repeats:
            break
    return Measured(
        statistics.median(wall), statistics.median(busy), len(wall), before,
        max(_status("VmHWM"), float(facts.pop("peak_mb", 0))), answer, facts,
    )  # fmt: skip


def _cpu() -> float:
    """Processor seconds of this process and of those it has waited for."""
    waited_for = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + waited_for.ru_utime + waited_for.ru_stime


def _size(found: object) -> float:
    size: Any = getattr(found, "estimated_size", None)
    return 0.0 if size is None else float(size()) / 1e6


def _status(name: str) -> float:
    """A line of this process's status in MB. VmHWM is of this program alone, unlike what getrusage tells."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main(work: str, side: str, folder: str) -> None:
    """Measures in this process and prints a line of JSON."""
    # This module runs as `__main__` here: what a work raises is the other one's.
    from benchmarks.scale.measuring import NotThere
    from benchmarks.scale.shape import Laid
    from benchmarks.scale.works import WORKS

    one = WORKS[work]
    try:
        call = one.sides[side](Laid(Path(folder)))
        result: dict[str, Any] = asdict(timed(call, one.repeats))
    except NotThere as missing:
        result = {"not_there": str(missing)}
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
