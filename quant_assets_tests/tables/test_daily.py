"""`read_daily` finds every year that cells, manifest or history hold, whichever of them is lost."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.market.bars import DAILY_SCHEMA, content_sha256
from quant_assets.market.coverage import CellState
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import Blob, ObjectNotFound
from quant_assets.tables.daily import read_cells, read_daily
from quant_assets.tables.layout import DAILY, HISTORY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets_tests.filled import bars, cell

OLD, NEW = date(2022, 12, 30), date(2023, 1, 3)


def put_cell(store: LocalObjectStore, day: date, *symbols: str) -> None:
    put_rows(store, day, bars(day, symbols))


def put_rows(store: LocalObjectStore, day: date, rows: pl.DataFrame) -> None:
    entry = cell(day, rows)
    info = store.put(object_key(DAILY, "US", str(day)), encode(rows, entry.facts()))
    Manifest(store, DAILY).record("US", [replace(entry, version=info.version, size=info.size)])


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    """A cell in each of two years, the older one compacted."""
    store = LocalObjectStore(tmp_path)
    put_cell(store, OLD, "A", "B")
    put_cell(store, NEW, "A", "B")
    rows = bars(OLD, ["A", "B"])
    facts = cell(OLD, rows).facts() | {"partition": "2022", "cells": {str(OLD): content_sha256(rows)}}
    store.put(object_key(HISTORY, "US", "2022"), encode(rows, facts))
    return store


def lose(store: LocalObjectStore, *parts: str, year: int = 2022) -> None:
    keys = {
        "shard": Manifest(store, DAILY).shard_key("US", year),
        "history": object_key(HISTORY, "US", str(year)),
        "cell": object_key(DAILY, "US", str(OLD)),
    }
    for part in parts:
        store.delete(keys[part])


@pytest.mark.parametrize(
    "parts",
    [("shard",), ("history",), ("shard", "history"), ("shard", "cell")],
    ids=["shard", "history", "shard and history", "shard and cell"],
)
@pytest.mark.parametrize("symbols", [None, ["B"]], ids=["all symbols", "some symbols"])
def test_read_daily_has_the_rows_of_a_year_whose_parts_are_lost(
    store: LocalObjectStore, parts: tuple[str, ...], symbols: list[str] | None
) -> None:
    before = read_daily(store, "US", symbols=symbols)
    assert before["date"].unique().to_list() == [OLD, NEW]
    lose(store, *parts)
    assert read_daily(store, "US", symbols=symbols).equals(before)


def test_read_daily_has_a_cell_newer_than_the_history_though_the_shard_is_gone(
    store: LocalObjectStore,
) -> None:
    put_cell(store, OLD, "A", "B", "C")
    before = read_daily(store, "US")
    assert before.filter(pl.col("date") == OLD)["symbol"].to_list() == ["A", "B", "C"]
    lose(store, "shard")
    assert read_daily(store, "US").equals(before)


@pytest.mark.parametrize("symbols", [None, ["B"]], ids=["all symbols", "some symbols"])
def test_a_year_of_cells_with_and_without_the_column_of_flags_is_read_as_one(
    store: LocalObjectStore, symbols: list[str] | None
) -> None:
    # The history and this cell are those of an earlier release, the newer cell has a flag.
    older, newer = date(2022, 12, 28), date(2022, 12, 29)
    put_rows(store, older, bars(older, ["A", "B"]).drop("flags"))
    put_rows(store, newer, bars(newer, ["A", "B"]).with_columns(flags=pl.lit("no_trade")))
    compacted = bars(OLD, ["A", "B"]).drop("flags")
    facts = cell(OLD, compacted).facts() | {
        "partition": "2022",
        "cells": {str(OLD): content_sha256(compacted)},
    }
    store.put(object_key(HISTORY, "US", "2022"), encode(compacted, facts))
    rows = read_daily(store, "US", symbols=symbols).filter(pl.col("symbol") == "B")
    assert rows.schema == DAILY_SCHEMA
    assert rows["date"].to_list() == [older, newer, OLD, NEW]
    assert rows["flags"].to_list() == ["", "no_trade", "", ""]


def test_other_programs_find_the_column_in_what_is_written(store: LocalObjectStore) -> None:
    put_rows(store, NEW, bars(NEW, ["A"]).with_columns(flags=pl.lit("no_trade")))
    path = store.uri(object_key(DAILY, "US", str(NEW)))
    assert pl.read_parquet(path)["flags"].to_list() == ["no_trade"]
    assert pd.read_parquet(path)["flags"].tolist() == ["no_trade"]


def test_a_cell_that_the_manifest_knows_and_nobody_has_is_named_with_its_remedy(
    store: LocalObjectStore,
) -> None:
    put_cell(store, date(2022, 12, 29), "A")
    lose(store, "cell", "history")
    with pytest.raises(
        ObjectNotFound, match=rf"{OLD}\.parquet: recorded in the manifest, and gone; backfill"
    ):
        read_daily(store, "US")


@pytest.mark.parametrize(("rule", "carried_on"), [("rule 1", True), ("rule 2", False), (None, False)])
def test_read_cells_takes_from_a_history_only_what_the_same_rule_has_made(
    store: LocalObjectStore, rule: str | None, carried_on: bool
) -> None:
    rows = bars(OLD, ["A", "B"])
    made = rows.with_columns(close=pl.col("close") + 1)
    facts = cell(OLD, rows).facts() | {"partition": "2022", "cells": {str(OLD): content_sha256(rows)}}
    facts |= {"rule": rule} if rule else {}
    store.put(object_key(HISTORY, "US", "2022"), encode(made, facts))
    cells = Manifest(store, DAILY).year("US", 2022)
    assert read_cells(store, "US", 2022, cells, "rule 1").equals(made if carried_on else rows)


# --- short ranges


class Counting(LocalObjectStore):
    """Keeps what was read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []

    def get(self, key: str) -> Blob:
        self.read.append(key)
        return super().get(key)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]], version: str) -> list[bytes]:
        self.read.append(key)
        return super().get_ranges(key, ranges, version)


