"""What a profile takes of a year's daily rows: one row a symbol, made in one pass, and moved on by later rows.

A year's sums hold what its rows add up to, and what the next rows have to know of those before: the last close, and
what has become of a share since. So the years of a history are summed one after the other, each once, and a new
session moves only the last year's sums on. Every float is added in the order of the rows, from the first one on: rows
that come in many parts give the same sums as all at once, to the bit, whatever the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import polars as pl

from quant_assets.market.bars import day_numbers
from quant_assets.market.flags import NONE
from quant_assets.market.moves import LARGE
from quant_assets.market.oddities import STALE_RUN
from quant_assets.market.symbol_bars import Actions, SymbolBars, bars_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

T = TypeVar("T")

ROWS = ("symbol", "date", "close", "volume", "dividend", "split_ratio", "flags")
"""The columns of daily rows that are summed."""

WORDS = 6
DAYS = tuple(f"days_{word}" for word in range(WORDS))
"""The days of the year with a bar: bit d % 64 of word d // 64 is the day d after New Year."""

COUNTS = (
    "sessions", "valued", "stale_days", "zero_volume_days", "suspicious_jumps", "splits", "dividends",
    "flagged_sessions",
)  # fmt: skip
TOTALS = ("log_total", "log_squares", "turnover")
"""What the rows of a year add up to, as `SUMS_SCHEMA` tells: whole numbers and floats."""

_OF_THE_YEAR = {
    "first_session": pl.Date(),
    "last_session": pl.Date(),
    **dict.fromkeys(DAYS, pl.UInt64()),
    **dict.fromkeys(COUNTS, pl.Int64()),
    **dict.fromkeys(TOTALS, pl.Float64()),
}
_CARRIED = {
    "close": pl.Float64(),
    "shares": pl.Float64(),
    "cash": pl.Float64(),
    "log_factor": pl.Float64(),
    "run": pl.Int64(),
}
SUMS_SCHEMA = pl.Schema({"symbol": pl.String(), **_OF_THE_YEAR, **_CARRIED})
"""A year's sums, sorted by symbol: every symbol that had a row in it or before.

- `first_session`, `last_session`: dates of the year's bars, null without one; `days_…`: all of them.
- `sessions`: bars; `valued`: those whose volume is known, and `turnover`: their close × volume, added up.
- `stale_days`, `zero_volume_days`, `suspicious_jumps`, `splits`, `dividends`, `flagged_sessions`: as in a profile. A
  run of equal closes that becomes stale in this year counts here with all its bars.
- `log_total`, `log_squares`: log total returns and their squares, added up. The symbol's first bar of all has none.
- `close`: of its last bar so far; `shares`, `cash`: what one share held then has become and paid since; `log_factor`:
  the sum of ln(1 − D / close) since; `run`: bars in a row with that close. NaN, 1, 0, 0 and 0 before the first bar.

After them a column `flag:<code>` (Int64) for every code of flags (`market.flags`) that any row of the year has.
"""

FLAG = "flag:"
_START = {"close": math.nan, "shares": 1.0}


def no_sums() -> pl.DataFrame:
    """Before the first row."""
    return pl.DataFrame(schema=SUMS_SCHEMA)


def carried(sums: pl.DataFrame) -> pl.DataFrame:
    """The sums that the next year begins with: those of no row, with what is carried over."""
    import numpy as np

    nothing = {
        name: pl.Series(np.zeros(sums.height), dtype=dtype) if dtype != pl.Date else None
        for name, dtype in _OF_THE_YEAR.items()
    }
    columns = {**nothing, **sums.select("symbol", *_CARRIED).to_dict()}
    return pl.DataFrame({name: columns[name] for name in SUMS_SCHEMA}, schema=SUMS_SCHEMA)


def left_over(sums: pl.DataFrame) -> pl.DataFrame:
    """What the years through this one leave the next one with."""
    return sums.select("symbol", *_CARRIED)


class Mapper(Protocol):
    """As the built-in `map`: what a function makes of each part, in order."""

    def __call__(
        self, function: Callable[[pl.DataFrame], T], parts: Iterable[pl.DataFrame], /
    ) -> Iterable[T]: ...


