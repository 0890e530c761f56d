"""Tables of web pages: which one, which column, cells over several rows, footnotes; and pages that have moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.sources import SourceFailed
from quant_assets.catalog.sources.html_grid import MOST_SPANNED, tables_of
from quant_assets_tests.catalog.conftest import Ask
from quant_assets_tests.web import Web

# Shaped like the encyclopaedia's page of the S&P 500: constituents, then changes with a header of two rows.
SP500 = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>List</title><style>td {}</style></head><body>
<table class="infobox"><tr><td>Not a list</td></tr></table>
<table class="wikitable sortable" id="constituents">
<tbody><tr><th><a href="/x">Symbol</a>
</th><th>Security</th><th>GICS Sector</th><th>GICS<br/>Sub-Industry</th><th>Date added<sup class="reference">[1]</sup>
</th></tr>
<tr><td><a href="https://www.nyse.com/quote/XNYS:MMM">MMM</a>
</td><td><a>3M</a><sup class="noprint reference"><a>a</a></sup></td><td>Industrials</td>
<td>Conglomerates<sup>2</sup></td><td>1957-03-04</td></tr>
<tr><td>BRK.B</td><td>Berkshire Hathaway<sup>[2]</sup></td><td>Financials</td><td>Multi-Sector</td>
<td>2010-02-16</td></tr>
<tr><td>GOOGL<script>alert(1)</script></td><td>Alphabet Inc. (Class&nbsp;A)<span style="display: none">x</span></td>
<td rowspan="2">Communication Services</td><td>Interactive Media &amp; Services</td><td></td></tr>
<tr><td>GOOG</td><td>Alphabet Inc. (Class C)</td><td>Interactive Media &amp; Services</td><td></td></tr>
</tbody></table>
<table class="wikitable" id="changes">
<tr><th rowspan="2">Date</th><th colspan="2">Added</th><th colspan="2">Removed</th></tr>
<tr><th>Ticker</th><th>Security</th><th>Ticker</th><th>Security</th></tr>
<tr><td>March 18, 2024</td><td>SMCI</td><td>Supermicro</td><td>WHR</td><td>Whirlpool</td></tr>
</table></body></html>"""

EXPECTED = [
    ConfiguredSymbol(symbol="MMM", name="3M", sector="Industrials", industry="Conglomerates2"),
    ConfiguredSymbol(symbol="BRK-B", name="Berkshire Hathaway", sector="Financials", industry="Multi-Sector"),
    ConfiguredSymbol(
        symbol="GOOGL", name="Alphabet Inc. (Class A)", sector="Communication Services",
        industry="Interactive Media & Services",
    ),
    ConfiguredSymbol(
        symbol="GOOG", name="Alphabet Inc. (Class C)", sector="Communication Services",
        industry="Interactive Media & Services",
    ),
]  # fmt: skip
COLUMNS = {"symbol": "Symbol", "name": "Security", "sector": "GICS Sector", "industry": "GICS Sub-Industry"}


@pytest.mark.parametrize("table", ["1", "Symbol", "gics sector", "Date added"])
def test_a_page_shaped_like_the_list_of_an_index(ask: Ask, web: Web, table: str) -> None:
    url = web.put("/sp500", SP500, Content_Type="text/html; charset=utf-8")
    assert ask("US", kind="html_table", url=url, table=table, columns=COLUMNS, replace={".": "-"}) == EXPECTED


def test_rows_before_the_headers_are_skipped(ask: Ask, web: Web) -> None:
    page = """<table><tr><td>1</td></tr></table><table><tr><th colspan="2">Members</th></tr>
        <tr><th>Code</th><th>Name</th></tr><tr><td>GE</td><td>General</td></tr><tr><td>A B</td></tr></table>"""
    wrong = {"kind": "html_table", "url": web.put("/a", page), "columns": {"symbol": "Code"}, "skip": "1"}
    # Rows are counted as on the page.
    for table in ("Code", "1"):
        with pytest.raises(SourceFailed, match=r"table 1: row 4: symbol 'A B'"):
            ask("US", table=table, **wrong)
    right = {**wrong, "url": web.put("/b", page.replace("A B", "IBM"))}
    assert [one.symbol for one in ask("US", table="Code", **right)] == ["GE", "IBM"]
    with pytest.raises(SourceFailed, match=r"table 0: there is no column 'Code'; its headers are none"):
        ask("US", table="0", **right)


def test_of_tables_with_the_same_header_the_one_with_all_columns_is_taken(ask: Ask, web: Web) -> None:
    table = "<table><tr><th>Code</th><th>{}</th></tr><tr><td>{}</td><td>x</td></tr></table>"
    url = web.put("/two", table.format("Weight", "1") + table.format("Name", "700"))
    source: dict[str, Any] = {"kind": "html_table", "url": url, "table": "Code", "pad": "4", "suffix": ".HK"}
    columns = {"symbol": "Code", "name": "Name"}
    assert ask("HKEX", columns=columns, **source) == [ConfiguredSymbol(symbol="0700.HK", name="x")]
    with pytest.raises(
        SourceFailed, match="the tables 0, 1 have the header 'Code'; write the number of one as `table`"
    ):
        ask("HKEX", columns={"symbol": "Code"}, **source)
    with pytest.raises(SourceFailed, match="the tables 0, 1 have the header 'Code'"):
        ask("HKEX", columns={"symbol": "Code", "name": "Company"}, **source)


