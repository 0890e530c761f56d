"""Dagster's instance in a real PostgreSQL (apt's): cells, runs, pruning, a restart of the database, a rebuild after
it was lost. `make postgres-test`; needs `initdb` and `pg_ctl` on the path or in /usr/lib/postgresql.

    postgres: ok cells=… prune=… rebuilt=… seconds=…
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
from pydantic import SecretStr

from quant_assets.defs.retention import prune
from quant_assets.instance import HomeUnavailable, open_instance
from quant_assets.local_runs import Runner
from quant_assets.replay.launch import ReplayConfig, start
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY

PASSWORD = "s3cret-of-the-test"
NOW = datetime(2013, 3, 1, 23, tzinfo=UTC)
DAYS = [
    date(2013, 2, 4) + timedelta(days=n)
    for n in range(26)
    if (date(2013, 2, 4) + timedelta(days=n)).weekday() < 5
]


def binaries() -> Path:
    """The folder of PostgreSQL's programs. Raises SystemExit where there is none."""
    found = shutil.which("pg_ctl")
    folders = (
        sorted(Path("/usr/lib/postgresql").glob("*/bin")) if found is None else [Path(found).resolve().parent]
    )
    if not folders:
        raise SystemExit("no PostgreSQL here: apt-get install postgresql")
    return folders[-1]


class Server:
    """A server of its own on loopback, which may be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self._bin, self._data = binaries(), folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(folder, "postgres")
            folder.chmod(0o755)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", str(self._data), "-U", "quant", "-A", "scram-sha-256", f"--pwfile={secret}")
        self.start()
        self.url = f"postgresql://quant:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._data}"
        self._run(
            "pg_ctl", "-D", str(self._data), "-w", "-l", str(self._data / "log"), "-o", options, "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "fast", "stop")

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run([*self._as, str(self._bin / name), *arguments], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def server() -> Iterator[Server]:
    """A server, stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        made = Server(Path(folder))
        try:
            yield made
        finally:
            made.stop()


def main() -> None:
    """Raises AssertionError where something is not as it should be."""
    began = time.monotonic()
    with (
        server() as database,
        tempfile.TemporaryDirectory() as folder,
        start(ReplayConfig(sampledata=True, now=NOW)) as market,
    ):
        home = Path(folder)
        universe = home / "universe.yaml"
        universe.write_text("US: [AAPL, IBM]\n")
        settings = Settings(
            home=home / "one", exchanges=("US",), universe=universe, source_url=market.url, requests_per_second=0,
            now=NOW, dagster_db=SecretStr(database.url), start=date(2013, 2, 4),
        )  # fmt: skip
        fill(settings)
        shown = partitions(settings)
        assert len(shown) == len(DAYS), shown
        nobody_reads_the_password(home, settings)

        with open_instance(settings) as instance:
            pruned = prune(instance, datetime.now(UTC) + timedelta(minutes=1))
            assert instance.get_runs() == []
        assert pruned.runs > 0
        assert partitions(settings) == shown

        # The database restarts: what comes meanwhile is refused in a line, and what comes then goes on; a process
        # that keeps its connection makes another one.
        with open_instance(settings) as instance:
            before = instance.get_materialized_partitions(dg.AssetKey(DAILY))
            database.stop()
            database.start()
            assert instance.get_materialized_partitions(dg.AssetKey(DAILY)) == before
        database.stop()
        said = refusal(settings)
        print(said)
        assert "cannot be used" in said
        assert PASSWORD not in said
        database.start()
        fill(settings)
        assert partitions(settings) == shown

        # The database is lost whole: another one, empty, on the same store.
        with server() as another:
            anew = settings.model_copy(update={"dagster_db": SecretStr(another.url), "home": home / "two"})
            anew = anew.model_copy(update={"store": settings.store_location})
            with Runner(anew) as runner:
                counts = runner.rebuild_instance()
            assert partitions(anew) == shown
    seconds = time.monotonic() - began
    print(
        f"postgres: ok cells={len(shown)} pruned={pruned.runs} rebuilt={counts[DAILY]} seconds={seconds:.1f}"
    )


def fill(settings: Settings) -> None:
    """What `backfill` does."""
    with Runner(settings) as runner:
        runner.catalog()
        runner.daily(runner.exchanges[0], DAYS)


def refusal(settings: Settings) -> str:
    """What a fill says that is refused; "" of one that is not."""
    try:
        fill(settings)
    except HomeUnavailable as error:
        return str(error)
    return ""


def partitions(settings: Settings) -> set[str]:
    """The daily cells that Dagster shows as made."""
    with open_instance(settings) as instance:
        assert "Postgres" in type(instance.event_log_storage).__name__
        return set(instance.get_materialized_partitions(dg.AssetKey(DAILY)))


def nobody_reads_the_password(home: Path, settings: Settings) -> None:
    """It stands in no file of the home, and in nothing that settings show."""
    assert PASSWORD not in repr(settings)
    for file in home.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


if __name__ == "__main__":
    main()
