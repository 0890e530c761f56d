"""What served numbers vouch for, against exact arithmetic, and what comes back of every price that was traded."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from quant_assets.market.precision import (
    formerly_rounded,
    other_dividend,
    other_price,
    other_volume,
    price_times,
    recovered,
    recovered_dividends,
    recovered_volume,
    rounded_to_zero,
    shortest_float32,
)

FORWARD = (1.05, 1.1, 1.25, 1.5, 1.998, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 28.0, 50.0, 56.0, 112.0)
REVERSE = (1 / 2, 1 / 3, 0.25, 0.2, 0.1, 1 / 15, 0.05, 0.02, 0.01, 1 / 250, 1 / 1000)
SCALES = (1.0, *FORWARD, *REVERSE)
scales = st.sampled_from(SCALES)
"""S(t) of usual splits and of several."""


def serve(prices: np.ndarray, scale: float) -> np.ndarray:
    return (prices / scale).astype(np.float32).astype(np.float64)


def serve_rounded(prices: np.ndarray, scale: float) -> np.ndarray:
    return serve(np.round(prices / scale, 6), 1.0)


def back(served: np.ndarray, scale: float) -> np.ndarray:
    (found,) = recovered(served.reshape(1, -1), np.full(len(served), scale))
    return found


def round_trip(price: float, scale: float) -> float:
    return float(back(serve(np.array([price]), scale), scale)[0])


def exactly_back(prices: np.ndarray, scale: float) -> np.ndarray:
    """A round trip of prices through a source that rounds nothing, as the closes beside them show."""
    closes = serve(np.linspace(0.1, 0.9, len(prices)) * math.pi, 1.0)
    found, _ = recovered(np.stack([serve(prices, scale), closes]), np.full(len(prices), scale))
    return found


def decimals(value: float) -> int:
    return max(0, -int(Decimal(repr(value)).normalize().as_tuple().exponent))


# --- float32 prices

prices32 = st.floats(min_value=2.0**-13, max_value=1e6, width=32)


@given(st.lists(prices32, min_size=1, max_size=50))
def test_a_cleaned_price_is_the_shortest_decimal_with_the_same_float32(values: list[float]) -> None:
    cleaned = shortest_float32(np.array(values))
    for value, clean in zip(values, cleaned.tolist(), strict=True):
        assert np.float32(clean) == np.float32(value)
        if decimals(clean):
            shorter = round(Decimal(value), decimals(clean) - 1)
            assert np.float32(float(shorter)) != np.float32(value)
        # numpy's printer finds the shortest digits by another way.
        assert clean == float(np.format_float_positional(np.float32(value), unique=True))


@given(st.floats(width=32))
@example(float(np.float32(1e-42)))
@example(2.0**-149)
def test_cleaning_loses_nothing_of_any_float32(value: float) -> None:
    (cleaned,) = shortest_float32(np.array([value])).astype(np.float32).tolist()
    assert cleaned == value or (np.isnan(cleaned) and np.isnan(value))


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_a_value_that_was_never_a_float32_is_kept(value: float) -> None:
    with np.errstate(over="ignore"):
        narrow = float(np.float32(value))
        (cleaned,) = shortest_float32(np.array([value])).tolist()
    assert cleaned == value or abs(narrow - value) <= 1e-14 * abs(value)


@pytest.mark.parametrize(
    ("served", "meant"),
    [
        (189.3300018310547, 189.33),
        (1.37000000476837, 1.37),  # fifteen digits of the same, as some answers write it
        (0.1 + 0.2, 0.1 + 0.2),
        (float(np.float32(1.23456789e-5)), 1.2345679e-5),
        (-0.1500000059604645, -0.15),
    ],
)
def test_known_prices_come_out_as_they_were_quoted(served: float, meant: float) -> None:
    assert shortest_float32(np.array([served])).tolist() == [meant]


def test_cleaning_keeps_the_shape_and_its_argument() -> None:
    values = np.array([[1.100000023841858, np.nan], [2.0, 3.299999952316284]])
    before = values.copy()
    np.testing.assert_array_equal(shortest_float32(values), [[1.1, np.nan], [2.0, 3.3]])
    np.testing.assert_array_equal(values, before)


# --- prices that a split has rescaled


def interval(served: float, scale: float) -> tuple[Fraction, Fraction]:
    """What a float32 times S vouches for, exactly."""
    narrow = np.float32(served)
    beside = [float(np.nextafter(narrow, np.float32(side))) for side in (0.0, np.inf)]
    return tuple((Fraction(served) + Fraction(one)) / 2 * Fraction(scale) for one in beside)  # type: ignore[return-value]


@given(st.floats(min_value=2.0**-20, max_value=2.0**20, width=32), scales.filter(lambda s: s != 1.0))
@settings(max_examples=200)
@example(8.0, 1 / 3)
@example(0.5, 1.998)
@example(2.0**-20, 1.1)
def test_what_is_recovered_is_the_shortest_decimal_in_the_interval(served: float, scale: float) -> None:
    (found,) = back(np.array([served]), scale).tolist()
    low, high = interval(served, scale)
    slack = (high - low) / 10**5
    low, high = low - slack, high + slack
    exact = Fraction(Decimal(repr(found)))
    assert low <= exact <= high
    count = decimals(found)
    if count:
        unit = Fraction(1, 10 ** (count - 1))
        shorter = math.ceil((low + 2 * slack) / unit) * unit
        assert shorter > high - 2 * slack, f"{float(shorter)} is shorter"
    # Of several the nearest to the middle, or a binary fraction. Above a power of two the nearest may be too low.
    middle, unit = Fraction(served) * Fraction(scale), Fraction(1, 10**count)
    fraction = (exact * 2**count).denominator == 1
    nearest = abs(exact - middle) <= unit / 2 + slack
    assert fraction or nearest or exact - unit < low + 2 * slack


UP_TO = {2: 83_000, 3: 8_300, 4: 830, 5: 83}
"""Below these prices no two decimals of so many places lie in one interval."""
traded = st.sampled_from(sorted(UP_TO)).flatmap(
    lambda places: st.integers(1, UP_TO[places] * 10**places).map(lambda n: n / 10**places)
)


@given(traded, scales)
@settings(max_examples=300)
@example(0.000123, 1 / 50)
@example(0.000123, 50.0)
@example(24.94985, 2.0)
@example(0.00001, 112.0)
def test_every_traded_price_comes_back_exactly(price: float, scale: float) -> None:
    assert round_trip(price, scale) == price


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("places", "top"), UP_TO.items())
def test_thousands_of_traded_prices_come_back_exactly(places: int, top: int, scale: float) -> None:
    random = np.random.default_rng(places)
    prices = np.round(np.exp(random.uniform(np.log(2 * 10.0**-places), np.log(top), 3_000)), places)
    np.testing.assert_array_equal(exactly_back(prices, scale), prices)


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0, 7.0, 10.0, 112.0, 0.1])
@pytest.mark.parametrize("parts", [8, 16, 32])
def test_quotes_in_fractions_come_back_exactly(parts: int, scale: float) -> None:
    prices = np.arange(1, 400 * parts, 7) / parts
    np.testing.assert_array_equal(exactly_back(prices, scale), prices)


def test_a_price_beyond_any_precision_stays_what_it_is() -> None:
    for served, scale in (
        (1e-30, 7.0),
        (float(np.float32(3e30)), 7.0),
        (0.0, 7.0),
        (np.nan, 7.0),
        (np.inf, 7.0),
    ):
        (found,) = back(np.array([served]), scale).tolist()
        assert found == pytest.approx(served * scale, rel=1e-6, nan_ok=True)
    assert back(np.array([-1.5, 1.5]), 3.0).tolist() == [-4.5, 4.5]


# --- prices that the source had rounded to six decimals


@pytest.mark.parametrize(
    ("recorded", "scale", "traded"),
    [
        # AAPL from 1980-12-12, served in 2022 and 2023; TSLA from 2010-06-29.
        ([0.1283479928970337, 0.12165199965238571, 0.11272300034761429], 224.0, [28.75, 27.25, 25.25]),
        ([1.5926669836044312, 1.5886670351028442, 1.4639999866485596, 1.2799999713897705], 15.0,
         [23.89, 23.83, 21.96, 19.2]),
        # AAPL, served in 2020: not rounded.
        ([0.1283482164144516, 0.1222098246216774, 0.11328125, 0.1155133917927742], 224.0,
         [28.75, 27.375, 25.375, 25.875]),
    ],
)  # fmt: skip
def test_recorded_prices_come_out_as_they_were_quoted(
    recorded: list[float], scale: float, traded: list[float]
) -> None:
    served = np.array(recorded)
    if scale == 15.0:
        # At this size one price on the grid is no evidence yet; the answer has more of them.
        more = serve_rounded(np.round(np.linspace(18, 24, 40), 2), scale)
        served = np.append(more, served)
    assert back(served, scale)[-len(traded) :].tolist() == traded


@pytest.mark.parametrize("scale", [3.0, 7.0, 15.0, 28.0, 112.0, 224.0, 288.0])
@pytest.mark.parametrize("rounded", [True, False])
def test_cents_come_back_whether_the_source_rounds_or_not(scale: float, rounded: bool) -> None:
    random = np.random.default_rng(int(scale))
    closes = np.round(60 * np.exp(np.cumsum(random.normal(0, 0.015, 1_000))), 2).clip(1.0)
    prices = np.round(np.stack([closes * 1.01, closes * 1.02, closes * 0.98, closes]), 2)
    served = (serve_rounded if rounded else serve)(prices, scale)
    np.testing.assert_array_equal(recovered(served, np.full(1_000, scale)), prices)


@pytest.mark.parametrize(("closes", "opened"), [(6, 3.699999), (7, 3.7)])
def test_seven_closes_of_a_dollar_and_six_decimals_show_that_the_source_rounds(
    closes: int, opened: float
) -> None:
    """One of them counts 2.1, as a logarithm of odds, of the 14 that are asked for; 1.233333 is a third of 3.7."""
    opens = [1.233333, *[1.5] * (closes - 1)]
    served = np.array([opens, [1.1 + n / 20 for n in range(closes)]]).astype(np.float32).astype(np.float64)
    assert recovered(served, np.full(closes, 3.0))[0][0] == opened


def test_closes_below_a_dollar_show_that_the_source_rounds() -> None:
    prices = np.array([0.51, 2.1, 1.57, 0.99, 1.46])
    assert back(serve_rounded(prices, 3.0), 3.0).tolist() == prices.tolist()


def test_prices_that_are_shorter_if_rounded_show_it_and_those_of_more_than_three_decimals_do_not() -> None:
    """From 8 on every float32 has six decimals; of 112 shares a cent comes with a fourth decimal if not rounded."""
    cents = np.round(np.linspace(899.0, 1254.0, 60), 2)
    assert back(serve_rounded(cents, 112.0), 112.0).tolist() == cents.tolist()
    fine = np.round(np.linspace(80.12345, 155.98767, 40), 5)
    assert back(serve(fine, 10.0), 10.0).tolist() == fine.tolist()


def test_one_answer_may_hold_rescaled_prices_and_others() -> None:
    prices = np.array([[20.01, 20.02, 10.01, 10.02]])
    scale = np.array([3.0, 3.0, 1.0, 1.0])
    np.testing.assert_array_equal(recovered((prices / scale).astype(np.float32).astype(float), scale), prices)


# --- dividends


@given(
    st.integers(1, 10**6).map(lambda n: n / 10**5), scales, st.sampled_from(["exact", "rounded", "float32"])
)
@settings(max_examples=150)
@example(0.12, 224.0, "rounded")
@example(2.65, 28.0, "rounded")
@example(2.65, 28.0, "exact")
def test_a_declared_dividend_comes_back(amount: float, scale: float, how: str) -> None:
    served = amount / scale
    if how == "rounded":
        # Half a millionth, times S, is what the source has thrown away.
        amount = round(amount, 2) + 0.01
        served = round(amount / scale, 6)
        if scale > 1_000:
            return
    if how == "float32":
        served = float(np.float32(served))
    # Six decimals or fewer are taken for rounded ones.
    assume(how == "rounded" or scale == 1.0 or abs(served - round(served, 6)) > 1e-12)
    (found,) = recovered_dividends(np.array([served]), np.array([scale])).tolist()
    assert found == pytest.approx(amount, rel=1e-15)


@pytest.mark.parametrize(
    ("served", "scale", "declared"),
    [
        # Half a step of a float32 and no more; half a millionth, times S, and no more.
        (float(np.float32(1 / 3)), 1.0, 0.33333334), (0.123456, 2.0, 0.246912), (0.123455, 2.0, 0.24691),
    ],
)  # fmt: skip
def test_a_dividend_is_no_shorter_than_what_was_served(served: float, scale: float, declared: float) -> None:
    assert recovered_dividends(np.array([served]), np.array([scale])).tolist() == [declared]


def test_dividends_served_as_they_were_declared_are_kept() -> None:
    amounts = [0.24, 0.23999999463558197, 0.285714, 0.123456789, 0.0, -0.5]
    found = recovered_dividends(np.array(amounts), np.ones(len(amounts))).tolist()
    assert found == [0.24, 0.24, 0.285714, 0.123456789, 0.0, -0.5]


# --- the same value


def looks(
    name: str, old: float | None, new: float | None, scales: tuple[float, float, float]
) -> pl.DataFrame:
    """One joined row; `scales`: S of the new look, the least and the most that it may have been at the old one."""
    values = {
        name: old,
        f"{name}_new": new,
        **dict(zip(("scale", "scale_old", "scale_most"), scales, strict=True)),
    }
    return pl.DataFrame(
        {key: [value] for key, value in values.items()}, schema=dict.fromkeys(values, pl.Float64)
    )


def between(old: float, later: float) -> tuple[float, float, float]:
    """The S of a row that was seen at `old` and is seen again after a split of `later`."""
    return old * later, min(old * later, old, 1.0), max(old * later, old, 1.0)


any_price = st.integers(1, 10**8).map(lambda n: n / 10**5) | st.integers(1, 10**8).map(lambda n: n / 100)


@given(any_price, scales, scales)
@settings(max_examples=200)
def test_a_price_seen_before_and_after_a_split_is_the_same(price: float, old: float, later: float) -> None:
    found = looks("close", round_trip(price, old), round_trip(price, old * later), between(old, later))
    assert found.select(other_price("close")).item() is False


@given(any_price, scales, scales.filter(lambda s: s != 1.0))
@settings(max_examples=300)
def test_a_price_that_is_rounded_at_the_second_look_is_the_same(
    price: float, old: float, later: float
) -> None:
    if old * later * 1e-6 > 0.5 * 10.0 ** -decimals(price):
        return  # then it is a tick and more that the source has thrown away
    second = float(back(serve_rounded(np.array([price]), old * later), old * later)[0])
    found = looks("close", round_trip(price, old), second, between(old, later))
    assert found.select(other_price("close")).item() is False


@given(st.sampled_from(sorted(UP_TO)), st.data(), scales, scales)
@settings(max_examples=200)
def test_a_tick_is_another_price_wherever_two_looks_can_show_it(
    places: int, data: st.DataObject, old: float, later: float
) -> None:
    # The old look's interval counts whole, the new one's half, and so may what the source rounds.
    number = data.draw(st.integers(1, UP_TO[places] * 10**places // 2))
    price, other = number / 10**places, (number + 1) / 10**places
    scale = old * later
    if scale * 1e-6 > 0.2 * 10.0**-places:
        return
    found = looks("close", round_trip(price, old), round_trip(other, scale), between(old, later))
    assert found.select(other_price("close")).item() is True


@pytest.mark.parametrize(
    ("old", "new"), [(80_000.01, 80_000.02), (0.000123, 0.000124), (24.94985, 24.94986), (1.0, 1.000001)]
)
def test_of_a_price_that_was_never_rescaled_a_float32_step_is_no_other_price(old: float, new: float) -> None:
    never = (1.0, 1.0, 1.0)
    assert looks("close", old, new, never).select(other_price("close")).item() is True
    step = float(np.nextafter(np.float32(old), np.float32(np.inf)))
    assert looks("close", float(np.float32(old)), step, never).select(other_price("close")).item() is False


# --- volumes


@pytest.mark.parametrize(
    ("served", "scale", "moved", "traded"),
    [
        (0, 1 / 1_000_000, False, None),  # 279,293 shares once
        (0, 0.1, True, None),
        (0, 0.1, False, 0),  # fewer than five shares cannot have moved a price that did not move
        (0, 0.005, False, None),
        (9, 0.1, True, None),
        (10, 0.1, True, 100),
        (1, 0.5, True, 2),  # a share more or less
        (0, 0.5, True, 0),
        (3, 4.0, True, 1),
        (0, 4.0, True, 0),
        (123_456, 0.001, True, 123_456_000),
        (None, 0.001, True, None),
    ],
)
def test_a_volume_of_which_nothing_is_left_is_unknown(
    served: int | None, scale: float, moved: bool, traded: int | None
) -> None:
    bar = pl.DataFrame({"volume": [served], "high": [10.1 if moved else 10.0], "low": [10.0]})
    found = recovered_volume(bar.with_columns(pl.col("volume").cast(pl.Int64)), np.array([scale]))
    assert found.to_list() == [traded]
    assert found.dtype == pl.Int64


@given(st.integers(0, 10**10), scales)
def test_a_recovered_volume_is_off_by_a_share_or_by_a_twentieth_at_most(volume: int, scale: float) -> None:
    bar = pl.DataFrame({"volume": [round(volume * scale)], "high": [10.1], "low": [10.0]})
    (found,) = recovered_volume(bar, np.array([scale])).to_list()
    assert found is None or abs(found - volume) <= max(2, 0.0501 * volume)
    if found is None:
        assert volume * scale < 10


@pytest.mark.parametrize(
    ("old", "new", "scale", "other"),
    [
        (1_000_004, 1_000_000, 0.1, False),
        (1_000_020, 1_000_000, 0.1, True),
        (1_000_004, 1_000_000, 1.0, True),
        (100, 101, 4.0, True),
    ],
)
def test_a_volume_may_differ_by_what_is_lost_in_todays_shares(
    old: int, new: int, scale: float, other: bool
) -> None:
    assert looks("volume", old, new, (scale, scale, 1.0)).select(other_volume()).item() is other


@pytest.mark.parametrize(
    ("volume", "close", "seen", "rounded"),
    [
        (0, 10.0, 1e-6, True),
        (0, 10.0, 1.0, False),  # seen before the split: nobody traded
        (0, 10.0, 0.5, False),
        (0, 10.0, 0.1, False),  # and hardly anybody
        (7, 10.0, 1e-6, False),
        (None, 10.0, 1e-6, False),
        (0, None, 1e-6, False),  # an action without a bar
    ],
)
def test_a_zero_that_a_reverse_split_has_left_is_none(
    volume: int | None, close: float | None, seen: float, rounded: bool
) -> None:
    values = {"high": close, "low": close, "close": close, "volume": volume, "scale_seen": seen}
    row = pl.DataFrame({name: [v] for name, v in values.items()}, schema=dict.fromkeys(values, pl.Float64))
    assert row.select(rounded_to_zero()).item() is rounded


@pytest.mark.parametrize(
    ("old", "new", "scale", "other"),
    [(0.2857, 0.285714, 1.0, True), (0.2857, 0.2857005, 1.0, False), (0.12, 0.1201, 224.0, False),
     (0.12, 0.13, 224.0, True), (0.5, 0.5000009, 1.0, False), (0.5, 0.5000005, 0.1, False),
     (0.5, 0.5000014, 0.1, True)],
)  # fmt: skip
def test_a_dividend_is_another_one_from_its_sixth_served_decimal_on(
    old: float, new: float, scale: float, other: bool
) -> None:
    assert looks("dividend", old, new, (scale, 1.0, scale)).select(other_dividend()).item() is other


# --- a ratio of two prices


@pytest.mark.parametrize(
    ("old", "new", "ratio", "holds"),
    [
        (100.0, 50.0, 0.5, True),
        (100.0, 50.02, 0.5, False),
        (0.0255, 0.051, 2.0, True),
        # Half a tick of the new price and half of one of the old, halved.
        (0.02, 0.01007, 0.5, True),
        (0.02, 0.01009, 0.5, False),
        (0.0001, 0.0002, 1.0, False),  # a penny stock's tick is a ratio of its own
        (0.000123, 0.000246, 2.0, True),
        (0.000123, 0.00026, 2.0, False),
    ],
)
def test_a_ratio_of_two_prices_is_judged_by_what_they_can_tell(
    old: float, new: float, ratio: float, holds: bool
) -> None:
    assert looks("close", old, new, (1.0, 1.0, 1.0)).select(price_times(ratio)).item() is holds


# --- what earlier versions stored


@pytest.mark.parametrize(
    ("old", "new", "scale", "rounded"),
    [
        (0.0001, 0.000123, 0.02, True),
        (24.9499, 24.94985, 2.0, True),
        (24.9498, 24.94985, 2.0, True),
        (24.9499, 24.94975, 2.0, False),
        (24.9499, 24.94985, 1.0, False),  # what was not rescaled was never rounded
        (900.123, 900.12345, 2.0, True),
        (24.94985, 24.9499, 2.0, False),
        (80_000.1, 80_000.123, 2.0, True),
        (80_000.12, 80_000.123, 2.0, False),
        (8_000.12, 8_000.123, 2.0, True),
        (800_001.0, 800_001.3, 2.0, True),
        (800_001.3, 800_001.34, 2.0, False),
    ],
)
def test_what_an_earlier_version_rounded_is_told_from_other_values(
    old: float, new: float, scale: float, rounded: bool
) -> None:
    assert looks("close", old, new, (scale, 1.0, scale)).select(formerly_rounded("close")).item() is rounded


def test_few_prices_are_recovered_as_many_are() -> None:
    random = np.random.default_rng(5)
    served = np.round(random.uniform(0.01, 4_000, (4, 1_000)), 3).astype(np.float32).astype(float)
    # Binary powers, prices with more digits than a float32, and none at all.
    served[0, :30], served[1, :30], served[2, :30] = 2.0 ** np.arange(-15, 15), np.pi * np.arange(30), np.nan
    many = recovered(served, np.ones(1_000))
    for first in range(0, 1_000, 25):
        few = served[:, first : first + 25]
        np.testing.assert_array_equal(recovered(few, np.ones(25)), many[:, first : first + 25])
