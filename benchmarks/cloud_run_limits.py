"""`make cloud-run-limits`: the daily job of ten symbols under one CPU and a hard limit of 512 MB, as on Cloud Run.

Cloud Run counts the container's files in memory as well: the home is measured into the limit. The limit is a control
group's (memory and swap together), so that the kernel ends what goes past it; one CPU is a quota over all cores. The
job runs twice over a store that knows twenty sessions: from a cold home, as each execution of a job does, then with
`--store` of a bucket's emulator where BUCKET=1 is set. Prints the peak and the seconds; 1 where it does not fit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from quant_assets.dev.demo import write_universe
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start

LIMIT_MB, SECONDS = 512, 120.0
NOW = datetime(2024, 3, 1, 8, 0, tzinfo=UTC)
_V1, _V2 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup")
_QUOTA_US = 100_000


class Group:
    """A control group of its own with both limits, of whichever version the kernel has."""

    def __init__(self, name: str) -> None:
        self._v1 = (_V1 / "memory" / "memory.limit_in_bytes").exists()
        self._folders = [_V1 / kind / name for kind in ("memory", "cpu")] if self._v1 else [_V2 / name]

    def __enter__(self) -> Group:
        limit = str(LIMIT_MB * 2**20)
        for folder in self._folders:
            folder.mkdir()
        memory, cpu = self._folders[0], self._folders[-1]
        if self._v1:
            (memory / "memory.limit_in_bytes").write_text(limit)
            (cpu / "cpu.cfs_period_us").write_text(str(_QUOTA_US))
            (cpu / "cpu.cfs_quota_us").write_text(str(_QUOTA_US))
        else:
            (memory / "memory.max").write_text(limit)
            (memory / "memory.swap.max").write_text("0")
            (cpu / "cpu.max").write_text(f"{_QUOTA_US} {_QUOTA_US}")
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._folders:
            until = time.monotonic() + 10
            while (folder / "cgroup.procs").read_text().strip() and time.monotonic() < until:
                time.sleep(0.1)
            folder.rmdir()

    def join(self) -> None:
        """Puts this process into the group, and whatever it starts."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def peak_mb(self) -> float:
        """What the group held at most, the kernel's copies of files that it has read included."""
        name = "memory.max_usage_in_bytes" if self._v1 else "memory.peak"
        return int((self._folders[0] / name).read_text()) / 2**20

    def killed(self) -> int:
        """How many processes the kernel has ended because of the limit."""
        name = "memory.oom_control" if self._v1 else "memory.events"
        facts = dict(line.split() for line in (self._folders[0] / name).read_text().splitlines())
        return int(facts.get("oom_kill", "0"))


@contextmanager
def _memory_home(folder: Path) -> Iterator[Path]:
    """A home in memory, as a Cloud Run job's file system is: what it writes counts against the limit."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def _run(environment: dict[str, str], command: list[str], group: Group) -> tuple[int, float, float, str]:
    """The exit code, the seconds, the largest process in MB and the last lines of a command in the group."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, preexec_fn=group.join
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        output.seek(0)
        text = output.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss / 1024, text


def main() -> int:
    """The measurement; answers the exit code."""
    if os.geteuid() != 0:
        print("cloud-run-limits makes control groups, which takes root")
        return 1
    tool = [str(Path(sys.executable).parent / "quant-assets")]
    market = GeneratedExchange("ASX", symbols=10, seed=3, start=date(2019, 1, 2), end=date(2024, 3, 1))
    wrong = 0
    with (
        tempfile.TemporaryDirectory(prefix="cloud-run-") as name,
        start(ReplayConfig(now=NOW, generated=[market])) as source,
    ):
        folder = Path(name)
        write_universe(source, folder / "universe.yaml")
        ours = {
            "QUANT_ASSETS_STORE": f"{folder}/store",
            "QUANT_ASSETS_UNIVERSE": f"{folder}/universe.yaml",
            "QUANT_ASSETS_EXCHANGES": "ASX",
            "QUANT_ASSETS_START": "2019-01-02",
            "QUANT_ASSETS_SOURCE_URL": source.url,
            "QUANT_ASSETS_REQUESTS_PER_SECOND": "2",
            "QUANT_ASSETS_NOW": NOW.isoformat(),
            "QUANT_ASSETS_MEMORY_MB": "64",
            "QUANT_ASSETS_HOME": f"{folder}/first",
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("QUANT_ASSETS_")}
        environment = {**inherited, **ours, "POLARS_MAX_THREADS": "1"}
        history = [*tool, "backfill", "--exchange", "ASX", "--start", "2019-01-02", "--end", "2024-02-28"]
        subprocess.run(
            history, env={**environment, "QUANT_ASSETS_REQUESTS_PER_SECOND": "0"}, capture_output=True
        )
        for number in (1, 2):
            with (
                _memory_home(folder / f"home-{number}") as home,
                Group(f"quant-assets-{os.getpid()}-{number}") as group,
            ):
                command = [*tool, "update-daily", "--exchange", "ASX"]
                code, seconds, rss, text = _run(
                    {**environment, "QUANT_ASSETS_HOME": str(home)}, command, group
                )
                in_home = sum(file.stat().st_size for file in home.rglob("*") if file.is_file()) / 2**20
                fits = code in (0, 2) and seconds < SECONDS and not group.killed()
                wrong += not fits
                print(
                    f"{'new session' if number == 1 else 'again':<12} exit={code} seconds={seconds:.1f} "
                    f"largest process={rss:.0f} MB group's peak={group.peak_mb():.0f} MB of {LIMIT_MB} "
                    f"(its home {in_home:.1f}) killed={group.killed()} {'fits' if fits else 'DOES NOT FIT'}"
                )
                print("  " + "\n  ".join(text.strip().splitlines()[-9:]))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
