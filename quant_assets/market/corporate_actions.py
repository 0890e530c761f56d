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

from collections.abc import Mapping
from functools import cache
from math import isnan
from typing import TYPE_CHECKING, Literal

import polars as pl

from quant_assets.market.bars import PRICES, day_numbers
from quant_assets.market.precision import recovered, recovered_dividends, recovered_volume

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Days = npt.NDArray[np.int32]
    Floats = npt.NDArray[np.float64]

Adjust = Literal["none", "split", "total_return"]
Reinvest = Literal["prev_close", "ex_close"]

AS_TRADED_COLUMNS = ("date", *PRICES, "volume", "dividend", "split_ratio", "scale")

_SUM_DECIMALS = 10


def split_factor_after(dates: pl.Series, splits: pl.DataFrame) -> pl.Series:
    """S(t) of each date: the product of the ratios of `splits` (date, ratio) with an ex-date after it."""
    return pl.Series("split_factor", _factors(day_numbers(dates), splits))


def _factors(days: Days, splits: pl.DataFrame) -> Floats:
    """The same of days."""
    import numpy as np

    if splits.is_empty():
        return np.ones(days.size)
    ordered = splits if splits["date"].is_sorted() else splits.sort("date")
    ratios = ordered["ratio"].to_numpy()
    # tail[i] is the product of the ratios from the i-th split on; tail[n] is 1.
    tail = np.append(np.cumprod(ratios[::-1])[::-1], 1.0)
    return tail[np.searchsorted(day_numbers(ordered["date"]), days, side="right")]


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
    import numpy as np

    if not served["date"].is_sorted():
        served = served.sort("date")
    dates, volume = served["date"], served["volume"]
    days = day_numbers(dates)
    scale = _factors(days, splits)
    if (scale != 1.0).any():
        volume = recovered_volume(served, scale)
    elif volume.null_count():
        volume = volume.fill_null(0)
    columns = [*_prices(served, scale), volume.cast(pl.Int64).alias("volume")]
    amounts, ratios = _by_day(dividends, splits)
    if amounts or ratios:
        ex_dates = np.array(sorted({*amounts, *ratios}), dtype=days.dtype)
        at = np.searchsorted(days, ex_dates)
        without_bar = np.searchsorted(days, ex_dates, side="right") == at
        if without_bar.any():
            at, beside = at[without_bar], ex_dates[without_bar]
            order = np.insert(np.arange(days.size), at, days.size)
            columns = [
                column.extend_constant(None if column.name in PRICES else 0, 1).gather(order)
                for column in columns
            ]
            days = np.insert(days, at, beside)
            dates, scale = pl.Series("date", days).cast(pl.Date), _factors(days, splits)
    actions = [_on_days("dividend", amounts, days, 0.0), _on_days("split_ratio", ratios, days, 1.0)]
    return dates.to_frame("date").hstack([*columns, *actions, pl.Series("scale", scale)])


def _by_day(dividends: pl.DataFrame, splits: pl.DataFrame) -> tuple[dict[int, float], dict[int, float]]:
    """By ex-date (days since 1970) the sum of the declared amounts and the product of the ratios, in row order."""
    import numpy as np

    amounts: dict[int, float] = {}
    ratios: dict[int, float] = {}
    if not dividends.is_empty():
        days = day_numbers(dividends["date"]).tolist()
        for day, amount in zip(days, _declared(dividends, splits).tolist(), strict=True):
            amounts[day] = amounts.get(day, 0.0) + (0.0 if isnan(amount) else amount)
        # A sum of decimals has noise to shed.
        rounded = np.round(np.array(list(amounts.values())), _SUM_DECIMALS)
        amounts = dict(zip(amounts, rounded.tolist(), strict=True))
    for day, ratio in zip(day_numbers(splits["date"]).tolist(), splits["ratio"].to_list(), strict=True):
        ratios[day] = ratios.get(day, 1.0) * (1.0 if ratio is None else ratio)
    return amounts, ratios


def _on_days(name: str, values: Mapping[int, float], days: Days, otherwise: float) -> pl.Series:
    """A column with the value of each day, or another one."""
    import numpy as np

    if not values:
        return _one(name, otherwise).new_from_index(0, days.size)
    found = np.full(days.size, otherwise)
    those = np.array(list(values), dtype=days.dtype)
    left, right = (np.searchsorted(days, those, side=side) for side in ("left", "right"))
    for first, beyond, value in zip(left.tolist(), right.tolist(), values.values(), strict=True):
        found[first:beyond] = value
    return pl.Series(name, found)


@cache
def _one(name: str, value: float) -> pl.Series:
    return pl.Series(name, [value])


def _prices(served: pl.DataFrame, scale: Floats) -> list[pl.Series]:
    """The as-traded prices of served bars."""
    import numpy as np

    values = np.empty((len(PRICES), served.height))
    for at, name in enumerate(PRICES):
        values[at] = served[name].to_numpy()
    traded = recovered(values, scale)
    return [pl.Series(n, v, nan_to_null=True) for n, v in zip(PRICES, traded, strict=True)]


def declared(dividends: pl.DataFrame, splits: pl.DataFrame) -> pl.Series:
    """The declared amounts (Float64, null where unknown) of served dividends (date, amount), `splits` after them."""
    return pl.Series("amount", _declared(dividends, splits), nan_to_null=True)


def _declared(dividends: pl.DataFrame, splits: pl.DataFrame) -> Floats:
    """The same, NaN where unknown."""
    scale = _factors(day_numbers(dividends["date"]), splits)
    return recovered_dividends(dividends["amount"].to_numpy(), scale)


def adjust(
    daily: pl.LazyFrame, how: Adjust, *, reinvest: Reinvest = "prev_close", ordered: bool = False
) -> pl.LazyFrame:
    """As-traded rows adjusted on read, over the actions that the rows themselves hold.

    Args:
        daily: as traded, at least symbol, date and split_ratio, for "total_return" also close and dividend; in any
            order.
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
    refuse_unknown_ways(how, reinvest)
    rows = daily if ordered else daily.sort("symbol", "date")
    if how == "none":
        return rows
    there = rows.collect_schema().names()
    prices = [pl.col(name) for name in PRICES if name in there]
    divided = [*prices, *(pl.col(name) for name in ("dividend",) if name in there)]
    multiplied = [pl.col(name) for name in ("volume",) if name in there]
    adjusted = (
        rows.with_columns(_product_after("split_ratio").alias("_s"))
        .with_columns(*(one / pl.col("_s") for one in divided), *(one * pl.col("_s") for one in multiplied))
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
        .with_columns(one * pl.col("_f") for one in prices)
        .drop("_step", "_f")
    )


def refuse_unknown_ways(how: str, reinvest: str) -> None:
    """Raises ValueError for a way to adjust or to reinvest that `adjust` does not know."""
    if how not in ("none", "split", "total_return"):
        raise ValueError(f'adjust is "none", "split" or "total_return", not {how!r}')
    if reinvest not in ("prev_close", "ex_close"):
        raise ValueError(f'reinvest is "prev_close" or "ex_close", not {reinvest!r}')


def _product_after(column: str) -> pl.Expr:
    """The product of a symbol's values in the rows after each; 1 after its last."""
    return pl.col(column).cum_prod(reverse=True).shift(-1, fill_value=1.0).over("symbol")
