"""Some symbols of one table, as a read of prices takes them from a year's history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from quant_assets.resources.object_store import ObjectInfo, ObjectStore
from quant_assets.tables.ranged import decode_parts, read_part


def read_symbols(
    store: ObjectStore, key: str, symbols: Sequence[str], info: ObjectInfo | None = None
) -> tuple[pl.DataFrame, dict[str, Any]] | None:
    """The rows of some symbols of a table and its facts; None where there is no such object."""
    wanted = sorted(set(symbols))
    part = read_part(store, key, wanted, info=info)
    if part is None:
        return None
    rows = decode_parts([part], wanted)
    return (pl.read_parquet(store.get(key).data, n_rows=0) if rows is None else rows), part.facts
