"""Who was in a universe on which day: an append-only ledger, `universe_events/<name>.parquet` (MEMBERSHIP_SCHEMA).

Two kinds of evidence stand in it. What refreshes saw: the first one tells who is in from its day on, each later
one who joined and left since. And what somebody stated of earlier days: a block of rows for each statement, between
the first and the last day it is about; of two statements about a day the one made later counts. From the first
refresh on, days are answered by refreshes alone. Of days that neither is about nothing is answered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

import polars as pl

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.object_store import Blob, ObjectNotFound, ObjectStore, put_reconciled
from quant_assets.tables.layout import membership_key
from quant_assets.tables.parquet import decode, encode

MEMBERSHIP_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "event": pl.String(),
        "date": pl.Date(),
        "evidence": pl.String(),
        "confidence": pl.String(),
        "known_at": pl.Datetime("us", "UTC"),
    }
)
"""`date`: of `joined` the first day in the universe, of `left` the first day out of it. `evidence`: what shows it, in
words. The events without a symbol say from and through which day the evidence of one kind is complete."""

MEMBERS_SCHEMA = pl.Schema(
    {name: MEMBERSHIP_SCHEMA[name] for name in ("symbol", "date", "evidence", "confidence", "known_at")}
)


class Event(StrEnum):
    """What happened."""

    JOINED = "joined"
    LEFT = "left"
    COMPLETE_FROM = "complete_from"
    COMPLETE_THROUGH = "complete_through"


class Confidence(StrEnum):
    """How far a date can be trusted."""

    FIRST_SEEN = "first_seen"
    """It was in at the first refresh: it joined on that day or earlier."""
    SEEN = "seen"
    """A refresh saw it: it happened after the refresh before, on the date at the latest."""
    STATED = "stated"
    """Somebody said so."""


class MembershipUnknown(QuantAssetsError, ValueError):
    """Nothing tells who was in a universe on that day; the message names the earliest day of which something does."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A stretch of days in which a symbol was in a universe, as somebody states it."""

    symbol: str
    joined: date
    left: date | None = None
    """The first day out of it; None: not yet."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What somebody states of a universe's past: all its spells between two days, both included."""

    spells: Sequence[Spell]
    first: date
    last: date
    evidence: str


def read_membership(store: ObjectStore, universe: str) -> pl.DataFrame:
    """All events of a universe (MEMBERSHIP_SCHEMA), in the order in which they became known. Raises ObjectDamaged."""
    key = membership_key(universe)
    try:
        return decode(store.get(key).data, store.uri(key))
    except ObjectNotFound:
        return pl.DataFrame(schema=MEMBERSHIP_SCHEMA)


def record_seen(
    store: ObjectStore,
    universe: str,
    symbols: Collection[str],
    source: str,
    now: datetime,
    looked_before: date | None = None,
) -> pl.DataFrame:
    """Appends who joined and left, of what a refresh found at `now`, and answers the new events.

    Puts nothing without news, and nothing when what is recorded became known later.

    Args:
        source: what was read, in words.
        looked_before: the day of the refresh before, for the evidence.
    """
    news = pl.DataFrame(schema=MEMBERSHIP_SCHEMA)

    def decide(present: Blob | None) -> bytes | None:
        nonlocal news
        ledger = _ledger(store, universe, present)
        seen = _seen(ledger)
        news = _frame(_news(seen, symbols, source, now, looked_before))
        return None if news.is_empty() else encode(pl.concat([ledger, news]), {"universe": universe})

    put_reconciled(store, membership_key(universe), decide)
    return news


def _news(
    seen: pl.DataFrame, symbols: Collection[str], source: str, now: datetime, looked_before: date | None
) -> list[tuple[Any, ...]]:
    today = now.astimezone(UTC).date()
    if seen.is_empty():
        first = Confidence.FIRST_SEEN.value
        evidence = f"in {source} at the first refresh, {today}"
        whole = (None, Event.COMPLETE_FROM.value, today, f"first refresh, from {source}", first, now)
        return [whole, *((s, Event.JOINED.value, today, evidence, first, now) for s in sorted(set(symbols)))]
    if seen["known_at"].to_list()[-1] > now:
        return []
    members, listed = set(_state(seen)["symbol"]), set(symbols)
    since = f" (looked at before on {looked_before})" if looked_before else ""
    return [
        (symbol, event.value, today, f"{word} {source} on {today}{since}", Confidence.SEEN.value, now)
        for event, word, some in (
            (Event.LEFT, "no longer in", members - listed),
            (Event.JOINED, "new in", listed - members),
        )
        for symbol in sorted(some)
    ]


