"""What faults do to the as-traded truth, before Yahoo's numbers are made of it.

Amounts here are as declared, ratios and bars as traded. What a fault leaves as it is is the very same object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from quant_assets.replay.faults import Fault
from quant_assets.replay.history import Events, History, SymbolTruth
from quant_assets.replay.kinds import FaultKind


def basis_under(states: Sequence[Fault], history: History, symbol: str) -> SymbolTruth | None:
    """Whose history the server tells under the name of a known symbol, on which share basis.

    None when another symbol's history is asked for and there is no such symbol.
    """
    truth = history.truth(symbol)
    # First whose bars they are, then what happened to them.
    for fault in states:
        if fault.kind is FaultKind.OTHER_HISTORY:
            if fault.other not in history.infos:
                return None
            truth = replace(history.truth(fault.other), info=truth.info)
    for fault in states:
        if fault.kind is FaultKind.LATER_SPLIT and fault.date is not None and fault.ratio is not None:
            truth = truth.with_split(fault.date, fault.ratio)
        elif fault.kind is FaultKind.HIDDEN_SPLIT and fault.date is not None:
            truth = truth.without_split(fault.date)
    return truth


def truth_under(states: Sequence[Fault], basis: SymbolTruth, today: date) -> SymbolTruth:
    """What the server takes for the truth on the share basis `basis`, when `today` is the last ex-date in force."""
    truth = basis
    for fault in states:
        if fault.kind is FaultKind.EVENTS_LEFT_OUT:
            truth = _left_out(fault, truth)
        elif fault.date is None:
            continue
        elif fault.kind is FaultKind.CORRECTED_BAR:
            for name, value in fault.corrections.items():
                truth = truth.with_value(fault.date, name, value)
        elif fault.kind is FaultKind.EXTRA_BAR:
            truth = truth.with_extra_bar(fault.date)
        elif fault.kind is FaultKind.HIDDEN_DIVIDEND:
            truth = _retold(truth, lambda events, day=fault.date: without(events, day), adjusted=True)
        elif fault.kind in _DIVIDENDS and (fault.kind is FaultKind.PHANTOM_DIVIDEND or fault.date <= today):
            change = _DIVIDENDS[fault.kind](fault, truth)
            truth = _retold(truth, change, fault.adjusted)
    return truth


Change = Callable[[Events], Events]


def _retold(truth: SymbolTruth, change: Change, adjusted: bool) -> SymbolTruth:
    """Other dividends; with `adjusted`, the adjusted close follows them, else it stays as it is."""
    dividends = change(truth.dividends)
    if dividends is truth.dividends:
        return truth
    followed = truth.adjusted_for
    if not adjusted:
        followed = truth.dividends if followed is None else followed
    elif followed is not None:
        followed = change(followed)
    return replace(truth, dividends=dividends, adjusted_for=followed)


def _left_out(fault: Fault, truth: SymbolTruth) -> SymbolTruth:
    if fault.what == "splits":
        return truth
    return _retold(truth, lambda events: without(events, fault.date), fault.adjusted)


def _multiplied(fault: Fault, truth: SymbolTruth) -> Change:
    def change(events: Events) -> Events:
        there = _on(events, fault.date)
        return (events[0], np.where(there, events[1] * fault.factor, events[1])) if there.any() else events

    return change


def _phantom(fault: Fault, truth: SymbolTruth) -> Change:
    return lambda events: inserted(events, np.datetime64(fault.date, "D"), fault.amount)


def _repeated(fault: Fault, truth: SymbolTruth) -> Change:
    def change(events: Events) -> Events:
        for amount in events[1][_on(events, fault.date)].tolist():
            events = inserted(events, sessions_from(truth, fault.date, fault.sessions), amount)
        return events

    return change


_DIVIDENDS: dict[FaultKind, Callable[[Fault, SymbolTruth], Change]] = {
    FaultKind.DIVIDEND_FACTOR: _multiplied,
    FaultKind.PHANTOM_DIVIDEND: _phantom,
    FaultKind.DIVIDEND_REPEATED: _repeated,
}


def _on(events: Events, day: date | None) -> np.ndarray:
    return events[0] == np.datetime64(day, "D") if day is not None else np.ones(len(events[0]), dtype=bool)


def without(events: Events, day: date | None) -> Events:
    """The events but those of `day` (None: none at all); the very same when there are none to leave out."""
    gone = _on(events, day)
    return (events[0][~gone], events[1][~gone]) if gone.any() else events


def inserted(events: Events, day: np.datetime64, value: float) -> Events:
    """The events and one more, after those of its day."""
    at = int(np.searchsorted(events[0], day, side="right"))
    return np.insert(events[0], at, day), np.insert(events[1], at, value)


def sessions_from(truth: SymbolTruth, day: date | None, sessions: int) -> np.datetime64:
    """The day of the bar `sessions` bars after `day` (before it when negative); beyond the history, weekdays."""
    when = np.datetime64(day, "D")
    if sessions == 0:
        return when
    at = int(np.searchsorted(truth.dates, when))
    has_bar = at < len(truth.dates) and truth.dates[at] == when
    to = at + sessions - (0 if has_bar or sessions < 0 else 1)
    if 0 <= to < len(truth.dates):
        return truth.dates[to]
    return np.busday_offset(when, sessions, roll="backward" if sessions > 0 else "forward")
