"""The reader as people who know other libraries call it: any form of symbols, pandas frames, what is missing."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import quant_assets
from quant_assets import (
    UnknownSymbol,
    gaps,
    prices,
    profiles,
    restatements,
    sessions,
    to_pandas,
    valuations,
    weekly,
)
from quant_assets.errors import QuantAssetsError
from quant_assets.market.profiles import SYMBOL_PROFILE_SCHEMA
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.catalog_reads import read_catalog
from quant_assets.tables.layout import CATALOG, PROFILES, object_key
from quant_assets.tables.parquet import encode
from quant_assets_tests.test_reader import (
    BHP,
    IBM,
    LEARNED,
    MON,
    MSFT,
    TUE,
    bar,
    put_cells,
    restate,
    told,
    with_catalog,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    """Three symbols with bars and one without; IBM's close of Tuesday has been restated. Not to be written to."""
    made = with_catalog(tmp_path_factory.mktemp("habits"))
    put_cells(made, "US", *IBM, *MSFT)
    put_cells(made, "ASX", *BHP)
    restate(made, IBM[2], close=101.0, high=101.0)
    listed = read_catalog(made).rows
    in_index = pl.when(pl.col("symbol") != "MSFT").then(pl.concat_list(pl.lit("idx"))).otherwise("universes")
    made.put(object_key(CATALOG), encode(listed.with_columns(universes=in_index), {}))
    return made


@pytest.mark.parametrize(
    ("symbols", "found"),
    [
        (None, ["BHP.AX", "IBM", "MSFT"]),
        ("ibm", ["IBM"]),
        ("MSFT ibm", ["IBM", "MSFT"]),
        ("MSFT,IBM", ["IBM", "MSFT"]),
        (" bhp.ax,\n msft ", ["BHP.AX", "MSFT"]),
        (["msft", "MSFT", "IBM"], ["IBM", "MSFT"]),
    ],
    ids=str,
)
def test_symbols_are_named_as_people_name_them(
    store: LocalObjectStore, symbols: Any, found: list[str]
) -> None:
    assert prices(symbols, store=store).collect()["symbol"].unique().sort().to_list() == found


def test_a_universe_is_read_by_its_name(store: LocalObjectStore) -> None:
    rows = prices(universe="idx", store=store).collect()
    assert rows["symbol"].unique().sort().to_list() == ["BHP.AX", "IBM"]
    assert rows.columns[-1] == "exchange"
    assert rows.select("symbol", "exchange").unique().sort("symbol").rows() == [
        ("BHP.AX", "ASX"),
        ("IBM", "US"),
    ]
    with pytest.raises(ValueError, match=r"no universe 'idy' in .*: there are .*idx"):
        prices(universe="idy", store=store).collect()
    with pytest.raises(ValueError, match="symbols and universe='idx' are two answers"):
        prices("IBM", universe="idx", store=store)


@pytest.mark.parametrize("read", [prices, weekly, valuations, gaps, restatements])
def test_an_unknown_symbol_is_named_beside_near_ones(store: LocalObjectStore, read: Any) -> None:
    with pytest.raises(
        UnknownSymbol,
        match=r"^not in the catalog: BHP \(did you mean BHP\.AX\?\), MSFTT \(did you mean MSFT\?\), QQ; universe\(\)",
    ) as raised:
        read(["IBM", "BHP", "MSFTT", "QQ"], store=store).collect()
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, QuantAssetsError)
    assert raised.value.symbols == ("BHP", "MSFTT", "QQ")
    assert raised.value.near["BHP"] == ("BHP.AX",)


def test_of_ten_thousand_unknown_symbols_the_first_ones_are_named(store: LocalObjectStore) -> None:
    with pytest.raises(UnknownSymbol, match=r"Q0, Q1, .*Q9 and 9990 more; universe\(\)") as raised:
        prices([f"Q{n}" for n in range(10_000)], store=store).collect()
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("symbols", "named"),
    [
        ("", "''"),
        (" , ", "' , '"),
        ([None], "None"),
        ([5], "5"),
        (["IBM", " "], "' '"),
        (pl.Series([1.5]), "1.5"),
    ],
    ids=str,
)
def test_what_names_no_symbol_is_refused_at_once(store: LocalObjectStore, symbols: Any, named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named} (names|among the symbols is) no symbol"):
        prices(symbols, store=store)


def test_a_range_the_wrong_way_round_is_refused_at_once(store: LocalObjectStore) -> None:
    for read in (prices, weekly, valuations):
        with pytest.raises(ValueError, match="start=2024-01-09 is after end=2024-01-08: exchange them"):
            read("IBM", TUE, MON, store=store)


def test_days_may_be_datetimes_as_pandas_has_them(store: LocalObjectStore) -> None:
    assert prices("IBM", pd.Timestamp("2024-01-09 16:00"), TUE, store=store).collect().height == 1


def test_pandas_frames_come_by_day(store: LocalObjectStore) -> None:
    one = to_pandas(prices("MSFT", store=store), index="date")
    assert isinstance(one.index, pd.DatetimeIndex)
    assert one.index.name == "date"
    assert one.loc["2024-01-09", "close"] == 10.0
    both = to_pandas(prices(store=store), index=["symbol", "date"])
    assert both.index.names == ["symbol", "date"]
    assert both.loc[("IBM", pd.Timestamp(MON)), "close"] == 99.0


