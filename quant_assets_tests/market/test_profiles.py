"""Profiles: numbers worked out by hand, planted faults, and what must hold for any history."""

from __future__ import annotations

import math
import statistics
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.market.profiles import (
    EXCHANGE_PROFILE_SCHEMA,
    SYMBOL_PROFILE_SCHEMA,
    exchange_profile,
    symbol_profiles,
)

DAILY = {
    "symbol": pl.String,
    "date": pl.Date,
    "close": pl.Float64,
    "volume": pl.Int64,
    "dividend": pl.Float64,
    "split_ratio": pl.Float64,
    "flags": pl.String,
}
LISTINGS = {"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date}
SESSIONS = [day for n in range(400) if (day := date(2020, 1, 1) + timedelta(days=n)).weekday() < 5]


def history(
    closes: dict[int, float | None] | list[float],
    *,
    volume: int = 100,
    dividends: dict[int, float] | None = None,
    splits: dict[int, float] | None = None,
    symbol: str = "A",
) -> pl.DataFrame:
    """Rows at positions of SESSIONS; a None close is an action's row without a bar."""
    by_position = closes if isinstance(closes, dict) else dict(enumerate(closes))
    return pl.DataFrame(
        [
            {
                "symbol": symbol,
                "date": SESSIONS[at],
                "close": close,
                "volume": volume if close is not None else 0,
                "dividend": (dividends or {}).get(at, 0.0),
                "split_ratio": (splits or {}).get(at, 1.0),
                "flags": "",
            }
            for at, close in by_position.items()
        ],
        schema=DAILY,
    )


def listings(*rows: tuple[str, date | None, date | None]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=LISTINGS, orient="row")


def profile(
    daily: pl.DataFrame, count: int | None = None, *listed: tuple[str, date | None, date | None]
) -> dict[str, Any]:
    """The only symbol's profile against the first `count` sessions, or against those up to its last row."""
    known = SESSIONS[: count or SESSIONS.index(daily["date"].max()) + 1]
    found = symbol_profiles(daily, known, listings(*listed))
    assert found.height == 1
    return found.row(0, named=True)


def wavy(count: int) -> list[float]:
    return [10.0 + (n % 5) / 10 for n in range(count)]


def test_a_small_history_worked_out_by_hand() -> None:
    # Session 3 has no bar; 2:1 on session 4; 0.50 a (new) share on session 6.
    daily = history(
        {0: 100.0, 1: 110.0, 2: 121.0, 4: 60.5, 5: 55.0, 6: 54.5},
        dividends={6: 0.5},
        splits={4: 2.0},
        volume=1_000,
    )
    found = profile(daily)
    kept = 1 - 0.5 / 55.0
    returns = [math.log(1.1), math.log(1.1), 0.0, math.log(55.0 / 60.5), math.log(54.5 / 55.0 / kept)]
    parts = [50 * 6 / 7, 20.0, 15.0, 15.0]
    expected = {
        "symbol": "A",
        "first_session": SESSIONS[0],
        "last_session": SESSIONS[6],
        "expected_sessions": 7,
        "sessions": 6,
        "unexpected_sessions": 0,
        "coverage": 6 / 7,
        "missing_sessions": 1,
        "longest_gap": 1,
        "stale_days": 0,
        "zero_volume_days": 0,
        "flagged_sessions": 0,
        "flags": "",
        "suspicious_jumps": 0,
        "last_close": 54.5,
        "total_return": 2 * 54.5 / kept / 100 - 1,
        "annualised_return": None,
        "volatility": statistics.stdev(returns) * math.sqrt(252),
        "dollar_volume": 1_000 * (100 + 110 + 121 + 60.5 + 55 + 54.5) / 6,
        "splits": 1,
        "dividends": 1,
        "score_coverage": parts[0],
        "score_staleness": parts[1],
        "score_volume": parts[2],
        "score_jumps": parts[3],
        "quality": sum(parts),
    }
    assert found == {
        name: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        for name, value in expected.items()
    }


def test_the_order_and_laziness_of_the_input_do_not_matter() -> None:
    daily = pl.concat([history(wavy(50)), history(wavy(30), splits={7: 2.0}, symbol="B")])
    shuffled = daily.sample(fraction=1.0, shuffle=True, seed=1)
    expected = symbol_profiles(daily, SESSIONS, listings())
    assert expected["symbol"].to_list() == ["A", "B"]
    assert symbol_profiles(shuffled.lazy(), reversed(SESSIONS), listings()).equals(expected)


def test_holes_and_the_longest_gap() -> None:
    closes = dict(enumerate(wavy(30)))
    for hole in (4, 10, 11, 12, 20):
        del closes[hole]
    found = profile(history(closes))
    assert (found["expected_sessions"], found["sessions"], found["missing_sessions"]) == (30, 25, 5)
    assert found["longest_gap"] == 3
    assert found["score_coverage"] == pytest.approx(50 * 25 / 30)


@pytest.mark.parametrize(("listed_on", "gap"), [(SESSIONS[0], 8), (SESSIONS[5], 3), (None, 2)])
def test_a_gap_at_the_front_needs_a_listing_date(listed_on: date | None, gap: int) -> None:
    closes = {n: close for n, close in enumerate(wavy(22)) if n >= 8}
    found = profile(history(closes), 24, ("A", listed_on, None))
    assert found["longest_gap"] == gap  # the two sessions after its last bar are missing in any case
    assert found["missing_sessions"] == found["expected_sessions"] - 14


def test_a_delisted_symbol_owes_nothing_after_its_last_day() -> None:
    daily = history(wavy(20))
    gone = profile(daily, 60, ("A", SESSIONS[0], SESSIONS[19]))
    assert (gone["expected_sessions"], gone["coverage"], gone["longest_gap"]) == (20, 1.0, 0)
    assert gone["quality"] == 100.0
    lost = profile(daily, 60, ("A", SESSIONS[0], None))
    assert (lost["expected_sessions"], lost["missing_sessions"], lost["longest_gap"]) == (60, 40, 40)


def test_bars_on_other_days_cover_nothing() -> None:
    saturday = pl.DataFrame(
        {
            "symbol": ["A"],
            "date": [date(2020, 1, 4)],
            "close": [10.05],
            "volume": [1],
            "dividend": [0.0],
            "split_ratio": [1.0],
            "flags": [""],
        }
    )
    found = profile(pl.concat([history(wavy(10)), saturday]), 10, ("A", SESSIONS[0], SESSIONS[7]))
    assert (found["expected_sessions"], found["sessions"], found["unexpected_sessions"]) == (8, 11, 3)
    assert (found["coverage"], found["missing_sessions"], found["longest_gap"]) == (1.0, 0, 0)


def test_rows_outside_the_sessions_judged_by_are_left_out() -> None:
    daily = history(wavy(30), splits={2: 2.0, 25: 2.0})
    found = symbol_profiles(daily, SESSIONS[5:20], listings(("A", date(1999, 1, 1), None))).row(0, named=True)
    assert (found["first_session"], found["last_session"]) == (SESSIONS[5], SESSIONS[19])
    assert (found["sessions"], found["coverage"], found["splits"]) == (15, 1.0, 0)


def test_listed_symbols_without_a_row_are_there_too() -> None:
    found = symbol_profiles(
        history(wavy(10)),
        SESSIONS[:10],
        listings(("NONE", SESSIONS[4], None), ("FUTURE", SESSIONS[50], None), ("UNKNOWN", None, None)),
    )
    rows = {row["symbol"]: row for row in found.rows(named=True)}
    assert list(rows) == ["A", "FUTURE", "NONE", "UNKNOWN"]
    none, future = rows["NONE"], rows["FUTURE"]
    assert (none["expected_sessions"], none["missing_sessions"], none["longest_gap"]) == (6, 6, 6)
    assert (none["sessions"], none["coverage"], none["quality"], none["first_session"]) == (0, 0.0, 0.0, None)
    assert (none["total_return"], none["volatility"], none["last_close"]) == (None, None, None)
    assert (future["expected_sessions"], future["coverage"], future["quality"]) == (0, None, None)
    assert rows["UNKNOWN"]["expected_sessions"] == 10


@pytest.mark.parametrize(("length", "stale"), [(4, 0), (5, 5), (6, 6), (13, 13)])
def test_runs_of_equal_closes_count_from_five_on(length: int, stale: int) -> None:
    found = profile(history([*wavy(10), *[9.0] * length, *wavy(10)]))
    assert found["stale_days"] == stale
    assert found["score_staleness"] == pytest.approx(20 * (1 - stale / (20 + length)))


def test_two_runs_are_told_apart_and_symbols_do_not_run_together() -> None:
    assert profile(history([9.0] * 6 + [8.0] * 3 + [9.0] * 5))["stale_days"] == 11
    both = pl.concat([history([9.0] * 4), history([9.0] * 4, symbol="B")])
    assert symbol_profiles(both, SESSIONS[:4], listings())["stale_days"].to_list() == [0, 0]


def test_a_split_ends_a_run() -> None:
    assert profile(history([9.0] * 8, splits={4: 3.0}))["stale_days"] == 0


def test_flags_are_counted_by_code_and_by_kind_and_cost_no_points() -> None:
    plain = history(wavy(20))
    flags = ["no_trade", "no_trade,stale_price", "explained:a,explained:b", "explained:a", "", *[""] * 15]
    both = pl.concat([plain.with_columns(flags=pl.Series(flags)), history(wavy(20), symbol="B")])
    odd, even = symbol_profiles(both, SESSIONS[:20], listings()).rows(named=True)
    assert (odd["flagged_sessions"], odd["flags"]) == (4, "explained 2, no_trade 2, stale_price 1")
    assert (even["flagged_sessions"], even["flags"]) == (0, "")
    names = [name for name in SYMBOL_PROFILE_SCHEMA if "flag" not in name and name != "symbol"]
    assert [odd[name] for name in names] == [even[name] for name in names]


def test_a_volume_or_dividend_that_nobody_knows_is_neither_zero_nor_paid() -> None:
    known = history(wavy(20), dividends={5: 0.0})
    gone = pl.col("date") == SESSIONS[5]
    unknown = known.with_columns(pl.when(~gone).then(pl.col("volume", "dividend")))
    names = [name for name in SYMBOL_PROFILE_SCHEMA if name != "dollar_volume"]
    found, expected = profile(unknown), profile(known)
    assert [found[name] for name in names] == [expected[name] for name in names]
    turnover = [row["close"] * row["volume"] for row in known.filter(~gone).rows(named=True)]
    assert found["dollar_volume"] == pytest.approx(sum(turnover) / len(turnover))


def test_days_without_turnover() -> None:
    found = profile(history(wavy(20), volume=0))
    assert (found["zero_volume_days"], found["score_volume"], found["dollar_volume"]) == (20, 0.0, 0.0)
    half = pl.concat(
        [
            history(dict(list(enumerate(wavy(20)))[:10])),
            history({n: 10.0 + n for n in range(10, 20)}, volume=0),
        ]
    )
    assert profile(half)["score_volume"] == pytest.approx(7.5)


@pytest.mark.parametrize(("move", "jumps"), [(1.59, 0), (1.61, 1), (0.63, 0), (0.62, 1)])
def test_a_jump_is_a_move_by_more_than_a_factor_of_1_6(move: float, jumps: int) -> None:
    found = profile(history([10.0, 10.1, 10.0, 10.0 * move, 10.1 * move]))
    assert found["suspicious_jumps"] == jumps


def test_jumps_cost_their_share_of_a_year() -> None:
    spiked = wavy(260)
    spiked[100] *= 3  # up and down again: two jumps in 260 sessions
    found = profile(history(spiked))
    assert (found["suspicious_jumps"], found["score_jumps"]) == (2, 0.0)
    step = [price * (3 if n >= 100 else 1) for n, price in enumerate(wavy(284))]
    one = profile(history(step))
    assert one["suspicious_jumps"] == 1
    assert one["score_jumps"] == pytest.approx(15 * (1 - 252 / 284))
    assert profile(history(spiked), 260, ("A", None, None))["quality"] == pytest.approx(85)


def test_a_split_that_the_prices_do_not_show_is_a_jump() -> None:
    assert profile(history([10.0, 10.1, 10.2, 10.1], splits={2: 2.0}))["suspicious_jumps"] == 1


def test_actions_without_a_bar_belong_to_the_next_one() -> None:
    # Suspended over a 10:1 and, after it, a dividend of 1 a new share: 100 -> 9 with 1 in cash is no move.
    daily = history({0: 99.0, 1: 100.0, 2: None, 3: None, 4: 9.0}, splits={2: 10.0}, dividends={3: 1.0})
    found = profile(daily)
    assert (found["suspicious_jumps"], found["sessions"], found["splits"], found["dividends"]) == (0, 3, 1, 1)
    assert found["total_return"] == pytest.approx(100 / 99 - 1)


def test_a_dividend_no_smaller_than_the_close_leaves_returns_undefined() -> None:
    found = profile(history([10.0, 10.1, 10.2, 10.1], dividends={2: 10.1}))
    assert (found["total_return"], found["annualised_return"], found["volatility"]) == (None, None, None)
    assert found["suspicious_jumps"] == 1


def test_a_dividend_before_the_first_bar_earns_nobody_anything() -> None:
    for daily in (
        history({0: None, 1: 10.0, 2: 11.0}, dividends={0: 3.0}),
        history({0: 10.0, 1: 11.0}, dividends={0: 3.0}),
    ):
        assert profile(daily)["total_return"] == pytest.approx(0.1)


def test_returns_are_annualised_from_a_year_on() -> None:
    days = [date(2020, 1, 1), date(2020, 12, 31), date(2022, 1, 1)]
    for last, expected in ((days[1], 1.21 ** (365.25 / 365) - 1), (days[2], 1.21 ** (365.25 / 731) - 1)):
        daily = history([10.0, 12.1]).with_columns(date=pl.Series([days[0], last]))
        found = symbol_profiles(daily, days, listings()).row(0, named=True)
        assert found["annualised_return"] == pytest.approx(expected)
    short = history([10.0, 12.1]).with_columns(date=pl.Series([days[0], date(2020, 12, 30)]))
    assert symbol_profiles(short, [*days, date(2020, 12, 30)], listings())["annualised_return"].to_list() == [
        None
    ]


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(ValueError, match="sessions, got none"):
        symbol_profiles(history([1.0]), [], listings())
    with pytest.raises(ValueError, match="listed more than once: B"):
        symbol_profiles(
            history([1.0]), SESSIONS, listings(("B", None, None), ("A", None, None), ("B", None, None))
        )
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="dividend"):
        symbol_profiles(history([1.0]).drop("dividend"), SESSIONS, listings())


