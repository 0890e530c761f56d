"""What a person's decision about a quarantined bar does to the tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.exchanges import Exchange
from quant_assets.ingest.cells import CellNews, CellWriter
from quant_assets.market.bars import ANSWER_SCHEMA, DAILY_SCHEMA, KEYS
from quant_assets.market.coverage import REJECTED, Missing, listed
from quant_assets.market.reconcile import compare, merge, new_row
from quant_assets.market.restatements import restate
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.manifest import Entry, Expected, Manifest
from quant_assets.tables.parquet import read_table
from quant_assets.tables.quarantine import Decision, QuarantineError, mark, read_quarantine
from quant_assets.tables.restatements import Ledger


@dataclass(slots=True)
class Settled:
    """The ids that were decided about, and the sessions whose cells changed, in order."""

    ids: list[str] = field(default_factory=list[str])
    days: list[date] = field(default_factory=list[date])


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody decided about pending bars: those of `ids`, and all of `symbols`. `note` is kept with it."""

    decision: Decision
    ids: Collection[str] = ()
    symbols: Collection[str] = ()
    note: str = ""


def settle_quarantine(
    store: ObjectStore, exchange: Exchange, choice: Choice, *, now: datetime, min_coverage: float
) -> Settled:
    """Accepts or rejects pending bars of an exchange.

    An accepted bar is stored, known from `now` on; where another stands it replaces that one, as a recorded
    restatement. A rejected one makes the hole in its cell final. The decision is kept before the cells change, so
    that the next run goes on from there whatever happens.

    Raises QuarantineError for a bar on a day that the exchange was closed; ObjectDamaged, StoreUnavailable.
    """
    quarantine = read_quarantine(store, exchange.code)
    chosen = quarantine.filter(
        pl.col("decision") == Decision.PENDING.value,
        pl.col("id").is_in(sorted(choice.ids)) | pl.col("symbol").is_in(sorted(choice.symbols)),
    )
    if chosen.is_empty():
        return Settled()
    if choice.decision is Decision.ACCEPTED:
        _refuse_closed_days(exchange, chosen)
    mark(store, exchange.code, chosen["id"].to_list(), choice.decision, now, choice.note)
    # Of several versions of one bar, the one that came last: the quarantine itself is in no order of time.
    latest = chosen.sort("fetched_at", maintain_order=True).unique(KEYS, keep="last", maintain_order=True)
    rows = latest.with_columns(pl.lit(now).alias("fetched_at").cast(DAILY_SCHEMA["fetched_at"]))
    writer = CellWriter(store, exchange.code, "quarantine", min_coverage, Expected(store, exchange.code))
    catalog = read_table(store, object_key(CATALOG))
    listings = with_learned(store, exchange.code, followed(catalog, exchange.code))
    manifest = Manifest(store, DAILY)
    settled = Settled(chosen["id"].to_list())
    for (day,), of_day in rows.sort(KEYS).partition_by("date", as_dict=True, maintain_order=True).items():
        assert isinstance(day, date)
        recorded = manifest.known(exchange.code, day.year).get(day.isoformat())
        if recorded is None:
            continue  # the next backfill of the day finds the decision
        news = (
            _accepted(store, exchange.code, day, of_day)
            if choice.decision is Decision.ACCEPTED
            else _rejected(of_day, now.date(), recorded)
        )
        written = writer.write(day, listed(listings, day), news, recorded, now)
        manifest.record(exchange.code, [written.entry])
        if written.put:
            settled.days.append(day)
    return settled


def _accepted(store: ObjectStore, exchange: str, day: date, rows: pl.DataFrame) -> CellNews:
    try:
        stored = read_table(store, object_key(DAILY, exchange, day.isoformat()))
    except ObjectNotFound:
        stored = pl.DataFrame(schema=DAILY_SCHEMA)
    found = compare(stored, rows.select(list(ANSWER_SCHEMA)))
    # A decision about one bar is about that bar, whatever the others of the symbol say.
    judged = restate(found.pairs, whole=True)
    old = pl.concat([found.bare.select(list(DAILY_SCHEMA)), judged.old])
    new = pl.concat([merge(found.bare.select(list(DAILY_SCHEMA)), new_row(found.bare)), judged.new])
    events = judged.events.join(new.select("symbol", detected_at="fetched_at"), on="symbol")
    known = Ledger(store, exchange).record(events, old, new, "quarantine")
    return CellNews(found.fresh.select(list(DAILY_SCHEMA)), old, known)


def _rejected(rows: pl.DataFrame, today: date, recorded: Entry) -> CellNews:
    lacking = {m.symbol for m in recorded.missing}
    return CellNews(
        missing={
            symbol: Missing(symbol, REJECTED, f"rejected: {rule}", today)
            for symbol, rule in rows.select("symbol", "rule").iter_rows()
            if symbol in lacking
        }
    )


def _refuse_closed_days(exchange: Exchange, rows: pl.DataFrame) -> None:
    calendar = exchange.calendar()
    for symbol, day, close in rows.sort("date").select(*KEYS, "close").iter_rows():
        if calendar.is_session(day):
            continue
        if close is None:
            session = calendar.next_session(day)
            raise QuarantineError(
                f"{exchange.code} was closed on {day}: the action of {symbol} takes effect at its next session, and "
                f"is stored there once that is asked for again (quant-assets backfill --exchange {exchange.code} "
                f"--symbols {symbol} --start {session} --end {session} --mode force)"
            )
        raise QuarantineError(
            f"{exchange.code} was closed on {day}: if it did trade, add the day to the exchange's `open` "
            "overrides (QUANT_ASSETS_EXCHANGES_FILE) and backfill it; else reject the bar"
        )
