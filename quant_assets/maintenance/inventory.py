"""What the store holds, summed up for people: cells by state, freshness, and who is missing most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState, absent_days
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import DAILY, WEEKLY
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.requested import first_requested, read_requested


def manifest_summary(store: ObjectStore, exchanges: Sequence[Exchange]) -> dict[str, dict[str, Any]]:
    """Per exchange: cells by state, rows, bytes, sessions without a cell, last complete session, weeks.

    Sessions without a cell are those from the first to the last day that has one or was asked for.
    """
    summary: dict[str, dict[str, Any]] = {}
    for exchange in exchanges:
        code = exchange.code
        entries = list(Manifest(store, DAILY).all(code))
        states = Counter(entry.state for entry in entries)
        complete = [entry.partition for entry in entries if entry.state is CellState.COMPLETE]
        summary[code] = {
            "cells": {state.value: states[state] for state in CellState},
            "rows": sum(entry.rows for entry in entries),
            "bytes": sum(entry.size for entry in entries),
            "absent": [day.isoformat() for day in absent_sessions(store, exchange)],
            "last_complete": max(complete, default=None),
            "weeks": sum(1 for _ in Manifest(store, WEEKLY).all(code)),
        }
    return summary


def absent_sessions(store: ObjectStore, exchange: Exchange) -> list[date]:
    """The sessions without a cell, from the first to the last day that has one or was asked for, in order.

    Those on its weekdays: a session on any other has no partition, and the sensor of missed sessions names it.
    Raises ObjectDamaged, StoreUnavailable.
    """
    cells = (entry.partition for entry in Manifest(store, DAILY).all(exchange.code))
    requested = read_requested(store, exchange.code)
    asked = [day for day in (requested.first, requested.last) if day is not None]
    absent = absent_days(cells, exchange.session_weekdays(), asked)
    if not absent:  # the calendar library costs most of a second, and need not be asked
        return []
    sessions = set(exchange.calendar().sessions(absent[0], absent[-1]))
    return [day for day in absent if day in sessions]


def worst_holes(entries: Iterable[Entry]) -> list[tuple[str, str, str, int]]:
    """(symbol, outcome, reason, cells) of what is missing, the most cells first."""
    holes: Counter[tuple[str, str, str]] = Counter(
        (missing.symbol, missing.outcome, missing.reason) for entry in entries for missing in entry.missing
    )
    return [(*hole, cells) for hole, cells in holes.most_common()]


def first_day(store: ObjectStore, exchange: str) -> date | None:
    """The first day of an exchange that was asked for, or has a cell."""
    return first_requested(store, exchange)
