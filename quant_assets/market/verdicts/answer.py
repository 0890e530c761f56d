"""What is judged, and what a verdict is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA

Floats = npt.NDArray[np.float64]

_EPOCH = date(1970, 1, 1).toordinal()

SPLITS_SCHEMA = pl.Schema({"date": pl.Date(), "ratio": pl.Float64()})
DIVIDENDS_SCHEMA = pl.Schema({"date": pl.Date(), "amount": pl.Float64()})


def day_array(days: Iterable[date]) -> npt.NDArray[np.datetime64]:
    """Days as datetime64[D]: numpy and polars take ten times as long to make them of dates as they are."""
    return (np.array([day.toordinal() for day in days], dtype=np.int64) - _EPOCH).view("datetime64[D]")


def events(schema: pl.Schema, days: Sequence[date], values: Sequence[float]) -> pl.DataFrame:
    """Splits or dividends, in the two columns of `schema`."""
    dated, valued = schema
    numbers = day_array(days).astype(np.int32)
    frame = pl.Series(dated, numbers).cast(pl.Date).to_frame()
    return frame.insert_column(1, pl.Series(valued, values, pl.Float64))


def as_listed(schema: pl.Schema, given: pl.DataFrame) -> pl.DataFrame:
    """Splits or dividends that all hold, by date, in the two columns of `schema`: sooner there than by `events`."""
    dated, valued = schema
    listed = given[dated].to_frame().insert_column(1, given[valued])
    return listed if listed[dated].is_sorted() else listed.sort(dated, maintain_order=True)


@cache
def no_splits() -> pl.DataFrame:
    """What most answers have: clones cost nothing, while frames made of a schema take long."""
    return pl.DataFrame(schema=SPLITS_SCHEMA)


@cache
def no_dividends() -> pl.DataFrame:
    """The same of dividends."""
    return pl.DataFrame(schema=DIVIDENDS_SCHEMA)


class Kind(StrEnum):
    """The known errors of sources: what a verdict explains, or holds a part of an answer for."""

    UNSETTLED_SPLIT = "unsettled_split"
    """A split whose ex-date is after the last bar: prices may or may not have been rescaled."""
    REPEATED_SPLIT = "repeated_split"
    """One split on two days within a few sessions of each other, or twice on one day."""
    UNREADABLE_SPLIT = "unreadable_split"
    """A split whose ratio cannot be read: nothing before it can be counted back."""
    RESCALED_IN_PART = "rescaled_in_part"
    """Some bars before a listed split are on another share basis than the others, or, with none listed, on another
    than the source's own range of 52 weeks."""
    HUNDREDFOLD = "hundredfold"
    """Some bars are in another unit of the currency than the others, or all of them than the source's own quote."""
    FIELD_OUT_OF_LINE = "field_out_of_line"
    """One of a bar's four prices is far from the other three."""
    STAMPED_ON_A_CLOSED_DAY = "stamped_on_a_closed_day"
    """Bars on a day on which the exchange was closed, next to a session that has none: bars of the days after."""
    DIVIDEND_CONTRADICTED = "dividend_contradicted"
    """The amount listed is another one than the served Adj Close has been adjusted by."""
    DIVIDEND_LEFT_OUT = "dividend_left_out"
    """Adj Close has been adjusted by a dividend that is not listed."""
    DIVIDEND_REPEATED = "dividend_repeated"
    """The same dividend on two days within a few sessions of each other, or twice on one day."""
    DIVIDEND_IMPLAUSIBLE = "dividend_implausible"
    """A dividend that the price did not fall by, or that looks like one in another unit by the symbol's others, or by
    its yield."""
    DIVIDEND_IN_ANOTHER_CURRENCY = "dividend_in_another_currency"
    UNREADABLE_DIVIDEND = "unreadable_dividend"
    GAINS_COUNTED_TWICE = "gains_counted_twice"
    """A fund's capital gain is listed by itself and inside the dividend of the same day."""


