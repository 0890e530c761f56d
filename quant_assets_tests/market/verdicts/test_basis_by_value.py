"""Which listed splits hold, by value, on prices that stand still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from quant_assets.market.verdicts.answer import Kind, Series, Unreadable
from quant_assets.market.verdicts.basis import Basis, share_basis
from quant_assets_tests.market.verdicts.served import events
from quant_assets_tests.market.verdicts.test_breaks_by_value import day, rows, still, stored

COUNT = 20


def basis(*splits: tuple[int, float], known: Mapping[int, float] | None = None) -> Basis:
    answer = replace(
        still(COUNT, {}),
        splits=events([(day(at), ratio) for at, ratio in splits], "ratio"),
        stored=stored(known or {}),
    )
    return share_basis(answer, Series.of(answer.bars))


def kept(of: Basis) -> list[tuple[int, float]]:
    days = {day(at): at for at in range(40)}
    return [(days[one], ratio) for one, ratio in of.splits.rows()]


def held(of: Basis) -> list[tuple[Kind, set[int]]]:
    days = {day(at): at for at in range(40)}
    return [(one.kind, {days[each] for each in one.days}) for one in of.held]


@pytest.mark.parametrize(
    ("splits", "stays", "in_doubt"),
    [
        ([], [], []), ([(10, 2.0)], [(10, 2.0)], []), ([(12, 3.0), (10, 2.0)], [(10, 2.0), (12, 3.0)], []),
        # After the last bar nobody can tell; on its day it has been settled.
        ([(19, 2.0)], [(19, 2.0)], []), ([(20, 2.0)], [(20, 2.0)], [(Kind.UNSETTLED_SPLIT, rows(0, 20))]),
        # One ratio twice, up to eight days apart, is one split, and nobody knows which.
        ([(5, 2.0), (13, 2.0)], [(5, 2.0)], [(Kind.REPEATED_SPLIT, rows(0, 14))]),
        ([(5, 2.0), (14, 2.0)], [(5, 2.0), (14, 2.0)], []), ([(5, 2.0), (13, 2.001)], [(5, 2.0), (13, 2.001)], []),
        ([(5, 2.0), (13, 2.000001)], [(5, 2.0)], [(Kind.REPEATED_SPLIT, rows(0, 14))]),
        # Of two disputes each counts.
        ([(5, 2.0), (6, 2.0), (20, 3.0)], [(5, 2.0), (20, 3.0)], [(Kind.REPEATED_SPLIT, rows(0, 20))]),
    ],
)  # fmt: skip
def test_which_splits_hold_and_what_is_in_doubt_where_nothing_is_stored(
    splits: Sequence[tuple[int, float]],
    stays: list[tuple[int, float]],
    in_doubt: list[tuple[Kind, set[int]]],
) -> None:
    found = basis(*splits)
    assert (kept(found), held(found), found.explained) == (stays, in_doubt, [])
    assert {one.witnesses for one in found.held} <= {"no stored row to tell by"}


@pytest.mark.parametrize("ratio", [2.0, 2.000001])
def test_equal_splits_of_one_day_are_one(ratio: float) -> None:
    found = basis((10, 2.0), (10, ratio))
    assert (kept(found), held(found)) == ([(10, 2.0)], [])
    (one,) = found.explained
    assert (one.kind, one.days) == (Kind.REPEATED_SPLIT, {day(10)})
    assert one.what == f"the split of {day(10)} is listed twice on that day"
    assert kept(basis((10, 2.0), (10, 2.001))) == [(10, 2.0), (10, 2.001)]


@pytest.mark.parametrize(
    ("splits", "known", "stays"),
    [
        ([(25, 2.0)], {15: 100.0}, []), ([(25, 2.0)], {15: 200.0}, [(25, 2.0)]),
        # A thousandth, and half of the last decimal that is stored.
        ([(25, 2.0)], {15: 99.91}, []), ([(25, 2.0)], {15: 100.09}, []),
        ([(5, 2.0), (6, 2.0)], {4: 400.0, 5: 200.0, 8: 100.0}, [(5, 2.0), (6, 2.0)]),
        ([(5, 2.0), (6, 2.0)], {4: 200.0, 5: 100.0}, [(5, 2.0)]),
        ([(5, 2.0), (6, 2.0)], {4: 200.0, 5: 200.0}, [(6, 2.0)]),
    ],
)  # fmt: skip
def test_stored_rows_tell_which_reading_is_right(
    splits: Sequence[tuple[int, float]], known: Mapping[int, float], stays: list[tuple[int, float]]
) -> None:
    found = basis(*splits, known=known)
    assert (kept(found), held(found)) == (stays, [])
    (one,) = found.explained
    assert one.days == {day(at) for at, _ in splits}
    which = ", ".join(f"{ratio:g} on {day(at)}" for at, ratio in splits)
    assert one.what == f"split {which}: read as stored rows show"


@pytest.mark.parametrize("known", [{15: 99.89}, {15: 100.11}, {25: 100.0}, {15: 150.0}])
def test_stored_rows_that_fit_no_reading_or_are_of_other_days_tell_nothing(
    known: Mapping[int, float],
) -> None:
    (one,) = basis((25, 2.0), known=known).held
    assert (one.kind, one.witnesses) == (Kind.UNSETTLED_SPLIT, "no stored row to tell by")
    assert one.reason == (
        f"split 2 on {day(25)}: the ex-date is after the last bar, and prices may have been rescaled or not"
    )


def test_where_stored_rows_fit_several_readings_only_what_differs_is_held() -> None:
    found = basis((5, 2.0), (8, 2.0), known={12: 100.0, 15: 100.0})
    # Before both days the readings agree but for the one that takes both.
    assert held(found) == [(Kind.REPEATED_SPLIT, rows(0, 9))]
    assert found.held[0].witnesses == "stored rows fit several readings"
    early = basis((5, 2.0), (8, 2.0), known={2: 200.0, 12: 100.0})
    assert held(early) == [(Kind.REPEATED_SPLIT, rows(5, 9))]


@pytest.mark.parametrize(("at", "days"), [(7, rows(0, 8)), (None, rows(0, COUNT))])
def test_a_split_that_cannot_be_read_holds_what_is_up_to_its_day(at: int | None, days: set[int]) -> None:
    when = None if at is None else day(at)
    lost = (Unreadable("split", when, "1:"), Unreadable("dividend", when, "?"))
    for splits in ([], [(day(10), 2.0)]):
        answer = replace(still(COUNT, {}), splits=events(splits, "ratio"), unreadable=lost)
        found = share_basis(answer, Series.of(answer.bars))
        assert held(found) == [(Kind.UNREADABLE_SPLIT, days)]
        assert found.held[0].reason == f"a split{f' of {when}' if when else ''} that cannot be read: 1:"
