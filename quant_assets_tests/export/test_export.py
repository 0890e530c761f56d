"""Exports, opened by the tools that they are for: the same numbers as the reader's."""

from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets import prices
from quant_assets.dev.sample_store import make_sample_store
from quant_assets.export.chosen import COLUMNS, ExportError
from quant_assets.export.run import export
from quant_assets.reader import universe, weekly
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets_tests.cli.test_cli import Shell, refused
from quant_assets_tests.export.tools import interpreter, run_there
from quant_assets_tests.test_reader import bar, compact, put_cells, with_catalog

MON, TUE, WED, THU, FRI, NEXT = (date(2024, 1, day) for day in (8, 9, 10, 11, 12, 16))

# Two for one on Tuesday, half a dollar on Thursday, nothing on Wednesday; the 15th is a holiday in New York.
IBM = [
    bar("IBM", MON, 198.4, volume=1000),
    bar("IBM", TUE, 99.123, split_ratio=2.0, volume=2100),
    bar("IBM", THU, 98.0, dividend=0.5),
    bar("IBM", FRI, 97.25, open=97.0, high=98.5, low=96.75),
    bar("IBM", NEXT, 97.5),
]
MSFT = [bar("MSFT", day, 10.0 + day.day / 8) for day in (TUE, WED, THU, FRI)]
# An ex-date without a trade.
BHP = [bar("BHP.AX", MON, 40.0), bar("BHP.AX", TUE, None, dividend=1.0), bar("BHP.AX", WED, 39.0004)]
EVERYTHING = ["BHP.AX", "IBM", "MSFT"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    made = with_catalog(tmp_path_factory.mktemp("export") / "store")
    put_cells(made, "US", *IBM, *MSFT)
    put_cells(made, "ASX", *BHP)
    compact(made, "US", 2024)
    return made


def ours(store: LocalObjectStore, adjust: Any = "none") -> pl.DataFrame:
    rows = prices(EVERYTHING, adjust=adjust, store=store).collect()
    exchanges = universe(store=store).select("symbol", "exchange").collect()
    return (
        rows.drop("exchange", strict=False)
        .join(exchanges, on="symbol")
        .select(COLUMNS)
        .sort("symbol", "date")
    )


def as_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """With the types that a text file cannot keep."""
    volume = pl.col("volume").cast(pl.Float64)
    return frame.with_columns(volume, pl.col("flags").replace("", None)).drop("fetched_at")


def read_csv(file: Path) -> pl.DataFrame:
    overrides = dict.fromkeys(
        ["open", "high", "low", "close", "volume", "dividend", "split_ratio"], pl.Float64
    )
    frame = pl.read_csv(file, schema_overrides={**overrides, "flags": pl.String}, try_parse_dates=True)
    return frame.select(COLUMNS)


@pytest.mark.parametrize("adjust", [None, "split", "total_return"])
def test_csv(store: LocalObjectStore, tmp_path: Path, adjust: Any) -> None:
    done = export("csv", tmp_path / "all.csv", adjust=adjust, store=store)
    mine = ours(store, adjust or "none")
    assert done.rows == mine.height == 12
    told = read_csv(tmp_path / "all.csv").sort("symbol", "date")
    assert_frame_equal(as_rows(told), as_rows(mine), check_exact=True)
    export("csv", tmp_path / "files", adjust=adjust, store=store)
    assert {file.name for file in (tmp_path / "files").iterdir()} == {
        "BHP.AX.csv", "IBM.csv", "MSFT.csv", "export.json",
    }  # fmt: skip
    together = pl.concat(read_csv(tmp_path / "files" / f"{symbol}.csv") for symbol in EVERYTHING)
    assert_frame_equal(as_rows(together), as_rows(mine), check_exact=True)


def test_duckdb(store: LocalObjectStore, tmp_path: Path) -> None:
    export("duckdb", tmp_path / "prices.duckdb", store=store)
    with duckdb.connect(str(tmp_path / "prices.duckdb"), read_only=True) as connection:
        for table, adjust in (("as_traded", "none"), ("split", "split"), ("total_return", "total_return")):
            told = pl.from_arrow(connection.sql(f"from {table} order by symbol, date").to_arrow_table())
            assert isinstance(told, pl.DataFrame)
            assert_frame_equal(
                told.drop("fetched_at"), ours(store, adjust).drop("fetched_at"), check_exact=True
            )
        closes = connection.execute(
            "select close, split_close from daily where symbol = 'IBM' order by date"
        ).fetchall()
        assert closes[0] == (198.4, 99.2)
        told = pl.from_arrow(connection.sql("from weekly order by symbol, week").to_arrow_table())
        assert isinstance(told, pl.DataFrame)
        assert_frame_equal(told, weekly(EVERYTHING, store=store).collect())
        assert connection.execute("select count(*) from catalog").fetchone() == (4,)
        assert connection.execute("select symbols, adjust from about").fetchone() == (4, "all")


QLIB = """
import json, qlib
from qlib.data import D
qlib.init(provider_uri="qlib", region="us", kernels=1, logging_level=50)
fields = ["$open", "$high", "$low", "$close", "$volume", "$factor", "$close / $factor", "$volume * $factor",
          "Ref($close, 1)"]
names = D.list_instruments(D.instruments("all"), as_list=True)
frame = D.features(names, fields, freq="day").reset_index()
frame["datetime"] = frame["datetime"].astype(str)
us = D.list_instruments(D.instruments("us"), as_list=True)
print(json.dumps({"rows": frame.values.tolist(), "us": us, "days": [str(d.date()) for d in D.calendar(freq="day")]}))
"""


@pytest.mark.parametrize("adjust", ["total_return", "split"])
def test_qlib(store: LocalObjectStore, tmp_path: Path, adjust: Any) -> None:
    export("qlib", tmp_path / "qlib", adjust=adjust, store=store)
    told = run_there("qlib", QLIB, tmp_path)
    assert sorted(told["us"]) == ["IBM", "MSFT"]
    # Sydney had a session on New York's holiday, after BHP.AX's last bar here.
    assert told["days"] == [str(day) for day in (MON, TUE, WED, THU, FRI, NEXT)]
    found = {(symbol, day[:10]): values for symbol, day, *values in told["rows"]}
    traded = {(row["symbol"], str(row["date"])): row for row in ours(store).iter_rows(named=True)}
    mine = [row for row in ours(store, adjust).iter_rows(named=True) if row["close"] is not None]
    assert len(mine) == 11
    # One float32 for each number, and their quotient.
    once, twice = {"rel": 2.0**-24}, {"rel": 2.0**-22}
    for row in mine:
        key = row["symbol"], str(row["date"])
        opened, high, low, close, volume, factor, close_traded, volume_traded, _ = found.pop(key)
        assert [opened, high, low, close] == [
            pytest.approx(row[n], **once) for n in ("open", "high", "low", "close")
        ]
        assert factor == pytest.approx(row["close"] / traded[key]["close"], **twice)
        assert close_traded == pytest.approx(traded[key]["close"], **twice)
        assert volume_traded == pytest.approx(traded[key]["volume"], **twice)
        assert volume * factor == pytest.approx(traded[key]["volume"], **twice)
    # Sessions without a bar.
    assert set(found) == {("IBM", str(WED)), ("BHP.AX", str(TUE))}
    assert all(value is None or math.isnan(value) for values in found.values() for value in values[:5])


INGEST = """
import json, sys
from zipline.__main__ import main
sys.argv = ["zipline", "ingest", "-b", {!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(1))
"""

ZIPLINE = """
import json, os, sys
import pandas as pd
from zipline.data import bundles
from zipline.utils.run_algo import load_extensions
load_extensions(True, (), True, os.environ)
out = {}
for name in ("quant-assets-us", "quant-assets-asx"):
    data = bundles.load(name)
    reader = data.equity_daily_bar_reader
    assets = data.asset_finder.retrieve_all(data.asset_finder.sids)
    days = reader.sessions
    bars = {}
    for asset in assets:
        for day in days[(days >= asset.start_date) & (days <= asset.end_date)]:
            values = [float(reader.get_value(asset.sid, day, f)) for f in ("open", "high", "low", "close", "volume")]
            bars[f"{asset.symbol} {day.date()}"] = values
    frames = data.adjustment_reader.unpack_db_to_component_dfs(convert_dates=True)
    by_sid = {asset.sid: asset.symbol for asset in assets}
    out[name] = {
        "bars": bars,
        "exchanges": sorted({(a.exchange, a.exchange_info.country_code) for a in assets}),
        "splits": [[by_sid[r.sid], str(r.effective_date.date()), r.ratio] for r in frames["splits"].itertuples()],
        "dividends": [[by_sid[r.sid], str(r.ex_date.date()), r.amount, str(r.pay_date.date())]
                      for r in frames["dividend_payouts"].itertuples()],
        "factors": [[by_sid[r.sid], str(r.effective_date.date()), r.ratio] for r in frames["dividends"].itertuples()],
    }
from zipline.data.data_portal import DataPortal
data = bundles.load("quant-assets-us")
from zipline.utils.calendar_utils import get_calendar
portal = DataPortal(data.asset_finder, get_calendar("XNYS"), data.equity_daily_bar_reader.first_trading_day,
                    equity_daily_reader=data.equity_daily_bar_reader, adjustment_reader=data.adjustment_reader)
ibm = data.asset_finder.lookup_symbol("IBM", pd.Timestamp("2024-01-16"))
window = portal.get_history_window([ibm], pd.Timestamp("2024-01-16 21:00", tz="UTC"), 6, "1d", "close", "daily")
out["window"] = [[str(day.date()), float(v)] for day, v in window[ibm].items()]
print(json.dumps(out))
"""


def test_zipline(store: LocalObjectStore, tmp_path: Path) -> None:
    done = export("zipline", tmp_path / "root", store=store)
    assert done.notes == ["1 bars have prices with more than three decimals; zipline rounds them to three"]
    root = {"ZIPLINE_ROOT": str(tmp_path / "root")}
    for name in ("quant-assets-us", "quant-assets-asx"):
        run_there("zipline", INGEST.format(name), tmp_path, **root)
    told = run_there("zipline", ZIPLINE, tmp_path, **root)
    assert told["quant-assets-us"]["exchanges"] == [["US", "US"]]
    assert told["quant-assets-asx"]["exchanges"] == [["ASX", "AU"]]
    bars = {**told["quant-assets-us"]["bars"], **told["quant-assets-asx"]["bars"]}
    for row in ours(store).filter(pl.col("close").is_not_null()).iter_rows(named=True):
        found = bars.pop(f"{row['symbol']} {row['date']}")
        wanted = [row[name] for name in ("open", "high", "low", "close", "volume")]
        assert found == pytest.approx(wanted, abs=0.0005 + 1e-9)
        assert found[4] == wanted[4]
    # Sessions without a bar have no price and no volume.
    assert set(bars) == {f"IBM {WED}", f"BHP.AX {TUE}"}
    assert all(all(math.isnan(price) for price in values[:4]) and not values[4] for values in bars.values())
    assert told["quant-assets-us"]["splits"] == [["IBM", str(TUE), 0.5]]
    assert told["quant-assets-us"]["dividends"] == [["IBM", str(THU), 0.5, str(THU)]]
    assert told["quant-assets-asx"]["dividends"] == [["BHP.AX", str(TUE), 1.0, str(TUE)]]
    # zipline's adjusted window is ours: the dividend's factor is 1 - D / C_prev there as well.
    total = prices("IBM", adjust="total_return", store=store).collect()
    adjusted = {str(day): close for day, close in total.select("date", "close").iter_rows()}
    window = {day: close for day, close in told["window"] if not math.isnan(close)}
    last = adjusted[str(NEXT)] / window[str(NEXT)]
    assert {day: close * last for day, close in window.items()} == pytest.approx(adjusted, abs=0.0005)


ZIPLINE_WINDOW = """
import json, os, sys
import pandas as pd
from zipline.data import bundles
from zipline.data.data_portal import DataPortal
from zipline.utils.calendar_utils import get_calendar
from zipline.utils.run_algo import load_extensions
load_extensions(True, (), True, os.environ)
data = bundles.load("quant-assets-asx")
bars = data.equity_daily_bar_reader
portal = DataPortal(data.asset_finder, get_calendar("XASX"), bars.first_trading_day,
                    equity_daily_reader=bars, adjustment_reader=data.adjustment_reader)
assets = data.asset_finder.retrieve_all(data.asset_finder.sids)
end = get_calendar("XASX").session_close(bars.sessions[-1])
windows = {"close": portal.get_history_window(assets, end, len(bars.sessions), "1d", "close", "daily")}
out = {field: {asset.symbol: {str(day.date()): float(v) for day, v in frame[asset].items() if v == v}
               for asset in assets} for field, frame in windows.items()}
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    """Sixteen symbols, fourteen months: splits, reverse splits, dividends, suspensions, delistings."""
    return make_sample_store(tmp_path_factory.mktemp("year"))


def test_a_year_in_qlib(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    interpreter("qlib")
    year: LocalObjectStore = request.getfixturevalue("year")
    done = export("qlib", tmp_path / "qlib", store=year)
    told = run_there("qlib", QLIB.replace('D.instruments("us")', 'D.instruments("asx")'), tmp_path)
    rows = prices(done_symbols(year), adjust="total_return", store=year).collect()
    mine = {(s, str(d)): c for s, d, c in rows.select("symbol", "date", "close").drop_nulls().iter_rows()}
    found = {
        (s, d[:10]): values[3] for s, d, *values in told["rows"] if not math.isnan(values[3] or math.nan)
    }
    assert len(mine) == done.rows > 4000
    assert found == pytest.approx(mine, rel=2.0**-24)


def test_a_year_in_zipline(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    interpreter("zipline")
    year: LocalObjectStore = request.getfixturevalue("year")
    done = export("zipline", tmp_path / "root", store=year)
    root = {"ZIPLINE_ROOT": str(tmp_path / "root")}
    run_there("zipline", INGEST.format("quant-assets-asx"), tmp_path, **root)
    told = run_there("zipline", ZIPLINE_WINDOW, tmp_path, **root)
    rows = prices(done_symbols(year), adjust="total_return", store=year).collect()
    assert (rows["split_ratio"] != 1.0).sum() >= 2
    assert (rows["dividend"] > 0).sum() >= 10
    compared = 0
    for (symbol,), part in rows.drop_nulls("close").partition_by("symbol", as_dict=True).items():
        traded = prices(str(symbol), store=year).collect().drop_nulls("close")
        mine = {str(day): close for day, close in part.select("date", "close").iter_rows()}
        window = told["close"][symbol]
        assert window.keys() == mine.keys(), symbol
        # Three decimals of what was traded, on both sides of a quotient.
        least = float(traded["close"].min() or 0)
        scale = next(reversed(mine.values())) / window[next(reversed(mine))]
        assert {day: close * scale for day, close in window.items()} == pytest.approx(mine, rel=0.001 / least)
        compared += len(mine)
    assert compared == done.rows > 4000


def done_symbols(store: LocalObjectStore) -> list[str]:
    return universe(store=store).collect()["symbol"].to_list()


def test_which_rows(store: LocalObjectStore, tmp_path: Path) -> None:
    def symbols(**chosen: Any) -> list[str]:
        export("csv", tmp_path / "some.csv", force=True, store=store, **chosen)
        return sorted(read_csv(tmp_path / "some.csv")["symbol"].unique())

    assert symbols(exchange="ASX") == ["BHP.AX"]
    assert symbols(symbols=["msft", "IBM"]) == ["IBM", "MSFT"]
    export(
        "csv", tmp_path / "some.csv", force=True, store=store, symbols=["IBM"], start=TUE, end="2024-01-11"
    )
    assert read_csv(tmp_path / "some.csv")["date"].to_list() == [TUE, THU]
    for chosen, message in (
        ({"symbols": ["IBN"]}, "not in the catalog: IBN"),
        ({"exchange": "LSE"}, r"no symbol of what was asked for \(its exchanges: ASX, US\)"),
        ({"symbols": ["NEW"]}, "no prices of what was asked for"),
        (
            {"start": date(1990, 1, 1), "end": date(1990, 2, 1)},
            "no prices .* between 1990-01-01 and 1990-02-01",
        ),
    ):
        with pytest.raises(ExportError, match=message):
            export("csv", tmp_path / "none.csv", store=store, **chosen)
    with pytest.raises(ExportError, match="--adjust says nothing to zipline"):
        export("zipline", tmp_path / "none", adjust="split", store=store)
    assert not list(tmp_path.glob("*none*"))
    assert not list(tmp_path.glob(".*"))


def test_what_is_there_stays_until_the_new_one_is_whole(
    store: LocalObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = tmp_path / "files"
    export("csv", dest, symbols=["IBM"], store=store)
    with pytest.raises(ExportError, match="exists: name another place, or replace it with --force"):
        export("csv", dest, store=store)
    monkeypatch.setattr("quant_assets.export.run.write_csv", _half_written)
    with pytest.raises(OSError, match="disk full"):
        export("csv", dest, force=True, store=store)
    assert sorted(file.name for file in dest.iterdir()) == ["IBM.csv", "export.json"]
    monkeypatch.undo()
    export("csv", dest, force=True, symbols=["MSFT"], store=store)
    assert sorted(file.name for file in dest.iterdir()) == ["MSFT.csv", "export.json"]
    assert json.loads((dest / "export.json").read_text())["rows"] == 4
    own = tmp_path / "photos"
    own.mkdir()
    (own / "a.jpg").touch()
    with pytest.raises(ExportError, match="a folder that no export made"):
        export("csv", own, force=True, store=store)
    assert not list(tmp_path.glob(".*"))


def _half_written(chosen: Any, made: Path, adjust: Any, *, one_file: bool) -> int:
    made.mkdir()
    (made / "IBM.csv").write_text("symbol")
    raise OSError("disk full")


def test_the_command(store: LocalObjectStore, tmp_path: Path) -> None:
    shell = Shell(tmp_path, "")
    done = shell(
        "export", "--to", "csv", "out.csv", "--symbols", "ibm", "--adjust", "split", STORE=store.location
    )
    assert done.returncode == 0, done.stderr
    assert "export: 5 rows of 1 symbols to out.csv" in done.stdout
    assert read_csv(tmp_path / "out.csv")["close"][0] == 99.2
    refused(shell("export", "--to", "csv", "out.csv", STORE=store.location), "exists", "--force", code=2)
    refused(shell("export", "--to", "excel", "x", STORE=store.location), "csv, duckdb, qlib, zipline", code=2)
    refused(shell("export", "--to", "qlib", "x", "--start", "soon", STORE=store.location), "soon", code=2)
    refused(shell("export", "--to", "csv", "x", "--universe", "no", STORE=store.location), "no", code=2)
    assert not (tmp_path / "x").exists()
