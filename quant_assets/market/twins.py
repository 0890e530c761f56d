"""Symbols whose answers have one and the same history: a rename, or a ticker used again. Whose is it?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import polars as pl

from quant_assets.market.bars import day_numbers

SAME_HISTORY = (
    "the same history as {}: a rename, or a ticker used again (take one of them out of the universe)"
)
_BARS = 20
"""Traded bars by which a history is known."""
_ENOUGH_BARS, _SAME = 5, 1e-4
"""Sessions, and the precision, in which stored rows say whose a history is."""


class Twins:
    """The symbols of a run by the latest bars of their answers."""

    def __init__(self) -> None:
        self._by_bars: defaultdict[int, list[str]] = defaultdict(list)

    def add(self, symbol: str, rows: pl.DataFrame) -> None:
        """Takes note of a symbol's as-traded rows (date, close, volume); of few traded bars nothing is known."""
        traded = (rows["volume"].to_numpy() > 0).nonzero()[0][-_BARS:]
        if traded.size == _BARS:
            bars = (day_numbers(rows["date"]), rows["close"].to_numpy(), rows["volume"].to_numpy())
            self._by_bars[hash(tuple(tuple(of_bars[traded].tolist()) for of_bars in bars))].append(symbol)

    def found(self) -> list[list[str]]:
        """Those with one history, each group sorted."""
        return [sorted(symbols) for symbols in self._by_bars.values() if len(symbols) > 1]


def owner(symbols: Sequence[str], rows: pl.DataFrame, stored: Mapping[str, pl.DataFrame]) -> str | None:
    """The one of some symbols that has the history stored; None where none has, or more than one: nobody can tell.

    `rows` (symbol, date, close, volume) are as traded, `stored` the same by symbol.
    """
    owners = [
        symbol
        for symbol in symbols
        if symbol in stored and _is_stored(rows.filter(pl.col("symbol") == symbol), stored[symbol])
    ]
    return owners[0] if len(owners) == 1 else None


def _is_stored(rows: pl.DataFrame, stored: pl.DataFrame) -> bool:
    """Whether one symbol's rows are as they are stored, on all of several sessions that can be compared."""
    beside = rows.join(stored, on=["symbol", "date"], suffix="_stored").filter(pl.col("volume") > 0)
    near = (pl.col("close") / pl.col("close_stored") - 1.0).abs() < _SAME
    same = near & (pl.col("volume") == pl.col("volume_stored"))
    return beside.height >= _ENOUGH_BARS and bool(beside.select(same.fill_null(value=False).all()).item())
