"""What an exchange's history holds and how far it can be trusted: one row a symbol, one row an exchange."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import polars as pl

from quant_assets.market.flags import NONE
from quant_assets.market.folds import ordered_deviation, ordered_mean, ordered_sum
from quant_assets.market.moves import LARGE, exceeds
from quant_assets.market.oddities import STALE_RUN

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

    One lazy query over all years, whose memory grows with the rows: every part but the runs and returns that
    cross New Year is a sum over years, so it can be taken year by year should an exchange outgrow it.
    """
    calendar = pl.Series("date", sorted(set(sessions)), dtype=pl.Date)
    if calendar.is_empty():
        raise ValueError("a profile needs the exchange's sessions, got none")
    listed = listings.select("symbol", "listed_on", "delisted_on")
    if not listed["symbol"].is_unique().all():
        twice = sorted(set(listed.filter(pl.col("symbol").is_duplicated())["symbol"]))
        raise ValueError(f"listed more than once: {', '.join(twice)}")

    rows = (
        daily.lazy()
        # A dividend that is in doubt is none yet.
        .select(
            "symbol", "date", "close", "volume", pl.col("dividend").fill_null(0.0), "split_ratio", "flags"
        )
        .filter(pl.col("date").is_between(calendar[0], calendar[-1]))
        .sort("symbol", "date")
    )
    measured = _counted(_bars(rows), calendar, listed, largest_move)
    actions = rows.group_by("symbol").agg(
        (pl.col("split_ratio") != 1).sum().alias("splits"),
        (pl.col("dividend") != 0).sum().alias("dividends"),
    )
    known = (
        pl.concat([listed.lazy().select("symbol"), actions.select("symbol")])
        .unique()
        .join(listed.lazy(), on="symbol", how="left")
        .join(actions, on="symbol", how="left")
        .join(measured, on="symbol", how="left")
        .join(_flagged(rows), on="symbol", how="left")
        .with_columns(pl.col(_COUNTS).fill_null(0), pl.col("flags").fill_null(NONE))
        .collect()
    )
    return (
        _scored(_expected(known, calendar))
        .select(pl.col(name).cast(dtype) for name, dtype in SYMBOL_PROFILE_SCHEMA.items())
        .sort("symbol")
    )


_COUNTS = (
    "splits",
    "dividends",
    "sessions",
    "covered",
    "inner_gap",
    "stale_days",
    "zero_volume_days",
    "suspicious_jumps",
    "flagged_sessions",
)


def _flagged(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Per symbol with flags the number of its flagged rows, and of each code in words; symbols without are absent."""
    flagged = rows.filter(pl.col("flags") != NONE).select("symbol", "flags")
    # Few combinations stand for many rows. Of codes with a part of their own (`explained:…`) the kind is counted.
    combined = flagged.group_by("symbol", "flags").agg(pl.len().alias("rows"))
    kinds = pl.col("flags").str.split(",").list.eval(pl.element().str.split(":").list.first()).list.unique()
    of_code = (
        combined.with_columns(kinds).explode("flags").group_by("symbol", "flags").agg(pl.col("rows").sum())
    )
    return (
        of_code.sort("symbol", "flags")
        .group_by("symbol", maintain_order=True)
        .agg(pl.format("{} {}", "flags", "rows").str.join(", ").alias("flags"))
        .join(combined.group_by("symbol").agg(pl.col("rows").sum().alias("flagged_sessions")), on="symbol")
    )


def _bars(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with a close, each with what one share held from the bar before it has become.

    Adds `moved` (log of shares' worth plus cash against the close before), `log_return` (log total return),
    `same` (the close of the bar before, no split between). All null or false on a symbol's first bar.
    """
    shares = pl.col("split_ratio").cum_prod()
    held = (
        rows.with_columns(shares.over("symbol").alias("shares"))
        .with_columns(
            (pl.col("close") * pl.col("shares")).alias("worth"),
            (pl.col("dividend") * pl.col("shares")).alias("paid"),
        )
        .with_columns(
            pl.col("worth").forward_fill().shift(1).over("symbol").alias("worth_before"),
            pl.col("paid").cum_sum().over("symbol").alias("cash"),
        )
        .with_columns(
            pl.when(pl.col("paid") != 0)
            .then((1.0 - pl.col("paid") / pl.col("worth_before")).log())
            .otherwise(0.0)
            .fill_null(0.0)  # a dividend before the first bar belongs to no holder we know
            .cum_sum()
            .over("symbol")
            .alias("log_factor")
        )
        .filter(pl.col("close").is_not_null())
    )

    def before(name: str) -> pl.Expr:
        return pl.col(name).shift(1).over("symbol")

    return held.with_columns(
        ((pl.col("worth") + pl.col("cash") - before("cash")) / pl.col("worth_before")).log().alias("moved"),
        (
            (pl.col("worth") / pl.col("worth_before")).log() - (pl.col("log_factor") - before("log_factor"))
        ).alias("log_return"),
        ((pl.col("close") == before("close")) & (pl.col("shares") == before("shares")))
        .fill_null(False)
        .alias("same"),
    )


def _counted(
    bars: pl.LazyFrame, calendar: pl.Series, listed: pl.DataFrame, largest_move: float
) -> pl.LazyFrame:
    """Per symbol what its bars alone tell, and how they lie in the calendar within its listing."""
    positions = calendar.to_frame().lazy().with_row_index("position")
    # A window of repeated closes is found at its last bar, then every bar it holds is stale.
    ends_window = pl.all_horizontal(pl.col("same").shift(n, fill_value=False) for n in range(STALE_RUN - 1))
    stale = pl.any_horizontal(pl.col("ends_window").shift(-n, fill_value=False) for n in range(STALE_RUN))
    inside = (pl.col("date") >= pl.col("listed_on")).fill_null(True) & (
        pl.col("date") <= pl.col("delisted_on")
    ).fill_null(True)
    placed = (
        bars.with_columns(ends_window.alias("ends_window"))
        .with_columns(stale.alias("stale"))
        .join(positions, on="date", how="left", maintain_order="left")
        .join(listed.lazy(), on="symbol", how="left", maintain_order="left")
        .with_columns(pl.when(inside).then(pl.col("position").cast(pl.Int32)).alias("position"))
        .with_columns(pl.col("position").forward_fill().shift(1).over("symbol").alias("position_before"))
    )
    return placed.group_by("symbol").agg(
        pl.col("date").min().alias("first_session"),
        pl.col("date").max().alias("last_session"),
        pl.len().alias("sessions"),
        pl.col("position").count().alias("covered"),
        pl.col("position").min().alias("first_position"),
        pl.col("position").max().alias("last_position"),
        (pl.col("position") - pl.col("position_before") - 1).max().alias("inner_gap"),
        pl.col("stale").sum().alias("stale_days"),
        (pl.col("volume") == 0).sum().alias("zero_volume_days"),
        exceeds(pl.col("moved").abs(), largest_move).sum().alias("suspicious_jumps"),
        pl.col("close").max_by("date").alias("last_close"),
        ordered_sum(pl.col("log_return")).alias("log_total"),
        ordered_deviation(pl.col("log_return")).alias("deviation"),
        ordered_mean(pl.col("close") * pl.col("volume")).alias("dollar_volume"),
    )


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
