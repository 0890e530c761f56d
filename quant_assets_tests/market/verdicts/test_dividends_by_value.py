"""The bounds that a listed dividend is weighed by, on prices that stand still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.market.verdicts.answer import Answer, Kind, Series
from quant_assets.market.verdicts.dividends import Paid, implied_dividends, weigh_dividends
from quant_assets_tests.market.verdicts.served import DAYS, events, listed

COUNT, AT = 12, 6
FLAT = (100.0,) * COUNT
RISING = tuple(100.0 + n for n in range(COUNT))
CHEAP_BEFORE = (1.0,) * 4 + (100.0,) * 8
EARLIER = date(2020, 1, 2)
DIVIDEND, GAIN = "dividend", "capital_gain"
IMPLAUSIBLE, CONTRADICTED = Kind.DIVIDEND_IMPLAUSIBLE, Kind.DIVIDEND_CONTRADICTED
TWICE, LEFT_OUT = Kind.GAINS_COUNTED_TWICE, Kind.DIVIDEND_LEFT_OUT


def series(
    adjusted_by: Mapping[int, float],
    closes: Sequence[float] = FLAT,
    opens: Mapping[int, float] | None = None,
    volumes: Mapping[int, float] | None = None,
) -> Series:
    """Bars whose Adj Close is adjusted by amounts, by row; an open is the close before where nothing else is said."""
    close = np.array(closes)
    before = np.concatenate([close[:1], close[:-1]])
    steps = np.array([1.0 - adjusted_by.get(n, 0.0) / before[n] for n in range(COUNT)])
    after = np.append(np.cumprod(steps[::-1])[::-1][1:], 1.0)
    first = np.array([(opens or {}).get(n, before[n]) for n in range(COUNT)])
    volume = np.array([(volumes or {}).get(n, 1000.0) for n in range(COUNT)])
    moves = np.diff(np.log(close), prepend=np.log(close[:1]))
    days = np.array(DAYS[:COUNT], dtype="datetime64[D]")
    gaps = np.log(first / before)
    return Series(days, first, close, close, close, close * after, volume, moves, gaps, 0.01)


def weigh(
    of: Series,
    dividends: Mapping[int, float] | Sequence[tuple[int, float, str]],
    *,
    known: Mapping[date, float] | None = None,
    doubtful: Sequence[int] = (),
    currency: str = "USD",
    paid_in: str | None = None,
) -> Paid:
    rows = [(at, a, DIVIDEND) for at, a in dividends.items()] if isinstance(dividends, Mapping) else dividends
    parts = [listed([(DAYS[at], amount)], kind, paid_in) for at, amount, kind in rows]
    answer = Answer(
        "A", pl.DataFrame(), events([], "ratio"), pl.concat([listed([]), *parts]), currency=currency
    )
    return weigh_dividends(answer, of, [DAYS[at] for at in doubtful], known)


def kept(paid: Paid) -> dict[int, float]:
    return {DAYS.index(day): round(amount, 9) for day, amount in paid.dividends.rows()}


def held(paid: Paid) -> dict[int, Kind]:
    return {DAYS.index(one.day): one.kind for one in paid.held}


# --- Adj Close beside the list


@pytest.mark.parametrize(
    ("amount", "implied", "agrees"),
    [
        # A thousandth of the amount, two millionths of the price, and what its six decimals may hide.
        (1.0, 1.0012, True), (1.0, 1.00122, False), (1.0, 0.9988, True), (1.0, 0.99878, False),
        (0.1, 0.1003, True), (0.1, 0.10031, False),
    ],
)  # fmt: skip
def test_adj_close_agrees_with_an_amount_up_to_what_is_rounded(
    amount: float, implied: float, agrees: bool
) -> None:
    paid = weigh(series({AT: implied}), {AT: amount})
    assert held(paid) == ({} if agrees else {AT: CONTRADICTED})
    assert kept(paid) == ({AT: amount} if agrees else {})


@pytest.mark.parametrize("at", [4, COUNT - 1])
@pytest.mark.parametrize(("implied", "agrees"), [(0.01001, True), (0.01005, False)])
def test_an_amount_is_laid_beside_the_close_before_it(at: int, implied: float, agrees: bool) -> None:
    paid = weigh(series({at: implied}, (1.0,) * at + (100.0,) * (COUNT - at)), {at: 0.01})
    assert held(paid) == ({} if agrees else {at: CONTRADICTED})


@pytest.mark.parametrize(
    ("closes", "implied", "shows"),
    [
        (FLAT, 0.00201, False), (FLAT, 0.00203, True), ((1.0,) * COUNT, 3.9e-5, False),
        ((1.0,) * COUNT, 4.1e-5, True), (CHEAP_BEFORE, 0.00201, False), (CHEAP_BEFORE, 0.00203, True),
    ],
)  # fmt: skip
def test_a_step_of_adj_close_is_a_dividend_that_is_left_out(
    closes: Sequence[float], implied: float, shows: bool
) -> None:
    paid = weigh(series({AT: implied}, closes), {})
    assert held(paid) == ({AT: LEFT_OUT} if shows else {})


def test_what_is_left_out_is_named_by_day_and_amount_or_taken_as_stored() -> None:
    of = series({AT: 0.7}, RISING)
    (one,) = weigh(of, {}).held
    assert (one.day, one.witnesses) == (DAYS[AT], "Adj Close")
    assert one.amount == pytest.approx(0.7)
    assert one.reason == "no dividend is listed, and Adj Close is adjusted by 0.7"
    paid = weigh(of, {}, known={DAYS[AT]: 0.7001})
    assert (kept(paid), held(paid)) == ({AT: 0.7001}, {})
    assert paid.explained[0].what == "not listed; Adj Close is adjusted by the 0.7001 that are stored"
    assert held(weigh(of, {}, known={DAYS[AT]: 0.71})) == {AT: LEFT_OUT}
    assert held(weigh(of, {}, doubtful=[AT])) == held(weigh(of, {}, doubtful=[AT - 1])) == {}
    assert held(weigh(of, {}, doubtful=[AT + 1, AT - 2])) == {AT: LEFT_OUT}


def test_a_series_implies_the_amount_that_its_adj_close_was_adjusted_by() -> None:
    implied = implied_dividends(series({1: 0.5, AT: 0.7, COUNT - 1: 2.0}, RISING))
    assert np.isnan(implied[0])
    expected = [
        0.5 if n == 1 else 0.7 if n == AT else 2.0 if n == COUNT - 1 else 0.0 for n in range(1, COUNT)
    ]
    assert implied[1:].tolist() == pytest.approx(expected, abs=1e-9)


def test_a_contradiction_says_what_is_listed_and_what_adj_close_has() -> None:
    (one,) = weigh(series({AT: 0.7}), {AT: 0.9}).held
    assert one.reason == "a dividend of 0.9 is listed, and Adj Close is adjusted by 0.7"
    (none,) = weigh(series({}), {AT: 0.9}).held
    assert (none.reason, none.amount) == ("a dividend of 0.9 is listed, and Adj Close is not adjusted", 0.9)


@pytest.mark.parametrize(("stored", "amount"), [(0.9, 0.9), (0.7, 0.7), (0.8, None), (0.0, None)])
def test_of_a_contradiction_the_side_is_taken_that_is_stored(stored: float, amount: float | None) -> None:
    paid = weigh(series({AT: 0.7}), {AT: 0.9}, known={DAYS[AT]: stored})
    assert kept(paid) == ({} if amount is None else {AT: amount})
    assert held(paid) == ({AT: CONTRADICTED} if amount is None else {})
    if amount is not None:
        assert paid.explained[0].what == f"0.9 listed, 0.7 in Adj Close, {amount:g} as stored"


# --- another unit, which the price or the other dividends tell


@pytest.mark.parametrize(
    ("closes", "opens", "volumes", "settled"),
    [
        (FLAT, {}, {}, True), (FLAT, {}, {AT: 0.0}, False), (FLAT, {}, {AT: 0.5}, True),
        (FLAT, {AT: 100.1}, {AT: 0.0}, True), ((100.0,) * AT + (100.1,) * AT, {}, {AT: 0.0}, True),
    ],
)  # fmt: skip
def test_a_price_that_traded_or_moved_tells_which_of_two_units_was_paid(
    closes: Sequence[float], opens: Mapping[int, float], volumes: Mapping[int, float], settled: bool
) -> None:
    paid = weigh(series({AT: 0.25}, closes, opens, volumes), {AT: 25.0})
    assert (kept(paid), held(paid)) == (({AT: 0.25}, {}) if settled else ({}, {AT: CONTRADICTED}))
    if settled:
        assert paid.explained[0].what == "25 listed, 0.25 in Adj Close, 0.25 by the price on the ex-date"


def test_where_price_and_other_dividends_disagree_nothing_is_settled() -> None:
    others = {EARLIER: 0.25, EARLIER.replace(month=4): 0.25}
    of = series({AT: 0.25}, (100.0,) * AT + (75.0,) * AT, {AT: 75.0})
    assert held(weigh(of, {AT: 25.0}, known=others)) == {AT: CONTRADICTED}
    assert kept(weigh(of, {AT: 25.0})) == {AT: 25.0}


@pytest.mark.parametrize(("amount", "settled"), [(0.081, False), (0.083, True)])
def test_an_amount_of_next_to_nothing_in_adj_close_is_none(amount: float, settled: bool) -> None:
    """Four times what is rounded of a price of 100: 0.00082."""
    others = {EARLIER: 0.08, EARLIER.replace(month=4): 0.08}
    paid = weigh(series({AT: amount / 100}), {AT: amount}, known=others)
    assert kept(paid) == ({AT: amount} if settled else {})
    assert held(paid) == ({} if settled else {AT: CONTRADICTED})


# --- whether an amount is plausible


@pytest.mark.parametrize(
    ("amount", "doubtful", "kind"),
    [
        (10.0, [], None), (10.1, [], IMPLAUSIBLE), (10.1, [AT], None), (10.1, [AT - 1], None),
        (10.1, [AT + 1], IMPLAUSIBLE), (99.0, [AT], None), (100.0, [AT], IMPLAUSIBLE), (130.0, [AT], IMPLAUSIBLE),
    ],
)  # fmt: skip
def test_from_a_tenth_of_the_price_on_a_dividend_shows_in_it(
    amount: float, doubtful: Sequence[int], kind: Kind | None
) -> None:
    paid = weigh(series({AT: amount} if amount < 100 else {}), {AT: amount}, doubtful=doubtful)
    assert held(paid) == ({AT: kind} if kind else {})
    assert kept(paid) == ({} if kind else {AT: amount})


def test_what_the_price_did_not_fall_by_is_named_with_the_price() -> None:
    (one,) = weigh(series({AT: 66.0}, RISING, {AT: 106.05}), {AT: 66.0}).held
    assert one.reason == "a dividend of 66 on a price of 105 that moved by +1.0%"
    assert (one.amount, one.witnesses) == (66.0, "the price on the ex-date")


@pytest.mark.parametrize(
    ("currency", "amount", "believed"),
    [
        ("GBp", 0.04, True), ("GBp", 0.0399, False), ("ILA", 0.0399, False), ("ZAc", 0.0399, False),
        ("USD", 0.0399, True), ("GBP", 0.0399, True), ("GBp", 0.0, True),
    ],
)  # fmt: skip
def test_a_yield_of_next_to_nothing_in_hundredths_is_not_believed(
    currency: str, amount: float, believed: bool
) -> None:
    paid = weigh(series({AT: amount}), {AT: amount}, currency=currency)
    assert held(paid) == ({} if believed else {AT: IMPLAUSIBLE})


@pytest.mark.parametrize(
    ("stored", "believed"),
    [(0.31, True), (0.3125, False), (0.0032, True), (0.003125, False), (0.03, True), (0.0, False)],
)
def test_a_like_dividend_that_is_stored_says_that_so_little_is_paid(stored: float, believed: bool) -> None:
    """Less than ten times as much, or as little: of 0.03125."""
    paid = weigh(series({AT: 0.03125}), {AT: 0.03125}, known={EARLIER: stored}, currency="GBp")
    assert held(paid) == ({} if believed else {AT: IMPLAUSIBLE})


@pytest.mark.parametrize(
    ("other", "closes", "believed"),
    [
        # Of 0.03125: less than ten times as much, or as little, with a yield of 0.0004 at least.
        (0.31, FLAT, True), (0.3125, FLAT, False), (0.04, FLAT, True), (0.0399, FLAT, False),
        (0.0032, CHEAP_BEFORE, True), (0.003125, CHEAP_BEFORE, False), (0.015, CHEAP_BEFORE, True),
    ],
)  # fmt: skip
def test_a_like_dividend_that_yields_more_says_that_so_little_is_paid(
    other: float, closes: Sequence[float], believed: bool
) -> None:
    both = {AT: 0.03125, 2: other}
    assert (AT not in held(weigh(series(both, closes), both, currency="GBp"))) is believed


def test_the_yield_of_another_dividend_is_that_on_the_close_before_it() -> None:
    both = {AT: 0.03125, 2: 0.035}
    paid = weigh(series(both, (100.0, 100.0, *(80.0,) * 10)), both, currency="GBp")
    assert held(paid) == {AT: IMPLAUSIBLE, 2: IMPLAUSIBLE}


def test_what_is_stored_of_another_dividend_counts_and_not_what_is_listed_of_it() -> None:
    both = {AT: 0.03125, 2: 0.05}
    paid = weigh(series(both), both, known={DAYS[2]: 0.5}, currency="GBp")
    assert held(paid) == {AT: IMPLAUSIBLE}


@pytest.mark.parametrize(("other", "is_ordinary"), [(9.99, True), (10.0, False)])
def test_less_than_a_tenth_of_the_price_is_a_measure_of_the_others(other: float, is_ordinary: bool) -> None:
    both = {AT: 0.1, 2: other}
    assert (AT in held(weigh(series(both), both))) is is_ordinary


def test_a_dividend_that_adj_close_contradicts_is_no_measure_of_the_others() -> None:
    paid = weigh(series({AT: 0.07, 2: 0.3}), {AT: 0.07, 2: 7.0})
    assert held(paid) == {2: CONTRADICTED}
    paid = weigh(series({AT: 0.07, 2: 7.0}), {AT: 0.07, 2: 7.0})
    assert held(paid) == {AT: IMPLAUSIBLE, 2: IMPLAUSIBLE}
    assert paid.held[1].reason == "a dividend of 0.07, the symbol's others are around 7"


# --- gains


def test_a_gain_alone_is_no_gain_inside_a_dividend() -> None:
    paid = weigh(series({AT: 5.0}), [(AT, 5.0, GAIN)])
    assert (kept(paid), held(paid)) == ({AT: 5.0}, {})


def test_a_gain_alone_that_adj_close_lacks_is_a_contradiction() -> None:
    paid = weigh(series({}), [(AT, 5.0, GAIN)])
    assert (kept(paid), held(paid), paid.explained) == ({}, {AT: CONTRADICTED}, [])


@pytest.mark.parametrize(
    ("stored", "amount"), [({AT: 4.0}, 4.0), ({AT: 4.1}, None), ({AT: 0.0}, None), ({2: 4.0}, None)]
)
def test_a_gain_inside_the_dividend_is_held_or_taken_as_stored(
    stored: Mapping[int, float], amount: float | None
) -> None:
    of = series({AT: 9.0}, RISING, {AT: 101.0})
    paid = weigh(
        of, [(AT, 4.0, DIVIDEND), (AT, 5.0, GAIN)], known={DAYS[at]: one for at, one in stored.items()}
    )
    if amount is None:
        (one,) = paid.held
        assert (one.kind, one.amount, one.witnesses) == (TWICE, 9.0, "the price on the ex-date")
        assert one.reason == "a dividend of 4 and a gain of 5 on a price that moved by -3.8% from 105"
    else:
        assert (kept(paid), held(paid)) == ({AT: amount}, {})
        assert paid.explained[0].what == "9 with the gain, 4 as stored"


def test_next_to_nothing_beside_a_gain_is_not_taken_for_the_nothing_that_is_stored() -> None:
    of = series({AT: 5.0001}, opens={AT: 95.0})
    paid = weigh(of, [(AT, 0.0001, DIVIDEND), (AT, 5.0, GAIN)], known={DAYS[AT]: 0.0})
    assert (kept(paid), held(paid)) == ({AT: 5.0001}, {})


# --- currencies


@pytest.mark.parametrize(
    ("paid_in", "prices", "factor"),
    [
        ("GBP", "GBp", 100.0), ("GBp", "GBP", 0.01), ("ILS", "ILA", 100.0), ("ILA", "ILS", 0.01),
        ("ZAR", "ZAc", 100.0), ("ZAc", "ZAR", 0.01), ("USD", "USD", 1.0), ("", "GBp", 1.0), (None, "GBp", 1.0),
        ("USD", "GBp", None), ("ILS", "GBp", None), ("ZAc", "GBP", None),
    ],
)  # fmt: skip
def test_a_unit_of_the_same_currency_is_converted_and_another_currency_is_held(
    paid_in: str | None, prices: str, factor: float | None
) -> None:
    paid = weigh(series({AT: 2.0}), {AT: 2.0 / (factor or 1.0)}, currency=prices, paid_in=paid_in)
    assert kept(paid) == ({} if factor is None else {AT: 2.0})
    assert held(paid) == ({AT: Kind.DIVIDEND_IN_ANOTHER_CURRENCY} if factor is None else {})
    assert len(paid.explained) == (0 if factor in (None, 1.0) else 1)


def test_a_hundredth_of_the_stored_amount_is_held_though_adj_close_follows_and_nothing_else_is_known() -> (
    None
):
    stored = {DAYS[AT]: 0.5}
    paid = weigh(series({AT: 0.005}), {AT: 0.005}, known=stored)
    assert (kept(paid), held(paid)) == ({}, {AT: IMPLAUSIBLE})
    assert "a hundredth of the 0.5 that is stored" in paid.held[0].reason
    # Another amount, and a plain one where a hundredth is stored, are corrections.
    assert kept(weigh(series({AT: 0.4}), {AT: 0.4}, known=stored)) == {AT: 0.4}
    assert kept(weigh(series({AT: 0.5}), {AT: 0.5}, known={DAYS[AT]: 0.005})) == {AT: 0.5}
    # Where nothing is stored of the day it is a hundredth of nothing.
    assert kept(weigh(series({AT: 0.01}), {AT: 0.01})) == {AT: 0.01}
