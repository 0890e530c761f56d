"""Which company a symbol stood for, and when: an append-only ledger, `company_events/exchange=….parquet`.

A company here is what one security is: it keeps its id through all its symbols. Each row but `open` states the days
of one symbol under one company; of two rows about the same the later one counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise

import polars as pl

from quant_assets.resources.object_store import Blob, ObjectNotFound, ObjectStore, put_reconciled
from quant_assets.tables.layout import company_events_key
from quant_assets.tables.parquet import decode, encode

COMPANY_EVENTS_SCHEMA = pl.Schema(
    {
        "company_id": pl.String(),
        "symbol": pl.String(),
        "event": pl.String(),
        "first": pl.Date(),
        "last": pl.Date(),
        "evidence": pl.String(),
        "confidence": pl.String(),
        "known_at": pl.Datetime("us", "UTC"),
    }
)
"""`first` and `last`: the days on which the symbol stood for the company, both included; null: open on that side."""


class CompanyEvent(StrEnum):
    """What a row of the ledger says."""

    ASSIGNED = "assigned"
    """The company got its id, under this symbol."""
    RENAMED = "renamed"
    """The company trades under another symbol: a row for the days of the old one, and a row for those of the new."""
    REUSED = "reused"
    """The symbol stands for another company: a row for the days of the former one, and a row for those of the new."""
    LINKED = "linked"
    """As RENAMED, or that a symbol has been of one company all along: a person says so."""
    SEPARATED = "separated"
    """A person says that the symbol is not the company's; with `last`, no longer since."""
    OPEN = "open"
    """Nobody can tell whether the symbol is the company's: a case for a person."""


class Confidence(StrEnum):
    """How far a row can be trusted."""

    SEEN = "seen"
    """What the sources say now; nothing speaks against it."""
    STRONG = "strong"
    """Evidence that leaves no other explanation."""
    WEAK = "weak"
    """Evidence that does: nothing rests on it."""
    STATED = "stated"
    """A person has decided."""


@dataclass(frozen=True, slots=True)
class CompanyRow:
    """A row of the ledger to be."""

    company_id: str
    symbol: str
    event: CompanyEvent
    first: date | None
    last: date | None
    evidence: str
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Spell:
    """The days on which a symbol stood for a company, and what shows it."""

    company_id: str
    symbol: str
    first: date | None
    last: date | None
    event: str
    evidence: str
    confidence: str
    known_at: datetime

    def holds(self, day: date) -> bool:
        """Whether a day is one of them."""
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


@dataclass(slots=True)
class Book:
    """What the ledger of an exchange says in the end."""

    of_symbol: dict[str, list[Spell]] = field(default_factory=dict[str, list[Spell]])
    """By symbol its spells, in the order of their days."""
    open: dict[tuple[str, str], Spell] = field(default_factory=dict[tuple[str, str], Spell])
    """By company and symbol the cases that wait for a person, as they were last told."""
    separated: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Company and symbol of which a person has said that they do not belong together."""
    decided_at: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """By symbol when anything was last found or stated of it."""

    @property
    def companies(self) -> dict[str, list[Spell]]:
        """By company its spells, in the order of their days."""
        found: dict[str, list[Spell]] = {}
        for spells in self.of_symbol.values():
            for spell in spells:
                found.setdefault(spell.company_id, []).append(spell)
        for spells in found.values():
            spells.sort(key=_order)
        return found

    def current(self, symbol: str) -> Spell | None:
        """The latest spell of a symbol."""
        spells = self.of_symbol.get(symbol)
        return spells[-1] if spells else None

    def changes(self, symbol: str) -> list[date]:
        """The days from which on a symbol was another company's than before."""
        spells = self.of_symbol.get(symbol, [])
        return [
            after.first
            for before, after in pairwise(spells)
            if after.company_id != before.company_id and after.first is not None
        ]

    def days(self, spell: Spell | None) -> tuple[date, date]:
        """The first and last day whose rows under the spell's symbol are its company's: those through the day before
        another company has the symbol, and before the first spell those that the source has of it, too."""
        spells = self.of_symbol.get(spell.symbol, []) if spell else []
        if spell is None or spell not in spells:
            return date.min, date.max
        at = spells.index(spell)
        first = spell.first if at else None
        after = spells[at + 1].first if at + 1 < len(spells) else None
        return first or date.min, date.max if after is None else after - timedelta(days=1)

    def take(self, row: Spell) -> None:
        """Takes the next row of the ledger into account."""
        pair = (row.company_id, row.symbol)
        if row.event == CompanyEvent.OPEN:
            self.open[pair] = row
            return
        self.decided_at[row.symbol] = row.known_at
        self.open.pop(pair, None)
        whole = row.event == CompanyEvent.SEPARATED and row.last is None
        if row.event == CompanyEvent.SEPARATED:
            self.separated.add(pair)
        elif row.event != CompanyEvent.ASSIGNED and row.last is None:
            # Whose symbol it is has been found: other answers to that are out.
            self.open = {of: case for of, case in self.open.items() if of[1] != row.symbol}
        if row.event == CompanyEvent.LINKED:
            self.separated.discard(pair)
        is_open = row.last is None and not whole
        kept = [
            spell
            for spell in self.of_symbol.get(row.symbol, [])
            # A symbol stands for one company at a time; a company may come back to one.
            if not (is_open and spell.last is None)
            if spell.company_id != row.company_id or (not whole and _is_before(spell, row))
        ]
        self.of_symbol[row.symbol] = sorted(kept if whole else [*kept, row], key=_order)
        if not self.of_symbol[row.symbol]:
            del self.of_symbol[row.symbol]


