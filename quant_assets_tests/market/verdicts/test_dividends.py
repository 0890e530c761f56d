"""The rules that a listed dividend has to keep, by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest

from quant_assets.market.verdicts.answer import Kind
from quant_assets.market.verdicts.judge import judge
from quant_assets_tests.market.verdicts.served import DAYS, listed, served, traded
from quant_assets_tests.market.verdicts.test_amounts import readjusted
from quant_assets_tests.market.verdicts.test_judge import actions, paid


@pytest.mark.parametrize("one_after_the_other", [False, True])
def test_several_dividends_of_a_day_are_adjusted_for_in_either_way(one_after_the_other: bool) -> None:
    answer = served(traded(dividends={60: 30.0}))
    before = answer.bars["close"][59]
    if one_after_the_other:
        answer = readjusted(answer, 60, before * (1 - (1 - 10 / before) * (1 - 20 / before)))
    verdict = judge(replace(answer, dividends=listed([(DAYS[60], 10.0), (DAYS[60], 20.0)])))
    assert verdict.word == "proven"
    assert paid(verdict) == {DAYS[60]: 30.0}


@pytest.mark.parametrize("move", [0.7, 1.4])
def test_a_price_may_do_anything_on_the_day_of_an_ordinary_dividend(move: float) -> None:
    assert judge(served(traded(dividends={60: 1.0}, moves={60: move}))).word == "proven"


@pytest.mark.parametrize(("second", "word"), [(0.7000002, "held"), (0.702, "proven")])
def test_amounts_of_a_day_that_are_equal_to_six_decimals_are_one(second: float, word: str) -> None:
    answer = served(traded(dividends={60: 0.7 + second}))
    assert judge(replace(answer, dividends=listed([(DAYS[60], 0.7), (DAYS[60], second)]))).word == word


@pytest.mark.parametrize("day", [DAYS[0], DAYS[0] - timedelta(days=2), DAYS[60] + timedelta(days=5)])
def test_a_dividend_listed_twice_on_a_day_that_no_bar_witnesses_is_held(day: date) -> None:
    answer = replace(served(traded()), dividends=listed([(day, 0.7), (day, 0.7)]))
    (held,) = judge(answer).actions
    assert (held.day, held.kind, held.amount) == (day, Kind.DIVIDEND_REPEATED, 1.4)
    assert "0.7 twice" in held.reason


def test_two_dividends_of_nothing_are_no_repeat() -> None:
    answer = replace(served(traded()), dividends=listed([(DAYS[60], 0.0), (DAYS[61], 0.0)]))
    assert judge(answer).word == "proven"


@pytest.mark.parametrize("payments", [6, 7, 8])
def test_one_of_many_dividends_is_judged_by_the_median_of_all(payments: int) -> None:
    rows = [10 + 12 * n for n in range(payments)]
    answer = served(traded(dividends={at: 0.007 if at == 34 else 0.7 for at in rows}))
    assert actions(judge(answer)) == {DAYS[34]: Kind.DIVIDEND_IMPLAUSIBLE}


def test_one_of_six_dividends_is_judged_by_the_median_of_the_others() -> None:
    rows = dict(zip(range(10, 100, 15), (0.101, 0.101, 0.007, 0.701, 0.7, 0.703), strict=True))
    assert actions(judge(served(traded(dividends=rows)))) == {DAYS[40]: Kind.DIVIDEND_IMPLAUSIBLE}


@pytest.mark.parametrize(
    ("stored", "doubtful"), [([], [59, 60, 61]), ([59], [60, 61]), ([60], [59, 61]), ([61], [59, 60])]
)
def test_of_equal_dividends_in_a_row_the_stored_one_alone_is_believed(
    stored: Sequence[int], doubtful: Sequence[int]
) -> None:
    answer = served(traded(dividends={59: 0.7, 60: 0.7, 61: 0.7}))
    known = traded(dividends=dict.fromkeys(stored, 0.7))[55:65]
    verdict = judge(replace(answer, stored=known))
    assert actions(verdict) == {DAYS[at]: Kind.DIVIDEND_REPEATED for at in doubtful}
    assert paid(verdict) == {DAYS[at]: 0.7 for at in stored}


@pytest.mark.parametrize(("second", "repeated"), [(0.82, True), (0.83, False), (0.6, True), (0.59, False)])
def test_a_repeat_may_differ_by_less_than_a_sixth(second: float, repeated: bool) -> None:
    verdict = judge(served(traded(dividends={60: 0.7, 63: second})))
    assert (verdict.word == "held") is repeated


@pytest.mark.parametrize(("apart", "repeated"), [(6, True), (7, False)])
def test_a_repeat_is_within_eight_days(apart: int, repeated: bool) -> None:
    """Row 60 is a Monday: six sessions later is the Tuesday of the week after, at eight days."""
    assert (DAYS[60 + apart] - DAYS[60]).days == apart + 2
    verdict = judge(served(traded(dividends={60: 0.7, 60 + apart: 0.7})))
    assert (verdict.word == "held") is repeated


def test_a_dividend_listed_twice_beside_a_gain_is_counted_once() -> None:
    answer = served(traded(dividends={60: 1.0}))
    parts = [(DAYS[60], 0.7), (DAYS[60], 0.7)]
    dividends = listed(parts).vstack(listed([(DAYS[60], 0.3)], kind="capital_gain"))
    verdict = judge(replace(answer, dividends=dividends))
    assert [one.kind for one in verdict.explained] == [Kind.DIVIDEND_REPEATED]
    assert paid(verdict) == {DAYS[60]: 1.0}
