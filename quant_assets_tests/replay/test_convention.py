"""What Yahoo makes of the truth, against written-down numbers and an inverse of our own."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from math import prod

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.replay.convention import YahooSeries, split_fraction, to_yahoo
from quant_assets.replay.history import SCHEMA, History, describe
from quant_assets.replay.protocol import ChartQuery, chart, render_chart
from quant_assets.replay.sampledata import sampledata
from quant_assets.replay.world import World
from quant_assets_tests.replay.support import unadjust


@pytest.fixture(scope="module")
def sample() -> History:
    return sampledata()


def on(series: YahooSeries, day: str) -> int:
    (at,) = np.flatnonzero(series.dates == np.datetime64(day, "D"))
    return int(at)


def test_apple_as_yahoo_showed_it_in_2013(sample: History) -> None:
    series = to_yahoo(sample.truth("AAPL"), date(2013, 3, 1))
    assert len(series.dates) == 3270
    first = on(series, "2000-03-01")
    # traded at 130.31, 9,616,100 shares; two 2:1 splits since
    assert series.prices[3, first] == float(np.float32(130.31 / 4))
    assert series.volume[first] == 9_616_100 * 4
    assert series.prices[3, on(series, "2005-02-25")] == float(np.float32(88.99 / 2)) == 44.494998931884766
    assert series.prices[3, on(series, "2005-02-28")] == float(np.float32(44.86))
    assert series.dividends[1].tolist() == [2.65, 2.65, 2.65]
    assert series.splits[1].tolist() == [2.0, 2.0]


def test_apple_as_yahoo_shows_it_after_all_its_splits(sample: History) -> None:
    series = to_yahoo(sample.truth("AAPL"), date(2021, 1, 4))
    assert series.volume[0] == 9_616_100 * 112
    assert series.prices[3, 0] == float(np.float32(130.31 / 112))
    assert series.dividends[1].tolist() == [2.65 / 28] * 3
    assert series.splits[1].tolist() == [2.0, 2.0, 7.0, 4.0]


def test_a_split_counts_from_its_ex_date(sample: History) -> None:
    truth = sample.truth("AAPL")
    before = to_yahoo(truth, date(2005, 2, 27))
    assert before.prices[3, on(before, "2005-02-25")] == float(np.float32(88.99))
    during = to_yahoo(truth, date(2005, 2, 28), bars_through=date(2005, 2, 27))
    assert during.dates[-1] == np.datetime64("2005-02-25")
    assert during.prices[3, -1] == float(np.float32(44.495))


def test_adj_close_is_the_product_over_later_ex_dates(sample: History) -> None:
    series = to_yahoo(sample.truth("IBM"), date(2001, 6, 29))
    closes = dict(zip(sample.truth("IBM").dates.astype(str), sample.truth("IBM").prices[3], strict=True))
    # IBM did not split; its ex-dates up to June 2001, each with the close before it.
    paid = [
        ("2000-05-08", "2000-05-05", 0.13),
        ("2000-08-08", "2000-08-07", 0.13),
        ("2000-11-08", "2000-11-07", 0.13),
        ("2001-02-07", "2001-02-06", 0.13),
        ("2001-05-08", "2001-05-07", 0.14),
    ]
    for day in ("2000-03-01", "2000-05-05", "2000-05-08", "2001-02-06", "2001-05-08", "2001-06-29"):
        factor = prod(1 - amount / closes[before] for ex, before, amount in paid if ex > day)
        assert series.adjclose[on(series, day)] == pytest.approx(closes[day] * factor, rel=1e-13)


def test_dividend_factor_across_a_split(sample: History) -> None:
    # Microsoft split 2:1 on 2003-02-18 and paid 0.08 the day after: both on today's share basis.
    truth = sample.truth("MSFT")
    series = to_yahoo(truth, date(2003, 3, 3))
    at = on(series, "2003-02-14")
    previous = float(truth.prices[3, on(series, "2003-02-18")])
    assert series.adjclose[at] == pytest.approx(truth.prices[3, at] / 2 * (1 - 0.08 / previous), rel=1e-13)


def test_nothing_later_than_today_shows(sample: History) -> None:
    series = to_yahoo(sample.truth("AAPL"), date(2012, 8, 8))
    assert series.dates[-1] == np.datetime64("2012-08-08")
    assert not len(series.dividends[0])
    assert series.adjclose[-1] == 619.86
    tomorrow = to_yahoo(sample.truth("AAPL"), date(2012, 8, 9))
    assert tomorrow.adjclose[-2] == pytest.approx(619.86 * (1 - 2.65 / 619.86), rel=1e-13)


@pytest.mark.parametrize(
    ("ratio", "fraction"),
    [(2.0, (2, 1)), (0.1, (1, 10)), (1.5, (3, 2)), (1.998, (999, 500)), (0.05, (1, 20))],
)
def test_split_ratio_as_a_fraction(ratio: float, fraction: tuple[int, int]) -> None:
    assert split_fraction(ratio) == fraction
    assert fraction[0] / fraction[1] == ratio


# Whole shares remain after any of the splits below: 1.5 x 1.5 x 1.5 x 0.01 of it is a whole number.
LOT = 800


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Up to 25 rows of one ASX symbol, prices to 900, with up to four splits and one reverse split (more
    would lose shares to rounding) and some dividends, with and without a bar on the ex-date."""
    days = draw(st.lists(st.integers(0, 400), min_size=2, max_size=25, unique=True).map(sorted))
    ratios = dict.fromkeys(draw(st.lists(st.sampled_from(days[1:]), max_size=4)), 1.0)
    for day in ratios:
        ratios[day] = draw(st.sampled_from([2.0, 3.0, 1.5, 7.0, 20.0]))
    if ratios and draw(st.booleans()):
        ratios[min(ratios)] = draw(st.sampled_from([0.1, 0.05, 0.01]))
    rows = []
    for day in days:
        price = draw(st.integers(1, 90_000)) / 100
        dividend = draw(st.sampled_from([0.0, 0.0, 0.001, 0.0125])) if day != days[0] else 0.0
        acts = day in ratios or dividend
        halted = acts and day != days[-1] and draw(st.booleans())
        values = (None,) * 5 if halted else (price,) * 4 + (draw(st.integers(1, 100)) * LOT,)
        when = date(2023, 6, 1) + timedelta(days=day)
        rows.append(("XYZ.AX", when, *values, dividend, ratios.get(day, 1.0)))
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return History(frame, describe(frame))


@settings(max_examples=150, deadline=None)
@given(history=histories())
def test_served_numbers_can_be_undone_from_their_own_events(history: History) -> None:
    world = World(history, datetime(2025, 1, 1, tzinfo=UTC))
    query = ChartQuery(0, 4_000_000_000, None, "1d", frozenset({"div", "splits"}))
    answer = chart(world, history.infos["XYZ.AX"], world.series(history.infos["XYZ.AX"]), query)
    served = json.loads(render_chart(answer))["chart"]["result"][0]
    undone = unadjust(served)
    truth = history.truth("XYZ.AX")
    for j, name in enumerate(("open", "high", "low", "close")):
        assert undone[name] == truth.prices[j].tolist()
    assert undone["volume"] == truth.volume.tolist()
    assert [amount for _, amount in undone["dividends"]] == truth.dividends[1].tolist()
