"""What faults do to the events of an answer, and to where they stand in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from quant_assets.replay.convention import YahooSeries
from quant_assets.replay.faults import Fault
from quant_assets.replay.history import SymbolInfo, open_timestamps
from quant_assets.replay.kinds import FaultKind
from quant_assets.replay.protocol import Chart, ChartQuery, Event


@dataclass(frozen=True)
class Asked:
    """What an answer is about: the listing, the query, and the whole series that the answer is a part of."""

    info: SymbolInfo
    query: ChartQuery
    series: YahooSeries


def local_dates(info: SymbolInfo, timestamps: np.ndarray) -> np.ndarray:
    """The exchange's dates (datetime64[D]) of epoch seconds."""
    moments = pl.from_epoch(pl.Series(timestamps, dtype=pl.Int64), "s").dt.replace_time_zone("UTC")
    return moments.dt.convert_time_zone(info.venue.zone).dt.date().to_numpy().astype("datetime64[D]")


def reaches_last_bar(chart: Chart, asked: Asked) -> bool:
    """Whether the answer holds the newest bar there is."""
    stamps = asked.series.timestamps
    return bool(len(chart.timestamps) and len(stamps) and chart.timestamps[-1] >= stamps[-1])


def _announced(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    """A split ahead, in every answer that reaches the last bar, whatever end was asked for."""
    day, series = np.datetime64(fault.date, "D"), asked.series
    is_ahead = len(series.dates) and series.dates[-1] < day and not (series.splits[0] == day).any()
    if fault.ratio is None or not (is_ahead and reaches_last_bar(chart, asked) and asked.query.wants_splits):
        return chart
    return replace(chart, splits=[*chart.splits, Event(_stamp(asked, fault.date), fault.ratio)])


def _in_another_currency(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    def told(event: Event) -> Event:
        return replace(event, value=event.value * fault.factor, currency=fault.currency)

    return replace(chart, dividends=_changed(chart.dividends, asked, fault.date, told))


def _unreadable(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    def told(event: Event) -> Event:
        return replace(event, text=fault.text)

    if fault.what == "split":
        return replace(chart, splits=_changed(chart.splits, asked, fault.date, told))
    return replace(chart, dividends=_changed(chart.dividends, asked, fault.date, told))


def _on_a_closed_day(fault: Fault, chart: Chart, asked: Asked) -> Chart:
    stamp = _stamp(asked, fault.to)

    def moved(events: list[Event]) -> list[Event]:
        return _changed(events, asked, fault.date, lambda event: replace(event, stamp=stamp))

    return replace(
        chart, dividends=moved(chart.dividends), gains=moved(chart.gains), splits=moved(chart.splits)
    )


def _changed(
    events: list[Event], asked: Asked, day: date | None, change: Callable[[Event], Event]
) -> list[Event]:
    stamps = np.array([event.stamp for event in events], dtype=np.int64)
    there = local_dates(asked.info, stamps) == np.datetime64(day, "D")
    return [change(event) if hit else event for event, hit in zip(events, there, strict=True)]


def _stamp(asked: Asked, day: date | None) -> int:
    return int(open_timestamps(asked.info.venue, np.array([day], dtype="datetime64[D]"))[0])


EVENT_EFFECTS: Mapping[FaultKind, Callable[[Fault, Chart, Asked], Chart]] = {
    FaultKind.SPLIT_BEFORE_EX_DATE: _announced,
    FaultKind.DIVIDEND_CURRENCY: _in_another_currency,
    FaultKind.UNREADABLE_EVENT: _unreadable,
    FaultKind.ACTION_ON_CLOSED_DAY: _on_a_closed_day,
}
