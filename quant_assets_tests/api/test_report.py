"""The report pages: what they say of a small store, where they lie, and that they need nobody."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from quant_assets.cli.app import app
from quant_assets.cli.usage import UsageProblem
from quant_assets.exchanges import enabled
from quant_assets.maintenance.report.figures import StoreReport, read_report
from quant_assets.maintenance.report.keeping import keep_pages, pages
from quant_assets.maintenance.report.page import heat_years, percent, shade, size_in_words
from quant_assets.maintenance.verify import verify_store
from quant_assets.market.coverage import CellState
from quant_assets.market.inventory import CELLS_SCHEMA, by_month, stored_by_month
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.fetch_reports import write_report
from quant_assets.tables.layout import DAILY, FETCH_REPORTS, manifest_key, report_key, report_page_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets_tests.api.desk import NOW

RUN = {
    "run": "0123456789", "outcome": "PARTIAL", "started": "2012-04-02T22:00:00+00:00", "queued": None,
    "seconds": 12.5, "requests": 4, "job": "daily_prices_us", "partitions": "2012-03-30|US", "exchange": "US",
    "cells": "complete=1", "error": "<script>alert(1)</script>",
}  # fmt: skip


def read(store: ObjectStore) -> StoreReport:
    return read_report(store, enabled(["ASX", "US", "LSE"]), NOW)


def plain(html: str) -> str:
    """The texts of a page, one space between them."""
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S)).split())


def test_the_figures_of_an_exchange(store: ObjectStore) -> None:
    report = read(store)
    assert [one.code for one in report.exchanges] == ["ASX", "US"]
    one = report.one("US")
    assert (one.whole["complete"], one.whole["partial"], one.whole["rows"]) == (60, 1, 121)
    assert one.fresh is not None
    assert (one.fresh.last, one.fresh.late, one.late_seconds) == (
        date(2012, 3, 30), (date(2012, 4, 2),), 7200.0,
    )  # fmt: skip
    assert one.holes == [("AAPL", "no_bar", "no bar between two others", 1)]
    assert one.restated.select("symbol", "field", "old", "new").rows() == [("IBM", "close", "116.8", "150.0")]
    assert one.held["symbol"].to_list() == ["AAPL"]
    assert one.symbols == 2
    assert one.bytes == sum(
        file.stat().st_size
        for file in Path(store.location).rglob("*")
        if "exchange=US" in str(file) and file.is_file()
    )


def test_no_report_of_a_run_is_read_for_the_figures(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in range(3):
        write_report(store, "US", NOW - timedelta(days=run), f"{run:08}", {"result": "SUCCESS"})
    read_keys: list[str] = []
    plain_get = type(store).get
    monkeypatch.setattr(type(store), "get", lambda self, key: read_keys.append(key) or plain_get(self, key))
    report = read(store)
    assert read_keys
    assert [key for key in read_keys if key.startswith(FETCH_REPORTS)] == []
    assert report.one("US").sizes[FETCH_REPORTS].objects == 3


def test_pages_say_it_ask_nobody_and_take_nothing_for_markup(store: ObjectStore) -> None:
    report = read(store)
    made = pages(report, [RUN])
    assert set(made) == {None, "ASX", "US"}
    for html in made.values():
        assert "<script" not in html
        assert not re.search(r"""(src|href)=["'](?!exchange=|all\.html|data:,)""", html)
        assert "url(" not in html
    us, whole = plain(made["US"]), plain(str(made[None]))
    for said in (
        "1 session overdue, for 2 h 0 min",
        "the first was due 2012-04-02 17:00 (America/New_York).",
        "AAPL no_bar no bar between two others 1",
        "IBM 2012-03-01 close 116.8 150.0 correction", "AAPL row 2012-03-30 2012-04-01 1 day too low",
        "01234567 PARTIAL 2012-04-02 22:00 12.5 daily_prices_us", "2012 100 % 97.5 % 100 %",
    ):  # fmt: skip
        assert said in us
    assert "ASX 1 session overdue, for 16 h 0 min 2012-03-30 2 61 0 0 3 100 %" in whole
    assert "None is known." in plain(made["ASX"])
    assert "Feb 2012: 97.5 % of the rows expected; 19 complete, 1 partial" in str(made["US"])


