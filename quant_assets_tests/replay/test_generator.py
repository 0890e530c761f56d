"""The made-up exchange has everything that makes real ones hard, on real sessions and ticks."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.replay.errors import HistoryError
from quant_assets.replay.generator import generate
from quant_assets.replay.history import History

START, END = date(2023, 1, 3), date(2024, 3, 1)


@pytest.fixture(scope="module", params=["ASX", "NYSE", "LSE"])
def made(request: pytest.FixtureRequest) -> History:
    return generate(request.param, 40, START, END, seed=11)


@pytest.fixture(scope="module")
def asx() -> History:
    return generate("ASX", 40, START, END, seed=11)


def all_sessions(history: History) -> list[date]:
    return history.frame["date"].unique().sort().to_list()


def test_bars_are_consistent(made: History) -> None:
    bars = made.frame
    assert bars.null_count().row(0) == (0,) * 9
    assert bars.filter(pl.col("low") > pl.min_horizontal("open", "close")).is_empty()
    assert bars.filter(pl.col("high") < pl.max_horizontal("open", "close")).is_empty()
    assert bars["low"].min() > 0
    assert (bars["volume"] % 100 == 0).all()
    assert bars["volume"].min() > 0
    assert bars.select("symbol", "date").is_unique().all()


def test_asx_prices_are_on_its_tick(asx: History) -> None:
    seen = set()
    for name in ("open", "high", "low", "close"):
        for price in asx.frame[name]:
            tick = 1 if price < 0.1 else 5 if price < 2 else 10  # thousandths
            seen.add(tick)
            assert round(price * 1000) % tick == 0
            assert price == round(price, 3)
    assert seen == {1, 5, 10}


def test_sessions_are_the_exchanges_own(asx: History) -> None:
    sessions = all_sessions(asx)
    assert sessions[0] == START
    assert sessions[-1] == END
    assert len(sessions) == 295
    for holiday in (date(2023, 4, 25), date(2024, 1, 26), date(2023, 6, 12), date(2023, 12, 25)):
        assert holiday not in sessions
    assert date(2023, 7, 4) in sessions  # New York's holiday only
    assert date(2023, 7, 4) not in all_sessions(generate("NYSE", 5, START, END))


def test_a_few_of_each_kind(made: History) -> None:
    sessions = all_sessions(made)
    infos = made.infos.values()
    ratios = made.frame.filter(pl.col("split_ratio") != 1)["split_ratio"]
    assert (ratios > 1).sum() >= 3
    assert (ratios < 1).sum() >= 3
    assert made.frame.filter(pl.col("dividend") > 0).height >= 20
    assert sum(i.listed_on > sessions[20] for i in infos) >= 3
    assert sum(i.delisted_on is not None for i in infos) >= 3
    assert sum(longest_gap(made, s, sessions) >= 6 for s in made.symbols) >= 3


def longest_gap(history: History, symbol: str, sessions: list[date]) -> int:
    """The most sessions missing between two bars of a symbol."""
    positions = np.flatnonzero(
        np.isin(np.array(sessions, dtype="datetime64[D]"), history.truth(symbol).dates)
    )
    return int(np.diff(positions).max()) - 1


def test_listing_dates_bound_the_bars(made: History) -> None:
    last_session = all_sessions(made)[-1]
    for symbol, info in made.infos.items():
        dates = made.truth(symbol).dates
        assert info.listed_on == dates[0].item()
        assert (info.delisted_on or last_session) == dates[-1].item()


def test_prices_jump_by_the_ratio_on_the_ex_date(asx: History) -> None:
    checked = 0
    for symbol in asx.symbols:
        truth = asx.truth(symbol)
        for ex_date, ratio in zip(*truth.splits, strict=True):
            at = int(np.searchsorted(truth.dates, ex_date))
            move = truth.prices[3, at] * ratio / truth.prices[3, at - 1]
            assert abs(move - 1) < 0.15, (symbol, ex_date, ratio)
            checked += 1
    assert checked >= 12


def test_adjusted_volumes_stay_whole(asx: History) -> None:
    for symbol in asx.symbols:
        truth = asx.truth(symbol)
        for ex_date, ratio in zip(*truth.splits, strict=True):
            before = truth.volume[truth.dates < ex_date] * ratio
            assert np.abs(before - np.rint(before)).max() < 1e-6


def test_same_seed_same_history(asx: History) -> None:
    assert generate("ASX", 40, START, END, seed=11).frame.equals(asx.frame)
    assert not generate("ASX", 40, START, END, seed=12).frame.equals(asx.frame)


def test_a_symbol_does_not_depend_on_how_many_there_are(asx: History) -> None:
    few = generate("ASX", 7, START, END, seed=11)
    assert few.frame.equals(asx.frame.filter(pl.col("symbol").is_in(few.symbols)))


def test_exchanges_without_a_suffix_share_no_names() -> None:
    made = [generate(code, 30, "2024-01-02", "2024-01-12") for code in ("NASDAQ", "NYSE", "ARCA", "TSX")]
    everything = History.combine(made)
    assert len(everything.symbols) == 120
    assert {"AAA", "EAA", "UAA", "AAA.TO"} < set(everything.symbols)
    assert everything.infos["EAA"].venue.yahoo_code == "NYQ"


def test_universe_lists_every_symbol(asx: History) -> None:
    universe = asx.universe()
    assert len(universe) == 40
    assert universe[0] == {
        "symbol": "AAA.AX",
        "name": "Aaa Generated Ltd",
        "exchange": "ASX",
        "yahoo_exchange": "ASX",
        "currency": "AUD",
        "listed_on": START,
        "delisted_on": None,
    }
    assert sum(row["delisted_on"] is not None for row in universe) == 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("MOON", 5, START, END), "unknown exchange 'MOON'"),
        (("ASX", 0, START, END), "cannot generate 0 symbols"),
        (("ASX", 5, date(2024, 1, 26), date(2024, 1, 28)), "has no session"),
    ],
)
def test_impossible_requests_are_refused(arguments: tuple, complaint: str) -> None:
    with pytest.raises(HistoryError, match=complaint):
        generate(*arguments)
