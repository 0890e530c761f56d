"""Yahoo's ways of finding symbols: quotes, screener, search and lookup, as plain dicts for JSON."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any
from zoneinfo import ZoneInfo

from quant_assets.replay.history import SymbolInfo
from quant_assets.replay.venues import session_open
from quant_assets.replay.world import World


def quote(world: World, info: SymbolInfo) -> dict[str, Any]:
    """One entry of the quote API, version 7."""
    where = info.venue
    state = world.as_of(where)
    local = state.now.astimezone(ZoneInfo(where.zone))
    series = world.series(info)
    entry: dict[str, Any] = {
        "language": "en-US",
        "region": "US",
        "quoteType": info.instrument,
        "typeDisp": "Equity",
        "symbol": info.symbol,
        "shortName": info.name,
        "longName": info.name,
        "currency": info.currency,
        "exchange": where.yahoo_code,
        "fullExchangeName": where.full_name,
        "market": f"{where.region}_market",
        "exchangeTimezoneName": where.zone,
        "exchangeTimezoneShortName": local.tzname(),
        "gmtOffSetMilliseconds": int(local.utcoffset().total_seconds() * 1000),  # pyright: ignore[reportOptionalMemberAccess]
        "firstTradeDateMilliseconds": int(session_open(where, info.listed_on).timestamp() * 1000),
        "marketState": "REGULAR" if state.actions_through != state.bars_through else "CLOSED",
        "tradeable": False,
    }
    if len(series.dates):
        entry |= {
            "regularMarketTime": int(series.timestamps[-1]),
            "regularMarketOpen": float(series.prices[0, -1]),
            "regularMarketDayHigh": float(series.prices[1, -1]),
            "regularMarketDayLow": float(series.prices[2, -1]),
            "regularMarketPrice": float(series.prices[3, -1]),
            "regularMarketVolume": int(series.volume[-1]),
            **worth(info, float(series.prices[3, -1])),
        }
    return entry


def worth(info: SymbolInfo, price: float) -> dict[str, Any]:
    """What a quote says a listing is worth at a price: made up, the same for a symbol whenever it is asked.

    As Yahoo gives it: the yield to come in percent, that of the last year as a fraction, the capitalisation in pounds
    where prices are in pence. Funds have no earnings, indices nothing at all, every fifth company makes a loss.
    """
    if info.instrument == "INDEX":
        return {}
    number = zlib.crc32(info.symbol.encode())
    shares = 1_000_000 * (1 + number % 5000)
    unit = 100.0 if info.currency == "GBp" else 1.0
    entry: dict[str, Any] = {"marketCap": round(shares * price / unit)}
    if info.instrument != "EQUITY":
        return entry
    entry |= {"sharesOutstanding": shares, "priceToBook": 0.5 + number % 97 / 10}
    if number % 5:
        entry["trailingPE"] = 5.0 + number % 331 / 10
    if number % 3:
        percent = 0.25 + number % 29 / 4
        entry |= {"dividendYield": percent, "trailingAnnualDividendYield": percent / 100 / unit}
    return entry


def listed(world: World) -> Iterable[SymbolInfo]:
    """The symbols listed at the moment: Yahoo's discovery forgets a delisted one."""
    for symbol in world.symbols:
        info = world.listing(symbol)
        if info is not None and not world.is_delisted(info):
            yield info


def quotes(world: World, symbols: Iterable[str]) -> dict[str, Any]:
    """The body of quote v7; symbols that are unknown or delisted are left out without a word."""
    found = [world.listing(symbol) for symbol in symbols]
    result = [quote(world, info) for info in found if info is not None and not world.is_delisted(info)]
    return {"quoteResponse": {"result": result, "error": None}}


def quote_summary(info: SymbolInfo) -> dict[str, Any]:
    """The part of quoteSummary that identifies a symbol."""
    where = info.venue
    kind = {
        "exchange": where.yahoo_code,
        "quoteType": info.instrument,
        "symbol": info.symbol,
        "shortName": info.name,
        "longName": info.name,
        "timeZoneFullName": where.zone,
        "exchangeTimezoneName": where.zone,
    }
    return {"quoteSummary": {"result": [{"quoteType": kind}], "error": None}}


