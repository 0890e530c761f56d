"""Weekly bars from as-traded daily rows, on the share basis each week ends with."""

from __future__ import annotations

from typing import overload

import polars as pl

from quant_assets.market.folds import ordered_product, ordered_sum
from quant_assets.market.weeks import MONDAY, days_before_monday

WEEKLY_SCHEMA = pl.Schema(
    {
        "symbol": pl.String,
        "week": pl.Date,
        "first_session": pl.Date,
        "last_session": pl.Date,
        "sessions": pl.Int32,
        "open": pl.Float64,
        "high": pl.Float64,
        "low": pl.Float64,
        "close": pl.Float64,
        "volume": pl.Float64,
        "dividends": pl.Float64,
        "split_ratio": pl.Float64,
        "complete": pl.Boolean,
    }
)
"""The columns of a weekly frame, in order."""

_MISSING = pl.Schema({"symbol": pl.String, "date": pl.Date})

# Enough digits for any price at any scale, few enough to shed the noise of a division.
_PRICE_DIGITS = 10
# Thousandths of a share: keeps what a reverse split leaves over, sheds the noise of a division.
_VOLUME_DECIMALS = 3
_DIVIDEND_DECIMALS = 10


def week_column(date: pl.Expr, first_weekday: int = MONDAY) -> pl.Expr:
    """The Monday that names the trading week of each date (`market.weeks`), named ``week``."""
    return date.dt.offset_by(f"{days_before_monday(first_weekday)}d").dt.truncate("1w").alias("week")


@overload
def weekly_bars(
    daily: pl.DataFrame,
    calendar: pl.DataFrame,
    first_weekday: int = MONDAY,
    *,
    missing: pl.DataFrame | None = None,
) -> pl.DataFrame: ...
@overload
def weekly_bars(
    daily: pl.LazyFrame,
    calendar: pl.DataFrame,
    first_weekday: int = MONDAY,
    *,
    missing: pl.DataFrame | None = None,
) -> pl.LazyFrame: ...
def weekly_bars(
    daily: pl.DataFrame | pl.LazyFrame,
    calendar: pl.DataFrame,
    first_weekday: int = MONDAY,
    *,
    missing: pl.DataFrame | None = None,
) -> pl.DataFrame | pl.LazyFrame:
    """Aggregate as-traded daily rows of one exchange to weekly bars.

    ``daily`` holds ``symbol, date, open, high, low, close, volume, dividend, split_ratio`` (other columns
    are ignored), in any order, (symbol, date) unique. A row whose close is null carries a dividend or a
    split of a day without a bar. It must hold whole weeks: a split is seen only if its row is there.

    ``calendar`` holds ``date: Date, asked: Boolean``: every session the exchange holds in the weeks
    concerned, future ones included, and whether it has been asked for, so that ``missing`` names who did not
    come. A null counts as false.

    ``missing`` holds ``symbol: String, date: Date``: the bars that were expected of a session and are not
    there. Who was not listed that day, or is known to have been suspended, is not in it. None: there are none.

    ``first_weekday`` is the weekday that the exchange's week begins on (0 is Sunday). Every week is named by the
    Monday in it: one from Sunday 10 to Saturday 16 March 2024 is the week 2024-03-11.

    Returns one row per (symbol, week), sorted so; a LazyFrame for a LazyFrame. Columns:

    - ``week``: the Monday that names it. ``first_session``, ``last_session``: dates of the symbol's own first and
      last bar, null without one. ``sessions``: its number of bars.
    - ``open, high, low, close``: in the listing's currency, per share as it stands **at the end of the
      week**: prices before an ex-date are divided by the split's ratio. Weeks that need no division hold
      the as-traded numbers bit for bit; the others are rounded to ten significant digits. High and low are the
      largest and smallest of those of the days, as the source serves them: in a thin market open or close of the week
      may lie outside, as they do on the day.
    - ``volume``: shares on that same basis, so as-traded volume times the ratio. Float64, because a
      reverse split leaves fractions and rounding them would lose turnover; whole numbers stay exact up
      to 2**53. Rounded to a thousandth of a share where a ratio was applied. Null where a day's is
      unknown, as ``dividends`` are where one is held.
    - ``dividends``: sum per share, same basis. ``split_ratio``: product of the week's ratios, 1.0 if none.
      So last week's close divided by this week's ``split_ratio`` compares with this week's bar.
    - ``complete``: the symbol has a bar on every session of the week on which one was expected of it: every
      session in ``calendar`` has been asked for, and none of the symbol's bars is in ``missing``. A listing on
      Wednesday or a suspension leaves the week complete, and so does whatever other symbols lack. False for a
      week not in ``calendar``.

    A volume or dividend of the week that is not known (null) makes its sum null.

    A week with a dividend or split and no bar keeps its row (null prices, zero sessions and volume); a week
    with neither has none. Made to stream: one grouping of ``daily``, plus a narrow scan for its splits.

    Raises polars' ``ColumnNotFoundError`` if a column is missing (on collect, if lazy).
    """
    if isinstance(daily, pl.DataFrame):
        return _weekly_bars(daily.lazy(), calendar, first_weekday, missing).collect()
    return _weekly_bars(daily, calendar, first_weekday, missing)


