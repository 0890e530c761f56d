"""Numbers of quotes: taken as they mean it, or null and counted."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from quant_assets.market.valuations import VALUATION_SCHEMA, Valued, valued

NOW = datetime(2024, 3, 15, 22, tzinfo=UTC)
DAY = date(2024, 3, 15)
LISTINGS = pl.DataFrame(
    {
        "symbol": ["BP.L", "IBM", "SPY"],
        "name": ["BP", "International Business Machines", "SPDR"],
        "sector": ["Energy", None, None],
        "industry": ["Oil", None, ""],
        "asset_type": ["equity", "equity", "Fund of funds"],
        "currency": [None, "USD", "USD"],
    }
)


def of(symbol: str = "IBM", **fields: Any) -> Valued:
    return valued({symbol: {"symbol": symbol, **fields}}, LISTINGS, DAY, NOW)


def value(column: str, symbol: str = "IBM", **fields: Any) -> Any:
    """What a column of the one row holds; nonsense is counted in it alone, where there is any."""
    found = of(symbol, **fields)
    assert set(found.nonsense) <= {column}
    return (found.rows[column][0], found.nonsense[column])


def test_a_quote_with_everything_is_a_row_by_value() -> None:
    quote = {
        "quoteType": "EQUITY", "longName": "IBM\n  Corp.", "shortName": "IBM", "currency": "USD",
        "sector": "Technology", "industry": "Computers", "marketCap": 175_000_000_000, "trailingPE": 23.5,
        "priceToBook": 7.75,
        "dividendYield": 3.47, "trailingAnnualDividendYield": 0.0351, "sharesOutstanding": 916_745_024,
        "regularMarketTime": 1_710_532_802, "regularMarketPrice": 191.07,
    }  # fmt: skip
    found = of(**quote)
    assert found.rows.schema == VALUATION_SCHEMA
    assert found.rows.rows() == [
        (
            "IBM", DAY, 175e9, 23.5, 7.75, 0.0347, 916_745_024, "IBM Corp.", "Technology", "Computers", "equity",
            "USD", datetime(2024, 3, 15, 20, 0, 2, tzinfo=UTC), NOW,
        )
    ]  # fmt: skip
    assert found.nonsense == {}


def test_a_quote_with_nothing_is_a_row_of_what_the_catalog_knows() -> None:
    found = of("BP.L")
    nothing = (None,) * 5
    assert found.rows.rows() == [("BP.L", DAY, *nothing, "BP", "Energy", "Oil", "equity", None, None, NOW)]
    # Of an empty text as little is known as of none.
    assert of("SPY", currency="", longName=" ").rows.select("name", "industry", "currency").rows() == [
        ("SPDR", None, "USD")
    ]
    assert valued({}, LISTINGS, DAY, NOW).rows.schema == VALUATION_SCHEMA


@pytest.mark.parametrize(
    ("column", "field", "given", "expected"),
    [
        ("market_cap", "marketCap", -5, (None, 1)),
        ("market_cap", "marketCap", 0, (None, 1)),
        ("market_cap", "marketCap", "1.5e9", (1.5e9, 0)),
        ("market_cap", "marketCap", True, (None, 1)),
        ("market_cap", "marketCap", {"raw": 1}, (None, 1)),
        ("market_cap", "marketCap", 10**400, (None, 1)),
        ("market_cap", "marketCap", None, (None, 0)),
        ("market_cap", "marketCap", "", (None, 0)),
        ("pe", "trailingPE", "Infinity", (None, 1)),
        ("pe", "trailingPE", "NaN", (None, 1)),
        ("pe", "trailingPE", float("nan"), (None, 1)),
        ("pe", "trailingPE", 0.0, (None, 1)),
        ("pe", "trailingPE", -3.5, (-3.5, 0)),
        ("pb", "priceToBook", -0.5, (-0.5, 0)),
        ("pb", "priceToBook", "n/a", (None, 1)),
        ("shares_outstanding", "sharesOutstanding", 0, (None, 1)),
        ("shares_outstanding", "sharesOutstanding", 1e16, (None, 1)),
        ("shares_outstanding", "sharesOutstanding", 1e15, (10**15, 0)),
        ("quoted_at", "regularMarketTime", -1, (None, 1)),
        ("quoted_at", "regularMarketTime", int(NOW.timestamp()) + 86_401, (None, 1)),
        ("quoted_at", "regularMarketTime", 1, (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 0)),
        ("dividend_yield", "dividendYield", 0.44, (0.0044, 0)),
        ("dividend_yield", "dividendYield", 0, (0.0, 0)),
        ("dividend_yield", "dividendYield", 1001, (None, 1)),
        ("dividend_yield", "dividendYield", -1, (None, 1)),
        ("dividend_yield", "trailingAnnualDividendYield", 0.0044, (0.0044, 0)),
        ("dividend_yield", "trailingAnnualDividendYield", 10.5, (None, 1)),
    ],
)
def test_what_a_field_cannot_mean_is_null_and_counted(
    column: str, field: str, given: object, expected: object
) -> None:
    found = of("IBM", **{field: given})
    assert (found.rows[column][0], found.nonsense[column]) == expected
    assert set(found.nonsense) <= {column}


def test_half_a_character_in_a_text_costs_no_more_than_itself() -> None:
    """JSON can say one half of a surrogate pair, which is no text that can be stored."""
    found = of(longName="I\ud800BM", currency="\udfff")
    assert found.rows.select("name", "currency").row(0) == ("I?BM", "?")


def test_the_yield_of_the_last_year_is_not_taken_where_prices_are_in_pence() -> None:
    """Yahoo divides pounds by pence there."""
    trailing = {"trailingAnnualDividendYield": 0.0005}
    assert value("dividend_yield", "BP.L", currency="GBp", **trailing) == (None, 0)
    assert value("dividend_yield", "BP.L", currency="GBp", dividendYield=4.8, **trailing) == (0.048, 0)
    assert value("dividend_yield", "BP.L", currency="GBP", **trailing) == (0.0005, 0)


def test_the_kind_that_a_list_says_counts_and_the_quotes_where_it_says_none() -> None:
    kinds = {
        "ETF": "etf",
        "INDEX": "index",
        "MUTUALFUND": "fund",
        "EQUITY": "equity",
        "FUTURE": "equity",
        "etf": "etf",
    }
    assert {kind: value("asset_type", quoteType=kind)[0] for kind in kinds} == kinds
    assert value("asset_type", "SPY", quoteType="ETF") == ("Fund of funds", 0)
    assert value("asset_type", "NEW", quoteType=7) == ("equity", 0)
