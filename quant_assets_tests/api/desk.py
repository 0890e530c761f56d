"""A store with something in every table: a quarter of made-up bars of four symbols of two exchanges."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

from quant_assets.catalog.build import CATALOG_SCHEMA
from quant_assets.market.bars import DAILY_SCHEMA, content_sha256
from quant_assets.market.coverage import CellState, Missing
from quant_assets.market.profiles import SYMBOL_PROFILE_SCHEMA
from quant_assets.market.restatements import RESTATEMENTS_SCHEMA
from quant_assets.market.valuations import VALUATION_SCHEMA
from quant_assets.market.weekly import weekly_bars
from quant_assets.resources.object_store import ObjectStore, claim
from quant_assets.tables.layout import CATALOG, DAILY, PROFILES, TOP_LEVEL, VALUATIONS, WEEKLY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.membership import Spell, Statement, record_stated
from quant_assets.tables.parquet import encode
from quant_assets.tables.quarantine import hold
from quant_assets.tables.requested import record_requested
from quant_assets.tables.restatements import LEDGER_SCHEMA, Ledger

NOW = datetime(2012, 4, 2, 23, 0, tzinfo=UTC)
KNOWN = datetime(2012, 4, 1, 12, 0, tzinfo=UTC)
FIRST, LAST = date(2012, 1, 3), date(2012, 3, 30)
SYMBOLS = {"ASX": ["BHP.AX", "CBA.AX"], "US": ["AAPL", "IBM"]}
SPLIT, HOLE, CHANGED = date(2012, 2, 15), date(2012, 2, 16), date(2012, 3, 1)
"""Of AAPL a split on the first and no bar on the second; of IBM a close that was restated on the third."""
_LACKING = {date(2012, 1, 16), date(2012, 2, 20), date(2012, 1, 26)}
"""Days on which one of the exchanges is closed."""


def bars(day: date, symbols: list[str]) -> pl.DataFrame:
    """A bar a symbol; of AAPL none on `HOLE`."""
    rows: list[tuple[object, ...]] = []
    for number, symbol in enumerate(symbols):
        level = 100.0 + 10 * number + (day - FIRST).days / 10
        ratio = 2.0 if (symbol, day) == ("AAPL", SPLIT) else 1.0
        dividend = 0.5 if day.day == 10 else 0.0
        currency = "AUD" if symbol.endswith(".AX") else "USD"
        if (symbol, day) != ("AAPL", HOLE):
            rows.append((symbol, day, level, level + 2, level - 2, level + 1, 1_000 + day.day,
                         dividend, ratio, currency, "", KNOWN))  # fmt: skip
    return pl.DataFrame(rows, schema=DAILY_SCHEMA, orient="row")


def cell(store: ObjectStore, exchange: str, day: date, rows: pl.DataFrame, known: datetime = KNOWN) -> Entry:
    """Stores a cell; the entry is for the manifest."""
    lacking = [symbol for symbol in SYMBOLS[exchange] if symbol not in rows["symbol"].to_list()]
    entry = Entry(
        day.isoformat(),
        CellState.PARTIAL if lacking else CellState.COMPLETE,
        rows=rows.height,
        content_sha256=content_sha256(rows),
        expected=len(SYMBOLS[exchange]),
        received=rows.height,
        missing=tuple(Missing(one, "no_bar", "no bar between two others", known.date()) for one in lacking),
        source="made up",
        recorded_at=known.isoformat(),
    )
    info = store.put(object_key(DAILY, exchange, day.isoformat()), encode(rows, entry.facts()))
    return Entry.from_facts(entry.facts(), info)


def fill_desk(store: ObjectStore) -> None:
    """Fills an empty store."""
    claim(store, TOP_LEVEL)
    _catalog(store)
    for exchange, symbols in SYMBOLS.items():
        days = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
        days = [day for day in days if day.weekday() < 5 and day not in _LACKING]
        record_requested(store, exchange, days)
        rows = [bars(day, symbols) for day in days]
        entries: list[Entry] = []
        for day, of_day in zip(days, rows, strict=True):
            entries.append(cell(store, exchange, day, of_day))
        closed = [
            Entry(day.isoformat(), CellState.CLOSED, recorded_at=KNOWN.isoformat())
            for day in sorted(_LACKING)
        ]
        Manifest(store, DAILY).record(exchange, [*entries, *closed])
        _weeks(store, exchange, pl.concat(rows))
        _profiles(store, exchange, symbols)
        _valuations(store, exchange, symbols)
    _records(store)


def restate(store: ObjectStore, day: date, close: float, known: datetime) -> None:
    """The close of IBM on a day becomes another one, as a run would have it: ledger, cell, manifest."""
    old = bars(day, SYMBOLS["US"])
    mine = pl.col("symbol") == "IBM"
    new = old.with_columns(
        close=pl.when(mine).then(pl.lit(close)).otherwise("close"),
        fetched_at=pl.when(mine).then(pl.lit(known)).otherwise("fetched_at").cast(DAILY_SCHEMA["fetched_at"]),
    )
    (before,) = old.filter(mine)["close"]
    told = ("IBM", day, "close", repr(before), repr(close), "correction", day, 1, known)
    schema = {**RESTATEMENTS_SCHEMA, "detected_at": LEDGER_SCHEMA["detected_at"]}
    event = pl.DataFrame([told], schema=schema, orient="row")
    Ledger(store, "US").record(event, old.filter(mine), new.filter(mine), "a run")
    Manifest(store, DAILY).record("US", [cell(store, "US", day, new, known)])


def _catalog(store: ObjectStore) -> None:
    rows = [
        {
            "symbol": symbol,
            "name": f"{symbol.partition('.')[0]} Limited",
            "exchange": exchange,
            "currency": "AUD" if exchange == "ASX" else "USD",
            "asset_type": "equity",
            "universes": ["configured", "desk"] if symbol in ("AAPL", "BHP.AX") else ["configured"],
            "first_seen": FIRST,
            "last_seen": LAST,
            "is_active": True,
        }
        for exchange, symbols in SYMBOLS.items()
        for symbol in symbols
    ]
    store.put(object_key(CATALOG), encode(pl.DataFrame(rows, schema=CATALOG_SCHEMA), {}))


def _weeks(store: ObjectStore, exchange: str, daily: pl.DataFrame) -> None:
    calendar = daily.select("date", asked=pl.lit(True)).unique().sort("date")
    entries: list[Entry] = []
    for (week,), rows in weekly_bars(daily, calendar, 1).group_by("week", maintain_order=True):
        entry = Entry(str(week), CellState.COMPLETE, rows=rows.height, content_sha256=content_sha256(rows))
        info = store.put(object_key(WEEKLY, exchange, str(week)), encode(rows, entry.facts()))
        entries.append(Entry.from_facts(entry.facts(), info))
    Manifest(store, WEEKLY).record(exchange, entries)


def _profiles(store: ObjectStore, exchange: str, symbols: list[str]) -> None:
    rows = pl.DataFrame({"symbol": symbols, "quality": [98.5] * len(symbols), "flags": [""] * len(symbols)})
    whole = rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in SYMBOL_PROFILE_SCHEMA.items()
    )
    store.put(object_key(PROFILES, exchange), encode(whole, {}))


def _valuations(store: ObjectStore, exchange: str, symbols: list[str]) -> None:
    rows = [
        {"symbol": symbol, "date": LAST, "market_cap": 1e11, "pe": 12.5, "name": symbol, "fetched_at": KNOWN}
        for symbol in symbols
    ]
    frame = pl.DataFrame(rows, schema=VALUATION_SCHEMA)
    entry = Entry(str(LAST), CellState.COMPLETE, rows=frame.height, content_sha256=content_sha256(frame))
    info = store.put(object_key(VALUATIONS, exchange, str(LAST)), encode(frame, entry.facts()))
    Manifest(store, VALUATIONS).record(exchange, [Entry.from_facts(entry.facts(), info)])


def _records(store: ObjectStore) -> None:
    restate(store, CHANGED, 150.0, KNOWN + timedelta(hours=6))
    doubtful = bars(LAST, ["AAPL"]).with_columns(close=pl.lit(1.0), scale=pl.lit(1.0), rule=pl.lit("too low"))
    hold(store, "US", doubtful, {}, "a run", NOW.date())
    stated = Statement([Spell("AAPL", FIRST), Spell("BHP.AX", FIRST)], FIRST, LAST, "said so")
    record_stated(store, "desk", stated, KNOWN)
