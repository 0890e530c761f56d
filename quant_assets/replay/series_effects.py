"""What faults do to the series that Yahoo makes of the truth: events that its prices do not go with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from quant_assets.replay.convention import YahooSeries
from quant_assets.replay.faults import Fault
from quant_assets.replay.history import SymbolTruth
from quant_assets.replay.kinds import FaultKind
from quant_assets.replay.truth_effects import inserted, sessions_from, without


def series_under(
    states: Sequence[Fault], series: YahooSeries, truth: SymbolTruth, today: date
) -> YahooSeries:
    """`series` of `truth` while `states` are in force, with other splits told than it is rescaled by; no event
    with an ex-date after `today` is told."""
    for fault in states:
        if fault.kind is FaultKind.SPLIT_REPEATED:
            series = _split_repeated(fault, series, truth, today)
        elif fault.kind is FaultKind.UNSCALED_HISTORY or (
            fault.kind is FaultKind.EVENTS_LEFT_OUT and fault.what != "dividends"
        ):
            series = replace(series, splits=without(series.splits, fault.date))
    return series


def _split_repeated(fault: Fault, series: YahooSeries, truth: SymbolTruth, today: date) -> YahooSeries:
    again = sessions_from(truth, fault.date, fault.sessions)
    if again > np.datetime64(today, "D"):
        return series
    splits = series.splits
    for ratio in splits[1][splits[0] == np.datetime64(fault.date, "D")].tolist():
        splits = inserted(splits, again, ratio)
    return replace(series, splits=splits)
