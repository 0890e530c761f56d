"""What users import to read the tables: `from quant_assets import prices, weekly, universe, …`.

Where the rows come from stands in `quant_assets.tables.daily`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Literal

import polars as pl

from quant_assets.errors import QuantAssetsError
from quant_assets.exchanges import Exchange, UnknownExchange, exchange
from quant_assets.market.bars import KEYS, content_sha256, empty_daily
from quant_assets.market.corporate_actions import Adjust, Reinvest
from quant_assets.market.corporate_actions import adjust as adjusted
from quant_assets.market.oddities import Envelope, widened
from quant_assets.market.valuations import VALUATION_SCHEMA
from quant_assets.market.weekly import WEEKLY_SCHEMA
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import load_settings
from quant_assets.tables.catalog_reads import exchanges_of as _exchanges_of
from quant_assets.tables.catalog_reads import read_by_catalog, read_catalog
from quant_assets.tables.company_reads import (
    adjusted_apart,
    changes_of,
    exchanges_of_ids,
    prices_of_companies,
    read_companies,
)
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import PROFILES, exchange_of, object_key
from quant_assets.tables.listing_events import read_events
from quant_assets.tables.parquet import read_table
from quant_assets.tables.price_warnings import (
    warn_of_absent_sessions,
    warn_of_held_dividends,
    warn_of_nothing_known,
)
from quant_assets.tables.universe_reads import read_members, refuse_unknown
from quant_assets.tables.valuations import read_valuations
from quant_assets.tables.weekly_reads import read_weekly

if TYPE_CHECKING:
    import pandas as pd

Store = ObjectStore | str | os.PathLike[str] | None
Symbols = str | Iterable[str] | pl.Series | pl.DataFrame | pl.LazyFrame
"""One symbol, several, or a frame with a column `symbol`, such as `universe().filter(…)`."""
By = Literal["symbol", "company"]


class SnapshotMismatch(QuantAssetsError, ValueError):
    """The store does not give what a snapshot read; the message names the snapshot and what it was taken of."""


def prices(
    symbols: Symbols,
    start: date | str | None = None,
    end: date | str | None = None,
    adjust: Adjust = "none",
    as_of: datetime | date | str | None = None,
    *,
    reinvest: Reinvest = "prev_close",
    envelope: Envelope = "as_served",
    by: By = "symbol",
    snapshot: str | None = None,
    store: Store = None,
) -> pl.LazyFrame:
    """Daily bars of some symbols.

    Args:
        symbols: Yahoo's symbols, e.g. "AAPL" or ["BHP.AX", "CBA.AX"], or a frame with a column `symbol`.
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
        envelope: "as_served": high and low as the source gives them, in a thin market not always around open and
            close (`flags` says where); "widened": high and low include open and close.
        by: "symbol": the rows that stand under each symbol; of one that two companies had, each is adjusted apart,
            with a warning. "company": the rows of the companies that have the symbols now, through all their symbols,
            each day once and adjusted as one series; `symbols` may hold ids of companies (`companies()`), too.
        snapshot: the id of an earlier read with the same arguments (`snapshot_id`): read the same again, or fail.
        store: where the tables are: a folder or an opened store; None: as the settings say.

    Returns:
        symbol, date, open, high, low, close, volume, dividend, split_ratio, currency, flags, fetched_at (UTC),
        sorted by (symbol, date). `to_pandas(…)` makes a pandas frame of it. A volume that nobody knows and a dividend
        that is in doubt are null beside a bar; "total_return" applies no dividend that is in doubt, and warns of it.
        By company also `company_id`, sorted by (company_id, date): `symbol` is the one that the company traded under
        on that day, and where it changes one history ends and the next begins.

    Raises:
        ValueError: an unknown symbol (no catalog lists it), an unknown way to adjust, an unknown envelope, a moment
            without its zone.
        SnapshotMismatch: the store no longer gives what the snapshot read.
        ObjectDamaged, StoreUnavailable: naming the object.
    """
    if envelope not in ("as_served", "widened"):
        raise ValueError(f'envelope is "as_served" or "widened", not {envelope!r}')
    home, last = _open(store), _day(end)
    moment = _moment(as_of)
    if snapshot is not None:
        if moment is not None:
            raise ValueError("a snapshot has its moment: leave as_of out")
        moment, _ = _parse_snapshot(snapshot)
    used = _used(home, symbols, start, end, adjust, moment, by)
    if snapshot is not None and used.id(moment) != snapshot:
        raise SnapshotMismatch(
            f"{home.location} does not give what snapshot {snapshot} read: other arguments, or rows that have been "
            "removed or changed without the ledger"
        )
    if adjust == "total_return":
        warn_of_held_dividends(used.rows)
    if by == "symbol" and not used.changes:
        rows = adjusted(used.rows.lazy(), adjust, reinvest=reinvest, ordered=True)
    else:
        rows = adjusted_apart(used.rows, adjust, reinvest, used.changes)
    if envelope == "widened":
        rows = rows.with_columns(widened())
    # As-traded rows have been read through `end` and no further.
    return rows.filter(pl.col("date") <= last) if last and adjust != "none" else rows


def snapshot_id(
    symbols: Symbols,
    start: date | str | None = None,
    end: date | str | None = None,
    adjust: Adjust = "none",
    as_of: datetime | date | str | None = None,
    *,
    by: By = "symbol",
    store: Store = None,
) -> str:
    """The id of what `prices` with these arguments reads now: the moment up to which it knows, and a hash over every
    row that it uses. Given to `prices` later, the same comes out, whatever has been restated since.

    Raises as `prices` does.
    """
    return _used(_open(store), symbols, start, end, adjust, _moment(as_of), by).id(None)


def to_pandas(frame: pl.LazyFrame | pl.DataFrame) -> pd.DataFrame:
    """What any of the reads answers, as a pandas frame: `to_pandas(prices("AAPL"))`."""
    return frame.lazy().collect().to_pandas()


@dataclass(frozen=True, slots=True)
class _Used:
    """The as-traded rows that a read rests on."""

    rows: pl.DataFrame
    changes: Mapping[str, Sequence[date]] = field(default_factory=dict[str, list[date]])
    """By symbol that several companies had the days from which on it was another's."""
    companies_known_at: datetime | None = None
    """When the last of what the read knows of companies became known."""

    def id(self, moment: datetime | None) -> str:
        """The moment is that of the last row that became known: a run that is writing now began to know later."""
        known = moment or max(
            (
                at
                for at in (self.rows["fetched_at"].max(), self.companies_known_at)
                if isinstance(at, datetime)
            ),
            default=datetime(1970, 1, 1, tzinfo=UTC),
        )
        digest = content_sha256(self.rows, leave_out=())
        return f"{known.astimezone(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}-{digest[:32]}"


