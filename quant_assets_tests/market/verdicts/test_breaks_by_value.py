"""The bounds of what a break says, on prices that stand still but for their breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import accumulate
from math import exp, log
from typing import Any

import polars as pl
import pytest

from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.market.verdicts.answer import Answer, Held, Kind, Series
from quant_assets.market.verdicts.breaks import beside_closed_days, off_scale
from quant_assets_tests.market.verdicts.served import events, listed

START = date(2020, 1, 1)


def day(at: int, every: int = 1) -> date:
    return START + timedelta(days=at * every)


def still(
    count: int,
    breaks: Mapping[int, float],
    volumes: Mapping[int, float] | None = None,
    every: int = 1,
    **facts: Any,
) -> Answer:
    """Bars at 100 that change by a factor at some rows; a volume stays what it is until another one is said."""
    closes = list(accumulate((breaks.get(n, 1.0) for n in range(count)), lambda a, b: a * b, initial=100.0))[
        1:
    ]
    said = accumulate(range(count), lambda now, n: (volumes or {}).get(n, now), initial=1000)
    bars = pl.DataFrame({"date": [day(n, every) for n in range(count)], "close": closes}).with_columns(
        *(pl.col("close").alias(name) for name in ("open", "high", "low", "adj_close")),
        volume=pl.Series(list(said)[1:], dtype=pl.Int64, strict=False),
    )
    return Answer("A", bars, events([], "ratio"), listed([]), **facts)


def found(answer: Answer, *splits: tuple[int, float]) -> list[Held]:
    return off_scale(
        answer, Series.of(answer.bars), events([(day(at), ratio) for at, ratio in splits], "ratio")
    )


def held(answer: Answer, *splits: tuple[int, float]) -> set[int]:
    rows = {one: n for n, one in enumerate(answer.bars["date"].to_list())}
    return {rows[one] for each in found(answer, *splits) for one in each.days}


def rows(first: int, beyond: int) -> set[int]:
    return set(range(first, beyond))


def stored(closes: Mapping[int, float]) -> pl.DataFrame:
    known = pl.DataFrame({"date": [day(at) for at in closes], "close": list(closes.values())})
    return pl.concat([pl.DataFrame(schema=DAILY_SCHEMA), known], how="diagonal").select(list(DAILY_SCHEMA))


# --- a stretch on another scale, before a split by the same ratio


@pytest.mark.parametrize(("before", "is_held"), [(60, True), (61, False)])
def test_a_stretch_that_the_answer_begins_with_is_the_splits_doing_near_to_it(
    before: int, is_held: bool
) -> None:
    assert held(still(120, {30: 0.2}), (30 + before, 5.0)) == (rows(0, 30) if is_held else set())
    # One that is left and come back to is none of the market's, however far away.
    assert held(still(120, {10: 5.0, 30: 0.2}), (30 + before, 5.0)) == rows(10, 30)


@pytest.mark.parametrize(("before", "is_held"), [(250, True), (251, False)])
def test_a_year_before_a_split_it_is_its_doing_where_the_volume_shows_it(before: int, is_held: bool) -> None:
    answer = still(280, {20: 0.2}, {0: 200, 20: 1000})
    assert held(answer, (20 + before, 5.0)) == (rows(0, 20) if is_held else set())


@pytest.mark.parametrize(
    ("ratio", "off", "agrees"),
    [
        (5.0, 0.39, True), (5.0, 0.41, False), (5.0, -0.39, True), (5.0, -0.41, False),
        (0.2, 0.39, True), (0.2, -0.41, False), (1.4, 0.0, True), (1.3, 0.0, False),
    ],
)  # fmt: skip
def test_a_volume_goes_with_a_break_by_most_of_its_factor(ratio: float, off: float, agrees: bool) -> None:
    after = round(100_000 * ratio * exp(off * abs(log(ratio))))
    answer = still(150, {30: 1 / ratio}, {0: 100_000, 30: after})
    assert held(answer, (130, ratio)) == (rows(0, 30) if agrees else set())


@pytest.mark.parametrize(("ratio", "volumes"), [(5.0, {0: 1, 30: 5}), (0.2, {0: 5, 30: 1})])
def test_a_single_share_is_a_trade(ratio: float, volumes: Mapping[int, float]) -> None:
    assert held(still(150, {30: 1 / ratio}, volumes), (130, ratio)) == rows(0, 30)


@pytest.mark.parametrize(("traded", "agrees"), [(4, False), (5, True)])
def test_it_takes_five_trades_on_a_side_to_tell_a_volume(traded: int, agrees: bool) -> None:
    after = still(150, {30: 0.2}, {0: 200, 30: 1000, 30 + traded: 0})
    before = still(150, {30: 0.2}, {0: 0, 30 - traded: 200, 30: 1000})
    assert held(after, (130, 5.0)) == held(before, (130, 5.0)) == (rows(0, 30) if agrees else set())


def test_what_is_off_by_a_ratio_is_named_with_its_breaks_and_their_volumes() -> None:
    breaks = {20: 5.0, 25: 0.2, 30: 5.0, 35: 0.2, 40: 5.0, 45: 0.2}
    volumes = {20: 200, 25: 1000, 30: 200, 35: 1000, 40: 1000}
    (one,) = found(still(60, breaks, volumes), (50, 5.0))
    assert one.kind is Kind.RESCALED_IN_PART
    assert one.reason == f"bars off by the ratio 5 of the split of {day(50)}: rescaled in part"
    dates = ", ".join(str(day(at)) for at in (20, 25, 30, 35))
    assert one.witnesses == f"the series breaks by that ratio on {dates}; the volume goes with it at 0 of 6"
    (one,) = found(still(90, {30: 0.2, 80: 5.0}, {0: 200, 30: 1000}), (60, 5.0))
    assert one.witnesses == f"the series breaks by that ratio on {day(30)}; the volume goes with it at 1 of 1"


# --- the bars of the ex-date


@pytest.mark.parametrize("bars", [1, 3, 5, 6])
def test_a_few_bars_from_the_ex_date_on_that_are_left_again_are_those_that_are_off(bars: int) -> None:
    answer = still(60, {30: 5.0, 30 + bars: 0.2})
    assert held(answer, (30, 5.0)) == (rows(30, 30 + bars) if bars <= 5 else rows(0, 30))


@pytest.mark.parametrize("bars", [1, 3, 5, 6])
def test_bars_without_a_trade_have_their_price_from_before(bars: int) -> None:
    untraded = still(60, {30 + bars: 0.2}, {30: 0, 30 + bars: 1000})
    assert held(untraded, (30, 5.0)) == (rows(0, 30 + bars) if bars <= 5 else set())
    traded = still(60, {30 + bars: 0.2}, {30: 1})
    assert held(traded, (30, 5.0)) == set()


@pytest.mark.parametrize("since", [1, 2, 3])
def test_three_bars_show_that_a_step_on_the_ex_date_is_there_to_stay(since: int) -> None:
    count = 30 + since
    assert held(still(count, {30: 5.0}), (30, 5.0)) == rows(0, 30 if since >= 3 else count)
    assert held(still(count, {30: 5.0}, {30: 0}), (30, 5.0)) == rows(0, count)
    assert held(still(60, {30: 5.0}, {30: 0, 59: 1}), (30, 5.0)) == rows(0, 30)
    assert held(still(1 + since, {1: 5.0}), (1, 5.0)) == rows(0, 1 if since >= 3 else 1 + since)


def test_a_split_of_the_first_bar_puts_nothing_in_doubt() -> None:
    """Without a trade its price may be from before, and that of no later one."""
    assert held(still(20, {2: 5.0, 8: 0.2}, {0: 0}), (0, 5.0)) == rows(0, 2)


@pytest.mark.parametrize(
    ("closes", "told"),
    [
        ({1: 500.0, 2: 500.0, 3: 500.0}, True), ({1: 500.0, 2: 500.0}, False),
        ({1: 509.0, 2: 491.0, 3: 500.0}, True), ({1: 511.0, 2: 511.0, 3: 511.0}, False),
        ({1: 500.0, 2: 500.0, 3: 0.0}, False), ({}, False),
    ],
)  # fmt: skip
def test_three_stored_closes_tell_which_side_of_a_step_on_the_ex_date_is_right(
    closes: Mapping[int, float], told: bool
) -> None:
    """History has been rescaled to 100, and the newest bar is the one that is not."""
    answer = still(31, {30: 5.0}, stored=stored(closes))
    assert held(answer, (30, 5.0)) == (rows(30, 31) if told else rows(0, 31))


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (102.0, 110.0, True), (102.1, 110.0, False), (90.0, 98.1, True), (90.0, 98.0, False),
        (90.0, 600.0, False), (None, 110.0, False), (90.0, None, False),
    ],
)  # fmt: skip
def test_the_range_of_52_weeks_tells_which_side_of_a_step_is_right(
    low: float | None, high: float | None, told: bool
) -> None:
    answer = still(31, {30: 5.0}, low_52_weeks=low, high_52_weeks=high)
    assert held(answer, (30, 5.0)) == (rows(30, 31) if told else rows(0, 31))


@pytest.mark.parametrize(("before", "is_real"), [(6, True), (5, False)])
def test_a_crash_of_a_weeks_distance_to_a_consolidation_is_believed(before: int, is_real: bool) -> None:
    """Its day has eight times the volume, and a span of its own."""
    at = 30 - before
    answer = still(60, {at: 0.1}, {at: 8000, at + 1: 1000})
    wide = pl.when(pl.col("date") == day(at)).then(pl.col("close") * 0.8).otherwise("low")
    answer = replace(answer, bars=answer.bars.with_columns(low=wide))
    assert held(answer, (30, 0.1)) == (set() if is_real else rows(0, at))


# --- another unit


@pytest.mark.parametrize("factor", [100.0, 0.01])
@pytest.mark.parametrize(("off", "is_break"), [(0.25, True), (-0.25, True), (0.27, False), (-0.27, False)])
def test_a_break_is_near_a_hundred(factor: float, off: float, is_break: bool) -> None:
    assert held(still(20, {12: factor * exp(off)})) == (rows(0, 20) if is_break else set())


def test_two_bars_may_be_a_hundredfold_apart_and_one_may_not() -> None:
    assert held(still(2, {1: 100.0})) == {0, 1}
    assert held(still(1, {}), (0, 2.0)) == set()


def test_a_hundredfold_is_named_with_its_breaks_or_the_quote() -> None:
    (one,) = found(still(20, {12: 100.0}))
    assert one.reason == f"a break by a hundred on {day(12)}: two units of the currency in one answer"
    assert one.witnesses == "nothing tells which side is right"
    (one,) = found(still(20, {2: 100.0, 4: 0.01, 6: 100.0, 8: 0.01, 10: 100.0}))
    assert ", ".join(str(day(at)) for at in (2, 4, 6, 8)) + ":" in one.reason
    (one,) = found(still(20, {19: 1.1}, price=1.1))
    assert one.reason == "prices near 110 beside the source's own quote of 1.1"
    assert one.days == {day(at) for at in range(20)}
    assert found(still(20, {}, price=70.0)) == []


WITNESSES = {
    "range": "the source's own range of 52 weeks",
    "around": "the bars on both sides of the stretch",
    "since": "the bars since the break",
    "stored": "stored rows",
    "quote": "the source's own quote",
}


def told_by(answer: Answer) -> str | None:
    (one,) = [one for one in found(answer) if one.kind is Kind.HUNDREDFOLD]
    return next((name for name, text in WITNESSES.items() if one.witnesses == text), None)


@pytest.mark.parametrize(("off", "told"), [(0.19, "stored"), (-0.19, "stored"), (0.21, None), (-0.21, None)])
def test_a_stored_row_votes_for_the_unit_that_it_is_near(off: float, told: str | None) -> None:
    assert told_by(still(20, {12: 100.0}, stored=stored({3: 100 * exp(off)}))) == told


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (90.0, 50.1, "range"), (90.0, 49.9, None), (199.0, 210.0, "range"), (201.0, 210.0, None),
        (100.0, 10_000.0, None), (9000.0, 11_000.0, "range"), (None, 110.0, None), (90.0, None, None),
    ],
)  # fmt: skip
def test_a_unit_is_in_the_range_of_52_weeks_up_to_twice(
    low: float | None, high: float | None, told: str | None
) -> None:
    assert told_by(still(20, {12: 100.0}, low_52_weeks=low, high_52_weeks=high)) == told


@pytest.mark.parametrize(("bars", "told"), [(52, "range"), (53, None)])
def test_a_range_of_52_weeks_tells_nothing_of_a_break_before_them(bars: int, told: str | None) -> None:
    """A bar a week: the last 53 are of a year."""
    answer = still(80, {80 - bars: 100.0}, every=7, low_52_weeks=9000.0, high_52_weeks=11_000.0)
    assert told_by(answer) == told


@pytest.mark.parametrize(("bars", "told"), [(3, "around"), (4, None)])
def test_three_times_as_many_bars_around_a_stretch_outweigh_it(bars: int, told: str | None) -> None:
    assert told_by(still(12, {4: 100.0, 4 + bars: 0.01})) == told
    assert told_by(still(12, {9: 100.0})) is None


@pytest.mark.parametrize(("since", "told"), [(60, "since"), (59, None)])
def test_sixty_bars_since_the_last_break_are_right(since: int, told: str | None) -> None:
    assert told_by(still(40 + since, {10: 100.0, 20: 0.01, 40: 100.0})) == told


@pytest.mark.parametrize(
    ("price", "told"), [(10_000.009, None), (10_000.011, "quote"), (9999.991, None), (9999.989, "quote")]
)
def test_a_quote_that_says_the_last_close_again_is_no_witness(price: float, told: str | None) -> None:
    """To a millionth of that close, whatever the prices were before."""
    assert told_by(still(12, {9: 100.0}, price=price)) == told


# --- the range of 52 weeks, without a split


@pytest.mark.parametrize(
    ("factor", "low", "high", "is_held"),
    [
        # Half as much again outside of it, between breaks by more than two.
        (2.05, 90.0, 136.0, True), (2.05, 90.0, 137.0, False), (0.45, 68.0, 110.0, True), (0.45, 67.0, 110.0, False),
        (1.95, 90.0, 110.0, False), (0.52, 90.0, 110.0, False), (2.05, None, 110.0, False), (2.05, 90.0, None, False),
        # A range that excludes the last bar is behind.
        (2.05, 10.0, 60.0, False),
    ],
)  # fmt: skip
def test_bars_between_breaks_that_the_range_excludes_are_held(
    factor: float, low: float | None, high: float | None, is_held: bool
) -> None:
    answer = still(40, {10: factor, 15: 1 / factor}, low_52_weeks=low, high_52_weeks=high)
    assert held(answer) == (rows(10, 15) if is_held else set())


def test_of_two_bars_the_range_may_exclude_the_first() -> None:
    assert held(still(2, {1: 0.1}, low_52_weeks=9.0, high_52_weeks=11.0)) == {0}


def test_what_the_range_excludes_is_named_with_it_and_with_the_breaks() -> None:
    breaks = {at: 8.0 if at % 10 else 0.125 for at in (5, 10, 15, 20, 25, 30)}
    (one,) = found(still(40, breaks, low_52_weeks=90.0, high_52_weeks=110.0))
    assert one.kind is Kind.RESCALED_IN_PART
    assert one.days == {day(at) for at in rows(5, 10) | rows(15, 20) | rows(25, 30)}
    assert one.reason == (
        "prices beside the source's own range of 52 weeks, 90 to 110: on another scale than today's"
    )
    dates = ", ".join(str(day(at)) for at in (5, 10, 15, 20))
    assert one.witnesses == f"the range of 52 weeks; the series breaks on {dates}"


@pytest.mark.parametrize(("bars", "is_held"), [(33, True), (34, False), (35, False)])
def test_the_range_says_nothing_of_bars_of_more_than_340_days_ago(bars: int, is_held: bool) -> None:
    """A bar each ten days; the stretch ends so many bars before the last one."""
    end = 60 - bars
    answer = still(60, {end - 5: 8.0, end: 0.125}, every=10, low_52_weeks=90.0, high_52_weeks=110.0)
    assert held(answer) == (rows(end - 5, end) if is_held else set())


# --- bars of closed days


def closed(have: Sequence[int], sessions: Sequence[int]) -> list[Held]:
    bars = still(40, {}).bars.filter(pl.col("date").is_in([day(at) for at in have]))
    return beside_closed_days(
        Answer("A", bars, events([], "ratio"), listed([]), sessions=frozenset(map(day, sessions))),
        Series.of(bars),
    )


@pytest.mark.parametrize(
    ("lacking", "expected"),
    [(11, {10}), (14, {10, 12, 13}), (18, {10, 12, 13, 15}), (19, None), (9, None)],
)
def test_a_bar_of_a_closed_day_is_held_up_to_a_session_without_one(
    lacking: int, expected: set[int] | None
) -> None:
    """Up to eight days later; the bars in between may be of the days after their own."""
    have = {8, 10, 12, 13, 15, 25} - {lacking}
    found = closed(sorted(have), sorted((have - {10}) | {lacking}))
    if expected is None:
        assert found == []
        return
    (one,) = found
    assert (one.kind, one.days) == (Kind.STAMPED_ON_A_CLOSED_DAY, {day(at) for at in expected})
    assert one.reason == f"bars on days without a session from {day(10)} on, beside sessions that have none"


def test_without_sessions_or_without_a_closed_day_no_bar_is_stray() -> None:
    assert closed([8, 10], []) == []
    assert closed([8, 10], [8, 9, 10]) == []
