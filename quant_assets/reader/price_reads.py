"""Daily bars, as traded or adjusted on read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, PRICES, empty_daily
from quant_assets.market.corporate_actions import Adjust, Reinvest, refuse_unknown_ways
from quant_assets.market.corporate_actions import adjust as adjusted
from quant_assets.market.oddities import Envelope, widened
from quant_assets.reader.arguments import (
    By,
    Store,
    Symbols,
    Wanted,
    days_of,
    known_exchange,
    moment_of,
    opened,
)
from quant_assets.reader.lazy import Pushed, lazily
from quant_assets.reader.over_http import Served, served
from quant_assets.reader.snapshots import SnapshotMismatch, Used, parse_snapshot
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.catalog_reads import (
    ByExchange,
    ReadCatalog,
    exchanges_of,
    read_by_catalog,
    read_catalog,
)
from quant_assets.tables.company_reads import (
    COMPANY_ROWS_SCHEMA,
    adjusted_apart,
    changes_of,
    exchanges_of_ids,
    prices_of_companies,
)
from quant_assets.tables.daily import read_daily
from quant_assets.tables.price_warnings import (
    warn_of_absent_sessions,
    warn_of_held_dividends,
    warn_of_nothing_known,
)

_BATCH_ROWS = 1_000_000
"""About so many rows of many symbols are read at once: some 300 MB with what is made of them."""
_YEARS, _SESSIONS = 30, 252
"""How long a series is taken to be where no range says it."""


def prices(
    symbols: Symbols = None,
    start: date | str | None = None,
    end: date | str | None = None,
    adjust: Adjust = "none",
    as_of: datetime | date | str | None = None,
    *,
    universe: str | None = None,
    reinvest: Reinvest = "prev_close",
    envelope: Envelope = "as_served",
    by: By = "symbol",
    snapshot: str | None = None,
    store: Store = None,
) -> pl.LazyFrame:
    """Daily bars of some symbols, or of all. Nothing is read before `collect()`, and then only what the query needs:
    `prices().filter(pl.col("symbol") == "AAPL").select("date", "close")` reads as little as `prices("AAPL")`.

    Args:
        symbols: Yahoo's symbols: "AAPL", "AAPL MSFT", "aapl,msft", ["BHP.AX", "CBA.AX"], or a frame with a column
            `symbol`. None: all.
        start, end: first and last session wanted (inclusive; a date or YYYY-MM-DD); None: as far as there is.
        adjust: how prices are adjusted on read, over the actions stored with the rows. With S(t) the product of the
            split ratios with an ex-date after t: "none" as traded; "split" prices and dividends divided by S,
            volumes multiplied, so that all are on the share basis of the symbol's last session; "total_return" also
            multiplied by the product over later ex-dates of `1 − D/C_prev` (Yahoo's convention; C_prev the close
            before the ex-date), or of `1/(1 + D/C_ex)` with `reinvest="ex_close"` (the dividend reinvested at the
            close of the ex-date).
        as_of: what was known at this moment, byte for byte: rows that became known later are left out, restatements
            recorded later are undone from the ledger, and only actions known by then are applied. A datetime with its
            zone, ISO text, or a date (its end, UTC). Where nothing was known yet, a warning names the first moment.
        universe: the symbols that are in this universe now, in place of `symbols`.
        envelope: "as_served": high and low as the source gives them, in a thin market not always around open and
            close (`flags` says where); "widened": high and low include open and close.
        by: "symbol": the rows that stand under each symbol; of one that two companies had, each is adjusted apart,
            with a warning. "company": the rows of the companies that have the symbols now, through all their symbols,
            each day once and adjusted as one series; `symbols` may hold ids of companies (`companies()`), too.
        snapshot: the id of an earlier read with the same arguments (`snapshot_id`): read the same again, or fail.
        store: where the tables are: a folder, `gs://…`, the address of an API (`quant-assets serve`; a key that it
            asks for is taken from QUANT_ASSETS_API_KEY), or an opened store; None: as the settings say.

    Returns:
        symbol, date, open, high, low, close, volume, dividend, split_ratio, currency, flags, fetched_at (UTC),
        exchange, sorted by (symbol, date). `to_pandas(…)` makes a pandas frame of it. A volume that nobody knows and
        a dividend that is in doubt are null beside a bar; "total_return" applies no dividend that is in doubt, and
        warns of it. By company also `company_id`, sorted by (company_id, date): `symbol` is the one that the company
        traded under on that day, and where it changes one history ends and the next begins. Of many symbols rows come
        in batches: a query that streams (`sink_parquet`, `collect(engine="streaming")`) holds few at a time.

    Raises:
        ValueError: at once: an unknown way to adjust, an unknown envelope, a date that is none, a range the wrong way
            round, a moment without its zone, a text that is no snapshot id.
        UnknownSymbol: when collected, as all that follow: no catalog lists the symbol; near ones are named.
        SnapshotMismatch: the store no longer gives what the snapshot read.
        ObjectNotFound: there is no catalog yet.
        ObjectDamaged, StoreUnavailable: naming the object.
        ApiProblem: an API refuses, e.g. for want of a key.
    """
    asked = _asked(symbols, start, end, adjust, as_of, universe, by)
    refuse_unknown_ways(adjust, reinvest)
    if envelope not in ("as_served", "widened"):
        raise ValueError(f'envelope is "as_served" or "widened", not {envelope!r}')
    if snapshot is not None:
        if asked.moment is not None:
            raise ValueError("a snapshot has its moment: leave as_of out")
        if served(store) is None:
            parse_snapshot(snapshot)
    reading = _Reading(asked, reinvest, envelope, snapshot, store)
    return lazily("prices", reading.schema, reading.frames, asked.told)


def snapshot_id(
    symbols: Symbols = None,
    start: date | str | None = None,
    end: date | str | None = None,
    adjust: Adjust = "none",
    as_of: datetime | date | str | None = None,
    *,
    universe: str | None = None,
    by: By = "symbol",
    store: Store = None,
) -> str:
    """The id of what `prices` with these arguments reads now: the moment up to which it knows, and a hash over every
    row that it uses. Given to `prices` later, the same comes out, whatever has been restated since.

    Raises as collected `prices` do.
    """
    asked = _asked(symbols, start, end, adjust, as_of, universe, by)
    if (api := served(store)) is not None:
        return api.snapshot("prices", asked.parameters(Pushed()), asked.wanted)
    return asked.used(opened(store), Pushed()).id(None)


def read_prices(
    symbols: Symbols,
    start: date | None,
    end: date | None,
    adjust: Adjust,
    as_of: datetime | None,
    *,
    reinvest: Reinvest,
    envelope: Envelope,
    by: By,
    snapshot: str | None,
    store: ObjectStore,
) -> tuple[pl.DataFrame, str]:
    """What `prices` with these arguments gives, and its `snapshot_id`, in one read and in this thread.

    Raises as `prices` does, all at once.
    """
    asked = _asked(symbols, start, end, adjust, as_of, None, by)
    reading = _Reading(asked, reinvest, envelope, snapshot, store)
    used = asked.used(store, Pushed()) if snapshot is None else reading.of_snapshot(store, snapshot)
    rows = reading.made(used)
    told = used.id(None) if snapshot is None else snapshot
    return rows.select(pl.col(name).cast(kind) for name, kind in reading.schema.items()), told


@lru_cache
def price_schema(adjust: Adjust, by: By) -> pl.Schema:
    """The columns of `prices`: adjusted volumes are no whole numbers."""
    rows = COMPANY_ROWS_SCHEMA if by == "company" else DAILY_SCHEMA
    told = {**rows, "exchange": pl.String()}
    return pl.Schema(told if adjust == "none" else {**told, "volume": pl.Float64()})


def _asked(
    symbols: Symbols,
    start: date | str | None,
    end: date | str | None,
    adjust: Adjust,
    as_of: datetime | date | str | None,
    universe: str | None,
    by: By,
) -> _Asked:
    if by not in ("symbol", "company"):
        raise ValueError(f'by is "symbol" or "company", not {by!r}')
    first, last = days_of(start, end)
    return _Asked(Wanted.of(symbols, universe), first, last, adjust, moment_of(as_of), by)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which as-traded rows a read of prices rests on."""

    wanted: Wanted
    first: date | None
    last: date | None
    adjust: Adjust
    moment: datetime | None
    by: By

    @property
    def told(self) -> str:
        """In a line, for a query's plan."""
        names = self.wanted.names
        which = self.wanted.universe or ("" if names is None else "of a query")
        if isinstance(names, tuple):
            which = " ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        days = f"{self.first or '…'} to {self.last or '…'}" if self.first or self.last else "all days"
        return f"{which or 'all symbols'}, {days}, adjust={self.adjust}"

    def parameters(self, pushed: Pushed) -> dict[str, object]:
        """As an API takes them, the symbols left out."""
        begin, end = pushed.days("date")
        return {
            "start": max((day for day in (self.first, begin) if day is not None), default=None),
            "end": min((day for day in (self.last, end) if day is not None), default=None),
            "adjust": self.adjust,
            "as_of": None if self.moment is None else self.moment.isoformat().replace("+00:00", "Z"),
            "by": self.by,
        }

    def used(self, store: ObjectStore, pushed: Pushed) -> Used:
        """The rows at once, however many they are."""
        if self.by == "company":
            return self._of_companies(store, pushed)
        (used,) = self.batches(store, pushed, most=None)
        return used

    def batches(self, store: ObjectStore, pushed: Pushed, most: int | None = _BATCH_ROWS) -> Iterator[Used]:
        """The rows by symbol: those of so many symbols at once that they are about `most`; at least one batch."""
        first, until = self._range(pushed)
        columns = self._columns(pushed)

        def choose(catalog: ReadCatalog) -> ByExchange:
            listed = self.wanted.by_exchange(store, catalog).items()
            if first is not None and until is not None and first > until:
                return {}
            return {code: kept for code, names in listed if (kept := pushed.symbols(code, names))}

        def read(some: ByExchange) -> list[pl.DataFrame]:
            return [
                read_daily(store, code, first, until, symbols=names, as_of=self.moment, columns=columns)
                for code, names in some.items()
            ]

        def read_first(chosen: ByExchange) -> tuple[ByExchange, list[pl.DataFrame]]:
            some = chosen if most is None else _some(chosen, 0, most // self._longest(first, until))
            return some, read(some)

        catalog, chosen, (some, frames) = read_by_catalog(store, choose, read_first)
        if self.adjust != "none":
            for code in chosen:
                warn_of_absent_sessions(store, code, known_exchange(code), first)
        done = symbols = 0
        total = sum(map(len, chosen.values()))
        while True:
            if self.moment is not None:
                for (code, names), rows in zip(some.items(), frames, strict=True):
                    if rows.is_empty():
                        warn_of_nothing_known(store, code, names, self.moment)
            changes, known = changes_of(store, some, catalog.shared, self.moment)
            used = Used(_together(some, frames, pushed), changes, known)
            yield used
            symbols += sum(map(len, some.values()))
            if symbols >= total or most is None:
                return
            done += used.rows.height
            some = _some(chosen, symbols, most * symbols // max(done, 1))
            frames = read(some)

    def _of_companies(self, store: ObjectStore, pushed: Pushed) -> Used:
        """Of companies nothing but the days is narrowed: a filter on the symbol is none on the company."""
        first, until = self._range(pushed)
        catalog = read_catalog(store)
        listed = self.wanted.listed()
        if listed is None:
            by_exchange = self.wanted.by_exchange(store, catalog)
        else:
            of_ids = exchanges_of_ids(
                store, catalog, [name for name in listed if catalog.spelled(name) is None]
            )
            by_exchange = exchanges_of(catalog, (name for name in listed if name not in of_ids))
            for id_, code in of_ids.items():
                by_exchange.setdefault(code, []).append(id_)
        if self.adjust != "none":
            for code in by_exchange:
                warn_of_absent_sessions(store, code, known_exchange(code), first)
        return Used(*prices_of_companies(store, by_exchange, first, until, self.moment))

    def _range(self, pushed: Pushed) -> tuple[date | None, date | None]:
        """The days to read. Adjusting a row takes the rows after it, none before: only the end is cut later."""
        begin, end = pushed.days("date")
        first = max((day for day in (self.first, begin) if day is not None), default=None)
        if self.adjust != "none":
            return first, None
        return first, min((day for day in (self.last, end) if day is not None), default=None)

    def _columns(self, pushed: Pushed) -> list[str] | None:
        """The columns to read: those of the query, and what adjusting takes; None: all."""
        if pushed.columns is None:
            return None
        needed = {*pushed.columns, *KEYS}
        if self.adjust != "none":
            needed.add("split_ratio")
        if self.adjust == "total_return":
            needed |= {"dividend", "close"}
        return [name for name in DAILY_SCHEMA if name in needed]

    def _longest(self, first: date | None, until: date | None) -> int:
        """Rows that a symbol may have."""
        if first is None:
            return _YEARS * _SESSIONS
        return max(
            1, min(_YEARS * _SESSIONS, ((until or datetime.now(UTC).date()) - first) // timedelta(days=1))
        )


def _some(chosen: ByExchange, first: int, count: int) -> ByExchange:
    """`count` symbols, one at least, in their order from the `first` of all on."""
    if first == 0 and count >= sum(map(len, chosen.values())):
        return chosen
    ordered = sorted((name, code) for code, names in chosen.items() for name in names)
    some: ByExchange = {}
    for name, code in ordered[first : first + max(1, count)]:
        some.setdefault(code, []).append(name)
    return some


def _together(some: ByExchange, frames: Sequence[pl.DataFrame], pushed: Pushed) -> pl.DataFrame:
    """The rows of exchanges by symbol and date, each with its exchange where that is needed."""
    if pushed.needs("exchange"):
        frames = [rows.with_columns(exchange=pl.lit(code)) for code, rows in zip(some, frames, strict=True)]
    if not frames:
        return empty_daily().with_columns(exchange=pl.lit(None, pl.String))
    return pl.concat(frames).sort(KEYS) if len(frames) > 1 else frames[0]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A read of prices, as it is made when a query is collected."""

    asked: _Asked
    reinvest: Reinvest
    envelope: Envelope
    snapshot: str | None
    store: Store

    @property
    def schema(self) -> pl.Schema:
        return price_schema(self.asked.adjust, self.asked.by)

    def frames(self, pushed: Pushed) -> Iterator[pl.DataFrame]:
        if (api := served(self.store)) is not None:
            yield from self._over_http(api, pushed)
            return
        store = opened(self.store)
        if self.envelope == "widened" and (pushed.needs("high") or pushed.needs("low")):
            pushed = replace(pushed, columns=pushed.columns and pushed.columns.union(PRICES))
        if self.snapshot is not None:
            yield self.made(self.of_snapshot(store, self.snapshot))
        elif self.asked.by == "company":
            yield self.made(self.asked.used(store, pushed))
        else:
            for used in self.asked.batches(store, pushed):
                yield self.made(used)

    def _over_http(self, api: Served, pushed: Pushed) -> Iterator[pl.DataFrame]:
        if self.snapshot is not None or self.asked.by == "company":
            # What a snapshot is of must be asked for as it was; a filter on the symbol is none on the company.
            pushed = replace(pushed, filters=())
        told = {"reinvest": self.reinvest, "envelope": self.envelope, "snapshot": self.snapshot}
        parameters = self.asked.parameters(pushed) | told
        first, last = parameters["start"], parameters["end"]
        if isinstance(first, date) and isinstance(last, date) and first > last:
            return
        yield from api.read_symbols("prices", parameters, self.schema, pushed, self.asked.wanted)

    def of_snapshot(self, store: ObjectStore, snapshot: str) -> Used:
        """The rows that an earlier read rests on. Raises SnapshotMismatch."""
        asked = replace(self.asked, moment=parse_snapshot(snapshot))
        used = asked.used(store, Pushed())
        if used.id(asked.moment) != snapshot:
            raise SnapshotMismatch(
                f"{store.location} does not give what snapshot {snapshot} read: other arguments, or rows that have "
                "been removed or changed without the ledger"
            )
        return used

    def made(self, used: Used) -> pl.DataFrame:
        """The rows, adjusted."""
        adjust, last = self.asked.adjust, self.asked.last
        if adjust == "total_return":
            warn_of_held_dividends(used.rows)
        if adjust == "none" and self.envelope == "as_served":
            return used.rows
        if self.asked.by == "symbol" and not used.changes:
            rows = adjusted(used.rows.lazy(), adjust, reinvest=self.reinvest, ordered=True)
        else:
            rows = adjusted_apart(used.rows, adjust, self.reinvest, used.changes)
        if self.envelope == "widened" and {*PRICES} <= {*used.rows.columns}:
            rows = rows.with_columns(widened())
        # As-traded rows have been read through `end` and no further.
        return (rows.filter(pl.col("date") <= last) if last and adjust != "none" else rows).collect()
