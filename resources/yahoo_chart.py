"""One chart answer of Yahoo's, read from its raw status and body: the outcome, the bars, the events.

The yfinance package turns most failures into an empty frame, drops null bars and moves events of a missing bar
to the row before, so the raw answer is what we read. Pure: no request is made here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import orjson
import polars as pl

from quant_assets.resources.source import DIVIDENDS_SCHEMA, SERVED_SCHEMA, SPLITS_SCHEMA, FetchResult, Outcome

_QUOTE = ("open", "high", "low", "close", "volume")

# Epoch seconds of the years 1697 to 2242: beyond them no exchange traded, and dates overflow.
_FAR = 2**33
# What polars raises for values of the wrong kind; a panic is no Exception.
_BUILD_ERRORS: tuple[type[BaseException], ...] = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    TypeError,
    ValueError,
    OverflowError,
)


class _Unusable(Exception):
    """The body is no answer to the request; the message is the reason."""


def read_chart(status: int, body: bytes, *, symbol: str, zone: str) -> FetchResult:
    """The result of one chart request.

    Args:
        status: the HTTP status.
        body: the body as received.
        symbol: the symbol that was asked for; an answer for another is a failure.
        zone: the exchange's IANA zone; an answer in another zone is a failure (its dates would be another day's).

    Returns:
        OK with bars in session dates of `zone`; NO_DATA, NOT_FOUND, RATE_LIMITED or FAILED with the reason. Never
        raises for anything a server may send.
    """
    facts: dict[str, Any] = {"status": status, "bytes": len(body)}

    def ended(outcome: Outcome, reason: str) -> FetchResult:
        return FetchResult(symbol, outcome, reason, facts=facts)

    if status == 429:
        return ended(Outcome.RATE_LIMITED, "rate-limited (429)")
    try:
        chart = _chart_of(body)
    except _Unusable as error:
        return ended(Outcome.FAILED, f"status {status}: {error}" if status != 200 else str(error))
    error_text = _error_text(chart)
    if status == 404 and error_text.startswith("No data found"):
        return ended(Outcome.NOT_FOUND, f"not found at the source: {error_text}")
    if status == 400 and error_text.startswith("Data doesn't exist"):
        return ended(Outcome.NO_DATA, "the source has no data in the range")
    if status != 200 or error_text:
        return ended(Outcome.FAILED, f"status {status}: {error_text or 'no reason given'}")
    try:
        return _read_result(chart, symbol, zone, facts)
    except _Unusable as error:
        return ended(Outcome.FAILED, str(error))


def _chart_of(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise _Unusable("empty body")
    try:
        parsed: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _Unusable("the body is no JSON") from error
    chart = _mapping(_mapping(parsed).get("chart"))
    if not chart:
        raise _Unusable("the JSON holds no chart")
    return chart


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _optional(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A mapping that may be left out. Something else in its place would be events lost in silence."""
    found = _mapping(holder.get(name))
    if holder.get(name) and not found:
        raise _Unusable(f"{name} that cannot be read")
    return found


def _error_text(chart: Mapping[str, Any]) -> str:
    error = chart.get("error")
    if error is None:
        return ""
    return str(_mapping(error).get("description") or error)


def _read_result(chart: Mapping[str, Any], symbol: str, zone: str, facts: dict[str, Any]) -> FetchResult:
    results = chart.get("result")
    if not isinstance(results, list) or not results:
        raise _Unusable("the chart holds no result")
    result = _mapping(cast("list[Any]", results)[0])
    meta = _mapping(result.get("meta"))
    if str(meta.get("symbol", "")).upper() != symbol.upper():
        raise _Unusable(f"answer for another symbol: {meta.get('symbol')!r}")
    if meta.get("exchangeTimezoneName") != zone:
        raise _Unusable(f"answer in zone {meta.get('exchangeTimezoneName')!r}, the exchange is in {zone}")
    currency = meta.get("currency")
    if not isinstance(currency, str) or not currency:
        raise _Unusable("answer without a currency")
    first = meta.get("firstTradeDate")
    try:
        first_trade = None if first is None else _day(first, zone)
    except _NO_MOMENT as error:
        raise _Unusable(f"a first trade date that is no moment: {first!r}") from error
    events = _optional(result, "events")
    if not result.get("timestamp") and not events:
        return FetchResult(
            symbol,
            Outcome.NO_DATA,
            "the source has no data in the range",
            currency=currency,
            first_trade=first_trade,
            facts=facts,
        )
    # An ex-date without a bar comes as an answer without timestamps, and must not be lost.
    bars, dropped = (
        _bars(result, zone) if result.get("timestamp") else (pl.DataFrame(schema=SERVED_SCHEMA), {})
    )
    splits, dividends, foreign = _events(events, zone, currency)
    # A bar whose dividend cannot be stored in the listing's currency is not the whole truth of its day.
    dropped |= foreign
    return FetchResult(
        symbol,
        Outcome.OK,
        bars=bars.filter(~pl.col("date").is_in(list(dropped))),
        splits=splits,
        dividends=dividends,
        dropped=dropped,
        currency=currency,
        first_trade=first_trade,
        facts=facts,
    )