def test_an_empty_exchange_and_what_cannot_be_read_are_said(store: ObjectStore) -> None:
    store.put("symbol_profiles/exchange=US.parquet", b"no table")
    store.put(manifest_key(DAILY, "ASX", 2012), b"{")
    report = read(store)
    assert [one.code for one in report.exchanges] == ["US"]
    assert "symbol_profiles/exchange=US.parquet" in report.one("US").problems[0]
    assert "No profiles yet" in plain(pages(report)["US"])
    Manifest(store, DAILY).replace("ASX", [Entry("2012-01-03", CellState.FAILED, expected=2)])
    never = plain(pages(read(store))["ASX"])
    assert "2012 0.0 %" in never
    assert "at least 64 sessions overdue" in never


def test_months_without_a_cell_or_an_expectation_have_no_share() -> None:
    rows = [
        (date(2011, 12, 1), "complete", 10, 5, 1000, 999, date(2012, 2, 1)),
        (date(2012, 2, 1), "closed", 0, 0, 0, 0, None),
        (date(2012, 3, 1), "complete", 10, 7, 10, 10, date(2012, 3, 2)),
    ]
    cells = pl.DataFrame(rows, schema=CELLS_SCHEMA, orient="row")
    heat = dict(heat_years(by_month(cells)))
    assert list(heat) == [2012, 2011]
    assert heat[2011][11] == ("c5", "99.9 %", "Dec 2011: 99.9 % of the rows expected; 1 complete")
    assert [square[:2] for square in heat[2012][:4]] == [("c0", ""), ("c0", "–"), ("c6", "100 %"), ("c0", "")]
    assert stored_by_month(cells).rows() == [(date(2012, 2, 1), 1, 5, 5), (date(2012, 3, 1), 1, 7, 12)]
    assert [shade(share) for share in (1.0, 0.999, 0.96, 0.91, 0.6, 0.1, None)] == [
        "c6", "c5", "c4", "c3", "c2", "c1", "c0",
    ]  # fmt: skip
    assert (percent(0.99999), percent(1.0), size_in_words(999), size_in_words(1_234_567)) == (
        "99.9 %", "100 %", "999 bytes", "1.2 MB",
    )  # fmt: skip


def test_the_command_keeps_them_and_the_api_serves_them(
    store: ObjectStore, tmp_path: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/v1/reports").json() == {"pages": []}
    missing = client.get("/v1/reports/exchange=US.html")
    assert (missing.status_code, "quant-assets report" in missing.json()["detail"]) == (404, True)
    for name in ("nothing.html", "exchange=us.html", "all"):
        assert client.get(f"/v1/reports/{name}").status_code == 404
    for name, value in {"HOME": tmp_path, "STORE": store.location, "NOW": "2012-04-02T23:00:00Z"}.items():
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", str(value))

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["report", *arguments])

    store.put(report_key("US", NOW, "damaged"), b"{")
    aside = tmp_path / "us.html"
    assert call("--exchange", "US", "--out", str(aside)).exit_code == 0
    assert store.head(report_page_key("US")) is None
    assert "New York" in aside.read_text()
    assert "damaged.json: no" in plain(aside.read_text())
    assert [line.rpartition("/")[2] for line in call().stdout.split()] == [
        "all.html", "exchange=ASX.html", "exchange=US.html",
    ]  # fmt: skip
    assert isinstance(call("--exchange", "LSE").exception, UsageProblem)
    whole, key = store.get(report_page_key("US")).data, report_page_key("US")
    assert not any(one.startswith("report_pages/") for one in verify_store(store).damaged)
    store.put(key, whole[:-1000])
    assert "`quant-assets report` makes it anew" in verify_store(store).damaged[key]
    store.put(key, whole)

    listed = client.get("/v1/reports").json()["pages"]
    assert [one["path"] for one in listed] == [
        "/v1/reports/all.html", "/v1/reports/exchange=ASX.html", "/v1/reports/exchange=US.html",
    ]  # fmt: skip
    served = client.get("/v1/reports/exchange=US.html")
    assert served.text == store.get(report_page_key("US")).data.decode()
    assert served.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in served.headers["content-security-policy"]
    again = client.get("/v1/reports/exchange=US.html", headers={"If-None-Match": served.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_pages_are_replaced_whole(store: ObjectStore) -> None:
    keep_pages(store, {None: "one", "US": "two"})
    places = keep_pages(store, {None: "three"})
    assert places == {None: store.uri("report_pages/all.html")}
    assert store.get("report_pages/all.html").data == b"three"
    assert store.get("report_pages/exchange=US.html").data == b"two"
