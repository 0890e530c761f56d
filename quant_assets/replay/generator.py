"""Seeded stock-exchange histories with everything that makes real ones hard.

Prices are geometric random walks on the exchange's real sessions and its real tick. Of every ten
symbols some split, some reverse-split, pay dividends, are listed late, are delisted, or are suspended
for at least six sessions. A symbol's path depends on the seed, its name and the window, not on how
many others there are.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from datetime import date
from itertools import islice, product
from string import ascii_uppercase

import numpy as np
import polars as pl

from quant_assets.replay.errors import HistoryError
from quant_assets.replay.history import GAINS, PRICES, SCHEMA, History, SymbolInfo
from quant_assets.replay.paths import LOT, Path, on_tick
from quant_assets.replay.real_life import real_life_path
from quant_assets.replay.thin import is_thin, thinned
from quant_assets.replay.venues import VENUES, Venue, calendar_between, venue

# What happens to the n-th symbol of every ten.
ROLES: tuple[frozenset[str], ...] = tuple(
    frozenset(words.split())
    for words in (
        "",
        "dividends",
        "dividends split",
        "reverse_split",
        "late_listing dividends",
        "delisting",
        "suspension dividends",
        "split suspension",
        "dividends",
        "late_listing split dividends",
    )
)
SPLIT_RATIOS = (2.0, 3.0, 1.5, 4.0, 10.0)
# Volumes come in lots, so that these un-adjust to whole shares.
REVERSE_RATIOS = (0.1, 0.2, 0.05)
_SHORTEST = 45  # fewer sessions leave no room for events


def generate(
    exchange: str = "ASX",
    symbols: int = 40,
    start: date | str = date(2023, 1, 3),
    end: date | str = date(2024, 3, 1),
    seed: int = 0,
    thin: float = 0.0,
    events: str = "ordinary",
    part: range | None = None,
) -> History:
    """A made-up history of `symbols` listings (AAA.AX, AAB.AX, …) on `exchange` from `start` to `end`.

    `part`: only the listings in these places of the `symbols`, each as it is in the whole: for an exchange that is
    too large to be made at once.

    `thin`: the share of symbols that hardly trade, see `thin.thinned`. `events`: "ordinary", or "real_life"
    for everything that honest markets do, see `real_life`.

    `exchange` is any code of `venues`. Prices are as traded: they really jump by the ratio on a
    split's ex-date. Raises HistoryError for an unknown exchange, a window without sessions, or a wrong
    share or kind of events.
    """
    if events not in ("ordinary", "real_life"):
        raise HistoryError(f"cannot generate events {events!r}: write ordinary or real_life")
    if not 0 <= thin <= 1:
        raise HistoryError(f"cannot make {thin!r} of the symbols thin: write a share from 0 to 1")
    where = venue(exchange)
    sessions = trading_sessions(where, str(start), str(end))
    if not len(sessions):
        raise HistoryError(f"{exchange} has no session from {start} to {end}: widen the window")
    if not 0 < symbols <= 50_000:
        raise HistoryError(f"cannot generate {symbols} symbols: ask for 1 to 50000")
    places = list(enumerate(symbol_names(where, symbols)))
    if part is not None:
        places = places[part.start : part.stop]
    names = [name for _, name in places]
    if events == "real_life":
        paths = [real_life_path(where, name, i, sessions, seed) for i, name in places]
    else:
        paths = [_path(where, name, ROLES[i % len(ROLES)], sessions, seed) for i, name in places]
    for at, (i, name) in enumerate(places):
        if is_thin(i, thin):
            paths[at] = thinned(where, paths[at], name, seed)
    lengths = [len(p.dates) for p in paths]
    columns = {
        "symbol": pl.Series(names, dtype=pl.String).gather(np.repeat(np.arange(len(names)), lengths)),
        "date": np.concatenate([p.dates for p in paths]),
        **{k: np.concatenate([p.prices[j] for p in paths]) for j, k in enumerate(PRICES)},
        "volume": np.concatenate([p.volume for p in paths]),
        "dividend": np.concatenate([p.dividend for p in paths]),
        "split_ratio": np.concatenate([p.ratio for p in paths]),
        GAINS: np.concatenate([p.gain for p in paths]),
    }
    infos = [
        SymbolInfo(
            symbol=name,
            venue=where,
            name=f"{name.split('.')[0].capitalize()} Generated Ltd",
            currency=where.currency,
            listed_on=p.dates[0].item(),
            delisted_on=p.dates[-1].item() if p.delisted else None,
            instrument=p.instrument,
        )
        for name, p in zip(names, paths, strict=True)
    ]
    return History(pl.DataFrame(columns, schema={**SCHEMA, GAINS: pl.Float64}), infos)


def trading_sessions(where: Venue, start: str, end: str) -> np.ndarray:
    """The sessions of `where` from `start` to `end` inclusive, datetime64[D]."""
    first, last = np.datetime64(start, "D"), np.datetime64(end, "D")
    try:
        calendar = calendar_between(where, first.item(), last.item())
    except ValueError as error:
        raise HistoryError(f"{where.code} from {start} to {end}: {error}") from error
    sessions = calendar.sessions.to_numpy().astype("datetime64[D]")
    if where.closed or where.opened:
        opened = np.array([day for day, _ in where.opened], dtype="datetime64[D]")
        closed = np.array(sorted(where.closed), dtype="datetime64[D]")
        sessions = np.setdiff1d(np.union1d(sessions, opened), closed)
    return sessions[(sessions >= first) & (sessions <= last)]


def symbol_names(where: Venue, count: int) -> list[str]:
    """AAA, AAB, … with the exchange's suffix; four letters when three are too few.

    The US exchanges have no suffix, so each begins at a letter of its own (NASDAQ A, NYSE E, …): several
    can be generated together.
    """
    same = [v for v in VENUES if v.suffix == where.suffix] or [where]
    share = 26 // len(same)
    firsts = ascii_uppercase[same.index(where) * share :][:share]
    rest = 2 if count <= share * 26**2 else 3
    letters = product(firsts, *[ascii_uppercase] * rest)
    return ["".join(name) + where.suffix for name in islice(letters, count)]


def random_walk(
    where: Venue, begin: float, ratio: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """As-traded bars of a geometric random walk that starts at the price `begin`, one a session of `ratio`.

    `ratio` holds the split ratios of the sessions, 1.0 for none: prices jump by them. Answers prices
    (4 x n: open, high, low, close, on the exchange's tick) and volume (n, int64, in lots).
    """
    n = len(ratio)
    steps = rng.normal(0.0001, 0.014, n)
    steps[0] = 0.0
    close = begin * np.exp(np.cumsum(steps)) / np.cumprod(ratio)
    gap = rng.normal(0.0, 0.005, n)
    before = np.concatenate([close[:1], close[:-1] / ratio[1:]])
    opened = before * np.exp(gap)
    stretch = np.abs(rng.normal(0.0, 0.006, (2, n)))
    high = np.maximum(opened, close) * np.exp(stretch[0])
    low = np.minimum(opened, close) * np.exp(-stretch[1])
    open_, high, low, close = (on_tick(where, p) for p in (opened, high, low, close))
    high = np.maximum.reduce([high, open_, close])
    low = np.minimum.reduce([low, open_, close])
    turnover = rng.lognormal(13.5, 0.6, n)
    volume = np.maximum(np.rint(turnover / close / LOT), 1).astype(np.int64) * LOT
    return np.vstack([open_, high, low, close]), volume


@dataclass
class _Plan:
    """Where in the window things happen, as positions in its sessions."""

    first: int
    last: int
    delisted: bool = False
    gap: range = range(0)
    splits: dict[int, float] = field(default_factory=dict)


def _plan(roles: frozenset[str], n: int, rng: np.random.Generator) -> _Plan:
    plan = _Plan(0, n - 1)
    if n < _SHORTEST:
        return plan
    if "late_listing" in roles:
        plan.first = int(rng.integers(n // 6, n // 3))
    if "delisting" in roles:
        plan.last = int(rng.integers(n // 2, n - 5))
        plan.delisted = True
    life = plan.last - plan.first
    if "suspension" in roles:
        length = int(rng.integers(6, 6 + min(20, life // 6)))
        begin = plan.first + int(rng.integers(life // 8, life // 3))
        plan.gap = range(begin, begin + length)
    if "split" in roles or "reverse_split" in roles:
        ratios = SPLIT_RATIOS if "split" in roles else REVERSE_RATIOS
        # Ten-year windows see a second split; never two reverse ones, which would break the lots.
        again = 2 if n > 1500 and "split" in roles else 1
        for k in range(again):
            at = plan.first + int(life * (0.65 + 0.15 * k)) + int(rng.integers(0, max(1, life // 10)))
            plan.splits[at] = float(rng.choice(ratios))
    return plan


def _path(where: Venue, symbol: str, roles: frozenset[str], sessions: np.ndarray, seed: int) -> Path:
    rng = np.random.default_rng([seed, zlib.crc32(symbol.encode())])
    plan = _plan(roles, len(sessions), rng)
    at = np.arange(plan.first, plan.last + 1)
    ratio = np.ones(len(at))
    for position, value in plan.splits.items():
        ratio[position - plan.first] = value

    cheap = "reverse_split" in roles
    begin = np.exp(
        rng.uniform(np.log(0.02), np.log(0.4)) if cheap else rng.uniform(np.log(1.5), np.log(60.0))
    )
    if where.code != "ASX":
        begin = begin * 10.0  # a cent is a coarser tick than the ASX's
    prices, volume = random_walk(where, float(begin), ratio, rng)
    dividend = _dividends(where, roles, prices[3], ratio, plan, rng)

    kept = ~np.isin(at, np.array(plan.gap, dtype=np.int64))
    return Path(
        dates=sessions[at][kept],
        prices=prices[:, kept],
        volume=volume[kept],
        dividend=dividend[kept],
        ratio=ratio[kept],
        gain=np.zeros(int(kept.sum())),
        delisted=plan.delisted,
    )


def _dividends(
    where: Venue,
    roles: frozenset[str],
    close: np.ndarray,
    ratio: np.ndarray,
    plan: _Plan,
    rng: np.random.Generator,
) -> np.ndarray:
    """Declared amounts per session: twice a year on the ASX, else quarterly, about 4 % a year."""
    dividend = np.zeros(len(close))
    every, share = (126, 0.02) if where.code == "ASX" else (63, 0.01)
    position = int(rng.integers(10, every))
    yields = rng.uniform(0.5, 1.5, len(close) // every + 2)
    if "dividends" in roles:
        for k in range(len(yields)):
            at = position + k * every
            if at >= len(close):
                break
            if plan.first + at in plan.gap or ratio[at] != 1.0:
                continue
            dividend[at] = max(0.001, round(float(close[at - 1] * share * yields[k]), 3))
    return dividend
