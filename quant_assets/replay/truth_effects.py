"""What faults do to the as-traded truth, before Yahoo's numbers are made of it.

Amounts here are as declared, ratios and bars as traded. What a fault leaves as it is is the very same object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from quant_assets.replay.faults import Fault
from quant_assets.replay.history import Events, History, Paid, SymbolTruth
from quant_assets.replay.kinds import FaultKind


def basis_under(states: Sequence[Fault], truth: SymbolTruth, history: History) -> SymbolTruth | None:
    """Whose history the server tells under the name of a known symbol, whose own is `truth`, on which share basis.

    None when another symbol's history is asked for and there is no such symbol.
    """
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
            truth = _retold(truth, lambda paid, day=fault.date: _unpaid(paid, day), adjusted=True)
        elif fault.kind in _PAYMENTS and (fault.kind is FaultKind.PHANTOM_DIVIDEND or fault.date <= today):
            truth = _retold(truth, _PAYMENTS[fault.kind](fault, truth), fault.adjusted)
    return truth


Change = Callable[[Paid], Paid]


def _retold(truth: SymbolTruth, change: Change, adjusted: bool) -> SymbolTruth:
    """Other payments told; with `adjusted`, the adjusted close follows them, else it stays as it is."""
    paid = change(truth.paid)
    if paid is truth.paid:
        return truth
    followed = truth.adjusted_for
    if not adjusted:
        followed = truth.paid if followed is None else followed
    elif followed is not None:
        followed = change(followed)
    return replace(truth, paid=paid, adjusted_for=followed)


def _left_out(fault: Fault, truth: SymbolTruth) -> SymbolTruth:
    if fault.what == "splits":
        return truth
    return _retold(truth, lambda paid: _unpaid(paid, fault.date), fault.adjusted)


def _unpaid(paid: Paid, day: date | None) -> Paid:
    kept = Paid(without(paid.dividends, day), without(paid.gains, day))
    return paid if all(new is old for new, old in zip(kept, paid, strict=True)) else kept


def _multiplied(fault: Fault, truth: SymbolTruth) -> Change:
    def change(paid: Paid) -> Paid:
        dates, amounts = paid.dividends
        there = _on(paid.dividends, fault.date)
        if not there.any():
            return paid
        return paid._replace(dividends=(dates, np.where(there, amounts * fault.factor, amounts)))

    return change


def _phantom(fault: Fault, truth: SymbolTruth) -> Change:
    day = np.datetime64(fault.date, "D")
    return lambda paid: paid._replace(dividends=inserted(paid.dividends, day, fault.amount))


def _repeated(fault: Fault, truth: SymbolTruth) -> Change:
    def change(paid: Paid) -> Paid:
        for amount in paid.dividends[1][_on(paid.dividends, fault.date)].tolist():
            again = sessions_from(truth, fault.date, fault.sessions)
            paid = paid._replace(dividends=inserted(paid.dividends, again, amount))
        return paid

    return change


def _counted_twice(fault: Fault, truth: SymbolTruth) -> Change:
    day = np.datetime64(fault.date, "D")

    def change(paid: Paid) -> Paid:
        total = sum(float(events[1][_on(events, fault.date)].sum()) for events in paid)
        if not total:
            return paid
        rest = _unpaid(paid, fault.date)
        return Paid(inserted(rest.dividends, day, total), inserted(rest.gains, day, fault.amount))

    return change


_PAYMENTS: dict[FaultKind, Callable[[Fault, SymbolTruth], Change]] = {
    FaultKind.DIVIDEND_FACTOR: _multiplied,
    FaultKind.PHANTOM_DIVIDEND: _phantom,
    FaultKind.DIVIDEND_REPEATED: _repeated,
    FaultKind.GAINS_COUNTED_TWICE: _counted_twice,
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
