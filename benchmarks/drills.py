"""`make drills`: every entry of docs/runbook.md tried again, by the tests and scripts that it names.

    python -m benchmarks.drills [--only WORDS] [--tests]

A line an entry: `drill: ok seconds=12 The disk is full`. With --tests those that are scripts of the Makefile, which
take minutes and need Debian's packages, are named and left out. 1 when one has failed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Drill:
    """An entry of the runbook, and by what it is tried."""

    entry: str
    tests: tuple[Path, ...]
    targets: tuple[str, ...]


def drills() -> list[Drill]:
    """The entries in their order. Raises ValueError where an entry names nothing, or a file that is not there."""
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    found: list[Drill] = []
    for part in text.split("\n## ")[1:]:
        entry, _, body = part.partition("\n")
        tried = body.partition("Tried by ")[2]
        names = re.findall(r"`((?:[\w/]+/)?test_\w+\.py)`", tried)
        tests = tuple(_file(name, entry) for name in names)
        targets = tuple(re.findall(r"`make ([a-z-]+)`", tried))
        if not tests and not targets:
            raise ValueError(f"docs/runbook.md, {entry!r}: names nothing by which it was tried")
        found.append(Drill(entry, tests, targets))
    return found


def _file(name: str, entry: str) -> Path:
    """A test that is named by its path, or by its name alone."""
    if "/" in name:
        files = [ROOT / name] if (ROOT / name).exists() else []
    else:
        files = sorted((ROOT / "quant_assets_tests").rglob(name))
    if len(files) != 1:
        raise ValueError(f"docs/runbook.md, {entry!r}: {name} is {len(files)} files")
    return files[0]


def main(arguments: list[str] | None = None) -> int:
    """Runs them; 1 where one has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="only entries whose heading has these words")
    parser.add_argument("--tests", action="store_true", help="only what is a test")
    asked = parser.parse_args(arguments)
    chosen = [one for one in drills() if asked.only.lower() in one.entry.lower()]
    done: dict[str, bool] = {}
    failed = 0
    for drill in chosen:
        began = time.monotonic()
        files = [str(file.relative_to(ROOT)) for file in drill.tests]
        commands = {name: [sys.executable, "-m", "pytest", "-q", "-x", name] for name in files}
        commands |= {f"make {name}": ["make", name] for name in drill.targets}
        left_out = [name for name in commands if asked.tests and name.startswith("make ")]
        for name in commands.keys() - done.keys() - set(left_out):
            run = subprocess.run(commands[name], cwd=ROOT, capture_output=True, text=True)
            done[name] = run.returncode == 0
            if not done[name]:
                print(run.stdout[-3000:] + run.stderr[-3000:])
        tried = [done[name] for name in commands if name in done]
        word = "not run" if not tried else "ok" if all(tried) else "FAILED"
        failed += word == "FAILED"
        more = f" (left out: {', '.join(left_out)})" if left_out else ""
        print(f"drill: {word} seconds={time.monotonic() - began:.0f} {drill.entry}{more}", flush=True)
    print(f"drills: {'ok' if not failed else 'NOT ok'} entries={len(chosen)} failed={failed}")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
