"""Universes brought up to date with their sources: planned first, so that a person sees it, and applied then.

A source that fails, or that has lost more constituents than is believed, changes nothing of its universe; the others
go on, but for those that need it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from urllib.parse import urlsplit

import polars as pl

from quant_assets.catalog.build import UNIVERSE
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.universe import (
    CsvSource,
    ExcelSource,
    HtmlTableSource,
    IndexSource,
    MinusSource,
    ScreenerSource,
    StaticSource,
    UnionSource,
    Universe,
)
from quant_assets.errors import QuantAssetsError
from quant_assets.exchanges import Exchange
from quant_assets.resources.documents import Documents
from quant_assets.resources.interrupts import Interrupted
from quant_assets.resources.object_store import NewerFormat, ObjectDamaged, ObjectStore
from quant_assets.tables.membership import record_seen
from quant_assets.tables.universes import (
    CONSTITUENTS_SCHEMA,
    StoredUniverse,
    put_constituents,
    read_constituents,
)

Find = Callable[[Universe, Mapping[str, Sequence[ConfiguredSymbol]]], Sequence[ConfiguredSymbol]]
"""What a universe's source gives, with the constituents of the universes it is made of."""

_MOST_REPLACED = 50.0
"""Percent of the constituents that may leave at once while others come for them: more is another list."""
_UNREADABLE = (ObjectDamaged, NewerFormat)


class Status(StrEnum):
    """What a refresh makes of a universe."""

    NEW = "new"
    """It was never refreshed before."""
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    """More of it is gone than is believed, or a later refresh found otherwise."""
    FAILED = "failed"
    """Its source gives nothing that can be used."""
    SKIPPED = "skipped"
    """It needs one that was not refreshed."""


_NOT_DONE = (Status.REFUSED, Status.FAILED, Status.SKIPPED)


@dataclass(frozen=True, slots=True)
class Planned:
    """What a refresh finds of a universe, and what it makes of it."""

    universe: Universe
    status: Status
    reason: str = ""
    """Why nothing is changed."""
    before: int | None = None
    """How many constituents are stored; None: it was never refreshed."""
    found: pl.DataFrame | None = field(default=None, compare=False)
    """What its source gives (CONSTITUENTS_SCHEMA, by symbol); None where it gives nothing."""
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """By symbol, the columns that say something else than before."""
    looked_before: date | None = None
    """The day of the refresh before."""

    @property
    def done(self) -> bool:
        """Whether the universe is as its source is once this is applied."""
        return self.status not in _NOT_DONE


def refreshable(universes: Iterable[Universe]) -> list[Universe]:
    """Those that a refresh can be about: not the lists of the short form, which the catalog reads from the file."""
    return [one for one in universes if one.name != UNIVERSE or not isinstance(one.source, StaticSource)]


def finder(documents: Documents, exchanges: Iterable[Exchange]) -> Find:
    """Asks the sources themselves, over `documents`."""
    # The readers of tables and pages are slow to import, and a list in the file needs none.
    from quant_assets.catalog.sources import constituents

    by_code = {exchange.code: exchange for exchange in exchanges}
    return lambda universe, others: constituents(universe, by_code[universe.exchange], documents, others)


