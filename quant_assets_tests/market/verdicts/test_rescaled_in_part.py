"""Answers that are rescaled in part, as they come: with dividends, falls and untraded days at the ex-date."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.market.verdicts.answer import Answer, Kind
from quant_assets.market.verdicts.judge import judge
from quant_assets_tests.market.verdicts.served import DAYS, N, changed, scaled, served, traded

EX = 60


def held(answer: Answer) -> set[date]:
    """The days whose bars are held, each as rescaled in part."""
    found = judge(answer).held
    assert all(one.kind is Kind.RESCALED_IN_PART for one in found)
    return {day for one in found for day in one.days}


def days(first: int, last: int) -> set[date]:
    return set(DAYS[first : last + 1])


def with_bars(answer: Answer, bars: pl.DataFrame) -> Answer:
    return replace(answer, bars=bars)


def untraded(bars: pl.DataFrame, at: int, like: int) -> pl.DataFrame:
    """Bars of which that of one row has no trade, and the close of another row as all of its prices."""
    close = bars["close"][like]
    here = pl.col("date") == DAYS[at]
    prices = ("open", "high", "low", "close", "adj_close")
    return bars.with_columns(
        *(pl.when(here).then(close).otherwise(name).alias(name) for name in prices),
        volume=pl.when(here).then(0).otherwise("volume"),
    )


def facts(rows: pl.DataFrame) -> dict[str, float]:
    """The source's own range of 52 weeks, in today's shares."""
    ratios = rows["split_ratio"].to_numpy()
    later = ratios[::-1].cumprod()[::-1] / ratios
    low, high = rows["low"].to_numpy() / later, rows["high"].to_numpy() / later
    return {"low_52_weeks": float(low.min()), "high_52_weeks": float(high.max())}


def return_of_capital(share: float, ratio: float, at: int = EX) -> Answer:
    """A dividend of a share of the new price on the day of a consolidation, as it is served."""
    rows = traded(7, splits={at: ratio})
    before = float(rows["close"][at - 1]) / ratio
    left = 1.0 - share
    after = pl.col("date") >= DAYS[at]
    prices = [
        pl.when(after).then(pl.col(n) * left).otherwise(n).alias(n) for n in ("open", "high", "low", "close")
    ]
    paid = pl.when(pl.col("date") == DAYS[at]).then(before * share).otherwise(0.0)
    return served(rows.with_columns(*prices, dividend=paid))


def test_a_return_of_capital_with_a_consolidation_is_no_break() -> None:
    """The price falls by the ratio, because a dividend is paid for which shares are consolidated by the same."""
    answer = return_of_capital(1 - 33 / 70, 33 / 70)
    assert judge(answer).word == "proven"
    assert held(with_bars(answer, scaled(answer.bars, 33 / 70, 56, 56))) == days(56, 56)


def test_a_return_of_capital_does_not_hide_a_history_that_has_not_been_rescaled() -> None:
    answer = return_of_capital(1 - 33 / 70, 33 / 70)
    assert held(with_bars(answer, scaled(answer.bars, 33 / 70, 0, EX - 1))) == days(0, EX - 1)


@pytest.mark.parametrize("ratio", [0.1, 1 / 15, 0.02, 0.0001])
@pytest.mark.parametrize("move", [0.65, 0.8, 1.3])
def test_the_price_may_move_on_the_day_of_a_reverse_split(ratio: float, move: float) -> None:
    answer = served(traded(5, {EX: ratio}, moves={EX: move}))
    assert judge(answer).word == "proven"
    assert held(with_bars(answer, scaled(answer.bars, ratio, 0, EX - 1))) == days(0, EX - 1)


def test_blocks_and_single_days_in_turns() -> None:
    """A move in between is none of the ratio's, however it falls together with a step."""
    answer = served(traded(6, {EX: 1 / 15}, moves={50: 0.9}))
    bars = answer.bars
    off = [(0, 38), (42, 46), (49, 49), (51, 53)]
    for first, last in off:
        bars = scaled(bars, 1 / 15, first, last)
    assert held(with_bars(answer, bars)) == set[date]().union(*(days(*span) for span in off))


@pytest.mark.parametrize("ratio", [0.1, 4.0])
def test_a_bar_of_the_ex_date_that_is_the_one_before_it_again_is_held_alone(ratio: float) -> None:
    rows = traded(splits={EX: ratio})
    answer = served(rows)
    stale = untraded(answer.bars, EX, EX - 1)
    bars = changed(stale, EX, open=ratio, high=ratio, low=ratio, close=ratio, adj_close=ratio)
    assert held(with_bars(answer, bars)) == {DAYS[EX]}
    # On its own evening it may as well be the history that is off.
    that_evening = served(rows, EX + 1)
    bars = bars[: EX + 1]
    assert held(with_bars(that_evening, bars)) == days(0, EX)
    assert held(with_bars(replace(that_evening, stored=rows[40:EX]), bars)) == {DAYS[EX]}
    # The stored rows tell the other way round as well.
    unscaled = scaled(that_evening.bars, ratio, 0, EX - 1)
    assert held(with_bars(replace(that_evening, stored=rows[40:EX]), unscaled)) == days(0, EX - 1)


