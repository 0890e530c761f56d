"""Moves a store of 10,000 objects from a folder to a bucket, killed three times on the way.

    python -m benchmarks.migrate --objects 10000 --kills 3

Each kill is a SIGKILL to `quant-assets migrate` when about so much of the store stands at the target; the last run
goes through. Then every object is verified, both stores are compared, and the source must be what it was, byte for
byte. One line at the end; exit code 1 when anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from quant_assets.dev.compare_stores import compare_stores
from quant_assets.dev.gcs_emulator import gcs_emulator, make_bucket
from quant_assets.maintenance.verify import verify_store
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.open_store import open_store
from quant_assets_tests.filled import fill_store


def migration(source: ObjectStore, target: ObjectStore) -> subprocess.Popen[str]:
    """`quant-assets migrate`, started."""
    command = ["migrate", "--from", source.location, "--to", target.location]
    return subprocess.Popen(
        [sys.executable, "-m", "quant_assets.cli", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def state(folder: str) -> str:
    """A hash over every file of a store on disk: its name, its bytes and when it was written."""
    told = hashlib.sha256()
    for file in sorted(Path(folder).rglob("*")):
        if file.is_file():
            told.update(f"{file} {file.stat().st_mtime_ns}".encode() + file.read_bytes())
    return told.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Fills, moves, kills, compares; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=3)
    asked = parser.parse_args(arguments)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="migrate-") as folder, gcs_emulator():
        make_bucket("migrated")
        source, target = open_store(f"{folder}/store"), open_store("gs://migrated/store")
        fill_store(source, asked.objects)
        before = state(source.location)
        started = time.monotonic()
        stood: list[int] = []
        for number in range(asked.kills):
            wanted = asked.objects * 9 // 10 * (number + 1) // (asked.kills + 1)
            process = migration(source, target)
            while process.poll() is None and sum(1 for _ in target.list("")) < wanted:
                time.sleep(2)
            process.kill()
            process.communicate()
            stood.append(sum(1 for _ in target.list("")))
            if process.returncode != -9:
                wrong.append(f"run {number + 1} ended by itself before it could be killed")
            print(f"migrate-bench: killed with {stood[-1]} objects at the target", flush=True)
        process = migration(source, target)
        out, err = process.communicate()
        seconds = time.monotonic() - started
        print(out.strip())
        told = dict(re.findall(r"(\w+)=(\d+)", out))
        if (
            process.returncode
            or int(told["already_there"]) < stood[-1]
            or told["verified"] != told["objects"]
        ):
            wrong.append(f"the last run: {out} {err}")
        compared = compare_stores(source, target)
        verified = verify_store(target)
        wrong += compared.differing + list(verified.damaged)
        if state(source.location) != before:
            wrong.append("the source was changed")
    for text in wrong[:30]:
        print(f"migrate-bench: wrong: {text}")
    print(
        f"migrate-bench: {'ok' if not wrong else 'FAILED'} objects={compared.objects} kills={asked.kills} "
        f"verified={verified.objects} wrong={len(wrong)} seconds={seconds:.0f}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
