"""What a catalog is made of: the symbols that the universe file lists, the stored constituents of universes, and what
was discovered and accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from quant_assets.catalog.build import UNIVERSE
from quant_assets.catalog.configured import ConfiguredSymbol, universe_sha256
from quant_assets.catalog.refresh import Find, Planned, apply_refresh, plan_refresh, refreshable, symbols_of
from quant_assets.catalog.universe import StaticSource, Universe
from quant_assets.catalog.universes_file import read_universes
from quant_assets.exchanges import Exchange
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.discovered import DISCOVERED_UNIVERSE, followed_listings, followed_sha256
from quant_assets.tables.universes import StoredUniverse, constituents_sha256, read_constituents


@dataclass(frozen=True, slots=True)
class CatalogLists:
    """The lists of a catalog, as `build_catalog` takes them."""

    configured: dict[str, Sequence[ConfiguredSymbol]] = field(
        default_factory=dict[str, Sequence[ConfiguredSymbol]]
    )
    members: dict[str, dict[str, Sequence[ConfiguredSymbol]]] = field(
        default_factory=dict[str, dict[str, Sequence[ConfiguredSymbol]]]
    )
    unknown: set[str] = field(default_factory=set[str])
    """The enabled universes that were never refreshed on their exchange."""
    sourced: set[str] = field(default_factory=set[str])
    """The enabled universes whose symbols a source tells, and not the file."""


def lists_of(universes: Iterable[Universe], store: ObjectStore) -> CatalogLists:
    """What the enabled universes list: the file's own lists as they are written, the others as last refreshed; and
    last, on each exchange, what was discovered and accepted.

    Raises ObjectDamaged, StoreUnavailable.
    """
    lists = _listed_by_universes(universes, store)
    for code, accepted in followed_listings(store).items():
        lists.members.setdefault(code, {})[DISCOVERED_UNIVERSE] = symbols_of(accepted)
    return lists


def known_symbols(universes: Iterable[Universe], store: ObjectStore) -> dict[str, set[str]]:
    """By exchange code, the symbols that stand in a list of the enabled universes.

    Raises ObjectDamaged, StoreUnavailable.
    """
    lists = _listed_by_universes(universes, store)
    known: dict[str, set[str]] = {}
    for code, entries in lists.configured.items():
        known.setdefault(code, set()).update(entry.symbol for entry in entries)
    for code, members in lists.members.items():
        known.setdefault(code, set()).update(entry.symbol for some in members.values() for entry in some)
    return known


def _listed_by_universes(universes: Iterable[Universe], store: ObjectStore) -> CatalogLists:
    """What the enabled universes list. Raises ObjectDamaged, StoreUnavailable."""
    lists = CatalogLists()
    # What a person has written of a symbol counts before what a source says.
    for universe in sorted(universes, key=lambda one: not isinstance(one.source, StaticSource)):
        if not universe.enabled:
            continue
        if not isinstance(universe.source, StaticSource):
            lists.sourced.add(universe.name)
        if isinstance(universe.source, StaticSource):
            symbols: Sequence[ConfiguredSymbol] = universe.source.symbols
        elif (stored := _standing(store, universe)) is not None:
            symbols = symbols_of(stored.constituents)
        else:
            lists.unknown.add(universe.name)
            continue
        if universe.name == UNIVERSE:
            lists.configured[universe.exchange] = symbols
        else:
            lists.members.setdefault(universe.exchange, {})[universe.name] = symbols
    return lists


def _standing(store: ObjectStore, universe: Universe) -> StoredUniverse | None:
    """What is stored of a universe; None where that is of the exchange that it had before."""
    stored = read_constituents(store, universe.name)
    return stored if stored is not None and stored.exchange == universe.exchange else None


def inputs_sha256(
    path: Path | None,
    exchanges: Sequence[Exchange],
    store: ObjectStore,
    universes: Iterable[Universe] | None = None,
) -> str:
    """Hash of what a catalog is made of: of the file's text, of what is stored of its universes, and of what was
    discovered and accepted.

    `universes`: what the file says, where it has been read already.

    Raises CatalogError, ObjectDamaged, StoreUnavailable.
    """
    text = universe_sha256(path)
    names = _stored_lists(path, tuple(exchanges), text) if universes is None else _not_in_file(universes)
    # No universe of the file has an equals sign in its name.
    used = {one.code for one in exchanges}
    accepted = {f"exchange={code}": sha for code, sha in followed_sha256(store).items() if code in used}
    if not names and not accepted:
        return text
    hashes = {**{name: constituents_sha256(store, name) for name in names}, **accepted}
    told = "".join(f"{name} {sha}\n" for name, sha in hashes.items())
    return hashlib.sha256(f"{text}\n{told}".encode()).hexdigest()


@lru_cache(maxsize=4)
def _stored_lists(path: Path | None, exchanges: tuple[Exchange, ...], text_sha256: str) -> tuple[str, ...]:
    """The enabled universes whose constituents are stored; a long file takes seconds to read, so once a text."""
    return _not_in_file(read_universes(path, exchanges))


def _not_in_file(universes: Iterable[Universe]) -> tuple[str, ...]:
    return tuple(
        universe.name
        for universe in universes
        if universe.enabled and not isinstance(universe.source, StaticSource)
    )


def refresh_lacking(
    universes: Sequence[Universe], store: ObjectStore, find: Find, shrink: float, now: datetime
) -> list[Planned]:
    """Refreshes the enabled universes that were never refreshed on their exchange, and those for which nothing
    outside has to be asked: what the file lists itself, and what is made of others. Answers what came of those and
    of what they are made of.

    Raises ObjectDamaged, StoreUnavailable.
    """
    wanted = [
        universe.name
        for universe in refreshable(universes)
        if universe.enabled
        and (
            isinstance(universe.source, StaticSource)
            or universe.members
            or _standing(store, universe) is None
        )
    ]
    planned = plan_refresh(universes, wanted, lambda name: read_constituents(store, name), find, shrink)
    return apply_refresh(store, planned, now)
