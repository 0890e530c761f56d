"""The as-traded rows that a read of prices rests on, in batches of symbols where they are many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, empty_daily
from quant_assets.market.corporate_actions import Adjust
from quant_assets.reader.arguments import By, Wanted, known_exchange
from quant_assets.reader.lazy import Pushed
from quant_assets.reader.snapshots import Used
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import load_settings
from quant_assets.tables.catalog_reads import (
    ByExchange,
    ReadCatalog,
    exchanges_of,
    read_by_catalog,
    read_catalog,
)
from quant_assets.tables.company_reads import changes_of, exchanges_of_ids, prices_of_companies
from quant_assets.tables.daily import read_daily
from quant_assets.tables.price_warnings import (
    warn_of_absent_sessions,
    warn_of_days_never_asked,
    warn_of_nothing_known,
)

BATCH_ROWS = 500_000
"""About so many rows of many symbols are read at once: some 150 MB with what is made of them."""
AT_ONCE = 3
"""So many batches are read in one go where there are no more: reading in parts takes longer."""
_YEARS, _SESSIONS = 30, 252
"""How long a series is taken to be where no range says it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which as-traded rows a read of prices rests on."""

    wanted: Wanted
    first: date | None
    last: date | None
    adjust: Adjust
    moment: datetime | None
    by: By

    @property
    def told(self) -> str:
        """In a line, for a query's plan."""
        names = self.wanted.names
        which = self.wanted.universe or ("" if names is None else "of a query")
        if isinstance(names, tuple):
            which = " ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        days = f"{self.first or '…'} to {self.last or '…'}" if self.first or self.last else "all days"
        return f"{which or 'all symbols'}, {days}, adjust={self.adjust}"

    def parameters(self, pushed: Pushed) -> dict[str, object]:
        """As an API takes them, the symbols left out."""
        begin, end = pushed.days("date")
        return {
            "start": max((day for day in (self.first, begin) if day is not None), default=None),
            "end": min((day for day in (self.last, end) if day is not None), default=None),
            "adjust": self.adjust,
            "as_of": None if self.moment is None else self.moment.isoformat().replace("+00:00", "Z"),
            "by": self.by,
        }

    def used(self, store: ObjectStore, pushed: Pushed) -> Used:
        """The rows at once, however many they are."""
        if self.by == "company":
            return self._of_companies(store, pushed)
        (used,) = self.batches(store, pushed, most=None)
        return used

    def batches(self, store: ObjectStore, pushed: Pushed, most: int | None) -> Iterator[Used]:
        """The rows by symbol: those of so many symbols at once that they are about `most`; at least one batch."""
        first, until = self._range(pushed)
        columns = self._columns(pushed)

        def choose(catalog: ReadCatalog) -> ByExchange:
            listed = self.wanted.by_exchange(store, catalog).items()
            if first is not None and until is not None and first > until:
                return {}
            return {code: kept for code, names in listed if (kept := pushed.symbols(code, names))}

        def read(some: ByExchange) -> list[pl.DataFrame]:
            return [
                read_daily(store, code, first, until, symbols=names, as_of=self.moment, columns=columns)
                for code, names in some.items()
            ]

        def read_first(chosen: ByExchange) -> tuple[ByExchange, list[pl.DataFrame]]:
            each, count = self._longest(first, until), sum(map(len, chosen.values()))
            if most is None or each * count <= AT_ONCE * most:
                return chosen, read(chosen)
            some = _some(chosen, 0, most // each)
            return some, read(some)

        catalog, chosen, (some, frames) = read_by_catalog(store, choose, read_first)
        if self.adjust != "none":
            for code in chosen:
                warn_of_absent_sessions(store, code, known_exchange(code), first)
        done = symbols = 0
        total = sum(map(len, chosen.values()))
        while True:
            for (code, names), rows in zip(some.items(), frames, strict=True):
                if rows.is_empty() and self.moment is not None:
                    warn_of_nothing_known(store, code, names, self.moment)
                elif rows.is_empty() and not done:
                    warn_of_days_never_asked(store, code, first, until, load_settings().clock().date())
            changes, known = changes_of(store, some, catalog.shared, self.moment)
            used = Used(_together(some, frames, pushed), changes, known)
            yield used
            symbols += sum(map(len, some.values()))
            if symbols >= total or most is None:
                return
            done += used.rows.height
            some = _some(chosen, symbols, most * symbols // max(done, 1))
            frames = read(some)

    def _of_companies(self, store: ObjectStore, pushed: Pushed) -> Used:
        """Of companies nothing but the days is narrowed: a filter on the symbol is none on the company."""
        first, until = self._range(pushed)
        catalog = read_catalog(store)
        listed = self.wanted.listed()
        if listed is None:
            by_exchange = self.wanted.by_exchange(store, catalog)
        else:
            of_ids = exchanges_of_ids(
                store, catalog, [name for name in listed if catalog.spelled(name) is None]
            )
            by_exchange = exchanges_of(catalog, (name for name in listed if name not in of_ids))
            for id_, code in of_ids.items():
                by_exchange.setdefault(code, []).append(id_)
        if self.adjust != "none":
            for code in by_exchange:
                warn_of_absent_sessions(store, code, known_exchange(code), first)
        return Used(*prices_of_companies(store, by_exchange, first, until, self.moment))

    def _range(self, pushed: Pushed) -> tuple[date | None, date | None]:
        """The days to read. Adjusting a row takes the rows after it, none before: only the end is cut later."""
        begin, end = pushed.days("date")
        first = max((day for day in (self.first, begin) if day is not None), default=None)
        if self.adjust != "none":
            return first, None
        return first, min((day for day in (self.last, end) if day is not None), default=None)

    def _columns(self, pushed: Pushed) -> list[str] | None:
        """The columns to read: those of the query, and what adjusting takes; None: all."""
        if pushed.columns is None:
            return None
        needed = {*pushed.columns, *KEYS}
        if self.adjust != "none":
            needed.add("split_ratio")
        if self.adjust == "total_return":
            needed |= {"dividend", "close"}
        return [name for name in DAILY_SCHEMA if name in needed]

    def _longest(self, first: date | None, until: date | None) -> int:
        """Rows that a symbol may have."""
        if first is None:
            return _YEARS * _SESSIONS
        days = ((until or datetime.now(UTC).date()) - first).days + 1
        return max(1, min(_YEARS * _SESSIONS, days * _SESSIONS // 365 + 1))


def _some(chosen: ByExchange, first: int, count: int) -> ByExchange:
    """`count` symbols, one at least, in their order from the `first` of all on."""
    if first == 0 and count >= sum(map(len, chosen.values())):
        return chosen
    ordered = sorted((name, code) for code, names in chosen.items() for name in names)
    some: ByExchange = {}
    for name, code in ordered[first : first + max(1, count)]:
        some.setdefault(code, []).append(name)
    return some


def _together(some: ByExchange, frames: Sequence[pl.DataFrame], pushed: Pushed) -> pl.DataFrame:
    """The rows of exchanges by symbol and date, each with its exchange where that is needed."""
    if pushed.needs("exchange"):
        frames = [
            rows.hstack([pl.Series("exchange", [code]).new_from_index(0, rows.height)])
            for code, rows in zip(some, frames, strict=True)
        ]
    if not frames:
        return empty_daily().with_columns(exchange=pl.lit(None, pl.String))
    return pl.concat(frames).sort(KEYS) if len(frames) > 1 else frames[0]
