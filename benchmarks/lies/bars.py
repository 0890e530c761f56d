"""Lies about bars: stretches on another scale, single fields, stamps, and bars that are another's or not there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from benchmarks.lies.lie import KINDS, Lie
from benchmarks.lies.market import Slot
from benchmarks.lies.pasts import APPLE, AROUND, CALM, HAS_BOTH, PAYS, PLAIN, Past


def _rescaled(first: str | None, last: str | None, factor: float, volume: bool = True) -> dict[str, Any]:
    fault: dict[str, Any] = {"kind": "rescaled_bars", "factor": factor, "volume": volume}
    return fault | {k: v for k, v in (("first", first), ("last", last)) if v is not None}


@KINDS.kind()
def half_applied(slot: Slot) -> Iterator[Lie]:
    """A split that the source has applied to a part of the history only."""
    cases = [
        (5.0, 0, 1),
        (5.0, -3, 1),
        (0.1, -1, 6),
        (2.0, -30, 1),
        (1.5, 0, 0),
        (0.4406, -2, 3),
        (1.05, -2, 1),
    ]
    for ratio, at, before in cases:
        fault = _rescaled(None, slot.day(at - 1 - before), ratio)
        yield Lie(f"block {ratio:g} at {at} but {before}", (fault,), Past(splits={at: ratio}))
    for ratio, at, before in [(5.0, 0, 0), (2.0, -1, 1), (0.1, -2, 0), (4.0, -3, 5)]:
        day = slot.day(at - 1 - before)
        fault = _rescaled(day, day, 1 / ratio, volume=before != 1)
        yield Lie(f"day twice {ratio:g} at {at} day {before}", (fault,), Past(splits={at: ratio}))
    for ratio, at, first, last in [(5.0, -2, -60, -40), (3.0, 0, -12, -9), (0.2, -20, -25, -22)]:
        fault = _rescaled(slot.day(first), slot.day(last), ratio)
        yield Lie(
            f"weeks {ratio:g} at {at} from {first}", (fault,), Past(splits={at: ratio}, dividends={-66: 0.01})
        )
    days = tuple(_rescaled(slot.day(at), slot.day(at), 4.0) for at in (-9, -7, -4, -3))
    yield Lie("single days 4 at -2", days, Past(splits={-2: 4.0}))
    for name, ratio, past in (
        ("and a fall", 0.1, Past(splits={0: 0.1}, jumps={0: 0.7})),
        ("and a return of capital", 0.47, Past(splits={0: 0.47}, dividends={0: 0.53})),
    ):
        yield Lie(f"block {ratio:g} at 0 {name}", (_rescaled(None, slot.day(-1), ratio),), past)
    for ratio in (2.0, 0.25):
        newest = _rescaled(slot.day(0), slot.day(0), ratio)
        yield Lie(f"newest {ratio:g} at 0", (newest,), Past(splits={0: ratio}))
    block = _rescaled(None, slot.day(-2), 7.0)
    yield Lie("recorded block 2 at 0", (block | {"factor": 2.0},), Past(recorded=("AAPL", date(2005, 2, 28))))


@KINDS.kind()
def rescaled_bars(slot: Slot) -> Iterator[Lie]:
    """Bars on another scale without any split: whole answers, newest bars, hundredfold stretches."""
    for name in ("plain", "both", "recorded-dividend"):
        yield Lie(f"whole x1.1 {name}", (_rescaled(None, None, 1.1, volume=False),), AROUND[name])
    yield Lie("newest x1.03 ", (_rescaled(slot.day(0), slot.day(0), 1.03, volume=False),))
    for factor in (100.0, 0.01, 10.0):
        yield Lie(f"newest x{factor:g}", (_rescaled(slot.day(0), slot.day(0), factor, volume=False),), PAYS)
    stretches = [(None, -14), (None, -9), (-13, 0), (-3, 0), (-30, -9), (-9, 0), (-40, -31)]
    for n, (first, last) in enumerate(stretches):
        factor = 100.0 if n % 2 else 0.01
        span = (None if first is None else slot.day(first), slot.day(last))
        past = (PLAIN, PAYS, CALM)[n % 3]
        yield Lie(
            f"hundredfold {first} to {last} x{factor:g}", (_rescaled(*span, factor, volume=False),), past
        )


@KINDS.kind()
def field_factor(slot: Slot) -> Iterator[Lie]:
    """One field of one bar."""
    n = 0
    for field in ("high", "low", "open", "close"):
        for factor in (100.0, 0.01, 10.0):
            at = (0, -5, -80)[n % 3]
            fault = {"kind": "field_factor", "date": slot.day(at), "field": field, "factor": factor}
            yield Lie(f"{field} x{factor:g} at {at}", (fault,), list(AROUND.values())[n % len(AROUND)])
            n += 1


@KINDS.kind()
def stamped_before(slot: Slot) -> Iterator[Lie]:
    """Bars stamped on the evening before their session."""
    for hour in (23, 0):
        for name, first in (("week", -4), ("history", None)):
            fault: dict[str, Any] = {"kind": "stamped_before", "hour": hour}
            if first is not None:
                # The days after are stamped right again.
                fault |= {"first": slot.day(first), "last": slot.day(0)}
            for around in ("plain", "both"):
                yield Lie(f"{name} hour {hour} {around}", (fault,), AROUND[around])


@KINDS.kind()
def wrong_unit(slot: Slot) -> Iterator[Lie]:
    """Prices in hundreds: of the whole answer, or of a day."""
    yield Lie("whole", ({"kind": "wrong_unit"},))
    yield Lie("whole both", ({"kind": "wrong_unit"},), HAS_BOTH)
    for at in (0, -4, -80):
        yield Lie(f"day {at}", ({"kind": "wrong_unit", "date": slot.day(at)},), PAYS)


@KINDS.kind()
def wrong_currency(slot: Slot) -> Iterator[Lie]:
    """Another currency than the listing's, or none."""
    yield Lie("EUR", ({"kind": "wrong_currency", "currency": "EUR"},), PAYS)


