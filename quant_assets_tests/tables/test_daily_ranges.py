"""Ranges of days: a short one is read from its cells where that is quicker and the manifest knows each day, any other
from its years' histories, with the cells that are newer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.market.bars import DAILY_SCHEMA, content_sha256
from quant_assets.market.coverage import CellState
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectChanged, ObjectDamaged
from quant_assets.tables.ahead import Here
from quant_assets.tables.daily import (
    _conformed,  # pyright: ignore[reportPrivateUsage]
    _Look,  # pyright: ignore[reportPrivateUsage]
    _of_few_cells,  # pyright: ignore[reportPrivateUsage]
    read_cells,
    read_daily,
)
from quant_assets.tables.layout import DAILY, HISTORY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets_tests.filled import bars, cell

MONDAY = date(2024, 3, 11)


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def days(first: date, count: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]


def put_cell(store: LocalObjectStore, day: date, said: int = 1, frame: pl.DataFrame | None = None) -> Entry:
    """A cell of one row, or of a frame; the manifest says that it has so many."""
    rows = bars(day, ["A"]) if frame is None else frame
    entry = cell(day, rows)
    info = store.put(object_key(DAILY, "US", str(day)), encode(rows, entry.facts()))
    entry = replace(entry, rows=said, version=info.version, size=info.size)
    Manifest(store, DAILY).record("US", [entry])
    return entry


def close(store: LocalObjectStore, *some: date) -> None:
    Manifest(store, DAILY).record("US", [Entry(str(day), CellState.CLOSED) for day in some])


def of_cells(store: LocalObjectStore, first: date, last: date, wanted: Sequence[str] | None = None) -> bool:
    """Whether a range is read from its cells."""
    rows = _of_few_cells(_Look(store, "US", wanted, (first, last)))
    if rows is not None:
        assert rows.equals(read_daily(store, "US", first, last, symbols=wanted))
        assert rows.schema == DAILY_SCHEMA
    return rows is not None


@pytest.mark.parametrize(
    ("length", "read"), [(-1, False), (0, False), (1, True), (2, True), (45, True), (46, False)]
)
def test_a_short_range_has_up_to_forty_five_days(store: LocalObjectStore, length: int, read: bool) -> None:
    put_cell(store, MONDAY)
    close(store, *days(MONDAY + timedelta(days=1), 60))
    assert of_cells(store, MONDAY, MONDAY + timedelta(days=length - 1)) is read


@pytest.mark.parametrize("unknown", range(7))
def test_of_a_weekday_that_the_manifest_does_not_know_the_years_are_asked(
    store: LocalObjectStore, unknown: int
) -> None:
    put_cell(store, MONDAY - timedelta(days=3))
    close(store, *(day for day in days(MONDAY, 7) if day.weekday() != unknown))
    assert of_cells(store, MONDAY - timedelta(days=3), MONDAY + timedelta(days=6)) is (unknown >= 5)


def test_a_cell_on_a_weekend_is_a_cell(store: LocalObjectStore) -> None:
    for day in days(MONDAY, 7):
        put_cell(store, day)
    manifest = Manifest(store, DAILY)
    manifest.replace(
        "US", [replace(e, rows=10**6) if e.partition > "2024-03-15" else e for e in manifest.all("US")]
    )
    saturday = date(2024, 3, 16)
    assert of_cells(store, saturday, saturday + timedelta(days=1))
    assert read_daily(store, "US", saturday, saturday)["date"].to_list() == [saturday]


@pytest.mark.parametrize(
    ("years", "said", "others", "wanted", "read"),
    [
        # Cells of all symbols: a row costs the same there and here, three objects one more than those of a year.
        (1, [1, 1, 1], 4096, None, True),
        (1, [1, 1, 1], 4095, None, False),
        (1, [700, 800, 900], 4096, None, True),
        (1, [700, 800, 900], 4095, None, False),
        (1, [5, 5], 0, None, True),
        (2, [1] * 5, 4096, None, True),
        (2, [1] * 5, 4095, None, False),
        # Of few symbols a row group each is decoded of a year.
        (1, [2048, 2048], 10**6, ["A"], True),
        (1, [2049, 2048], 10**6, ["A"], False),
        (1, [4096, 4096], 10**6, ["A", "B"], True),
        (1, [4097, 4096], 10**6, ["A", "B"], False),
        (2, [2048] * 4, 10**6, ["A"], True),
        (2, [2049, *[2048] * 3], 10**6, ["A"], False),
        # Or less, where a year has less.
        (1, [700, 800, 900], 4096, ["A", "B", "C"], True),
        (1, [700, 800, 900], 4095, ["A", "B", "C"], False),
    ],
)  # fmt: skip
def test_the_cells_are_read_where_that_is_no_dearer(
    store: LocalObjectStore, years: int, said: list[int], others: int, wanted: list[str] | None, read: bool
) -> None:
    first = MONDAY if years == 1 else date(2024, 12, 30)
    for day, rows in zip(days(first, len(said)), said, strict=True):
        put_cell(store, day, rows)
    # What lies outside of the range is read with its year.
    put_cell(store, date(2024, 2, 1), others)
    assert of_cells(store, first, days(first, len(said))[-1], wanted) is read


def test_a_day_without_a_cell_costs_nothing_and_no_day_at_all_has_no_rows(store: LocalObjectStore) -> None:
    put_cell(store, MONDAY)
    close(store, *days(MONDAY + timedelta(days=1), 4))
    assert of_cells(store, MONDAY + timedelta(days=1), MONDAY + timedelta(days=4))
    assert read_daily(store, "US", MONDAY + timedelta(days=1), MONDAY + timedelta(days=4)).is_empty()


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_cell_that_is_not_as_the_manifest_says_is_left_to_the_years(
    store: LocalObjectStore, how: str
) -> None:
    put_cell(store, MONDAY)
    key = object_key(DAILY, "US", str(MONDAY))
    if how == "gone":
        store.delete(key)
    else:
        store.put(key, b"damaged")
    assert not of_cells(store, MONDAY, MONDAY)


def test_rows_of_a_cell_are_put_in_order(store: LocalObjectStore) -> None:
    rows = bars(MONDAY, ["A", "B", "C", "D"])
    look = _Look(store, "US", None, (MONDAY, MONDAY))
    for order in ([3, 2, 1, 0], [1, 0, 2, 3], [0, 1, 3, 2], [0, 2, 1, 3]):
        assert _conformed(look, rows[order]).equals(rows)
    twice = pl.concat([rows[:2], rows[:1].with_columns(date=MONDAY + timedelta(days=1))])
    assert _conformed(look, twice).equals(twice.sort("symbol", "date"))
    two_days = pl.concat([rows.with_columns(date=MONDAY + timedelta(days=1)), rows])
    assert _conformed(look, two_days).equals(two_days.sort("symbol", "date"))
    assert _conformed(look, rows.select(sorted(rows.columns))).equals(rows)
    assert _conformed(look, rows.with_columns(pl.col("volume").cast(pl.Int32))).equals(rows)
    assert _conformed(look, rows[:1]).equals(rows[:1])
    assert _conformed(look, rows[:0]).equals(rows[:0])
    # Read alone, or with another day.
    put_cell(store, MONDAY, 4, rows[[2, 0, 3, 1]])
    put_cell(store, MONDAY + timedelta(days=1), 1)
    assert read_daily(store, "US", MONDAY, MONDAY)["symbol"].to_list() == ["A", "B", "C", "D"]
    both = read_daily(store, "US", MONDAY, MONDAY + timedelta(days=1))
    assert both["symbol"].to_list() == ["A", "A", "B", "C", "D"]


# --- years


def compact(
    store: LocalObjectStore, year: int, cells: Mapping[str, Entry], rows: pl.DataFrame, **more: Any
) -> None:
    facts = {
        "partition": str(year),
        "rule": "rule",
        "cells": {p: e.content_sha256 for p, e in cells.items()},
        **more,
    }
    store.put(object_key(HISTORY, "US", str(year)), encode(rows, facts))


@pytest.fixture
def years(tmp_path: Path, laid: Path) -> LocalObjectStore:
    shutil.copytree(laid, tmp_path / "years")
    return LocalObjectStore(tmp_path / "years")


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first and the last day of three years, compacted; in the histories the closes are others."""
    store = LocalObjectStore(tmp_path_factory.mktemp("laid"))
    for year in (2021, 2022, 2023):
        ends = [date(year, 1, 1), date(year, 1, 2), date(year, 12, 30), date(year, 12, 31)]
        cells = {str(day): put_cell(store, day, 10**6) for day in ends}
        rows = pl.concat([bars(day, ["A"]) for day in ends])
        compact(store, year, cells, rows.with_columns(close=1.0 * year))
    return Path(store.location)


