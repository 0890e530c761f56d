"""The verdict on one answer: honest ones are proven; each known error is explained or held, and no more than it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.market.verdicts.answer import Answer, Kind, Unreadable, Verdict
from quant_assets.market.verdicts.judge import judge
from quant_assets_tests.market.verdicts.served import (
    DAYS,
    N,
    changed,
    events,
    listed,
    scaled,
    served,
    traded,
)


def days(first: int, last: int) -> set[date]:
    return set(DAYS[first : last + 1])


def held(verdict: Verdict) -> dict[Kind, set[date]]:
    """The days whose bars are held, by kind."""
    found: dict[Kind, set[date]] = {}
    for one in verdict.held:
        found.setdefault(one.kind, set()).update(one.days)
    return found


def actions(verdict: Verdict) -> dict[date, Kind]:
    return {one.day: one.kind for one in verdict.actions}


def paid(verdict: Verdict) -> dict[date, float]:
    return {day: round(amount, 6) for day, amount in verdict.dividends.rows()}


def with_bars(answer: Answer, bars: pl.DataFrame) -> Answer:
    return replace(answer, bars=bars)


# --- honest answers


RATIOS = [1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 0.5, 0.1, 0.05, 0.02, 0.001]


@given(
    st.integers(0, 10_000),
    st.dictionaries(st.integers(10, N - 10), st.sampled_from(RATIOS), max_size=2),
    st.lists(st.sampled_from([15, 35, 55, 75, 95, 115]), unique=True, max_size=6),
    st.sampled_from([0.002, 0.005, 0.01, 0.02, 0.04]),
    st.sampled_from([1.0, 0.6, 0.5, 0.4, 0.25, 0.2, 1.8]),
)
@settings(max_examples=150)
def test_an_honest_answer_is_proven(
    seed: int, splits: dict[int, float], quarters: list[int], usual: float, move: float
) -> None:
    """Splits of every ratio, ordinary dividends, and one large move of the market far from any split."""
    nearest = min((abs(at - other) for at in splits for other in splits if at != other), default=N)
    splits = splits if nearest > 10 else {}
    moves = {} if splits else {60: move}
    rows = traded(seed, splits, {}, usual, moves=moves)
    amounts = {at: float(rows["close"][at - 1]) * 0.005 for at in quarters if at not in splits}
    rows = traded(seed, splits, amounts, usual, moves=moves)
    verdict = judge(served(rows))
    assert verdict.word == "proven", (verdict.held, verdict.actions, verdict.explained)
    assert verdict.splits.height == len(splits)
    assert verdict.dividends.height == len(amounts)


@pytest.mark.parametrize("move", [0.2, 0.4, 0.6])
def test_a_crash_long_before_a_split_of_its_size_is_the_markets_doing(move: float) -> None:
    rows = traded(3, {110: 1 / move}, moves={30: move})
    assert judge(served(rows)).word == "proven"


def test_a_special_dividend_of_most_of_the_price_is_proven_by_its_fall() -> None:
    rows = traded(4, dividends={60: 120.0})
    verdict = judge(served(rows))
    assert verdict.word == "proven"
    assert paid(verdict) == {DAYS[60]: 120.0}


def test_an_answer_without_adj_close_or_bars_is_judged_by_what_there_is() -> None:
    answer = served(traded(dividends={60: 1.0}))
    without = with_bars(answer, answer.bars.with_columns(adj_close=pl.lit(None, pl.Float64)))
    assert judge(without).word == "proven"
    empty = with_bars(answer, answer.bars.clear())
    assert judge(empty).dividends.height == 1


@pytest.mark.parametrize("at", [59, 60, 61, N - 1])
def test_an_adj_close_of_zero_reveals_no_dividend_and_contradicts_none(at: int) -> None:
    answer = served(traded(dividends={60: 1.0}))
    verdict = judge(with_bars(answer, changed(answer.bars, at, adj_close=0.0)))
    assert verdict.word == "proven", verdict.actions
    assert paid(verdict) == {DAYS[60]: 1.0}


@pytest.mark.parametrize("start", [0.002, 0.02])
def test_low_prices_rounded_to_six_decimals_reveal_no_dividend(start: float) -> None:
    answer = served(traded(start=200.0, dividends={60: 1.0, 100: 1.0}))
    low = answer.bars.with_columns(
        pl.col(name) * start / 200.0 for name in ("open", "high", "low", "close", "adj_close")
    ).with_columns(pl.col("open", "high", "low", "close", "adj_close").round(6))
    paid_low = answer.dividends.with_columns(pl.col("amount") * start / 200.0)
    verdict = judge(replace(with_bars(answer, low), dividends=paid_low))
    assert verdict.word == "proven", verdict.actions


# --- splits


@pytest.mark.parametrize("rescaled", [False, True])
def test_a_split_after_the_last_bar_is_applied_as_stored_rows_show(rescaled: bool) -> None:
    rows = traded()
    answer = served(rows)
    tomorrow = DAYS[-1] + timedelta(days=1)
    answer = replace(answer, splits=events([(tomorrow, 4.0)], "ratio"), stored=rows[100:118])
    if rescaled:
        answer = with_bars(answer, scaled(answer.bars, 0.25, 0, N - 1))
    verdict = judge(answer)
    assert verdict.word == "explained"
    assert [one.kind for one in verdict.explained] == [Kind.UNSETTLED_SPLIT]
    assert verdict.splits.rows() == ([(tomorrow, 4.0)] if rescaled else [])


def test_a_split_after_the_last_bar_holds_everything_where_nothing_is_stored() -> None:
    answer = replace(served(traded()), splits=events([(DAYS[-1] + timedelta(days=1), 4.0)], "ratio"))
    assert held(judge(answer)) == {Kind.UNSETTLED_SPLIT: set(DAYS)}


@pytest.mark.parametrize("other", [59, 61, 63])
def test_a_split_listed_twice_is_read_as_stored_rows_show(other: int) -> None:
    rows = traded(splits={60: 2.0})
    answer = served(rows)
    twice = events([(DAYS[60], 2.0), (DAYS[other], 2.0)], "ratio")
    verdict = judge(replace(answer, splits=twice, stored=rows[50:75]))
    assert verdict.word == "explained"
    assert verdict.splits.rows() == [(DAYS[60], 2.0)]


def test_a_split_listed_twice_holds_everything_up_to_it_where_nothing_is_stored() -> None:
    answer = served(traded(splits={60: 2.0}))
    twice = events([(DAYS[60], 2.0), (DAYS[61], 2.0)], "ratio")
    assert held(judge(replace(answer, splits=twice))) == {Kind.REPEATED_SPLIT: days(0, 61)}


def test_a_split_listed_twice_holds_only_what_its_readings_differ_in() -> None:
    rows = traded(splits={60: 2.0})
    twice = events([(DAYS[60], 2.0), (DAYS[61], 2.0)], "ratio")
    verdict = judge(replace(served(rows, 62), splits=twice, stored=rows[45:60]))
    assert held(verdict) == {Kind.REPEATED_SPLIT: days(60, 61)}


def test_a_split_listed_twice_on_one_day_is_one() -> None:
    answer = served(traded(splits={60: 2.0}))
    verdict = judge(replace(answer, splits=pl.concat([answer.splits, answer.splits])))
    assert verdict.word == "explained"
    assert verdict.splits.rows() == [(DAYS[60], 2.0)]


def test_a_split_that_cannot_be_read_holds_what_is_before_it() -> None:
    events = Unreadable("dividend", DAYS[20], "none"), Unreadable("split", DAYS[60], "1:0")
    verdict = judge(replace(served(traded()), unreadable=events))
    assert held(verdict) == {Kind.UNREADABLE_SPLIT: days(0, 60)}
    assert "1:0" in verdict.held[0].reason


@pytest.mark.parametrize("volume", [True, False])
@pytest.mark.parametrize("ratio", [2.0, 5.0, 1 / 0.4406, 0.1])
@pytest.mark.parametrize(("first", "last"), [(0, 58), (0, 50), (30, 45), (59, 59), (57, 57), (0, 59)])
def test_bars_that_are_rescaled_in_part_are_held(first: int, last: int, ratio: float, volume: bool) -> None:
    answer = served(traded(splits={60: ratio}))
    verdict = judge(with_bars(answer, scaled(answer.bars, ratio, first, last, volume=volume)))
    assert held(verdict) == {Kind.RESCALED_IN_PART: days(first, last)}


def test_all_but_some_weeks_rescaled_holds_the_others() -> None:
    answer = served(traded(splits={60: 5.0}))
    bars = scaled(scaled(answer.bars, 5.0, 0, 29), 5.0, 45, 59)
    assert held(judge(with_bars(answer, bars))) == {Kind.RESCALED_IN_PART: days(0, 29) | days(45, 59)}


# --- units and fields


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_of_a_hundredfold_break_the_side_is_right_that_is_stored(factor: float) -> None:
    rows = traded()
    answer = replace(served(rows, 23), stored=rows[5:12])
    verdict = judge(with_bars(answer, scaled(answer.bars, factor, 14, 22)))
    assert held(verdict) == {Kind.HUNDREDFOLD: days(14, 22)}


def test_of_a_hundredfold_break_the_side_is_right_that_is_in_the_range_of_52_weeks() -> None:
    answer = replace(served(traded(), 23), low_52_weeks=150.0, high_52_weeks=250.0)
    verdict = judge(with_bars(answer, scaled(answer.bars, 100.0, 0, 13)))
    assert held(verdict) == {Kind.HUNDREDFOLD: days(0, 13)}


def test_a_hundredfold_stretch_between_others_is_the_wrong_one() -> None:
    answer = served(traded())
    verdict = judge(with_bars(answer, scaled(answer.bars, 0.01, 80, 101)))
    assert held(verdict) == {Kind.HUNDREDFOLD: days(80, 101)}


def test_a_hundredfold_break_that_nothing_settles_holds_both_sides() -> None:
    answer = served(traded(), 23)
    verdict = judge(with_bars(answer, scaled(answer.bars, 100.0, 0, 13)))
    assert held(verdict) == {Kind.HUNDREDFOLD: days(0, 22)}


def test_an_answer_a_hundred_times_its_own_quote_is_held_whole() -> None:
    answer = served(traded())
    answer = replace(answer, price=float(answer.bars["close"][-1]))
    assert judge(answer).word == "proven"
    verdict = judge(with_bars(answer, scaled(answer.bars, 100.0, 0, N - 1)))
    assert held(verdict) == {Kind.HUNDREDFOLD: set(DAYS)}


@pytest.mark.parametrize("field", ["open", "high", "low", "close"])
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_one_field_of_one_bar_a_hundredfold_holds_that_bar(field: str, factor: float) -> None:
    answer = served(traded())
    verdict = judge(with_bars(answer, changed(answer.bars, 70, **{field: factor})))
    assert held(verdict) == {Kind.FIELD_OUT_OF_LINE: {DAYS[70]}}
    assert field in verdict.held[0].reason
    assert not verdict.actions


def test_a_penny_stock_moves_by_whole_ticks() -> None:
    rows = traded(start=0.0004, usual=0.02).with_columns(
        pl.col("open", "low", "close").fill_null(0.0004).clip(0.0001, 0.0005), high=pl.lit(0.0019)
    )
    assert Kind.FIELD_OUT_OF_LINE not in held(judge(served(rows)))


def test_bars_on_a_closed_day_before_a_session_without_one_are_held() -> None:
    answer = served(traded())
    monday = next(n for n in range(40, N) if DAYS[n].weekday() == 0)
    week = days(monday, monday + 4)
    moved = answer.bars.with_columns(
        date=pl.when(pl.col("date").is_in(sorted(week)))
        .then(pl.col("date") - timedelta(days=1))
        .otherwise("date")
    )
    verdict = judge(with_bars(answer, moved))
    assert held(verdict) == {Kind.STAMPED_ON_A_CLOSED_DAY: {day - timedelta(days=1) for day in week}}


# --- dividends


@pytest.fixture(scope="module")
def payer() -> Answer:
    """Dividends of 0.7 on rows 20, 60 and 100 of a 200-dollar stock."""
    return served(traded(dividends={20: 0.7, 60: 0.7, 100: 0.7}))


def relisted(answer: Answer, at: int, amount: float) -> Answer:
    """The same answer with another amount of the dividend of a row."""
    now = pl.when(pl.col("date") == DAYS[at]).then(pl.lit(amount)).otherwise("amount")
    return replace(answer, dividends=answer.dividends.with_columns(amount=now))


@pytest.mark.parametrize("amount", [7.0, 0.9, 0.69])
def test_an_amount_that_adj_close_contradicts_is_held(payer: Answer, amount: float) -> None:
    verdict = judge(relisted(payer, 60, amount))
    assert actions(verdict) == {DAYS[60]: Kind.DIVIDEND_CONTRADICTED}
    assert paid(verdict) == {DAYS[20]: 0.7, DAYS[100]: 0.7}
    assert verdict.actions[0].amount == amount
    assert "0.7" in verdict.actions[0].witnesses
    assert not verdict.held


def test_of_two_amounts_the_stored_one_is_taken(payer: Answer) -> None:
    stored = traded(dividends={20: 0.7, 60: 0.7, 100: 0.7})[55:65]
    verdict = judge(replace(relisted(payer, 60, 70.0), stored=stored))
    assert verdict.word == "explained"
    assert paid(verdict)[DAYS[60]] == 0.7


@pytest.mark.parametrize("amount", [66.0, 676.5])
def test_a_dividend_that_the_price_did_not_fall_by_is_held(amount: float) -> None:
    # Adj Close follows the wrong amount, as far as an amount above the price lets it.
    answer = served(traded())
    bars = answer.bars.with_columns(
        adj_close=pl.when(pl.col("date") < DAYS[60])
        .then(pl.col("adj_close") * (1 - amount / answer.bars["close"][59]))
        .otherwise("adj_close")
    )
    verdict = judge(replace(answer, bars=bars, dividends=listed([(DAYS[60], amount)])))
    assert actions(verdict) == {DAYS[60]: Kind.DIVIDEND_IMPLAUSIBLE}


def test_a_hundredth_of_the_symbols_other_dividends_is_held() -> None:
    rows = traded(dividends={10: 0.007, 50: 0.7, 90: 0.7})
    assert actions(judge(served(rows))) == {DAYS[10]: Kind.DIVIDEND_IMPLAUSIBLE}


def test_a_hundredth_of_what_the_symbol_paid_before_the_answer_is_held() -> None:
    answer = served(traded(dividends={90: 0.007}))
    before = traded(dividends={10: 0.7, 50: 0.7})[:55].filter(pl.col("dividend") > 0)
    assert judge(answer).word == "proven"
    assert actions(judge(replace(answer, stored=before))) == {DAYS[90]: Kind.DIVIDEND_IMPLAUSIBLE}


@pytest.mark.parametrize(("currency", "word"), [("GBp", "held"), ("GBP", "proven"), ("USD", "proven")])
def test_a_first_dividend_of_next_to_nothing_in_pence_is_held(currency: str, word: str) -> None:
    answer = replace(served(traded(dividends={60: 0.022})), currency=currency)
    assert judge(answer).word == word


def test_of_two_ordinary_dividends_a_hundredfold_apart_neither_is_believed() -> None:
    answer = served(traded(dividends={20: 0.7, 80: 0.007}))
    assert set(actions(judge(answer))) == {DAYS[20], DAYS[80]}
    # A special one is no measure of the ordinary.
    assert judge(served(traded(dividends={20: 70.0, 80: 0.7}))).word == "proven"


def test_a_dividend_that_is_left_out_shows_in_adj_close(payer: Answer) -> None:
    left = replace(payer, dividends=payer.dividends.filter(pl.col("date") != DAYS[60]))
    verdict = judge(left)
    assert actions(verdict) == {DAYS[60]: Kind.DIVIDEND_LEFT_OUT}
    assert verdict.actions[0].amount == pytest.approx(0.7, abs=1e-3)
    stored = traded(dividends={20: 0.7, 60: 0.7, 100: 0.7})[55:65]
    verdict = judge(replace(left, stored=stored))
    assert verdict.word == "explained"
    assert paid(verdict)[DAYS[60]] == 0.7


@pytest.mark.parametrize(("close", "word"), [(5.01, "explained"), (5.0, "held"), (4.99, "held")])
def test_a_stored_dividend_of_a_tenth_of_the_close_is_no_ordinary_one(close: float, word: str) -> None:
    rows = traded(dividends={60: 0.5})
    left = replace(served(rows), dividends=listed([]))
    assert judge(replace(left, stored=rows[60:61].with_columns(close=pl.lit(close)))).word == word


@pytest.mark.parametrize("adjusted", [False, True])
def test_a_dividend_repeated_a_session_early_is_held(payer: Answer, adjusted: bool) -> None:
    if adjusted:
        # Both are in Adj Close: nothing tells which of the two it was.
        answer = served(traded(dividends={20: 0.7, 59: 0.7, 60: 0.7, 100: 0.7}))
        expected = {DAYS[59]: Kind.DIVIDEND_REPEATED, DAYS[60]: Kind.DIVIDEND_REPEATED}
    else:
        answer = replace(payer, dividends=pl.concat([payer.dividends, listed([(DAYS[59], 0.7)])]))
        expected = {DAYS[59]: Kind.DIVIDEND_CONTRADICTED}
    assert actions(judge(answer)) == expected


def test_the_same_dividend_twice_on_one_day_is_one_where_adj_close_says_so(payer: Answer) -> None:
    verdict = judge(replace(payer, dividends=pl.concat([payer.dividends, listed([(DAYS[60], 0.7)])])))
    assert [one.kind for one in verdict.explained] == [Kind.DIVIDEND_REPEATED]
    assert paid(verdict)[DAYS[60]] == 0.7


def test_the_same_dividend_twice_on_one_day_is_held_where_adj_close_follows_it() -> None:
    answer = served(traded(dividends={60: 1.4}))
    twice = listed([(DAYS[60], 0.7), (DAYS[60], 0.7)])
    assert actions(judge(replace(answer, dividends=twice))) == {DAYS[60]: Kind.DIVIDEND_REPEATED}


def test_a_gain_inside_the_dividend_and_beside_it_is_counted_once(payer: Answer) -> None:
    gains = listed([(DAYS[60], 0.3)], kind="capital_gain")
    verdict = judge(replace(payer, dividends=pl.concat([payer.dividends, gains])))
    assert [one.kind for one in verdict.explained] == [Kind.GAINS_COUNTED_TWICE]
    assert paid(verdict)[DAYS[60]] == 0.7


def test_a_gain_beside_the_dividend_is_added_where_adj_close_adds_it() -> None:
    answer = served(traded(dividends={60: 1.0}))
    parts = pl.concat([listed([(DAYS[60], 0.7)]), listed([(DAYS[60], 0.3)], kind="capital_gain")])
    verdict = judge(replace(answer, dividends=parts))
    assert verdict.word == "proven"
    assert paid(verdict) == {DAYS[60]: 1.0}


def test_pence_beside_pounds_are_converted_and_an_unknown_currency_is_held() -> None:
    answer = replace(served(traded(dividends={60: 70.0, 100: 70.0})), currency="GBp")
    pounds = replace(answer, dividends=listed([(DAYS[60], 0.7), (DAYS[100], 0.7)], currency="GBP"))
    verdict = judge(pounds)
    assert verdict.word == "explained"
    assert paid(verdict) == {DAYS[60]: 70.0, DAYS[100]: 70.0}
    dollars = replace(answer, dividends=listed([(DAYS[60], 0.9), (DAYS[100], 0.9)], currency="USD"))
    verdict = judge(dollars)
    assert set(actions(verdict).values()) == {Kind.DIVIDEND_IN_ANOTHER_CURRENCY}
    assert paid(verdict) == {}


def test_a_dividend_that_cannot_be_read_is_held_by_itself(payer: Answer) -> None:
    unreadable = Unreadable("dividend", DAYS[60], "'0.7 USD'")
    left = payer.dividends.filter(pl.col("date") != DAYS[60])
    verdict = judge(replace(payer, dividends=left, unreadable=(unreadable,)))
    assert actions(verdict) == {DAYS[60]: Kind.UNREADABLE_DIVIDEND}
    assert "0.7 USD" in verdict.actions[0].reason
    assert paid(verdict) == {DAYS[20]: 0.7, DAYS[100]: 0.7}


def test_a_bar_in_doubt_witnesses_no_dividend(payer: Answer) -> None:
    verdict = judge(with_bars(payer, changed(payer.bars, 60, close=100.0)))
    assert held(verdict) == {Kind.FIELD_OUT_OF_LINE: {DAYS[60]}}
    assert not verdict.actions
    assert paid(verdict) == {DAYS[20]: 0.7, DAYS[60]: 0.7, DAYS[100]: 0.7}


def test_the_stored_rows_of_an_answer_are_daily_rows() -> None:
    assert Answer("A", served(traded()).bars, events([], "ratio"), listed([])).stored.schema == DAILY_SCHEMA
