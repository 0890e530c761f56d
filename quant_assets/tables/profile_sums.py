"""The sums of each year that profiles are made from (`market.profile_sums`), kept beside the history.

A year's object says which cells it is over, by their content, and what it went on from. So what has not changed is
read, a new session is added to what is there, and a year is gone through anew only where a cell of it has changed, or
what the years before leave it with. It is a cache: whatever cannot be used of it is made anew from the cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from quant_assets.market.bars import content_sha256
from quant_assets.market.profile_sums import ROWS, advanced, carried, left_over, no_sums
from quant_assets.resources.object_store import (
    Blob,
    ObjectDamaged,
    ObjectStore,
    ObjectStoreError,
    StoreUnavailable,
    get_many,
)
from quant_assets.tables.layout import profile_sums_key
from quant_assets.tables.manifest import Entry
from quant_assets.tables.parquet import decode_with_facts, encode
from quant_assets.tables.year_rows import cell_rows, side_by_side, year_rows

RULE = "profile_sums 1"
"""Name and version of the rule that makes them: a new version makes all of them stale."""

_FEW_DAYS = 25
"""New days up to which they are added to a year's sums; more of them are quicker read with their year."""

_UNKEPT_DAYS = 5
"""New days up to which the last year's sums are not put again: adding them anew is cheaper."""

_ROW_BYTES = 2048
"""What a row takes: it and those that are summed or read meanwhile, and the bytes that they come from."""


def sums_of_years(
    store: ObjectStore, exchange: str, cells: Mapping[str, Entry], *, memory_mb: int
) -> dict[int, pl.DataFrame]:
    """The sums (`SUMS_SCHEMA`) of every year that has rows, by year.

    What was not there, or is stale by more than a few of the newest sessions, has been put.

    Args:
        cells: the exchange's cells by day.
        memory_mb: bounds how many rows are in memory at once.

    Raises ObjectDamaged (of a cell), ObjectNotFound, StoreUnavailable.
    """
    days: dict[int, dict[str, Entry]] = {}
    for day, entry in sorted(cells.items()):
        if entry.version:
            days.setdefault(int(day[:4]), {})[day] = entry
    keys = [profile_sums_key(exchange, year) for year in days]
    at_once = memory_mb * 2**20 // _ROW_BYTES
    years: dict[int, pl.DataFrame] = {}
    sums = no_sums()
    left, last = "", max(days, default=0)
    for year, (key, blob) in zip(days, list(get_many(store, keys)), strict=True):
        before = left
        wanted = {day: entry.content_sha256 for day, entry in days[year].items()}
        kept, facts = _kept(blob, store.uri(key), year, before)
        in_kept: dict[str, str] = facts.get("cells", {})
        later = {day: entry for day, entry in days[year].items() if day not in in_kept}
        if kept is not None and in_kept == wanted:
            sums = years[year] = kept
            left = facts["after"]
            continue
        if kept is not None and _goes_on(in_kept, wanted) and len(later) <= _FEW_DAYS:
            sums = years[year] = advanced(kept, [cell_rows(store, exchange, list(later), ROWS)])
            if year == last and len(later) <= _UNKEPT_DAYS:
                break
        else:
            parts = year_rows(store, exchange, year, days[year], ROWS, at_once=at_once)
            sums = years[year] = advanced(carried(sums), parts, each=side_by_side)
        left = content_sha256(left_over(sums))
        made = {"partition": f"{year:04d}", "rule": RULE, "cells": wanted, "before": before, "after": left}
        store.put(key, encode(sums, made))
    return years


def _kept(
    blob: Blob | ObjectStoreError, uri: str, year: int, before: str
) -> tuple[pl.DataFrame | None, dict[str, Any]]:
    """A year's sums as they are kept and the facts beside them; nothing where they are of no use."""
    if isinstance(blob, StoreUnavailable):
        raise blob
    if isinstance(blob, ObjectStoreError):
        return None, {}
    try:
        sums, facts = decode_with_facts(blob.data, uri)
    except ObjectDamaged:
        return None, {}
    as_made = {"partition": f"{year:04d}", "rule": RULE, "before": before}
    return (sums, facts) if as_made.items() <= facts.items() else (None, {})


def _goes_on(earlier: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether all that is new comes after all that was there, and that is unchanged."""
    last = max(earlier, default="")
    return earlier.items() <= now.items() and all(day > last for day in now.keys() - earlier.keys())
