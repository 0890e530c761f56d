"""What an exchange's history holds and how far it can be trusted: one row a symbol, one row an exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

import polars as pl

from quant_assets.market.folds import ordered_mean
from quant_assets.market.moves import LARGE
from quant_assets.market.profile_sums import ROWS, advanced, carried, no_sums
from quant_assets.market.profile_years import placed, summed

SYMBOL_PROFILE_SCHEMA = pl.Schema(
    {
        "symbol": pl.String,
        "first_session": pl.Date,
        "last_session": pl.Date,
        "expected_sessions": pl.Int32,
        "sessions": pl.Int32,
        "unexpected_sessions": pl.Int32,
        "coverage": pl.Float64,
        "missing_sessions": pl.Int32,
        "longest_gap": pl.Int32,
        "stale_days": pl.Int32,
        "zero_volume_days": pl.Int32,
        "suspicious_jumps": pl.Int32,
        "flagged_sessions": pl.Int32,
        "flags": pl.String,
        "last_close": pl.Float64,
        "total_return": pl.Float64,
        "annualised_return": pl.Float64,
        "volatility": pl.Float64,
        "dollar_volume": pl.Float64,
        "splits": pl.Int32,
        "dividends": pl.Int32,
        "score_coverage": pl.Float64,
        "score_staleness": pl.Float64,
        "score_volume": pl.Float64,
        "score_jumps": pl.Float64,
        "quality": pl.Float64,
    }
)
"""The columns of `symbol_profiles`, in order."""

EXCHANGE_PROFILE_SCHEMA = pl.Schema(
    {
        "symbols": pl.Int32,
        "symbols_without_bars": pl.Int32,
        "sessions": pl.Int32,
        "cells_complete": pl.Int32,
        "cells_partial": pl.Int32,
        "cells_closed": pl.Int32,
        "cells_failed": pl.Int32,
        "rows": pl.Int64,
        "bytes": pl.Int64,
        "first_session": pl.Date,
        "last_session": pl.Date,
        "last_complete_session": pl.Date,
        "quality": pl.Float64,
        "worst_symbols": pl.List(pl.String),
    }
)
"""The columns of `exchange_profile`, in order."""

CELL_STATES = ("complete", "partial", "closed", "failed")

WEIGHTS = {"coverage": 50.0, "staleness": 20.0, "volume": 15.0, "jumps": 15.0}
"""Points a flawless history earns for each part of its quality; they sum to 100."""

SESSIONS_A_YEAR = 252
DAYS_A_YEAR = 365.25
WORST = 5


def symbol_profiles(
    daily: pl.DataFrame | pl.LazyFrame,
    sessions: Iterable[date],
    listings: pl.DataFrame,
    *,
    largest_move: float = LARGE,
) -> pl.DataFrame:
    """One row for every symbol of one exchange's as-traded rows and of its listings, sorted by symbol.

    Args:
        daily: symbol, date, close, volume, dividend, split_ratio, flags as traded (more columns are ignored), any
            order, (symbol, date) unique, closes positive. A null close is an action without a bar; a null volume
            or dividend, which nobody knows, counts neither as zero nor as paid.
        sessions: the exchange's sessions to judge by. Rows before the first or after the last are left out.
        listings: symbol (unique), listed_on, delisted_on, both dates inclusive. A null `listed_on` is
            unknown: bars are expected from the symbol's first one on. A null `delisted_on` is still listed.
            A symbol that has rows but no listing counts as listed since its first bar.
        largest_move: factor (`market.moves`) above which an unexplained move is suspicious.

    Returns:
        `SYMBOL_PROFILE_SCHEMA`. A session is a bar's date, in the exchange's zone; counts are in sessions.

        - `expected_sessions`: those of `sessions` on which the symbol was listed; `sessions`: its bars;
          `unexpected_sessions`: bars on other days; `coverage`: share of the expected sessions that have a
          bar (null if none is expected); `missing_sessions`: the rest; `longest_gap`: most of them in a row.
        - `stale_days`: bars inside a run of at least `STALE_RUN` equal closes; a split ends a run.
        - `zero_volume_days`: bars without a share traded.
        - `suspicious_jumps`: bars with |ln((n · C + cash) / C_prev)| > ln(`largest_move`), where one share held
          from the bar before has become n shares and brought in cash: what an action explains is no jump.
        - `flagged_sessions`: rows that something is odd about (`market.flags`); `flags`: on how many of them each
          code stands ("no_trade 656, open_outside_range 40"; "" where none does). They take nothing from the score:
          what a thin market is costs points already, for volume and staleness.
        - `last_close`, as traded; `dollar_volume`, mean of as-traded close × volume: the listing's currency.
        - `total_return`: a fraction, first to last bar, with Yahoo's dividend factor 1 − D / C_prev (C_prev
          the close before the ex-date on its share basis); `annualised_return`: (1 + total_return) to the
          power 1 / years, null below 365 days, which say little about a year; `volatility`: sample deviation
          of log total returns × √252, a return over a gap counting once. Null where undefined: fewer than
          two bars (three for volatility), or a dividend no smaller than the close before it.
        - `splits`, `dividends`: ex-dates.
        - `score_coverage` = 50 · coverage, `score_staleness` = 20 · (1 − stale_days / sessions),
          `score_volume` = 15 · (1 − zero_volume_days / sessions), `score_jumps` = 15 · (1 −
          suspicious_jumps / years), not below 0, with years = sessions / 252: one jump a year or more, or any
          in less than a year, earns nothing. `quality` is their sum, 0 to 100. Without a bar all are 0; without
          an expected session all are null: there is nothing to judge.

    Raises:
        ValueError: no sessions, or a symbol listed twice.
        polars.exceptions.ColumnNotFoundError: a column is missing.

    Holds the rows of a year twice at most beside those given; a history in years that are summed one by one
    (`market.profile_sums`) needs no more than one of them at a time: `profiles_of_years`.
    """
    calendar = _calendar(sessions)
    rows = (
        daily.lazy()
        .select(ROWS)
        .filter(pl.col("date").is_between(calendar[0], calendar[-1]))
        .sort("symbol", "date")
        .collect()
    )
    years: dict[int, pl.DataFrame] = {}
    sums = no_sums()
    for year in rows["date"].dt.year().unique().sort():
        of_year = rows.filter(pl.col("date").dt.year() == year)
        sums = years[year] = advanced(carried(sums), [of_year], largest_move)
    return profiles_of_years(years, calendar, listings)


def profiles_of_years(
    years: Mapping[int, pl.DataFrame], sessions: Iterable[date], listings: pl.DataFrame
) -> pl.DataFrame:
    """The profiles of a history whose years have been summed (`market.profile_sums`), as `symbol_profiles` has them.

    Every year's sums were carried on from the year before it that is here, and no row is outside `sessions`.
    Raises ValueError: no sessions, or a symbol listed twice.
    """
    calendar = _calendar(sessions)
    listed = listings.select("symbol", "listed_on", "delisted_on")
    if not listed["symbol"].is_unique().all():
        twice = sorted(set(listed.filter(pl.col("symbol").is_duplicated())["symbol"]))
        raise ValueError(f"listed more than once: {', '.join(twice)}")
    ordered = [years[year] for year in sorted(years)]
    seen = ordered[-1] if ordered else no_sums()
    known = (
        pl.concat([listed.select("symbol"), seen.select("symbol")])
        .unique()
        .sort("symbol")
        .join(listed, on="symbol", how="left", maintain_order="left")
    )
    known = known.hstack(summed(years, known["symbol"])).hstack(placed(years, calendar, known))
    return (
        _scored(_expected(known, calendar))
        .select(pl.col(name).cast(dtype) for name, dtype in SYMBOL_PROFILE_SCHEMA.items())
        .sort("symbol")
    )


def _calendar(sessions: Iterable[date]) -> pl.Series:
    calendar = pl.Series("date", sorted(set(sessions)), dtype=pl.Date)
    if calendar.is_empty():
        raise ValueError("a profile needs the exchange's sessions, got none")
    return calendar


def _expected(known: pl.DataFrame, calendar: pl.Series) -> pl.DataFrame:
    """Adds where in the calendar each symbol's listing starts and ends, and what follows from that."""
    since = pl.coalesce("listed_on", "first_session", pl.lit(calendar[0]))
    until = pl.coalesce("delisted_on", pl.lit(calendar[-1]))
    dates = known.select(since.alias("since"), until.alias("until"))
    start = calendar.search_sorted(dates["since"], side="left").cast(pl.Int32)
    end = calendar.search_sorted(dates["until"], side="right").cast(pl.Int32)
    expected = known.with_columns(start.alias("start"), end.alias("end")).with_columns(
        (pl.col("end") - pl.col("start")).clip(lower_bound=0).alias("expected_sessions")
    )
    gaps = (
        pl.col("inner_gap"),
        pl.col("first_position") - pl.col("start"),
        pl.col("end") - 1 - pl.col("last_position"),
    )
    return expected.with_columns(
        pl.when(pl.col("expected_sessions") > 0)
        .then(pl.col("covered") / pl.col("expected_sessions"))
        .alias("coverage"),
        (pl.col("expected_sessions") - pl.col("covered")).alias("missing_sessions"),
        (pl.col("sessions") - pl.col("covered")).alias("unexpected_sessions"),
        pl.when(pl.col("covered") > 0)
        .then(pl.max_horizontal(*gaps))
        .otherwise("expected_sessions")
        .alias("longest_gap"),
    )


