"""What the end of a table's object says of its row groups."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.parquet import encode
from quant_assets.tables.ranged import Footer


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["AUD", "AUD", "AUD"], "AUD"),
        (["AUD", "USD", "AUD"], None),
        (["AUD", None, "AUD"], None),
        ([None, None, None], None),
    ],
)
def test_a_text_is_said_where_all_rows_have_it(
    tmp_path: Path, texts: list[str | None], said: str | None
) -> None:
    store = LocalObjectStore(tmp_path)
    frame = pl.DataFrame({"symbol": ["A", "B", "C"], "currency": pl.Series(texts, dtype=pl.String)})
    footer = Footer(store, store.put("table", encode(frame, {})))
    assert footer.said("currency", [0]) == said
    assert footer.said("flags", [0]) is None
    assert footer.groups_of([]) == []
    assert footer.groups_of(["B"]) == [0]
    assert footer.groups_of(["AA", "D"]) == [0]
    assert footer.groups_of(["D"]) == []
