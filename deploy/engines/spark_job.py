"""Weekly bars and total returns of a whole store, on Spark 4.

    spark-submit spark_job.py --store gs://bucket/prefix --out gs://bucket/elsewhere

Reads the store's `price_history` as it is and writes `weekly_bars/` and `total_return/` below `--out`, partitioned by
exchange. The two queries are the files beside this one. Run it after a compaction: rows that stand in cells only are
not in `price_history` yet.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pyspark.sql import SparkSession

QUERIES = ("weekly_bars", "total_return")


def main() -> None:
    """Runs both queries and prints a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="the store: a folder or a URL that Spark reads")
    parser.add_argument("--out", required=True, help="where the results go; what stands there is replaced")
    asked = parser.parse_args()
    spark = SparkSession.builder.appName("quant-assets").getOrCreate()
    # Dates are days, moments are UTC.
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    history = spark.read.option("recursiveFileLookup", "false").parquet(f"{asked.store}/price_history")
    history.createOrReplaceTempView("price_history")
    for name in QUERIES:
        began = time.perf_counter()
        made = spark.sql(Path(__file__).with_name(f"{name}.sql").read_text())
        made.write.mode("overwrite").partitionBy("exchange").parquet(f"{asked.out}/{name}")
        print(f"spark: {name} seconds={time.perf_counter() - began:.1f}", flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
