"""What has been fetched, beside what stands: new rows, restatements, and bars that have vanished."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache

import polars as pl

from quant_assets.ingest.context import FillContext
from quant_assets.ingest.fetch import Fetched
from quant_assets.ingest.plan import Plan
from quant_assets.market.bars import ANSWER_SCHEMA, DAILY_SCHEMA, KEYS, empty_daily
from quant_assets.market.coverage import SUSPENDED
from quant_assets.market.reconcile import Compared, compare, merge, new_row
from quant_assets.market.restatements import (
    RESTATEMENTS_SCHEMA,
    RestatementClass,
    appeared,
    restate,
    vanished,
)
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound, get_many
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import decode
from quant_assets.tables.restatements import Ledger

_CELLS_READ_SINGLY = 64
"""Up to so many sessions their cells are read; more are quicker read from the history and the cells newer than it."""
_FEW_SYMBOLS = 200
"""Up to so many symbols a history is read in ranges instead of whole."""
_CONFIRMATIONS = 2
"""How often the source is asked again about a bar that it no longer has, before that is believed."""


@dataclass(slots=True)
class Differences:
    """What a run has found. `events` are RESTATEMENTS_SCHEMA with `detected_at`; each row of `old` is to be replaced
    by the row of `new` with its key (DAILY_SCHEMA); `refused` rows of the answers are not taken."""

    fetched: Fetched
    events: pl.DataFrame
    old: pl.DataFrame
    new: pl.DataFrame
    refused: pl.DataFrame
    reaches_back: list[str]
    notes: list[str]
    fresh_keys: dict[int, pl.DataFrame] = field(default_factory=dict[int, pl.DataFrame])
    """Per year the keys of the new rows, where something stands already."""

    def fresh(self, year: int | None = None) -> pl.DataFrame:
        """The rows that are new (DAILY_SCHEMA), of one year or of all."""
        years = self.fetched.spill.years() if year is None else [year]
        frames = [empty_daily()]
        for one in years:
            rows = self.fetched.spill.year(one).select(list(DAILY_SCHEMA))
            # What contradicts everything that stands is taken only with a whole history.
            rows = rows.filter(~pl.col("symbol").is_in(self.reaches_back))
            keys = self.fresh_keys.get(one)
            frames.append(rows if keys is None else rows.join(keys, on=KEYS, how="semi"))
        return pl.concat(frames)


def find_differences(context: FillContext, plan: Plan, fetched: Fetched) -> Differences:
    """Lays the spilled answers beside the cells of the plan and judges what differs; writes nothing.

    Asks the source again about bars that it no longer has. Raises ObjectDamaged, StoreUnavailable.
    """
    return _Comparing(context, plan, fetched).run()


class _Comparing:
    def __init__(self, context: FillContext, plan: Plan, fetched: Fetched) -> None:
        self._plan, self._fetched, self._store, self._exchange = plan, fetched, context.store, context.code
        self._ledger, self._now = Ledger(context.store, context.code), context.clock()
        self._notes: list[str] = []
        self._scope = sorted(
            day for day in {*plan.wanted, *plan.look_back} if day in plan.stored and plan.stored[day].version
        )

    def run(self) -> Differences:
        fresh_keys: dict[int, pl.DataFrame] = {}
        bare, absent, fresh = [_nothing().bare], [empty_daily()], [empty_daily()]
        differ: set[str] = set()
        spill = self._fetched.spill
        for year in sorted({*spill.years(), *(day.year for day in self._scope)}):
            days = [day for day in self._scope if day.year == year]
            if not days:
                continue
            found = self._compare(days, spill.year(year), None)
            fresh_keys[year] = found.fresh.select(KEYS)
            bare.append(found.bare)
            absent.append(found.absent)
            fresh.append(found.fresh.select(list(DAILY_SCHEMA)))
            differ |= set(found.pairs.filter(pl.col("differs"))["symbol"])
        pairs = _nothing().pairs
        if differ:
            pairs = self._compare(self._scope, spill.symbols(differ), sorted(differ)).pairs
        judged = restate(pairs, whole=not differ or self._covers_all(differ))
        filled = pl.concat(bare)
        old = pl.concat([judged.old, filled.select(list(DAILY_SCHEMA))])
        came = merge(filled.select(list(DAILY_SCHEMA)), new_row(filled)) if filled.height else empty_daily()
        new = pl.concat([judged.new, came])
        events = pl.concat(
            [
                judged.events,
                vanished(self._vanished(pl.concat(absent))),
                appeared(
                    self._appeared(pl.concat(fresh)).filter(~pl.col("symbol").is_in(judged.reaches_back))
                ),
            ]
        )
        return Differences(
            self._fetched,
            self._dated(events, new),
            # One order for both: the ledger takes them row by row.
            old.sort(KEYS),
            new.sort(KEYS),
            judged.refused,
            judged.reaches_back,
            [*judged.notes, *dict.fromkeys(self._notes)],
            fresh_keys,
        )

    def _compare(
        self, days: Sequence[date], answers: pl.DataFrame, symbols: Collection[str] | None
    ) -> Compared:
        """The answers beside what stands of the answered symbols on `days`, as far as they were asked about it."""
        asked = sorted(self._fetched.answered if symbols is None else symbols)
        stored = self._stored(days, asked)
        return compare(stored, answers)

    def _stored(self, days: Sequence[date], symbols: list[str]) -> pl.DataFrame:
        if not days or not symbols:
            return empty_daily()
        few = symbols if len(symbols) <= _FEW_SYMBOLS else None
        rows: pl.DataFrame | None = None
        many = len(days) > _CELLS_READ_SINGLY
        if many or (few is not None and len(days) > 2):
            # Of few symbols the history gives the rows in two short reads.
            try:
                rows = read_daily(self._store, self._exchange, days[0], days[-1], symbols=few)
            except ObjectNotFound:
                # A cell between them has been removed, and nobody has asked for its day since.
                pass
            except ObjectDamaged:
                if many:
                    raise
                # It is found below, by name.
        if rows is None:
            rows = pl.concat([empty_daily(), *self._cells(days)])
        return rows.filter(pl.col("symbol").is_in(symbols), pl.col("date").is_in(list(days)))

    def _cells(self, days: Sequence[date]) -> Iterator[pl.DataFrame]:
        """The cells of some days. A damaged one can be compared with nothing; the run names it."""
        keys = [object_key(DAILY, self._exchange, day.isoformat()) for day in days]
        for key, blob in get_many(self._store, keys):
            try:
                if isinstance(blob, Exception):
                    raise blob
                yield decode(blob.data, self._store.uri(key))
            except ObjectNotFound:
                continue
            except ObjectDamaged as error:
                self._notes.append(str(error))

    def _covers_all(self, symbols: Collection[str]) -> bool:
        """Whether nothing of these symbols stands before what was compared: then no change can reach back further."""
        stored = [
            date.fromisoformat(e.partition)
            for e in Manifest(self._store, DAILY).all(self._exchange)
            if e.version
        ]
        if not stored or not self._scope or self._scope[0] <= stored[0]:
            return True
        return self._stored([day for day in stored if day < self._scope[0]], sorted(symbols)).is_empty()

    def _vanished(self, absent: pl.DataFrame) -> pl.DataFrame:
        """Of standing bars that are not in the answers those that are confirmed to be gone, and not on record yet."""
        asked_about = pl.DataFrame(
            [(symbol, day) for day, symbols in self._plan.wanted.items() for symbol in symbols],
            schema={name: DAILY_SCHEMA[name] for name in KEYS}, orient="row",
        )  # fmt: skip
        in_scope = absent.filter(pl.col("date").is_in(self._plan.look_back)).vstack(
            absent.filter(~pl.col("date").is_in(self._plan.look_back)).join(asked_about, on=KEYS, how="semi")
        )
        # A bar that broke a rule this time is there, and is dealt with elsewhere.
        gone = in_scope.join(self._fetched.refused, on=KEYS, how="anti")
        if gone.is_empty():
            return gone
        last = self._ledger.restatements().filter(pl.col("field") == "row").unique(KEYS, keep="last")
        known = last.filter(pl.col("class") == RestatementClass.VANISHED_ROW.value)
        gone = gone.join(known, on=KEYS, how="anti")
        for _ in range(_CONFIRMATIONS):
            if gone.is_empty():
                break
            symbols = set(gone["symbol"])
            again = self._fetched.ask_again(symbols)
            # A symbol that is not answered now says nothing about its bars.
            gone = gone.filter(pl.col("symbol").is_in(again["symbol"].unique().implode())).join(
                again.filter(pl.col("close").is_not_null()), on=KEYS, how="anti"
            )
        return gone

    def _appeared(self, fresh: pl.DataFrame) -> pl.DataFrame:
        """New bars of sessions in which the symbol was known to have been suspended."""
        suspended = pl.DataFrame(
            [
                (missing.symbol, day)
                for day, entry in self._plan.stored.items()
                for missing in entry.missing
                if missing.outcome == SUSPENDED
            ],
            schema={name: DAILY_SCHEMA[name] for name in KEYS},
            orient="row",
        )
        return fresh.filter(pl.col("close").is_not_null()).join(suspended, on=KEYS, how="semi")

    def _dated(self, events: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
        """`events` with `detected_at`: the moment of the answer that they were found in."""
        moments = new.group_by("symbol").agg(_at=pl.col("fetched_at").max())
        return (
            events.join(moments, on="symbol", how="left", maintain_order="left")
            .with_columns(detected_at=pl.coalesce("_at", pl.lit(self._now)))
            .select(*RESTATEMENTS_SCHEMA, pl.col("detected_at").cast(pl.Datetime("us", "UTC")))
        )


@cache
def _nothing() -> Compared:
    """A comparison without rows."""
    return compare(empty_daily(), pl.DataFrame(schema=ANSWER_SCHEMA))
