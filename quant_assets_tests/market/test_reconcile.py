"""Rows that stand and rows that come: nothing lost, nothing twice, and the same whichever came first."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, VALUES, empty_daily
from quant_assets.market.reconcile import CHANGES_SCHEMA, reconcile

KNOWN = datetime(2024, 3, 18, 22, tzinfo=UTC)
LATER = KNOWN + timedelta(days=1)
Key = tuple[str, date]


def row(symbol: str = "A", day: int = 1, close: float | None = 10.0, **more: Any) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "date": date(2024, 3, day),
        **dict.fromkeys(("open", "high", "low", "close"), close),
        "volume": 0 if close is None else 100,
        "dividend": 0.0,
        "split_ratio": 1.0,
        "currency": "USD",
        "fetched_at": KNOWN,
        **more,
    }


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=DAILY_SCHEMA).sort(KEYS)


def by_key(rows: pl.DataFrame) -> dict[Key, dict[str, Any]]:
    return {(r["symbol"], r["date"]): r for r in rows.iter_rows(named=True)}


rows_drawn = st.builds(
    row,
    symbol=st.sampled_from(["A", "B", "C"]),
    day=st.integers(1, 3),
    close=st.sampled_from([None, 10.0, 11.0]),
    dividend=st.sampled_from([0.0, 0.5]),
    currency=st.sampled_from(["USD", "AUD"]),
    fetched_at=st.sampled_from([KNOWN, LATER]),
)
tables = st.lists(rows_drawn, max_size=8, unique_by=lambda r: (r["symbol"], r["date"])).map(
    lambda rows: frame(*rows)
)


@given(tables, tables, st.booleans())
def test_no_row_is_lost_and_none_is_there_twice(
    standing: pl.DataFrame, incoming: pl.DataFrame, replace: bool
) -> None:
    merged = reconcile(standing, incoming, replace=replace)
    assert by_key(merged.rows).keys() == by_key(standing).keys() | by_key(incoming).keys()
    assert merged.rows.height == len(by_key(merged.rows))
    assert merged.added == len(by_key(incoming).keys() - by_key(standing).keys())
    assert merged.rows.schema == DAILY_SCHEMA
    assert_frame_equal(merged.rows, merged.rows.sort(KEYS))


@given(tables, tables, st.booleans())
def test_hearing_a_thing_twice_changes_nothing(
    standing: pl.DataFrame, incoming: pl.DataFrame, replace: bool
) -> None:
    once = reconcile(standing, incoming, replace=replace).rows
    again = reconcile(once, incoming, replace=replace)
    assert_frame_equal(again.rows, once)
    assert again.added == 0


@given(tables, st.data(), st.booleans())
def test_parts_that_share_no_row_may_come_in_any_order(
    whole: pl.DataFrame, data: st.DataObject, replace: bool
) -> None:
    picks = data.draw(st.lists(st.integers(0, 2), min_size=whole.height, max_size=whole.height))
    parts = [whole.filter(pl.Series([p == n for p in picks], dtype=pl.Boolean)) for n in range(3)]
    for order in data.draw(st.permutations(range(3))), (0, 1, 2):
        rows = empty_daily()
        for number in order:
            rows = reconcile(rows, parts[number], replace=replace).rows
        assert_frame_equal(rows, whole)


@given(tables, tables, st.booleans())
def test_each_row_is_the_one_that_takes_precedence(
    standing: pl.DataFrame, incoming: pl.DataFrame, replace: bool
) -> None:
    old, new = by_key(standing), by_key(incoming)
    for key, kept in by_key(reconcile(standing, incoming, replace=replace).rows).items():
        if key not in old or key not in new:
            assert kept == old.get(key, new.get(key))
        elif all(old[key][name] == new[key][name] for name in VALUES):
            assert kept == old[key]
        elif replace:
            assert kept == new[key]
        elif old[key]["close"] is None and new[key]["close"] is not None:
            action = {name: old[key][name] for name in ("dividend", "split_ratio")}
            assert kept == {**new[key], **action}
        else:
            assert kept == old[key]


@given(tables, tables, st.booleans())
def test_every_differing_value_is_reported_whether_or_not_it_is_taken(
    standing: pl.DataFrame, incoming: pl.DataFrame, replace: bool
) -> None:
    old, new = by_key(standing), by_key(incoming)
    changes = reconcile(standing, incoming, replace=replace).changes
    assert changes.schema == CHANGES_SCHEMA
    told = {(r["symbol"], r["date"], r["field"]) for r in changes.iter_rows(named=True)}
    assert changes.height == len(told)
    assert told == {
        (*key, name) for key in old.keys() & new.keys() for name in VALUES if old[key][name] != new[key][name]
    }


@pytest.mark.parametrize("replace", [False, True])
def test_a_change_is_told_with_both_values(replace: bool) -> None:
    merged = reconcile(frame(row(volume=100)), frame(row(volume=120, fetched_at=LATER)), replace=replace)
    assert merged.changes.rows() == [("A", date(2024, 3, 1), "volume", "100", "120")]
    assert merged.rows["volume"].item() == (120 if replace else 100)
    assert merged.rows["fetched_at"].item() == (LATER if replace else KNOWN)


def test_a_value_that_has_gone_is_a_change_too() -> None:
    merged = reconcile(frame(row()), frame(row(close=None)), replace=False)
    assert set(merged.changes["field"]) == {"open", "high", "low", "close", "volume"}
    assert merged.changes.filter(pl.col("field") == "close").row(0)[3:] == ("10.0", None)
    assert merged.rows["close"].item() == 10.0


def test_an_action_that_stood_without_a_bar_takes_the_bar_that_comes_and_stays() -> None:
    bare = frame(row(close=None, dividend=0.5, split_ratio=2.0), row("B"))
    merged = reconcile(bare, frame(row(close=9.0, fetched_at=LATER)), replace=False)
    assert merged.rows.row(0, named=True) == row(close=9.0, dividend=0.5, split_ratio=2.0, fetched_at=LATER)
    assert merged.rows.row(1, named=True) == row("B")


@pytest.mark.parametrize("replace", [False, True])
def test_rows_come_out_sorted_however_they_came_in(replace: bool) -> None:
    one, other = frame(row("B"), row("A")), frame(row("D"), row("C"))
    for standing, incoming in ((one, other), (one, empty_daily()), (empty_daily(), other)):
        merged = reconcile(standing.reverse(), incoming.reverse(), replace=replace)
        assert merged.rows["symbol"].is_sorted()
