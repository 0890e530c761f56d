"""The daily table's shape, the clean-up of float32 prices, and the hash of what a table says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
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
    round_to_tick,
    shortest_float32,
    tick,
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


# --- float32 prices

prices32 = st.floats(min_value=2.0**-13, max_value=1e6, width=32)


@given(st.lists(prices32, min_size=1, max_size=50))
def test_a_cleaned_price_is_the_shortest_decimal_with_the_same_float32(values: list[float]) -> None:
    cleaned = shortest_float32(np.array(values))
    for value, clean in zip(values, cleaned.tolist(), strict=True):
        assert np.float32(clean) == np.float32(value)
        decimals = max(0, -int(Decimal(repr(clean)).normalize().as_tuple().exponent))
        if decimals:
            shorter = round(Decimal(value), decimals - 1)
            assert np.float32(float(shorter)) != np.float32(value)
        # numpy's printer finds the shortest digits by another way.
        assert clean == float(np.format_float_positional(np.float32(value), unique=True))


@given(st.floats(width=32))
def test_cleaning_loses_nothing_of_any_float32(value: float) -> None:
    (cleaned,) = shortest_float32(np.array([value])).astype(np.float32).tolist()
    assert cleaned == value or (np.isnan(cleaned) and np.isnan(value))


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_a_value_that_was_never_a_float32_is_kept(value: float) -> None:
    with np.errstate(over="ignore"):
        narrow = float(np.float32(value))
        (cleaned,) = shortest_float32(np.array([value])).tolist()
    assert cleaned == value or narrow == value


@pytest.mark.parametrize(
    ("served", "meant"),
    [(189.3300018310547, 189.33), (0.1 + 0.2, 0.1 + 0.2), (float(np.float32(1.23456789e-5)), 1.2345679e-5)],
)
def test_known_prices_come_out_as_they_were_quoted(served: float, meant: float) -> None:
    assert shortest_float32(np.array([served])).tolist() == [meant]


def test_cleaning_keeps_the_shape_and_its_argument() -> None:
    values = np.array([[1.100000023841858, np.nan], [2.0, 3.299999952316284]])
    before = values.copy()
    np.testing.assert_array_equal(shortest_float32(values), [[1.1, np.nan], [2.0, 3.3]])
    np.testing.assert_array_equal(values, before)


# --- the decimals that can be trusted


@pytest.mark.parametrize(
    ("price", "rounded"),
    [
        (0.00005, 0.0001),
        (12.34567, 12.3457),
        (799.99994, 799.9999),
        (800.12345, 800.123),
        (7_999.9994, 7_999.999),
        (8_000.125, 8_000.13),
        (79_999.994, 79_999.99),
        (80_000.25, 80_000.3),
        (799_999.94, 799_999.9),
        (800_000.5, 800_001.0),
        (12_345_678.9, 12_345_679.0),
        (None, None),
    ],
)
def test_dearer_prices_keep_fewer_decimals(price: float | None, rounded: float | None) -> None:
    frame = pl.DataFrame({"price": [price]}, schema={"price": pl.Float64})
    assert frame.select(round_to_tick(pl.col("price"))).item() == rounded


@given(st.floats(min_value=0.01, max_value=799.9999))
def test_below_the_first_limit_rounding_moves_a_price_by_half_a_tick_at_most(price: float) -> None:
    rounded = pl.DataFrame({"price": [price]}).select(round_to_tick(pl.col("price"))).item()
    assert abs(rounded - price) <= 0.00005 + 1e-9
    assert rounded == round(rounded, 4)


@pytest.mark.parametrize(
    ("price", "unit"),
    [
        (0.05, 0.0001),
        (799.9999, 0.0001),
        (800.0, 0.001),
        (7_999.999, 0.001),
        (8_000.0, 0.01),
        (80_000.0, 0.1),
        (800_000.0, 1.0),
    ],
)
def test_the_tick_is_the_unit_of_the_last_decimal_kept(price: float, unit: float) -> None:
    assert pl.DataFrame({"p": [price]}).select(tick(pl.col("p"))).item() == pytest.approx(unit, rel=1e-12)


@given(st.floats(min_value=0.01, max_value=2e6))
def test_a_rounded_price_is_a_whole_number_of_ticks_and_half_a_tick_away_at_most(price: float) -> None:
    frame = pl.DataFrame({"p": [price]})
    rounded, unit = frame.select(round_to_tick(pl.col("p")).alias("r"), tick(pl.col("p")).alias("t")).row(0)
    assert abs(rounded - price) <= 0.5 * unit * (1 + 1e-6) + 1e-9
    assert rounded / unit == pytest.approx(round(rounded / unit), abs=1e-3)


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
    ],
)
def test_texts_that_join_to_the_same_characters_have_different_hashes(
    one: list[Any], other: list[Any]
) -> None:
    assert content_sha256(pl.DataFrame({"x": one})) != content_sha256(pl.DataFrame({"x": other}))


def test_the_hash_changes_with_the_name_of_a_column() -> None:
    assert content_sha256(pl.DataFrame({"x": [1]})) != content_sha256(pl.DataFrame({"y": [1]}))
