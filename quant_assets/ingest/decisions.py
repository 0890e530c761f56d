"""What a person's decision about a quarantined claim does to the tables."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial

import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.exchanges import Exchange
from quant_assets.ingest.cells import CellNews, CellWriter, Written
from quant_assets.market.bars import ANSWER_SCHEMA, DAILY_SCHEMA, KEYS, PRICES, VALUES, empty_daily
from quant_assets.market.claims import Scope
from quant_assets.market.coverage import REJECTED, Missing, listed
from quant_assets.market.flags import DIVIDEND_HELD, FLAGS, SETTLED_BY_PERSON, added, removed
from quant_assets.market.reconcile import compare, differing, merge, new_row
from quant_assets.market.restatements import RESTATEMENTS_SCHEMA, RestatementClass
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore, get_many
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.listing_events import with_learned
from quant_assets.tables.manifest import Entry, Expected, Manifest
from quant_assets.tables.parquet import decode, read_table
from quant_assets.tables.quarantine import Decision, QuarantineError, mark, read_quarantine, with_items
from quant_assets.tables.restatements import Ledger

_RUN = "quarantine"
_WRITERS = 8
_IS_ACTION = pl.col("scope") == Scope.ACTION.value


@dataclass(slots=True)
class Settled:
    """The ids of the claims that were decided about, the sessions whose cells changed, in order, and which of the
    ids of the choice named something."""

    ids: list[str] = field(default_factory=list[str])
    days: list[date] = field(default_factory=list[date])
    named: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody decided about pending claims: those of `ids` (of claims, or of the answers and stretches they are
    in), and all of `symbols`. `note` is kept with it.

    A claim of `ids` that was rejected can be accepted after all. `dividend`: the amount a share, as declared, to
    store with an accepted action instead of the one that is claimed.
    """

    decision: Decision
    ids: Collection[str] = ()
    symbols: Collection[str] = ()
    note: str = ""
    dividend: float | None = None


def settle_quarantine(
    store: ObjectStore, exchange: Exchange, choice: Choice, *, now: datetime, min_coverage: float
) -> Settled:
    """Accepts or rejects pending claims of an exchange.

    An accepted bar is stored, known from `now` on; where another stands it replaces that one, as a recorded
    restatement. Of an accepted answer all rows are. An accepted action is put into the stored row. A rejected bar
    makes the hole in its cell final; a rejected dividend is none (0.0). Rows that change say `settled_by_person`. The
    decision is kept before the cells change, so that the next run goes on from there whatever happens.

    Raises QuarantineError for a claim about a day that the exchange was closed, for a dividend whose amount nobody
    can read, and for an amount that is for anything but one dividend; ObjectDamaged, StoreUnavailable.
    """
    every = with_items(read_quarantine(store, exchange.code))
    waits = pl.col("decision") == Decision.PENDING.value
    chosen = every.filter(waits, _named(choice.ids) | pl.col("symbol").is_in(sorted(choice.symbols)))
    if choice.decision is Decision.ACCEPTED:
        # What waits goes first: a stretch may have been rejected in part.
        waiting = {*chosen["id"], *chosen["item"], *chosen["answer"]}
        rejected = every.filter(
            _named(set(choice.ids) - waiting), pl.col("decision") == Decision.REJECTED.value
        )
        chosen = pl.concat([chosen, rejected])
    if chosen.is_empty():
        return Settled()
    if choice.decision is Decision.ACCEPTED:
        _refuse_closed_days(exchange, chosen)
        if choice.dividend is None:
            _refuse_unreadable(chosen)
        else:
            chosen = _with_amount(chosen, choice.dividend)
    mark(store, exchange.code, chosen["id"].to_list(), choice.decision, now, choice.note)
    # Of several versions of one bar, the one that came last: the quarantine itself is in no order of time.
    latest = chosen.sort("fetched_at", maintain_order=True).unique(
        [*KEYS, _IS_ACTION.alias("action")], keep="last", maintain_order=True
    )
    deciding = _Deciding(store, exchange, choice.decision, now, min_coverage)
    days = {*deciding.bars(latest.filter(~_IS_ACTION)), *deciding.actions(latest.filter(_IS_ACTION))}
    known = {*chosen["id"], *chosen["item"], *chosen["answer"]}
    return Settled(chosen["id"].to_list(), sorted(days), set(choice.ids) & known)


def _named(ids: Collection[str]) -> pl.Expr:
    """Claims that some ids name: their own, or that of the answer or the stretch they are in."""
    return pl.any_horizontal(pl.col(name).is_in(sorted(ids)) for name in ("id", "item", "answer"))


@dataclass(slots=True)
class _Change:
    """What a decision does: rows (DAILY_SCHEMA), events (RESTATEMENTS_SCHEMA), and holes by session."""

    fresh: pl.DataFrame = field(default_factory=empty_daily)
    old: pl.DataFrame = field(default_factory=empty_daily)
    new: pl.DataFrame = field(default_factory=empty_daily)
    events: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    missing: dict[date, dict[str, Missing]] = field(default_factory=dict[date, dict[str, Missing]])