def advanced(
    sums: pl.DataFrame, parts: Iterable[pl.DataFrame], largest_move: float = LARGE, *, each: Mapper = map
) -> pl.DataFrame:
    """A year's sums, moved on by rows of the same year.

    Args:
        sums: `SUMS_SCHEMA`, over earlier rows of the year; at its beginning `carried` or `no_sums`.
        parts: frames with the columns `ROWS`, each sorted by (symbol, date), which are unique; no symbol's rows lie
            in two of them, all are later than those that its sums are over. A null close is an action without a
            bar; a null volume or dividend, which nobody knows, counts neither as zero nor as paid.
        largest_move: factor (`market.moves`) above which an unexplained move is suspicious.
        each: goes through the parts; several at once give the same sums.

    Raises ValueError where the rows of a part are of two years.
    """
    import numpy as np

    before = _Before(sums)
    touched = [one for one in each(partial(_part, before, largest_move), parts) if one is not None]
    if not touched:
        return sums
    moved = pl.DataFrame({"symbol": pl.concat([one.symbols for one in touched])}).with_columns(
        pl.Series(name, np.concatenate([one.sums[name] for one in touched])) for name in before.columns
    )
    dates = pl.col("first_session", "last_session")
    moved = moved.with_columns(
        pl.when(pl.col("last_session") != _NEVER).then(dates.cast(pl.Int32).cast(pl.Date))
    )
    moved = _flagged(moved, pl.concat([one.flagged for one in touched]))
    every = pl.concat([sums.join(moved, on="symbol", how="anti"), moved], how="diagonal")
    codes = sorted(name for name in every.columns if name.startswith(FLAG))
    return every.select(*SUMS_SCHEMA, pl.col(codes).fill_null(0)).sort("symbol")


@dataclass(frozen=True, slots=True)
class _Part:
    """What becomes of the symbols of a part: their sums by column, dates as numbers of days, without what its rows
    say in flags; and those rows: symbol, flags, rows (their number)."""

    symbols: pl.Series
    sums: dict[str, Any]
    flagged: pl.DataFrame


def _part(before: _Before, largest_move: float, rows: pl.DataFrame) -> _Part | None:
    """The sums of the symbols in `rows`, moved on."""
    import numpy as np

    if rows.is_empty():
        return None
    runs = rows["symbol"].rle().struct.unnest()
    names, lengths = runs["value"], runs["len"].to_numpy().astype(np.int64)
    own = before.of(names)
    bars, volume = bars_of(rows, lengths, own["close"])
    acts = Actions(_acting(rows), lengths, bars, own)
    limit = math.log(largest_move)

    moves = bars.close / bars.before
    np.log(moves, out=moves)
    jumps = np.abs(moves) > limit
    same = bars.close == bars.before
    with np.errstate(divide="ignore", invalid="ignore"):
        at = acts.bars
        worth = bars.close[at] * acts.shares
        jumps[at] = np.abs(np.log((worth + acts.cash) / bars.before[at])) > limit
        moves[at] = np.log(worth / bars.before[at]) - acts.log_factor
    same[at] &= acts.shares == 1.0
    # Nobody held a share before a symbol's first bar.
    moves[bars.firsts[np.isnan(bars.before[bars.firsts])]] = 0.0
    squares = moves * moves
    turnover = bars.close * volume
    if (unknown := np.flatnonzero(np.isnan(volume))).size:
        turnover[unknown] = 0.0
    own["valued"] += bars.counts - bars.per_symbol(unknown)
    own["sessions"] += bars.counts
    own["zero_volume_days"] += bars.per_symbol(np.flatnonzero(volume == 0))
    own["suspicious_jumps"] += bars.per_symbol(np.flatnonzero(jumps))
    own["splits"] += acts.splits
    own["dividends"] += acts.dividends
    for name, values in (("log_total", moves), ("log_squares", squares), ("turnover", turnover)):
        own[name] = bars.folded(values, own[name])
    own |= acts.left
    stale, run = _stale(bars, same, own["run"])
    own["stale_days"] += stale
    there = bars.there
    own["run"][there] = run
    own["close"][there] = bars.close[bars.lasts]
    own["first_session"][there] = np.minimum(own["first_session"][there], bars.dates[bars.firsts])
    own["last_session"][there] = bars.dates[bars.lasts]
    for word, days in zip(DAYS, _days(bars, _new_year(rows["date"])).T, strict=True):
        own[word] |= days
    has_flags = rows["flags"] != NONE
    flagged = rows.filter(has_flags) if has_flags.any() else rows.clear()
    flagged = flagged.group_by("symbol", "flags").len("rows")
    return _Part(names, own, flagged)


def _acting(rows: pl.DataFrame) -> list[npt.NDArray[Any]]:
    """The rows with a split or a dividend: their place, the split ratio and the dividend."""
    import numpy as np

    ratio, dividend = (rows[name].to_numpy() for name in ("split_ratio", "dividend"))
    # Neither equals itself where it is not known.
    at = np.flatnonzero((ratio != 1.0) | (dividend != 0.0))
    return [at, np.nan_to_num(ratio[at], nan=1.0), np.nan_to_num(dividend[at], nan=0.0)]


_NEVER = -(2**31) + 1
"""Instead of a date, as a number of days: first sessions have its negative."""


_EPOCH = date(1970, 1, 1)