def screen(world: World, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a custom screen: `body` as yfinance posts it (query, quoteType, offset, size or count, sort).

    Raises ValueError for a query that cannot be evaluated.
    """
    kind = str(body.get("quoteType") or "EQUITY").upper()
    found = [
        info
        for info in listed(world)
        if info.instrument == kind and _matches(body["query"], _facts(info), _numbers(world, info))
    ]
    by_name = str(body.get("sortField", "ticker")) in ("companyshortname", "shortname")
    found.sort(
        key=(lambda i: i.name) if by_name else (lambda i: i.symbol),
        reverse=str(body.get("sortType", "DESC")).upper() == "DESC",
    )
    offset = int(body.get("offset") or 0)
    size = min(int(body.get("size") or body.get("count") or 25), 250)
    page = [quote(world, info) for info in found[offset : offset + size]]
    result = {
        "start": offset,
        "count": len(page),
        "total": len(found),
        "quotes": page,
        "useRecords": False,
    }
    return {"finance": {"result": [result], "error": None}}


def _facts(info: SymbolInfo) -> dict[str, str]:
    return {
        "exchange": info.venue.yahoo_code,
        "region": info.venue.region,
        "ticker": info.symbol,
        "symbol": info.symbol,
    }


def _numbers(world: World, info: SymbolInfo) -> Callable[[str], float | None]:
    """What can be compared, by field; None of a listing that has no bar yet."""

    def number(field: str) -> float | None:
        series = world.series(info)
        if not len(series.dates):
            return None
        return float(series.prices[3, -1] if field == "intradayprice" else series.volume[-1])

    return number


_COMPARISONS: dict[str, Callable[..., bool]] = {
    "GT": lambda value, least: value > least,
    "GTE": lambda value, least: value >= least,
    "LT": lambda value, most: value < most,
    "LTE": lambda value, most: value <= most,
    "BTWN": lambda value, least, most: least <= value <= most,
}


def _matches(query: dict[str, Any], facts: dict[str, str], number: Callable[[str], float | None]) -> bool:
    operator, operands = str(query["operator"]).upper(), query["operands"]
    if operator == "AND":
        return all(_matches(part, facts, number) for part in operands)
    if operator == "OR":
        return any(_matches(part, facts, number) for part in operands)
    if operator in ("EQ", "IS-IN"):
        if operands[0] not in facts:
            raise ValueError(f"the replay server cannot screen by {operands[0]}")
        return facts[operands[0]].lower() in {str(value).lower() for value in operands[1:]}
    if compare := _COMPARISONS.get(operator):
        if operands[0] not in ("intradayprice", "dayvolume"):
            raise ValueError(f"the replay server cannot compare {operands[0]}")
        value = number(operands[0])
        return value is not None and compare(value, *operands[1:])
    raise ValueError(f"the replay server cannot screen with {operator}")


def search(world: World, text: str, count: int) -> dict[str, Any]:
    """The body of the search API: the exact symbol, symbols that begin with `text`, names that hold it."""
    hits = _hits(world, text, count)
    entries = [
        {
            "exchange": info.venue.yahoo_code,
            "exchDisp": info.venue.full_name,
            "shortname": info.name,
            "longname": info.name,
            "quoteType": info.instrument,
            "typeDisp": "Equity",
            "symbol": info.symbol,
            "index": "quotes",
            "isYahooFinance": True,
        }
        for info in hits
    ]
    return {
        "explains": [],
        "count": len(entries),
        "quotes": entries,
        "news": [],
        "nav": [],
        "lists": [],
        "researchReports": [],
    }


def lookup(world: World, text: str, count: int) -> dict[str, Any]:
    """The body of the lookup API."""
    hits = _hits(world, text, count)
    documents = [
        {
            "symbol": info.symbol,
            "shortName": info.name,
            "exchange": info.venue.yahoo_code,
            "quoteType": "equity",
            "industryName": None,
        }
        for info in hits
    ]
    result = {"start": 0, "count": len(documents), "total": len(documents), "documents": documents}
    return {"finance": {"result": [result], "error": None}}


def _hits(world: World, text: str, count: int) -> list[SymbolInfo]:
    wanted = text.strip().upper()
    if not wanted:
        return []
    ranked = []
    for info in listed(world):
        if info.symbol == wanted:
            ranked.append((0, info.symbol, info))
        elif info.symbol.startswith(wanted):
            ranked.append((1, info.symbol, info))
        elif wanted in info.name.upper():
            ranked.append((2, info.symbol, info))
    return [info for _, _, info in sorted(ranked, key=lambda hit: hit[:2])[:count]]
