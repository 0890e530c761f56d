"""yfinance's `download(…)`, `Ticker(…)` and `Tickers(…)`, served from a store instead of from Yahoo.

    import quant_assets.yfinance as yf

    yf.download(["AAPL", "BHP.AX"], start="2012-01-03", end="2013-03-01", store="…")

Signatures, columns, index, zones and time spans are yfinance's own, whose code makes the frames; the numbers are the
store's, adjusted on read: without the noise of Yahoo's float32, so equal to Yahoo's within 6e-8. Nothing is asked of
Yahoo.
"""

from __future__ import annotations

from typing import Any

from quant_assets.yfinance.charts import NotServed
from quant_assets.yfinance.download import download
from quant_assets.yfinance.ticker import Ticker
from quant_assets.yfinance.tickers import Tickers

__all__ = ["NotServed", "Ticker", "Tickers", "download"]

_SETTINGS = ("__version__", "config", "enable_debug_mode", "set_config", "set_tz_cache_location")
"""What scripts set of yfinance itself before they ask: it does no harm here, where nothing is asked."""


def __getattr__(name: str) -> Any:
    import yfinance

    if name in _SETTINGS:
        return getattr(yfinance, name)
    if not name.startswith("_") and hasattr(yfinance, name):
        raise AttributeError(
            f"quant_assets.yfinance has no {name}: a store has prices, dividends and splits; "
            f"yfinance.{name} asks Yahoo"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
