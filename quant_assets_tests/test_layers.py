"""The contracts of import-linter hold, and they check what they promise: each forbidden import, added, breaks one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _lint(folder: Path) -> tuple[int, str]:
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [str(program), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package, to be spoiled."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("quant_assets", "resources"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=ignored)
    return tmp_path


def test_the_contracts_hold(tree: Path) -> None:
    code, report = _lint(tree)
    assert (code, "0 broken" in report) == (0, True), report


@pytest.mark.parametrize(
    ("module", "added", "contract"),
    [
        ("quant_assets/market/bars.py", "import dagster", "market is pure"),
        ("quant_assets/market/bars.py", "import yfinance", "market is pure"),
        ("quant_assets/market/bars.py", "import quant_assets.tables.layout", "arrows go one way"),
        ("quant_assets/tables/layout.py", "import dagster", "Dagster stays in defs"),
        ("resources/object_store.py", "import quant_assets.market.bars", "arrows go one way"),
        ("quant_assets/ingest/plan.py", "import quant_assets.defs.jobs", "arrows go one way"),
        ("quant_assets/ingest/plan.py", "import curl_cffi", "the outside world"),
        ("quant_assets/defs/jobs.py", "import rich", "the command line draws"),
        ("quant_assets/replay/world.py", "import quant_assets.exchanges", "the replay server shares no code"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(tree: Path, module: str, added: str, contract: str) -> None:
    with (tree / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{added}\n")
    code, report = _lint(tree)
    assert code == 1, report
    broken = " ".join(report.partition("Broken contracts")[2].split())
    assert contract in broken, report
    named = added.split()[1].partition(".")[0] if "quant_assets" not in added else added.split()[1]
    assert f"-> {named}" in broken
