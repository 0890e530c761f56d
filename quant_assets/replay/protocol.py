"""The JSON bodies of Yahoo's chart API, version 8: shape, ranges, metadata and errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson

from quant_assets.replay.convention import YahooSeries, split_fraction
from quant_assets.replay.history import Events, SymbolInfo, open_timestamps
from quant_assets.replay.venues import Venue, session_open
from quant_assets.replay.world import World

VALID_RANGES = ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"]
_MONTHS = {"1mo": 1, "3mo": 3, "6mo": 6, "1y": 12, "2y": 24, "5y": 60, "10y": 120}
_OTHER_RANGE = re.compile(r"([1-9]\d*)(d|wk|mo|y)")
_FIELDS = ("open", "high", "low", "close")


@dataclass(frozen=True)
class ChartQuery:
    """What a chart request asks for: a range word, or epoch seconds [period1, period2)."""

    period1: int | None
    period2: int | None
    range: str | None
    interval: str
    events: frozenset[str]

    @classmethod
    def parse(cls, params: Mapping[str, str]) -> ChartQuery:
        """From the query string; ValueError when a period is not a whole number."""
        return cls(
            period1=int(params["period1"]) if "period1" in params else None,
            period2=int(params["period2"]) if "period2" in params else None,
            range=None if "period1" in params else params.get("range", "1d"),
            interval=params.get("interval", "1d"),
            events=frozenset(params.get("events", "").split(",")),
        )

    @property
    def wants_splits(self) -> bool:
        """Whether splits are asked for."""
        return bool(self.events & {"split", "splits"})

    @property
    def is_probe(self) -> bool:
        """Whether this only asks for the metadata (how yfinance learns the time zone)."""
        return self.range == "1d"


@dataclass(frozen=True)
class Event:
    """A dividend's amount or a split's ratio, stamped with the session's open, epoch seconds.

    text: told in place of the value; currency: told beside it.
    """

    stamp: int
    value: float
    text: str | None = None
    currency: str | None = None


@dataclass(frozen=True, eq=False)
class Chart:
    """One answer before it becomes JSON.

    `timestamps` epoch seconds; `prices` 4 x n (open, high, low, close), `adjclose`, `volume`;
    `nulls` are positions whose values are all null.
    """

    meta: dict[str, Any]
    timestamps: np.ndarray
    prices: np.ndarray
    adjclose: np.ndarray
    volume: np.ndarray
    dividends: list[Event]
    gains: list[Event]
    splits: list[Event]
    nulls: frozenset[int] = field(default_factory=frozenset)

    def take(self, positions: np.ndarray) -> Chart:
        """The same answer with the bars at `positions` only, in that order."""
        return replace(
            self,
            timestamps=self.timestamps[positions],
            prices=np.ascontiguousarray(self.prices[:, positions]),
            adjclose=self.adjclose[positions],
            volume=self.volume[positions],
            nulls=frozenset(np.flatnonzero(np.isin(positions, list(self.nulls))).tolist()),
        )


def chart(
    world: World, info: SymbolInfo, series: YahooSeries, query: ChartQuery, quoted: YahooSeries | None = None
) -> Chart:
    """The part of `series` that `query` asks for; price and ranges in its metadata are of `quoted`, if given."""
    low, high = _bounds(world, info.venue, series, query)
    a, b = np.searchsorted(series.timestamps, [low, high])
    if query.range in ("1d", "5d"):
        a = max(0, b - int(query.range[0]))
        low = int(series.timestamps[a]) if a < b else high
    return Chart(
        meta=_meta(world, info, series if quoted is None else quoted, query),
        timestamps=series.timestamps[a:b],
        prices=series.prices[:, a:b],
        adjclose=series.adjclose[a:b],
        volume=series.volume[a:b],
        dividends=_events(info.venue, series.dividends, low, high) if "div" in query.events else [],
        gains=_events(info.venue, series.gains, low, high) if "capitalGains" in query.events else [],
        splits=_events(info.venue, series.splits, low, high) if query.wants_splits else [],
    )


def _bounds(world: World, where: Venue, series: YahooSeries, query: ChartQuery) -> tuple[int, int]:
    now = int(world.now.timestamp()) + 1
    if query.period1 is not None:
        return query.period1, query.period2 if query.period2 is not None else now
    word = query.range or "1d"
    today = world.as_of(where).local_date
    if word == "ytd":
        return _midnight(where, date(today.year, 1, 1)), now
    if word in _MONTHS:
        return _midnight(where, _months_before(today, _MONTHS[word])), now
    if other := _OTHER_RANGE.fullmatch(word):
        number, unit = int(other[1]), other[2]
        if unit in ("d", "wk"):
            return _midnight(where, today - timedelta(days=number * (7 if unit == "wk" else 1))), now
        return _midnight(where, _months_before(today, number * (12 if unit == "y" else 1))), now
    return -(2**62), now


def _midnight(where: Venue, day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(where.zone)).timestamp())


def _months_before(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 - months
    year, month = divmod(index, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return date(year, month + 1, min(last, day.day))
        except ValueError:
            continue
    raise AssertionError("every month has 28 days")


def _events(where: Venue, events: Events, low: int, high: int) -> list[Event]:
    if not len(events[0]):
        return []
    stamps = open_timestamps(where, events[0])
    inside = (stamps >= low) & (stamps < high)
    return [Event(*event) for event in zip(stamps[inside].tolist(), events[1][inside].tolist(), strict=True)]


def _meta(world: World, info: SymbolInfo, series: YahooSeries, query: ChartQuery) -> dict[str, Any]:
    where = info.venue
    state = world.as_of(where)
    local = state.now.astimezone(ZoneInfo(where.zone))
    offset = int(local.utcoffset().total_seconds())  # pyright: ignore[reportOptionalMemberAccess]
    meta: dict[str, Any] = {
        "currency": info.currency,
        "symbol": info.symbol,
        "exchangeName": where.yahoo_code,
        "fullExchangeName": where.full_name,
        "instrumentType": info.instrument,
        "firstTradeDate": int(session_open(where, info.listed_on).timestamp()),
        "regularMarketTime": int(state.now.timestamp()),
        "hasPrePostMarketData": where.region == "us",
        "gmtoffset": offset,
        "timezone": local.tzname(),
        "exchangeTimezoneName": where.zone,
        "longName": info.name,
        "shortName": info.name,
        "priceHint": 2,
        "currentTradingPeriod": _trading_periods(where, state.local_date, offset, str(local.tzname())),
        "dataGranularity": "1d",
        "range": query.range or "",
        "validRanges": VALID_RANGES,
    }
    if len(series.dates):
        last = series.dates[-1].item()
        closed = datetime.combine(last, where.close, ZoneInfo(where.zone)).astimezone(UTC)
        # A half day ends before the regular close, which may still be ahead.
        meta["regularMarketTime"] = int(min(closed, state.now).timestamp())
        meta["regularMarketPrice"] = float(series.prices[3, -1])
        meta["regularMarketDayHigh"] = float(series.prices[1, -1])
        meta["regularMarketDayLow"] = float(series.prices[2, -1])
        meta["regularMarketVolume"] = int(series.volume[-1])
        year = series.dates > np.datetime64(last - timedelta(days=365), "D")
        meta["fiftyTwoWeekHigh"] = float(series.prices[1, year].max())
        meta["fiftyTwoWeekLow"] = float(series.prices[2, year].min())
        meta["chartPreviousClose"] = float(series.prices[3, max(0, len(series.dates) - 2)])
    return meta


def _trading_periods(where: Venue, day: date, offset: int, name: str) -> dict[str, Any]:
    opened = int(session_open(where, day).timestamp())
    closed = int(datetime.combine(day, where.close, ZoneInfo(where.zone)).timestamp())
    extra = 4 * 3600 if where.region == "us" else 0
    spans = {
        "pre": (opened - extra, opened),
        "regular": (opened, closed),
        "post": (closed, closed + extra),
    }
    return {
        key: {"timezone": name, "start": start, "end": end, "gmtoffset": offset}
        for key, (start, end) in spans.items()
    }


def render_chart(answer: Chart) -> bytes:
    """The JSON of a 200 answer. Without bars it has no `timestamp`, and an empty quote, as Yahoo's."""
    result: dict[str, Any] = {"meta": answer.meta}
    if len(answer.timestamps):
        result["timestamp"] = answer.timestamps
    events: dict[str, Any] = {}
    if answer.dividends:
        events["dividends"] = _by_stamp(answer.dividends, _dividend_event)
    if answer.gains:
        events["capitalGains"] = _by_stamp(answer.gains, _dividend_event)
    if answer.splits:
        events["splits"] = _by_stamp(answer.splits, _split_event)
    if events:
        result["events"] = events
    if len(answer.timestamps):
        columns: dict[str, Any] = {name: answer.prices[j] for j, name in enumerate(_FIELDS)}
        columns |= {"volume": answer.volume, "adjclose": answer.adjclose}
        if answer.nulls:
            columns = {name: _with_nulls(values, answer.nulls) for name, values in columns.items()}
        adjclose = columns.pop("adjclose")
        result["indicators"] = {"quote": [columns], "adjclose": [{"adjclose": adjclose}]}
    else:
        result["indicators"] = {"quote": [{}], "adjclose": [{}]}
    return orjson.dumps({"chart": {"result": [result], "error": None}}, option=orjson.OPT_SERIALIZE_NUMPY)