class _Deciding:
    """One decision about claims of one exchange."""

    def __init__(
        self, store: ObjectStore, exchange: Exchange, decision: Decision, now: datetime, min_coverage: float
    ) -> None:
        self._store, self._code, self._now = store, exchange.code, now
        self._accepts = decision is Decision.ACCEPTED
        self._writer = CellWriter(store, exchange.code, _RUN, min_coverage, Expected(store, exchange.code))
        catalog = read_table(store, object_key(CATALOG))
        self._listings = with_learned(store, exchange.code, followed(catalog, exchange.code))
        self._manifest = Manifest(store, DAILY)

    def bars(self, rows: pl.DataFrame) -> list[date]:
        """Stores bars, or makes their holes final; answers the sessions whose cells changed."""
        return self._write(rows, self._accepted(rows) if self._accepts else self._rejected(rows))

    def actions(self, rows: pl.DataFrame) -> list[date]:
        """Puts actions into their rows, or says that there are none; answers the sessions whose cells changed."""
        return self._write(rows, self._acted(rows))

    def _accepted(self, rows: pl.DataFrame) -> _Change:
        answer = rows.with_columns(
            fetched_at=pl.lit(self._now).cast(DAILY_SCHEMA["fetched_at"]),
            flags=added(pl.col(FLAGS), SETTLED_BY_PERSON, pl.lit(value=True)),
        ).select(list(ANSWER_SCHEMA))
        found = compare(self._stored(rows), answer)
        differ = found.pairs.filter("differs")
        bare = found.bare.select(list(DAILY_SCHEMA))
        whole = rows.filter(pl.col("scope") == Scope.ANSWER.value)["symbol"].unique().implode()
        of_answers = differ.filter(pl.col("symbol").is_in(whole))
        return _Change(
            found.fresh.select(list(DAILY_SCHEMA)),
            pl.concat([bare, differ.select(list(DAILY_SCHEMA))]),
            pl.concat([merge(bare, new_row(found.bare)) if bare.height else bare, new_row(differ)]),
            [*_whole_events(of_answers), *_field_events(differ.filter(~pl.col("symbol").is_in(whole)))],
        )

    def _rejected(self, rows: pl.DataFrame) -> _Change:
        change = _Change()
        for symbol, day, rule in rows.select(*KEYS, "rule").iter_rows():
            why = Missing(symbol, REJECTED, f"rejected: {rule}", self._now.date())
            change.missing.setdefault(day, {})[symbol] = why
        return change

    def _acted(self, rows: pl.DataFrame) -> _Change:
        """An accepted action takes its place in the row; a rejected dividend that was in doubt is none."""
        claimed = rows.select(
            *KEYS, _dividend="dividend", _split="split_ratio", _of_split=pl.col("kind").str.contains("split")
        )
        beside = self._stored(rows).join(claimed, on=KEYS, how="inner")
        if self._accepts:
            dividend = pl.when("_of_split").then("dividend").otherwise("_dividend")
            split = pl.when("_of_split").then("_split").otherwise("split_ratio")
        else:
            dividend = pl.when("_of_split").then("dividend").otherwise(pl.col("dividend").fill_null(0.0))
            split = pl.col("split_ratio")
        changed = beside.filter(dividend.ne_missing(pl.col("dividend")) | (split != pl.col("split_ratio")))
        settled = pl.col(FLAGS)
        settled = removed(settled, DIVIDEND_HELD, dividend.is_not_null())
        new = changed.with_columns(
            dividend=dividend,
            split_ratio=split,
            flags=added(settled, SETTLED_BY_PERSON, pl.lit(value=True)),
            fetched_at=pl.lit(self._now).cast(DAILY_SCHEMA["fetched_at"]),
        )
        joined = changed.join(new.select(*KEYS, pl.exclude(KEYS).name.suffix("_new")), on=KEYS)
        change = _Change(
            old=changed.select(list(DAILY_SCHEMA)),
            new=new.select(list(DAILY_SCHEMA)),
            events=[
                (symbol, day, name, _text(old), _text(now), RestatementClass.CORRECTION.value, day, 1)
                for name in ("dividend", "split_ratio")
                for symbol, day, old, now in joined.select(*KEYS, name, f"{name}_new").iter_rows()
                if old != now
            ],
        )
        if self._accepts:
            # An ex-date without a bar keeps its action all the same.
            alone = rows.join(beside, on=KEYS, how="anti").with_columns(
                *(pl.lit(None, pl.Float64).alias(name) for name in PRICES),
                volume=pl.lit(0),
                flags=pl.lit(SETTLED_BY_PERSON),
                fetched_at=pl.lit(self._now),
            )
            change.fresh = alone.select(pl.col(n).cast(dtype) for n, dtype in DAILY_SCHEMA.items())
        return change

    def _stored(self, rows: pl.DataFrame) -> pl.DataFrame:
        """What stands of the symbols in the sessions of `rows` (DAILY_SCHEMA)."""
        keys = [object_key(DAILY, self._code, day.isoformat()) for day in rows["date"].unique().sort()]
        frames = [empty_daily()]
        for key, blob in get_many(self._store, keys):
            if isinstance(blob, ObjectNotFound):
                continue
            if isinstance(blob, Exception):
                raise blob
            frames.append(decode(blob.data, self._store.uri(key)))
        return pl.concat(frames).join(rows, on=KEYS, how="semi")

    def _write(self, rows: pl.DataFrame, change: _Change) -> list[date]:
        if rows.is_empty():
            return []
        events = pl.DataFrame(change.events, schema=RESTATEMENTS_SCHEMA, orient="row").with_columns(
            detected_at=pl.lit(self._now).cast(DAILY_SCHEMA["fetched_at"])
        )
        # One order for both: the ledger takes them row by row.
        old, new = change.old.sort(KEYS), change.new.sort(KEYS)
        new = Ledger(self._store, self._code).record(events, old, new, _RUN)
        changed: list[date] = []
        for (year,), of_year in rows.sort("date").group_by(pl.col("date").dt.year(), maintain_order=True):
            assert isinstance(year, int)
            recorded = self._manifest.known(self._code, year)
            news: list[tuple[date, Entry, CellNews]] = []
            for day in of_year["date"].unique().sort():
                entry = recorded.get(day.isoformat())
                if entry is None:
                    continue  # the next backfill of the day finds the decision
                lacking = {hole.symbol for hole in entry.missing}
                holes = {s: hole for s, hole in change.missing.get(day, {}).items() if s in lacking}
                on_day = partial(_on, day)
                news.append((day, entry, CellNews(on_day(change.fresh), on_day(old), on_day(new), holes)))
            with ThreadPoolExecutor(_WRITERS, thread_name_prefix="cells") as pool:
                written = list(pool.map(self._write_cell, news))
            self._manifest.record(self._code, [one.entry for one in written if not one.damaged])
            changed += [day for (day, _, _), one in zip(news, written, strict=True) if one.put]
        return changed

    def _write_cell(self, one: tuple[date, Entry, CellNews]) -> Written:
        day, entry, news = one
        return self._writer.write(day, listed(self._listings, day), news, entry, self._now)


