"""Listings to which everything happens that happens to honest ones, and that looks like an error of the source.

Splits of every usual ratio from 1.05 to 1:1000, spin-offs of up to 40 % without any event, special dividends of
up to 60 %, crashes of 80 %, penny stocks down to 0.0001, weeks without a trade, halts, capital gains of funds.
Prices have cents, below 1.00 four decimals; they fall by what is paid on an ex-date.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from quant_assets.replay.paths import Path, quoted
from quant_assets.replay.venues import Venue

FORWARD_RATIOS = (
    1.05, 1.1, 1.2, 1.25, 4 / 3, 1.5, 1.281, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0,
    40.0, 50.0, 100.0,
)  # fmt: skip
REVERSE_RATIOS = (
    2 / 3, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7, 1 / 8, 1 / 10, 1 / 12, 1 / 15, 1 / 20, 1 / 25, 1 / 30, 1 / 40,
    1 / 50, 1 / 75, 1 / 100, 1 / 200, 1 / 250, 1 / 500, 1 / 1000,
)  # fmt: skip
_A_WEEK = 7  # sessions around a dividend in which no company pays another one
_SHORTEST = 45  # fewer sessions leave no room for events


@dataclass
class Life:
    """What happens to a listing, by positions in its sessions.

    jumps: factors of the price. splits: ratios. paid: shares of the close before. gains: the part of what is paid
    that is a capital gain. idle: without a trade. halted: without a bar. begin: the first price, or the last one on
    today's share basis when `ends` is true.
    """

    n: int
    rng: np.random.Generator
    turn: int
    begin: float = 25.0
    ends: bool = True
    spread: float = 0.016
    first: int = 0
    last: int = 0
    jumps: dict[int, float] = field(default_factory=dict[int, float])
    splits: dict[int, float] = field(default_factory=dict[int, float])
    paid: dict[int, float] = field(default_factory=dict[int, float])
    gains: dict[int, float] = field(default_factory=dict[int, float])
    idle: list[range] = field(default_factory=list[range])
    halted: list[range] = field(default_factory=list[range])
    instrument: str = "EQUITY"

    def at(self, low: float, high: float) -> int:
        """A position between two shares of the window."""
        first = int(self.n * low) + 2
        return int(self.rng.integers(first, max(first + 1, int(self.n * high) - 2)))

    def pick(self, ratios: tuple[float, ...], ahead: int = 0) -> float:
        """The ratio of this listing's turn, or of a turn ahead of it: each comes in its turn."""
        return ratios[(self.turn + ahead) % len(ratios)]

    def pays(self, every: int, share: float) -> None:
        """Regular dividends of about `share` of the price, but on a split and in the week of another one."""
        others = tuple(self.paid)
        for position in range(int(self.rng.integers(5, every)), self.n, every):
            if position not in self.splits and all(abs(position - other) > _A_WEEK for other in others):
                self.paid[position] = share * float(self.rng.uniform(0.6, 1.4))


