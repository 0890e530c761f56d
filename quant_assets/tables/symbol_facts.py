"""What is said of symbols over time: an append-only ledger, `symbol_facts/exchange=….parquet`.

A row for each time that something changed: first trade date, name, currency and kind as the source of prices states
them, the ISIN as the lists do. So it is known later what a symbol stood for before it stood for something else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from functools import lru_cache

import polars as pl

from quant_assets.resources.object_store import Blob, ObjectNotFound, ObjectStore, put_reconciled
from quant_assets.tables.layout import symbol_facts_key
from quant_assets.tables.parquet import decode, encode

SYMBOL_FACTS_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "first_trade": pl.Date(),
        "name": pl.String(),
        "currency": pl.String(),
        "isin": pl.String(),
        "instrument": pl.String(),
        "known_at": pl.Datetime("us", "UTC"),
    }
)
"""All that was known of a symbol from `known_at` on; null is what nobody has said yet."""


@dataclass(frozen=True, slots=True)
class SymbolFacts:
    """What is said of a symbol; None where nothing is."""

    first_trade: date | None = None
    name: str | None = None
    currency: str | None = None
    isin: str | None = None
    instrument: str | None = None

    def with_news(self, told: SymbolFacts) -> SymbolFacts:
        """These facts, and what is told now in place of what was. What is not told stays as it was, and so does a
        name that is only written in another way."""
        kept = {fact: getattr(self, fact) if (new := getattr(told, fact)) is None else new for fact in FACTS}
        if self.name is not None and told.name is not None and name_words(self.name) == name_words(told.name):
            kept["name"] = self.name
        return SymbolFacts(**kept)


FACTS = tuple(field.name for field in fields(SymbolFacts))


@dataclass(frozen=True, slots=True)
class Seen:
    """What was known of a symbol, and from when on."""

    facts: SymbolFacts
    known_at: datetime


def read_symbol_facts(store: ObjectStore, exchange: str) -> dict[str, list[Seen]]:
    """By symbol all that was known of it over time, oldest first. Raises ObjectDamaged, StoreUnavailable."""
    key = symbol_facts_key(exchange)
    try:
        return _by_symbol(decode(store.get(key).data, store.uri(key)))
    except ObjectNotFound:
        return {}


def learn_facts(store: ObjectStore, exchange: str, told: Mapping[str, SymbolFacts], now: datetime) -> bool:
    """Appends what is told of symbols and was not known; puts nothing without news. Answers whether it put."""

    def decide(present: Blob | None) -> bytes | None:
        ledger = pl.DataFrame(schema=SYMBOL_FACTS_SCHEMA)
        if present is not None:
            ledger = decode(present.data, store.uri(symbol_facts_key(exchange)))
        known = _by_symbol(ledger.filter(pl.col("symbol").is_in(list(told))))
        news: list[tuple[object, ...]] = []
        for symbol, new in sorted(told.items()):
            before = known[symbol][-1].facts if symbol in known else SymbolFacts()
            after = before.with_news(new)
            if after != before:
                news.append((symbol, *(getattr(after, fact) for fact in FACTS), now))
        if not news:
            return None
        return encode(pl.concat([ledger, pl.DataFrame(news, schema=SYMBOL_FACTS_SCHEMA, orient="row")]), {})

    return bool(told) and put_reconciled(store, symbol_facts_key(exchange), decide) is not None


_LEGAL_WORDS = """
ab adr ag and asa class co common company corp corporation de group holding holdings inc incorporated kgaa limited llc
ltd nv of ordinary oyj plc sa se shares spa stock the trust
"""
_LEGAL = frozenset(_LEGAL_WORDS.split())
"""Words of names that tell no company from another."""


@lru_cache(maxsize=20_000)
def name_words(name: str | None) -> frozenset[str]:
    """The words by which a company's name is told from others, in small letters without accents."""
    plain = unicodedata.normalize("NFKD", name or "").casefold()
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    # S.A. and N.V. are words; AT&T is two.
    words = re.findall(r"\w+", plain.replace(".", "").replace("'", ""))
    return frozenset(words) - _LEGAL or frozenset(words)


def _by_symbol(ledger: pl.DataFrame) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for symbol, *facts, known_at in ledger.select(list(SYMBOL_FACTS_SCHEMA)).iter_rows():
        found.setdefault(symbol, []).append(Seen(SymbolFacts(*facts), known_at))
    return found
