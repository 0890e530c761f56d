"""One lie: a variant of a kind, what is true meanwhile, and the faults that tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.lies.market import Slot
from benchmarks.lies.pasts import PLAIN, Past


@dataclass(frozen=True)
class Lie:
    """`faults` are in the JSON form of the replay server, without symbol, since and until.

    `twin`: the past of another symbol that the server knows and the store does not; faults name it as "{twin}".
    """

    variant: str
    faults: tuple[dict[str, Any], ...]
    past: Past = PLAIN
    twin: Past | None = None


@dataclass
class Kind:
    """A kind of lie. `alone`: it touches whole runs, so that nobody else may be asked in them."""

    name: str
    make: Callable[[Slot], Iterable[Lie]]
    market: str = "US"
    alone: bool = False


@dataclass
class Kinds:
    """The kinds by name, in the order in which they are declared."""

    by_name: dict[str, Kind] = field(default_factory=dict[str, Kind])

    def kind(
        self, *, market: str = "US", alone: bool = False
    ) -> Callable[[Callable[[Slot], Iterable[Lie]]], Callable[[Slot], Iterable[Lie]]]:
        """Declares a kind under the function's name."""

        def declare(make: Callable[[Slot], Iterable[Lie]]) -> Callable[[Slot], Iterable[Lie]]:
            name = getattr(make, "__name__", "")
            self.by_name[name] = Kind(name, make, market, alone)
            return make

        return declare


KINDS = Kinds()
