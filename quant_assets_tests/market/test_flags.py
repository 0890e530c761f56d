"""Flags: codes in one text column, each once, sorted, however they come together."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market import flags
from quant_assets.market.flags import (
    FLAGS,
    NONE,
    added,
    codes,
    counted,
    from_conditions,
    has,
    has_kind,
    joined,
    removed,
)

CODES = (
    flags.OPEN_OUTSIDE_RANGE,
    flags.CLOSE_OUTSIDE_RANGE,
    flags.ROUNDING,
    flags.NO_TRADE,
    flags.STALE_PRICE,
    flags.VOLUME_UNKNOWN,
    flags.DIVIDEND_HELD,
    flags.SETTLED_BY_PERSON,
    flags.explained("stamped_before"),
    flags.explained("split_repeated"),
    flags.action_dated(date(2024, 5, 27)),
)
sets = st.sets(st.sampled_from(CODES))


def text(of: set[str]) -> str:
    return ",".join(sorted(of))


def column(*values: str | None) -> pl.DataFrame:
    return pl.DataFrame({FLAGS: values}, schema={FLAGS: pl.String})


@given(st.lists(st.tuples(sets, sets), max_size=5))
def test_two_columns_of_flags_are_joined_row_by_row_each_code_once(
    pairs: list[tuple[set[str], set[str]]],
) -> None:
    frame = pl.DataFrame(
        [(text(one), text(other)) for one, other in pairs],
        schema={"one": pl.String, "other": pl.String},
        orient="row",
    )
    one, other = pl.col("one"), pl.col("other")
    found = frame.select(a=joined(one, other), b=joined(other, one), again=joined(joined(one, other), one))
    wanted = [text(a | b) for a, b in pairs]
    assert [found[name].to_list() for name in ("a", "b", "again")] == [wanted] * 3


@given(st.lists(st.tuples(sets, st.booleans()), max_size=5), st.sampled_from(CODES), st.sampled_from(CODES))
def test_codes_are_added_where_they_are_wanted_in_any_order_and_once(
    rows: list[tuple[set[str], bool]], first: str, second: str
) -> None:
    frame = pl.DataFrame(
        [(text(of), where) for of, where in rows],
        schema={FLAGS: pl.String, "where": pl.Boolean},
        orient="row",
    )

    def with_both(*two: str) -> list[str]:
        expr = pl.col(FLAGS)
        for code in two:
            expr = added(expr, code, pl.col("where"))
        return frame.select(expr)[FLAGS].to_list()

    wanted = [text(of | {first, second} if where else of) for of, where in rows]
    assert with_both(first, second) == with_both(second, first) == with_both(first, second, first) == wanted


@given(st.lists(st.tuples(sets, st.booleans()), max_size=5), st.sampled_from(CODES))
def test_a_code_is_removed_where_it_is_not_wanted(rows: list[tuple[set[str], bool]], code: str) -> None:
    frame = pl.DataFrame(
        [(text(of), where) for of, where in rows],
        schema={FLAGS: pl.String, "where": pl.Boolean},
        orient="row",
    )
    found = frame.select(removed(pl.col(FLAGS), code, pl.col("where")))[FLAGS].to_list()
    assert found == [text(of - {code} if where else of) for of, where in rows]


@given(st.lists(sets, max_size=5), st.sampled_from(CODES))
def test_a_code_is_found_by_its_whole_name(rows: list[set[str]], code: str) -> None:
    frame = column(*map(text, rows))
    assert frame.select(found=has(code))["found"].to_list() == [code in of for of in rows]
    kinds = frame.select(found=has_kind("explained"))["found"].to_list()
    assert kinds == [any(one.startswith("explained:") for one in of) for of in rows]
    assert [set(codes(value)) for value in frame[FLAGS]] == rows


def test_a_part_of_a_name_is_no_code() -> None:
    frame = column("close_outside_range", "no_trade,stale_price", "explained:x")
    for part in ("outside_range", "trade", "stale", "explained", "x"):
        assert not frame.select(found=has(part))["found"].any()
    for part in ("xplained", "e.plained"):
        assert not frame.select(found=has_kind(part))["found"].any()


@given(st.lists(st.tuples(st.booleans() | st.none(), st.booleans() | st.none()), max_size=5))
def test_flags_are_made_of_conditions_in_any_order(rows: list[tuple[bool | None, bool | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"x": pl.Boolean, "y": pl.Boolean}, orient="row")
    wanted = [
        text({code for code, holds in ((flags.STALE_PRICE, x), (flags.NO_TRADE, y)) if holds})
        for x, y in rows
    ]
    for order in (1, -1):
        conditions = [(flags.STALE_PRICE, pl.col("x")), (flags.NO_TRADE, pl.col("y"))][::order]
        assert frame.select(made=from_conditions(dict(conditions)))["made"].to_list() == wanted


def test_rows_without_flags_have_none_to_join_and_a_null_is_none() -> None:
    frame = column(NONE, None)
    assert frame.select(joined(pl.col(FLAGS), pl.col(FLAGS)))[FLAGS].to_list() == [NONE, NONE]
    assert codes(NONE) == []


def test_rows_are_counted_by_code_and_by_kind_where_a_code_has_a_part_of_its_own() -> None:
    frame = column(
        "no_trade,stale_price", "no_trade", "", "explained:a,explained:b", "explained:a", "no_trade"
    )
    assert counted(frame) == {"explained": 2, "no_trade": 3, "stale_price": 1}
    assert counted(column(NONE)) == {}


@pytest.mark.parametrize("kind", ["", "two,kinds", " blank"])
def test_a_kind_that_cannot_stand_in_a_list_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="is no kind of error"):
        flags.explained(kind)