def _with_nulls(values: np.ndarray, nulls: frozenset[int]) -> list[Any]:
    out: list[Any] = values.tolist()
    for position in nulls:
        out[position] = None
    return out


def _by_stamp(
    events: Sequence[Event], render: Callable[[Event], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The events under their stamps; of two with the same one the second is stamped a second later."""
    out: dict[str, dict[str, Any]] = {}
    for event in events:
        while str(event.stamp) in out:
            event = replace(event, stamp=event.stamp + 1)
        out[str(event.stamp)] = render(event)
    return out


def _dividend_event(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {"amount": event.value if event.text is None else event.text, "date": event.stamp}
    return told if event.currency is None else {**told, "currency": event.currency}


def _split_event(event: Event) -> dict[str, Any]:
    if event.text is not None:
        return {"date": event.stamp, **_parts(event.text), "splitRatio": event.text}
    up, down = split_fraction(event.value)
    words = {"numerator": float(up), "denominator": float(down), "splitRatio": f"{up}:{down}"}
    return {"date": event.stamp, **words}


def _parts(ratio: str) -> dict[str, float | None]:
    """Numerator and denominator of a ratio that is told as text; None for what is no number."""
    parts: list[float | None] = []
    for part in ratio.split(":"):
        try:
            parts.append(float(part))
        except ValueError:
            parts.append(None)
    up, down = parts if len(parts) == 2 else (None, None)
    return {"numerator": up, "denominator": down}


def error_body(root: str, code: str, description: str) -> bytes:
    """Yahoo's error envelope: `root` is chart, quoteSummary, quoteResponse or finance."""
    return orjson.dumps({root: {"result": None, "error": {"code": code, "description": description}}})


NOT_FOUND = error_body("chart", "Not Found", "No data found, symbol may be delisted")


def no_data_body(query: ChartQuery, period2: int) -> bytes:
    """The body of the 400 for a known symbol without bars in the period asked for."""
    return error_body(
        "chart",
        "Bad Request",
        f"Data doesn't exist for startDate = {query.period1}, endDate = {period2}",
    )
