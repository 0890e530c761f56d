"""What is to be judged of an exchange's symbols when a catalog is made, and the rows that come of it.

What there is to judge is told by facts alone (first trade dates, ISINs, names); prices are read of the few symbols
that may be one company under two names, or two under one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from quant_assets.catalog.identity import (
    Beside,
    Closes,
    Finding,
    Verdict,
    beside,
    judge_renamed,
    judge_reused,
    without_rivals,
)
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.companies import Book, CompanyEvent, CompanyRow, Confidence, Spell, company_id
from quant_assets.tables.daily import read_daily
from quant_assets.tables.listing_events import FIRST_TRADE, read_events
from quant_assets.tables.symbol_facts import Seen, SymbolFacts, name_words, read_symbol_facts

_LOOK_BACK = timedelta(days=400)
"""How far before an old symbol's end its prices are compared: some 270 sessions."""
_NEWLY = timedelta(days=10)
"""How long after it was first seen a symbol counts as new: its history may take days to come."""
_WAITING = timedelta(days=30)
"""How long an open case is judged again on each run; later only when something has become known."""
GONE = frozenset({"suspect", "delisted"})
"""States of listings that have ended, as far as anybody can tell."""


class Judge:
    """One evaluation of one exchange."""

    def __init__(
        self,
        store: ObjectStore,
        exchange: str,
        catalog: pl.DataFrame,
        previous: pl.DataFrame | None,
        now: datetime,
        isins: Mapping[str, SymbolFacts] | None = None,
    ) -> None:
        self._store, self._exchange, self._today = store, exchange, now.date()
        self._listed = _rows(catalog, exchange)
        self._isins = isins or {}
        before = {} if previous is None else _rows(previous, exchange)
        seen_on = [row["last_seen"] for row in before.values()]
        self._looked_on: date = max(seen_on, default=date.min)
        self._gone = {symbol for symbol, row in self._listed.items() if _is_gone(row)}
        self._newly_gone = {
            symbol for symbol in self._gone if symbol not in before or not _is_gone(before[symbol])
        }
        self._seen = read_symbol_facts(store, exchange)
        # Stores of earlier releases know the first trade dates alone.
        events = read_events(store, exchange).filter(pl.col("event") == FIRST_TRADE)
        self._first_trade: dict[str, date] = dict(events.select("symbol", "date").iter_rows())

    def anything_to_say(self, book: Book) -> bool:
        """Whether a look at the facts shows anything that is to be judged."""
        return bool(self._unknown(book) or self._maybe_reused(book) or self._maybe_renamed(book))

    def rows(self, book: Book) -> list[CompanyRow]:
        """What is to be appended to a ledger that says `book`."""
        rows = {row.symbol: [row] for row in self._assigned(book)}
        for symbol, found in self._reused(book):
            rows.setdefault(symbol, []).extend(found)
        mixed = {symbol for symbol, found in rows.items() if found[-1].event is CompanyEvent.OPEN}
        mixed |= {s for c, s in book.open if (own := book.current(s)) is not None and own.company_id == c}
        # What stands for another company as of now is looked at by the next run.
        reused = {s for s, found in rows.items() if found[-1].event is CompanyEvent.REUSED}
        for symbol, found in self._renamed(book, mixed, reused):
            # A symbol that is an old company's needs no id of its own.
            decided = any(row.event is CompanyEvent.RENAMED for row in found)
            rows[symbol] = found if decided else [*rows.get(symbol, []), *found]
        return [row for symbol in sorted(rows) for row in rows[symbol]]

    # What is known.

    def facts(self, symbol: str, until: datetime | None = None) -> SymbolFacts:
        """What was known of a symbol, now or at a moment."""
        seen = [one for one in self._seen.get(symbol, []) if until is None or one.known_at <= until]
        facts = seen[-1].facts if seen else SymbolFacts()
        if until is None and self._is_of_another(symbol, facts):
            facts = replace(facts, isin=None)
        if facts.first_trade is None and symbol in self._first_trade:
            return facts.with_news(SymbolFacts(first_trade=self._first_trade[symbol]))
        return facts

    def _is_of_another(self, symbol: str, facts: SymbolFacts) -> bool:
        """Whether the ISIN of a symbol was said of what it stood for before, and no list says it now."""
        if facts.isin is None or symbol in self._isins:
            return False
        return any(
            one.facts.isin == facts.isin and one.facts.first_trade not in (None, facts.first_trade)
            for one in self._seen[symbol]
        )

    def _learned(self, symbol: str) -> Seen | None:
        """What became known last of a symbol; None where that was before the last evaluation."""
        seen = self._seen.get(symbol)
        return seen[-1] if seen and seen[-1].known_at.date() >= self._looked_on else None

    def _is_new(self, symbol: str, book: Book) -> bool:
        """Whether a symbol is new, or something has been learned or decided of it since the last look."""
        first: date = self._listed[symbol]["first_seen"]
        decided = book.decided_at.get(symbol)
        return (
            self._today - first <= _NEWLY
            or self._learned(symbol) is not None
            or (decided is not None and decided.date() >= self._looked_on)
        )

    # Ids.

    def _unknown(self, book: Book) -> list[str]:
        """The symbols that have no id and can have one."""
        return [
            symbol
            for symbol in sorted(self._listed)
            if symbol not in book.of_symbol
            and ((facts := self.facts(symbol)).first_trade is not None or facts.isin is not None)
        ]

    def _assigned(self, book: Book) -> list[CompanyRow]:
        taken = set(book.companies)
        rows: list[CompanyRow] = []
        for symbol in self._unknown(book):
            facts = self.facts(symbol)
            rows.append(self._new_company(symbol, facts, taken, CompanyEvent.ASSIGNED, _first_met(facts)))
            taken.add(rows[-1].company_id)
        return rows

    def _new_company(
        self, symbol: str, facts: SymbolFacts, taken: set[str], event: CompanyEvent, evidence: str
    ) -> CompanyRow:
        """The first row of a company, whose id is none of those that are taken."""
        id_ = company_id(self._exchange, symbol, facts.first_trade, facts.isin)
        if id_ in taken:
            id_ = company_id(self._exchange, symbol, facts.first_trade, None)
            evidence += f"; the ISIN {facts.isin} is the id of another symbol's company"
        seen = Confidence.SEEN if event is CompanyEvent.ASSIGNED else Confidence.STRONG
        return CompanyRow(id_, symbol, event, facts.first_trade, None, evidence, seen)

    # One symbol, two companies.

    def _maybe_reused(self, book: Book) -> list[str]:
        return [
            symbol
            for symbol in sorted(self._listed)
            if (spell := book.current(symbol)) is not None
            and (last := self._learned(symbol)) is not None
            and last.facts.first_trade is not None
            and last.facts.first_trade != self.facts_before(spell, book).first_trade
        ]

    def facts_before(self, spell: Spell, book: Book) -> SymbolFacts:
        """What was known of a symbol when it was last decided whose it is."""
        facts = self.facts(spell.symbol, book.decided_at[spell.symbol])
        if spell.event == CompanyEvent.ASSIGNED and facts.first_trade is None:
            return facts.with_news(SymbolFacts(first_trade=spell.first))
        return facts

    def _reused(self, book: Book) -> list[tuple[str, list[CompanyRow]]]:
        symbols = self._maybe_reused(book)
        if not symbols:
            return []
        stored = self.stored(symbols, None)
        found: list[tuple[str, list[CompanyRow]]] = []
        for symbol in symbols:
            spell, now = book.current(symbol), self.facts(symbol)
            assert spell is not None
            assert now.first_trade is not None
            before, rows = self.facts_before(spell, book), stored[symbol]
            earlier = rows.filter(pl.col("date") < now.first_trade, pl.col("close").is_not_null())
            before = _with_currency(before, earlier)
            last = None if earlier.is_empty() else earlier["date"][-1]
            left = spell.last is not None and spell.last < now.first_trade
            verdict = judge_reused(before, now, last, left=left)
            if rows_found := self._reuse_rows(book, spell, now, verdict, last):
                found.append((symbol, rows_found))
        return found

    def _reuse_rows(
        self, book: Book, spell: Spell, now: SymbolFacts, verdict: Verdict, last: date | None
    ) -> list[CompanyRow]:
        symbol, told = spell.symbol, verdict.evidence
        if verdict.finding is Finding.OPEN:
            row = CompanyRow(
                spell.company_id, symbol, CompanyEvent.OPEN, now.first_trade, None,
                f"the symbol may stand for another company: {told}", Confidence.WEAK,
            )  # fmt: skip
            return [] if _is_told(book, row) else [row]
        if verdict.finding is not Finding.REUSED:
            return []
        assert now.first_trade is not None
        until = spell.last or last or now.first_trade - timedelta(days=1)
        ended = CompanyRow(
            spell.company_id, symbol, CompanyEvent.REUSED, spell.first, until, told, Confidence.STRONG
        )
        taken = set(book.companies)
        return [ended, self._new_company(symbol, now, taken, CompanyEvent.REUSED, told)]

    # Two symbols, one company.

    def _maybe_renamed(self, book: Book) -> list[tuple[Spell, str]]:
        """The ended companies and the new symbols whose facts may be those of one company."""
        ended: dict[tuple[str, object], list[Spell]] = {}
        for spells in book.companies.values():
            spell = spells[-1]
            if spell.last is None and spell.symbol not in self._gone:
                continue
            facts = self.facts_of(spell, book)
            for key in _keys(facts):
                ended.setdefault(key, []).append(spell)
        pairs: dict[tuple[str, str], Spell] = {}
        for symbol in self._worth_a_look(book) if ended else ():
            for key in _keys(self.facts(symbol)):
                for spell in ended.get(key, ()):
                    if self._is_pair(book, spell, symbol, by_isin=key[0] == "isin"):
                        pairs[spell.company_id, symbol] = spell
        return [(spell, symbol) for (_, symbol), spell in pairs.items()]

    def _worth_a_look(self, book: Book) -> list[str]:
        """The symbols of which a case may have news: all, where one has just ended."""
        there = sorted(self._listed.keys() - self._gone)
        if self._newly_gone:
            return there
        cases = {symbol for _, symbol in book.open}
        return [symbol for symbol in there if symbol in cases or self._is_new(symbol, book)]

    def _is_pair(self, book: Book, old: Spell, new: str, *, by_isin: bool) -> bool:
        """Whether an ended company and a new symbol are to be judged, and have news."""
        if old.symbol == new or (old.company_id, new) in book.separated:
            return False
        own = book.current(new)
        if own is not None and (
            own.company_id == old.company_id or own.event in (CompanyEvent.LINKED, CompanyEvent.RENAMED)
        ):
            return False
        was = self._listed.get(old.symbol)
        if not by_isin and (was is None or self._listed[new]["first_seen"] <= was["first_seen"]):
            return False
        case = book.open.get((old.company_id, new))
        if case is not None and self._today - case.known_at.date() <= _WAITING:
            return True
        return self._is_new(new, book) or old.symbol in self._newly_gone

    def facts_of(self, spell: Spell, book: Book) -> SymbolFacts:
        """What was known of a symbol while it stood for a company; an id that is an ISIN is the company's."""
        facts = self._facts_of(spell, book)
        return facts if spell.company_id.startswith("QA-") else replace(facts, isin=spell.company_id)

    def _facts_of(self, spell: Spell, book: Book) -> SymbolFacts:
        spells = book.of_symbol[spell.symbol]
        if spells[-1] is spell:
            return self.facts(spell.symbol)
        after = spells[spells.index(spell) + 1]
        seen = [one for one in self._seen.get(spell.symbol, []) if one.known_at < after.known_at]
        # The last of these is the news by which the next company was found.
        return next((s.facts for s in reversed(seen) if s.facts.first_trade != after.first), SymbolFacts())

    def _renamed(
        self, book: Book, mixed: set[str], passed_over: set[str]
    ) -> list[tuple[str, list[CompanyRow]]]:
        pairs = [(spell, new) for spell, new in self._maybe_renamed(book) if new not in passed_over]
        if not pairs:
            return []
        stored = self.stored(
            {symbol for spell, new in pairs for symbol in (spell.symbol, new)},
            min(self._ended_on(spell) for spell, _ in pairs) - _LOOK_BACK,
        )
        verdicts: dict[tuple[str, str], Verdict] = {}
        prices: dict[tuple[str, str], Beside] = {}
        spells: dict[str, Spell] = {}
        # Of many pairs few symbols: what is known of each is put together once.
        sides: dict[str, tuple[SymbolFacts, Closes]] = {}
        for spell, new in pairs:
            pair = (spell.company_id, new)
            spells[spell.company_id] = spell
            if spell.company_id not in sides:
                rows = stored[spell.symbol].filter(pl.col("date").is_between(*book.days(spell)))
                facts = _with_currency(self.facts_of(spell, book), rows)
                sides[spell.company_id] = facts, Closes.of(rows)
            if new not in sides:
                rows = stored[new].filter(pl.col("date").is_between(*book.days(book.current(new))))
                sides[new] = _with_currency(self.facts(new), rows), Closes.of(rows)
            (old_facts, old_closes), (new_facts, new_closes) = sides[spell.company_id], sides[new]
            prices[pair] = beside(old_closes, new_closes)
            verdicts[pair] = judge_renamed(old_facts, new_facts, prices[pair], mixed=new in mixed)
        found: list[tuple[str, list[CompanyRow]]] = []
        for pair, verdict in sorted(without_rivals(verdicts).items()):
            spell, new = spells[pair[0]], pair[1]
            if rows := self._rename_rows(book, spell, new, prices[pair], verdict):
                found.append((new, rows))
        return found

    def _rename_rows(
        self, book: Book, spell: Spell, new: str, prices: Beside, verdict: Verdict
    ) -> list[CompanyRow]:
        last = spell.last or prices.old_last or self._ended_on(spell)
        first = prices.new_after if prices.new_after and prices.new_after > last else last + timedelta(days=1)
        if verdict.finding is Finding.OPEN:
            row = CompanyRow(
                spell.company_id, new, CompanyEvent.OPEN, first, None,
                f"may be what {spell.symbol} is called now: {verdict.evidence}", Confidence.WEAK,
            )  # fmt: skip
            return [] if _is_told(book, row) else [row]
        return renamed_rows(
            spell, new, first, last, CompanyEvent.RENAMED, verdict.evidence, Confidence.STRONG
        )

    def _ended_on(self, spell: Spell) -> date:
        row = self._listed.get(spell.symbol)
        ends = [spell.last] if row is None else [spell.last, row["delisted_on"], row["last_seen"]]
        return min((day for day in ends if day is not None), default=self._today)

    def stored(self, symbols: Iterable[str], start: date | None) -> dict[str, pl.DataFrame]:
        """The stored rows of some symbols."""
        names = sorted(symbols)
        rows = read_daily(self._store, self._exchange, start, symbols=names)
        return {name: rows.filter(pl.col("symbol") == name) for name in names}


