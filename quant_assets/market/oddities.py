"""What is odd about served bars, found and flagged (`market.flags`): what a thin market gives is stored as it is.

London's auctions print outside the order book's range, and on a day without a trade a source gives mid prices: an
open or a close beyond high and low is no contradiction there, and no reason to refuse a bar. High and low are stored
as served too, so that whoever wants an envelope widens it when reading (`widened`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import polars as pl

from quant_assets.market.flags import (
    CLOSE_OUTSIDE_RANGE,
    DIVIDEND_HELD,
    FLAGS,
    NO_TRADE,
    NONE,
    OPEN_OUTSIDE_RANGE,
    ROUNDING,
    STALE_PRICE,
    VOLUME_UNKNOWN,
    from_conditions,
    joined,
)

Envelope = Literal["as_served", "widened"]
"""How high and low are read: as the source gives them, or widened to include open and close."""

STALE_RUN = 5
"""Equal closes in a row from which on a price counts as stale."""

_STEP = 2.0**-22
"""Of a price: how far apart the shortest decimals of two neighbouring float32 can lie."""

_open, _high, _low, _close = pl.col("open"), pl.col("high"), pl.col("low"), pl.col("close")
_bar = _close.is_not_null()
_outside = (_open > _high) | (_close > _high) | (_open < _low) | (_close < _low)


def with_oddities(rows: pl.DataFrame) -> pl.DataFrame:
    """One symbol's rows (at least the columns of DAILY_SCHEMA), by date, with the flags that they deserve.

    A high that open or close exceed by a step of float32 was rounded, and is widened to them, as is such a low; all
    other values stay as they are, whatever is odd about them. Flags that rows have already are kept.

    `stale_price` is said from the `STALE_RUN`-th bar of a run on, so that it depends on nothing that comes later.
    """
    # Most answers have nothing odd, and to see that is quick.
    if _is_plain(rows):
        return rows
    odd = rows.select(
        _outside.any().alias("outside"),
        ((pl.col("volume") == 0) & _bar).any().alias("quiet"),
        (pl.col("volume").is_null() | pl.col("dividend").is_null()).any().alias("unknown"),
    ).row(0, named=True)
    if not any(odd.values()):
        return rows
    if odd["outside"]:
        rows = rows.with_columns(
            pl.max_horizontal(_high, *(_within_a_step(p, p - _high) for p in (_open, _close))).alias(
                "_wide_high"
            ),
            pl.min_horizontal(_low, *(_within_a_step(p, _low - p) for p in (_open, _close))).alias(
                "_wide_low"
            ),
        )
    else:
        rows = rows.with_columns(_wide_high="high", _wide_low="low")
    high, low = pl.col("_wide_high"), pl.col("_wide_low")
    quiet = (pl.col("volume") == 0) & _bar
    again = quiet & quiet.shift(1) & (_close == _close.shift(1)) & (pl.col("split_ratio") == 1.0)
    found: Mapping[str, pl.Expr] = {
        OPEN_OUTSIDE_RANGE: (_open > high) | (_open < low),
        CLOSE_OUTSIDE_RANGE: (_close > high) | (_close < low),
        ROUNDING: (high != _high) | (low != _low),
        NO_TRADE: quiet,
        STALE_PRICE: pl.all_horizontal(
            again.fill_null(False).shift(n, fill_value=False) for n in range(STALE_RUN - 1)
        ),
        VOLUME_UNKNOWN: pl.col("volume").is_null() & _bar,
        DIVIDEND_HELD: pl.col("dividend").is_null(),
    }
    flags = from_conditions(found)
    if (rows[FLAGS] != NONE).any():
        flags = joined(pl.col(FLAGS), flags)
    return rows.with_columns(high.alias("high"), low.alias("low"), flags.alias(FLAGS)).drop(
        "_wide_high", "_wide_low"
    )


def _is_plain(rows: pl.DataFrame) -> bool:
    """Whether all rows are whole bars that were traded, with open and close inside their range."""
    columns = [rows[name] for name in ("open", "high", "low", "close", "volume", "dividend")]
    if any(column.null_count() for column in columns):
        return False
    open_, high, low, close, volume, _ = (column.to_numpy() for column in columns)
    # Of what is no number none of this is so.
    bounds = ((open_, high), (close, high), (low, open_), (low, close))
    return bool(volume.all()) and all(bool((one <= other).all()) for one, other in bounds)


def _within_a_step(price: pl.Expr, beyond: pl.Expr) -> pl.Expr:
    """The price where it is not beyond a bound by more than a step, else null."""
    return pl.when(beyond <= price * _STEP).then(price)


def widened() -> list[pl.Expr]:
    """`high` and `low` of daily bars, widened to include open and close."""
    return [
        pl.max_horizontal("high", "open", "close").alias("high"),
        pl.min_horizontal("low", "open", "close").alias("low"),
    ]
