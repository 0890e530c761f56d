"""The readings of a list of splits, beside what is stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from quant_assets.market.bars import PRICES
from quant_assets.market.verdicts.answer import Kind
from quant_assets.market.verdicts.judge import judge
from quant_assets_tests.market.verdicts.served import DAYS, N, events, scaled, served, traded


def test_a_split_listed_twice_holds_what_is_before_it_whichever_day_has_no_bar() -> None:
    answer = served(traded(splits={60: 2.0}))
    twice = events([(DAYS[60], 2.0), (DAYS[61], 2.0)], "ratio")
    verdict = judge(replace(answer, splits=twice, bars=answer.bars.filter(pl.col("date") != DAYS[60])))
    (one,) = verdict.held
    assert one.kind is Kind.REPEATED_SPLIT
    assert one.days == {*DAYS[:60], DAYS[61]}


@pytest.mark.parametrize(("share", "told"), [(0.8, True), (0.7, False)])
def test_a_reading_gives_back_most_of_the_stored_rows_or_none_is_believed(share: float, told: bool) -> None:
    """Those of two hundredths of a dollar are stored with four decimals."""
    rows = traded()
    answer = served(rows)
    tomorrow = DAYS[-1] + timedelta(days=1)
    small = rows[100:120].with_columns((pl.col(PRICES) * 1e-4).round(4))
    wrong = pl.int_range(pl.len()) >= round(share * small.height)
    stored = small.with_columns(close=pl.when(wrong).then(pl.col("close") * 1.5).otherwise("close"))
    verdict = judge(
        replace(
            answer,
            bars=scaled(answer.bars, 1e-4, 0, N - 1),
            splits=events([(tomorrow, 4.0)], "ratio"),
            stored=stored,
        )
    )
    assert verdict.word == ("explained" if told else "held")
    if told:
        assert verdict.splits.is_empty()
