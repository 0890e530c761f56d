"""A made-up exchange over some years: which company traded when, under which symbol, and who was in which universe.

Positions are indices into the exchange's sessions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from quant_assets.market.bars import PRICES
from quant_assets.replay.history import SCHEMA, History, SymbolInfo
from quant_assets.replay.venues import Venue

LISTED, INDEX = "listed", "small"
"""The universes: everything that is listed, and an index of some of it."""


@dataclass(eq=False)
class Company:
    """A company that trades from position `first` to `last` but in `gap`.

    `symbols`: what it is called from which position on. `forgotten`: the position from which on a delisted one
    is not found any more. `off_list`: publications of LISTED in which it is left out by mistake. `prices`
    (4 x n: open, high, low, close) and `volume` (n) from `first` to `last`, gap included; `dividends` (per
    share) and `ratios` (of splits) by position.
    """

    key: str
    symbols: list[tuple[int, str]]
    names: list[str]
    isin: str
    first: int
    last: int
    gap: range = range(0)
    forgotten: int | None = None
    off_list: range = range(0)
    begins_like: str | None = None
    """The key of a company whose last price is its first one."""
    prices: np.ndarray = field(default_factory=lambda: np.empty((4, 0)))
    volume: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    dividends: dict[int, float] = field(default_factory=dict)
    ratios: dict[int, float] = field(default_factory=dict)

    def symbol(self, at: int) -> str:
        """What it is called at a position."""
        return [symbol for since, symbol in self.symbols if since <= at or since == self.first][-1]

    def name(self, at: int) -> str:
        """The company's name at a position."""
        return [name for (since, _), name in zip(self.symbols, self.names, strict=True) if since <= at][-1]

    def trades(self, at: int) -> bool:
        """Whether there is a bar."""
        return self.first <= at <= self.last and at not in self.gap

    def close(self, at: int) -> float:
        """The close of the last bar up to a position, as traded."""
        while not self.trades(at):
            at -= 1
        return float(self.prices[3, at - self.first])

    def growth(self, start: int, end: int) -> float:
        """What one invested at the close of `start` has become at the close of `end`: dividends are reinvested at
        the close before their ex-date, after the last bar it is cash."""
        value, before = 1.0, self.close(start)
        for at in range(start + 1, min(end, self.last) + 1):
            if self.trades(at):
                close = self.close(at)
                value *= close * self.ratios.get(at, 1.0) / (before - self.dividends.get(at, 0.0))
                before = close
        return value


@dataclass(frozen=True)
class Publication:
    """A universe's list as it is published on a session; in force until the next one."""

    at: int
    members: tuple[str, ...]
    """Keys of companies."""


@dataclass(eq=False)
class World:
    """All of it. `published` has the lists of each universe, in order of time."""

    venue: Venue
    sessions: Sequence[date]
    companies: Mapping[str, Company]
    published: Mapping[str, Sequence[Publication]]
    faults: Sequence[dict[str, Any]] = ()
    broken_lists: frozenset[int] = frozenset()
    """Sessions on which most is missing in what is published; the right list comes a session later."""

    @cached_property
    def _number(self) -> dict[date, int]:
        return {day: at for at, day in enumerate(self.sessions)}

    def at(self, day: date) -> int:
        """The position of a session."""
        return self._number[day]

    def in_force(self, universe: str, at: int) -> Publication:
        """The list of a universe on a session."""
        return [one for one in self.published[universe] if one.at <= at][-1]

    def members(self, universe: str, at: int) -> list[str]:
        """The symbols in a universe on a session, as they are called in the list in force."""
        listed = self.in_force(universe, at)
        return sorted(self.companies[key].symbol(listed.at) for key in listed.members)

    def write_list(self, universe: str, at: int, path: Path, *, broken: bool = False) -> None:
        """The list in force on a session, as the source of a universe has it."""
        listed = self.in_force(universe, at)
        rows = [self.companies[key] for key in listed.members]
        rows.sort(key=lambda one: one.symbol(listed.at))
        if broken:
            rows = rows[: len(rows) // 3]
        lines = [f"{one.symbol(listed.at)},{one.name(listed.at)},{one.isin}" for one in rows]
        path.write_text("\n".join(["symbol,name,isin", *lines]) + "\n")

    def equal_weighted(self, universe: str, turns: Sequence[int], held: Sequence[str] | None = None) -> float:
        """The return of a universe's members in equal parts, made anew at the close of each turn but the last.

        `held`: the keys of the companies that are held instead, each from its first session on.
        """
        value = 1.0
        for start, end in pairwise(turns):
            keys = self.in_force(universe, start).members if held is None else held
            some = [one for key in keys if (one := self.companies[key]).first <= end]
            value *= float(np.mean([one.growth(max(start, one.first), end) for one in some]))
        return value - 1

    def history(self) -> History:
        """What the replay server serves, each company under its key."""
        frames, infos = [], []
        for one in self.companies.values():
            life = range(one.first, one.last + 1)
            frame = pl.DataFrame(
                {
                    "symbol": one.key,
                    "date": [self.sessions[at] for at in life],
                    **{name: one.prices[j] for j, name in enumerate(PRICES)},
                    "volume": one.volume,
                    "dividend": [one.dividends.get(at, 0.0) for at in life],
                    "split_ratio": [one.ratios.get(at, 1.0) for at in life],
                },
                schema=SCHEMA,
            )
            frames.append(frame.filter(pl.Series([one.trades(at) for at in life])))
            infos.append(
                SymbolInfo(
                    symbol=one.key, venue=self.venue, name=one.names[0], currency=self.venue.currency,
                    listed_on=self.sessions[one.first],
                    delisted_on=None if one.forgotten is None else self.sessions[one.last],
                )
            )  # fmt: skip
        return History(pl.concat(frames), infos)

    def spells(self) -> Iterator[dict[str, Any]]:
        """Which symbol stands for which company when, as the replay server takes it."""
        for one in self.companies.values():
            ends = [*(since for since, _ in one.symbols[1:]), one.forgotten]
            for number, ((since, symbol), until) in enumerate(zip(one.symbols, ends, strict=True)):
                yield {
                    "symbol": symbol,
                    "of": one.key,
                    "name": one.names[number],
                    "since": self.sessions[since].isoformat(),
                    "until": None
                    if until is None or until >= len(self.sessions)
                    else self.sessions[until].isoformat(),
                }
