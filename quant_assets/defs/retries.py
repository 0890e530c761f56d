"""When to try again what a run did not bring: after pauses that grow, and not for ever. Kept in a sensor's cursor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

DAY = timedelta(days=1)


def doubling(first: timedelta, tries: int, longest: timedelta = DAY) -> tuple[timedelta, ...]:
    """The pauses before `tries` tries: the first one, then each twice the one before, up to the longest."""
    return tuple(min(longest, first * 2**number) for number in range(tries))


@dataclass(frozen=True, slots=True)
class Tries:
    """How often something was tried, and when last; `size` is how much was lacking then. 0 tries: noticed only."""

    count: int
    at: datetime
    size: int = 0


class Retries:
    """The tries of partitions, by partition key.

    `pauses[n]` has to pass after the n-th try (after the noticing, for n = 0) before the next one; without a pause
    left there is none. Of the last pause there is no end with `forever`.
    """

    def __init__(
        self, pauses: Sequence[timedelta], *, forever: bool = False, tries: Mapping[str, Tries] | None = None
    ) -> None:
        self._pauses, self._forever = pauses, forever
        self.tries: dict[str, Tries] = dict(tries or {})

    @classmethod
    def load(cls, value: object, pauses: Sequence[timedelta], *, forever: bool = False) -> Self:
        """The inverse of `dump`. What it does not understand (another version's cursor) counts as never tried."""
        tries: dict[str, Tries] = {}
        try:
            for count, at, size, keys in value or ():  # type: ignore[attr-defined]
                moment = datetime.fromisoformat(at)
                if moment.tzinfo is None:
                    raise ValueError("a moment without a zone")
                tries |= dict.fromkeys(keys, Tries(int(count), moment, int(size)))
        except (TypeError, ValueError, AttributeError):
            tries = {}
        return cls(pauses, forever=forever, tries=tries)

    def dump(self) -> list[Any]:
        """As JSON values: partitions of the same history share an entry, since a run tries many at once."""
        groups: dict[Tries, list[str]] = {}
        for key, tries in self.tries.items():
            groups.setdefault(tries, []).append(key)
        return [[t.count, t.at.isoformat(), t.size, sorted(keys)] for t, keys in groups.items()]

    def notice(self, key: str, now: datetime, size: int = 0) -> None:
        """Something is lacking. Known already, it goes on as before, unless more is lacking than at the last try."""
        before = self.tries.get(key)
        if before is None or size > before.size:
            self.tries[key] = Tries(0, now, size)

    def next(self, key: str) -> datetime | None:
        """The moment from which on to try; None when it has been tried often enough. KeyError if never noticed."""
        tries = self.tries[key]
        if tries.count < len(self._pauses):
            return tries.at + self._pauses[tries.count]
        return tries.at + self._pauses[-1] if self._forever else None

    def tried(self, keys: Iterable[str], now: datetime, sizes: Mapping[str, int] | None = None) -> None:
        """Counts a try of these partitions."""
        for key in keys:
            before = self.tries.get(key, Tries(0, now))
            # The most that was ever lacking: what comes and goes with the day of the question is no news.
            self.tries[key] = Tries(before.count + 1, now, max(before.size, (sizes or {}).get(key, 0)))

    def keep(self, keys: Collection[str]) -> None:
        """Forgets all others: they lack nothing any more."""
        self.tries = {key: tries for key, tries in self.tries.items() if key in keys}
