"""What the tables made from daily cells have in common: the cells they rest on, and how a change is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from quant_assets.market.coverage import CellState
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.manifest import Entry, Manifest


def inputs_sha256(rule: str, cells: Mapping[str, Entry]) -> str:
    """Hash over what cells say, and over the name and version of the rule that is applied to them."""
    told = [f"{day}:{entry.state}:{entry.content_sha256}" for day, entry in sorted(cells.items())]
    return hashlib.sha256("\n".join([rule, *told]).encode()).hexdigest()


def with_rows(cells: Mapping[str, Entry]) -> list[str]:
    """The days, in order, whose cell has an object that others may rest on: a failed one is none."""
    return sorted(
        day for day, entry in cells.items() if entry.version and entry.state is not CellState.FAILED
    )


def all_complete(cells: Mapping[str, Entry], sessions: list[date]) -> bool:
    """Whether every session's cell is there and complete."""
    return all(
        (entry := cells.get(session.isoformat())) is not None and entry.state is CellState.COMPLETE
        for session in sessions
    )


def entries_of(
    store: ObjectStore,
    table: str,
    partitions: Iterable[tuple[str, date]],
    *,
    reach: int = 0,
    damaged: dict[str, dict[str, str]] | None = None,
) -> dict[str, dict[str, Entry]]:
    """Per exchange a table's entries from the first of `partitions` to `reach` days past the last one.

    Damaged cells are left out and named in `damaged`, per exchange and day.
    """
    days: dict[str, list[date]] = {}
    for code, day in partitions:
        days.setdefault(code, []).append(day)
    manifest = Manifest(store, table)
    return {
        code: manifest.between(
            code,
            min(found),
            max(found) + timedelta(days=reach),
            refresh=True,
            damaged=None if damaged is None else damaged.setdefault(code, {}),
        )
        for code, found in days.items()
    }
