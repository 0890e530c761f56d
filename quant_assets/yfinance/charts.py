"""Rows of a store in the form in which Yahoo's chart API would tell them, for yfinance to make its frames of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from yfinance import utils

from quant_assets import reader
from quant_assets.errors import QuantAssetsError
from quant_assets.exchanges import exchange
from quant_assets.market.calendars import usual_open
from quant_assets.resources.settings import load_settings

_yfinance: Any = utils
"""How yfinance reads dates and periods; it has no types."""
INTERVALS = ("1d", "1wk", "1mo")
RANGES = ("1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max")
_PRICES = ("open", "high", "low", "close")
_BEFORE = timedelta(days=15)
"""Read besides: the session before the first one wanted says what a dividend took off."""


class NotServed(QuantAssetsError, ValueError):
    """yfinance has it, and a store of daily prices does not: the message names what, and what there is."""


@dataclass(frozen=True, slots=True)
class _Listing:
    zone: str
    opens: time
    """When a session's bar is stamped: moments of a day before it are before the session."""
    kind: str
    currency: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What yfinance takes from an HTTP response."""

    document: dict[str, Any]
    text: str = ""

    def json(self) -> dict[str, Any]:
        return self.document


class StoreCharts:
    """Yahoo's chart documents from a store. It stands where yfinance has its HTTP client (`get`, `cache_get`).

    Args:
        store: as for `quant_assets.prices`.

    What is served has been read by `load` before: nothing fails within yfinance, which would take it for a delisting.
    """

    def __init__(self, store: reader.Store = None) -> None:
        self._store = store
        self._settings = load_settings()
        rows = reader.universe(store=store).select("symbol", "exchange", "asset_type", "currency").collect()
        self._listings = {symbol: rest for symbol, *rest in rows.iter_rows()}
        self._rows: dict[str, pl.DataFrame] = {}

    def load(
        self, symbols: Iterable[str], period: str | None, start: Any, end: Any, interval: str = "1d"
    ) -> None:
        """Reads all that `history` with these arguments may use. Raises as `quant_assets.prices` does."""
        there = [symbol for symbol in dict.fromkeys(symbols) if symbol in self._listings]
        self._rows = {}
        if not there:
            return
        first = self._first(period, start, end)
        split = reader.prices(there, first, adjust="split", store=self._store).collect()
        total = split.select(_PRICES[3]).to_series()
        if bool((split["dividend"].is_null() | (split["dividend"] != 0.0)).any()):
            paid = reader.prices(there, first, adjust="total_return", store=self._store)
            closes = paid.select("symbol", "date", adj_close="close").collect()
            total = split.join(closes, on=["symbol", "date"], how="left", maintain_order="left")["adj_close"]
        rows = split.with_columns(total.alias("adj_close"))
        self._rows = {
            str(symbol): part for (symbol,), part in rows.partition_by("symbol", as_dict=True).items()
        }

    def zone(self, symbol: str) -> str:
        """The time zone of the symbol's exchange; UTC of a symbol that there is not."""
        found = self._listing(symbol)
        return found.zone if found else "UTC"

    def get(self, url: str, params: Mapping[str, Any], timeout: Any = None) -> Answer:
        """The document of a chart request (`/v8/finance/chart/SYMBOL`)."""
        symbol = url.rpartition("/")[2]
        found = self._listing(symbol)
        if found is None:
            return _refused("Not Found", self._unknown(symbol))
        rows = self._rows.get(symbol)
        if rows is None:
            return _refused("Not Found", f"no prices of {symbol} are stored")
        low, high = self._bounds(found, rows, params)
        wanted = rows.filter(pl.col("date").is_between(low, high))
        bars = wanted.filter(pl.col("close").is_not_null())
        if bars.is_empty():
            return _refused("Bad Request", f"no prices of {symbol} are stored between {low} and {high}")
        meta = {
            "currency": bars["currency"][-1] or found.currency,
            "symbol": symbol,
            "instrumentType": found.kind,
            "exchangeTimezoneName": found.zone,
            "priceHint": 2,
            "dataGranularity": params["interval"],
            "validRanges": list(RANGES),
        }
        return _told(found, meta, _by_interval(bars, rows, params), wanted)

    cache_get = get

    def _listing(self, symbol: str) -> _Listing | None:
        row = self._listings.get(symbol)
        if row is None:
            return None
        code, kind, currency = row
        of = exchange(code, self._settings.exchanges_file)
        return _Listing(of.zone, usual_open(of.rules.calendar), str(kind or "equity").upper(), currency)

    def _unknown(self, symbol: str) -> str:
        if _yfinance.is_isin(symbol):
            return f"{symbol} is an ISIN, and the catalog lists symbols: give the symbol"
        near = difflib.get_close_matches(symbol, self._listings, 3, 0.6)
        also = f"; near ones: {', '.join(near)}" if near else " (quant_assets.universe() lists what there is)"
        return f"{symbol} is not in the catalog{also}"

    def _today(self, zone: str) -> date:
        return self._settings.clock().astimezone(ZoneInfo(zone)).date()

    def _first(self, period: str | None, start: Any, end: Any) -> date | None:
        """A day before which nothing is needed; None: all is."""
        if start:
            return _day_of(start) - timedelta(days=2) - _BEFORE
        until = _day_of(end) if end else self._today("UTC")
        period = (period or "1mo").lower()
        if period == "ytd":
            return until.replace(month=1, day=1) - _BEFORE
        if not _yfinance.is_valid_period_format(period):
            return None
        # The last N sessions lie within twice as many days, and holidays.
        step = _yfinance._interval_to_timedelta(period)
        return until - step - step - _BEFORE

    def _bounds(self, listing: _Listing, rows: pl.DataFrame, params: Mapping[str, Any]) -> tuple[date, date]:
        """The first and the last day wanted."""
        if "period1" in params:
            low, high = (_first_day(int(params[name]), listing) for name in ("period1", "period2"))
            return low, high - timedelta(days=1)
        word, today = str(params["range"]), self._today(listing.zone)
        if word == "ytd":
            return today.replace(month=1, day=1), today
        if word in ("1d", "5d"):
            days = rows.filter(pl.col("close").is_not_null())["date"].tail(int(word[0]))
            return (days.to_list() or [today])[0], today
        return (
            today - _yfinance._interval_to_timedelta(word)
            if _yfinance.is_valid_period_format(word)
            else date.min
        ), today


