"""What faults do to a proper answer before it becomes JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from quant_assets.replay.event_effects import EVENT_EFFECTS, Asked, local_dates, reaches_last_bar
from quant_assets.replay.faults import Fault
from quant_assets.replay.history import PRICES, SymbolInfo, open_timestamps
from quant_assets.replay.kinds import FaultKind
from quant_assets.replay.protocol import Chart, Event

_QUOTES = (
    "regularMarketPrice",
    "regularMarketDayHigh",
    "regularMarketDayLow",
    "fiftyTwoWeekHigh",
    "fiftyTwoWeekLow",
    "chartPreviousClose",
)


# What a live row or bar is like is bent with the others; where stamps are moved, days can no longer be found.
_ORDER = {
    FaultKind.LIVE_ROW_BESIDE_LAST: 0,
    FaultKind.ACTION_ON_CLOSED_DAY: 2,
    FaultKind.STAMPED_BEFORE: 3,
}


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """The faults in the order in which they bend an answer."""
    return sorted(faults, key=lambda fault: _ORDER.get(fault.kind, 1))


def chart_under(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    """The answer with this fault in it."""
    kind = fault.kind
    if fault.currency is not None and kind in (FaultKind.WRONG_CURRENCY, FaultKind.WRONG_UNIT):
        chart = replace(chart, meta={**chart.meta, "currency": fault.currency})
    if kind is FaultKind.NO_CURRENCY:
        return replace(chart, meta={**chart.meta, "currency": None})
    if kind in EVENT_EFFECTS:
        return EVENT_EFFECTS[kind](fault, chart, asked)
    if kind is FaultKind.LIVE_ROW_BESIDE_LAST:
        return _live_row(fault, chart, asked)
    if kind is FaultKind.STAMPED_BEFORE:
        return _stamped_before(fault, chart, asked)
    n = len(chart.timestamps)
    if kind is FaultKind.RESCALED_BARS:
        return _rescaled_bars(fault, chart, asked)
    if kind is FaultKind.WRONG_UNIT and fault.date is None:
        return _rescaled(chart, np.ones(n, dtype=bool), 0.01, volume=False, meta=True)
    at = n // 2 if fault.date is None else _position(asked.info, chart, fault.date)
    if n == 0 or at is None:
        return chart
    if kind is FaultKind.WRONG_UNIT:
        return _rescaled(chart, np.arange(n) == at, 0.01, volume=False, meta=False)
    if kind is FaultKind.FIELD_FACTOR:
        return _field_factor(fault, chart, at)
    if kind is FaultKind.MISSING_SESSION:
        return chart.take(np.delete(np.arange(n), at))
    if kind is FaultKind.NULL_BAR:
        return replace(chart, nulls=chart.nulls | {at})
    if kind is FaultKind.DUPLICATE_TIMESTAMP:
        return _twice(fault, chart, at)
    return chart


def _twice(fault: Fault, chart: Chart, at: int) -> Chart:
    twice = chart.take(np.insert(np.arange(len(chart.timestamps)), at + 1, at))
    if fault.differs:
        twice.prices[:, at + 1] = np.float32(twice.prices[:, at + 1] * 1.01)
        twice.adjclose[at + 1] *= 1.01
        twice.volume[at + 1] += 100
    return twice


def _live_row(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    if not reaches_last_bar(chart, asked):
        return chart
    last = len(chart.timestamps) - 1
    twice = _twice(fault, chart, last)
    stamps = twice.timestamps.copy()
    stamps[last + 1] = chart.meta["regularMarketTime"]
    return replace(twice, timestamps=stamps)


def _stamped_before(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    where, zone = asked.info.venue, ZoneInfo(asked.info.venue.zone)

    def moved(stamps: np.ndarray) -> np.ndarray:
        days = local_dates(asked.info, stamps)
        # A live bar is stamped at the moment, whatever the others are.
        which = (stamps == open_timestamps(where, days)) & _between(fault, days)
        before = [
            int(datetime.combine(day - timedelta(days=1), time(fault.hour), zone).timestamp())
            for day in days[which].tolist()
        ]
        out = stamps.copy()
        out[which] = before
        return out

    def events(given: list[Event]) -> list[Event]:
        stamps = moved(np.array([event.stamp for event in given], dtype=np.int64)).tolist()
        return [replace(event, stamp=stamp) for event, stamp in zip(given, stamps, strict=True)]

    return replace(
        chart,
        timestamps=moved(chart.timestamps),
        dividends=events(chart.dividends),
        gains=events(chart.gains),
        splits=events(chart.splits),
    )


def _between(fault: Fault, dates: np.ndarray) -> np.ndarray:
    inside = np.ones(len(dates), dtype=bool)
    if fault.first is not None:
        inside &= dates >= np.datetime64(fault.first, "D")
    if fault.last is not None:
        inside &= dates <= np.datetime64(fault.last, "D")
    return inside


def _position(info: SymbolInfo, chart: Chart, day: date) -> int | None:
    stamp = open_timestamps(info.venue, np.array([day], dtype="datetime64[D]"))[0]
    at = np.flatnonzero(chart.timestamps == stamp)
    return int(at[0]) if at.size else None


def _rescaled_bars(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    inside = _between(fault, local_dates(asked.info, chart.timestamps))
    whole = bool(_between(fault, asked.series.dates).all())
    return _rescaled(chart, inside, fault.factor, volume=fault.volume, meta=whole)


def _rescaled(chart: Chart, which: np.ndarray, factor: float, *, volume: bool, meta: bool) -> Chart:
    prices, adjclose, shares = chart.prices.copy(order="C"), chart.adjclose.copy(), chart.volume.copy()
    prices[:, which] = (prices[:, which] * factor).astype(np.float32)
    adjclose[which] *= factor
    told = dict(chart.meta)
    if volume:
        shares[which] = np.rint(shares[which] / factor).astype(np.int64)
    if meta:
        told |= {name: float(np.float32(told[name] * factor)) for name in _QUOTES if name in told}
        if volume and "regularMarketVolume" in told:
            told["regularMarketVolume"] = round(told["regularMarketVolume"] / factor)
    return replace(chart, meta=told, prices=prices, adjclose=adjclose, volume=shares)


def _field_factor(fault: Fault, chart: Chart, at: int) -> Chart:
    if fault.field == "volume":
        volume = chart.volume.copy()
        volume[at] = round(volume[at] * fault.factor)
        return replace(chart, volume=volume)
    if fault.field == "adjclose":
        adjclose = chart.adjclose.copy()
        adjclose[at] *= fault.factor
        return replace(chart, adjclose=adjclose)
    prices = chart.prices.copy(order="C")
    row = PRICES.index(str(fault.field))
    prices[row, at] = np.float32(prices[row, at] * fault.factor)
    return replace(chart, prices=prices)
