"""The rules that a daily bar must keep before it is stored, and the rows that break them.

Kept apart from `bars` because dataframely is costly to import and most readers of bars never validate.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl

from quant_assets.market.bars import KEYS

_COLUMN_RULES = {
    "nullability": "no {}",
    "nan": "{} is not a number",
    "inf": "{} is not a number",
    "min": "{} is negative",
    "min_exclusive": "{} is not positive",
}
_ROW_RULES = {
    "primary_key": "two rows for one session",
    "low_is_lowest": "low is above open, close or high",
    "high_is_highest": "high is below open or close",
    "whole_bar": "some prices are missing",
    "empty_bar_trades_nothing": "volume without prices",
}


def _words(rule: str) -> str:
    column, of_column, check = rule.partition("|")
    return _COLUMN_RULES[check].format(column.replace("_", " ")) if of_column else _ROW_RULES[rule]


def _price() -> dy.Float64:
    return dy.Float64(nullable=True, min_exclusive=0.0)


class DailyBar(dy.Schema):
    """A row of `daily_prices`: as traded, in the listing's currency."""

    symbol = dy.String(primary_key=True)
    date = dy.Date(primary_key=True)
    open = _price()
    high = _price()
    low = _price()
    close = _price()
    volume = dy.Int64(min=0)
    dividend = dy.Float64(min=0.0)
    split_ratio = dy.Float64(min_exclusive=0.0)
    currency = dy.String()
    fetched_at = dy.Datetime(time_zone="UTC", time_unit="us")

    @dy.rule()
    def low_is_lowest(cls) -> pl.Expr:
        low = pl.col("low")
        return low.is_null() | ((low <= pl.col("open")) & (low <= pl.col("close")) & (low <= pl.col("high")))

    @dy.rule()
    def high_is_highest(cls) -> pl.Expr:
        high = pl.col("high")
        return high.is_null() | ((high >= pl.col("open")) & (high >= pl.col("close")))

    @dy.rule()
    def whole_bar(cls) -> pl.Expr:
        prices = [pl.col(name).is_null() for name in ("open", "high", "low", "close")]
        return pl.all_horizontal(prices) | ~pl.any_horizontal(prices)

    @dy.rule()
    def empty_bar_trades_nothing(cls) -> pl.Expr:
        return pl.col("close").is_not_null() | (pl.col("volume") == 0)


def validate(rows: pl.DataFrame | pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Splits rows into those that keep every rule and those that do not.

    Returns:
        (good rows, refused rows with a further column `rule`: in words, what each breaks). Nothing is dropped:
        together they are all the rows.
    """
    good, failure = DailyBar.filter(rows.lazy().collect(), cast=False)
    if failure.invalid().is_empty():
        return good, failure.invalid().with_columns(pl.lit("").alias("rule"))
    details = failure.details()
    rule_columns = [name for name in details.columns if name not in rows.lazy().collect_schema().names()]
    words = pl.concat_str(
        [
            pl.when(pl.col(name) == "invalid").then(pl.lit(_words(name))).otherwise(None)
            for name in rule_columns
        ],
        separator="; ",
        ignore_nulls=True,
    )
    refused = details.with_columns(words.alias("rule")).drop(rule_columns).sort(KEYS)
    return good, refused