@pytest.mark.parametrize("wanted", [None, ["A"], [f"{n}" for n in range(8)] + ["A"]])
def test_a_range_has_its_first_and_its_last_day_of_whichever_years(
    years: LocalObjectStore, wanted: list[str] | None
) -> None:
    every = [date(y, m, d) for y in (2021, 2022, 2023) for m, d in ((1, 1), (1, 2), (12, 30), (12, 31))]
    for first, last in (
        (None, every[7]),
        (None, every[4]),
        (every[4], None),
        (every[7], None),
        (every[4], every[7]),
        (every[5], every[6]),
        (date(1999, 1, 1), date(2022, 6, 1)),
        (date(2024, 1, 1), None),
    ):
        found = read_daily(years, "US", first, last, symbols=wanted)
        inside = [day for day in every if (first or date.min) <= day <= (last or date.max)]
        assert found["date"].to_list() == inside
        assert found["close"].to_list() == [1.0 * day.year for day in inside]


@pytest.mark.parametrize("wanted", [None, ["A", "B"]])
def test_a_range_without_a_row_in_either_of_its_years_is_empty(
    store: LocalObjectStore, wanted: list[str] | None
) -> None:
    for day in (date(2021, 6, 1), date(2022, 6, 1)):
        rows = bars(day, ["A", "B"])
        compact(store, day.year, {str(day): put_cell(store, day, 2, rows)}, rows)
    found = read_daily(store, "US", date(2021, 6, 2), date(2022, 5, 31), symbols=wanted)
    assert (found.schema, found.height) == (DAILY_SCHEMA, 0)


