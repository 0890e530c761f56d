"""yfinance's `download(…)` and `Ticker(…)`, served from a store instead of from Yahoo.

    import quant_assets.yfinance as yf

    yf.download(["AAPL", "BHP.AX"], start="2012-01-03", end="2013-03-01", store="…")

Signatures, columns, index, zones and time spans are yfinance's own, whose code makes the frames; the numbers are the
store's, adjusted on read: without the noise of Yahoo's float32, so equal to Yahoo's within 6e-8. Nothing is asked of
Yahoo.
"""

from __future__ import annotations

from quant_assets.yfinance.charts import NotServed
from quant_assets.yfinance.download import download
from quant_assets.yfinance.ticker import Ticker

__all__ = ["NotServed", "Ticker", "download"]
