"""Universes of universes, and text tables: each constituent as it comes, and each mistake named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.sources import SourceFailed
from quant_assets_tests.catalog.conftest import Ask
from quant_assets_tests.web import Page, Web


def symbols(*names: str, **known: str) -> list[ConfiguredSymbol]:
    return [ConfiguredSymbol.model_validate({"symbol": name, **known}) for name in names]


# --- universes written out, and made of others


def test_a_static_universe_is_what_is_written(ask: Ask) -> None:
    assert ask("US", kind="static", symbols=["AAPL", {"symbol": "IBM", "name": "Big Blue"}]) == [
        ConfiguredSymbol(symbol="AAPL"),
        ConfiguredSymbol(symbol="IBM", name="Big Blue"),
    ]


def test_a_union_has_each_symbol_once_as_its_first_member_knows_it(ask: Ask) -> None:
    others = {
        "a": symbols("AAPL", "IBM", name="from a"),
        "b": symbols("MSFT", "IBM", name="from b"),
        "c": symbols("ORCL"),
    }
    assert ask("US", others, kind="union", of=["b", "a"]) == [
        ConfiguredSymbol(symbol="MSFT", name="from b"),
        ConfiguredSymbol(symbol="IBM", name="from b"),
        ConfiguredSymbol(symbol="AAPL", name="from a"),
    ]


def test_minus_leaves_what_none_of_the_others_has(ask: Ask) -> None:
    others = {"a": symbols("AAPL", "IBM", "MSFT", "ORCL"), "b": symbols("MSFT"), "c": symbols("AAPL", "XOM")}
    assert ask("US", others, kind="minus", of="a", without=["b", "c"]) == symbols("IBM", "ORCL")
    with pytest.raises(
        SourceFailed, match=r"^ours \(minus\): nothing of b is left without a, c; correct the lists$"
    ):
        ask("US", others, kind="minus", of="b", without=["a", "c"])


@pytest.mark.parametrize(
    "source", [{"kind": "union", "of": ["a", "b", "c"]}, {"kind": "minus", "of": "a", "without": ["b", "c"]}]
)
def test_what_a_universe_is_made_of_has_to_be_known(ask: Ask, source: dict[str, Any]) -> None:
    with pytest.raises(
        SourceFailed, match=r"the constituents of b, c are not known; refresh what it is made of first"
    ):
        ask("US", {"a": symbols("AAPL")}, **source)


# --- text tables


def test_a_text_table_in_another_encoding_and_with_another_delimiter(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "asx.csv").write_bytes(
        'Company;Listed;Code;Sector\r\nCaf\xe9 "Ltd";1;bhp;Materials\r\n;;;\r\n"A;B\nC";2; CBA.AX ;\r\n'.encode(
            "latin-1"
        )
    )
    assert ask(
        "ASX",
        kind="csv",
        path=str(tmp_path / "asx.csv"),
        encoding="latin-1",
        delimiter=";",
        columns={"symbol": "code", "name": "Company", "sector": "Sector"},
        suffix=".AX",
    ) == [
        ConfiguredSymbol(symbol="BHP.AX", name='Café "Ltd"', sector="Materials"),
        ConfiguredSymbol(symbol="CBA.AX", name="A;B C"),
    ]


def test_a_text_table_from_the_web(ask: Ask, web: Web) -> None:
    url = web.put("/us.csv", "symbol\nBRK.B\nAAPL\n")
    assert ask("US", kind="csv", path=url, replace={".": "-"}) == symbols("BRK-B", "AAPL")


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("utf-8", b"\xef\xbb\xbfsymbol\nAAPL\n"),
        ("utf-8", b'\xef\xbb\xbf"symbol"\nAAPL\n'),
        ("utf-16", "symbol\nAAPL\n".encode("utf-16")),
        ("utf-16-le", b"\xff\xfe" + "symbol\nAAPL\n".encode("utf-16-le")),
        ("utf-8-sig", b"symbol\r\rAAPL\r"),
    ],
)
def test_a_byte_order_mark_is_no_part_of_a_header(
    ask: Ask, tmp_path: Path, encoding: str, data: bytes
) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    assert ask("US", kind="csv", path=str(tmp_path / "a.csv"), encoding=encoding) == symbols("AAPL")


def test_lines_before_the_headers_are_skipped_and_everything_known_is_taken(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        'As at "today\nTicker,Name\n'
        "Ticker,Name,Kind,ISIN,Sector,Industry,Currency,From,To\n"
        "AAPL,Apple,equity,US0378331005,Tech,Phones,USD,1980-12-12,\n"
        "GONE,Go\xadne\x07,etf,,,,,2001-01-02,2010-03-04,,\n",
        encoding="utf-8",
    )
    columns = {
        "symbol": "Ticker", "name": "Name", "asset_type": "Kind", "isin": "ISIN", "sector": "Sector",
        "industry": "Industry", "currency": "Currency", "listed_on": "From", "delisted_on": "To",
    }  # fmt: skip
    expected = [
        {
            "symbol": "AAPL", "name": "Apple", "asset_type": "equity", "isin": "US0378331005", "sector": "Tech",
            "industry": "Phones", "currency": "USD", "listed_on": "1980-12-12",
        },
        {
            "symbol": "GONE", "name": "Gone", "asset_type": "etf",
            "listed_on": "2001-01-02", "delisted_on": "2010-03-04",
        },
    ]  # fmt: skip
    assert ask("US", kind="csv", path=str(tmp_path / "a.csv"), skip="2", columns=columns) == [
        ConfiguredSymbol.model_validate(one) for one in expected
    ]


@pytest.mark.parametrize(
    ("exchange", "source", "written", "symbol"),
    [
        ("HKEX", {"pad": "4", "suffix": ".HK"}, "700", "0700.HK"),
        ("HKEX", {"pad": "4", "suffix": ".HK"}, "09988", "09988.HK"),
        ("HKEX", {"pad": "5", "suffix": ".HK"}, "9988.hk", "09988.HK"),
        ("HKEX", {}, "0700.hk", "0700.HK"),
        ("US", {"replace": {".": "-"}}, "brk.b", "BRK-B"),
        ("US", {"replace": {"/": "-", "-": "-P"}}, "A/B", "A-PB"),
        ("US", {"replace": {"*": ""}}, "A*", "A"),
        ("US", {"replace": {" us": ""}}, "IBM US", "IBM"),
        # The suffix's own dot is not replaced.
        ("TSX", {"replace": {".": "-"}, "suffix": ".TO"}, "TECK.B", "TECK-B.TO"),
        ("TSX", {"replace": {".": "-"}, "suffix": ".TO"}, "TECK.B.TO", "TECK-B.TO"),
        ("TSX", {"replace": {".": "-"}}, "TECK.B.TO", "TECK-B.TO"),
        ("US", {}, "\xa0AAPL ", "AAPL"),
    ],
)
def test_symbols_are_spelled_as_yahoo_does(
    ask: Ask, tmp_path: Path, exchange: str, source: dict[str, Any], written: str, symbol: str
) -> None:
    (tmp_path / "a.csv").write_text(f"symbol\n{written}\n")
    assert ask(exchange, kind="csv", path=str(tmp_path / "a.csv"), **source) == symbols(symbol)


def also(*fields: str) -> dict[str, Any]:
    """Columns that are called as the fields are: the symbol's, and these."""
    return {"columns": {field: field for field in ("symbol", *fields)}}


