"""The constituents of universes as they were last refreshed: one object each, `universes/<name>.parquet`.

Who joined and left, and when, is in `tables.membership`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from quant_assets.market.bars import content_sha256
from quant_assets.resources.object_store import Blob, ObjectNotFound, ObjectStore, put_reconciled
from quant_assets.tables.layout import universe_key
from quant_assets.tables.parquet import decode_with_facts, encode, read_facts

CONSTITUENTS_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "name": pl.String(),
        "asset_type": pl.String(),
        "sector": pl.String(),
        "industry": pl.String(),
        "currency": pl.String(),
        "isin": pl.String(),
        "listed_on": pl.Date(),
        "delisted_on": pl.Date(),
    }
)
"""What a universe's source says of its constituents, by symbol; null is what it does not say."""


@dataclass(frozen=True, slots=True)
class StoredUniverse:
    """A universe as it was last refreshed."""

    constituents: pl.DataFrame
    exchange: str
    source: str
    """What they were read from, in words."""
    refreshed_at: datetime


def read_constituents(store: ObjectStore, universe: str) -> StoredUniverse | None:
    """A universe as it was last refreshed; None when it never was. Raises ObjectDamaged, StoreUnavailable."""
    key = universe_key(universe)
    try:
        blob = store.get(key)
    except ObjectNotFound:
        return None
    constituents, facts = decode_with_facts(blob.data, store.uri(key))
    return StoredUniverse(constituents, facts["exchange"], facts["source"], _refreshed_at(facts))


def constituents_sha256(store: ObjectStore, universe: str) -> str | None:
    """The hash of a universe's constituents, which a refresh that changes nothing leaves as it is; None when it was
    never refreshed. Raises ObjectDamaged, StoreUnavailable."""
    key = universe_key(universe)
    try:
        blob = store.get(key)
    except ObjectNotFound:
        return None
    return str(read_facts(blob.data, store.uri(key))["content_sha256"])


def put_constituents(store: ObjectStore, universe: str, found: StoredUniverse) -> bool:
    """Keeps what a refresh found; answers whether it was put.

    It is not when a later refresh has been there, nor when the same was found on the same day (UTC).
    """

    def decide(present: Blob | None) -> bytes | None:
        if present is not None:
            before = read_facts(present.data, store.uri(universe_key(universe)))
            earlier = _refreshed_at(before)
            if earlier > found.refreshed_at:
                return None
            same = before["content_sha256"] == content_sha256(found.constituents)
            told = (before["exchange"], before["source"]) == (found.exchange, found.source)
            if same and told and earlier.date() == found.refreshed_at.astimezone(UTC).date():
                return None
        facts = {
            "universe": universe,
            "exchange": found.exchange,
            "source": found.source,
            "refreshed_at": found.refreshed_at.astimezone(UTC).isoformat(),
        }
        return encode(found.constituents, facts)

    return put_reconciled(store, universe_key(universe), decide) is not None


def _refreshed_at(facts: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(facts["refreshed_at"])
