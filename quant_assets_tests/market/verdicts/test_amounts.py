"""Which of two readings of a dividend is right: by the price, by the symbol's other dividends, by plain yield."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import median

import polars as pl
import pytest

from quant_assets.market.flags import SETTLED_BY_PERSON
from quant_assets.market.verdicts.amounts import unlike_the_others
from quant_assets.market.verdicts.answer import Answer, Kind
from quant_assets.market.verdicts.judge import judge
from quant_assets_tests.market.verdicts.served import DAYS, listed, served, traded
from quant_assets_tests.market.verdicts.test_judge import actions, paid, relisted


def readjusted(answer: Answer, at: int, amount: float) -> Answer:
    """The same answer with Adj Close adjusted by another amount for the dividend of a row."""
    closes, adjusted = answer.bars["close"], answer.bars["adj_close"]
    step = (1 - amount / closes[at - 1]) / (adjusted[at - 1] / closes[at - 1] * closes[at] / adjusted[at])
    now = pl.when(pl.col("date") < DAYS[at]).then(pl.col("adj_close") * step).otherwise("adj_close")
    return replace(answer, bars=answer.bars.with_columns(adj_close=now))


def kinds(answer: Answer) -> dict[Kind, int]:
    return {one.kind: len(one.days) for one in judge(answer).explained}


# --- Adj Close against the list, a hundredfold apart


@pytest.mark.parametrize("amount", [25.0, 300.0])
def test_a_hundredfold_that_the_price_did_not_fall_by_is_the_wrong_one(amount: float) -> None:
    honest = served(traded(dividends={60: amount / 100}))
    assert paid(judge(relisted(honest, 60, amount))) == {DAYS[60]: amount / 100}
    assert kinds(relisted(honest, 60, amount)) == {Kind.DIVIDEND_CONTRADICTED: 1}


def test_what_a_person_has_decided_of_a_day_is_not_decided_again() -> None:
    rows = traded(dividends={60: 0.25})
    stored = rows[55:65].with_columns(
        dividend=pl.lit(0.0),
        flags=pl.when(pl.col("date") == DAYS[60]).then(pl.lit(SETTLED_BY_PERSON)).otherwise("flags"),
    )
    answer = replace(relisted(served(rows), 60, 25.0), stored=stored)
    assert actions(judge(answer)) == {DAYS[60]: Kind.DIVIDEND_CONTRADICTED}


def test_a_hundredth_in_adj_close_of_what_the_price_fell_by_is_the_wrong_one() -> None:
    honest = served(traded(dividends={60: 90.0}))
    verdict = judge(readjusted(honest, 60, 0.9))
    assert verdict.word == "explained"
    assert paid(verdict) == {DAYS[60]: 90.0}


def test_a_price_that_did_not_trade_tells_nothing() -> None:
    honest = served(traded(dividends={60: 0.25}))
    before = honest.bars.row(59, named=True)
    still = {name: before[name] for name in ("open", "high", "low", "close", "adj_close")}
    still |= {"open": before["close"], "adj_close": before["close"], "volume": 0}
    now = [
        pl.when(pl.col("date") == DAYS[60]).then(pl.lit(value)).otherwise(name).alias(name)
        for name, value in still.items()
    ]
    stale = readjusted(replace(honest, bars=honest.bars.with_columns(now)), 60, 0.25)
    assert actions(judge(relisted(stale, 60, 25.0))) == {DAYS[60]: Kind.DIVIDEND_CONTRADICTED}


PAYS: Mapping[int, float] = {20: 0.7, 60: 0.8, 100: 0.75}


def payer(dividends: Mapping[int, float]) -> Answer:
    """A thousand dollars that move by 2 %: 80 of them more or less are no evidence."""
    return served(traded(dividends=dividends, start=1000.0, usual=0.02))


def test_the_symbols_other_dividends_tell_a_hundredfold() -> None:
    honest, truth = payer(PAYS), {DAYS[at]: amount for at, amount in PAYS.items()}
    for answer in (relisted(honest, 60, 80.0), relisted(honest, 60, 0.008), readjusted(honest, 60, 80.0)):
        verdict = judge(answer)
        assert verdict.word == "explained"
        assert paid(verdict) == truth


def test_one_other_dividend_or_unsteady_ones_tell_nothing() -> None:
    for others in ({20: 0.7}, {20: 0.1, 100: 0.9}):
        honest = payer({60: 0.8, **others})
        assert actions(judge(relisted(honest, 60, 80.0))) == {DAYS[60]: Kind.DIVIDEND_CONTRADICTED}


def test_two_amounts_apart_by_no_known_factor_or_none_in_adj_close_stay_open() -> None:
    honest = served(traded(dividends=PAYS))
    assert actions(judge(relisted(honest, 60, 60.0))) == {DAYS[60]: Kind.DIVIDEND_CONTRADICTED}
    assert actions(judge(readjusted(honest, 60, 0.0))) == {DAYS[60]: Kind.DIVIDEND_CONTRADICTED}


def test_a_dividend_listed_per_share_before_the_split_of_its_day_is_counted_to_today() -> None:
    rows = traded(dividends={20: 10.0, 60: 2.1, 100: 2.2}, splits={60: 5.0}, start=1000.0)
    honest = served(rows)
    amounts = dict(honest.dividends.select("date", "amount").rows())
    verdict = judge(relisted(honest, 60, amounts[DAYS[60]] * 5))
    assert [one.kind for one in verdict.explained] == [Kind.DIVIDEND_CONTRADICTED]
    assert dict(verdict.dividends.rows())[DAYS[60]] == pytest.approx(amounts[DAYS[60]])


# --- a capital gain, inside the dividend and beside it, both in Adj Close


def with_gain(dividend: float, gain: float, fell_by: float) -> Answer:
    """A fund that lists both on row 60, Adj Close adjusted by their sum, and a price that fell by something."""
    answer = readjusted(served(traded(dividends={60: fell_by}, usual=0.005)), 60, dividend + gain)
    parts = [listed([(DAYS[60], dividend)]), listed([(DAYS[60], gain)], kind="capital_gain")]
    return replace(answer, dividends=pl.concat(parts))


def test_a_gain_that_the_price_did_not_fall_by_a_second_time_is_held() -> None:
    assert actions(judge(with_gain(12.0, 9.0, fell_by=12.0))) == {DAYS[60]: Kind.GAINS_COUNTED_TWICE}
    assert paid(judge(with_gain(12.0, 9.0, fell_by=21.0))) == {DAYS[60]: 21.0}
    stored = traded(dividends={60: 12.0}, usual=0.005)[55:65]
    verdict = judge(replace(with_gain(12.0, 9.0, fell_by=12.0), stored=stored))
    assert verdict.word == "explained"
    assert paid(verdict) == {DAYS[60]: 12.0}


def test_a_small_gain_is_taken_as_adj_close_has_it() -> None:
    assert paid(judge(with_gain(1.0, 0.5, fell_by=1.0))) == {DAYS[60]: 1.5}


# --- the hundredth of the others


def test_who_pays_by_its_profits_does_pay_a_hundredth() -> None:
    rows = traded(dividends={10: 0.75, 30: 2.2, 50: 0.12, 70: 0.8, 90: 0.006})
    assert judge(served(rows)).word == "proven"
    # The hundredth of the very amount of a payment looks like another unit, even so.
    rows = traded(dividends={10: 0.75, 30: 2.2, 50: 0.12, 70: 0.8, 90: 0.0075})
    assert actions(judge(served(rows))) == {DAYS[90]: Kind.DIVIDEND_IMPLAUSIBLE}


def test_who_pays_next_to_nothing_every_other_time_is_believed() -> None:
    rows = traded(dividends={10: 0.66, 30: 0.009, 50: 0.73, 70: 0.002, 90: 0.7})
    assert judge(served(rows)).word == "proven"


def test_two_hundredths_of_a_steady_dividend_are_no_habit() -> None:
    rows = traded(dividends={10: 0.7, 30: 0.007, 50: 0.7, 70: 0.007, 90: 0.7})
    assert actions(judge(served(rows))) == dict.fromkeys((DAYS[30], DAYS[70]), Kind.DIVIDEND_IMPLAUSIBLE)


TINY: Mapping[int, float] = {20: 0.014, 50: 0.0135, 80: 0.014, 110: 0.013}
"""On 70 pence: 1.4 pence each, called 0.014."""


def test_dividends_of_next_to_nothing_in_pence_are_held_all_together() -> None:
    answer = replace(served(traded(dividends=TINY, start=70.0)), currency="GBp")
    assert set(actions(judge(answer)).values()) == {Kind.DIVIDEND_IMPLAUSIBLE}
    assert paid(judge(answer)) == {}
    # Stored as they were: neither do other ones like them say so, nor what is stored of them.
    stored = traded(dividends={at: amount * 100 for at, amount in TINY.items()}, start=70.0)
    established = replace(answer, stored=stored.with_columns(currency=pl.lit("GBp")))
    assert paid(judge(established)) == {}
    assert judge(replace(answer, currency="USD")).word == "proven"


def test_a_low_payer_that_paid_more_at_another_time_is_believed() -> None:
    answer = replace(served(traded(dividends={20: 0.018, 60: 0.035}, start=70.0)), currency="GBp")
    assert judge(answer).word == "proven"


@pytest.mark.parametrize(
    ("amount", "others", "unlike"),
    [
        # A hundredth has two decimals more than what it is a hundredth of, however far that has grown or shrunk.
        (0.0062, [1.1, 1.02, 0.94], True), (0.04446, [8.31, 7.9], True),
        # A dividend that was cut to a cent is as round as the others.
        (0.01, [0.64, 0.64, 0.32], False), (0.01, [0.6, 0.64, 0.34], False),
        # After a later split all amounts have many decimals.
        (0.0106666667, [0.5133333333, 0.5], False),
    ],
)  # fmt: skip
def test_decimals_tell_a_hundredth_from_a_cut(amount: float, others: list[float], unlike: bool) -> None:
    assert unlike_the_others(amount, median(others), others) is unlike


def test_a_special_dividend_a_hundred_times_the_others_is_believed_where_the_price_fell_by_it() -> None:
    rows = traded(dividends={20: 0.17, 50: 0.18, 80: 17.0}, usual=0.008)
    assert judge(served(rows)).word == "proven"
    # The same amount, and Adj Close with it, where a hundredth of it was paid.
    honest = served(traded(dividends={20: 0.17, 50: 0.18, 80: 0.17}, usual=0.008))
    lie = readjusted(relisted(honest, 80, 17.0), 80, 17.0)
    assert actions(judge(lie)) == {DAYS[80]: Kind.DIVIDEND_IMPLAUSIBLE}


@pytest.mark.parametrize(("second", "repeated"), [(0.51, False), (0.5, True), (0.42, True)])
def test_two_dividends_of_a_week_are_one_where_they_are_nearly_the_same(
    second: float, repeated: bool
) -> None:
    verdict = judge(served(traded(dividends={60: 0.43, 63: second})))
    assert bool(actions(verdict)) is repeated
