"""The same store on other engines: weekly bars and total returns by DuckDB and Spark, compared with ours.

    python -m benchmarks.engines [--symbols 1000 --years 10] [--spark PYTHON]

Lays a store from a seed (benchmarks/scale), runs the queries of deploy/engines on it, and compares every row.
`--spark` names a Python that has pyspark 4 (`make engines` makes one; Java 17 is needed); without it Spark is left
out. A line an engine and query:
`engines: query=… engine=… rows=… seconds=… polars=… ratio=… largest_difference=… ok`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl

from benchmarks.scale.laying import lay
from benchmarks.scale.shape import CODES, Laid, Shape
from quant_assets import prices
from quant_assets.market.weekly import weekly_bars

QUERIES = Path(__file__).parents[1] / "deploy" / "engines"
KEYS = {"weekly_bars": ("exchange", "symbol", "week"), "total_return": ("exchange", "symbol", "date")}
_TOLERANCE = 1e-9
"""Relative. The queries multiply by sums of logarithms, which cost three digits; ours are products."""
_NO_CALENDAR = pl.DataFrame(schema={"date": pl.Date, "asked": pl.Boolean})


def ours(laid: Laid, query: str) -> pl.DataFrame:
    """What this package makes of the same objects."""
    if query == "weekly_bars":
        frames = [
            weekly_bars(
                pl.read_parquet(str(laid.store / f"price_history/exchange={code}/*.parquet")), _NO_CALENDAR
            )
            .with_columns(exchange=pl.lit(code))
            .drop("complete")
            for code in CODES
        ]
        return pl.concat(frames)
    store = str(laid.store)
    split, paid = (
        prices(adjust=adjust, store=store).select("exchange", "symbol", "date", "close").collect()
        for adjust in ("split", "total_return")
    )
    return paid.rename({"close": "total_return"}).with_columns(split["close"].alias("split_adjusted"))


def by_duckdb(laid: Laid, query: str) -> pl.DataFrame:
    """The query's answer on two threads."""
    files = laid.store / "price_history/exchange=*/year=*.parquet"
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(
            f"create view price_history as select * from read_parquet('{files}', hive_partitioning = true)"
        )
        return pl.DataFrame(connection.sql((QUERIES / f"{query}.sql").read_text()).to_arrow_table())


def largest_difference(made: pl.DataFrame, expected: pl.DataFrame, query: str) -> float:
    """The largest relative difference of any number; infinite where rows or nulls differ."""
    keys = list(KEYS[query])
    values = [name for name in made.columns if name in expected.columns and name not in keys]
    both = expected.join(made.select(*keys, *values), on=keys, how="full", suffix="_made", coalesce=True)
    if not made.height == expected.height == both.height:
        return float("inf")
    worst = 0.0
    for name in values:
        left, right = both[name], both[f"{name}_made"]
        if not (left.is_null() == right.is_null()).all():
            return float("inf")
        if left.dtype == pl.Date:
            worst = max(worst, 0.0 if left.equals(right.cast(pl.Date)) else float("inf"))
            continue
        scale = pl.max_horizontal(pl.col("l").abs(), pl.lit(1e-9))
        apart = pl.DataFrame({"l": left.cast(pl.Float64), "r": right.cast(pl.Float64)})
        worst = max(worst, apart.select(((pl.col("l") - pl.col("r")).abs() / scale).max()).item() or 0.0)
    return worst


def timed(work: Callable[[], pl.DataFrame]) -> tuple[pl.DataFrame, float]:
    """The answer, and how many seconds it took."""
    began = time.perf_counter()
    made = work()
    return made, time.perf_counter() - began


def by_spark(laid: Laid, python: Path, folder: Path) -> dict[str, float]:
    """Seconds of each query in local mode on two cores, session aside; the answers lie in `folder`."""
    options = "--master local[2] --driver-memory 4g --conf spark.ui.enabled=false pyspark-shell"
    command = [str(python), str(QUERIES / "spark_job.py"), "--store", str(laid.store), "--out", str(folder)]
    environment = {**os.environ, "PYSPARK_SUBMIT_ARGS": options, "PYSPARK_PYTHON": str(python)}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("spark: ")]
    return {words[1]: float(words[2].removeprefix("seconds=")) for words in lines}


def main(arguments: list[str] | None = None) -> int:
    """Prints a line an engine and query; 1 where an answer differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--symbols", type=int, default=1000)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--spark", type=Path, help="a Python with pyspark")
    parser.add_argument("--store", type=Path, help="a folder that keeps the laid store")
    asked = parser.parse_args(arguments)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="engines-") as temporary:
        laid = lay((asked.store or Path(temporary) / "laid").absolute(), Shape(asked.symbols, asked.years))
        answers = Path(temporary) / "spark"
        spark = by_spark(laid, asked.spark.absolute(), answers) if asked.spark else {}
        for query in KEYS:
            expected, base = timed(lambda query=query: ours(laid, query))
            made = {"duckdb": timed(lambda query=query: by_duckdb(laid, query))}
            if spark:
                rows = pl.read_parquet(str(answers / query / "**/*.parquet"), hive_partitioning=True)
                made["spark"] = rows, spark[query]
            for engine, (frame, seconds) in made.items():
                difference = largest_difference(frame, expected, query)
                wrong += (differs := difference > _TOLERANCE)
                print(
                    f"engines: query={query} engine={engine} rows={frame.height} seconds={seconds:.1f} "
                    f"polars={base:.1f} ratio={seconds / base:.1f} largest_difference={difference:.1e} "
                    + ("differs" if differs else "ok"),
                    flush=True,
                )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
