"""`Tickers` as yfinance has it: several symbols at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yfinance.const import period_default

from quant_assets import reader
from quant_assets.yfinance.download import download
from quant_assets.yfinance.ticker import Ticker

if TYPE_CHECKING:
    import pandas as pd


class Tickers:
    """Prices of several symbols: `symbols` in capitals, `tickers` with the `Ticker` of each.

    Args:
        tickers: a list, "AAPL MSFT" or "AAPL,MSFT".
        session: taken and not used: there are no requests.
        store: as for `quant_assets.prices`.
    """

    def __init__(self, tickers: str | list[str], session: Any = None, *, store: reader.Store = None) -> None:
        named = tickers if isinstance(tickers, list) else tickers.replace(",", " ").split()
        self.symbols = [name.upper() for name in named]
        self.tickers = {symbol: Ticker(symbol, store=store) for symbol in self.symbols}
        self._store: reader.Store = store

    def __repr__(self) -> str:
        return f"quant_assets.yfinance.Tickers object <{','.join(self.symbols)}>"

    def history(
        self,
        period: str | None = period_default,
        interval: str = "1d",
        start: Any = None,
        end: Any = None,
        prepost: bool = False,
        actions: bool = True,
        auto_adjust: bool = True,
        repair: bool = False,
        threads: bool | int = True,
        group_by: str = "column",
        progress: bool = True,
        timeout: float | None = 10,
        **kwargs: Any,
    ) -> pd.DataFrame:
        """yfinance's `Tickers.history`: `download` with the actions. Raises as `download`."""
        return download(
            self.symbols, period=period, interval=interval, start=start, end=end, prepost=prepost, actions=actions,
            auto_adjust=auto_adjust, repair=repair, threads=threads, group_by=group_by, progress=progress,
            timeout=timeout, store=self._store, **kwargs,
        )  # fmt: skip

    download = history