def record_stated(store: ObjectStore, universe: str, statement: Statement, now: datetime) -> bool:
    """Appends a statement about a universe's past; False when it is the last one that was made, word for word."""
    stated, evidence = Confidence.STATED.value, statement.evidence
    events = [
        *((spell.symbol, Event.JOINED.value, spell.joined) for spell in statement.spells),
        *((spell.symbol, Event.LEFT.value, spell.left) for spell in statement.spells if spell.left),
    ]
    # A symbol that leaves and joins on one day is in on that day.
    events.sort(key=lambda event: (event[2], event[1] == Event.JOINED.value, event[0]))
    rows = [
        (symbol, event, day, evidence, stated, now)
        for symbol, event, day in (
            (None, Event.COMPLETE_FROM.value, statement.first),
            *events,
            (None, Event.COMPLETE_THROUGH.value, statement.last),
        )
    ]

    def decide(present: Blob | None) -> bytes | None:
        ledger, block = _ledger(store, universe, present), _frame(rows)
        blocks = _statements(ledger)
        if blocks and blocks[-1].drop("known_at").equals(block.drop("known_at")):
            return None
        return encode(pl.concat([ledger, block]), {"universe": universe})

    return put_reconciled(store, membership_key(universe), decide) is not None


def members_on(ledger: pl.DataFrame, universe: str, day: date) -> pl.DataFrame:
    """Who was in a universe on a day (MEMBERS_SCHEMA, by symbol): since when, and what shows it.

    Raises MembershipUnknown for a day that no refresh and no statement is about.
    """
    seen = _seen(ledger)
    if (refreshed := seen_from(ledger)) is not None and refreshed <= day:
        return _state(seen.filter(pl.col("date") <= day))
    for block in reversed(_statements(ledger)):
        first, last = _bounds(block)
        if first <= day <= last:
            return _state(block.filter(pl.col("date") <= day))
    raise MembershipUnknown(_unknown(ledger, universe, day))


def vouched(ledger: pl.DataFrame) -> list[tuple[date, date | None]]:
    """The stretches of days of which the ledger tells who was in the universe; None: it goes on."""
    spans = [_bounds(block) for block in _statements(ledger)]
    if (refreshed := seen_from(ledger)) is not None:
        spans.append((refreshed, date.max))
    found: list[tuple[date, date]] = []
    for first, last in sorted(spans):
        if found and (first - found[-1][1]).days <= 1:
            begun, before = found.pop()
            found.append((begun, max(before, last)))
        else:
            found.append((first, last))
    return [(first, None if last == date.max else last) for first, last in found]


def seen_from(ledger: pl.DataFrame) -> date | None:
    """The day of the first refresh; None when there was none."""
    seen = _seen(ledger)
    return None if seen.is_empty() else seen["date"].to_list()[0]


def _unknown(ledger: pl.DataFrame, universe: str, day: date) -> str:
    spans = vouched(ledger)
    command = f"quant-assets catalog import-membership --universe {universe} FILE.csv"
    if not spans:
        return (
            f"nothing tells who was in universe {universe!r} on {day}: it has never been refreshed "
            f"(quant-assets refresh-universe --universe {universe}), and nothing was stated of its past ({command})"
        )
    told = ", ".join(f"{first} to {last}" if last else f"{first} on" for first, last in spans)
    return (
        f"nothing tells who was in universe {universe!r} on {day}: the earliest date that can be vouched for is "
        f"{spans[0][0]} (known: {told}); state what you know of other days ({command})"
    )


def _ledger(store: ObjectStore, universe: str, present: Blob | None) -> pl.DataFrame:
    if present is None:
        return pl.DataFrame(schema=MEMBERSHIP_SCHEMA)
    return decode(present.data, store.uri(membership_key(universe)))


def _frame(rows: Iterable[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=MEMBERSHIP_SCHEMA, orient="row")


def _seen(ledger: pl.DataFrame) -> pl.DataFrame:
    """What refreshes saw, the oldest first."""
    return ledger.filter(pl.col("confidence") != Confidence.STATED.value)


def _statements(ledger: pl.DataFrame) -> list[pl.DataFrame]:
    """What was stated, a frame a statement, in the order in which they were made."""
    stated = ledger.filter(pl.col("confidence") == Confidence.STATED.value)
    number = (pl.col("event") == Event.COMPLETE_FROM.value).cum_sum().alias("_number")
    blocks = stated.with_columns(number).partition_by("_number", maintain_order=True)
    return [block.drop("_number") for block in blocks]


def _bounds(block: pl.DataFrame) -> tuple[date, date]:
    """The first and the last day that a statement is about."""
    first, last = block.filter(pl.col("symbol").is_null())["date"]
    return first, last


def _state(events: pl.DataFrame) -> pl.DataFrame:
    """Who is in after some events, which stand in their order: the last one of each symbol tells."""
    return (
        events.filter(pl.col("symbol").is_not_null())
        .unique("symbol", keep="last")
        .filter(pl.col("event") == Event.JOINED.value)
        .select(MEMBERS_SCHEMA.names())
        .sort("symbol")
    )
