"""Actions dated on closed days: they take effect at the next session, and once."""

from __future__ import annotations

import math
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.exchanges import exchange
from quant_assets.market.action_dates import ActionsOnSessions, flagged, on_sessions, without_rejected
from quant_assets.market.corporate_actions import split_factor_after

SPLITS = {"date": pl.Date, "ratio": pl.Float64}
DIVIDENDS = {"date": pl.Date, "amount": pl.Float64, "kind": pl.String, "currency": pl.String}
THU, FRI = date(2024, 5, 23), date(2024, 5, 24)
SAT, SUN, MEMORIAL_DAY = date(2024, 5, 25), date(2024, 5, 26), date(2024, 5, 27)
TUE, WED = date(2024, 5, 28), date(2024, 5, 29)
NEW_YORK = pl.Series(exchange("US").calendar().sessions(date(2024, 5, 1), date(2024, 6, 28)), dtype=pl.Date)


def splits(*rows: tuple[date, float]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SPLITS, orient="row")


def dividends(*rows: tuple[date, float] | tuple[date, float, str]) -> pl.DataFrame:
    full = [(row[0], row[1], row[2] if len(row) > 2 else "dividend", None) for row in rows]
    return pl.DataFrame(full, schema=DIVIDENDS, orient="row")


def placed(
    ratios: pl.DataFrame | None = None, amounts: pl.DataFrame | None = None, sessions: pl.Series = NEW_YORK
) -> ActionsOnSessions:
    return on_sessions(
        splits() if ratios is None else ratios, dividends() if amounts is None else amounts, sessions
    )


def test_a_split_on_memorial_day_takes_effect_on_tuesday_with_its_stated_date_on_record() -> None:
    found = placed(splits((MEMORIAL_DAY, 2.0)))
    assert found.splits.rows() == [(TUE, 2.0)]
    assert found.splits.schema == SPLITS
    assert found.moved.rows() == [(TUE, MEMORIAL_DAY)]
    assert found.moved.schema == {"session": pl.Date, "stated": pl.Date}


def test_a_dividend_on_a_saturday_takes_effect_at_the_next_session_with_all_that_is_said_of_it() -> None:
    saturday, monday = date(2024, 6, 1), date(2024, 6, 3)
    found = placed(amounts=dividends((saturday, 0.25, "capital_gain"), (monday, 0.5)))
    assert found.dividends.rows() == [
        (monday, 0.25, "capital_gain", None),
        (monday, 0.5, "dividend", None),
    ]
    assert found.moved.rows() == [(monday, saturday)]


def test_actions_on_sessions_stay_where_they_are() -> None:
    found = placed(splits((TUE, 2.0)), dividends((WED, 0.5), (FRI, 0.25)))
    assert found.splits.rows() == [(TUE, 2.0)]
    assert [row[:2] for row in found.dividends.rows()] == [(FRI, 0.25), (WED, 0.5)]
    assert found.moved.is_empty()


def test_two_that_land_on_one_session_are_both_kept_and_both_dates_are_on_record() -> None:
    found = placed(
        splits((SAT, 2.0), (MEMORIAL_DAY, 1.5)), dividends((SUN, 0.25), (MEMORIAL_DAY, 0.5), (TUE, 1.0))
    )
    assert found.splits.rows() == [(TUE, 2.0), (TUE, 1.5)]
    assert [row[:2] for row in found.dividends.rows()] == [(TUE, 0.25), (TUE, 0.5), (TUE, 1.0)]
    # The Monday is the date of two actions and is named once.
    assert found.moved.rows() == [(TUE, SAT), (TUE, SUN), (TUE, MEMORIAL_DAY)]


def test_the_same_action_listed_on_the_closed_day_and_on_its_session_is_one() -> None:
    found = placed(
        splits((MEMORIAL_DAY, 2.0), (TUE, 2.0)), dividends((TUE, 0.5), (SAT, 0.5), (MEMORIAL_DAY, 0.5))
    )
    assert found.splits.rows() == [(TUE, 2.0)]
    assert [row[:2] for row in found.dividends.rows()] == [(TUE, 0.5)]
    assert found.moved.rows() == [(TUE, SAT), (TUE, MEMORIAL_DAY)]


def test_equal_actions_of_another_kind_or_session_or_of_one_date_are_not_the_same_listed_twice() -> None:
    of_kinds = placed(amounts=dividends((SAT, 0.5, "capital_gain"), (TUE, 0.5)))
    assert of_kinds.dividends.height == 2
    of_sessions = placed(amounts=dividends((SAT, 0.5), (WED, 0.5)))
    assert [row[0] for row in of_sessions.dividends.rows()] == [TUE, WED]
    # Whether that is one is for others to say, as it is on a session.
    of_one_date = placed(splits((SAT, 2.0), (SAT, 2.0)), dividends((TUE, 0.5), (TUE, 0.5)))
    assert (of_one_date.splits.height, of_one_date.dividends.height) == (2, 2)


def test_the_stated_dates_are_flags_of_the_rows_that_the_actions_took_effect_on() -> None:
    found = placed(splits((MEMORIAL_DAY, 2.0)), dividends((SAT, 0.5), (MEMORIAL_DAY, 0.25), (WED, 0.1)))
    rows = pl.DataFrame({"date": [FRI, TUE, WED], "flags": ["", "no_trade", ""], "close": [3.0, 1.0, 2.0]})
    assert flagged(rows, found.moved).rows() == [
        (FRI, "", 3.0),
        (TUE, "action_dated:2024-05-25,action_dated:2024-05-27,no_trade", 1.0),
        (WED, "", 2.0),
    ]
    assert flagged(rows, placed(splits((TUE, 2.0))).moved).equals(rows)


