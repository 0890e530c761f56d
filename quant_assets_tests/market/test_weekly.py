"""Weekly bars: weeks worked out by hand."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market.weekly import WEEKLY_SCHEMA, week_column, weekly_bars
from quant_assets.market.weeks import week_of
from quant_assets_tests.market.weekly_rows import (
    FRI,
    FULL_WEEK,
    MON,
    THU,
    TUE,
    WED,
    frame,
    holes,
    row,
    sessions,
)


def only(frame: pl.DataFrame) -> dict[str, Any]:
    assert frame.height == 1
    return frame.row(0, named=True)


def test_a_plain_week_holds_the_traded_numbers_bit_for_bit() -> None:
    # Prices with all 17 digits: rounding anything would show.
    daily = frame(
        row(MON, (10.100000381469727, 10.7, 10.05, 10.6, 100)),
        row(TUE, (10.6, 11.230000019073486, 10.5, 11.0, 200)),
        row(WED, (11.0, 11.1, 9.950000286102295, 10.0, 300), dividend=0.123456789012345),
        row(FRI, (10.2, 10.3, 10.1, 10.199999809265137, 400)),
    )
    week = only(weekly_bars(daily, FULL_WEEK))
    assert week == {
        "symbol": "A",
        "week": MON,
        "first_session": MON,
        "last_session": FRI,
        "sessions": 4,
        "open": 10.100000381469727,
        "high": 11.230000019073486,
        "low": 9.950000286102295,
        "close": 10.199999809265137,
        "volume": 1000.0,
        "dividends": 0.123456789012345,
        "split_ratio": 1.0,
        "complete": True,
    }


def test_a_split_on_wednesday_tears_no_bar() -> None:
    daily = frame(
        row(MON, (100.0, 104.0, 98.0, 102.0, 1_000)),
        row(TUE, (102.0, 110.0, 101.0, 109.0, 2_000)),
        row(WED, (54.5, 56.0, 53.0, 55.0, 5_000), split=2.0),
        row(THU, (55.0, 55.5, 48.5, 50.0, 6_000)),
        row(FRI, (50.0, 52.0, 49.5, 51.0, 7_000)),
    )
    week = only(weekly_bars(daily, FULL_WEEK))
    assert (week["open"], week["high"], week["low"], week["close"]) == (50.0, 56.0, 48.5, 51.0)
    assert week["volume"] == 2 * 1_000 + 2 * 2_000 + 5_000 + 6_000 + 7_000
    assert week["split_ratio"] == 2.0


def test_a_reverse_split_leaves_fractions_of_shares_and_no_float_noise() -> None:
    daily = frame(
        row(TUE, (0.031, 0.033, 0.029, 0.03, 12_345)),
        row(WED, (0.03, 0.031, 0.027, 0.028, 1_001)),
        row(THU, (0.29, 0.3, 0.28, 0.285, 900), split=0.1),
    )
    week = only(weekly_bars(daily, FULL_WEEK))
    assert (week["open"], week["high"], week["low"], week["close"]) == (0.31, 0.33, 0.27, 0.285)
    assert week["volume"] == 1_234.5 + 100.1 + 900
    assert week["split_ratio"] == 0.1


def test_two_splits_in_one_week_multiply() -> None:
    daily = frame(
        row(MON, (600.0, 600.0, 600.0, 600.0, 10)),
        row(TUE, (200.0, 200.0, 200.0, 200.0, 30), split=3.0),
        row(THU, (100.0, 100.0, 100.0, 100.0, 60), split=2.0),
    )
    week = only(weekly_bars(daily, FULL_WEEK))
    assert [week[name] for name in ("open", "high", "low", "close")] == [100.0] * 4
    assert week["volume"] == 10 * 6 + 30 * 2 + 60
    assert week["split_ratio"] == 6.0


def test_dividends_stand_on_the_basis_of_the_weeks_end() -> None:
    bar = (8.0, 8.0, 8.0, 8.0, 1)
    daily = frame(
        row(MON, (32.0, 32.0, 32.0, 32.0, 1), dividend=0.4),  # before the split: a fourth of it per new share
        row(WED, bar, split=4.0, dividend=0.2),  # on the ex-date: already per new share
        row(FRI, bar, dividend=0.3),
    )
    assert only(weekly_bars(daily, FULL_WEEK))["dividends"] == 0.6


def test_a_split_on_monday_rescales_nothing() -> None:
    friday_before = MON - timedelta(days=3)
    daily = frame(
        row(friday_before, (30.3, 31.0, 30.0, 30.7, 7)),
        row(MON, (15.350000381469727, 15.5, 15.25, 15.4, 15), split=2.0),
    )
    before, after = weekly_bars(daily, FULL_WEEK).rows(named=True)
    assert (before["open"], before["close"], before["volume"], before["split_ratio"]) == (
        30.3,
        30.7,
        7.0,
        1.0,
    )
    assert (after["open"], after["volume"], after["split_ratio"]) == (15.350000381469727, 15.0, 2.0)
    assert before["close"] / after["split_ratio"] == 15.35


def test_actions_without_a_bar_count_but_are_no_bars() -> None:
    daily = frame(
        row(TUE, (50.0, 52.0, 48.0, 51.0, 100), dividend=0.5),
        row(WED, (51.0, 51.0, 50.0, 50.0, 100)),
        row(FRI, None, split=2.0),  # suspended over the ex-date
    )
    week = only(weekly_bars(daily, FULL_WEEK))
    assert (week["first_session"], week["last_session"], week["sessions"]) == (TUE, WED, 2)
    assert (week["open"], week["high"], week["low"], week["close"]) == (25.0, 26.0, 24.0, 25.0)
    assert (week["volume"], week["dividends"], week["split_ratio"]) == (400.0, 0.25, 2.0)


def test_a_week_of_actions_only_keeps_them() -> None:
    week = only(weekly_bars(frame(row(THU, None, dividend=0.7)), FULL_WEEK))
    assert week["sessions"] == 0
    assert [week[name] for name in ("first_session", "last_session", "open", "high", "low", "close")] == [
        None
    ] * 6
    assert (week["volume"], week["dividends"], week["complete"]) == (0.0, 0.7, True)


def test_a_week_with_an_unknown_volume_or_dividend_does_not_know_their_sum() -> None:
    bar = (1.0, 2.0, 0.5, 1.5, 10)
    unknown = frame(
        *(row(day, bar, symbol="A", dividend=0.5) for day in (MON, TUE)),
        *(row(day, bar, symbol="B", dividend=0.5) for day in (MON, TUE)),
        row(MON, bar, symbol="C", split=2.0),
        row(THU, None, symbol="D"),
    ).with_columns(
        volume=pl.when((pl.col("symbol") == "A") & (pl.col("date") == TUE)).then(None).otherwise("volume"),
        dividend=pl.when(((pl.col("symbol") == "B") & (pl.col("date") == MON)) | (pl.col("symbol") == "D"))
        .then(None)
        .otherwise("dividend"),
    )
    weeks = weekly_bars(unknown, FULL_WEEK)
    assert weeks.select("symbol", "sessions", "close", "volume", "dividends").rows() == [
        ("A", 2, 1.5, None, 1.0),
        ("B", 2, 1.5, 20.0, None),
        ("C", 1, 1.5, 10.0, 0.0),
        ("D", 0, None, 0.0, None),
    ]


def test_a_week_with_nothing_but_a_split_keeps_it() -> None:
    week = only(weekly_bars(frame(row(THU, None, split=5.0)), FULL_WEEK))
    assert (week["sessions"], week["split_ratio"], week["dividends"]) == (0, 5.0, 0.0)


def test_a_row_with_neither_bar_nor_action_makes_no_week() -> None:
    assert weekly_bars(frame(row(THU, None)), FULL_WEEK).is_empty()


def test_a_thin_week_has_the_widest_of_the_ranges_that_were_served() -> None:
    # Monday opens below its low, Tuesday closes above its high.
    daily = frame(row(MON, (9.0, 10.5, 10.0, 10.2, 0)), row(TUE, (10.2, 10.4, 10.1, 11.0, 5)))
    week = only(weekly_bars(daily, FULL_WEEK))
    assert [week[name] for name in ("open", "high", "low", "close", "volume")] == [9.0, 10.5, 10.0, 11.0, 5.0]


def test_missing_sessions_at_either_end_show_in_the_dates_only() -> None:
    bar = (1.0, 2.0, 0.5, 1.5, 10)
    daily = frame(row(TUE, bar), row(WED, bar), row(MON, bar, symbol="B"), row(TUE, bar, symbol="B"))
    late, gone = weekly_bars(daily, FULL_WEEK).rows(named=True)
    assert (late["first_session"], late["last_session"], late["sessions"]) == (TUE, WED, 2)
    assert (gone["first_session"], gone["last_session"], gone["sessions"]) == (MON, TUE, 2)
    assert late["complete"]
    assert gone["complete"]


def test_a_holiday_week_is_complete_with_the_sessions_it_has() -> None:
    daily = frame(row(TUE, (1.0, 1.0, 1.0, 1.0, 1)), row(THU, (2.0, 2.0, 2.0, 2.0, 1)))
    assert only(weekly_bars(daily, sessions(TUE, WED, THU)))["complete"]


@pytest.mark.parametrize(
    "calendar",
    [
        sessions(MON, TUE, WED, THU, FRI, unasked=(WED,)),
        sessions(MON, TUE, WED, THU, FRI, unasked=(FRI,)),  # not over yet
        FULL_WEEK.with_columns(asked=pl.when(pl.col("date") != TUE).then("asked")),  # unknown
        sessions(MON - timedelta(days=3)),  # a week the calendar does not hold
        sessions(),
    ],
)
def test_a_week_with_a_session_in_doubt_is_not_complete(calendar: pl.DataFrame) -> None:
    daily = frame(*(row(day, (1.0, 1.0, 1.0, 1.0, 1)) for day in (MON, TUE, WED, THU, FRI)))
    assert only(weekly_bars(daily, calendar))["complete"] is False
    # A week with a split is made another way.
    split = daily.with_columns(split_ratio=pl.when(pl.col("date") == WED).then(2.0).otherwise(1.0))
    assert only(weekly_bars(split, calendar))["complete"] is False


def test_a_hole_of_a_week_without_any_row_is_of_no_other_week() -> None:
    week = timedelta(days=7)
    days = [MON, MON + 2 * week]
    daily = frame(*(row(day, (1.0, 1.0, 1.0, 1.0, 1), symbol=symbol) for symbol in "AB" for day in days))
    calendar = sessions(*(MON + n * week for n in range(5)))
    gone = holes(
        ("B", MON + week), ("0", MON), ("AA", MON), ("C", MON), ("A", MON - week), ("B", MON + 4 * week)
    )
    assert weekly_bars(daily, calendar, missing=gone)["complete"].to_list() == [True] * 4
    gone = holes(("B", MON + 2 * week), ("A", MON + 3 * week))
    assert weekly_bars(daily, calendar, missing=gone)["complete"].to_list() == [True, True, True, False]


@pytest.mark.parametrize("dividend", [-0.123456789012345, 0.123456789012345])
def test_a_single_dividend_is_the_declared_number_whatever_its_sign(dividend: float) -> None:
    daily = frame(row(MON, (1.0, 1.0, 1.0, 1.0, 1), dividend=dividend))
    assert only(weekly_bars(daily, FULL_WEEK))["dividends"] == dividend
    assert only(weekly_bars(daily.lazy(), FULL_WEEK).collect())["dividends"] == dividend


def test_what_one_symbol_lacks_leaves_its_own_week_incomplete_and_no_other() -> None:
    bar = (1.0, 1.0, 1.0, 1.0, 1)
    next_monday = MON + timedelta(days=7)
    daily = frame(
        *(row(day, bar, symbol="A") for day in (MON, TUE, WED, THU, FRI, next_monday)),
        *(row(day, bar, symbol="B") for day in (MON, TUE, THU, FRI, next_monday)),
        *(row(day, bar, symbol="C") for day in (WED, THU, FRI)),  # listed on Wednesday
    )
    calendar = sessions(MON, TUE, WED, THU, FRI, next_monday)
    weeks = weekly_bars(daily, calendar, missing=holes(("B", WED), ("D", MON)))
    assert weeks.select("symbol", "week", "complete").rows() == [
        ("A", MON, True),
        ("A", next_monday, True),
        ("B", MON, False),
        ("B", next_monday, True),
        ("C", MON, True),
    ]


def test_a_hole_in_a_week_that_begins_on_sunday_is_of_that_week() -> None:
    sunday = MON - timedelta(days=1)
    daily = frame(*(row(day, (1.0, 1.0, 1.0, 1.0, 1)) for day in (MON - timedelta(days=4), MON)))
    calendar = sessions(MON - timedelta(days=4), sunday, MON)
    found = weekly_bars(daily, calendar, 0, missing=holes(("A", sunday)))
    assert found["complete"].to_list() == [True, False]


def test_one_incomplete_week_leaves_its_neighbours_alone() -> None:
    week = timedelta(days=7)
    daily = frame(*(row(MON + n * week, (1.0, 1.0, 1.0, 1.0, 1)) for n in range(3)))
    calendar = sessions(MON, MON + week, MON + 2 * week, unasked=(MON + week,))
    assert weekly_bars(daily, calendar)["complete"].to_list() == [True, False, True]


def test_the_week_over_new_year_is_one_week() -> None:
    days = [date(2024, 12, 30), date(2024, 12, 31), date(2025, 1, 2), date(2025, 1, 3)]
    daily = frame(*(row(day, (n + 1.0, n + 2.0, n + 0.5, n + 1.5, 10)) for n, day in enumerate(days)))
    week = only(weekly_bars(daily, sessions(*days)))
    assert (week["week"], week["first_session"], week["last_session"]) == (days[0], days[0], days[-1])
    assert (week["open"], week["high"], week["low"], week["close"]) == (1.0, 5.0, 0.5, 4.5)


def test_a_sunday_session_belongs_to_the_monday_before() -> None:
    sunday = date(2024, 3, 17)
    daily = frame(
        row(sunday, (1.0, 1.0, 1.0, 1.0, 1)), row(sunday + timedelta(days=1), (2.0, 2.0, 2.0, 2.0, 1))
    )
    assert weekly_bars(daily, FULL_WEEK)["week"].to_list() == [MON, MON + timedelta(days=7)]


def test_no_rows_give_an_empty_frame_of_the_same_schema() -> None:
    empty = weekly_bars(frame(), FULL_WEEK)
    assert empty.is_empty()
    assert empty.schema == WEEKLY_SCHEMA


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="split_ratio"):
        weekly_bars(frame().drop("split_ratio"), FULL_WEEK)


def test_a_week_from_sunday_to_thursday_is_named_by_its_monday() -> None:
    sunday, saturday = date(2024, 3, 10), date(2024, 3, 16)
    days = [sunday, MON, TUE, WED, THU]
    daily = frame(
        row(date(2024, 3, 7), (9.0, 9.0, 9.0, 9.0, 1)),
        row(sunday, (100.0, 104.0, 98.0, 102.0, 1_000)),
        row(MON, (51.0, 55.0, 50.0, 54.0, 2_000), split=2.0),
        row(THU, (54.0, 56.0, 53.0, 55.0, 3_000)),
        row(saturday, None, dividend=1.0),
        row(date(2024, 3, 17), (70.0, 70.0, 70.0, 70.0, 7)),
    )
    weeks = weekly_bars(daily, sessions(*days, unasked=(sunday,)), 0)
    assert weeks["week"].to_list() == [date(2024, 3, 4), MON, date(2024, 3, 18)]
    week = weeks.row(1, named=True)
    assert (week["first_session"], week["last_session"], week["sessions"]) == (sunday, THU, 3)
    assert (week["open"], week["high"], week["low"], week["close"]) == (50.0, 56.0, 49.0, 55.0)
    assert (week["volume"], week["dividends"], week["split_ratio"]) == (2 * 1_000 + 2_000 + 3_000, 1.0, 2.0)
    assert not week["complete"]  # nobody has asked for its Sunday
    assert weekly_bars(daily, sessions(*days), 0)["complete"].to_list() == [False, True, False]


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.integers(0, 6))
def test_the_week_column_is_week_of(day: date, first_weekday: int) -> None:
    found = pl.DataFrame({"date": [day]}).select(week_column(pl.col("date"), first_weekday)).item()
    assert found == week_of(day, first_weekday)


def test_prices_before_a_split_have_ten_digits_volumes_three_decimals_and_dividends_ten() -> None:
    week = only(
        weekly_bars(
            frame(
                row(MON, (1000.0, 1000.0, 1000.0, 1000.0, 100), dividend=1.0),
                row(TUE, (2000.0, 2000.0, 2000.0, 2000.0, 100)),
                row(WED, (600.0, 600.0, 600.0, 600.0, 7), split=3.0),
            ),
            FULL_WEEK,
        )
    )
    assert (week["open"], week["high"], week["close"]) == (333.3333333, 666.6666667, 600.0)
    assert week["dividends"] == 0.3333333333
    assert week["volume"] == 607.0
    reverse = only(
        weekly_bars(
            frame(row(MON, (1.0, 1.0, 1.0, 1.0, 1000)), row(TUE, (7.0, 7.0, 7.0, 7.0, 1), split=1 / 7)),
            FULL_WEEK,
        )
    )
    assert reverse["volume"] == 143.857


def test_a_week_with_an_unknown_volume_has_none() -> None:
    bar = (10.0, 10.0, 10.0, 10.0, 100)
    daily = frame(row(MON, bar), {**row(TUE, bar), "volume": None}, row(MON, bar, symbol="B"))
    weeks = weekly_bars(daily, sessions(MON, TUE))
    assert weeks.select("symbol", "volume").rows() == [("A", None), ("B", 100.0)]


@pytest.mark.parametrize("blocks", [[("B", MON), ("A", TUE)], [("A", MON), ("B", MON), ("A", TUE)]])
def test_symbols_that_stand_in_another_order_have_their_weeks_by_name(blocks: list[tuple[str, date]]) -> None:
    bar = (10.0, 11.0, 9.0, 10.0, 100)
    weeks = weekly_bars(frame(*(row(day, bar, symbol=symbol) for symbol, day in blocks)), FULL_WEEK)
    found = weeks.select("symbol", "first_session", "last_session", "volume").rows()
    days = {name: [day for symbol, day in blocks if symbol == name] for name in "AB"}
    assert found == [(name, there[0], there[-1], 100.0 * len(there)) for name, there in days.items()]
