"""Discovery: what is listed on an exchange, by Yahoo's screener, and stands in no list becomes a proposal, or is
followed at once.

A look that fails, or that finds fewer listings than is believed, changes nothing. What it does not find any more
keeps the day on which it was last seen: whether a listing has ended is not for the screener to say.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import polars as pl
from pydantic import ValidationError

from quant_assets.catalog.configured import CatalogError, ConfiguredSymbol, misplacement, short
from quant_assets.catalog.sources.tables import LONGEST_TEXT, plain
from quant_assets.errors import QuantAssetsError
from quant_assets.exchanges import Exchange
from quant_assets.resources.documents import Documents
from quant_assets.resources.object_store import NewerFormat, ObjectDamaged, ObjectStore
from quant_assets.resources.yahoo_screener import AssetType, Screened, ScreenFailed
from quant_assets.tables.discovered import (
    DISCOVERED_SCHEMA,
    Discovered,
    Look,
    State,
    change_discovered,
    read_discovered,
)

MOST = 10_000
"""Listings under one of Yahoo's codes: it shows no more."""


class Status(StrEnum):
    """What came of a look at an exchange."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    """Fewer listings than are believed, or somebody has looked later."""
    FAILED = "failed"
    """The screener gives nothing that can be used."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is looked for, and what becomes of it."""

    types: Sequence[AssetType]
    shrink: float
    """Percent of the listings that may be gone at once."""
    automatic: bool
    """Whether what is found is followed without a person's word."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a look at an exchange found, and what it makes of it."""

    exchange: str
    status: Status
    reason: str = ""
    """Why nothing is changed."""
    listings: int | None = None
    """How many there are in all; None: nobody can tell."""
    proposed: tuple[str, ...] = ()
    """What has become a proposal."""
    accepted: tuple[str, ...] = ()
    """What is followed from now on."""
    gone: tuple[str, ...] = ()
    """What the look before found and this one does not."""
    taken: tuple[str, ...] = ()
    """Proposals that stand in a list by now."""
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    """What cannot be a symbol of the exchange, with the reason of each."""

    @property
    def done(self) -> bool:
        """Whether what is stored is as the screener's answer."""
        return self.status in (Status.CHANGED, Status.UNCHANGED)


class DiscoveryFailed(CatalogError):
    """An exchange's listings cannot be told; the message says what was seen and the remedy."""


@dataclass(frozen=True, slots=True)
class Listings:
    """What the screener lists on an exchange: by type of asset, each symbol once; and what was refused, with why."""

    found: Mapping[AssetType, Sequence[ConfiguredSymbol]]
    refused: Mapping[str, str] = field(default_factory=dict[str, str])


def discover(
    store: ObjectStore,
    exchange: Exchange,
    known: Collection[str],
    documents: Documents,
    rules: Rules,
    now: datetime,
    *,
    dry_run: bool = False,
) -> Discovery:
    """Looks at an exchange and stores what was found; what fails is told in the answer.

    Args:
        known: the exchange's symbols that stand in a list.
        now: a moment before the look.
        dry_run: nothing is stored.

    Raises StoreUnavailable, Interrupted.
    """
    try:
        looked = listings_of(exchange, rules.types, documents)
    except DiscoveryFailed as error:
        return Discovery(exchange.code, Status.FAILED, str(error))
    made: list[Discovery] = []

    def decide(before: Discovered) -> Discovered | None:
        after, told = merged(exchange.code, before, looked, known, rules, now)
        made.append(told)
        return after

    try:
        if dry_run:
            decide(read_discovered(store, exchange.code))
        else:
            change_discovered(store, exchange.code, decide)
    except (ObjectDamaged, NewerFormat) as error:
        return Discovery(exchange.code, Status.FAILED, str(error))
    return made[-1]