def _used(
    home: ObjectStore,
    symbols: Symbols,
    start: date | str | None,
    end: date | str | None,
    adjust: Adjust,
    as_of: datetime | None,
    by: By,
) -> _Used:
    if by not in ("symbol", "company"):
        raise ValueError(f'by is "symbol" or "company", not {by!r}')
    first, last = _day(start), _day(end)
    # Adjusting needs the actions after `end` as well, so the range is cut last.
    until = last if adjust == "none" else None
    if by == "company":
        return _used_of_companies(home, _names(symbols), first, until, as_of)

    def read(by_exchange: dict[str, list[str]]) -> list[pl.DataFrame]:
        return [
            read_daily(home, code, first, until, symbols=of_exchange, as_of=as_of)
            for code, of_exchange in by_exchange.items()
        ]

    catalog, by_exchange, frames = read_by_catalog(home, _names(symbols), read)
    if as_of is not None:
        for (code, of_exchange), rows in zip(by_exchange.items(), frames, strict=True):
            if rows.is_empty():
                warn_of_nothing_known(home, code, of_exchange, as_of)
    if adjust != "none":
        for code in by_exchange:
            warn_of_absent_sessions(home, code, _known_exchange(code), first)
    rows = pl.concat(frames).sort(KEYS) if len(frames) > 1 else frames[0] if frames else empty_daily()
    changes, known = changes_of(home, by_exchange, catalog.shared, as_of)
    return _Used(rows, changes, known)


