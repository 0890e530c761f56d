"""What faults do to a proper answer before it becomes JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from quant_assets.replay.convention import YahooSeries
from quant_assets.replay.faults import Fault
from quant_assets.replay.history import PRICES, SymbolInfo, open_timestamps
from quant_assets.replay.kinds import FaultKind
from quant_assets.replay.protocol import Chart, ChartQuery, Event

_QUOTES = (
    "regularMarketPrice",
    "regularMarketDayHigh",
    "regularMarketDayLow",
    "fiftyTwoWeekHigh",
    "fiftyTwoWeekLow",
    "chartPreviousClose",
)


@dataclass(frozen=True)
class Asked:
    """What an answer is about: the listing, the query, and the whole series that the answer is a part of."""

    info: SymbolInfo
    query: ChartQuery
    series: YahooSeries


def chart_under(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    """The answer with this fault in it."""
    kind = fault.kind
    if fault.currency is not None and kind in (FaultKind.WRONG_CURRENCY, FaultKind.WRONG_UNIT):
        chart = replace(chart, meta={**chart.meta, "currency": fault.currency})
    if kind is FaultKind.SPLIT_BEFORE_EX_DATE:
        return _announced(fault, chart, asked)
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
        twice = chart.take(np.insert(np.arange(n), at + 1, at))
        if fault.differs:
            twice.prices[:, at + 1] = np.float32(twice.prices[:, at + 1] * 1.01)
            twice.adjclose[at + 1] *= 1.01
            twice.volume[at + 1] += 100
        return twice
    return chart


def _position(info: SymbolInfo, chart: Chart, day: date) -> int | None:
    stamp = open_timestamps(info.venue, np.array([day], dtype="datetime64[D]"))[0]
    at = np.flatnonzero(chart.timestamps == stamp)
    return int(at[0]) if at.size else None


def local_dates(info: SymbolInfo, timestamps: np.ndarray) -> np.ndarray:
    """The exchange's dates (datetime64[D]) of epoch seconds."""
    moments = pl.from_epoch(pl.Series(timestamps, dtype=pl.Int64), "s").dt.replace_time_zone("UTC")
    return moments.dt.convert_time_zone(info.venue.zone).dt.date().to_numpy().astype("datetime64[D]")


def _announced(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    """A split ahead, in every answer that reaches the last bar, whatever end was asked for."""
    day, series = np.datetime64(fault.date, "D"), asked.series
    is_ahead = len(series.dates) and series.dates[-1] < day and not (series.splits[0] == day).any()
    reaches = len(chart.timestamps) and chart.timestamps[-1] >= series.timestamps[-1]
    if fault.ratio is None or not (is_ahead and reaches and asked.query.wants_splits):
        return chart
    stamp = int(open_timestamps(asked.info.venue, np.array([day]))[0])
    return replace(chart, splits=[*chart.splits, Event(stamp, fault.ratio)])


def _rescaled_bars(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    dates, known = local_dates(asked.info, chart.timestamps), asked.series.dates
    inside, whole = np.ones(len(dates), dtype=bool), True
    if fault.first is not None:
        inside &= dates >= np.datetime64(fault.first, "D")
        whole &= not len(known) or bool(known[0] >= np.datetime64(fault.first, "D"))
    if fault.last is not None:
        inside &= dates <= np.datetime64(fault.last, "D")
        whole &= not len(known) or bool(known[-1] <= np.datetime64(fault.last, "D"))
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
