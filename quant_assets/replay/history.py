"""The as-traded truth the server replays: bars, dividends and splits as they were on the day.

A `History` says what happened; `convention.py` says how Yahoo would tell it at a given moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from quant_assets.replay.errors import HistoryError
from quant_assets.replay.venues import Venue, venue_of_symbol

SCHEMA = pl.Schema(
    {
        "symbol": pl.String,
        "date": pl.Date,
        "open": pl.Float64,
        "high": pl.Float64,
        "low": pl.Float64,
        "close": pl.Float64,
        "volume": pl.Int64,
        "dividend": pl.Float64,
        "split_ratio": pl.Float64,
    }
)
GAINS = "capital_gain"
"""The column that a frame may have besides: the part of `dividend` that a fund lists as a capital gain."""
PRICES = ("open", "high", "low", "close")
Events = tuple[np.ndarray, np.ndarray]
"""Dates (datetime64[D], sorted) and values."""


class Paid(NamedTuple):
    """What was paid per share, as declared: dividends, and what a fund lists as capital gains beside them."""

    dividends: Events
    gains: Events


@dataclass(frozen=True)
class SymbolInfo:
    """What is known of a listing. `delisted_on` is the last trading day; None while it is listed. `instrument` is
    Yahoo's word: EQUITY, ETF or MUTUALFUND. `listing` is the symbol under which a history holds it, when it is shown
    under another one."""

    symbol: str
    venue: Venue
    name: str
    currency: str
    listed_on: date
    delisted_on: date | None = None
    instrument: str = "EQUITY"
    listing: str = ""


@dataclass(frozen=True, eq=False)
class SymbolTruth:
    """One symbol as numpy arrays, as traded, sorted by date.

    `dates` (datetime64[D]) with `prices` (4 × n: open, high, low, close; listing currency) and
    `volume` (int64) hold the bars; `paid` and `splits` are (dates, values), with or without a bar on
    their ex-date. `adjusted_for` is what the adjusted close follows, when that is another than what is
    told as paid: a truth with a fault in it.
    """

    info: SymbolInfo
    dates: np.ndarray
    prices: np.ndarray
    volume: np.ndarray
    paid: Paid
    splits: Events
    adjusted_for: Paid | None = None

    @property
    def dividends(self) -> Events:
        """What is told as dividends."""
        return self.paid.dividends

    @cached_property
    def timestamps(self) -> np.ndarray:
        """The bars' session opens, epoch seconds UTC, right across daylight saving."""
        return open_timestamps(self.info.venue, self.dates)

    def with_split(self, ex_date: date, ratio: float) -> SymbolTruth:
        """The same bars with one more split."""
        dates = np.append(self.splits[0], np.datetime64(ex_date, "D"))
        order = np.argsort(dates, kind="stable")
        return replace(self, splits=(dates[order], np.append(self.splits[1], ratio)[order]))

    def without_split(self, ex_date: date) -> SymbolTruth:
        """The same bars without the splits of `ex_date`; unchanged when there are none."""
        dates, ratios = self.splits
        kept = dates != np.datetime64(ex_date, "D")
        return self if kept.all() else replace(self, splits=(dates[kept], ratios[kept]))

    def with_extra_bar(self, day: date) -> SymbolTruth:
        """The last bar before `day` once more, on `day`; unchanged when `day` has a bar, or none is before."""
        when = np.datetime64(day, "D")
        at = int(np.searchsorted(self.dates, when))
        if at == 0 or (at < len(self.dates) and self.dates[at] == when):
            return self
        return replace(
            self,
            dates=np.insert(self.dates, at, when),
            prices=np.insert(self.prices, at, self.prices[:, at - 1], axis=1),
            volume=np.insert(self.volume, at, self.volume[at - 1]),
        )

    def with_value(self, day: date, field: str, value: float) -> SymbolTruth:
        """The same bars with one as-traded value changed; unchanged when there is no such bar."""
        at = np.flatnonzero(self.dates == np.datetime64(day, "D"))
        if not at.size:
            return self
        if field == "volume":
            volume = self.volume.copy()
            volume[at] = int(value)
            return replace(self, volume=volume)
        prices = self.prices.copy()
        prices[PRICES.index(field), at] = value
        return replace(self, prices=prices)


def open_timestamps(where: Venue, dates: np.ndarray) -> np.ndarray:
    """Epoch seconds (int64) of the regular session open on each of `dates` (datetime64[D])."""
    offset = np.timedelta64(where.open.hour * 3600 + where.open.minute * 60, "s")
    local = pl.Series((dates.astype("datetime64[s]") + offset).astype("datetime64[us]"))
    aware = local.dt.replace_time_zone(where.zone, ambiguous="earliest", non_existent="null")
    return aware.dt.epoch("s").to_numpy().astype(np.int64)


