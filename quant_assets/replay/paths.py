"""One made-up listing from its first to its last bar, and the prices an exchange can quote."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant_assets.replay.venues import Venue

LOT = 100


@dataclass
class Path:
    """Bars (`prices` 4 x n: open, high, low, close) and actions per session, as traded and declared.

    `dividend` is all that is paid, `gain` the part of it that a fund lists as a capital gain.
    """

    dates: np.ndarray
    prices: np.ndarray
    volume: np.ndarray
    dividend: np.ndarray
    ratio: np.ndarray
    gain: np.ndarray
    delisted: bool = False
    instrument: str = "EQUITY"


def tick_size(where: Venue, price: np.ndarray) -> np.ndarray:
    """The smallest step at each price (same unit): ASX 0.001 below 0.10, 0.005 below 2.00, 0.01 above;
    elsewhere 0.01."""
    if where.code != "ASX":
        return np.full_like(price, 0.01)
    return np.where(price < 0.10, 0.001, np.where(price < 2.0, 0.005, 0.01))


def on_tick(where: Venue, price: np.ndarray) -> np.ndarray:
    """`price` (same unit) rounded to what can be quoted (see `tick_size`). Never below one tick."""
    if where.code != "ASX":
        return np.maximum(np.round(price, 2), 0.01)
    tick = tick_size(where, price)
    return np.maximum(np.round(np.rint(price / tick) * tick, 3), 0.001)


def quoted(where: Venue, price: np.ndarray) -> np.ndarray:
    """`price` (same unit) rounded as exchanges that quote small prices more finely do: 0.0001 below 1.00 and its
    least, 0.01 above; on the ASX its tick."""
    if where.code == "ASX":
        return on_tick(where, price)
    return np.maximum(np.where(price < 1.0, np.round(price, 4), np.round(price, 2)), 0.0001)
