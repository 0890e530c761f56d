"""What a thin market looks like is stored as served and flagged; only a step of rounding is undone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.market.bars import DAILY_SCHEMA, PRICES, VALUES
from quant_assets.market.flags import codes
from quant_assets.market.oddities import STALE_RUN, widened, with_oddities
from quant_assets.market.precision import shortest_float32
from quant_assets.market.validation import validate

DAY = date(2024, 3, 1)
OUTSIDE = {"open_outside_range", "close_outside_range"}


def bar(day: int = 0, **values: Any) -> dict[str, Any]:
    return {
        "symbol": "A.L", "date": DAY + timedelta(days=day),
        "open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 100,
        "dividend": 0.0, "split_ratio": 1.0, "currency": "GBp", "flags": "",
        "fetched_at": datetime(2024, 3, 15, 22, tzinfo=UTC), **values,
    }  # fmt: skip


def frame(*bars: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(bars), schema=DAILY_SCHEMA)


def flags_of(*bars: dict[str, Any]) -> list[str]:
    return with_oddities(frame(*bars))["flags"].to_list()


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({}, ""),
        ({"open": 9.0, "close": 12.0}, ""),
        ({"open": 12.5}, "open_outside_range"),
        ({"open": 8.5}, "open_outside_range"),
        ({"close": 12.01}, "close_outside_range"),
        ({"close": 8.99}, "close_outside_range"),
        ({"open": 8.0, "close": 13.0, "volume": 0}, "close_outside_range,no_trade,open_outside_range"),
        ({"volume": 0}, "no_trade"),
        ({"volume": None}, "volume_unknown"),
        ({"dividend": None}, "dividend_held"),
        ({"volume": 0, "flags": "explained:x,settled_by_person"}, "explained:x,no_trade,settled_by_person"),
        ({"volume": 0, "flags": "no_trade"}, "no_trade"),
        ({**dict.fromkeys(PRICES), "volume": 0, "dividend": 0.5}, ""),
        ({**dict.fromkeys(PRICES), "volume": 0, "dividend": None}, "dividend_held"),
    ],
)
def test_what_is_odd_is_flagged_and_stored_as_served(values: dict[str, Any], flags: str) -> None:
    rows = frame(bar(), bar(1, **values))
    flagged = with_oddities(rows)
    assert flagged["flags"].to_list() == ["", flags]
    assert_frame_equal(flagged.drop("flags"), rows.drop("flags"))
    good, refused = validate(flagged)
    assert (good.height, refused.height) == (2, 0)


def test_rows_without_anything_odd_are_handed_back_as_they_are() -> None:
    rows = frame(bar(), bar(1, flags="explained:x"))
    assert with_oddities(rows) is rows


@given(st.floats(0.0002, 90_000.0), st.sampled_from(["open", "close"]), st.booleans(), st.integers(1, 40))
def test_a_bound_one_step_of_float32_short_is_widened_and_one_that_is_far_short_is_not(
    price: float, name: str, below: bool, steps: int
) -> None:
    served = np.float32(price)
    moved = served
    for _ in range(steps):
        moved = np.nextafter(moved, np.float32(0 if below else np.inf), dtype=np.float32)
    bound, beyond = (
        float(shortest_float32(np.array([value], dtype=np.float64))[0]) for value in (served, moved)
    )
    values: dict[str, Any] = {**dict.fromkeys(PRICES, bound), name: beyond}
    (found,) = with_oddities(frame(bar(**values))).rows(named=True)
    if steps == 1:
        assert found["flags"] == "rounding"
        assert (found["low"], found["high"]) == tuple(sorted((bound, beyond)))
    elif steps > 6:
        assert found["flags"] == f"{name}_outside_range"
        assert (found["low"], found["high"]) == (bound, bound)
    assert {found["open"], found["close"]} == {bound, beyond}


def test_a_close_a_step_beyond_the_high_is_rounding_though_the_open_is_far_outside() -> None:
    row = bar(high=10.55, close=10.550001, open=13.0)
    (found,) = with_oddities(frame(row)).rows(named=True)
    assert (found["high"], found["low"], found["flags"]) == (10.550001, 9.0, "open_outside_range,rounding")


@pytest.mark.parametrize(("beyond", "flags"), [(1.0, "rounding"), (1.01, "open_outside_range")])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_is_a_part_of_the_price_in_two_to_the_twenty_second(
    sign: int, beyond: float, flags: str
) -> None:
    price = 2.0**22
    values: dict[str, Any] = {**dict.fromkeys(PRICES, price - sign * beyond), "open": price}
    assert flags_of(bar(**values)) == [flags]


def test_a_price_is_stale_from_the_fifth_equal_close_without_a_trade_on() -> None:
    quiet = [bar(n, volume=0) for n in range(7)]
    stale = ["no_trade"] * (STALE_RUN - 1) + ["no_trade,stale_price"] * 3
    assert flags_of(*quiet) == stale
    # A trade, another close, a split, or a session without a bar begins a run anew.
    for broken in ({"volume": 1}, {"close": 11.5, "volume": 0}, {"split_ratio": 2.0, "volume": 0}):
        again = [*quiet[:3], bar(3, **broken), *quiet[4:]]
        assert not any("stale_price" in flags for flags in flags_of(*again)), broken
    action = bar(3, **dict.fromkeys(PRICES), volume=0, dividend=0.1)
    assert flags_of(*quiet[:3], action, *quiet[4:])[3] == ""


@st.composite
def histories(draw: st.DrawFn) -> pl.DataFrame:
    """Bars on a coarse grid of prices, so that equal and crossing ones are common."""
    price = st.sampled_from([9.0, 9.5, 10.0, 10.000001])
    bars = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "bar": st.booleans() | st.just(True), "open": price, "close": price, "high": price, "low": price,
                    "volume": st.sampled_from([0, 0, 0, 5, None]), "dividend": st.sampled_from([0.0, 0.0, None]),
                }
            ),
            max_size=12,
        )
    )  # fmt: skip
    rows = []
    for n, drawn in enumerate(bars):
        there = drawn.pop("bar")
        rows.append(bar(n, **(drawn if there else {**drawn, **dict.fromkeys(PRICES), "volume": 0})))
    return frame(*rows)


@given(histories())
def test_every_row_is_flagged_by_its_values_and_keeps_them_but_for_rounding(rows: pl.DataFrame) -> None:
    flagged = with_oddities(rows)
    for before, after in zip(rows.iter_rows(named=True), flagged.iter_rows(named=True), strict=True):
        found = set(codes(after["flags"]))
        assert after["flags"] == ",".join(sorted(found))
        kept = [name for name in VALUES if name not in ("high", "low") or "rounding" not in found]
        assert [before[name] for name in kept] == [after[name] for name in kept]
        if after["close"] is None:
            assert found <= {"dividend_held"}
            continue
        assert after["high"] >= before["high"]
        assert after["low"] <= before["low"]
        for name in ("open", "close"):
            outside = not after["low"] <= after[name] <= after["high"]
            assert (f"{name}_outside_range" in found) is outside
        assert ("no_trade" in found) is (after["volume"] == 0)
        assert ("volume_unknown" in found) is (after["volume"] is None)
        assert ("dividend_held" in found) is (after["dividend"] is None)
        assert "stale_price" not in found or "no_trade" in found


@given(histories(), st.integers(0, 12))
def test_flags_depend_on_nothing_that_comes_later_and_finding_them_again_changes_nothing(
    rows: pl.DataFrame, upto: int
) -> None:
    flagged = with_oddities(rows)
    assert_frame_equal(with_oddities(rows.head(upto)), flagged.head(upto))
    # Once high and low are widened by a step, nothing tells that they were; all else is found again.
    again = with_oddities(flagged)
    assert_frame_equal(again, flagged)


@given(histories())
def test_a_widened_envelope_holds_open_and_close_and_is_as_narrow_as_that(rows: pl.DataFrame) -> None:
    wide = rows.with_columns(widened())
    assert wide.columns == rows.columns
    for before, after in zip(rows.iter_rows(named=True), wide.iter_rows(named=True), strict=True):
        if before["close"] is None:
            assert after == before
            continue
        ends = [before["open"], before["close"]]
        assert after["high"] == max(before["high"], *ends)
        assert after["low"] == min(before["low"], *ends)


def thin_market(
    sessions: int = 665, outside: float = 0.45, quiet: float = 0.99, seed: int = 1
) -> pl.DataFrame:
    """A symbol that trades like the thinnest of London's: mid prices outside the range, hardly a day with a trade."""
    random = np.random.default_rng(seed)
    close = np.round(150 + np.cumsum(random.normal(0, 0.3, sessions)), 2)
    open_ = np.round(close + random.normal(0, 0.4, sessions), 2)
    high = np.round(np.maximum(open_, close) + random.uniform(0, 0.2, sessions), 2)
    low = np.round(np.minimum(open_, close) - random.uniform(0, 0.2, sessions), 2)
    off = random.random(sessions) < outside
    middle = np.round((high + low) / 2, 2)
    high, low = np.where(off, middle, high), np.where(off, middle, low)
    rows = [
        bar(n, open=float(o), high=float(h), low=float(lo), close=float(c), volume=int(v))
        for n, (o, h, lo, c, v) in enumerate(
            zip(open_, high, low, close, np.where(random.random(sessions) < quiet, 0, 500), strict=True)
        )
    ]
    return frame(*rows)


def test_a_thin_market_is_stored_whole() -> None:
    rows = thin_market()
    good, refused = validate(with_oddities(rows))
    assert refused.is_empty()
    assert_frame_equal(good.select(PRICES), rows.select(PRICES))
    off = good.filter(pl.col("flags").str.contains("outside_range")).height
    assert 0.35 * rows.height < off < 0.5 * rows.height
    assert (
        good.filter(pl.col("flags").str.contains("no_trade")).height
        == rows.filter(pl.col("volume") == 0).height
    )


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"open": -1.0}, "open is not positive"),
        ({"low": 0.0}, "low is not positive"),
        ({"close": None}, "some prices are missing"),
        ({"high": 8.0}, "high is below low"),
        ({"volume": -5}, "volume is negative"),
    ],
)
def test_what_the_evidence_contradicts_is_refused(values: dict[str, Any], rule: str) -> None:
    good, refused = validate(with_oddities(frame(bar(), bar(1, **values))))
    assert good.height == 1
    assert rule in refused["rule"].item()
