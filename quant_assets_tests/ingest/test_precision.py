"""Prices of many decimals, and volumes of which a reverse split has left nothing, through source, cells and reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.ingest.plan import Mode
from quant_assets.market import corporate_actions
from quant_assets.market.bars import KEYS, PRICES
from quant_assets.reader import prices
from quant_assets.replay.launch import ReplayConfig, ReplayHandle, start
from quant_assets.tables.daily import read_daily
from quant_assets_tests.ingest.harness import Harness, evening, sessions
from quant_assets_tests.support import listings

DAYS = sessions(date(2024, 3, 1), date(2024, 4, 12))
AT = 20
"""Where the splits are: 2:1, and 1:10,000."""
MANY, PENNY, SYMBOLS = "MNY", "PNY", ("MNY", "PNY")


def traded(symbol: str) -> pl.DataFrame:
    """What was traded: 24.94985 and quotes in 1/32; 0.000123 and 2,793 shares."""
    rows: list[tuple[object, ...]] = []
    for n, day in enumerate(DAYS):
        if symbol == MANY:
            close = round((24.94985 if n % 2 else 24.96875) / (1 if n < AT else 2), 5)
        else:
            close = round(0.000123 + n % 5 * 0.000001, 6) if n < AT else round(1.23 + n % 7 * 0.01, 2)
        volume = 2_793 + n if symbol == PENNY and n < AT else 10_000 + n
        ratio = (2.0 if symbol == MANY else 1e-4) if n == AT else 1.0
        rows.append((symbol, day, close, close, close, close, volume, 0.0, ratio))
    return pl.DataFrame(
        rows, schema=["symbol", "date", *PRICES, "volume", "dividend", "split_ratio"], orient="row"
    )


TRADED = pl.concat([traded(symbol) for symbol in SYMBOLS]).sort(KEYS)
FORGOTTEN = (pl.col("symbol") == PENNY) & (pl.col("date") < DAYS[AT])
KNOWN_LATER = TRADED.with_columns(
    volume=pl.when(~FORGOTTEN).then("volume"),
    flags=pl.when(FORGOTTEN).then(pl.lit("volume_unknown")).otherwise(pl.lit("")),
)
"""What of it can be known once the splits have been."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayHandle]:
    file = tmp_path_factory.mktemp("histories") / "traded.csv"
    with file.open("w") as out:
        # Decimals as they were quoted; polars writes the short ones of its own accord.
        TRADED.write_csv(out)
    with start(ReplayConfig(history_files=[(file, "as_traded")], now=evening(DAYS[-1]))) as handle:
        yield handle


@pytest.fixture
def market(server: ReplayHandle) -> ReplayHandle:
    server.set_clock(evening(DAYS[-1]))
    return server


@pytest.fixture
def home(harness: Harness, market: ReplayHandle) -> Harness:
    return Harness(harness.home, market.url)


def fill(home: Harness, days: list[date] = DAYS, mode: Mode = Mode.INCREMENTAL) -> None:
    home.fill(days, listings(*SYMBOLS), mode=mode, now=evening(DAYS[-1]))


def stored(home: Harness) -> pl.DataFrame:
    return read_daily(home.store, "US").select(KNOWN_LATER.columns)


def test_every_decimal_comes_back_and_a_lost_volume_is_unknown(home: Harness) -> None:
    fill(home)
    assert_frame_equal(stored(home), KNOWN_LATER, check_exact=True)
    home.put_catalog(*SYMBOLS)
    adjusted = prices([PENNY], DAYS[0], DAYS[-1], adjust="split", store=home.store).collect()
    assert adjusted["volume"].null_count() == AT
    assert adjusted["close"][0] == pytest.approx(1.23, rel=1e-12)


def test_what_was_seen_before_the_splits_stays_after_them(home: Harness, market: ReplayHandle) -> None:
    before = DAYS[AT - 1]
    market.set_clock(evening(before))
    home.fill(DAYS[:AT], listings(*SYMBOLS), now=evening(before))
    market.set_clock(evening(DAYS[-1]))
    fill(home)
    fill(home, mode=Mode.FORCE)
    assert_frame_equal(stored(home).drop("flags"), TRADED, check_exact=True)
    assert home.restatements().is_empty()


def test_what_an_earlier_version_rounded_is_corrected_once(
    home: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def four_decimals(
        served: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        return np.where(scale == 1.0, now_recovered(served, scale), np.round(served * scale, 4))

    def rounded(served: pl.DataFrame, scale: npt.NDArray[np.float64]) -> pl.Series:
        return (served["volume"] / pl.Series(scale)).round().cast(pl.Int64)

    now_recovered = corporate_actions.recovered
    with monkeypatch.context() as earlier:
        earlier.setattr(corporate_actions, "recovered", four_decimals)
        earlier.setattr(corporate_actions, "recovered_volume", rounded)
        fill(home)
    wrong = stored(home)
    assert wrong.filter(FORGOTTEN).select("close", "volume").unique().rows() == [(0.0001, 0)]
    assert set(wrong.filter(symbol=MANY)["close"][:2]) == {24.9688, 24.9499}
    fill(home, mode=Mode.FORCE)
    assert_frame_equal(stored(home).drop("flags"), KNOWN_LATER.drop("flags"), check_exact=True)
    found = home.restatements()
    assert set(found["class"]) == {"correction"}
    assert found.group_by("symbol").agg(pl.col("rows").sum()).sort("symbol").rows() == [
        (MANY, AT),
        (PENNY, AT),
    ]
    fill(home, mode=Mode.FORCE)
    assert home.restatements().height == found.height
