"""What Yahoo serves of a truth at two moments is no restatement, and planted errors are exactly their events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.market.bars import ANSWER_SCHEMA, DAILY_SCHEMA, KEYS, PRICES, VALUES, conform
from quant_assets.market.corporate_actions import as_traded
from quant_assets.market.reconcile import Compared, compare
from quant_assets.market.restating import restate
from quant_assets_tests.market.histories import (
    KNOWN,
    LATER,
    N,
    applied,
    day,
    history,
    judge,
    later,
    nothing_changes,
    put,
    rescaled,
    same,
    told,
)

# --- the source's rescaling, forwards: what Yahoo serves of a truth at a moment

RATIOS = (2.0, 3.0, 4.0, 7.0, 20.0, 1.5, 0.5, 0.25, 0.1, 0.05)


@st.composite
def truths(draw: st.DrawFn, ratios: tuple[float, ...] = RATIOS) -> list[tuple[float, int, float, float]]:
    """(close, volume, dividend, split) a day: prices in cents that move by a fifth at most, and by their splits."""
    rows = draw(st.integers(12, 25))
    at = draw(st.dictionaries(st.integers(1, rows - 1), st.sampled_from(ratios), max_size=3))
    value = draw(st.floats(20.0, 500.0))
    found: list[tuple[float, int, float, float]] = []
    for n in range(rows):
        value = min(790.0, max(2.0, value * draw(st.floats(0.85, 1.2)) / at.get(n, 1.0)))
        dividend = draw(st.sampled_from([0.0] * 6 + [0.25, 0.3333]))
        found.append((round(value, 2), draw(st.integers(10_000, 10**7)), dividend, at.get(n, 1.0)))
    return found


def seen(truth: Sequence[tuple[float, int, float, float]], now: int, known: datetime) -> pl.DataFrame:
    """The answer of a day: the bars up to it, divided by every split from their day up to it, as float32."""
    bars: list[tuple[Any, ...]] = []
    for n, (close, volume, _, _) in enumerate(truth[: now + 1]):
        factor = math.prod(split for *_, split in truth[n + 1 : now + 1])
        prices = [
            float(np.float32(p / factor))
            for p in (close, round(close * 1.02, 2), round(close * 0.98, 2), close)
        ]
        bars.append((day(n), prices[0], prices[1], prices[2], prices[3], round(volume * factor)))
    schema = {"date": pl.Date, **dict.fromkeys(PRICES, pl.Float64), "volume": pl.Int64}
    splits = [(day(n), split) for n, (*_, split) in enumerate(truth[: now + 1]) if split != 1.0]
    dividends = [
        (day(n), amount / math.prod(split for *_, split in truth[n + 1 : now + 1]))
        for n, (_, _, amount, _) in enumerate(truth[: now + 1])
        if amount
    ]
    rows = as_traded(
        pl.DataFrame(bars, schema=schema, orient="row"),
        pl.DataFrame(splits, schema={"date": pl.Date, "ratio": pl.Float64}, orient="row"),
        pl.DataFrame(dividends, schema={"date": pl.Date, "amount": pl.Float64}, orient="row"),
    )
    return conform(
        rows.with_columns(
            symbol=pl.lit("A"),
            currency=pl.lit("USD"),
            flags=pl.lit(""),
            fetched_at=pl.lit(known).cast(pl.Datetime("us", "UTC")),
        ),
        ANSWER_SCHEMA,
    )


def stored(answer: pl.DataFrame) -> pl.DataFrame:
    return answer.select(list(DAILY_SCHEMA))


@given(truths(), st.data())
@settings(max_examples=30)
def test_ordinary_splits_and_dividends_between_two_looks_are_never_a_restatement(
    truth: list[tuple[float, int, float, float]], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(truth) - 1), label="first look")
    second = data.draw(st.integers(first, len(truth) - 1), label="second look")
    stored_rows, answer = stored(seen(truth, first, KNOWN)), seen(truth, second, LATER)
    found = compare(stored_rows, answer)
    assert found.pairs.height == first + 1
    assert found.pairs.filter("differs").is_empty()
    nothing_changes(restate(found.pairs, whole=True))


WRONG: dict[str, Any] = {
    "open": lambda v: round(v + 0.05, 4),
    "high": lambda v: round(v + 0.07, 4),
    "low": lambda v: round(v - 0.05, 4),
    "close": lambda v: round(v + 0.03, 4),
    # More than the source's rounding of a volume hides after three reverse splits.
    "volume": lambda v: v + 100_000,
    "currency": lambda v: "AUD",
}


@given(truths(), st.data())
@settings(max_examples=30)
def test_planted_errors_are_the_events_and_nothing_else_is(
    truth: list[tuple[float, int, float, float]], data: st.DataObject
) -> None:
    last = len(truth) - 1
    first = data.draw(st.integers(11, last), label="first look")
    answer = seen(truth, data.draw(st.integers(first, last), label="second look"), LATER)
    stored_rows = stored(seen(truth, first, KNOWN))
    # Fewer rows than a constant ratio needs to be one.
    planted = data.draw(
        st.dictionaries(
            st.integers(0, first), st.sets(st.sampled_from(sorted(WRONG)), min_size=1), min_size=1, max_size=4
        ),
        label="planted",
    )
    for at, names in planted.items():
        stored_rows = put(stored_rows, at, **{name: WRONG[name](stored_rows[name][at]) for name in names})
    found = judge(stored_rows, answer, whole=data.draw(st.booleans(), label="whole"))
    assert sorted(told(found)) == sorted(
        (day(at), name, "correction") for at, names in planted.items() for name in names
    )
    assert found.reaches_back == []
    assert found.held.is_empty()
    assert found.old.equals(stored_rows.filter(pl.col("date").is_in([day(at) for at in planted])).sort(KEYS))
    assert found.new.select(KEYS).equals(found.old.select(KEYS))
    assert same(applied(stored_rows, answer, found), answer)
    for event in found.events.iter_rows(named=True):
        of_day = pl.col("date") == event["date"]
        row, new = stored_rows.filter(of_day), answer.filter(of_day)
        assert (event["old"], event["new"]) == (
            str(row[event["field"]].item()),
            str(new[event["field"]].item()),
        )


@given(truths(), st.data())
@settings(max_examples=30)
def test_whatever_becomes_known_of_splits_what_is_taken_is_what_the_answer_says(
    truth: list[tuple[float, int, float, float]], data: st.DataObject
) -> None:
    # The first look does not know some of the splits, on rows that the source has or has not rescaled by them.
    unknown = data.draw(
        st.sets(st.sampled_from([n for n, (*_, s) in enumerate(truth) if s != 1.0] or [0])), label="unknown"
    )
    stale = data.draw(st.booleans(), label="rescaled")
    answer = seen(truth, len(truth) - 1, LATER)
    stored_rows = stored(answer).with_columns(fetched_at=pl.lit(KNOWN).cast(pl.Datetime("us", "UTC")))
    for n in sorted(unknown):
        ratio = truth[n][3]
        stored_rows = put(stored_rows, n, split_ratio=1.0)
        stored_rows = rescaled(stored_rows, 1 / ratio, before=n) if stale else stored_rows
    found = judge(stored_rows, answer)
    assert {event[0] for event in told(found) if event[2] == "late_split"} == {
        day(n) for n in unknown if truth[n][3] != 1.0
    }
    assert found.old.select(KEYS).equals(found.new.select(KEYS))
    assert found.old.select(KEYS).is_unique().all()
    assert found.held.is_empty()
    assert same(applied(stored_rows, answer, found), answer)


def test_the_pairs_of_a_comparison_are_all_that_is_judged() -> None:
    # A bar that comes where an action alone stood is no restatement, nor is a bar that is not answered.
    stored_rows = put(history(), 4, open=None, high=None, low=None, close=None, volume=0, dividend=0.5)
    found: Compared = compare(stored_rows, later(history())[:-1])
    assert found.bare["date"].to_list() == [day(4)]
    assert found.absent["date"].to_list() == [day(N - 1)]
    nothing_changes(restate(found.pairs, whole=True))
    assert set(VALUES) <= set(found.pairs.columns)


# --- what earlier versions stored rounded


@pytest.mark.parametrize("rows", [3, N])
@pytest.mark.parametrize(("traded", "stored_as"), [(24.94985, 24.9499), (0.000123, 0.0001)])
def test_a_price_that_an_earlier_version_rounded_is_corrected_once(
    traded: float, stored_as: float, rows: int
) -> None:
    # Different enough from one another: a quarter of a penny stock's price is no rescaling, and no other company.
    steps = [0.00001 if traded > 1 else 0.000001 * (n % 5) for n in range(N)]
    truth = history([traded + step for step in steps])
    rounded = truth.with_columns(pl.col(name).round(4, mode="half_away_from_zero") for name in PRICES)
    stored_rows = pl.concat([rounded[:rows], truth[rows:]])
    answer = later(truth).with_columns(scale=pl.lit(0.02 if traded < 1 else 2.0))
    found = judge(stored_rows, answer)
    assert found.held.is_empty()
    assert set(found.events["class"]) == {"correction"}
    assert found.old.height == rows
    healed = applied(stored_rows, answer, found)
    assert same(healed, answer)
    again = judge(healed, answer)
    assert again.events.is_empty()
    assert again.old.is_empty()


@pytest.mark.parametrize(("rows", "events"), [(4, 8), (5, 1)])
def test_five_rounded_rows_are_one_correction(rows: int, events: int) -> None:
    truth = history([24.94985 + 0.00001 * n for n in range(N)])
    rounded = truth.with_columns(pl.col(name).round(4, mode="half_away_from_zero") for name in PRICES)
    found = judge(pl.concat([rounded[:rows], truth[rows:]]), later(truth, 2.0))
    assert found.old.height == rows
    assert found.events.height == events
    last = found.events.row(-1, named=True)
    assert (last["date"], last["field"], last["first_date"]) == (
        day(rows - 1),
        "close",
        day(0 if events == 1 else 3),
    )


def test_a_penny_history_that_was_rounded_to_nothing_is_corrected_once() -> None:
    # Prices of 0.0001 to 0.0002 beside volumes of 0, from before a reverse split of 1:1,000,000.
    ratio, at = 1e-6, N - 5
    prices = [0.000123 + 0.000001 * (n % 5) for n in range(at)] + [123.0 + n for n in range(5)]
    truth = history(prices, splits={at: ratio})
    before = pl.col("date") < day(at)
    stored_rows = truth.with_columns(
        *(pl.when(before).then(pl.col(n).round(4)).otherwise(n).alias(n) for n in PRICES),
        volume=pl.when(before).then(0).otherwise("volume"),
    )
    answer = later(truth).with_columns(
        volume=pl.when(~before).then("volume"),
        flags=pl.when(before).then(pl.lit("volume_unknown")).otherwise("flags"),
        scale=pl.when(before).then(ratio).otherwise(1.0),
    )
    found = judge(stored_rows, answer)
    assert found.held.is_empty()
    assert set(found.events["class"]) == {"correction"}
    healed = applied(stored_rows, answer, found)
    assert healed["volume"].null_count() == at
    assert same(healed, answer)
    assert judge(healed, answer).events.is_empty()
