"""Made-up markets that are honest and do not look it: thin ones, and all that happens in real life."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import orjson
import polars as pl
import pytest

from quant_assets.replay.errors import HistoryError
from quant_assets.replay.generator import generate
from quant_assets.replay.history import History
from quant_assets.replay.launch import GeneratedExchange, LaunchError, ReplayConfig, build, parse_generated
from quant_assets.replay.real_life import FORWARD_RATIOS, REVERSE_RATIOS
from quant_assets_tests.replay.support import unadjust
from quant_assets_tests.replay.test_lies import QUERY

BEGIN, END = "2014-01-02", "2024-03-01"
PRICES = ("open", "high", "low", "close")


@cache
def real_life() -> History:
    return generate("NYSE", 200, BEGIN, END, seed=7, events="real_life")


@cache
def thin() -> History:
    return generate("LSE", 60, "2021-01-04", END, seed=7, thin=True)


def moves(history: History) -> pl.DataFrame:
    """Every bar with the close before it and the move of the price that a split or payment does not explain."""
    before = pl.col("close").shift().over("symbol")
    expected = (before - pl.col("dividend")) / pl.col("split_ratio")
    return history.frame.with_columns(before=before, move=pl.col("close") / expected)


def outside(bars: pl.DataFrame) -> pl.Series:
    low, high = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")
    return bars.select((low < pl.col("low")) | (high > pl.col("high"))).to_series()


def test_two_hundred_symbols_of_ten_years_take_a_moment() -> None:
    began = time.process_time()
    real_life.cache_clear()
    assert real_life().frame.height > 450_000
    assert time.process_time() - began < 5


def test_every_usual_ratio_comes_and_prices_go_with_it() -> None:
    splits = moves(real_life()).filter(pl.col("split_ratio") != 1)
    assert set(splits["split_ratio"]) == {*FORWARD_RATIOS, *REVERSE_RATIOS}
    assert (min(REVERSE_RATIOS), min(FORWARD_RATIOS)) == (0.001, 1.05)
    assert (splits["move"] - 1).abs().max() < 0.25


def test_what_looks_like_an_error_happens() -> None:
    bars = moves(real_life())
    plain = bars.filter((pl.col("split_ratio") == 1) & (pl.col("dividend") == 0))
    assert plain.filter(pl.col("move").is_between(0.16, 0.25)).height >= 5  # crashes of 80 %
    assert plain.filter(pl.col("move").is_between(0.56, 0.64)).height >= 5  # spin-offs of 40 %
    special = bars.filter(pl.col("dividend") / pl.col("before") > 0.55)
    assert special.height >= 5
    assert (special["close"] / special["before"] - 0.4).abs().max() < 0.1
    assert bars["close"].min() == 0.0001
    idle = bars.filter(pl.col("volume") == 0)
    assert idle.group_by("symbol").len()["len"].max() >= 20
    assert real_life().gains.height >= 50
    paid = real_life().gains.join(bars, on=["symbol", "date"])
    assert (paid["capital_gain"] <= paid["dividend"]).all()
    assert {real_life().infos[symbol].instrument for symbol in paid["symbol"]} == {"ETF"}
    assert sum(info.delisted_on is not None for info in real_life().infos.values()) == 10


def test_there_are_halts() -> None:
    sessions = real_life().frame["date"].unique().sort().to_numpy().astype("datetime64[D]")
    gaps = [
        int(np.diff(np.searchsorted(sessions, real_life().truth(symbol).dates)).max()) - 1
        for symbol in real_life().symbols
    ]
    assert sum(gap == 40 for gap in gaps) >= 5


def test_bars_of_real_life_are_consistent_and_have_the_decimals_of_real_prices() -> None:
    bars = real_life().frame
    assert not outside(bars).any()
    assert (bars["low"] <= bars["high"]).all()
    for name in PRICES:
        dear, cheap = (bars.filter(test)[name] for test in (pl.col(name) >= 1, pl.col(name) < 1))
        assert (dear - dear.round(2)).abs().max() == 0
        assert (cheap - cheap.round(4)).abs().max() == 0
    assert (bars["volume"] >= 0).all()


def test_a_thin_market_looks_like_the_recorded_ones() -> None:
    bars = thin().frame.with_columns(outside=outside(thin().frame), idle=pl.col("volume") == 0)
    shares = bars.group_by("symbol").agg(pl.col("outside").mean(), pl.col("idle").mean())
    assert shares.filter(pl.col("outside") > 0).height >= 50
    assert 0.2 < shares["outside"].max() < 0.5
    assert shares.filter(pl.col("outside") < 0.02).height >= 10
    assert shares["idle"].max() > 0.9
    assert shares["idle"].median() > 0.2
    assert (bars["low"] <= bars["high"]).all()
    # By mid prices on days without a trade, by rounding, and by auctions.
    wrong = bars.filter(pl.col("outside"))
    beyond = wrong.select(
        pl.max_horizontal(
            pl.max_horizontal("open", "close") / pl.col("high"),
            pl.col("low") / pl.min_horizontal("open", "close"),
        )
        - 1
    ).to_series()
    assert wrong["idle"].any()
    assert (~wrong["idle"]).any()
    assert ((beyond < 1e-3) & ~wrong["idle"]).any()
    assert 0.01 < beyond.max() < 0.05


def test_a_share_of_the_symbols_is_thin_and_the_others_are_as_ever() -> None:
    ordinary, some = (generate("LSE", 40, "2023-01-03", END, seed=2, thin=share) for share in (0.0, 0.3))
    touched = [
        symbol
        for symbol in ordinary.symbols
        if not ordinary.frame.filter(symbol=symbol).equals(some.frame.filter(symbol=symbol))
    ]
    assert 11 <= len(touched) <= 13
    few = generate("LSE", 7, "2023-01-03", END, seed=2, thin=0.3)
    assert few.frame.equals(some.frame.filter(pl.col("symbol").is_in(few.symbols)))


def test_the_same_seed_makes_the_same_market() -> None:
    assert generate("NYSE", 25, BEGIN, END, seed=7, events="real_life").frame.equals(
        real_life().frame.filter(pl.col("symbol").is_in(real_life().symbols[:25]))
    )
    other = generate("NYSE", 25, BEGIN, END, seed=6, events="real_life")
    assert not other.frame.equals(real_life().frame.filter(pl.col("symbol").is_in(other.symbols)))


@pytest.mark.parametrize("sessions", ["2024-02-29", "2024-01-10", "2023-11-20"])
def test_short_windows(sessions: str) -> None:
    made = generate("NYSE", 40, sessions, END, events="real_life", thin=0.5)
    assert len(made.symbols) == 40


def test_what_is_served_of_them_can_be_undone() -> None:
    config = ReplayConfig(
        generated=[GeneratedExchange("NYSE", 20, 7, "2020-01-02", END, events="real_life")],
        now="2024-03-01T23:00:00Z",
    )
    app = build(config)
    truth_of = app.world.history
    for symbol in truth_of.symbols:
        body = orjson.loads(app.charts.data(symbol, QUERY).body)["chart"]["result"][0]
        undone, truth = unadjust(body), truth_of.truth(symbol)
        np.testing.assert_allclose(undone["close"], truth.prices[3], rtol=2e-4, atol=6e-5)
        paid = dict(zip(*truth.dividends, strict=True))
        assert [amount for _, amount in undone["dividends"]] == pytest.approx(list(paid.values()), rel=1e-6)
        assert len(body.get("events", {}).get("capitalGains", {})) == len(truth.paid.gains[0])
    assert app.world.history.gains.height


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"events": "quiet"}, "events 'quiet': write ordinary or real_life"),
        ({"thin": 1.5}, "1.5 of the symbols thin: write a share from 0 to 1"),
    ],
)
def test_wrong_words_are_refused(words: dict, complaint: str) -> None:
    with pytest.raises(HistoryError, match=complaint):
        generate("NYSE", 2, BEGIN, END, **words)


def test_a_market_in_words() -> None:
    assert parse_generated("LSE:5:2023-01-03:2024-03-01:7:0.2:real_life") == GeneratedExchange(
        "LSE", 5, 7, "2023-01-03", "2024-03-01", 0.2, "real_life"
    )
    assert parse_generated("LSE::::: :real_life".replace(" ", "")).events == "real_life"
    with pytest.raises(LaunchError, match="'many' is no share of thin symbols"):
        parse_generated("LSE:5:::7:many")
