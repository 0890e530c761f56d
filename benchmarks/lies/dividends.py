"""Lies about dividends: other amounts, other currencies, other days, twice, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from benchmarks.lies.lie import KINDS, Lie
from benchmarks.lies.market import Slot
from benchmarks.lies.pasts import QUARTERLY, Past

_SPREAD = {True: "adjusted", False: "not adjusted"}


def _pays(at: int, share: float = 0.01, **more: Any) -> Past:
    """Quarterly dividends, and one at a position."""
    return Past(dividends={**{k: v for k, v in QUARTERLY.items() if abs(k - at) > 20}, at: share}, **more)


@KINDS.kind()
def dividend_factor(slot: Slot) -> Iterator[Lie]:
    """A dividend whose amount is off by a factor; Adj Close follows it, or not."""
    for factor, at in [
        (100.0, 0),
        (0.01, 0),
        (1.37, 0),
        (100.0, -4),
        (1.37, -4),
        (100.0, -60),
        (0.01, -60),
        (1.37, -60),
    ]:
        for adjusted in (True, False):
            fault = {"kind": "dividend_factor", "date": slot.day(at), "factor": factor, "adjusted": adjusted}
            yield Lie(f"x{factor:g} {_SPREAD[adjusted]} at {at}", (fault,), _pays(at))
    fault = {"kind": "dividend_factor", "date": slot.day(-4), "factor": 255.0, "adjusted": True}
    yield Lie("recorded x255 adjusted at -4", (fault,), Past(recorded=("AAPL", date(2012, 11, 13))))
    fault = {"kind": "dividend_factor", "date": slot.day(-2), "factor": 100.0, "adjusted": False}
    yield Lie("x100 not adjusted at -2 with a split", (fault,), _pays(-2, splits={-1: 2.0}))


@KINDS.kind(market="LSE")
def dividend_factor_in_pence(slot: Slot) -> Iterator[Lie]:
    """Pence as pounds and pounds as pence."""
    for factor, at in ((100.0, 0), (0.01, 0), (0.01, -4), (100.0, -60)):
        for adjusted in (True, False):
            fault = {"kind": "dividend_factor", "date": slot.day(at), "factor": factor, "adjusted": adjusted}
            yield Lie(f"x{factor:g} {_SPREAD[adjusted]} at {at}", (fault,), _pays(at, 0.02))


@KINDS.kind(market="LSE")
def dividend_currency(slot: Slot) -> Iterator[Lie]:
    """A dividend in pounds beside prices in pence."""
    for at in (0, -4, -60):
        fault = {"kind": "dividend_currency", "date": slot.day(at), "currency": "GBP", "factor": 0.01}
        yield Lie(f"GBP at {at}", (fault,), _pays(at, 0.02))


@KINDS.kind()
def dividend_in_euros(slot: Slot) -> Iterator[Lie]:
    """A dividend in a currency whose rate nobody here knows."""
    for at in (0, -4):
        fault = {"kind": "dividend_currency", "date": slot.day(at), "currency": "EUR", "factor": 0.92}
        yield Lie(f"EUR at {at}", (fault,), _pays(at))


@KINDS.kind()
def phantom_dividend(slot: Slot) -> Iterator[Lie]:
    """A dividend that was never paid: alone, or near a real one."""
    for at in (0, -4, -60):
        for adjusted in (True, False):
            fault = {"kind": "phantom_dividend", "date": slot.day(at), "amount": 0.61, "adjusted": adjusted}
            yield Lie(f"alone {_SPREAD[adjusted]} at {at}", (fault,), Past(dividends={-126: 0.006}))
    fault = {"kind": "phantom_dividend", "date": slot.day(-4), "amount": 676.5, "adjusted": True}
    yield Lie("above the price adjusted at -4", (fault,))
    fault = {"kind": "phantom_dividend", "date": slot.day(0), "amount": 676.5, "adjusted": False}
    yield Lie("above the price not adjusted at 0", (fault,))


@KINDS.kind()
def dividend_repeated(slot: Slot) -> Iterator[Lie]:
    """A dividend listed once more within days."""
    for at, sessions in [(0, -1), (0, 0), (-4, -1), (-4, 0), (-4, 1), (-3, -5), (-60, -1), (-60, 0)]:
        for adjusted in (True, False):
            fault = {
                "kind": "dividend_repeated", "date": slot.day(at), "sessions": sessions, "adjusted": adjusted,
            }  # fmt: skip
            yield Lie(f"at {at} again {sessions:+d} {_SPREAD[adjusted]}", (fault,), _pays(at))
    fault = {"kind": "dividend_repeated", "date": slot.day(-4), "sessions": -1, "adjusted": True}
    yield Lie("recorded at -4 again -1 adjusted", (fault,), Past(recorded=("AAPL", date(2012, 11, 13))))


@KINDS.kind()
def gains_counted_twice(slot: Slot) -> Iterator[Lie]:
    """A fund's capital gain inside the dividend, and listed again."""
    for at, amount in ((0, 0.5), (-4, 0.5), (-60, 0.3)):
        for adjusted in (False, True):
            fault = {
                "kind": "gains_counted_twice",
                "date": slot.day(at),
                "amount": amount,
                "adjusted": adjusted,
            }
            yield Lie(f"{_SPREAD[adjusted]} at {at}", (fault,), _pays(at, 0.02))


@KINDS.kind()
def events_left_out(slot: Slot) -> Iterator[Lie]:
    """Events that one answer leaves out; Adj Close forgets them, too, or not."""
    for at in (0, -4, -60):
        for adjusted in (True, False):
            word = "forgotten" if adjusted else "left out"
            fault = {
                "kind": "events_left_out",
                "what": "dividends",
                "date": slot.day(at),
                "adjusted": adjusted,
            }
            yield Lie(f"dividends {word} at {at}", (fault,), _pays(at))
    fault = {"kind": "events_left_out", "what": "splits", "date": slot.day(-4), "adjusted": True}
    yield Lie("splits at -4", (fault,), Past(splits={-4: 2.0}))
    fault = {"kind": "events_left_out", "what": "all", "adjusted": False}
    yield Lie("all left out", (fault,), _pays(-4, splits={-9: 2.0}))


@KINDS.kind()
def hidden_dividend(slot: Slot) -> Iterator[Lie]:
    """A dividend that neither the list nor Adj Close knows yet."""
    for at in (0, -4, -60):
        yield Lie(f"at {at}", ({"kind": "hidden_dividend", "date": slot.day(at)},), _pays(at))
