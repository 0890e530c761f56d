"""Whether the same daily rows always give the same derived tables, to the bit: profiles, weekly bars, adjusted rows,
and the folds of `quant_assets.market.folds` that they are made with.

    make determinism             1,000 rounds with 1, 2 and 8 threads of polars each (RUNS=n for another number)

Each process makes the same random history, derives everything from it again and again, in the order of the rows and
shuffled, from a frame and lazily, and counts the content hashes it sees. Prints a line per table and number of
threads; exits 1 when a table has more than one hash over all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, timedelta

THREADS = (1, 2, 8)


def hashes(threads: int, runs: int, symbols: int = 100, sessions: int = 300) -> dict[str, dict[str, int]]:
    """Per table how often each content hash came out of `runs` rounds in a process of its own.

    Polars fixes its number of threads when it is loaded, hence the process. Raises CalledProcessError.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.determinism", "--worker", *map(str, (runs, symbols, sessions))],
        # Small morsels: a symbol's rows are spread over the threads, as those of a large table are.
        env={**os.environ, "POLARS_MAX_THREADS": str(threads), "POLARS_IDEAL_MORSEL_SIZE": "997"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def _work(runs: int, symbols: int, sessions: int) -> dict[str, Counter[str]]:
    import numpy as np
    import polars as pl

    from quant_assets.market.bars import PRICES, content_sha256
    from quant_assets.market.corporate_actions import adjust
    from quant_assets.market.folds import ordered_mean, ordered_product, ordered_sum
    from quant_assets.market.profiles import exchange_profile, symbol_profiles
    from quant_assets.market.weekly import weekly_bars

    chance = np.random.default_rng(8)
    days = [day for n in range(2 * sessions) if (day := date(2019, 1, 7) + timedelta(n)).weekday() < 5][
        :sessions
    ]
    shape = (symbols, sessions)
    closes = np.exp(chance.normal(0, 0.02, shape).cumsum(axis=1)) * chance.uniform(1, 500, (symbols, 1))
    daily = pl.DataFrame(
        {
            "symbol": np.repeat([f"S{n:05}" for n in range(symbols)], sessions),
            "date": days * symbols,
            **{name: np.round(closes, 2).ravel() for name in PRICES},
            "volume": chance.integers(0, 10**7, shape).ravel(),
            "dividend": np.where(chance.random(shape) < 0.02, 0.37, 0.0).ravel(),
            "split_ratio": np.where(chance.random(shape) < 0.005, 1 / 3, 1.0).ravel(),
            "flags": np.where(chance.random(shape) < 0.1, "no_trade,stale_price", "").ravel(),
        }
    )
    listings = daily.select(pl.col("symbol").unique().sort()).with_columns(
        listed_on=pl.lit(None, pl.Date), delisted_on=pl.lit(None, pl.Date)
    )
    calendar = pl.DataFrame({"date": days, "asked": True})
    cells = pl.DataFrame({"date": days, "state": "complete", "rows": symbols, "bytes": 1000})
    noise = daily.lazy().select("symbol", noise=pl.Series(chance.lognormal(0, 0.1, symbols * sessions)))
    # One by one: polars falls back to its other engine for all of a query that asks for one running sum.
    folds = [
        noise.group_by("symbol").agg(fold(pl.col("noise")).alias(fold.__name__)).sort("symbol")
        for fold in (ordered_sum, ordered_product, ordered_mean)
    ]
    found: dict[str, Counter[str]] = {}
    for run in range(runs):
        rows = daily.sample(fraction=1.0, shuffle=True, seed=run) if run % 2 else daily
        profiles = symbol_profiles(rows if run % 3 else rows.lazy(), days, listings)
        tables = {
            "symbol_profiles": profiles,
            "exchange_profiles": exchange_profile(profiles, cells),
            "weekly_prices": weekly_bars(rows.lazy(), calendar).collect(),
            "adjusted": adjust(rows.lazy(), "total_return").collect(),
            "folds": pl.concat(pl.collect_all(folds, engine="streaming"), how="align"),
        }
        for name, table in tables.items():
            found.setdefault(name, Counter())[content_sha256(table)] += 1
    return found


def main(argv: Sequence[str] | None = None, show: Callable[[str], None] = print) -> int:
    """Runs the rounds; returns the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.determinism", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--worker", type=int, nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        show(json.dumps(_work(*args.worker)))
        return 0
    seen: dict[str, set[str]] = {}
    for threads in THREADS:
        for table, counts in hashes(threads, args.runs).items():
            seen.setdefault(table, set()).update(counts)
            first = next(iter(counts))[:12]
            show(f"{threads} thread(s): {table}: {args.runs} runs, {len(counts)} hash(es), the first {first}")
    varying = sorted(table for table, distinct in seen.items() if len(distinct) > 1)
    show(
        f"varying: {', '.join(varying)}" if varying else "every table has one hash over all runs and threads"
    )
    return 1 if varying else 0


if __name__ == "__main__":
    sys.exit(main())
