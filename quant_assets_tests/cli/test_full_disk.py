"""A disk that is full: one line with the path and the remedy, and the same command goes on once there is room."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from quant_assets.maintenance.verify import verify_store
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets_tests.cli.test_cli import Shell

BACKFILL = ("backfill", "--exchange", "US", "--start", "2012-12-03", "--end", "2013-02-15")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes: what it takes in is memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1300k", "tmpfs", disk], capture_output=True
    )
    if not done or done.returncode:
        pytest.skip("only root may mount a file system")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_same_command_goes_on_once_there_is_room(
    small_disk: Path, market: ReplayHandle
) -> None:
    shell = Shell(small_disk, market.url)
    settings = {"START": "2012-12-03"}
    (small_disk / "universe.yaml").write_text("US: [AAPL, IBM, MSFT]\n")
    full = shell.process(*BACKFILL, **settings)
    assert full.returncode == 1, full.stdout
    error = full.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert str(small_disk) in error
    assert "free space" in error
    assert "Traceback" not in full.stderr
    # The bar of the work that failed stops short of its end.
    failed = [line for line in full.stdout.splitlines() if " failed " in line]
    assert failed
    for line in failed:
        done, of = next(word for word in line.split() if "/" in word).split("/")
        assert int(done) < int(of)
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert verify_store(LocalObjectStore(shell.store)).damaged == {}
    again = shell(*BACKFILL, **settings)
    assert again.returncode == 0, again.stderr
    assert "partial=0" in again.stdout.splitlines()[-1]
