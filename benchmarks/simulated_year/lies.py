"""Lies of the source mixed into a simulated year: answers with status 200 that are wrong inside, for some evenings.

Only such as the evidence gives away on a store that was filled day by day: nothing of them may be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from benchmarks.simulated_year.drawing import Symbol, between
from quant_assets.replay.faults import FaultKind

_ESTABLISHED = 30
"""Sessions that a symbol has been stored for before anybody lies about it."""
_QUIET = 3
"""Sessions between a lie and other news of its symbol."""
_MOST_EVENINGS = 5
_PER_SYMBOL = 2
_RECENT = 12

Fault = dict[str, Any]
Draw = Callable[[np.random.Generator, Symbol, int, int], Fault | None]


@dataclass(frozen=True)
class Told:
    """A lie about a symbol, from the session at position `at` on for so many `evenings`."""

    symbol: Symbol
    at: int
    evenings: int
    fault: Fault


def draw_lies(
    rng: np.random.Generator, symbols: Sequence[Symbol], news: Sequence[tuple[str, date, date]]
) -> list[Told]:
    """Lies spread over the year; `news` are (symbol, first day, last day) on which something else is in force."""
    known = {kind.value for kind in FaultKind}
    told: list[Told] = []
    for symbol in symbols:
        free = list(_free(symbol, news))
        for _ in range(_PER_SYMBOL):
            if not free:
                break
            at, evenings = int(rng.choice(free)), between(rng, 1, _MOST_EVENINGS)
            draws = [_DRAWS[n] for n in rng.permutation(len(_DRAWS))]
            faults = (fault for draw in draws if (fault := draw(rng, symbol, at, evenings)) is not None)
            fault = next((one for one in faults if one["kind"] in known), None)
            if fault is not None:
                told.append(Told(symbol, at, evenings, fault))
            # Healed, and settled down, before the next one.
            free = [one for one in free if abs(one - at) > _MOST_EVENINGS + 20]
    return told


def faults_of(told: Sequence[Told]) -> Iterator[Fault]:
    """The faults for the replay server."""
    for lie in told:
        market = lie.symbol.market
        yield {
            **lie.fault,
            "symbol": lie.symbol.name,
            "since": market.opens(lie.at).isoformat(),
            "until": market.opens(lie.at + lie.evenings).isoformat(),
        }


def _free(symbol: Symbol, news: Sequence[tuple[str, date, date]]) -> Iterator[int]:
    """The positions at which a lie about a symbol may begin."""
    market = symbol.market
    span = range(-_QUIET, _MOST_EVENINGS + _QUIET + 1)
    busy = [(first, last) for name, first, last in news if name == symbol.name]
    for at in range(max(market.start, symbol.first) + _ESTABLISHED, min(symbol.last, market.end) - 25):
        days = [market.day(at + n) for n in span]
        if any(first <= days[-1] and days[0] <= last for first, last in busy):
            continue
        if any(market.limited(at + n) or at + n == market.missing for n in span):
            continue
        if all(symbol.trades(at + n) for n in range(-_RECENT, span[-1] + 1)):
            yield at


def _recent(events: dict[int, float], at: int) -> int | None:
    """The position of an event of the last sessions."""
    found = [one for one in events if at - _RECENT < one < at]
    return max(found, default=None)


def _at(symbol: Symbol, position: int) -> str:
    return symbol.market.day(position).isoformat()


def _whole(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault:
    return {"kind": "rescaled_bars", "factor": float(rng.choice([1.1, 0.9, 2.0])), "volume": False}


def _hundredfold(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault:
    span = {"first": _at(symbol, at - between(rng, 3, 20)), "last": _at(symbol, at)}
    return {"kind": "rescaled_bars", "factor": float(rng.choice([100.0, 0.01])), "volume": False, **span}


def _field(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault:
    name, factor = str(rng.choice(["open", "high", "low", "close"])), float(rng.choice([100.0, 0.01]))
    return {
        "kind": "field_factor",
        "date": _at(symbol, at - between(rng, 0, 9)),
        "field": name,
        "factor": factor,
    }


def _unit(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault:
    return {"kind": "wrong_unit"}


def _phantom(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault:
    day = _at(symbol, at - between(rng, 0, 9))
    return {"kind": "phantom_dividend", "date": day, "amount": 0.37, "adjusted": False}


def _early_split(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault:
    ratio = float(rng.choice([4.0, 2.0, 0.1]))
    return {"kind": "split_before_ex_date", "date": _at(symbol, at + evenings), "ratio": ratio}


def _stamped(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault:
    return {"kind": "stamped_before", "first": _at(symbol, at - 4), "last": _at(symbol, at)}


def _live(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault:
    return {"kind": "live_row_beside_last"}


def _no_currency(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault:
    return {"kind": "no_currency"}


def _of_dividend(fault: Fault, **drawn: Sequence[Any]) -> Draw:
    def draw(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault | None:
        known = _recent(symbol.dividends, at)
        if known is None:
            return None
        more = {name: values[between(rng, 0, len(values) - 1)] for name, values in drawn.items()}
        return {**fault, **more, "date": _at(symbol, known)}

    return draw


def _split_again(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault | None:
    known = _recent(symbol.ratios, at)
    if known is None or known in symbol.hidden:
        return None
    return {"kind": "split_repeated", "date": _at(symbol, known), "sessions": int(rng.choice([-1, 1, 0]))}


def _half_applied(rng: np.random.Generator, symbol: Symbol, at: int, evenings: int) -> Fault | None:
    known = _recent(symbol.ratios, at)
    if known is None or known in symbol.hidden:
        return None
    return {"kind": "rescaled_bars", "last": _at(symbol, known - 2), "factor": symbol.ratios[known]}


_BOTH = (True, False)
_DRAWS: tuple[Draw, ...] = (
    _whole, _hundredfold, _field, _unit, _phantom, _early_split, _stamped, _live, _no_currency, _split_again,
    _half_applied,
    _of_dividend({"kind": "dividend_factor"}, factor=(100.0, 0.01, 1.37), adjusted=_BOTH),
    _of_dividend({"kind": "dividend_repeated", "sessions": -1}, adjusted=_BOTH),
    _of_dividend({"kind": "events_left_out", "what": "dividends"}, adjusted=_BOTH),
    _of_dividend({"kind": "unreadable_event", "what": "dividend"}, text=("3.14 USD", "n/a")),
)  # fmt: skip
