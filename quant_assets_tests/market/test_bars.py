"""The daily table's shape, and the hash of what a table says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.market.bars import (
    ANSWER_SCHEMA,
    DAILY_SCHEMA,
    VALUES,
    conform,
    conform_daily,
    content_sha256,
    empty_daily,
    with_flags,
)

KNOWN = datetime(2024, 3, 15, 22, tzinfo=UTC)


def daily(**columns: Any) -> pl.DataFrame:
    """Two rows of one session, with some columns replaced."""
    values: dict[str, Any] = {
        "symbol": ["A", "B"],
        "date": [date(2024, 3, 15)] * 2,
        "open": [1.0, 2.0],
        "high": [1.0, 2.0],
        "low": [1.0, 2.0],
        "close": [1.0, None],
        "volume": [10, 0],
        "dividend": [0.0, 0.5],
        "split_ratio": [1.0, 1.0],
        "currency": ["USD", "USD"],
        "flags": ["", ""],
        "fetched_at": [KNOWN] * 2,
        **columns,
    }
    return pl.DataFrame(values, schema=DAILY_SCHEMA)


# --- the table's shape


def test_an_empty_daily_table_has_the_schema_and_no_rows() -> None:
    assert empty_daily().schema == DAILY_SCHEMA
    assert empty_daily().is_empty()


def test_conforming_orders_rows_and_columns_casts_and_drops_what_is_not_of_the_table() -> None:
    rows = daily().reverse().with_columns(pl.col("volume").cast(pl.Int32), extra=pl.lit(1))
    conformed = conform_daily(rows.select(sorted(rows.columns)))
    assert conformed.schema == DAILY_SCHEMA
    assert conformed.equals(daily())


def test_conforming_rows_without_a_column_of_the_table_is_an_error() -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="currency"):
        conform_daily(daily().drop("currency"))


def test_conforming_to_an_answer_keeps_what_an_answer_has_more() -> None:
    rows = daily().with_columns(scale=pl.lit(2), extra=pl.lit(1)).reverse()
    conformed = conform(rows, ANSWER_SCHEMA)
    assert conformed.schema == ANSWER_SCHEMA
    assert conformed["symbol"].to_list() == ["A", "B"]
    assert conformed["scale"].to_list() == [2.0, 2.0]
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="scale"):
        conform(daily(), ANSWER_SCHEMA)


# --- the hash of the content


def test_the_hash_does_not_depend_on_when_a_row_became_known_unless_asked_to() -> None:
    later = daily(fetched_at=[KNOWN, datetime(2025, 1, 1, tzinfo=UTC)])
    assert content_sha256(later) == content_sha256(daily())
    assert content_sha256(later, leave_out=()) != content_sha256(daily(), leave_out=())


@pytest.mark.parametrize("column", ["symbol", "date", *VALUES])
def test_the_hash_changes_with_any_value_or_null_of_any_column(column: str) -> None:
    other: dict[pl.DataType, Any] = {
        pl.String(): "other",
        pl.Date(): date(2024, 3, 18),
        pl.Float64(): 7.25,
        pl.Int64(): 7,
    }
    first = daily()[column][0]
    changed = daily(**{column: [other[DAILY_SCHEMA[column]], daily()[column][1]]})
    emptied = daily(**{column: [None, daily()[column][1]]})
    assert first is not None
    assert len({content_sha256(frame) for frame in (daily(), changed, emptied)}) == 3


def test_a_table_whose_rows_have_no_flags_has_the_hash_that_it_had_without_the_column() -> None:
    before = daily().drop("flags")
    assert content_sha256(with_flags(before)) == content_sha256(before)
    assert content_sha256(daily(flags=["", "no_trade"])) != content_sha256(before)
    assert content_sha256(daily(flags=["no_trade", ""])) != content_sha256(daily(flags=["", "no_trade"]))


def test_daily_bars_of_an_earlier_release_are_given_the_column_in_its_place_and_no_other_table_is() -> None:
    before = daily().drop("flags")
    assert_frame_equal(with_flags(before), daily())
    assert "flags" not in before.columns
    assert with_flags(before.clear()).schema == DAILY_SCHEMA
    held = before.with_columns(rule=pl.lit("why")).select("rule", *before.columns)
    assert with_flags(held).columns == ["rule", *DAILY_SCHEMA]
    flagged, other = daily(flags=["no_trade", ""]), before.drop("split_ratio")
    assert with_flags(flagged) is flagged
    assert with_flags(other) is other


def test_the_hash_changes_with_the_order_of_rows() -> None:
    assert content_sha256(daily().reverse()) != content_sha256(daily())


scalars = st.one_of(
    st.tuples(st.just(pl.String), st.lists(st.text(max_size=3) | st.none(), max_size=4)),
    st.tuples(st.just(pl.Int64), st.lists(st.integers(-2, 2) | st.none(), max_size=4)),
    st.tuples(st.just(pl.Int32), st.lists(st.integers(-2, 2) | st.none(), max_size=4)),
    st.tuples(st.just(pl.Float64), st.lists(st.sampled_from([0.0, 1.0, None]), max_size=4)),
    st.tuples(st.just(pl.Boolean), st.lists(st.booleans() | st.none(), max_size=4)),
    st.tuples(
        st.just(pl.List(pl.String)),
        st.lists(st.lists(st.text(max_size=2), max_size=2) | st.none(), max_size=3),
    ),
)
frames = scalars.map(lambda pair: pl.DataFrame({"x": pair[1]}, schema={"x": pair[0]}))


@given(frames, frames)
def test_two_tables_have_one_hash_just_when_types_and_values_are_the_same(
    one: pl.DataFrame, other: pl.DataFrame
) -> None:
    same = one.schema == other.schema and one.equals(other, null_equal=True)
    assert (content_sha256(one) == content_sha256(other)) is same


@given(frames)
def test_the_hash_does_not_depend_on_how_the_rows_lie_in_memory(frame: pl.DataFrame) -> None:
    pieces = pl.concat([frame[:1], frame[1:]], rechunk=False)
    assert content_sha256(pieces) == content_sha256(frame)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a\x00", "b"], ["a", "\x00b"]),
        (["ab", ""], ["a", "b"]),
        (["", None], [None, ""]),
        ([["a"], ["b"]], [["a"], ["c"]]),
        ([["a"], ["b"]], [["b"], ["a"]]),
        ([["ab"]], [["a", "b"]]),
    ],
)
def test_texts_that_join_to_the_same_characters_have_different_hashes(
    one: list[Any], other: list[Any]
) -> None:
    assert content_sha256(pl.DataFrame({"x": one})) != content_sha256(pl.DataFrame({"x": other}))


def test_the_hash_changes_with_the_name_of_a_column() -> None:
    assert content_sha256(pl.DataFrame({"x": [1]})) != content_sha256(pl.DataFrame({"y": [1]}))


def test_a_hash_is_the_same_in_every_release() -> None:
    """Cells, histories and manifests of all releases are compared by it."""

    def table(rows: int) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "symbol": [f"S{n}" for n in range(rows)],
                "close": [n / 4 for n in range(rows)],
                "volume": [None if n == 5 else n for n in range(rows)],
            }
        )

    assert content_sha256(table(8)) == "7f24faaf14846811b0d731f76f4e1af39578208c33027d5a7befc5834099923c"
    assert content_sha256(table(15)) == "1b9ca0d858d74d599dd0d38f42b64337b726be3cdf734b16e4131b1cf07e1a64"
    assert content_sha256(table(9)) == "6a46b5adbaefd31fc7a8782d01d94534bbb01899dfe9d8ad8d94daa27aa0efcf"
