"""Reads that wait for what is done with them: polars hands down the columns and the filters of a query.

Of the parts of a filter that all must hold, those that speak of the symbol or exchange alone narrow what is looked
for, those of the date alone the days. Each is tried on the symbols and days there are, whatever its form (==, is_in,
is_between, str.starts_with, …). What cannot narrow is applied to the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import polars as pl
from polars.io.plugins import register_io_source

from quant_assets.tables.user_warnings import here

_FIRST, _LAST = date(1900, 1, 1), date(2100, 12, 31)
"""Days on which a filter is tried; what passes on the first or the last of them is not bounded there."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What of a query is known where the rows are read."""

    columns: frozenset[str] | None = None
    """The columns that the query uses, those of its filter included; None: all."""
    filters: tuple[pl.Expr, ...] = ()
    """What must hold of each row."""

    def needs(self, column: str) -> bool:
        return self.columns is None or column in self.columns

    def of(self, *columns: str) -> list[pl.Expr]:
        """The filters that speak of these columns alone."""
        named = [(one, set(one.meta.root_names())) for one in self.filters]
        return [one for one, names in named if names and names.issubset(columns)]

    def days(self, column: str) -> tuple[date | None, date | None]:
        """The first and the last day that can pass; the first after the last where none can."""
        filters = self.of(column)
        if not filters:
            return None, None
        passed = _passed(_days().rename({"date": column}), filters)[column]
        if passed.is_empty():
            return _LAST, _FIRST
        first, last = passed[0], passed[-1]
        return (None if first == _FIRST else first), (None if last == _LAST else last)

    def symbols(self, exchange: str, symbols: list[str]) -> list[str]:
        """Those of an exchange's symbols that can pass."""
        filters = self.of("symbol", "exchange")
        if not filters or not symbols:
            return symbols
        there = pl.DataFrame({"symbol": symbols}).with_columns(exchange=pl.lit(exchange))
        return _passed(there, filters)["symbol"].to_list()

    def exchange(self, code: str) -> bool:
        """Whether an exchange can pass."""
        filters = self.of("exchange")
        return not filters or _passed(pl.DataFrame({"exchange": [code]}), filters).height > 0


def _passed(rows: pl.DataFrame, filters: Iterable[pl.Expr]) -> pl.DataFrame:
    for one in filters:
        try:
            rows = rows.filter(one)
        except pl.exceptions.PolarsError:
            # What is wrong with it is told where it meets the rows.
            continue
    return rows


@lru_cache(maxsize=1)
def _days() -> pl.DataFrame:
    return pl.DataFrame({"date": pl.date_range(_FIRST, _LAST, timedelta(days=1), eager=True)})


def conjuncts(predicate: pl.Expr) -> Iterator[pl.Expr]:
    """The parts of a filter that all must hold."""
    inputs = predicate.meta.pop()
    if len(inputs) == 2:
        left, right = inputs[1], inputs[0]
        if (left & right).meta.eq(predicate):
            yield from conjuncts(left)
            yield from conjuncts(right)
            return
        if (right & left).meta.eq(predicate):
            yield from conjuncts(right)
            yield from conjuncts(left)
            return
    yield predicate


def _within(context: Context, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    rest, own = iter(frames), context.copy()
    while (frame := own.run(next, rest, None)) is not None:
        yield frame


def lazily(
    name: str, schema: pl.Schema, read: Callable[[Pushed], Iterable[pl.DataFrame]], detail: str | None = None
) -> pl.LazyFrame:
    """A query whose rows are read when it is collected.

    Args:
        name, detail: what `explain` shows of it.
        schema: of all that `read` can give.
        read: gives frames with the columns that are pushed down, at least; more rows than pass are cut here.
    """

    context = here()

    def frames(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        names = list(schema) if columns is None else columns
        filters = () if predicate is None else tuple(conjuncts(predicate))
        used = (
            None if columns is None else frozenset(names).union(*(one.meta.root_names() for one in filters))
        )
        left = n_rows
        nothing = True
        for frame in _within(context, read(Pushed(used, filters))):
            rows = frame if predicate is None else frame.filter(predicate)
            rows = rows.select(names) if rows.columns != names else rows
            if left is not None:
                rows = rows.head(left)
                left -= rows.height
            nothing = False
            yield rows
            if left == 0:
                return
        if nothing:
            yield pl.DataFrame(schema={name: schema[name] for name in names})

    return register_io_source(
        frames, schema=schema, validate_schema=True, explain_name=name, explain_detail=detail
    )
