"""The stored rows of the cells that a run compares its answers with."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from datetime import date, timedelta

import polars as pl

from quant_assets.ingest.plan import Plan
from quant_assets.market.bars import empty_daily
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound, ObjectStore, get_many
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.parquet import decode

_CELLS_READ_SINGLY = 64
"""Up to so many sessions their cells are read; more are quicker read from the history and the cells newer than it."""
_FEW_SYMBOLS = 200
"""Up to so many symbols a history is read in ranges instead of whole."""
_A_YEAR = 420
"""Calendar days in which a yearly dividend comes again."""
_WITNESSES = 30
"""The latest stored sessions of a plan that bear witness when an answer is judged."""


class StoredRows:
    """Rows as they were stored when they were first read: what an answer is judged by is what it is compared with."""

    def __init__(self, store: ObjectStore, exchange: str, plan: Plan) -> None:
        self._store, self._exchange = store, exchange
        self._wanted = plan.wanted
        self.days = sorted(
            day for day in {*plan.wanted, *plan.look_back} if day in plan.stored and plan.stored[day].version
        )
        """The sessions of the plan that have a cell, in order."""
        self.notes: list[str] = []
        """What was wrong with cells that could not be read."""
        self._read: dict[tuple[date, ...], tuple[frozenset[str], pl.DataFrame]] = {}
        self._paid: dict[str, pl.DataFrame] | None = None

    def rows(self, days: Sequence[date], symbols: Collection[str]) -> pl.DataFrame:
        """The stored rows (DAILY_SCHEMA) of some symbols on some days. Raises ObjectDamaged, StoreUnavailable."""
        if not days or not symbols:
            return empty_daily()
        known, rows = self._read.get(tuple(days), (frozenset[str](), empty_daily()))
        if not known.issuperset(symbols):
            rows = self._rows(days, sorted(symbols))
            if len(days) <= _WITNESSES:
                self._read[tuple(days)] = frozenset(symbols), rows
        return rows.filter(pl.col("symbol").is_in(sorted(symbols)))

    def witnesses(self, symbols: Collection[str]) -> dict[str, pl.DataFrame]:
        """By symbol the stored rows of the plan's latest sessions."""
        if not self.days:
            return {}
        last = self.days[-_WITNESSES:]
        of_years = [[day for day in last if day.year == year] for year in sorted({day.year for day in last})]
        rows = pl.concat([self.rows(days, symbols) for days in of_years])
        parts = rows.sort("symbol", "date").partition_by("symbol", as_dict=True, maintain_order=True)
        return {str(symbol): part for (symbol,), part in parts.items()}

    def dividends(self, symbol: str, before: date) -> pl.DataFrame:
        """The symbol's stored rows with a dividend in the year through a day. Raises StoreUnavailable."""
        if self._paid is None:
            parts = self._dividends().sort("date").partition_by("symbol", as_dict=True)
            self._paid = {str(name): part for (name,), part in parts.items()}
        if (paid := self._paid.get(symbol)) is None:
            return empty_daily()
        first = bisect_left(paid["date"], before - timedelta(days=_A_YEAR))
        return paid.slice(first, bisect_right(paid["date"], before) - first)

    def _dividends(self) -> pl.DataFrame:
        """The rows with a dividend of the plan's symbols since a year before the witnesses, read once for all."""
        last = self.days[-_WITNESSES:]
        if not last:
            return empty_daily()
        first = last[0] - timedelta(days=_A_YEAR)
        symbols = self._wanted.symbols()
        few = sorted(symbols) if len(symbols) <= _FEW_SYMBOLS else None
        found = [empty_daily()]
        # Year by year: few of the rows have a dividend, and only those are kept.
        for year in range(first.year, last[-1].year + 1):
            begin, end = max(first, date(year, 1, 1)), min(last[-1], date(year, 12, 31))
            try:
                rows = read_daily(self._store, self._exchange, begin, end, symbols=few)
            except (ObjectDamaged, ObjectNotFound) as error:
                self.notes.append(str(error))
                continue
            found.append(rows.filter(pl.col("dividend") > 0))
        return pl.concat(found)

    def _rows(self, days: Sequence[date], symbols: list[str]) -> pl.DataFrame:
        few = symbols if len(symbols) <= _FEW_SYMBOLS else None
        rows: pl.DataFrame | None = None
        many = len(days) > _CELLS_READ_SINGLY
        if many or (few is not None and len(days) > 2):
            # Of few symbols the history gives the rows in two short reads.
            try:
                rows = read_daily(self._store, self._exchange, days[0], days[-1], symbols=few)
            except ObjectNotFound:
                # A cell between them has been removed, and nobody has asked for its day since.
                pass
            except ObjectDamaged:
                if many:
                    raise
                # It is found below, by name.
        if rows is None:
            rows = pl.concat([empty_daily(), *self._cells(days)])
        return rows.filter(pl.col("symbol").is_in(symbols), pl.col("date").is_in(list(days)))

    def _cells(self, days: Sequence[date]) -> Iterator[pl.DataFrame]:
        """The cells of some days. A damaged one can be compared with nothing; the run names it."""
        keys = [object_key(DAILY, self._exchange, day.isoformat()) for day in days]
        for key, blob in get_many(self._store, keys):
            try:
                if isinstance(blob, Exception):
                    raise blob
                yield decode(blob.data, self._store.uri(key))
            except ObjectNotFound:
                continue
            except ObjectDamaged as error:
                self.notes.append(str(error))
