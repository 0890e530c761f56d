"""What the store holds, summed up for people: cells by state, freshness, and who is missing most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from quant_assets.market.coverage import CellState, absent_days
from resources.manifest import Entry, Manifest
from resources.object_store import ObjectStore
from resources.tables import DAILY, WEEKLY


def manifest_summary(store: ObjectStore, exchanges: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Per exchange: cells by state, rows, bytes, weekdays without a cell, last complete session, weeks."""
    summary: dict[str, dict[str, Any]] = {}
    for code in exchanges:
        entries = list(Manifest(store, DAILY).all(code))
        states = Counter(entry.state for entry in entries)
        complete = [entry.partition for entry in entries if entry.state is CellState.COMPLETE]
        summary[code] = {
            "cells": {state.value: states[state] for state in CellState},
            "rows": sum(entry.rows for entry in entries),
            "bytes": sum(entry.size for entry in entries),
            "absent": [day.isoformat() for day in absent_days(entry.partition for entry in entries)],
            "last_complete": max(complete, default=None),
            "weeks": sum(1 for _ in Manifest(store, WEEKLY).all(code)),
        }
    return summary


def worst_holes(entries: Iterable[Entry]) -> list[tuple[str, str, str, int]]:
    """(symbol, outcome, reason, cells) of what is missing, the most cells first."""
    holes: Counter[tuple[str, str, str]] = Counter(
        (missing.symbol, missing.outcome, missing.reason) for entry in entries for missing in entry.missing
    )
    return [(*hole, cells) for hole, cells in holes.most_common()]