@pytest.mark.parametrize("wanted", [None, ["A"]])
@pytest.mark.parametrize("newer", [date(2022, 1, 1), date(2022, 1, 2), date(2022, 12, 31)])
def test_a_cell_that_is_newer_than_its_history_counts_on_the_edges_of_a_range(
    years: LocalObjectStore, wanted: list[str] | None, newer: date
) -> None:
    put_cell(years, newer, 10**6, bars(newer, ["A"]).with_columns(close=7.0))
    late = date(2022, 12, 29)
    put_cell(years, late, 10**6, bars(late, ["A"]).with_columns(close=8.0))
    for first, last in ((newer, None), (None, newer), (date(2022, 1, 1), date(2022, 12, 31))):
        found = read_daily(years, "US", first, last, symbols=wanted)
        closes = dict(found.select("date", "close").iter_rows())
        assert closes.pop(newer) == 7.0
        assert closes.pop(late, 8.0) == 8.0
        assert all(value == 1.0 * day.year for day, value in closes.items())
    outside = read_daily(years, "US", date(2021, 1, 1), date(2021, 12, 31), symbols=wanted)
    assert outside["close"].unique().to_list() == [2021.0]


def test_read_cells_gives_those_that_were_asked_for_from_the_history_or_one_by_one(
    years: LocalObjectStore,
) -> None:
    cells = Manifest(years, DAILY).year("US", 2022)
    some = {day: cells[day] for day in ("2022-01-02", "2022-12-31")}
    assert read_cells(years, "US", 2022, some, "rule")["close"].to_list() == [2022.0, 2022.0]
    changed = put_cell(years, date(2022, 1, 2), 1, bars(date(2022, 1, 2), ["A"]).with_columns(close=7.0))
    some = {
        "2022-01-02": changed,
        "2022-12-31": cells["2022-12-31"],
        "2022-06-01": Entry("2022-06-01", CellState.CLOSED),
    }
    found = read_cells(years, "US", 2022, some, "rule").select("date", "close").rows()
    assert found == [(date(2022, 1, 2), 7.0), (date(2022, 12, 31), 2022.0)]
    years.put(object_key(HISTORY, "US", "2022"), b"damaged")
    found = read_cells(years, "US", 2022, {"2022-01-02": changed}, "rule").select("date", "close").rows()
    assert found == [(date(2022, 1, 2), 7.0)]
    years.delete(object_key(HISTORY, "US", "2022"))
    assert read_cells(years, "US", 2022, {"2022-01-02": changed}, "rule").height == 1
    assert read_cells(years, "US", 2022, {}, "rule").is_empty()


