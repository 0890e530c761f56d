"""What is exported: symbols by exchange, read from the store a few hundred at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from quant_assets import reader
from quant_assets.errors import QuantAssetsError
from quant_assets.market.corporate_actions import Adjust

COLUMNS = (
    "symbol", "exchange", "date", "open", "high", "low", "close", "volume", "dividend", "split_ratio", "currency",
    "flags", "fetched_at",
)  # fmt: skip
BARS = ("open", "high", "low", "close", "volume")
_AT_ONCE = 200
"""Symbols read together: of twenty years about a million rows."""


class ExportError(QuantAssetsError, ValueError):
    """Nothing can be exported so: the message names what is in the way."""


@dataclass(frozen=True)
class Chosen:
    """Which rows of a store; `by_exchange` has the symbols, sorted, under the code of their exchange."""

    store: reader.Store
    catalog: pl.DataFrame
    by_exchange: dict[str, list[str]]
    start: date | str | None = None
    end: date | str | None = None
    as_of: datetime | date | str | None = None

    def batches(self) -> Iterator[tuple[str, list[str]]]:
        """Exchange and symbols of each part that is read at once."""
        for code, symbols in self.by_exchange.items():
            for first in range(0, len(symbols), _AT_ONCE):
                yield code, symbols[first : first + _AT_ONCE]

    def daily(self, code: str, symbols: Sequence[str], adjust: Adjust = "none") -> pl.DataFrame:
        """Daily rows (`COLUMNS`, by symbol and date), as `quant_assets.prices` gives them."""
        rows = reader.prices(symbols, self.start, self.end, adjust, self.as_of, store=self.store)
        return rows.with_columns(exchange=pl.lit(code)).select(COLUMNS).collect()

    def weekly(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Weekly bars, as `quant_assets.weekly` gives them."""
        return reader.weekly(symbols, self.start, self.end, store=self.store).collect()

    def about(self, adjust: str, exported_at: datetime) -> dict[str, Any]:
        """What an export is made of, to be kept beside it."""
        words = {"start": self.start, "end": self.end, "as_of": self.as_of}
        return {
            "made_by": "quant-assets export",
            "store": str(getattr(self.store, "location", self.store)),
            "exported_at": exported_at.isoformat(timespec="seconds"),
            "adjust": adjust,
            **{name: None if word is None else str(word) for name, word in words.items()},
            "symbols": sum(map(len, self.by_exchange.values())),
            "exchanges": ",".join(self.by_exchange),
        }


def choose(
    store: reader.Store,
    *,
    symbols: Sequence[str] = (),
    exchange: str | None = None,
    universe: str | None = None,
    start: date | str | None = None,
    end: date | str | None = None,
    as_of: datetime | date | str | None = None,
) -> Chosen:
    """The named symbols, those of an exchange, or who is in a universe now; with none, the whole catalog.

    Raises ExportError where nothing is chosen; ValueError for an unknown symbol or universe, as the reader does.
    """
    catalog = reader.universe(store=store).collect()
    chosen = catalog if universe is None else reader.universe(universe, store=store).collect()
    if symbols:
        wanted = [symbol.upper() for symbol in symbols]
        if unknown := sorted(set(wanted) - set(chosen["symbol"])):
            there = "the catalog" if universe is None else f"universe {universe}"
            raise ExportError(
                f"not in {there}: {', '.join(unknown)} (quant_assets.universe() lists what there is)"
            )
        chosen = chosen.filter(pl.col("symbol").is_in(wanted))
    if exchange is not None:
        chosen = chosen.filter(pl.col("exchange") == exchange.upper())
    if chosen.is_empty():
        known = ", ".join(sorted(catalog["exchange"].unique())) or "none"
        raise ExportError(f"the catalog has no symbol of what was asked for (its exchanges: {known})")
    pairs = chosen.select("exchange", "symbol").unique().sort("exchange", "symbol")
    by_exchange: dict[str, list[str]] = {}
    for code, symbol in pairs.iter_rows():
        by_exchange.setdefault(code, []).append(symbol)
    return Chosen(store, catalog, by_exchange, start, end, as_of)