@pytest.mark.parametrize(
    ("text", "source", "told"),
    [
        ("", {}, "nothing in it; correct `path`, or `skip`"),
        ("\n,,\n", {}, "nothing in it"),
        ("symbol\n", {}, "no row under the headers; correct the source"),
        ("symbol,name\n,\n , \n", {}, "no row under the headers"),
        (
            "Code,Name\nA,B\n",
            {},
            "there is no column 'symbol'; its headers are 'Code', 'Name'; correct columns: {symbol: …}",
        ),
        ("symbol\nA\n", also("name"), "no column 'name'; its headers are 'symbol'; correct columns: {name: …}"),
        ("symbol,Symbol,SYMBOL\nA,B,C\n", {"columns": {"symbol": "sYMBOL"}}, "3 columns are called 'sYMBOL'"),
        ("symbol;name\nA;B\n", {}, "'symbol;name'; its cells are not divided by ',': write delimiter: \";\""),
        ("symbol\tname\nA\tB\n", {}, 'write delimiter: "\\t"'),
        ("symbol,name\nA,B,C\n", {}, "row 2: 3 cells under 2 headers; put quotes around what holds the delimiter"),
        ('symbol,name\nA,"B\nC\nD\n', {}, "no text table (unexpected end of data)"),
        ('symbol,name\nA,"B"C\n', {}, "row 2: no text table ("),
        ("symbol,name\nA,B\n,C\n", also("name"), "row 3: no symbol beside 'C'; correct the row"),
        ("symbol,name\nA,B\n,C\n", {}, "row 3: no symbol; correct the row"),
        ("symbol\nA\nB\na\nB\n", {}, "there twice: A (rows 2 and 4), B (rows 3 and 5); remove one of each"),
        ("symbol\nA\nB\nA\nA\n", {}, "there twice: A (rows 2 and 4), A (rows 2 and 5); remove one of each"),
        ("symbol\nBRK.B\nBRK-B\n", {"replace": {".": "-"}}, "there twice: BRK-B (rows 2 and 3)"),
        ("symbol\n../../etc/passwd\n", {}, "row 2: symbol '../../ETC/PASSWD': a symbol is made of letters"),
        ("symbol\nAA\x1b[31mPL\n", {}, "row 2: symbol 'AA [31MPL': a symbol is made of letters"),
        ("symbol\n" + "A" * 100_000 + "\n", {}, "row 2: the symbol has 100000 characters; write no more than 200"),
        ("symbol\n" + "A" * 200 + "\n", {}, "row 2: symbol 'AAA"),
        ("symbol\n" + "A" * 140_000 + "\n", {}, "row 2: no text table (field larger than field limit (131072))"),
        ("symbol,name\nA," + "B" * 201 + "\n", also("name"), "row 2: the name has 201 characters"),
        ("symbol\nBHP.AX\n", {}, "row 2: BHP.AX is no symbol of US; list it under its own exchange, or"),
        ("symbol\nBRK.B\n", {}, "row 2: BRK.B: Yahoo spells it BRK-B; write that, or correct the source"),
        ("symbol\n^GSPC\n", {}, "row 2: ^GSPC is no symbol of US"),
        ("symbol,isin\nA,US0378331006\n", also("isin"), "row 2: isin 'US0378331006': 'US0378331006' is no ISIN"),
        ("symbol,currency\nA,AUD\n", also("currency"), "row 2: A: US does not quote in 'AUD'"),
        ("symbol,listed_on\nA,20200102\n", also("listed_on"), "row 2: listed_on '20200102': '20200102' is no day"),
        (
            "symbol,listed_on,delisted_on\nA,2020-01-02,2020-01-01\n",
            also("listed_on", "delisted_on"),
            "row 2: delisted_on 2020-01-01 is before listed_on 2020-01-02; correct the row",
        ),
    ],
)  # fmt: skip
def test_a_text_table_that_cannot_be_used_is_named_with_the_place(
    ask: Ask, tmp_path: Path, text: str, source: dict[str, Any], told: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, newline="")
    with pytest.raises(SourceFailed) as refused:
        ask("US", kind="csv", path=str(path), **source)
    message = str(refused.value)
    assert message.startswith(f"ours (csv): {path}: ")
    assert told in message
    assert message.isprintable()
    assert len(message) < 600


