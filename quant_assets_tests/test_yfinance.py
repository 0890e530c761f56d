"""yfinance itself, asking the replay server, beside ours, reading a store that was filled from the same server."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yfinance as yf
import yfinance.base
from pandas.testing import assert_frame_equal, assert_series_equal
from yfinance import cache
from yfinance.data import YfData
from yfinance.exceptions import YFPricesMissingError

import quant_assets.yfinance as ours
from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.exchanges import enabled, exchange
from quant_assets.export.run import export
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.parquet import encode
from quant_assets_tests.replay.support import LoopbackSession
from quant_assets_tests.support import days_between, listings, quick_settings
from quant_assets_tests.test_reader import compact
from quant_assets_tests.test_reader_http import Served

NOW = datetime(2005, 12, 30, 23, 0, tzinfo=UTC)
FIRST, LAST = date(2004, 12, 1), date(2005, 12, 30)
ASX = GeneratedExchange("ASX", symbols=4, seed=11, start=FIRST, end=LAST)
US = ["AAPL", "IBM"]
SYMBOLS = [*US, "AAA.AX", "AAB.AX"]

FLOAT32 = 2.0**-24
"""Yahoo's prices are float32: off by half a step, relatively, at most. Ours are the decimals that they stand for."""
ADJUSTED = 2.1 * FLOAT32
"""An adjusted open is a float32 open, times the adjusted close, divided by a float32 close: off by twice as much."""


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayHandle]:
    with start(ReplayConfig(sampledata=True, generated=[ASX], now=NOW)) as handle:
        yield handle


