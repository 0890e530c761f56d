"""The same rows give the same results to the bit, in every process, for every number of threads."""

from __future__ import annotations

import polars as pl

from benchmarks.determinism import THREADS, hashes
from quant_assets.market.folds import ordered_mean, ordered_product, ordered_sum


def test_derived_tables_have_one_hash_for_every_number_of_threads() -> None:
    # `make determinism` does the same a thousand times over.
    seen: dict[str, set[str]] = {}
    for threads in THREADS:
        for table, counts in hashes(threads, runs=6, symbols=80, sessions=300).items():
            assert sum(counts.values()) == 6
            seen.setdefault(table, set()).update(counts)
    assert seen.keys() == {"symbol_profiles", "exchange_profiles", "weekly_prices", "adjusted", "folds"}
    assert {table: len(distinct) for table, distinct in seen.items()} == dict.fromkeys(seen, 1)


def test_folds_are_what_their_names_say() -> None:
    values = [0.1, 0.7, None, 1e16, -1e16, 0.3]
    frame = pl.DataFrame({"x": values})
    present = [v for v in values if v is not None]
    total = product = 0.0
    product = 1.0
    for value in present:
        total += value
        product *= value
    found = frame.select(
        ordered_sum(pl.col("x")).alias("sum"),
        ordered_product(pl.col("x")).alias("product"),
        ordered_mean(pl.col("x")).alias("mean"),
    ).row(0)
    assert found == (total, product, total / 5)  # 0.3 and not 1.1: in the order of the rows


def test_folds_of_nothing_and_of_one_value() -> None:
    folds = (ordered_sum, ordered_product, ordered_mean)

    def folded(values: list[float | None]) -> list[object]:
        frame = pl.DataFrame({"x": values}, schema={"x": pl.Float64})
        grouped = frame.group_by(pl.lit(1)).agg(fold(pl.col("x")).alias(fold.__name__) for fold in folds)
        alone = frame.select(fold(pl.col("x")).alias(fold.__name__) for fold in folds)
        if values:
            assert grouped.select(alone.columns).equals(alone)
        return list(alone.row(0))

    assert folded([]) == folded([None, None]) == [0.0, 1.0, None]
    assert folded([None, 2.5]) == [2.5, 2.5, 2.5]
