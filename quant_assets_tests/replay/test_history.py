"""The truth: real bars with their real actions, files, and what is refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from bokeh_sampledata import stocks

from quant_assets.replay.convention import to_yahoo
from quant_assets.replay.csv_files import COLUMNS, from_csv
from quant_assets.replay.errors import HistoryError
from quant_assets.replay.generator import generate
from quant_assets.replay.history import PRICES, History
from quant_assets.replay.sampledata import SPLITS, sampledata

HEADER = ",".join(COLUMNS)
ROW = "XYZ,2024-01-02,10,11,9,10.5,100,0,1"


@pytest.mark.parametrize(
    "symbol",
    ["A/B", "A\tB", "A\x00B", "A\x1b[31mB", "ÄB", "A" * 10_000],
    ids=lambda symbol: repr(symbol[:12]),
)
def test_symbols_that_are_none_are_refused_with_file_and_line(tmp_path: Path, symbol: str) -> None:
    file = tmp_path / "bars.csv"
    file.write_text(f"{HEADER}\n{ROW}\n{ROW.replace('XYZ', symbol)}\n", encoding="utf-8")
    with pytest.raises(HistoryError) as refused:
        from_csv(file)
    message = str(refused.value)
    assert message.startswith(f"{file}, line 3: symbol ")
    assert "write at most 32 letters" in message
    assert message.isprintable()
    assert len(message) < 400


def test_a_file_with_a_header_and_no_rows_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_text(f"{HEADER}\n")
    with pytest.raises(HistoryError, match="no row after the header"):
        from_csv(file)


@pytest.fixture(scope="module")
def sample() -> History:
    return sampledata()


def dividends(history: History, symbol: str) -> dict[str, float]:
    dates, amounts = history.truth(symbol).dividends
    return dict(zip(dates.astype(str).tolist(), amounts.tolist(), strict=True))


def test_recovered_dividends_are_the_declared_ones(sample: History) -> None:
    assert dividends(sample, "AAPL") == {"2012-08-09": 2.65, "2012-11-07": 2.65, "2013-02-07": 2.65}
    ibm = dividends(sample, "IBM")
    assert len(ibm) == 52  # four a year for thirteen years
    assert [ibm[d] for d in ("2000-05-08", "2000-08-08", "2006-05-08", "2012-11-07")] == [
        0.13,
        0.13,
        0.3,
        0.85,
    ]
    msft = dividends(sample, "MSFT")
    assert msft["2003-02-19"] == 0.08  # its first
    assert msft["2004-11-15"] == 3.08  # the special one of $3, with the regular $0.08
    assert all(round(amount, 2) == amount for amount in [*ibm.values(), *msft.values()])
    assert dividends(sample, "FB") == dividends(sample, "GOOG") == {}


@pytest.mark.parametrize("symbol", ["AAPL", "IBM", "MSFT"])
def test_actions_reproduce_recorded_adj_close_on_every_session(sample: History, symbol: str) -> None:
    recorded = np.array(getattr(stocks, symbol)["adj_close"])
    bars = sample.frame.filter(pl.col("symbol") == symbol, pl.col("close").is_not_null())
    close, dividend, ratio = (bars[c].to_numpy() for c in ("close", "dividend", "split_ratio"))
    assert len(close) == len(recorded) == 3270
    total_return = np.ones(len(close))
    total_return[1:] = np.cumprod(close[1:] * ratio[1:] / close[:-1] * (1 + dividend[1:] / close[1:]))
    rebuilt = total_return / total_return[-1] * recorded[-1]
    assert np.abs(rebuilt / recorded - 1).max() < 1e-9


def test_sample_bars_are_the_recorded_ones(sample: History) -> None:
    assert sample.symbols == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    for symbol in sample.symbols:
        recorded = getattr(stocks, symbol)
        truth = sample.truth(symbol)
        assert truth.dates.astype(str).tolist() == recorded["date"]
        assert truth.volume.tolist() == recorded["volume"]
        for j, name in enumerate(PRICES):
            assert truth.prices[j].tolist() == recorded[name]


def test_later_splits_have_a_date_and_no_bar(sample: History) -> None:
    later = sample.frame.filter(pl.col("symbol") == "AAPL", pl.col("date") > date(2013, 3, 1))
    assert later.select("date", "close", "split_ratio").rows() == [
        (date(2014, 6, 9), None, 7.0),
        (date(2020, 8, 31), None, 4.0),
    ]
    assert set(SPLITS["GOOG"]) == {date(2014, 3, 27), date(2022, 7, 18)}


def test_histories_combine_unless_they_share_a_symbol(sample: History) -> None:
    asx = generate("ASX", 3, "2024-01-02", "2024-03-01")
    both = History.combine([sample, asx])
    assert both.symbols == ["AAA.AX", "AAB.AX", "AAC.AX", "AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert both.frame.height == sample.frame.height + asx.frame.height
    with pytest.raises(HistoryError, match="same symbol"):
        History.combine([sample, asx, sample])


def test_csv_round_trip_of_thin_markets_and_of_funds(tmp_path: Path) -> None:
    for words in ({"exchange": "LSE", "thin": 1.0}, {"exchange": "NYSE", "events": "real_life"}):
        history = generate(symbols=20, start="2023-01-03", end="2024-03-01", seed=3, **words)
        history.write_csv(tmp_path / "all.csv")
        again = from_csv(tmp_path / "all.csv")
        assert again.frame.equals(history.frame)
        assert again.gains.equals(history.gains)
        for symbol in set(history.gains["symbol"]):
            assert again.infos[symbol].instrument == history.infos[symbol].instrument == "ETF"
    assert history.gains.height
    both = History.combine([generate("ASX", 3, "2024-01-02", "2024-03-01"), history])
    assert both.gains.equals(history.gains)


@pytest.mark.parametrize("price", [0.000123, 0.0001, 24.94985, 8123.45, 1 / 32 + 17])
def test_prices_told_by_yahoo_come_back_in_all_their_decimals(tmp_path: Path, price: float) -> None:
    served = np.float32(price * 50)  # a later 1:50
    row = f"XYZ,2024-01-02,{served},{served},{served},{served},100,0,1"
    (tmp_path / "x.csv").write_text(f"{HEADER}\n{row}\nXYZ,2024-01-03,1,1,1,1,100,0,0.02\n")
    assert from_csv(tmp_path / "x.csv", "yahoo").frame["close"][0] == pytest.approx(price, rel=1e-12)


def test_csv_round_trip(tmp_path: Path) -> None:
    history = generate("LSE", 12, "2023-01-03", "2024-03-01", seed=3)
    history.write_csv(tmp_path / "lse.csv")
    again = from_csv(tmp_path / "lse.csv")
    assert again.frame.equals(history.frame)
    assert {i.currency for i in again.infos.values()} == {"GBp"}
    lives = {symbol: (i.listed_on, i.delisted_on) for symbol, i in history.infos.items()}
    assert {symbol: (i.listed_on, i.delisted_on) for symbol, i in again.infos.items()} == lives
    assert any(last for _, last in lives.values())


def test_csv_may_tell_a_listing_before_the_first_bar(tmp_path: Path) -> None:
    path = tmp_path / "listed.csv"
    path.write_text(
        f"{HEADER},listed_on,delisted_on\n{ROW},2023-12-01,\n{ROW.replace('-02', '-03')},,2024-02-01\n"
    )
    info = from_csv(path).infos["XYZ"]
    assert (info.listed_on, info.delisted_on) == (date(2023, 12, 1), date(2024, 2, 1))


def test_csv_of_yahoo_numbers_becomes_as_traded(tmp_path: Path) -> None:
    path = tmp_path / "aapl.csv"
    path.write_text(
        f"{HEADER}\n"
        # as Yahoo showed Apple after the second of these splits: 88.99 and 101.25 had been traded
        "AAPL,2000-06-20,25.171875,25.906,25.125,25.3125,17906800,0,1\n"
        "AAPL,2000-06-21,25.25,28.47,25.25,27.815,8750000,0,2\n"
        "AAPL,2005-02-25,44.81,44.925,44.17,44.495,32696800,0.05,1\n"
        "AAPL,2005-02-28,44.68,45.14,43.96,44.86,11635900,0,2\n"
    )
    frame = from_csv(path, "yahoo").frame
    assert frame["close"].to_list() == [101.25, 55.63, 88.99, 44.86]
    assert frame["volume"].to_list() == [4476700, 4375000, 16348400, 11635900]
    assert frame["dividend"].to_list() == [0.0, 0.0, 0.1, 0.0]


def test_csv_of_a_whole_yahoo_history_becomes_as_traded(tmp_path: Path) -> None:
    history = generate("ASX", 20, "2015-01-02", "2024-03-01", seed=5)
    parts = []
    for symbol in history.symbols:
        rows = history.frame.filter(symbol=symbol)
        series = to_yahoo(history.truth(symbol), date(2024, 3, 1))
        paid = dict(zip(series.dividends[0].tolist(), series.dividends[1].tolist(), strict=True))
        columns = {name: series.prices[j] for j, name in enumerate(PRICES)}
        amounts = [paid.get(day, 0.0) for day in rows["date"]]
        parts.append(rows.with_columns(**columns, volume=series.volume, dividend=pl.Series(amounts)))
    assert sum((p["split_ratio"] != 1).sum() for p in parts) >= 6
    pl.concat(parts).write_csv(tmp_path / "yahoo.csv")
    assert from_csv(tmp_path / "yahoo.csv", "yahoo").frame.equals(history.frame)


def test_csv_may_hold_an_ex_date_without_trading(tmp_path: Path) -> None:
    path = tmp_path / "halted.csv"
    path.write_text(f"{HEADER}\n{ROW}\nXYZ,2024-01-03,,,,,,0.25,2\nXYZ,2024-01-04,5,5,5,5,100,,\n")
    history = from_csv(path)
    assert history.frame["close"].to_list() == [10.5, None, 5.0]
    series = to_yahoo(history.truth("XYZ"), date(2024, 1, 4))
    assert series.prices[3].tolist() == [5.25, 5.0]
    assert series.dividends[1].tolist() == [0.25]


def test_csv_currency_and_exchange_override_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "xyz.csv"
    path.write_text(f"{HEADER},currency,exchange\n{ROW},CAD,NYQ\nBP.L{ROW[3:]},,\n")
    history = from_csv(path)
    assert (history.infos["XYZ"].currency, history.infos["XYZ"].venue.code) == ("CAD", "NYSE")
    assert (history.infos["BP.L"].currency, history.infos["BP.L"].venue.code) == ("GBp", "LSE")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEADER.replace(",volume", "") + "\n", "line 1: missing column volume"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "line 3: date 2024-01-02 of XYZ is the second row"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('10.5', 'ten')}\n", "line 3: close ten of XYZ is not a number"),
        (f"{HEADER}\n{ROW.replace('10.5', 'nan')}\n", "line 2: close nan of XYZ is not a number"),
        (
            f"{HEADER}\n{ROW.replace('2024-01-02', '2/1/2024')}\n",
            "line 2: date 2/1/2024 of XYZ is not a date",
        ),
        (
            f"{HEADER}\n{ROW.replace('XYZ', 'XYZ.QQ')}\n",
            "line 2: symbol 'XYZ.QQ' has the unknown suffix '.QQ'",
        ),
        (f"{HEADER}\n{ROW.replace(',9,', ',12,')}\n", "line 2: low 12.0 of XYZ is above the high"),
        (f"{HEADER}\n{ROW.replace(',9,', ',-9,')}\n", "line 2: low -9.0 of XYZ is negative"),
        (f"{HEADER}\n{ROW.replace(',100,', ',-100,')}\n", "line 2: volume -100 of XYZ is negative"),
        (f"{HEADER}\n{ROW.replace(',100,', ',1.5,')}\n", "line 2: volume 1.5 of XYZ is not a whole number"),
        (f"{HEADER}\n{ROW[:-1]}0\n", "line 2: split_ratio 0.0 of XYZ is not above zero"),
        (f"{HEADER}\nXYZ,2024-01-02,,,,,,0,1\n", "line 2: close None of XYZ has an incomplete bar"),
        (f"{HEADER}\nXYZ,2024-01-02,,,,,,0.5,1\n", "XYZ has no row with prices"),
        (f"{HEADER},exchange\n{ROW},MOON\n", "line 2: unknown exchange 'MOON'"),
        (
            f"{HEADER},currency\n{ROW},USD\n{ROW.replace('02', '03')},EUR\n",
            "line 3: XYZ changes its currency",
        ),
        (
            f"{HEADER},listed_on\n{ROW},1/2/2024\n",
            "line 2: listed_on 1/2/2024 of XYZ is not a date: write YYYY-MM-DD",
        ),
        (
            f"{HEADER},listed_on\n{ROW},2024-01-03\n",
            "line 2: date 2024-01-02 of XYZ is before its listed_on",
        ),
        (
            f"{HEADER},delisted_on\n{ROW},2024-01-02\n{ROW.replace('-02', '-03')},\n",
            "line 3: date 2024-01-03 of XYZ is after its delisted_on",
        ),
        ("", "not a readable CSV file"),
    ],
)
def test_bad_csv_is_refused_by_name_line_and_remedy(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(HistoryError) as caught:
        from_csv(path)
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


def test_missing_csv_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no such file"):
        from_csv(tmp_path / "nowhere.csv")