def _is_before(spell: Spell, other: Spell) -> bool:
    return spell.last is not None and other.first is not None and spell.last < other.first


def _order(spell: Spell) -> tuple[date, date, str]:
    return spell.first or date.min, spell.last or date.max, spell.symbol


def company_id(exchange: str, symbol: str, first_trade: date | None, isin: str | None) -> str:
    """The id of a company that is met under this symbol: its ISIN where one is known, else ours."""
    if isin:
        return isin
    text = f"{exchange}\n{symbol}\n{first_trade or ''}"
    return f"QA-{hashlib.sha256(text.encode()).hexdigest()[:12].upper()}"


def read_company_events(store: ObjectStore, exchange: str) -> pl.DataFrame:
    """All rows of an exchange's ledger (COMPANY_EVENTS_SCHEMA), oldest first. Raises ObjectDamaged."""
    key = company_events_key(exchange)
    try:
        return decode(store.get(key).data, store.uri(key))
    except ObjectNotFound:
        return pl.DataFrame(schema=COMPANY_EVENTS_SCHEMA)


def read_book(store: ObjectStore, exchange: str, as_of: datetime | None = None) -> Book:
    """What an exchange's ledger says, or what it said at a moment. Raises ObjectDamaged, StoreUnavailable."""
    events = read_company_events(store, exchange)
    return book_of(events if as_of is None else events.filter(pl.col("known_at") <= as_of))


def book_of(events: pl.DataFrame) -> Book:
    """What the rows of a ledger say (COMPANY_EVENTS_SCHEMA)."""
    book = Book()
    for row in events.iter_rows(named=True):
        book.take(Spell(**row))
    return book


def append_company_events(
    store: ObjectStore, exchange: str, decide: Callable[[Book], Sequence[CompanyRow]], now: datetime
) -> list[CompanyRow]:
    """Appends the rows that `decide` makes of what the ledger says, and answers them; puts nothing where there are
    none. When somebody else was faster, it is asked anew."""
    rows: list[CompanyRow] = []

    def put(present: Blob | None) -> bytes | None:
        nonlocal rows
        ledger = pl.DataFrame(schema=COMPANY_EVENTS_SCHEMA)
        if present is not None:
            ledger = decode(present.data, store.uri(company_events_key(exchange)))
        rows = list(decide(book_of(ledger)))
        return encode(pl.concat([ledger, as_events(rows, now)]), {}) if rows else None

    put_reconciled(store, company_events_key(exchange), put)
    return rows


def as_events(rows: Iterable[CompanyRow], now: datetime) -> pl.DataFrame:
    """Rows as the ledger has them (COMPANY_EVENTS_SCHEMA), known at `now`."""
    return pl.DataFrame(
        [
            (
                row.company_id, row.symbol, row.event.value, row.first, row.last, row.evidence,
                row.confidence.value, now,
            )
            for row in rows
        ],
        schema=COMPANY_EVENTS_SCHEMA,
        orient="row",
    )  # fmt: skip
