"""Changed dividends, corrections, rows that go and come, and several symbols at once: what each difference means."""

from __future__ import annotations

import polars as pl
import pytest

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, PRICES
from quant_assets.market.restatements import (
    CONFIRMED,
    RESTATEMENTS_SCHEMA,
    appeared,
    vanished,
)
from quant_assets_tests.market.histories import (
    N,
    applied,
    day,
    held_and_then_taken,
    history,
    judge,
    later,
    live,
    nothing_changes,
    put,
    rescaled,
    same,
    told,
)

# --- dividends


@pytest.mark.parametrize(("new", "differs"), [(0.285714, True), (0.2857005, False), (0.285702, True)])
def test_a_dividend_differs_from_the_sixth_decimal_on(new: float, differs: bool) -> None:
    stored_rows = put(history(), 12, dividend=0.2857)
    found = judge(stored_rows, later(put(stored_rows, 12, dividend=new)))
    assert (found.events.height == 1) is differs


def test_a_dividend_that_becomes_known_is_late() -> None:
    stored_rows = history()
    answer = later(put(stored_rows, 12, dividend=0.5))
    found = judge(stored_rows, answer)
    assert found.events.rows() == [("A", day(12), "dividend", "0.0", "0.5", "late_dividend", day(12), 1)]
    assert same(applied(stored_rows, answer, found), answer)


@pytest.mark.parametrize("now", [0.4, 0.0])
def test_a_dividend_that_changes_or_goes_is_held_and_a_correction_on_the_third_day(now: float) -> None:
    stored_rows = history(dividends={12: 0.5})
    answer = later(put(stored_rows, 12, dividend=now))
    found = held_and_then_taken(stored_rows, answer, "dividend_changed")
    assert found.held.select("date", "dividend", "scope").rows() == [(day(12), now, "action")]
    found = judge(stored_rows, answer, days=CONFIRMED)
    assert found.events.rows() == [("A", day(12), "dividend", "0.5", repr(now), "correction", day(12), 1)]


def test_what_else_is_corrected_on_the_day_of_a_dividend_in_doubt_is_taken_at_once() -> None:
    stored_rows = history(dividends={12: 0.5})
    found = judge(stored_rows, later(put(stored_rows, 12, dividend=0.0, volume=7)))
    assert told(found) == [(day(12), "volume", "correction")]
    assert found.new.select("volume", "dividend").rows() == [(7, 0.5)]


@pytest.mark.parametrize(("days", "held", "taken"), [(1, 1, 0), (2, 1, 0), (3, 0, 1), (4, 0, 1)])
def test_a_claim_is_held_on_two_days_and_taken_on_the_third(days: int, held: int, taken: int) -> None:
    stored_rows = history(dividends={12: 0.5})
    found = judge(stored_rows, later(put(stored_rows, 12, dividend=0.4)), days=days)
    assert (found.held.height, found.new.height) == (held, taken)
    # The whole answer in another unit: the same days.
    found = judge(stored_rows, later(rescaled(stored_rows, 100.0)), days=days)
    assert (found.held.height > 0, found.new.height > 0) == (bool(held), bool(taken))


# --- corrections


def test_a_corrected_value_is_told_with_both_values() -> None:
    stored_rows = history()
    found = judge(stored_rows, later(put(stored_rows, 3, close=50.5)))
    old = repr(stored_rows["close"][3])
    assert found.events.rows() == [("A", day(3), "close", old, "50.5", "correction", day(3), 1)]
    assert found.events.schema == RESTATEMENTS_SCHEMA


def test_several_corrected_values_of_a_row_are_several_events_and_one_row() -> None:
    stored_rows = history()
    answer = later(put(stored_rows, 3, open=50.1, volume=5, dividend=0.2))
    found = judge(stored_rows, answer)
    assert sorted(told(found)) == [
        (day(3), "dividend", "late_dividend"),
        (day(3), "open", "correction"),
        (day(3), "volume", "correction"),
    ]
    assert found.events["rows"].to_list() == [1, 1, 1]
    assert found.old.equals(stored_rows[3:4])
    assert found.new.equals(answer[3:4].select(list(DAILY_SCHEMA)))


def test_few_rows_with_one_factor_in_all_prices_are_no_corrections_before_the_third_day() -> None:
    stored_rows = history()
    answer = later(rescaled(stored_rows, 0.9, before=4))
    found = held_and_then_taken(stored_rows, answer, "rescaled")
    assert found.held.height == 4
    found = judge(stored_rows, answer, days=CONFIRMED)
    assert {kind for *_, kind in told(found)} == {"correction"}


