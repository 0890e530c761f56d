"""How much evidence each judgement of a difference asks for: tables of what is just enough and of what is not."""

from __future__ import annotations

import math
from datetime import timedelta

import polars as pl
import pytest

from quant_assets.market.bars import PRICES
from quant_assets.market.reconcile import compare, differing
from quant_assets.market.restatements import CONFIRMED
from quant_assets_tests.market.histories import (
    N,
    day,
    history,
    judge,
    later,
    live,
    put,
    rescaled,
    told,
)


@pytest.mark.parametrize(
    ("now", "held"), [(0.5049, False), (0.5051, True), (0.4951, False), (0.4949, True), (0.0, True)]
)
def test_a_dividend_that_changes_by_more_than_a_hundredth_is_held(now: float, held: bool) -> None:
    stored_rows = history(dividends={12: 0.5})
    found = judge(stored_rows, later(put(stored_rows, 12, dividend=now)))
    assert (found.held.height, told(found)) == (
        (1, []) if held else (0, [(day(12), "dividend", "correction")])
    )


@pytest.mark.parametrize(
    ("factor", "opened", "held"),
    [
        (1.0049, 1.0, False), (1.0051, 1.0, True), (0.9951, 1.0, False), (0.9949, 1.0, True),
        # All four by one factor, to a ten-thousandth.
        (1.1, 1.00008, True), (1.1, 1.00012, False), (1.1, 0.99992, True), (1.1, 0.99988, False),
    ],
)  # fmt: skip
def test_prices_off_by_one_factor_are_no_corrections(factor: float, opened: float, held: bool) -> None:
    stored_rows = history([100.0] * N)
    prices = {n: stored_rows[n][10] * factor * (opened if n == "open" else 1.0) for n in PRICES}
    found = judge(stored_rows, later(put(stored_rows, 10, **prices)))
    assert found.held["kind"].to_list() == (["rescaled"] if held else [])
    assert told(found) == ([] if held else [(day(10), name, "correction") for name in PRICES])


@pytest.mark.parametrize(("rows", "same", "back"), [(4, None, False), (5, None, True), (9, 4, False)])
def test_five_rows_in_a_row_are_a_rescaling(rows: int, same: int | None, back: bool) -> None:
    stored_rows = history()
    answer = rescaled(stored_rows, 0.9, before=rows)
    if same is not None:
        answer = put(answer, same, **{name: stored_rows[name][same] for name in (*PRICES, "volume")})
    found = judge(stored_rows, later(answer), whole=False)
    assert found.reaches_back == (["A"] if back else [])
    if not back:
        assert found.held.height == rows - (same is not None)
        assert f"row(s) from {day(0)} to {day(rows - 1)} rescaled by 0.9" in found.held["rule"][0]


@pytest.mark.parametrize(
    ("far", "rows", "beside", "other"),
    [
        (10, 12, 50.0, True), (9, 11, 50.0, False), (12, 15, 50.0, False), (13, 15, 50.0, True),
        # Prices that differ by less than a thousandth are near.
        (9, 11, 50.045, False), (9, 11, 50.055, True),
    ],
)  # fmt: skip
def test_ten_rows_and_more_than_four_fifths_of_all_are_another_history(
    far: int, rows: int, beside: float, other: bool
) -> None:
    stored_rows = history([50.0] * rows)
    prices = [20.0 + n % 7 if n < far else beside for n in range(rows)]
    found = judge(stored_rows, later(history(prices)))
    assert ("other_history" in set(found.held["kind"])) is other


@pytest.mark.parametrize(("few", "other"), [(18, True), (19, False)])
def test_three_ratios_of_more_than_three_fifths_of_all_rows_are_splits(few: int, other: bool) -> None:
    stored_rows = history([100.0] * N)
    prices = [(50.0, 25.0, 200.0)[n % 3] if n < few else 30.0 + 1.3 * n for n in range(N)]
    found = judge(stored_rows, later(history(prices)))
    assert ("other_history" in set(found.held["kind"])) is other


@pytest.mark.parametrize(
    ("distance", "shares", "other"), [(0.099, 4e6, False), (0.101, 4e6, True), (0.101, 0.0, False)]
)
def test_volumes_of_another_history_are_a_tenth_off_their_usual_ratio(
    distance: float, shares: float, other: bool
) -> None:
    """Beside prices of which the ratios are a few in steps of 1/200, and many in steps of 1/1000."""
    stored_rows = history([100.0 + n % 3 for n in range(N)]).with_columns(volume=pl.lit(10_000_000))
    near = history([round((100.0 + n % 3) * (0.96 + 0.001 * (n % 8)), 2) for n in range(N)])
    traded = [round(shares * math.exp(distance * (1 if n % 2 else -1))) for n in range(N)]
    found = judge(stored_rows, later(near.with_columns(volume=pl.Series(traded))))
    assert ("other_history" in set(found.held["kind"])) is other


