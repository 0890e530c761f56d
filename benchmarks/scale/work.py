"""A row of the table: what is measured, beside what, and what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.scale.measuring import Measured, Prepared
from benchmarks.scale.shape import Laid

OURS, LIMIT = "ours", "limit"
Prepare = Callable[[Laid], Prepared]
"""Makes ready, and answers what is timed."""


@dataclass(frozen=True)
class Goal:
    """What is wanted: `what` of the measured numbers is at most (or at least) `value`."""

    what: str
    value: float
    at_least: bool = False

    def met(self, numbers: Mapping[str, float]) -> bool | None:
        """Whether it is; None where what it needs was not measured."""
        found = numbers.get(self.what)
        if found is None:
            return None
        return found >= self.value if self.at_least else found <= self.value

    def __str__(self) -> str:
        return f"{self.what}{'>=' if self.at_least else '<='}{self.value:g}"


@dataclass(frozen=True)
class Work:
    """One row. `sides` are OURS, LIMIT and peers by name; `limit` says in words what the limit is."""

    name: str
    sides: Mapping[str, Prepare]
    goals: tuple[Goal, ...] = ()
    limit: str = "-"
    repeats: int = 5


def numbers(measured: Mapping[str, Measured]) -> dict[str, float]:
    """What goals are about: `seconds`, `ratio` to the limit, `peak_mb`, `more_mb` (over what was there before the
    first call), `answers` (that in sizes of the answer), `times_NAME` of a peer to us, and all facts of ours."""
    ours = measured[OURS]
    found = {
        "seconds": ours.seconds,
        "cpu": ours.cpu,
        "peak_mb": ours.peak_mb,
        "more_mb": ours.peak_mb - ours.before_mb,
    }
    found |= {name: float(value) for name, value in ours.facts.items() if isinstance(value, int | float)}
    if ours.answer_mb:
        found["answers"] = found["more_mb"] / ours.answer_mb
    for side, one in measured.items():
        if side == LIMIT and one.seconds:
            found["ratio"] = ours.seconds / one.seconds
        elif side != OURS and ours.seconds:
            found[f"times_{side}"] = one.seconds / ours.seconds
    return found
