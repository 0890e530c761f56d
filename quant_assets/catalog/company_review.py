"""What a person decides about companies: the open cases with all that is known of both sides, and the decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from quant_assets.catalog.company_judge import Judge, renamed_rows
from quant_assets.catalog.identity import Beside, Closes, beside
from quant_assets.errors import QuantAssetsError
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.companies import (
    Book,
    CompanyEvent,
    CompanyRow,
    Confidence,
    Spell,
    append_company_events,
    company_id,
    read_book,
)
from quant_assets.tables.symbol_facts import SymbolFacts


class UndecidableCase(QuantAssetsError, ValueError):
    """A decision that says too little or contradicts what is known; the message says what to add."""


@dataclass(frozen=True, slots=True)
class Side:
    """What is known of one side of a case."""

    symbol: str
    facts: SymbolFacts
    first_bar: date | None
    last_bar: date | None


@dataclass(frozen=True, slots=True)
class Case:
    """Two symbols that may be one company, or one symbol that may be two."""

    exchange: str
    company_id: str
    old: Side
    new: Side
    first: date | None
    """From which day on the new side would count."""
    prices: Beside | None
    """The rows of two symbols, compared as of now; None where it is one symbol."""
    evidence: str
    since: datetime


def open_cases(store: ObjectStore, exchange: str, catalog: pl.DataFrame, now: datetime) -> list[Case]:
    """The cases of an exchange that wait for a person, by symbol. Raises ObjectDamaged, StoreUnavailable."""
    book = read_book(store, exchange)
    if not book.open:
        return []
    judge = Judge(store, exchange, catalog, None, now)
    olds = {pair: _old_spell(book, *pair) for pair in book.open}
    stored = judge.stored({symbol for _, symbol in book.open} | {old.symbol for old in olds.values()}, None)
    found: list[Case] = []
    for pair, row in sorted(book.open.items(), key=lambda case: case[0][1]):
        old, new = olds[pair], pair[1]
        if old.symbol == new:
            begin = row.first or date.max
            before = stored[new].filter(pl.col("date") < begin)
            after = stored[new].filter(pl.col("date") >= begin)
            sides = _side(new, judge.facts_before(old, book), before), _side(new, judge.facts(new), after)
            prices = None
        else:
            before = stored[old.symbol].filter(pl.col("date").is_between(*book.days(old)))
            sides = (
                _side(old.symbol, judge.facts_of(old, book), before),
                _side(new, judge.facts(new), stored[new]),
            )
            prices = beside(Closes.of(before), Closes.of(stored[new]))
        found.append(Case(exchange, old.company_id, *sides, row.first, prices, row.evidence, row.known_at))
    return found


def link(
    store: ObjectStore, exchange: str, old: str, new: str, first: date | None, note: str, now: datetime
) -> list[CompanyRow]:
    """Records that two symbols are one company's, the new one from `first` on (None: as the case or the rows say); of
    a symbol and itself, that it has been of one company all along. Answers the new rows, none where it is known.

    Raises UndecidableCase.
    """

    def decide(book: Book) -> list[CompanyRow]:
        if old == new:
            spells = book.of_symbol.get(old)
            if not spells:
                raise UndecidableCase(f"{old}: no company is known of it yet; it has to be backfilled first")
            if len(spells) == 1 and (spells[0].company_id, old) not in book.open:
                return []
            one = spells[0]
            return [
                CompanyRow(one.company_id, old, CompanyEvent.LINKED, one.first, None, told, Confidence.STATED)
            ]
        spell = _spell_of(book, old, new)
        own = book.current(new)
        if own is not None and own.company_id == spell.company_id and own.last is None:
            return []
        day, last = _turn(store, exchange, book, spell, new, first)
        return renamed_rows(spell, new, day, last, CompanyEvent.LINKED, told, Confidence.STATED)

    told = _stated(now, note)
    return append_company_events(store, exchange, decide, now)


def separate(
    store: ObjectStore,
    exchange: str,
    catalog: pl.DataFrame,
    old: str,
    new: str,
    first: date | None,
    note: str,
    now: datetime,
) -> list[CompanyRow]:
    """Records that two symbols are two companies; of a symbol and itself, that it is another company from `first` on
    (None: as the case says). Answers the new rows, none where it is known. Raises UndecidableCase."""
    judge = Judge(store, exchange, catalog, None, now)
    told = _stated(now, note)

    def row(id_: str, event: CompanyEvent, begin: date | None, last: date | None) -> CompanyRow:
        return CompanyRow(id_, new, event, begin, last, told, Confidence.STATED)

    def decide(book: Book) -> list[CompanyRow]:
        spell = _spell_of(book, old, new)
        pair = (spell.company_id, new)
        taken = set(book.companies)
        facts = judge.facts(new)
        if old == new:
            case = book.open.get(pair)
            begin = first or (case.first if case else None)
            if begin is None:
                raise UndecidableCase(
                    f"{old}: no case is open; say from which day on it is another company (--from)"
                )
            rows = judge.stored([old], None)[old].filter(
                pl.col("date") < begin, pl.col("close").is_not_null()
            )
            last = begin - timedelta(days=1) if rows.is_empty() else rows["date"][-1]
            id_ = _free(exchange, new, begin, facts.isin, taken)
            return [
                row(spell.company_id, CompanyEvent.SEPARATED, spell.first, last),
                row(id_, CompanyEvent.ASSIGNED, begin, None),
            ]
        own = book.current(new)
        apart = own is not None and own.company_id != spell.company_id
        if pair in book.separated and apart:
            return []
        rows_new = [row(spell.company_id, CompanyEvent.SEPARATED, None, None)]
        if not apart:
            id_ = _free(exchange, new, facts.first_trade, facts.isin, taken)
            rows_new.append(row(id_, CompanyEvent.ASSIGNED, facts.first_trade, None))
        return rows_new

    return append_company_events(store, exchange, decide, now)


def _free(exchange: str, symbol: str, first: date | None, isin: str | None, taken: set[str]) -> str:
    id_ = company_id(exchange, symbol, first, isin)
    return company_id(exchange, symbol, first, None) if id_ in taken else id_


def _spell_of(book: Book, old: str, new: str) -> Spell:
    """The spell of an old symbol that a decision is about: that of the open case, else its latest."""
    for company, symbol in book.open:
        if symbol == new and (spell := _old_spell(book, company, symbol)).symbol == old:
            return spell
    spell = book.current(old)
    if spell is None:
        raise UndecidableCase(f"{old}: no company is known of it yet; it has to be backfilled first")
    return spell


def _old_spell(book: Book, company: str, symbol: str) -> Spell:
    """The spell of a company that a symbol may go on: its own, where it has one, else the company's last."""
    own = book.current(symbol)
    return own if own is not None and own.company_id == company else book.companies[company][-1]


