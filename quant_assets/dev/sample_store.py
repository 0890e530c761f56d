"""A small store for the examples: a made-up exchange with a universe whose members changed, and a restatement.

Made in seconds from a replay server, without Dagster: what runs do besides, records of runs and events, is not in it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.catalog.build import build_catalog, followed
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest
from quant_assets.market.profiles import profiles_of_years
from quant_assets.replay.generator import generate
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import CATALOG, DAILY, PROFILES, object_key
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.membership import Spell, Statement, record_stated
from quant_assets.tables.parquet import encode, read_table
from quant_assets.tables.profile_sums import sums_of_years

CODE, UNIVERSE, MEMBERS = "ASX", "leaders", 8
FIRST, LAST = date(2012, 1, 3), date(2013, 3, 1)
NOW = datetime(2013, 3, 1, 23, tzinfo=UTC)
BEFORE = datetime(2013, 2, 20, 23, tzinfo=UTC)
"""When most of it was fetched: the source had one close wrong then, which it corrected later."""
WRONG_ON = date(2013, 2, 19)
STATED_FROM = date(2012, 4, 1)


def make_sample_store(home: Path) -> LocalObjectStore:
    """The sample store below a folder, made if it is not there.

    Sixteen symbols of the ASX, 2012-01-03 to 2013-03-01; universe "leaders": the eight with the largest turnover of
    the quarter before, stated for every quarter from 2012-04-01 on; one close that was restated; profiles.
    """
    store = LocalObjectStore(home / "store")
    if (home / "made").exists():
        return store
    generated = GeneratedExchange(CODE, symbols=16, seed=3, start=FIRST, end=LAST)
    truth = generate(**asdict(generated)).frame
    with start(ReplayConfig(generated=[generated], now=BEFORE)) as server:
        listed = [_configured(row) for row in server.catalog()]
        known = followed(_put_catalog(store, listed, set()), CODE)
        server.add_faults(_wrong_close(truth))
        _cells(home, store, server, known, FIRST, BEFORE)
        server.clear_faults()
        server.set_clock(NOW)
        _cells(home, store, server, known, BEFORE.date() + timedelta(days=1), NOW)
    spells = leaders(read_daily(store, CODE))
    record_stated(
        store, UNIVERSE, Statement(spells, STATED_FROM, LAST, "turnover of the quarter before"), NOW
    )
    _put_catalog(store, listed, {one.symbol for one in spells if one.left is None})
    _put_profiles(store)
    (home / "made").touch()
    return store


def leaders(rows: pl.DataFrame) -> list[Spell]:
    """Who was among the `MEMBERS` symbols with the largest turnover of the quarter before, and when."""
    turnover = (
        rows.group_by("symbol", quarter=pl.col("date").dt.truncate("1q").dt.offset_by("1q"))
        .agg((pl.col("close") * pl.col("volume")).sum().alias("turnover"))
        .filter(pl.col("quarter") <= LAST)
        .sort("quarter", "turnover", descending=[False, True])
        .group_by("quarter", maintain_order=True)
        .head(MEMBERS)
    )
    quarters = sorted(turnover["quarter"].unique())
    spells: list[Spell] = []
    open_since: dict[str, date] = {}
    for quarter in quarters:
        members = set(turnover.filter(pl.col("quarter") == quarter)["symbol"])
        for symbol in sorted(open_since.keys() - members):
            spells.append(Spell(symbol, open_since.pop(symbol), quarter))
        open_since |= dict.fromkeys(members - open_since.keys(), quarter)
    return [*spells, *(Spell(symbol, since) for symbol, since in sorted(open_since.items()))]


def _configured(row: dict[str, Any]) -> ConfiguredSymbol:
    return ConfiguredSymbol(symbol=row["symbol"], name=row["name"], delisted_on=row["delisted_on"])


def _wrong_close(truth: pl.DataFrame) -> dict[str, Any]:
    """The close of the most traded symbol, served eight percent too high: nothing that anybody would doubt."""
    day = truth.filter(pl.col("date") == WRONG_ON).sort(pl.col("close") * pl.col("volume"), descending=True)
    symbol, close, high = day.select("symbol", "close", "high").row(0)
    wrong = round(close * 1.08, 2)
    values = {"close": wrong, "high": max(high, wrong)}
    return {"kind": "corrected_bar", "symbol": symbol, "date": str(WRONG_ON), "values": values}


def _cells(
    home: Path, store: ObjectStore, server: ReplayHandle, known: pl.DataFrame, first: date, now: datetime
) -> None:
    settings = Settings(
        home=home,
        exchanges=(CODE,),
        source_url=server.url,
        requests_per_second=0,
        min_coverage={"*": 0.0},
        now=now,
    )
    days = [first + timedelta(days=n) for n in range((now.date() - first).days + 1)]
    source = YahooSource(settings)
    try:
        rules = FillRules(settings.spill_folder, settings.look_back_sessions)
        context = FillContext(exchange(CODE), store, source, settings.clock, rules)
        fill_cells(context, FillRequest([day for day in days if day.weekday() < 5], known))
    finally:
        source.close()


def _put_catalog(
    store: ObjectStore, listed: Sequence[ConfiguredSymbol], members: Collection[str]
) -> pl.DataFrame:
    of_universe = {CODE: {UNIVERSE: [one for one in listed if one.symbol in members]}}
    made = build_catalog({CODE: listed}, [exchange(CODE)], None, LAST, of_universe)
    store.put(object_key(CATALOG), encode(made, {}))
    return made


def _put_profiles(store: ObjectStore) -> None:
    cells = {entry.partition: entry for entry in Manifest(store, DAILY).all(CODE)}
    sessions = exchange(CODE).calendar().sessions(FIRST, LAST)
    listings = with_learned(store, CODE, followed(read_table(store, object_key(CATALOG)), CODE))
    made = profiles_of_years(sums_of_years(store, CODE, cells, memory_mb=256), sessions, listings)
    store.put(object_key(PROFILES, CODE), encode(made, {}))
