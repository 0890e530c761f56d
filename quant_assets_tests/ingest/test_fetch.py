"""`fetch`: what is asked again, which hole belongs to whom, and which histories are one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.decisions import Choice, settle_quarantine
from quant_assets.ingest.plan import Mode
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayConfig, ReplayHandle, start
from quant_assets.resources.source import FetchResult, HistoryRequest
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.quarantine import Decision
from quant_assets_tests.ingest.harness import DAY, HOLIDAY, Harness, evening, sessions
from quant_assets_tests.support import NOW, listings

LISTED = date(2012, 5, 18)
"""The day on which Facebook was first traded."""


@pytest.mark.parametrize(("length", "requests"), [(1, 2), (4, 2), (5, 2), (6, 1)])
def test_fetch_asks_again_about_a_gap_of_up_to_five_sessions_and_about_no_longer_one(
    harness: Harness, market: ReplayHandle, length: int, requests: int
) -> None:
    days = sessions(date(2013, 1, 14), date(2013, 2, 8))
    gone = days[5 : 5 + length]
    market.add_faults(
        *({"kind": "missing_session", "symbol": "AAPL", "date": str(day), "times": None} for day in gone)
    )
    harness.live(market, days[-1], days)
    assert market.stats()["chart_data"] == {"AAPL": requests, "IBM": 1, "MSFT": 1}
    for day in gone:
        (missing,) = harness.entry(day).missing
        assert (missing.outcome, missing.gap, missing.answers) == ("no_bar", length, requests)


@pytest.mark.parametrize("factor", [10.0, 1.5])
def test_fetch_fills_no_gap_from_an_answer_on_another_scale(
    harness: Harness, market: ReplayHandle, factor: float
) -> None:
    days = sessions(date(2013, 2, 4), date(2013, 2, 15))
    market.add_faults(
        {"kind": "missing_session", "symbol": "AAPL", "date": str(DAY)},
        {"kind": "rescaled_bars", "symbol": "AAPL", "factor": factor, "after": 1, "times": None},
    )
    harness.live(market, days[-1], days)
    assert market.stats()["chart_data"]["AAPL"] == 2
    assert [(m.symbol, m.outcome, m.answers) for m in harness.entry().missing] == [("AAPL", "no_bar", 1)]
    assert set(harness.cell()["symbol"]) == {"IBM", "MSFT"}


def test_fetch_names_a_hole_on_the_day_of_the_first_trade(harness: Harness, market: ReplayHandle) -> None:
    days = sessions(date(2012, 5, 14), date(2012, 5, 22))
    market.add_faults({"kind": "missing_session", "symbol": "FB", "date": str(LISTED), "times": None})
    harness.live(market, days[-1], days, catalog=listings("AAPL", "FB"))
    entry = harness.entry(LISTED)
    assert (entry.state, entry.expected, entry.received) == (CellState.PARTIAL, 2, 1)
    (missing,) = entry.missing
    assert (missing.symbol, missing.outcome, missing.answers) == ("FB", "no_bar", 2)
    assert missing.reason == f"no bar before {date(2012, 5, 21)}"
    # On the day before nobody expected it.
    assert (harness.entry(date(2012, 5, 17)).state, harness.entry(date(2012, 5, 17)).expected) == (
        CellState.COMPLETE, 1,
    )  # fmt: skip


def test_fetch_names_a_hole_of_a_symbol_that_failed_on_the_day_of_its_stated_listing(
    harness: Harness, market: ReplayHandle
) -> None:
    days = sessions(date(2012, 5, 16), date(2012, 5, 18))
    market.add_faults({"kind": "server_error_500_html", "symbol": "FB", "times": None})
    harness.live(market, days[-1], days, catalog=listings("AAPL", FB=LISTED))
    failed = [(m.symbol, m.outcome, m.answers, m.gap) for m in harness.entry(LISTED).missing]
    assert failed == [("FB", "failed", 1, 0)]
    assert harness.entry(days[1]).missing == ()


def test_fetch_names_a_hole_between_the_stated_listing_and_the_first_trade(
    harness: Harness, market: ReplayHandle
) -> None:
    days = sessions(date(2012, 5, 15), date(2012, 5, 21))
    harness.live(market, days[-1], days, catalog=listings("AAPL", FB=days[1]))
    holes = {day: [(m.symbol, m.reason) for m in harness.entry(day).missing] for day in days}
    hole = ("FB", f"no bar: first traded on {LISTED}")
    assert holes == {day: [hole] if days[1] <= day < LISTED else [] for day in days}


@pytest.mark.parametrize(
    ("now", "last"),
    [
        # On the evening of Friday and on the holiday; during Tuesday's session, and after it.
        (evening(date(2013, 2, 15)), date(2013, 2, 15)), (evening(HOLIDAY), date(2013, 2, 15)),
        (datetime(2013, 2, 19, 16, tzinfo=UTC), date(2013, 2, 19)), (evening(date(2013, 2, 19)), date(2013, 2, 19)),
    ],
)  # fmt: skip
def test_fetch_names_the_sessions_of_an_answer_through_today(
    harness: Harness, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch, now: datetime, last: date
) -> None:
    asked: list[list[date]] = []
    history = YahooSource.history

    def noted(self: YahooSource, requests: Sequence[HistoryRequest]) -> Iterator[FetchResult]:
        asked.extend(list(request.sessions) for request in requests)
        return history(self, requests)

    monkeypatch.setattr(YahooSource, "history", noted)
    market.set_clock(now)
    harness.fill([date(2013, 2, 14)], listings("AAPL"), now=now)
    (named,) = asked
    assert named == sessions(named[0], last)


def test_fetch_names_five_symbols_of_a_remark(tmp_path: Path) -> None:
    file = tmp_path / "history.csv"
    names = [f"S{n}" for n in range(6)]
    days = sessions(date(2013, 2, 11), date(2013, 2, 15))
    lines = [f"{name},{day},{n},{n},{n},{n},{n},0,1" for n, name in enumerate(names, 5) for day in days]
    file.write_text("\n".join([HEADER, *lines]))
    remark = "the answer names no currency; USD is taken from the catalog: S0, S1, S2, S3, S4"
    with start(ReplayConfig(history_files=[(file, "as_traded")], now=NOW)) as handle:
        handle.add_faults({"kind": "no_currency", "symbols": names})
        for asked, more in ((5, ""), (6, " and 1 more")):
            catalog = listings(*names[:asked]).with_columns(currency=pl.lit("USD"))
            harness = Harness(tmp_path / f"{asked}", handle.url)
            assert harness.live(handle, days[-1], days, catalog=catalog).warnings == [remark + more]


HEADER = "symbol,date,open,high,low,close,volume,dividend,split_ratio"
QUIET, LIVELY = ("QUIA", "QUIB"), ("LIVA", "LIVB")
DAYS = sessions(date(2013, 1, 2), date(2013, 2, 15))


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayHandle]:
    """Two symbols that nobody trades, at the price both were last sold for, and two with one history."""
    file = tmp_path_factory.mktemp("alike") / "history.csv"
    lines = [HEADER]
    for number, day in enumerate(DAYS):
        lines += [f"{symbol},{day},5,5,5,5,0,0,1" for symbol in QUIET]
        price = 20 + number % 7
        lines += [f"{symbol},{day},{price},{price},{price},{price},{900 + number},0,1" for symbol in LIVELY]
    file.write_text("\n".join(lines))
    with start(ReplayConfig(history_files=[(file, "as_traded")], now=NOW)) as handle:
        yield handle


def test_fetch_takes_no_two_symbols_without_trades_for_one_history(
    alike: ReplayHandle, tmp_path: Path
) -> None:
    harness = Harness(tmp_path, alike.url)
    report = harness.live(alike, DAYS[-1], DAYS[-25:], catalog=listings(*QUIET))
    assert (report.states, report.quarantined) == ({"complete": 25}, 0)
    assert harness.cell(DAY).select("symbol", "close", "volume").rows() == [(name, 5.0, 0) for name in QUIET]


def test_fetch_takes_two_symbols_with_the_same_trades_for_one_history(
    alike: ReplayHandle, tmp_path: Path
) -> None:
    harness = Harness(tmp_path, alike.url)
    report = harness.live(alike, DAYS[-1], DAYS[-25:], catalog=harness.put_catalog(*LIVELY))
    assert (report.states, report.quarantined) == ({"failed": 25}, 50)
    # One of the two is what a person knows it for.
    choice = Choice(Decision.ACCEPTED, symbols=["LIVA"])
    now = evening(DAYS[-1]) + timedelta(hours=1)
    settle_quarantine(harness.store, exchange("US"), choice, now=now, min_coverage=0.0)
    known = harness.live(alike, DAYS[-1], DAYS[-25:], catalog=listings(*LIVELY), mode=Mode.FORCE)
    assert {warning.partition(":")[0] for warning in known.warnings if "not stored" in warning} == {"LIVB"}
    assert [missing.symbol for missing in harness.entry(DAYS[-1]).missing] == ["LIVB"]
    assert harness.cell(DAYS[-1])["symbol"].to_list() == ["LIVA"]
    # Nineteen days alike are too few to tell.
    young = Harness(tmp_path / "young", alike.url)
    few = young.live(alike, DAYS[18], DAYS[:5], catalog=listings(*LIVELY))
    assert (few.states, few.quarantined) == ({"complete": 5}, 0)
    again = young.live(alike, DAYS[19], [*DAYS[:5], DAYS[19]], catalog=listings(*LIVELY), mode=Mode.FORCE)
    assert again.quarantined == 12