def _used_of_companies(
    home: ObjectStore, names: Sequence[str], first: date | None, until: date | None, as_of: datetime | None
) -> _Used:
    catalog = read_catalog(home)
    of_ids = exchanges_of_ids(home, catalog, names)
    listed = [name for name in names if name not in of_ids]
    by_exchange = _exchanges_of(home, listed) if listed else {}
    for id_, code in of_ids.items():
        by_exchange.setdefault(code, []).append(id_)
    if until is None:
        for code in by_exchange:
            warn_of_absent_sessions(home, code, _known_exchange(code), first)
    return _Used(*prices_of_companies(home, by_exchange, first, until, as_of))


def _parse_snapshot(text: str) -> tuple[datetime, str]:
    moment, dash, digest = text.partition("-")
    try:
        parsed = datetime.strptime(moment, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        parsed = None
    if parsed is None or not dash or len(digest) != 32:
        raise ValueError(f"{text!r} is no snapshot id (snapshot_id(…) makes one)")
    return parsed, digest


def _names(symbols: Symbols) -> list[str]:
    if isinstance(symbols, str):
        return [symbols]
    if isinstance(symbols, pl.LazyFrame | pl.DataFrame):
        symbols = symbols.lazy().select("symbol").collect()["symbol"]
    return list(dict.fromkeys(symbols))


def _moment(value: datetime | date | str | None) -> datetime | None:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f"as_of={value!r} is no moment: write 2013-03-01 or 2013-03-01T23:00:00Z"
            ) from None
    if value is None or isinstance(value, datetime):
        if value is not None and value.tzinfo is None:
            raise ValueError(f"as_of={value.isoformat()} has no time zone: add one, e.g. Z")
        return value.astimezone(UTC) if value else None
    return datetime.combine(value, time.max, UTC)


def _known_exchange(code: str) -> Exchange | None:
    try:
        return exchange(code, load_settings().exchanges_file)
    except UnknownExchange:
        return None


def weekly(
    symbols: Symbols,
    start: date | str | None = None,
    end: date | str | None = None,
    *,
    store: Store = None,
) -> pl.LazyFrame:
    """Weekly bars of some symbols (columns of `quant_assets.market.weekly.WEEKLY_SCHEMA`), by (symbol, week).

    `start` and `end` bound the weeks' Mondays. Raises as `prices` does.
    """
    home = _open(store)
    first, last = _day(start) or date.min, _day(end) or date.max
    frames = [
        read_weekly(home, _known_exchange(code), code, of_exchange, first, last)
        for code, of_exchange in _exchanges_of(home, _names(symbols)).items()
    ]
    return pl.concat([pl.DataFrame(schema=WEEKLY_SCHEMA), *frames]).lazy().sort("symbol", "week")


def valuations(
    symbols: Symbols,
    start: date | str | None = None,
    end: date | str | None = None,
    *,
    store: Store = None,
) -> pl.LazyFrame:
    """What symbols were worth and how large they were, as the source said after each session; by (symbol, date).

    Args:
        symbols, store: as for `prices`.
        start, end: first and last session wanted (inclusive; a date or YYYY-MM-DD); None: as far as there is.

    Returns:
        symbol, date; market_cap (whole units of the currency: pounds where `currency` is "GBp"), pe (trailing twelve
        months), pb, dividend_yield (a fraction: 0.02 is 2 %), shares_outstanding; name, sector, industry, asset_type,
        currency; quoted_at (when the quoted price was made) and fetched_at, UTC. Null is what the source did not say,
        or said nonsense about. Nothing is adjusted: a later split changes none of it. There is a row for each
        snapshot that was taken, and none can be taken later.

    Raises as `prices` does.
    """
    home = _open(store)
    first, last = _day(start), _day(end)
    frames = [
        read_valuations(home, code, of_exchange, first, last)
        for code, of_exchange in _exchanges_of(home, _names(symbols)).items()
    ]
    return pl.concat([pl.DataFrame(schema=VALUATION_SCHEMA), *frames]).lazy().sort("symbol", "date")


