"""The queries of deploy/engines on DuckDB, which reads what we store, against our own reads of it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest

from benchmarks.engines import QUERIES, largest_difference
from quant_assets.market.corporate_actions import adjust
from quant_assets.market.weekly import weekly_bars
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.daily import read_daily

_NO_CALENDAR = pl.DataFrame(schema={"date": pl.Date, "asked": pl.Boolean})


@pytest.fixture(scope="module")
def rows(thirteen_years: LocalObjectStore) -> pl.DataFrame:
    return read_daily(thirteen_years, "US")


def asked(rows: pl.DataFrame, query: str) -> pl.DataFrame:
    with duckdb.connect() as connection:
        connection.register("price_history", rows.with_columns(exchange=pl.lit("US")).to_arrow())
        return pl.DataFrame(connection.sql((QUERIES / f"{query}.sql").read_text()).to_arrow_table())


def test_weekly_bars_are_ours(rows: pl.DataFrame) -> None:
    expected = weekly_bars(rows, _NO_CALENDAR).with_columns(exchange=pl.lit("US")).drop("complete")
    assert expected.filter(pl.col("split_ratio") != 1).height == 3
    made = asked(rows, "weekly_bars")
    assert largest_difference(made, expected, "weekly_bars") < 1e-9
    wrong = made.with_columns(high=pl.col("high") * 1.000001)
    assert largest_difference(wrong, expected, "weekly_bars") > 1e-9


def test_total_returns_are_ours(rows: pl.DataFrame) -> None:
    split, paid = (
        adjust(rows.lazy(), how, ordered=True).select("symbol", "date", "close").collect()
        for how in ("split", "total_return")
    )
    expected = paid.select(
        "symbol", "date", exchange=pl.lit("US"), split_adjusted=split["close"], total_return="close"
    )
    assert largest_difference(asked(rows, "total_return"), expected, "total_return") < 1e-9


def test_the_files_name_every_column_and_table_that_is_stored(rows: pl.DataFrame) -> None:
    external = (QUERIES / "bigquery.sql").read_text()
    history = external.split("price_history (")[1].split(")")[0]
    assert [part.split()[0] for part in history.split(",")] == rows.columns
    for file in Path(QUERIES).glob("*.sql"):
        assert "exchange" in file.read_text(), file
