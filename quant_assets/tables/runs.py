"""Rows that lie by symbol, put together from several times without sorting them anew.

A year's object is sorted by (symbol, date), and years follow one another: where a symbol's rows go in the whole is
known from how many it has in each year.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Self

import numpy as np
import polars as pl

from quant_assets.market.bars import KEYS

_MANY_ROWS = 250_000
"""Rows from which on columns are put in place by several threads."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows of one time: those of the first of `symbols`, `counts[0]` of them, then those of the second.

    `symbols` may be in any order, also repeated. `rest` holds all columns but the symbol.
    """

    symbols: list[str]
    counts: Any
    rest: pl.DataFrame
    names: pl.Series | None = None
    """The column of symbols, where there is one already."""

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Self:
        """A frame with a column `symbol`."""
        lengths = frame["symbol"].rle().struct.unnest()
        counts = lengths["len"].to_numpy().astype(np.int64)
        return cls(lengths["value"].to_list(), counts, frame.drop("symbol"), frame["symbol"])

    def conformed(self, schema: pl.Schema) -> Self:
        """The rows with exactly the columns and types of a schema that begins with the symbol."""
        wanted = pl.Schema({name: dtype for name, dtype in schema.items() if name != "symbol"})
        if self.rest.schema == wanted:
            return self
        return replace(
            self, rest=self.rest.select(pl.col(name).cast(dtype) for name, dtype in wanted.items())
        )

    def between(self, first: date, last: date) -> Runs:
        """The rows of the days first..last (inclusive)."""
        inside = self.rest["date"].is_between(first, last)
        if not len(self.counts) or inside.all():
            return self
        counts = np.add.reduceat(inside.to_numpy(), np.cumsum(self.counts) - self.counts, dtype=np.int64)
        return Runs(self.symbols, counts, self.rest.filter(inside))

    def frame(self) -> pl.DataFrame:
        """The rows as they lie, the column `symbol` first."""
        if self.names is not None:
            return pl.DataFrame([self.names, *self.rest.get_columns()])
        numbers = np.repeat(np.arange(len(self.symbols), dtype=np.uint32), self.counts)
        return _named(self.rest, self.symbols, numbers)


def together(found: list[Runs]) -> pl.DataFrame:
    """The rows of parts (one at least, with the same columns) that follow one another in time, by symbol and date.

    Parts that do not are sorted. The list is emptied: a column that nobody else holds is gone as soon as it is put in
    its place, so that the rows are never all there twice.
    """
    parts = [part for part in found if part.symbols] or found[:1]
    found.clear()
    symbols = [name for part in parts for name in part.symbols]
    counts = np.concatenate([part.counts for part in parts])
    names = sorted(set(symbols))
    number = {name: at for at, name in enumerate(names)}
    codes = np.fromiter((number[name] for name in symbols), np.uint32, len(symbols))
    order = np.argsort(codes, kind="stable")
    of_symbol = np.repeat(codes[order], counts[order])
    if not (order[1:] > order[:-1]).all():
        columns = {name: [part.rest[name] for part in parts] for name in parts[0].rest.columns}
        parts.clear()
        whole = _named(_taken(columns, _sources(counts, order)), names, of_symbol)
    elif len(parts) == 1:
        whole = parts[0].frame()
    else:
        whole = _named(pl.concat(part.rest for part in parts).rechunk(), names, of_symbol)
    return whole if _ascending(whole["date"], of_symbol) else whole.sort(KEYS)


def _named(rest: pl.DataFrame, names: Sequence[str], numbers: Any) -> pl.DataFrame:
    """A frame with the column `symbol` before it: per row the number of its name."""
    symbols = pl.Series("symbol", names, dtype=pl.String).gather(pl.Series(numbers))
    return pl.DataFrame([symbols, *rest.get_columns()])


def _sources(counts: Any, order: Any) -> Any:
    """Per row the number that it had, when runs of so many rows are taken in an order."""
    before, lengths = np.cumsum(counts) - counts, counts[order]
    shift = before[order] - (np.cumsum(lengths) - lengths)
    return (np.arange(int(counts.sum())) + np.repeat(shift, lengths)).astype(np.uint32)


def _taken(columns: dict[str, list[pl.Series]], sources: Any) -> pl.DataFrame:
    """Rows by the numbers that they have in `columns`, out of which each column is taken when it is its turn."""
    numbers = pl.Series(sources)

    def column(name: str) -> pl.Series:
        return pl.concat(columns.pop(name), rechunk=True).gather(numbers)

    names = list(columns)
    if len(numbers) < _MANY_ROWS:
        return pl.DataFrame([column(name) for name in names])
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="columns") as pool:
        return pl.DataFrame(list(pool.map(column, names)))


def _ascending(dates: pl.Series, of_symbol: Any) -> bool:
    """Whether within each symbol every date is later than the one before."""
    days = dates.to_physical().to_numpy()
    back = days[1:] <= days[:-1]
    return not (back & (of_symbol[1:] == of_symbol[:-1])).any()
