"""Lays a store from a seed: generated histories as the replay server serves them, put by the product's own writers.

Histories are made for some symbols at a time and wait on disk by year, so that no more than a year of an exchange is
in memory. The cells of a year are put by `CellWriter`; history, weekly bars and profiles by the product's own runs.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from benchmarks.scale.shape import CODES, END, LAST, NOW, Laid, Shape
from quant_assets.exchanges import Exchange, exchange
from quant_assets.ingest.cells import CellNews, CellWriter, Written
from quant_assets.local_runs import Runner
from quant_assets.market.bars import DAILY_SCHEMA, conform_daily, empty_daily
from quant_assets.market.coverage import NO_BAR, CellState, Missing, listed
from quant_assets.market.gaps import BarlessSessions
from quant_assets.replay.generator import generate
from quant_assets.replay.history import History
from quant_assets.resources.object_store import claim
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY, TOP_LEVEL
from quant_assets.tables.listing_events import learn_first_trades
from quant_assets.tables.manifest import Entry, Expected, Manifest, stamped
from quant_assets.tables.requested import record_requested

_AT_ONCE = 250
"""Symbols whose histories are made at once."""
_SUSPENDED_FOR = 20
"""Sessions of one drawn suspension."""
_TOLD_FIRST = NOW.date() - timedelta(days=1)
"""When the source first had no bar: with a second answer it is a suspension."""
_HOLES = pl.Schema(
    {"symbol": pl.String, "date": pl.Date, "before": pl.Date, "after": pl.Date, "gap": pl.Int64}
)


def settings_of(laid: Laid, home: Path | None = None, **more: object) -> Settings:
    """The settings of a laid store; `home` is a folder for Dagster's own."""
    return Settings(
        home=home or laid.folder / "home",
        store=str(laid.store),
        universe=laid.universe,
        start=laid.shape.first,
        **({"now": NOW, "requests_per_second": 0, "exchanges": CODES} | more),  # pyright: ignore[reportArgumentType]
    )


def lay(folder: Path, shape: Shape, *, derived: bool = True) -> Laid:
    """Lays a store of this shape, or takes the one that lies there; with derived tables unless told not to."""
    laid = Laid(folder)
    if (folder / "shape.json").exists():
        if laid.shape != shape:
            print(f"taken as it is: {folder} with {laid.shape}")
        return laid
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store = open_store(str(laid.store))
    claim(store, TOP_LEVEL)
    universe: dict[str, list[dict[str, str]]] = {}
    for code in CODES:
        with _step(f"{code}: {shape.symbols_of(code)} histories of {shape.years} years"):
            spilled = _spill(folder / "spill", code, shape)
        universe[code] = [
            {"symbol": symbol, "name": symbol} | ({"delisted_on": last.isoformat()} if last else {})
            for symbol, (_, last) in sorted(spilled.listed.items())
        ]
        with _step(f"{code}: cells"):
            _put_cells(laid, exchange(code), shape, spilled)
    shutil.rmtree(folder / "spill")
    laid.universe.write_text(yaml.dump(universe, Dumper=yaml.CSafeDumper), encoding="utf-8")
    laid.finished(shape)
    if derived:
        derive(laid)
    return laid


def derive(laid: Laid) -> None:
    """History, weekly bars, profiles and catalog, made by the product's own runs."""
    with Runner(settings_of(laid)) as runner:
        runner.catalog()
        for code in CODES:
            with _step(f"{code}: history, weekly bars, profiles"):
                runner.derived(exchange(code), laid.shape.first, LAST)
        runner.inventory()


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"laid {what}: {time.perf_counter() - began:.1f} s", flush=True)


