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


def together(parts: Sequence[Runs]) -> pl.DataFrame:
    """The rows of parts (one at least, with the same columns) that follow one another in time, by symbol and date.

    Parts that do not are sorted.
    """
    parts = [part for part in parts if part.symbols] or list(parts[:1])
    symbols = [name for part in parts for name in part.symbols]
    counts = np.concatenate([part.counts for part in parts])
    names = sorted(set(symbols))
    number = {name: at for at, name in enumerate(names)}
    codes = np.fromiter((number[name] for name in symbols), np.uint32, len(symbols))
    order = np.argsort(codes, kind="stable")
    rests = [part.rest for part in parts]
    of_symbol = np.repeat(codes[order], counts[order])
    if not (order[1:] > order[:-1]).all():
        whole = _named(_placed(rests, _places(counts, order)), names, of_symbol)
    elif len(parts) == 1:
        whole = parts[0].frame()
    else:
        whole = _named(pl.concat(rests).rechunk(), names, of_symbol)
    return whole if _ascending(whole["date"], of_symbol) else whole.sort(KEYS)


def _named(rest: pl.DataFrame, names: Sequence[str], numbers: Any) -> pl.DataFrame:
    """A frame with the column `symbol` before it: per row the number of its name."""
    symbols = pl.Series("symbol", names, dtype=pl.String).gather(pl.Series(numbers))
    return pl.DataFrame([symbols, *rest.get_columns()])


def _places(counts: Any, order: Any) -> Any:
    """Where each row goes when runs of so many rows are taken in an order."""
    starts: Any = np.empty(len(counts), dtype=np.int64)
    starts[order] = np.cumsum(counts[order]) - counts[order]
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(starts - before, counts)


def _placed(rests: Sequence[pl.DataFrame], places: Any) -> pl.DataFrame:
    """The rows of the rests, each put in its place; a column after the other."""
    if not len(places):
        return rests[0].clear()

    def column(name: str) -> pl.Series:
        return _column([rest[name] for rest in rests], places)

    names = rests[0].columns
    if len(places) < _MANY_ROWS:
        return pl.DataFrame([column(name) for name in names])
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="columns") as pool:
        return pl.DataFrame(list(pool.map(column, names)))


def _column(pieces: Sequence[pl.Series], places: Any) -> pl.Series:
    name, dtype = pieces[0].name, pieces[0].dtype
    if not dtype.is_numeric() and not dtype.is_temporal():
        texts = pl.concat(pieces)
        if texts.null_count() == 0 and (texts == texts[0]).all():
            return texts.new_from_index(0, len(texts))
        return _taken(texts, places)
    if any(piece.null_count() for piece in pieces):
        return _taken(pl.concat(pieces), places)
    values = np.empty(len(places), dtype=pieces[0].to_physical().to_numpy().dtype)
    at = 0
    for piece in pieces:
        values[places[at : at + len(piece)]] = piece.to_physical().to_numpy()
        at += len(piece)
    return pl.Series(name, values).cast(dtype)


def _taken(column: pl.Series, places: Any) -> pl.Series:
    source = np.empty(len(places), dtype=np.uint32)
    source[places] = np.arange(len(places), dtype=np.uint32)
    return column.rechunk().gather(pl.Series(source))


def _ascending(dates: pl.Series, of_symbol: Any) -> bool:
    """Whether within each symbol every date is later than the one before."""
    days = dates.to_physical().to_numpy()
    back = days[1:] <= days[:-1]
    return not (back & (of_symbol[1:] == of_symbol[:-1])).any()
