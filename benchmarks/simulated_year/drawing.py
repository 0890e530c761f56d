"""Where in the year things happen to which symbol, and the bars that come of it, drawn from random numbers.

Positions are indices into a market's sessions, those of the lead-in included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache

import numpy as np

from quant_assets.market.bars import PRICES
from quant_assets.replay.generator import random_walk, trading_sessions
from quant_assets.replay.paths import LOT, on_tick, tick_size
from quant_assets.replay.venues import Venue, session_open, venue

LEAD_IN, FIRST, LAST = date(2022, 7, 1), date(2023, 1, 3), date(2023, 12, 29)
TOLD_BEFORE = date(2023, 12, 1)
"""Late news is told before this day, so that December is left to find it."""

# Each once, so that every year has a fractional and a reverse split.
_RATIOS = (2.0, 3.0, 1.5, 4.0, 0.1)
_LATE_RATIOS = (2.0, 3.0)
_SPLIT_DISTANCE = 25
_QUIET_END = 10  # no ex-date in the last sessions of the year
_TIME_TO_FIND = 20  # sessions between late news of a symbol and its delisting
_LOWEST, _HIGHEST = 1.0, 300.0


@dataclass(eq=False)
class Market:
    """An exchange: its sessions `days` (datetime64[D], LEAD_IN to LAST), the `monday` of the week of rate
    limits, the position of its `missing` session (-1: none), and the positions of FIRST and LAST."""

    code: str
    venue: Venue
    days: np.ndarray
    monday: date
    missing: int = -1

    def __post_init__(self) -> None:
        self.start = int(np.searchsorted(self.days, np.datetime64(FIRST, "D")))
        self.end = len(self.days) - 1

    def day(self, at: int) -> date:
        """The session at a position."""
        return self.days[at].item()

    def opens(self, at: int) -> datetime:
        """When the session at a position opens, UTC. News comes at an open: the runs after earlier closes have
        seen the old, the next one sees the new."""
        return session_open(self.venue, self.day(at))

    def limited(self, at: int) -> bool:
        """Whether the session is in the week of rate limits."""
        return self.monday <= self.day(at) < self.monday + timedelta(days=5)

    @property
    def last_news(self) -> int:
        """The last session before TOLD_BEFORE."""
        return int(np.searchsorted(self.days, np.datetime64(TOLD_BEFORE, "D"))) - 1


@dataclass(eq=False)
class Symbol:
    """A listing that trades from position `first` to `last` but in `gap`.

    `ratios` and `dividends` (per share) by position. `hidden`: late splits, from the position of the ex-date to
    that of the session before which it is told. `prices` (4 x n: open, high, low, close) and `volume` (n) from
    `first` to `last`, gap included.
    """

    name: str
    market: Market
    first: int = 0
    last: int = 0
    gap: range = range(0)
    ratios: dict[int, float] = field(default_factory=dict)
    hidden: dict[int, int] = field(default_factory=dict)
    dividends: dict[int, float] = field(default_factory=dict)
    prices: np.ndarray = field(default_factory=lambda: np.empty((4, 0)))
    volume: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def trades(self, at: int) -> bool:
        """Whether there is a bar."""
        return self.first <= at <= self.last and at not in self.gap

    def may_have_ex_date(self, at: int) -> bool:
        """Whether a split or dividend may stand here."""
        quiet = at > self.market.end - _QUIET_END or at == self.market.missing
        return self.trades(at) and at >= self.first + 5 and not quiet

    @property
    def last_news(self) -> int:
        """The last session at whose open late news may be told, with time left to find it."""
        gone = self.last < self.market.end
        return min(self.market.last_news, self.last - _TIME_TO_FIND if gone else self.market.end)


@cache
def calendar(code: str) -> tuple[Venue, np.ndarray]:
    """The venue of a code and its sessions from LEAD_IN to LAST."""
    where = venue(code)
    return where, trading_sessions(where, str(LEAD_IN), str(LAST))


def between(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(rng.integers(low, high + 1))


def draw_missing_session(rng: np.random.Generator, markets: Sequence[Market]) -> Market:
    """The market that has a missing session, now set in it: outside the week of rate limits."""
    market = markets[between(rng, 0, len(markets) - 1)]
    free = [at for at in range(market.start + 10, market.end - 30) if not market.limited(at)]
    market.missing = int(rng.choice(free))
    return market


def draw_lives(rng: np.random.Generator, symbols: Sequence[Symbol]) -> None:
    """Three listings, two delistings and one suspension, each of another symbol."""
    chosen = [symbols[at] for at in rng.permutation(len(symbols))[:6]]
    for symbol in chosen[:3]:
        market = symbol.market
        symbol.first = _other_than(rng, market.missing, market.start + 15, market.end - 60)
    for symbol in chosen[3:5]:
        market = symbol.market
        symbol.last = _other_than(rng, market.missing, market.start + 40, market.end - 30)
    market = chosen[5].market
    while True:
        length = between(rng, 8, 25)
        begin = between(rng, market.start + 10, market.end - 30 - length)
        gap = range(begin, begin + length)
        # Side by side, neither could be told from the other.
        if not begin - 1 <= market.missing <= gap[-1] + 1:
            chosen[5].gap = gap
            return


def _other_than(rng: np.random.Generator, barred: int, low: int, high: int) -> int:
    return int(rng.choice([at for at in range(low, high + 1) if at != barred]))


def draw_splits(rng: np.random.Generator, markets: Sequence[Market], symbols: Sequence[Symbol]) -> None:
    """Two late splits and five ordinary ones, at least one of these on each market."""
    steady = [s for s in symbols if s.first == 0 and s.last == s.market.end and not s.gap]
    late = [steady[at] for at in rng.permutation(len(steady))[:2]]
    for symbol, most in zip(late, (12, 30), strict=True):
        hidden = between(rng, 3, most)
        free = [
            at
            for at in _ex_dates(symbol)
            # Somebody has to see the bar of the ex-date while the split is not told.
            if at >= symbol.first + 30 and at + hidden <= symbol.last_news and not symbol.market.limited(at)
        ]
        at = int(rng.choice(free))
        symbol.ratios[at] = float(rng.choice(_LATE_RATIOS))
        symbol.hidden[at] = at + hidden

    for n, ratio in enumerate(rng.permutation(_RATIOS)):
        # One on each exchange, the others anywhere.
        pool = [s for s in symbols if n >= len(markets) or s.market is markets[n]]
        while True:
            symbol = pool[between(rng, 0, len(pool) - 1)]
            free = _ex_dates(symbol)
            if not free:
                continue
            ratios = {**symbol.ratios, int(rng.choice(free)): float(ratio)}
            if _can_be_undone(ratios):
                symbol.ratios = ratios
                break


def _ex_dates(symbol: Symbol) -> list[int]:
    """Where one more split of the symbol may stand."""
    spans = [(at, symbol.hidden.get(at, at)) for at in symbol.ratios]
    return [
        at
        for at in range(symbol.market.start, symbol.last + 1)
        if symbol.may_have_ex_date(at)
        and not any(first - _SPLIT_DISTANCE <= at <= last + _SPLIT_DISTANCE for first, last in spans)
    ]


def _can_be_undone(ratios: Mapping[int, float]) -> bool:
    """Whether rescaled lots are whole shares, and there are prices that stay in bounds."""
    later, product = [], 1.0
    for at in sorted(ratios, reverse=True):
        product *= ratios[at]
        later.append(product)
    whole = all(abs(LOT * s - round(LOT * s)) < 1e-9 for s in later)
    low, high = _first_prices(np.array([1.0, *(ratios[at] for at in sorted(ratios))]))
    return len(ratios) <= 2 and whole and low < high


def _first_prices(ratio: np.ndarray) -> tuple[float, float]:
    """First prices from which a walk with these splits seldom leaves the bounds."""
    shares = np.cumprod(ratio)
    return 1.8 * _LOWEST * float(shares.max()), _HIGHEST / 1.8 * float(shares.min())


def draw_bars(rng: np.random.Generator, symbol: Symbol) -> None:
    """Prices and volume, within bounds all the time."""
    ratio = np.ones(symbol.last - symbol.first + 1)
    for at, value in symbol.ratios.items():
        ratio[at - symbol.first] = value
    low, high = np.log(_first_prices(ratio))
    while True:
        prices, volume = random_walk(symbol.market.venue, float(np.exp(rng.uniform(low, high))), ratio, rng)
        if prices.min() >= _LOWEST and prices.max() <= _HIGHEST:
            symbol.prices, symbol.volume = prices, volume
            return


def draw_dividends(rng: np.random.Generator, symbol: Symbol) -> None:
    """Twice a year on the ASX, else quarterly, about 4 % a year; on the next day where none may be."""
    every, share = (126, 0.02) if symbol.market.code == "ASX" else (63, 0.01)
    for due in range(symbol.first + between(rng, 10, every), symbol.last + 1, every):
        wanted = share * rng.uniform(0.5, 1.5)
        for at in range(due, min(due + 30, symbol.last + 1)):
            if symbol.may_have_ex_date(at) and at not in symbol.ratios:
                before = symbol.prices[3, at - 1 - symbol.first]
                symbol.dividends[at] = max(0.001, round(float(before * wanted), 3))
                break


def correctable(symbol: Symbol) -> Iterator[int]:
    """Sessions whose bar is sure to be seen before it is corrected, and apart from other late news."""
    market = symbol.market
    for at in range(max(market.start, symbol.first + 5 if symbol.first else 0), symbol.last_news - 1):
        hidden = any(first <= at <= told for first, told in symbol.hidden.items())
        if symbol.trades(at) and at != market.missing and not market.limited(at) and not hidden:
            yield at


def draw_wrong_value(rng: np.random.Generator, symbol: Symbol, at: int) -> tuple[str, float, float]:
    """A field of a bar with its right value and a wrong one on the tick: off by at least 3 ticks (or lots) and
    0.3 %, by less than 20 %, and the bar with it is still one (low <= open, close <= high)."""
    where, n = symbol.market.venue, at - symbol.first
    values: dict[str, float] = dict(zip(PRICES, symbol.prices[:, n].tolist(), strict=True))
    values["volume"] = float(symbol.volume[n])
    while True:
        # Opens and closes seldom have room between low and high: each field gets its tries before another does.
        name = str(rng.choice(list(values)))
        right = values[name]
        for _ in range(100):
            off = float(np.exp(rng.uniform(np.log(0.003), np.log(0.19)))) * float(rng.choice([-1, 1]))
            if name == "volume":
                step, wrong = float(LOT), float(np.rint(right * (1 + off) / LOT)) * LOT
            else:
                both = np.array([right, right * (1 + off)])
                step, wrong = float(tick_size(where, both).max()), float(on_tick(where, both)[1])
            bent = {**values, name: wrong}
            inner = (bent["open"], bent["close"])
            is_bar = bent["low"] <= min(inner) and max(inner) <= bent["high"]
            # 2.5: three steps, whatever the last bit says.
            if is_bar and max(2.5 * step, 0.003 * right) < abs(wrong - right) < 0.2 * right:
                return name, right, wrong
