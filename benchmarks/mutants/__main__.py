"""How strong the tests are: small changes to the code, one at a time, each of which some test should notice.

`make mutants` draws SAMPLE changes with SEED from all that cosmic-ray's operators (and `DropCall`) can make in
PACKAGES, and runs for each the tests that execute the changed function: those of the module's own test file first,
then the quickest, up to BUDGET seconds of recorded time, with a time limit. Which test executes what is found once,
by a run under coverage, and kept in `artifacts/mutants-map.json`; `--renew` finds it anew. A change that no test can
tell apart is listed in `benchmarks/mutants/equivalent.txt` with the reason, and is not drawn.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.mutants.changes import ROOT, draw
from benchmarks.mutants.executed import TESTS, make_map
from benchmarks.mutants.runs import Runs

MAP = ROOT / "artifacts" / "mutants-map.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="paths that contain this text")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of tests for each change")
    parser.add_argument("--slack", type=float, default=60.0, help="seconds of start-up before the time limit")
    parser.add_argument("--renew", nargs="*", help="finds anew what these tests execute (without any: all)")
    asked = parser.parse_args()
    known = (
        json.loads(MAP.read_text())
        if MAP.exists() and asked.renew != []
        else {"functions": {}, "seconds": {}}
    )
    if asked.renew is not None or not MAP.exists():
        found = make_map(asked.renew or TESTS)
        known["seconds"] |= found["seconds"]
        for function, tests in found["functions"].items():
            known["functions"][function] = sorted({*known["functions"].get(function, []), *tests})
        MAP.parent.mkdir(exist_ok=True)
        MAP.write_text(json.dumps(known))
    mutants = draw(asked.sample, asked.seed, asked.only)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        runs = Runs(known, asked.budget, asked.slack, Path(folder))
        runs.run(mutants, asked.jobs)
    counts = runs.counts
    dead = counts["killed"] + counts["timeout"]
    print(
        f"mutants: sampled={len(mutants)} killed={counts['killed']} survived={counts['survived']} "
        f"timeout={counts['timeout']} score={100 * dead / max(1, len(mutants)):.1f}%"
    )


if __name__ == "__main__":
    main()
