"""The file of universes: both forms, and each mistake told with its line and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from quant_assets.catalog.configured import CatalogError, ConfiguredSymbol, is_isin
from quant_assets.catalog.universe import (
    SOURCES,
    CsvSource,
    ExcelSource,
    HtmlTableSource,
    IndexSource,
    MinusSource,
    ScreenerSource,
    StaticSource,
    UnionSource,
    Universe,
)
from quant_assets.catalog.universes_file import read_universes
from quant_assets.exchanges import enabled

BOTH = enabled(["US", "ASX"])


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "universes.yaml"


def test_every_kind_of_source_is_read_with_its_defaults(written: Path) -> None:
    written.write_text(
        "universes:\n"
        '  - {name: sp500, exchange: US, source: {kind: index, index: "S&P 500"}}\n'
        "  - {name: mine, exchange: US, source: {kind: static, symbols: [aapl, {symbol: IBM, name: Big Blue}]}}\n"
        "  - name: asx\n"
        "    exchange: ASX\n"
        "    phase: 2\n"
        "    enabled: false\n"
        "    depends_on: [sp500]\n"
        "    source:\n"
        "      kind: csv\n"
        "      path: lists/asx.csv\n"
        "      encoding: latin-1\n"
        '      delimiter: "\\t"\n'
        "      columns: {symbol: Code, name: Company}\n"
        '      replace: {".": "-", "*": ""}\n'
        "      pad: 3\n"
        "      suffix: .AX\n"
        "      skip: 2\n"
        "      megabytes: 5\n"
        "  - {name: web, exchange: US, source: {kind: csv, path: 'https://example.com/a.csv', encoding: }}\n"
        "  - {name: sheet, exchange: US, source: {kind: excel, path: /tmp/a.xlsx, sheet: Members}}\n"
        "  - {name: page, exchange: US, source: {kind: html_table, url: https://example.com, table: Symbol}}\n"
        "  - {name: third, exchange: US, source: {kind: html_table, url: https://example.com, table: 2}}\n"
        "  - {name: found, exchange: US, source: {kind: screener, region: us, query: {gt: [price, 5]}}}\n"
        "  - {name: both, exchange: US, source: {kind: union, of: [sp500, mine]}}\n"
        "  - {name: rest, exchange: US, source: {kind: minus, of: both, without: [mine]}}\n"
    )
    universes = {universe.name: universe for universe in read_universes(written, BOTH)}
    assert {name: one.source for name, one in universes.items()} == {
        "sp500": IndexSource(kind="index", index="S&P 500"),
        "mine": StaticSource(
            symbols=(ConfiguredSymbol(symbol="AAPL"), ConfiguredSymbol(symbol="IBM", name="Big Blue"))
        ),
        "asx": CsvSource.model_construct(
            kind="csv",
            path=str(written.parent / "lists/asx.csv"),
            encoding="iso8859-1",
            delimiter="\t",
            columns={"symbol": "Code", "name": "Company"},
            replace={".": "-", "*": ""},
            pad=3,
            suffix=".AX",
            skip=2,
            megabytes=5,
        ),
        "web": CsvSource.model_construct(
            kind="csv", path="https://example.com/a.csv", encoding="utf-8", delimiter=",",
            columns={"symbol": "symbol"}, replace={}, pad=0, suffix="", skip=0, megabytes=20,
        ),
        "sheet": ExcelSource(kind="excel", path="/tmp/a.xlsx", sheet="Members"),
        "page": HtmlTableSource(kind="html_table", url="https://example.com", table="Symbol"),
        "third": HtmlTableSource.model_validate({"kind": "html_table", "url": "https://example.com", "table": "2"}),
        "found": ScreenerSource(kind="screener", region="us", query={"gt": ["price", "5"]}),
        "both": UnionSource(kind="union", of=("sp500", "mine")),
        "rest": MinusSource(kind="minus", of="both", without=("mine",)),
    }  # fmt: skip
    assert universes["third"].source.model_dump()["table"] == 2
    settings = {
        name: (one.exchange, one.phase, one.enabled, one.depends_on) for name, one in universes.items()
    }
    assert settings.pop("asx") == ("ASX", 2, False, ("sp500",))
    assert set(settings.values()) == {("US", 1, True, ())}


def test_each_stands_behind_those_it_needs_and_else_in_the_order_of_the_file(written: Path) -> None:
    static = "source: {kind: static, symbols: [AAPL]}"
    written.write_text(
        "universes:\n"
        "- {name: rest, exchange: US, source: {kind: minus, of: both, without: [d]}}\n"
        f"- {{name: b, exchange: US, depends_on: [c], {static}}}\n"
        f"- {{name: a, exchange: US, {static}}}\n"
        "- {name: both, exchange: US, source: {kind: union, of: [a, b]}, depends_on: [d, a]}\n"
        f"- {{name: c, exchange: US, {static}}}\n"
        f"- {{name: d, exchange: US, {static}}}\n"
    )
    universes = read_universes(written, BOTH)
    assert [one.name for one in universes] == ["d", "a", "c", "b", "both", "rest"]
    assert {one.name: one.needs for one in universes} == {
        "rest": ("both", "d"), "b": ("c",), "a": (), "both": ("d", "a", "b"), "c": (), "d": (),
    }  # fmt: skip


def test_the_short_form_is_a_static_universe_an_exchange(written: Path) -> None:
    written.write_text("LSE: [VOD.L]\nASX: [BHP.AX]\nUS: [ON, {symbol: IBM, listed_on: 1962-01-02}]\n")
    ibm = ConfiguredSymbol.model_validate({"symbol": "IBM", "listed_on": "1962-01-02"})
    assert read_universes(written, BOTH) == [
        Universe(
            name="configured",
            exchange="US",
            source=StaticSource(symbols=(ConfiguredSymbol(symbol="ON"), ibm)),
        ),
        Universe(
            name="configured",
            exchange="ASX",
            source=StaticSource(symbols=(ConfiguredSymbol(symbol="BHP.AX"),)),
        ),
    ]
    assert [one.exchange for one in read_universes(None, BOTH)] == ["US", "ASX"]
    written.write_text("US: [BHP.AX]\n")
    with pytest.raises(CatalogError, match="list it under its own exchange"):
        read_universes(written, BOTH)


def test_an_index_may_be_followed_under_the_exchange_whose_sessions_it_has(written: Path) -> None:
    written.write_text(
        "universes:\n"
        "- name: a\n"
        "  exchange: US\n"
        "  source: {kind: static, symbols: [{symbol: ^GSPC, asset_type: index}, BRK-B]}\n"
    )
    (universe,) = read_universes(written, BOTH)
    assert universe.source == StaticSource(
        symbols=(ConfiguredSymbol(symbol="^GSPC", asset_type="index"), ConfiguredSymbol(symbol="BRK-B"))
    )


def test_an_exchange_that_is_not_in_use_may_stand_in_a_universe_that_is_not_enabled(written: Path) -> None:
    written.write_text(
        "universes:\n- {name: a, exchange: XETR, enabled: false, source: {kind: static, symbols: [SAP.DE]}}\n"
    )
    assert [one.exchange for one in read_universes(written, BOTH)] == ["XETR"]


A = "- {name: a, exchange: US, source: {kind: static, symbols: [AAPL]}}\n"
X = "- {name: x, exchange: ASX, source: {kind: static, symbols: [BHP.AX]}}\n"


def entry(source: str, more: str = "") -> str:
    """A second universe, `b`, whose source stands on line 5."""
    return f"{A}- name: b\n  exchange: US\n  source: {source}\n{more}"


@pytest.mark.parametrize(
    ("universes", "line", "told"),
    [
        # The file as a whole.
        (A + "- 7\n", 3, "'7' is no universe; write name, exchange, source, enabled, phase, depends_on"),
        (A + "US: [AAPL]\n", 3, "unknown key 'US'; beside universes there is no other"),
        (A + "  b: c\n  - d\n", 3, "not readable as YAML ("),
        # Names.
        (A + "- exchange: US\n  source: {kind: static, symbols: [AAPL]}\n", 3, "universe 2: name is missing; add it"),
        (A.replace("a,", "Discovered,"), 2, "Discovered is the list of what was discovered and accepted; write an"),
        (A + A, 3, "a is there already, on line 2; give each universe its own name"),
        (A + A.replace("a,", "A,"), 3, "A is there already, on line 2 as a; give each universe its own name"),
        (A.replace("a,", "../a,"), 2, "universe 1: name: '../a' is no name; write up to 64 letters, digits, _ and -"),
        (A.replace("a,", "a" * 65 + ","), 2, "is no name; write up to 64"),
        (A.replace("a,", '"a\\n",'), 2, "universe 1: name: 'a\\n' is no name"),
        # Exchanges.
        (A.replace("US", "NYSE"), 2, "a: unknown exchange 'NYSE'; known are ASX"),
        (
            A.replace("US", "XETR"),
            2,
            "a: the exchange XETR is not in use; add it to QUANT_ASSETS_EXCHANGES, or write enabled: false",
        ),
        # Keys and values.
        (A.replace("name", "nmae"), 2, "universe 1: nmae: unknown key; did you mean name?"),
        (A.replace("}}", "}, size: 3}"), 2, "a: size: unknown key; the keys are name, exchange, source"),
        (A.replace("}}", "}, enabled: maybe}"), 2, "a: enabled: 'maybe' is neither true nor false"),
        (A.replace("}}", "}, phase: -1}"), 2, "a: phase: '-1' is no whole number from 0 to 1000"),
        (A.replace("}}", "}, phase: 1001}"), 2, "a: phase: '1001' is no whole number from 0 to 1000"),
        (A.replace("}}", "}, depends_on: x}"), 2, "a: depends_on: write a list with at least one"),
        ("- {name: a, exchange: US}\n", 2, "a: source is missing; add it"),
        # Sources.
        (entry("{kind: cvs, path: a}"), 5, "b: source.kind: 'cvs' is no kind of source; write one of static, csv,"),
        (entry("{path: a}"), 5, "b: source.kind: None is no kind of source"),
        (entry("a.csv"), 5, "b: source"),
        (entry("{kind: csv}"), 5, "b: source.csv.path is missing; add it"),
        (entry("\n    kind: csv\n    path: a\n    encodign: x"), 8, "encodign: unknown key; did you mean encoding?"),
        (entry("{kind: csv, path: a, encoding: klingon}"), 5, "'klingon' is no encoding; write one such as utf-8"),
        (entry('{kind: csv, path: a, encoding: "a\\0b"}'), 5, "'a\\x00b' is no encoding"),
        (entry("{kind: csv, path: a, encoding: rot13}"), 5, "'rot13' is no encoding"),
        (entry('{kind: csv, path: "a\\eb"}'), 5, "'a\\x1bb' has characters that cannot be printed; leave them out"),
        (entry("{kind: csv, path: a, delimiter: é}"), 5, "'é' is no delimiter"),
        (entry('{kind: csv, path: a, delimiter: ", "}'), 5, "', ' is no delimiter; write one character"),
        (entry("{kind: csv, path: a, delimiter: '\"'}"), 5, "is no delimiter"),
        (entry("{kind: csv, path: a, megabytes: 0}"), 5, "'0' is no whole number from 1 to 1000"),
        (entry("{kind: csv, path: a, pad: 21}"), 5, "'21' is no whole number from 0 to 20"),
        (entry("{kind: csv, path: a, skip: x}"), 5, "'x' is no whole number from 0 to 1000"),
        (entry("{kind: csv, path: a, columns: {name: N}}"), 5, "columns: symbol is missing; add the header"),
        (
            entry("{kind: csv, path: a, columns: {symbol: S, nmae: N}}"),
            5,
            "'nmae' is nothing that is known of a symbol; did you mean name?",
        ),
        (entry("{kind: csv, path: a, columns: [S]}"), 5, "columns: write key: value pairs in braces"),
        (entry('{kind: csv, path: a, replace: {"": x}}'), 5, "replace: there is nothing to replace"),
        (entry("{kind: csv, path: a, suffix: .HK}"), 5, "b: '.HK' is not the suffix of US; leave it out"),
        (
            X.replace("kind: static, symbols: [BHP.AX]", "kind: excel, path: a, suffix: AX"),
            2,
            "x: 'AX' is not the suffix of ASX; write .AX",
        ),
        (entry("{kind: screener, most: 10001}"), 5, "'10001' is no whole number from 1 to 10000"),
        (entry("{kind: screener, asset_type: bond}"), 5, "b: source.screener.asset_type"),
        # Symbols.
        (entry("{kind: static, symbols: AAPL}"), 5, "symbols: write a list with at least one"),
        (entry("{kind: static, symbols: []}"), 5, "symbols: write a list with at least one"),
        (entry("\n    kind: static\n    symbols:\n    - IBM\n    - ../IBM"), 9, "a symbol is made of letters"),
        (entry('\n    kind: static\n    symbols: [IBM,\n      "A\\x1bB"]'), 8, "a symbol is made of letters"),
        pytest.param(
            entry(f"\n    kind: static\n    symbols: [IBM,\n      {'A' * 100_000}]"), 8, "at most 32", id="100 kB"
        ),
        (entry("\n    kind: static\n    symbols: [IBM,\n      BHP.AX]"), 8, "b: BHP.AX is no symbol of US; list it"),
        (
            X.replace("BHP.AX", "BHP"),
            2,
            "x: BHP is no symbol of ASX (its symbols end in '.AX'); list it under its own exchange",
        ),
        (entry("\n    kind: static\n    symbols: [IBM,\n      ibm]"), 8, "b: IBM is there already, on line 7"),
        (entry("{kind: static, symbols: [{symbol: A, isin: US0378331006}]}"), 5, "is no ISIN"),
        (entry("\n    kind: static\n    symbols: [IBM,\n      BRK.B]"), 8, "BRK.B: Yahoo spells it BRK-B; write"),
        (entry("{kind: static, symbols: [^GSPC]}"), 5, "^GSPC is no symbol of US; list it under its own"),
        (entry("{kind: static, symbols: [{symbol: A, currency: AUD}]}"), 5, "US does not quote in 'AUD'"),
        (entry("\n    kind: static\n    symbols:\n    - {symbol: A, sektor: T}"), 8, "did you mean sector?"),
        # Universes of universes.
        (entry("{kind: union, of: [a, c]}"), 5, "b: there is no universe c; there are a, b"),
        (entry("{kind: union, of: []}"), 5, "of: write a list with at least one"),
        (entry("{kind: minus, of: a, without: [aa]}"), 5, "b: there is no universe aa; did you mean a?"),
        (entry("{kind: union, of: [a]}", "  depends_on: [c]\n"), 6, "b: there is no universe c"),
        (
            entry("{kind: union, of: [a, x]}", X),
            5,
            "b: x is of the exchange ASX, not US; make a universe of universes of its own exchange",
        ),
        (
            A.replace("a,", "c,")
            + "- {name: a, exchange: US, source: {kind: union, of: [c, b]}}\n"
            + "- {name: b, exchange: US, source: {kind: minus, of: c, without: [d]}}\n"
            + "- {name: d, exchange: US, depends_on: [a], source: {kind: union, of: [c]}}\n",
            3,
            "a: universes need each other (a needs b needs d needs a); take one of these out",
        ),
        (entry("{kind: union, of: [a, b]}"), 3, "b: universes need each other (b needs b)"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_what_to_write(
    written: Path, universes: str, line: int, told: str
) -> None:
    written.write_text(f"universes:\n{universes}", encoding="utf-8")
    with pytest.raises(CatalogError) as refused:
        read_universes(written, BOTH)
    message = str(refused.value)
    assert message.startswith(f"{written}:{line}: ")
    assert told in message
    assert message.isprintable()
    assert len(message) < 600


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("universes:\n", 1, "universes is no list; write one universe or more"),
        ("universes: []\n", 1, "universes is no list"),
        (f"universes:\n{A}ASX: [BHP.AX]\n", 3, "unknown key 'ASX'; beside universes there is no other"),
        ("universes:\n- {name: a\n", 3, "not readable as YAML ("),
        ("universes:\n- " + "[" * 200_000, 2, "nested deeper than 100 levels"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{n}: &{n} [{', '.join([f'*{o}'] * 9)}]\n" for o, n in zip("abcdefgh", "bcdefghi", strict=True)
            )
            + "universes: *i\n",
            7,
            "more than 5,000,000",
        ),
    ],
    ids=["nothing", "empty", "both forms", "unfinished", "deep", "bomb"],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_with_its_line(written: Path, text: str, line: int, told: str) -> None:
    written.write_text(text)
    with pytest.raises(CatalogError) as refused:
        read_universes(written, BOTH)
    assert str(refused.value).startswith(f"{written}:{line}: ")
    assert told in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_bomb_in_the_short_form_is_refused_too(written: Path) -> None:
    lines = [f"{n}: &{n} [{', '.join([f'*{o}'] * 9)}]" for o, n in zip("abcdefgh", "bcdefghi", strict=True)]
    written.write_text("\n".join(["a: &a [x, x, x]", *lines, "US: *i", ""]))
    with pytest.raises(CatalogError, match="more than 5,000,000"):
        read_universes(written, BOTH)


def test_the_lists_file_may_begin_with_a_byte_order_mark(written: Path) -> None:
    written.write_bytes(b"\xef\xbb\xbf" + f"universes:\n{A}".encode())
    assert [one.name for one in read_universes(written, BOTH)] == ["a"]


@pytest.mark.parametrize("isin", ["US0378331005", "GB0002634946", "AU0000XVGZA3", "US0004026250"])
def test_isins_are_known_by_their_check_digit(isin: str) -> None:
    assert is_isin(isin)
    for digit in set("0123456789") - {isin[-1]}:
        assert not is_isin(isin[:-1] + digit)
    assert not is_isin(isin.lower())
    assert not is_isin(isin + "\n")
    assert not is_isin(isin[1:])


def test_the_examples_of_the_documentation_are_read(written: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/catalog.md").read_text("utf-8")
    examples = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    exchanges = enabled(["US", "ASX", "XETR", "HKEX"])
    kinds: set[str] = set()
    for example in examples:
        written.write_text(example, encoding="utf-8")
        kinds |= {one.source.kind for one in read_universes(written, exchanges)}
    assert kinds == set(SOURCES)
