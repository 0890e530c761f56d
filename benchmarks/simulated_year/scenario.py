"""What happens in one made-up year on two exchanges: the truth, the faults, and what is to be found out.

    scenario = make_scenario(seed)
    scenario.write_history("year.csv")               # what the replay server serves, as traded
    ReplayConfig(history_files=[("year.csv", "as_traded")], faults=scenario.faults, …)

A year holds five ordinary splits and two late ones, dividends, twenty bars that are first served wrong, a
week of rate limits, a session missing on one exchange, three listings, two delistings and a suspension, and
1 % of requests fail. Where and when is drawn from the seed; that it can all be found out is not left to chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from benchmarks.simulated_year.drawing import (
    FIRST,
    Market,
    Symbol,
    between,
    calendar,
    correctable,
    draw_bars,
    draw_dividends,
    draw_lives,
    draw_missing_session,
    draw_splits,
    draw_wrong_value,
)
from benchmarks.simulated_year.lies import Told, draw_lies, faults_of
from quant_assets.market.bars import DAILY_SCHEMA, PRICES
from quant_assets.replay.generator import symbol_names
from quant_assets.replay.history import SCHEMA, History, SymbolInfo

EXCHANGES = ("ASX", "US")
SYMBOLS = 12
"""Symbols of each exchange."""
CORRECTIONS = 20
FAILURE_RATE = 0.01

_FAILURES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("not_found_404", {}),
    ("rate_limited_429_retry_after", {"retry_after": 0}),
    ("server_error_500_html", {}),
    ("server_error_500_json", {}),
    ("unauthorized_401", {}),
    ("malformed_json", {}),
    ("truncated", {}),
    ("empty_body", {}),
    ("hang", {"seconds": 3}),
    ("wrong_symbol", {}),
    ("missing_session", {}),
    ("null_bar", {}),
    ("duplicate_timestamp", {}),
    ("live_partial_bar", {}),
    ("slow", {"seconds": 0.05}),
)

Kind = Literal["correction", "late_split", "late_dividend"]


@dataclass(frozen=True)
class Planted:
    """One restatement to be found: `field` of (symbol, date) is served as `old` until `told_at` (UTC), as
    `new`, the truth, from then on. A late split's field is split_ratio."""

    symbol: str
    date: date
    field: str
    kind: Kind
    old: float
    new: float
    told_at: datetime


@dataclass(frozen=True)
class Split:
    """A split of the year; a late one is told at `told_at` (UTC), an ordinary one on its ex-date (None)."""

    symbol: str
    date: date
    ratio: float
    told_at: datetime | None = None


@dataclass(frozen=True)
class Suspension:
    """A symbol without bars from session `first` to session `last`, with bars on both sides."""

    symbol: str
    first: date
    last: date


@dataclass(frozen=True)
class MissingSession:
    """A session that has no bar of any symbol of its exchange until `told_at` (UTC)."""

    exchange: str
    date: date
    symbols: tuple[str, ...]
    told_at: datetime


@dataclass(frozen=True)
class RateLimits:
    """The week in which every data request is answered 429: `since` Monday, `until` Saturday, 00:00 UTC."""

    since: datetime
    until: datetime


@dataclass(frozen=True, eq=False)
class Scenario:
    """A year. `sessions` by exchange, FIRST to LAST; `listings` and `delistings`: a symbol's first and last
    trading day, of those that come and go within the year; `faults` in the JSON form of the replay server."""

    seed: int
    history: History = field(repr=False)
    sessions: Mapping[str, tuple[date, ...]] = field(repr=False)
    symbols: Mapping[str, tuple[str, ...]]
    planted: tuple[Planted, ...]
    splits: tuple[Split, ...]
    suspensions: tuple[Suspension, ...]
    listings: Mapping[str, date]
    delistings: Mapping[str, date]
    missing_session: MissingSession
    rate_limits: RateLimits
    faults: tuple[dict[str, Any], ...] = field(repr=False)
    lies: tuple[Told, ...] = field(default=(), repr=False)

    def write_history(self, path: str | Path) -> None:
        """The history from LEAD_IN on as a CSV file in the replay server's as_traded convention."""
        self.history.write_csv(path)


def truth(scenario: Scenario) -> pl.DataFrame:
    """What was traded: one row of every (symbol, session) of the year that has a bar, sorted.

    The columns of the daily table but currency, flags and fetched_at.
    """
    columns = [name for name in DAILY_SCHEMA if name not in ("currency", "flags", "fetched_at")]
    return scenario.history.frame.filter(pl.col("date") >= FIRST).select(columns)


