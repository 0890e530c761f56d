"""Real bars of five US symbols, 2000-2013, as a `History`: read from the installed bokeh_sampledata package.

Its open/high/low/close/volume are as traded. It has no dividends, but its `adj_close` was made with
them, reinvested at the ex-day close: from one session to the next
`adj_t / adj_(t-1) = (C_t·s_t / C_(t-1)) · (1 + D_t / C_t)` with the split ratio s_t. So every D_t can be
recovered, and turns out to be the declared amount to ten digits.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl

from quant_assets.replay.errors import HistoryError
from quant_assets.replay.history import History, SymbolInfo, describe
from quant_assets.replay.venues import venue

# The package has no splits either. Those after 2013-03-01 have no bar, but rescale everything
# before them once the clock has passed them.
SPLITS: dict[str, dict[date, float]] = {
    "AAPL": {
        date(2000, 6, 21): 2.0,
        date(2005, 2, 28): 2.0,
        date(2014, 6, 9): 7.0,
        date(2020, 8, 31): 4.0,
    },
    "MSFT": {date(2003, 2, 18): 2.0},
    # Google's share class dividend, then 20:1.
    "GOOG": {date(2014, 3, 27): 1.998, date(2022, 7, 18): 20.0},
}

_NAMES = {
    "AAPL": ("Apple Inc.", "NMS"),
    "FB": ("Facebook, Inc.", "NMS"),
    "GOOG": ("Google Inc.", "NMS"),
    "IBM": ("International Business Machines Corporation", "NYQ"),
    "MSFT": ("Microsoft Corporation", "NMS"),
}

# adj_close is good to 1e-13; the smallest real dividend is 1e-3 of the price.
_NOISE = 1e-7


def recover_dividends(close: np.ndarray, adj_close: np.ndarray, split_ratio: np.ndarray) -> np.ndarray:
    """Dividends per share as declared, one per session (0.0 when none), from as-traded closes,
    `adj_close` by the reinvest-at-ex-close convention and split ratios; all of one length."""
    step = (adj_close[1:] / adj_close[:-1]) / (close[1:] * split_ratio[1:] / close[:-1]) - 1.0
    dividends = np.zeros_like(close)
    for i in np.flatnonzero(np.abs(step) > _NOISE):
        dividends[i + 1] = _declared(close[i + 1] * step[i])
    return dividends


def _declared(amount: float) -> float:
    """The shortest declared amount (2 to 6 decimals) that the recovered one stands for."""
    for places in range(2, 6):
        if abs(round(amount, places) - amount) < 1e-8:
            return round(amount, places)
    return round(amount, 6)


def sampledata() -> History:
    """AAPL, FB, GOOG, IBM and MSFT with their real splits and dividends.

    Raises HistoryError when the bokeh-sampledata package is not installed.
    """
    try:
        from bokeh_sampledata import stocks
    except ImportError as error:
        raise HistoryError(
            "the sample data needs the bokeh-sampledata package: pip install 'quant-assets[demo]'"
        ) from error
    frames = [_frame(symbol, getattr(stocks, symbol)) for symbol in sorted(_NAMES)]
    frame = pl.concat(frames)
    given = {s: {"name": name, "venue": venue(code)} for s, (name, code) in _NAMES.items()}
    infos: list[SymbolInfo] = describe(frame, **given)
    return History(frame, infos)


def _frame(symbol: str, source: Any) -> pl.DataFrame:
    splits = SPLITS.get(symbol, {})
    bars = pl.DataFrame(
        {
            "symbol": symbol,
            "date": pl.Series(source["date"]).str.to_date(),
            **{name: source[name] for name in ("open", "high", "low", "close", "volume")},
        }
    )
    ratio = np.array([splits.get(day, 1.0) for day in bars["date"]])
    dividend = recover_dividends(np.array(source["close"]), np.array(source["adj_close"]), ratio)
    bars = bars.with_columns(pl.Series("dividend", dividend), pl.Series("split_ratio", ratio))
    last = bars["date"].max()
    later = {day: r for day, r in splits.items() if day > last}  # pyright: ignore[reportOperatorIssue]
    if later:
        actions = pl.DataFrame(
            {
                "symbol": symbol,
                "date": list(later),
                "dividend": 0.0,
                "split_ratio": list(later.values()),
            }
        )
        bars = pl.concat([bars, actions], how="diagonal")
    return bars