def _forward_split(life: Life) -> None:
    life.splits[life.at(0.1, 0.4)] = life.pick(FORWARD_RATIOS)
    if life.n > 1500:
        life.splits[life.at(0.6, 0.9)] = life.pick(FORWARD_RATIOS, ahead=len(FORWARD_RATIOS) // 2)
    life.pays(63, 0.006)


def _reverse_split(life: Life) -> None:
    life.splits[life.at(0.3, 0.9)] = life.pick(REVERSE_RATIOS)
    life.spread = 0.035


def _both_splits(life: Life) -> None:
    at = life.at(0.2, 0.4)
    life.splits = {
        at: life.pick(FORWARD_RATIOS[:12]),
        at + max(20, life.n // 4): life.pick(REVERSE_RATIOS[:9]),
    }
    life.spread = 0.025


def _stock_dividends(life: Life) -> None:
    year = 252
    for position in range(life.at(0.05, 0.1), life.n - 3, year):
        life.splits[position] = 1.05
    life.pays(126, 0.01)


def _split_beside_dividend(life: Life) -> None:
    at = life.at(0.4, 0.8)
    life.splits[at] = life.pick((2.0, 1.5, 3.0, 0.1))
    life.paid[at + (-1, 0, 1, 2)[life.turn % 4]] = 0.01
    life.pays(63, 0.008)


def _spin_off(life: Life) -> None:
    life.jumps[life.at(0.2, 0.5)] = 0.6
    life.jumps[life.at(0.6, 0.9)] = float(life.rng.uniform(0.62, 0.9))
    life.pays(63, 0.006)


def _special_dividend(life: Life) -> None:
    life.paid[life.at(0.3, 0.6)] = 0.6
    life.paid[life.at(0.7, 0.9)] = float(life.rng.uniform(0.08, 0.4))
    life.pays(126, 0.01)


def _crash(life: Life) -> None:
    life.jumps[life.at(0.3, 0.9)] = 0.2
    life.spread = 0.03


def _crash_and_back(life: Life) -> None:
    at = life.at(0.3, 0.7)
    life.jumps = {at: 0.3, at + 1: float(life.rng.uniform(1.4, 2.2)), at + life.n // 5: 2.6}
    life.spread = 0.04


def _penny(life: Life) -> None:
    life.begin, life.ends = (0.0003, 0.003, 0.012, 0.09, 0.6)[life.turn % 5], False
    life.spread = 0.05


def _idle_weeks(life: Life) -> None:
    for low in (0.1, 0.35, 0.6, 0.85):
        at = life.at(low, low + 0.1)
        life.idle.append(range(at, at + int(life.rng.integers(5, 26))))
    life.pays(126, 0.015)


def _halts(life: Life) -> None:
    for low, length in ((0.1, 1), (0.3, 3), (0.5, 12), (0.75, 40)):
        at = life.at(low, low + 0.1)
        life.halted.append(range(at, at + length))
        life.jumps[at + length] = float(life.rng.choice([0.45, 0.7, 1.0, 1.5]))


def _fund(life: Life) -> None:
    life.instrument, life.spread = "ETF", 0.009
    life.pays(21, 0.003)
    for position in range(life.at(0.05, 0.09), life.n, 252):
        if position not in life.splits:
            life.paid[position] = float(life.rng.uniform(0.02, 0.12))
            life.gains[position] = float(life.rng.uniform(0.3, 1.0))


def _issue(life: Life) -> None:
    life.first = life.at(0.2, 0.5)
    life.jumps = {life.first + 1: 2.5, life.first + 2: 0.7}
    life.spread = 0.04


def _ends(life: Life) -> None:
    at = life.at(0.5, 0.9)
    life.jumps[at] = 0.15
    life.last = min(life.n - 1, at + 15)
    life.spread = 0.03


def _wild(life: Life) -> None:
    life.spread = 0.07
    for low in (0.1, 0.3, 0.5, 0.7, 0.9):
        life.jumps[life.at(low, low + 0.09)] = float(life.rng.choice([0.4, 0.55, 1.6, 2.0, 3.1]))


def _plain(life: Life) -> None:
    life.pays(63, 0.007)


LIVES: tuple[Callable[[Life], None], ...] = (
    _forward_split, _reverse_split, _plain, _spin_off, _special_dividend, _forward_split, _reverse_split, _crash,
    _penny, _split_beside_dividend, _idle_weeks, _halts, _fund, _both_splits, _crash_and_back, _stock_dividends,
    _issue, _ends, _wild, _reverse_split,
)  # fmt: skip
"""What happens to the n-th listing of every twenty."""


def real_life_path(where: Venue, symbol: str, position: int, sessions: np.ndarray, seed: int) -> Path:
    """The listing at `position` (0, 1, …) of a made-up exchange; its path depends on that, the seed and its name."""
    rng = np.random.default_rng([seed, zlib.crc32(symbol.encode()), 2])
    n = len(sessions)
    kind = LIVES[position % len(LIVES)]
    # Where a kind comes more than once in twenty, each takes the next ratio.
    rounds, place = divmod(position, len(LIVES))
    turn = rounds * LIVES.count(kind) + LIVES[:place].count(kind)
    begin = float(np.exp(np.clip(rng.normal(np.log(25.0), 1.0), np.log(2.0), np.log(400.0))))
    life = Life(n, rng, turn, begin=begin, last=n - 1)
    if n >= _SHORTEST:
        kind(life)
    return _walk(where, life, sessions)


def _walk(where: Venue, life: Life, sessions: np.ndarray) -> Path:
    n, rng = life.n, life.rng
    ratio, jump, share = _filled(n, life.splits, 1.0), _filled(n, life.jumps, 1.0), _filled(n, life.paid, 0.0)
    steps = life.spread * rng.standard_t(4, n) / np.sqrt(2)
    # Price levels stay where they are quoted: what drifts away is drawn back.
    wander = np.cumsum(np.clip(steps, -0.35, 0.35))
    wander -= np.linspace(0.0, wander[-1], n) * 0.7
    level = np.exp(wander) * np.cumprod(jump * (1.0 - share)) / np.cumprod(ratio)
    begin = life.begin
    if life.ends:
        # Neither so dear that a float32 cannot hold its cents, nor so cheap that ticks hide a split.
        begin = float(np.clip(begin * np.prod(ratio), 0.02, 8_000.0))
    close = quoted(where, np.clip(begin * level, 0.0, 30_000.0))
    before = np.concatenate([close[:1], close[:-1]])
    gapless = before * jump * (1.0 - share) / ratio
    opened = quoted(where, gapless * np.exp(rng.normal(0.0, life.spread / 3, n)))
    stretch = np.abs(rng.normal(0.0, life.spread / 2, (2, n)))
    high = np.maximum.reduce([quoted(where, np.maximum(opened, close) * np.exp(stretch[0])), opened, close])
    low = np.minimum.reduce([quoted(where, np.minimum(opened, close) * np.exp(-stretch[1])), opened, close])
    prices = np.vstack([opened, high, low, close])
    volume = np.maximum(np.rint(rng.lognormal(13.5, 0.8, n) / close), 1).astype(np.int64)
    declared = np.where(before * share < 1.0, np.round(before * share, 4), np.round(before * share, 2))
    dividend = np.where(share > 0, np.maximum(declared, 0.0001), 0.0)
    gain = np.round(dividend * _filled(n, life.gains, 0.0), 4)

    kept = np.zeros(n, dtype=bool)
    kept[life.first : life.last + 1] = True
    acting = (ratio != 1.0) | (dividend > 0)
    for halt in life.halted:
        at = np.array([k for k in halt if k < n and not acting[k]], dtype=np.int64)
        kept[at] = False
    for week in life.idle:
        _without_trade(prices, volume, week, acting)
    return Path(
        dates=sessions[kept],
        prices=prices[:, kept],
        volume=volume[kept],
        dividend=dividend[kept],
        ratio=ratio[kept],
        gain=gain[kept],
        delisted=life.last < n - 1,
        instrument=life.instrument,
    )


def _filled(n: int, values: dict[int, float], otherwise: float) -> np.ndarray:
    out = np.full(n, otherwise)
    for position, value in values.items():
        if position < n:
            out[position] = value
    return out


def _without_trade(prices: np.ndarray, volume: np.ndarray, week: range, acting: np.ndarray) -> None:
    for k in week:
        if k >= len(volume) or acting[k]:
            break
        prices[:, k] = prices[3, k - 1]
        volume[k] = 0
