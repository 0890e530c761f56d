"""What a cell's entry says, by value: its counts, its state, its holes and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from quant_assets._version import __version__
from quant_assets.ingest.cells import CellNews, CellWriter, damaged_cell
from quant_assets.market.bars import content_sha256
from quant_assets.market.coverage import CellState, Missing, symbols_sha256
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Expected
from quant_assets.tables.parquet import read_table
from quant_assets_tests.filled import bars
from quant_assets_tests.ingest.harness import WEEK
from quant_assets_tests.ingest.test_cells import DAY, FIRST, LATER, hole, writer


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def news(symbols: Sequence[str], *missing: Missing) -> CellNews:
    return CellNews(fresh=bars(DAY, symbols, FIRST), missing={one.symbol: one for one in missing})


def test_the_entry_of_a_cell_says_what_it_is_made_of(store: LocalObjectStore) -> None:
    rows = bars(DAY, ["A", "B"], FIRST)
    written = writer(store).write(DAY, ["A", "B", "C"], CellNews(fresh=rows), None, FIRST)
    entry = written.entry
    assert (written.put, written.damaged, entry.partition, entry.state) == (
        True, False, "2013-02-13", CellState.PARTIAL,
    )  # fmt: skip
    assert (entry.rows, entry.expected, entry.received, entry.source) == (2, 3, 2, "made up")
    assert (entry.expected_sha256, entry.content_sha256) == (symbols_sha256("ABC"), content_sha256(rows))
    assert (entry.code_version, datetime.fromisoformat(entry.recorded_at)) == (__version__, FIRST)
    assert entry.missing == (Missing("C", "not_asked", "not asked for yet", date(2013, 2, 13)),)
    blob = store.get(object_key(DAILY, "US", str(DAY)))
    assert (entry.size, entry.version) == (blob.info.size, blob.info.version)


@pytest.mark.parametrize(
    ("expected", "came", "missing", "least", "state", "reason"),
    [
        (["A"], ["A"], [], 0.0, "complete", ""), (["A", "B"], ["A"], [hole("B")], 0.5, "partial", ""),
        (["A", "B"], ["A"], [hole("B")], 0.51, "failed", "1 of 2 symbols received, less than 51%: 1 no_bar"),
        ([], [], [], 0.0, "complete", "no symbol of the catalog was listed that day"),
        (["A", "B"], [], [hole("A"), hole("B", "failed")], 0.0, "failed", "nothing received: 1 no_bar, 1 failed"),
        (list("ABC"), [], [hole("A", "failed"), hole("B"), hole("C")], 0.0, "failed",
         "nothing received: 2 no_bar, 1 failed"),
        # Whoever was not asked, or was suspended, does not count against the cell.
        (["A", "B"], ["A"], [], 0.95, "partial", ""), (["A", "B"], ["A"], [hole("B", gap=6)], 0.95, "partial", ""),
        (list("ABC"), ["A"], [hole("B", gap=6)], 0.95, "failed",
         "1 of 3 symbols received, less than 95%: 1 no_bar, 1 not_asked"),
    ],
)  # fmt: skip
def test_the_state_and_the_reason_of_a_cell(
    store: LocalObjectStore,
    expected: list[str],
    came: list[str],
    missing: list[Missing],
    least: float,
    state: str,
    reason: str,
) -> None:
    written = writer(store, least).write(DAY, expected, news(came, *missing), None, FIRST)
    assert (written.entry.state, written.entry.reason) == (state, reason)
    assert written.put is bool(came)


def test_a_hole_stated_twice_is_called_a_suspension_where_most_of_the_market_traded(
    store: LocalObjectStore,
) -> None:
    twice = hole("C", gap=6, answers=2)
    written = writer(store).write(DAY, ["A", "B", "C"], news(["A", "B"], twice), None, FIRST)
    assert [one.outcome for one in written.entry.missing] == ["suspended"]
    few = writer(store).write(WEEK[0], ["C", "D", "E"], CellNews(missing={"C": twice}), None, FIRST)
    assert [(one.symbol, one.outcome) for one in few.entry.missing] == [
        ("C", "no_bar"), ("D", "not_asked"), ("E", "not_asked"),
    ]  # fmt: skip


def test_an_action_alone_is_a_row_and_no_bar(store: LocalObjectStore) -> None:
    alone = bars(DAY, ["A"], FIRST).with_columns(
        *(pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low", "close")),
        volume=pl.lit(0, pl.Int64),
        dividend=pl.lit(0.5),
    )
    written = writer(store, 0.5).write(
        DAY, ["A"], CellNews(fresh=alone, missing={"A": hole("A")}), None, FIRST
    )
    entry = written.entry
    assert (written.put, entry.rows, entry.received, entry.state) == (True, 1, 0, CellState.FAILED)
    assert entry.reason == "0 of 1 symbols received, less than 50%: 1 no_bar"


def test_a_row_is_replaced_and_everybody_elses_stays(store: LocalObjectStore) -> None:
    first = writer(store).write(DAY, ["A", "B"], news(["A", "B"]), None, FIRST)
    old = bars(DAY, ["A", "B"], FIRST)[:1]
    new = old.with_columns(close=pl.lit(10.5), fetched_at=pl.lit(LATER).cast(old.schema["fetched_at"]))
    second = writer(store).write(DAY, ["A", "B"], CellNews(old=old, new=new), first.entry, LATER)
    key = object_key(DAILY, "US", str(DAY))
    assert second.put
    assert read_table(store, key).equals(pl.concat([new, bars(DAY, ["A", "B"], FIRST)[1:]]))
    # The manifest may know another version than the one that stands.
    same = writer(store).write(DAY, ["A", "B"], CellNews(), first.entry, LATER)
    assert (same.put, same.entry.version) == (False, second.entry.version)


def test_a_damaged_cell_is_left_alone_and_named(store: LocalObjectStore) -> None:
    key = object_key(DAILY, "US", str(DAY))
    store.put(key, b"no table")
    written = writer(store).write(DAY, ["A"], news(["A"]), None, FIRST)
    assert (written.put, written.damaged) == (False, True)
    assert (written.entry.state, key in written.entry.reason) == (CellState.FAILED, True)
    assert store.get(key).data == b"no table"
    assert damaged_cell(DAY, "why").reason == "why"


def test_a_cell_notes_for_whom_it_was_filled(store: LocalObjectStore) -> None:
    one = CellWriter(store, "US", "made up", 0.0, Expected(store, "US"))
    one.write(DAY, ["A", "B"], news(["A", "B"]), None, FIRST)
    assert Expected(store, "US").symbols(symbols_sha256("AB")) == {"A", "B"}