def universe(name: str | None = None, on: date | str | None = None, *, store: Store = None) -> pl.LazyFrame:
    """The symbol catalog, or who is in one universe, or who was in it on a day.

    Args:
        name: a universe's; None: the whole catalog, of symbols that left their universes as well.
        on: a day (or YYYY-MM-DD). Answered from what refreshes saw and what somebody stated of earlier days, never
            from today's list. Needs `name`.
        store: as for `prices`.

    Returns:
        The catalog's rows. With `on` who was in the universe, by symbol: symbol, date (since when: the day of the
        last event `joined`), evidence, confidence ("first_seen": it was in at the first refresh, and joined on that
        date or earlier; "seen" by a refresh, on that date at the latest; "stated" by a person), known_at. Those that
        are not followed any more are among them. A day after the last refresh is answered as of it, with a warning.

    Raises:
        ObjectNotFound: there is no catalog yet.
        MembershipUnknown: nothing tells who was in on that day; the message names the earliest day of which
            something does.
        ValueError: an unknown universe, `on` without a name, or a day in the future.
    """
    home, day = _open(store), _day(on)
    if day is not None:
        if name is None:
            raise ValueError(f"universe(on={str(on)!r}) needs a name: which universe?")
        today = load_settings().clock().date()
        try:
            listed = _listed_universes(home)
        except ObjectNotFound:
            # What is known of a universe does not wait for a catalog.
            listed = set[str]()
        return read_members(home, name, day, today, listed).lazy()
    rows = read_catalog(home).rows.lazy()
    if name is None:
        return rows
    refuse_unknown(home, name, _listed_universes(home))
    return rows.filter(pl.col("universes").list.contains(name))


def listing_events(exchange: str, *, store: Store = None) -> pl.LazyFrame:
    """What was learned of an exchange's listings, in the order in which it became known.

    Returns:
        symbol, event, date, evidence (in words), confidence, known_at (UTC); docs/catalog.md tells what each event
        says, what its date is, and by which rules it is judged.

    Raises:
        ValueError: an unknown exchange.
        ObjectDamaged, StoreUnavailable: naming the object.
    """
    home = _open(store)
    events = read_events(home, exchange)
    if events.is_empty() and _known_exchange(exchange) is None:
        raise ValueError(f"unknown exchange: {exchange} (universe() names the exchange of each symbol)")
    return events.lazy()


def companies(symbols: Symbols | None = None, *, store: Store = None) -> pl.LazyFrame:
    """Which company stood under which symbol, and when.

    Args:
        symbols: symbols, or ids of companies: all companies that ever had one of them, each with all its symbols.
            None: all.
        store: as for `prices`.

    Returns:
        exchange, company_id, symbol, first and last (the days on which the company had the symbol; null: open),
        event, evidence (what shows it, in words), confidence ("seen", "strong", or "stated" by a person), known_at;
        by exchange, company and first day. What is not decided is in none of it (quant-assets catalog review).

    Raises:
        ObjectNotFound: there is no catalog yet.
        ValueError: one of them is neither in the catalog nor an id of a company.
    """
    home = _open(store)
    names = None if symbols is None else _names(symbols)
    rows = read_companies(home, sorted(read_catalog(home).rows["exchange"].unique()), names and set(names))
    if names:
        told = {*rows["symbol"], *rows["company_id"]}
        if untold := [name for name in names if name not in told]:
            _exchanges_of(home, untold)
    return rows.lazy()


def _listed_universes(store: ObjectStore) -> set[str]:
    return set(read_catalog(store).rows["universes"].explode().drop_nulls())


def profiles(exchange: str, *, store: Store = None) -> pl.LazyFrame:
    """The symbol profiles of an exchange. Raises ObjectNotFound when they have not been materialized."""
    home = _open(store)
    try:
        return read_table(home, object_key(PROFILES, exchange)).lazy()
    except ObjectNotFound as error:
        made = [exchange_of(found.key) or "" for found in home.list(f"{PROFILES}/")]
        raise ObjectNotFound(
            f"no profiles of {exchange!r} in {home.location}: there are those of "
            f"{', '.join(filter(None, made)) or 'no exchange'}; a backfill of the exchange makes them"
        ) from error


def _open(store: Store) -> ObjectStore:
    if store is None:
        return open_store(load_settings().store_location)
    return open_store(os.fspath(store)) if isinstance(store, str | os.PathLike) else store


def _day(value: date | str | None) -> date | None:
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is no date: write YYYY-MM-DD") from None