def _weekly_bars(
    daily: pl.LazyFrame, calendar: pl.DataFrame, first_weekday: int, missing: pl.DataFrame | None
) -> pl.LazyFrame:
    week = week_column(pl.col("date"), first_weekday)
    per_share = ("open", "high", "low", "close", "dividend")
    factor = pl.col("later_ratio").fill_null(1.0)
    is_bar = pl.col("close").is_not_null()
    rows = (
        daily.select("symbol", "date", *per_share, "volume", "split_ratio")
        .sort("symbol", "date")  # sums of floats depend on their order
        .join(_later_ratios(daily, first_weekday), on=["symbol", "date"], how="left", maintain_order="left")
        .with_columns(
            week,
            *(pl.col(name) / factor for name in per_share),
            pl.col("volume").cast(pl.Float64) * factor,
            session=pl.when(is_bar).then("date"),
        )
    )
    # Opening and closing bars are found by date, not by position: the input may come in any order.
    weeks = rows.group_by("symbol", "week").agg(
        pl.col("session").min().alias("first_session"),
        pl.col("session").max().alias("last_session"),
        pl.col("session").count().cast(pl.Int32).alias("sessions"),
        pl.col("open").min_by("session"),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").max_by("session"),
        _known_sum("volume").alias("volume"),
        _known_sum("dividend").alias("dividends"),
        pl.col("dividend").max().alias("largest_dividend"),
        ordered_product(pl.col("split_ratio")).alias("split_ratio"),
        pl.col("later_ratio").count().alias("rescaled"),
    )
    rescaled = pl.col("rescaled") > 0
    rounded = weeks.with_columns(
        *(
            pl.when(rescaled).then(pl.col(name).round_sig_figs(_PRICE_DIGITS)).otherwise(name).alias(name)
            for name in ("open", "high", "low", "close")
        ),
        pl.when(rescaled).then(pl.col("volume").round(_VOLUME_DECIMALS)).otherwise("volume").alias("volume"),
        # One dividend in an unsplit week is the declared number; a sum or a quotient has noise to shed.
        pl.when(rescaled | (pl.col("dividends") != pl.col("largest_dividend")))
        .then(pl.col("dividends").round(_DIVIDEND_DECIMALS))
        .otherwise("dividends")
        .alias("dividends"),
    )
    paid = pl.col("dividends").is_null() | (pl.col("dividends") != 0)
    carries = (pl.col("sessions") > 0) | paid | (pl.col("split_ratio") != 1)
    asked_weeks = calendar.lazy().group_by(week).agg(pl.col("asked").fill_null(False).all())
    bars_missing = pl.LazyFrame(schema=_MISSING) if missing is None else missing.lazy()
    short_weeks = bars_missing.select("symbol", week, short=True).unique()
    return (
        rounded.filter(carries)
        .join(asked_weeks, on="week", how="left")
        .join(short_weeks, on=["symbol", "week"], how="left")
        .with_columns(complete=pl.col("asked").fill_null(False) & pl.col("short").is_null())
        .select(*WEEKLY_SCHEMA)
        .sort("symbol", "week")
    )


def _known_sum(name: str) -> pl.Expr:
    """The sum in row order; null where one of the values is not known."""
    return pl.when(~pl.col(name).is_null().any()).then(ordered_sum(pl.col(name)))


def _later_ratios(daily: pl.LazyFrame, first_weekday: int) -> pl.LazyFrame:
    """``symbol, date, later_ratio``: for the days of a week before an ex-date in it, the product of the
    ratios still to come that week. Days no ratio touches are absent, so this stays a few thousand rows
    beside millions."""
    week = week_column(pl.col("date"), first_weekday)
    first_day = week.dt.offset_by(f"-{days_before_monday(first_weekday)}d")
    return (
        daily.filter(pl.col("split_ratio") != 1)
        .sort("symbol", "date")
        .select("symbol", "split_ratio", pl.date_ranges(first_day, "date", closed="left").alias("date"))
        .explode("date")
        .drop_nulls("date")  # an ex-date on the week's first day has none before it
        .group_by("symbol", "date")
        .agg(ordered_product(pl.col("split_ratio")).alias("later_ratio"))
    )