class _Before:
    """A year's sums so far, by column and symbol; dates as numbers of days."""

    def __init__(self, sums: pl.DataFrame) -> None:
        import numpy as np

        nothing = {**_START, "first_session": -_NEVER, "last_session": _NEVER}
        self._places = {name: at for at, name in enumerate(sums["symbol"].to_list())}
        self.columns: dict[str, Any] = {}
        for column in sums.get_columns()[1:]:
            name = column.name
            if column.dtype == pl.Date:
                column = column.cast(pl.Int32).cast(pl.Int64).fill_null(nothing[name])
            known = column.to_numpy()
            # What those have that nothing is known of stands behind them.
            self.columns[name] = np.append(known, np.array([nothing.get(name, 0)], dtype=known.dtype))

    def of(self, names: pl.Series) -> dict[str, Any]:
        """By column what the sums of some symbols are so far."""
        import numpy as np

        at = np.array([self._places.get(name, -1) for name in names.to_list()])
        return {name: column[at] for name, column in self.columns.items()}


def _stale(bars: SymbolBars, same: Bools, run_before: Ints) -> tuple[Ints, Ints]:
    """Per symbol the bars of its stale runs that were not yet counted; per symbol that has a bar, its last run."""
    import numpy as np

    repeats = np.flatnonzero(same)
    symbol = bars.symbol[repeats]
    new = np.ones(len(repeats), dtype=np.bool_)
    new[1:] = (repeats[1:] != repeats[:-1] + 1) | (symbol[1:] != symbol[:-1])
    starts = np.flatnonzero(new)
    repeated = np.diff(starts, append=len(repeats))
    first = repeats[starts]
    symbol = symbol[starts]
    # Where a run goes on that had begun before, its first repeat is the symbol's first bar.
    position = np.zeros(len(bars.counts), dtype=np.int64)
    position[bars.there] = bars.firsts
    goes_on = first == position[symbol]
    earlier = np.where(goes_on, run_before[symbol], 0)
    mine: Ints = repeated + ~goes_on
    length = earlier + mine
    counted = np.where(length >= STALE_RUN, np.where(earlier >= STALE_RUN, mine, length), 0)
    stale = np.zeros(len(bars.counts), dtype=np.int64)
    np.add.at(stale, symbol, counted)

    last_run = np.ones(len(bars.counts), dtype=np.int64)
    at_end = first + repeated - 1 == (np.cumsum(bars.counts) - 1)[symbol]
    last_run[symbol[at_end]] = length[at_end]
    return stale, last_run[bars.there]


def _new_year(dates: pl.Series) -> int:
    """The first day of the one year that dates are in, as `day_numbers` counts. Raises ValueError where it is not."""
    days = day_numbers(dates)
    first, last = (_EPOCH + timedelta(days=int(day)) for day in (days.min(), days.max()))
    if first.year != last.year:
        raise ValueError(f"rows of one year are summed; got those of {first} to {last}")
    return (date(first.year, 1, 1) - _EPOCH).days


def _days(bars: SymbolBars, new_year: int) -> npt.NDArray[np.uint64]:
    """Per symbol the days of its bars, as `DAYS`."""
    import numpy as np

    width = 64 * WORDS
    there = np.zeros(len(bars.counts) * width, dtype=np.bool_)
    there[np.repeat(np.arange(len(bars.counts)) * width - new_year, bars.counts) + bars.dates] = True
    return np.packbits(there.reshape(-1, width), axis=1, bitorder="little").view(np.uint64)


def _flagged(moved: pl.DataFrame, flagged: pl.DataFrame) -> pl.DataFrame:
    """`moved` with the rows that have flags (symbol, flags, rows) counted: all of them, and those of each code."""
    codes = [name for name in moved.columns if name.startswith(FLAG)]
    if flagged.is_empty():
        return moved
    flagged = flagged.with_columns(pl.col("rows").cast(pl.Int64))
    # Few combinations stand for many rows. Of codes with a part of their own (`explained:…`) the kind is counted.
    kinds = pl.col("flags").str.split(",").list.eval(pl.element().str.split(":").list.first()).list.unique()
    by_code = (
        flagged.with_columns(kinds)
        .explode("flags")
        .with_columns(pl.format(FLAG + "{}", "flags"))
        .pivot("flags", index="symbol", values="rows", aggregate_function="sum")
    )
    by_symbol = flagged.group_by("symbol").agg(pl.col("rows").sum().alias("_rows"))
    more = by_symbol.join(by_code, on="symbol", how="left")
    found = [name for name in by_code.columns if name != "symbol"]
    return (
        moved.with_columns(pl.lit(0, pl.Int64).alias(name) for name in found if name not in codes)
        .join(more, on="symbol", how="left", suffix="_more", maintain_order="left")
        .with_columns(
            pl.col("flagged_sessions") + pl.col("_rows").fill_null(0),
            *(pl.col(name) + pl.col(f"{name}_more").fill_null(0) for name in found),
        )
        .drop("_rows", *(f"{name}_more" for name in found))
    )
