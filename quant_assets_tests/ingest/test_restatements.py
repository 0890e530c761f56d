"""A value that stands and is another one now: found, told apart, put on record, and only then taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.ingest.plan import Mode
from quant_assets.ingest.report import FillReport
from quant_assets.market.bars import VALUES
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.counters import WRITES, counted
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectInfo, StoreUnavailable
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.quarantine import read_quarantine
from quant_assets.tables.restatements import Ledger
from quant_assets_tests.ingest.harness import (
    DAY,
    SYMBOLS,
    WEEK,
    Harness,
    bars,
    evening,
    sessions,
    told,
    truth,
)
from quant_assets_tests.support import NOW, listings, tree

SPLIT = date(2005, 2, 28)
"""Apple's two for one."""


def corrected(day: date, symbol: str = "AAPL", **values: float) -> dict[str, Any]:
    """By default a close at the day's low: a value that breaks no rule."""
    return {
        "kind": "corrected_bar", "symbol": symbol, "date": str(day),
        "values": values or {"close": lowest(day, symbol)},
    }  # fmt: skip


def lowest(day: date, symbol: str = "AAPL") -> float:
    return float(truth([symbol], [day])["low"].item())


def changed_files(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def cell_files(*days: date) -> set[str]:
    return {object_key(DAILY, "US", str(day)) for day in days}


def rows_of(harness: Harness, symbol: str, code: str = "US") -> pl.DataFrame:
    return read_daily(harness.store, code, symbols=[symbol])


def as_traded(harness: Harness, symbol: str = "AAPL") -> None:
    """Everything that stands of a symbol is what was traded."""
    rows = rows_of(harness, symbol)
    assert_frame_equal(bars(rows), bars(truth([symbol], rows["date"].to_list())), check_exact=True)


# Corrections.


@pytest.fixture
def six_weeks(harness: Harness, market: ReplayHandle) -> list[date]:
    """The sessions through 12 February, stored on that evening."""
    days = sessions(date(2013, 1, 2), date(2013, 2, 12))
    harness.live(market, days[-1], days)
    market.reset_stats()
    return days


def test_the_daily_run_finds_a_corrected_bar_of_the_last_fifteen_sessions_and_none_before_them(
    harness: Harness, market: ReplayHandle, six_weeks: list[date]
) -> None:
    inside, before_it = six_weeks[-15], six_weeks[-16]
    old = truth(["AAPL"], [inside]).row(0, named=True)
    market.add_faults(
        corrected(inside, close=old["low"], volume=old["volume"] + 100), corrected(before_it, close=500.0)
    )
    report = harness.live(market, DAY)
    assert market.stats()["chart_data"] == dict.fromkeys(SYMBOLS, 1)
    assert report.requests == 3
    assert told(report.restatements) == [
        ("AAPL", inside, "close", str(old["close"]), str(old["low"]), "correction"),
        ("AAPL", inside, "volume", str(old["volume"]), str(old["volume"] + 100), "correction"),
    ]
    assert told(harness.restatements()) == told(report.restatements)
    assert (list(report.cells), list(report.also_changed)) == ([DAY], [inside])
    assert report.restated_days == [inside]


def test_without_a_look_back_no_corrected_bar_is_found_until_a_run_looks_back(
    harness: Harness, market: ReplayHandle, six_weeks: list[date]
) -> None:
    market.add_faults(corrected(six_weeks[-1]))
    report = harness.live(market, DAY, look_back=0)
    assert (report.restatements.height, report.also_changed) == (0, {})
    next_day = harness.live(market, date(2013, 2, 14), look_back=2)
    assert [event[1] for event in told(next_day.restatements)] == [six_weeks[-1]]


def test_the_sweep_of_one_symbol_finds_a_correction_however_old_it_is(
    harness: Harness, market: ReplayHandle, six_weeks: list[date]
) -> None:
    market.add_faults(corrected(six_weeks[0]), corrected(six_weeks[0], "IBM"))
    report = harness.live(market, DAY, six_weeks, mode=Mode.FORCE, only=["AAPL"])
    assert market.stats()["chart_data"] == {"AAPL": 1}
    assert [event[:3] for event in told(report.restatements)] == [("AAPL", six_weeks[0], "close")]
    assert set(report.changed) == {six_weeks[0]}


def test_exactly_the_corrected_cells_are_rewritten_and_in_them_the_corrected_row(
    harness: Harness, market: ReplayHandle, six_weeks: list[date]
) -> None:
    days = [six_weeks[-9], six_weeks[-3]]
    files = tree(harness.home / "store")
    before = {day: harness.cell(day) for day in days}
    market.add_faults(*(corrected(day) for day in days))
    harness.live(market, DAY)
    written = changed_files(files, tree(harness.home / "store"))
    assert {name for name in written if name.startswith("daily_prices")} == cell_files(*days, DAY)
    for day in days:
        cell = harness.cell(day)
        apple = pl.col("symbol") == "AAPL"
        assert cell.filter(~apple).equals(before[day].filter(~apple))
        (row,) = cell.filter(apple).rows(named=True)
        (was,) = before[day].filter(apple).rows(named=True)
        assert row == {**was, "close": lowest(day), "fetched_at": evening(DAY)}
        assert harness.entry(day).state is CellState.COMPLETE


def test_the_ledger_says_what_was_restated_from_what_to_what_why_when_and_by_whom(
    harness: Harness, market: ReplayHandle, six_weeks: list[date]
) -> None:
    day = six_weeks[-2]
    (stood,) = harness.cell(day).filter(pl.col("symbol") == "IBM").rows(named=True)
    market.add_faults(corrected(day, "IBM", close=200.25))
    harness.live(market, DAY, run="the run that found it")
    assert harness.restatements().rows(named=True) == [
        {
            "symbol": "IBM",
            "date": day,
            "field": "close",
            "old": str(stood["close"]),
            "new": "200.25",
            "class": "correction",
            "first_date": day,
            "rows": 1,
            "detected_at": evening(DAY),
            "run": "the run that found it",
        }
    ]
    # What stood there is kept whole.
    replaced = Ledger(harness.store, "US").replaced_after(evening(six_weeks[-1]))
    assert replaced.rows(named=True) == [{**stood, "replaced_at": evening(DAY)}]
    # Said again on the next day it is no news.
    again = harness.live(market, date(2013, 2, 14))
    assert (again.restatements.height, harness.restatements().height) == (0, 1)


# Splits and dividends that are told late.


def test_a_split_told_late_is_one_event_and_changes_no_price(harness: Harness, market: ReplayHandle) -> None:
    days = sessions(date(2005, 2, 22), date(2005, 3, 1))
    market.add_faults(
        {"kind": "hidden_split", "symbol": "AAPL", "date": str(SPLIT), "until": "2005-03-02T15:00:00Z"}
    )
    harness.live(market, days[-1], days)
    assert set(rows_of(harness, "AAPL")["split_ratio"]) == {1.0}
    files, before = tree(harness.home / "store"), rows_of(harness, "AAPL")
    report = harness.live(market, date(2005, 3, 2))
    assert told(report.restatements) == [("AAPL", SPLIT, "split_ratio", "1.0", "2.0", "late_split")]
    assert report.restatements.select("first_date", "rows").rows() == [(SPLIT, 1)]
    assert report.requests == 3
    after = rows_of(harness, "AAPL").filter(pl.col("date") <= days[-1])
    others = [name for name in VALUES if name != "split_ratio"]
    assert after.select("date", *others).equals(before.select("date", *others))
    assert after.filter(pl.col("split_ratio") != 1.0).select("date", "split_ratio").rows() == [(SPLIT, 2.0)]
    written = changed_files(files, tree(harness.home / "store"))
    assert {name for name in written if name.startswith("daily_prices")} == cell_files(
        SPLIT, date(2005, 3, 2)
    )
    as_traded(harness)
    assert harness.live(market, date(2005, 3, 3)).restatements.is_empty()


@pytest.mark.parametrize(
    ("first", "more_requests"),
    [(date(2005, 2, 16), 0), (date(2005, 1, 3), 1)],
    ids=["seen whole by the look-back", "reaching back before it"],
)
def test_a_history_rescaled_without_its_split_is_healed_in_all_its_cells_by_one_event(
    harness: Harness, market: ReplayHandle, first: date, more_requests: int
) -> None:
    days = sessions(first, date(2005, 3, 1))
    market.add_faults(
        {"kind": "unscaled_history", "symbol": "AAPL", "date": str(SPLIT), "until": "2005-03-02T15:00:00Z"}
    )
    harness.live(market, days[-1], days)
    wrong = [day for day in days if day < SPLIT]
    halved = rows_of(harness, "AAPL").filter(pl.col("date") < SPLIT)
    assert_frame_equal(
        halved.select("close"), truth(["AAPL"], wrong).select(pl.col("close") / 2), abs_tol=1e-4
    )
    report = harness.live(market, date(2005, 3, 2))
    assert report.requests == 3 + more_requests
    assert told(harness.restatements()) == [("AAPL", SPLIT, "split_ratio", "1.0", "2.0", "late_split")]
    assert harness.restatements().select("first_date", "rows").rows() == [(first, len(wrong) + 1)]
    assert set(report.also_changed) == {*wrong, SPLIT}
    as_traded(harness)
    # What stood wrongly is what was known until then.
    known = read_daily(harness.store, "US", symbols=["AAPL"], as_of=evening(days[-1]))
    assert known.filter(pl.col("date") < SPLIT).equals(halved)
    assert set(known["split_ratio"]) == {1.0}
    assert harness.live(market, date(2005, 3, 3)).restatements.is_empty()


def test_the_sweep_heals_a_rescaled_history_long_after_the_split(
    harness: Harness, market: ReplayHandle
) -> None:
    days = sessions(date(2005, 1, 3), date(2005, 3, 1))
    market.add_faults(
        {"kind": "unscaled_history", "symbol": "AAPL", "date": str(SPLIT), "until": "2005-03-02T15:00:00Z"}
    )
    harness.live(market, days[-1], days)
    report = harness.live(market, date(2005, 6, 1), days, mode=Mode.FORCE, only=["AAPL"])
    assert (report.requests, told(report.restatements)) == (
        1,
        [("AAPL", SPLIT, "split_ratio", "1.0", "2.0", "late_split")],
    )
    as_traded(harness)


def test_a_dividend_told_late_is_one_event_and_changes_no_price(
    harness: Harness, market: ReplayHandle
) -> None:
    ex_date = date(2013, 2, 7)
    days = sessions(date(2013, 2, 4), date(2013, 2, 12))
    market.add_faults(
        {"kind": "hidden_dividend", "symbol": "AAPL", "date": str(ex_date), "until": "2013-02-13T15:00:00Z"}
    )
    harness.live(market, days[-1], days)
    before = rows_of(harness, "AAPL")
    assert set(before["dividend"]) == {0.0}
    report = harness.live(market, DAY)
    assert told(report.restatements) == [("AAPL", ex_date, "dividend", "0.0", "2.65", "late_dividend")]
    assert list(report.also_changed) == [ex_date]
    after = rows_of(harness, "AAPL").filter(pl.col("date") <= days[-1])
    expected = before.with_columns(
        dividend=pl.when(pl.col("date") == ex_date).then(2.65).otherwise(0.0),
        fetched_at=pl.when(pl.col("date") == ex_date)
        .then(pl.lit(evening(DAY)).cast(before.schema["fetched_at"]))
        .otherwise("fetched_at"),
    )
    assert after.equals(expected)


ACTIONS = [
    ("AAPL", date(2000, 6, 21)),
    ("AAPL", date(2005, 2, 28)),
    ("MSFT", date(2003, 2, 18)),
    ("MSFT", date(2003, 2, 19)),
    ("MSFT", date(2004, 11, 15)),
    ("IBM", date(2012, 11, 7)),
    ("AAPL", date(2012, 8, 9)),
]


@pytest.mark.parametrize(("symbol", "ex_date"), ACTIONS)
def test_a_split_or_dividend_on_its_day_is_no_restatement(
    harness: Harness, market: ReplayHandle, symbol: str, ex_date: date
) -> None:
    days = sessions(ex_date - timedelta(days=14), ex_date + timedelta(days=3))
    before = [day for day in days if day < ex_date]
    harness.live(market, before[-1], before, catalog=listings(symbol))
    # On the morning of the day what stands is already rescaled by the source.
    morning = datetime(ex_date.year, ex_date.month, ex_date.day, 15, tzinfo=UTC)
    market.set_clock(morning)
    forced = harness.fill(before, listings(symbol), now=morning, mode=Mode.FORCE)
    assert (forced.requests, forced.written) == (1, 0)
    for day in days[len(before) :]:
        report = harness.live(market, day, catalog=listings(symbol))
        assert (list(report.changed), report.requests) == ([day], 1)
        assert report.restatements.is_empty()
    assert harness.restatements().is_empty()
    as_traded(harness, symbol)
    on_the_day = rows_of(harness, symbol).filter(pl.col("date") == ex_date)
    assert on_the_day.filter((pl.col("dividend") != 0) | (pl.col("split_ratio") != 1)).height == 1


@pytest.mark.parametrize(
    "later", [date(2014, 4, 1), date(2014, 6, 10), date(2020, 9, 1), date(2022, 7, 19)], ids=str
)
def test_splits_after_the_last_bar_are_no_restatement_either(
    harness: Harness, market: ReplayHandle, later: date
) -> None:
    days = sessions(date(2013, 1, 2), date(2013, 3, 1))
    catalog = listings(*SYMBOLS, "GOOG", "FB")
    harness.fill(days, catalog)
    files = tree(harness.home / "store")
    report = harness.live(market, later, days, catalog=catalog, mode=Mode.FORCE)
    assert (report.outcomes, report.restatements.height, report.written) == ({"ok": 5}, 0, 0)
    assert tree(harness.home / "store") == files


# Another unit.


@pytest.fixture(scope="module")
def london_server() -> Iterator[ReplayHandle]:
    made_up = GeneratedExchange("LSE", symbols=2, seed=3, start=date(2012, 9, 3), end=date(2013, 3, 1))
    with start(ReplayConfig(generated=[made_up], now=NOW)) as handle:
        yield handle


@pytest.fixture
def london(london_server: ReplayHandle, tmp_path: Any) -> Harness:
    london_server.clear_faults()
    london_server.reset_stats()
    return Harness(tmp_path, london_server.url)


def test_pounds_that_were_pence_all_along_are_one_event_for_the_whole_history(
    london: Harness, london_server: ReplayHandle
) -> None:
    days = sessions(date(2013, 1, 2), date(2013, 2, 28), "LSE")
    catalog = listings("AAA.L", "AAB.L")
    london_server.add_faults(
        {
            "kind": "wrong_unit", "symbol": "AAA.L", "currency": "GBP",
            "until": evening(days[-2]).isoformat(),
        }
    )  # fmt: skip
    london_server.set_clock(evening(days[-3]))
    london.fill(days[:-2], catalog, code="LSE", now=evening(days[-3]))
    pounds = rows_of(london, "AAA.L", "LSE")
    assert set(pounds["currency"]) == {"GBP"}
    london_server.set_clock(evening(days[-2]))
    report = london.fill([days[-2]], catalog, code="LSE", now=evening(days[-2]))
    # The look-back cannot see where it began: the whole history is asked for, once.
    assert report.requests == 3
    assert told(report.restatements) == [("AAA.L", days[-3], "currency", "GBP", "GBp", "unit_change")]
    assert report.restatements.select("first_date", "rows").rows() == [(days[0], len(days) - 2)]
    pence = rows_of(london, "AAA.L", "LSE")
    assert set(pence["currency"]) == {"GBp"}
    assert_frame_equal(
        pence.filter(pl.col("date") < days[-2]).select("close"),
        pounds.select(pl.col("close") * 100),
        rel_tol=1e-6,
    )
    fresh = Harness(london.home / "fresh", london.url)
    fresh.fill(days[:-1], catalog, code="LSE", now=evening(days[-2]))
    assert rows_of(fresh, "AAA.L", "LSE").drop("fetched_at").equals(pence.drop("fetched_at"))
    assert london.restatements("LSE").height == 1
    assert read_quarantine(london.store, "LSE").is_empty()


def test_one_answer_in_another_unit_and_currency_than_the_list_names_changes_nothing(
    london: Harness, london_server: ReplayHandle
) -> None:
    days = sessions(date(2013, 2, 11), date(2013, 2, 15), "LSE")
    catalog = listings("AAA.L").with_columns(currency=pl.lit("GBp"))
    london_server.set_clock(evening(days[-1]))
    london.fill(days[:-1], catalog, code="LSE", now=evening(days[-1]))
    before = rows_of(london, "AAA.L", "LSE")
    london_server.add_faults({"kind": "wrong_unit", "symbol": "AAA.L", "currency": "GBP"})
    report = london.fill(days, catalog, code="LSE", now=evening(days[-1]))
    assert report.restatements.is_empty()
    assert rows_of(london, "AAA.L", "LSE").equals(before)
    (missing,) = london.entry(days[-1], "LSE").missing
    assert (missing.outcome, missing.reason) == (
        "refused",
        "refused: a currency that the exchange or the catalog does not name",
    )
    held = read_quarantine(london.store, "LSE")
    assert set(held.select("symbol", "currency", "decision").rows()) == {("AAA.L", "GBP", "pending")}


def test_a_unit_that_changes_for_good_without_a_word_is_one_event(
    harness: Harness, market: ReplayHandle, six_weeks: list[date]
) -> None:
    """Held on two evenings, and believed on the third."""
    market.add_faults({"kind": "wrong_unit", "symbol": "MSFT"})
    evenings = sessions(DAY, date(2013, 2, 15))
    for day in evenings[:-1]:
        report = harness.live(market, day)
        assert report.restatements.is_empty()
        (hole,) = harness.entry(day).missing
        assert (hole.symbol, hole.outcome) == ("MSFT", "held")
        assert report.held["symbol"].to_list() == ["MSFT"]
    report = harness.live(market, evenings[-1])
    assert [(event[2], event[5]) for event in told(report.restatements)] == [("close", "unit_change")]
    assert report.restatements.select("first_date", "rows").rows() == [(six_weeks[0], len(six_weeks))]
    # The series has no step in it.
    rows = rows_of(harness, "MSFT").join(
        truth(["MSFT"], [*six_weeks, *evenings]).select("date", true="close"), on="date"
    )
    assert rows.height == len(six_weeks) + len(evenings)
    assert (rows["close"] * 100 / rows["true"] - 1).abs().max() < 1e-6  # type: ignore[operator]


def test_one_answer_in_another_unit_is_not_taken_for_a_change_and_nothing_of_it_is_stored(
    harness: Harness, market: ReplayHandle, six_weeks: list[date]
) -> None:
    market.add_faults({"kind": "wrong_unit", "symbol": "MSFT", "times": 1})
    report = harness.live(market, DAY)
    # The whole history, asked for because of it, says what stands.
    assert (report.requests, report.result) == (4, "SUCCESS")
    assert report.restatements.is_empty()
    assert harness.restatements().is_empty()
    as_traded(harness, "MSFT")
    assert harness.cell(DAY).height == 3


# Bars that go and bars that come.

PASSING = [
    {"kind": "missing_session"},
    {"kind": "null_bar"},
    {"kind": "duplicate_timestamp", "differs": True},
]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault["kind"])
def test_a_stored_bar_that_an_answer_leaves_out_by_accident_is_asked_about_again_and_nothing_is_recorded(
    harness: Harness, market: ReplayHandle, fault: dict[str, Any], times: int
) -> None:
    harness.live(market, WEEK[-2], WEEK[:-1])
    before = tree(harness.home / "store")
    market.add_faults({**fault, "symbol": "AAPL", "date": str(DAY), "times": times})
    report = harness.live(market, WEEK[-1])
    assert report.requests == 3 + times
    assert report.restatements.is_empty()
    assert harness.restatements().is_empty()
    written = changed_files(before, tree(harness.home / "store"))
    assert {name for name in written if not name.startswith("manifest")} == {
        *cell_files(WEEK[-1]),
    }


