"""The reader with the address of an API for a store: the same frames and the same errors, over a real socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import uvicorn
from polars.testing import assert_frame_equal

from quant_assets import (
    SnapshotMismatch,
    UnknownSymbol,
    companies,
    gaps,
    listing_events,
    prices,
    profiles,
    restatements,
    snapshot_id,
    universe,
    valuations,
    weekly,
)
from quant_assets.api.app import create_app
from quant_assets.operations.keys import new_key
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound, StoreUnavailable
from quant_assets.resources.remote_api import ApiProblem
from quant_assets.resources.settings import Settings, SettingsError
from quant_assets.tables.catalog_reads import read_catalog
from quant_assets.tables.layout import CATALOG, DAILY, PROFILES, object_key
from quant_assets.tables.listing_events import Confidence, Event, ListingEvent, append_events
from quant_assets.tables.parquet import encode
from quant_assets_tests.company_desk import Desk
from quant_assets_tests.test_reader import (
    BHP,
    IBM,
    LEARNED,
    MON,
    MSFT,
    TUE,
    WED,
    bar,
    compact,
    put_cells,
    restate,
    with_catalog,
)  # fmt: skip
from quant_assets_tests.test_reader_lazy import FILTERS, SYMBOL
from quant_assets_tests.web import Page, Web, web_server

QUICK = {"QUANT_ASSETS_RETRY_WAIT_SECONDS": "0.01", "QUANT_ASSETS_ATTEMPTS": "2"}


class Served:
    """An API in a thread of this process, and what it was asked."""

    def __init__(self, settings: Settings) -> None:
        self.asked: list[str] = []
        app = create_app(settings)

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.asked.append(f"{scope['method']} {scope['path']}?{scope['query_string'].decode()}")
            await app(scope, receive, send)

        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(noting, log_level="critical", lifespan="on"))
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    """Two exchanges with a universe, profiles and a restatement. Not to be written to."""
    made = with_catalog(tmp_path_factory.mktemp("http"))
    put_cells(made, "US", *IBM, *MSFT)
    put_cells(made, "ASX", *BHP)
    compact(made, "US", 2024)
    restate(made, IBM[2], close=101.0, high=101.0)
    listed = read_catalog(made).rows
    in_index = pl.when(SYMBOL != "MSFT").then(pl.concat_list(pl.lit("an idx"))).otherwise("universes")
    made.put(object_key(CATALOG), encode(listed.with_columns(universes=in_index), {}))
    for code, symbol in (("US", "IBM"), ("ASX", "BHP.AX")):
        made.put(object_key(PROFILES, code), encode(pl.DataFrame({"symbol": [symbol]}), {}))
    return made


@pytest.fixture(scope="module")
def api(store: LocalObjectStore) -> Iterator[Served]:
    served = Served(Settings(store=store.location, now=LEARNED + timedelta(days=1)))
    yield served
    served.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_ASSETS_NOW", (LEARNED + timedelta(days=1)).isoformat())
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)


@pytest.mark.filterwarnings("ignore:.*have no cell")
@pytest.mark.parametrize(
    "how",
    [
        {}, {"symbols": "ibm bhp.ax"}, {"universe": "an idx"}, {"start": MON, "end": TUE},
        {"adjust": "split", "end": TUE}, {"adjust": "total_return", "reinvest": "ex_close"},
        {"as_of": LEARNED - timedelta(seconds=1)}, {"by": "company", "symbols": "IBM"}, {"envelope": "widened"},
    ],
    ids=str,
)  # fmt: skip
def test_prices_are_those_of_the_store(store: LocalObjectStore, api: Served, how: dict[str, Any]) -> None:
    whole = prices(store=store, **how).collect()
    assert whole.height
    assert_frame_equal(prices(store=api.url, **how).collect(), whole, check_exact=True)
    narrow = (
        prices(store=api.url, **how).filter(pl.col("date") >= TUE, SYMBOL == "IBM").select("date", "close")
    )
    expected = whole.filter(pl.col("date") >= TUE, SYMBOL == "IBM").select("date", "close")
    assert_frame_equal(narrow.collect(), expected, check_exact=True)


def test_filters_of_any_form_give_what_they_give_of_the_store(store: LocalObjectStore, api: Served) -> None:
    whole = prices(store=store).collect()
    for one in FILTERS:
        assert prices(store=api.url).filter(one).collect().equals(whole.filter(one))


def test_filters_and_columns_are_part_of_the_request(api: Served) -> None:
    query = prices(store=api.url).filter(SYMBOL == "IBM", pl.col("date") > MON, pl.col("date") <= WED)
    api.asked.clear()
    assert query.select("date", "close").collect().height == 2
    (_, asked) = api.asked
    for part in ("columns=symbol%2Cdate%2Cclose", "symbols=IBM", "start=2024-01-09", "end=2024-01-10"):
        assert part in asked
    api.asked.clear()
    assert prices("IBM", store=api.url).select("close").collect().height == len(IBM)
    assert len(api.asked) == 1
    api.asked.clear()
    assert prices(store=api.url).filter(pl.col("date") < MON, pl.col("date") > TUE).collect().is_empty()
    assert api.asked == []


def test_more_symbols_than_an_address_has_room_for_are_asked_for(
    store: LocalObjectStore, api: Served
) -> None:
    with pytest.raises(UnknownSymbol, match=r"NOBODY0000, .*more"):
        prices([f"NOBODY{n:04d}" for n in range(1000)], store=api.url).collect()
    assert api.asked[-1].startswith("POST /v1/prices/query?")
    many = ["IBM"] + ["ibm" for _ in range(3)] + ["bhp.ax", *(" IBM" for _ in ())]
    assert prices(many, store=api.url).collect().equals(prices(many, store=store).collect())


def test_the_other_tables_are_those_of_the_store(
    store: LocalObjectStore, api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for read in (
        lambda where: universe(store=where), lambda where: universe("an idx", store=where),
        lambda where: weekly(store=where), lambda where: valuations("IBM", store=where),
        lambda where: profiles(store=where), lambda where: profiles("US", store=where),
        lambda where: restatements(store=where), lambda where: restatements(universe="an idx", store=where),
        lambda where: restatements(store=where).filter(SYMBOL == "IBM").select("new"),
    ):  # fmt: skip
        ours, theirs = read(store).collect(), read(api.url).collect()
        assert_frame_equal(theirs.sort(pl.all()), ours.sort(pl.all()), check_exact=True)
    missing = gaps(store=api.url).collect()
    assert_frame_equal(missing.filter(exchange="US"), gaps(exchange="US", store=store).collect())
    assert gaps("IBM", store=api.url).collect().equals(gaps("IBM", store=store).collect())
    # More symbols than an address has room for.
    monkeypatch.setattr("quant_assets.reader.record_reads._LONGEST", 2)
    assert gaps("ibm", store=api.url).collect().equals(gaps("IBM", store=store).collect())
    kinds = gaps("IBM", store=api.url).select("kind").collect()
    assert kinds.equals(gaps("IBM", store=store).select("kind").collect())
    with pytest.raises(UnknownSymbol, match="NOSUCH"):
        gaps("IBM NOSUCH", store=api.url).collect()


def test_a_snapshot_is_one_over_http_too(store: LocalObjectStore, api: Served) -> None:
    snapshot = snapshot_id("IBM MSFT", MON, store=api.url)
    expected = prices("IBM MSFT", MON, store=store).collect()
    again = prices("IBM MSFT", MON, snapshot=snapshot, store=api.url)
    assert again.collect().equals(expected)
    assert again.filter(SYMBOL == "IBM").collect().equals(expected.filter(SYMBOL == "IBM"))
    with pytest.raises(SnapshotMismatch):
        prices("IBM", MON, snapshot=snapshot, store=api.url).collect()


def test_errors_are_those_of_the_store(store: LocalObjectStore, api: Served) -> None:
    with pytest.raises(UnknownSymbol, match="IBN") as unknown:
        prices("IBM IBN", store=api.url).collect()
    assert unknown.value.symbols == ("IBN",)
    assert "IBM" in unknown.value.near["IBN"]
    with pytest.raises(UnknownSymbol, match="IBN"):
        prices("IBM IBN", store=api.url).filter(SYMBOL == "IBM").collect()
    with pytest.raises(ValueError, match=r"no universe .?idy"):
        prices(universe="idy", store=api.url).collect()
    with pytest.raises(ObjectNotFound):
        profiles("LSE", store=api.url).collect()


def test_a_damaged_object_is_told_over_http(tmp_path: Path) -> None:
    home = with_catalog(tmp_path)
    put_cells(home, "US", *IBM)
    home.put(object_key(DAILY, "US", str(TUE)), b"PAR1 and then nothing")
    served = Served(Settings(store=home.location))
    with pytest.raises(ObjectDamaged, match=r"date=2024-01-09\.parquet"):
        prices("IBM", store=served.url).collect()
    served.close()


def test_warnings_of_the_api_are_told_where_they_were_asked_for(tmp_path: Path) -> None:
    home = with_catalog(tmp_path)
    put_cells(home, "US", bar("IBM", MON, 10.0), bar("IBM", WED, 11.0))
    served = Served(Settings(store=home.location))
    with pytest.warns(UserWarning, match=r"1 session\(s\) of US have no cell, the first 2024-01-09") as told:
        assert prices("IBM", adjust="split", store=served.url).collect().height == 2
    assert {one.filename for one in told} == {__file__}
    served.close()


def test_a_key_is_sent_where_one_is_set(store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server() as web:
        web.pages["/v1/prices"] = [Page(b'{"status": 401, "detail": "needs a key"}', 401)]
        with pytest.raises(
            ApiProblem, match=r"^needs a key \(put a key in QUANT_ASSETS_API_KEY\)$"
        ) as refused:
            prices("IBM", store=web.url).collect()
        assert refused.value.status == 401
    secret, key = new_key("reader", "read")
    served = Served(Settings(store=store.location, api_keys=key.entry()))
    monkeypatch.setenv("QUANT_ASSETS_API_KEY", "none of its")
    with pytest.raises(ApiProblem, match="key"):
        prices("IBM", store=served.url).collect()
    monkeypatch.setenv("QUANT_ASSETS_API_KEY", secret)
    monkeypatch.setenv("QUANT_ASSETS_STORE", served.url)
    assert prices("IBM").collect().equals(prices("IBM", store=store).collect())
    served.close()


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as served:
        yield served


def test_what_is_no_api_is_named(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [
        (Page(b"<html>"), ApiProblem, "is it the address of quant-assets serve"),
        (Page(b"", 404), ApiProblem, "status 404, and does not say why"),
        (Page(b"", 301, {"Location": "https://elsewhere"}), ApiProblem, "points to https://elsewhere"),
        (Page(b"", 502), StoreUnavailable, "status 502.*asked 2 times"),
        (Page(b'{"detail": "too fast"}', 429), StoreUnavailable, "too fast, asked 2 times"),
    ]
    for page, kind, told in cases:
        web.pages["/v1/prices"] = [page]
        with pytest.raises(kind, match=told):
            prices("IBM", store=web.url).collect()
    with pytest.raises(
        StoreUnavailable, match=r"http://127.0.0.1:1 cannot be reached .*is `quant-assets serve`"
    ):
        prices("IBM", store="http://127.0.0.1:1").collect()
    for address in ("http://me:secret@host", "https://", "http://host/?a=b"):
        with pytest.raises(SettingsError, match="QUANT_ASSETS_API_KEY") as refused:
            prices("IBM", store=address).collect()
        assert "secret" not in str(refused.value)


def test_an_answer_that_ends_early_is_no_answer(web: Web, api: Served) -> None:
    import httpx

    whole = httpx.get(f"{api.url}/v1/prices", params={"symbols": "IBM", "format": "arrow"}).content
    kind = {"Content-Type": "application/vnd.apache.arrow.stream"}
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        web.pages["/v1/prices"] = [Page(whole[:length], headers=kind, length=len(whole))]
        with pytest.raises(StoreUnavailable, match="ended before it was whole"):
            prices("IBM", store=web.url).collect()
    web.pages["/v1/prices"] = [Page(whole, headers=kind)]
    assert prices("IBM", store=web.url).collect().height == len(IBM)


def test_companies_and_their_listings_are_those_of_the_store(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    renamed_at = date(2024, 3, 11)
    known = [(date(2024, 1, 2), "FB", "Facebook, Inc."), (renamed_at, "META", "Meta Platforms, Inc.")]
    for day, symbol, name in known:
        desk.make(day, symbol)
        desk.learn(day, symbol, date(2012, 5, 18), name)
        desk.make(day + timedelta(days=1), symbol)
    home = desk.store
    told = ListingEvent("META", Event.DELISTED, date(2024, 3, 1), "no bar", Confidence.TWO_KINDS)
    append_events(home, "US", [told], LEARNED)
    served = Served(Settings(store=home.location))
    for read in (
        lambda where: companies(store=where), lambda where: companies("meta", store=where),
        lambda where: companies("FB", store=where).select("symbol", "company_id"),
        lambda where: listing_events("US", store=where),
    ):  # fmt: skip
        ours, theirs = read(home).collect(), read(served.url).collect()
        assert ours.height
        assert_frame_equal(theirs, ours, check_exact=True)
    nothing = [(companies("FBX", store=served.url), "FBX"), (listing_events("USA", store=served.url), "USA")]
    for wrong, named in nothing:
        with pytest.raises(ValueError, match=named):
            wrong.collect()
    with pytest.raises(UnknownSymbol):
        companies("FBX", store=served.url).collect()
    served.close()
