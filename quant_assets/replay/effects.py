"""What a fault does to a proper answer, at the three places where it can: the as-traded truth, the series
that Yahoo makes of it, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from quant_assets.replay.convention import YahooSeries
from quant_assets.replay.faults import Fault, FaultKind
from quant_assets.replay.history import History, SymbolTruth
from quant_assets.replay.protocol import Chart


def truth_under(states: Sequence[Fault], history: History, symbol: str) -> SymbolTruth | None:
    """What the server takes for the truth of a known symbol while `states` are in force.

    The very object `history.truth(symbol)` when they leave it as it is; None when another symbol's history
    is asked for and there is no such symbol.
    """
    truth = history.truth(symbol)
    # First whose bars they are, then what happened to them.
    for fault in states:
        if fault.kind is FaultKind.OTHER_HISTORY:
            if fault.other not in history.infos:
                return None
            truth = replace(history.truth(fault.other), info=truth.info)
    for fault in states:
        if fault.date is None:
            continue
        if fault.kind is FaultKind.LATER_SPLIT and fault.ratio is not None:
            truth = truth.with_split(fault.date, fault.ratio)
        elif fault.kind is FaultKind.CORRECTED_BAR:
            for name, value in fault.corrections.items():
                truth = truth.with_value(fault.date, name, value)
        elif fault.kind is FaultKind.HIDDEN_SPLIT:
            truth = truth.without_split(fault.date)
        elif fault.kind is FaultKind.HIDDEN_DIVIDEND:
            truth = truth.without_dividend(fault.date)
        elif fault.kind is FaultKind.EXTRA_BAR:
            truth = truth.with_extra_bar(fault.date)
    return truth


def series_under(states: Sequence[Fault], series: YahooSeries) -> YahooSeries:
    """`series` while `states` are in force: rescaled by its splits, but silent about the unscaled ones."""
    for fault in states:
        if fault.kind is FaultKind.UNSCALED_HISTORY and fault.date is not None:
            dates, ratios = series.splits
            kept = dates != np.datetime64(fault.date, "D")
            series = replace(series, splits=(dates[kept], ratios[kept]))
    return series


def chart_under(fault: Fault, chart: Chart, position: int | None) -> Chart:
    """The answer with this fault in it; `position` is the bar of the fault's date, if the answer has it."""
    if fault.currency is not None and fault.kind in (FaultKind.WRONG_CURRENCY, FaultKind.WRONG_UNIT):
        chart = replace(chart, meta={**chart.meta, "currency": fault.currency})
    n = len(chart.timestamps)
    at = n // 2 if fault.date is None else position
    if n == 0 or at is None:
        return chart
    if fault.kind is FaultKind.WRONG_UNIT:
        return _in_hundreds(chart, slice(None) if fault.date is None else slice(at, at + 1))
    if fault.kind is FaultKind.MISSING_SESSION:
        return chart.take(np.delete(np.arange(n), at))
    if fault.kind is FaultKind.NULL_BAR:
        return replace(chart, nulls=chart.nulls | {at})
    if fault.kind is FaultKind.DUPLICATE_TIMESTAMP:
        twice = chart.take(np.insert(np.arange(n), at + 1, at))
        if fault.differs:
            twice.prices[:, at + 1] = np.float32(twice.prices[:, at + 1] * 1.01)
            twice.adjclose[at + 1] *= 1.01
            twice.volume[at + 1] += 100
        return twice
    return chart


def _in_hundreds(chart: Chart, which: slice) -> Chart:
    prices, adjclose = chart.prices.copy(order="C"), chart.adjclose.copy()
    prices[:, which] = (prices[:, which] / 100).astype(np.float32)
    adjclose[which] /= 100
    return replace(chart, prices=prices, adjclose=adjclose)