def _on(day: date, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("date") == day)


def _field_events(pairs: pl.DataFrame) -> Iterable[tuple[object, ...]]:
    """A correction for each value of joined rows that differs: a decision about a bar is about that bar alone."""
    flagged = pairs.with_columns(differing(name).alias(f"_{name}") for name in VALUES)
    for row in flagged.iter_rows(named=True):
        for name in VALUES:
            if row[f"_{name}"]:
                late = name == "dividend" and row[name] == 0.0
                kind = RestatementClass.LATE_DIVIDEND if late else RestatementClass.CORRECTION
                old, new = _text(row[name]), _text(row[f"{name}_new"])
                yield row["symbol"], row["date"], name, old, new, kind.value, row["date"], 1


def _whole_events(pairs: pl.DataFrame) -> Iterable[tuple[object, ...]]:
    """One correction for all rows of a symbol, told by the last close: an answer is decided about as a whole."""
    for of_symbol in pairs.sort(KEYS).partition_by("symbol", maintain_order=True):
        first, last = of_symbol["date"][0], of_symbol.row(-1, named=True)
        yield (
            last["symbol"], last["date"], "close", _text(last["close"]), _text(last["close_new"]),
            RestatementClass.CORRECTION.value, first, of_symbol.height,
        )  # fmt: skip


def _text(value: object) -> str | None:
    return None if value is None else repr(value) if isinstance(value, float) else str(value)


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


def _refuse_unreadable(rows: pl.DataFrame) -> None:
    for symbol, day, id_ in (
        rows.filter(_IS_ACTION, pl.col("dividend").is_null()).select(*KEYS, "id").iter_rows()
    ):
        raise QuarantineError(
            f"{id_}: the source states no amount that can be read for the dividend of {symbol} on {day}, so there is "
            "nothing to store: name the amount (--dividend), reject it (there was none), or wait for the source"
        )


def _with_amount(rows: pl.DataFrame, amount: float) -> pl.DataFrame:
    """The claim of a dividend with the amount that a person names."""
    if amount < 0 or not math.isfinite(amount):
        raise QuarantineError(f"--dividend {amount:g}: an amount a share is a number that is not negative")
    is_dividend = _IS_ACTION & ~pl.col("kind").str.contains("split")
    if rows.height != 1 or rows.filter(is_dividend).is_empty():
        named = ", ".join(sorted(rows["item"].unique()))
        raise QuarantineError(
            f"--dividend is for one dividend that is held, and {named} is not one: name the id of its action "
            "(quant-assets quarantine list)"
        )
    return rows.with_columns(dividend=pl.lit(amount))
