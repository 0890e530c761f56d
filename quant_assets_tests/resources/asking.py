"""Asking a price source on the replay server, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from quant_assets.resources.source import FetchResult, HistoryRequest
from quant_assets.resources.yahoo import YahooSource

NEW_YORK, SYDNEY = "America/New_York", "Australia/Sydney"
START = date(2013, 1, 2)

Make = Callable[..., YahooSource]


def wanted(*symbols: str, first: date = START) -> list[HistoryRequest]:
    return [HistoryRequest(s, first, SYDNEY if s.endswith(".AX") else NEW_YORK) for s in symbols]


def ask(source: YahooSource, *symbols: str, first: date = START) -> dict[str, FetchResult]:
    results = list(source.history(wanted(*symbols, first=first)))
    assert sorted(r.symbol for r in results) == sorted(symbols)
    return {r.symbol: r for r in results}
