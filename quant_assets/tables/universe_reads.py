"""Who was in a universe on a day, as a user asks for it: refused where nothing tells, never made up."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date

import polars as pl

from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.discovered import DISCOVERED_UNIVERSE
from quant_assets.tables.layout import UNIVERSE_EVENTS, UNIVERSES, universe_of
from quant_assets.tables.membership import MembershipUnknown, members_on, read_membership
from quant_assets.tables.universes import read_constituents
from quant_assets.tables.user_warnings import warn_user


def read_members(
    store: ObjectStore, universe: str, day: date, today: date, listed: Collection[str] = ()
) -> pl.DataFrame:
    """Who was in a universe on a day (MEMBERS_SCHEMA); warns of a day after the last refresh, as of which it answers.

    `listed`: the universes that the catalog names. Raises MembershipUnknown; ValueError for a day in the future and
    for a universe that is neither listed nor stored.
    """
    if day > today:
        raise ValueError(f"on={day} is in the future: today is {today} (UTC)")
    ledger = read_membership(store, universe)
    if ledger.is_empty():
        refuse_unknown(store, universe, listed)
        if universe == DISCOVERED_UNIVERSE:
            raise MembershipUnknown(
                f"universe {universe!r} is a list of decisions, and its past is not answered: without on= "
                "it has those of today (quant-assets catalog proposals --state accepted)"
            )
    members = members_on(ledger, universe, day)
    stored = read_constituents(store, universe)
    if stored is not None and day > (last := stored.refreshed_at.astimezone(UTC).date()):
        warn_user(
            f"universe {universe!r} was last refreshed on {last}: who joined or left since is not known on {day} "
            f"(quant-assets refresh-universe --universe {universe})"
        )
    return members


def refuse_unknown(store: ObjectStore, universe: str, listed: Collection[str]) -> None:
    """Raises ValueError for a universe that is neither `listed` nor stored, naming those there are."""
    stored = (
        universe_of(info.key) for part in (UNIVERSES, UNIVERSE_EVENTS) for info in store.list(f"{part}/")
    )
    known = sorted({*listed, *(name for name in stored if name)})
    if universe not in known:
        raise ValueError(
            f"no universe {universe!r} in {store.location}: there are {', '.join(known) or 'none yet'}"
        )
