"""One thing that is held, with everything that is needed to decide about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, VALUES, empty_daily
from quant_assets.market.claims import Scope, named
from quant_assets.market.settling import ACCEPTING, REJECTING, settles
from quant_assets.resources.object_store import ObjectNotFound, ObjectStore
from quant_assets.tables.daily import read_daily
from quant_assets.tables.quarantine import items, read_quarantine, with_items


@dataclass(frozen=True, slots=True)
class HeldItem:
    """An answer, a stretch, a row or an action that is or was held.

    `facts` is its row of `items` (ITEMS_SCHEMA), `claims` are its claims (QUARANTINE_SCHEMA), and `stored` the stored
    rows of its symbol and dates (DAILY_SCHEMA).
    """

    exchange: str
    facts: dict[str, Any]
    claims: pl.DataFrame
    stored: pl.DataFrame

    @property
    def scope(self) -> Scope:
        """How much of an answer is in doubt."""
        return Scope(self.facts["scope"])

    @property
    def what(self) -> str:
        """What is held, in a few words."""
        return named(self.scope, self.facts["first"], self.facts["last"], self.facts["sessions"])

    @property
    def witnesses(self) -> list[str]:
        """What speaks for and against it, each once."""
        return [text for text in self.claims["witnesses"].unique(maintain_order=True) if text]

    @property
    def decided(self) -> str:
        """The decision, its moment and note, in words; empty while it waits."""
        last = (
            self.claims.filter(pl.col("decision") == self.facts["decision"])
            .sort("decided_at")
            .row(-1, named=True)
        )
        if last["decided_at"] is None:
            return ""
        note = f' ("{last["note"]}")' if last["note"] else ""
        return f"{last['decision']} on {last['decided_at']:%Y-%m-%d %H:%M} UTC{note}"

    def beside(self) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
        """Each claim, by date, with the stored row of its session; None where there is none."""
        stored = {row["date"]: row for row in self.stored.iter_rows(named=True)}
        return [
            (row, stored.get(row["date"])) for row in self.claims.sort("date", "id").iter_rows(named=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """As JSON values (dates and moments are for `default=str`)."""
        shown = ("date", *VALUES, "flags", "fetched_at")
        claimed = ("id", "decision", "note", "decided_at", "facts", "run", *shown)
        return {
            "exchange": self.exchange,
            **self.facts,
            "what": self.what,
            "witnesses": self.witnesses,
            "settles_by_itself": settles(self.facts["kind"]),
            "accept": ACCEPTING[self.scope],
            "reject": REJECTING[self.scope],
            "rows": [
                {
                    "claimed": {name: claim[name] for name in claimed},
                    "stored": row and {name: row[name] for name in shown},
                }
                for claim, row in self.beside()
            ],
        }


def held_item(store: ObjectStore, exchanges: Iterable[str], id_: str) -> HeldItem | None:
    """What an id names: an answer, a stretch, or one claim, pending or decided about; None where it names nothing.

    Raises ObjectDamaged, StoreUnavailable.
    """
    for exchange in exchanges:
        every = with_items(read_quarantine(store, exchange))
        claims = every.filter(pl.any_horizontal(pl.col(n) == id_ for n in ("id", "item", "answer")))
        if claims.is_empty():
            continue
        rows = claims.drop("item")
        # Of an answer some sessions may have been decided about, or superseded, before the others.
        facts = items(rows).sort(pl.col("decision") != "pending", "first").row(0, named=True)
        symbol, first, last = claims["symbol"][0], claims["date"].min(), claims["date"].max()
        assert isinstance(first, date)
        assert isinstance(last, date)
        stored = _stored(store, exchange, symbol, first, last).filter(
            pl.col("date").is_in(claims["date"].implode())
        )
        return HeldItem(exchange, {**facts, "item": id_}, rows, stored)
    return None


def _stored(store: ObjectStore, exchange: str, symbol: str, first: date, last: date) -> pl.DataFrame:
    try:
        return read_daily(store, exchange, first, last, symbols=[symbol]).select(list(DAILY_SCHEMA))
    except ObjectNotFound:
        return empty_daily()