@pytest.mark.parametrize(
    ("left", "shows"), [(1.34, True), (1.36, False), (1 / 1.34, True), (1 / 1.36, False)]
)
def test_a_price_shows_a_split_that_leaves_of_it_less_than_a_usual_move(left: float, shows: bool) -> None:
    stored_rows = history([50.0 if n < 20 else 25.0 * left for n in range(N)], splits={20: 2.0})
    found = judge(stored_rows, later(put(stored_rows, 20, split_ratio=1.0)))
    assert told(found) == ([] if shows else [(day(20), "split_ratio", "correction")])
    assert len(found.notes) == shows


@pytest.mark.parametrize("ratio", [1.34, 1.36, 1.5, 3.0, 7.0, 0.1, 1 / 30, 1 / 50])
def test_the_ratio_of_a_split_that_nobody_names_is_a_simple_one_beyond_a_usual_move(ratio: float) -> None:
    stored_rows = live(
        put(history([900.0 / (1 if n < 20 else ratio) for n in range(N)]), 20, split_ratio=1.0)
    )
    found = judge(stored_rows, later(rescaled(stored_rows, 1 / ratio, before=20)))
    assert told(found) == ([] if ratio == 1.34 else [(day(20), "split_ratio", "late_split")])
    assert found.new["split_ratio"].to_list() == pytest.approx([] if ratio == 1.34 else [ratio], rel=1e-9)


@pytest.mark.parametrize(("days", "taken"), [(4, False), (5, True)])
def test_a_row_was_captured_live_up_to_four_days_after_its_session(days: int, taken: bool) -> None:
    stored_rows = history().with_columns(
        fetched_at=pl.col("date").cast(pl.Datetime("us", "UTC")) + timedelta(days=days, hours=23)
    )
    found = judge(stored_rows, later(rescaled(stored_rows, 0.01)), days=CONFIRMED)
    assert (found.new.height, found.held.height) == ((N, 0) if taken else (0, N))


@pytest.mark.parametrize(("days", "kept"), [(9, False), (10, True)])
def test_rows_of_their_own_evenings_are_kept_once_their_rescaling_was_claimed_on_ten_days(
    days: int, kept: bool
) -> None:
    stored_rows = live(history())
    found = judge(stored_rows, later(rescaled(stored_rows, 1.1)), days=days)
    assert (found.held.height, found.in_doubt, found.new.height) == ((0, [], 0) if kept else (N, ["A"], 0))
    told = (
        "the stored rows, captured on their evenings, are kept"
        if kept
        else f"{N} row(s) of the answer are held"
    )
    assert found.notes == [f"A: rescaled without a split: by 1.1; {told}"]


@pytest.mark.parametrize(("rows", "events"), [(4, 8), (5, 1)])
def test_five_rows_are_finer_as_one(rows: int, events: int) -> None:
    truth = history([24.94985 + n / 100 for n in range(rows)])
    stored_rows = truth.with_columns(pl.col(PRICES).round(4))
    found = judge(stored_rows, later(truth, scale=2.0))
    assert (found.events.height, found.new.height) == (events, rows)
    assert set(found.events["class"]) == {"correction"}


# --- which rows are compared


def test_a_row_may_have_been_seen_at_every_scale_since_its_day() -> None:
    """The splits after it bring its S from one value to the next: from 0.5 over 5 and 0.25 to 1."""
    days = pl.concat([history([100.0] * 4), history([100.0] * 4, symbol="B")])
    answer = later(days).with_columns(scale=pl.Series([0.5, 5.0, 0.25, 1.0, 2.0, 1.0, 1.0, 1.0]))
    pairs = compare(days, answer).pairs
    assert pairs["scale_old"].to_list() == [0.1, 1.0, 0.25, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert pairs["scale_most"].to_list() == [2.0, 20.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(("close", "taken"), [(104.9, True), (105.1, False), (95.1, True), (94.9, False)])
def test_what_is_unknown_now_is_taken_over_of_a_row_on_the_same_basis(close: float, taken: bool) -> None:
    stored_rows = history([100.0], dividends={0: 0.3})
    answer = put(later(history([close])), 0, flags="dividend_held,volume_unknown").with_columns(
        volume=pl.lit(None, pl.Int64), dividend=pl.lit(None, pl.Float64)
    )
    pairs = compare(stored_rows, answer).pairs
    assert pairs.select("volume_new", "dividend_new", "flags_new").row(0) == (
        (10_000, 0.3, "") if taken else (None, None, "dividend_held,volume_unknown")
    )


@pytest.mark.parametrize(
    ("new", "differs"), [(2.0000019, False), (2.0000021, True), (1.9999981, False), (1.9999979, True)]
)
def test_a_ratio_is_the_same_to_a_millionth(new: float, differs: bool) -> None:
    row = pl.DataFrame({"split_ratio": [2.0], "split_ratio_new": [new]})
    assert row.select(differing("split_ratio")).item() is differs
