"""`make old-stores`: a store that an earlier release has filled, opened and upgraded by this one, then by that one.

    python -m benchmarks.old_releases [--release COMMIT] [--keep FOLDER]

The earlier release is a commit of this repository (by default the last one whose objects are of format 1), checked
out beside it and run in this environment: its own demo fills the store, its own reader says what is in it. Wanted of
this release: the store is sound as it is, and reads are equal, as traded, split-adjusted and as total return; the
manifest is brought to this release's format by `quant-assets rebuild-manifest`, killed on the way and called again.
Wanted of the earlier one, on the upgraded store: one line that says what to do, and nothing changed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
import polars as pl

from quant_assets.reader import prices
from quant_assets.resources.object_store import FORMAT

ROOT = Path(__file__).parents[1]
LAST_OF_FORMAT_1 = "e201444^"
_ADJUSTMENTS = ("none", "split", "total_return")
_READ = """
import sys
import polars as pl
from quant_assets.reader import prices
symbols = pl.read_parquet(f"{sys.argv[1]}/symbol_catalog.parquet")["symbol"].to_list()
for how in sys.argv[2:]:
    rows = prices(symbols, store=sys.argv[1], adjust=how).sort("symbol", "date").collect()
    rows.write_parquet(f"read-{how}.parquet")
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs it; 1 where something is not as wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--release", default=LAST_OF_FORMAT_1, help="a commit of this repository")
    parser.add_argument(
        "--keep", type=Path, help="a folder to work in; its store is taken as it is where there is one"
    )
    asked = parser.parse_args(arguments)
    wrong: list[str] = []
    began = time.monotonic()

    def wanted(holds: bool, what: str) -> None:
        print(f"  {'ok' if holds else 'NOT SO'}: {what}", flush=True)
        if not holds:
            wrong.append(what)

    with contextlib.ExitStack() as stack:
        folder = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="old-release-")))
        folder.mkdir(parents=True, exist_ok=True)
        release = _git("rev-parse", "--short", asked.release).strip()
        old = folder / "release"
        if not old.exists():
            _git("worktree", "add", "--detach", str(old), release)
            stack.callback(_git, "worktree", "remove", "--force", str(old))
        home = folder / "home"
        store = home / "demo" / "store"
        if not store.exists():
            filled = _run(old, home, folder, "demo")
            wanted(filled.returncode == 0, f"release {release} fills a store: {_last(filled.stdout)}")
        formats = _formats(store)
        wanted(max(formats) < FORMAT, f"its manifest is of format {formats}")
        command = [sys.executable, "-c", _READ, str(store), *_ADJUSTMENTS]
        read = subprocess.run(
            command, env=_environment(old, home), cwd=folder, text=True, capture_output=True
        )
        wanted(read.returncode == 0, f"its own reader reads it{read.stderr[-300:]}")

        opened = _run(ROOT, home / "demo", folder, "verify")
        wanted(opened.returncode == 0, f"this release finds it sound: {_last(opened.stdout)}")
        wanted(not (told := _different(store, folder)), f"and reads what that one reads {told}")

        killed = subprocess.Popen(
            _command("rebuild-manifest"),
            env=_environment(ROOT, home / "demo"),
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        while FORMAT not in _formats(store) and killed.poll() is None:
            time.sleep(0.002)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        half = _formats(store)
        wanted(
            not (told := _different(store, folder)),
            f"killed within the upgrade ({half}): reads are equal {told}",
        )
        again = _run(ROOT, home / "demo", folder, "rebuild-manifest")
        wanted(again.returncode == 0, f"called again: {_last(again.stdout)}")
        wanted(set(_formats(store)) == {FORMAT}, f"the manifest is of format {_formats(store)}")
        sound = _run(ROOT, home / "demo", folder, "verify")
        wanted(
            sound.returncode == 0 and not (told := _different(store, folder)), f"{_last(sound.stdout)} {told}"
        )

        checked = _run(old, home / "demo", folder, "verify")
        told_by = [line for line in checked.stdout.splitlines() if line.startswith("damaged: ")]
        named = bool(told_by) and all("upgrade quant-assets" in line for line in told_by)
        wanted(checked.returncode != 0 and named, f"release {release}, verify: {told_by[-1:]}")
        for command in ("show-manifest", "rebuild-manifest"):
            refused = _run(old, home / "demo", folder, command)
            lines = (refused.stderr or refused.stdout).strip().splitlines()
            named = bool(lines) and "upgrade quant-assets" in lines[-1] and len(lines) == 1
            wanted(refused.returncode != 0 and named, f"release {release}, {command}: {lines[-1:]}")
        wanted(set(_formats(store)) == {FORMAT}, "and it has changed nothing")
    print(
        f"old-stores: {'ok' if not wrong else 'NOT ok'} release={release} seconds={time.monotonic() - began:.0f}"
    )
    return 1 if wrong else 0


def _formats(store: Path) -> dict[int, int]:
    """How many shards of the manifest are of each format."""
    found: dict[int, int] = {}
    for file in (store / "manifest").rglob("year=*.json"):
        with contextlib.suppress(OSError, orjson.JSONDecodeError):
            number = orjson.loads(file.read_bytes()).get("format", 1)
            found[number] = found.get(number, 0) + 1
    return found


def _different(store: Path, folder: Path) -> list[str]:
    """In which columns this release reads other values than the earlier one has written down."""
    found: list[str] = []
    for how in _ADJUSTMENTS:
        theirs = pl.read_parquet(folder / f"read-{how}.parquet")
        ours = prices(store=str(store), adjust=how).sort("symbol", "date").collect()
        if ours.height != theirs.height:
            found.append(f"{how}: {ours.height} rows for {theirs.height}")
            continue
        common = [name for name in theirs.columns if name in ours.columns]
        found += [f"{how}: {name}" for name in common if not ours[name].equals(theirs[name], null_equal=True)]
    return found


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "quant_assets.cli", *arguments]


def _run(release: Path, home: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), env=_environment(release, home), cwd=folder, text=True, capture_output=True
    )


def _environment(release: Path, home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUANT_ASSETS_")}
    return {**kept, "PYTHONPATH": str(release), "QUANT_ASSETS_HOME": str(home)}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout


def _last(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


if __name__ == "__main__":
    raise SystemExit(main())
