"""The daily bar: columns of the as-traded table, and the clean-up of served numbers.

Every table of daily bars has `DAILY_SCHEMA`, sorted by (symbol, date). Prices are as traded, in the
currency named on the row; `date` is the session in the exchange's own zone; `fetched_at` is UTC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PRICES = ("open", "high", "low", "close")
ACTIONS = ("dividend", "split_ratio")
KEYS = ("symbol", "date")

DAILY_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "date": pl.Date(),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Int64(),
        "dividend": pl.Float64(),
        "split_ratio": pl.Float64(),
        "currency": pl.String(),
        "flags": pl.String(),
        "fetched_at": pl.Datetime("us", "UTC"),
    }
)
"""`dividend` is per share as declared (0.0 where none, null where it is in doubt), `split_ratio` new shares per old
(1.0 where none), `flags` what is odd about the row (`market.flags`; "" where nothing is).

A row whose prices are null and whose volume is 0 carries an action with an ex-date but no bar. Beside a bar a null
volume is one that nobody knows.
"""

ANSWER_SCHEMA = pl.Schema({**DAILY_SCHEMA, "scale": pl.Float64()})
"""Daily bars as a source has just answered them: `scale` is the S(t) by which the served numbers were multiplied."""

VALUES = ("open", "high", "low", "close", "volume", "dividend", "split_ratio", "currency")
"""The columns that say what was traded: all but the key, `fetched_at`, and `flags`, which are remarks."""

_SILENT = {"flags": ""}
"""Columns that tables of earlier releases do not have, and what they hold there: as much as they said without."""
_BEFORE_FLAGS = frozenset(DAILY_SCHEMA) - _SILENT.keys()

MAX_DECIMALS = 4
_SURE_DECIMALS = ((800, 3), (8_000, 2), (80_000, 1), (800_000, 0))


def empty_daily() -> pl.DataFrame:
    """No rows, with `DAILY_SCHEMA`."""
    return pl.DataFrame(schema=DAILY_SCHEMA)


def with_flags(rows: pl.DataFrame) -> pl.DataFrame:
    """Daily bars (their columns and more) that an earlier release wrote, with the column `flags`: "", and in its
    place before `fetched_at`. Every other frame as it is."""
    if "flags" in rows.columns or not _BEFORE_FLAGS.issubset(rows.columns):
        return rows
    at = rows.get_column_index("fetched_at")
    return rows.with_columns(flags=pl.lit(_SILENT["flags"])).select(
        *rows.columns[:at], "flags", *rows.columns[at:]
    )


def conform_daily(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with exactly the columns and types of `DAILY_SCHEMA`, sorted by (symbol, date).

    Raises polars' own errors when a column is missing or cannot be cast.
    """
    return conform(rows, DAILY_SCHEMA)


def conform(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """`rows` with exactly the columns and types of `schema`, sorted by (symbol, date)."""
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items()).sort(KEYS)


def shortest_float32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The shortest decimals whose float32 is each value, as float64: 189.3300018310547 becomes 189.33.

    Yahoo serves float32 prices widened to double, so this takes back the widening and loses nothing.
    A value that is no widened float32 is kept as it is. Shape and nulls (NaN) are kept.
    """
    import numpy as np  # numpy is slow to import, and loading the definitions must not pay for it

    narrow = values.astype(np.float32)
    cleaned = values.copy()
    open_ = narrow.astype(np.float64) == values
    # Printing each float is slow, so the fewest decimals are found by trying; few values need more than six.
    for decimals in range(7):
        rounded = np.round(values, decimals)
        hit = open_ & (rounded.astype(np.float32) == narrow)
        cleaned[hit] = rounded[hit]
        open_ &= ~hit
    if open_.any():
        cleaned[open_] = narrow[open_].astype(np.str_).astype(np.float64)
    return cleaned


def round_to_tick(price: pl.Expr) -> pl.Expr:
    """`price` rounded to the decimals that can be trusted of one recovered from float32: 4 at most.

    A float32 is off by up to 2**-24 of the price, so 4 decimals are sure below 838.86 and each digit more takes one
    away; the limits used here are a little below that.
    """
    rounded = price.round(MAX_DECIMALS, mode="half_away_from_zero")
    for floor, decimals in _SURE_DECIMALS:
        fewer = price.round(decimals, mode="half_away_from_zero")
        rounded = pl.when(price >= floor).then(fewer).otherwise(rounded)
    return rounded


def tick(price: pl.Expr) -> pl.Expr:
    """The unit of the last decimal that `round_to_tick` keeps of a price: 0.0001, more for large ones."""
    unit = pl.lit(10.0**-MAX_DECIMALS)
    for floor, decimals in _SURE_DECIMALS:
        unit = pl.when(price >= floor).then(10.0**-decimals).otherwise(unit)
    return unit


def content_sha256(frame: pl.DataFrame, *, leave_out: Iterable[str] = ("fetched_at",)) -> str:
    """Hash of what a table says, whatever its file's bytes: names, types, nulls and values in row order.

    `leave_out` names columns that do not count (when a row became known is not what it says). A column `flags`
    without any flag does not count either: so a table has the hash that it had before there was that column.
    """
    import numpy as np

    skipped = {*leave_out, *(name for name, said in _SILENT.items() if _says_only(frame, name, said))}
    digest = hashlib.sha256()
    for column in frame.get_columns():
        if column.name in skipped:
            continue
        digest.update(f"{column.name}:{column.dtype}:{len(column)};".encode())
        # Most columns have no nulls, and most of the time would go into looking for them.
        if column.null_count():
            digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
        else:
            digest.update(bytes((len(column) + 7) // 8))
        if column.dtype == pl.String:
            texts = column.fill_null("") if column.null_count() else column
            digest.update(np.ascontiguousarray(texts.str.len_bytes().to_numpy()).tobytes())
            digest.update("".join(texts.to_list()).encode())
        elif column.dtype.is_nested():
            digest.update(repr(column.to_list()).encode())
        else:
            values = column.to_physical()
            values = values.fill_null(0) if column.null_count() else values
            digest.update(np.ascontiguousarray(values.to_numpy()).tobytes())
    return digest.hexdigest()


def _says_only(frame: pl.DataFrame, name: str, text: str) -> bool:
    return name in frame.columns and frame[name].eq_missing(text).all()