def plan_refresh(
    universes: Sequence[Universe],
    wanted: Collection[str],
    stored: Callable[[str], StoredUniverse | None],
    find: Find,
    shrink: float,
) -> list[Planned]:
    """What a refresh of the `wanted` universes would do, in the order of `universes`; changes nothing.

    A universe that one of them is made of is refreshed with them if it never was before on its exchange, or if it is
    not enabled.

    Args:
        universes: all of the file, each behind those it needs.
        stored: what is stored of a universe.
        shrink: percent of the constituents that may be lost at once.
    """
    planned: dict[str, Planned] = {}
    known: dict[str, Sequence[ConfiguredSymbol]] = {}
    exchanges = {one.name: one.exchange for one in universes}

    def standing(name: str) -> StoredUniverse | None:
        present = stored(name)
        return present if present is not None and present.exchange == exchanges[name] else None

    chosen = _with_members(universes, wanted, standing)
    for universe in universes:
        name = universe.name
        if name not in chosen:
            continue
        trouble = [need for need in universe.needs if need in planned and not planned[need].done]
        if trouble:
            planned[name] = Planned(universe, Status.SKIPPED, f"it needs {', '.join(trouble)}")
            continue
        try:
            before = stored(name)
            others = {member: _known(member, known, standing) for member in universe.members}
        except _UNREADABLE as error:
            planned[name] = Planned(universe, Status.FAILED, str(error))
            continue
        try:
            found = find(universe, others)
        except Interrupted:
            raise
        except QuantAssetsError as error:
            planned[name] = Planned(universe, Status.FAILED, str(error), _height(before))
            continue
        planned[name] = compare(universe, before, frame_of(found), shrink)
        known[name] = found
    return list(planned.values())


def apply_refresh(store: ObjectStore, planned: Sequence[Planned], now: datetime) -> list[Planned]:
    """Stores what was found, and who joined and left; answers what came of it.

    `now` is the moment at which it was found: what somebody else has found since stays as it is, and a universe of
    which something else was found then is REFUSED in the answer. A universe whose
    objects cannot be read is FAILED in the answer. Raises StoreUnavailable.
    """
    return [_apply(store, one, now) if one.done else one for one in planned]


def _apply(store: ObjectStore, one: Planned, now: datetime) -> Planned:
    universe, found = one.universe, one.found
    assert found is not None
    source = source_in_words(universe)
    try:
        present = read_constituents(store, universe.name)
        if present is not None and present.refreshed_at > now:
            return _overtaken(one, present, now)
        # The ledger first: where a process ends between the two, the next refresh finds the difference again, and the
        # ledger takes only what it does not say yet.
        record_seen(store, universe.name, found["symbol"].to_list(), source, now, one.looked_before)
        put_constituents(store, universe.name, StoredUniverse(found, universe.exchange, source, now))
    except _UNREADABLE as error:
        return replace(one, status=Status.FAILED, reason=str(error))
    return one


def _overtaken(one: Planned, present: StoredUniverse, now: datetime) -> Planned:
    """What comes of a universe of which a later refresh is stored: another one at the same time, or the clock is held
    in the past."""
    if one.status is Status.UNCHANGED or (one.found is not None and present.constituents.equals(one.found)):
        return one
    reason = (
        f"it was refreshed at {_moment(present.refreshed_at)}, after this look at {_moment(now)}, with another list, "
        "which stays: refresh it again (where QUANT_ASSETS_NOW holds the clock, at a later moment)"
    )
    return replace(one, status=Status.REFUSED, reason=reason)


