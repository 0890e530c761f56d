"""Which tests execute which function."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.mutants.changes import PACKAGES, ROOT, functions

TESTS = tuple(f"quant_assets_tests/{name}" for name in (
    "market", "ingest", "tables", "resources", "maintenance", "test_reader.py", "test_exchanges.py",
))  # fmt: skip


def make_map(paths: Sequence[str]) -> dict[str, Any]:
    """Which tests execute which function, and how long each takes: from one run of the tests under coverage."""
    with tempfile.TemporaryDirectory() as name:
        config, data, report = (Path(name, file) for file in ("rc", "data", "junit.xml"))
        config.write_text(
            "[run]\nsource =\n" + "".join(f"    {p}\n" for p in PACKAGES) + f"data_file = {data}\n"
        )
        command = [sys.executable, "-m", "pytest", "-q", *paths, "--cov", f"--cov-config={config}", "--cov-report=",
                   "--cov-context=test", f"--junitxml={report}"]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=False)
        seconds: dict[str, float] = {}
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            if case.find("failure") is None and case.find("error") is None and case.find("skipped") is None:
                test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
                seconds[test] = float(case.get("time") or 0)
        return {"functions": by_function(data), "seconds": seconds}


def by_function(data: Path) -> dict[str, list[str]]:
    """The tests of every function, from a coverage file with contexts."""
    from coverage.numbits import numbits_to_nums

    found: defaultdict[str, set[str]] = defaultdict(set)
    rows = sqlite3.connect(data).execute(
        "select file.path, context.context, line_bits.numbits from line_bits "
        "join file on file.id = file_id join context on context.id = context_id where context.context != ''"
    )
    spans: dict[str, list[tuple[int, int, str]]] = {}
    for file, context, bits in rows:
        path = str(Path(file).relative_to(ROOT))
        if path not in spans:
            spans[path] = functions((ROOT / path).read_text())
        lines = set(numbits_to_nums(bits))
        for first, last, function in spans[path]:
            if not lines.isdisjoint(range(first, last + 1)):
                found[f"{path}:{function}"].add(context.partition("|")[0])
        found[f"{path}:"].add(context.partition("|")[0])
    return {function: sorted(tests) for function, tests in found.items()}