def test_beyond_the_calendar_actions_stay_as_they_are() -> None:
    last = NEW_YORK[-1]
    outside = [NEW_YORK[0] - timedelta(days=3), last + timedelta(days=1), last + timedelta(days=30)]
    found = placed(splits(*((day, 2.0) for day in outside)))
    assert found.splits["date"].to_list() == outside
    assert found.moved.is_empty()
    nothing_known = placed(splits((SAT, 2.0)), sessions=pl.Series(dtype=pl.Date))
    assert nothing_known.splits.rows() == [(SAT, 2.0)]


@pytest.mark.parametrize(
    ("code", "stated", "session"),
    [
        # The lunar New Year.
        ("HKEX", date(2024, 2, 10), date(2024, 2, 14)),
        # Good Friday to Easter Monday.
        ("LSE", date(2024, 3, 29), date(2024, 4, 2)),
        # Golden Week.
        ("JPX", date(2024, 5, 3), date(2024, 5, 7)),
    ],
)
def test_over_a_run_of_holidays_it_is_the_session_after_the_last_of_them(
    code: str, stated: date, session: date
) -> None:
    known = exchange(code).calendar().sessions(date(2024, 1, 1), date(2024, 6, 28))
    for days in range((session - stated).days):
        dated = stated + timedelta(days=days)
        found = placed(amounts=dividends((dated, 0.5)), sessions=pl.Series(known, dtype=pl.Date))
        assert found.dividends["date"].to_list() == [session]


def test_on_an_exchange_that_trades_on_sundays_a_saturday_is_followed_by_sunday() -> None:
    week = pl.Series([date(2024, 3, d) for d in (10, 11, 12, 13, 14, 17, 18)], dtype=pl.Date)
    found = placed(splits((date(2024, 3, 15), 2.0)), dividends((date(2024, 3, 16), 0.5)), week)
    assert found.splits["date"].to_list() == [date(2024, 3, 17)]
    assert found.dividends["date"].to_list() == [date(2024, 3, 17)]
    assert found.moved["stated"].to_list() == [date(2024, 3, 15), date(2024, 3, 16)]


DAYS = st.integers(-10, 70).map(lambda n: date(2024, 5, 1) + timedelta(days=n))


@given(st.lists(st.tuples(DAYS, st.sampled_from([2.0, 3.0, 0.5])), max_size=6))
def test_no_session_sees_another_product_of_later_splits_unless_one_was_listed_twice(
    rows: list[tuple[date, float]],
) -> None:
    found = placed(splits(*rows))
    # By hand: the session on or after each date, and of equal ones there those under the last date.
    inside = [NEW_YORK[0] <= day <= NEW_YORK[-1] for day, _ in rows]
    landed = [
        min(s for s in NEW_YORK if s >= day) if known else day
        for (day, _), known in zip(rows, inside, strict=True)
    ]
    kept = [
        (session, ratio)
        for session, (day, ratio) in zip(landed, rows, strict=True)
        if day == max(d for (d, r), s in zip(rows, landed, strict=True) if (s, r) == (session, ratio))
    ]
    assert sorted(found.splits.rows()) == sorted(kept)
    assert set(found.moved["stated"]) == {d for (d, _), s in zip(rows, landed, strict=True) if s != d}
    if len(set(zip(landed, (r for _, r in rows), strict=True))) == len(rows):
        before, after = (
            split_factor_after(NEW_YORK, splits(*rows)),
            split_factor_after(NEW_YORK, found.splits),
        )
        assert all(math.isclose(x, y) for x, y in zip(before, after, strict=True))
    # Moved once, they stay.
    again = placed(found.splits)
    assert again.splits.equals(found.splits)
    assert again.moved.is_empty()


@pytest.mark.parametrize(
    ("dividend", "left"),
    [
        (0.5, 0.0), (0.500001, 0.0), (0.75, 0.25), (0.2, 0.2), (0.0, 0.0), (None, None),
        # To a ten-thousandth of it.
        (0.50004, 0.0), (0.50006, 0.00006), (0.49996, 0.0), (0.49994, 0.49994),
    ],
    ids=str,
)  # fmt: skip
def test_of_a_session_a_rejected_dividend_is_taken_away_and_no_other(
    dividend: float | None, left: float | None
) -> None:
    days = [date(2024, 5, 24), date(2024, 5, 28)]
    rows = pl.DataFrame(
        {"date": days, "dividend": [0.5, dividend]}, schema_overrides={"dividend": pl.Float64}
    )
    rejected = pl.DataFrame({"date": days[1:], "dividend": [0.5]})
    assert without_rejected(rows, rejected)["dividend"].to_list() == pytest.approx([0.5, left])
    assert without_rejected(rows, rejected.clear()).equals(rows)


def test_of_a_rejected_dividend_a_ten_thousandth_more_is_nothing() -> None:
    rows = pl.DataFrame({"date": [date(2024, 5, 24)], "dividend": [10_001.0]})
    assert without_rejected(rows, rows.with_columns(dividend=10_000.0))["dividend"].to_list() == [0.0]
