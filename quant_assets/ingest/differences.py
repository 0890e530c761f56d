"""What has been fetched, beside what stands: new rows, restatements, and bars that have vanished."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache

import polars as pl

from quant_assets.ingest.context import FillContext
from quant_assets.ingest.fetch import Fetched
from quant_assets.ingest.plan import Mode, Plan
from quant_assets.market.bars import ANSWER_SCHEMA, DAILY_SCHEMA, KEYS, empty_daily
from quant_assets.market.claims import CLAIM_SCHEMA, Scope, days_claimed
from quant_assets.market.coverage import HELD, SUSPENDED, Missing
from quant_assets.market.reconcile import Compared, compare, merge, new_row
from quant_assets.market.restatements import (
    CONFIRMED,
    RESTATEMENTS_SCHEMA,
    RestatementClass,
    appeared,
    vanished,
)
from quant_assets.market.restating import Restated, restate
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.restatements import Ledger

_CONFIRMATIONS = 2
"""How often the source is asked again about a bar that it no longer has, before that is believed."""


@dataclass(slots=True)
class Differences:
    """What a run has found. `events` are RESTATEMENTS_SCHEMA with `detected_at`; each row of `old` is to be replaced
    by the row of `new` with its key (DAILY_SCHEMA); `held` are claims (CLAIM_SCHEMA) that are not taken. Nothing new
    is taken of a symbol whose whole answer is in doubt (`in_doubt`), nor of one in `reaches_back`."""

    fetched: Fetched
    events: pl.DataFrame
    old: pl.DataFrame
    new: pl.DataFrame
    held: pl.DataFrame
    in_doubt: list[str]
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
            # What contradicts everything that is stored is taken only with a whole history.
            rows = rows.filter(~pl.col("symbol").is_in([*self.reaches_back, *self.in_doubt]))
            keys = self.fresh_keys.get(one)
            frames.append(rows if keys is None else rows.join(keys, on=KEYS, how="semi"))
        return pl.concat(frames)


def find_differences(context: FillContext, plan: Plan, fetched: Fetched, claims: pl.DataFrame) -> Differences:
    """Lays the spilled answers beside the cells of the plan and judges what differs; writes nothing.

    `claims` are those that wait in quarantine (QUARANTINE_SCHEMA): a claim that is made on several days is taken.
    Asks the source again about bars that it no longer has. Raises ObjectDamaged, StoreUnavailable.
    """
    return _Comparing(context, plan, fetched, claims).run()


class _Comparing:
    def __init__(self, context: FillContext, plan: Plan, fetched: Fetched, claims: pl.DataFrame) -> None:
        self._claims = claims
        self._plan, self._fetched, self._store, self._exchange = plan, fetched, context.store, context.code
        self._ledger, self._now = Ledger(context.store, context.code), context.clock()
        self._stored = fetched.stored
        self._scope = self._stored.days

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
        whole = self._whole(pairs)
        judged = restate(pairs, whole=whole)
        if claimed := self._days_claimed(judged.held):
            judged = restate(pairs, whole=whole, claimed=claimed)
        # A symbol whose whole answer is in doubt gives nothing new.
        new_rows = pl.concat(fresh).filter(~pl.col("symbol").is_in([*judged.reaches_back, *judged.in_doubt]))
        filled = pl.concat(bare).filter(~pl.col("symbol").is_in(judged.in_doubt))
        old = pl.concat([judged.old, filled.select(list(DAILY_SCHEMA))])
        came = merge(filled.select(list(DAILY_SCHEMA)), new_row(filled)) if filled.height else empty_daily()
        new = pl.concat([judged.new, came])
        events = pl.concat(
            [
                judged.events,
                vanished(self._vanished(pl.concat(absent))),
                appeared(self._appeared(new_rows)),
            ]
        )
        return Differences(
            self._fetched,
            self._dated(events, new),
            # One order for both: the ledger takes them row by row.
            old.sort(KEYS),
            new.sort(KEYS),
            pl.concat([judged.held, self._new_in_doubt(judged)]),
            judged.in_doubt,
            judged.reaches_back,
            [*judged.notes, *dict.fromkeys(self._stored.notes)],
            fresh_keys,
        )

    def _days_claimed(self, held: pl.DataFrame) -> dict[str, int]:
        """By symbol, on how many different days its claims have been made, today included."""
        if held.is_empty():
            return {}
        if self._plan.mode is Mode.VERIFY:
            # Nothing is taken: what differs is to be said, in doubt or not.
            return dict.fromkeys(held["symbol"].unique().to_list(), CONFIRMED)
        return days_claimed(held, self._claims, self._now.date())

    def _new_in_doubt(self, judged: Restated) -> pl.DataFrame:
        """What is new of the symbols whose whole answer is in doubt, as claims; their wanted sessions stay holes."""
        if not judged.in_doubt:
            return judged.held.clear()
        rows = self._fetched.spill.symbols(judged.in_doubt)
        reasons = judged.held.unique("symbol", keep="first", maintain_order=True).select(
            "symbol", "rule", "kind", "witnesses", scope=pl.lit(Scope.ANSWER.value)
        )
        stored = self._stored.rows(self._scope, judged.in_doubt).filter(pl.col("close").is_not_null())
        claims = rows.join(stored, on=KEYS, how="anti").join(reasons, on="symbol").select(list(CLAIM_SCHEMA))
        for symbol, day, rule in claims.select(*KEYS, "rule").iter_rows():
            if self._plan.wanted.asks(symbol, day):
                self._fetched.miss(day, Missing(symbol, HELD, f"held: {rule}", self._now.date()))
        return claims

    def _compare(
        self, days: Sequence[date], answers: pl.DataFrame, symbols: Collection[str] | None
    ) -> Compared:
        """The answers beside what stands of the answered symbols on `days`, as far as they were asked about it."""
        asked = sorted(self._fetched.answered if symbols is None else symbols)
        stored = self._stored.rows(days, asked)
        return compare(stored, answers)

    def _whole(self, pairs: pl.DataFrame) -> set[str]:
        """The symbols of which nothing is stored before what was compared: no change can reach back further."""
        first = dict(pairs.group_by("symbol").agg(pl.col("date").min()).iter_rows())
        if not first:
            return set()
        entries = Manifest(self._store, DAILY).all(self._exchange)
        last = max(first.values())
        days = [
            day for entry in entries if entry.version and (day := date.fromisoformat(entry.partition)) <= last
        ]
        stored = self._stored.rows(days, first.keys()).group_by("symbol").agg(pl.col("date").min())
        return {symbol for symbol, day in stored.iter_rows() if day >= first[symbol]}

    def _vanished(self, absent: pl.DataFrame) -> pl.DataFrame:
        """Of standing bars that are not in the answers those that are confirmed to be gone, and not on record yet."""
        in_window = pl.col("date").is_in(self._plan.look_back)
        elsewhere = absent.filter(~in_window)
        in_scope = absent.filter(in_window).vstack(elsewhere.filter(self._plan.wanted.among(elsewhere)))
        # A bar that broke a rule this time is there, and is dealt with elsewhere.
        gone = in_scope.join(self._fetched.refused, on=KEYS, how="anti").join(
            self._fetched.held.filter(pl.col("scope") != Scope.ACTION.value), on=KEYS, how="anti"
        )
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
