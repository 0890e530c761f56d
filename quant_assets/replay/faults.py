"""What can go wrong with a chart answer, on request: the kinds of fault, and which are in force.

A fault is a plain dict in JSON (`Fault.from_dict`): `{"kind": "rate_limited_429", "symbol": "AAPL",
"times": 2}`. Only chart *data* requests of its symbol are counted and touched; the range=1d probe and
discovery are not. The kinds of `STATES` are states of the world: they combine with each other and with
one other fault. What each does is in `effects`, and in `answers` for what is no proper answer at all.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any

from quant_assets.replay.errors import FaultError, ReplayError
from quant_assets.replay.history import PRICES
from quant_assets.replay.world import Moment, parse_moment


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
    HIDDEN_SPLIT = "hidden_split"
    HIDDEN_DIVIDEND = "hidden_dividend"
    UNSCALED_HISTORY = "unscaled_history"
    WRONG_UNIT = "wrong_unit"
    WRONG_CURRENCY = "wrong_currency"
    OTHER_HISTORY = "other_history"
    EXTRA_BAR = "extra_bar"


_LASTING = frozenset(
    {
        FaultKind.LATER_SPLIT,
        FaultKind.CORRECTED_BAR,
        FaultKind.HIDDEN_SPLIT,
        FaultKind.HIDDEN_DIVIDEND,
        FaultKind.UNSCALED_HISTORY,
        FaultKind.WRONG_UNIT,
        FaultKind.WRONG_CURRENCY,
        FaultKind.OTHER_HISTORY,
        FaultKind.EXTRA_BAR,
    }
)
STATES = _LASTING | {FaultKind.MISSING_SESSION, FaultKind.NULL_BAR}
_NEEDED: dict[FaultKind, tuple[str, ...]] = {
    FaultKind.LATER_SPLIT: ("date", "ratio"),
    FaultKind.CORRECTED_BAR: ("date",),
    FaultKind.HIDDEN_SPLIT: ("symbol", "date"),
    FaultKind.HIDDEN_DIVIDEND: ("symbol", "date"),
    FaultKind.UNSCALED_HISTORY: ("symbol", "date"),
    FaultKind.WRONG_CURRENCY: ("currency",),
    FaultKind.OTHER_HISTORY: ("symbol", "other"),
    FaultKind.EXTRA_BAR: ("date",),
}
_ABSENT = object()


@dataclass(frozen=True)
class Fault:
    """One fault.

    symbol: the symbol, or "*" for every symbol. times: how many requests of each symbol it hits; None
    (null, or "persistent") for all. When not given it is 1, but None with a `rate` and for all states but
    missing_session and null_bar. rate: probability per request in (0, 1], decided by `seed`, symbol
    and the request's number, so independent of the order among symbols. after: it spares the first so
    many requests of each symbol; after_total: the first so many of all symbols together.
    since, until: it is in force while since <= clock < until (None: unbounded); other requests are not
    counted at all.
    seconds: of hang (30) and slow (1). retry_after: seconds in the header. date: of missing_session,
    null_bar, duplicate_timestamp (default: a middle session), wrong_unit (default: every bar), extra_bar,
    corrected_bar; an ex-date for later_split, hidden_split, hidden_dividend and unscaled_history.
    ratio: of later_split. field and value, or values (by field): of corrected_bar, as traded. currency: of
    wrong_currency and wrong_unit. differs: whether the duplicate has other values. other: the symbol that
    wrong_symbol (default: the next one) or other_history answers with.
    """

    kind: FaultKind
    symbol: str = "*"
    times: int | None = 1
    rate: float | None = None
    seed: int = 0
    after: int = 0
    after_total: int = 0
    since: datetime | None = None
    until: datetime | None = None
    seconds: float = 30.0
    retry_after: int = 1
    date: date | None = None
    ratio: float | None = None
    field: str | None = None
    value: float | None = None
    values: Mapping[str, float] | None = None
    currency: str | None = None
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
            for name in ("since", "until"):
                if values.get(name) is not None:
                    values[name] = _moment(values[name])
            if kind is FaultKind.SLOW:
                values.setdefault("seconds", 1.0)
            values["symbol"] = str(values.get("symbol", "*")).upper()
            if values.get("other") is not None:
                values["other"] = str(values["other"]).upper()
            fault = cls(times=None if times is None else int(times), **values)
            fault._check()
        except (TypeError, ValueError, ReplayError) as error:
            raise FaultError(f"fault {kind}: {error}") from None
        return fault

    def _check(self) -> None:
        if self.times is not None and self.times < 1:
            raise ValueError("times must be at least 1, or null for persistent")
        if self.rate is not None and not 0 < self.rate <= 1:
            raise ValueError("rate must be above 0 and at most 1")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        needed = _NEEDED.get(self.kind, ())
        if any(getattr(self, name) in (None, "*") for name in needed):
            raise ValueError(f"needs {' and '.join(needed)}")
        if self.ratio is not None and not self.ratio > 0:
            raise ValueError("ratio must be above 0")
        if self.kind is FaultKind.CORRECTED_BAR:
            self._check_correction()

    def _check_correction(self) -> None:
        pair = (self.field, self.value)
        if self.values is None:
            given = None not in pair
        else:
            given = bool(self.values) and pair == (None, None)
        if not given:
            raise ValueError("needs date, and either field and value or values")
        if not set(self.corrections) <= {*PRICES, "volume"}:
            raise ValueError(f"field must be one of {', '.join(PRICES)}, volume")

    @property
    def corrections(self) -> dict[str, float]:
        """What a corrected_bar changes: as-traded values by field."""
        if self.values is not None:
            return {name: float(value) for name, value in self.values.items()}
        return {} if self.field is None or self.value is None else {self.field: float(self.value)}

    def in_force(self, now: datetime) -> bool:
        """Whether the clock `now` (aware) is between `since` and `until`."""
        return (self.since is None or self.since <= now) and (self.until is None or now < self.until)


def _moment(value: Moment) -> datetime:
    """A moment in UTC; a bare date is where its day begins in UTC. ReplayError for anything else."""
    if isinstance(value, str) and len(value) == 10:
        value = date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), UTC)
    return parse_moment(value)


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
        hit: list[Fault] = []
        failed = False
        for running in self._running:
            fault = running.fault
            if fault.symbol not in ("*", symbol) or not fault.in_force(now):
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
