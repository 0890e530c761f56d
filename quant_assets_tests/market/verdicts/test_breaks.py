"""Which side of a hundredfold break is right, witness by witness."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from quant_assets.market.verdicts.answer import Answer
from quant_assets.market.verdicts.judge import judge
from quant_assets_tests.market.verdicts.served import DAYS, scaled, served, traded


def hundredfold(first: int, last: int, through: int, **facts: float) -> Answer:
    """An answer of which some rows have prices a hundred times too high."""
    answer = served(traded(), through, **facts)
    return replace(answer, bars=scaled(answer.bars, 100.0, first, last))


def held(answer: Answer) -> set[date]:
    return {day for one in judge(answer).held for day in one.days}


@pytest.mark.parametrize(("since", "settled"), [(59, False), (60, True), (100, True)])
def test_sixty_bars_since_a_hundredfold_break_are_what_is_right(since: int, settled: bool) -> None:
    answer = hundredfold(0, 13, 14 + since)
    assert held(answer) == set(DAYS[:14] if settled else DAYS[: 14 + since])


@pytest.mark.parametrize(("off", "settled"), [(1.0, False), (1.01, True), (2.5, True), (3.0, False)])
def test_a_quote_of_its_own_tells_which_side_is_right(off: float, settled: bool) -> None:
    """One that is the last close said again tells nothing, nor does one far from both."""
    answer = hundredfold(0, 13, 23)
    answer = replace(answer, price=float(answer.bars["close"][-1]) * off)
    assert held(answer) == set(DAYS[:14] if settled else DAYS[:23])


@pytest.mark.parametrize(("right", "wrong", "settled"), [(2, 0, True), (5, 2, True), (4, 2, False)])
def test_stored_rows_tell_which_side_is_right_where_most_agree(right: int, wrong: int, settled: bool) -> None:
    rows = traded()
    answer = hundredfold(0, 13, 23)
    stored = rows[14 : 14 + right].vstack(rows[:wrong].with_columns(close=rows["close"][:wrong] * 100))
    assert held(replace(answer, stored=stored)) == set(DAYS[:14] if settled else DAYS[:23])


@pytest.mark.parametrize(("last", "told"), [(3, False), (4, True)])
def test_five_volumes_on_each_side_tell_a_break_long_before_a_split(last: int, told: bool) -> None:
    """A stretch that the answer begins with, 95 sessions before the ex-date: prices times 5, volumes a fifth."""
    answer = served(traded(splits={100: 5.0}))
    assert held(replace(answer, bars=scaled(answer.bars, 5.0, 0, last))) == set(
        DAYS[: last + 1] if told else []
    )
    assert held(replace(answer, bars=scaled(answer.bars, 5.0, 0, last, volume=False))) == set()


def test_volumes_of_days_without_a_trade_tell_no_break() -> None:
    answer = served(traded(splits={100: 5.0}))
    bars = scaled(answer.bars, 5.0, 0, 9)
    untraded = pl.col("date").is_in(DAYS[:6])
    bars = bars.with_columns(volume=pl.when(untraded).then(0).otherwise("volume"))
    assert held(replace(answer, bars=bars)) == set()
