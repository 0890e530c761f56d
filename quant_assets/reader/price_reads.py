"""Daily bars, as traded or adjusted on read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, PRICES
from quant_assets.market.corporate_actions import Adjust, Reinvest, refuse_unknown_ways
from quant_assets.market.corporate_actions import adjust as adjusted
from quant_assets.market.oddities import Envelope, widened
from quant_assets.reader import price_rows
from quant_assets.reader.arguments import (
    By,
    Store,
    Symbols,
    Wanted,
    days_of,
    moment_of,
    opened,
)
from quant_assets.reader.lazy import Pushed, lazily
from quant_assets.reader.over_http import Served, served
from quant_assets.reader.price_rows import Asked
from quant_assets.reader.snapshots import SnapshotMismatch, Used, parse_snapshot
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.company_reads import (
    COMPANY_ROWS_SCHEMA,
    adjusted_apart,
)
from quant_assets.tables.price_warnings import (
    warn_of_held_dividends,
)


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
) -> Asked:
    if by not in ("symbol", "company"):
        raise ValueError(f'by is "symbol" or "company", not {by!r}')
    first, last = days_of(start, end)
    return Asked(Wanted.of(symbols, universe), first, last, adjust, moment_of(as_of), by)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A read of prices, as it is made when a query is collected."""

    asked: Asked
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
            for used in self.asked.batches(store, pushed, price_rows.BATCH_ROWS):
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
