"""Prices by company: through all symbols that a company had, and apart where a symbol was of two companies.

The rows of companies have DAILY_SCHEMA and `company_id`: each day once, `symbol` being the one under which the
company traded on that day.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.market.corporate_actions import Adjust, Reinvest, adjust
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.catalog_reads import ReadCatalog
from quant_assets.tables.companies import COMPANY_EVENTS_SCHEMA, Book, Spell, read_book
from quant_assets.tables.daily import read_daily
from quant_assets.tables.user_warnings import warn_user

COMPANY_ROWS_SCHEMA = pl.Schema({**DAILY_SCHEMA, "company_id": pl.String()})
"""`company_id` is null where the ledger does not know the symbol yet."""

_TOLD = ("company_id", "symbol", "first", "last", "event", "evidence", "confidence", "known_at")
COMPANIES_SCHEMA = pl.Schema(
    {"exchange": pl.String(), **{name: COMPANY_EVENTS_SCHEMA[name] for name in _TOLD}}
)


def company_rows(
    book: Book, names: Iterable[str], read: Callable[[Sequence[str]], pl.DataFrame]
) -> pl.DataFrame:
    """The rows (COMPANY_ROWS_SCHEMA, a company after the other) of the companies that some names stand for now, each
    being a symbol or an id; `read` gives the rows of symbols. A symbol that the ledger does not know is a company of
    its own."""
    companies = book.companies
    wanted: dict[str, list[Spell]] = {}
    alone: list[str] = []
    for name in names:
        spell = book.current(name)
        if spell is None and name not in companies:
            alone.append(name)
        else:
            id_ = name if spell is None else spell.company_id
            wanted[id_] = companies[id_]
    stored = read(sorted({*alone, *(spell.symbol for spells in wanted.values() for spell in spells)}))
    of = dict(_by_symbol(stored))
    found = [
        of[symbol].with_columns(company_id=pl.lit(None, pl.String))
        for symbol in sorted(alone)
        if symbol in of
    ]
    found += [_one_company(book, spells, of) for _, spells in sorted(wanted.items())]
    return pl.concat([pl.DataFrame(schema=COMPANY_ROWS_SCHEMA), *found])


def _one_company(book: Book, spells: Sequence[Spell], of: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    starts = [spell.first or date.min for spell in spells[1:]]
    number = pl.sum_horizontal(pl.lit(0), *((pl.col("date") >= start).cast(pl.Int32) for start in starts))
    parts = [pl.DataFrame(schema={**DAILY_SCHEMA, "_at": pl.Int32, "_off": pl.Int32})]
    for at, spell in enumerate(spells):
        if (rows := of.get(spell.symbol)) is None:
            continue
        # A source serves what was before a new symbol under it: so it completes what the old one has.
        rows = rows.filter(pl.col("date").is_between(*book.days(spell)))
        rows = rows.with_columns(number.cast(pl.Int32).alias("_at"))
        parts.append(rows.with_columns((pl.col("_at") - at).abs().alias("_off")))
    symbols = pl.Series([spell.symbol for spell in spells])
    return (
        pl.concat(parts)
        .sort("date", "_off")
        .unique("date", keep="first", maintain_order=True)
        .with_columns(
            symbol=pl.col("_at").replace_strict(dict(enumerate(symbols)), return_dtype=pl.String),
            company_id=pl.lit(spells[0].company_id),
        )
        .select(list(COMPANY_ROWS_SCHEMA))
    )


def adjusted_apart(
    rows: pl.DataFrame, how: Adjust, reinvest: Reinvest, changes: Mapping[str, Sequence[date]]
) -> pl.LazyFrame:
    """What `adjust` makes of rows that come by company or symbol and date, when no company knows another's actions.

    Rows with `company_id` are those of companies; of others `changes` are by symbol the days from which on it was
    another company's.
    """
    if "company_id" in rows.columns:
        own = pl.coalesce("company_id", "symbol")
    else:
        later = [
            pl.when(pl.col("symbol") == symbol, pl.col("date") >= day).then(pl.lit(" ")).otherwise(pl.lit(""))
            for symbol, days in sorted(changes.items())
            for day in days
        ]
        own = pl.concat_str("symbol", *later)
    keyed = rows.lazy().with_columns(own.alias("symbol"), pl.col("symbol").alias("_symbol"))
    adjusted = adjust(keyed, how, reinvest=reinvest, ordered=True)
    return adjusted.with_columns(symbol="_symbol").select(rows.columns)


def changes_of(
    store: ObjectStore,
    by_exchange: Mapping[str, Sequence[str]],
    shared: Collection[str],
    as_of: datetime | None,
) -> tuple[dict[str, list[date]], datetime | None]:
    """By symbol that several companies had the days from which on it was another's, with a warning; and when the
    last of it became known. Only of those that are `shared` by the catalog the ledgers are read."""
    found: dict[str, list[date]] = {}
    known: list[datetime] = []
    for exchange, symbols in by_exchange.items() if shared else ():
        asked = [symbol for symbol in symbols if symbol in shared]
        book = read_book(store, exchange, as_of) if asked else Book()
        for symbol in asked:
            if days := book.changes(symbol):
                found[symbol] = days
                spells = book.of_symbol[symbol]
                known += [spell.known_at for spell in spells]
                companies = len({spell.company_id for spell in spells})
                warn_user(
                    f"{symbol} was the symbol of {companies} companies, the present one from {days[-1]} on; they "
                    f'are adjusted apart (by="company" follows one, companies({symbol!r}) names them)'
                )
    return found, max(known, default=None)


def prices_of_companies(
    store: ObjectStore,
    by_exchange: Mapping[str, Sequence[str]],
    first: date | None,
    until: date | None,
    as_of: datetime | None,
) -> tuple[pl.DataFrame, dict[str, list[date]], datetime | None]:
    """The rows of companies (COMPANY_ROWS_SCHEMA and `exchange`) by symbols and ids of exchanges, no changes, and
    when the last of what is known of them became known."""
    frames = [pl.DataFrame(schema={**COMPANY_ROWS_SCHEMA, "exchange": pl.String()})]
    known: list[datetime] = []
    for exchange, names in by_exchange.items():
        book = read_book(store, exchange, as_of)

        def read(symbols: Sequence[str], exchange: str = exchange) -> pl.DataFrame:
            return read_daily(store, exchange, first, until, symbols=symbols, as_of=as_of)

        frames.append(company_rows(book, names, read).with_columns(exchange=pl.lit(exchange)))
        ids = set(frames[-1]["company_id"])
        known += [s.known_at for spells in book.of_symbol.values() for s in spells if s.company_id in ids]
    rows = pl.concat(frames).sort(pl.coalesce("company_id", "symbol"), "date")
    return rows, {}, max(known, default=None)


def exchanges_of_ids(store: ObjectStore, catalog: ReadCatalog, names: Iterable[str]) -> dict[str, str]:
    """The exchanges of those names that are ids of companies and no symbols of the catalog."""
    left = {name for name in names if name not in catalog.exchange_of}
    found: dict[str, str] = {}
    for exchange in sorted(set(catalog.exchange_of.values())) if left else ():
        companies = read_book(store, exchange).companies
        found |= {name: exchange for name in left & companies.keys() if name not in found}
    return found


def read_companies(
    store: ObjectStore, exchanges: Iterable[str], names: Collection[str] | None
) -> pl.DataFrame:
    """The companies of some exchanges (COMPANIES_SCHEMA, by company and first day) with all their symbols: those that
    ever had one of these symbols or have one of these ids, or all."""
    rows: list[tuple[object, ...]] = []
    for exchange in exchanges:
        book = read_book(store, exchange)
        for id_, spells in sorted(book.companies.items()):
            if names is None or id_ in names or any(spell.symbol in names for spell in spells):
                rows += [(exchange, *(getattr(spell, name) for name in _TOLD)) for spell in spells]
    return pl.DataFrame(rows, schema=COMPANIES_SCHEMA, orient="row")


def _by_symbol(rows: pl.DataFrame) -> Iterable[tuple[str, pl.DataFrame]]:
    for part in rows.partition_by("symbol", maintain_order=True):
        yield part["symbol"][0], part