@pytest.mark.parametrize("wanted", [None, ["A"], [f"{n}" for n in range(8)] + ["A"]])
def test_a_history_of_another_year_is_damage(years: LocalObjectStore, wanted: list[str] | None) -> None:
    key = object_key(HISTORY, "US", "2022")
    years.put(key, years.get(object_key(HISTORY, "US", "2021")).data)
    with pytest.raises(
        ObjectDamaged, match=r"year=2022\.parquet: holds the rows of 2021; remove it, the next run makes"
    ):
        read_daily(years, "US", symbols=wanted)
    # Earlier releases did not say which year it is.
    rows = bars(date(2022, 1, 1), ["A"])
    entry = cell(date(2022, 1, 1), rows)
    years.put(key, encode(rows, {"cells": {"2022-01-01": entry.content_sha256}}))
    assert read_daily(years, "US", symbols=wanted)["date"].n_unique() == 12


@pytest.mark.parametrize("wanted", [None, ["A"]])
def test_a_cell_with_rows_of_another_day_is_damage(years: LocalObjectStore, wanted: list[str] | None) -> None:
    put_cell(years, date(2022, 3, 2), 10**6, bars(date(2022, 3, 3), ["A"]))
    with pytest.raises(
        ObjectDamaged,
        match=r"date=2022-03-02\.parquet: holds rows of another day; remove it and backfill 2022-03-02$",
    ):
        read_daily(years, "US", symbols=wanted)


class Restless(LocalObjectStore):
    """Somebody replaces each history whenever a part of it is read, `times` times."""

    times = 0

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]], version: str) -> list[bytes]:
        if self.times:
            self.times -= 1
            self.put(key, self.get(key).data)
        return super().get_ranges(key, ranges, version)


def test_a_history_that_is_replaced_is_read_again_up_to_twenty_times(years: LocalObjectStore) -> None:
    store = Restless(Path(years.location))
    span = date(2022, 1, 1), date(2022, 12, 31)
    store.times = 20
    with pytest.raises(
        ObjectChanged, match=r"2022\.parquet: replaced 20 times while it was read; try again$"
    ):
        read_daily(store, "US", *span, symbols=["A"])
    assert store.times == 0
    store.times = 19
    assert read_daily(store, "US", *span, symbols=["A"])["date"].len() == 4
    assert store.times == 0


def test_what_a_function_gives_or_raises_is_kept_until_it_is_asked_for() -> None:
    pool = Here()
    add: Callable[..., float] = lambda one, other: one / other  # noqa: E731
    assert pool.submit(add, 6, other=2).result() == 3
    failed = pool.submit(add, 6, other=0)
    assert isinstance(failed.exception(), ZeroDivisionError)


def test_as_of_a_moment_rows_of_that_very_moment_are_known(store: LocalObjectStore) -> None:
    rows = bars(MONDAY, ["A"])
    put_cell(store, MONDAY)
    (moment,) = rows["fetched_at"]
    assert read_daily(store, "US", as_of=moment).equals(rows)
    assert read_daily(store, "US", as_of=moment - timedelta(microseconds=1)).is_empty()
    assert content_sha256(rows) == cell(MONDAY, rows).content_sha256