@KINDS.kind()
def no_currency(slot: Slot) -> Iterator[Lie]:
    """No currency at all."""
    yield Lie("null", ({"kind": "no_currency"},))
    yield Lie("null both", ({"kind": "no_currency"},), HAS_BOTH)


@KINDS.kind()
def other_history(slot: Slot) -> Iterator[Lie]:
    """Another company's bars under this name."""
    fault = {"kind": "other_history", "other": "{twin}"}
    yield Lie("plain", (fault,), PLAIN, twin=PLAIN)
    yield Lie("recorded", (fault,), APPLE, twin=HAS_BOTH)


@KINDS.kind()
def corrected_bar(slot: Slot) -> Iterator[Lie]:
    """One field of a bar a few per cent off."""
    for at, field in ((0, "volume"), (-4, "volume"), (-30, "volume")):
        fault = {"kind": "corrected_bar", "date": slot.day(at), "field": field, "value": 123_400}
        yield Lie(f"at {at} {field}", (fault,))


@KINDS.kind()
def extra_bar(slot: Slot) -> Iterator[Lie]:
    """A bar on a closed day."""
    for holiday in (False, True):
        at, closed = slot.after_closed_day(holiday=holiday)
        yield Lie(f"before {at}", ({"kind": "extra_bar", "date": closed},), PAYS)


@KINDS.kind()
def live_row_beside_last(slot: Slot) -> Iterator[Lie]:
    """A live second row beside the last bar."""
    for around in ("plain", "both", "recorded"):
        yield Lie(around, ({"kind": "live_row_beside_last"},), AROUND[around])


@KINDS.kind()
def absent_bar(slot: Slot) -> Iterator[Lie]:
    """A bar that is left out, null, or there twice with different values."""
    for kind in ("missing_session", "null_bar"):
        yield Lie(f"{kind} at 0", ({"kind": kind, "date": slot.day(0), "times": None},), PAYS)
    twice = {"kind": "duplicate_timestamp", "date": slot.day(0), "differs": True, "times": None}
    yield Lie("duplicate_timestamp at 0", (twice,))
