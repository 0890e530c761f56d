"""What must hold for the profile of any history, on random ones."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quant_assets.market.profiles import SYMBOL_PROFILE_SCHEMA, WEIGHTS, symbol_profiles
from quant_assets_tests.market.test_profiles import SESSIONS, history, listings, profile


@st.composite
def histories(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    frames: list[pl.DataFrame] = []
    listed: list[tuple[str, date | None, date | None]] = []
    day = st.none() | st.sampled_from(SESSIONS[:40])
    for symbol in draw(st.lists(st.sampled_from("ABC"), unique=True, min_size=1)):
        at = st.integers(0, 39)
        closes = draw(st.dictionaries(at, st.none() | st.integers(1, 20).map(float), max_size=40))
        paid = draw(st.dictionaries(at, st.sampled_from([0.25, 0.5, 3.0]), max_size=3))
        ratios = draw(st.dictionaries(at, st.sampled_from([2.0, 0.1, 1.5]), max_size=3))
        frames.append(
            history(
                closes, dividends=paid, splits=ratios, symbol=symbol, volume=draw(st.sampled_from([0, 7]))
            )
        )
        if draw(st.booleans()):
            listed.append((symbol, draw(day), draw(day)))
    return pl.concat(frames), listings(*listed)


@settings(max_examples=60, deadline=None)
@given(histories(), st.sampled_from([0.125, 4.0, 1024.0]))
def test_counts_add_up_scores_stay_in_range_and_the_unit_of_price_does_not_matter(
    case: tuple[pl.DataFrame, pl.DataFrame], factor: float
) -> None:
    daily, listed = case
    found = symbol_profiles(daily, SESSIONS[:40], listed)
    assert found.schema == SYMBOL_PROFILE_SCHEMA
    assert set(found["symbol"]) == set(daily["symbol"]) | set(listed["symbol"])
    limits = {row[0]: row[1:] for row in listed.iter_rows()}
    for row in found.rows(named=True):
        bars = (
            daily.filter(pl.col("symbol") == row["symbol"], pl.col("close").is_not_null())["date"]
            .sort()
            .to_list()
        )
        since, until = limits.get(row["symbol"], (None, None))
        since = since or (bars[0] if bars else SESSIONS[0])
        expected = [day for day in SESSIONS[:40] if since <= day <= (until or SESSIONS[39])]
        missing = [day not in bars for day in expected]
        gaps = "".join("x" if gone else " " for gone in missing).split()
        assert row["expected_sessions"] == len(expected)
        assert row["sessions"] == len(bars)
        assert row["missing_sessions"] == sum(missing)
        assert row["unexpected_sessions"] == len(bars) - (len(expected) - sum(missing))
        assert row["longest_gap"] == max(map(len, gaps), default=0)
        assert (row["first_session"], row["last_session"]) == ((bars[0], bars[-1]) if bars else (None, None))
        if expected:
            assert row["coverage"] == pytest.approx(1 - sum(missing) / len(expected))
            assert 0 <= row["coverage"] <= 1
            for part, weight in WEIGHTS.items():
                assert 0 <= row[f"score_{part}"] <= weight
            assert 0 <= row["quality"] <= 100
        else:
            assert row["coverage"] is row["quality"] is row["score_jumps"] is None
    # Powers of two: the same closes are equal, and the same quotients come out.
    scaled = symbol_profiles(daily.with_columns(pl.col("close", "dividend") * factor), SESSIONS[:40], listed)
    in_currency = ("last_close", "dollar_volume")
    assert scaled.drop(in_currency).equals(found.drop(in_currency))
    assert scaled["last_close"].equals(found["last_close"] * factor)


@settings(max_examples=60, deadline=None)
@example(returns=[0.0, 0.1], splits={}, yields={}, absent={1, 2})
@given(
    returns=st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=40),
    splits=st.dictionaries(st.integers(1, 39), st.sampled_from([2.0, 3.0, 7.0, 1.5, 0.1, 0.02]), max_size=4),
    yields=st.dictionaries(st.integers(1, 39), st.floats(0.001, 0.9), max_size=4),
    absent=st.sets(st.integers(1, 38), max_size=5),
)
def test_no_split_or_dividend_is_ever_a_jump_and_returns_are_those_of_a_holder(
    returns: list[float], splits: dict[int, float], yields: dict[int, float], absent: set[int]
) -> None:
    """Builds as-traded prices from chosen total returns; the profile has to find just these again.

    An absent session keeps its action but has no bar and no move; between two bars there is one dividend at
    most, since Yahoo's factor takes each from the same close and is no holder's return with two.
    """
    closes: dict[int, float | None] = {0: 50.0}
    dividends: dict[int, float] = {}
    price, growth, paid = 50.0, 1.0, False
    for at, move in enumerate(returns, start=1):
        price /= splits.get(at, 1.0)
        if at in yields and not paid:
            dividends[at] = yields[at] * price
            price -= dividends[at]
            paid = True
        if at in absent:
            closes[at] = None
            continue
        price *= 1 + move
        growth *= 1 + move
        closes[at] = price
        paid = False
    found = profile(history(closes, dividends=dividends, splits=splits))
    assert found["suspicious_jumps"] == 0
    if found["sessions"] == 1:
        assert found["total_return"] is None
    else:
        assert found["total_return"] == pytest.approx(growth - 1, rel=1e-9, abs=1e-9)
