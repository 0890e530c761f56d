"""The years of a history put together: what a profile says of each symbol, from its sums (`market.profile_sums`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_assets.market.flags import NONE
from quant_assets.market.profile_sums import COUNTS, DAYS, FLAG, TOTALS, WORDS, no_sums

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]

_EPOCH = date(1970, 1, 1)
_WIDTH = 64 * WORDS


def summed(years: Mapping[int, pl.DataFrame], symbols: pl.Series) -> pl.DataFrame:
    """What the sums of all years (by year) come to for each of `symbols` (sorted), in their order.

    Columns: first_session, last_session (of any bar), the counts of `SUMS_SCHEMA`, log_total,
    deviation (of the log returns, null of fewer than two), dollar_volume, last_close, flags (in words).
    """
    import numpy as np

    counts: dict[str, npt.NDArray[Any]] = {name: np.zeros(len(symbols), dtype=np.int64) for name in COUNTS}
    floats: dict[str, npt.NDArray[Any]] = {name: np.zeros(len(symbols)) for name in TOTALS}
    codes: dict[str, npt.NDArray[Any]] = {}
    dates: list[pl.DataFrame] = []
    for year in sorted(years):
        sums = years[year]
        at = _places(symbols, sums["symbol"])
        for name in sums.columns:
            if name.startswith(FLAG):
                codes.setdefault(name, np.zeros(len(symbols), dtype=np.int64))
        # One year after the other, so that what is added up is the same in every run.
        for name, total in [*counts.items(), *floats.items(), *codes.items()]:
            if name in sums.columns:
                total[at] += sums[name].to_numpy()
        dates.append(sums.select("symbol", "first_session", "last_session"))
    last = years[max(years)] if years else no_sums()
    returns = counts["sessions"] - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = floats["log_squares"] - floats["log_total"] ** 2 / returns
        # What should be nothing can come out below it.
        deviation = np.sqrt(np.maximum(spread, 0.0) / (returns - 1))
        dollar_volume = floats["turnover"] / counts["valued"]
    first_last = (
        pl.concat([no_sums().select("symbol", "first_session", "last_session"), *dates])
        .group_by("symbol")
        .agg(pl.col("first_session").min(), pl.col("last_session").max())
    )
    table = pl.DataFrame(
        {"symbol": symbols, **counts, **codes, "log_total": floats["log_total"], "deviation": deviation}
    ).with_columns(dollar_volume=pl.Series(dollar_volume))
    sessions = pl.col("sessions")
    return (
        table.join(first_last, on="symbol", how="left", maintain_order="left")
        .join(last.select("symbol", last_close="close"), on="symbol", how="left", maintain_order="left")
        .with_columns(
            pl.when(sessions > 2).then("deviation").alias("deviation"),
            pl.when(pl.col("valued") > 0).then("dollar_volume").alias("dollar_volume"),
            pl.when(sessions > 0).then("last_close").alias("last_close"),
        )
        .hstack(_in_words(table.select("symbol", *codes)))
        .drop("symbol", "valued", *codes)
    )


def _in_words(counted: pl.DataFrame) -> pl.DataFrame:
    """flags: the codes of each symbol (symbol, `flag:…`), in order, each with its number of rows."""
    codes = counted.columns[1:]
    words = (
        counted.unpivot(codes, index="symbol", variable_name="code", value_name="rows")
        .filter(pl.col("rows") > 0)
        .with_columns(pl.col("code").str.strip_prefix(FLAG))
        .sort("symbol", "code")
        .group_by("symbol", maintain_order=True)
        .agg(pl.format("{} {}", "code", "rows").str.join(", ").alias("flags"))
        if codes
        else pl.DataFrame(schema={"symbol": pl.String, "flags": pl.String})
    )
    joined = counted.select("symbol").join(words, on="symbol", how="left", maintain_order="left")
    return joined.select(pl.col("flags").fill_null(NONE))


def placed(years: Mapping[int, pl.DataFrame], calendar: pl.Series, listed: pl.DataFrame) -> pl.DataFrame:
    """How the bars of each symbol of `listed` (symbol, sorted; listed_on, delisted_on) lie in the calendar.

    Bars on a session within the symbol's listing count. Columns, in the order of `listed`: covered (their number),
    first_position and last_position in `calendar` (sorted; null without one), inner_gap (most sessions in a row
    between two of them without one).
    """
    import numpy as np

    sessions = calendar.to_physical().to_numpy()
    forever = 10_000_000
    since = listed["listed_on"].to_physical().fill_null(-forever).to_numpy()
    until = listed["delisted_on"].to_physical().fill_null(forever).to_numpy()
    covered = np.zeros(len(listed), dtype=np.int64)
    first, last, gap = np.full_like(covered, -1), np.full_like(covered, -1), np.zeros_like(covered)
    for year in sorted(years):
        sums = years[year]
        at = _places(listed["symbol"], sums["symbol"])
        new_year, next_year = ((date(y, 1, 1) - _EPOCH).days for y in (year, year + 1))
        start, end = np.searchsorted(sessions, [new_year, next_year])
        held = sessions[start:end] - new_year
        open_days = _bits(held[np.newaxis, :])[0]
        begins = np.clip(since[at] - new_year, 0, _WIDTH)
        ends = np.clip(until[at] - new_year + 1, 0, _WIDTH)
        before = _days_before()
        present = sums.select(DAYS).to_numpy() & open_days & before[ends] & ~before[begins]
        covered[at] += np.bitwise_count(present).sum(axis=1, dtype=np.int64)
        there = np.flatnonzero(present.any(axis=1))
        of_year = _spread(present[there], open_days, held)
        symbol = at[there]
        first_here, last_here = of_year[0] + start, of_year[1] + start
        across = np.where(last[symbol] >= 0, first_here - last[symbol] - 1, 0)
        gap[symbol] = np.maximum(gap[symbol], np.maximum(across, of_year[2]))
        first[symbol] = np.where(first[symbol] >= 0, first[symbol], first_here)
        last[symbol] = last_here
    table = pl.DataFrame(
        {"covered": covered, "first_position": first, "last_position": last, "inner_gap": gap}
    )
    return table.with_columns(
        pl.when(pl.col("covered") > 0).then(pl.col("first_position", "last_position").cast(pl.Int32))
    )


def bars_of(years: Mapping[int, pl.DataFrame], symbols: pl.Series) -> pl.DataFrame:
    """The bars of some symbols, as symbol and date, by year and symbol."""
    import numpy as np

    found: list[pl.DataFrame] = []
    for year in sorted(years):
        sums = years[year].filter(pl.col("symbol").is_in(symbols.implode()))
        row, day = np.nonzero(_unpacked(sums.select(DAYS).to_numpy()))
        dates = pl.Series("date", day + (date(year, 1, 1) - _EPOCH).days).cast(pl.Int32).cast(pl.Date)
        found.append(pl.DataFrame([sums["symbol"].gather(row), dates]))
    return pl.concat([pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date}), *found])


def _spread(present: Words, open_days: Words, held: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Per symbol (a row, with a day at least) the first and the last of the sessions `held` (days of the year) that
    it has, by number, and the longest gap between."""
    import numpy as np

    first = np.zeros(len(present), dtype=np.int64)
    last = np.full_like(first, len(held) - 1)
    gap = np.zeros_like(first)
    # Most have been there on every session.
    some = np.flatnonzero((present != open_days).any(axis=1))
    if some.size:
        days = np.ascontiguousarray(_unpacked(present[some])[:, held])
        first[some] = days.argmax(axis=1)
        last[some] -= days[:, ::-1].argmax(axis=1)
        there = np.flatnonzero(days)
        step = np.diff(there, prepend=there[:1])
        starts = np.searchsorted(there, np.arange(len(some)) * len(held))
        step[starts] = 1
        gap[some] = np.maximum.reduceat(step, starts) - 1
    return [first, last, gap]


def _places(among: pl.Series, symbols: pl.Series) -> npt.NDArray[Any]:
    """Where each of `symbols` lies in a sorted series that has them all."""
    return among.search_sorted(symbols).to_numpy()


def _bits(days: npt.NDArray[Any]) -> Words:
    """Rows of days of the year as rows of words, a bit a day."""
    import numpy as np

    there = np.zeros((len(days), _WIDTH), dtype=np.bool_)
    np.put_along_axis(there, days.astype(np.int64), True, axis=1)
    return np.packbits(there, axis=1, bitorder="little").view(np.uint64)


def _unpacked(words: Words) -> npt.NDArray[np.bool_]:
    """A column a day, for each row of words."""
    import numpy as np

    octets = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(octets, axis=1, bitorder="little").view(np.bool_)


def _days_before() -> Words:
    """The words of all days before each day of the year."""
    import numpy as np

    return np.packbits(np.tri(_WIDTH + 1, _WIDTH, -1, dtype=np.bool_), axis=1, bitorder="little").view(
        np.uint64
    )