FEW_SESSIONS = timedelta(days=8)
"""The calendar days of up to five sessions: equal actions so near to each other are one until shown otherwise."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An event of an answer that cannot be read: what it is, its day where that can be read, its text."""

    what: str
    day: date | None
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One symbol's answer, with what is known besides.

    Attributes:
        bars: date, open, high, low, close, adj_close (null where none), volume: as served, by date.
        splits: date, ratio; dividends: date, amount, kind, currency (null: the listing's), as served.
        price: the source's own last price; low_52_weeks, high_52_weeks its range of a year; None where it says none.
        stored: the symbol's rows as stored (DAILY_SCHEMA), as far as they are at hand: those of late, and those with
            a dividend of further back.
        sessions: the exchange's sessions over the answer, in order.
    """

    symbol: str
    bars: pl.DataFrame
    splits: pl.DataFrame
    dividends: pl.DataFrame
    currency: str | None = None
    price: float | None = None
    low_52_weeks: float | None = None
    high_52_weeks: float | None = None
    unreadable: tuple[Unreadable, ...] = ()
    stored: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DAILY_SCHEMA))
    sessions: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class Held:
    """Days of an answer whose bars are in doubt, and why."""

    kind: Kind
    days: frozenset[date]
    reason: str
    witnesses: str = ""


@dataclass(frozen=True, slots=True)
class HeldDividend:
    """A dividend in doubt: its day, the amount claimed (as served; None where there is none to read), and why."""

    kind: Kind
    day: date
    amount: float | None
    reason: str
    witnesses: str = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """A known error that has been undone: the days whose rows say so, and what was done."""

    kind: Kind
    days: frozenset[date]
    what: str


@dataclass(slots=True)
class Verdict:
    """What may be taken of an answer.

    `splits` (date, ratio) and `dividends` (date, amount) are those that hold; `held` are bars and `actions` dividends
    that are not to be stored as good; `explained` are errors that were undone. An answer with none of the three is
    proven as far as its witnesses carry. `real_moves` are days whose move witnesses vouch for, however large it is.
    """

    splits: pl.DataFrame
    dividends: pl.DataFrame
    held: list[Held] = field(default_factory=list[Held])
    actions: list[HeldDividend] = field(default_factory=list[HeldDividend])
    explained: list[Explained] = field(default_factory=list[Explained])
    real_moves: frozenset[date] = frozenset()

    @property
    def word(self) -> str:
        """ "held", "explained" or "proven"."""
        if self.held or self.actions:
            return "held"
        return "explained" if self.explained else "proven"

    @property
    def held_days(self) -> dict[date, Held]:
        """Per day whose bar is in doubt the first reason."""
        days: dict[date, Held] = {}
        for one in self.held:
            for day in one.days:
                days.setdefault(day, one)
        return days


@dataclass(frozen=True, slots=True)
class Series:
    """An answer's bars that have a positive close, as arrays, with the size of their usual moves.

    `days` are datetime64[D]; `moves` and `gaps` the logarithms of each close and of each open beside the close before
    it (the close stands in for an open that is none); `usual` is the robust standard deviation (1.4826 times the
    median absolute deviation) of the moves.
    """

    days: npt.NDArray[np.datetime64]
    opens: Floats
    highs: Floats
    lows: Floats
    closes: Floats
    adjusted: Floats
    volumes: Floats
    moves: Floats
    gaps: Floats
    usual: float

    @classmethod
    def of(cls, bars: pl.DataFrame) -> Series:
        """The series of served bars."""
        columns = ("close", "open", "high", "low", "adj_close", "volume")
        closes, opens, highs, lows, adjusted, volumes = (floats(bars[name]) for name in columns)
        days: npt.NDArray[np.datetime64] = bars["date"].to_numpy()
        good = (closes > 0) & (closes < np.inf)
        if not good.all():
            days = days[good]
            closes, opens, highs, lows, adjusted, volumes = (
                values[good] for values in (closes, opens, highs, lows, adjusted, volumes)
            )
        # A source that has lost one serves a zero: it says nothing of dividends.
        if not (known := adjusted > 0).all():
            adjusted = np.where(known, adjusted, np.nan)
        moves, gaps = np.log(closes), opens.copy()
        moves[1:] = moves[1:] - moves[:-1]
        moves[:1] = 0.0
        if not (known := opens > 0).all():
            gaps[~known] = closes[~known]
        gaps[:1] /= closes[:1]
        gaps[1:] /= closes[:-1]
        np.log(gaps, out=gaps)
        return cls(days, opens, highs, lows, closes, adjusted, volumes, moves, gaps, usual_move(moves))

    def dates(self, which: Iterable[int]) -> frozenset[date]:
        """The days of some positions."""
        return frozenset(self.days[list(which)].tolist())


def floats(column: pl.Series) -> Floats:
    """Values as Float64, nan where there is none."""
    # Most columns have no nulls, and each step of polars takes longer than all that is done with their values.
    filled = column.cast(pl.Float64).fill_null(float("nan")) if column.null_count() else column
    return filled.to_numpy().astype(np.float64, copy=False)


_LEAST, _MOST = 0.004, 0.2


def usual_move(moves: Floats) -> float:
    """The robust standard deviation of moves, never below 0.4 % and never above 20 %."""
    moving = moves[moves != 0.0]
    if moving.size < 5:
        return 0.02
    return min(max(1.4826 * _median(np.abs(moving - _median(moving))), _LEAST), _MOST)


def _median(values: Floats) -> float:
    """That of numbers none of which is NaN: numpy's own takes most of its time to look for one."""
    half, odd = divmod(values.size, 2)
    parted = np.partition(values, half)
    return float(parted[half]) if odd else float(parted[:half].max() + parted[half]) / 2
