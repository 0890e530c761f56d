"""Steps of a series by a factor: how near to it a move has to be, and what a dividend of the day makes of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from math import exp, log

import numpy as np
import polars as pl
import pytest

from quant_assets.market.verdicts.answer import Answer, Series
from quant_assets.market.verdicts.steps import expected_falls, steps_by, steps_by_ratio
from quant_assets_tests.market.verdicts.served import DAYS, listed, served, traded

COUNT, AT = 6, 3


def series(
    moves: Mapping[int, float], gaps: Mapping[int, float] | None = None, usual: float = 0.01
) -> Series:
    """Six bars that move at some positions only; a gap is as large as the move where nothing is said of it."""
    closes_by = np.array([moves.get(at, 0.0) for at in range(COUNT)])
    opens_by = np.array([(gaps or {}).get(at, closes_by[at]) for at in range(COUNT)])
    closes = np.exp(np.cumsum(closes_by))
    opens = np.concatenate([closes[:1], closes[:-1]]) * np.exp(opens_by)
    days = np.array(DAYS[:COUNT], dtype="datetime64[D]")
    return Series(days, opens, closes, closes, closes, closes, np.ones(COUNT), closes_by, opens_by, usual)


NONE = np.zeros(COUNT)


def shares(share: float) -> np.ndarray:
    return np.where(np.arange(COUNT) == AT, share, 0.0)


def found(of: Series, size: float, share: float = 0.0, near: float | None = None) -> list[int] | None:
    steps = steps_by(of, size, shares(share), near=near)
    return None if steps is None else steps.steps.tolist()


def at(position: int, sign: int) -> list[int]:
    return [sign if n == position else 0 for n in range(COUNT)]


@pytest.mark.parametrize(("size", "is_sure"), [(0.0595, False), (0.06, False), (0.0605, True)])
def test_a_ratio_within_six_usual_moves_has_no_steps(size: float, is_sure: bool) -> None:
    assert found(series({AT: size}), size) == (at(AT, 1) if is_sure else None)


@pytest.mark.parametrize(
    ("size", "usual", "near"),
    [
        # By turns: the least, a share of a ratio and of a large one, three usual moves, the most of either kind.
        (0.1, 0.001, 0.02), (0.5, 0.01, 0.06), (1.09, 0.01, 0.1308), (log(3.0), 0.01, 0.2197), (3.0, 0.01, 0.6),
        (0.5, 0.05, 0.15), (0.6, 0.07, 0.2), (1.25, 0.2, 0.25), (3.0, 0.2, 0.6), (0.065, 0.01, 0.02275),
    ],
)  # fmt: skip
@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_is_near_its_ratio(size: float, usual: float, near: float, sign: int) -> None:
    for side in (1, -1):
        inside, outside = size + side * (near - 5e-4), size + side * (near + 5e-4)
        assert found(series({AT: sign * inside}, usual=usual), size) == at(AT, sign)
        assert found(series({AT: sign * outside}, usual=usual), size) is None


@pytest.mark.parametrize(
    ("move", "gap", "is_step"),
    [
        # The close within 0.06, the open within half as much again; or the open within 0.06, the close within 0.175.
        (0.555, 0.585, True), (0.555, 0.595, False), (0.445, 0.415, True), (0.445, 0.405, False),
        (0.67, 0.555, True), (0.68, 0.555, False), (0.33, 0.445, True), (0.32, 0.445, False),
        (0.57, 0.565, False), (0.555, -0.5, False), (-0.5, 0.5, False),
    ],
)  # fmt: skip
def test_the_open_tells_where_the_price_moves_on_the_day_as_well(
    move: float, gap: float, is_step: bool
) -> None:
    assert found(series({AT: move}, {AT: gap}), 0.5) == (at(AT, 1) if is_step else None)


def test_what_is_exactly_as_far_off_as_it_may_be_is_a_step() -> None:
    assert found(series({AT: 1.25}, {AT: 1.3}), 1.0, near=0.25) == at(AT, 1)
    assert found(series({AT: 0.65}, {AT: 0.9}), 1.0, near=0.25) == at(AT, 1)


@pytest.mark.parametrize("position", [1, COUNT - 1])
def test_the_first_bar_has_no_step_and_every_other_may_have_one(position: int) -> None:
    steps = steps_by(series({0: 0.5, position: -0.5}), 0.5, NONE)
    assert steps is not None
    assert steps.steps.tolist() == at(position, -1)
    assert steps.factor == pytest.approx(exp(0.5))
    assert found(series({0: 0.5}), 0.5) is None


def test_a_level_counts_the_steps_up_to_a_bar() -> None:
    steps = steps_by(series({1: 0.5, 2: 0.5, 4: -0.5}), 0.5, NONE)
    assert steps is not None
    assert steps.levels.tolist() == [0, 1, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("move", "share", "steps"),
    [
        # A fall that the dividend explains; one beside it; a rise, and a fall of another size, that it does not.
        (log(0.5), 0.5, None), (log(0.25), 0.5, at(AT, -1)), (log(2.0), 0.5, at(AT, 1)),
        (log(0.5), 0.02, at(AT, -1)), (log(0.5), 1.0, at(AT, -1)), (log(0.5), 1.5, at(AT, -1)),
    ],
)  # fmt: skip
def test_a_fall_that_a_dividend_explains_is_no_step(
    move: float, share: float, steps: list[int] | None
) -> None:
    assert found(series({AT: move}), log(2.0), share) == steps


def test_a_dividend_that_leaves_as_large_a_move_explains_nothing() -> None:
    half = float(np.log1p(-0.5)) / 2
    assert found(series({AT: half}, {AT: -0.3}), -half, 0.5) == at(AT, -1)


# --- what a split's ratio and a large dividend of its day hide


@pytest.mark.parametrize("ratio", [0.0, -1.0])
def test_a_ratio_that_is_none_has_no_steps(ratio: float) -> None:
    assert steps_by_ratio(series({AT: 1.0}), ratio, AT, shares(0.5)) is None


def hidden(ratio: float, share: float, off: float = 0.0, ex: int = AT, usual: float = 0.01) -> int:
    """The step at the ex-date of prices that have not been rescaled: by closes that did not move, and opens that are
    `off` from what split and dividend leave."""
    gap = log(left) if (left := 1 / ratio - share) > 0 else 0.0
    steps = steps_by_ratio(series({}, {AT: gap + off}, usual), ratio, ex, shares(share))
    if steps is None:
        return 0
    assert steps.factor == max(ratio, 1 / ratio)
    assert steps.steps.tolist() == at(AT, int(steps.steps[AT]))
    return int(steps.steps[AT])


@pytest.mark.parametrize(
    ("ratio", "share", "step"),
    [
        (0.5, 1.0, 1), (0.5, 0.5, 1), (0.5, 0.101, 1), (0.5, 0.1, 0), (0.5, 1.5, 1),
        # Nothing is left where the dividend is all of the price after the split.
        (2.0, 0.3, -1), (2.0, 0.5, 0), (2.0, 0.6, 0), (4.0, 0.2, -1), (1.0, 0.5, 0),
    ],
)  # fmt: skip
def test_a_large_dividend_hides_that_prices_have_not_been_rescaled(
    ratio: float, share: float, step: int
) -> None:
    assert hidden(ratio, share) == step


@pytest.mark.parametrize(
    ("ratio", "usual", "near"),
    [(0.5, 0.01, 0.2), (0.5, 0.07, 0.21), (0.8, 0.01, 0.0781), (1.25, 0.01, 0.0781), (0.1, 0.1, 0.3)],
)
def test_a_hidden_step_is_near_what_split_and_dividend_leave(ratio: float, usual: float, near: float) -> None:
    for side in (1, -1):
        assert hidden(ratio, 0.3, side * (near - 1e-3), usual=usual) == (1 if ratio < 1 else -1)
        assert hidden(ratio, 0.3, side * (near + 1e-3), usual=usual) == 0


@pytest.mark.parametrize("ex", [0, COUNT, COUNT + 3])
def test_nothing_is_hidden_where_no_bar_is_before_the_ex_date_or_none_from_it_on(ex: int) -> None:
    assert steps_by_ratio(series({}), 0.5, ex, np.ones(COUNT)) is None


@pytest.mark.parametrize("ex", [1, COUNT - 1])
def test_a_hidden_step_stands_beside_those_that_are_seen(ex: int) -> None:
    of = series({2: log(2.0), 4: -log(2.0)})
    steps = steps_by_ratio(of, 0.5, ex, np.where(np.arange(COUNT) == ex, 1.0, 0.0))
    assert steps is not None
    assert (steps.steps - np.array(at(ex, 1))).tolist() == [0, 0, 1, 0, -1, 0]
    seen = steps_by_ratio(of, 0.5, ex, NONE)
    assert seen is not None
    assert seen.steps.tolist() == [0, 0, 1, 0, -1, 0]


# --- the falls that listed dividends explain


def answer(*dividends: tuple[date, float, str | None]) -> Answer:
    parts = [listed([(day, amount)], currency=currency) for day, amount, currency in dividends]
    return replace(served(traded()), dividends=pl.concat(parts) if parts else listed([]))


@pytest.mark.parametrize(
    ("dividends", "falls"),
    [
        ([], {}),
        ([(DAYS[3], 6.0, None)], {3: 0.2}),
        ([(DAYS[1], 5.0, None), (DAYS[5], 5.0, "USD")], {1: 0.5, 5: 0.1}),
        ([(DAYS[3], 5.0, None), (DAYS[3], 4.0, None)], {3: 0.3}),
        # None before the first bar, none of another day, nothing paid, another currency.
        ([(DAYS[0], 5.0, None), (DAYS[6], 5.0, None), (date(2023, 12, 31), 5.0, None)], {}),
        ([(date(2024, 1, 6), 5.0, None)], {}),
        ([(DAYS[3], 0.0, None), (DAYS[4], -0.5, None)], {}),
        ([(DAYS[3], 5.0, "EUR"), (DAYS[4], 10.0, None)], {4: 0.25}),
    ],
)
def test_a_listed_dividend_is_expected_to_be_its_share_of_the_close_before(
    dividends: list[tuple[date, float, str | None]], falls: Mapping[int, float]
) -> None:
    of = replace(series({}), closes=np.arange(1, COUNT + 1) * 10.0)
    expected = [falls.get(n, 0.0) for n in range(COUNT)]
    assert expected_falls(answer(*dividends), of).tolist() == pytest.approx(expected)
