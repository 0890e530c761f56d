"""The screener as a source, with the real yfinance client on the replay server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.sources import SourceFailed, constituents
from quant_assets.catalog.universe import Universe
from quant_assets.exchanges import exchange
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.documents import Documents
from quant_assets_tests.catalog.conftest import Ask
from quant_assets_tests.support import quick_settings
from quant_assets_tests.web import Web


@pytest.fixture
def documents(market: ReplayHandle, tmp_path: Path) -> Iterator[Documents]:
    documents = Documents(quick_settings(tmp_path, market.url, attempts=1))
    yield documents
    documents.close()


def found(documents: Documents, code: str, **source: object) -> list[ConfiguredSymbol]:
    universe = Universe.model_validate(
        {"name": "ours", "exchange": code, "source": {"kind": "screener", **source}}
    )
    return constituents(universe, exchange(code), documents, {})


def test_the_listings_of_an_exchange_row_by_row(documents: Documents) -> None:
    assert found(documents, "ASX") == [
        ConfiguredSymbol(symbol=f"AA{letter}.AX", name=f"Aa{letter.lower()} Generated Ltd", currency="AUD")
        for letter in "ABCDEGHIJ"  # one has been delisted
    ]
    assert [entry.symbol for entry in found(documents, "US")] == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]


def test_a_region_and_a_query_narrow_it(documents: Documents) -> None:
    assert [
        entry.symbol for entry in found(documents, "US", region="US", query={"gt": ["intradayprice", "150"]})
    ] == ["AAPL", "GOOG", "IBM"]


@pytest.mark.parametrize(
    ("code", "source", "told"),
    [
        ("LSE", {}, "it finds no listing on LSE; correct `query` and `region`, or try again later"),
        ("US", {"region": "au"}, "it finds no listing on US"),
        ("ASX", {"asset_type": "etf"}, "it finds no listing on ASX"),
        (
            "ASX",
            {"most": "8"},
            "it finds 9 listings, of which 8 are allowed; narrow the query, or raise `most`",
        ),
        (
            "ASX",
            {"region": "atlantis"},
            'it cannot be asked that: Invalid EQ value "atlantis"; correct the query',
        ),
        ("ASX", {"query": {"gt": ["beta", "1"]}}, "cannot compare beta'; correct the query"),
    ],
)
def test_a_screen_that_gives_no_list_is_told(
    documents: Documents, code: str, source: dict[str, object], told: str
) -> None:
    with pytest.raises(SourceFailed) as refused:
        found(documents, code, **source)
    assert str(refused.value).startswith("ours (screener): ")
    assert told in str(refused.value)


def test_what_the_screener_says_of_a_listing_is_checked(web: Web, tmp_path: Path) -> None:
    documents = Documents(quick_settings(tmp_path, web.url, attempts=1))
    # A currency that the exchange does not quote in is not believed.
    quotes = (
        '{"symbol": "A.L", "currency": "GBp"}, {"symbol": "B.L", "currency": "ZAc", "longName": "B\\n  plc"}'
    )
    web.put("/v1/finance/screener", f'{{"finance": {{"result": [{{"total": 2, "quotes": [{quotes}]}}]}}}}')
    assert found(documents, "LSE") == [
        ConfiguredSymbol(symbol="A.L", currency="GBp"), ConfiguredSymbol(symbol="B.L", name="B plc"),
    ]  # fmt: skip
    screen = '{{"finance": {{"result": [{{"total": {}, "quotes": [{}]}}], "error": null}}}}'
    for symbols, told in (
        (
            ["BHP.AX", "BHP", "VOD.L"],
            "it answers with symbols that are none of ASX: 'BHP', 'VOD.L'; try again",
        ),
        ([f"A{n}" for n in range(7)], "none of ASX: 'A0', 'A1', 'A2', 'A3', 'A4' and 2 more; "),
        (["B/HP.AX"], "it answers with 'B/HP.AX': a symbol is made of letters"),
        (["A" * 40 + ".AX"], "it answers with 'AAAA"),
    ):
        quotes = ",".join(f'{{"symbol": "{symbol}"}}' for symbol in symbols)
        web.put("/v1/finance/screener", screen.format(len(symbols), quotes))
        with pytest.raises(SourceFailed) as refused:
            found(documents, "ASX")
        assert told in str(refused.value)
    documents.close()


def test_a_screener_that_is_not_there_is_told(ask: Ask) -> None:
    with pytest.raises(
        SourceFailed, match=r"^ours \(screener\): Yahoo's screener: no answer from http://127\.0\.0\.1:9"
    ):
        ask("ASX", kind="screener")
