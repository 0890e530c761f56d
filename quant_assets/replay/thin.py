"""Symbols that hardly trade, as recorded London ones look: honest, and not pretty.

In recorded answers of twelve London listings, open or close lies outside [low, high] on 0.2 to 45 % of the
sessions: the auction's price is not part of the order book's range, a day without a trade has mid prices, and the
two are rounded differently. Some have no volume on most days.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from quant_assets.replay.paths import Path, quoted
from quant_assets.replay.venues import Venue

_OPEN, _HIGH, _LOW, _CLOSE = range(4)
_GOLDEN = 0.6180339887498949


def is_thin(position: int, share: float) -> bool:
    """Whether the symbol at `position` is one of the `share` that are thin, evenly spread over all."""
    return (position * _GOLDEN) % 1.0 < share


def thinned(where: Venue, path: Path, symbol: str, seed: int) -> Path:
    """The listing as one that hardly trades: open or close outside [low, high] on 0.2 to 45 % of its sessions,
    by rounding, by auctions or by mid prices, and no volume on many, for some on nearly all."""
    rng = np.random.default_rng([seed, zlib.crc32(symbol.encode()), 1])
    n = len(path.dates)
    share = float(np.exp(rng.uniform(np.log(0.002), np.log(0.45))))
    idle_share = 0.987 if rng.random() < 0.1 else float(rng.uniform(0.0, 0.6))
    # A split, and what is paid, leave a price that nobody has traded yet: on those days there is trade.
    acting = (path.ratio != 1.0) | (path.dividend != 0.0)
    idle = (rng.random(n) < idle_share) & ~acting
    idle[0] = False
    outside = (rng.random(n) < share) & ~acting
    prices, volume = path.prices.copy(), np.where(idle, 0, path.volume)
    # Without a trade all four prices are the last close.
    last = np.maximum.accumulate(np.where(idle, -1, np.arange(n)))
    prices[:, idle] = prices[_CLOSE, last][idle]

    mid = outside & idle
    spread = rng.uniform(0.002, 0.03, n)
    price = prices[_CLOSE] * (1 + spread * rng.choice([-1.0, 1.0], n))
    places = np.where(price < 1.0, 5, 3)  # half a tick between bid and ask
    prices[_HIGH:_CLOSE, mid] = _rounded(price, places)[mid]
    rounding = outside & ~idle & (rng.random(n) < 0.3)
    _by_rounding(prices, rounding, rng)
    _by_auction(where, prices, outside & ~idle & ~rounding, rng)
    return replace(path, prices=prices, volume=volume)


def _by_rounding(prices: np.ndarray, which: np.ndarray, rng: np.random.Generator) -> None:
    """The close in more decimals than the range: a little above the high, or below the low."""
    step = np.where(prices[_CLOSE] < 1.0, 0.00001, 0.001)
    up = which & (rng.random(len(which)) < 0.5)
    down = which & ~up
    places = np.where(step < 0.001, 5, 3)
    prices[_CLOSE, up] = _rounded(prices[_HIGH] + step, places)[up]
    prices[_CLOSE, down] = _rounded(prices[_LOW] - step, places)[down]


def _by_auction(where: Venue, prices: np.ndarray, which: np.ndarray, rng: np.random.Generator) -> None:
    """The opening or the closing auction at a price outside the order book's range."""
    n = len(which)
    beyond = np.exp(rng.uniform(np.log(0.0005), np.log(0.03), n))
    tick = np.where(prices[_CLOSE] < 1.0, 0.0001, 0.01)
    above = quoted(where, np.maximum(prices[_HIGH] * (1 + beyond), prices[_HIGH] + tick))
    below = quoted(where, np.minimum(prices[_LOW] * (1 - beyond), prices[_LOW] - tick))
    side = np.where(rng.random(n) < 0.5, above, below)
    opening = rng.random(n) < 0.4
    prices[_OPEN, which & opening] = side[which & opening]
    prices[_CLOSE, which & ~opening] = side[which & ~opening]


def _rounded(price: np.ndarray, places: np.ndarray) -> np.ndarray:
    scale = 10.0**places
    return np.maximum(np.round(price * scale) / scale, 1 / scale)