def _scored(profiles: pl.DataFrame) -> pl.DataFrame:
    """Adds returns, the parts of the score and their sum."""
    sessions = pl.col("sessions")
    days = (pl.col("last_session") - pl.col("first_session")).dt.total_days()
    defined = (sessions > 1) & pl.col("log_total").is_finite()
    total = pl.when(defined).then(pl.col("log_total"))
    annualised = (total * DAYS_A_YEAR / days).exp() - 1
    jumps_a_year = pl.col("suspicious_jumps") / (sessions / SESSIONS_A_YEAR)
    parts = {
        "coverage": pl.col("coverage"),
        "staleness": 1.0 - pl.col("stale_days") / sessions,
        "volume": 1.0 - pl.col("zero_volume_days") / sessions,
        "jumps": (1.0 - jumps_a_year).clip(lower_bound=0.0),
    }
    return profiles.with_columns(
        (total.exp() - 1).alias("total_return"),
        pl.when(days >= 365).then(annualised).alias("annualised_return"),
        pl.when(defined).then(pl.col("deviation") * SESSIONS_A_YEAR**0.5).alias("volatility"),
        *(
            pl.when(pl.col("expected_sessions") == 0)
            .then(None)
            .when(sessions == 0)
            .then(0.0)
            .otherwise(share * WEIGHTS[part])
            .alias(f"score_{part}")
            for part, share in parts.items()
        ),
    ).with_columns(
        pl.sum_horizontal((f"score_{part}" for part in WEIGHTS), ignore_nulls=False).alias("quality")
    )


