"""Draws a world from a seed: who is listed when, what happens to them, their bars, and the lists of the universes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from string import ascii_uppercase
from typing import Any

import numpy as np

from benchmarks.simulated_listings.world import INDEX, LISTED, Company, Publication, World
from quant_assets.replay.generator import random_walk, trading_sessions
from quant_assets.replay.paths import on_tick
from quant_assets.replay.venues import session_open, venue

DECLINE = 80
"""Sessions over which a company that is to be delisted loses most of its value."""
FAILURE_RATE = 0.05
OUTAGE = 3
"""Sessions on which no symbol is to be had."""


@dataclass(frozen=True)
class Shape:
    """How much there is of everything."""

    start: date
    end: date
    companies: int
    """Listed from the start on."""
    listings: int = 0
    delistings: int = 0
    renames: int = 0
    suspensions: int = 0
    reuses: int = 0
    """Symbols of delisted companies that another one is given later."""
    decoys: int = 0
    """Companies that are listed right after another one is gone, at a like price, and have nothing to do with it."""
    mistakes: int = 0
    """Companies that the list of all forgets for some publications."""
    forgotten: tuple[int, int] = (1, 30)
    """How many sessions after its last one a delisted symbol is not found any more: between these."""
    index: int = 10
    """How many companies the index has."""
    yearly: bool = False
    """Lists are published at the turn of each year, and on the last day; else on the first session of each week."""


def draw_world(seed: int, shape: Shape) -> World:
    """The world of a seed."""
    return _Drawing(np.random.default_rng([seed, 11]), shape).world()


class _Drawing:
    def __init__(self, rng: np.random.Generator, shape: Shape) -> None:
        self._rng, self._shape = rng, shape
        self._venue = venue("US")
        self._days: list[date] = trading_sessions(self._venue, str(shape.start), str(shape.end)).tolist()
        self._end = len(self._days) - 1
        self._taken: set[str] = set()
        self._companies: list[Company] = []

    def world(self) -> World:
        shape = self._shape
        for _ in range(shape.companies):
            self._found(0)
        for _ in range(shape.listings):
            self._found(self._listing_day())
        steady = [self._companies[at] for at in self._rng.permutation(len(self._companies))]
        gone = self._take(steady, shape.delistings, room=200)
        for number, one in enumerate(gone):
            self._delist(one, early=number < shape.reuses)
        for one in self._take(steady, shape.renames, room=200):
            self._rename(one)
        for one in self._take(steady, shape.suspensions, room=200):
            begin = self._between(one.first + 40, self._end - 80)
            one.gap = range(begin, begin + self._between(8, 45))
        for one in gone[: shape.reuses]:
            self._found(self._between(one.last + 100, self._end - 60), symbol=one.symbol(one.last))
        for one in gone[shape.reuses : shape.reuses + shape.decoys]:
            # The one that looks most like a successor: from the next session on, at the same price.
            self._found(min(one.last + 1, self._end - 5), after=one)
        for one in self._companies:
            self._draw_bars(one)
        turns = self._turns()
        for one in self._take(steady, shape.mistakes, room=200):
            first = self._between(10, len(turns) - 10)
            one.off_list = range(first, first + self._between(1, 3))
        broken = self._broken(turns)
        # What cannot be believed on its day is published as it should be on the next.
        turns = [at + (at in broken) for at in turns]
        listed = [Publication(at, self._listed(at, number)) for number, at in enumerate(turns)]
        published = {LISTED: listed, INDEX: list(self._index(listed))}
        return World(
            self._venue,
            self._days,
            {one.key: one for one in self._companies},
            published,
            () if shape.yearly else tuple(self._faults()),
            broken,
        )

    def _between(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, max(low, high) + 1))

    def _listing_day(self) -> int:
        if not self._shape.yearly:
            return self._between(self._end // 8, self._end - 120)
        # In the last quarter, so that what is published at its end is new for a few weeks only.
        turns = self._turns()[1:-1]
        return turns[self._between(0, len(turns) - 1)] - self._between(5, 55)

    def _take(self, steady: list[Company], count: int, room: int) -> list[Company]:
        """Some companies to which nothing happens yet, with `room` sessions left."""
        found = [one for one in steady if one.first + room < self._end][:count]
        for one in found:
            steady.remove(one)
        return found

    def _found(self, first: int, symbol: str | None = None, after: Company | None = None) -> Company:
        number = len(self._companies)
        one = Company(
            key=f"Q{number:03d}", symbols=[(first, symbol or self._new_symbol())], names=[self._new_name(number)],
            isin="" if number % 2 else _isin(number), first=first, last=self._end,
            begins_like=None if after is None else after.key,
        )  # fmt: skip
        self._companies.append(one)
        return one

    def _new_symbol(self) -> str:
        while True:
            word = "".join(self._rng.choice(list(ascii_uppercase), self._between(3, 4)))
            if word not in self._taken:
                self._taken.add(word)
                return word

    def _new_name(self, number: int) -> str:
        word = "".join(self._rng.choice(list("aeioulmnrst"), 7))
        return f"{word.capitalize()} {number} Inc."

    def _delist(self, one: Company, *, early: bool) -> None:
        latest = self._end // 2 if early else self._end - 70
        one.last = self._between(one.first + DECLINE + 20, latest)
        one.forgotten = one.last + self._between(*self._shape.forgotten)

    def _rename(self, one: Company) -> None:
        at = self._between(one.first + 60, self._end - 80)
        one.symbols.append((at, self._new_symbol()))
        # Every third keeps its name.
        same = self._between(0, 2) == 0
        one.names.append(one.names[0] if same else self._new_name(len(self._companies) + at))

    def _draw_bars(self, one: Company) -> None:
        rng, n = self._rng, one.last - one.first + 1
        ratio = np.ones(n)
        if n > 300 and one.forgotten is None and not one.gap and self._between(0, 4) == 0:
            at = self._between(60, n - 60)
            ratio[at] = one.ratios[one.first + at] = float(rng.choice([2.0, 3.0]))
        before = next((other for other in self._companies if other.key == one.begins_like), None)
        begin = before.close(before.last) if before is not None else float(np.exp(rng.uniform(3.0, 5.0)))
        prices, volume = random_walk(self._venue, begin, ratio, rng)
        if one.forgotten is not None:
            decline = np.ones(n)
            decline[-DECLINE:] = np.exp(np.linspace(0.0, np.log(rng.uniform(0.15, 0.5)), DECLINE))
            prices = on_tick(self._venue, prices * decline)
        one.prices, one.volume = prices, volume
        every = self._between(50, 70)
        if self._between(0, 1):
            for at in range(one.first + every, one.last + 1, every):
                if one.trades(at) and one.trades(at - 1) and at not in one.ratios:
                    one.dividends[at] = round(one.close(at - 1) * float(rng.uniform(0.005, 0.015)), 2)

    def _turns(self) -> list[int]:
        """The sessions on which lists are published."""
        days = self._days
        if self._shape.yearly:
            years = [at for at, day in enumerate(days) if at == 0 or day.year != days[at - 1].year]
            return [*years, self._end]
        weeks = [day.isocalendar()[:2] for day in days]
        return [at for at, week in enumerate(weeks) if at == 0 or week != weeks[at - 1]]

    def _listed(self, at: int, number: int) -> tuple[str, ...]:
        """What the list of all has at a turn: a company from its first session to its last."""
        return tuple(
            one.key for one in self._companies if one.first <= at <= one.last and number not in one.off_list
        )

    def _index(self, listed: Sequence[Publication]) -> Any:
        """Who is gone is replaced, and now and then one that is not."""
        rng, members = self._rng, list[str]()
        for publication in listed:
            members = [key for key in members if key in publication.members]
            often = 1.0 if self._shape.yearly else 0.1
            if members and rng.random() < often:
                members.remove(str(rng.choice(members)))
            free = [key for key in publication.members if key not in members]
            wanted = min(self._shape.index - len(members), len(free))
            members += [str(key) for key in rng.permutation(free)[:wanted]]
            yield Publication(publication.at, tuple(sorted(members)))

    def _broken(self, turns: Sequence[int]) -> frozenset[int]:
        if self._shape.yearly:
            return frozenset()
        return frozenset(int(at) for at in self._rng.choice(turns[10:-10], 5, replace=False))

    def _faults(self) -> Any:
        """One request in twenty fails, in many ways; and for some days all do."""
        ways: tuple[tuple[str, dict[str, Any]], ...] = (
            ("not_found_404", {}),
            ("server_error_500_html", {}),
            ("server_error_500_json", {}),
            ("empty_body", {}),
            ("malformed_json", {}),
            ("rate_limited_429_retry_after", {"retry_after": 0}),
            ("missing_session", {}),
        )
        # First, so that nothing else answers on those days.
        begin = self._between(self._end // 4, 3 * self._end // 4)
        since, until = (session_open(self._venue, self._days[at]) for at in (begin, begin + OUTAGE))
        during = {"times": None, "since": since.isoformat(), "until": until.isoformat()}
        symbols = sorted(symbol for one in self._companies for _, symbol in one.symbols)
        half = [symbols[at] for at in self._rng.permutation(len(symbols))[: len(symbols) // 2]]
        yield {"kind": "not_found_404", "symbols": half, **during}
        yield {"kind": "server_error_500_html", "symbols": [s for s in symbols if s not in half], **during}
        for kind, more in ways:
            rate = FAILURE_RATE / len(ways)
            yield {"kind": kind, "symbol": "*", "rate": rate, "seed": int(self._rng.integers(2**31)), **more}


def _isin(number: int) -> str:
    """A made-up ISIN, with its check digit."""
    body = f"US{number:09d}"
    digits = "".join(str(int(char, 36)) for char in body)
    doubled = (int(digit) * (2 if at % 2 == 0 else 1) for at, digit in enumerate(reversed(digits)))
    return f"{body}{-sum(n // 10 + n % 10 for n in doubled) % 10}"