@pytest.mark.parametrize("split", [False, True])
def test_a_tick_of_a_penny_stock_is_a_correction_and_a_split_of_it_still_late(split: bool) -> None:
    # On a tick of 0.001 every ratio of two prices is rough: 0.013 * 3 is not 0.04.
    prices = [0.013 if n < 20 else 0.039 for n in range(N)]
    truth = history(prices, splits={20: 1 / 3} if split else {})
    if split:
        stored_rows = rescaled(put(truth, 20, split_ratio=1.0), 3.0, before=20)
        expected = [(day(20), "split_ratio", "late_split")]
    else:
        stored_rows = put(truth, 5, close=0.014)
        expected = [(day(5), "close", "correction")]
    found = judge(stored_rows, later(truth))
    assert told(found) == expected
    assert same(applied(stored_rows, later(truth), found), later(truth))


def test_a_penny_history_rounded_to_its_tick_is_healed_by_a_late_split() -> None:
    truth = history([0.051, 0.052, 0.049] * 10, splits={20: 2.0})
    # The source's own rounding to four decimals stands: 0.0255 twice is 0.051, and 0.0245 is 0.049.
    stored_rows = rescaled(put(truth, 20, split_ratio=1.0), 0.5, before=20)
    found = judge(stored_rows, later(truth))
    assert found.events.select("class", "rows").rows() == [("late_split", 21)]


# --- what a late split explains


@pytest.mark.parametrize(("stale", "rows"), [(18, 19), (17, 1)])
def test_a_late_split_explains_nine_of_ten_rows_before_it_or_none(stale: int, rows: int) -> None:
    truth = history(splits={20: 2.0})
    stored_rows = put(rescaled(truth, 0.5, before=stale), 20, split_ratio=1.0)
    events = judge(stored_rows, later(truth)).events.filter(pl.col("field") == "split_ratio")
    assert events.select("class", "rows").rows() == [("late_split", rows)]


@pytest.mark.parametrize(
    ("ratio", "scale", "off", "explained"),
    [
        # A share of today's, or of those that were traded, to either side, and one for each that it was divided by.
        (2.0, 1.0, 2, True), (2.0, 1.0, 3, False), (2.0, 1.0, -2, True), (2.0, 1.0, -3, False),
        (0.5, 1.0, 3, True), (0.5, 1.0, 4, False), (2.0, 0.5, 3, True), (2.0, 0.5, 4, False),
        (2.0, 4.0, 2, True), (2.0, 4.0, 3, False),
    ],
)  # fmt: skip
def test_a_late_split_explains_volumes_up_to_what_was_rounded(
    ratio: float, scale: float, off: int, explained: bool
) -> None:
    truth = history(splits={20: ratio})
    stored_rows = put(rescaled(truth, 1 / ratio, before=20), 20, split_ratio=1.0)
    changed = put(truth, 6, volume=truth["volume"][6] + off)
    more = [] if explained else [(day(6), "volume", "correction")]
    assert told(judge(stored_rows, later(changed, scale))) == [*more, (day(20), "split_ratio", "late_split")]


@pytest.mark.parametrize(
    ("ratio", "scale", "off", "explained"),
    [
        # A ten-thousandth of it, and the sixth decimal of whatever was served.
        (2.0, 1.0, 5.1e-5, True), (2.0, 1.0, 5.3e-5, False), (2.0, 1.0, -5.1e-5, True), (2.0, 1.0, -5.3e-5, False),
        (0.5, 1.0, 5e-5, True), (0.5, 1.0, 5.2e-5, False), (2.0, 10.0, 6.9e-5, True), (2.0, 10.0, 7.1e-5, False),
    ],
)  # fmt: skip
def test_a_late_split_explains_dividends_up_to_what_was_rounded(
    ratio: float, scale: float, off: float, explained: bool
) -> None:
    truth = history(splits={20: ratio}, dividends={6: 0.5})
    stored_rows = put(rescaled(truth, 1 / ratio, before=20), 20, split_ratio=1.0)
    stored_rows = put(stored_rows, 6, dividend=0.5 / ratio)
    changed = put(truth, 6, dividend=0.5 + off)
    more = [] if explained else [(day(6), "dividend", "correction")]
    assert told(judge(stored_rows, later(changed, scale))) == [*more, (day(20), "split_ratio", "late_split")]