def test_a_page_that_was_saved_and_one_in_another_encoding(ask: Ask, tmp_path: Path) -> None:
    page = '<html><head><meta charset="{}"></head><table><tr><th>symbol<th>name<tr><td>A<td>Café</table>'
    source: dict[str, Any] = {"kind": "html_table", "columns": {"symbol": "symbol", "name": "name"}}
    for name, declared, encoding in (
        ("a", "iso-8859-1", "latin-1"),
        ("b", "utf-8", "utf-8"),
        ("c", "x", "utf-8"),
    ):
        (tmp_path / name).write_bytes(page.format(declared).encode(encoding))
        assert ask("US", url=str(tmp_path / name), **source) == [ConfiguredSymbol(symbol="A", name="Café")]


@pytest.mark.parametrize(
    ("page", "source", "told"),
    [
        ("", {}, ": no page that can be read; correct `url`"),
        ("<html><body><p>Moved.</p></body></html>", {}, ": no table on the page; correct `url`"),
        ("<table></table>", {}, ": no table on the page"),
        (SP500, {"table": "3"}, ": there is no table 3, the page has 3, counted from 0; correct `table`"),
        (SP500, {}, ", table 0: there is no column 'Symbol'; its headers are 'Not a list'; correct columns"),
        (SP500, {"table": "2"}, ", table 2: there is no column 'Symbol'; its headers are 'Date', 'Added', 'Added'"),
        (
            SP500,
            {"table": "Ticker symbol"},
            ": none of its 3 tables has the header 'Ticker symbol' (0: 'Not a list'; 1: 'Symbol', 'Security', 'GICS",
        ),
        (SP500, {"table": "1"}, ", table 1: row 3: symbol"),
        (
            "<table><tr><th>Symbol<tr><td>BRK-B<tr><td>A/B</table>",
            {},
            ", table 0: row 3: symbol 'A/B': a symbol is made of letters",
        ),
        ("<table><tr><th>Symbol<tr><td>A<tr><td>A</table>", {}, ", table 0: there twice: A (rows 2 and 3)"),
        ("<table><tr><th>Symbol</table>", {}, ", table 0: no row under the headers"),
    ],
)  # fmt: skip
def test_a_page_whose_table_has_moved_is_told(
    ask: Ask, web: Web, page: str, source: dict[str, str], told: str
) -> None:
    url = web.put("/moved", page.replace("BRK.B", "BRK/B") if told.endswith("row 3: symbol") else page)
    with pytest.raises(SourceFailed) as refused:
        ask("US", kind="html_table", url=url, columns={"symbol": "Symbol"}, **source)
    assert str(refused.value).startswith(f"ours (html_table): {url}{told}")


def rows(table: str) -> list[list[str]]:
    tables = tables_of(f"<html><body>{table}</body></html>".encode())
    assert tables is not None
    ((headers, others),) = tables
    return [headers, *(cells for _, cells in others)]


def test_a_cell_over_several_rows_and_columns_stands_in_each_of_them() -> None:
    assert rows(
        "<table><thead><tr><th>a<th>b<th>c<th>d</thead><tbody>"
        '<tr><td rowspan=3>1<td colspan="2" rowspan=2>2<td>3'
        "<tr><td>4"
        "<tr><td>5<td>6<td rowspan=9>7"
        "<tr><td>8<td>9<td>10"
        "<tfoot><tr><td>11</tfoot></table>"
    ) == [
        ["a", "b", "c", "d"],
        ["1", "2", "2", "3"],
        ["1", "2", "2", "4"],
        ["1", "5", "6", "7"],
        ["8", "9", "10", "7"],
        ["11"],
    ]


@pytest.mark.parametrize(
    ("span", "cells"),
    [
        ("0", 1),
        ("-1", 1),
        ("x", 1),
        ("", 1),
        ("٣", 1),
        ("3", 3),
        (" 2 ", 2),
        ("1000", 1000),
        ("1001", MOST_SPANNED),
    ],
)
def test_spans_that_are_none_are_one_and_none_is_endless(span: str, cells: int) -> None:
    assert rows(f'<table><tr><th>a<tr><td colspan="{span}">1</table>') == [["a"], ["1"] * cells]


def test_a_page_that_would_fill_the_memory_is_no_page() -> None:
    row = "<tr>" + '<td colspan="1000">x' * 100
    assert tables_of(f"<table>{row * 19}</table>".encode()) is not None
    assert tables_of(f"<table>{row * 21}</table>".encode()) is None


def test_tables_inside_a_table_stand_by_themselves_and_header_rows_below_are_left_out() -> None:
    tables = tables_of(
        b"<table><tr><th>a<tr><td>1<table><tr><td>in</table> after<tr><th>a<tr><td><p>x</p><p>y</p></table>"
    )
    assert tables == [(["a"], [(2, ["1 after"]), (4, ["x y"])]), (["in"], [])]


@pytest.mark.parametrize(
    "page", [b"<div>" * 100_000, b"\xff\xfe\x00" * 100, b"<table" * 10_000, b"\0" * 1000]
)
def test_what_is_no_page_does_no_harm(page: bytes) -> None:
    tables = tables_of(page)
    assert all(
        not any(cells) for table in tables or [] for cells in (table[0], *(row for _, row in table[1]))
    )
