"""Listings that were discovered on an exchange and stood in no list, and what was decided about each: one object an
exchange, `discovered_listings/exchange=….parquet` (DISCOVERED_SCHEMA)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import polars as pl

from quant_assets.market.bars import content_sha256
from quant_assets.resources.object_store import Blob, ObjectNotFound, ObjectStore, put_reconciled
from quant_assets.tables.layout import DISCOVERED, discovered_key, exchange_of
from quant_assets.tables.parquet import decode_with_facts, encode, read_facts

DISCOVERED_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "name": pl.String(),
        "currency": pl.String(),
        "asset_type": pl.String(),
        "first_seen": pl.Date(),
        "last_seen": pl.Date(),
        "state": pl.String(),
        "known_at": pl.Datetime("us", "UTC"),
    }
)
"""By symbol. `first_seen`, `last_seen`: the first and the last look that found it (UTC). `known_at`: since when the
state is what it is."""

DISCOVERED_UNIVERSE = "discovered"
"""The list of what was discovered and accepted, on every exchange; no universe of the file has its name."""

_FOLLOWED = ("symbol", "name", "currency", "asset_type")


class State(StrEnum):
    """What becomes of a listing."""

    PROPOSED = "proposed"
    """Nobody has decided."""
    ACCEPTED = "accepted"
    """It is followed."""
    REJECTED = "rejected"
    """It is not, and is not proposed again."""


@dataclass(frozen=True, slots=True)
class Look:
    """The last look that was taken for one type of asset: how many listings there were in all."""

    listings: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Discovered:
    """What is known of an exchange."""

    listings: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DISCOVERED_SCHEMA))
    looks: Mapping[str, Look] = field(default_factory=dict[str, Look])
    """By type of asset."""


def read_discovered(store: ObjectStore, exchange: str) -> Discovered:
    """What was discovered on an exchange. Raises ObjectDamaged, StoreUnavailable."""
    try:
        return _decoded(store, exchange, store.get(discovered_key(exchange)))
    except ObjectNotFound:
        return Discovered()


def change_discovered(
    store: ObjectStore, exchange: str, decide: Callable[[Discovered], Discovered | None]
) -> bool:
    """Replaces what is known of an exchange by what `decide` makes of it, which is asked again when somebody else was
    faster, and answers None to leave it. Answers whether something was put."""

    def decided(present: Blob | None) -> bytes | None:
        made = decide(Discovered() if present is None else _decoded(store, exchange, present))
        return None if made is None else _encoded(exchange, made)

    return put_reconciled(store, discovered_key(exchange), decided) is not None


def followed_listings(store: ObjectStore) -> dict[str, pl.DataFrame]:
    """By exchange, the listings that were accepted (symbol, name, currency, asset_type); none where there is none.

    Raises ObjectDamaged, StoreUnavailable.
    """
    found: dict[str, pl.DataFrame] = {}
    for code in _exchanges(store):
        accepted = _accepted(read_discovered(store, code).listings)
        if not accepted.is_empty():
            found[code] = accepted
    return found


def followed_sha256(store: ObjectStore) -> dict[str, str]:
    """By exchange, the hash of what `followed_listings` answers of it. Raises ObjectDamaged, StoreUnavailable."""
    found: dict[str, str] = {}
    for code in _exchanges(store):
        key = discovered_key(code)
        try:
            told: object = read_facts(store.get(key).data, store.uri(key))["followed_sha256"]
        except ObjectNotFound:
            continue
        if told:
            found[code] = str(told)
    return found


def _exchanges(store: ObjectStore) -> list[str]:
    codes = (exchange_of(info.key) for info in store.list(f"{DISCOVERED}/"))
    return [code for code in codes if code is not None]


def _accepted(listings: pl.DataFrame) -> pl.DataFrame:
    return listings.filter(pl.col("state") == State.ACCEPTED).select(_FOLLOWED)


def _decoded(store: ObjectStore, exchange: str, blob: Blob) -> Discovered:
    listings, facts = decode_with_facts(blob.data, store.uri(discovered_key(exchange)))
    looks: dict[str, dict[str, Any]] = facts["looks"]
    return Discovered(
        listings,
        {kind: Look(one["listings"], datetime.fromisoformat(one["at"])) for kind, one in looks.items()},
    )


def _encoded(exchange: str, made: Discovered) -> bytes:
    accepted = _accepted(made.listings)
    facts = {
        "exchange": exchange,
        "looks": {
            kind: {"listings": look.listings, "at": look.at.astimezone(UTC).isoformat()}
            for kind, look in sorted(made.looks.items())
        },
        "followed_sha256": "" if accepted.is_empty() else content_sha256(accepted),
    }
    return encode(made.listings, facts)
