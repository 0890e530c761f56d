"""What really happens to a symbol around the evening on which lies about it begin: the truth that is to be stored."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache

import numpy as np
import polars as pl

from benchmarks.lies.market import Market, Slot
from quant_assets.replay.generator import random_walk
from quant_assets.replay.history import PRICES, SCHEMA, History, SymbolInfo
from quant_assets.replay.sampledata import sampledata

_LOUD_SPAN, _LOUD_VOLUME = 1.08, 6
"""How far high and low are from where they would be on the day of a jump, and how many times the volume is."""


@dataclass(frozen=True)
class Past:
    """The events of a symbol by position (0: the first evening of lies).

    `splits` are ratios, `dividends` shares of the close before, of which the price falls by the same; `jumps` are
    factors by which the price changes without any event, on many times the volume. `recorded`: bars and events of a
    recorded symbol instead, laid so that its bar of that day is at position 0.
    """

    splits: Mapping[int, float] = field(default_factory=dict[int, float])
    dividends: Mapping[int, float] = field(default_factory=dict[int, float])
    jumps: Mapping[int, float] = field(default_factory=dict[int, float])
    recorded: tuple[str, date] | None = None

    def of(self, name: str, slot: Slot, seed: int) -> pl.DataFrame:
        """Its rows (the replay server's as-traded columns) on the sessions that are stored."""
        begin = slot.market.begin
        if self.recorded is not None:
            return _recorded(name, *self.recorded, slot, begin)
        return self._drawn(name, slot, begin, np.random.default_rng([seed, zlib.crc32(name.encode())]))

    def _drawn(self, name: str, slot: Slot, begin: int, rng: np.random.Generator) -> pl.DataFrame:
        market: Market = slot.market
        n = len(market.days) - begin
        # Before what is stored nothing happens.
        shift, floor = slot.first - begin, begin - slot.first
        ratio, fall, paid = np.ones(n), np.ones(n), np.zeros(n)
        for at, value in self.splits.items():
            ratio[at + shift] = value
        for at, factor in self.jumps.items():
            fall[at + shift] /= factor
        for at, share in self.dividends.items():
            if at > floor:
                paid[at + shift] = share
        shares = np.cumprod(ratio)
        low, high = 20.0 * shares.max(), 200.0 * shares.min()
        first = float(np.exp(rng.uniform(np.log(min(low, high)), np.log(max(low, high)))))
        prices, volume = random_walk(market.venue, first, ratio * fall / (1 - paid), rng)
        # Such a day is none like others: everybody trades, and at many prices.
        loud = [at + shift for at in self.jumps]
        prices[1, loud] *= _LOUD_SPAN
        prices[2, loud] /= _LOUD_SPAN
        volume[loud] *= _LOUD_VOLUME
        before = np.concatenate([prices[3, :1], prices[3, :-1]])
        return pl.DataFrame(
            {
                "symbol": name,
                "date": market.days[begin:],
                **{column: prices[j] for j, column in enumerate(PRICES)},
                "volume": volume,
                # Paid on the shares that there are since a split of the same day.
                "dividend": np.round(before / ratio * paid, 3),
                "split_ratio": ratio,
            },
            schema=SCHEMA,
        )


def _recorded(name: str, symbol: str, day: date, slot: Slot, begin: int) -> pl.DataFrame:
    rows = _sample().frame.filter(pl.col("symbol") == symbol, pl.col("close").is_not_null())
    at = int(rows["date"].search_sorted(day))
    first = max(0, at - (slot.first - begin))
    days = slot.market.days[begin + (slot.first - begin) - (at - first) :]
    rows = rows.slice(first, len(days))
    # Two symbols with the same bars are refused: each has a little more volume of its own.
    more = 100 * (1 + zlib.crc32(name.encode()) % 9973)
    return rows.with_columns(
        pl.col("volume") + more, symbol=pl.lit(name), date=pl.Series(days[: rows.height])
    ).cast(SCHEMA)


@cache
def _sample() -> History:
    return sampledata()


QUARTERLY = {-189: 0.01, -126: 0.01, -63: 0.01}
"""Dividends of a year before, 1 % each."""

PLAIN = Past()
PAYS = Past(dividends={**QUARTERLY, -4: 0.01})
HAS_SPLIT = Past(splits={-6: 2.0})
HAS_BOTH = Past(splits={-6: 3.0}, dividends={**QUARTERLY, -3: 0.01})
CALM = Past(recorded=("GOOG", date(2012, 8, 15)))
APPLE = Past(recorded=("AAPL", date(2012, 11, 13)))
"""A recorded dividend of 2.65 four sessions before."""
IBM_CRISIS = Past(recorded=("IBM", date(2008, 11, 12)))
"""A recorded dividend four sessions before, and the wildest days of the sample."""
AROUND: Mapping[str, Past] = {
    "plain": PLAIN, "dividend": PAYS, "split": HAS_SPLIT, "both": HAS_BOTH, "recorded": CALM,
    "recorded-dividend": APPLE, "recorded-crisis": IBM_CRISIS,
}  # fmt: skip
"""What is real and near, by its name in a variant."""


def write_history(frames: list[pl.DataFrame], markets: Mapping[str, Market], path: str) -> pl.DataFrame:
    """Writes the rows as a CSV file that the replay server takes; `markets` is each symbol's. Answers all rows."""
    infos = [
        SymbolInfo(
            symbol=(name := frame["symbol"][0]), venue=markets[name].venue, name=f"{name} Ltd",
            currency=markets[name].venue.currency, listed_on=frame["date"][0],
        )
        for frame in frames
    ]  # fmt: skip
    history = History(pl.concat(frames), infos)
    history.write_csv(path)
    return history.frame
