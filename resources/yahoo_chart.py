"""One chart answer of Yahoo's, read from its raw status and body: the outcome, the bars, the events.

The yfinance package turns most failures into an empty frame, drops null bars and moves events of a missing bar
to the row before, so the raw answer is what we read. Pure: no request is made here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from typing import Any, cast

import numpy as np
import orjson
import polars as pl

from quant_assets.resources.source import SERVED_SCHEMA, FetchResult, Meta, Outcome
from quant_assets.resources.yahoo_events import NO_MOMENT, UnusableAnswer, mapping, optional, read_events
from quant_assets.resources.yahoo_stamps import Stamping

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


CONSENT = (
    "Yahoo's consent page instead of an answer (run again from a network outside Europe, or with the folder `cache` "
    "in QUANT_ASSETS_HOME deleted)"
)

_LONGEST_TEXT = 200
_HEAD = 4096
_TOO_MANY = b"too many requests"


def read_chart(
    status: int,
    body: bytes,
    *,
    symbol: str,
    zone: str,
    close: time | None = None,
    sessions: Sequence[date] = (),
) -> FetchResult:
    """The result of one chart request.

    Args:
        status: the HTTP status.
        body: the body as received.
        symbol: the symbol that was asked for; an answer for another is a failure.
        zone: the exchange's IANA zone; an answer in another zone is a failure (its dates would be another day's).
        close: the exchange's latest usual local close; without it every stamp's local date is its session.
        sessions: the exchange's sessions in order, from the start of the range asked for through today.

    Returns:
        OK with bars in session dates of `zone`; NO_DATA, NOT_FOUND, RATE_LIMITED or FAILED with the reason. Never
        raises for anything a server may send.
    """
    facts: dict[str, Any] = {"status": status, "bytes": len(body)}

    def ended(outcome: Outcome, reason: str) -> FetchResult:
        return FetchResult(symbol, outcome, reason, facts=facts)

    if status in (429, 999):
        return ended(Outcome.RATE_LIMITED, f"rate-limited ({status})")
    try:
        chart = _chart_of(body)
    except UnusableAnswer as error:
        if _TOO_MANY in body[:_HEAD].lower():
            return ended(Outcome.RATE_LIMITED, f"rate-limited (the text of it, with status {status})")
        if _is_consent_page(body):
            facts |= {"consent": True, "unanswered": True}
            return ended(Outcome.FAILED, CONSENT)
        return ended(Outcome.FAILED, f"status {status}: {error}" if status != 200 else str(error))
    error_text = _error_text(chart)
    if _TOO_MANY.decode() in error_text.lower():
        return ended(Outcome.RATE_LIMITED, f"rate-limited (the text of it, with status {status})")
    if status == 404 and error_text.startswith("No data found"):
        return ended(Outcome.NOT_FOUND, f"not found at the source: {error_text}")
    if status == 400 and error_text.startswith("Data doesn't exist"):
        return ended(Outcome.NO_DATA, "the source has no data in the range")
    if status != 200 or error_text:
        return ended(Outcome.FAILED, f"status {status}: {error_text or 'no reason given'}")
    try:
        return _read_result(chart, symbol, Stamping(zone, close, sessions), facts)
    except UnusableAnswer as error:
        return ended(Outcome.FAILED, str(error))


def _is_consent_page(body: bytes) -> bool:
    """Whether this is the page that asks for consent to cookies, in Europe above all."""
    page = body.lower()
    return page.lstrip().startswith(b"<") and any(
        sign in page for sign in (b"collectconsent", b"consent.yahoo.com", b"csrftoken")
    )


def _chart_of(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise UnusableAnswer("empty body")
    try:
        parsed: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnusableAnswer("the body is no JSON") from error
    chart = mapping(mapping(parsed).get("chart"))
    if not chart:
        raise UnusableAnswer("the JSON holds no chart")
    return chart


def _error_text(chart: Mapping[str, Any]) -> str:
    error = chart.get("error")
    if error is None:
        return ""
    return str(mapping(error).get("description") or error)


def _read_result(
    chart: Mapping[str, Any], symbol: str, stamping: Stamping, facts: dict[str, Any]
) -> FetchResult:
    results = chart.get("result")
    if not isinstance(results, list) or not results:
        raise UnusableAnswer("the chart holds no result")
    result = mapping(cast("list[Any]", results)[0])
    meta = mapping(result.get("meta"))
    if str(meta.get("symbol", "")).upper() != symbol.upper():
        raise UnusableAnswer(f"answer for another symbol: {meta.get('symbol')!r}")
    if meta.get("exchangeTimezoneName") != stamping.zone:
        raise UnusableAnswer(
            f"answer in zone {meta.get('exchangeTimezoneName')!r}, the exchange is in {stamping.zone}"
        )
    today = _meta_of(meta)
    if today.price_at is not None:
        stamping = replace(stamping, live_at=int(today.price_at.timestamp()))
    named = meta.get("currency")
    currency = named if isinstance(named, str) and named else None
    first = meta.get("firstTradeDate")
    try:
        first_trade = None if first is None else stamping.day(first, {})
    except NO_MOMENT as error:
        raise UnusableAnswer(f"a first trade date that is no moment: {first!r}") from error
    events = optional(result, "events")
    if not result.get("timestamp") and not events:
        return FetchResult(
            symbol,
            Outcome.NO_DATA,
            "the source has no data in the range",
            currency=currency,
            first_trade=first_trade,
            meta=today,
            facts=facts,
        )
    # An ex-date without a bar comes as an answer without timestamps, and must not be lost.
    found = _read_bars(_quotes(result), stamping, today.price)

    def day(stamp: Any) -> date:
        return stamping.day(stamp, found.placed)

    splits, dividends, unreadable = read_events(events, day, currency)
    return FetchResult(
        symbol,
        Outcome.OK,
        bars=found.bars,
        splits=splits,
        dividends=dividends,
        dropped=found.dropped,
        currency=currency,
        first_trade=first_trade,
        meta=today,
        unreadable=unreadable,
        shifted=found.shifted,
        notes=found.notes,
        facts=facts,
    )


@dataclass(slots=True)
class _Bars:
    """The bars of an answer (SERVED_SCHEMA), and what was settled in reading them: see `FetchResult`.

    `placed` are the sessions of stamps at unusual hours.
    """

    bars: pl.DataFrame
    dropped: dict[date, str] = field(default_factory=dict[date, str])
    placed: Mapping[int, date] = field(default_factory=dict[int, date])
    shifted: list[date] = field(default_factory=list[date])
    notes: list[str] = field(default_factory=list[str])


def _read_bars(rows: pl.DataFrame, stamping: Stamping, price: float | None) -> _Bars:
    """The bars of quotes (`_quotes`)."""
    if (plain := _plain_bars(rows, stamping)) is not None:
        return _Bars(plain)
    rows, placed, shifted = stamping.put(rows)
    rows, notes = _without_live_row(rows, price)
    if shifted:
        span = (
            f"{shifted[0]}"
            if len(shifted) == 1
            else f"{len(shifted)} sessions from {shifted[0]} to {shifted[-1]}"
        )
        notes.append(f"the bar of {span} was stamped on the day before, and is put on its session")
    bars, dropped = _bars(rows)
    return _Bars(bars, dropped, placed, shifted, notes)


def _plain_bars(rows: pl.DataFrame, stamping: Stamping) -> pl.DataFrame | None:
    """The bars of quotes that have nothing to settle, as most have; None where there may be something.

    That is: whole bars at usual hours, one a day and in order, with volumes that are numbers of shares.
    """
    if rows.is_empty() or any(rows[name].null_count() for name in _QUOTE):
        return None
    days = stamping.usual_days(rows["timestamp"].to_numpy())
    volume = rows["volume"].to_numpy()
    if days is None or not ((volume == np.rint(volume)) & (np.abs(volume) < 2**62)).all():
        return None
    return pl.DataFrame(
        [
            pl.Series("date", days.astype(np.int32)).cast(pl.Date),
            *(rows[name] for name in SERVED_SCHEMA if name not in ("date", "volume")),
            pl.Series("volume", volume.astype(np.int64)),
        ]
    )


def _quotes(result: Mapping[str, Any]) -> pl.DataFrame:
    """timestamp, the quote's columns and adj_close as served, one row a stamp. Raises UnusableAnswer."""
    if not result.get("timestamp"):
        return pl.DataFrame(
            schema={"timestamp": pl.Int64, **dict.fromkeys([*_QUOTE, "adj_close"], pl.Float64)}
        )
    quotes = mapping(result.get("indicators")).get("quote")
    if not isinstance(quotes, list) or not quotes:
        raise UnusableAnswer("timestamps without quotes")
    quote = mapping(cast("list[Any]", quotes)[0])
    columns = {"timestamp": result["timestamp"], **{name: quote.get(name) for name in _QUOTE}}
    lengths = {len(cast("list[Any]", v)) if isinstance(v, list) else -1 for v in columns.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise UnusableAnswer("timestamps and quotes of different length")
    try:
        raw = pl.DataFrame(
            columns,
            schema={"timestamp": pl.Int64, **dict.fromkeys(_QUOTE, pl.Float64)},
            strict=False,
        )
    except _BUILD_ERRORS as error:
        raise UnusableAnswer("quotes that are no numbers") from error
    stamps = raw["timestamp"]
    if stamps.null_count() or np.abs(stamps.to_numpy()).max() > _FAR:
        raise UnusableAnswer("timestamps that are no moments")
    return raw.hstack([_adjusted(result, raw.height)])


def _without_live_row(rows: pl.DataFrame, price: float | None) -> tuple[pl.DataFrame, list[str]]:
    """Dated rows without the live one that Yahoo serves beside the last bar, and what was done.

    After the close the last session often comes twice: as its bar, stamped at the opening, and as a live row, stamped
    at the last trade. Both hold the day; the volumes differ by what was reported late. The bar is the end of the day
    when it closes like the live row or at today's price (`price`), or has counted as many shares; where the live row
    alone has got further, neither is known to be final, and both stay.
    """
    last = rows.filter(pl.col("date") == pl.col("date").max()).sort("timestamp")
    if (
        last.height != 2
        or last["timestamp"].n_unique() != 2
        or last[:, [*_QUOTE]].null_count().sum_horizontal().sum()
    ):
        return rows, []
    bar, live = last.to_dicts()
    if all(bar[name] == live[name] for name in _QUOTE):
        return rows, []
    if bar["close"] not in (live["close"], price) and bar["volume"] < live["volume"]:
        return rows, []
    note = f"a live row beside the bar of {bar['date']} is left out"
    return rows.filter(pl.col("timestamp") != live["timestamp"]), [note]


def _bars(rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[date, str]]:
    """The bars (SERVED_SCHEMA) of dated rows, and the dates whose bar nobody can use, with the reason."""
    dropped: dict[date, str] = {}
    nulls = rows.filter(pl.any_horizontal(pl.col(_QUOTE).is_null()))
    for day in nulls["date"]:
        dropped[day] = "null values in the bar"
    # The same bar twice is one bar; two bars that differ leave no way to know which one was traded.
    unique = rows.sort("adj_close", nulls_last=True).unique(
        ["date", *_QUOTE], keep="first", maintain_order=True
    )
    for day in unique.filter(pl.col("date").is_duplicated())["date"].unique():
        dropped.setdefault(day, "two different bars for one session")
    volume = pl.col("volume")
    uncountable = unique.filter((volume != volume.round(0)) | ~(volume.abs() < 2**62))
    for day in uncountable["date"]:
        dropped.setdefault(day, "a volume that is no number of shares")
    bars = unique.filter(~pl.col("date").is_in(list(dropped))).sort("date")
    return bars.select(pl.col(name).cast(dtype) for name, dtype in SERVED_SCHEMA.items()), dropped


def _adjusted(result: Mapping[str, Any], length: int) -> pl.Series:
    """The served Adj Close, null where there is none that can be read. It is a witness: without it bars are bars."""
    blocks = mapping(result.get("indicators")).get("adjclose")
    block = mapping(cast("list[Any]", blocks)[0]) if isinstance(blocks, list) and blocks else {}
    values = block.get("adjclose")
    none = pl.Series("adj_close", [None] * length, dtype=pl.Float64)
    if not isinstance(values, list) or len(cast("list[Any]", values)) != length:
        return none
    try:
        served = pl.Series("adj_close", cast("list[Any]", values), dtype=pl.Float64, strict=False)
    except _BUILD_ERRORS:
        return none
    if not served.null_count() and np.isfinite(served.to_numpy()).all():
        return served
    return served.set(~served.is_finite(), None)


def _meta_of(meta: Mapping[str, Any]) -> Meta:
    at = meta.get("regularMarketTime")
    try:
        price_at = None if at is None else datetime.fromtimestamp(at, tz=UTC)
    except NO_MOMENT:
        price_at = None
    return Meta(
        price=_price(meta.get("regularMarketPrice")),
        price_at=price_at,
        low_52_weeks=_price(meta.get("fiftyTwoWeekLow")),
        high_52_weeks=_price(meta.get("fiftyTwoWeekHigh")),
        name=_text(meta.get("longName")) or _text(meta.get("shortName")),
        instrument=_text(meta.get("instrumentType")),
    )


def _text(value: object) -> str | None:
    """A short text in one line; None for anything else."""
    line = " ".join(value.split()) if isinstance(value, str) else ""
    return line[:_LONGEST_TEXT] or None


def _price(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    return float(cast("float", value)) if known else None
