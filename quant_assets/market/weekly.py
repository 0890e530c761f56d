"""Weekly bars from as-traded daily rows, on the share basis each week ends with."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

import polars as pl

from quant_assets.market.bars import PRICES, day_numbers
from quant_assets.market.folds import ordered_product, ordered_sum
from quant_assets.market.weeks import MONDAY, days_before_monday

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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

_ROWS = ("symbol", "date", *PRICES, "volume", "dividend", "split_ratio")
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
    with neither has none. A LazyFrame is made to stream: one grouping, plus a narrow scan for its splits. A frame
    sorted by (symbol, date) is quickest: what is equal to both is made of it by runs of neighbouring rows.

    Raises polars' ``ColumnNotFoundError`` if a column is missing (on collect, if lazy).
    """
    if isinstance(daily, pl.LazyFrame):
        return _weekly_bars(daily, calendar, first_weekday, missing)
    rows = pl.DataFrame([daily[name] for name in _ROWS])
    if rows.is_empty():
        return pl.DataFrame(schema=WEEKLY_SCHEMA)
    runs = _Runs(rows, first_weekday)
    if not runs.ordered:
        rows = rows.sort("symbol", "date")
        runs = _Runs(rows, first_weekday)
    return _of_runs(rows, runs, calendar, missing)


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


_EPOCH = 3
"""Days from a Monday to the first of 1970, from which days are counted."""


