"""The bounds of the size of usual moves, of single prices out of line, and of what vouches for a large move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from quant_assets.market.verdicts.answer import Answer, Kind, Series, usual_move
from quant_assets.market.verdicts.fields import out_of_line
from quant_assets.market.verdicts.real_moves import in_range, is_loud, vouched_for
from quant_assets_tests.market.verdicts.test_breaks_by_value import day, still


@pytest.mark.parametrize(
    ("moves", "usual"),
    [
        # 1.4826 times the median distance from the median; days without a move do not count.
        ([0.01, 0.02, 0.03, 0.04, 0.05], 0.014826), ([0.01, 0.02, 0.03, 0.04, 0.05, 0.0, 0.0, 0.0], 0.014826),
        ([-0.01, -0.02, -0.03, -0.04, -0.05], 0.014826), ([0.0, -1.0, -0.9, -0.8, -0.7, -0.6, 0.0], 0.14826),
        # Four moves tell nothing; never below 0.4 %, and never above 20 %.
        ([0.01, 0.02, 0.03, 0.04, 0.0], 0.02), ([], 0.02),
        ([0.001, 0.002, 0.003, 0.004, 0.005], 0.004), ([1.0, 2.0, 3.0, 4.0, 5.0], 0.2),
    ],
)  # fmt: skip
def test_usual_moves_are_a_robust_deviation(moves: Sequence[float], usual: float) -> None:
    assert usual_move(np.array(moves)) == pytest.approx(usual)


# --- single prices


def with_prices(answer: Answer, at: int, **prices: float | None) -> Answer:
    here = pl.col("date") == day(at)
    return replace(
        answer,
        bars=answer.bars.with_columns(
            pl.when(here).then(pl.lit(price, pl.Float64)).otherwise(name).alias(name)
            for name, price in prices.items()
        ),
    )


@pytest.mark.parametrize(
    ("prices", "named"),
    [
        ({"high": 401.0}, "high 401"), ({"high": 399.0}, None), ({"low": 24.9}, "low 24.9"), ({"low": 25.1}, None),
        ({"open": 401.0}, "open 401"), ({"close": 24.9}, "close 24.9"), ({"high": None}, None),
        ({"high": 500.0, "low": 10.0}, "high 500, low 10"), ({"low": 0.0}, None),
    ],
)  # fmt: skip
def test_a_price_of_more_than_four_times_the_others_is_out_of_line(
    prices: Mapping[str, float | None], named: str | None
) -> None:
    held = out_of_line(Series.of(with_prices(still(9, {}), 5, **prices).bars))
    assert [(one.kind, one.days, one.reason, one.witnesses) for one in held] == (
        [(Kind.FIELD_OUT_OF_LINE, {day(5)}, f"{named} in a bar around 100", "the bar's other prices")]
        if named
        else []
    )


@pytest.mark.parametrize(("high", "is_held"), [(0.39, False), (0.41, True)])
def test_a_price_of_four_times_the_others_is_out_of_line_though_all_are_low(
    high: float, is_held: bool
) -> None:
    answer = still(9, {})
    low = answer.bars.with_columns(pl.col("open", "high", "low", "close") / 1000)
    held = out_of_line(Series.of(with_prices(replace(answer, bars=low), 5, high=high).bars))
    assert [one.days for one in held] == ([{day(5)}] if is_held else [])


@pytest.mark.parametrize(("high", "is_held"), [(0.00199, False), (0.002, False), (0.00201, True)])
def test_prices_of_some_ticks_are_never_out_of_line(high: float, is_held: bool) -> None:
    answer = with_prices(still(9, {}), 5, open=0.0004, high=high, low=0.0004, close=0.0004)
    assert bool(out_of_line(Series.of(answer.bars))) is is_held


# --- large moves

AT, COUNT = 30, 60


def moved(
    factor: float,
    *,
    volumes: Mapping[int, float] | None = None,
    span: float = 3.1,
    low: float = 1.0,
    high: float = 1.0,
    every: int = 1,
) -> Answer:
    """A move on row 30 at four times the volume, and at so many times the usual span of 1 %; the range of 52 weeks is
    that of the bars, `low` and `high` times."""
    answer = still(COUNT, {AT: factor}, volumes or {AT: 4000, AT + 1: 1000}, every)
    here = pl.col("date") == day(AT, every)
    bars = answer.bars.with_columns(
        high=pl.col("close") * 1.01,
        low=pl.when(here).then(pl.col("close") * 1.01 ** (1 - span)).otherwise("close"),
    )
    of_late = bars[AT - 1 :]
    return replace(
        answer, bars=bars,
        low_52_weeks=float(np.min(of_late["low"].to_numpy())) * low,
        high_52_weeks=float(np.max(of_late["high"].to_numpy())) * high,
    )  # fmt: skip


def vouched(answer: Answer) -> bool:
    days = vouched_for(answer, Series.of(answer.bars))
    assert days <= {day(AT)}
    return bool(days)


@pytest.mark.parametrize(
    ("factor", "is_vouched"),
    [
        (4.6, True), (4.4, False), (1 / 4.6, True), (1 / 4.4, False),
        # Like a hundredfold, up to a fifth of logarithm.
        (80.0, True), (83.0, False), (100.0, False), (121.0, False), (124.0, True), (0.01, False), (0.0125, True),
    ],
)  # fmt: skip
def test_a_move_beyond_belief_is_vouched_for_unless_it_looks_like_a_unit(
    factor: float, is_vouched: bool
) -> None:
    assert vouched(moved(factor)) is is_vouched


@pytest.mark.parametrize(
    ("volumes", "is_vouched"),
    [
        ({AT: 4000, AT + 1: 1000}, True), ({AT: 3999, AT + 1: 1000}, False),
        # Only what was traded counts, of three days before at least, of twenty at most; what is after does not.
        ({0: 0, AT - 3: 1000, AT: 4000, AT + 1: 1000}, True), ({0: 0, AT - 2: 1000, AT: 4000, AT + 1: 1000}, False),
        ({0: 2000, AT - 10: 1000, AT: 6000}, True), ({0: 2000, AT - 10: 1000, AT: 5999}, False),
        ({0: 9000, AT - 20: 1000, AT: 4000}, True), ({AT: 4000, AT + 1: 9000}, True), ({0: 1, AT: 4}, True),
    ],
)  # fmt: skip
def test_a_large_move_has_four_times_the_volume(volumes: Mapping[int, float], is_vouched: bool) -> None:
    assert vouched(moved(5.0, volumes=volumes)) is is_vouched


@pytest.mark.parametrize(("span", "is_vouched"), [(3.01, True), (2.99, False)])
def test_a_large_move_has_three_times_the_span(span: float, is_vouched: bool) -> None:
    assert vouched(moved(0.2, span=span)) is is_vouched


@pytest.mark.parametrize(
    ("low", "high", "is_vouched"),
    [(1.02, 0.981, True), (1.021, 1.0, False), (1.0, 0.98, False), (0.0, 1.0, False), (1.0, 0.0, False)],
)
def test_a_large_move_is_in_the_range_of_52_weeks_to_a_fiftieth(
    low: float, high: float, is_vouched: bool
) -> None:
    assert vouched(moved(0.2, low=low, high=high)) is is_vouched


@pytest.mark.parametrize(("volume_after", "is_loud_since"), [(1000, True), (1001, False)])
def test_a_day_is_loud_beside_the_days_after_it_as_well(volume_after: float, is_loud_since: bool) -> None:
    series = Series.of(moved(5.0, volumes={AT: 4000, AT + 1: volume_after}).bars)
    assert is_loud(series, AT) is is_loud_since
    assert is_loud(series, AT, since=False)
    few = Series.of(moved(5.0, volumes={AT: 4000, AT + 1: 1000, AT + 3: 0}).bars)
    assert not is_loud(few, AT)
    enough = Series.of(moved(5.0, volumes={AT: 4000, AT + 1: 1000, AT + 4: 0}).bars)
    assert is_loud(enough, AT)


@pytest.mark.parametrize(("every", "is_known"), [(11, True), (12, False)])
def test_the_range_of_52_weeks_is_that_of_340_days(every: int, is_known: bool) -> None:
    """The bar before the move is 30 bars before the last one: 330 or 360 days."""
    answer = moved(0.2, every=every)
    assert in_range(answer, Series.of(answer.bars), AT) is is_known
    assert not in_range(answer, Series.of(answer.bars), 0)


@pytest.mark.parametrize(("until", "is_known"), [(26, True), (27, False)])
def test_a_bar_of_340_days_ago_is_no_part_of_the_range_of_52_weeks(until: int, is_known: bool) -> None:
    """A bar each ten days, row 25 being 340 days before the last; those up to there are far outside."""
    answer = still(COUNT, {until: 0.1}, every=10, low_52_weeks=9.0, high_52_weeks=11.0)
    assert in_range(answer, Series.of(answer.bars), AT) is is_known


@pytest.mark.parametrize(
    ("price", "is_inside"), [(98.0, True), (102.0, True), (97.99, False), (102.01, False)]
)
def test_a_price_of_a_fiftieth_outside_of_the_range_is_in_it(price: float, is_inside: bool) -> None:
    answer = still(9, {0: price / 100.0}, low_52_weeks=100.0, high_52_weeks=100.0)
    assert answer.bars["close"].unique().to_list() == [price]
    assert in_range(answer, Series.of(answer.bars), 5) is is_inside


def test_a_day_is_compared_with_what_bars_there_are_and_by_its_volume_where_none_has_a_span() -> None:
    answer = still(COUNT, {10: 5.0}, {10: 4000, 11: 1000})
    assert is_loud(Series.of(answer.bars), 10)


@pytest.mark.parametrize(("at", "loud"), [(3, True), (2, False)])
def test_three_bars_before_a_day_are_enough_to_tell_that_it_is_loud(at: int, loud: bool) -> None:
    assert is_loud(Series.of(still(COUNT, {at: 5.0}, {at: 4000, at + 1: 1000}).bars), at) is loud


@pytest.mark.parametrize(("volume", "loud"), [(4002, True), (4001, False)])
def test_a_day_is_compared_with_the_twenty_after_it(volume: int, loud: bool) -> None:
    """Ten of 1,000 shares and ten of 1,001."""
    answer = still(COUNT, {AT: 5.0}, {AT: volume, AT + 1: 1000, AT + 11: 1001})
    assert is_loud(Series.of(answer.bars), AT) is loud


def test_a_bar_of_339_days_ago_is_part_of_the_range_of_52_weeks() -> None:
    answer = still(5, {2: 0.1}, every=113, low_52_weeks=9.0, high_52_weeks=11.0)
    assert not in_range(answer, Series.of(answer.bars), 3)


def test_a_move_is_vouched_for_by_the_range_since_the_bar_before_it() -> None:
    answer = moved(0.2)
    assert in_range(answer, Series.of(answer.bars), AT)
    for at in (0, AT - 2):
        names = ("open", "high", "low", "close")
        here = pl.col("date") == day(at)
        far = answer.bars.with_columns(pl.when(here).then(pl.col(n) * 3).otherwise(n).alias(n) for n in names)
        assert vouched(replace(answer, bars=far))
        assert not in_range(answer, Series.of(far), AT)
        assert in_range(answer, Series.of(far), AT, at + 1)
