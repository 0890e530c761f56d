"""Large moves on their own evening: which are the market's, and which may be another scale."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.market.verdicts.answer import Answer
from quant_assets.market.verdicts.judge import judge
from quant_assets_tests.market.verdicts.served import DAYS, scaled, served, traded

AT = 60


def fallen(move: float, through: int = AT + 1, *, volume: float = 8.0, span: float = 0.8) -> Answer:
    """The answer after a move, on a day of so many times the volume, with its low further down by a share."""
    rows = traded(12, moves={AT: move})[:through]
    here = pl.col("date") == DAYS[AT]
    rows = rows.with_columns(
        volume=pl.when(here).then((pl.col("volume") * volume).cast(pl.Int64)).otherwise("volume"),
        low=pl.when(here).then(pl.col("low") * span).otherwise("low"),
    )
    return replace(served(rows, through), low_52_weeks=rows["low"].min(), high_52_weeks=rows["high"].max())


@pytest.mark.parametrize("move", [0.2, 0.1, 0.05, 6.0])
@pytest.mark.parametrize("through", [AT + 1, AT + 2, AT + 30])
def test_a_large_move_is_vouched_for_from_its_own_evening_on(move: float, through: int) -> None:
    verdict = judge(fallen(move, through))
    assert (verdict.word, verdict.real_moves) == ("proven", {DAYS[AT]})


def test_it_takes_the_volume_the_span_and_the_range() -> None:
    answer = fallen(0.1)
    above = replace(answer, low_52_weeks=150.0)
    nothing = replace(answer, low_52_weeks=None)
    for one in (fallen(0.1, volume=2.0), fallen(0.1, span=1.0), above, nothing, fallen(0.01), fallen(0.5)):
        assert judge(one).real_moves == frozenset()


@given(
    st.integers(0, 10_000),
    st.sampled_from([10.0, 5.0, 0.2, 0.1, 0.05]),
    st.integers(1, 5),
    st.sampled_from([0.005, 0.01, 0.03]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_another_scale_of_the_newest_bars_is_vouched_for_by_nothing(
    seed: int, factor: float, bars: int, usual: float, volume: bool, ranged: bool
) -> None:
    """Not even where the source makes up its range from the same bars."""
    answer = served(traded(seed, usual=usual), AT)
    wrong = scaled(answer.bars, factor, AT - bars, AT - 1, volume=volume)
    said = wrong if ranged else answer.bars
    answer = replace(answer, bars=wrong, low_52_weeks=said["low"].min(), high_52_weeks=said["high"].max())
    assert judge(answer).real_moves == frozenset()