class _Runs:
    """The runs of neighbouring rows that are of one symbol and week, in rows by symbol and date."""

    def __init__(self, rows: pl.DataFrame, first_weekday: int) -> None:
        import numpy as np

        by_symbol = rows["symbol"].rle().struct.unnest()
        self.first_weekday = first_weekday
        self.symbols = by_symbol["value"]
        ends = np.cumsum(by_symbol["len"].to_numpy().astype(np.int64))
        starts = np.append(0, ends[:-1])
        days = day_numbers(rows["date"])
        later = days[1:] > days[:-1]
        later[starts[1:] - 1] = True
        # Whether they are what they have to be: no symbol and no day of one stands twice, or before another.
        names = self.symbols.to_list()
        self.ordered = bool(later.all()) and all(one < other for one, other in pairwise(names))
        weeks = (days + (_EPOCH + days_before_monday(first_weekday))) // 7
        begins = np.ones(len(days), dtype=np.bool_)
        np.not_equal(weeks[1:], weeks[:-1], out=begins[1:])
        begins[starts] = True
        self.first = np.flatnonzero(begins)
        self.last = np.append(self.first[1:], len(days)) - 1
        self.week = weeks[self.first].astype(np.int64)
        of_symbol = np.diff(np.searchsorted(self.first, starts), append=len(self.first))
        self.symbol = np.repeat(np.arange(len(starts)), of_symbol)
        self.days = days

    @cached_property
    def _nth(self) -> list[npt.NDArray[Any]]:
        """The second row of each run, the third, and so on; of runs with fewer rows the last one again."""
        import numpy as np

        longest = int((self.last - self.first).max())
        return [np.minimum(self.first + nth, self.last) for nth in range(1, longest + 1)]

    def fold(self, function: np.ufunc, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Per run what a function of two makes of its values, a least or a greatest. All first rows, all second ones:
        a week has few days, and numpy's `reduceat` takes three times as long."""
        found = values[self.first]
        for rows in self._nth:
            function(found, values[rows], out=found)
        return found

    def of(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The run that each of some rows is in."""
        import numpy as np

        return np.searchsorted(self.first, rows, side="right") - 1

    def place(self, symbols: pl.Series, weeks: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The run of each (symbol, week); -1 where there is none."""
        import numpy as np

        least, width = int(self.week.min()), int(np.ptp(self.week)) + 1
        keys = self.symbol * width + (self.week - least)
        at = self.symbols.search_sorted(symbols).to_numpy().astype(np.int64)
        known = np.flatnonzero((at < len(self.symbols)) & (weeks >= least) & (weeks < least + width))
        known = known[(self.symbols.gather(at[known]) == symbols.gather(known)).to_numpy()]
        wanted = at[known] * width + (weeks[known] - least)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        places = np.full(len(weeks), -1)
        places[known] = np.where(keys[found] == wanted, found, -1)
        return places

    def numbers(self, dates: pl.Series) -> npt.NDArray[Any]:
        """The weeks of some dates, by number."""
        import numpy as np

        days = day_numbers(dates).astype(np.int64)
        return (days + (_EPOCH + days_before_monday(self.first_weekday))) // 7


def _of_runs(
    rows: pl.DataFrame, runs: _Runs, calendar: pl.DataFrame, missing: pl.DataFrame | None
) -> pl.DataFrame:
    """The weeks of rows by symbol and date: the same as `_weekly_bars` makes, which is asked for the unusual ones."""
    import numpy as np

    first, last = runs.first, runs.last
    sessions, asked = runs.numbers(calendar["date"]), calendar["asked"].fill_null(False).to_numpy()
    complete = np.isin(runs.week, np.setdiff1d(sessions, sessions[~asked]))
    if missing is not None and not missing.is_empty():
        holes = runs.place(missing["symbol"], runs.numbers(missing["date"]))
        complete[holes[holes >= 0]] = False
    volume, dividends = _volumes(rows, runs), _dividends(rows, runs)
    columns = [
        runs.symbols.gather(runs.symbol).alias("symbol"),
        _dates("week", runs.week * 7 - _EPOCH),
        _dates("first_session", runs.days[first]),
        _dates("last_session", runs.days[last]),
        pl.Series("sessions", last - first + 1, dtype=pl.Int32),
        pl.Series("open", rows["open"].to_numpy()[first]),
        pl.Series("high", runs.fold(np.fmax, rows["high"].to_numpy())),
        pl.Series("low", runs.fold(np.fmin, rows["low"].to_numpy())),
        pl.Series("close", rows["close"].to_numpy()[last]),
        volume,
        dividends,
        pl.Series("split_ratio", np.ones(len(first))),
        pl.Series("complete", complete),
    ]
    unusual = _unusual(rows, runs)
    if not unusual.size:
        return pl.DataFrame(columns)
    is_unusual = np.zeros(len(first), dtype=np.bool_)
    is_unusual[unusual] = True
    of_unusual = np.flatnonzero(np.repeat(is_unusual, last - first + 1))
    made = _weekly_bars(rows[of_unusual].lazy(), calendar, runs.first_weekday, missing).collect()
    places = runs.place(made["symbol"], (day_numbers(made["week"]).astype(np.int64) + _EPOCH) // 7)
    keep = ~is_unusual
    keep[places] = True
    frame = pl.DataFrame([column.scatter(places, made[column.name]) for column in columns])
    return frame if keep.all() else frame.filter(pl.Series(keep))


def _unusual(rows: pl.DataFrame, runs: _Runs) -> npt.NDArray[Any]:
    """The runs in which there is more to do than to compare and to add: a split, a day without a bar."""
    import numpy as np

    odd = [
        np.flatnonzero(rows["split_ratio"].to_numpy() != 1.0),
        np.flatnonzero(rows["dividend"].to_numpy() < 0.0),
    ]
    odd += [np.flatnonzero(rows[name].is_null().to_numpy()) for name in PRICES if rows[name].null_count()]
    return np.unique(runs.of(np.concatenate(odd)))


def _volumes(rows: pl.DataFrame, runs: _Runs) -> pl.Series:
    """Each run's volumes added up, one after the other as floats; null where one is."""
    import numpy as np

    volumes = rows["volume"]
    known = volumes.fill_null(0) if volumes.null_count() else volumes
    least, most = known.min(), known.max()
    shares = known.to_numpy()
    # Sums of whole numbers are the same in any order, as long as floats hold them.
    if isinstance(least, int) and isinstance(most, int) and least >= 0 and most * 7 < 2**53:
        total = np.add.reduceat(shares, runs.first).astype(np.float64)
    else:
        number = np.repeat(np.arange(len(runs.first)), runs.last - runs.first + 1)
        total = np.bincount(number, shares.astype(np.float64))
    return _without(pl.Series("volume", total), runs, volumes)


def _dividends(rows: pl.DataFrame, runs: _Runs) -> pl.Series:
    """Each run's dividends added up, one after the other; null where one is."""
    import numpy as np

    dividends = rows["dividend"]
    paid = (dividends.fill_null(0.0) if dividends.null_count() else dividends).to_numpy()
    at = np.flatnonzero(paid != 0.0)
    run = runs.of(at)
    total = np.bincount(run, paid[at], minlength=len(runs.first)).astype(np.float64)
    largest = np.zeros(len(runs.first))
    np.maximum.at(largest, run, paid[at])
    # One dividend is the declared number; a sum has noise to shed.
    several = np.flatnonzero(total != largest)
    total[several] = pl.Series(total[several], dtype=pl.Float64).round(_DIVIDEND_DECIMALS).to_numpy()
    return _without(pl.Series("dividends", total), runs, dividends)


def _without(totals: pl.Series, runs: _Runs, values: pl.Series) -> pl.Series:
    """`totals` without those of runs in which one of the values is not known."""
    import numpy as np

    if not values.null_count():
        return totals
    return totals.scatter(np.unique(runs.of(np.flatnonzero(values.is_null().to_numpy()))), None)


def _dates(name: str, days: npt.NDArray[Any]) -> pl.Series:
    return pl.Series(name, days, dtype=pl.Int32).cast(pl.Date)
