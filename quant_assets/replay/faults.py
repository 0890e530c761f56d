"""One fault with its parameters, read from JSON and checked.

A fault is a plain dict in JSON (`Fault.from_dict`): `{"kind": "rate_limited_429", "symbol": "AAPL",
"times": 2}`. Only chart *data* requests of its symbols are counted and touched; the range=1d probe and
discovery are not. The kinds and their parameters are in `kinds`, what each does in `truth_effects`,
`series_effects` and `chart_effects`, and in `answers` for what is no proper answer at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from typing import Any

from quant_assets.replay.errors import FaultError, ReplayError
from quant_assets.replay.history import PRICES
from quant_assets.replay.kinds import KINDS, LIES, NEEDED, REFUSALS, FaultKind
from quant_assets.replay.world import Moment, parse_moment

_WHAT = {
    FaultKind.EVENTS_LEFT_OUT: ("dividends", "splits", "all"),
    FaultKind.UNREADABLE_EVENT: ("split", "dividend"),
}


@dataclass(frozen=True)
class Fault:
    """One fault.

    symbol: the symbol, or "*" for every symbol; symbols: several instead. times: how many requests of each
    symbol it hits; None (null, or "persistent") for all. When not given it is 1, but None with a `rate` and for
    all states but missing_session and null_bar. rate: probability per request in (0, 1], decided by `seed`,
    symbol and the request's number, so independent of the order among symbols. after: it spares the first so
    many requests of each symbol; after_total: the first so many of all symbols together.
    since, until: it is in force while since <= clock < until (None: unbounded); other requests are not
    counted at all.
    All others are parameters of some kinds, see `kinds.KINDS`; None where the kind has none.
    """

    kind: FaultKind
    symbol: str = "*"
    symbols: tuple[str, ...] = ()
    times: int | None = 1
    rate: float | None = None
    seed: int = 0
    after: int = 0
    after_total: int = 0
    since: datetime | None = None
    until: datetime | None = None
    seconds: float = 0.0
    retry_after: int = 1
    date: date | None = None
    first: date | None = None
    last: date | None = None
    ratio: float | None = None
    factor: float = 1.0
    amount: float = 0.0
    sessions: int = 0
    adjusted: bool = False
    volume: bool = True
    what: str | None = None
    text: str | None = None
    to: date | None = None
    hour: int = 23
    status: int = 200
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
        try:
            kind = FaultKind(raw.get("kind", ""))
        except ValueError:
            raise FaultError(
                f"unknown fault kind {raw.get('kind')!r}: use one of {', '.join(FaultKind)}"
            ) from None
        takes = KINDS[kind].takes
        given = {name: value for name, value in raw.items() if value is not None and name != "kind"}
        try:
            needless = sorted(set(given) - _COMMON - set(takes))
            # Older kinds have always passed over what they do not take.
            if needless and kind in LIES | REFUSALS:
                own = f"its own fields are {', '.join(takes)}" if takes else "it has no fields of its own"
                raise ValueError(f"takes no {needless[0]}: leave it out; {own}")
            values = {name: value for name, value in takes.items() if value not in (None, NEEDED)}
            values |= {name: _read(name, value) for name, value in given.items() if name != "times"}
            fault = cls(kind=kind, times=_times(kind, raw), **values)
            _check_needed(kind, given)
            fault._check()
        except (TypeError, ValueError, ReplayError) as error:
            raise FaultError(f"fault {kind}: {error}") from None
        return fault

    def _check(self) -> None:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError("first must not be after last")
        if self.symbols and self.symbol != "*":
            raise ValueError("symbol and symbols are both given: leave one out")
        if self.kind is FaultKind.CORRECTED_BAR:
            self._check_correction()
        if self.kind is FaultKind.FIELD_FACTOR and self.field not in (*PRICES, "adjclose", "volume"):
            raise ValueError(f"field must be one of {', '.join(PRICES)}, adjclose, volume")
        if self.kind in _WHAT and self.what not in _WHAT[self.kind]:
            raise ValueError(f"what must be one of {', '.join(_WHAT[self.kind])}, not {self.what!r}")
        if self.to is not None and self.date is not None and not self.to < self.date:
            raise ValueError("to must be a day before date")

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

    def hits(self, symbol: str) -> bool:
        """Whether it is a fault of `symbol`."""
        return symbol in self.symbols if self.symbols else self.symbol in ("*", symbol)

    def in_force(self, now: datetime) -> bool:
        """Whether the clock `now` (aware) is between `since` and `until`."""
        return (self.since is None or self.since <= now) and (self.until is None or now < self.until)


def _check_needed(kind: FaultKind, given: Mapping[str, Any]) -> None:
    known = KINDS[kind]
    needed = [name for name, default in known.takes.items() if default is NEEDED]
    of_nobody = known.of_one and given.get("symbol", "*") == "*" and not given.get("symbols")
    if of_nobody or not set(needed) <= set(given):
        raise ValueError(f"needs {' and '.join((['symbol'] if known.of_one else []) + needed)}")


def _times(kind: FaultKind, raw: Mapping[str, Any]) -> int | None:
    if "times" not in raw:
        return None if KINDS[kind].lasting or raw.get("rate") is not None else 1
    if raw["times"] in (None, "persistent"):
        return None
    times = int(raw["times"])
    if times < 1:
        raise ValueError("times must be at least 1, or null for persistent")
    return times


def _moment(value: Moment) -> datetime:
    """A moment in UTC; a bare date is where its day begins in UTC. ReplayError for anything else."""
    if isinstance(value, str) and len(value) == 10:
        value = date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), UTC)
    return parse_moment(value)


def _read(name: str, value: Any) -> Any:
    """A parameter's value from its JSON form; ValueError or TypeError says what is wrong and what to write."""
    return _READERS[name](name, value) if name in _READERS else value


def _date(name: str, value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a date like 2013-03-01, not {value!r}")
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}: write a date like 2013-03-01") from None


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, not {value!r}")
    return float(value)


def _positive(name: str, value: Any) -> float:
    if not _number(name, value) > 0:
        raise ValueError(f"{name} must be above 0, not {value!r}")
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return value


def _hour(name: str, value: Any) -> int:
    if not 0 <= _whole(name, value) <= 23:
        raise ValueError(f"{name} must be from 0 to 23, not {value!r}")
    return value


def _status(name: str, value: Any) -> int:
    if value not in (200, 999):
        raise ValueError(f"{name} must be 200 or 999, not {value!r}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{name} must be a text like "3.14 USD", not {value!r}')
    return value


def _yes_or_no(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return value


def _rate(name: str, value: Any) -> float:
    if not 0 < _number(name, value) <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, not {value!r}")
    return float(value)


def _symbol(name: str, value: Any) -> str:
    return str(value).upper()


def _symbols(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not value:
        raise ValueError(f'{name} must be a list like ["AAPL", "IBM"]; symbol names one')
    return tuple(str(symbol).upper() for symbol in value)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "symbol": _symbol,
    "other": _symbol,
    "symbols": _symbols,
    "since": lambda name, value: _moment(value),
    "until": lambda name, value: _moment(value),
    "rate": _rate,
    "date": _date,
    "to": _date,
    "first": _date,
    "last": _date,
    "ratio": _positive,
    "factor": _positive,
    "amount": _positive,
    "seconds": _number,
    "sessions": _whole,
    "hour": _hour,
    "status": _status,
    "text": _text,
    "adjusted": _yes_or_no,
    "volume": _yes_or_no,
    "differs": _yes_or_no,
}
_COMMON = frozenset({"symbol", "symbols", "times", "rate", "seed", "after", "after_total", "since", "until"})