@pytest.fixture(scope="module")
def store(server: ReplayHandle, tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    """Thirteen months of four symbols, on two exchanges."""
    home = tmp_path_factory.mktemp("yfinance-store")
    filled = LocalObjectStore(home / "store")
    settings = quick_settings(home, server.url, now=NOW)
    by_code = {"US": US, "ASX": [symbol for symbol in SYMBOLS if symbol not in US]}
    for code, symbols in by_code.items():
        source = YahooSource(settings)
        fill_cells(
            FillContext(exchange(code), filled, source, settings.clock, FillRules(home / "spill")),
            FillRequest(days_between(FIRST, LAST), listings(*symbols)),
        )
        source.close()
        for year in (2004, 2005):
            compact(filled, code, year)
    known = {code: [ConfiguredSymbol(symbol=s) for s in symbols] for code, symbols in by_code.items()}
    catalog = build_catalog(known, enabled(list(by_code)), None, LAST)
    filled.put(object_key(CATALOG), encode(catalog, {}))
    return filled


@pytest.fixture
def session(
    server: ReplayHandle, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> LoopbackSession:
    """yfinance as in a new process, on the server; our clock beside it."""
    monkeypatch.setenv("QUANT_ASSETS_NOW", NOW.isoformat())
    yf.set_tz_cache_location(str(tmp_path_factory.getbasetemp() / "yfinance-cache"))
    monkeypatch.setattr(yfinance.base, "_tz_info_fetch_ctr", 0)
    cache.get_cookie_cache().store("curlCffi", None)
    session = LoopbackSession(server.url)
    data = YfData(session=session)
    data.cache_get.cache_clear()
    data._crumb = data._cookie = None
    data._cookie_strategy = "basic"
    return session


def same(mine: pd.DataFrame, theirs: pd.DataFrame, rtol: float) -> None:
    """Equal in everything but the noise of float32; volumes, dividends and ratios to the last digit."""
    assert len(theirs) > 0
    assert_frame_equal(mine, theirs, check_exact=False, rtol=rtol, atol=0.0, check_freq=True)
    for column in theirs.columns:
        name = column if isinstance(column, str) else next(part for part in column if part not in SYMBOLS)
        if name in ("Volume", "Stock Splits"):
            assert_series_equal(mine[column], theirs[column], check_exact=True)
        if name == "Dividends":
            assert_series_equal(mine[column], theirs[column], rtol=1e-12)


Span = dict[str, Any]
HOWS: list[Span] = [
    {"auto_adjust": False},
    {},
    {"auto_adjust": False, "back_adjust": True},
    {"auto_adjust": False, "actions": False, "rounding": True},
]


def exactness(how: Span) -> float:
    if how.get("rounding"):
        return 0.01
    return ADJUSTED if how.get("auto_adjust", True) or how.get("back_adjust") else FLOAT32


@pytest.mark.parametrize("interval", ["1d", "1wk", "1mo"])
def test_the_history_of_a_symbol_in_every_way(
    session: LoopbackSession, store: LocalObjectStore, interval: str
) -> None:
    for symbol in ("AAPL", "IBM", "AAB.AX"):
        mine, theirs = ours.Ticker(symbol, store=store), yf.Ticker(symbol, session=session)
        for how in HOWS:
            asked: Span = {"interval": interval, "start": "2005-01-05", "end": "2005-12-16", **how}
            same(mine.history(**asked), theirs.history(**asked), exactness(how))
    # There was something to adjust for.
    frame = ours.Ticker("AAPL", store=store).history(start="2005-01-05", interval=interval)
    assert frame["Stock Splits"].sum() == 2.0
    assert (ours.Ticker("AAB.AX", store=store).history(start="2005-01-05")["Dividends"] > 0).any()


SPANS: list[Span] = [
    {"period": "max"},
    {"period": "6mo"},
    {"period": "1y"},
    {"period": "ytd"},
    {"period": "5d"},
    {"period": "7mo"},
    {"period": "3wk"},
    {},
    {"start": "2005-02-02"},
    {"start": date(2005, 5, 5), "period": "3mo"},
    {"end": datetime(2005, 9, 14, 12, 0)},  # noqa: DTZ001
    {"start": datetime(2005, 6, 1, 12, 0), "end": "2005-08-01"},  # noqa: DTZ001
]


@pytest.mark.parametrize("span", SPANS, ids=str)
def test_every_way_to_say_which_days(session: LoopbackSession, store: LocalObjectStore, span: Span) -> None:
    # The server has of AAPL what the store has not.
    symbol = "AAA.AX" if span.get("period") in ("max", "1y") else "AAPL"
    mine, theirs = ours.Ticker(symbol, store=store), yf.Ticker(symbol, session=session)
    for interval in ("1d", "1mo", "1wk"):
        same(mine.history(interval=interval, **span), theirs.history(interval=interval, **span), ADJUSTED)


def test_the_actions(session: LoopbackSession, store: LocalObjectStore) -> None:
    for symbol in ("AAA.AX", "AAB.AX"):
        mine, theirs = ours.Ticker(symbol, store=store), yf.Ticker(symbol, session=session)
        for name in ("dividends", "splits", "capital_gains"):
            assert_series_equal(getattr(mine, name), getattr(theirs, name), rtol=1e-12, check_freq=True)
        assert_frame_equal(mine.actions, theirs.actions, rtol=1e-12)
        known = mine.history_metadata
        assert {known[name] for name in ("currency", "exchangeTimezoneName")} == {"AUD", "Australia/Sydney"}


def test_several_tickers(session: LoopbackSession, store: LocalObjectStore) -> None:
    span: Span = {"start": "2005-02-14", "end": "2005-09-01", "progress": False}
    mine, theirs = ours.Tickers("aapl ibm", store=store), yf.Tickers("aapl ibm", session=session)
    assert (mine.symbols, list(mine.tickers)) == (theirs.symbols, list(theirs.tickers)) == (US, US)
    same(mine.history(**span), theirs.history(threads=False, session=session, **span), ADJUSTED)
    assert_series_equal(mine.tickers["IBM"].splits, ours.Ticker("IBM", store=store).splits)


def test_what_else_scripts_name_of_yfinance_works_or_says_why_not() -> None:
    assert ours.__version__ == yf.__version__
    assert ours.enable_debug_mode is yf.enable_debug_mode
    with pytest.raises(AttributeError, match="has no Search: a store has prices"):
        _ = ours.Search
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        _ = ours.nosuch


DOWNLOADS: list[Span] = [
    {},
    {"group_by": "ticker", "actions": True, "auto_adjust": False},
    {"ignore_tz": False, "keepna": True},
    {"interval": "1wk", "actions": True},
    {"interval": "1mo", "back_adjust": True, "auto_adjust": False},
    {"period": "1mo"},
]


@pytest.mark.parametrize("how", DOWNLOADS, ids=str)
def test_download(session: LoopbackSession, store: LocalObjectStore, how: Span) -> None:
    span: Span = {} if "period" in how else {"start": "2005-02-14", "end": "2005-09-01"}
    asked: Span = {**span, **how, "progress": False}
    theirs = yf.download(SYMBOLS, session=session, threads=False, **asked)
    assert theirs is not None
    mine = ours.download(" ".join(SYMBOLS).lower(), store=store, **asked)
    if how.get("group_by") == "ticker":
        # yfinance has the symbols as they happen to come.
        assert list(mine.columns.unique("Ticker")) == SYMBOLS
        theirs = theirs[mine.columns]
    same(mine, theirs, exactness(how))
    one, other = (
        ask.download("IBM", multi_level_index=False, **more, **asked)
        for ask, more in ((ours, {"store": store}), (yf, {"session": session, "threads": False}))
    )
    same(one, other, exactness(how))


def test_repaired_weeks_and_months_are_of_adjusted_days(
    store: LocalObjectStore, session: LoopbackSession
) -> None:
    ticker = ours.Ticker("IBM", store=store)
    days = ticker.history(start="2005-01-03", end="2005-12-31")
    ex_dates = days.index[days["Dividends"] > 0]
    assert len(ex_dates) == 4
    asked: Span = {"start": "2005-01-03", "end": "2005-12-31"}
    for interval, span in (("1wk", "W-SUN"), ("1mo", "ME")):
        true = days["Close"].resample(span).last().to_numpy()
        repaired = ticker.history(interval=interval, repair=True, **asked)
        assert repaired["Close"].to_numpy() == pytest.approx(true, rel=1e-12)
        assert not repaired["Repaired?"].any()
        # As Yahoo does it, a dividend within the period is taken off the close of its end as well.
        served = ticker.history(interval=interval, **asked)
        off = served["Close"] / repaired["Close"] - 1
        within = served.index[(served["Dividends"] > 0) & ~served.index.isin(ex_dates)]
        assert len(within) >= 3
        assert (off[within] < -1e-3).all()
        assert off.drop(within).abs().max() < 1e-12


def test_an_api_in_place_of_the_store(
    store: LocalObjectStore, session: LoopbackSession, tmp_path: Path
) -> None:
    api = Served(Settings(store=store.location, exchanges=("ASX", "US"), now=NOW))
    try:
        asked: Span = {"start": "2005-02-14", "end": "2005-04-01", "progress": False, "actions": True}
        over, directly = (ours.download(SYMBOLS, store=at, **asked) for at in (api.url, store))
        assert_frame_equal(over, directly)
        one, other = (ours.Ticker("AAB.AX", store=at).actions for at in (api.url, store))
        assert_frame_equal(one, other)
        for name, at in (("over.csv", api.url), ("directly.csv", store)):
            export("csv", tmp_path / name, symbols=["IBM"], adjust="total_return", store=at)
        assert (tmp_path / "over.csv").read_bytes() == (tmp_path / "directly.csv").read_bytes()
    finally:
        api.close()


def test_what_is_not_there(
    store: LocalObjectStore, session: LoopbackSession, caplog: pytest.LogCaptureFixture
) -> None:
    for wrong in ("1m", "60m", "5d", "3mo"):
        with pytest.raises(ours.NotServed, match=f"interval='{wrong}'.*1d, 1wk, 1mo"):
            ours.download("IBM", interval=wrong, store=store)
    with pytest.raises(ours.NotServed, match="prepost"):
        ours.Ticker("IBM", store=store).history(prepost=True)
    with pytest.raises(AttributeError, match=r"Ticker\.news is not served"):
        _ = ours.Ticker("IBM", store=store).news
    with pytest.raises(AttributeError, match="no attribute 'nwes'"):
        _ = ours.Ticker("IBM", store=store).nwes
    with caplog.at_level(logging.ERROR, "yfinance"):
        frame = ours.download("IBM AAPK", start="2005-11-01", progress=False, store=store)
    assert frame["Close", "AAPK"].isna().all()
    assert frame["Close", "IBM"].notna().all()
    assert "AAPK is not in the catalog; near ones: AAPL" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.ERROR, "yfinance"):
        assert ours.Ticker("US4592001014", store=store).history().empty
        assert ours.Ticker("IBM", store=store).history(start="1999-01-01", end="1999-02-01").empty
    assert "is an ISIN" in caplog.text
    assert "no prices of IBM are stored between 1999-01-01 and 1999-01-31" in caplog.text
    monkeyed = yf.config.debug.hide_exceptions
    try:
        yf.config.debug.hide_exceptions = False
        with pytest.raises(YFPricesMissingError, match="AAPK is not in the catalog"):
            ours.Ticker("AAPK", store=store).history()
    finally:
        yf.config.debug.hide_exceptions = monkeyed


def test_the_signatures_are_those_of_yfinance() -> None:
    from yfinance.scrapers.history import PriceHistory

    for mine, theirs in ((ours.download, yf.download), (ours.Ticker.history, PriceHistory.history)):
        told = {n: p.default for n, p in inspect.signature(mine).parameters.items() if n != "store"}
        assert told == {n: p.default for n, p in inspect.signature(theirs).parameters.items()}
        assert list(told) == list(inspect.signature(theirs).parameters)
    assert [*inspect.signature(ours.Ticker).parameters] == [*inspect.signature(yf.Ticker).parameters, "store"]
