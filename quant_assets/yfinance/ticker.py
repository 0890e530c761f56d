"""`Ticker` as yfinance has it, as far as daily prices go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yfinance.const import period_default
from yfinance.scrapers.history import PriceHistory

from quant_assets import reader
from quant_assets.yfinance.charts import INTERVALS, NotServed, StoreCharts

if TYPE_CHECKING:
    import pandas as pd

_NO_SESSION: Any = object()
"""Given to yfinance so that it opens no connection of its own."""


class Ticker:
    """Prices and actions of one symbol.

    Args:
        ticker: Yahoo's symbol, in any case.
        session: taken and not used: there are no requests.
        store: as for `quant_assets.prices`.

    What yfinance's own class has besides (info, news, options, …) is not in a store.
    """

    def __init__(self, ticker: str, session: Any = None, *, store: reader.Store = None) -> None:
        self.ticker = ticker.strip().upper()
        if not self.ticker:
            raise ValueError("Empty ticker name")
        self._charts = StoreCharts(store)
        self._history: Any = PriceHistory(
            self._charts, self.ticker, self._charts.zone(self.ticker), session=_NO_SESSION
        )

    def __repr__(self) -> str:
        return f"quant_assets.yfinance.Ticker object <{self.ticker}>"

    def history(
        self,
        period: str | None = period_default,
        interval: str = "1d",
        start: Any = None,
        end: Any = None,
        prepost: bool = False,
        actions: bool = True,
        auto_adjust: bool = True,
        back_adjust: bool = False,
        repair: bool = False,
        keepna: bool = False,
        rounding: bool = False,
        timeout: float | None = 10,
        raise_errors: bool = False,
    ) -> pd.DataFrame:
        """yfinance's `Ticker.history`: the same arguments, and the same frame.

        Args:
            interval: "1d", "1wk" or "1mo". Adjusted weeks and months are as Yahoo makes them, which takes a dividend
                within the period off the close of its end; with `repair=True` they are made of adjusted days.
            repair: what is stored has been checked already: no value changes, and `Repaired?` is False.
            timeout, raise_errors: as in yfinance; there is nothing to wait for.

        Returns:
            By session (index `Date`, midnights in the exchange's zone): Open, High, Low, Close, Adj Close (without
            auto_adjust), Volume, Dividends, Stock Splits; of a fund Capital Gains as well, always 0.0: the store has
            them among the dividends. Empty for a symbol that there is not, with the reason in yfinance's log.

        Raises:
            NotServed: another interval, or prices before and after hours.
            ObjectNotFound, ObjectDamaged, StoreUnavailable: as `quant_assets.prices`.
        """
        check_served(interval, prepost)
        user_period = None if period == period_default and (start or end) else period
        if user_period == period_default:
            user_period = "1mo"
        self._charts.load([self.ticker], user_period, start, end)
        return frame_of(
            self._history,
            period=period,
            interval=interval,
            start=start,
            end=end,
            actions=actions,
            auto_adjust=auto_adjust,
            back_adjust=back_adjust,
            repair=repair,
            keepna=keepna,
            rounding=rounding,
            timeout=timeout,
            raise_errors=raise_errors,
        )

    def get_dividends(self, period: str = "max") -> pd.Series:
        """Dividends per share by ex-date, on today's share basis."""
        self._charts.load([self.ticker], period, None, None)
        return self._history.get_dividends(period=period)

    def get_splits(self, period: str = "max") -> pd.Series:
        """Split ratios (new shares per old) by ex-date."""
        self._charts.load([self.ticker], period, None, None)
        return self._history.get_splits(period=period)

    def get_capital_gains(self, period: str = "max") -> pd.Series:
        """Always empty: the store has capital gains among the dividends."""
        self._charts.load([self.ticker], period, None, None)
        return self._history.get_capital_gains(period=period)

    def get_actions(self, period: str = "max") -> pd.DataFrame:
        """Dividends and splits by ex-date."""
        self._charts.load([self.ticker], period, None, None)
        return self._history.get_actions(period=period)

    def get_history_metadata(self) -> dict[str, Any]:
        """Currency, zone and kind of the symbol, as far as the catalog knows them."""
        self._charts.load([self.ticker], "5d", None, None)
        return self._history.get_history_metadata()

    @property
    def dividends(self) -> pd.Series:
        return self.get_dividends()

    @property
    def splits(self) -> pd.Series:
        return self.get_splits()

    @property
    def capital_gains(self) -> pd.Series:
        return self.get_capital_gains()

    @property
    def actions(self) -> pd.DataFrame:
        return self.get_actions()

    @property
    def history_metadata(self) -> dict[str, Any]:
        return self.get_history_metadata()

    def __getattr__(self, name: str) -> Any:
        import yfinance

        if not name.startswith("_") and hasattr(yfinance.Ticker, name):
            raise AttributeError(
                f"Ticker.{name} is not served: a store has prices, dividends and splits; yfinance.Ticker asks Yahoo"
            )
        raise AttributeError(f"'Ticker' object has no attribute {name!r}")


def check_served(interval: str, prepost: bool) -> None:
    """Raises NotServed for what no store of daily prices has."""
    if interval not in INTERVALS:
        raise NotServed(
            f"interval={interval!r} is not served: a store of daily prices has {', '.join(INTERVALS)}"
        )
    if prepost:
        raise NotServed("prepost=True is not served: the store has the bars of regular sessions only")


def frame_of(history: Any, *, interval: str, repair: bool, **how: Any) -> pd.DataFrame:
    """The frame that yfinance makes of what has been loaded."""
    if not repair:
        return history.history(interval=interval, **how)
    # What yfinance does for repaired weeks and months, without the repairs.
    actions, how["actions"] = how["actions"], True
    days = history.history(interval="1d", **how)
    if days.empty:
        return days
    days["Repaired?"] = False
    frame = history._resample(days, "1d", interval, None if how["start"] or how["end"] else how["period"])
    return (
        frame
        if actions
        else frame.drop(columns=["Dividends", "Stock Splits", "Capital Gains"], errors="ignore")
    )
