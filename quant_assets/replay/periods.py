"""Bars of weeks and months as Yahoo makes them of its daily ones, with what is wrong about them.

A week's bar is stamped with its Monday's midnight on the exchange's clock, a month's with its first day's;
`range=ytd` counts weeks from the first of January. Open and close are of the first and the last session asked for,
split-adjusted. The adjusted close is the close adjusted for every dividend *after the stamp*: one within the week is
taken off the close of its last session too, which was traded without it (ranaroussi/yfinance, issue 1273).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from quant_assets.replay.convention import YahooSeries
from quant_assets.replay.protocol import Chart, ChartQuery
from quant_assets.replay.venues import Venue

INTERVALS = ("1d", "1wk", "1mo")


def by_period(where: Venue, chart: Chart, query: ChartQuery, series: YahooSeries) -> Chart:
    """The daily bars of an answer as bars of the interval that was asked for; `series` is all that the symbol has."""
    if query.interval == "1d":
        return chart
    meta = {**chart.meta, "dataGranularity": query.interval}
    bars = [at for at in range(len(chart.timestamps)) if at not in chart.nulls]
    zone = ZoneInfo(where.zone)
    days = [datetime.fromtimestamp(int(chart.timestamps[at]), zone).date() for at in bars]
    starts = [_start(day, query) for day in days]
    firsts = [at for at, start in enumerate(starts) if at == 0 or start != starts[at - 1]]
    spans = list(zip(firsts, [*firsts[1:], len(bars)], strict=True))
    prices, adjusted, volume = chart.prices[:, bars], chart.adjclose[bars], chart.volume[bars]
    paid = sorted(
        (datetime.fromtimestamp(event.stamp, zone).date(), event.value)
        for event in [*chart.dividends, *chart.gains]
    )
    close = np.empty(len(spans))
    for number, (first, beyond) in enumerate(spans):
        off = 1.0
        for day in sorted({day for day, _ in paid if starts[first] < day <= days[beyond - 1]}):
            before = int(np.searchsorted(series.dates, np.datetime64(day, "D"))) - 1
            if before >= 0:
                off *= 1.0 - sum(amount for ex, amount in paid if ex == day) / series.prices[3, before]
        close[number] = adjusted[beyond - 1] * off
    midnights = [datetime(*starts[a].timetuple()[:3], tzinfo=zone).timestamp() for a, _ in spans]
    return replace(
        chart,
        meta=meta,
        timestamps=np.array(midnights, dtype=np.int64),
        prices=np.array(
            [
                [prices[0, a] for a, _ in spans],
                [prices[1, a:b].max() for a, b in spans],
                [prices[2, a:b].min() for a, b in spans],
                [prices[3, b - 1] for _, b in spans],
            ]
        ).reshape(4, len(spans)),
        adjclose=close,
        volume=np.array([volume[a:b].sum() for a, b in spans], dtype=np.int64),
        nulls=frozenset(),
    )


def _start(day: date, query: ChartQuery) -> date:
    if query.interval == "1mo":
        return day.replace(day=1)
    if query.range == "ytd":
        return day - timedelta(days=(day - day.replace(month=1, day=1)).days % 7)
    return day - timedelta(days=day.weekday())