def _day_of(moment: Any) -> date:
    return _yfinance._parse_user_dt(moment).date()


def _first_day(stamp: int, listing: _Listing) -> date:
    """The first day whose session begins at a moment (epoch seconds) or later."""
    # Of 1970 and before, and of far futures, not every platform can tell the local time.
    moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=stamp)).astimezone(ZoneInfo(listing.zone))
    return moment.date() if moment.time() <= listing.opens else moment.date() + timedelta(days=1)


def _refused(code: str, reason: str) -> Answer:
    return Answer({"chart": {"result": None, "error": {"code": code, "description": reason}}})


def _by_interval(bars: pl.DataFrame, rows: pl.DataFrame, params: Mapping[str, Any]) -> pl.DataFrame:
    """Bars with the columns date (the first day of the period), open, high, low, close, volume and adj_close.

    The adjusted close of a week or month is Yahoo's: its close, adjusted for every dividend after the period's first
    day, one within the period included (`repair=True` gives the adjusted close of its last session).
    """
    interval = params["interval"]
    columns = ("date", *_PRICES, "volume", "adj_close")
    if interval == "1d":
        return bars.select(columns)
    day = pl.col("date")
    if interval == "1mo":
        start = day.dt.truncate("1mo")
    elif params.get("range") == "ytd":
        since = (day - day.dt.truncate("1y")).dt.total_days()
        start = day - pl.duration(days=since % 7)
    else:
        start = day.dt.truncate("1w")
    known = rows.filter(pl.col("close").is_not_null())
    factor = pl.col("adj_close") / pl.col("close")
    after = known.select("date", after=factor, before=factor.shift(1).fill_null(factor))
    return (
        bars.join(after, on="date", how="left", maintain_order="left")
        .group_by(start.alias("start"), maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
            first=day.first(),
            after=pl.col("after").first(),
            before=pl.col("before").first(),
        )
        .rename({"start": "date"})
        .with_columns(
            adj_close=pl.col("close")
            * pl.when(pl.col("first") == day).then(pl.col("after")).otherwise(pl.col("before"))
        )
        .select(columns)
    )


def _told(listing: _Listing, meta: dict[str, Any], bars: pl.DataFrame, actions: pl.DataFrame) -> Answer:
    paid = actions.filter(pl.col("dividend") != 0.0).select("date", "dividend")
    split = actions.filter(pl.col("split_ratio") != 1.0).select("date", "split_ratio")
    values = {name: bars[name].fill_nan(None).to_list() for name in _PRICES}
    volume = bars["volume"].round(0).to_list()
    events = {
        "dividends": {
            str(stamp): {"amount": amount, "date": stamp}
            for stamp, amount in zip(_stamps(paid["date"], listing), paid["dividend"], strict=True)
        },
        "splits": {
            str(stamp): {"numerator": ratio, "denominator": 1.0, "date": stamp}
            for stamp, ratio in zip(_stamps(split["date"], listing), split["split_ratio"], strict=True)
        },
    }
    result = {
        "meta": meta,
        "timestamp": _stamps(bars["date"], listing),
        "events": events,
        "indicators": {
            "quote": [{**values, "volume": volume}],
            "adjclose": [{"adjclose": bars["adj_close"].to_list()}],
        },
    }
    return Answer({"chart": {"result": [result], "error": None}})


def _stamps(days: pl.Series, listing: _Listing) -> list[int]:
    opens = timedelta(hours=listing.opens.hour, minutes=listing.opens.minute)
    local = days.cast(pl.Datetime("us")) + opens
    return local.dt.replace_time_zone(listing.zone, ambiguous="earliest").dt.epoch("s").to_list()