def make_scenario(seed: int, *, lies: bool = False) -> Scenario:
    """The year of `seed` (0 or above): the same for the same seed. ValueError for a negative one.

    With `lies` the source gives answers that are wrong inside as well, now and then; all else stays as it is.
    """
    if seed < 0:
        raise ValueError(f"a seed is 0 or above, not {seed}")
    rng = np.random.default_rng(seed)
    monday = date(2023, 1, 30) + timedelta(weeks=between(rng, 0, 40))
    limits = RateLimits(_midnight(monday), _midnight(monday + timedelta(days=5)))
    markets = [Market(code, *calendar(code), monday) for code in EXCHANGES]
    symbols = [Symbol(name, m, last=m.end) for m in markets for name in symbol_names(m.venue, SYMBOLS)]

    missing = draw_missing_session(rng, markets)
    draw_lives(rng, symbols)
    draw_splits(rng, markets, symbols)
    for symbol in symbols:
        draw_bars(rng, symbol)
    for market in markets:
        own = [symbol for symbol in symbols if symbol.market is market]
        for at in rng.permutation(SYMBOLS)[:7]:
            draw_dividends(rng, own[at])
    planted = [
        Planted(
            s.name, s.market.day(at), "split_ratio", "late_split", 1.0, s.ratios[at], s.market.opens(told)
        )
        for s in symbols
        for at, told in s.hidden.items()
    ]
    planted += _draw_corrections(rng, symbols)
    absent = MissingSession(
        missing.code,
        missing.day(missing.missing),
        tuple(s.name for s in symbols if s.market is missing and s.trades(missing.missing)),
        missing.opens(missing.missing + between(rng, 3, 8)),
    )
    told: list[Told] = []
    if lies:
        news = [(p.symbol, p.date, p.told_at.date()) for p in planted]
        # Of another stream: the year must not depend on whether somebody lies in it.
        told = draw_lies(np.random.default_rng([seed, 1]), symbols, news)
    return Scenario(
        seed=seed,
        history=_history(symbols),
        sessions={m.code: tuple(m.day(at) for at in range(m.start, m.end + 1)) for m in markets},
        symbols={m.code: tuple(s.name for s in symbols if s.market is m) for m in markets},
        planted=tuple(planted),
        splits=tuple(
            Split(s.name, s.market.day(at), ratio, s.market.opens(s.hidden[at]) if at in s.hidden else None)
            for s in symbols
            for at, ratio in sorted(s.ratios.items())
        ),
        suspensions=tuple(
            Suspension(s.name, s.market.day(s.gap[0]), s.market.day(s.gap[-1])) for s in symbols if s.gap
        ),
        listings={s.name: s.market.day(s.first) for s in symbols if s.first > 0},
        delistings={s.name: s.market.day(s.last) for s in symbols if s.last < s.market.end},
        missing_session=absent,
        rate_limits=limits,
        faults=(*_faults(rng, planted, absent, limits), *faults_of(told)),
        lies=tuple(told),
    )


def _draw_corrections(rng: np.random.Generator, symbols: Sequence[Symbol]) -> list[Planted]:
    free = [(symbol, at) for symbol in symbols for at in correctable(symbol)]
    planted = []
    for symbol, at in (free[n] for n in rng.permutation(len(free))[:CORRECTIONS]):
        name, right, wrong = draw_wrong_value(rng, symbol, at)
        # Two at least: a run that fails by chance must not make the wrong value one that nobody saw.
        told = at + between(rng, 2, min(60, symbol.last_news - at))
        market = symbol.market
        planted.append(
            Planted(symbol.name, market.day(at), name, "correction", wrong, right, market.opens(told))
        )
    return sorted(planted, key=lambda p: (p.date, p.symbol))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _history(symbols: Sequence[Symbol]) -> History:
    frames, infos = [], []
    for symbol in symbols:
        market = symbol.market
        life = range(symbol.first, symbol.last + 1)
        frame = pl.DataFrame(
            {
                "symbol": symbol.name,
                "date": market.days[symbol.first : symbol.last + 1],
                **{name: symbol.prices[j] for j, name in enumerate(PRICES)},
                "volume": symbol.volume,
                "dividend": [symbol.dividends.get(at, 0.0) for at in life],
                "split_ratio": [symbol.ratios.get(at, 1.0) for at in life],
            },
            schema=SCHEMA,
        )
        frames.append(frame.filter(pl.Series([symbol.trades(at) for at in life])))
        infos.append(
            SymbolInfo(
                symbol=symbol.name,
                venue=market.venue,
                name=f"{symbol.name.split('.')[0].capitalize()} Simulated Ltd",
                currency=market.venue.currency,
                listed_on=market.day(symbol.first),
                delisted_on=market.day(symbol.last) if symbol.last < market.end else None,
            )
        )
    return History(pl.concat(frames), infos)


def _faults(
    rng: np.random.Generator, planted: Sequence[Planted], missing: MissingSession, limits: RateLimits
) -> Iterator[dict[str, Any]]:
    for fact in planted:
        told = fact.told_at.isoformat()
        common = {"symbol": fact.symbol, "date": fact.date.isoformat(), "until": told}
        if fact.kind == "late_split":
            # No `since`: in Sydney an ex-date begins on the day before in UTC.
            yield {"kind": "hidden_split", **common}
        else:
            wrong = {"since": fact.date.isoformat(), "field": fact.field, "value": fact.old}
            yield {"kind": "corrected_bar", **common, **wrong}
    for symbol in missing.symbols:
        day = missing.date.isoformat()
        yield {
            "kind": "missing_session",
            "symbol": symbol,
            "date": day,
            "since": day,
            "until": missing.told_at.isoformat(),
            "times": None,
        }
    week = {"since": limits.since.isoformat(), "until": limits.until.isoformat()}
    yield {"kind": "rate_limited_429", "symbol": "*", "times": None, **week}
    for kind, more in _FAILURES:
        rate = FAILURE_RATE / len(_FAILURES)
        yield {"kind": kind, "symbol": "*", "rate": rate, "seed": int(rng.integers(2**31)), **more}