def test_nothing_at_all_gives_an_empty_frame_of_the_same_schema() -> None:
    found = symbol_profiles(pl.DataFrame(schema=DAILY), SESSIONS, listings())
    assert found.is_empty()
    assert found.schema == SYMBOL_PROFILE_SCHEMA


# --- exchanges


def cells(*rows: tuple[int, str | None, int | None, int | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [(SESSIONS[at], state, count, size) for at, state, count, size in rows],
        schema={"date": pl.Date, "state": pl.String, "rows": pl.Int64, "bytes": pl.Int64},
        orient="row",
    )


def test_an_exchange_is_inventoried() -> None:
    daily = pl.concat(
        [
            history(wavy(10)),
            history({0: 9.0, 9: 9.1}, symbol="HOLES"),
            history({n: 9.0 + n / 10 for n in range(2, 10)}, symbol="B"),
        ]
    )
    profiles = symbol_profiles(
        daily, SESSIONS[:10], listings(("NONE", None, None), ("LATER", SESSIONS[20], None))
    )
    found = exchange_profile(
        profiles,
        cells(
            (0, "complete", 3, 900),
            (1, "complete", 3, 800),
            (2, "closed", None, None),
            (3, "partial", 2, 700),
            (4, "failed", 0, 0),
        ),
    )
    assert found.schema == EXCHANGE_PROFILE_SCHEMA
    assert found.row(0, named=True) == {
        "symbols": 5,
        "symbols_without_bars": 2,
        "sessions": 4,
        "cells_complete": 2,
        "cells_partial": 1,
        "cells_closed": 1,
        "cells_failed": 1,
        "rows": 8,
        "bytes": 2400,
        "first_session": SESSIONS[0],
        "last_session": SESSIONS[9],
        "last_complete_session": SESSIONS[1],
        "quality": pytest.approx((100 + 100 + (10 + 20 + 15 + 15) + 0) / 4),
        "worst_symbols": ["NONE", "HOLES"],
    }


def test_no_more_than_five_symbols_are_the_worst() -> None:
    listed = listings(*((f"S{n}", None, None) for n in range(9)))
    found = exchange_profile(symbol_profiles(history([1.0]), SESSIONS[:1], listed), cells())
    assert found["worst_symbols"].to_list() == [["S0", "S1", "S2", "S3", "S4"]]
    assert found["last_complete_session"].to_list() == [None]


def test_an_exchange_of_nothing() -> None:
    empty = symbol_profiles(pl.DataFrame(schema=DAILY), SESSIONS, listings())
    found = exchange_profile(empty, cells())
    assert found.schema == EXCHANGE_PROFILE_SCHEMA
    assert found.row(0)[:9] == (0,) * 9
    assert (found["quality"].to_list(), found["worst_symbols"].to_list()) == ([None], [[]])


@pytest.mark.parametrize("state", ["done", None])
def test_an_unknown_cell_state_is_refused(state: str | None) -> None:
    with pytest.raises(ValueError, match=r"a cell is complete, partial, closed, failed; got"):
        exchange_profile(symbol_profiles(history([1.0]), SESSIONS, listings()), cells((0, state, 1, 1)))