def test_what_a_late_split_does_not_explain_of_its_own_day_is_told_once() -> None:
    truth = history(splits={20: 2.0})
    stored_rows = put(rescaled(truth, 0.5, before=21), 20, split_ratio=1.0, volume=7)
    found = judge(stored_rows, later(truth))
    assert told(found) == [
        (day(20), field, "late_split" if field == "split_ratio" else "correction")
        for field in ("split_ratio", *PRICES, "volume")
    ]


# --- a split that is left out, another unit


@pytest.mark.parametrize(("evenings", "kept"), [(5, True), (4, False)])
def test_a_split_that_is_left_out_is_kept_where_each_of_few_rows_before_it_was_captured_then(
    evenings: int, kept: bool
) -> None:
    truth = history(splits={5: 4.0})
    seen = pl.col("date") >= day(5 - evenings)
    moments = pl.when(seen).then(live(truth)["fetched_at"]).otherwise("fetched_at")
    stored_rows = truth.with_columns(fetched_at=moments)
    found = judge(stored_rows, later(rescaled(put(stored_rows, 5, split_ratio=1.0), 0.25, before=5)))
    assert set(found.held["kind"]) == (set() if kept else {"split_left_out"})


def test_beside_another_unit_a_volume_of_a_few_shares_more_is_a_correction() -> None:
    stored_rows = history()
    moved = stored_rows.with_columns((pl.col(n) * 100).round(4) for n in PRICES)
    for row, more in ((3, 2), (4, 3)):
        moved = put(moved, row, volume=stored_rows["volume"][row] + more)
    found = judge(stored_rows, later(moved), days=CONFIRMED)
    assert told(found) == [(day(4), "volume", "correction"), (day(N - 1), "close", "unit_change")]


# --- rows that go and come


def test_rows_that_vanish_or_appear_are_an_event_each() -> None:
    rows = history()[3:5]
    gone, came = vanished(rows), appeared(rows)
    assert gone.schema == came.schema == RESTATEMENTS_SCHEMA
    assert gone.rows() == [
        ("A", day(n), "row", "there", "not there", "vanished_row", day(n), 1) for n in (3, 4)
    ]
    assert came.rows() == [
        ("A", day(n), "row", "not there", "there", "appeared_row", day(n), 1) for n in (3, 4)
    ]
    assert vanished(rows.clear()).rows() == []


# --- several symbols


def test_every_symbol_is_judged_by_its_own_rows() -> None:
    quiet = history(symbol="Q")
    split = history(symbol="S", splits={20: 2.0})
    part = history(symbol="P")
    other = history([20.0 + n % 7 for n in range(N)], symbol="O")
    stored_rows = pl.concat(
        [
            quiet,
            rescaled(put(split, 20, "S", split_ratio=1.0), 0.5, before=20),
            put(part, 4, "P", volume=3),
            history(symbol="O"),
        ]
    )
    found = judge(stored_rows, later(pl.concat([part, other, quiet, split])))
    assert found.events.select("symbol", "class", "rows").sort("symbol").rows() == [
        ("P", "correction", 1),
        ("S", "late_split", 21),
    ]
    assert found.held["symbol"].unique().to_list() == ["O"]
    assert found.old.select(KEYS).equals(found.new.select(KEYS))
    assert set(found.old["symbol"]) == {"P", "S"}
    assert found.old.select(KEYS).equals(found.old.select(KEYS).sort(KEYS))


def test_a_symbol_that_reaches_back_holds_up_no_other() -> None:
    split = history(symbol="S", splits={20: 2.0})
    part = history(symbol="P")
    stored_rows = pl.concat(
        [rescaled(put(split, 20, "S", split_ratio=1.0), 0.5, before=20), put(part, 4, "P", volume=3)]
    )
    found = judge(stored_rows, later(pl.concat([split, part])), whole=False)
    assert found.reaches_back == ["S"]
    assert found.events["symbol"].to_list() == ["P"]
    assert found.old["symbol"].to_list() == ["P"]


def test_nothing_that_differs_is_nothing_to_say() -> None:
    stored_rows = history(splits={20: 2.0}, dividends={3: 0.1})
    nothing_changes(judge(stored_rows, later(stored_rows, 2.0)))
    nothing_changes(judge(stored_rows.clear(), later(stored_rows.clear())))