class History:
    """As-traded bars and actions of some symbols.

    `frame` has the columns of `SCHEMA`, sorted by (symbol, date): prices in the listing currency
    and volume in shares as traded that day; `dividend` per share as declared (0.0 when none);
    `split_ratio` 1.0 when none, 2.0 for 2:1, 0.1 for a 1:10 reverse split. Prices and volume are
    null on an ex-date without trading. `gains` has the capital gains of funds (symbol, date, capital_gain;
    from a column `GAINS` of the frame that is given). `infos` describes every symbol in the frame.
    """

    def __init__(self, frame: pl.DataFrame, infos: Iterable[SymbolInfo]) -> None:
        self.gains = _gains(frame)
        self.frame = frame.select(SCHEMA.names()).cast(SCHEMA).sort("symbol", "date")
        self.infos = {info.symbol: info for info in sorted(infos, key=lambda i: i.symbol)}
        counts = self.frame.group_by("symbol", maintain_order=True).len()
        ends = counts["len"].cum_sum().to_list()
        starts = [0, *ends[:-1]]
        self._slices = dict(zip(counts["symbol"].to_list(), zip(starts, ends, strict=True), strict=True))
        strangers = sorted(set(self._slices) ^ set(self.infos))
        if strangers:
            raise HistoryError(f"bars and descriptions differ on the symbols {', '.join(strangers[:5])}")
        self._truths: dict[str, SymbolTruth] = {}

    @property
    def symbols(self) -> list[str]:
        """All symbols, sorted."""
        return list(self.infos)

    def truth(self, symbol: str) -> SymbolTruth:
        """One symbol's arrays; KeyError when it is not in this history."""
        found = self._truths.get(symbol)
        if found is None:
            found = self._truths[symbol] = self._build_truth(symbol)
        return found

    def _build_truth(self, symbol: str) -> SymbolTruth:
        start, end = self._slices[symbol]
        rows = self.frame.slice(start, end - start)
        bars = rows.filter(pl.col("close").is_not_null())
        gains = self.gains.filter(pl.col("symbol") == symbol)
        of_them = pl.col(GAINS).fill_null(0.0)
        paid = rows.filter(pl.col("dividend") != 0.0).join(gains, on=["symbol", "date"], how="left")
        paid = paid.sort("date").select("date", of_them, rest=pl.col("dividend") - of_them)
        split = rows.filter(pl.col("split_ratio") != 1.0)
        return SymbolTruth(
            info=self.infos[symbol],
            dates=bars["date"].to_numpy().astype("datetime64[D]"),
            prices=np.vstack([bars[name].to_numpy() for name in PRICES]),
            volume=bars["volume"].to_numpy(),
            paid=Paid(_events(paid, "rest"), _events(paid, GAINS)),
            splits=(split["date"].to_numpy().astype("datetime64[D]"), split["split_ratio"].to_numpy()),
        )

    def universe(self) -> list[dict[str, Any]]:
        """The listings as plain dicts (`universe_row`), for a catalog."""
        return [universe_row(info) for info in self.infos.values()]

    def write_csv(self, path: str | Path) -> None:
        """Write what `csv_files.from_csv` reads back (names are lost)."""
        extra = pl.DataFrame(
            {
                "symbol": list(self.infos),
                "currency": [i.currency for i in self.infos.values()],
                "exchange": [i.venue.yahoo_code for i in self.infos.values()],
                "listed_on": [i.listed_on for i in self.infos.values()],
                "delisted_on": [i.delisted_on for i in self.infos.values()],
            },
            schema_overrides={"listed_on": pl.Date, "delisted_on": pl.Date},
        )
        rows = self.frame.join(self.gains, on=["symbol", "date"], how="left", maintain_order="left")
        rows.join(extra, on="symbol", how="left", maintain_order="left").write_csv(path)

    @classmethod
    def combine(cls, histories: Iterable[History]) -> History:
        """One history of several; HistoryError when two of them hold the same symbol."""
        parts = list(histories)
        seen: set[str] = set()
        for part in parts:
            twice = seen & set(part.infos)
            if twice:
                raise HistoryError(
                    f"two histories hold the same symbol ({', '.join(sorted(twice)[:5])}): leave one out"
                )
            seen |= set(part.infos)
        if not parts:
            return cls(pl.DataFrame(schema=SCHEMA), [])
        gains = pl.concat([p.gains for p in parts])
        frame = pl.concat([p.frame for p in parts]).join(gains, on=["symbol", "date"], how="left")
        return cls(frame, [i for p in parts for i in p.infos.values()])


def universe_row(info: SymbolInfo) -> dict[str, Any]:
    """A listing as a plain dict: symbol, name, exchange, yahoo_exchange, currency, listed_on, delisted_on (dates;
    delisted_on None while listed)."""
    return {
        "symbol": info.symbol,
        "name": info.name,
        "exchange": info.venue.code,
        "yahoo_exchange": info.venue.yahoo_code,
        "currency": info.currency,
        "listed_on": info.listed_on,
        "delisted_on": info.delisted_on,
    }


def _gains(frame: pl.DataFrame) -> pl.DataFrame:
    schema = pl.Schema({"symbol": pl.String, "date": pl.Date, GAINS: pl.Float64})
    if GAINS not in frame.columns:
        return pl.DataFrame(schema=schema)
    return frame.select(schema.names()).cast(schema).filter(pl.col(GAINS) != 0.0)


def _events(paid: pl.DataFrame, name: str) -> Events:
    some = paid.filter(pl.col(name) != 0.0)
    return some["date"].to_numpy().astype("datetime64[D]"), some[name].to_numpy()


def describe(frame: pl.DataFrame, **given: Any) -> list[SymbolInfo]:
    """A `SymbolInfo` for every symbol of `frame`, from its suffix and first bar.

    `given` maps a symbol to fields that override the derived ones.
    """
    first = (
        frame.filter(pl.col("close").is_not_null())
        .group_by("symbol")
        .agg(pl.col("date").min().alias("listed_on"))
        .sort("symbol")
    )
    infos = []
    for symbol, listed_on in first.iter_rows():
        where = venue_of_symbol(symbol)
        fields = {"venue": where, "name": symbol, "listed_on": listed_on, **given.get(symbol, {})}
        fields.setdefault("currency", fields["venue"].currency)
        infos.append(SymbolInfo(symbol=symbol, **fields))
    return infos