def listings_of(exchange: Exchange, types: Sequence[AssetType], documents: Documents) -> Listings:
    """Asks the screener for each of Yahoo's codes of an exchange. Raises DiscoveryFailed, Interrupted."""
    if not exchange.yahoo_codes:
        raise DiscoveryFailed(
            f"{exchange.code} has no codes of Yahoo's; name its yahoo_codes in the exchanges file"
        )
    found: dict[AssetType, list[ConfiguredSymbol]] = {kind: [] for kind in types}
    refused: dict[str, str] = {}
    seen: set[str] = set()
    for kind in types:
        for code in exchange.yahoo_codes:
            query: dict[str, Any] = {"is-in": ["exchange", code]}
            try:
                screened = documents.screened(query, kind, MOST)
            except ScreenFailed as error:
                raise DiscoveryFailed(f"{exchange.code}: {error}") from error
            for one in screened:
                entry = _entry(one, kind, exchange)
                if isinstance(entry, str):
                    refused[short(one.symbol)] = entry
                elif entry.symbol not in seen:
                    seen.add(entry.symbol)
                    found[kind].append(entry)
    if not seen:
        told = f" ({len(refused)} refused: {_first(refused)})" if refused else ""
        raise DiscoveryFailed(
            f"{exchange.code}: Yahoo's screener: it finds no listing{told}; try again later, or correct "
            "QUANT_ASSETS_DISCOVERY_TYPES"
        )
    return Listings(found, refused)


def _entry(one: Screened, kind: AssetType, exchange: Exchange) -> ConfiguredSymbol | str:
    """A listing as the catalog takes it, or why it does not."""
    if one.exchange and one.exchange not in exchange.yahoo_codes:
        return f"Yahoo has it on {short(one.exchange)}"
    try:
        entry = ConfiguredSymbol(
            symbol=one.symbol,
            name=plain(one.name)[:LONGEST_TEXT],
            asset_type=kind,
            currency=one.currency if one.currency in exchange.currencies else None,
        )
    except ValidationError as error:
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return misplacement(entry, exchange) or entry


def _first(refused: Mapping[str, str]) -> str:
    symbol, why = next(iter(refused.items()))
    return why if symbol.strip("'") in why else f"{symbol}: {why}"


def merged(
    code: str, before: Discovered, looked: Listings, known: Collection[str], rules: Rules, now: datetime
) -> tuple[Discovered | None, Discovery]:
    """What is known of an exchange after a look, None where that is what was known before; and what came of it."""
    total = sum(map(len, looked.found.values()))
    if reason := _unbelieved(before, looked, rules.shrink, now):
        return None, Discovery(code, Status.REFUSED, reason, total, refused=looked.refused)
    today = now.astimezone(UTC).date()
    rows: dict[str, dict[str, Any]] = {row["symbol"]: row for row in before.listings.to_dicts()}
    proposed: list[str] = []
    accepted: list[str] = []
    first_state = State.ACCEPTED if rules.automatic else State.PROPOSED
    found = {entry.symbol: entry for entries in looked.found.values() for entry in entries}
    for symbol, entry in found.items():
        row = rows.get(symbol)
        if row is None and symbol in known:
            continue
        if row is None:
            row = rows[symbol] = {
                "symbol": symbol,
                "first_seen": today,
                "state": first_state.value,
                "known_at": now,
            }
            (accepted if rules.automatic else proposed).append(symbol)
        elif rules.automatic and row["state"] == State.PROPOSED and symbol not in known:
            row |= {"state": State.ACCEPTED.value, "known_at": now}
            accepted.append(symbol)
        row |= {
            "name": entry.name or row.get("name"),
            "currency": entry.currency or row.get("currency"),
            "asset_type": entry.asset_type,
            "last_seen": today,
        }
    taken = [symbol for symbol, row in rows.items() if row["state"] == State.PROPOSED and symbol in known]
    for symbol in taken:
        del rows[symbol]
    listings = pl.DataFrame(list(rows.values()), schema=DISCOVERED_SCHEMA).sort("symbol")
    looks = {**before.looks, **{kind: Look(len(some), now) for kind, some in looked.found.items()}}
    after = Discovered(listings, looks)
    told = Discovery(
        code, Status.UNCHANGED, "", total, tuple(sorted(proposed)), tuple(sorted(accepted)),
        _gone(before, looked, found), tuple(sorted(taken)), looked.refused,
    )  # fmt: skip
    if told.proposed or told.accepted or told.gone or told.taken:
        told = replace(told, status=Status.CHANGED)
    return (None if _same(before, after) else after), told


