"""`download` as yfinance has it: one frame for several symbols."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from yfinance import utils
from yfinance.config import YfConfig
from yfinance.const import period_default
from yfinance.exceptions import YFException
from yfinance.multi import reindex_dfs
from yfinance.scrapers.history import PriceHistory

from quant_assets import reader
from quant_assets.yfinance.charts import StoreCharts
from quant_assets.yfinance.ticker import _NO_SESSION, check_served, frame_of

if TYPE_CHECKING:
    import pandas as pd


def download(
    tickers: str | Iterable[str],
    start: Any = None,
    end: Any = None,
    actions: bool = False,
    threads: bool | int = True,
    ignore_tz: bool | None = None,
    group_by: Literal["column", "ticker"] | str = "column",
    auto_adjust: bool = True,
    back_adjust: bool = False,
    repair: bool = False,
    keepna: bool = False,
    progress: bool = True,
    period: str | None = period_default,
    interval: str = "1d",
    prepost: bool = False,
    rounding: bool = False,
    timeout: float | None = 10,
    session: Any = None,
    multi_level_index: bool = True,
    *,
    store: reader.Store = None,
) -> pd.DataFrame:
    """yfinance's `download`: the same arguments, and the same frame.

    Args:
        tickers: symbols in Yahoo's spelling, "AAPL MSFT", "AAPL,MSFT" or a list.
        store: as for `quant_assets.prices`.
        threads, timeout, session: taken and not used: all symbols are read at once, without requests.
        The others are as in yfinance and `Ticker.history`.

    Returns:
        Columns (Price, Ticker), sorted; with group_by="ticker" (Ticker, Price), in the order of `tickers` (yfinance
        has them as they come). Index `Date`, without a zone, unless `ignore_tz=False`. A symbol that there is not
        is a column of NaN, and the reason is in yfinance's log.

    Raises:
        NotServed: another interval, or prices before and after hours.
        ObjectNotFound, ObjectDamaged, StoreUnavailable: as `quant_assets.prices`.
    """
    check_served(interval, prepost)
    import pandas as pd

    named = tickers.replace(",", " ").split() if isinstance(tickers, str) else list(tickers)
    symbols = list(dict.fromkeys(name.upper() for name in named))
    if not symbols:
        raise ValueError("no tickers are named: download(['AAPL', 'MSFT'])")
    charts = StoreCharts(store)
    default = None if start or end else "1mo"
    charts.load(symbols, default if period == period_default else period, start, end)
    bar = utils.ProgressBar(len(symbols), "completed") if progress else None
    frames: dict[str, pd.DataFrame] = {}
    failed: dict[str, str] = {}
    hidden = YfConfig.debug.hide_exceptions
    YfConfig.debug.hide_exceptions = False
    try:
        for symbol in symbols:
            history = PriceHistory(charts, symbol, charts.zone(symbol), session=_NO_SESSION)
            try:
                frames[symbol] = frame_of(
                    history, period=period, interval=interval, start=start, end=end, actions=actions,
                    auto_adjust=auto_adjust, back_adjust=back_adjust, repair=repair, keepna=keepna,
                    rounding=rounding, timeout=timeout,
                )  # fmt: skip
            except YFException as error:
                frames[symbol], failed[symbol] = utils.empty_df(), str(error)
            if bar:
                bar.animate()
    finally:
        YfConfig.debug.hide_exceptions = hidden
    if bar:
        bar.completed()
    if failed:
        log = utils.get_yf_logger()
        log.error(f"\n{len(failed)} Failed download{'s' if len(failed) > 1 else ''}:")
        for reason in failed.values():
            log.error(reason)
    naive = ignore_tz is not False
    if naive:
        for symbol, frame in frames.items():
            if not frame.empty:
                frames[symbol] = frame.tz_localize(None)
    frames = reindex_dfs(frames, naive)
    data = pd.concat(frames.values(), axis=1, sort=True, keys=frames.keys(), names=["Ticker", "Price"])
    if group_by == "column":
        data = data.swaplevel(0, 1, axis=1).sort_index(level=0, axis=1)
    if not multi_level_index and len(symbols) == 1:
        data = data.droplevel(0 if group_by == "ticker" else 1, axis=1).rename_axis(None, axis=1)
    return data