def renamed_rows(
    old: Spell, new: str, first: date, last: date, event: CompanyEvent, evidence: str, confidence: Confidence
) -> list[CompanyRow]:
    """That a company is called by a new symbol from `first` on, and was by its old one through `last`."""
    rows = [CompanyRow(old.company_id, new, event, first, None, evidence, confidence)]
    if old.last is None:
        rows.insert(0, CompanyRow(old.company_id, old.symbol, event, old.first, last, evidence, confidence))
    return rows


def _with_currency(facts: SymbolFacts, rows: pl.DataFrame) -> SymbolFacts:
    """Facts with the currency of stored rows where none is stated."""
    if facts.currency is not None or rows.is_empty():
        return facts
    return facts.with_news(SymbolFacts(currency=rows["currency"][-1]))


def _keys(facts: SymbolFacts) -> Sequence[tuple[str, object]]:
    """By what two symbols are found that may be one company's."""
    keys: list[tuple[str, object]] = []
    if facts.isin:
        keys.append(("isin", facts.isin))
    if facts.first_trade:
        keys.append(("first", facts.first_trade))
    if words := name_words(facts.name):
        keys.append(("name", words))
    return keys


def _is_told(book: Book, row: CompanyRow) -> bool:
    """Whether a case waits already, in the same words."""
    case = book.open.get((row.company_id, row.symbol))
    return case is not None and case.evidence == row.evidence


def _first_met(facts: SymbolFacts) -> str:
    told = [f"first traded on {facts.first_trade}"] if facts.first_trade else []
    told += [f"ISIN {facts.isin}"] if facts.isin else []
    told += [f"{facts.name!r}"] if facts.name else []
    return ", ".join(told)


def _rows(catalog: pl.DataFrame, exchange: str) -> dict[str, dict[str, Any]]:
    rows = catalog.filter(pl.col("exchange") == exchange)
    return {row["symbol"]: row for row in rows.iter_rows(named=True)}


def _is_gone(row: Mapping[str, Any]) -> bool:
    return not row["is_active"] or row.get("state") in GONE