def exchange_profile(profiles: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """An exchange's inventory in one row, from its symbols' profiles and its cells.

    Args:
        profiles: `symbol_profiles` of the exchange.
        cells: date, state (one of `CELL_STATES`), rows, bytes; one row a cell. Null rows or bytes count 0.

    Returns:
        `EXCHANGE_PROFILE_SCHEMA`: `symbols`, and how many of them have no bar; `sessions`: cells that are not
        closed; cells by state; `rows` and `bytes` stored; `first_session`, `last_session`: of any bar;
        `last_complete_session`: how fresh the data are; `quality`: mean of the symbols' that can be judged;
        `worst_symbols`: up to five of the lowest quality, worst first, none that is flawless.

    Raises:
        ValueError: a cell's state is not one of `CELL_STATES`.
    """
    state = pl.col("state")
    unknown = cells.filter(state.is_null() | ~state.is_in(CELL_STATES))["state"].unique().to_list()
    if unknown:
        raise ValueError(f"a cell is {', '.join(CELL_STATES)}; got {unknown}")
    worst = profiles.filter(pl.col("quality") < sum(WEIGHTS.values())).sort("quality", "symbol").head(WORST)
    inventory = cells.select(
        (state != "closed").sum().alias("sessions"),
        *((state == name).sum().alias(f"cells_{name}") for name in CELL_STATES),
        pl.col("rows").sum(),
        pl.col("bytes").sum(),
        pl.col("date").filter(state == "complete").max().alias("last_complete_session"),
    )
    symbols = profiles.select(
        pl.len().alias("symbols"),
        (pl.col("sessions") == 0).sum().alias("symbols_without_bars"),
        pl.col("first_session").min(),
        pl.col("last_session").max(),
        ordered_mean(pl.col("quality")).alias("quality"),
        pl.lit(worst["symbol"].implode()).alias("worst_symbols"),
    )
    return pl.concat([symbols, inventory], how="horizontal").select(
        pl.col(name).cast(dtype) for name, dtype in EXCHANGE_PROFILE_SCHEMA.items()
    )