def _turn(
    store: ObjectStore, exchange: str, book: Book, old: Spell, new: str, first: date | None
) -> tuple[date, date]:
    """The first day under the new symbol, and the last one under the old."""
    from quant_assets.tables.daily import read_daily

    stored = read_daily(store, exchange, symbols=[old.symbol, new])
    rows = stored.filter(pl.col("symbol") == old.symbol, pl.col("date").is_between(*book.days(old)))
    prices = beside(Closes.of(rows), Closes.of(stored.filter(pl.col("symbol") == new)))
    case = book.open.get((old.company_id, new))
    begin = first or (case.first if case else None) or prices.new_after
    if begin is None and prices.sessions:
        raise UndecidableCase(
            f"{old.symbol} and {new} both have bars in {prices.sessions} session(s), through {prices.old_last}: "
            f"say from which day on the company is {new} (--from)"
        )
    if begin is None and prices.old_last is not None:
        begin = prices.old_last + timedelta(days=1)
    if begin is None:
        raise UndecidableCase(f"{old.symbol} has no bars: say from which day on it is {new} (--from)")
    last = begin - timedelta(days=1)
    return begin, min(last, prices.old_last or last)


def _side(symbol: str, facts: SymbolFacts, rows: pl.DataFrame) -> Side:
    days = rows.filter(pl.col("close").is_not_null())["date"]
    return Side(symbol, facts, *((None, None) if days.is_empty() else (days[0], days[-1])))


def _stated(now: datetime, note: str) -> str:
    return f"stated on {now.date()}" + (f": {note}" if note else "")


def decisions_told(rows: Sequence[CompanyRow]) -> list[str]:
    """A line for each symbol of which something was decided."""
    return [
        f"{row.symbol}: {row.event} {row.company_id}"
        + (f" from {row.first}" if row.first else "")
        + (f" through {row.last}" if row.last else "")
        for row in rows
    ]
