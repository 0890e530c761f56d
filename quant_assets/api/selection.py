"""Which symbols a request is about, as the catalog of now has them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_assets.api.parameters import Choosing, Shaping
from quant_assets.api.problems import Problem, no_such
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.tables.catalog_reads import ReadCatalog, current_catalog

_MOST_NAMED = 20
_ERRORS = {"symbol": "UnknownSymbol", "exchange": "UnknownExchange"}
"""What the reader raises of them, for clients that raise the same."""
_MOST_LOOKED_UP = 5
"""Unknown symbols that near ones are looked for of: each is compared with the whole catalog."""
_MANY = 500
_SESSIONS_A_YEAR = 262


@dataclass(frozen=True, slots=True)
class Selection:
    """Some symbols in order, by exchange, too."""

    catalog: ReadCatalog
    symbols: list[str]

    def exchanges(self) -> list[str]:
        """The codes of their exchanges, in order."""
        of = self.catalog.exchange_of
        return sorted({of[symbol] for symbol in self.symbols if symbol in of})

    def told(self) -> list[str]:
        """What the catalog says that an answer depends on: the symbols with their exchanges."""
        of = self.catalog.exchange_of
        return [f"{symbol} {of.get(symbol, '')}" for symbol in self.symbols]


def near(name: str, among: Iterable[str]) -> list[str]:
    """Those that are spelled most like a name; few, or none."""
    by_upper = {one.upper(): one for one in among}
    if len(by_upper) > _MANY:
        # Of those that begin with another letter none can be meant, and each takes its time.
        by_upper = {upper: one for upper, one in by_upper.items() if upper[:1] == name[:1].upper()}
    return [by_upper[one] for one in difflib.get_close_matches(name.upper()[:40], by_upper, 3, 0.6)]


def chosen(store: ObjectStore, asked: Choosing, *, company_ids: bool = False) -> Selection:
    """The symbols that are asked for, in order.

    Raises Problem 404 for a symbol, universe or exchange that the catalog does not have, naming near ones; with
    `company_ids` symbols that it does not have are left in.
    """
    catalog = current_catalog(store)
    names = asked.names()
    rows = catalog.rows
    if asked.exchange is not None:
        if asked.exchange not in (codes := sorted(set(catalog.exchange_of.values()))):
            raise unknown("exchange", [asked.exchange], codes)
        rows = rows.filter(pl.col("exchange") == asked.exchange)
    if asked.universe is not None:
        listed = (
            set(catalog.rows["universes"].explode().drop_nulls()) if "universes" in rows.columns else set()
        )
        if asked.universe not in listed:
            raise unknown("universe", [asked.universe], sorted(listed))
        rows = rows.filter(pl.col("universes").list.contains(asked.universe))
    if names is None:
        return Selection(catalog, sorted(rows["symbol"]))
    narrowed = set(rows["symbol"]) if asked.exchange or asked.universe else None
    symbols, lacking = set[str](), list[str]()
    for name in names:
        symbol = catalog.spelled(name)
        if symbol is None:
            if company_ids:
                symbols.add(name)
            else:
                lacking.append(name)
        elif narrowed is None or symbol in narrowed:
            symbols.add(symbol)
    if lacking:
        raise unknown("symbol", lacking, catalog.exchange_of)
    return Selection(catalog, sorted(symbols))


def unknown(what: str, names: Sequence[str], among: Iterable[str]) -> Problem:
    """Problem 404: the names that there are none of, each with near ones."""
    there = list(among)
    close = {name: near(name, there) for name in names[:_MOST_LOOKED_UP]}
    return Problem(
        404,
        f"No such {what}",
        no_such(what, names, close),
        **{f"{what}s": list(names[:_MOST_NAMED]), "near": close, "error": _ERRORS.get(what, "ValueError")},
    )


def checked_columns(asked: Shaping, there: Iterable[str]) -> list[str] | None:
    """The columns asked for. Raises Problem 422 for one that the table does not have, naming them all."""
    columns, known = asked.wanted_columns(), list(there)
    lacking = [name for name in columns or () if name not in known]
    if lacking or columns == []:
        listed = ", ".join(known)
        what = f"no column {', '.join(lacking[:_MOST_NAMED])}" if lacking else "columns= names none"
        close = {name: near(name, known) for name in lacking[:_MOST_LOOKED_UP]}
        raise Problem(422, "No such column", f"{what}: there are {listed}", columns=known, near=close)
    return columns


def sessions_between(settings: Settings, start: date | None, end: date | None) -> int:
    """How many sessions a range has, roughly and without asking: an open one is of the days of the grid."""
    first = start or settings.start
    last = end or settings.clock().date()
    return max(1, (last - first).days * _SESSIONS_A_YEAR // 365 + 1)
