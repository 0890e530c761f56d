"""The command line as a user meets it: the installed command, its exit codes, its one line of error."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from quant_assets import __version__
from quant_assets.cli.app import main
from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.support import NOW, tree

COMMAND = Path(sys.executable).with_name("quant-assets")


@dataclass
class Shell:
    """Runs the command on a home of its own."""

    home: Path
    url: str

    @property
    def store(self) -> Path:
        return self.home / "store"

    def environment(self, **settings: str) -> dict[str, str]:
        """The variables of a process on this home: nothing of ours but `settings` over quick defaults."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("QUANT_ASSETS_")
        }
        environment.pop("DAGSTER_HOME", None)
        wanted = {
            "HOME": str(self.home),
            "EXCHANGES": "US",
            "UNIVERSE": str(self.home / "universe.yaml"),
            "SOURCE_URL": self.url,
            "REQUESTS_PER_SECOND": "0",
            "RETRY_WAIT_SECONDS": "0.01",
            "ATTEMPTS": "2",
            "MIN_COVERAGE": "0",
            "START": "2013-01-02",
            "NOW": NOW.isoformat(),
            **settings,
        }
        return environment | {f"QUANT_ASSETS_{name}": value for name, value in wanted.items()}

    def __call__(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """The command as its entry point runs it, in this process: Dagster takes seconds to import."""
        with (
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(self.home),
            warnings.catch_warnings(),
            patch.dict(os.environ, self.environment(**settings), clear=True),
            patch.object(sys, "argv", [str(COMMAND), *arguments]),
        ):
            with pytest.raises(SystemExit) as ended:
                main()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(sys.argv, int(ended.value.code or 0), out.read(), err.read())

    def process(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """The installed command, in a process of its own."""
        return subprocess.run(
            [str(COMMAND), *arguments], env=self.environment(**settings), capture_output=True, text=True,
            timeout=180, cwd=self.home,
        )  # fmt: skip


@pytest.fixture
def shell(market: ReplayHandle, tmp_path: Path) -> Shell:
    (tmp_path / "universe.yaml").write_text("US: [AAPL, IBM]\n")
    return Shell(tmp_path, market.url)


def refused(run: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    """It ended with `code`, and one line that says all of `words`."""
    assert run.returncode == code, run.stdout + run.stderr
    # A slow run also says how far it has got.
    lines = [line for line in run.stderr.splitlines() if not re.search(r": \d+/\d+ ", line)]
    assert len(lines) == 1, run.stderr
    (line,) = lines
    assert line.startswith("error: ")
    for word in words:
        assert word in line


BACKFILL = ("backfill", "--exchange", "US", "--start", "2013-02-11", "--end", "2013-02-19")


def misused(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """An option or argument was refused: exit code 2, one line."""
    refused(run, *words, code=2)


def test_what_cannot_be_asked_for_is_refused_before_anything_is_touched(
    shell: Shell, market: ReplayHandle
) -> None:
    misused(
        shell.process("backfill", "--exchange", "ASXX", "--start", "2013-02-11"),
        "'ASXX'", "did you mean ASX?",
    )  # fmt: skip
    misused(
        shell("update-daily", "--exchange", "US", "--date", "2013-02-18"),
        "2013-02-18 is not a session", "the one before is 2013-02-15", "the one after 2013-02-19",
    )  # fmt: skip
    misused(
        shell("update-daily", "--exchange", "US", "--date", "2013-03-14"),
        "--date 2013-03-14 is in the future", "the last session over is 2013-03-01",
    )  # fmt: skip
    # Ten minutes after the close the auction's result may still come.
    misused(
        shell("update-daily", "--exchange", "US", "--date", "2013-02-13", NOW="2013-02-13T21:10:00Z"),
        "the session of US is not over before 2013-02-13 21:30 UTC", "the last session over is 2013-02-12",
    )  # fmt: skip
    misused(
        shell("backfill", "--exchange", "US", "--start", "2013-03-14"),
        "--start 2013-03-14 is after the last session of US that is over, 2013-03-01",
    )  # fmt: skip
    misused(shell(*BACKFILL, "--mode", "foo"), "--mode 'foo'", "incremental, force, verify")
    misused(shell(*BACKFILL, "--frobnicate"), "--frobnicate")
    misused(shell("replay", "--port", "http"), "--port", "a valid integer")
    misused(shell("replay", "--port", "0", "--today", "someday"), "replay: 'someday' is no moment")
    misused(shell("replay", "--port", "0", "--history", "none.csv"), "replay: none.csv: no such file")
    assert market.stats()["requests"] == {}
    assert tree(shell.store) == {}


def test_an_unknown_symbol_is_an_error_and_not_no_gaps(shell: Shell) -> None:
    nowhere = ("gaps", "--symbol", "AAPL")
    misused(shell(*nowhere), "--symbol AAPL", str(shell.store), "no catalog yet")
    assert shell(*BACKFILL).returncode == 0
    assert shell(*nowhere).returncode == 0
    for command in (("gaps",), ("restatements",), ("quarantine", "list"), ("quarantine", "accept")):
        misused(shell(*command, "--symbol", "APL"), "--symbol", "APL", "did you mean AAPL?")
    misused(shell(*BACKFILL, "--symbols", "IBN,NOPE"), "--symbols", "IBN, NOPE", "did you mean IBM?")


def test_the_version(shell: Shell) -> None:
    run = shell.process("--version")
    assert (run.returncode, run.stdout) == (0, f"quant-assets {__version__}\n")


def test_help_is_short_and_the_package_is_the_command(shell: Shell) -> None:
    for command in ((), ("quarantine",), ("quarantine", "list")):
        short = shell(*command, "-h")
        assert (short.returncode, short.stdout) == (0, shell(*command, "--help").stdout)
    program = [sys.executable, "-m", "quant_assets", "--version"]
    run = subprocess.run(program, env=shell.environment(), capture_output=True, text=True, check=True)
    assert run.stdout == f"quant-assets {__version__}\n"


def test_the_shell_completes_commands(shell: Shell) -> None:
    """A real bash with the completion that the command prints, asked as at a keystroke."""
    scripts = Path(sys.executable).parent
    asked = (
        f'PATH="{scripts}:$PATH"; eval "$(quant-assets --show-completion bash)"; '
        'COMP_WORDS=(quant-assets res); COMP_CWORD=1; _quant_assets_completion quant-assets; echo "${COMPREPLY[@]}"'
    )
    run = subprocess.run(["bash", "-c", asked], env=shell.environment(), capture_output=True, text=True)
    assert run.stdout.split() == ["restatements"], run.stderr


def test_a_backfill_says_what_came_of_it_and_a_second_one_finds_nothing_to_do(
    shell: Shell, market: ReplayHandle
) -> None:
    done = shell.process(*BACKFILL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(
        "complete=6 partial=0 closed=1 failed=0 requests=2 writes="
    )
    assert "error" not in done.stderr
    before = tree(shell.store)
    again = shell.process(*BACKFILL)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1].startswith("complete=6 partial=0 closed=1 failed=0 requests=0 ")
    cells = {
        name: content for name, content in before.items() if name.startswith(("daily_prices", "manifest"))
    }
    assert cells.items() <= tree(shell.store).items()

    shown = shell("show-manifest", "--json")
    assert shown.returncode == 0, shown.stderr
    manifest = json.loads(shown.stdout)
    assert manifest["store"] == str(shell.store)
    facts = manifest["exchanges"]["US"]
    assert facts["cells"] == {"complete": 6, "partial": 0, "closed": 1, "failed": 0}
    assert (facts["rows"], facts["last_complete"], facts["weeks"]) == (12, "2013-02-19", 2)
    sizes = [file.stat().st_size for file in (shell.store / "daily_prices").rglob("*.parquet")]
    assert (len(sizes), facts["bytes"]) == (6, sum(sizes))


def test_a_partial_backfill_names_what_is_missing_and_a_damaged_cell_is_named(
    shell: Shell, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "server_error_500_html", "symbol": "AAPL", "times": "persistent"})
    partial = shell(*BACKFILL)
    assert partial.returncode == 2, partial.stderr
    assert "missing: AAPL in 6 cells: failed: status 500" in partial.stdout
    assert "complete=0 partial=6 closed=1 failed=0" in partial.stdout.splitlines()[-1]
    market.clear_faults()
    cell = shell.store / "daily_prices" / "exchange=US" / "date=2013-02-13.parquet"
    cell.write_bytes(cell.read_bytes()[: cell.stat().st_size // 2])
    before = tree(shell.store / "daily_prices")
    damaged = shell(*BACKFILL)
    # The other cells are usable.
    assert damaged.returncode == 2
    assert str(cell) in damaged.stderr
    assert "Remove the object and run the backfill" in damaged.stderr
    after = tree(shell.store / "daily_prices")
    # The damaged cell is left as it is, the others got what they lacked.
    assert [name for name in after if after[name] == before[name]] == ["exchange=US/date=2013-02-13.parquet"]


def test_trouble_outside_is_one_line_with_its_remedy(shell: Shell, bucket: str) -> None:
    universe = shell.home / "universe.yaml"
    universe.write_text("US: [AAPL, {symbol: IBM, listed_on: yesterday}]\n")
    refused(shell(*BACKFILL), str(universe), "US entry 2", "listed_on")
    universe.write_text("US: [AAPL]\n")
    refused(
        shell.process(*BACKFILL, SOURCE_URL="http://127.0.0.1:9"),
        "http://127.0.0.1:9 does not answer", "QUANT_ASSETS_SOURCE_URL",
    )  # fmt: skip
    assert not (shell.store / "daily_prices").exists()
    # The emulator knows the test's own bucket, and not this one.
    refused(
        shell(*BACKFILL, STORE=f"gs://{bucket}-not/p"), f"in bucket {bucket}-not as ", "create the bucket"
    )
    blocked = shell.home / "a-file"
    blocked.write_text("")
    refused(shell(*BACKFILL, STORE=str(blocked / "store")), str(blocked), "QUANT_ASSETS_STORE")
    assert blocked.read_text() == ""