def test_a_bar_that_is_gone_in_three_answers_is_recorded_once_and_stays_stored(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-2], WEEK[:-1])
    cell = harness.cell()
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": None})
    report = harness.live(market, WEEK[-1])
    assert report.requests == 5
    assert told(report.restatements) == [("AAPL", DAY, "row", "there", "not there", "vanished_row")]
    assert (harness.cell().equals(cell), harness.entry().state) == (True, CellState.COMPLETE)
    # On record it is neither asked about nor recorded again.
    market.reset_stats()
    assert harness.live(market, date(2013, 2, 19)).restatements.is_empty()
    assert market.stats()["chart_data"] == dict.fromkeys(SYMBOLS, 1)
    assert harness.live(market, date(2013, 2, 20), WEEK, mode=Mode.FORCE).restatements.is_empty()
    assert harness.restatements().height == 1
    assert harness.cell().equals(cell)
    # Back again, it says what stands.
    market.clear_faults()
    assert harness.live(market, date(2013, 2, 21)).restatements.is_empty()
    as_traded(harness)


def test_the_bar_of_a_session_known_as_suspended_is_an_appeared_row(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(
        {
            "kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": None,
            "until": "2013-02-20T15:00:00Z",
        }
    )  # fmt: skip
    harness.live(market, WEEK[-1], WEEK)
    harness.live(market, date(2013, 2, 19))
    assert [m.outcome for m in harness.entry().missing] == ["suspended"]
    assert harness.restatements().is_empty()
    report = harness.live(market, date(2013, 2, 20))
    assert report.requests == 3
    assert told(harness.restatements()) == [("AAPL", DAY, "row", "not there", "there", "appeared_row")]
    assert harness.entry().state is CellState.COMPLETE
    as_traded(harness)
    assert harness.live(market, date(2013, 2, 21)).restatements.is_empty()


def test_a_bar_that_fills_an_unsettled_hole_is_no_restatement(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults(
        {
            "kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": None,
            "until": "2013-02-16T00:00:00Z",
        }
    )  # fmt: skip
    harness.live(market, WEEK[-1], WEEK)
    report = harness.live(market, date(2013, 2, 19))
    assert list(report.also_changed) == [DAY]
    assert harness.restatements().is_empty()


# Looking only.


def test_verifying_says_what_differs_and_changes_nothing(
    harness: Harness, market: ReplayHandle, six_weeks: list[date]
) -> None:
    gone, ex_date = six_weeks[5], date(2013, 2, 7)
    market.add_faults(
        corrected(six_weeks[0]),
        {"kind": "missing_session", "symbol": "IBM", "date": str(gone), "times": None},
        {"kind": "hidden_dividend", "symbol": "AAPL", "date": str(ex_date)},
        corrected(six_weeks[3], "MSFT", low=900.0),
    )
    files, writes = tree(harness.home / "store"), counted(WRITES)
    everything = {p: p.stat().st_mtime_ns for p in (harness.home / "store").rglob("*") if p.is_file()}
    report = harness.live(market, DAY, six_weeks, mode=Mode.VERIFY)
    assert [(*event[:3], event[5]) for event in sorted(told(report.restatements))] == [
        ("AAPL", six_weeks[0], "close", "correction"),
        ("AAPL", ex_date, "dividend", "correction"),
        ("IBM", gone, "row", "vanished_row"),
    ]
    assert report.verified == "DIFFERS"
    assert f"AAPL {ex_date} dividend " in report.differences
    assert any("MSFT" in warning and "low 900 in a bar" in warning for warning in report.warnings)
    assert (counted(WRITES) - writes, tree(harness.home / "store")) == (0, files)
    assert {p: p.stat().st_mtime_ns for p in (harness.home / "store").rglob("*") if p.is_file()} == everything
    assert harness.restatements().is_empty()
    assert (report.written, report.changed) == (0, {})
    # The same again, done: but a dividend that is left out has to be so for days before it is believed.
    done = harness.live(market, DAY, six_weeks, mode=Mode.FORCE)
    expected = [event for event in sorted(told(report.restatements)) if event[2] != "dividend"]
    assert sorted(told(harness.restatements())) == sorted(told(done.restatements)) == expected
    (held,) = read_quarantine(harness.store, "US").filter(pl.col("scope") == "action").rows(named=True)
    assert (held["symbol"], held["date"], held["dividend"]) == ("AAPL", ex_date, 0.0)


def test_verifying_an_unchanged_history_finds_nothing(
    harness: Harness, market: ReplayHandle, six_weeks: list[date]
) -> None:
    report = harness.live(market, DAY, six_weeks, mode=Mode.VERIFY)
    assert (report.requests, report.restatements.height, report.result) == (3, 0, "SUCCESS")
    # What a cell lacks, or cannot have, is none of what is verified; who could not be asked is.
    day, entry = next(iter(report.cells.items()))
    report.cells[day] = replace(entry, state=CellState.PARTIAL)
    assert (report.result, report.verified, report.differences) == ("PARTIAL", "SUCCESS", "")
    report.not_verified["IBM"] = "no answer"
    assert report.verified == "PARTIAL"


def test_verifying_a_part_of_a_history_that_is_wrong_before_it_says_what_is_wrong_with_all_of_it(
    harness: Harness, market: ReplayHandle
) -> None:
    days = sessions(date(2005, 1, 3), date(2005, 3, 1))
    market.add_faults(
        {"kind": "unscaled_history", "symbol": "AAPL", "date": str(SPLIT), "until": "2005-03-02T15:00:00Z"}
    )
    harness.live(market, days[-1], days)
    files = tree(harness.home / "store")
    report = harness.live(market, date(2005, 3, 2), days[-10:], mode=Mode.VERIFY)
    assert report.requests == 4
    assert told(report.restatements) == [("AAPL", SPLIT, "split_ratio", "1.0", "2.0", "late_split")]
    assert report.restatements["first_date"].to_list() == [days[0]]
    assert tree(harness.home / "store") == files


# Ended on the way, and two at once.


class Failing(LocalObjectStore):
    """A store that can no longer be written when the put of a key comes that `when` names."""

    when: Callable[[str], bool] = staticmethod(lambda key: False)

    def put(self, key: str, data: bytes, *, if_version: str | None = None) -> ObjectInfo:
        if self.when(key):
            raise StoreUnavailable(f"{key}: the disk is full")
        return super().put(key, data, if_version=if_version)


@pytest.mark.parametrize("table", ["restatements", "daily_prices", "manifest"])
def test_a_run_that_ends_between_ledger_and_cell_is_made_good_by_the_next_and_recorded_once(
    harness: Harness, market: ReplayHandle, six_weeks: list[date], table: str
) -> None:
    day = six_weeks[-4]
    before = harness.cell(day)
    after = before.with_columns(
        close=pl.when(pl.col("symbol") == "AAPL").then(lowest(day)).otherwise("close")
    )
    market.add_faults(corrected(day))
    failing = Failing(harness.home / "store")
    failing.when = lambda key: key.startswith(table)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        harness.live(market, DAY, store=failing)
    assert harness.restatements().height == (0 if table == "restatements" else 1)
    assert (
        harness.cell(day)
        .drop("fetched_at")
        .equals((after if table == "manifest" else before).drop("fetched_at"))
    )
    report = harness.live(market, date(2013, 2, 14))
    assert report.cells[date(2013, 2, 14)].state is CellState.COMPLETE
    assert [event[:3] for event in told(harness.restatements())] == [("AAPL", day, "close")]
    assert harness.cell(day).drop("fetched_at").equals(after.drop("fetched_at"))
    # It became known with the run that recorded what stood there.
    known = harness.cell(day).filter(pl.col("symbol") == "AAPL")["fetched_at"].item()
    assert known == evening(DAY)
    ledger = Ledger(harness.store, "US")
    assert ledger.replaced_after(evening(DAY)).is_empty()
    assert read_daily(harness.store, "US", day, day, as_of=known - timedelta(microseconds=1)).equals(before)
    assert read_daily(harness.store, "US", day, day, as_of=known).equals(harness.cell(day))
    files = tree(harness.home / "store")
    again = harness.live(market, date(2013, 2, 14), six_weeks, mode=Mode.FORCE)
    assert (again.restatements.height, again.written) == (0, 0)
    assert tree(harness.home / "store") == files


class Meeting(LocalObjectStore):
    """A store at whose first put of a record two runs wait for each other, each having read what is there."""

    meeting: threading.Barrier
    met = False

    def put(self, key: str, data: bytes, *, if_version: str | None = None) -> ObjectInfo:
        if key.startswith("replaced_rows") and not self.met:
            self.met = True
            self.meeting.wait(60)
        return super().put(key, data, if_version=if_version)


@pytest.mark.parametrize("apart", [timedelta(0), timedelta(seconds=1)], ids=["one moment", "a second apart"])
def test_two_runs_that_find_the_same_corrections_at_once_record_them_once_and_lose_nothing(
    harness: Harness, market: ReplayHandle, six_weeks: list[date], apart: timedelta
) -> None:
    days = [six_weeks[3], six_weeks[10]]
    before = {day: harness.cell(day) for day in days}
    market.add_faults(*(corrected(day) for day in days), corrected(days[0], "IBM"))
    market.set_clock(evening(DAY))
    barrier = threading.Barrier(2)

    def run(number: int) -> FillReport:
        store = Meeting(harness.home / "store")
        store.meeting = barrier
        mine = Harness(harness.home, harness.url) if number else harness
        return _forced(mine, six_weeks, store, evening(DAY) + number * apart, f"run {number}")

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(run, range(2)))
    assert {report.result for report in reports} == {"SUCCESS"}
    assert sorted(event[:3] for event in told(harness.restatements())) == [
        ("AAPL", days[0], "close"), ("AAPL", days[1], "close"), ("IBM", days[0], "close"),
    ]  # fmt: skip
    ledger = Ledger(harness.store, "US")
    replaced = ledger.replaced_after(evening(six_weeks[-1]))
    assert replaced.height == 3
    for day in days:
        cell = harness.cell(day)
        assert cell.filter(pl.col("symbol") == "AAPL")["close"].item() == lowest(day)
        assert cell.filter(pl.col("symbol") == "MSFT").equals(before[day].filter(pl.col("symbol") == "MSFT"))
    # At every moment there is a row: the old one until the first of the two recorded it, from then on the new one.
    known = replaced["replaced_at"].unique().item()
    for moment in (-1, 0, 1, 500_000, 1_000_000):
        at = evening(DAY) + timedelta(microseconds=moment)
        for day in days:
            expected = before[day] if at < known else harness.cell(day)
            assert read_daily(harness.store, "US", day, day, as_of=at).equals(expected), at
    assert Manifest(harness.store, DAILY).year("US", 2013) == Manifest(harness.store, DAILY).refresh(
        "US", 2013
    )


def _forced(
    harness: Harness, days: list[date], store: LocalObjectStore, now: datetime, run: str
) -> FillReport:
    from quant_assets.exchanges import exchange
    from quant_assets.ingest.context import FillContext, FillRules
    from quant_assets.ingest.fill import fill_cells
    from quant_assets.ingest.plan import FillRequest
    from quant_assets.resources.yahoo import YahooSource
    from quant_assets_tests.support import quick_settings

    chosen = quick_settings(harness.home, harness.url, now=now)
    source = YahooSource(chosen)
    try:
        rules = FillRules(harness.home / f"spill-{run[-1]}")
        context = FillContext(exchange("US"), store, source, chosen.clock, rules, run)
        return fill_cells(context, FillRequest(days, listings(*SYMBOLS), mode=Mode.FORCE))
    finally:
        source.close()
