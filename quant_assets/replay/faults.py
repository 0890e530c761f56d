"""What can go wrong with a chart answer, on request.

A fault is a plain dict in JSON (`Fault.from_dict`): `{"kind": "rate_limited_429", "symbol": "AAPL",
"times": 2}`. Only chart *data* requests of its symbol are counted and touched; the range=1d probe and
discovery are not. `later_split`, `corrected_bar`, `missing_session` and `null_bar` are states of the
world: they combine with each other and with one other fault.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np

from quant_assets.replay.errors import FaultError
from quant_assets.replay.history import PRICES, SymbolTruth
from quant_assets.replay.protocol import Chart


class FaultKind(StrEnum):
    """The kinds of fault."""

    NOT_FOUND_404 = "not_found_404"
    RATE_LIMITED_429 = "rate_limited_429"
    RATE_LIMITED_429_RETRY_AFTER = "rate_limited_429_retry_after"
    SERVER_ERROR_500_HTML = "server_error_500_html"
    SERVER_ERROR_500_JSON = "server_error_500_json"
    UNAUTHORIZED_401 = "unauthorized_401"
    MALFORMED_JSON = "malformed_json"
    TRUNCATED = "truncated"
    EMPTY_BODY = "empty_body"
    HANG = "hang"
    SLOW = "slow"
    WRONG_SYMBOL = "wrong_symbol"
    MISSING_SESSION = "missing_session"
    NULL_BAR = "null_bar"
    DUPLICATE_TIMESTAMP = "duplicate_timestamp"
    LIVE_PARTIAL_BAR = "live_partial_bar"
    LATER_SPLIT = "later_split"
    CORRECTED_BAR = "corrected_bar"


STATES = frozenset(
    {FaultKind.LATER_SPLIT, FaultKind.CORRECTED_BAR, FaultKind.MISSING_SESSION, FaultKind.NULL_BAR}
)
_LASTING = frozenset({FaultKind.LATER_SPLIT, FaultKind.CORRECTED_BAR})
_ABSENT = object()


@dataclass(frozen=True)
class Fault:
    """One fault.

    symbol: the symbol, or "*" for every symbol. times: how many requests of each symbol it hits; None
    (null, or "persistent") for all. When not given it is 1, but None with a `rate` and for
    later_split and corrected_bar. rate: probability per request in (0, 1], decided by `seed`, symbol
    and the request's number, so independent of the order among symbols. after: it spares the first so
    many requests of each symbol; after_total: the first so many of all symbols together.
    seconds: of hang (30) and slow (1). retry_after: seconds in the header. date: of missing_session,
    null_bar, duplicate_timestamp (default: a middle session), later_split and corrected_bar.
    ratio: of later_split. field and value: of corrected_bar, as traded. differs: whether the duplicate
    has other values. other: the symbol that wrong_symbol answers with (default: the next one).
    """

    kind: FaultKind
    symbol: str = "*"
    times: int | None = 1
    rate: float | None = None
    seed: int = 0
    after: int = 0
    after_total: int = 0
    seconds: float = 30.0
    retry_after: int = 1
    date: date | None = None
    ratio: float | None = None
    field: str | None = None
    value: float | None = None
    differs: bool = False
    other: str | None = None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Fault:
        """A fault from its JSON form; FaultError names what is wrong with it."""
        known = {f.name for f in fields(cls)}
        strange = sorted(set(raw) - known)
        if strange:
            raise FaultError(f"unknown fault field {strange[0]!r}: use {', '.join(sorted(known))}")
        values = dict(raw)
        try:
            kind = values["kind"] = FaultKind(raw.get("kind", ""))
        except ValueError:
            raise FaultError(
                f"unknown fault kind {raw.get('kind')!r}: use one of {', '.join(FaultKind)}"
            ) from None
        times = values.pop("times", _ABSENT)
        if times is _ABSENT:
            times = None if kind in _LASTING or values.get("rate") is not None else 1
        elif times == "persistent":
            times = None
        try:
            if isinstance(values.get("date"), str):
                values["date"] = date.fromisoformat(values["date"])
            if kind is FaultKind.SLOW:
                values.setdefault("seconds", 1.0)
            values["symbol"] = str(values.get("symbol", "*")).upper()
            fault = cls(times=None if times is None else int(times), **values)
            fault._check()
        except (TypeError, ValueError) as error:
            raise FaultError(f"fault {kind}: {error}") from None
        return fault

    def _check(self) -> None:
        if self.times is not None and self.times < 1:
            raise ValueError("times must be at least 1, or null for persistent")
        if self.rate is not None and not 0 < self.rate <= 1:
            raise ValueError("rate must be above 0 and at most 1")
        if self.kind is FaultKind.LATER_SPLIT and (self.date is None or not (self.ratio or 0) > 0):
            raise ValueError("needs date and ratio (above 0)")
        if self.kind is FaultKind.CORRECTED_BAR:
            if self.date is None or self.value is None:
                raise ValueError("needs date, field and value")
            if self.field not in (*PRICES, "volume"):
                raise ValueError(f"field must be one of {', '.join(PRICES)}, volume")

    def apply_to_truth(self, truth: SymbolTruth) -> SymbolTruth:
        """The world with this fault in it (later_split and corrected_bar; others change nothing)."""
        if self.kind is FaultKind.LATER_SPLIT and self.date is not None and self.ratio is not None:
            return truth.with_split(self.date, self.ratio)
        if self.kind is FaultKind.CORRECTED_BAR and self.date and self.field and self.value is not None:
            return truth.with_value(self.date, self.field, self.value)
        return truth

    def apply_to_chart(self, chart: Chart, position: int | None) -> Chart:
        """The answer with this fault in it; `position` is the bar of `date`, if the answer has it."""
        n = len(chart.timestamps)
        at = n // 2 if self.date is None else position
        if n == 0 or at is None:
            return chart
        if self.kind is FaultKind.MISSING_SESSION:
            return chart.take(np.delete(np.arange(n), at))
        if self.kind is FaultKind.NULL_BAR:
            return replace(chart, nulls=chart.nulls | {at})
        if self.kind is FaultKind.DUPLICATE_TIMESTAMP:
            twice = chart.take(np.insert(np.arange(n), at + 1, at))
            if self.differs:
                twice.prices[:, at + 1] = np.float32(twice.prices[:, at + 1] * 1.01)
                twice.adjclose[at + 1] *= 1.01
                twice.volume[at + 1] += 100
            return twice
        return chart


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

    def draw(self, symbol: str) -> list[Fault]:
        """The faults that hit this chart data request: all states that apply, and at most one other."""
        hit: list[Fault] = []
        failed = False
        for running in self._running:
            fault = running.fault
            if fault.symbol not in ("*", symbol):
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