def _unbelieved(before: Discovered, looked: Listings, shrink: float, now: datetime) -> str:
    """Why a look cannot be taken; "" where it can."""
    for kind, entries in looked.found.items():
        look = before.looks.get(kind)
        if look is None:
            continue
        if look.at > now:
            return (
                f"somebody looked at {look.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, after this look: look again "
                "(where QUANT_ASSETS_NOW holds the clock, at a later moment)"
            )
        lost = look.listings - len(entries)
        if lost * 100 > shrink * look.listings:
            share = lost * 100 / look.listings
            return (
                f"the screener's {kind} listings shrank from {look.listings} to {len(entries)} ({share:.3g} %, and "
                f"{shrink:g} % are believed): nothing is changed; look again later, and if this is right say "
                f"QUANT_ASSETS_UNIVERSE_SHRINK={math.ceil(share)} for one call"
            )
    return ""


def _gone(before: Discovered, looked: Listings, found: Collection[str]) -> tuple[str, ...]:
    days = {
        kind: before.looks[kind].at.astimezone(UTC).date() for kind in looked.found if kind in before.looks
    }
    rows = before.listings.select("symbol", "asset_type", "last_seen").iter_rows()
    return tuple(
        symbol
        for symbol, kind, last_seen in rows
        if symbol not in found and kind in days and last_seen >= days[kind]
    )


def _same(before: Discovered, after: Discovered) -> bool:
    """Whether two say the same, but for the hour of their looks."""

    def told(one: Discovered) -> dict[str, Any]:
        return {kind: (look.listings, look.at.astimezone(UTC).date()) for kind, look in one.looks.items()}

    return told(before) == told(after) and before.listings.equals(after.listings)


class UnknownListing(QuantAssetsError, ValueError):
    """Nothing of that name was discovered; `symbols` are those."""

    def __init__(self, code: str, symbols: Sequence[str]) -> None:
        super().__init__(
            f"{code}: not among what was discovered: {', '.join(map(short, symbols))} "
            "(`quant-assets catalog proposals` lists what is)"
        )
        self.symbols = tuple(symbols)


def settle(
    store: ObjectStore, code: str, symbols: Sequence[str] | None, state: State, now: datetime
) -> list[str]:
    """Accepts or rejects discovered listings; answers those of which that is new.

    `symbols` None: all proposals; of those to be accepted only what the last look found. Of two decisions the later
    one counts. Raises UnknownListing, and then nothing is changed; ObjectDamaged, StoreUnavailable.
    """
    changed: list[str] = []

    def decide(before: Discovered) -> Discovered | None:
        rows = before.listings
        if unknown := sorted(set(symbols or ()) - set(rows["symbol"])):
            raise UnknownListing(code, unknown)
        if symbols is not None:
            chosen = pl.col("symbol").is_in(list(symbols)) & (pl.col("state") != state)
        else:
            chosen = pl.col("state") == State.PROPOSED
            if state is State.ACCEPTED:
                chosen = chosen & still_listed(before)
        changed[:] = rows.filter(chosen)["symbol"]
        if not changed:
            return None
        settled = rows.with_columns(
            pl.when(chosen).then(pl.lit(state.value)).otherwise("state").alias("state"),
            pl.when(chosen)
            .then(pl.lit(now).cast(DISCOVERED_SCHEMA["known_at"]))
            .otherwise("known_at")
            .alias("known_at"),
        )
        return replace(before, listings=settled)

    change_discovered(store, code, decide)
    return changed


def still_listed(discovered: Discovered) -> pl.Expr:
    """Whether the last look for a listing's type found it."""
    days = {kind: look.at.astimezone(UTC).date() for kind, look in discovered.looks.items()}
    if not days:
        return pl.lit(value=False)
    looked = pl.col("asset_type").replace_strict(days, default=None, return_dtype=pl.Date)
    return pl.col("last_seen") >= looked
