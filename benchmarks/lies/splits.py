"""Lies about splits: told too early, twice, not at all, in no form, or on a closed day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from benchmarks.lies.lie import KINDS, Lie
from benchmarks.lies.market import Slot
from benchmarks.lies.pasts import PLAIN, QUARTERLY, Past

_MICROSOFT = Past(recorded=("MSFT", date(2003, 2, 18)))
"""A recorded split at 0 with a dividend on the session after."""


@KINDS.kind()
def split_before_ex_date(slot: Slot) -> Iterator[Lie]:
    """A split with an ex-date after the last bar, prices not rescaled yet; it comes, or is taken back."""
    for ratio in (4.0, 0.1, 1.5, 1.05):
        fault = {"kind": "split_before_ex_date", "date": slot.day(slot.evenings), "ratio": ratio}
        yield Lie(f"{ratio:g} comes", (fault,), Past(splits={slot.evenings: ratio}))
        if ratio in (4.0, 0.1):
            yield Lie(f"{ratio:g} is taken back", (fault,))
    near = Past(splits={-3: 2.0, slot.evenings: 3.0}, dividends={**QUARTERLY, -1: 0.01})
    fault = {"kind": "split_before_ex_date", "date": slot.day(slot.evenings), "ratio": 3.0}
    yield Lie("3 comes after others", (fault,), near)


@KINDS.kind()
def split_repeated(slot: Slot) -> Iterator[Lie]:
    """One split listed twice."""
    cases = [
        (2.0, 0, 1), (2.0, 0, -1), (2.0, -3, 1), (2.0, -3, -1), (0.1, -3, 0), (1.5, 0, 0), (0.2, -40, 1),
        (4.0, -40, -3), (3.0, -8, 3), (10.0, -2, -1), (1.05, -3, 1),
    ]  # fmt: skip
    for ratio, at, sessions in cases:
        fault = {"kind": "split_repeated", "date": slot.day(at), "sessions": sessions}
        dividends = {**QUARTERLY, -6: 0.01} if at in (0, -40) else {}
        yield Lie(
            f"{ratio:g} at {at} again {sessions:+d}", (fault,), Past(splits={at: ratio}, dividends=dividends)
        )
    fault = {"kind": "split_repeated", "date": slot.day(0), "sessions": 1}
    yield Lie("recorded 2 at 0 again +1", (fault,), _MICROSOFT)


@KINDS.kind()
def unscaled_history(slot: Slot) -> Iterator[Lie]:
    """A history rescaled by a split that is not listed."""
    for ratio, at in ((2.0, 0), (0.1, -4), (4.0, -60), (1.05, -2)):
        fault = {"kind": "unscaled_history", "date": slot.day(at)}
        yield Lie(f"{ratio:g} at {at}", (fault,), Past(splits={at: ratio}, dividends=QUARTERLY))


@KINDS.kind()
def hidden_split(slot: Slot) -> Iterator[Lie]:
    """A split that the source does not know yet: prices as traded, and no event."""
    for ratio, at in ((2.0, 0), (0.1, -4)):
        yield Lie(
            f"{ratio:g} at {at}", ({"kind": "hidden_split", "date": slot.day(at)},), Past(splits={at: ratio})
        )


@KINDS.kind()
def unreadable_event(slot: Slot) -> Iterator[Lie]:
    """An event whose ratio or amount is no number."""
    for text, ratio, at in (("1:0", 2.0, 0), ("1:0", 3.0, -4), ("n/a", 0.1, -60), ("0:1", 4.0, -1)):
        fault = {"kind": "unreadable_event", "date": slot.day(at), "what": "split", "text": text}
        yield Lie(f"split {text} at {at}", (fault,), Past(splits={at: ratio}, dividends=QUARTERLY))
    for text, at in (("3.14 USD", 0), ("3.14 USD", -4), ("n/a", -60), ("", 0)):
        fault = {"kind": "unreadable_event", "date": slot.day(at), "what": "dividend", "text": text}
        yield Lie(f"dividend {text!r} at {at}", (fault,), Past(dividends={at: 0.01, -190: 0.01}))


@KINDS.kind()
def action_on_closed_day(slot: Slot) -> Iterator[Lie]:
    """An action dated on a closed day before the session on which it takes effect."""
    for holiday in (False, True):
        at, closed = slot.after_closed_day(holiday=holiday)
        for name, past in (
            ("split 2", Past(splits={at: 2.0})),
            ("split 0.1", Past(splits={at: 0.1}, dividends=QUARTERLY)),
            ("dividend", Past(dividends={**QUARTERLY, at: 0.01})),
        ):
            fault = {"kind": "action_on_closed_day", "date": slot.day(at), "to": closed}
            yield Lie(f"{name} at {at}", (fault,), past)


@KINDS.kind()
def honest(slot: Slot) -> Iterator[Lie]:
    """No lie, but what looks like one."""
    for name, past in (
        ("crash", Past(jumps={0: 0.2})),
        ("spin-off", Past(jumps={0: 0.6})),
        ("halved", Past(jumps={0: 0.5})),
        ("special dividend", Past(dividends={0: 0.6})),
        ("split and dividend", Past(splits={0: 2.0}, dividends={1: 0.01})),
        ("split 7", Past(splits={0: 7.0})),
        ("split 0.02", Past(splits={0: 0.02})),
        ("two splits", Past(splits={-10: 2.0, 0: 2.0})),
        ("return of capital", Past(splits={0: 0.47}, dividends={0: 0.53})),
        ("crash before a consolidation", Past(splits={0: 0.1}, jumps={-30: 0.25, -29: 0.5})),
        ("crash as large as a consolidation", Past(splits={0: 0.25}, jumps={-30: 0.25})),
        ("dividends a month apart", Past(dividends={-21: 0.01, 0: 0.01})),
        ("doubled", Past(jumps={0: 2.1})),
        ("recorded", _MICROSOFT),
        ("plain", PLAIN),
    ):
        yield Lie(name, (), past)