@pytest.mark.parametrize("ratio", [2.0, 0.25])
@pytest.mark.parametrize("since", [1, 2])
def test_the_newest_bars_may_be_those_that_are_not_rescaled(ratio: float, since: int) -> None:
    rows = traded(11, splits={EX: ratio})
    answer = served(rows, EX + since)
    newest = with_bars(answer, scaled(answer.bars, ratio, EX, EX + since - 1))
    history = with_bars(answer, scaled(answer.bars, ratio, 0, EX - 1))
    # The two differ by a factor throughout, and by nothing else.
    assert held(newest) == held(history) == days(0, EX + since - 1)
    known = replace(newest, stored=rows[40:EX]), replace(history, stored=rows[40:EX])
    assert [held(one) for one in known] == [days(EX, EX + since - 1), days(0, EX - 1)]
    ranged = [replace(one, **facts(rows[: EX + since])) for one in (newest, history)]
    assert [held(one) for one in ranged] == [days(EX, EX + since - 1), days(0, EX - 1)]


def test_a_split_of_shares_that_are_not_traded_holds_no_bar() -> None:
    answer = served(traded(splits={EX: 0.1}))
    bars = answer.bars
    for at in range(EX, N):
        bars = untraded(bars, at, EX - 1)
    assert judge(with_bars(answer, bars)).word == "proven"


@pytest.mark.parametrize(("first", "last", "through"), [(4, 12, 23), (9, 18, 36)])
def test_a_hundredfold_stretch_between_few_others_settles_nothing(
    first: int, last: int, through: int
) -> None:
    answer = served(traded(), through)
    verdict = judge(with_bars(answer, scaled(answer.bars, 100.0, first, last)))
    assert {one.kind for one in verdict.held} == {Kind.HUNDREDFOLD}
    assert {day for one in verdict.held for day in one.days} == days(0, through - 1)


@pytest.mark.parametrize(("first", "last"), [(0, 89), (40, 45), (118, 118)])
@pytest.mark.parametrize("factor", [15.0, 0.1])
def test_prices_that_the_range_of_52_weeks_excludes_are_held(first: int, last: int, factor: float) -> None:
    """No split is listed; a crash as large is in the range."""
    rows = traded(8)
    answer = replace(served(rows), low_52_weeks=rows["low"].min(), high_52_weeks=rows["high"].max())
    assert held(with_bars(answer, scaled(answer.bars, factor, first, last))) == days(first, last)
    fallen = traded(8, moves={90: 0.07})
    facts = {"low_52_weeks": fallen["low"].min(), "high_52_weeks": fallen["high"].max()}
    assert judge(replace(served(fallen), **facts)).word == "proven"
    # A range that is behind the prices tells nothing, and neither does one of another scale.
    assert judge(replace(served(fallen), low_52_weeks=150.0, high_52_weeks=250.0)).word == "proven"


def loud(bars: pl.DataFrame, at: int) -> pl.DataFrame:
    """Bars with the volume and the range of a large move on one row."""
    here = pl.col("date") == DAYS[at]
    return bars.with_columns(
        volume=pl.when(here).then(pl.col("volume") * 8).otherwise("volume"),
        low=pl.when(here).then(pl.col("low") * 0.9).otherwise("low"),
    )


@pytest.mark.parametrize("ratio", [0.1, 0.05])
@pytest.mark.parametrize("at", [10, 30, 50])
def test_a_crash_before_a_consolidation_by_as_much_is_a_crash(ratio: float, at: int) -> None:
    answer = served(rows := traded(9, {EX: ratio}, moves={at: ratio * 1.1}))
    assert judge(replace(answer, **facts(rows))).word == "proven"
    assert judge(with_bars(answer, loud(answer.bars, at))).word == "proven"
    # With nothing to tell it by it is held.
    assert held(answer) == days(0, at - 1)


@pytest.mark.parametrize("ratio", [2.0, 4.0, 0.5])
def test_a_move_like_prices_that_have_not_been_rescaled_needs_both_witnesses(ratio: float) -> None:
    answer = served(rows := traded(10, {EX: ratio}, moves={40: 1 / ratio}))
    bars = loud(answer.bars, 40)
    known = facts(rows)
    known["low_52_weeks"] *= 0.9
    assert judge(replace(with_bars(answer, bars), **known)).word == "proven"
    assert held(with_bars(answer, bars)) == days(0, 39)
    assert held(replace(answer, **known)) == days(0, 39)


@given(
    st.integers(0, 10_000),
    st.sampled_from([2.0, 3.0, 5.0, 0.5, 0.1, 0.02]),
    st.integers(5, EX - 1),
    st.sampled_from([0.005, 0.01, 0.02]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_prices_that_have_not_been_rescaled_are_never_believed(
    seed: int, ratio: float, last: int, usual: float, volume: bool, ranged: bool
) -> None:
    rows = traded(seed, {EX: ratio}, usual=usual)
    answer = replace(served(rows), **(facts(rows) if ranged else {}))
    bars = scaled(answer.bars, ratio, 0, last, volume=volume)
    assert held(with_bars(answer, bars)) == days(0, last)
