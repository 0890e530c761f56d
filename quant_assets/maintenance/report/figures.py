"""What the report page says of an exchange: frames and numbers, read of the store once. Nothing here draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.maintenance.freshness import Freshness, freshness
from quant_assets.maintenance.inventory import worst_holes
from quant_assets.maintenance.store_figures import Size, StoreFigures, StoreWatch
from quant_assets.market.inventory import (
    CELLS_SCHEMA,
    by_month,
    bytes_a_year,
    growth,
    stored_by_month,
    totals,
)
from quant_assets.market.profiles import SYMBOL_PROFILE_SCHEMA
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore, ObjectStoreError
from quant_assets.tables.layout import DAILY, PROFILES, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import read_table
from quant_assets.tables.quarantine import ITEMS_SCHEMA, Decision
from quant_assets.tables.restatements import LEDGER_SCHEMA, Ledger

MOST = 15
"""Rows of each list on a page."""
SESSIONS = 60
"""The last cells of which it is told who is missing."""


@dataclass(frozen=True, slots=True)
class ExchangeFigures:
    """One exchange at one moment."""

    code: str
    name: str
    zone: str
    whole: Mapping[str, Any]
    """`market.inventory.totals`."""
    months: pl.DataFrame
    """MONTHS_SCHEMA."""
    fresh: Freshness | None
    late_seconds: float
    symbols: int | None
    """With a profile; None where no profiles have been made."""
    worst: pl.DataFrame
    """The symbols of the lowest quality (SYMBOL_PROFILE_SCHEMA), the lowest first."""
    holes: Sequence[tuple[str, str, str, int]]
    """Of the last sessions: symbol, outcome, reason, cells; the most cells first."""
    restated: pl.DataFrame
    """The last restatements (LEDGER_SCHEMA), the latest first."""
    classes: Mapping[str, int]
    """All restatements by class."""
    held: pl.DataFrame
    """What waits in quarantine (ITEMS_SCHEMA), what waits longest first."""
    sizes: Mapping[str, Size]
    """By table and record."""
    years: pl.DataFrame
    """`market.inventory.growth`."""
    stored: pl.DataFrame
    """`market.inventory.stored_by_month`."""
    bytes_a_year: int
    problems: Sequence[str] = ()
    """What could not be read, and is left out."""

    @property
    def bytes(self) -> int:
        """All of the exchange's objects."""
        return sum(size.bytes for size in self.sizes.values())


@dataclass(frozen=True, slots=True)
class StoreReport:
    """All exchanges of a store at one moment."""

    location: str
    made: datetime
    exchanges: Sequence[ExchangeFigures]
    sizes: Mapping[str, Size]
    """Of what concerns no exchange."""

    def one(self, code: str) -> ExchangeFigures:
        """One of its exchanges. Raises KeyError."""
        return {each.code: each for each in self.exchanges}[code]


def read_report(
    store: ObjectStore,
    exchanges: Sequence[Exchange],
    now: datetime,
    unreadable: Mapping[str, str] | None = None,
) -> StoreReport:
    """Reads what the pages say of those exchanges that have a cell, and says what could not be read.

    Args:
        now: the platform's moment, by which prices are due.
        unreadable: what else could not be read, the reports of runs say: why, by the object's key.

    Raises StoreUnavailable.
    """
    figures = StoreWatch(store).look(reports=False)
    figures.unreadable |= unreadable or {}
    there = [one for one in exchanges if one.code in figures.cells]
    shared = {table: size for (code, table), size in figures.sizes.items() if not code}
    return StoreReport(store.location, now, [_of(store, one, figures, now) for one in there], shared)


def _of(store: ObjectStore, exchange: Exchange, figures: StoreFigures, now: datetime) -> ExchangeFigures:
    code = exchange.code
    cells = figures.cells.get(code, pl.DataFrame(schema=CELLS_SCHEMA))
    months = by_month(cells)
    fresh = freshness(exchange, figures.recent_states(code), now)
    problems = [why for key, why in sorted(figures.unreadable.items()) if f"exchange={code}/" in key]
    symbols, worst = None, pl.DataFrame(schema=SYMBOL_PROFILE_SCHEMA)
    restated = pl.DataFrame(schema=LEDGER_SCHEMA)
    holes: list[tuple[str, str, str, int]] = []
    try:
        profiles = read_table(store, object_key(PROFILES, code))
        symbols = profiles.height
        worst = profiles.filter(pl.col("quality").is_not_null()).sort("quality", "symbol").head(MOST)
    except ObjectNotFound:
        pass
    except ObjectStoreError as error:
        problems.append(str(error))
    try:
        if figures.restatements.get(code):
            restated = Ledger(store, code).restatements().reverse().head(MOST)
        last = cells.tail(SESSIONS)["date"]
        if len(last):
            entries = Manifest(store, DAILY).between(code, last[0], last[-1])
            holes = worst_holes(entries.values())[:MOST]
    except ObjectStoreError as error:
        problems.append(str(error))
    held = figures.held.get(code, pl.DataFrame(schema=ITEMS_SCHEMA))
    return ExchangeFigures(
        code,
        exchange.name,
        exchange.zone,
        totals(cells).row(0, named=True),
        months,
        fresh,
        fresh.seconds(now) if fresh else 0.0,
        symbols,
        worst,
        holes,
        restated,
        dict(figures.restatements.get(code, {})),
        held.filter(pl.col("decision") == Decision.PENDING.value).sort("since", "symbol"),
        {table: size for (one, table), size in sorted(figures.sizes.items()) if one == code},
        growth(months),
        stored_by_month(cells),
        bytes_a_year(cells),
        problems,
    )
