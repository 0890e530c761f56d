"""Rows of several times are put together as sorting them all would."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.tables.runs import (
    Runs,
    _ascending,  # pyright: ignore[reportPrivateUsage]
    together,
)

COLUMNS = pl.Schema({"symbol": pl.String, "date": pl.Date, "close": pl.Float64, "flags": pl.String})
FIRST = date(2020, 1, 1)

Row = tuple[str, int, float | None, str]
rows = st.lists(
    st.tuples(st.sampled_from("ABCDE"), st.integers(0, 9), st.none() | st.floats(0, 9), st.sampled_from(["", "x"])),
    unique_by=lambda row: row[:2],
    max_size=20,
)  # fmt: skip


def frame(part: list[Row], year: int) -> pl.DataFrame:
    dated = [(name, FIRST + timedelta(days=365 * year + day), *rest) for name, day, *rest in part]
    return pl.DataFrame(dated, schema=COLUMNS, orient="row").sort("symbol", "date")


@given(st.lists(rows, min_size=1, max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_parts_come_together_as_if_sorted(years: list[list[Row]], chance: Random) -> None:
    frames = [frame(part, year) for year, part in enumerate(years)]
    runs = [Runs.of(one) for one in frames]
    expected = pl.concat(frames).sort("symbol", "date")
    given_away = list(runs)
    assert_frame_equal(together(given_away), expected, check_exact=True)
    assert not given_away
    for one, plain in zip(runs, frames, strict=True):
        assert_frame_equal(one.frame(), plain, check_exact=True)
    # In whatever order of time, and however the rows of a part lie.
    chance.shuffle(frames)
    anyhow = [Runs.of(one.sample(fraction=1, shuffle=True, seed=1)) for one in frames]
    assert_frame_equal(together(anyhow), expected, check_exact=True)


@given(rows, st.integers(0, 9), st.integers(0, 9))
def test_the_rows_between_two_days_are_those_of_the_frame(part: list[Row], first: int, last: int) -> None:
    days = FIRST + timedelta(days=first), FIRST + timedelta(days=last)
    whole = frame(part, 0)
    cut = Runs.of(whole).between(*days)
    expected = whole.filter(pl.col("date").is_between(*days))
    assert_frame_equal(cut.frame(), expected, check_exact=True)
    assert_frame_equal(together([cut]), expected, check_exact=True)


def test_rows_take_the_types_of_a_schema() -> None:
    plain = frame([("A", 1, 2.0, ""), ("B", 1, None, "x")], 0)
    odd = plain.with_columns(close=pl.col("close").cast(pl.Float32), more=pl.lit(1))
    assert_frame_equal(Runs.of(odd).conformed(COLUMNS).frame(), plain, check_exact=True)


def test_a_text_that_is_unknown_stays_so_beside_others_that_are_the_same() -> None:
    years = [frame([("A", 1, 1.0, "x"), ("B", 1, 1.0, "x")], year) for year in (0, 1)]
    years[1] = years[1].with_columns(flags=pl.Series([None, "x"], dtype=pl.String))
    assert together([Runs.of(one) for one in years])["flags"].to_list() == ["x", None, "x", "x"]


@pytest.mark.parametrize(
    ("days", "symbols", "ascending"),
    [
        ([1, 2, 3], "AAA", True),
        ([1, 1, 2], "AAA", False),
        ([1, 2, 2], "AAA", False),
        ([2, 1, 3], "AAA", False),
        ([1, 3, 2], "AAA", False),
        ([1, 2, 1], "AAB", True),
        ([2, 1, 1], "ABC", True),
        ([2, 1, 1], "ABB", False),
        ([3, 1, 2], "ABB", True),
        ([5], "A", True),
        ([], "", True),
    ],
)
def test_rows_ascend_where_no_symbol_goes_back(days: list[int], symbols: str, ascending: bool) -> None:
    dates = pl.Series("date", [FIRST + timedelta(days=day) for day in days], dtype=pl.Date)
    numbers = np.array([ord(name) for name in symbols], dtype=np.uint32)
    assert bool(_ascending(dates, numbers)) is ascending


@pytest.mark.parametrize("many", [1, 10**9])
@pytest.mark.parametrize(
    ("flags", "closes"),
    [
        (["x", "x", "x", "x"], [1.0, 2.0, 3.0, 4.0]),
        (["x", "x", "x", "y"], [1.0, None, 3.0, 4.0]),
        (["y", "x", "x", "x"], [None, 2.0, 3.0, 4.0]),
        (["x", "y", "x", "x"], [1.0, 2.0, 3.0, None]),
        ([None, None, None, None], [None, None, None, None]),
    ],
)
def test_columns_are_put_in_place_as_they_are(
    monkeypatch: pytest.MonkeyPatch, many: int, flags: list[str], closes: list[float | None]
) -> None:
    monkeypatch.setattr("quant_assets.tables.runs._MANY_ROWS", many)
    days = [FIRST, FIRST + timedelta(days=1)]
    parts = [
        pl.DataFrame(
            {"symbol": ["A", "B"], "date": [day] * 2, "close": closes[n : n + 2], "flags": flags[n : n + 2]},
            schema=COLUMNS,
        )
        for n, day in zip((0, 2), days, strict=True)
    ]
    runs = [Runs.of(part) for part in parts]
    order = [(0, "A", 0), (1, "A", 2), (0, "B", 1), (1, "B", 3)]
    expected = [(name, days[at], closes[n], flags[n]) for at, name, n in order]
    assert together(list(runs)).rows() == expected
    # Nobody twice: the rows lie in order as they come.
    assert together([runs[0].between(*days), runs[1].between(days[1], days[1])]).rows() == expected
    assert together([runs[0], runs[1].between(days[0], days[0])]).rows() == expected[::2]
    assert together([runs[1].between(days[0], days[0])]).is_empty()


def test_one_row_or_none_of_several_symbols_comes_together() -> None:
    days = [FIRST, FIRST + timedelta(days=1)]
    early, late = (Runs.of(frame([("A", n, 1.0, "x"), ("B", n, 2.0, "x")], 0)) for n in (0, 1))
    alone = Runs.of(frame([("A", 0, 1.0, "x")], 0))
    assert together([late.between(days[0], days[0]), alone]).rows() == [("A", FIRST, 1.0, "x")]
    none = together([early.between(days[1], days[1]), late.between(days[0], days[0])])
    assert (none.schema, none.height) == (COLUMNS, 0)
