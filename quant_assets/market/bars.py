"""The daily bar: columns of the as-traded table, and the hash of what a table says.

Every table of daily bars has `DAILY_SCHEMA`, sorted by (symbol, date). Prices are as traded, in the
currency named on the row; `date` is the session in the exchange's own zone; `fetched_at` is UTC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
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


def day_numbers(dates: pl.Series) -> npt.NDArray[np.int32]:
    """Days since 1970 of dates, none of them null."""
    # A cast is made at once; `to_physical` builds and runs a query, which takes many times as long.
    return dates.cast(pl.Int32).to_numpy()


class DayTable:
    """A set of days (as `day_numbers`), to look many others up in: a flag for each day from its `first` to its `last`
    (0 and -1 where it has none)."""

    def __init__(self, days: npt.NDArray[np.int32]) -> None:
        import numpy as np

        self.first, self.last = (int(days.min()), int(days.max())) if days.size else (0, -1)
        # The flags at both ends say of every day beyond that it is not there.
        self._there = np.zeros(self.last - self.first + 3, dtype=bool)
        self._there[days - (self.first - 1)] = True

    def holds(self, days: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Which of some days it has."""
        return self._there.take(days - (self.first - 1), mode="clip")


def empty_daily() -> pl.DataFrame:
    """No rows, with `DAILY_SCHEMA`."""
    return _no_bars().clone()


@cache
def _no_bars() -> pl.DataFrame:
    # To make a frame takes far longer than to clone one.
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
