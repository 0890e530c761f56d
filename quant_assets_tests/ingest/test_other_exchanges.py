"""Exchanges with another week or unit, or sessions on weekends, and indices, filled through the replay server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.configured import read_universe
from quant_assets.exchanges import enabled
from quant_assets.market.bars import PRICES
from quant_assets.replay.generator import generate
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.tables.daily import read_daily
from quant_assets_tests.ingest.harness import Harness, sessions
from quant_assets_tests.support import days_between, listings

NOW = datetime(2024, 6, 28, 22, tzinfo=UTC)
GENERATED = {
    code: GeneratedExchange(code, 3, 5, "2024-01-02", "2024-06-27")
    for code in ("TADAWUL", "JSE", "NSE", "TWSE")
}
INDEX_DAYS = [date(2024, 3, day) for day in (4, 5, 6, 7, 8, 11, 12)]
INDICES = {"^GSPC": ("NYSE", "USD", 5100.0), "^AXJO": ("ASX", "AUD", 7700.0)}


def indices(folder: Path) -> Path:
    rows = [
        {"symbol": symbol, "date": day, "open": level + n, "high": level + n + 9.5, "low": level + n - 4.25,
         "close": level + n + 1.75, "volume": 0, "dividend": 0.0, "split_ratio": 1.0, "exchange": venue,
         "currency": currency}
        for symbol, (venue, currency, level) in INDICES.items()
        for n, day in enumerate(INDEX_DAYS)
    ]  # fmt: skip
    file = folder / "indices.csv"
    pl.DataFrame(rows).write_csv(file)
    return file


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayHandle]:
    file = indices(tmp_path_factory.mktemp("indices"))
    config = ReplayConfig(generated=list(GENERATED.values()), history_files=[(file, "as_traded")], now=NOW)
    with start(config) as handle:
        yield handle


@pytest.mark.parametrize(
    ("code", "currency", "first", "last", "traded"),
    [
        # Eid al-Fitr from Sunday the 7th to Thursday the 11th of April; Fridays and Saturdays are the weekend.
        ("TADAWUL", "SAR", date(2024, 4, 1), date(2024, 4, 16), [1, 2, 3, 4, 14, 15, 16]),
        # Cents; the 29th of May was election day.
        ("JSE", "ZAc", date(2024, 5, 27), date(2024, 5, 31), [27, 28, 30, 31]),
        # A Saturday's session, and the Monday after is a day of voting.
        ("NSE", "INR", date(2024, 5, 17), date(2024, 5, 21), [17, 18, 21]),
        ("TWSE", "TWD", date(2024, 6, 7), date(2024, 6, 12), [7, 11, 12]),
    ],
)
def test_an_exchange_fills_complete_with_what_was_traded(
    world: ReplayHandle, tmp_path: Path, code: str, currency: str, first: date, last: date, traded: list[int]
) -> None:
    days = sessions(first, last, code)
    assert [day.day for day in days] == traded
    made = GENERATED[code]
    history = generate(code, made.symbols, made.start, made.end, made.seed)
    rows = history.frame.filter(pl.col("date").is_between(first, last), pl.col("close").is_not_null())
    symbols = rows["symbol"].unique().to_list()
    home = Harness(tmp_path, world.url)
    every = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    report = home.fill(every, listings(*symbols), code=code, now=NOW)
    assert (report.result, report.warnings) == ("SUCCESS", [])
    stored = read_daily(home.store, code)
    assert stored["currency"].unique().to_list() == [currency]
    columns = ["symbol", "date", *PRICES, "volume"]
    assert stored.select(columns).sort(columns).equals(rows.select(columns).sort(columns))


def test_indices_fill_under_the_exchange_whose_sessions_they_have(
    world: ReplayHandle, tmp_path: Path
) -> None:
    universe = tmp_path / "universe.yaml"
    universe.write_text(
        "US: [{symbol: ^GSPC, name: S&P 500, asset_type: index, currency: USD}]\n"
        "ASX: [{symbol: ^AXJO, name: S&P/ASX 200, asset_type: index, currency: AUD}]\n"
    )
    both = enabled(["US", "ASX"])
    catalog = build_catalog(read_universe(universe, both), both, None, NOW.date())
    assert catalog.select("exchange", "symbol", "asset_type", "currency").rows() == [
        ("ASX", "^AXJO", "index", "AUD"),
        ("US", "^GSPC", "index", "USD"),
    ]
    for code, symbol in (("US", "^GSPC"), ("ASX", "^AXJO")):
        home = Harness(tmp_path / code, world.url)
        listed = catalog.filter(pl.col("exchange") == code)
        report = home.fill(days_between(INDEX_DAYS[0], INDEX_DAYS[-1]), listed, code=code, now=NOW)
        assert report.result == "SUCCESS"
        stored = read_daily(home.store, code)
        _, currency, level = INDICES[symbol]
        assert stored.select("symbol", "date", "close", "currency").rows() == [
            (symbol, day, level + n + 1.75, currency) for n, day in enumerate(INDEX_DAYS)
        ]


def test_a_fill_beyond_the_announced_holidays_warns(world: ReplayHandle, tmp_path: Path) -> None:
    home, asked = Harness(tmp_path, world.url), listings("AAA.SS")
    days = [date(2026, 12, 31), date(2027, 1, 5)]
    now = datetime(2027, 1, 8, 22, tzinfo=UTC)
    assert home.fill(days[:1], asked, code="SSE", now=now).warnings == []
    (warned,) = home.fill(days, asked, code="SSE", now=now).warnings
    assert warned.startswith(
        "the holidays of SSE are known until 2027-01-03, so 2027-01-05 counts as a session"
    )
    assert "known_until in a file of exchanges" in warned