def _moment(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def compare(universe: Universe, before: StoredUniverse | None, found: pl.DataFrame, shrink: float) -> Planned:
    """What a universe's source gives beside what is stored of it."""
    if before is None:
        return Planned(universe, Status.NEW, found=found, joined=tuple(found["symbol"]))
    was = before.constituents
    old, new = set(was["symbol"]), set(found["symbol"])
    joined, left = tuple(sorted(new - old)), tuple(sorted(old - new))
    changed = _changed(was, found)
    status = Status.CHANGED if joined or left or changed else Status.UNCHANGED
    # Who moves a universe to another exchange says himself that none of its symbols stays.
    own_word = isinstance(universe.source, StaticSource) or before.exchange != universe.exchange
    reason = "" if own_word else _too_few(len(old), len(new), left, shrink)
    return Planned(
        universe, Status.REFUSED if reason else status, reason, len(old), found, joined, left, changed,
        before.refreshed_at.astimezone(UTC).date(),
    )  # fmt: skip


def _too_few(before: int, after: int, left: Sequence[str], shrink: float) -> str:
    """Why a universe cannot have become what its source gives; "" where it can."""
    lost, gone = before - after, len(left)
    if lost * 100 > shrink * before:
        told, share = f"it shrank from {before} constituents to {after}", lost * 100 / before
    elif gone * 100 > max(shrink, _MOST_REPLACED) * before:
        told, share = f"{gone} of its {before} constituents left at once", gone * 100 / before
    else:
        return ""
    return (
        f"{told} ({share:.3g} %, and {shrink:g} % are believed): nothing is changed; look at its source, and if this "
        f"is right say QUANT_ASSETS_UNIVERSE_SHRINK={math.ceil(share)} for one call"
    )


def _changed(was: pl.DataFrame, found: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    names = [name for name in CONSTITUENTS_SCHEMA.names() if name != "symbol"]
    both = was.join(found, on="symbol", how="inner", suffix="_found", maintain_order="left")
    differs = both.select("symbol", *(pl.col(name).ne_missing(pl.col(f"{name}_found")) for name in names))
    return {
        symbol: tuple(name for name, differ in zip(names, flags, strict=True) if differ)
        for symbol, *flags in differs.filter(pl.any_horizontal(names)).iter_rows()
    }


def frame_of(symbols: Iterable[ConfiguredSymbol]) -> pl.DataFrame:
    """Constituents as they are stored (CONSTITUENTS_SCHEMA, by symbol)."""
    rows = [
        tuple(getattr(symbol, name) or None for name in CONSTITUENTS_SCHEMA.names()) for symbol in symbols
    ]
    return pl.DataFrame(rows, schema=CONSTITUENTS_SCHEMA, orient="row").sort("symbol")


def symbols_of(constituents: pl.DataFrame) -> list[ConfiguredSymbol]:
    """Stored constituents, or some of their columns, as a source gives them."""
    # They were checked when they were found.
    return [
        ConfiguredSymbol.model_construct(None, **{**row, "name": row["name"] or ""})
        for row in constituents.iter_rows(named=True)
    ]


def source_in_words(universe: Universe) -> str:
    """What a universe is read from, as evidence names it; an address without what may be a secret."""
    match universe.source:
        case StaticSource():
            return "the universe file"
        case CsvSource(path=path) | ExcelSource(path=path):
            return _address(path)
        case HtmlTableSource(url=url):
            return _address(url)
        case IndexSource(index=index):
            return f"index {index}"
        case ScreenerSource():
            return "Yahoo's screener"
        case UnionSource(of=of):
            return f"union of {', '.join(of)}"
        case MinusSource(of=of, without=without):
            return f"{of} without {', '.join(without)}"


def _address(place: str) -> str:
    if "://" not in place:
        return place
    parts = urlsplit(place)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _with_members(
    universes: Sequence[Universe], wanted: Collection[str], stored: Callable[[str], StoredUniverse | None]
) -> set[str]:
    chosen = set(wanted)
    # Each stands behind those it is made of.
    enabled = {one.name: one.enabled for one in universes}
    for universe in reversed(universes):
        if universe.name in chosen:
            for member in universe.members:
                if not enabled[member] or _never_refreshed(member, stored):
                    chosen.add(member)
    return chosen


def _height(before: StoredUniverse | None) -> int | None:
    return None if before is None else before.constituents.height


def _never_refreshed(name: str, stored: Callable[[str], StoredUniverse | None]) -> bool:
    try:
        return stored(name) is None
    except _UNREADABLE:
        # It is read again where it is needed, and told there.
        return False


def _known(
    member: str,
    known: Mapping[str, Sequence[ConfiguredSymbol]],
    stored: Callable[[str], StoredUniverse | None],
) -> Sequence[ConfiguredSymbol]:
    """The constituents of a universe: as they were just found, else as they are stored."""
    if member in known:
        return known[member]
    present = stored(member)
    return symbols_of(present.constituents) if present else ()
