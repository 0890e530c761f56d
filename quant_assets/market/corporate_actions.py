"""Splits and dividends: from what Yahoo serves back to what was traded, and from there to adjusted series.

With S(t) the product of the split ratios whose ex-date is after t, over every split up to now:

    as-traded price  = served price * S(t)       as-traded volume = served volume / S(t)
    declared dividend = served dividend * S(ex-date)
    split-adjusted   = as-traded price / S(t)
    F(t) = product over ex-dates after t of (1 - D / C_prev), D and C_prev split-adjusted, C_prev the close
           of the last session before the ex-date (Yahoo's convention, "Adj Close" = split-adjusted * F)
    or, with the dividend reinvested at the ex-day's close, of 1 / (1 + D / C_ex)

S only comes out right when the events reach through now: a split after the wanted range rescales it too.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from quant_assets.market.bars import PRICES
from quant_assets.market.folds import ordered_product, ordered_sum
from quant_assets.market.precision import recovered, recovered_dividends, recovered_volume

Adjust = Literal["none", "split", "total_return"]
Reinvest = Literal["prev_close", "ex_close"]

AS_TRADED_COLUMNS = ("date", *PRICES, "volume", "dividend", "split_ratio", "scale")

_SUM_DECIMALS = 10


def split_factor_after(dates: pl.Series, splits: pl.DataFrame) -> pl.Series:
    """S(t) of each date: the product of the ratios of `splits` (date, ratio) with an ex-date after it."""
    import numpy as np

    ordered = splits.sort("date")
    ratios = ordered["ratio"].to_numpy()
    # tail[i] is the product of the ratios from the i-th split on; tail[n] is 1.
    tail = np.append(np.cumprod(ratios[::-1])[::-1], 1.0)
    position = np.searchsorted(
        ordered["date"].to_physical().to_numpy(), dates.to_physical().to_numpy(), side="right"
    )
    return pl.Series("split_factor", tail[position], dtype=pl.Float64)


def as_traded(served: pl.DataFrame, splits: pl.DataFrame, dividends: pl.DataFrame) -> pl.DataFrame:
    """What was traded, from one symbol's served bars and events.

    Args:
        served: date, open, high, low, close (split-adjusted to now, float32 widened), volume (split-adjusted).
        splits: date (ex-date), ratio (new shares per old), reaching through now.
        dividends: date (ex-date), amount (per share, split-adjusted to now); a capital gain is one of them.

    Returns:
        `AS_TRADED_COLUMNS` sorted by date, one row a date: volume Int64 (null where a reverse split has made the
        served number meaningless), dividend as declared (0.0), split_ratio (1.0), and `scale`, the S(t) that the
        served numbers were multiplied by: what one of them can vouch for depends on it. An ex-date that has no bar
        gets a row of its own with null prices and volume 0: an action is never lost, nor moved to another day
        (`action_dates` moves those of closed days). Several dividends of one ex-date are added up, several ratios
        multiplied.
    """
    factor = split_factor_after(served["date"], splits)
    volume = recovered_volume(pl.lit(factor)) if (factor != 1.0).any() else pl.col("volume").fill_null(0)
    bars = served.with_columns(volume.cast(pl.Int64), *_prices(served, factor))
    if splits.is_empty() and dividends.is_empty():
        nothing = (
            pl.lit(0.0).alias("dividend"),
            pl.lit(1.0).alias("split_ratio"),
            pl.lit(1.0).alias("scale"),
        )
        return bars.with_columns(*nothing).select(AS_TRADED_COLUMNS).sort("date")

    amounts = (
        dividends.select("date", declared(dividends, splits))
        .group_by("date")
        # A sum of decimals has noise to shed.
        .agg(ordered_sum(pl.col("amount")).round(_SUM_DECIMALS).alias("dividend"))
    )
    ratios = splits.group_by("date").agg(ordered_product(pl.col("ratio")).alias("split_ratio"))
    actions = amounts.join(ratios, on="date", how="full", coalesce=True)
    joined = bars.with_columns(_bar=True).join(actions, on="date", how="full", coalesce=True)
    return joined.select(
        "date",
        *PRICES,
        pl.when(pl.col("_bar")).then("volume").otherwise(0).alias("volume"),
        pl.col("dividend").fill_null(0.0),
        pl.col("split_ratio").fill_null(1.0),
        split_factor_after(joined["date"], splits).alias("scale"),
    ).sort("date")


def _prices(served: pl.DataFrame, factor: pl.Series) -> list[pl.Series]:
    """The as-traded prices of served bars."""
    import numpy as np

    values = np.stack([served[name].cast(pl.Float64).to_numpy() for name in PRICES])
    traded = recovered(values, factor.to_numpy())
    return [pl.Series(n, v, nan_to_null=True) for n, v in zip(PRICES, traded, strict=True)]


def declared(dividends: pl.DataFrame, splits: pl.DataFrame) -> pl.Series:
    """The declared amounts (Float64, null where unknown) of served dividends (date, amount), `splits` after them."""
    factor = split_factor_after(dividends["date"], splits)
    amounts = recovered_dividends(dividends["amount"].fill_null(float("nan")).to_numpy(), factor.to_numpy())
    return pl.Series("amount", amounts, nan_to_null=True)


def adjust(
    daily: pl.LazyFrame, how: Adjust, *, reinvest: Reinvest = "prev_close", ordered: bool = False
) -> pl.LazyFrame:
    """As-traded rows adjusted on read, over the actions that the rows themselves hold.

    Args:
        daily: at least symbol, date, open, high, low, close, volume, dividend, split_ratio (as traded), any order.
        how: "none" leaves the rows alone; "split" puts prices, volume and dividend on the share basis of each
            symbol's last row; "total_return" also multiplies prices by the dividend factor F.
        reinvest: "prev_close" for Yahoo's 1 - D / C_prev, "ex_close" for 1 / (1 + D / C_ex).
        ordered: whether the rows come by (symbol, date).

    Returns:
        The same columns sorted by (symbol, date). Under "split" and "total_return" volume is Float64 (shares of the
        last row's basis; null where it is unknown) and `split_ratio` and `dividend` stay on their ex-dates, the
        dividend rescaled.

    Raises:
        ValueError: `how` or `reinvest` is none of the above.
    """
    if how not in ("none", "split", "total_return"):
        raise ValueError(f'adjust is "none", "split" or "total_return", not {how!r}')
    if reinvest not in ("prev_close", "ex_close"):
        raise ValueError(f'reinvest is "prev_close" or "ex_close", not {reinvest!r}')
    rows = daily if ordered else daily.sort("symbol", "date")
    if how == "none":
        return rows
    adjusted = (
        rows.with_columns(_product_after("split_ratio").alias("_s"))
        .with_columns(
            *(pl.col(name) / pl.col("_s") for name in PRICES),
            pl.col("volume") * pl.col("_s"),
            pl.col("dividend") / pl.col("_s"),
        )
        .drop("_s")
    )
    if how == "split":
        return adjusted
    known_close = pl.col("close").forward_fill()
    if reinvest == "prev_close":
        step = 1.0 - pl.col("dividend") / known_close.shift(1)
    else:
        step = 1.0 / (1.0 + pl.col("dividend") / pl.col("close").backward_fill())
    step = pl.when(pl.col("dividend") != 0.0).then(step).otherwise(1.0).fill_null(1.0)
    return (
        adjusted.with_columns(step.over("symbol").alias("_step"))
        .with_columns(_product_after("_step").alias("_f"))
        .with_columns(pl.col(name) * pl.col("_f") for name in PRICES)
        .drop("_step", "_f")
    )


def _product_after(column: str) -> pl.Expr:
    """The product of a symbol's values in the rows after each; 1 after its last."""
    return pl.col(column).cum_prod(reverse=True).shift(-1, fill_value=1.0).over("symbol")