@dataclass
class _Spilled:
    """The rows and holes of an exchange, waiting on disk by year."""

    folder: Path
    listed: dict[str, tuple[date, date | None]] = field(default_factory=dict)
    """Per symbol its first session, and its last one where it is delisted."""

    def year(self, year: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows (DAILY_SCHEMA) and the holes (symbol, date, before, after, gap) of a year."""
        rows, holes = (
            [pl.read_ipc(file) for file in sorted(self.folder.glob(f"{kind}-{year}-*"))]
            for kind in ("rows", "holes")
        )
        return conform_daily(pl.concat([empty_daily(), *rows])), pl.concat(
            [pl.DataFrame(schema=_HOLES), *holes]
        )


def _spill(folder: Path, code: str, shape: Shape) -> _Spilled:
    spilled = _Spilled(folder / code)
    spilled.folder.mkdir(parents=True)
    sessions = exchange(code).calendar().sessions(shape.first, LAST)
    symbols = shape.symbols_of(code)
    for begin in range(0, symbols, _AT_ONCE):
        part = range(begin, min(begin + _AT_ONCE, symbols))
        history = generate(code, symbols, shape.first, END, shape.seed, part=part)
        rows = history.frame.filter(pl.col("date").is_in(sessions))
        if shape.suspended:
            rows = _with_suspensions(rows, shape, begin)
        spilled.listed |= _listed(history)
        rows = rows.with_columns(
            currency=pl.lit("AUD" if code == "ASX" else "USD"), flags=pl.lit(""), fetched_at=pl.lit(NOW)
        ).select(list(DAILY_SCHEMA))
        for kind, frame in (("rows", rows), ("holes", _holes(rows, sessions))):
            for year in frame["date"].dt.year().unique():
                of_year = frame.filter(pl.col("date").dt.year() == year)
                of_year.write_ipc(spilled.folder / f"{kind}-{year}-{begin:06d}")
    return spilled


def _listed(history: History) -> dict[str, tuple[date, date | None]]:
    return {
        symbol: (
            info.listed_on,
            info.delisted_on if info.delisted_on and info.delisted_on <= LAST else None,
        )
        for symbol, info in history.infos.items()
        if info.listed_on <= LAST
    }


def _with_suspensions(rows: pl.DataFrame, shape: Shape, begin: int) -> pl.DataFrame:
    """Rows without those of drawn suspensions, each inside a symbol's history; days with an action stay."""
    chance = np.random.default_rng([shape.seed, begin])
    symbol = rows["symbol"].rle_id().to_numpy()
    # Blocks of sessions are suspended or not as a whole: so many of all as is asked for.
    place = rows.select(pl.int_range(pl.len()).over("symbol"))["literal"].to_numpy()
    length = rows.select(pl.len().over("symbol"))["len"].to_numpy()
    blocks = int(place.max()) // _SUSPENDED_FOR + 1
    drawn = chance.random((int(symbol.max()) + 1, blocks)) < shape.suspended
    inside = (place >= _SUSPENDED_FOR) & (place < length - _SUSPENDED_FOR)
    plain = rows.select((pl.col("dividend") == 0) & (pl.col("split_ratio") == 1)).to_series().to_numpy()
    return rows.filter(~(drawn[symbol, place // _SUSPENDED_FOR] & inside & plain))


def _holes(rows: pl.DataFrame, sessions: list[date]) -> pl.DataFrame:
    """The sessions between a symbol's bars that have none: symbol, date, before, after, gap (sessions in a row)."""
    place = pl.DataFrame(
        {"date": sessions, "place": range(len(sessions))}, schema={"date": pl.Date, "place": pl.Int64}
    )
    runs = (
        rows.select("symbol", "date")
        .join(place, on="date", maintain_order="left")
        .with_columns(
            before=pl.col("date").shift(1).over("symbol"),
            begin=pl.col("place").shift(1).over("symbol") + 1,
        )
        .filter(pl.col("place") > pl.col("begin"))
        .with_columns(gap=pl.col("place") - pl.col("begin"))
        .rename({"date": "after"})
    )
    return (
        runs.with_columns(place=pl.int_ranges("begin", "place"))
        .explode("place")
        .join(place, on="place")
        .select("symbol", "date", "before", "after", "gap")
    )


def _put_cells(laid: Laid, where: Exchange, shape: Shape, spilled: _Spilled) -> None:
    store, code, calendar = open_store(str(laid.store)), where.code, where.calendar()
    listings = pl.DataFrame(
        [(symbol, first, last) for symbol, (first, last) in sorted(spilled.listed.items())],
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
        orient="row",
    )
    learn_first_trades(
        store,
        code,
        listings.with_columns(listed_on=pl.lit(None, pl.Date)),
        {symbol: first for symbol, (first, _) in spilled.listed.items()},
        NOW,
    )
    record_requested(store, code, shape.days())
    sessions = set(calendar.sessions(shape.first, LAST))
    writer = CellWriter(store, code, "yahoo", 0.0, Expected(store, code))
    for year in range(shape.first.year, LAST.year + 1):
        rows, holes = spilled.year(year)
        fresh = {day: part for (day,), part in rows.partition_by("date", as_dict=True).items()}
        missing = _missing(holes)

        def write(
            day: date, fresh: dict[object, pl.DataFrame] = fresh, missing: _Missing = missing
        ) -> Written:
            news = CellNews(fresh.get(day, empty_daily()), missing=missing.get(day, {}))
            return writer.write(day, listed(listings, day), news, None, NOW)

        days = [day for day in shape.days() if day.year == year]
        with ThreadPoolExecutor(4) as pool:
            written = pool.map(write, [day for day in days if day in sessions])
            entries = [one.entry for one in written]
        reason = f"{code} did not trade on"
        entries += [
            stamped(Entry(day.isoformat(), CellState.CLOSED, reason=f"{reason} {day}"), NOW)
            for day in days
            if day not in sessions
        ]
        Manifest(store, DAILY).record(code, entries)


_Missing = dict[date, dict[str, Missing]]


def _missing(holes: pl.DataFrame) -> _Missing:
    found: _Missing = {}
    for symbol, day, before, after, gap in holes.iter_rows():
        reason = str(BarlessSessions((day,) * gap, before, after))
        found.setdefault(day, {})[symbol] = Missing(
            symbol, NO_BAR, reason, NOW.date(), since=_TOLD_FIRST, answers=2, gap=gap
        )
    return found


def size_mb(folder: Path) -> float:
    """Megabytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