DAYS = [date(2023, 12, 18) + timedelta(days=n) for n in range(31)]
TRADED = [day for day in DAYS if day.weekday() < 5 and day != date(2023, 12, 25)]


@pytest.fixture
def two_years(tmp_path: Path, laid: Path) -> Counting:
    shutil.copytree(laid, tmp_path / "store")
    return Counting(tmp_path / "store")


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month of cells over the turn of a year, the older year compacted; a cell of each is newer than that."""
    folder = tmp_path_factory.mktemp("two-years")
    store = LocalObjectStore(folder)
    for number, day in enumerate(TRADED):
        put_cell(store, day, *(f"S{n:03d}" for n in range(number % 3, 40)))
    Manifest(store, DAILY).record("US", [Entry("2023-12-25", CellState.CLOSED)])
    for year in (2023, 2024):
        cells = {p: e for p, e in Manifest(store, DAILY).year("US", year).items() if e.version}
        rows = read_cells(store, "US", year, cells, "rule")
        facts = cell(date(year, 1, 1), rows).facts() | {"partition": str(year)}
        facts |= {"cells": {p: e.content_sha256 for p, e in cells.items()}}
        store.put(object_key(HISTORY, "US", str(year)), encode(rows, facts))
    for day in (TRADED[2], TRADED[-3]):
        put_cell(store, day, "S001", "S039", "S777")
    return folder


@pytest.mark.parametrize(
    "symbols", [None, ["S001"], ["S777", "S030", "S001"], [f"S{n:03d}" for n in range(40)]]
)
@pytest.mark.parametrize("lost", ["nothing", "a cell", "a shard", "damaged"])
def test_every_range_is_that_part_of_the_whole(
    two_years: Counting, symbols: list[str] | None, lost: str
) -> None:
    whole = read_daily(two_years, "US", symbols=symbols)
    assert whole["date"].unique().sort().to_list() == TRADED or symbols is not None
    if lost == "a shard":
        two_years.delete(Manifest(two_years, DAILY).shard_key("US", 2024))
    elif lost == "a cell":
        two_years.delete(object_key(DAILY, "US", str(TRADED[5])))
    elif lost == "damaged":
        two_years.put(object_key(DAILY, "US", str(TRADED[5])), b"damaged")
    for first, last in [
        (TRADED[5], TRADED[5]), (TRADED[2], TRADED[2]), (DAYS[5], DAYS[6]), (TRADED[4], TRADED[6]),
        (DAYS[0], DAYS[9]), (DAYS[10], DAYS[20]), (DAYS[-6], DAYS[-1]), (date(2022, 1, 1), date(2022, 1, 20)),
        (DAYS[7], DAYS[7]), (DAYS[9], DAYS[8]), (DAYS[-1], date(2024, 2, 20)),
    ]:  # fmt: skip
        rows = read_daily(two_years, "US", first, last, symbols=symbols)
        assert_frame_equal(rows, whole.filter(pl.col("date").is_between(first, last)), check_exact=True)


@pytest.mark.parametrize("symbols", [None, ["A"]])
def test_a_range_ends_on_its_last_day_though_but_one_is_left_of_the_year(
    store: LocalObjectStore, symbols: list[str] | None
) -> None:
    days = [date(2020, 1, 1), date(2020, 12, 30), date(2020, 12, 31)]
    for day in days:
        put_cell(store, day, "A")
    rows = pl.concat([bars(day, ["A"]) for day in days])
    cells = {p: e.content_sha256 for p, e in Manifest(store, DAILY).year("US", 2020).items()}
    facts = cell(days[0], rows).facts() | {"partition": "2020", "cells": cells}
    store.put(object_key(HISTORY, "US", "2020"), encode(rows, facts))
    for first in (0, 1):
        for last in (1, 2):
            found = read_daily(store, "US", days[first], days[last], symbols=symbols)
            assert found["date"].to_list() == days[first : last + 1]


def test_a_day_that_the_history_alone_knows_is_read_from_there(two_years: Counting) -> None:
    day = TRADED[5]
    before = read_daily(two_years, "US", day - timedelta(days=1), day)
    assert day in before["date"]
    manifest = Manifest(two_years, DAILY)
    manifest.replace("US", [entry for entry in manifest.all("US") if entry.partition != str(day)])
    two_years.delete(object_key(DAILY, "US", str(day)))
    assert read_daily(two_years, "US", day - timedelta(days=1), day).equals(before)


def test_one_day_of_all_symbols_is_one_cell_and_one_symbol_of_a_year_is_its_history(
    two_years: Counting,
) -> None:
    two_years.read.clear()
    read_daily(two_years, "US", TRADED[8], TRADED[8])
    tables = [key for key in two_years.read if not key.startswith("manifest/")]
    assert tables == [object_key(DAILY, "US", str(TRADED[8]))]
    two_years.read.clear()
    read_daily(two_years, "US", date(2024, 1, 1), date(2024, 12, 31), symbols=["S001"])
    tables = [key for key in two_years.read if not key.startswith("manifest/")]
    assert set(tables) == {object_key(HISTORY, "US", "2024"), object_key(DAILY, "US", str(TRADED[-3]))}


def test_years_with_and_without_the_column_of_flags_are_read_as_one(store: LocalObjectStore) -> None:
    for year, flags in ((2020, ""), (2021, "no_trade"), (2022, "")):
        day = date(year, 12, 30)
        rows = bars(day, ["A", "B"]).with_columns(flags=pl.lit(flags))
        rows = rows if flags else rows.drop("flags")
        put_rows(store, day, rows)
        facts = cell(day, rows).facts() | {"partition": str(year), "cells": {str(day): content_sha256(rows)}}
        store.put(object_key(HISTORY, "US", str(year)), encode(rows, facts))
    rows = read_daily(store, "US", symbols=["B"])
    assert rows.schema == DAILY_SCHEMA
    assert rows["flags"].to_list() == ["", "no_trade", "", ""]
