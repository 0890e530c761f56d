"""What a market says a symbol is worth at a moment: numbers that make sense, of what a source quotes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

VALUATION_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "date": pl.Date(),
        "market_cap": pl.Float64(),
        "pe": pl.Float64(),
        "pb": pl.Float64(),
        "dividend_yield": pl.Float64(),
        "shares_outstanding": pl.Int64(),
        "name": pl.String(),
        "sector": pl.String(),
        "industry": pl.String(),
        "asset_type": pl.String(),
        "currency": pl.String(),
        "quoted_at": pl.Datetime("us", "UTC"),
        "fetched_at": pl.Datetime("us", "UTC"),
    }
)

_KINDS = {"EQUITY": "equity", "ETF": "etf", "INDEX": "index", "MUTUALFUND": "fund"}
_ASSUMED_KIND = "equity"
"""What a catalog says of a symbol of which nobody has said what it is."""
_IN_HUNDREDTHS = ("GBp", "GBX", "ZAc", "ILA")
"""Currencies of prices that are a hundredth of that in which Yahoo counts dividends: its trailing yield of such a
listing is a hundredth of what it is."""
_MOST_SHARES = 10**15


@dataclass(frozen=True)
class Valued:
    """A snapshot's rows (VALUATION_SCHEMA, by symbol), and how often a field held nonsense, which is null there."""

    rows: pl.DataFrame
    nonsense: Counter[str]


def valued(
    quotes: Mapping[str, Mapping[str, Any]], listings: pl.DataFrame, session: date, now: datetime
) -> Valued:
    """The valuations in quotes, one row a quote.

    Args:
        quotes: by symbol what Yahoo says of it; any field may be absent, or hold anything.
        listings: what is known of the symbols otherwise: symbol, name, sector, industry, asset_type, currency. It
            counts where a quote says nothing; the kind of a listing also where it is not the one that is assumed.
        session: the session that the snapshot is of.
        now: when the quotes were fetched.
    """
    known = {row["symbol"]: row for row in listings.iter_rows(named=True)}
    nonsense: Counter[str] = Counter()
    rows = [
        _row(_Quote(quote, nonsense), known.get(symbol, {}), symbol, session, now)
        for symbol, quote in sorted(quotes.items())
    ]
    return Valued(pl.DataFrame(rows, schema=VALUATION_SCHEMA, orient="row"), nonsense)


def _row(
    quote: _Quote, known: Mapping[str, Any], symbol: str, session: date, now: datetime
) -> dict[str, Any]:
    currency = quote.text("currency") or known.get("currency") or None
    kind = known.get("asset_type") or _ASSUMED_KIND
    if kind == _ASSUMED_KIND:
        kind = _KINDS.get(quote.text("quoteType").upper(), kind)
    shares = quote.number("shares_outstanding", "sharesOutstanding", lambda n: 1 <= n <= _MOST_SHARES)
    name = quote.text("longName") or quote.text("shortName") or known.get("name")
    return {
        "symbol": symbol,
        "date": session,
        "market_cap": quote.number("market_cap", "marketCap", lambda n: n > 0),
        "pe": quote.number("pe", "trailingPE", lambda n: n != 0),
        "pb": quote.number("pb", "priceToBook", lambda n: n != 0),
        "dividend_yield": quote.dividend_yield(currency),
        "shares_outstanding": None if shares is None else round(shares),
        "name": name or None,
        "sector": quote.text("sector") or known.get("sector") or None,
        "industry": quote.text("industry") or known.get("industry") or None,
        "asset_type": kind,
        "currency": currency,
        "quoted_at": quote.moment("quoted_at", "regularMarketTime", now),
        "fetched_at": now,
    }


class _Quote:
    """Reads fields of a quote; what a field holds that it cannot mean is counted under the name of the column."""

    def __init__(self, fields: Mapping[str, Any], nonsense: Counter[str]) -> None:
        self._fields = fields
        self._nonsense = nonsense

    def text(self, name: str) -> str:
        """A text without line breaks; "" for anything else."""
        value = self._fields.get(name)
        if not isinstance(value, str):
            return ""
        # JSON can say half of a surrogate pair, which no table can hold.
        return " ".join(value.encode("utf-8", "replace").decode().split())[:200]

    def number(self, column: str, name: str, means: Callable[[float], bool]) -> float | None:
        """A number that `means` something, also where it comes as text; None where there is none."""
        value = self._fields.get(name)
        if value is None or value == "":
            return None
        try:
            # Yahoo says "Infinity" and "NaN" as texts; a bool is an int to Python.
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number) and means(number):
            return number
        self._nonsense[column] += 1
        return None

    def dividend_yield(self, currency: str | None) -> float | None:
        """As a fraction. Yahoo gives that of the dividends to come in percent (`dividendYield`), that of those of the
        last year as a fraction (`trailingAnnualDividendYield`), which is taken where the other is not there."""
        percent = self.number("dividend_yield", "dividendYield", lambda n: 0 <= n <= 1000)
        if percent is not None:
            return round(percent / 100, 12)
        if currency in _IN_HUNDREDTHS:
            return None
        return self.number("dividend_yield", "trailingAnnualDividendYield", lambda n: 0 <= n <= 10)

    def moment(self, column: str, name: str, now: datetime) -> datetime | None:
        """Seconds since 1970 as a moment that is not after tomorrow."""
        last = (now + timedelta(days=1)).timestamp()
        seconds = self.number(column, name, lambda n: 0 < n <= last)
        return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC)
