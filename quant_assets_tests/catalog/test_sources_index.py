"""Indices, with the real package: nearly all constituents, each by the symbol that the exchange owns."""

from __future__ import annotations

import logging

import pytest

from quant_assets.catalog.configured import is_isin
from quant_assets.catalog.sources import SourceFailed
from quant_assets.catalog.sources.index import SECTORS, symbol_on
from quant_assets.exchanges import exchange
from quant_assets_tests.catalog.conftest import Ask


@pytest.mark.parametrize(
    ("index", "code", "least", "most", "among", "not_among"),
    [
        ("S&P 500", "US", 490, 505, {"AAPL", "BRK-B", "BF-B", "GOOG", "GOOGL"}, {"BRK.B", "GS-PK", "RF-PB"}),
        ("NASDAQ 100", "US", 98, 104, {"AAPL", "ASML", "MSFT"}, {"ASMLF"}),
        ("DAX", "XETR", 40, 40, {"SAP.DE", "SIE.DE", "AIR.DE", "VOW3.DE"}, {"AIR-PA.DE"}),
        ("FTSE 100", "LSE", 98, 101, {"SHEL.L", "AZN.L", "BT-A.L", "BP.L"}, set[str]()),
        ("CAC 40", "XPAR", 38, 40, {"MC.PA", "AIR.PA", "OR.PA"}, {"MT.AS"}),
        ("cac_40", "XPAR", 38, 40, {"MC.PA"}, set[str]()),
        ("NIKKEI 225", "JPX", 220, 227, {"7203.T", "6758.T"}, set[str]()),
    ],
)
def test_the_constituents_of_an_index_are_symbols_of_its_exchange(
    ask: Ask, index: str, code: str, least: int, most: int, among: set[str], not_among: set[str]
) -> None:
    entries = ask(code, kind="index", index=index)
    names = [entry.symbol for entry in entries]
    assert least <= len(names) <= most
    assert len(set(names)) == len(names)
    assert all(exchange(code).owns(name) for name in names)
    assert among <= set(names)
    assert not not_among & set(names)
    assert all(entry.name for entry in entries)
    isins = [entry.isin for entry in entries if entry.isin]
    assert len(isins) > 0.7 * len(names)
    assert all(map(is_isin, isins))
    assert len(set(isins)) == len(isins)
    assert all(entry.sector in (None, *SECTORS) for entry in entries)
    assert any(entry.sector for entry in entries) == index.startswith("S&P")


def test_what_is_known_of_a_constituent_is_taken_and_no_isin_that_two_share(ask: Ask) -> None:
    entries = {entry.symbol: entry for entry in ask("US", kind="index", index="S&P 500")}
    assert entries["MMM"].model_dump(exclude_none=True) == {
        "symbol": "MMM", "name": "3M", "asset_type": "equity", "sector": "Industrials", "isin": "US88579Y1010",
    }  # fmt: skip
    # Two share classes with both ISINs each, and a company that has two.
    assert [entries[symbol].isin for symbol in ("GOOG", "GOOGL", "BLK")] == [None, None, None]


def test_constituents_that_are_listed_elsewhere_are_left_out_and_named(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "quant_assets"):
        assert len(ask("XPAR", kind="index", index="CAC 40")) == 39
        ask("XETR", kind="index", index="DAX")
    assert caplog.messages == [
        "ours: 1 of the 40 constituents of CAC_40 left out, not known to be listed on XPAR: MT.AS"
    ]


@pytest.mark.parametrize(
    ("index", "code", "told"),
    [
        ("S&P 501", "US", "the package pytickersymbols has no index 'S&P 501'; did you mean S&P 500?"),
        ("all ordinaries", "ASX", "has no index 'all ordinaries'; write one of AEX, BEL 20, CAC_40"),
        ("DAX", "US", "none of the 40 constituents of DAX is listed on US; name the exchange of the index"),
        ("S&P 500", "ASX", "none of the 503 constituents of S&P 500 is listed on ASX"),
    ],
)
def test_an_index_that_is_none_of_the_exchange_is_refused(ask: Ask, index: str, code: str, told: str) -> None:
    with pytest.raises(SourceFailed) as refused:
        ask(code, kind="index", index=index)
    assert str(refused.value).startswith("ours (index): ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("code", "own", "listed", "symbol"),
    [
        ("US", "BRK.B", ["BRYN.F", "BRK-B"], "BRK-B"),
        ("US", "brk.b", [], "BRK-B"),
        # A former symbol, a preferred share, receipts: the index's own symbol counts.
        ("US", "DOC", ["PEAK", "HCP"], "DOC"),
        ("US", "GS", ["GS-PK", "GS"], "GS"),
        ("US", "AIR.PA", ["EADSY"], None),
        ("US", None, ["EADSY"], None),
        ("XETR", "ADS.DE", ["ADS.F", "ADDYY"], "ADS.DE"),
        ("XETR", "AIR.PA.DE", ["AIR.F"], "AIR.DE"),
        ("XETR", "AIR.PA", ["AIR.DE"], None),
        ("XETR", "1U1", ["1U1.F"], None),
        ("XETR", "1U1", ["1U1.DE", "X.DE"], "1U1.DE"),
        ("XETR", None, ["X.DE", "X.F", "X.DE"], "X.DE"),
        ("XETR", None, ["X.DE", "Y.DE"], None),
        ("XETR", "OLD", ["X.DE"], "X.DE"),
        ("XETR", None, [], None),
        ("LSE", "BT-A.L", [], "BT-A.L"),
        ("TSX", "TECK.B.TO", [], "TECK-B.TO"),
    ],
)  # fmt: skip
def test_the_symbol_that_the_exchange_owns_is_chosen(
    code: str, own: str | None, listed: list[str], symbol: str | None
) -> None:
    company = {"symbol": own, "symbols": [{"yahoo": one} for one in listed]}
    assert symbol_on(exchange(code), company) == symbol