@pytest.mark.parametrize(
    ("data", "encoding", "told"),
    [
        (b"symbol,n\nA,Caf\xe9\n", "utf-8", "is not utf-8 at byte 14; write its encoding, such as encoding: latin-1"),
        ("symbol\nA\n".encode("utf-16"), "utf-8", "mark of utf-16, and is not utf-8; write encoding: utf-16"),
        ("symbol\nA\n".encode("utf-32"), "utf-16", "begins with the byte-order mark of utf-32, and is not utf-16"),
        (b"\xef\xbb\xbfsymbol\nA\n", "latin-1", "mark of utf-8, and is not iso8859-1; write encoding: utf-8"),
        (b"symbol\nAB", "utf-16", "is not utf-16 at byte"),
    ],
)  # fmt: skip
def test_another_encoding_is_told(ask: Ask, tmp_path: Path, data: bytes, encoding: str, told: str) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(SourceFailed) as refused:
        ask("US", kind="csv", path=str(tmp_path / "a.csv"), encoding=encoding)
    assert told in str(refused.value)


def test_symbols_without_the_exchanges_suffix_are_told_how_to_have_it(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("symbol\nBHP\n")
    with pytest.raises(
        SourceFailed,
        match=r"row 2: BHP has no suffix, ASX's symbols end in \.AX; write suffix: \.AX in the source$",
    ):
        ask("ASX", kind="csv", path=str(tmp_path / "a.csv"))


def test_more_cells_than_a_list_has_are_refused(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("symbol\nA" + "," * 1_999_998 + "\n")
    assert ask("US", kind="csv", path=str(path)) == symbols("A")
    path.write_text("symbol\nA" + "," * 1_999_999 + "\n")
    with pytest.raises(
        SourceFailed, match=r"a\.csv: row 2: more than 2,000,000 cells until here; name a shorter list$"
    ):
        ask("US", kind="csv", path=str(path))


def test_a_large_document_is_refused_with_the_limit_and_how_to_raise_it(
    ask: Ask, tmp_path: Path, web: Web
) -> None:
    path = tmp_path / "large.csv"
    path.write_bytes(b"symbol\nA\n")
    os.truncate(path, 50_000_000)
    web.pages["/large.csv"] = [Page(b"symbol\n" * 300_000, length=50_000_000)]
    told = r"large\.csv: is larger than {} MB; name a smaller one, or let more be read of it \(`megabytes` of"
    with pytest.raises(SourceFailed, match=told.format(20)):
        ask("US", kind="csv", path=str(path))
    with pytest.raises(SourceFailed, match=told.format(2)):
        ask("US", kind="csv", path=f"{web.url}/large.csv", megabytes="2")


def test_a_document_that_is_not_there_is_told_as_the_sources(ask: Ask, tmp_path: Path, web: Web) -> None:
    with pytest.raises(
        SourceFailed, match=r"^ours \(csv\): .*no\.csv: cannot be read \(No such file or directory\); "
    ):
        ask("US", kind="csv", path=str(tmp_path / "no.csv"))
    with pytest.raises(
        SourceFailed, match=r"^ours \(csv\): http.*/no\.csv: answered with status 404; correct the address$"
    ):
        ask("US", kind="csv", path=f"{web.url}/no.csv")
