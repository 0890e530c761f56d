"""A year's rows, by value: where parts are cut, and which histories can be used."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.layout import DAILY, HISTORY, object_key
from quant_assets.tables.lineage import RULES
from quant_assets.tables.manifest import Entry
from quant_assets.tables.parquet import encode
from quant_assets.tables.year_rows import (
    _whole_symbols,  # pyright: ignore[reportPrivateUsage]
    cell_rows,
    history_rows,
    year_rows,
)
from quant_assets_tests.filled import bars, cell

ONE, TWO = date(2022, 3, 1), date(2022, 3, 2)


@pytest.mark.parametrize(
    ("symbols", "at_once", "parts"),
    [
        ("AAABBC", 0, ["AAA", "BBC"]),
        ("AAABBC", 1, ["AAA", "BBC"]),
        ("AAABBC", 2, ["AAA", "BBC"]),
        ("AAABBC", 3, ["AAABBC"]),
        ("AAABBC", 4, ["AAA", "BBC"]),
        ("AAABBC", 5, ["AAA", "BBC"]),
        ("AAABBC", 6, ["AAABBC"]),
        ("AAABBC", 99, ["AAABBC"]),
        ("ABCDE", 2, ["A", "B", "C", "DE"]),
        ("ABCDE", 3, ["AB", "CDE"]),
        ("AABBCC", 3, ["AA", "BB", "CC"]),
        ("A", 1, ["A"]),
        ("", 1, []),
    ],
)
def test_parts_are_cut_between_symbols(symbols: str, at_once: int, parts: list[str]) -> None:
    rows = pl.DataFrame({"symbol": list(symbols)}, schema={"symbol": pl.String})
    found = _whole_symbols(rows.slice, rows.height, at_once)
    assert ["".join(part["symbol"]) for part in found] == parts


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def put(store: LocalObjectStore, day: date, close: float) -> Entry:
    rows = bars(day, ["A", "B"]).with_columns(close=close)
    entry = cell(day, rows)
    info = store.put(object_key(DAILY, "US", str(day)), encode(rows, entry.facts()))
    return replace(entry, version=info.version)


@pytest.mark.parametrize(
    ("facts", "used"),
    [
        ({}, True),
        ({"partition": "2022"}, True),
        ({"partition": "2021"}, False),
        ({"rule": "another"}, False),
        ({"rule": "another", "partition": "2022"}, False),
    ],
)
def test_a_history_is_used_that_the_rule_of_today_has_made_of_this_year(
    store: LocalObjectStore, facts: dict[str, Any], used: bool
) -> None:
    entries = {str(day): put(store, day, 1.0) for day in (ONE, TWO)}
    made = (
        pl.concat([bars(ONE, ["A", "B"]), bars(TWO, ["A", "B"])])
        .with_columns(close=2.0)
        .sort("symbol", "date")
    )
    content = {day: entry.content_sha256 for day, entry in entries.items()}
    store.put(
        object_key(HISTORY, "US", "2022"), encode(made, {"rule": RULES[HISTORY], "cells": content, **facts})
    )
    columns = ("symbol", "date", "close")
    told, parts = history_rows(store, "US", 2022, columns, at_once=3)
    assert told == (content if used else {})
    assert [part["symbol"].to_list() for part in parts] == ([["A", "A"], ["B", "B"]] if used else [])
    (rows,) = year_rows(store, "US", 2022, entries, columns)
    assert (rows.columns, rows["close"].to_list()) == (list(columns), [2.0 if used else 1.0] * 4)
    # One that has changed, and one that is not asked for.
    entries[str(TWO)] = put(store, TWO, 3.0)
    (rows,) = year_rows(store, "US", 2022, entries, columns)
    assert rows["close"].to_list() == [2.0 if used else 1.0, 3.0] * 2
    (rows,) = year_rows(store, "US", 2022, {str(ONE): entries[str(ONE)]}, columns)
    assert rows["close"].to_list() == [2.0 if used else 1.0] * 2
    (rows,) = year_rows(store, "US", 2022, {str(TWO): entries[str(TWO)]}, columns, at_once=9)
    assert rows["close"].to_list() == [3.0] * 2
    assert list(year_rows(store, "US", 2022, {}, columns)) == []


def test_rows_have_the_flags_that_are_stored_and_those_of_earlier_releases_none(
    store: LocalObjectStore,
) -> None:
    rows = bars(ONE, ["A", "B"]).with_columns(flags=pl.Series(["no_trade", ""]))
    facts = {"rule": RULES[HISTORY], "cells": {}}
    for made, flags in ((rows, ["no_trade", ""]), (rows.drop("flags"), ["", ""])):
        store.put(object_key(HISTORY, "US", "2022"), encode(made, facts))
        for columns in (("symbol", "flags"), ("flags", "symbol", "close"), ("symbol", "close")):
            _, parts = history_rows(store, "US", 2022, columns, at_once=9)
            (part,) = parts
            assert part.columns == list(columns)
            assert "flags" not in columns or part["flags"].to_list() == flags


def test_there_is_nothing_of_a_history_that_is_damaged_or_not_there(store: LocalObjectStore) -> None:
    for data in (None, b"damaged"):
        if data:
            store.put(object_key(HISTORY, "US", "2022"), data)
        told, parts = history_rows(store, "US", 2022, ("symbol", "date"), at_once=9)
        assert (told, list(parts)) == ({}, [])


def test_a_cell_with_rows_of_another_day_is_damage(store: LocalObjectStore) -> None:
    put(store, ONE, 1.0)
    found = cell_rows(store, "US", [str(ONE)], ("symbol", "date", "close")).rows()
    assert found == [("A", ONE, 1.0), ("B", ONE, 1.0)]
    store.put(object_key(DAILY, "US", str(TWO)), store.get(object_key(DAILY, "US", str(ONE))).data)
    with pytest.raises(
        ObjectDamaged,
        match=r"date=2022-03-02\.parquet: holds rows of another day; remove it and backfill 2022-03-02$",
    ):
        cell_rows(store, "US", [str(TWO)], ("symbol", "date"))
    assert cell_rows(store, "US", [], ("symbol", "date")).schema == {"symbol": pl.String, "date": pl.Date}