def _bars(result: Mapping[str, Any], zone: str) -> tuple[pl.DataFrame, dict[date, str]]:
    quotes = _mapping(result.get("indicators")).get("quote")
    if not isinstance(quotes, list) or not quotes:
        raise _Unusable("timestamps without quotes")
    quote = _mapping(cast("list[Any]", quotes)[0])
    columns = {"timestamp": result["timestamp"], **{name: quote.get(name) for name in _QUOTE}}
    lengths = {len(cast("list[Any]", v)) if isinstance(v, list) else -1 for v in columns.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise _Unusable("timestamps and quotes of different length")
    try:
        raw = pl.DataFrame(
            columns,
            schema={"timestamp": pl.Int64, **dict.fromkeys(_QUOTE, pl.Float64)},
            strict=False,
        )
    except _BUILD_ERRORS as error:
        raise _Unusable("quotes that are no numbers") from error
    if not raw["timestamp"].is_between(-_FAR, _FAR).fill_null(False).all():
        raise _Unusable("timestamps that are no moments")
    rows = raw.with_columns(
        pl.from_epoch("timestamp")
        .dt.replace_time_zone("UTC")
        .dt.convert_time_zone(zone)
        .dt.date()
        .alias("date")
    ).drop("timestamp")
    dropped: dict[date, str] = {}
    nulls = rows.filter(pl.any_horizontal(pl.col(_QUOTE).is_null()))
    for day in nulls["date"]:
        dropped[day] = "null values in the bar"
    # The same bar twice is one bar; two bars that differ leave no way to know which one was traded.
    unique = rows.unique()
    for day in unique.filter(pl.col("date").is_duplicated())["date"].unique():
        dropped.setdefault(day, "two different bars for one session")
    volume = pl.col("volume")
    uncountable = unique.filter((volume != volume.round(0)) | ~(volume.abs() < 2**62))
    for day in uncountable["date"]:
        dropped.setdefault(day, "a volume that is no number of shares")
    bars = unique.filter(~pl.col("date").is_in(list(dropped))).sort("date")
    return bars.select(pl.col(name).cast(dtype) for name, dtype in SERVED_SCHEMA.items()), dropped


def _events(
    events: Mapping[str, Any], zone: str, currency: str
) -> tuple[pl.DataFrame, pl.DataFrame, dict[date, str]]:
    splits: list[tuple[date, float]] = []
    dividends: list[tuple[date, float]] = []
    foreign: dict[date, str] = {}
    try:
        for event in _optional(events, "splits").values():
            ratio = float(event["numerator"]) / float(event["denominator"])
            if not 0 < ratio < float("inf"):
                raise _Unusable(f"a split with ratio {event.get('splitRatio')!r}")
            splits.append((_day(event["date"], zone), ratio))
        # A fund's capital gains leave its price as a dividend does, and Yahoo adjusts for both alike.
        for kind in ("dividends", "capitalGains"):
            for event in _optional(events, kind).values():
                day = _day(event["date"], zone)
                if event.get("currency") not in (None, "", currency):
                    foreign[day] = f"a dividend in {event['currency']}, prices in {currency}"
                    continue
                amount = float(event["amount"])
                if not math.isfinite(amount):
                    raise _Unusable(f"a dividend of {event['amount']!r}")
                dividends.append((day, amount))
    except (KeyError, ZeroDivisionError, AttributeError, *_NO_MOMENT) as error:
        raise _Unusable("events that cannot be read") from error
    return (
        pl.DataFrame(splits, schema=SPLITS_SCHEMA, orient="row"),
        pl.DataFrame(dividends, schema=DIVIDENDS_SCHEMA, orient="row"),
        foreign,
    )


_NO_MOMENT = (TypeError, ValueError, OverflowError, OSError)


def _day(timestamp: int, zone: str) -> date:
    """The date in `zone` of an epoch second. Raises one of _NO_MOMENT."""
    return datetime.fromtimestamp(timestamp, tz=UTC).astimezone(ZoneInfo(zone)).date()
