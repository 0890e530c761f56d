"""Which faults are in force, and which of them a request meets."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from quant_assets.replay.faults import Fault
from quant_assets.replay.kinds import STATES, FaultKind

_OF_NO_CHART = frozenset({FaultKind.HTML_CRUMB, FaultKind.QUOTES_DOWN})


@dataclass
class _Running:
    fault: Fault
    seen_total: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)


class FaultBook:
    """The faults in force, in the order they were added, and how often each has fired."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._running = [_Running(fault) for fault in faults]

    def add(self, faults: Iterable[Fault]) -> None:
        """Put more faults in force."""
        self._running += [_Running(fault) for fault in faults]

    def clear(self) -> None:
        """All is well again."""
        self._running.clear()

    def __len__(self) -> int:
        return len(self._running)

    def draw(self, symbol: str, now: datetime) -> list[Fault]:
        """The faults that hit this chart data request, asked when the clock shows `now` (aware): all states
        that apply, and at most one other."""
        charts = [r for r in self._running if r.fault.kind not in _OF_NO_CHART]
        return self._drawn(charts, symbol, now)

    def draw_crumb(self, now: datetime) -> Fault | None:
        """The fault that hits this request for a crumb, which is no symbol's."""
        return self._of_nobody(FaultKind.HTML_CRUMB, now)

    def draw_quotes(self, now: datetime) -> Fault | None:
        """The fault that hits this request for quotes, which is of many symbols."""
        return self._of_nobody(FaultKind.QUOTES_DOWN, now)

    def _of_nobody(self, kind: FaultKind, now: datetime) -> Fault | None:
        running = [r for r in self._running if r.fault.kind is kind]
        return next(iter(self._drawn(running, "*", now)), None)

    def _drawn(self, running_faults: list[_Running], symbol: str, now: datetime) -> list[Fault]:
        hit: list[Fault] = []
        failed = False
        for running in running_faults:
            fault = running.fault
            if (symbol != "*" and not fault.hits(symbol)) or not fault.in_force(now):
                continue
            running.seen_total += 1
            running.seen[symbol] += 1
            is_state = fault.kind in STATES
            if (failed and not is_state) or not self._fires(running, symbol):
                continue
            running.fired[symbol] += 1
            failed = failed or not is_state
            hit.append(fault)
        return hit

    @staticmethod
    def _fires(running: _Running, symbol: str) -> bool:
        fault, number = running.fault, running.seen[symbol]
        if number <= fault.after or running.seen_total <= fault.after_total:
            return False
        if fault.times is not None and running.fired[symbol] >= fault.times:
            return False
        if fault.rate is None:
            return True
        return random.Random(f"{fault.seed}|{fault.kind}|{symbol}|{number}").random() < fault.rate
