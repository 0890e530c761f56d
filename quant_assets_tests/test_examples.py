"""The scripts and the notebook of examples/ run as they stand, and find what is in the sample store."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from datetime import date
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from quant_assets import prices, universe
from quant_assets.dev.sample_store import LAST, UNIVERSE, WRONG_ON, make_sample_store

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose sample store is made. Not to be written to."""
    folder = tmp_path_factory.mktemp("examples")
    make_sample_store(folder / ".quant-assets" / "examples")
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    monkeypatch.setattr(sys, "argv", ["script"])
    return made / ".quant-assets" / "examples" / "store"


def run(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_momentum(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = run("momentum.py")
    *held, last = capsys.readouterr().out.splitlines()
    assert last == "members of each day: +15.3%   today's members: +23.3%"
    for line in held:
        day, *chosen = line.split()
        assert set(chosen) <= set(universe(UNIVERSE, on=day, store=here).collect()["symbol"])
    # The first month by hand.
    day, *chosen = held[0].split()
    closes = prices(chosen, day, held[1].split()[0], adjust="total_return", store=here).collect()
    grown = [part["close"].drop_nulls()[-1] / part["close"][0] for part in closes.partition_by("symbol")]
    gained, _ = script["backtest"](
        here, UNIVERSE, date.fromisoformat(day), date.fromisoformat(held[1].split()[0]), lambda _: chosen
    )
    assert gained == pytest.approx(sum(grown) / 3 - 1, rel=1e-12)


def test_restated_signal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("restated_signal.py")
    (line,) = capsys.readouterr().out.splitlines()
    found = re.fullmatch(
        r"(\S+) (\S+): close (\S+) became (\S+) on .* \(rank (\d+)\) → .* \(rank (\d+)\)", line
    )
    assert found is not None
    symbol, day, old, new, then, now = found.groups()
    assert (day, int(then) < int(now)) == (str(WRONG_ON), True)
    closes = [
        prices(symbol, WRONG_ON, WRONG_ON, as_of=as_of, store=here).collect()["close"].item()
        for as_of in ("2013-02-28", None)
    ]
    assert closes == [float(old), float(new)]


def test_universe_quality(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("universe_quality.py")
    first, *_, hole = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"leaders: 8 symbols, mean quality 9\d\.\d of 100", first)
    symbol = hole.split()[1].rstrip(":")
    held = prices(symbol, end=LAST, store=here).collect()["date"].to_list()
    begins, ends = (date.fromisoformat(text) for text in re.findall(r"\d{4}-\d\d-\d\d", hole))
    assert not [day for day in held if begins <= day <= ends]


def test_the_notebook(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    copy = Path(shutil.copy(EXAMPLES / "backtest.ipynb", tmp_path))
    notebook = nbformat.read(copy, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs go stale: leave them out"
    done = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(made)}}).execute()
    shown = "\n".join(
        output.get("text") or output["data"]["text/plain"]
        for cell in done.cells
        for output in cell.get("outputs", [])
        if output["output_type"] != "stream" or output["name"] == "stdout"
    )
    # As the script has it.
    assert re.search(r"2013-03-01 +\+15\.3% +\+23\.3%", shown), shown
    assert re.search(r"then +4\nnow +6", shown), shown
