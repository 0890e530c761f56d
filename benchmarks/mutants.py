"""How strong the tests are: small changes to the code, one at a time, each of which some test should notice.

`make mutants` draws SAMPLE changes with SEED from all that cosmic-ray's operators (and `DropCall`) can make in
PACKAGES, and runs for each the tests that execute the changed function: those of the module's own test file first,
then the quickest, up to BUDGET seconds of recorded time, with a time limit. Which test executes what is found once,
by a run under coverage, and kept in `artifacts/mutants-map.json`; `--renew` finds it anew. A change that no test can
tell apart is listed in `benchmarks/mutants_equivalent.txt` with the reason, and is not drawn.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("quant_assets/market", "quant_assets/ingest", "quant_assets/tables", "resources")
TESTS = tuple(f"quant_assets_tests/{name}" for name in (
    "market", "ingest", "tables", "resources", "maintenance", "test_reader.py", "test_exchanges.py",
))  # fmt: skip
MAP = ROOT / "artifacts" / "mutants-map.json"
EQUIVALENT = ROOT / "benchmarks" / "mutants_equivalent.txt"
HEAVY = ("pytest", "hypothesis", "polars.testing", "pandas", "dataframely", "yfinance", "curl_cffi", "stamina",
         "orjson", "pandas_market_calendars", "pydantic_settings", "yaml", "filelock", "pyrate_limiter",
         "bokeh_sampledata", "google.cloud.storage", "dagster", "xdist.plugin", "httpx")  # fmt: skip
"""What the tests import besides our own code: imported once, each run being a fork."""
PAIRS = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_Div", "BitOr_BitAnd", "BitAnd_BitOr",
         "Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
         "Is_IsNot", "IsNot_Is", "Delete_Not", "Delete_Invert", "Delete_USub")  # fmt: skip
WORDS = ("NumberReplacer", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
         "AddNot", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop",
         "ExceptionReplacer")  # fmt: skip


TIMEOUT = -100


@dataclass(frozen=True)
class Mutant:
    """One change: the whole changed source, and the first line that differs, before and after."""

    path: str
    line: int
    before: str
    after: str
    source: str
    function: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before} -> {self.after}"


def operators() -> list[Any]:
    """cosmic-ray's operators that make sense here, and one that drops a call made for its effect."""
    from cosmic_ray.operators.operator import Operator
    from cosmic_ray.plugins import get_operator, operator_names
    from parso.tree import BaseNode

    class DropCall(Operator):
        """Replaces a statement that is nothing but a call by `pass`."""

        def mutation_positions(self, node: Any) -> Iterator[Any]:
            if node.type == "simple_stmt" and node.children[0].type == "atom_expr":
                yield node.start_pos, node.end_pos

        def mutate(self, node: Any, index: int) -> Any:
            import parso

            module: BaseNode = parso.parse("pass\n")
            dropped: Any = module.children[0]
            dropped.get_first_leaf().prefix = node.get_first_leaf().prefix
            return dropped

        @classmethod
        def examples(cls) -> tuple[()]:
            return ()

    wanted = [name for name in operator_names()
              if name.partition("_")[2] in PAIRS or name.rpartition("/")[2] in WORDS]  # fmt: skip
    return [*(get_operator(name)() for name in sorted(wanted)), DropCall()]


def functions(source: str) -> list[tuple[int, int, str]]:
    """First and last line and qualified name of every function, inner ones last."""
    found: list[tuple[int, int, str]] = []

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}.{child.name}".lstrip(".")
                if not isinstance(child, ast.ClassDef):
                    found.append((child.lineno, child.end_lineno or child.lineno, name))
            walk(child, name)

    walk(ast.parse(source), "")
    return found


def function_at(spans: list[tuple[int, int, str]], line: int) -> str:
    """The outermost function around a line ("" for what runs at import): inner ones run with it."""
    return next((name for first, last, name in spans if first <= line <= last), "")


def meaning(source: str) -> str:
    """The syntax tree without annotations, which nothing evaluates."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
    return ast.dump(tree)


def draw(sample: int, seed: int, only: str) -> list[Mutant]:
    """`sample` mutants of all those of PACKAGES (of the paths that contain `only`)."""
    from cosmic_ray.ast import Visitor, get_ast
    from cosmic_ray.mutating import mutate_code

    listed = [line.split(" | ")[:3] for line in EQUIVALENT.read_text().splitlines() if " | " in line]
    places: list[tuple[str, Any, int]] = []
    for path in sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        tree = get_ast(path.read_text())
        for operator in operators():

            class Counting(Visitor):
                count = 0

                def visit(self, node: Any, operator: Any = operator) -> Any:
                    type(self).count += len(list(operator.mutation_positions(node)))
                    return node

            Counting().walk(tree)
            name = str(path.relative_to(ROOT))
            places += [(name, operator, n) for n in range(Counting.count) if only in name]
    random.Random(seed).shuffle(places)
    drawn: list[Mutant] = []
    for path, operator, number in places:
        if len(drawn) == sample:
            break
        source = (ROOT / path).read_text()
        changed = mutate_code(source, operator, number)
        if changed is None or meaning(changed) == meaning(source):
            continue
        pairs = enumerate(zip(source.splitlines(), changed.splitlines(), strict=False), start=1)
        line, (before, after) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
        texts = [path, before.strip(), after.strip()]
        if texts not in listed:
            drawn.append(
                Mutant(path, line, texts[1], texts[2], changed, function_at(functions(source), line))
            )
    return drawn


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


def tests_for(mutant: Mutant, known: dict[str, Any], budget: float) -> tuple[list[str], float]:
    """The tests to run, and how long they take."""
    seconds: dict[str, float] = known["seconds"]
    mirror = mutant.path.replace("quant_assets/", "").replace("/", "/test_")
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