def test_pandas_frames_come_wide(store: LocalObjectStore) -> None:
    wide = to_pandas(prices(store=store), pivot="close")
    assert list(wide.columns) == ["BHP.AX", "IBM", "MSFT"]
    assert isinstance(wide.index, pd.DatetimeIndex)
    assert wide.index.is_monotonic_increasing
    assert wide.loc["2024-01-08", "IBM"] == 99.0
    assert pd.isna(wide.loc["2024-01-08", "MSFT"])
    several = to_pandas(prices(store=store), pivot=["close", "volume"])
    assert several["volume", "IBM"].loc["2024-01-08"] == 200


def test_a_form_that_pandas_frames_do_not_come_in_is_refused(store: LocalObjectStore) -> None:
    rows = prices("IBM", store=store)
    with pytest.raises(ValueError, match="no column 'closing': there are symbol, date, open"):
        to_pandas(rows, pivot="closing")
    with pytest.raises(ValueError, match="leave one out"):
        to_pandas(rows, index="date", pivot="close")
    with pytest.raises(ValueError, match="needs a column symbol"):
        to_pandas(rows.drop("symbol"), pivot="close")
    with pytest.raises(ValueError, match="two rows of a symbol and date"):
        to_pandas(pl.concat([rows, rows]), pivot="close")


def test_restatements_are_those_of_the_ledger(store: LocalObjectStore) -> None:
    rows = restatements(store=store).collect()
    assert rows.select("symbol", "date", "field", "old", "new", "detected_at", "exchange").rows() == [
        ("IBM", TUE, "close", "100.0", "101.0", LEARNED, "US"),
        ("IBM", TUE, "high", "100.0", "101.0", LEARNED, "US"),
    ]
    assert restatements("msft", store=store).collect().is_empty()
    assert restatements(exchange="ASX", store=store).collect().is_empty()
    with pytest.raises(ValueError, match="unknown exchange 'NYSE'"):
        restatements(exchange="NYSE", store=store)


def test_gaps_are_of_markets_and_of_symbols(store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_ASSETS_NOW", "2024-01-10T23:00:00Z")
    rows = gaps(store=store).collect()
    first = rows.filter(pl.col("exchange") == "US").row(0, named=True)
    assert (first["kind"], first["symbol"], first["first"], first["last"], first["sessions"]) == (
        "market", None, date(2024, 1, 2), date(2024, 1, 5), 4,
    )  # fmt: skip
    # Sydney's first day asked for is a Monday with a cell for every session since.
    assert set(rows["exchange"]) == {"US"}
    assert gaps(exchange="ASX", store=store).collect().is_empty()
    assert gaps(exchange="US", store=store).collect().equals(rows)
    assert gaps("IBM", store=store).collect().filter(pl.col("symbol").is_null()).is_empty()


def test_sessions_are_those_of_the_calendar() -> None:
    rows = sessions("US", "2023-11-22", "2023-11-27").collect()
    assert rows.rows() == [
        (date(2023, 11, 22), datetime(2023, 11, 22, 21, tzinfo=UTC), False, "US"),
        (date(2023, 11, 24), datetime(2023, 11, 24, 18, tzinfo=UTC), True, "US"),
        (date(2023, 11, 27), datetime(2023, 11, 27, 21, tzinfo=UTC), False, "US"),
    ]
    with pytest.raises(ValueError, match=r"unknown exchange 'NYSE'"):
        sessions("NYSE")
    with pytest.raises(ValueError, match="start=2024-01-02 is after end=2024-01-01"):
        sessions("US", "2024-01-02", "2024-01-01")


def test_profiles_of_an_earlier_release_have_all_columns(store: LocalObjectStore) -> None:
    for code, symbol in (("US", "IBM"), ("ASX", "BHP.AX")):
        store.put(object_key(PROFILES, code), encode(pl.DataFrame({"symbol": [symbol]}), {}))
    rows = profiles(store=store).collect()
    assert rows.schema == pl.Schema({**SYMBOL_PROFILE_SCHEMA, "exchange": pl.String})
    assert rows.select("exchange", "symbol").rows() == [("ASX", "BHP.AX"), ("US", "IBM")]
    assert rows["quality"].null_count() == 2


def test_the_package_lists_its_names_without_importing_what_they_need() -> None:
    assert set(quant_assets.__all__) <= set(dir(quant_assets))
    for name in quant_assets.__all__:
        assert getattr(quant_assets, name) is not None
    told_of = "import quant_assets, sys; dir(quant_assets); print('polars' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", told_of], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_a_type_checker_sees_every_name() -> None:
    text = Path(quant_assets.__file__).read_text(encoding="utf-8")
    imported = text.partition("if TYPE_CHECKING:")[2].partition(")")[0]
    assert [name for name in quant_assets.__all__ if f"        {name},\n" not in imported] == []


def test_a_symbol_in_lower_case_is_itself_where_the_catalog_has_it(tmp_path: Path) -> None:
    home = with_catalog(tmp_path)
    listed = read_catalog(home).rows
    small = listed.filter(pl.col("symbol") == "NEW").with_columns(symbol=pl.lit("ibm"))
    home.put(object_key(CATALOG), encode(pl.concat([listed, small]), {}))
    put_cells(home, "US", bar("ibm", MON, 5.0), bar("IBM", MON, 6.0))
    assert prices("ibm", store=home).collect()["close"].to_list() == [5.0]
    assert prices("IBM", store=home).collect().equals(told(bar("IBM", MON, 6.0)))
