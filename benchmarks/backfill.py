"""Where the time of a large backfill goes: ten years of one exchange, 200 symbols, one Dagster run.

    python -m benchmarks.backfill

Everything is real but Yahoo, whose place a replay server of generated history takes. Beside the run two peers work
on the same data: yfinance's own client, one `history()` a symbol, and polars writing the same cells without
any bookkeeping. Several minutes, most of them Dagster's: it records an event for every cell.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
from rich.console import Console
from rich.table import Table

from quant_assets.dev.demo import write_universe
from quant_assets.exchanges import exchange
from quant_assets.ingest import judged
from quant_assets.instance import open_instance
from quant_assets.local_runs import Runner
from quant_assets.market.verdicts.answer import Answer, Verdict
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.settings import Settings
from quant_assets.tables.daily import read_daily
from quant_assets.tables.fetch_reports import read_reports
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import read_table

CODE = "ASX"
LAST = date(2013, 3, 1)
NOW = datetime(2013, 3, 1, 23, 0, tzinfo=UTC)
REPEATS = 3


@dataclass(frozen=True)
class Backfill:
    """What one run came to."""

    sessions: int
    cells: int
    rows: int
    requests: int
    seconds: dict[str, float]
    """plan, source, transform and store, as the run itself measured them."""
    verdicts: float
    """Seconds in the verdicts on answers: a part of transform."""
    total: float
    peak_mb: float
    """The most memory of the process up to the end of the run."""

    @property
    def dagster(self) -> float:
        """The rest of the run: planning its steps, and recording every cell in the event log."""
        return self.total - sum(self.seconds.values())


def backfill(server: ReplayHandle, settings: Settings, days: list[date]) -> Backfill:
    """One run over the whole range, at one data request a symbol."""
    with Runner(settings) as runner:
        runner.catalog()
        symbols = read_table(runner.store, object_key(CATALOG)).height
        server.reset_stats()
        began = time.perf_counter()
        with verdicts_timed() as verdicts:
            runner.daily(exchange(CODE), days)
        total = time.perf_counter() - began
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        requests = server.stats()["requests"]["chart_data"]
        entries = list(Manifest(runner.store, DAILY).all(CODE))
        (report,) = read_reports(runner.store, CODE)
    with open_instance(settings) as instance:
        (run,) = instance.get_runs(filters=dg.RunsFilter(job_name=f"{DAILY}_{CODE.lower()}"))
    assert run.is_success
    assert requests == symbols, f"{requests} data requests for {symbols} symbols"
    assert len(entries) == len(days), f"{len(entries)} cells for {len(days)} days"
    stored = [entry for entry in entries if entry.version]
    rows = sum(entry.rows for entry in entries)
    return Backfill(
        len(stored), len(entries), rows, requests, report["seconds"], sum(verdicts), total, peak_mb
    )


@contextmanager
def verdicts_timed() -> Iterator[list[float]]:
    """The seconds of every verdict given meanwhile."""
    judge, taken = judged.judge, list[float]()

    def timed(answer: Answer) -> Verdict:
        began = time.perf_counter()
        try:
            return judge(answer)
        finally:
            taken.append(time.perf_counter() - began)

    judged.judge = timed
    try:
        yield taken
    finally:
        judged.judge = judge


def yfinance_loop(settings: Settings, symbols: list[str], first: date) -> None:
    """What a script without us does: `Ticker.history` for one symbol after the other."""
    import yfinance

    from quant_assets.resources.pacing import Pacer
    from quant_assets.resources.yahoo_session import ObservingSession

    # Only the address is ours: requests go to the replay server, unpaced.
    session = ObservingSession(settings.source_url, 15, Pacer(0, 0, None))
    yfinance.set_tz_cache_location(str(settings.home / "yfinance"))
    for symbol in symbols:
        frame = yfinance.Ticker(symbol, session=session).history(
            start=first, end=LAST + timedelta(days=1), auto_adjust=False, actions=True
        )
        assert len(frame) > 0, f"nothing for {symbol}"
    session.close()


def bare_writes(folder: Path, cells: Iterable[pl.DataFrame]) -> None:
    """The same files by polars alone: no fsync, no footer, no check of what stands there."""
    for number, cell in enumerate(cells):
        cell.write_parquet(folder / f"{number}.parquet", compression="zstd", compression_level=3)


def median(work: Callable[[], object]) -> float:
    """The median of a few timings, in seconds."""
    taken: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main(arguments: list[str] | None = None) -> int:
    """Runs everything and prints a table and one line."""
    parser = argparse.ArgumentParser(description="Where the time of a large backfill goes.")
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--years", type=float, default=10)
    asked = parser.parse_args(arguments)
    first = LAST - timedelta(days=round(asked.years * 365.25))
    days = [first + timedelta(days=n) for n in range((LAST - first).days + 1)]
    days = [day for day in days if day.weekday() < 5]
    generated = GeneratedExchange(CODE, symbols=asked.symbols, seed=7, start=first, end=LAST)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        start(ReplayConfig(now=NOW, generated=[generated])) as server,
    ):
        home = Path(folder)
        write_universe(server, home / "universe.yaml")
        settings = Settings(
            home=home, exchanges=(CODE,), universe=home / "universe.yaml", start=days[0],
            source_url=server.url, requests_per_second=0, now=NOW,
        )  # fmt: skip
        run = backfill(server, settings, days)
        print_report(run, asked.symbols, *_peers(settings, first))
    return 0


def _peers(settings: Settings, first: date) -> tuple[float, float]:
    """Seconds of the peers: per symbol of a yfinance loop, per cell of bare writes."""
    with Runner(settings) as runner:
        cells = list(read_daily(runner.store, CODE).partition_by("date"))
        symbols = read_table(runner.store, object_key(CATALOG))["symbol"].sort().head(40).to_list()
    plain = settings.home / "plain"
    plain.mkdir()
    yfinance_loop(settings, symbols[:2], first)
    asking = median(lambda: yfinance_loop(settings, symbols, first)) / len(symbols)
    return asking, median(lambda: bare_writes(plain, cells)) / len(cells)


def print_report(run: Backfill, symbols: int, asking: float, writing: float) -> None:
    """The table and the line."""
    table = Table("part", "seconds", "share", "per", "ms", "peer", "peer ms", "ratio")

    def line(part: str, seconds: float, *per: str | float) -> None:
        cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in per]
        table.add_row(part, f"{seconds:.1f}", f"{seconds / run.total:.0%}", *cells)

    def beside(part: str, seconds: float, unit: str, count: int, peer: str, theirs: float) -> None:
        ours = 1000 * seconds / count
        line(part, seconds, unit, ours, peer, 1000 * theirs, ours / (1000 * theirs))

    seconds = run.seconds
    both = seconds["source"] + seconds["transform"]
    line("plan", seconds["plan"])
    line("compare", seconds["compare"])
    line("source", seconds["source"], "symbol", 1000 * seconds["source"] / symbols)
    line("transform", seconds["transform"], "symbol", 1000 * seconds["transform"] / symbols)
    own = sum(seconds[name] for name in ("plan", "compare", "source", "transform", "store"))
    line("verdicts (of transform)", run.verdicts, "symbol", 1000 * run.verdicts / symbols)
    beside("source + transform", both, "symbol", symbols, "yfinance loop", asking)
    beside("store", seconds["store"], "cell", run.sessions, "polars write_parquet", writing)
    line("dagster (the rest)", run.dagster, "cell", 1000 * run.dagster / run.cells)
    line("total", run.total, "cell", 1000 * run.total / run.cells)
    console = Console(width=110)
    console.print(table)
    console.print(
        f"{run.rows:,} rows in {run.sessions:,} cells; {os.cpu_count()} cores; peers: medians of {REPEATS}"
    )
    print(
        f"bench: backfill symbols={symbols} sessions={run.sessions} requests={run.requests} "
        + " ".join(f"{name}={seconds[name]:.1f}s" for name in ("source", "transform", "store"))
        + f" verdicts={run.verdicts:.1f}s verdicts_share={run.verdicts / own:.1%}"
        + f" dagster={run.dagster:.1f}s total={run.total:.1f}s peak_mb={run.peak_mb:.0f} runs=1"
    )


if __name__ == "__main__":
    sys.exit(main())
