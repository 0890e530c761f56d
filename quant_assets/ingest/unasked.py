"""Which symbols the source was never asked for, as far as the store tells."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.ingest.plan import FillRequest, Plan, make_plan
from quant_assets.market.coverage import FINAL, HELD, NOT_ASKED, SETTLED, CellState
from quant_assets.market.listed import Listed
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.requested import read_requested

_ANSWERED = SETTLED | FINAL | {HELD}
"""Outcomes that an answer has stated: whoever has one was asked, and its holes are others' business."""


def unasked(
    exchange: Exchange,
    store: ObjectStore,
    sessions: Sequence[date],
    listings: pl.DataFrame,
    symbols: Collection[str],
    now: datetime,
) -> dict[str, date]:
    """Of some symbols those without an answer about some session, each with the first such session.

    A session counts when it has a cell or was asked for, of a symbol without any answer every session does. A symbol
    that is expected in none of the sessions lacks nothing. Raises ObjectDamaged, StoreUnavailable.
    """
    plan = make_plan(exchange, store, FillRequest(sessions, listings, symbols), now, look_back=0)
    names, lacking = plan.wanted.table()
    number = {name: at for at, name in enumerate(names)}
    requested = read_requested(store, exchange.code)
    known = np.zeros(len(plan.wanted), dtype=bool)
    for row, session in enumerate(plan.wanted):
        entry = plan.stored.get(session)
        known[row] = entry is not None or session in requested
        for hole in entry.missing if entry else ():
            if hole.outcome in _ANSWERED and hole.symbol in number:
                lacking[row, number[hole.symbol]] = False
    without_any = lacking.sum(axis=0) == _expected(plan, listings)
    counts = lacking & (known[:, None] | without_any)
    return _first(plan, names, counts, symbols)


def left_out(
    exchange: Exchange,
    store: ObjectStore,
    sessions: Sequence[date],
    listings: pl.DataFrame,
    symbols: Collection[str],
    now: datetime,
) -> set[str]:
    """Of some symbols those that are expected in a cell that was filled without asking for them.

    Raises ObjectDamaged, StoreUnavailable.
    """
    plan = make_plan(exchange, store, FillRequest(sessions, listings, symbols), now, look_back=0)
    names, lacking = plan.wanted.table()
    number = {name: at for at, name in enumerate(names)}
    for row, session in enumerate(plan.wanted):
        entry = plan.stored.get(session)
        if entry is None or entry.state is CellState.CLOSED:
            lacking[row] = False
            continue
        for hole in entry.missing:
            if hole.outcome != NOT_ASKED and hole.symbol in number:
                lacking[row, number[hole.symbol]] = False
    return set(_first(plan, names, lacking, symbols))


def _expected(plan: Plan, listings: pl.DataFrame) -> npt.NDArray[np.int64]:
    """By symbol in how many of the sessions it is expected; a cell that cannot be read tells nothing."""
    listed = Listed(listings.unique("symbol"))
    counts = np.zeros(len(listed.names), dtype=np.int64)
    for session in plan.days.sessions:
        if session not in plan.damaged:
            counts += listed.which(session)
    return counts


def _first(
    plan: Plan, names: Sequence[str], lacking: npt.NDArray[np.bool_], symbols: Collection[str]
) -> dict[str, date]:
    """Per symbol the first session that it lacks."""
    days, chosen = list(plan.wanted), set(symbols)
    some = np.flatnonzero(lacking.any(axis=0)).tolist()
    first = lacking[:, some].argmax(axis=0).tolist() if some else []
    return {names[at]: days[row] for at, row in zip(some, first, strict=True) if names[at] in chosen}
